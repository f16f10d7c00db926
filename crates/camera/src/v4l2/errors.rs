//! From an errno to words: what failed, why, and what the user can do about it.

use std::io;
use std::path::Path;

use base::device_users::{users_of, DeviceUser};
use rustix::io::Errno;

use crate::CameraError;

/// A call to the driver that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {error}")]
pub(super) struct Fault {
    /// The request, as the kernel's documentation names it.
    pub call: &'static str,
    /// The system's answer.
    pub error: io::Error,
}

impl Fault {
    /// For `map_err`.
    pub(super) fn in_call(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { call, error }
    }

    /// The error for the pipeline. All of them can pass: a camera is plugged in again, a program ends.
    pub(super) fn into_camera_error(self, device: &Path) -> CameraError {
        let errno = Errno::from_io_error(&self.error);
        let holders = if errno == Some(Errno::BUSY) { users_of(device) } else { Vec::new() };
        let is_start = self.call == "VIDIOC_STREAMON";
        let hint = match errno {
            Some(Errno::NOLINK | Errno::INVAL) if is_start => NOT_STARTED.into(),
            _ => hint(errno, &holders),
        };
        CameraError::retry(device.display().to_string(), self.to_string(), hint)
    }
}

/// What a driver says when its stream can't start as things are.
const NOT_STARTED: &str =
    "the driver refused to start: a camera of the board itself needs its pipeline set up (by media-ctl, or \
                           use libcamera's program: docs/csi-cameras.md); of another, try another format or size from \
                           `pspnetd devices`";

/// What the user can do about `errno`; `holders` are the programs that have the device open.
pub(super) fn hint(errno: Option<Errno>, holders: &[DeviceUser]) -> String {
    let Some(errno) = errno else {
        return String::new();
    };
    match errno {
        Errno::NOENT => "no such device: plug the camera in, or see `pspnetd devices` for what there is".into(),
        Errno::ACCESS | Errno::PERM => {
            "permission denied: add the user to group video (usermod -aG video USER), or allow the device in the \
             service's unit (DeviceAllow=char-video4linux)"
                .into()
        }
        Errno::BUSY if holders.is_empty() => {
            "another program uses the camera: stop it; as root, `fuser -v DEVICE` names it".into()
        }
        Errno::BUSY => {
            let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
            format!("another program uses the camera: {}", names.join(", "))
        }
        Errno::NODEV | Errno::NXIO => "the camera was unplugged".into(),
        Errno::PROTO | Errno::IO | Errno::PIPE | Errno::TIMEDOUT | Errno::ILSEQ | Errno::OVERFLOW => {
            "the transfer failed: check cable, hub and power supply, and the kernel's log (dmesg)".into()
        }
        Errno::NOSPC => {
            "not enough USB bandwidth: choose a smaller size, a lower rate or MJPG, or another USB port".into()
        }
        Errno::NOMEM => {
            "not enough memory for the buffers: choose a smaller size, or raise cma= on the kernel's command \
                         line"
                .into()
        }
        Errno::NOTTY => "this is no V4L2 device".into(),
        Errno::INVAL => {
            "the driver refused the request: if that stays so, try another format or size from `pspnetd devices`".into()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::CameraErrorKind;

    fn error(errno: Errno) -> CameraError {
        Fault { call: "VIDIOC_STREAMON", error: errno.into() }.into_camera_error(Path::new("/dev/video9"))
    }

    #[test]
    fn errors_say_what_to_do_and_may_be_tried_again() {
        for (errno, words) in [
            (Errno::NOENT, "plug the camera in"),
            (Errno::ACCESS, "group video"),
            (Errno::BUSY, "another program"),
            (Errno::NODEV, "unplugged"),
            (Errno::PROTO, "cable"),
            (Errno::IO, "cable"),
            (Errno::NOSPC, "USB bandwidth"),
            (Errno::NOTTY, "no V4L2 device"),
            (Errno::INVAL, "media-ctl"),
            (Errno::NOLINK, "media-ctl"),
        ] {
            let error = error(errno);
            assert!(error.hint.contains(words), "{errno}: {}", error.hint);
            assert_eq!(error.kind, CameraErrorKind::Retry, "{errno}");
        }
    }

    #[test]
    fn an_error_names_device_call_and_the_systems_words() {
        assert_eq!(
            error(Errno::NODEV).to_string(),
            "/dev/video9: VIDIOC_STREAMON: No such device (os error 19) (the camera was unplugged)"
        );
        assert_eq!(
            hint(
                Some(Errno::BUSY),
                &[DeviceUser { name: "cheese".into(), process: 42 }, DeviceUser { name: "obs".into(), process: 7 }]
            ),
            "another program uses the camera: cheese (42), obs (7)"
        );
    }
}
