//! Lets signals through, parses the command line, runs the command, maps errors to exit codes; nothing else.

use std::io::Write as _;
use std::process::ExitCode;

use base::signals;
use base::text::shown;

fn main() -> ExitCode {
    signals::unblock();
    match pspnetd::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed too; the exit code still tells.
            let _ = writeln!(std::io::stderr(), "pspnetd: {}", shown(&failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}
