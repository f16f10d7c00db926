//! Compiles `native/jpeg.c`, which calls the libjpeg API of the library that turbojpeg-sys builds.

// A build script talks to cargo on its standard output.
#![allow(clippy::print_stdout)]

use std::env;

fn main() {
    for file in ["build.rs", "native/jpeg.c", "native/jpeg.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
    // Where turbojpeg-sys put the headers of the library that it built: with others, structures could have another form.
    let Ok(include) = env::var("DEP_TURBOJPEG_INCLUDE") else {
        println!("cargo::error=turbojpeg-sys names no folder with libjpeg's headers");
        return;
    };
    cc::Build::new()
        .file("native/jpeg.c")
        .includes(include.split(','))
        .std("c11")
        .warnings(true)
        .extra_warnings(true)
        .compile("pspnetd_jpeg");
}
