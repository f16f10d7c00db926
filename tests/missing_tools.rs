//! A test that lacks a tool says so, whether or not its output is captured, and fails where no test may be left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/needs.rs"]
mod needs;

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "the tests below run it"]
fn lacks_a_program() {
    assert!(!needs::program("no-such-program", "no-such-package"));
}

#[test]
#[ignore = "the tests below run it"]
fn lacks_a_file() {
    assert!(!needs::fetched(Path::new("/nonexistent/file"), "scripts/fetch"));
}

#[test]
#[ignore = "the tests below run it"]
fn lacks_nothing() {
    assert!(needs::program("sh", "dash") && needs::program("/bin/sh", "dash"));
    assert!(needs::fetched(Path::new("/proc/self/exe"), "scripts/fetch") && needs::suits(true, "it does"));
}

#[test]
#[ignore = "the tests below run it"]
fn is_on_the_wrong_machine() {
    assert!(!needs::suits(false, "this is a toaster"));
}

/// Runs one of the tests above; whether it passed, and the lines that were not captured.
fn run(test: &str, variable: Option<&str>, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored"]).args(more).env_remove("MISSING_TOOLS");
    command.envs(variable.map(|value| ("MISSING_TOOLS", value)));
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("running 1 test"), "{stdout}");
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

const PROGRAM: &str = "no no-such-program here (apt-get install no-such-package)";
const FILE: &str = "no /nonexistent/file here (scripts/fetch fetches it)";

#[test]
fn a_test_that_lacks_something_passes_and_says_so() {
    for (test, what) in [("lacks_a_program", PROGRAM), ("lacks_a_file", FILE)] {
        for variable in [None, Some(""), Some("say")] {
            assert_eq!(run(test, variable, &[]), (true, format!("skipped: {test}: {what}\n")));
        }
    }
    let (passed, said) = run("lacks_a_program", None, &["--test-threads=1"]);
    assert!(passed && said.ends_with(&format!(": {PROGRAM}\n")), "{said}");
    assert!(said.starts_with("skipped: tests/missing_tools.rs:") || said.starts_with("skipped: lacks_a_"), "{said}");
}

#[test]
fn it_fails_where_no_test_may_be_left_out() {
    for test in ["lacks_a_program", "lacks_a_file"] {
        assert!(!run(test, Some("fail"), &[]).0, "{test}");
    }
}

#[test]
fn a_test_that_lacks_nothing_is_silent() {
    for variable in [None, Some("fail")] {
        assert_eq!(run("lacks_nothing", variable, &[]), (true, String::new()));
    }
}

#[test]
fn a_machine_that_cannot_be_helped_is_told_and_never_a_failure() {
    let expected = "skipped: is_on_the_wrong_machine: this is a toaster\n";
    for variable in [None, Some("fail")] {
        assert_eq!(run("is_on_the_wrong_machine", variable, &[]), (true, expected.to_owned()));
    }
}
