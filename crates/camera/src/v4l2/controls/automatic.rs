//! Controls by their numbers: which automatic mode decides over which value, and names that changed.
//!
//! The numbers are those of linux/v4l2-controls.h, which stay; the names that drivers give them changed in Linux 5.14.

use v4l::v4l_sys as sys;

use super::list::{ControlInfo, ControlKind};

const BRIGHTNESS: u32 = 0x0098_0900;
const HUE: u32 = 0x0098_0903;
const AUTO_WHITE_BALANCE: u32 = 0x0098_090c;
const RED_BALANCE: u32 = 0x0098_090e;
const BLUE_BALANCE: u32 = 0x0098_090f;
const EXPOSURE: u32 = 0x0098_0911;
const AUTOGAIN: u32 = 0x0098_0912;
const GAIN: u32 = 0x0098_0913;
const HUE_AUTO: u32 = 0x0098_0919;
const WHITE_BALANCE_TEMPERATURE: u32 = 0x0098_091a;
const AUTOBRIGHTNESS: u32 = 0x0098_0920;
const EXPOSURE_AUTO: u32 = 0x009a_0901;
const EXPOSURE_ABSOLUTE: u32 = 0x009a_0902;
const EXPOSURE_AUTO_PRIORITY: u32 = 0x009a_0903;
const FOCUS_ABSOLUTE: u32 = 0x009a_090a;
const FOCUS_AUTO: u32 = 0x009a_090c;
const ISO_SENSITIVITY: u32 = 0x009a_0917;
const ISO_SENSITIVITY_AUTO: u32 = 0x009a_0918;
const ANALOGUE_GAIN: u32 = 0x009e_0903;

/// Names before and since Linux 5.14, each with its number.
const OTHER_NAMES: [(&str, u32); 11] = [
    ("exposure_auto", EXPOSURE_AUTO),
    ("auto_exposure", EXPOSURE_AUTO),
    ("exposure_absolute", EXPOSURE_ABSOLUTE),
    ("exposure_time_absolute", EXPOSURE_ABSOLUTE),
    ("exposure_auto_priority", EXPOSURE_AUTO_PRIORITY),
    ("exposure_dynamic_framerate", EXPOSURE_AUTO_PRIORITY),
    ("focus_auto", FOCUS_AUTO),
    ("focus_automatic_continuous", FOCUS_AUTO),
    ("white_balance_temperature_auto", AUTO_WHITE_BALANCE),
    ("white_balance_automatic", AUTO_WHITE_BALANCE),
    ("hue_auto", HUE_AUTO),
];

/// The number of the control that another kernel calls `name`.
pub(super) fn other_name(name: &str) -> Option<u32> {
    OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, id)| *id)
}

/// The automatic modes that may decide the control with this number, each with its value in which they don't.
pub(super) fn decides(id: u32) -> &'static [(u32, i64)] {
    match id {
        EXPOSURE_ABSOLUTE | EXPOSURE => &[(EXPOSURE_AUTO, 1)],
        GAIN | ANALOGUE_GAIN => &[(AUTOGAIN, 0), (EXPOSURE_AUTO, 1)],
        FOCUS_ABSOLUTE => &[(FOCUS_AUTO, 0)],
        WHITE_BALANCE_TEMPERATURE | RED_BALANCE | BLUE_BALANCE => &[(AUTO_WHITE_BALANCE, 0)],
        HUE => &[(HUE_AUTO, 0)],
        BRIGHTNESS => &[(AUTOBRIGHTNESS, 0)],
        ISO_SENSITIVITY => &[(ISO_SENSITIVITY_AUTO, 0)],
        _ => &[],
    }
}

/// Whether to set it before the others: automatic modes, and whatever changes others, as the driver says.
pub(super) fn ranks_first(control: &ControlInfo) -> bool {
    let is_mode = [
        EXPOSURE_AUTO,
        EXPOSURE_AUTO_PRIORITY,
        FOCUS_AUTO,
        AUTO_WHITE_BALANCE,
        AUTOGAIN,
        HUE_AUTO,
        AUTOBRIGHTNESS,
        ISO_SENSITIVITY_AUTO,
    ]
    .contains(&control.id);
    let is_choice = matches!(control.kind, ControlKind::Boolean | ControlKind::Menu);
    is_mode || (is_choice && control.flags & sys::V4L2_CTRL_FLAG_UPDATE != 0)
}
