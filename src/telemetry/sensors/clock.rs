//! The processor's clock, by the kernel's cpufreq.

use std::path::{Path, PathBuf};

use super::files;

/// The policies: one for each group of cores that share a clock.
#[derive(Debug, Default)]
pub(super) struct Clocks(Vec<PathBuf>);

impl Clocks {
    pub(super) fn search(&mut self, root: &Path) {
        self.0 = files::folders(root, "sys/devices/system/cpu/cpufreq", "policy");
    }

    /// The fastest clock now, hertz.
    pub(super) fn look(&self) -> Option<u64> {
        // In kHz; 0 where the kernel doesn't know it.
        let hertz = |policy: &PathBuf| {
            let kilohertz = files::number(&policy.join("scaling_cur_freq")).ok()?;
            u64::try_from(kilohertz).ok()?.checked_mul(1000).filter(|hertz| *hertz > 0)
        };
        self.0.iter().filter_map(hertz).max()
    }

    pub(super) fn describe(&self) -> Option<String> {
        let now = self.look().map_or_else(|| "unknown".to_owned(), |hertz| format!("{} MHz", hertz / 1_000_000));
        (!self.0.is_empty()).then(|| format!("cpu clock (cpufreq, {} policies): {now}", self.0.len()))
    }
}
