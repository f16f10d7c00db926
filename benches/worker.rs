//! What a process of its own costs: the same engine in this process and in a worker, on the same tensors, in blocks that take
//! turns.
//!
//! `cargo bench --bench worker`. Both engines run on the CPU with one thread; "added" is the difference of the medians, the
//! goal at most 100 µs. Frames come at a camera's pace, or one right after the other, as from a file. `--json` ends with a
//! line of JSON.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use infer::worker::{test_picture, Job, Worker};
use infer::{Engine as _, InputTensors, TfliteEngine};
use model::ModelFile;
use serde_json::json;

const MODELS: [&str; 2] = ["tests/models/colours/model.tflite", "models/street-fast/model.tflite"];
/// Names of paces, and the time between two frames.
const PACES: [(&str, Duration); 2] = [("30 per second", Duration::from_millis(33)), ("at once", Duration::ZERO)];
/// Inferences in a block. The first is not counted: it pays for the change.
const BLOCK: usize = 20;
/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:<12} {:<14} {:>8} {:>14} {:>14} {:>12} {:>12}",
        "[us]", "pace", "n", "here p50", "worker p50", "added p50", "added p99"
    );
    let mut figures = Vec::new();
    for path in MODELS {
        let file = ModelFile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path))?;
        for (name, pace) in PACES {
            let (here, there) = times(&file, pace)?;
            let added = |at: f64| percentile(&there, at) - percentile(&here, at);
            let [ours, theirs] = [&here, &there].map(|times| percentile(times, 0.5));
            println!(
                "{:<12} {name:<14} {:>8} {ours:>14.1} {theirs:>14.1} {:>12.1} {:>12.1}",
                file.name(),
                here.len(),
                added(0.5),
                added(0.99)
            );
            figures.push(json!({
                "model": file.name(), "pace": name, "here_p50_us": ours, "worker_p50_us": theirs, "added_p50_us": added(0.5),
            }));
        }
    }
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::Value::from(figures));
    }
    Ok(())
}

/// Microseconds in this process and in a worker, sorted.
fn times(file: &ModelFile, pace: Duration) -> Result<(Vec<f64>, Vec<f64>), Box<dyn Error>> {
    let mut engine = TfliteEngine::new(file, 1)?;
    let io = engine.io().clone();
    let inputs = InputTensors::shared(&io.input, 1)?;
    let program = env!("CARGO_BIN_EXE_pspnetd").into();
    let job = Job { program, ..Job::new("worker", file, io.clone(), 1) };
    let (mut worker, _) = Worker::start(&job, &inputs, LIMIT, &mut || true)?;
    let mut input = inputs.take()?;
    let [mut ours, mut theirs] = [(); 2].map(|()| vec![0; io.output.bytes()]);
    input.copy_from_slice(&test_picture(&io.input));
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        block(pace, &mut here, || engine.infer(&input, &mut ours).map_err(Into::into))?;
        block(pace, &mut there, || {
            worker.infer(&input, &mut theirs, LIMIT, &mut || true).map(|_| ()).map_err(Into::into)
        })?;
    }
    if ours[..] != theirs[..] {
        return Err("the two answer differently".into());
    }
    here.sort_by(f64::total_cmp);
    there.sort_by(f64::total_cmp);
    Ok((here, there))
}

fn block(
    pace: Duration,
    times: &mut Vec<f64>,
    mut infer: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    for round in 0..BLOCK {
        let start = Instant::now();
        infer()?;
        let took = start.elapsed();
        if round > 0 {
            times.push(took.as_secs_f64() * 1e6);
        }
        std::thread::sleep(pace.saturating_sub(took));
    }
    Ok(())
}

fn percentile(sorted: &[f64], at: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * at) as usize]
}
