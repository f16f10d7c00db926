//! What a test needs and a machine may lack. This is the only way in which a test leaves itself out: it says so where people
//! see it, and it fails where all tests must run. docs/testing.md lists what is needed and how to get it.
#![allow(dead_code, unreachable_pub)]

use std::io::Write as _;
use std::panic::Location;
use std::path::Path;
use std::process::{Command, Stdio};

/// `fail` in scripts/test, which installs every tool: a test that lacks one fails there.
const VARIABLE: &str = "MISSING_TOOLS";

/// Whether the calling test can run because `is_there` holds. Otherwise it prints `skipped: <test>: <what>`, or fails where
/// `MISSING_TOOLS=fail`. `what` says what is missing and how to get it.
#[must_use]
#[track_caller]
pub fn needs(is_there: bool, what: &str) -> bool {
    let must_run = std::env::var_os(VARIABLE).is_some_and(|value| value == "fail");
    assert!(is_there || !must_run, "{what} ({VARIABLE}=fail: no test may be left out)");
    suits(is_there, what)
}

/// The same for a machine that can't be made to suit a test: it says so, but never fails.
#[must_use]
#[track_caller]
pub fn suits(does: bool, why_not: &str) -> bool {
    if !does {
        let thread = std::thread::current();
        // With --test-threads=1 a test has no thread of its own, and no name.
        let name = thread.name().filter(|name| *name != "main").map(str::to_owned);
        let name = name.unwrap_or_else(|| Location::caller().to_string());
        // Neither print! nor eprint!: the harness would capture these, and show them only if the test failed.
        let _ = std::io::stderr().write_all(format!("skipped: {name}: {why_not}\n").as_bytes());
    }
    does
}

/// A program of Debian's package `package`, by name or path.
#[must_use]
#[track_caller]
pub fn program(name: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    needs(is_there, &format!("no {name} here (apt-get install {package})"))
}

/// A file that `script` of this repository fetches.
#[must_use]
#[track_caller]
pub fn fetched(path: &Path, script: &str) -> bool {
    needs(path.is_file(), &format!("no {} here ({script} fetches it)", path.display()))
}

/// `unshare` with arguments that let a script mount a file system of its own: as root, else in a user namespace.
#[must_use]
#[track_caller]
pub fn own_mounts() -> Option<Command> {
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(arguments);
        command
    };
    let can = |arguments: &&[&str]| {
        let mut command = unshare(arguments);
        command.args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let way = [&["--mount"][..], &["--mount", "--map-root-user"]].into_iter().find(can);
    let what = "no private mounts here (run the tests as root, or allow user namespaces: sysctl \
                kernel.unprivileged_userns_clone=1; in a container: --cap-add SYS_ADMIN)";
    needs(way.is_some(), what).then(|| unshare(way.unwrap_or_default()))
}
