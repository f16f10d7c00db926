//! `pspnetd run`: puts a pipeline together from the configuration, and is its main thread.
//!
//! The main thread handles signals, tells systemd how the pipeline is, and decides when the run is over.

mod assemble;
mod live;
mod memory;
mod monitor;
mod systemd;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base::child;
use base::failure::{Failure, Kind};
use base::shutdown::{Shutdown, TICK};
use infer::edgetpu::root;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::Config;
use crate::pipeline::{Ending, Pipeline};
use crate::plugs::PLUGS;
use crate::publish::plug::Guard;
pub use assemble::{assemble, camera_maker, scene, Assembly};
use monitor::Monitor;
use systemd::Supervisor;

/// Time between the order to stop and leaving, whatever the stages still do. With the rest it stays under 1 s.
const STOP_LIMIT: Duration = Duration::from_millis(700);

/// By then everything is told and written, if standard error takes what is told.
const LAST_MOMENT: Duration = Duration::from_millis(900);

/// By then whoever ends the program has done so, or hangs.
const LONGEST_STOP: Duration = Duration::from_secs(5);

/// Signals this close together are one: a terminal and timeout(1) send to the program and to its group.
const ONE_SIGNAL: Duration = Duration::from_millis(300);

/// Runs until the source ends or somebody says stop.
///
/// # Errors
/// A configuration that can't work, before anything starts; or how the run failed.
pub fn run(config: &Config) -> Result<(), Failure> {
    let shutdown = Shutdown::default();
    let started = Arc::new(AtomicBool::new(false));
    watch_signals(&shutdown, Arc::clone(&started))?;
    let Assembly { pipeline: parts, journals, starts, live } = assemble(config, PLUGS, &shutdown)?;
    memory::warn_of_a_tight_limit(config, &root());
    let clock = Arc::clone(&parts.clock);
    // Before the first thread of the pipeline, which may have results before the next line.
    started.store(true, Ordering::SeqCst);
    let pipeline = Pipeline::start(parts, &shutdown).map_err(Failure::no_thread)?;
    let monitor = Monitor::start(&live, journals, &config.telemetry, &root(), &clock, &shutdown);
    let monitor = monitor.map_err(Failure::no_thread)?;
    // Held to the end of this function: however that comes, lights and relays go off, and the server's socket goes.
    let guards = starts.into_iter().map(|start| start()).collect::<Result<Vec<Guard>, _>>();
    let _guards = guards.map_err(Failure::no_thread)?;
    let mut supervisor = Supervisor::from_environment();
    while !pipeline.wait(TICK) {
        supervisor.tell(pipeline.vitals(), clock.now());
        if shutdown.is_pulled() {
            break;
        }
    }
    Supervisor::stopping();
    if pipeline.wait(STOP_LIMIT) {
        let vitals = Arc::clone(pipeline.vitals());
        pipeline.join();
        monitor.finish();
        return verdict(vitals.ending(), vitals.has_published());
    }
    let (stage, silence) = pipeline.vitals().beats.slowest(clock.now());
    log::warn!("the {stage} stage has not answered for {:.1} s; leaving without it", silence.as_secs_f64());
    child::kill_all();
    monitor.finish();
    verdict(pipeline.vitals().ending(), pipeline.vitals().has_published())
}

/// Ends the process without waiting for its threads, and its children with it.
fn leave(code: i32) -> ! {
    child::kill_all();
    std::process::exit(code)
}

/// What the run comes to: why it ended, unless it was told to, and whether there was a result.
fn verdict(ending: Option<Ending>, has_published: bool) -> Result<(), Failure> {
    match ending {
        Some(Ending::SourceEnded { lost: 0 }) if !has_published => {
            Err(Failure::new(Kind::Data, "the source has ended without one frame that could be used"))
        }
        None | Some(Ending::SourceEnded { lost: 0 }) => Ok(()),
        Some(Ending::SourceEnded { lost }) => {
            Err(Failure::new(Kind::Io, format!("{lost} results could not be delivered")))
        }
        Some(Ending::SourceFailed(reason)) => Err(Failure::new(Kind::Io, format!("camera {reason}"))),
        Some(Ending::SinksGone) => Err(Failure::new(Kind::Io, "nobody receives results: standard output is closed")),
        Some(Ending::Panicked) => Err(Failure::new(Kind::Software, "a stage failed; see the log above")),
    }
}

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// A stop in order.
    Stop,
    /// What the first one asks for: it was sent together with that.
    Same,
    /// An end at once.
    Leave,
}

impl Meaning {
    /// Of a signal that comes so long after the first one; None where it is the first.
    fn of(after: Option<Duration>) -> Self {
        match after {
            None => Self::Stop,
            Some(after) if after < ONE_SIGNAL => Self::Same,
            Some(_) => Self::Leave,
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP (the terminal is gone) pull the token; a second one, not sent together with the first, leaves
/// at once. Before the pipeline has `started` there is nothing to finish, and loading a large model would take longer than
/// the promised second, so the first one leaves at once too.
fn watch_signals(shutdown: &Shutdown, started: Arc<AtomicBool>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Kind::Software, format!("signals can't be watched: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    // nohup(1) starts programs that ignore it, and so they shall.
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP).map_err(failed)?;
    }
    let shutdown = shutdown.clone();
    let watch = move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            match Meaning::of(first.map(|first| first.elapsed())) {
                Meaning::Same => continue,
                Meaning::Leave => leave(128 + signal),
                Meaning::Stop => first = Some(Instant::now()),
            }
            leave_in_time();
            let tell = || log::info!("stopping: {}", signal_hook::low_level::signal_name(signal).unwrap_or("a signal"));
            // Before the stop, which may be through before this thread gets to it again. A standard error that nobody reads, as
            // of a journal that was stopped, may never take the words: there the stop comes first.
            let is_free = is_stderr_free();
            if is_free {
                tell();
            }
            shutdown.pull();
            if !is_free {
                tell();
            }
            if !started.load(Ordering::SeqCst) {
                leave(0);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(())
}

/// Leaves when the time to stop is over and standard error takes nothing more: then whoever has a word to say waits for ever. Also
/// when whoever should end the program has not done so for long.
fn leave_in_time() {
    let guard = || {
        thread::sleep(LAST_MOMENT);
        let patience = std::time::Instant::now() + LONGEST_STOP;
        while is_stderr_free() && std::time::Instant::now() < patience {
            thread::sleep(TICK);
        }
        leave(0);
    };
    // Without it a full standard error is waited for, and a second signal ends that.
    let _ = thread::Builder::new().name("guard".to_owned()).spawn(guard);
}

/// Whether writing to standard error returns at once.
fn is_stderr_free() -> bool {
    let stderr = rustix::stdio::stderr();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&now)) != Ok(0)
}

/// Whether this process was started with `signal` ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_signal_means_an_end_at_once_unless_it_came_with_the_first() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(Meaning::of(None), Meaning::Stop);
        assert_eq!([0, 299].map(|after| Meaning::of(ms(after))), [Meaning::Same, Meaning::Same]);
        assert_eq!([300, 5000].map(|after| Meaning::of(ms(after))), [Meaning::Leave, Meaning::Leave]);
    }

    #[test]
    fn every_end_of_a_run_has_its_exit_code_and_says_why() {
        let source_ended = |lost| Some(Ending::SourceEnded { lost });
        let source_failed = Some(Ending::SourceFailed("clip.mjpeg: torn".to_owned()));
        for (ending, has_published, code, words) in [
            (None, true, 0, ""),
            (None, false, 0, ""),
            (source_ended(0), true, 0, ""),
            (source_ended(0), false, 65, "without one frame"),
            (source_ended(3), true, 74, "3 results could not be delivered"),
            (source_ended(3), false, 74, "3 results could not be delivered"),
            (source_failed.clone(), true, 74, "camera clip.mjpeg: torn"),
            (source_failed, false, 74, "camera clip.mjpeg: torn"),
            (Some(Ending::SinksGone), true, 74, "standard output is closed"),
            (Some(Ending::SinksGone), false, 74, "standard output is closed"),
            (Some(Ending::Panicked), true, 70, "a stage failed"),
            (Some(Ending::Panicked), false, 70, "a stage failed"),
        ] {
            let case = format!("{ending:?} {has_published}");
            let verdict = verdict(ending, has_published);
            assert_eq!(verdict.as_ref().err().map_or(0, Failure::exit_code), code, "{case}");
            assert!(verdict.err().map(|failure| failure.to_string()).unwrap_or_default().contains(words), "{case}");
        }
    }
}
