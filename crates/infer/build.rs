//! Puts the TensorFlow Lite library beside everything that is built, and tells this crate's tests to look for it there. The
//! program's own build script tells the program.
//!
//! The library comes from the variables that the tflitec crate reads, so both always link and load the same file.
//! `.cargo/config.toml` sets them, `scripts/fetch-tflite` puts the file there.

// A build script talks to cargo on its standard output.
#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, io};

const LIBRARY: &str = "libtensorflowlite_c.so";
const PATH_VARIABLE: &str = "TFLITEC_PREBUILT_PATH";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN");

    if let Err(message) = place_library() {
        println!("cargo::error={message}");
    }
}

fn place_library() -> Result<(), String> {
    let source = library()?;
    println!("cargo::rerun-if-changed={}", source.display());
    if !source.is_file() {
        return Err(format!(
            "TensorFlow Lite is not there: {} is missing. Run `scripts/fetch-tflite --target {}`, then build again",
            source.display(),
            env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default(),
        ));
    }
    let profile = profile_folder()?;
    // Programs; tests and benches; examples. None of them looks into the folder above its own.
    for folder in [profile.clone(), profile.join("deps"), profile.join("examples")] {
        let target = folder.join(LIBRARY);
        // Also when somebody deleted it.
        println!("cargo::rerun-if-changed={}", target.display());
        fs::create_dir_all(&folder)
            .and_then(|()| copy_if_other(&source, &target))
            .map_err(|error| format!("cannot copy {} to {}: {error}", source.display(), target.display()))?;
    }
    Ok(())
}

/// The library's path: the variable for this target first, as in tflitec.
fn library() -> Result<PathBuf, String> {
    let target = variable("TARGET")?;
    let specific = format!("{PATH_VARIABLE}_{}", target.to_uppercase().replace('-', "_"));
    let mut found = None;
    for name in [specific.as_str(), PATH_VARIABLE] {
        println!("cargo::rerun-if-env-changed={name}");
        found = found.or_else(|| env::var_os(name));
    }
    found.map(PathBuf::from).ok_or_else(|| {
        format!(
            "no TensorFlow Lite library for {target}: neither {specific} nor {PATH_VARIABLE} is set. \
             Run cargo inside the repository (its .cargo/config.toml sets them), or see native/tflite/README.md"
        )
    })
}

/// `target/<profile>` or `target/<triple>/<profile>`: what cargo calls it is not passed on, but `OUT_DIR` is
/// `<it>/build/<package>-<hash>/out`.
fn profile_folder() -> Result<PathBuf, String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let folder = out.ancestors().nth(3).filter(|folder| out.starts_with(folder.join("build")));
    folder.map(Path::to_path_buf).ok_or_else(|| format!("OUT_DIR has an unknown form: {}", out.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// The copy takes over the time stamp: that tells later whether it is current, and keeps cargo from taking it for a
/// change.
fn copy_if_other(source: &Path, target: &Path) -> io::Result<()> {
    let from = fs::metadata(source)?;
    let modified = from.modified()?;
    if let Ok(to) = fs::metadata(target) {
        if to.len() == from.len() && to.modified()? == modified {
            return Ok(());
        }
    }
    // A rename, because a running program may have the old file mapped.
    let partial = target.with_extension("so.partial");
    fs::copy(source, &partial)?;
    File::options().write(true).open(&partial)?.set_modified(modified)?;
    fs::rename(&partial, target)
}
