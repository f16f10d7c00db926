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

#[cfg(test)]
mod tests {
    use super::super::super::tests::Tree;
    use super::*;

    fn found(tree: &Tree) -> Vec<(String, String, Class)> {
        search(tree.root()).into_iter().map(|it| (it.source, it.name, it.class)).collect()
    }

    fn zone(source: &str, name: &str, class: Class) -> (String, String, Class) {
        (format!("powercap {source}"), name.to_owned(), class)
    }

    #[test]
    fn packages_and_memory_are_whole_and_everything_else_is_a_part() {
        let tree = Tree::new();
        // The control type itself has neither name nor counter.
        tree.write("sys/class/powercap/intel-rapl/enabled", 1);
        tree.write("sys/class/powercap/intel-rapl:9/name", "package-9");
        for (zone, name) in [("0", "package-0"), ("0:0", "core"), ("0:1", "dram"), ("1", "psys"), ("2", "dramatic")] {
            tree.rapl(&format!("intel-rapl:{zone}"), name, 1);
        }
        let expected = [
            zone("intel-rapl:0", "package-0", Class::Processor),
            zone("intel-rapl:1", "psys", Class::Other),
            zone("intel-rapl:2", "dramatic", Class::Other),
            zone("intel-rapl:0:0", "core", Class::Other),
            zone("intel-rapl:0:1", "dram", Class::Processor),
        ];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn of_two_ways_to_one_counter_the_direct_one_is_taken() {
        let tree = Tree::new();
        tree.rapl("intel-rapl-mmio:0", "package-0", 1);
        tree.rapl("intel-rapl-mmio:1", "package-1", 1);
        let (first, second) = (
            zone("intel-rapl-mmio:0", "package-0", Class::Processor),
            zone("intel-rapl-mmio:1", "package-1", Class::Processor),
        );
        assert_eq!(found(&tree), [first, second.clone()]);
        tree.rapl("intel-rapl:0", "package-0", 1);
        assert_eq!(found(&tree), [zone("intel-rapl:0", "package-0", Class::Processor), second]);
    }

    #[test]
    fn microjoules_are_read_with_where_they_begin_anew() {
        let tree = Tree::new();
        tree.rapl("intel-rapl:0", "package-0", 2_500_000);
        let zone = Zone(tree.root().join("sys/class/powercap/intel-rapl:0"));
        let (joules, range) = zone.read().unwrap();
        assert!((joules - 2.5).abs() < 1e-9 && (range - 262_143.328_85).abs() < 1e-6, "{joules} {range}");
        tree.remove("sys/class/powercap/intel-rapl:0/max_energy_range_uj");
        assert!(zone.read().unwrap_err().contains("max_energy_range_uj"));
    }
}
