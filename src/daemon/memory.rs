//! The memory limit of the unit, where a camera program lives within it.

use std::path::Path;

use camera::Source;

use crate::config::Config;

/// What this program promises to need, and a camera program with libcamera or a video decoder in it may.
const WITH_A_CAMERA_PROGRAM: u64 = (64 + 128) << 20;

/// Says so where the limit is that of this program alone, and a camera program counts as well.
pub(super) fn warn_of_a_tight_limit(config: &Config, root: &Path) {
    if let Some(text) = too_tight(&config.camera.source, limit(root)) {
        log::warn!("{text}");
    }
}

fn too_tight(source: &Source, limit: Option<u64>) -> Option<String> {
    let limit = limit.filter(|limit| matches!(source, Source::Command(_)) && *limit < WITH_A_CAMERA_PROGRAM)?;
    Some(format!(
        "camera: its program counts towards the service's memory limit of {} MiB: where frames come late or the program is killed, \
         raise MemoryHigh= and MemoryMax= by `systemctl edit pspnetd`",
        limit >> 20
    ))
}

/// The lowest limit of the control group that this process is in, in bytes.
fn limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    // Of cgroup v2, which is what systemd limits memory with.
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = root.join("sys/fs/cgroup").join(group);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    ["memory.high", "memory.max"].into_iter().filter_map(read).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_has_no_room_for_a_camera_program_is_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(limit(root.path()), None);
        write("proc/self/cgroup", "1:cpu:/x\n0::/system.slice/pspnetd.service\n");
        assert_eq!(limit(root.path()), None);
        write("sys/fs/cgroup/system.slice/pspnetd.service/memory.high", "67108864\n");
        write("sys/fs/cgroup/system.slice/pspnetd.service/memory.max", "max\n");
        assert_eq!(limit(root.path()), Some(64 << 20));
        let program: Source = "command:rpicam-vid -o -".parse().unwrap();
        let text = too_tight(&program, Some(64 << 20)).unwrap();
        assert!(text.contains("64 MiB") && text.contains("MemoryHigh="), "{text}");
        assert_eq!(too_tight(&program, Some(256 << 20)), None);
        assert_eq!(too_tight(&program, None), None);
        assert_eq!(too_tight(&Source::Auto, Some(64 << 20)), None);
    }
}
