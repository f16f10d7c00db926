//! Workers that misbehave: the real program with a library loaded into it that does what devices' libraries do
//! (`unruly/unruly.c`), and a program that only claims to be a worker (`unruly/imposter`).
#![allow(dead_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/unruly").join(name)
}

/// A program that runs as a worker like the real one, and does at an inference what the worker's name says behind the colon:
/// `w: abort 3`.
pub(super) fn unruly() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

fn build() -> PathBuf {
    // One for each test program: they run side by side.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unruly-{}", env!("CARGO_CRATE_NAME")));
    std::fs::create_dir_all(&folder).expect("make a folder");
    // The test program may be there twice, and one may be using what the other makes: put in place in one step.
    let partial = |name: &str| folder.join(format!("{name}.{}", std::process::id()));
    let (library, program) = (folder.join("unruly.so"), folder.join("unruly"));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-O1"]).arg(source("unruly.c")).args(["-ldl", "-lpthread", "-o"]);
    assert!(cc.arg(partial("so")).status().expect("a C compiler").success());
    std::fs::rename(partial("so"), &library).expect("put the library in place");
    let (library, pspnetd) = (library.display(), env!("CARGO_BIN_EXE_pspnetd"));
    let script = format!("#!/bin/sh\nexec env LD_PRELOAD='{library}' UNRULY=\"${{2#*: }}\" '{pspnetd}' \"$@\"\n");
    // Written by a process of its own: what is started meanwhile would hold it open for writing, and such a program can't run.
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"]).arg(partial("script")).stdin(Stdio::piped());
    let mut writer = writer.spawn().expect("a shell");
    writer.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("write a script");
    assert!(writer.wait().expect("wait").success());
    std::fs::rename(partial("script"), &program).expect("put the script in place");
    program
}

/// A program that does not do a worker's work, but what the worker's name says behind the blank: `w garbage`.
pub(super) fn imposter() -> PathBuf {
    source("imposter")
}
