//! Two hundred workers that die, one after the other, leave nothing in this process: alone in its file, because what it counts
//! belongs to the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/unruly.rs"]
mod unruly;

use std::fs;

use infer::worker::{Job, Worker};
use infer::{Engine as _, Fault, InputTensors, TfliteEngine};
use model::ModelFile;

use support::{model, LIMIT};
use unruly::unruly;

/// What this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// Mappings of shared memory.
    memfds: usize,
    children: usize,
}

fn held() -> (Held, u64) {
    let entries = |path: &str| fs::read_dir(path).unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let children = fs::read_dir("/proc/self/task").unwrap().map(|task| {
        // A thread that has just ended has none.
        let list = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        list.split_whitespace().count()
    });
    let held = Held {
        descriptors: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        memfds: maps.lines().filter(|line| line.contains("/memfd:pspnetd")).count(),
        children: children.sum(),
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (held, rss.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn two_hundred_ends_of_any_kind_leave_nothing_behind() {
    let file = ModelFile::load(&model("colours")).unwrap();
    let engine = TfliteEngine::new(&file, 1).unwrap();
    let inputs = InputTensors::shared(&engine.io().input, 2).unwrap();
    let job = Job { program: unruly(), ..Job::new("w", &file, engine.io().clone(), 1) };
    let (input, mut output) = (inputs.take().unwrap(), vec![0; engine.io().output.bytes()]);
    let mut round = |what: &str| {
        let job = Job { name: format!("w: {what} 2"), ..job.clone() };
        let (mut worker, _) = Worker::start(&job, &inputs, LIMIT, &mut || true).unwrap();
        worker.infer(&input, &mut output, LIMIT, &mut || what != "hang")
    };
    let mut rounds = |count: usize| {
        for _ in 0..count / 4 {
            assert!(matches!(round("abort"), Err(Fault::Died { .. })));
            assert!(matches!(round("error"), Err(Fault::Inference { .. })));
            assert!(matches!(round("hang"), Err(Fault::Stopped)));
            assert!(round("nothing").is_ok());
        }
    };
    rounds(20);
    let (early, early_rss) = held();
    rounds(200);
    let (late, late_rss) = held();
    assert_eq!((early, late.children), (late, 0));
    // Pages that are touched late for the first time. Two pages each round would be 1600 KiB.
    assert!(late_rss < early_rss + 1024, "{early_rss} KiB, then {late_rss} KiB");
}
