//! The program with Edge TPUs, through the real binary and the test double of libedgetpu: who runs the model, what is said of
//! it, how several devices share the work. Faults at every moment are in `edgetpu_faults.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use support::coral::{pair, Coral};
use support::fake_edgetpu::{library, Stick};
use support::held::{children, held, workers};
use support::{area, colours, finish, media, model, pspnetd, replay, run, with, Finished, Running, Signal, LIMIT};

/// `pspnetd run` of the pair on a moving test picture, on the machine of `coral`.
fn watch<const N: usize>(coral: &Coral, settings: [&str; N]) -> Running {
    let mut command = with(run(&pair(), "pattern:96x64"), settings);
    coral.attach(&mut command);
    Running::start(command)
}

/// The pair on a clip, at full speed to its end, where no frame may be missing.
fn clip<const N: usize>(coral: &Coral, settings: [&str; N]) -> Finished {
    let mut command = with(run(&pair(), &replay("colours.y4m")), ["camera.rate=max"]);
    command = with(command, settings);
    coral.attach(&mut command);
    finish(command)
}

fn stop(running: Running) -> Finished {
    running.stop(Signal::TERM).0.expect(0)
}

/// Waits for a record that `is_it` says yes to, after the first `from`.
#[track_caller]
fn wait_for_record(running: &Running, from: usize, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    running.stdout.wait_for_record(from, what, is_it).1
}

fn ran(record: &Value) -> &str {
    record["engine"]["ran"].as_str().unwrap()
}

fn edgetpu(coral: &Coral, arguments: &[&str]) -> Command {
    let mut command = pspnetd(arguments);
    command.args(["--set", "engine.kind=edgetpu"]).arg("--model").arg(pair());
    coral.attach(&mut command);
    command
}

#[test]
fn a_device_answers_what_the_cpu_answers_and_every_record_says_who() {
    let coral = Coral::new(1);
    coral.double.tell("latency_ms 40");
    let by_device = clip(&coral, ["engine.kind=edgetpu", "engine.cpu_fallback=false"]).expect(0);
    let by_cpu = clip(&coral, ["engine.kind=cpu"]).expect(0);
    let areas =
        |finished: &Finished| finished.records().iter().map(|record| record["classes"].clone()).collect::<Vec<_>>();
    assert_eq!(areas(&by_device), areas(&by_cpu));
    assert_eq!(areas(&by_device).len(), 5);
    for record in by_device.records() {
        let engine = serde_json::json!({
            "ran": "edgetpu", "worker": 1, "workers": 1, "up": 1, "starts": 1, "faults": 0, "fallback_frames": 0,
        });
        assert_eq!(record["engine"], engine);
        let [infer, whole] = ["infer", "end_to_end"].map(|stage| record["latency_ms"][stage].as_f64().unwrap());
        assert!((40.0..=whole).contains(&infer), "{record}");
    }
    assert!(by_cpu.records().iter().all(|record| record["engine"] == serde_json::json!({"ran": "cpu"})));
    by_device.says(["Edge TPU usb:0", "RuntimeVersion(14)", "engine kind=edgetpu workers=1 up=1 faults=0 starts=1"]);
    assert!(!by_cpu.stderr.contains("engine kind="), "{}", by_cpu.stderr);
}

#[test]
fn auto_takes_the_device_where_the_model_has_a_compiled_half() {
    let coral = Coral::new(1);
    let mut command = with(run(&colours(), &replay("colours.y4m")), ["camera.rate=max"]);
    coral.attach(&mut command);
    let alone = finish(command).expect(0);
    assert!(alone.records().iter().all(|record| ran(record) == "cpu"));
    let running = watch(&coral, []);
    wait_for_record(&running, 0, "a mask of the device", |record| ran(record) == "edgetpu");
    stop(running);
}

#[test]
fn a_device_that_was_never_there_is_no_warning_and_is_taken_when_it_comes() {
    let coral = Coral::new(0);
    let running = watch(&coral, []);
    let record = wait_for_record(&running, 0, "a mask", |_| true);
    assert_eq!(ran(&record), "cpu");
    let said = running.stderr.wait_for("no such device");
    assert!(said.contains("INFO") && said.contains("edgetpu 1:") && said.contains("lsusb"), "{said}");
    let record = wait_for_record(&running, 1, "the reason", |record| record["engine"]["reason"].is_string());
    assert_eq!(record["engine"]["up"], 0);
    coral.double.plug(1, Stick::Fresh);
    let from = running.stdout.count();
    let record = wait_for_record(&running, from, "the device's mask", |record| ran(record) == "edgetpu");
    assert!(record["engine"].get("reason").is_none(), "{record}");
    let finished = stop(running);
    assert!(!finished.stderr.contains("WARN"), "{}", finished.stderr);
}

#[test]
fn nothing_is_lost_at_a_hand_back() {
    let coral = Coral::new(0);
    let mut command = with(run(&pair(), &replay("colours.y4m")), ["camera.rate=max", "camera.loop=true"]);
    coral.attach(&mut command);
    let running = Running::start(command);
    wait_for_record(&running, 0, "a mask of the CPU", |record| ran(record) == "cpu");
    coral.double.plug(1, Stick::Ready);
    let first = wait_for_record(&running, 0, "a mask of the device", |record| ran(record) == "edgetpu");
    let enough = first["sequence"].as_u64().unwrap() + 50;
    wait_for_record(&running, 0, "50 more", |record| record["sequence"].as_u64().unwrap() > enough);
    let finished = stop(running);
    let numbers: Vec<u64> = finished.records().iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a frame is missing");
    assert_eq!(["replaced", "failed"].map(|name| finished.count(name)), [0, 0]);
}

#[test]
fn several_devices_share_the_frames_and_results_stay_in_order() {
    let coral = Coral::new(3);
    coral.double.tell("latency_ms 20");
    let mut command = with(run(&pair(), &replay("colours.y4m")), ["camera.rate=max", "camera.loop=true"]);
    command = with(command, ["engine.kind=edgetpu", "engine.workers=3", "engine.cpu_fallback=false"]);
    coral.attach(&mut command);
    let running = Running::start(command);
    wait_for_record(&running, 0, "all three", |record| record["engine"]["up"] == 3);
    running.stdout.wait_for_count(running.stdout.count() + 60);
    let finished = stop(running);
    let records = finished.records();
    let numbers: Vec<u64> = records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "out of order");
    for worker in 1..=3 {
        let share = records.iter().filter(|record| record["engine"]["worker"] == worker).count();
        assert!(share >= 10, "worker {worker} ran {share} of {} frames", records.len());
    }
    // Each has a device of its own.
    for port in 1..=3 {
        let stick = coral.double.stick(port).display().to_string();
        assert_eq!(finished.stderr.matches(&format!(" at {stick} ")).count(), 1, "{}", finished.stderr);
    }
}

#[test]
fn a_device_that_goes_leaves_the_work_to_the_other() {
    let coral = Coral::new(2);
    let running = watch(&coral, ["engine.kind=edgetpu", "engine.workers=2"]);
    let both = |worker: u64| {
        wait_for_record(&running, 0, "a mask of each while both are up", |record| {
            record["engine"]["up"] == 2 && record["engine"]["worker"] == worker
        })
    };
    for worker in [1, 2] {
        both(worker);
    }
    coral.double.unplug(1);
    let record = wait_for_record(&running, 0, "one left", |record| {
        record["engine"]["up"] == 1 && record["engine"]["faults"].as_u64() > Some(0)
    });
    assert!(record["engine"]["reason"].is_string(), "{record}");
    let from = running.stdout.count();
    running.stdout.wait_for_count(from + 20);
    let finished = stop(running);
    assert!(finished.records()[from..].iter().all(|record| ran(record) == "edgetpu"), "the CPU is not needed");
    // The first worker had the stick that is gone.
    assert!(finished.records()[from..].iter().all(|record| record["engine"]["worker"] == 2));
}

#[test]
fn named_devices_are_the_ones_that_are_used() {
    let coral = Coral::new(2);
    let named = clip(&coral, ["engine.kind=edgetpu", "engine.device=usb:1", "engine.cpu_fallback=false"]).expect(0);
    let stick = coral.double.stick(2).display().to_string();
    named.says(["Edge TPU usb:1", &stick]);
}

#[test]
fn a_device_that_answers_nonsense_never_makes_a_mask() {
    let coral = Coral::new(1);
    coral.double.tell("at invoke\nfault garbage");
    let running = watch(&coral, ["engine.kind=edgetpu"]);
    let said = running.stderr.wait_for("its answer to the test picture is not the CPU's");
    assert!(said.contains("WARN") && said.contains("compile"), "{said}");
    running.stdout.wait_for_count(20);
    let finished = stop(running);
    assert!(finished.records().iter().all(|record| ran(record) == "cpu"));
}

#[test]
fn a_device_that_keeps_failing_is_left_alone_longer_and_longer() {
    let coral = Coral::new(1);
    coral.double.tell("at create\nfault abort");
    let running = watch(&coral, ["engine.kind=edgetpu", "log.level=debug", "engine.longest_pause=500ms"]);
    let attempts = |lines: &[String]| lines.iter().filter(|line| line.contains("next attempt in")).count();
    running.stderr.wait_until("five attempts", |lines| attempts(lines) >= 5);
    let text = stop(running).stderr;
    let pauses: Vec<&str> =
        text.lines().filter_map(|line| line.split("next attempt in ").nth(1)?.split(' ').next()).collect();
    assert_eq!(pauses[..5], ["0.2", "0.4", "0.5", "0.5", "0.5"], "{text}");
    // Said once; at debug from then on.
    assert_eq!(
        text.lines().filter(|line| line.contains("next attempt in") && line.contains("WARN")).count(),
        1,
        "{text}"
    );
}

#[test]
fn a_plug_in_runs_by_configuration_and_the_cpu_fills_in() {
    let kind = format!("engine.kind=delegate:{}", library().display());
    let options = format!("engine.options=model={}", colours().display());
    let coral = Coral::new(1);
    let mut command = with(run(&colours(), &replay("colours.y4m")), ["camera.rate=max", &kind, &options]);
    command = with(command, ["engine.cpu_fallback=false"]);
    command.envs(coral.double.environment());
    let finished = finish(command).expect(0);
    assert_eq!(finished.records().len(), 5);
    assert!(finished.records().iter().all(|record| ran(record) == "delegate"));
    finished.says(["delegate 1:", "the delegate /"]);
    let mut command = with(run(&colours(), &replay("colours.y4m")), ["camera.rate=max"]);
    command = with(command, ["engine.kind=delegate:/nonexistent/libx.so"]);
    let missing = finish(command).expect(0).says(["delegate 1: the library /nonexistent/libx.so can't be loaded"]);
    assert!(missing.records().iter().all(|record| ran(record) == "cpu"));
}

#[test]
fn halves_on_the_wrong_engine_are_refused_with_what_to_do() {
    let coral = Coral::new(1);
    let ends = |model: &std::path::Path, kind: &str| {
        let mut command = with(run(model, "pattern:96x64"), [&format!("engine.kind={kind}")]);
        coral.attach(&mut command);
        finish(command).expect(78).stderr
    };
    let alone = ends(&colours(), "edgetpu");
    assert!(alone.contains("compile_edgetpu.sh"), "{alone}");
    let compiled = ends(&pair().with_file_name("model_edgetpu.tflite"), "cpu");
    assert!(compiled.contains("model.tflite"), "{compiled}");
    let compiled = ends(&model("refused_edgetpu"), "auto");
    assert!(compiled.contains("engine.kind = \"edgetpu\""), "{compiled}");
}

#[test]
fn commands_on_pictures_use_the_device_that_is_asked_for() {
    let coral = Coral::new(1);
    let picture = media("colours/1_vertical.png");
    let predict = |coral: &Coral| {
        let mut command = edgetpu(coral, &["predict", "--json"]);
        command.arg(&picture);
        finish(command)
    };
    let by_device = predict(&coral).expect(0);
    let mut command = pspnetd(["predict", "--json", "--model"]);
    command.arg(colours()).arg(&picture);
    let by_cpu = finish(command).expect(0);
    assert_eq!(area(&by_device.records()[0], "red"), area(&by_cpu.records()[0], "red"));
    coral.double.unplug(1);
    predict(&coral).expect(69).says(["edgetpu 1: no such device", "lsusb"]);
    coral.double.plug(1, Stick::Ready);
    coral.double.tell("fault garbage");
    predict(&coral).expect(69).says(["edgetpu 1: its answer to the test picture is not the CPU's", "compile"]);
    coral.double.tell("after 1\nfault abort");
    predict(&coral).expect(70).says(["SIGABRT", "cable"]);
}

#[test]
fn a_bench_measures_one_engine_and_says_which() {
    let coral = Coral::new(1);
    let bench = |kind: &str| {
        let mut command = pspnetd(["bench", "--seconds", "0.2", "--set", kind, "--model"]);
        command.arg(pair());
        coral.attach(&mut command);
        finish(command)
    };
    let by_device = bench("engine.kind=edgetpu")
        .expect(0)
        .says(["model: colours-pair on Edge TPU usb:0", "up=1 faults=0 starts=1 fallback_frames=0"]);
    assert!(!by_device.stderr.contains("on the CPU"), "{}", by_device.stderr);
    let by_cpu = bench("engine.kind=auto").expect(0).says(["model: colours-pair on the CPU"]);
    assert!(!by_cpu.stderr.contains("Edge TPU"), "{}", by_cpu.stderr);
}

#[test]
fn what_happens_again_and_again_is_told_once() {
    let coral = Coral::new(1);
    let running = watch(&coral, ["engine.kind=edgetpu", "engine.longest_pause=50ms"]);
    let reaches = |what: &str, count: u64| {
        let from = running.stdout.count();
        wait_for_record(&running, from, what, |record| record["engine"]["faults"].as_u64().unwrap() >= count);
    };
    let comes_back = || {
        let from = running.stdout.count();
        wait_for_record(&running, from, "the device's mask", |record| ran(record) == "edgetpu");
    };
    comes_back();
    coral.double.tell("fault abort");
    reaches("aborts", 6);
    coral.double.tell("");
    comes_back();
    coral.double.unplug(1);
    reaches("attempts", 12);
    coral.double.plug(1, Stick::Ready);
    comes_back();
    let finished = stop(running);
    let count =
        |words: &[&str]| finished.stderr.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    let told = [
        count(&["ERROR", "USB transfer error 1 "]),
        count(&["WARN", "The transfer over USB failed."]),
        count(&["WARN", "It is unplugged, or without power"]),
        count(&["no such device"]),
        count(&["runs the model: colours-pair on Edge TPU usb:0 at "]),
        count(&["runs the model again after "]),
    ];
    assert_eq!(told, [1, 1, 1, 0, 1, 2], "{}", finished.stderr);
    assert_eq!(count(&["WARN", "(the CPU runs the model; next attempt in"]), 2, "{}", finished.stderr);
}

#[test]
fn more_workers_than_devices_do_not_open_one_twice() {
    let coral = Coral::new(1);
    // Slow enough for all to be at it at the same time.
    coral.double.tell("at create\nslow_ms 200");
    let running = watch(&coral, ["engine.kind=edgetpu", "engine.workers=4", "camera.rate=100"]);
    running.stderr.wait_for("a device other than");
    wait_for_record(&running, 0, "the device's mask", |record| ran(record) == "edgetpu");
    let from = running.stdout.count();
    running.stdout.wait_until("100 more", |lines| lines.len() >= from + 100);
    let finished = stop(running);
    assert!(finished.records().iter().all(|record| record["engine"]["up"].as_u64().unwrap() <= 1));
    assert_eq!(finished.stderr.matches("; test picture in").count(), 1, "{}", finished.stderr);
    finished.says(["asks for more than there is"]);
}

#[test]
fn a_program_that_stood_still_does_not_blame_the_device() {
    let coral = Coral::new(1);
    coral.double.tell("latency_ms 300");
    let running = watch(&coral, ["engine.kind=edgetpu", "engine.deadline=2s", "camera.rate=max"]);
    wait_for_record(&running, 0, "a mask of the device", |record| ran(record) == "edgetpu");
    let worker = rustix::process::Pid::from_raw(workers(&running, "edgetpu")[0].try_into().unwrap()).unwrap();
    // As a container that is paused in the midst of an inference; this program goes on first.
    running.signal(Signal::STOP);
    rustix::process::kill_process(worker, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    running.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(100));
    rustix::process::kill_process(worker, Signal::CONT).unwrap();
    let from = running.stdout.count();
    running.stdout.wait_until("3 more", |lines| lines.len() >= from + 3);
    let finished = stop(running);
    assert!(!finished.stderr.contains("no answer"), "{}", finished.stderr);
}

#[test]
fn a_bench_of_a_device_measures_the_device_alone() {
    let coral = Coral::new(1);
    // While the device takes its time, the CPU would run hundreds of frames.
    coral.double.tell("at create\nslow_ms 1500\nlatency_ms 40");
    let finished = finish(edgetpu(&coral, &["bench", "--json", "--seconds", "1"])).expect(0);
    let measured = &finished.records()[0];
    assert!(measured["stages"]["infer"]["min_ms"].as_f64().unwrap() >= 40.0, "{measured}");
    let rate = measured["pipeline"]["frames_per_s"].as_f64().unwrap();
    assert!(rate > 0.0 && rate <= 27.0, "{measured}");
}

#[test]
fn check_tries_the_device_and_says_what_would_run() {
    let coral = Coral::new(1);
    let check = |coral: &Coral, setting: &str| {
        finish(edgetpu(coral, &["check", "--camera", "pattern:96x64", "--set", setting]))
    };
    let good = check(&coral, "engine.workers=1").expect(0);
    assert!(good.stdout.contains("# device: good: ") && good.stdout.contains("Edge TPU usb:0"), "{}", good.stdout);
    let several = check(&coral, "engine.workers=2").expect(0);
    let said = &several.stdout;
    assert!(
        said.contains("# device: good: ") && said.contains("go on without it: edgetpu 2: no such device"),
        "{said}"
    );
    coral.double.tell("fault garbage");
    let nonsense = check(&coral, "engine.cpu_fallback=true").expect(0);
    assert!(nonsense.stdout.contains("the CPU fills in: edgetpu 1: its answer"), "{}", nonsense.stdout);
    coral.double.tell("");
    coral.take_library();
    let meanwhile = check(&coral, "engine.cpu_fallback=true").expect(0);
    assert!(meanwhile.stdout.contains("# device: the CPU fills in: edgetpu 1: the library"), "{}", meanwhile.stdout);
    check(&coral, "engine.cpu_fallback=false").expect(69).says(["can't be loaded"]);
}

#[test]
fn check_promises_no_cpu_to_who_has_the_compiled_half_alone() {
    let coral = Coral::new(0);
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("alone_edgetpu.tflite");
    std::fs::copy(pair().with_file_name("model_edgetpu.tflite"), &alone).unwrap();
    let mut command = pspnetd(["check", "--camera", "pattern:96x64", "--set", "engine.kind=edgetpu", "--model"]);
    command.arg(&alone);
    coral.attach(&mut command);
    let finished = finish(command).expect(69);
    assert!(finished.stdout.contains("# device: not usable"), "{}", finished.stdout);
    finished.says(["no such device"]);
}

#[test]
fn a_time_of_zero_is_no_limit_and_no_pause_of_zero_is_taken() {
    let coral = Coral::new(1);
    let settings = ["engine.kind=edgetpu", "engine.cpu_fallback=false", "engine.deadline=0", "engine.start_limit=0"];
    let finished = clip(&coral, settings).expect(0);
    assert_eq!(finished.records().len(), 5);
    assert!(!finished.stderr.contains("no answer"), "{}", finished.stderr);
    clip(&coral, ["engine.longest_pause=0"]).expect(78).says(["engine.longest_pause", "expected more than 0"]);
}

#[test]
fn a_device_that_comes_and_goes_all_day_does_not_fill_the_log() {
    let coral = Coral::new(1);
    coral.double.tell("at invoke\nafter 2\nfault abort");
    let running = watch(&coral, ["engine.kind=edgetpu", "engine.longest_pause=1ms", "camera.rate=200"]);
    wait_for_record(&running, 0, "40 starts", |record| record["engine"]["starts"].as_u64().unwrap() >= 40);
    let finished = stop(running);
    let told = |words: &str| finished.stderr.lines().filter(|line| line.contains(words)).count();
    // The first five; one more each minute, should this take so long.
    assert!((5..12).contains(&told("next attempt in")), "{}", finished.stderr);
    assert!((4..12).contains(&told("again after")), "{}", finished.stderr);
}

#[test]
fn two_hundred_aborts_in_a_row_leave_memory_where_it_was() {
    let coral = Coral::new(1);
    coral.double.tell("at invoke\nafter 2\nfault abort");
    let settings =
        ["engine.kind=edgetpu", "engine.longest_pause=1ms", "publish.jsonl.path=/dev/null", "telemetry.interval=1h"];
    let mut command = with(run(&pair(), "pattern:96x64"), settings);
    command = with(command, ["camera.rate=200", "log.level=debug"]);
    coral.attach(&mut command);
    let running = Running::start(command);
    // A look finds none, one or two workers alive, so the least of twenty is what the program itself holds.
    let least = |first: usize| {
        let looks = (first..first + 20).map(|count| {
            running.stderr.wait_until(&format!("{count} aborts"), |lines| {
                lines.iter().filter(|line| line.contains("SIGABRT") && line.contains("next attempt")).count() >= count
            });
            held(&running)
        });
        looks.map(|look| (look.descriptors, look.rss_kib)).reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap()
    };
    let (early, late) = (least(40), least(240));
    assert!(late.0 <= early.0 + 1 && late.1 < early.1 + 1024, "descriptors and KiB: {early:?} {late:?}");
    assert!(children(&running).len() <= 2, "beside the CPU's, no process waits to be reaped");
    let finished = stop(running);
    let fates = ["published", "replaced", "failed"].map(|name| finished.count(name));
    assert_eq!(finished.count("in"), fates.iter().sum::<u64>(), "{}", finished.stderr);
}

#[test]
fn a_worker_does_not_outlive_the_program_and_ends_fast() {
    let coral = Coral::new(1);
    let running = watch(&coral, ["engine.kind=edgetpu"]);
    wait_for_record(&running, 0, "a mask of the device", |record| ran(record) == "edgetpu");
    let worker = workers(&running, "edgetpu")[0];
    coral.double.tell("at invoke\nfault hang");
    // It hangs in an inference now, which must not hold the program.
    std::thread::sleep(Duration::from_millis(100));
    running.stop_in_time(Signal::TERM).expect(0);
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
    let running = watch(&coral, ["engine.kind=edgetpu"]);
    coral.double.tell("");
    wait_for_record(&running, 0, "a mask of the device", |record| ran(record) == "edgetpu");
    let worker = workers(&running, "edgetpu")[0];
    running.signal(Signal::KILL);
    let gone = std::time::Instant::now();
    while std::path::Path::new(&format!("/proc/{worker}")).exists() {
        assert!(gone.elapsed() < LIMIT, "process {worker} is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}
