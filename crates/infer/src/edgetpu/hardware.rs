//! What a look at the devices explains: nothing plugged in, no rights, somebody else's, too hot, a slow port.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base::device_users::{is_ours, process_name, users_of, DeviceUser};
use rustix::process::{getegid, geteuid, getgroups};

use super::root;
use super::sight::{below, name_of, Access, Card, Sight, Stick, StickState};

/// What helps most sticks that fail.
pub(super) const CONNECTION: &str =
    "Check cable, port and power: a short USB 3 cable, a port or powered hub that gives \
                                     900 mA, a power supply that is strong enough (dmesg tells of resets and \
under-voltage).";
/// Where the node may be opened, and opening it is refused all the same.
pub(super) const ALLOW: &str =
    "The system refuses the device although its node may be opened: a unit or container must \
                                allow it (DeviceAllow=char-usb_device rw, DeviceAllow=char-apex rw).";
/// Two programs.
pub(super) const SHARED: &str = "Another program uses it, and an Edge TPU serves one at a time: stop the other one.";
/// The one reason why libusb lists nothing of what sysfs shows: it can't open its netlink socket, and gives up whole.
pub(super) const UNLISTED: &str = "The kernel shows an Edge TPU that the library does not see: libusb needs a netlink \
                                   socket, so a stricter unit or container must allow AF_NETLINK \
                                   (RestrictAddressFamilies=AF_UNIX AF_NETLINK). Otherwise plug it in again.";
/// A stick that does not take its firmware.
const FIRMWARE: &str =
    "The stick still has no firmware (1a6e:089a): a container or virtual machine must be given both \
                        1a6e:089a and 18d1:9302, best the whole bus, because the stick comes back under the second; \
                        otherwise try another cable and port.";

/// Above this a card slows itself down (its driver's first trip point), m°C.
const HOT: i32 = 85_000;

/// What is wrong with what is plugged in, if anything is: the first reason why none can be used, or a card that is too hot.
pub(super) fn trouble(sight: &Sight) -> Option<String> {
    if sight.is_empty() {
        return Some(nothing(sight));
    }
    if sight.usable() == 0 {
        let sticks = sight.sticks.iter().filter_map(stick_trouble);
        return sticks.chain(sight.cards.iter().filter_map(card_trouble)).next();
    }
    sight.cards.iter().find_map(heat)
}

/// Why a stick can't be opened, and what to do.
pub(super) fn stick_trouble(stick: &Stick) -> Option<String> {
    refused(&stick.access, &stick.node)
}

/// Why a card can't be used, and what to do.
pub(super) fn card_trouble(card: &Card) -> Option<String> {
    if card.is_dead {
        return Some(format!(
            "{} does not answer any more, often because it was too hot: shut the machine down, take its power away for a \
             moment, and see to its cooling.",
            card.node.display()
        ));
    }
    let owned = |process| format!("{} is held by {}. {SHARED}", card.node.display(), program(process));
    refused(&card.access, &card.node).or_else(|| card.owner.map(owned))
}

/// A card that is too hot.
pub(super) fn heat(card: &Card) -> Option<String> {
    let heat = card.temperature().filter(|heat| *heat >= HOT)?;
    Some(format!(
        "{} is {} °C hot: it slows down from 85 °C and switches off at 100 °C. It needs a heat sink, or moving air.",
        card.node.display(),
        heat / 1000
    ))
}

fn nothing(sight: &Sight) -> String {
    if let Some(address) = sight.without_driver.first() {
        return format!(
            "The card at PCI address {address} has no driver: install gasket-dkms for this kernel (project \
             google/gasket-driver or feranick/gasket-driver), load it with `sudo modprobe apex`, and see dmesg."
        );
    }
    "No Edge TPU is plugged in that this machine sees: `lsusb` must show 1a6e:089a or 18d1:9302, or there must be \
     /dev/apex_0. Plug it in with a cable that carries data; a container or virtual machine must be given both ids."
        .to_owned()
}

/// Why a node can't be used, and who has to do what.
fn refused(access: &Access, node: &Path) -> Option<String> {
    let (owner, group, mode) = match access {
        Access::Allowed => return None,
        Access::Missing => {
            let given = if node.starts_with("/dev/bus") { "the whole of /dev/bus/usb, as it changes" } else { "it" };
            return Some(format!("{} is not here: a container must be given {given}.", node.display()));
        }
        Access::Denied { owner, group, mode } => (owner, group, *mode),
    };
    let user = name_of(&root(), "passwd", geteuid().as_raw());
    let refused = format!("User {user} may not open {} ({owner}:{group} {mode:04o})", node.display());
    // A group other than root's that may read and write it: the rules are in effect.
    if mode & 0o060 == 0o060 && group != "root" {
        let has_it = groups().contains(group);
        return Some(if has_it || is_member(&user, group) {
            format!(
                "{refused}: user {user} was added to group {group} after this program's session began; log in again."
            )
        } else {
            format!("{refused}: add it to the group (`sudo usermod -aG {group} {user}`), and log in again.")
        });
    }
    Some(format!(
        "{refused}: its udev rules are missing. Install 60-pspnetd.rules (docs/edge-tpu.md), then `sudo udevadm control \
         --reload && sudo udevadm trigger`, or plug it in again."
    ))
}

/// Names of the groups that this process has.
fn groups() -> BTreeSet<String> {
    let ids = getgroups().unwrap_or_default().into_iter().chain([getegid()]);
    ids.map(|id| name_of(&root(), "group", id.as_raw())).collect()
}

/// Whether `/etc/group` has `user` in `group`.
fn is_member(user: &str, group: &str) -> bool {
    let table = fs::read_to_string(root().join("etc/group")).unwrap_or_default();
    let members = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(2)).flatten()
    });
    members.is_some_and(|members| members.split(',').any(|member| member == user))
}

/// Another program that has one of the sticks open, as far as we may see.
pub(super) fn busy(sight: &Sight) -> Option<String> {
    sight.sticks.iter().find_map(|stick| holders_of(&root(), stick))
}

/// Another program that has this stick open, as far as we may see.
pub(super) fn holders_of(root: &Path, stick: &Stick) -> Option<String> {
    let all = users_of(&below(root, &stick.node)).into_iter();
    let others: Vec<String> = all.filter(|holder| !is_ours(holder.process)).map(|holder| holder.to_string()).collect();
    (!others.is_empty()).then(|| format!("{} is in use by {}. {SHARED}", stick.node.display(), others.join(", ")))
}

/// A stick that never got its firmware.
pub(super) fn firmware(sight: &Sight) -> Option<&'static str> {
    sight.sticks.iter().any(|stick| stick.state == StickState::Fresh).then_some(FIRMWARE)
}

/// A word on a stick that is connected as USB 2, with a blank before it.
pub(super) fn slow(sight: &Sight) -> String {
    sight.sticks.iter().find_map(slow_stick).map(|words| format!(" {words}")).unwrap_or_default()
}

/// A word on this stick, if it is connected as USB 2.
pub(super) fn slow_stick(stick: &Stick) -> Option<&'static str> {
    let is_slow = stick.speed.is_some_and(|speed| speed < 5000);
    is_slow.then_some("It is connected as USB 2: a USB 3 port (blue) and cable are faster, and give it more power.")
}

/// `name (pid)`, or the number where the process can't be seen.
fn program(process: u32) -> String {
    let unseen = || format!("process {process}");
    process_name(process).map_or_else(unseen, |name| DeviceUser { name, process }.to_string())
}
