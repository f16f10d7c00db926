//! Parses the command line, runs the command, maps errors to exit codes; nothing else.

fn main() {}
