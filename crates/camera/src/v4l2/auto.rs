//! The camera `auto`: the first device that works. One that was opened and then failed before its first frame is tried behind the
//! others the next time, so that it doesn't hold up a camera that would send some.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::Clock;
use base::sync::lock;
use log::Level;
use pixels::frame::PictureFormat;

use super::devices::{self, DeviceInfo};
use super::negotiate::choose;
use super::said::say;
use super::set_up::open_at;
use super::V4l2Options;
use crate::{Camera, CameraError, CameraErrorKind, Frame, Poll};

/// Devices that failed before their first frame when they were last open, with what they said.
static FRAMELESS: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());

/// Opens the first camera that lets itself be opened.
pub(super) fn open(options: &V4l2Options, clock: &Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    let request = options.request();
    let mut refused = Vec::new();
    let mut failed = Vec::new();
    let mut misconfigured = None;
    let (devices, frameless) = in_order(devices::list_for(request.size));
    for device in devices {
        let path = device.path.display();
        let reason = match device.unusable {
            Some(reason) => reason,
            None if choose(&device.formats, &request).is_none() => "doesn't offer the wanted pixel format".into(),
            None => match open_at(&device.path, options, Arc::clone(clock)) {
                Ok(camera) => {
                    let others = frameless.iter().filter(|(path, _)| **path != device.path);
                    failed.extend(others.map(|(path, reason)| passed_over(path, reason)));
                    say(Path::new("auto"), &failed);
                    return Ok(Box::new(Watched { camera, path: device.path, is_proven: false }));
                }
                Err(error) => {
                    let reason = words(&error);
                    failed.push(passed_over(&device.path, &reason));
                    if error.kind == CameraErrorKind::Config {
                        misconfigured.get_or_insert(error);
                    }
                    reason
                }
            },
        };
        refused.push(format!("{path}: {reason}"));
    }
    // Another device may do for the configuration; where none does, it is to be mended.
    if let Some(error) = misconfigured {
        return Err(error);
    }
    let reason = match refused.as_slice() {
        [] => "there are no V4L2 devices".to_owned(),
        _ => format!("no device can be used: {}", refused.join("; ")),
    };
    Err(CameraError::retry("auto", reason, "plug a camera in, or name one; `pspnetd devices` lists them"))
}

/// The devices in the order in which they are tried, and those that had no frame the last time. A device that went is forgotten.
fn in_order(mut devices: Vec<DeviceInfo>) -> (Vec<DeviceInfo>, BTreeMap<PathBuf, String>) {
    let mut frameless = lock(&FRAMELESS);
    frameless.retain(|path, _| devices.iter().any(|device| device.path == *path));
    devices.sort_by_key(|device| frameless.contains_key(&device.path));
    (devices, frameless.clone())
}

fn passed_over(path: &Path, reason: &str) -> (Level, String) {
    (Level::Warn, format!("auto: {} is passed over: {reason}", path.display()))
}

fn words(CameraError { reason, hint, .. }: &CameraError) -> String {
    if hint.is_empty() {
        reason.clone()
    } else {
        format!("{reason} ({hint})")
    }
}

/// A camera that is noted where it fails before its first frame.
struct Watched {
    camera: Box<dyn Camera>,
    path: PathBuf,
    is_proven: bool,
}

impl Camera for Watched {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, CameraError> {
        let outcome = self.camera.poll(wait, take);
        match &outcome {
            _ if self.is_proven => {}
            Ok(Poll::Taken) => {
                self.is_proven = true;
                lock(&FRAMELESS).remove(&self.path);
            }
            Ok(_) => {}
            Err(error) => {
                lock(&FRAMELESS).insert(self.path.clone(), words(error));
            }
        }
        outcome
    }

    fn describe(&self) -> String {
        self.camera.describe()
    }

    fn format(&self) -> Option<PictureFormat> {
        self.camera.format()
    }

    fn take_skipped(&mut self) -> u64 {
        self.camera.take_skipped()
    }

    fn proven_after(&self) -> Duration {
        self.camera.proven_after()
    }
}
