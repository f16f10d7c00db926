//! Who uses a device node.

use std::path::Path;
use std::{fmt, fs};

/// A program that has a device open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceUser {
    /// Its name, as the kernel has it.
    pub name: String,
    /// Its process.
    pub process: u32,
}

impl fmt::Display for DeviceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.process)
    }
}

/// The other programs that have `device` open, as far as /proc lets us see.
pub fn users_of(device: &Path) -> Vec<DeviceUser> {
    let Ok(device) = fs::canonicalize(device) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let mut links = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        // Our own descriptor is the one that was refused.
        if process == std::process::id() || !links.any(|target| target == device) {
            continue;
        }
        found.push(DeviceUser { name: process_name(process).unwrap_or_default(), process });
    }
    found.sort();
    found
}

/// The name of a process, where it can be seen.
pub fn process_name(process: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{process}/comm")).ok()?.trim().to_owned())
}

/// Whether it is this process or a child of it.
pub fn is_ours(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let parent =
        status.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|parent| parent.trim().parse().ok());
    [Some(process), parent].contains(&Some(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_file_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = fs::File::open(file.path()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").stdin(held).spawn().unwrap();
        // Between fork and exec, a child of another test has what this process has open.
        let start = std::time::Instant::now();
        let mut found = users_of(file.path());
        while found.len() > 1 && start.elapsed() < std::time::Duration::from_secs(10) {
            found = users_of(file.path());
        }
        let ours = is_ours(child.id());
        let expected = DeviceUser { name: "sleep".to_owned(), process: child.id() };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(expected.to_string(), format!("sleep ({})", child.id()));
        assert_eq!(found, [expected]);
        assert!(ours && is_ours(std::process::id()) && !is_ours(1) && !is_ours(u32::MAX));
    }
}
