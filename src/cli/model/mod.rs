//! `pspnetd model`

mod inspect;
mod show;

use std::path::PathBuf;

use base::failure::Failure;
use clap::Subcommand;

use super::{print_json, print_lines};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print inputs, outputs, quantisation and operators of a model, and what an Edge TPU would run of it
    ///
    /// Nothing is run. Each operator is held to the documented rules of the Edge TPU's compiler: it maps; unsure, only the
    /// compiler can tell; refused, with the reason and what to do; or split off, since one that is refused lies before it. Of
    /// a compiled model the versions and sizes in its package are printed. The other half of a pair, the file for the CPU or
    /// the one for the Edge TPU, is compared.
    Inspect(InspectArgs),
}

#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// TensorFlow Lite model, of any kind
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Command::Inspect(args) = &args.command;
    let file = inspect::File::read(&args.file)?;
    let inspection = inspect::Inspection::new(&file)?;
    if args.json {
        print_json(show::json(&inspection)?)?;
    } else {
        print_lines(&show::text(&inspection))?;
    }
    // The first is the one to mend first; all of them were printed.
    inspection.problems.into_iter().next().map_or(Ok(()), |problem| Err(problem.into()))
}
