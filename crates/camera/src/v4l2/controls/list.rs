//! What controls a device has, what they are now, and setting one: requests to the driver.
#![allow(unsafe_code)]

use std::io;

use rustix::io::Errno;
use serde::Serialize;
use v4l::v4l2::vidioc;
use v4l::v4l_sys as sys;

use crate::v4l2::node::{text, Plain};
use crate::v4l2::ring::Driver;

/// More than any driver has: ends the enumeration of one that never says "no more".
const MOST_CONTROLS: usize = 512;
/// The same of the items of a menu.
const MOST_ITEMS: i64 = 256;

/// What kind of value a control has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// A number.
    Integer,
    /// Off and on.
    Boolean,
    /// One of a list, by number or by its words.
    Menu,
    /// Something that happens when it is set.
    Button,
    /// A number of 64 bits.
    Integer64,
    /// Bits.
    Bitmask,
    /// One of a list of numbers, by its place.
    IntegerMenu,
    /// Words. pspnetd doesn't set them.
    Text,
}

impl ControlKind {
    fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER => Self::Integer,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN => Self::Boolean,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU => Self::Menu,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BUTTON => Self::Button,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER64 => Self::Integer64,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK => Self::Bitmask,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU => Self::IntegerMenu,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_STRING => Self::Text,
            // Headings, and structures and arrays that codecs have.
            _ => return None,
        })
    }
}

/// An entry of a menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MenuItem {
    /// Its number.
    pub index: i64,
    /// Its words, or the number that it stands for.
    pub text: String,
}

/// A control of a camera.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlInfo {
    /// Its name, as `[camera.controls]` and `v4l2-ctl` have it.
    pub name: String,
    #[serde(skip)]
    pub(super) id: u32,
    /// Its kind of value.
    pub kind: ControlKind,
    /// The smallest value.
    pub minimum: i64,
    /// The largest value.
    pub maximum: i64,
    /// From one value to the next.
    pub step: u64,
    /// The value that it has by default.
    pub default: i64,
    /// The value that it has now, where the driver tells.
    pub value: Option<i64>,
    /// The entries of a menu.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<MenuItem>,
    /// It can't be set.
    pub read_only: bool,
    /// It has no effect now, because another control decides it.
    pub inactive: bool,
    /// Another program, or the stream, holds it.
    pub grabbed: bool,
    #[serde(skip)]
    pub(super) flags: u32,
}

impl ControlInfo {
    /// Whether the driver tells its value.
    fn can_be_read(&self) -> bool {
        let has_one = !matches!(self.kind, ControlKind::Button | ControlKind::Text);
        has_one && self.flags & sys::V4L2_CTRL_FLAG_WRITE_ONLY == 0
    }

    /// Whether it is what it was set to, until it is set again.
    pub(super) fn keeps_its_value(&self) -> bool {
        self.can_be_read() && self.flags & (sys::V4L2_CTRL_FLAG_VOLATILE | EXECUTE_ON_WRITE) == 0
    }

    /// Whether it changes what a frame looks like in memory.
    pub(super) fn changes_layout(&self) -> bool {
        self.flags & MODIFY_LAYOUT != 0
    }

    /// A value as people read it: with the words of a menu's entry.
    pub fn shown(&self, value: i64) -> String {
        let item = self.items.iter().find(|item| item.index == value);
        item.map_or_else(|| value.to_string(), |item| format!("{value} ({})", item.text))
    }

    /// Which values it takes.
    pub fn expected(&self) -> String {
        let list = || self.items.iter().map(|item| self.shown(item.index)).collect::<Vec<_>>().join(", ");
        match self.kind {
            ControlKind::Boolean => "true or false".to_owned(),
            ControlKind::Menu | ControlKind::IntegerMenu if !self.items.is_empty() => list(),
            ControlKind::Button => "true, which presses it whenever the camera is opened".to_owned(),
            ControlKind::Bitmask => format!("bits of {:#x}", self.maximum),
            ControlKind::Text => "words, which pspnetd doesn't set".to_owned(),
            _ if self.step > 1 => format!("{} to {} in steps of {}", self.minimum, self.maximum, self.step),
            _ => format!("{} to {}", self.minimum, self.maximum),
        }
    }
}

/// V4L2_CTRL_FLAG_EXECUTE_ON_WRITE and V4L2_CTRL_FLAG_MODIFY_LAYOUT, which older headers lack.
const EXECUTE_ON_WRITE: u32 = 0x0200;
const MODIFY_LAYOUT: u32 = 0x0400;

/// What a driver said of its controls.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub controls: Vec<ControlInfo>,
    /// It failed on the way: there may be more.
    pub failed: Option<Errno>,
}

/// Every control that has a name and one value, without what it is now.
pub(super) fn list(driver: &impl Driver) -> Listed {
    let mut listed = Listed::default();
    let mut last = 0;
    for _ in 0..MOST_CONTROLS {
        let raw = match query(driver, last | sys::V4L2_CTRL_FLAG_NEXT_CTRL) {
            Ok(raw) => raw,
            Err(error) => {
                listed.failed = listed.failed.or_else(|| failure(&error));
                break;
            }
        };
        if raw.id <= last {
            // The same again: a driver that doesn't know how to go on.
            break;
        }
        last = raw.id;
        let items = match ControlKind::of(raw.type_) {
            Some(kind) => items(driver, &raw, kind),
            None => Ok(Vec::new()),
        };
        match items {
            Ok(items) => listed.controls.extend(control(&raw, items)),
            Err(error) => listed.failed = failure(&error),
        }
    }
    listed
}

/// What the error is where it isn't the driver's way to say that there is nothing there, or that it has no controls.
fn failure(error: &io::Error) -> Option<Errno> {
    match Errno::from_io_error(error) {
        Some(Errno::INVAL | Errno::NOTTY) => None,
        other => Some(other.unwrap_or(Errno::IO)),
    }
}

fn query(driver: &impl Driver, id: u32) -> io::Result<sys::v4l2_query_ext_ctrl> {
    let mut raw = sys::v4l2_query_ext_ctrl { id, ..sys::v4l2_query_ext_ctrl::zeroed() };
    match driver.ioctl(vidioc::VIDIOC_QUERY_EXT_CTRL, &mut raw) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) => {}
        answered => return answered.map(|()| raw),
    }
    // A driver of before Linux 3.17, or a library that stands in for one.
    let mut old = sys::v4l2_queryctrl { id, ..sys::v4l2_queryctrl::zeroed() };
    driver.ioctl(vidioc::VIDIOC_QUERYCTRL, &mut old)?;
    let mut name = raw.name;
    for (to, from) in name.iter_mut().zip(old.name) {
        *to = from as std::os::raw::c_char;
    }
    let unsigned = old.type_ == sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK;
    let wide = |value: i32| if unsigned { i64::from(value.cast_unsigned()) } else { i64::from(value) };
    Ok(sys::v4l2_query_ext_ctrl {
        id: old.id,
        type_: old.type_,
        name,
        minimum: wide(old.minimum),
        maximum: wide(old.maximum),
        step: u64::try_from(old.step).unwrap_or_default(),
        default_value: wide(old.default_value),
        flags: old.flags,
        ..raw
    })
}

fn control(raw: &sys::v4l2_query_ext_ctrl, items: Vec<MenuItem>) -> Option<ControlInfo> {
    let kind = ControlKind::of(raw.type_)?;
    let has = |flag: u32| raw.flags & flag != 0;
    if has(sys::V4L2_CTRL_FLAG_DISABLED) || raw.nr_of_dims > 0 {
        return None;
    }
    let name: Vec<u8> = raw.name.iter().map(|character| *character as u8).collect();
    Some(ControlInfo {
        name: name_of(&text(&name)),
        id: raw.id,
        kind,
        minimum: raw.minimum,
        maximum: raw.maximum,
        step: raw.step,
        default: raw.default_value,
        value: None,
        items,
        read_only: has(sys::V4L2_CTRL_FLAG_READ_ONLY),
        inactive: has(sys::V4L2_CTRL_FLAG_INACTIVE),
        grabbed: has(sys::V4L2_CTRL_FLAG_GRABBED),
        flags: raw.flags,
    })
}

/// The driver's name for it as `v4l2-ctl` writes it: letters and digits, small, with one underscore for whatever is between.
fn name_of(driver: &str) -> String {
    let words = driver.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

fn items(driver: &impl Driver, raw: &sys::v4l2_query_ext_ctrl, kind: ControlKind) -> io::Result<Vec<MenuItem>> {
    if !matches!(kind, ControlKind::Menu | ControlKind::IntegerMenu) {
        return Ok(Vec::new());
    }
    let last = raw.maximum.min(raw.minimum.saturating_add(MOST_ITEMS));
    let item = |index: i64| {
        let number = u32::try_from(index).map_err(|_| Errno::INVAL)?;
        let mut item = sys::v4l2_querymenu { id: raw.id, index: number, ..sys::v4l2_querymenu::zeroed() };
        driver.ioctl(vidioc::VIDIOC_QUERYMENU, &mut item)?;
        // SAFETY: any bits are valid in both members, bytes and an integer; the type says which one the kernel filled in.
        let (name, value) = unsafe { (item.__bindgen_anon_1.name, item.__bindgen_anon_1.value) };
        let text = if kind == ControlKind::IntegerMenu { value.to_string() } else { text(&name) };
        Ok(MenuItem { index, text })
    };
    // Drivers leave out what the device doesn't have.
    let there = |item: &io::Result<MenuItem>| !item.as_ref().is_err_and(|error| failure(error).is_none());
    (raw.minimum..=last).map(item).filter(there).collect()
}

/// What a control is now.
pub(super) fn read(driver: &impl Driver, control: &ControlInfo) -> io::Result<i64> {
    if !control.can_be_read() {
        return Err(Errno::ACCESS.into());
    }
    exchange(driver, control, 0, (vidioc::VIDIOC_G_EXT_CTRLS, vidioc::VIDIOC_G_CTRL))
}

/// Sets a control; what the driver made of the value.
pub(super) fn write(driver: &impl Driver, control: &ControlInfo, value: i64) -> io::Result<i64> {
    exchange(driver, control, value, (vidioc::VIDIOC_S_EXT_CTRLS, vidioc::VIDIOC_S_CTRL))
}

/// Sends the first request, or, to a driver that doesn't know it, the second.
fn exchange(
    driver: &impl Driver,
    control: &ControlInfo,
    value: i64,
    (request, old_request): (vidioc::_IOC_TYPE, vidioc::_IOC_TYPE),
) -> io::Result<i64> {
    let is_wide = control.kind == ControlKind::Integer64;
    // Bits of 32 in a signed field of 32; everything else was held to the driver's own range.
    let narrow = value as i32;
    let mut one = sys::v4l2_ext_control { id: control.id, ..sys::v4l2_ext_control::zeroed() };
    if is_wide {
        one.__bindgen_anon_1.value64 = value;
    } else {
        one.__bindgen_anon_1.value = narrow;
    }
    // The kernel reads and writes as many controls as `count` says: this one, which outlives the request.
    let mut all = sys::v4l2_ext_controls { count: 1, controls: &raw mut one, ..sys::v4l2_ext_controls::zeroed() };
    let held = |narrow: i32| match control.kind {
        ControlKind::Bitmask => i64::from(narrow.cast_unsigned()),
        _ => i64::from(narrow),
    };
    match driver.ioctl(request, &mut all) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) && !is_wide => {}
        answered => {
            answered?;
            // SAFETY: integers, whatever their bits; the control's type says which one the kernel filled in.
            let (wide, narrow) = unsafe { (one.__bindgen_anon_1.value64, one.__bindgen_anon_1.value) };
            return Ok(if is_wide { wide } else { held(narrow) });
        }
    }
    let mut old = sys::v4l2_control { id: control.id, value: narrow };
    driver.ioctl(old_request, &mut old)?;
    Ok(held(old.value))
}

#[cfg(test)]
impl ControlInfo {
    /// A control of a test's own.
    pub(super) fn of_a_test(name: &str, kind: ControlKind, range: (i64, i64), items: &[(i64, &str)]) -> Self {
        let items = items.iter().map(|(index, text)| MenuItem { index: *index, text: (*text).to_owned() }).collect();
        Self {
            name: name.to_owned(),
            id: 0,
            kind,
            minimum: range.0,
            maximum: range.1,
            step: 1,
            default: range.0,
            value: None,
            items,
            read_only: false,
            inactive: false,
            grabbed: false,
            flags: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        for (driver, name) in [
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("Focus (absolute)", "focus_absolute"),
            ("LED1 Mode", "led1_mode"),
            (" - Gain -", "gain"),
            ("Größe", "gr_e"),
        ] {
            assert_eq!(name_of(driver), name);
        }
    }
}
