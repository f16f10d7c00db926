//! Which cameras there are, what they offer, and which of them can be used.

use std::fs;
use std::path::{Path, PathBuf};

use base::device_users::users_of;
use pixels::frame::Size;
use rustix::io::Errno;
use serde::Serialize;
use v4l::v4l_sys as sys;

use super::controls::{controls, ControlInfo};
use super::errors::hint;
use super::names::stable_names;
use super::negotiate::{FormatInfo, DEFAULT_SIZE};
use super::node::{Capability, Node};
use super::offers::formats;

/// A V4L2 device node, as `pspnetd devices` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// The node, as in /dev/video0.
    pub path: PathBuf,
    /// Links under /dev/v4l that keep naming it when its number changes, the best first.
    pub stable_names: Vec<PathBuf>,
    /// The device's own name.
    pub card: String,
    /// The kernel's driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// What it offers. Empty for what is no camera.
    pub formats: Vec<FormatInfo>,
    /// Its controls, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controls: Option<Vec<ControlInfo>>,
    /// Why it can't be used; nothing when it can.
    pub unusable: Option<String>,
}

/// All V4L2 video nodes of this machine, in a stable order.
pub fn list() -> Vec<DeviceInfo> {
    list_for(DEFAULT_SIZE)
}

/// The same with the controls of each camera.
pub fn list_with_controls() -> Vec<DeviceInfo> {
    let mut devices = list();
    for device in devices.iter_mut().filter(|device| !device.formats.is_empty()) {
        device.controls = Some(Node::open(&device.path).map(|node| controls(&node)).unwrap_or_default());
    }
    devices
}

/// All V4L2 video nodes; rates of a range of sizes are those at the size nearest to `wanted`.
pub(super) fn list_for(wanted: Size) -> Vec<DeviceInfo> {
    let mut devices: Vec<_> = nodes(Path::new("/dev")).iter().map(|path| inspect(path, wanted)).collect();
    devices.sort_by_cached_key(order);
    devices
}

/// By port before number: the kernel numbers cameras as it finds them, which differs from boot to boot.
fn order(device: &DeviceInfo) -> (bool, Option<PathBuf>, u32) {
    let port = device.stable_names.iter().find(|name| name.parent().is_some_and(|dir| dir.ends_with("by-path")));
    (port.is_none(), port.cloned(), number(&device.path).unwrap_or(u32::MAX))
}

fn nodes(dev: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dev) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).filter(|path| number(path).is_some()).collect()
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()
}

fn inspect(path: &Path, wanted: Size) -> DeviceInfo {
    let mut info = DeviceInfo { path: path.to_owned(), stable_names: stable_names(path), ..DeviceInfo::default() };
    let asked = Node::open(path).and_then(|node| node.capability().map(|capability| (node, capability)));
    let (node, capability) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            let hint = hint(Errno::from_io_error(&error), &[]);
            info.unusable = Some(if hint.is_empty() { error.to_string() } else { hint });
            return info;
        }
    };
    info.unusable = refusal(&capability).map(str::to_owned);
    if info.unusable.is_none() {
        info.formats = formats(&node, capability.planes(), wanted);
        info.unusable = no_format(&capability, &info.formats).or_else(|| reserve(&capability).map(str::to_owned));
    }
    if info.unusable.is_none() && node.is_busy(capability.planes()) {
        info.unusable = Some(hint(Some(Errno::BUSY), &users_of(path)));
    }
    Capability { card: info.card, driver: info.driver, bus: info.bus, .. } = capability;
    info
}

/// What to do instead of reading the camera on a Raspberry Pi's ribbon cable.
const PI_CSI: &str =
    "this is the Pi's CSI camera: use command:rpicam-vid --verbose=0 -n -t 0 --codec mjpeg --width 640 \
                      --height 480 --framerate 30 -o - (docs/csi-cameras.md)";

/// Drivers of image processors and codecs. Some of their nodes capture, but only what a program feeds into the other end.
const PROCESSORS: [&str; 5] = ["bcm2835-isp", "pispbe", "bcm2835-codec", "rpivid", "rpi-hevc-dec"];

/// Why a node with this capability is no camera that can be read.
pub(super) fn refusal(capability: &Capability) -> Option<&'static str> {
    // Earlier versions of v4l2loopback say that they are memory to memory, beside capture and output.
    let is_loopback = capability.driver == "v4l2 loopback";
    if !is_loopback && capability.has(sys::V4L2_CAP_VIDEO_M2M | sys::V4L2_CAP_VIDEO_M2M_MPLANE) {
        return Some("not a capture device: a codec or converter (memory to memory)");
    }
    if PROCESSORS.contains(&capability.driver.as_str()) {
        return Some("not a capture device: an image processor, fed by another program");
    }
    if capability.has(sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE) {
        if is_pi_csi(capability) && capability.needs_media_controller() {
            return Some(PI_CSI);
        }
        let streams = capability.has(sys::V4L2_CAP_STREAMING);
        return (!streams).then_some("can't stream: the driver has read() only");
    }
    if capability.has(sys::V4L2_CAP_META_CAPTURE) {
        return Some("not a capture device: metadata only");
    }
    Some("not a capture device")
}

/// The receiver of a Pi's ribbon cable: Unicam up to Pi 4, under several names, and the camera front end of a Pi 5.
fn is_pi_csi(capability: &Capability) -> bool {
    capability.driver.contains("unicam") || capability.driver.starts_with("rp1-cfe")
}

/// Why a node that may be read is not taken unless it is named.
fn reserve(capability: &Capability) -> Option<&'static str> {
    capability.needs_media_controller().then_some(
        "part of a camera pipeline, which sends nothing until a program has set it up: use libcamera's program \
         (command:…, docs/csi-cameras.md), or set it up with media-ctl and name this device",
    )
}

/// Why none of `formats` can be used, if none can.
pub(super) fn no_format(capability: &Capability, formats: &[FormatInfo]) -> Option<String> {
    if formats.iter().any(|format| format.taken) {
        return None;
    }
    if formats.is_empty() {
        return Some("offers no formats: is a sensor connected?".into());
    }
    let name = |format: &FormatInfo| {
        let pieces = if format.fourcc.is_in_pieces() { " (in several pieces of memory)" } else { "" };
        format!("{}{pieces}", format.fourcc)
    };
    let names: Vec<_> = formats.iter().map(name).collect();
    let reason = format!("offers only formats that pspnetd doesn't take: {}", names.join(", "));
    Some(if is_pi_csi(capability) { format!("{PI_CSI}; it {reason}") } else { reason })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::v4l2::node::Planes;
    use crate::FourCc;

    const IO_MC: u32 = 0x2000_0000;

    fn capability(driver: &str, flags: u32) -> Capability {
        Capability { driver: driver.into(), flags, ..Capability::default() }
    }

    #[test]
    fn only_what_captures_and_streams_is_a_camera() {
        let camera = sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_STREAMING;
        assert_eq!(refusal(&capability("uvcvideo", camera)), None);
        for (driver, flags, words) in [
            ("uvcvideo", sys::V4L2_CAP_META_CAPTURE | sys::V4L2_CAP_STREAMING, "metadata"),
            ("bcm2835-codec", sys::V4L2_CAP_VIDEO_M2M_MPLANE | sys::V4L2_CAP_STREAMING, "codec"),
            ("bcm2835-isp", camera, "image processor"),
            ("hantro", sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE, "read() only"),
            ("unicam", camera | IO_MC, "this is the Pi's CSI camera: use command:rpicam-vid "),
            ("bcm2835-unicam-", camera | IO_MC, "this is the Pi's CSI camera: use command:rpicam-vid "),
            ("rp1-cfe", camera | IO_MC | sys::V4L2_CAP_META_CAPTURE, "this is the Pi's CSI camera"),
            ("rp1-cfe", sys::V4L2_CAP_META_CAPTURE | IO_MC, "metadata"),
            ("pispbe", sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | sys::V4L2_CAP_STREAMING, "image processor"),
            ("rpivid", sys::V4L2_CAP_VIDEO_M2M_MPLANE | sys::V4L2_CAP_STREAMING, "codec"),
            ("pwc", sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_READWRITE, "read() only"),
            ("vivid", sys::V4L2_CAP_VIDEO_OUTPUT | sys::V4L2_CAP_STREAMING, "not a capture device"),
        ] {
            let refused = refusal(&capability(driver, flags)).unwrap();
            assert!(refused.contains(words), "{driver}: {refused}");
        }
    }

    #[test]
    fn what_a_program_must_set_up_is_read_only_where_it_is_named() {
        let single = sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_STREAMING;
        let multi = sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | sys::V4L2_CAP_STREAMING;
        for (driver, flags, planes, named) in [
            ("uvcvideo", single, Planes::Single, false),
            // An HDMI receiver at a Pi's ribbon cable, which needs no media controller.
            ("unicam", single, Planes::Single, false),
            ("rk_hdmirx", multi, Planes::Multi, false),
            ("vivid", single | multi, Planes::Single, false),
            ("rkisp1", multi | IO_MC, Planes::Multi, true),
            ("sun6i-csi", single | IO_MC, Planes::Single, true),
        ] {
            let capability = capability(driver, flags);
            assert_eq!(refusal(&capability), None, "{driver}");
            assert_eq!((capability.planes(), reserve(&capability).is_some()), (planes, named), "{driver}");
        }
    }

    #[test]
    fn devices_are_ordered_by_port_then_by_number() {
        let device = |path: &str, names: &[&str]| DeviceInfo {
            path: path.into(),
            stable_names: names.iter().map(PathBuf::from).collect(),
            ..DeviceInfo::default()
        };
        let mut devices = [
            device("/dev/video10", &[]),
            device("/dev/video2", &[]),
            device("/dev/video0", &["/dev/v4l/by-id/usb-A", "/dev/v4l/by-path/pci-usb-2-video-index0"]),
            device("/dev/video4", &["/dev/v4l/by-id/usb-B", "/dev/v4l/by-path/pci-usb-1-video-index0"]),
        ];
        devices.sort_by_cached_key(order);
        let paths: Vec<_> = devices.iter().map(|device| device.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/dev/video4", "/dev/video0", "/dev/video2", "/dev/video10"]);
    }

    #[test]
    fn only_video_nodes_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["video0", "video12", "videodev", "vbi0", "media0"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mut found: Vec<_> = nodes(dir.path()).iter().filter_map(|path| number(path)).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 12]);
    }

    #[test]
    fn a_node_that_is_no_device_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("video0");
        assert!(inspect(&path, DEFAULT_SIZE).unusable.unwrap().contains("no such device"));
        fs::write(&path, "").unwrap();
        assert_eq!(inspect(&path, DEFAULT_SIZE).unusable.unwrap(), "this is no V4L2 device");
    }

    #[test]
    fn raw_formats_are_named() {
        let format = |name: &[u8; 4]| FormatInfo {
            fourcc: FourCc(*name),
            description: String::new(),
            taken: FourCc(*name).cost().is_some(),
            sizes: Vec::new(),
        };
        let camera = capability("camera", sys::V4L2_CAP_VIDEO_CAPTURE);
        let reason = no_format(&camera, &[format(b"pBAA"), format(b"RG10")]).unwrap();
        assert!(reason.ends_with("pBAA, RG10"), "{reason}");
        assert_eq!(no_format(&camera, &[format(b"H264"), format(b"MJPG")]), None);
        assert!(no_format(&camera, &[]).unwrap().contains("sensor"));
        let reason = no_format(&camera, &[format(b"NM12"), format(b"pBAA")]).unwrap();
        assert!(reason.ends_with("NM12 (in several pieces of memory), pBAA"), "{reason}");
        // The legacy driver of a Pi, which needs no media controller, and sends what the sensor has.
        let unicam = capability("unicam", sys::V4L2_CAP_VIDEO_CAPTURE);
        let reason = no_format(&unicam, &[format(b"pBAA")]).unwrap();
        assert!(reason.starts_with("this is the Pi's CSI camera: use command:rpicam-vid "), "{reason}");
    }
}
