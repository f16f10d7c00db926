//! The energy counters of x86 processors (RAPL), as the kernel's powercap shows them.

use std::path::{Path, PathBuf};

use super::super::files;
use super::{Class, Found, Meter};

/// One domain: a package, or a part of one.
pub(in super::super) struct Zone(PathBuf);

/// Every domain. Of the two ways to the same counters (`intel-rapl`, `intel-rapl-mmio`) one.
pub(super) fn search(root: &Path) -> Vec<Found> {
    let folders = files::folders(root, "sys/class/powercap", "intel-rapl");
    let mut found: Vec<Found> = folders.iter().filter_map(|folder| zone(folder)).collect();
    let direct: Vec<String> = found.iter().filter(|zone| !is_mmio(zone)).map(|zone| zone.name.clone()).collect();
    found.retain(|zone| !is_mmio(zone) || !direct.contains(&zone.name));
    found
}

fn is_mmio(zone: &Found) -> bool {
    zone.device.starts_with("intel-rapl-mmio")
}

fn zone(folder: &Path) -> Option<Found> {
    let device = files::word(&files::name(folder));
    // The control types themselves, `intel-rapl`, have neither.
    let name = files::label(folder, "name")?;
    if !folder.join("energy_uj").exists() {
        return None;
    }
    // `core` and `uncore` are parts of a package; `dram` is not. `psys`, the whole board, is there on machines too where it is
    // not connected, so it counts only by name.
    let is_whole = name.starts_with("package") || name == "dram";
    Some(Found {
        key: format!("powercap {device}"),
        name,
        source: format!("powercap {device}"),
        class: if is_whole { Class::Processor } else { Class::Other },
        device,
        meter: Meter::Powercap(Zone(folder.to_path_buf())),
    })
}

impl Zone {
    /// Joules of the counter, and how many there are before it begins anew.
    pub(super) fn read(&self) -> Result<(f64, f64), String> {
        let joules = files::number(&self.0.join("energy_uj"))?;
        let range = files::number(&self.0.join("max_energy_range_uj"))?;
        Ok((joules as f64 * 1e-6, range as f64 * 1e-6))
    }
}
