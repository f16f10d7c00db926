//! Which cameras there are, what they offer, and which of them can be used.

use std::fs;
use std::path::{Path, PathBuf};

use base::device_users::users_of;
use pixels::frame::Size;
use rustix::io::Errno;
use serde::Serialize;
use v4l::v4l_sys as sys;

use super::errors::hint;
use super::names::stable_names;
use super::negotiate::{FormatInfo, DEFAULT_SIZE};
use super::node::{Capability, Node};

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
    /// Why it can't be used; nothing when it can.
    pub unusable: Option<String>,
}

/// All V4L2 video nodes of this machine, in a stable order.
pub fn list() -> Vec<DeviceInfo> {
    list_for(DEFAULT_SIZE)
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
        info.formats = node.formats(wanted);
        info.unusable = no_format(&info.formats);
    }
    if info.unusable.is_none() && node.is_busy() {
        info.unusable = Some(hint(Some(Errno::BUSY), &users_of(path)));
    }
    Capability { card: info.card, driver: info.driver, bus: info.bus, .. } = capability;
    info
}

/// Why a node with this capability is no camera that can be read.
pub(super) fn refusal(capability: &Capability) -> Option<&'static str> {
    let has = |flags: u32| capability.flags & flags != 0;
    if has(sys::V4L2_CAP_VIDEO_M2M | sys::V4L2_CAP_VIDEO_M2M_MPLANE) {
        return Some("not a capture device: a codec or converter (memory to memory)");
    }
    // These nodes can capture, but only what a program feeds into the processor's other end.
    if ["bcm2835-isp", "pispbe", "bcm2835-codec", "rpi-hevc-dec"].contains(&capability.driver.as_str()) {
        return Some("not a capture device: an image processor, fed by another program");
    }
    if has(sys::V4L2_CAP_VIDEO_CAPTURE) {
        let streams = has(sys::V4L2_CAP_STREAMING);
        return (!streams).then_some("can't stream: the driver has read() only");
    }
    if has(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE) {
        return Some("multi-planar only: pspnetd reads single-planar devices");
    }
    if has(sys::V4L2_CAP_META_CAPTURE) {
        return Some("not a capture device: metadata only");
    }
    Some("not a capture device")
}

/// Why none of `formats` can be used, if none can.
pub(super) fn no_format(formats: &[FormatInfo]) -> Option<String> {
    if formats.iter().any(|format| format.taken) {
        return None;
    }
    if formats.is_empty() {
        return Some("offers no formats: is a sensor connected?".into());
    }
    let names: Vec<_> = formats.iter().map(|format| format.fourcc.to_string()).collect();
    Some(format!("offers only formats that pspnetd doesn't take: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::FourCc;

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
            ("qcom-camss", sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | sys::V4L2_CAP_STREAMING, "multi-planar only"),
            ("pwc", sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_READWRITE, "read() only"),
            ("vivid", sys::V4L2_CAP_VIDEO_OUTPUT | sys::V4L2_CAP_STREAMING, "not a capture device"),
        ] {
            let refused = refusal(&capability(driver, flags)).unwrap();
            assert!(refused.contains(words), "{driver}: {refused}");
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
        let reason = no_format(&[format(b"pBAA"), format(b"RG10")]).unwrap();
        assert!(reason.ends_with("pBAA, RG10"), "{reason}");
        assert_eq!(no_format(&[format(b"H264"), format(b"MJPG")]), None);
        assert!(no_format(&[]).unwrap().contains("sensor"));
    }
}
