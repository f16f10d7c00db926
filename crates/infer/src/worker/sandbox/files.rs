//! The files of a worker, by Landlock: what its libraries are loaded from, what they ask of the processor, and the nodes of its
//! device. Nothing is executed, nothing is made, and there is no other process to see.

use std::ffi::OsStr;
use std::fs::DirEntry;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use landlock::{
    Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, ABI,
};

use super::Role;
use crate::edgetpu;

/// The newest set of rules that is asked for. Older kernels take a part of it.
const LANDLOCK: ABI = ABI::V6;

/// What the C library and TensorFlow Lite read of the processors and of this process. XNNPACK needs the last one on ARM, also where a
/// device's own `/sys` is another (`PSPNETD_ROOT`).
const ALWAYS: [&str; 4] = ["/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/sys/devices/system/cpu"];
/// Where libraries are loaded from, with what the loader and OpenCL's loader read, and what libudev knows of devices.
const LIBRARIES: [&str; 9] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/OpenCL",
    "/run/udev",
];
/// Nodes that are no device.
const NO_DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Folders of /dev in which a delegate's device may be.
const DEVICE_FOLDERS: [&str; 5] = ["accel", "bus", "dma_heap", "dri", "usb"];

/// Closes all files but those of `role`.
///
/// # Errors
/// What is missing of that.
pub(super) fn restrict(role: Role<'_>) -> Result<(), String> {
    const WEAKER: &str =
        "what runs the model could read files that it needs nothing of, such as the service's own (SECURITY.md)";
    let status = rules(role).map_err(|error| format!("landlock: {error}: {WEAKER}"))?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Ok(()),
        // What newer kernels add, seccomp refuses.
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) if effective_abi >= ABI::V5 => {
            Ok(())
        }
        (RulesetStatus::PartiallyEnforced, _) => Err(
            "landlock: this kernel (before Linux 6.10) knows no rules for ioctl: what runs the model could send requests to \
             the devices that it may open"
                .to_owned(),
        ),
        (RulesetStatus::NotEnforced, _) => Err(format!("landlock: this kernel has none: {WEAKER}")),
    }
}

fn rules(role: Role<'_>) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let rules = readable(role).iter().try_fold(rules, |rules, path| allow(rules, path, read))?;
    let rules = devices(role).iter().try_fold(rules, |rules, path| allow(rules, path, device | AccessFs::ReadDir))?;
    rules.restrict_self()
}

/// What may be read, with all below it.
fn readable(role: Role<'_>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ALWAYS.map(PathBuf::from).into();
    let library = match role {
        Role::Cpu => return found,
        Role::EdgeTpu(library) => {
            found.push(edgetpu::root().join("sys"));
            library
        }
        Role::Plugin(library, options) => {
            found.push("/sys".into());
            found.extend(named(options));
            library
        }
    };
    found.extend(LIBRARIES.map(PathBuf::from));
    found.extend(beside(library));
    found
}

/// The library and those that lie in its folder, if it was named by its path: a folder may hold other things as well.
fn beside(library: &Path) -> Vec<PathBuf> {
    let Ok(real) = library.canonicalize() else { return Vec::new() };
    let mut found: Vec<_> = [library, &real]
        .into_iter()
        .filter_map(Path::parent)
        .flat_map(entries)
        .filter(|entry| entry.file_name().as_encoded_bytes().windows(3).any(|part| part == b".so"))
        .map(|entry| entry.path())
        .collect();
    found.push(real);
    found
}

/// The files and folders that options name; no devices.
fn named(options: &[(String, String)]) -> impl Iterator<Item = PathBuf> + '_ {
    options.iter().map(|(_, value)| PathBuf::from(value)).filter(|path| path.is_file() || path.is_dir())
}

/// The nodes of /dev that may be opened, with all below them.
fn devices(role: Role<'_>) -> Vec<PathBuf> {
    let dev = Path::new("/dev");
    let mut found: Vec<PathBuf> = NO_DEVICES.map(|name| dev.join(name)).into();
    let terminals = own_terminals();
    match role {
        Role::Cpu => {}
        Role::EdgeTpu(_) => {
            let dev = edgetpu::root().join("dev");
            // A stick comes back under another number.
            found.push(dev.join("bus/usb"));
            found.extend(
                entries(&dev)
                    .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"apex_"))
                    .map(|entry| entry.path()),
            );
        }
        Role::Plugin(..) => {
            found.extend(DEVICE_FOLDERS.map(|name| dev.join(name)));
            let is_device = |entry: &DirEntry| {
                !is_private(&entry.file_name())
                    && entry
                        .metadata()
                        .is_ok_and(|meta| meta.file_type().is_char_device() && !terminals.contains(&meta.rdev()))
            };
            found.extend(entries(dev).filter(is_device).map(|entry| entry.path()));
        }
    }
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Adds a rule; a path that can't be opened needs none. What is right for folders alone is left out for a file.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK) };
    rules.add_rule(PathBeneath::new(opened, access))
}

/// The devices behind the standard streams of the program that started this one, and its controlling terminal: that may be a
/// serial line, which is no terminal by its name.
fn own_terminals() -> Vec<u64> {
    let parent = std::os::unix::process::parent_id();
    let streams = (0..3).filter_map(|fd| std::fs::metadata(format!("/proc/{parent}/fd/{fd}")).ok());
    let mut found: Vec<u64> =
        streams.filter(|meta| meta.file_type().is_char_device()).map(|meta| meta.rdev()).collect();
    // /dev/null is no terminal.
    found.retain(|device| libc::major(*device) != 1);
    let stat = std::fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    // Behind the name: state, parent, group, session, terminal.
    let terminal = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(4)?.parse::<u64>().ok());
    found.extend(terminal);
    found
}

/// Whether a character device in /dev is none of a delegate's business by its name: terminals (consoles, virtual consoles and
/// what they show), what types into them, cameras, whose buffers the program reads, the kernel's memory and log, clocks,
/// watchdogs, buses and pins that others use, and what makes file systems, networks and machines. Serial ports and raw HID devices are not,
/// since accelerators may be behind them.
fn is_private(name: &OsStr) -> bool {
    const WHOLE: [&[u8]; 19] = [
        b"console",
        b"ptmx",
        b"uinput",
        b"uhid",
        b"kmsg",
        b"mem",
        b"kmem",
        b"port",
        b"hpet",
        b"nvram",
        b"fuse",
        b"cuse",
        b"kvm",
        b"snapshot",
        b"ppp",
        b"userfaultfd",
        b"loop-control",
        b"btrfs-control",
        b"autofs",
    ];
    const BEGINNINGS: [&[u8]; 12] = [
        b"vcs",
        b"video",
        b"v4l",
        b"rtc",
        b"watchdog",
        b"gpio",
        b"i2c-",
        b"spidev",
        b"vhost-",
        b"ptp",
        b"pps",
        b"vcio",
    ];
    let name = name.as_encoded_bytes();
    let is_numbered = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit));
    WHOLE.contains(&name)
        || is_numbered(b"tty")
        || is_numbered(b"media")
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_none_of_a_delegates_business_is_known_by_its_name_and_devices_are_not() {
        let terminals = ["console", "ptmx", "tty", "tty0", "tty63", "vcs", "vcs1", "vcsa", "vcsu7"];
        let others =
            ["uinput", "uhid", "video0", "video11", "media0", "v4l-subdev0", "kmsg", "mem", "rtc0", "gpiochip0"];
        for name in terminals.into_iter().chain(others) {
            assert!(is_private(OsStr::new(name)), "{name}");
        }
        for name in
            ["ttyS0", "ttyUSB1", "ttyAMA0", "apex_0", "mali0", "null", "pt", "mediax", "memx", "kgsl-3d0", "galcore"]
        {
            assert!(!is_private(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn of_a_librarys_folder_only_libraries_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libdev.so.1", "libmore.so", "token", "key.pem"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let mut found = beside(&folder.path().join("libdev.so.1"));
        found.sort();
        found.dedup();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["libdev.so.1", "libmore.so"]);
        assert!(beside(Path::new("libedgetpu.so.1")).is_empty());
    }

    #[test]
    fn what_the_options_of_a_plug_in_name_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("weights"), "").unwrap();
        let pair = |value: String| ("key".to_owned(), value);
        let others = ["CpuAcc", "", "/dev/null"].map(|value| pair(value.to_owned()));
        let options = [vec![pair(path("weights")), pair(path("missing"))], others.into()].concat();
        assert_eq!(named(&options).collect::<Vec<_>>(), [folder.path().join("weights")]);
    }

    #[test]
    fn the_cpu_has_no_device_and_no_library() {
        let devices = devices(Role::Cpu);
        assert_eq!(devices.len(), NO_DEVICES.len());
        assert_eq!(readable(Role::Cpu), ALWAYS.map(PathBuf::from));
    }
}
