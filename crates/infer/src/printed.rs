//! What C libraries of this process print on their `stderr`, as TensorFlow Lite does when it makes its delegate for the CPU: it
//! goes into the log, line by line, and so is escaped and has its level.
//!
//! The file descriptor stays what it is: what a library writes there in its last moment, past its `stderr`, is not lost.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Once};

use base::clock::{Clock as _, SystemClock};
use log::Level;

use super::worker::{level, Told};

/// fopencookie(3)'s functions of a stream. What is missing does nothing.
#[repr(C)]
struct Functions {
    read: Option<unsafe extern "C" fn()>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> isize>,
    seek: Option<unsafe extern "C" fn()>,
    close: Option<unsafe extern "C" fn()>,
}

extern "C" {
    static mut stderr: *mut libc::FILE;
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut libc::FILE;
}

/// From now on the C library's `stderr` leads into the log, one record for each line. Called before other threads are there.
pub fn log_what_is_printed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let functions = Functions { read: None, write: Some(write), seek: None, close: None };
        // SAFETY: the mode is a C string, and `write` keeps fopencookie(3)'s contract with any cookie.
        let stream = unsafe { fopencookie(ptr::null_mut(), c"w".as_ptr(), functions) };
        // A line comes in pieces, and is handed over when it ends.
        // SAFETY: the stream was just made, and nothing was written to it; where there is none, nothing is asked.
        if !stream.is_null() && unsafe { libc::setvbuf(stream, ptr::null_mut(), libc::_IOLBF, 4096) } == 0 as c_int {
            // SAFETY: the C library lets a program assign its `stderr`; no other thread prints yet.
            unsafe { stderr = stream };
        }
    });
}

/// Takes what was printed.
unsafe extern "C" fn write(_cookie: *mut c_void, text: *const c_char, length: usize) -> isize {
    // SAFETY: the C library hands over so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        tell(&String::from_utf8_lossy(line));
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}

/// What was printed before counts as a detail for an hour.
fn tell(line: &str) {
    static TOLD: LazyLock<Told> = LazyLock::new(Told::default);
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let is_news = TOLD.by(COUNT.fetch_add(1, Ordering::Relaxed)).is_news(line, SystemClock.now());
    let level = if is_news { level(line) } else { Level::Debug };
    log::log!(level, "TensorFlow Lite: {line}");
}
