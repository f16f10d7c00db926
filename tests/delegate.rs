//! Delegates in TensorFlow Lite's interpreter, on the test double of libedgetpu: used for real, freed in order, and every
//! way to be refused in words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

mod support;

use std::ffi::{c_char, CStr};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use infer::{
    list, Bus, Delegate, DelegateKind, DelegateSpec, DeviceChoice, Engine as _, Fault, TfliteEngine, TpuDevice,
};
use model::ModelFile;

use support::fake_edgetpu::{library, FakeEdgeTpu, Here, Stick};
use support::{colours, model, LIMIT};

const FIRST: DeviceChoice = DeviceChoice::at(0);

fn edge_tpu(device: DeviceChoice, options: &[(&str, &str)]) -> DelegateSpec {
    spec(library(), DelegateKind::EdgeTpu(device), options)
}

fn plugin(options: &[(&str, &str)]) -> DelegateSpec {
    spec(library(), DelegateKind::Plugin, options)
}

fn spec(library: &Path, kind: DelegateKind, options: &[(&str, &str)]) -> DelegateSpec {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    DelegateSpec { library: library.to_owned(), kind, options }
}

fn bytes(name: &str) -> Arc<[u8]> {
    std::fs::read(model(name)).unwrap().into()
}

fn engine(name: &str, spec: &DelegateSpec) -> Result<TfliteEngine, Fault> {
    TfliteEngine::with_delegate(&bytes(name), name, 1, Some(Delegate::open(spec)?))
}

/// Why it can't be had.
#[track_caller]
fn fault<T>(outcome: Result<T, Fault>) -> Fault {
    outcome.map(|_| ()).unwrap_err()
}

/// What the library was asked since the last call of this.
fn story() -> Vec<String> {
    // SAFETY: the double has this function, and its text is copied and then given back.
    unsafe {
        let double = libloading::Library::new(library()).unwrap();
        let story = double.get::<unsafe extern "C" fn() -> *mut c_char>(c"fake_edgetpu_story").unwrap()();
        let lines = CStr::from_ptr(story).to_str().unwrap().lines().map(str::to_owned).collect();
        libc::free(story.cast());
        lines
    }
}

/// Pictures that differ in every pixel.
fn pictures(engine: &TfliteEngine) -> impl Iterator<Item = Vec<u8>> {
    let length = engine.io().input.bytes();
    (1..6_usize).map(move |step| (0..length).map(|at| u8::try_from(at * step * 31 % 251).unwrap()).collect())
}

#[track_caller]
fn assert_answers_as_the_cpu(engine: &mut TfliteEngine) {
    let mut cpu = TfliteEngine::new(&ModelFile::load(&colours()).unwrap(), 1).unwrap();
    assert_eq!(engine.io(), cpu.io());
    let mut differ = 0;
    let mut last = Vec::new();
    for picture in pictures(engine) {
        let [mut theirs, mut ours] = [(); 2].map(|()| vec![0; cpu.io().output.bytes()]);
        cpu.infer(&picture, &mut ours).unwrap();
        engine.infer(&picture, &mut theirs).unwrap();
        assert_eq!(theirs, ours);
        differ += usize::from(last != theirs);
        last = theirs;
    }
    assert_eq!(differ, 5, "pictures that differ have one answer");
}

#[test]
fn a_compiled_model_runs_on_the_device_and_answers_as_the_cpu_does() {
    let double = Here::new();
    double.plug(1, Stick::Ready);
    story();
    let mut engine = engine("colours_edgetpu", &edge_tpu(FIRST, &[])).unwrap();
    assert_answers_as_the_cpu(&mut engine);
    let told = engine.describe();
    let wanted = format!("colours_edgetpu on Edge TPU usb:0 at {} (TensorFlow Lite 2.", double.stick(1).display());
    assert!(told.starts_with(&wanted), "{told}");
    assert!(told.ends_with(", libedgetpu BuildLabel(fake), RuntimeVersion(14))"), "{told}");
    let story = story();
    assert!(story.contains(&"prepare: 1 of 1 nodes".to_owned()), "{story:?}");
}

#[test]
fn the_delegate_goes_after_the_interpreter_and_once() {
    let double = Here::new();
    double.plug(1, Stick::Ready);
    let made = format!("create {}: made", double.stick(1).display());
    story();
    drop(engine("colours_edgetpu", &edge_tpu(FIRST, &[])).unwrap());
    assert_eq!(story(), ["list: 1", &made, "prepare: 1 of 1 nodes", "kernel free", "free"]);
    drop(Delegate::open(&edge_tpu(FIRST, &[])).unwrap());
    assert_eq!(story(), ["list: 1", &made, "free"]);
    // Also when the model is refused half-way.
    double.tell("at prepare\nfault error");
    fault(engine("colours_edgetpu", &edge_tpu(FIRST, &[])));
    assert_eq!(story(), ["list: 1", &made, "free"]);
    // An engine moves to another thread, and ends there.
    double.tell("");
    let mut engine = engine("colours_edgetpu", &edge_tpu(FIRST, &[])).unwrap();
    std::thread::spawn(move || assert_answers_as_the_cpu(&mut engine)).join().unwrap();
    assert_eq!(story().last().unwrap(), "free");
}

#[test]
fn errors_carry_the_words_of_who_found_them() {
    let double = Here::new();
    double.plug(1, Stick::Ready);
    let usb = "Deadline exceeded: USB transfer error 2 [LibUsbDataOutCallback]";
    let mut engine_now = engine("colours_edgetpu", &edge_tpu(FIRST, &[])).unwrap();
    double.tell("fault error");
    let picture = pictures(&engine_now).next().unwrap();
    let mut output = vec![0; engine_now.io().output.bytes()];
    for _ in 0..2 {
        let error = engine_now.infer(&picture, &mut output).unwrap_err().to_string();
        assert_eq!(error.matches(usb).count(), 1, "{error}");
    }
    double.tell("");
    engine_now.infer(&picture, &mut output).unwrap();

    double.tell("at prepare\nfault error");
    let Fault::Model { text, words } = fault(engine("colours_edgetpu", &edge_tpu(FIRST, &[]))) else { panic!() };
    assert!(text.contains("no interpreter can be made of it"), "{text}");
    assert!(words[0].contains("needs a newer runtime"), "{words:?}");

    let on_cpu = TfliteEngine::with_delegate(&bytes("colours_edgetpu"), "colours", 1, None);
    let Fault::Model { words, .. } = fault(on_cpu) else { panic!() };
    assert!(words.iter().any(|word| word.contains("unresolved custom op: edgetpu-custom-op")), "{words:?}");
}

#[test]
fn the_cpus_errors_have_tensorflow_lites_words_too() {
    let file = ModelFile::load(&model("refused_dynamic_pool")).unwrap();
    let error = TfliteEngine::new(&file, 1).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("can't be laid out (") && error.contains("failed to prepare"), "{error}");
    assert!(!error.contains("allocate_tensors"), "{error}");
}

#[test]
fn a_plug_in_takes_options_and_comes_before_xnnpack() {
    let _double = Here::new();
    story();
    let colours = colours();
    let options = [("model", colours.to_str().unwrap()), ("backends", "GpuAcc, CpuAcc"), ("empty", "")];
    let mut engine = engine("colours_96x64_int8", &plugin(&options)).unwrap();
    assert_answers_as_the_cpu(&mut engine);
    let told = engine.describe();
    assert!(told.contains(&format!("on the delegate {}", library().display())), "{told}");
    drop(engine);
    let options = options.map(|(key, value)| format!("option {key}={value}"));
    // Both of the model's own operators, and none that XNNPACK has put in their place.
    let rest = ["create a plug-in: made", "prepare: 2 of 2 nodes", "kernel free", "free"].map(str::to_owned);
    assert_eq!(story(), [&options[..], &rest].concat());
}

#[test]
fn a_plug_in_says_why_it_cant() {
    let double = Here::new();
    double.tell("at create\nfault error");
    let words = vec!["Failed to open the device: it is busy".to_owned()];
    assert_eq!(fault(Delegate::open(&plugin(&[]))), Fault::NotOpened { words });
    double.tell("at create\nfault null");
    assert_eq!(fault(Delegate::open(&plugin(&[]))), Fault::NotOpened { words: Vec::new() });
}

#[test]
fn an_edge_tpu_gets_its_options_and_may_stay_shut() {
    let double = Here::new();
    double.plug(1, Stick::Fresh);
    story();
    let options = [("Performance", "Max"), ("Usb.AlwaysDfu", "False")];
    Delegate::open(&edge_tpu(FIRST, &options)).unwrap();
    assert_eq!(story()[1..3], ["option Performance=Max", "option Usb.AlwaysDfu=False"]);
    for order in ["denied", "null", "error"] {
        double.tell(&format!("at create\nfault {order}"));
        assert_eq!(fault(Delegate::open(&edge_tpu(FIRST, &[]))), Fault::NotOpened { words: Vec::new() });
    }
    let said = fault(Delegate::open(&edge_tpu(FIRST, &[("Performance", "M\0ax")]))).to_string();
    assert!(said.contains("zero byte"), "{said}");
}

#[test]
fn devices_are_found_by_place_and_by_name() {
    let double = Here::new();
    let open = |device| Delegate::open(&edge_tpu(device, &[])).map(|delegate| delegate.describe());
    let missing =
        |wanted: &str, listed: &str| Err(Fault::NoDevice { wanted: wanted.to_owned(), listed: listed.to_owned() });
    assert_eq!(open(FIRST), missing("", "none"));
    double.plug(2, Stick::Ready);
    double.plug(1, Stick::Ready);
    double.plug(3, Stick::Fresh);
    double.put_card(0);
    let usb = |number: u8, port: u8| (number, format!("Edge TPU usb:{number} at {}", double.stick(port).display()));
    // By port, and not as libedgetpu lists them, which has those without firmware before the others.
    for (number, name) in [usb(0, 1), usb(1, 2), usb(2, 3)] {
        assert_eq!(open(DeviceChoice::Named(TpuDevice::Usb(number))), Ok(name));
    }
    let card = format!("Edge TPU pci:0 at {}", double.card(0).display());
    assert_eq!(open(DeviceChoice::Named(TpuDevice::Pci(0))), Ok(card));
    assert_eq!(open(DeviceChoice::at(3)), Ok(usb(2, 3).1));
    double.plug(3, Stick::Ready);
    assert_eq!(open(DeviceChoice::at(3)), Ok(usb(2, 3).1), "it has its firmware, and keeps its name");
    let all = "pci:0, usb:0, usb:1, usb:2";
    // Another one where the preferred one is taken or not there, and none where all are.
    let path = |port| double.stick(port).display().to_string();
    let besides = |preferred, taken| open(DeviceChoice::Free { preferred, taken });
    assert_eq!(besides(1, vec![path(1)]), open(DeviceChoice::at(0)));
    assert_eq!(open(DeviceChoice::at(4)), open(DeviceChoice::at(0)));
    let every: Vec<String> = [1, 2, 3].map(path).into_iter().chain([double.card(0).display().to_string()]).collect();
    let wanted = format!("a device other than {}", every.join(" and "));
    assert_eq!(besides(0, every), missing(&wanted, all));
    assert_eq!(open(DeviceChoice::Named(TpuDevice::Pci(1))), missing("pci:1", all));
    double.unplug(3);
    assert_eq!(open(DeviceChoice::Named(TpuDevice::Usb(2))), missing("usb:2", "pci:0, usb:0, usb:1"));
}

#[test]
fn a_library_lists_its_devices_and_its_version() {
    let double = Here::new();
    let listing = list(library()).unwrap();
    assert_eq!(listing.version.as_deref(), Some("BuildLabel(fake), RuntimeVersion(14)"));
    assert!(listing.devices.is_empty());
    double.plug(1, Stick::Fresh);
    double.put_card(7);
    double.tell("version BuildLabel(2021), RuntimeVersion(13)");
    let listing = list(library()).unwrap();
    assert_eq!(listing.version.as_deref(), Some("BuildLabel(2021), RuntimeVersion(13)"));
    let devices: Vec<(Bus, PathBuf)> = listing.devices.iter().map(|one| (one.bus, PathBuf::from(&one.path))).collect();
    assert_eq!(devices, [(Bus::Pci, double.card(7)), (Bus::Usb, double.stick(1))]);
    assert_eq!(listing.names(), [TpuDevice::Pci(0), TpuDevice::Usb(0)]);
}

#[test]
fn a_library_that_is_none_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("libedgetpu.so.1");
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library, but long enough for the loader to look at it more closely").unwrap();
    let kinds = [DelegateKind::EdgeTpu(FIRST), DelegateKind::Plugin];
    for (path, expected) in [
        (&*missing, "No such file or directory"),
        (Path::new("libnone-at-all.so.7"), "No such file or directory"),
        (&*text, "invalid ELF header"),
        (folder.path(), "Is a directory"),
    ] {
        let named = |fault: Fault| {
            let said = fault.to_string();
            assert!(matches!(fault, Fault::Library { library, .. } if library == path), "{said}");
            assert!(said.contains("can't be loaded: ") && said.contains(expected), "{said}");
        };
        named(fault(list(path)));
        kinds.iter().for_each(|kind| named(fault(Delegate::open(&spec(path, kind.clone(), &[])))));
    }
    // Any library that is surely there and of another kind.
    let other = Path::new("libm.so.6");
    let lacks = |symbol: &str| Fault::Symbol { library: other.to_owned(), symbol: symbol.to_owned() };
    assert_eq!(fault(list(other)), lacks("edgetpu_version"));
    assert_eq!(fault(Delegate::open(&spec(other, kinds[0].clone(), &[]))), lacks("edgetpu_version"));
    assert_eq!(fault(Delegate::open(&spec(other, kinds[1].clone(), &[]))), lacks("tflite_plugin_create_delegate"));
}

#[test]
fn a_model_that_is_not_compiled_is_not_run_on_the_cpu_instead() {
    let double = Here::new();
    double.plug(1, Stick::Ready);
    let said = fault(engine("colours_96x64_int8", &edge_tpu(FIRST, &[]))).to_string();
    assert!(said.contains("a model for the CPU") && said.contains("edgetpu_compiler"), "{said}");
    assert_eq!(story().last().unwrap(), "free");
}

#[test]
fn the_double_answers_nonsense_and_late_when_told() {
    let double = Here::new();
    double.plug(1, Stick::Ready);
    let mut engine = engine("colours_edgetpu", &edge_tpu(FIRST, &[])).unwrap();
    let picture = pictures(&engine).next().unwrap();
    let mut answer = || {
        let mut output = vec![0; engine.io().output.bytes()];
        let started = Instant::now();
        engine.infer(&picture, &mut output).unwrap();
        (output, started.elapsed())
    };
    let (good, _) = answer();
    double.tell("fault garbage");
    assert_ne!(answer().0, good);
    // The inference that tried the model out went well, and three did since.
    double.tell("latency_ms 30\nafter 5\nslow_ms 300");
    let (also_good, time) = answer();
    assert!(also_good == good && time >= Duration::from_millis(30), "{time:?}");
    answer();
    let (still_good, time) = answer();
    assert!(still_good == good && time >= Duration::from_millis(330), "{time:?}");
}

/// Not a test: the process that [`it_dies_as_told`] starts, with a double of its own.
#[test]
#[ignore = "dies; another test starts it"]
fn a_process_that_may_die() {
    let mut engine = engine("colours_edgetpu", &edge_tpu(FIRST, &[])).unwrap();
    let picture = pictures(&engine).next().unwrap();
    let mut output = vec![0; engine.io().output.bytes()];
    let stick = Path::new(&std::env::var_os("PSPNETD_ROOT").unwrap()).join("sys/bus/usb/devices/1-1");
    if std::env::var_os("UNPLUG").is_some() {
        std::fs::remove_dir_all(stick).unwrap();
    }
    for _ in 0..3 {
        engine.infer(&picture, &mut output).unwrap();
    }
}

#[test]
fn it_dies_as_told() {
    let double = FakeEdgeTpu::new();
    double.plug(1, Stick::Ready);
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_process_that_may_die", "--ignored", "--nocapture"]).envs(double.environment());
        command
    };
    let aborted = "F driver/usb/usb_driver.cc:857] transfer on tag 1 failed. Abort. Unknown: USB transfer error 1";
    let run = |orders: &str| {
        double.tell(orders);
        let ended = start().output().unwrap();
        (ended.status.signal(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    assert_eq!(run("debug 1").0, None);
    for (place, signal, words) in [
        ("at create\nfault abort", libc::SIGABRT, aborted),
        ("at prepare\nfault abort", libc::SIGABRT, aborted),
        ("after 2\nfault abort", libc::SIGABRT, aborted),
        ("at prepare\nfault segfault", libc::SIGSEGV, ""),
        ("after 1\nfault segfault", libc::SIGSEGV, ""),
    ] {
        let (ended, stderr) = run(place);
        assert!(ended == Some(signal) && stderr.contains(words), "{place:?}: {ended:?}\n{stderr}");
    }
    assert_eq!(run("after 3\nfault abort").0, None, "only 3 inferences are made");
    let (_, stderr) = run("at create\nfault denied");
    assert!(stderr.contains("libusb couldn't open USB device") && stderr.contains("errno=13"), "{stderr}");

    double.tell("at prepare\nfault hang\ndebug 1");
    let mut hung = start().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(hung.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(told.into_iter().any(|line| line.contains("create ")), "it ends before it has a delegate");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(hung.try_wait().unwrap(), None);
    hung.kill().unwrap();
    let killed = Instant::now();
    hung.wait().unwrap();
    assert!(killed.elapsed() < LIMIT);

    double.tell("");
    let ended = start().env("UNPLUG", "1").output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT));
    assert!(stderr.contains("Not found: USB transfer error 5 [LibUsbDataInCallback]"), "{stderr}");
}
