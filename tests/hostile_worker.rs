//! A worker process that has turned hostile, as a compromised accelerator library would be: it can't bring the program down
//! through the memory that both share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::path::Path;
use std::process::Command;

use plugins::plugin;
use support::{colours, run, with, Running, Signal};

/// `pspnetd run` with the plug-in `name`, which gets one option.
fn with_plugin(name: &str, option: &str, value: &Path) -> Command {
    let kind = format!("engine.kind=delegate:{}", plugin(name).display());
    let option = format!("engine.options={option}={}", value.display());
    with(run(&colours(), "pattern:96x64"), [&kind, &option, "camera.rate=max", "log.level=debug"])
}

#[test]
fn a_worker_that_changes_its_answers_all_the_time_costs_wrong_masks_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let until = folder.path().join("now");
    let running = Running::start(with_plugin("scribbler", "until", &until));
    running.stderr.wait_for("runs the model");
    running.stdout.wait_for_count(20);
    std::fs::write(until, "").unwrap();
    running.stderr.wait_for("scribbler: writing over 1 outputs");
    // More than a thousand chances to read a byte twice and to find another one: one of them ended the program in 2 s.
    running.stdout.wait_for_count(running.stdout.count() + 2000);
    let (finished, _) = running.stop(Signal::TERM);
    for record in finished.expect(0).records() {
        let sum: f64 = record["classes"].as_object().unwrap().values().map(|area| area.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 0.01, "{record}");
        let confidence = record["confidence"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&confidence), "{record}");
    }
}
