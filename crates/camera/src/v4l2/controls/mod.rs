//! A camera's controls: exposure, focus, gain, white balance and whatever else its driver has.
//!
//! The parts: `list` asks the driver what there is, `wish` makes a number of what the user wrote, `automatic` knows which
//! control decides over which, and this file sets them, in an order that works, and says which were refused.

mod automatic;
mod list;
mod wish;

use std::fmt;

use base::names::near;
use rustix::io::Errno;

use self::automatic::{decides, other_name, ranks_first};
use self::list::{list, read, write, Listed};
use super::ring::Driver;

pub use self::list::{ControlInfo, ControlKind, MenuItem};
pub use self::wish::{ControlValue, Controls};

/// All controls of a device.
pub(super) fn controls(driver: &impl Driver) -> Vec<ControlInfo> {
    let mut found = list(driver).controls;
    for control in &mut found {
        control.value = read(driver, control).ok();
    }
    found
}

/// What is wished of one camera, and what became of it.
pub(super) struct Desk {
    wished: Vec<Wished>,
    refused: Vec<Refused>,
    /// What the driver said last of all its controls.
    known: Vec<ControlInfo>,
}

/// A control that the camera has, with the number that is wished for it.
struct Wished {
    /// As the user called it.
    name: String,
    text: String,
    control: ControlInfo,
    number: i64,
    /// What the camera made of it, once it took it.
    held: Option<i64>,
}

/// A control that was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// As the user called it.
    pub name: String,
    /// As the user wrote it.
    pub value: String,
    pub reason: String,
    /// Only another configuration can mend it.
    pub is_wrong: bool,
}

impl Refused {
    /// Its key in the configuration.
    pub(super) fn key(&self) -> String {
        format!("camera.controls.{}", self.name)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.key(), self.value, self.reason)
    }
}

impl Desk {
    /// Looks the wishes up among the camera's controls. Asks the driver nothing where there are none.
    pub(super) fn new(driver: &impl Driver, wishes: &Controls) -> Self {
        let Listed { controls: known, failed } = if wishes.is_empty() { Listed::default() } else { list(driver) };
        let mut desk = Self { wished: Vec::new(), refused: Vec::new(), known };
        for (name, value) in wishes.iter() {
            let found = find(&desk.known, name).and_then(|control| {
                let number = value.number_for(control)?;
                Ok((control.clone(), number))
            });
            match found {
                Ok((control, number)) => {
                    let (name, text) = (name.clone(), value.to_string());
                    desk.wished.push(Wished { name, text, control, number, held: None });
                }
                // It may be among those that the driver didn't come to.
                Err(reason) => match failed {
                    Some(error) => desk.refuse(name, &value.to_string(), broken(error), false),
                    None => desk.refuse(name, &value.to_string(), reason, true),
                },
            }
        }
        // Automatic modes first: as long as one is on, the driver refuses what it decides.
        desk.wished.sort_by_key(|wished| !ranks_first(&wished.control));
        desk
    }

    fn refuse(&mut self, name: &str, value: &str, reason: String, is_wrong: bool) {
        self.refused.push(Refused { name: name.to_owned(), value: value.to_owned(), reason, is_wrong });
    }

    /// Sets those that change the format, such as a rotation: that comes before the format.
    pub(super) fn set_layout(&self, driver: &impl Driver) {
        for wished in self.wished.iter().filter(|wished| wished.control.changes_layout()) {
            // What fails here is tried again with the others, which says why.
            let _ = write(driver, &wished.control, wished.number);
        }
    }

    /// Sets all of them.
    pub(super) fn set(&mut self, driver: &impl Driver) {
        let mut waiting: Vec<(usize, Option<Errno>)> = (0..self.wished.len()).map(|index| (index, None)).collect();
        // One that fails may become possible by one that is set after it, so the rest has another go while there is progress.
        loop {
            let before = waiting.len();
            waiting.retain_mut(|(index, error)| {
                let wished = &mut self.wished[*index];
                match write(driver, &wished.control, wished.number) {
                    Ok(held) => wished.held = Some(held),
                    Err(failed) => *error = Some(Errno::from_io_error(&failed).unwrap_or(Errno::IO)),
                }
                wished.held.is_none()
            });
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        if self.wished.is_empty() {
            return;
        }
        // Their flags of now, and, where somebody has to be told of them, their values.
        self.known = list(driver).controls;
        if !waiting.is_empty() || self.wished.iter().any(|wished| self.is_inactive(wished)) {
            self.known = controls(driver);
        }
        for (index, error) in waiting {
            let wished = &self.wished[index];
            let (reason, is_wrong) = self.refusal(wished, error.unwrap_or(Errno::IO));
            let (name, text) = (wished.name.clone(), wished.text.clone());
            self.refuse(&name, &text, reason, is_wrong);
        }
        self.refuse_idle();
        self.wished.retain(|wished| wished.held.is_some());
    }

    /// Many drivers take a value and keep it for the day on which the automatic mode is switched off.
    fn refuse_idle(&mut self) {
        for index in 0..self.wished.len() {
            let wished = &self.wished[index];
            if wished.held.is_some() && self.is_inactive(wished) {
                let (name, text, reason) = (wished.name.clone(), wished.text.clone(), self.inactive(wished));
                self.refuse(&name, &text, reason, true);
                self.wished[index].held = None;
            }
        }
    }

    fn is_inactive(&self, wished: &Wished) -> bool {
        self.known.iter().any(|control| control.id == wished.control.id && control.inactive)
    }

    /// Why the driver refused it, and whether that is the configuration's fault.
    fn refusal(&self, wished: &Wished, error: Errno) -> (String, bool) {
        let now = self.known.iter().find(|control| control.id == wished.control.id).unwrap_or(&wished.control);
        let system = std::io::Error::from(error);
        match error {
            _ if now.inactive => (self.inactive(wished), true),
            Errno::BUSY => {
                (format!("{system}: another program holds this control, or it can't change while frames come"), false)
            }
            Errno::INVAL | Errno::RANGE | Errno::ACCESS | Errno::PERM => {
                (format!("the camera refused it ({system}); expected {}", now.expected()), true)
            }
            _ => (broken(error), false),
        }
    }

    fn inactive(&self, wished: &Wished) -> String {
        let decider = decides(wished.control.id)
            .iter()
            .find_map(|(id, manual)| Some((self.known.iter().find(|control| control.id == *id)?, *manual)));
        match decider {
            Some((decider, manual)) if decider.value != Some(manual) => {
                let now = decider.value.map_or_else(String::new, |value| format!(", now {}", decider.shown(value)));
                format!("it has no effect while {} decides it{now}: set {} = {manual} too", decider.name, decider.name)
            }
            _ => "it has no effect now, because another control decides it (an automatic mode): \
                  `pspnetd devices --controls` shows them"
                .to_owned(),
        }
    }

    /// Looks again when frames come: some cameras forget what was set when their stream starts.
    pub(super) fn keep(&mut self, driver: &impl Driver) {
        let mut lost = Vec::new();
        for wished in self.wished.iter().filter(|wished| wished.control.keeps_its_value()) {
            let Some(held) = wished.held else { continue };
            let has = |value: Result<i64, _>| value.is_ok_and(|value| value == held);
            if has(read(driver, &wished.control)) {
                continue;
            }
            let again = write(driver, &wished.control, wished.number);
            if !again.is_ok_and(|_| has(read(driver, &wished.control))) {
                lost.push((wished.name.clone(), wished.text.clone()));
            }
        }
        for (name, text) in lost {
            self.refuse(&name, &text, "the camera took it, and forgot it when its stream started".to_owned(), false);
        }
    }

    /// Those that were not set.
    pub(super) fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Those of which the camera made another value, as it does where it has steps.
    pub(super) fn rounded(&self) -> impl Iterator<Item = String> + '_ {
        let rounded = |wished: &Wished| {
            let held = wished.held.filter(|held| *held != wished.number && wished.control.keeps_its_value())?;
            Some(format!("camera.controls.{} {}: the camera made it {held}", wished.name, wished.text))
        };
        self.wished.iter().filter_map(rounded)
    }

    /// For the line that describes the camera; empty where nothing is set.
    pub(super) fn describe(&self) -> String {
        let mut set: Vec<_> = self.wished.iter().filter_map(|wished| Some((wished, wished.held?))).collect();
        set.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let set: Vec<_> =
            set.iter().map(|(wished, held)| format!("{} {}", wished.name, wished.control.shown(*held))).collect();
        if set.is_empty() {
            return String::new();
        }
        format!("; {}", set.join(", "))
    }
}

/// For an error that no configuration mends.
fn broken(error: Errno) -> String {
    let system = std::io::Error::from(error);
    format!("the camera failed ({system}): `v4l2-ctl` may tell more, or another cable or port")
}

/// The control that the user calls `name`.
fn find<'a>(known: &'a [ControlInfo], name: &str) -> Result<&'a ControlInfo, String> {
    let by_name = known.iter().find(|control| control.name == name);
    // Guides are full of the names of before Linux 5.14.
    let by_other = || {
        let id = other_name(name)?;
        known.iter().find(|control| control.id == id)
    };
    by_name.or_else(by_other).ok_or_else(|| {
        if known.is_empty() {
            return "the camera has no controls".to_owned();
        }
        let names: Vec<String> = known.iter().map(|control| control.name.clone()).collect();
        let nearest = near(name, &names, 3);
        let hint = if nearest.is_empty() { String::new() } else { format!("did you mean {}? ", nearest.join(" or ")) };
        format!("the camera has no such control; {hint}`pspnetd devices --controls` lists what it has")
    })
}

#[cfg(test)]
mod tests;
