//! The Edge TPUs that the kernel shows, without opening one.
//!
//! The sources of libedgetpu (`driver/usb/local_usb_device.cc`, `driver/beagle/`), of libusb (`os/linux_usbfs.c`) and of the
//! card's driver (google/gasket-driver) say where they look and what the files mean; this file looks at the same places.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base::device_users::is_ours;
use rustix::fs::Access as Wanted;

use super::super::accelerator::{port, Fault};
use crate::TpuDevice;

/// What an Edge TPU on USB calls itself until it has its firmware, which it gets anew whenever it was without power.
const FRESH: (u16, u16) = (0x1a6e, 0x089a);
/// What it calls itself from then on.
const READY: (u16, u16) = (0x18d1, 0x9302);
/// Edge TPUs on PCIe.
const CARD: (u16, u16) = (0x1ac1, 0x089a);
/// What a card answers that is no longer there: all bits one, as a temperature in m°C (`adc_to_millic` of its driver).
const NO_ANSWER: i32 = -89_700;

/// All Edge TPUs that can be seen. Two looks are equal when nothing changed that matters to opening one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// On USB, by port.
    pub sticks: Vec<Stick>,
    /// On PCIe, by number.
    pub cards: Vec<Card>,
    /// PCI addresses of cards that no driver serves, so that they have no device node.
    pub without_driver: Vec<String>,
}

/// An Edge TPU on USB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stick {
    /// Its folder as libedgetpu names it, `/sys/bus/usb/devices/2-1`: the port. It stays when the device gets its firmware.
    pub path: PathBuf,
    /// With or without firmware.
    pub state: StickState,
    /// `/dev/bus/usb/002/004`: another one whenever the device was gone, also for the moment when it gets its firmware.
    pub node: PathBuf,
    /// Whether this process may use it.
    pub access: Access,
    /// Speed of the connection in Mbit/s: 480 is USB 2, 5000 and more USB 3.
    pub speed: Option<u32>,
}

/// Whether an Edge TPU on USB has its firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickState {
    /// 1a6e:089a: not used since it was plugged in. The first to open it gives it the firmware.
    Fresh,
    /// 18d1:9302
    Ready,
}

impl StickState {
    /// As `lsusb` shows it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Fresh => "1a6e:089a",
            Self::Ready => "18d1:9302",
        }
    }
}

/// An Edge TPU on PCIe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// `/dev/apex_0`, which is also libedgetpu's name for it.
    pub node: PathBuf,
    /// Whether this process may use it.
    pub access: Access,
    /// It does not answer any more.
    pub is_dead: bool,
    /// The process that has it, where that is none of ours. A card takes one at a time.
    pub owner: Option<u32>,
    folder: PathBuf,
}

impl Card {
    /// Its temperature in m°C, measured now. Nothing where the driver has no such file, or the card no longer answers.
    pub fn temperature(&self) -> Option<i32> {
        number(&self.folder, "temp", 10).filter(|temperature| *temperature != NO_ANSWER)
    }
}

/// What the file system says about a device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It can be read and written.
    Allowed,
    /// It can't.
    Denied {
        /// Name or number of the user that it belongs to.
        owner: String,
        /// Name or number of the group that it belongs to.
        group: String,
        /// Permission bits.
        mode: u32,
    },
    /// The kernel has the device, and there is no node: a container that was given none, or an old one.
    Missing,
}

/// Looks for Edge TPUs below `root` (`/sys`, `/dev`). Opens none, and takes well under a millisecond without one.
pub fn look(root: &Path) -> Sight {
    let mut sticks: Vec<Stick> = folders(root, "sys/bus/usb/devices").iter().filter_map(|at| stick(root, at)).collect();
    sticks.sort_by_cached_key(|stick| port(&stick.path));
    let mut cards: Vec<Card> = folders(root, "sys/class/apex").iter().filter_map(|at| card(root, at)).collect();
    cards.sort_by_cached_key(|card| port(&card.node));
    Sight { sticks, cards, without_driver: without_driver(root) }
}

impl Sight {
    /// Nothing is plugged in that could be used.
    pub fn is_empty(&self) -> bool {
        self.sticks.is_empty() && self.cards.is_empty()
    }

    /// How many there are, usable or not.
    pub fn count(&self) -> usize {
        self.sticks.len() + self.cards.len()
    }

    /// How many of them could be opened: the node is there, may be opened, and the card lives.
    pub fn usable(&self) -> usize {
        self.usable_paths().len()
    }

    /// Those that could be opened: the place among all, cards before sticks as in libedgetpu's sorted list, and the path.
    pub fn usable_paths(&self) -> Vec<(usize, String)> {
        let is_usable = |card: &Card| card.access == Access::Allowed && !card.is_dead && card.owner.is_none();
        let cards = self.cards.iter().map(|card| (is_usable(card), &card.node));
        let sticks = self.sticks.iter().map(|stick| (stick.access == Access::Allowed, &stick.path));
        let usable = cards.chain(sticks).enumerate().filter(|(_, (is_usable, _))| *is_usable);
        usable.map(|(place, (_, path))| (place, path.to_string_lossy().into_owned())).collect()
    }

    /// The names of cards and then sticks for `engine.device`. They count by port: libedgetpu's own list has sticks without
    /// firmware first, so that its numbers change when one gets it.
    pub fn names(&self) -> Vec<TpuDevice> {
        let cards = (0..=u8::MAX).map(TpuDevice::Pci).take(self.cards.len());
        cards.chain((0..=u8::MAX).map(TpuDevice::Usb).take(self.sticks.len())).collect()
    }

    /// Where libedgetpu finds what `engine.device` names: `/sys/bus/usb/devices/2-1`, `/dev/apex_0`.
    pub fn path(&self, device: TpuDevice) -> Option<&Path> {
        match device {
            TpuDevice::Usb(number) => self.sticks.get(usize::from(number)).map(|stick| stick.path.as_path()),
            TpuDevice::Pci(number) => self.cards.get(usize::from(number)).map(|card| card.node.as_path()),
        }
    }

    /// Why it is no use to start a worker on an Edge TPU now. libedgetpu itself tries for 25 s to open a stick that it may
    /// not open, and says nothing.
    pub fn obstacle(&self) -> Option<Fault> {
        if self.is_empty() {
            return Some(Fault::NoDevice { wanted: String::new(), listed: String::new() });
        }
        if self.usable() > 0 {
            return None;
        }
        let sticks = self.sticks.iter().filter_map(|stick| stick.access.refusal(&stick.node));
        let cards = self.cards.iter().filter_map(Card::refusal);
        Some(Fault::NotOpened { words: sticks.chain(cards).collect() })
    }
}

impl Card {
    /// Why this card can't be used, in short.
    pub fn refusal(&self) -> Option<String> {
        if self.is_dead {
            return Some(format!("{} does not answer", self.node.display()));
        }
        self.access
            .refusal(&self.node)
            .or_else(|| self.owner.map(|process| format!("{} is held by process {process}", self.node.display())))
    }
}

impl Access {
    /// Why `node` can't be opened, in short.
    pub fn refusal(&self, node: &Path) -> Option<String> {
        match self {
            Self::Allowed => None,
            Self::Denied { owner, group, mode } => {
                Some(format!("{}: permission denied, it is {owner}:{group} {mode:04o}", node.display()))
            }
            Self::Missing => Some(format!("{}: there is no such node", node.display())),
        }
    }

    fn of(root: &Path, node: &Path) -> Self {
        let path = below(root, node);
        let Ok(about) = fs::metadata(&path) else {
            return Self::Missing;
        };
        if rustix::fs::access(&path, Wanted::READ_OK | Wanted::WRITE_OK).is_ok() {
            return Self::Allowed;
        }
        Self::Denied {
            owner: name_of(root, "passwd", about.uid()),
            group: name_of(root, "group", about.gid()),
            mode: about.mode() & 0o7777,
        }
    }
}

/// `path`, which is absolute, below `root`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn folders(root: &Path, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn stick(root: &Path, at: &Path) -> Option<Stick> {
    let state = match (number(at, "idVendor", 16)?, number(at, "idProduct", 16)?) {
        FRESH => StickState::Fresh,
        READY => StickState::Ready,
        _ => return None,
    };
    let (bus, device): (u32, u32) = (number(at, "busnum", 10)?, number(at, "devnum", 10)?);
    let node = PathBuf::from(format!("/dev/bus/usb/{bus:03}/{device:03}"));
    Some(Stick {
        path: Path::new("/sys/bus/usb/devices").join(at.file_name()?),
        state,
        access: Access::of(root, &node),
        node,
        speed: number(at, "speed", 10),
    })
}

fn card(root: &Path, at: &Path) -> Option<Card> {
    let name = at.file_name()?.to_str().filter(|name| name.starts_with("apex_"))?;
    let node = Path::new("/dev").join(name);
    let is_dead =
        text(at, "status").is_some_and(|status| status == "DEAD") || number(at, "temp", 10) == Some(NO_ANSWER);
    let is_owned = number::<u32>(at, "is_device_owned", 10).is_some_and(|owned| owned != 0);
    let owner = number(at, "device_owner", 10).filter(|process| is_owned && !is_ours(*process));
    Some(Card { access: Access::of(root, &node), node, is_dead, owner, folder: at.to_path_buf() })
}

fn without_driver(root: &Path) -> Vec<String> {
    let is_idle_card = |at: &PathBuf| {
        let id = number::<u16>(at, "vendor", 16).zip(number(at, "device", 16));
        id == Some(CARD) && !at.join("driver").exists()
    };
    let found = folders(root, "sys/bus/pci/devices").into_iter().filter(is_idle_card);
    let mut found: Vec<String> = found.filter_map(|at| Some(at.file_name()?.to_str()?.to_owned())).collect();
    found.sort();
    found
}

fn text(folder: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned())
}

/// The number in a file of sysfs; a speed of `1.5` is 1.
fn number<T: TryFrom<i64>>(folder: &Path, name: &str, radix: u32) -> Option<T> {
    let text = text(folder, name)?;
    let digits = text.split('.').next().unwrap_or_default();
    let value = i64::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), radix).ok()?;
    T::try_from(value).ok()
}

/// The name of a user or group, from `/etc/passwd` or `/etc/group`; its number where they don't know it.
pub fn name_of(root: &Path, file: &str, number: u32) -> String {
    let number = number.to_string();
    let table = fs::read_to_string(root.join("etc").join(file)).unwrap_or_default();
    let entry = table.lines().find(|line| line.split(':').nth(2) == Some(&number));
    entry.and_then(|line| line.split(':').next()).unwrap_or(&number).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    #[test]
    fn sticks_are_found_by_their_ids_and_ordered_by_port() {
        let tree = Tree::default();
        tree.stick("2-1.10", "18d1", "9302", "2", "11", "5000");
        tree.stick("2-1.9", "1a6e", "089a", "2", "4", "480");
        // A camera, a root hub, an interface, and a stick that is going away.
        tree.stick("1-1", "046d", "0825", "1", "3", "480");
        tree.write("sys/bus/usb/devices/2-1.9:1.0/bInterfaceClass", "fe\n");
        tree.write("sys/bus/usb/devices/3-1/idVendor", "1a6e\n");
        let sight = look(tree.root());
        let seen: Vec<_> =
            sight.sticks.iter().map(|stick| (stick.node.to_str().unwrap(), stick.state, stick.speed)).collect();
        assert_eq!(
            seen,
            [
                ("/dev/bus/usb/002/004", StickState::Fresh, Some(480)),
                ("/dev/bus/usb/002/011", StickState::Ready, Some(5000))
            ]
        );
        assert_eq!(sight.sticks[0].path, Path::new("/sys/bus/usb/devices/2-1.9"));
        assert_eq!((sight.count(), sight.usable(), sight.obstacle()), (2, 2, None));
        assert_eq!(sight, look(tree.root()), "nothing changed");
        assert_eq!(sight.names(), [TpuDevice::Usb(0), TpuDevice::Usb(1)]);
        assert_eq!(sight.path(TpuDevice::Usb(1)), Some(Path::new("/sys/bus/usb/devices/2-1.10")));
        assert_eq!((sight.path(TpuDevice::Usb(2)), sight.path(TpuDevice::Pci(0))), (None, None));
    }

    #[test]
    fn a_stick_that_gets_its_firmware_is_another_sight_at_the_same_port() {
        let tree = Tree::default();
        tree.stick("2-1", "1a6e", "089a", "2", "4", "5000");
        let before = look(tree.root());
        tree.stick("2-1", "18d1", "9302", "2", "5", "5000");
        let after = look(tree.root());
        assert_ne!(before, after);
        assert_eq!(before.sticks[0].path, after.sticks[0].path);
    }

    #[test]
    fn a_node_that_is_not_there_is_an_obstacle() {
        let tree = Tree::default();
        tree.stick("2-1", "18d1", "9302", "2", "5", "5000");
        tree.remove("dev/bus/usb/002/005");
        let sight = look(tree.root());
        assert_eq!((sight.sticks[0].access.clone(), sight.usable()), (Access::Missing, 0));
        let Some(Fault::NotOpened { words }) = sight.obstacle() else { panic!("{:?}", sight.obstacle()) };
        assert_eq!(words, ["/dev/bus/usb/002/005: there is no such node"]);
    }

    #[test]
    fn without_an_edge_tpu_there_is_nothing_to_start() {
        let tree = Tree::default();
        let sight = look(tree.root());
        assert!(sight.is_empty() && matches!(sight.obstacle(), Some(Fault::NoDevice { .. })), "{sight:?}");
    }

    #[test]
    fn cards_tell_their_temperature_owner_and_death() {
        let tree = Tree::default();
        tree.card(10, "ALIVE", "51300", "0", "0");
        tree.card(2, "ALIVE", "40000", "1", "1");
        let sight = look(tree.root());
        let nodes: Vec<_> = sight.cards.iter().map(|card| card.node.to_str().unwrap()).collect();
        assert_eq!(nodes, ["/dev/apex_2", "/dev/apex_10"]);
        assert_eq!(sight.cards[1].temperature(), Some(51_300));
        assert_eq!((sight.cards[0].owner, sight.cards[1].owner), (Some(1), None));
        assert_eq!(sight.usable(), 1);
        // One temperature after the other is no change; a card that stops answering is.
        tree.write("sys/class/apex/apex_10/temp", "60000\n");
        assert_eq!(sight, look(tree.root()));
        tree.write("sys/class/apex/apex_10/temp", "-89700\n");
        let sight = look(tree.root());
        assert!(sight.cards[1].is_dead && sight.cards[1].temperature().is_none());
        let Some(Fault::NotOpened { words }) = sight.obstacle() else { panic!("{:?}", sight.obstacle()) };
        assert_eq!(words, ["/dev/apex_2 is held by process 1", "/dev/apex_10 does not answer"]);
    }

    #[test]
    fn a_card_that_a_child_of_ours_holds_is_not_somebody_elses() {
        let tree = Tree::default();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        tree.card(0, "ALIVE", "40000", "1", &child.id().to_string());
        let sight = look(tree.root());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(sight.cards[0].owner, None);
    }

    #[test]
    fn a_card_without_a_driver_is_named() {
        let tree = Tree::default();
        for (address, vendor, device) in [("0000:02:00.0", "0x1ac1", "0x089a"), ("0000:00:1f.0", "0x8086", "0x089a")] {
            tree.write(&format!("sys/bus/pci/devices/{address}/vendor"), &format!("{vendor}\n"));
            tree.write(&format!("sys/bus/pci/devices/{address}/device"), &format!("{device}\n"));
        }
        assert_eq!(look(tree.root()).without_driver, ["0000:02:00.0"]);
        tree.write("sys/bus/pci/devices/0000:02:00.0/driver/uevent", "");
        assert!(look(tree.root()).without_driver.is_empty());
    }

    #[test]
    fn nonsense_in_the_tree_is_passed_over() {
        let tree = Tree::default();
        tree.stick("2-1", "1a6e", "089a", "-1", "4", "5000");
        tree.stick("2-2", "1a6e", "089a", "2", "999999999999", "5000");
        tree.stick("2-3", "", "089a", "2", "4", "5000");
        tree.stick("2-4", "18d1", "9302", "2", "4", "unknown");
        let sight = look(tree.root());
        assert_eq!((sight.count(), sight.sticks[0].speed), (1, None), "{sight:?}");
    }
}
