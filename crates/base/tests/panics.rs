//! What a panic says, told by a process that panics: this program, started once more.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

#[test]
#[ignore = "the next test starts it"]
fn panics_with_text_from_outside() {
    pspnetd_base::logging::tell_panics();
    panic!("no \u{1b}]0;t\u{7}\nforged\u{202e} rtsp://joe:s3cret@cam");
}

#[test]
fn a_panic_is_one_line_that_steers_nothing() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--nocapture", "--exact", "panics_with_text_from_outside"]);
    let output = command.env("RUST_BACKTRACE", "0").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("panicked at")).collect();
    let expected = ": no \\u{1b}]0;t\\u{7}\\nforged\\u{202e} rtsp://***@cam";
    assert!(told.len() == 1 && told[0].starts_with("thread '") && told[0].ends_with(expected), "{text}");
    assert!(!text.contains("\nforged"), "{text}");
}
