//! `pspnetd worker`: the other end of [`infer::worker`]. Started by the program itself, so it stands in no help, man
//! page or completion.

use base::failure::{Failure, Kind};
use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use infer::worker;

use crate::http::picture_service;

/// The subcommand's name.
pub(super) const NAME: &str = "worker";

#[derive(Debug, clap::Args)]
struct Args {
    /// Shown by ps(1), of no other use
    #[arg(value_name = "NAME")]
    _name: String,
}

pub(super) fn command() -> Command {
    Args::augment_args(Command::new(NAME).hide(true).about("Run a model for the program that started this one"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    Args::from_arg_matches(matches).map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
    worker::run_inside(picture_service).map_err(|error| {
        let reason = "this is a part of pspnetd that it starts itself, with a socket as standard input";
        Failure::new(Kind::Software, format!("worker: {error} ({reason})"))
    })
}
