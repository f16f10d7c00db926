//! Delegate plug-ins that attack pspnetd from within a worker's sandbox (`plugins/*.c`), each built when a test first needs it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that is built from `plugins/<name>.c`.
pub(super) fn plugin(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/plugins").join(name).with_extension("c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.so"));
    let partial = library.with_extension(std::process::id().to_string());
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    assert!(cc.arg(source).arg("-o").arg(&partial).status().expect("a C compiler").success());
    // In one step: a test that runs beside this never loads half a library.
    std::fs::rename(partial, &library).expect("put the library in place");
    library
}
