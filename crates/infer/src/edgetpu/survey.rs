//! What `pspnetd devices` tells of Edge TPUs: what the kernel shows, side by side with what the library sees.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::super::accelerator::{DelegateKind, DelegateSpec, DeviceChoice, Fault};
use super::super::delegate::Listing;
use super::sight::{Card, Sight, Stick, StickState};
use super::{advice, hardware};
use crate::TpuDevice;

/// All that is known of the Edge TPUs of this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// One for each Edge TPU, cards first, each by number or port.
    pub devices: Vec<Found>,
    /// The library, where it was asked.
    pub library: Option<Library>,
    /// What keeps the machine from having one at all, where that can be seen: a card without a driver.
    pub problem: Option<String>,
}

/// An Edge TPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Its name for `engine.device`.
    #[serde(serialize_with = "as_text")]
    pub device: TpuDevice,
    /// As libedgetpu names it.
    pub path: PathBuf,
    /// What is opened.
    pub node: PathBuf,
    /// USB vendor and product.
    pub id: Option<&'static str>,
    /// Speed of its USB connection in Mbit/s.
    pub speed_mbit_per_s: Option<u32>,
    /// Of a card, in °C. Sticks don't tell.
    pub temperature_c: Option<f64>,
    /// Why it can't be used, and what to do; nothing when it can.
    pub unusable: Option<String>,
    /// What is no fault, and worth knowing.
    pub remarks: Vec<String>,
}

/// The Edge TPU library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Library {
    /// As configured.
    pub library: PathBuf,
    /// As it tells.
    pub version: Option<String>,
    /// Why it can't be used, and what to do; nothing when it can.
    pub unusable: Option<String>,
}

impl Survey {
    /// Puts `sight`, which was taken below `root`, and what `library` answered together.
    pub fn new(root: &Path, sight: &Sight, library: &Path, answer: Option<Result<Listing, Fault>>) -> Self {
        let spec = DelegateSpec {
            library: library.to_path_buf(),
            kind: DelegateKind::EdgeTpu(DeviceChoice::at(0)),
            options: Vec::new(),
        };
        let (seen, fault) = match answer {
            Some(Ok(seen)) => (Some(seen), None),
            Some(Err(fault)) => (None, Some(fault)),
            None => (None, None),
        };
        let report = (seen.is_some() || fault.is_some()).then(|| Library {
            library: library.to_path_buf(),
            version: seen.as_ref().and_then(|seen| seen.version.clone()),
            unusable: fault.as_ref().map(|fault| format!("{fault}. {}", advice(fault, sight, &spec))),
        });
        let mut devices = devices(root, sight);
        for found in devices.iter_mut().filter(|found| found.unusable.is_none()) {
            found.unusable = match (&seen, &fault) {
                (Some(seen), _) if !lists(seen, &found.path) => Some(hardware::UNLISTED.to_owned()),
                (_, Some(_)) => Some(format!("its library, {}, is not usable", library.display())),
                _ => None,
            };
        }
        let problem =
            (sight.is_empty() && !sight.without_driver.is_empty()).then(|| hardware::trouble(sight)).flatten();
        Self { devices, library: report, problem }
    }
}

/// Whether the library lists the device at `path`. The last part alone names it: a port, or a card's node.
fn lists(listing: &Listing, path: &Path) -> bool {
    listing.devices.iter().any(|listed| Path::new(&listed.path).file_name() == path.file_name())
}

fn devices(root: &Path, sight: &Sight) -> Vec<Found> {
    let sticks = sight.sticks.iter().map(|stick| of_stick(root, stick));
    let found = sight.cards.iter().map(of_card).chain(sticks);
    sight.names().into_iter().zip(found).map(|(device, found)| Found { device, ..found }).collect()
}

fn of_stick(root: &Path, stick: &Stick) -> Found {
    let mut remarks = Vec::new();
    if stick.state == StickState::Fresh {
        remarks.push("It gets its firmware when it is first used, and comes back as 18d1:9302.".to_owned());
    }
    remarks.extend(hardware::slow_stick(stick).map(str::to_owned));
    Found {
        // The caller names them.
        device: TpuDevice::Usb(0),
        path: stick.path.clone(),
        node: stick.node.clone(),
        id: Some(stick.state.id()),
        speed_mbit_per_s: stick.speed,
        temperature_c: None,
        unusable: hardware::stick_trouble(stick).or_else(|| hardware::holders_of(root, stick)),
        remarks,
    }
}

fn of_card(card: &Card) -> Found {
    Found {
        device: TpuDevice::Pci(0),
        path: card.node.clone(),
        node: card.node.clone(),
        id: None,
        speed_mbit_per_s: None,
        temperature_c: card.temperature().map(|temperature| f64::from(temperature) / 1000.0),
        unusable: hardware::card_trouble(card),
        remarks: hardware::heat(card).into_iter().collect(),
    }
}

fn as_text<S: Serializer>(device: &TpuDevice, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(device)
}

#[cfg(test)]
mod tests {
    use super::super::super::delegate::{Bus, Listed};
    use super::super::look;
    use super::super::tests::Tree;
    use super::*;

    const LIBRARY: &str = "libedgetpu.so.1";

    fn survey(tree: &Tree, answer: Option<Result<Listing, Fault>>) -> Survey {
        Survey::new(tree.root(), &look(tree.root()), Path::new(LIBRARY), answer)
    }

    fn seen(paths: &[&str]) -> Option<Result<Listing, Fault>> {
        let version = Some("BuildLabel(N/A), RuntimeVersion(14)".to_owned());
        let listed = |path: &&str| {
            let bus = if path.contains("apex") { Bus::Pci } else { Bus::Usb };
            Listed { bus, path: (*path).to_owned() }
        };
        Some(Ok(Listing { version, devices: paths.iter().map(listed).collect() }))
    }

    fn two_sticks_and_a_card() -> Tree {
        let tree = Tree::default();
        tree.stick("2-1", "18d1", "9302", "2", "5", "5000");
        tree.stick("1-2", "1a6e", "089a", "1", "4", "480");
        tree.card(0, "ALIVE", "86500", "0", "0");
        tree
    }

    #[test]
    fn devices_are_named_by_port_and_tell_what_is_worth_knowing() {
        let found = survey(&two_sticks_and_a_card(), None);
        let names: Vec<_> = found.devices.iter().map(|found| found.device.to_string()).collect();
        assert_eq!(names, ["pci:0", "usb:0", "usb:1"]);
        let [card, fresh, ready] = &found.devices[..] else { panic!("{found:?}") };
        assert_eq!((fresh.id, ready.id, card.id), (Some("1a6e:089a"), Some("18d1:9302"), None));
        assert!(fresh.remarks[0].contains("18d1:9302") && fresh.remarks[1].contains("USB 2"), "{fresh:?}");
        assert!(ready.remarks.is_empty(), "{ready:?}");
        assert_eq!(card.temperature_c, Some(86.5));
        assert!(card.remarks[0].contains("86 °C hot"), "{card:?}");
        assert!(found.devices.iter().all(|found| found.unusable.is_none()), "{found:?}");
        assert_eq!((found.library, found.problem), (None, None));
    }

    #[test]
    fn what_the_library_does_not_see_is_told() {
        let tree = two_sticks_and_a_card();
        let found = survey(&tree, seen(&["/sys/bus/usb/devices/2-1", "/dev/apex_0"]));
        let unusable: Vec<_> = found.devices.iter().map(|found| found.unusable.is_some()).collect();
        assert_eq!(unusable, [false, true, false]);
        assert!(found.devices[1].unusable.as_ref().unwrap().contains("AF_NETLINK"));
        let library = found.library.unwrap();
        assert_eq!((library.version.as_deref(), library.unusable), (Some("BuildLabel(N/A), RuntimeVersion(14)"), None));
        // A library that was given the same tree names what lies in it.
        let inside = tree.root().join("sys/bus/usb/devices/1-2");
        let found = survey(&tree, seen(&["/sys/bus/usb/devices/2-1", "/dev/apex_0", inside.to_str().unwrap()]));
        assert!(found.devices.iter().all(|found| found.unusable.is_none()), "{found:?}");
    }

    #[test]
    fn a_library_that_fails_makes_no_device_usable_and_says_what_to_do() {
        let text = "libedgetpu.so.1: cannot open shared object file: No such file or directory".to_owned();
        let fault = Fault::Library { library: LIBRARY.into(), text };
        let found = survey(&two_sticks_and_a_card(), Some(Err(fault)));
        for found in &found.devices {
            assert_eq!(found.unusable.as_deref(), Some("its library, libedgetpu.so.1, is not usable"));
        }
        let reason = found.library.unwrap().unusable.unwrap();
        assert!(reason.contains("can't be loaded") && reason.contains("Install libedgetpu built for"), "{reason}");
    }

    #[test]
    fn a_fault_of_the_device_counts_before_one_of_the_library() {
        let tree = two_sticks_and_a_card();
        tree.remove("dev/apex_0");
        let found = survey(&tree, Some(Err(Fault::Symbol { library: LIBRARY.into(), symbol: "f".to_owned() })));
        assert!(found.devices[0].unusable.as_ref().unwrap().contains("/dev/apex_0 is not here"), "{found:?}");
    }
}
