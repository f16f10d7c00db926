//! Names of a camera that outlive its number: the links under /dev/v4l, and which of them a path meant when it was
//! first opened.
//!
//! A camera that is unplugged and comes back may get another number. Who asked for /dev/video0 wants that camera, not
//! the number, so the first open remembers its link, and later ones follow the link.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use base::sync::lock;

const LINKS: &str = "/dev/v4l";
/// By the camera's own serial number first, then by the port it is plugged into.
const KINDS: [&str; 2] = ["by-id", "by-path"];

/// How long udev may take to link a new node.
const UDEV_TAKES: Duration = Duration::from_secs(1);

static REMEMBERED: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());

/// The link under /dev/v4l that best names the device at `path`: by-id where there is one, else by-path.
pub fn stable_name(path: &Path) -> Option<PathBuf> {
    links_to(Path::new(LINKS), path).into_iter().next()
}

/// All links under /dev/v4l to the device at `path`, the best first.
pub(super) fn stable_names(path: &Path) -> Vec<PathBuf> {
    links_to(Path::new(LINKS), path)
}

fn links_to(root: &Path, path: &Path) -> Vec<PathBuf> {
    let Ok(device) = fs::canonicalize(path) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for kind in KINDS {
        let Ok(entries) = fs::read_dir(root.join(kind)) else {
            continue;
        };
        let links = entries.flatten().map(|entry| entry.path());
        let mut links: Vec<_> = links.filter(|link| fs::canonicalize(link).is_ok_and(|to| to == device)).collect();
        links.sort();
        found.append(&mut links);
    }
    found
}

/// Where to open what the user called `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    Here(PathBuf),
    /// Nowhere: `path` is another device by now, and the one that was meant, by this link, is away.
    Away(PathBuf),
    /// Nowhere yet: a device has just come as `path`, and udev has not said which one it is.
    Unnamed,
}

/// Finds the device that `path` meant when it was first opened.
pub(super) fn locate(path: &Path) -> Place {
    let remembered = lock(&REMEMBERED).get(path).cloned();
    place(Path::new(LINKS), path, remembered, SystemTime::now())
}

fn place(root: &Path, path: &Path, remembered: Option<PathBuf>, now: SystemTime) -> Place {
    match remembered {
        Some(link) if link.exists() => Place::Here(link),
        Some(link) if path.exists() && !links_to(root, path).is_empty() => Place::Away(link),
        Some(_) if is_new(path, now) => Place::Unnamed,
        // No link at all, and udev had its time: the number is all there is.
        _ => Place::Here(path.to_owned()),
    }
}

/// Whether the node is younger than what udev may take to make its links.
fn is_new(path: &Path, now: SystemTime) -> bool {
    let changed = path.metadata().and_then(|node| node.modified());
    // A clock that was set meanwhile makes it old: then the number decides, as without udev.
    changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age < UDEV_TAKES))
}

/// Remembers that `path` means the device with the link `name`.
pub(super) fn remember(path: &Path, name: Option<&Path>) {
    let Some(name) = name else { return };
    if path.starts_with(LINKS) {
        return;
    }
    let mut remembered = lock(&REMEMBERED);
    remembered.entry(path.to_owned()).or_insert_with(|| name.to_owned());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use std::os::unix::fs::symlink;

    /// A /dev with two cameras: the first has both links, the second only by-path.
    fn dev() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let links = dir.path().join("v4l");
        for kind in KINDS {
            fs::create_dir_all(links.join(kind)).unwrap();
        }
        for node in ["video0", "video1", "video2"] {
            fs::write(dir.path().join(node), "").unwrap();
        }
        symlink("../../video0", links.join("by-path/pci-0-usb-1-video-index0")).unwrap();
        symlink("../../video0", links.join("by-id/usb-Maker_Cam_123-video-index0")).unwrap();
        symlink("../../video1", links.join("by-path/pci-0-usb-2-video-index0")).unwrap();
        (dir, links)
    }

    #[test]
    fn by_id_is_better_than_by_path() {
        let (dir, links) = dev();
        let names = links_to(&links, &dir.path().join("video0"));
        assert_eq!(
            names,
            [links.join("by-id/usb-Maker_Cam_123-video-index0"), links.join("by-path/pci-0-usb-1-video-index0")]
        );
        let names = links_to(&links, &dir.path().join("video1"));
        assert_eq!(names, [links.join("by-path/pci-0-usb-2-video-index0")]);
        assert!(links_to(&links, &dir.path().join("video2")).is_empty());
        assert!(links_to(&links, &dir.path().join("video7")).is_empty());
    }

    #[test]
    fn a_camera_that_comes_back_under_another_number_is_found() {
        let (dir, links) = dev();
        let path = dir.path().join("video0");
        let link = links.join("by-id/usb-Maker_Cam_123-video-index0");
        fs::remove_file(&link).unwrap();
        fs::remove_file(&path).unwrap();
        // Away, and nothing in its place: the path itself tells that.
        let now = SystemTime::now();
        assert_eq!(place(&links, &path, Some(link.clone()), now), Place::Here(path.clone()));
        symlink("../../video2", &link).unwrap();
        assert_eq!(place(&links, &path, Some(link.clone()), now), Place::Here(link));
    }

    #[test]
    fn another_camera_under_the_old_number_is_not_taken() {
        let (dir, links) = dev();
        let path = dir.path().join("video1");
        let link = links.join("by-id/usb-Maker_Gone-video-index0");
        let now = SystemTime::now();
        assert_eq!(place(&links, &path, Some(link.clone()), now), Place::Away(link.clone()));
        // A node without a link may still get one, and be another camera.
        let path = dir.path().join("video2");
        assert_eq!(place(&links, &path, Some(link.clone()), now), Place::Unnamed);
        // Without links nothing tells cameras apart, so the number decides.
        let later = now + Duration::from_secs(2);
        assert_eq!(place(&links, &path, Some(link), later), Place::Here(path));
    }

    #[test]
    fn the_first_name_is_kept() {
        let path = Path::new("/dev/pspnetd-test-camera");
        remember(path, Some(Path::new("/dev/v4l/by-id/first")));
        remember(path, Some(Path::new("/dev/v4l/by-id/second")));
        let kept = REMEMBERED.lock().unwrap().get(path).cloned();
        assert_eq!(kept, Some(PathBuf::from("/dev/v4l/by-id/first")));
        remember(Path::new("/dev/v4l/by-id/x"), Some(Path::new("/dev/v4l/by-path/y")));
        assert!(!REMEMBERED.lock().unwrap().contains_key(Path::new("/dev/v4l/by-id/x")));
    }
}
