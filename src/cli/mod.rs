//! The command line: one definition gives parser, help, completions and man page. One file per subcommand.

mod bench;
mod check;
mod devices;
mod eval;
mod generate;
mod model;
mod predict;
mod report;
mod run;
mod settings;
mod top;
mod worker;

use std::io::{self, Write as _};
use std::sync::Arc;

use base::failure::Failure;
use base::logging::tell_panics;
use base::text::{escaped, masked, plain_json, shown, shown_lines};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use signal_hook::consts::SIGXFSZ;

/// A camera daemon that tells what covers the picture and how long each step took.
///
/// pspnetd reads camera frames, runs an int8 PSPNet on each, and writes JSON lines, one per frame or one in each interval, with the share of the
/// picture that every class covers. Latency per stage goes to the log on standard error.
///
/// Start with `pspnetd run --camera pattern:640x480`, then `pspnetd devices` and `pspnetd run --camera auto`.
#[derive(Debug, Parser)]
#[command(name = "pspnetd", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Settings: the command line wins over the environment (PSPNETD_CAMERA_RATE and so on), that over the file, that over the \
defaults. `pspnetd check --keys` lists every key.

Exit codes: 0 done or told to stop; 2 wrong command line; 65 unusable picture or label; 66 input missing; 69 camera or \
daemon not there now; 70 fault of the program; 74 reading or writing failed; 78 wrong configuration or model.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a camera until told to stop
    Run(run::Args),
    /// Validate configuration, model, camera and sinks without starting, and print the effective configuration
    Check(check::Args),
    /// List cameras with their formats, Edge TPUs and sensors
    Devices(devices::Args),
    /// Show a running daemon in the terminal: classes, latency, power, the log's last lines; once as text with --once
    Top(top::Args),
    /// Segment pictures and write masks and overlays
    Predict(predict::Args),
    /// Compare a model with labelled pictures: IoU per class, mIoU, pixel accuracy
    Eval(eval::Args),
    /// Measure each stage and the whole pipeline on this machine
    Bench(bench::Args),
    /// Sum up latency logs: percentiles, energy, heat, outages; as text, JSON or a page with plots
    Report(report::Args),
    /// Look into model files without running them
    Model(model::Args),
    /// Print a completion script for a shell
    Completions(generate::CompletionArgs),
    /// Print the man page, or write one per command
    Man(generate::ManArgs),
}

/// Runs what this process's command line says; a wrong one ends the process with exit code 2.
///
/// # Errors
/// The command's own failure, with the exit code for it.
pub fn run() -> Result<(), Failure> {
    tell_panics();
    outlive_size_limits();
    let matches = command().try_get_matches().unwrap_or_else(|error| refuse(&error));
    match matches.subcommand() {
        Some((worker::NAME, matches)) => worker::run(matches),
        _ => Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).run(),
    }
}

/// The definition, with what only the program itself starts: added here, so that nothing that is generated of the definition
/// has it.
fn command() -> clap::Command {
    Cli::command().subcommand(worker::command())
}

/// A file that reaches a size limit (RLIMIT_FSIZE) is an error of that file, and no signal that ends the program. A handler, since
/// children would inherit an ignored signal.
fn outlive_size_limits() {
    // Where the system refuses, the signal ends the program as before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Says what is wrong with this process's arguments. Names of files can be somebody else's, and clap shows them as they are:
/// what it says is what it would say of the arguments as they may be shown.
fn refuse(error: &clap::Error) -> ! {
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let safe: Vec<String> = arguments.iter().map(|word| masked(&escaped(word)).into_owned()).collect();
    match command().try_get_matches_from(&safe) {
        Err(same) if same.kind() == error.kind() => same.exit(),
        _ if safe == arguments => error.exit(),
        _ => {
            // Standard error may be closed; the exit code still tells.
            let _ = writeln!(io::stderr(), "{}", shown_lines(&error.to_string()).trim_end());
            std::process::exit(error.exit_code())
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The command's own failure, with the exit code for it.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Check(args) => check::run(&args),
            Command::Devices(args) => devices::run(&args),
            Command::Top(args) => top::run(&args),
            Command::Predict(args) => predict::run(&args),
            Command::Eval(args) => eval::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Model(args) => model::run(&args),
            Command::Completions(args) => generate::completions(&args),
            Command::Man(args) => generate::man(&args),
        }
    }
}

/// Writes one line to standard output, whatever is in it.
fn print_line(text: &str) -> io::Result<()> {
    print_bytes(shown(text).as_bytes())
}

/// Writes lines of our own to standard output. Their foreign parts lost their breaks where they were put in
/// ([`base::text::Foreign`]).
fn print_lines(text: &str) -> io::Result<()> {
    print_bytes(shown_lines(text).as_bytes())
}

/// Writes JSON to standard output.
fn print_json(json: String) -> io::Result<()> {
    print_bytes(plain_json(json).as_bytes())
}

fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn what_is_generated_has_nothing_that_only_the_program_itself_starts() {
        assert!(Cli::command().get_subcommands().all(|command| command.get_name() != worker::NAME));
        let help = command().render_long_help().to_string();
        assert!(help.contains("devices") && !help.contains("  worker"), "{help}");
    }
}
