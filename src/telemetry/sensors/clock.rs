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

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    #[test]
    fn a_clock_is_described_by_the_fastest_of_its_policies() {
        let tree = Tree::new();
        let mut clocks = Clocks::default();
        clocks.search(tree.root());
        assert_eq!((clocks.look(), clocks.describe()), (None, None));
        for (policy, kilohertz, hertz, words) in [
            (0, 0, None, "cpu clock (cpufreq, 1 policies): unknown"),
            (1, 1, Some(1000), "cpu clock (cpufreq, 2 policies): 0 MHz"),
            (2, 2_400_000, Some(2_400_000_000), "cpu clock (cpufreq, 3 policies): 2400 MHz"),
            (3, -1, Some(2_400_000_000), "cpu clock (cpufreq, 4 policies): 2400 MHz"),
        ] {
            tree.write(&format!("sys/devices/system/cpu/cpufreq/policy{policy}/scaling_cur_freq"), kilohertz);
            clocks.search(tree.root());
            assert_eq!((clocks.look(), clocks.describe().as_deref()), (hertz, Some(words)));
        }
    }
}
