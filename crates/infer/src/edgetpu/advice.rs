//! From a fault to what it means and what a person can do about it.
//!
//! What the libraries say in which case is taken from the sources of libedgetpu, libusb and the card's driver, and from what
//! owners reported to these projects; docs/edge-tpu.md has the table.

use std::path::Path;

use super::super::accelerator::{DelegateKind, DelegateSpec, Fault, Phase};
use super::hardware::{self, CONNECTION};
use super::sight::Sight;

/// What `fault` means and what to do, in one to three sentences; empty for [`Fault::Stopped`]. `sight` is what was plugged
/// in when it happened, `spec` what the worker was asked to load.
pub fn advice(fault: &Fault, sight: &Sight, spec: &DelegateSpec) -> String {
    if spec.kind == DelegateKind::Plugin {
        return plugin(fault, &spec.library);
    }
    match fault {
        Fault::Library { text, .. } => library(text, &spec.library),
        Fault::Symbol { .. } => format!(
            "{} is no Edge TPU runtime: engine.library must name one ({}); any other delegate is configured as \
             engine.kind = \"delegate:/path.so\".",
            spec.library.display(),
            runtime()
        ),
        Fault::NoDevice { listed, .. } => no_device(listed, sight),
        Fault::NotOpened { words } => not_opened(&words.join("\n"), sight, spec),
        Fault::Model { text, words } => model(&format!("{text}\n{}", words.join("\n"))),
        Fault::Inference { words } => broken(&words.join("\n"), sight)
            .unwrap_or_else(|| format!("The device answers with an error. {CONNECTION}")),
        Fault::Died { when, how, words } => died(*when, how, &words.join("\n"), sight),
        Fault::Late { when: Phase::Starting, .. } => late_start(sight),
        Fault::Late { .. } => hardware::trouble(sight).unwrap_or_else(|| {
            format!(
                "The device hangs: it is started again. {CONNECTION} If only unplugging it helps, a hub that can switch its \
                 ports (uhubctl) does that from afar."
            )
        }),
        Fault::Nonsense { .. } => {
            "The compiled file is not of this CPU model, or the device computes wrongly: compile the \
                                   CPU file anew; if that changes nothing, try the device in another machine."
                .to_owned()
        }
        Fault::System { .. } => system(),
        // A worker with a delegate tells of other ends as of a model that can't be run.
        Fault::Ends { .. } | Fault::Stopped => String::new(),
    }
}

/// The runtime that fits what is linked here.
fn runtime() -> String {
    format!("libedgetpu built for TensorFlow Lite {}: {}", tflitec::tf_lite_version(), package())
}

/// The package with that runtime.
fn package() -> String {
    format!("package libedgetpu1-std 16.0tf{} of the project feranick/libedgetpu", tflitec::tf_lite_version())
}

/// What was plugged in no longer is.
const GONE: &str =
    "It is unplugged, or without power: it is used again as soon as it is plugged in. If nobody unplugged it, \
                    check cable and power (dmesg tells of under-voltage).";

/// Where the loader's text says why a library can't be loaded.
fn library(text: &str, library: &Path) -> String {
    let named = library.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let missing = text.contains("cannot open shared object file: No such file");
    let lacking = text.split(": ").next().filter(|first| missing && !first.ends_with(&named));
    if let Some(lacking) = lacking.map(|path| path.rsplit('/').next().unwrap_or(path)) {
        let from = if lacking.starts_with("libusb-1.0") { " (apt install libusb-1.0-0)" } else { "" };
        return format!(
            "It needs {lacking}, which is not installed{from}; a build for this system needs nothing else."
        );
    }
    if missing {
        return format!(
            "Install {}, or name its path in engine.library. engine.kind = \"cpu\" does without.",
            runtime()
        );
    }
    if text.contains("wrong ELF class")
        || text.contains("invalid ELF header")
        || text.contains("cannot open shared object file: Exec")
    {
        return format!("It is for another processor: take the {} build of {}.", std::env::consts::ARCH, runtime());
    }
    if text.contains("GLIBC") || text.contains("CXXABI") {
        return format!("It is built for a newer system than this: take the build for this release of {}.", runtime());
    }
    if text.contains("undefined symbol") {
        return format!("It was built against other libraries than those here: install {}.", runtime());
    }
    if text.contains("Permission denied") || text.contains("Operation not permitted") {
        return "This user may not read or map it: it needs mode 0644, readable folders above it, and a file system that \
                is not mounted noexec."
            .to_owned();
    }
    format!("The file may be damaged or no library: install {}.", runtime())
}

fn no_device(listed: &str, sight: &Sight) -> String {
    if let Some(trouble) = hardware::trouble(sight) {
        return trouble;
    }
    if listed != "none" && !listed.is_empty() {
        return "engine.device or engine.workers asks for more than there is: `pspnetd devices` lists what is plugged in."
            .to_owned();
    }
    hardware::UNLISTED.to_owned()
}

/// libedgetpu makes no delegate and says nothing at all, unless LIBUSB_DEBUG has libusb speak.
fn not_opened(words: &str, sight: &Sight, spec: &DelegateSpec) -> String {
    if let Some(trouble) = wrong_option(&spec.options).or_else(|| hardware::trouble(sight)) {
        return trouble;
    }
    if let Some(trouble) = broken(words, sight) {
        return trouble;
    }
    hardware::busy(sight).unwrap_or_else(|| {
        format!(
            "Another program may have it, or it no longer answers: stop the other one, or unplug it for a moment. {}",
            hardware::firmware(sight).unwrap_or(CONNECTION)
        )
    })
}

/// libedgetpu refuses these without a word, and takes no notice of keys that it does not know.
fn wrong_option(options: &[(String, String)]) -> Option<String> {
    options.iter().find_map(|(key, value)| {
        let expected = match key.as_str() {
            "Performance" if !["Low", "Medium", "High", "Max"].contains(&value.as_str()) => "Low, Medium, High or Max",
            "Usb.AlwaysDfu" if !["True", "False"].contains(&value.as_str()) => "True or False",
            "Usb.MaxBulkInQueueLength" if !value.parse::<u16>().is_ok_and(|length| length <= 256) => "0 to 256",
            _ => return None,
        };
        Some(format!("engine.options: {key}={value} is refused by the library; expected {expected}."))
    })
}

fn model(words: &str) -> String {
    if let Some((_, rest)) = words.split_once("which is newer than this runtime version (") {
        let have = rest.split(')').next().unwrap_or_default();
        return format!(
            "The model was compiled for a newer runtime: compile it with --min_runtime_version {have}, or \
                        install {}.",
            runtime()
        );
    }
    if words.contains("lower than minimum supported") || words.contains("is lower than") {
        return "The model was compiled for a runtime that is no longer supported: compile it anew.".to_owned();
    }
    if words.contains("edgetpu-custom-op") && words.contains("unresolved") {
        return format!(
            "No Edge TPU delegate came into effect: the library may be for another TensorFlow Lite; install {}.",
            runtime()
        );
    }
    if words.contains("Unsupported data type in custom op") || words.contains("single_input_size != input->bytes") {
        return format!(
            "The library does not fit TensorFlow Lite {}: install {}.",
            tflitec::tf_lite_version(),
            package()
        );
    }
    "The compiled file may be damaged, or no model that was compiled for the Edge TPU: compile the CPU file anew \
     (edgetpu_compiler), and see what `pspnetd model inspect` says of both."
        .to_owned()
}

fn died(when: Phase, how: &str, words: &str, sight: &Sight) -> String {
    if let Some(trouble) = broken(words, sight) {
        return trouble;
    }
    if words.contains("symbol lookup error") || (how.contains("SIGSEGV") && when == Phase::Starting) {
        return format!(
            "The library was most likely built for another TensorFlow Lite than {}, which is in use here: install {}. If it \
             worked before with this library, it is the device: unplug it for a moment, and check its cable and power.",
            tflitec::tf_lite_version(),
            package()
        );
    }
    if how.contains("SIGILL") {
        return format!(
            "The library uses instructions that this processor lacks: take another build of {}.",
            runtime()
        );
    }
    if how.contains("SIGKILL") {
        return "Somebody killed it, most often the kernel for want of memory: see dmesg.".to_owned();
    }
    if how.contains("SIGSYS") {
        return "A filter of system calls ended it: loosen SystemCallFilter= of the unit or the container's profile."
            .to_owned();
    }
    if words.contains("bad_alloc") {
        return "It ran out of memory: a smaller model, or fewer workers.".to_owned();
    }
    if let Some(trouble) = hardware::trouble(sight) {
        return trouble;
    }
    let guess = if how.contains("SIGBUS") || how.contains("SIGABRT") { "The device stopped answering. " } else { "" };
    format!(
        "{guess}It is started again. {CONNECTION} If it happens without the device being touched, install {}.",
        runtime()
    )
}

/// What libedgetpu's words on a broken connection mean. It gives up with the whole process on most of them.
fn broken(words: &str, sight: &Sight) -> Option<String> {
    let says = |patterns: &[&str]| patterns.iter().any(|pattern| words.contains(pattern));
    let slow = hardware::slow(sight);
    if says(&["USB error -11"]) {
        let more =
            "The kernel has no memory left for USB transfers: raise usbcore.usbfs_memory_mb (16 at first) to 128 on \
                    its command line; cameras on USB share it.";
        return Some(more.to_owned());
    }
    if says(&["USB error -3", "errno=13", "errno=1\n", "Permission denied"]) {
        return hardware::trouble(sight).or_else(|| Some(hardware::ALLOW.to_owned()));
    }
    if says(&["USB error -6", "LIBUSB_ERROR_BUSY"]) {
        return hardware::busy(sight).or_else(|| Some(hardware::SHARED.to_owned()));
    }
    if sight.is_empty() && says(&["USB transfer error", "USB error", "LIBUSB_ERROR"]) {
        return Some(GONE.to_owned());
    }
    // 5 and -4: the device is gone.
    if says(&["USB transfer error 5", "USB error -4", "LIBUSB_ERROR_NO_DEVICE"]) {
        let reason = format!(
            "It left the bus for a moment. {CONNECTION}{slow} Another program that opens the same stick resets it, too."
        );
        return Some(hardware::busy(sight).unwrap_or(reason));
    }
    if says(&["USB transfer error 2", "USB error -7", "Watchdog"]) {
        return Some(format!("It stopped answering. {CONNECTION}{slow}"));
    }
    if says(&["USB transfer error", "USB error"]) {
        return Some(format!("The transfer over USB failed. {CONNECTION}{slow}"));
    }
    if says(&["HIB Error", "Driver fatal error", "hib_error_status"]) {
        return hardware::trouble(sight).or_else(|| {
            Some("The device reports a fault of its own: let it cool, and see dmesg; after a second time, take its power \
                  away \
                  for a moment.".to_owned())
        });
    }
    None
}

/// libedgetpu tries 25 times, once a second, to open what it may not or cannot open, so these faults come as a late start.
fn late_start(sight: &Sight) -> String {
    hardware::trouble(sight).or_else(|| hardware::busy(sight)).unwrap_or_else(|| {
        format!("It could not be opened for all that time. {}", hardware::firmware(sight).unwrap_or(CONNECTION))
    })
}

fn plugin(fault: &Fault, library: &Path) -> String {
    let version = tflitec::tf_lite_version();
    match fault {
        Fault::Library { .. } => {
            "engine.kind = \"delegate:…\" must name a library that is there, for this processor, with \
                                  all that it needs (`ldd` names what is missing)."
                .to_owned()
        }
        Fault::Symbol { .. } => format!(
            "{} is no delegate plug-in of TensorFlow Lite: it must export \
                                         tflite_plugin_create_delegate and tflite_plugin_destroy_delegate.",
            library.display()
        ),
        Fault::NoDevice { .. } | Fault::NotOpened { .. } => {
            "The plug-in made no delegate: check engine.options against its \
                                                            manual, its driver, and the rights on its device nodes."
                .to_owned()
        }
        Fault::Model { .. } | Fault::Inference { .. } => {
            "The plug-in does not run this model: its manual names the operators \
                                                         and types that it takes."
                .to_owned()
        }
        Fault::Died { .. } => format!(
            "The plug-in took its process down: it may be built for another TensorFlow Lite than \
                                       {version}, which is in use here."
        ),
        Fault::Late { when: Phase::Starting, .. } => {
            "Some plug-ins compile the model at each start, as they may not write a cache file here: raise engine.start_limit."
                .to_owned()
        }
        Fault::Late { .. } => "The plug-in hangs: it is started again. See dmesg for its driver's words.".to_owned(),
        Fault::Nonsense { .. } => {
            "The plug-in computes something else than the CPU: check its precision options, or do \
                                   without it."
                .to_owned()
        }
        Fault::System { .. } => system(),
        Fault::Ends { .. } | Fault::Stopped => String::new(),
    }
}

fn system() -> String {
    "The limits on processes, memory or open files are reached: see TasksMax=, MemoryMax= and LimitNOFILE= of the unit."
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::look;
    use super::super::sight::{Access, Stick, StickState};
    use super::super::tests::Tree;
    use super::*;
    use std::time::Duration;

    fn spec() -> DelegateSpec {
        let kind = DelegateKind::EdgeTpu(crate::DeviceChoice::at(0));
        DelegateSpec { library: "libedgetpu.so.1".into(), kind, options: Vec::new() }
    }

    fn plugged_in() -> Sight {
        let stick = Stick {
            path: "/sys/bus/usb/devices/2-1".into(),
            state: StickState::Ready,
            node: "/dev/bus/usb/002/004".into(),
            access: Access::Allowed,
            speed: Some(5000),
        };
        Sight { sticks: vec![stick], ..Sight::default() }
    }

    fn denied(group: &str, mode: u32) -> Sight {
        let mut sight = plugged_in();
        sight.sticks[0].access = Access::Denied { owner: "root".to_owned(), group: group.to_owned(), mode };
        sight
    }

    fn words(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn died(when: Phase, how: &str, text: &str) -> Fault {
        Fault::Died { when, how: how.to_owned(), words: words(text) }
    }

    fn late(when: Phase) -> Fault {
        Fault::Late { when, after: Duration::from_secs(20) }
    }

    #[track_caller]
    fn says(fault: &Fault, sight: &Sight, expected: &str) {
        let advice = advice(fault, sight, &spec());
        assert!(advice.contains(expected), "{fault}\n{advice}");
    }

    /// The words are those of libedgetpu's sources and of reports by owners.
    #[test]
    fn a_broken_connection_names_what_broke_it() {
        let say = |text: &str, sight: &Sight, expected: &str| {
            says(&died(Phase::Inferring, "SIGABRT", text), sight, expected);
        };
        let here = plugged_in();
        let no_device =
            "F driver/usb/usb_driver.cc:1148] HandleQueuedBulkIn transfer in failed. Not found: USB transfer error 5 \
                         [LibUsbDataInCallback]";
        say(no_device, &here, "left the bus for a moment");
        say(no_device, &Sight::default(), "unplugged, or without power");
        let timed_out =
            "F :857] transfer on tag 0 failed. Abort. Deadline exceeded: USB transfer error 2 [LibUsbDataOutCallback]";
        say(timed_out, &here, "stopped answering. Check cable, port and power");
        let broken = "F driver/usb/usb_driver.cc:857] transfer on tag 2 failed. Abort. Unknown: USB transfer error 1 \
                      [LibUsbDataOutCallback]";
        say(broken, &here, "transfer over USB failed");
        let mut slow = plugged_in();
        slow.sticks[0].speed = Some(480);
        say(broken, &slow, "connected as USB 2");
        let memory =
            "F driver/usb/usb_driver.cc:870] ProcessIo [1-2] async transfer out failed. Abort. Resource exhausted: \
                      USB \
                      error -11 [AsyncBulkOutTransfer]";
        say(memory, &here, "usbcore.usbfs_memory_mb");
        say("F driver/usb/usb_driver.cc:1765] Check failed: status Driver fatal error", &here, "fault of its own");
        say("", &here, "stopped answering");
    }

    #[test]
    fn a_library_that_ends_the_process_at_the_start_is_for_another_tensorflow_lite() {
        let version = tflitec::tf_lite_version();
        let starting = died(Phase::Starting, "SIGSEGV", "");
        says(&starting, &plugged_in(), &format!("another TensorFlow Lite than {version}"));
        says(&starting, &plugged_in(), &format!("libedgetpu1-std 16.0tf{version}"));
        let lookup = "pspnetd: symbol lookup error: libedgetpu.so.1: undefined symbol: TfLiteIntArrayCopy";
        says(&died(Phase::Starting, "exit code 127", lookup), &plugged_in(), "another TensorFlow Lite");
        says(&died(Phase::Inferring, "SIGSEGV", ""), &plugged_in(), "started again");
        says(&died(Phase::Idle, "SIGKILL", ""), &plugged_in(), "want of memory");
        says(&died(Phase::Starting, "SIGILL", ""), &plugged_in(), "instructions that this processor lacks");
        says(&died(Phase::Starting, "SIGSYS", ""), &plugged_in(), "SystemCallFilter=");
    }

    #[test]
    fn a_library_that_cannot_be_loaded_says_what_to_install() {
        let say = |text: &str, expected: &str| {
            says(&Fault::Library { library: "libedgetpu.so.1".into(), text: text.to_owned() }, &plugged_in(), expected);
        };
        say(
            "libedgetpu.so.1: cannot open shared object file: No such file or directory",
            "Install libedgetpu built for",
        );
        say("libusb-1.0.so.0: cannot open shared object file: No such file or directory", "apt install libusb-1.0-0");
        say("/lib/libc.so.6: version `GLIBC_2.38' not found (required by libedgetpu.so.1)", "newer system");
        say("libedgetpu.so.1: wrong ELF class: ELFCLASS32", std::env::consts::ARCH);
        say("libedgetpu.so.1: undefined symbol: _ZN4absl", "other libraries");
        say("libedgetpu.so.1: cannot open shared object file: Permission denied", "0644");
        say("libedgetpu.so.1: file too short", "damaged");
        let symbol = Fault::Symbol { library: "libm.so.6".into(), symbol: "edgetpu_version".to_owned() };
        says(&symbol, &plugged_in(), "engine.library must name one");
    }

    /// libedgetpu tries for 25 s to open what it may not open, and says nothing: the same reason must be found for all.
    #[test]
    fn a_node_that_may_not_be_opened_is_the_reason_however_the_start_failed() {
        for fault in [
            Fault::NotOpened { words: Vec::new() },
            Fault::NoDevice { wanted: "device 0 of the list".to_owned(), listed: "none".to_owned() },
            late(Phase::Starting),
            died(Phase::Starting, "SIGABRT", "USB error -3 [OpenDevice]"),
        ] {
            says(&fault, &denied("plugdev", 0o660), "may not open /dev/bus/usb/002/004 (root:plugdev 0660)");
            says(&fault, &denied("plugdev", 0o660), "plugdev");
            says(&fault, &denied("root", 0o664), "udev rules are missing");
            says(&fault, &Sight::default(), "1a6e:089a or 18d1:9302");
            let mut missing = plugged_in();
            missing.sticks[0].access = Access::Missing;
            says(&fault, &missing, "the whole of /dev/bus/usb");
        }
        says(
            &Fault::NotOpened { words: words("libusb couldn't open USB device /dev/bus/usb/002/004, errno=13") },
            &plugged_in(),
            "DeviceAllow=char-usb_device",
        );
    }

    #[test]
    fn a_device_that_is_not_opened_though_it_may_be() {
        let nothing_said = Fault::NotOpened { words: Vec::new() };
        says(&nothing_said, &plugged_in(), "Another program may have it");
        let mut fresh = plugged_in();
        fresh.sticks[0].state = StickState::Fresh;
        says(&nothing_said, &fresh, "both 1a6e:089a and 18d1:9302");
        says(&late(Phase::Starting), &fresh, "both 1a6e:089a and 18d1:9302");
        says(&late(Phase::Inferring), &plugged_in(), "hangs");
        for (key, value) in [("Performance", "max"), ("Usb.AlwaysDfu", "true"), ("Usb.MaxBulkInQueueLength", "257")] {
            let mut spec = spec();
            spec.options = vec![(key.to_owned(), value.to_owned())];
            let advice = advice(&nothing_said, &plugged_in(), &spec);
            assert!(advice.contains(&format!("{key}={value} is refused")), "{advice}");
        }
        let mut spec = spec();
        spec.options = vec![
            ("Performance".to_owned(), "Max".to_owned()),
            ("Usb.MaxBulkInQueueLength".to_owned(), "256".to_owned()),
        ];
        assert!(advice(&nothing_said, &plugged_in(), &spec).contains("Another program"));
    }

    #[test]
    fn a_list_that_lacks_what_the_kernel_shows_is_about_netlink() {
        let fault = |listed: &str| Fault::NoDevice { wanted: "usb:1".to_owned(), listed: listed.to_owned() };
        says(&fault("none"), &plugged_in(), "AF_NETLINK");
        says(&fault("usb /sys/bus/usb/devices/2-1"), &plugged_in(), "more than there is");
    }

    #[test]
    fn cards_that_are_hot_dead_owned_or_without_a_driver_are_told() {
        let tree = Tree::default();
        tree.card(0, "ALIVE", "91250", "0", "0");
        says(&late(Phase::Inferring), &look(tree.root()), "/dev/apex_0 is 91 °C hot");
        tree.card(0, "DEAD", "40000", "0", "0");
        says(&late(Phase::Starting), &look(tree.root()), "does not answer any more");
        tree.card(0, "ALIVE", "40000", "1", "1");
        says(&Fault::NotOpened { words: Vec::new() }, &look(tree.root()), "/dev/apex_0 is held by");
        tree.card(0, "ALIVE", "40000", "0", "0");
        says(
            &died(Phase::Inferring, "SIGABRT", "E :254] HIB Error. hib_error_status = 1"),
            &look(tree.root()),
            "let it cool",
        );
        let tree = Tree::default();
        tree.write("sys/bus/pci/devices/0000:02:00.0/vendor", "0x1ac1\n");
        tree.write("sys/bus/pci/devices/0000:02:00.0/device", "0x089a\n");
        let none = Fault::NoDevice { wanted: "device 0 of the list".to_owned(), listed: "none".to_owned() };
        says(&none, &look(tree.root()), "PCI address 0000:02:00.0 has no driver: install gasket-dkms");
    }

    #[test]
    fn models_that_do_not_fit_the_runtime_are_told_from_damaged_ones() {
        let say = |text: &str, expected: &str| {
            says(&Fault::Model { text: "not prepared".to_owned(), words: words(text) }, &plugged_in(), expected);
        };
        say(
            "Failed to prepare for TPU. Failed precondition: Package requires runtime version (14), which is newer than \
             this \
             runtime version (13).",
            "--min_runtime_version 13",
        );
        say("Encountered unresolved custom op: edgetpu-custom-op.", "No Edge TPU delegate came into effect");
        say("Unsupported data type in custom op handler: 0", "does not fit TensorFlow Lite");
        say("Failed to prepare for TPU. Internal: Package verification failed.", "may be damaged");
    }

    #[test]
    fn every_fault_has_advice_and_a_stop_needs_none() {
        let plugin =
            DelegateSpec { kind: DelegateKind::Plugin, library: "/opt/libarmnn.so".into(), options: Vec::new() };
        let file = || Path::new("/opt/libarmnn.so").to_path_buf();
        for fault in [
            Fault::Library { library: file(), text: "no".to_owned() },
            Fault::Symbol { library: file(), symbol: "f".to_owned() },
            Fault::NoDevice { wanted: "usb:0".to_owned(), listed: "none".to_owned() },
            Fault::NotOpened { words: Vec::new() },
            Fault::Model { text: "no".to_owned(), words: Vec::new() },
            Fault::Inference { words: Vec::new() },
            died(Phase::Idle, "SIGABRT", ""),
            late(Phase::Starting),
            late(Phase::Inferring),
            Fault::Nonsense { text: "0.1".to_owned() },
            Fault::System { text: "EAGAIN".to_owned() },
        ] {
            for sight in [plugged_in(), Sight::default(), denied("root", 0o664)] {
                let advices = [advice(&fault, &sight, &spec()), advice(&fault, &sight, &plugin)];
                for text in &advices {
                    assert!(text.len() > 40 && text.ends_with(['.', ')']) && !text.contains("  "), "{fault}: {text:?}");
                }
            }
        }
        assert_eq!(advice(&Fault::Stopped, &plugged_in(), &spec()), "");
        assert_eq!(advice(&Fault::Stopped, &plugged_in(), &plugin), "");
    }
}
