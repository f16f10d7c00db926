//! A command that is asked for values again and again, by a thread of its own: whoever wants the last answer never waits.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base::back_off::BackOff;
use base::child::{is_readable, never_wait, Child};
use base::clock::{Clock as _, Instant, SystemClock};
use base::command_line::CommandLine;
use base::shutdown::Shutdown;
use base::sync::lock;
use base::text::escape;

/// Time for one answer. vcgencmd takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(2);
/// Bytes of an answer.
const LONGEST: usize = 16 << 10;
/// Pause after the first failure; it doubles.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Letters of a failing command's last words.
const WORDS: usize = 200;

/// A command and its last answer.
pub(super) struct Repeated<T> {
    last: Arc<Last<T>>,
    every: Duration,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

/// The last answer and its time; None before the first try.
type Last<T> = Mutex<Option<(Instant, Result<T, String>)>>;

impl<T: Clone + Send + 'static> Repeated<T> {
    /// Runs `line` every `every`, in a thread called `name`, and has `parse` read what it prints.
    pub(super) fn start(
        name: &str,
        line: CommandLine,
        every: Duration,
        parse: impl Fn(&str) -> Result<T, String> + Send + 'static,
    ) -> Self {
        let last = Arc::new(Mutex::new(None));
        let shutdown = Shutdown::default();
        let (theirs, stop) = (Arc::clone(&last), shutdown.clone());
        let body = move || ask(&line, every, &parse, &theirs, &stop);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
        let thread = thread.map_err(|error| {
            let reason = format!("its thread can't be started: {error}");
            log::warn!("{name}: {reason}");
            *lock(&last) = Some((SystemClock.now(), Err(reason)));
        });
        Self { last, every, shutdown, thread: thread.ok() }
    }

    /// The last answer, if it is of now; else why there is none.
    pub(super) fn latest(&self) -> Result<T, String> {
        match &*lock(&self.last) {
            None => Err("it has not answered yet".to_owned()),
            Some((_, Err(reason))) => Err(reason.clone()),
            Some((time, Ok(answer))) => {
                let age = SystemClock.now().since(*time);
                if is_old(age, self.every) {
                    Err(format!("its last answer is {} s old", age.as_secs()))
                } else {
                    Ok(answer.clone())
                }
            }
        }
    }

    /// Whether it has answered or failed once.
    pub(super) fn has_tried(&self) -> bool {
        lock(&self.last).is_some()
    }
}

impl<T> Drop for Repeated<T> {
    fn drop(&mut self) {
        self.shutdown.pull();
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed by itself; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// Whether an answer says nothing of now, where there is to be one every `every`: two in a row and the time that each may
/// take are missing.
fn is_old(age: Duration, every: Duration) -> bool {
    age > every * 3 + LIMIT
}

fn ask<T>(
    line: &CommandLine,
    every: Duration,
    parse: &dyn Fn(&str) -> Result<T, String>,
    last: &Last<T>,
    shutdown: &Shutdown,
) {
    let (mut back_off, mut told) = (BackOff::starting(PAUSE, LONGEST_PAUSE), None);
    loop {
        let answer = run(line, shutdown).and_then(|text| parse(&text).map_err(|reason| format!("{line}: {reason}")));
        if shutdown.is_pulled() {
            return;
        }
        let next = match &answer {
            Ok(_) => {
                if told.take().is_some() {
                    log::info!("{line}: answers again");
                }
                back_off.reset();
                every
            }
            Err(reason) => {
                if is_news(&mut told, reason) {
                    log::warn!("{reason}. It is tried again");
                }
                back_off.pause()
            }
        };
        *lock(last) = Some((SystemClock.now(), answer));
        if shutdown.sleep(next) {
            return;
        }
    }
}

/// Whether `reason` is another one than was `told`; it is told then.
fn is_news(told: &mut Option<String>, reason: &str) -> bool {
    let is_news = told.as_deref() != Some(reason);
    if is_news {
        *told = Some(reason.to_owned());
    }
    is_news
}

/// What one run of the command prints. Its two outputs are one.
fn run(line: &CommandLine, shutdown: &Shutdown) -> Result<String, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{line}: there is no such program (Raspberry Pi OS has vcgencmd in raspi-utils-core)")
        }
        _ => format!("{line}: can't be started: {error}"),
    };
    let (mut output, input) = io::pipe().map_err(failed)?;
    let mut command = Command::new(line.program());
    command.args(line.arguments()).stdin(Stdio::null()).stdout(input.try_clone().map_err(failed)?).stderr(input);
    let mut child = Child::spawn(&mut command, line.name()).map_err(failed)?;
    // Its own ends of the pipe, so that the last of the child's is the last of all.
    drop(command);
    never_wait(&output).map_err(failed)?;
    let start = SystemClock.now();
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if shutdown.is_pulled() {
            return Err(format!("{line}: stopped"));
        }
        if SystemClock.now().since(start) >= LIMIT {
            return Err(format!("{line}: no end after {} s; it was killed", LIMIT.as_secs()));
        }
        if !is_readable(&output).map_err(failed)? {
            // A child of it may hold the pipe for good.
            if child.has_ended() {
                break;
            }
            continue;
        }
        match output.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(format!("{line}: its output can't be read: {error}")),
        }
        if said.len() > LONGEST {
            return Err(format!("{line}: it printed more than {LONGEST} bytes; it was killed"));
        }
    }
    if !child.wait(LIMIT.saturating_sub(SystemClock.now().since(start))) {
        return Err(format!("{line}: no end after {} s; it was killed", LIMIT.as_secs()));
    }
    let mut text = String::new();
    if child.status().is_some_and(|status| status.success()) {
        said.split(|byte| *byte == b'\n').for_each(|part| {
            escape(part, &mut text);
            text.push('\n');
        });
        return Ok(text);
    }
    escape(said.trim_ascii(), &mut text);
    let words: String = text.chars().take(WORDS).collect();
    let ending = child.status().map_or_else(|| "ended".to_owned(), |status| status.to_string());
    Err(format!("{line}: {ending}: {}", if words.is_empty() { "it said nothing" } else { &words }))
}

#[cfg(test)]
impl<T> Repeated<T> {
    /// The time between two runs.
    pub(super) const fn every(&self) -> Duration {
        self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(line: &str) -> Repeated<String> {
        let every = Duration::from_millis(20);
        Repeated::start("test", line.parse().unwrap(), every, |text| Ok(text.trim().to_owned()))
    }

    fn wait(repeated: &Repeated<String>, is_so: impl Fn(&Result<String, String>) -> bool) -> Result<String, String> {
        let start = SystemClock.now();
        loop {
            let answer = repeated.latest();
            if repeated.has_tried() && is_so(&answer) {
                return answer;
            }
            assert!(SystemClock.now().since(start) < PATIENCE, "{answer:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_command_is_asked_again_and_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let repeated = start(&format!("cat {}", file.path().display()));
        assert_eq!(wait(&repeated, Result::is_ok).unwrap(), "one");
        std::fs::write(file.path(), "two").unwrap();
        assert!(wait(&repeated, |answer| answer.as_deref() == Ok("two")).is_ok());
    }

    #[test]
    fn what_fails_says_why() {
        for (line, words) in [
            ("/nonexistent/vcgencmd pmic_read_adc", "there is no such program"),
            ("/dev/null", "can't be started"),
            ("sh -c 'echo no device >&2; exit 3'", "exit status: 3: no device"),
            ("sh -c 'kill -9 $$'", "signal: 9 (SIGKILL): it said nothing"),
            ("yes", "more than 16384 bytes"),
            ("sleep 600", "no end after 2 s; it was killed"),
        ] {
            let error = wait(&start(line), Result::is_err).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_answer_is_as_long_as_it_may_be_and_a_failures_words_are_cut() {
        let run = |line: &str| run(&line.parse().unwrap(), &Shutdown::default());
        assert!(run("head -c 16384 /dev/urandom").is_ok());
        assert!(run("head -c 16385 /dev/urandom").unwrap_err().ends_with("more than 16384 bytes; it was killed"));
        let error = run("sh -c 'yes é | head -c 1500 | tr -d \"\\n\"; exit 1'").unwrap_err();
        assert!(error.ends_with(&format!("exit status: 1: {}", "é".repeat(WORDS))), "{error}");
        assert_eq!(run(r"printf 'a\033b\nc'").unwrap(), "a\\u{1b}b\nc\n");
    }

    #[test]
    fn a_command_that_is_stopped_says_so() {
        let shutdown = Shutdown::default();
        shutdown.pull();
        assert_eq!(run(&"sleep 600".parse().unwrap(), &shutdown), Err("sleep 600: stopped".to_owned()));
    }

    #[test]
    fn an_answer_counts_until_three_of_them_and_the_time_of_one_are_over() {
        let second = Duration::from_secs(1);
        assert!(!is_old(5 * second, second) && is_old(5 * second + Duration::from_nanos(1), second));
        let (now, hour) = (SystemClock.now(), Duration::from_secs(3600));
        let minute_ago = Instant::from_nanos(now.as_nanos().saturating_sub(60_000_000_000));
        let held = |last, every| {
            let (last, shutdown) = (Arc::new(Mutex::new(last)), Shutdown::default());
            let held = Repeated { last, every, shutdown, thread: None };
            (held.latest(), held.has_tried())
        };
        assert_eq!(held(None, hour), (Err("it has not answered yet".to_owned()), false));
        assert_eq!(held(Some((now, Err("why".to_owned()))), hour), (Err("why".to_owned()), true));
        assert_eq!(held(Some((minute_ago, Ok(7))), hour), (Ok(7), true));
        let (old, _) = held(Some((minute_ago, Ok(7))), second);
        let words = old.unwrap_err();
        assert!(words.starts_with("its last answer is ") && words.ends_with(" s old"), "{words}");
    }

    #[test]
    fn a_reason_is_told_once_until_it_is_another() {
        let mut told = None;
        let news = ["a", "a", "b", "b", "a"].map(|reason| is_news(&mut told, reason));
        assert_eq!(news, [true, false, true, false, true]);
    }

    #[test]
    fn a_child_that_stays_behind_is_not_waited_for() {
        assert_eq!(wait(&start("sh -c 'sleep 600 & echo done'"), Result::is_ok).unwrap(), "done");
    }

    #[test]
    fn it_stops_at_once_and_takes_the_command_with_it() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let repeated = start(&format!("sh -c 'echo $$ > {}; sleep 600'", marker.path().display()));
        let mut process = String::new();
        while !process.ends_with('\n') {
            thread::sleep(Duration::from_millis(5));
            process = std::fs::read_to_string(marker.path()).unwrap();
        }
        let start = std::time::Instant::now();
        drop(repeated);
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(!std::path::Path::new(&format!("/proc/{}/cwd", process.trim())).exists());
    }
}
