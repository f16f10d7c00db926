//! What a panic says: one line with the journal's priority, whatever text from outside is in its message.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::PanicHookInfo;

use crate::text::shown;

/// From now on panics are told on one line, without what steers a terminal and without secrets. Where `RUST_BACKTRACE` asks for
/// them, the calls follow, one a line.
pub fn tell_panics() {
    let start = if super::to_journal() { "<3>" } else { "" };
    std::panic::set_hook(Box::new(move |panic| {
        let mut text = format!("{start}{}\n", told(std::thread::current().name(), panic));
        let calls = Backtrace::capture();
        if calls.status() == BacktraceStatus::Captured {
            text.extend(calls.to_string().lines().map(|call| format!("{start}{}\n", shown(call))));
        }
        // Past the log, which may be where the panic comes from. Standard error may be closed.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }));
}

fn told(thread: Option<&str>, panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    shown(&format!("thread '{}' panicked{place}: {message}", thread.unwrap_or("?"))).into_owned()
}
