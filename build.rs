//! Tells the program where to look for the TensorFlow Lite library, which the build script of crates/infer puts beside it.

// A build script talks to cargo on its standard output.
#![allow(clippy::print_stdout)]

/// Where the program looks for the library, in this order.
const RUN_PATHS: [&str; 3] = [
    "$ORIGIN",                // target/<profile>/, or wherever somebody copied the two files together
    "$ORIGIN/../lib/pspnetd", // installed under any prefix
    "/usr/lib/pspnetd",       // installed, program elsewhere
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for path in RUN_PATHS {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
    }
    // RUNPATH, not RPATH: LD_LIBRARY_PATH stays the way to try another library without a build.
    println!("cargo::rustc-link-arg=-Wl,--enable-new-dtags");
}
