//! Wishes at a driver that a test scripts: what is asked of it, in which order, and what is made of its answers.

#![allow(clippy::unwrap_used, clippy::panic, unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Mutex;

use v4l::v4l2::vidioc;
use v4l::v4l_sys as sys;

use super::*;
use crate::v4l2::node::Plain;
use ControlValue::{Boolean, Integer, Text};

const AUTO_EXPOSURE: u32 = 0x009a_0901;
const EXPOSURE: u32 = 0x009a_0902;
const GAIN: u32 = 0x0098_0913;
const TEMPERATURE: u32 = 0x0098_091a;
const RATE: u32 = 0x009f_0902;

/// A camera with four controls: an automatic mode, what it decides, a gain, and a number of 64 bits.
struct Fake {
    values: Mutex<Vec<(u32, i64)>>,
    set: Mutex<Vec<(u32, i64)>>,
    /// It takes an inactive control's value and keeps it, as most drivers do.
    is_lenient: bool,
    /// It knows only the requests of old.
    is_old: bool,
    failing: Option<(u32, Errno)>,
    /// It fails where it is asked about this control, or, if it has a menu, about the menu.
    breaks_at: Option<(u32, Errno)>,
}

impl Fake {
    fn new() -> Self {
        let values = vec![(GAIN, 16), (TEMPERATURE, 4600), (AUTO_EXPOSURE, 3), (EXPOSURE, 156), (RATE, 1 << 33)];
        Self {
            values: Mutex::new(values),
            set: Mutex::default(),
            is_lenient: false,
            is_old: false,
            failing: None,
            breaks_at: None,
        }
    }

    fn value(&self, id: u32) -> i64 {
        self.values.lock().unwrap().iter().find(|(known, _)| *known == id).unwrap().1
    }

    fn is_inactive(&self, id: u32) -> bool {
        id == EXPOSURE && self.value(AUTO_EXPOSURE) != 1
    }

    fn set(&self, id: u32, value: i64) -> io::Result<i64> {
        if let Some((_, errno)) = self.failing.filter(|(failing, _)| *failing == id) {
            return Err(errno.into());
        }
        if self.is_inactive(id) && !self.is_lenient {
            return Err(Errno::ACCESS.into());
        }
        self.set.lock().unwrap().push((id, value));
        // It has steps of ten.
        let held = if id == TEMPERATURE { value / 10 * 10 } else { value };
        self.values.lock().unwrap().iter_mut().find(|(known, _)| *known == id).unwrap().1 = held;
        Ok(held)
    }

    fn next(&self, id: u32) -> io::Result<u32> {
        let id = id & !sys::V4L2_CTRL_FLAG_NEXT_CTRL;
        let values = self.values.lock().unwrap();
        values.iter().map(|(known, _)| *known).filter(|known| *known > id).min().ok_or_else(|| Errno::INVAL.into())
    }

    /// Name, type, range and default.
    fn about(id: u32) -> (&'static str, u32, i64, i64, i64) {
        match id {
            GAIN => ("Gain", sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER, 0, 255, 16),
            TEMPERATURE => ("White Balance Temperature", sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER, 2000, 6500, 4600),
            AUTO_EXPOSURE => ("Auto Exposure", sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU, 0, 3, 3),
            EXPOSURE => ("Exposure Time, Absolute", sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER, 3, 2047, 250),
            _ => ("Pixel Rate", sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER64, 0, 1 << 40, 1 << 33),
        }
    }

    fn flags(&self, id: u32) -> u32 {
        if self.is_inactive(id) {
            sys::V4L2_CTRL_FLAG_INACTIVE
        } else {
            0
        }
    }

    fn query(&self, raw: &mut sys::v4l2_query_ext_ctrl) -> io::Result<()> {
        raw.id = self.next(raw.id)?;
        if raw.id != AUTO_EXPOSURE {
            self.answers(raw.id)?;
        }
        let (name, kind, minimum, maximum, default) = Self::about(raw.id);
        for (to, from) in raw.name.iter_mut().zip(name.bytes()) {
            *to = from as std::os::raw::c_char;
        }
        (raw.type_, raw.minimum, raw.maximum, raw.step, raw.default_value) = (kind, minimum, maximum, 1, default);
        raw.flags = self.flags(raw.id);
        Ok(())
    }

    fn query_old(&self, raw: &mut sys::v4l2_queryctrl) -> io::Result<()> {
        raw.id = self.next(raw.id)?;
        let (name, kind, minimum, maximum, default) = Self::about(raw.id);
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        (raw.type_, raw.minimum, raw.maximum, raw.step, raw.default_value) =
            (kind, minimum as i32, maximum as i32, 1, default as i32);
        raw.flags = self.flags(raw.id);
        Ok(())
    }

    fn answers(&self, id: u32) -> io::Result<()> {
        match self.breaks_at {
            Some((at, errno)) if at == id => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn item(&self, raw: &mut sys::v4l2_querymenu) -> io::Result<()> {
        self.answers(raw.id)?;
        let name = match raw.index {
            1 => "Manual Mode",
            3 => "Aperture Priority Mode",
            _ => return Err(Errno::INVAL.into()),
        };
        let mut field = [0; 32];
        field[..name.len()].copy_from_slice(name.as_bytes());
        raw.__bindgen_anon_1.name = field;
        Ok(())
    }

    fn extended(&self, raw: &sys::v4l2_ext_controls, set: bool) -> io::Result<()> {
        assert_eq!(raw.count, 1);
        // SAFETY: the request comes with a pointer to as many controls as the count says.
        let one = unsafe { &mut *raw.controls };
        let (id, is_wide) = (one.id, one.id == RATE);
        // SAFETY: integers, whatever their bits.
        let (wide, narrow) = unsafe { (one.__bindgen_anon_1.value64, one.__bindgen_anon_1.value) };
        let value = if is_wide { wide } else { narrow.into() };
        let held = if set { self.set(id, value)? } else { self.value(id) };
        if is_wide {
            one.__bindgen_anon_1.value64 = held;
        } else {
            one.__bindgen_anon_1.value = held as i32;
        }
        Ok(())
    }

    fn single(&self, raw: &mut sys::v4l2_control, set: bool) -> io::Result<()> {
        let held = if set { self.set(raw.id, raw.value.into())? } else { self.value(raw.id) };
        raw.value = held as i32;
        Ok(())
    }
}

impl Driver for Fake {
    fn path(&self) -> &Path {
        Path::new("/dev/video9")
    }

    fn fd(&self) -> BorrowedFd<'_> {
        panic!("no memory is mapped")
    }

    fn ioctl<T: Plain>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        assert_eq!((request >> 16) & 0x3fff, size_of::<T>() as vidioc::_IOC_TYPE);
        let argument: *mut T = argument;
        // SAFETY: the size was checked, and these requests come with these structures.
        unsafe {
            match request {
                vidioc::VIDIOC_QUERYCTRL => self.query_old(&mut *argument.cast()),
                vidioc::VIDIOC_QUERYMENU => self.item(&mut *argument.cast()),
                vidioc::VIDIOC_G_CTRL => self.single(&mut *argument.cast(), false),
                vidioc::VIDIOC_S_CTRL => self.single(&mut *argument.cast(), true),
                _ if self.is_old => Err(Errno::NOTTY.into()),
                vidioc::VIDIOC_QUERY_EXT_CTRL => self.query(&mut *argument.cast()),
                vidioc::VIDIOC_G_EXT_CTRLS => self.extended(&*argument.cast(), false),
                vidioc::VIDIOC_S_EXT_CTRLS => self.extended(&*argument.cast(), true),
                other => panic!("request {other:#x}"),
            }
        }
    }
}

fn set_at(fake: &Fake, wishes: &Controls) -> Desk {
    let mut desk = Desk::new(fake, wishes);
    desk.set_layout(fake);
    desk.set(fake);
    desk.keep(fake);
    desk
}

fn refusals(desk: &Desk) -> Vec<String> {
    desk.refused().iter().map(ToString::to_string).collect()
}

#[test]
fn an_automatic_mode_is_set_before_what_it_decides() {
    for is_old in [false, true] {
        let fake = Fake { is_old, ..Fake::new() };
        let mode = Text("manual mode".to_owned());
        let desk = set_at(&fake, &[("auto_exposure", mode), ("exposure_time_absolute", Integer(100))].into());
        assert_eq!(refusals(&desk), [""; 0]);
        assert_eq!(*fake.set.lock().unwrap(), [(AUTO_EXPOSURE, 1), (EXPOSURE, 100)]);
        assert_eq!(desk.describe(), "; auto_exposure 1 (Manual Mode), exposure_time_absolute 100");
    }
}

#[test]
fn the_names_of_older_kernels_mean_the_same() {
    let fake = Fake::new();
    let desk = set_at(&fake, &[("exposure_auto", Integer(1)), ("exposure_absolute", Integer(5))].into());
    assert_eq!(refusals(&desk), [""; 0]);
    assert_eq!([AUTO_EXPOSURE, EXPOSURE].map(|id| fake.value(id)), [1, 5]);
}

#[test]
fn what_an_automatic_mode_decides_is_refused_with_the_mode_to_set() {
    for is_lenient in [false, true] {
        let fake = Fake { is_lenient, ..Fake::new() };
        let desk = set_at(&fake, &[("exposure_time_absolute", Integer(100))].into());
        let expected =
            "camera.controls.exposure_time_absolute 100: it has no effect while auto_exposure decides it, now 3 \
                        (Aperture Priority Mode): set auto_exposure = 1 too";
        assert_eq!(refusals(&desk), [expected]);
        assert!(desk.refused()[0].is_wrong);
        assert_eq!(desk.describe(), "");
    }
}

#[test]
fn a_name_that_the_camera_lacks_is_told_with_the_nearest() {
    let fake = Fake::new();
    let wishes = [("exposure_tim_absolute", Integer(1)), ("zzz", Boolean(true)), ("gain", Integer(20))].into();
    let desk = set_at(&fake, &wishes);
    let said = refusals(&desk);
    assert!(said[0].contains("no such control; did you mean exposure_time_absolute"), "{said:?}");
    assert!(said[1].contains("no such control; `pspnetd devices --controls` lists"), "{said:?}");
    assert!(desk.refused().iter().all(|refused| refused.is_wrong));
    assert_eq!(fake.value(GAIN), 20, "the others are set");
}

#[test]
fn what_a_driver_that_fails_did_not_come_to_is_no_fault_of_the_configuration() {
    let of = |id: u32, errno: Errno| {
        let fake = Fake { breaks_at: Some((id, errno)), ..Fake::new() };
        let wishes = [("auto_exposure", Text("manual mode".to_owned())), ("pixel_rate", Integer(5))].into();
        let desk = set_at(&fake, &wishes);
        desk.refused().iter().map(|refused| (refused.name.clone(), refused.is_wrong)).collect::<Vec<_>>()
    };
    for errno in [Errno::NODEV, Errno::IO, Errno::TIMEDOUT] {
        assert_eq!(of(RATE, errno), [("pixel_rate".to_owned(), false)]);
        assert_eq!(of(AUTO_EXPOSURE, errno), [("auto_exposure".to_owned(), false)]);
    }
    assert_eq!(of(RATE, Errno::INVAL), [("pixel_rate".to_owned(), true)], "that is how a list ends");
}

#[test]
fn a_value_of_64_bits_arrives_whole() {
    let fake = Fake::new();
    let desk = set_at(&fake, &[("pixel_rate", Integer((1 << 40) - 1))].into());
    assert_eq!((refusals(&desk), fake.value(RATE)), (vec![], (1 << 40) - 1));
}

#[test]
fn what_the_camera_rounds_is_said() {
    let fake = Fake::new();
    let desk = set_at(&fake, &[("white_balance_temperature", Integer(4567))].into());
    let rounded: Vec<_> = desk.rounded().collect();
    assert_eq!(rounded, ["camera.controls.white_balance_temperature 4567: the camera made it 4560"]);
    assert_eq!(refusals(&desk), [""; 0]);
}

#[test]
fn a_refusal_of_the_driver_is_the_configurations_fault_or_the_days() {
    for (errno, is_wrong, words) in [
        (Errno::RANGE, true, "expected 0 to 255"),
        (Errno::INVAL, true, "expected 0 to 255"),
        (Errno::ACCESS, true, "expected 0 to 255"),
        (Errno::BUSY, false, "another program holds this control"),
        (Errno::IO, false, "the camera failed"),
    ] {
        let fake = Fake { failing: Some((GAIN, errno)), ..Fake::new() };
        let desk = set_at(&fake, &[("gain", Integer(20))].into());
        let [refused] = desk.refused() else { panic!("{:?}", desk.refused()) };
        assert_eq!(refused.is_wrong, is_wrong, "{errno}");
        assert!(refused.reason.contains(words), "{}", refused.reason);
    }
}

#[test]
fn what_the_camera_forgets_is_set_again_and_told_where_that_is_in_vain() {
    let fake = Fake::new();
    let wishes = [("gain", Integer(20))].into();
    let mut desk = Desk::new(&fake, &wishes);
    desk.set(&fake);
    fake.values.lock().unwrap()[0].1 = 16;
    desk.keep(&fake);
    assert_eq!((refusals(&desk), fake.value(GAIN)), (vec![], 20));
    fake.values.lock().unwrap()[0].1 = 16;
    let fake = Fake { failing: Some((GAIN, Errno::BUSY)), ..fake };
    desk.keep(&fake);
    assert_eq!(refusals(&desk), ["camera.controls.gain 20: the camera took it, and forgot it when its stream started"]);
}

#[test]
fn without_wishes_the_driver_is_asked_nothing() {
    let fake = Fake { failing: Some((GAIN, Errno::IO)), ..Fake::new() };
    let desk = set_at(&fake, &Controls::default());
    assert_eq!((desk.describe(), refusals(&desk)), (String::new(), vec![]));
    assert_eq!(controls(&fake).len(), 5);
    assert_eq!(controls(&fake)[3].value, Some(156));
}
