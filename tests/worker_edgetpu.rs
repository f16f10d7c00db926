//! A worker with an Edge TPU, on the test double of libedgetpu: the same masks as the CPU, what the library says of itself, and
//! every way in which it can take its process down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::time::Duration;

use infer::worker::{check_answer, probe_with, test_picture, Job, Ready, Worker};
use infer::{
    DelegateKind, DelegateSpec, DeviceChoice, Engine as _, Fault, InputTensors, Phase, TfliteEngine, TpuDevice,
};
use model::ModelFile;
use model::ModelIo;

use support::fake_edgetpu::{library, Here, Stick};
use support::{colours, model, LIMIT};

const PSPNETD: &str = env!("CARGO_BIN_EXE_pspnetd");
/// Longer than a worker needs to start, shorter than a test should take.
const SHORT: Duration = Duration::from_secs(3);

/// The colour model, and the engine that runs its CPU file in this process.
struct Colours {
    engine: TfliteEngine,
    job: Job,
    inputs: InputTensors,
}

impl Colours {
    fn new(kind: DelegateKind) -> Self {
        let file = ModelFile::load(&colours()).unwrap();
        let engine = TfliteEngine::new(&file, 1).unwrap();
        let inputs = InputTensors::shared(&engine.io().input, 1).unwrap();
        let compiled = std::fs::read(model("colours_edgetpu")).unwrap();
        let delegate = Some(DelegateSpec { library: library().to_owned(), kind, options: Vec::new() });
        let job = Job::new("edgetpu 1", &file, engine.io().clone(), 1);
        let job = Job { program: PSPNETD.into(), model: compiled.into(), delegate, ..job };
        Self { engine, job, inputs }
    }

    fn on_any() -> Self {
        Self::new(DelegateKind::EdgeTpu(DeviceChoice::at(0)))
    }

    fn io(&self) -> ModelIo {
        self.engine.io().clone()
    }

    fn output(&self) -> Vec<u8> {
        vec![0; self.engine.io().output.bytes()]
    }

    fn start(&self, limit: Duration) -> Result<(Worker, Ready), Fault> {
        Worker::start(&self.job, &self.inputs, limit, &mut || true)
    }

    fn infer(&self, worker: &mut Worker, limit: Duration) -> Result<Duration, Fault> {
        let (input, mut output) = (self.inputs.take().unwrap(), self.output());
        worker.infer(&input, &mut output, limit, &mut || true)
    }
}

fn probe() -> Result<infer::Listing, Fault> {
    probe_with(Path::new(PSPNETD), library(), SHORT)
}

#[test]
fn it_answers_what_the_cpu_answers_and_tells_device_and_version() {
    let here = Here::new();
    here.plug(1, Stick::Fresh);
    here.tell("version BuildLabel(double), RuntimeVersion(14)\n");
    let mut colours = Colours::on_any();
    let (mut worker, ready) = colours.start(LIMIT).unwrap();
    let mut expected = vec![0; colours.io().output.bytes()];
    colours.engine.infer(&test_picture(&colours.io().input), &mut expected).unwrap();
    check_answer(&colours.io().output, Some(&expected[..]), &ready.answer).unwrap();
    assert_eq!(ready.version.as_deref(), Some("BuildLabel(double), RuntimeVersion(14)"));
    assert_eq!(ready.device.as_deref(), Some(here.stick(1).to_str().unwrap()));
    assert!(ready.describe.contains("Edge TPU usb:0"), "{}", ready.describe);
    for _ in 0..20 {
        colours.infer(&mut worker, LIMIT).unwrap();
    }
}

#[test]
fn every_end_of_the_library_is_a_fault_and_no_more() {
    let here = Here::new();
    here.plug(1, Stick::Ready);
    let colours = Colours::on_any();
    for (fault, how) in [("abort", "SIGABRT"), ("segfault", "SIGSEGV")] {
        for at in ["create", "prepare"] {
            here.tell(&format!("at {at}\nfault {fault}\n"));
            let end = colours.start(LIMIT).err().unwrap();
            assert!(matches!(&end, Fault::Died { when: Phase::Starting, how: is, .. } if is == how), "{at} {end:?}");
        }
        here.tell("");
        let (mut worker, _) = colours.start(LIMIT).unwrap();
        colours.infer(&mut worker, LIMIT).unwrap();
        here.tell(&format!("at invoke\nfault {fault}\n"));
        let end = colours.infer(&mut worker, LIMIT).unwrap_err();
        let Fault::Died { when: Phase::Inferring, how: is, words } = &end else { panic!("{end:?}") };
        assert_eq!(is, how);
        assert!(fault != "abort" || words.iter().any(|line| line.contains("Abort")), "{words:?}");
    }
    here.tell("at create\nfault denied\n");
    let end = colours.start(LIMIT).err().unwrap();
    assert!(matches!(&end, Fault::NotOpened { words } if !words.is_empty()), "{end:?}");
    here.tell("at prepare\nfault hang\n");
    assert_eq!(colours.start(SHORT).err().unwrap(), Fault::Late { when: Phase::Starting, after: SHORT });
    here.tell("at invoke\nfault error\n");
    assert!(colours.start(LIMIT).is_err());
    here.tell("");
    colours.start(LIMIT).unwrap();
}

#[test]
fn a_device_that_is_not_there_is_told() {
    let here = Here::new();
    let colours = Colours::new(DelegateKind::EdgeTpu(DeviceChoice::Named(TpuDevice::Usb(1))));
    here.plug(1, Stick::Ready);
    let end = colours.start(LIMIT).err().unwrap();
    assert!(matches!(&end, Fault::NoDevice { wanted, .. } if wanted == "usb:1"), "{end:?}");
    here.plug(2, Stick::Ready);
    let (_, ready) = colours.start(LIMIT).unwrap();
    assert_eq!(ready.device.as_deref(), Some(here.stick(2).to_str().unwrap()));
}

#[test]
fn a_probe_tells_devices_and_version_or_what_is_wrong() {
    let here = Here::new();
    assert!(probe().unwrap().devices.is_empty());
    here.plug(1, Stick::Fresh);
    here.put_card(0);
    here.tell("version 7\n");
    let listing = probe().unwrap();
    assert_eq!((listing.version.as_deref(), listing.devices.len()), (Some("7"), 2));
    let missing = probe_with(Path::new(PSPNETD), Path::new("/nonexistent/libedgetpu.so.1"), SHORT).unwrap_err();
    assert!(matches!(&missing, Fault::Library { text, .. } if text.contains("/nonexistent/")), "{missing:?}");
    let other = probe_with(Path::new(PSPNETD), Path::new("libc.so.6"), SHORT).unwrap_err();
    assert!(matches!(&other, Fault::Symbol { .. }), "{other:?}");
}
