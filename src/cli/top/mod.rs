//! `pspnetd top`: a running daemon's state in a terminal, or once as plain text.

mod app;
mod client;
mod endpoint;
mod once;
mod panels;
mod screen;
mod theme;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use base::failure::{Failure, Kind};
use base::text::shown;

use self::app::App;
use self::client::Client;
use self::endpoint::{At, Endpoint};
use super::settings::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The daemon's Unix socket; without it the one that the configuration leads to, then /run/pspnetd/pspnetd.sock
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,

    /// The daemon's address, such as http://127.0.0.1:8088, instead of a socket
    #[arg(long, value_name = "URL")]
    url: Option<At>,

    /// File whose first line is the token that the daemon wants (its http.token_file)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Print the state once as lines of `key: value`, and end
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let endpoint = args.endpoint()?;
    if let Some(warning) = endpoint.warning() {
        // Where nobody hears it, nobody has asked for it either.
        let _ = writeln!(io::stderr(), "pspnetd: warning: {}", shown(&warning));
    }
    let client = Client::new(endpoint)?;
    let state = client.state()?;
    if args.once {
        return once::print(&state);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(
            Kind::Io,
            "standard input or output is no terminal: `pspnetd top --once` prints the state as text",
        ));
    }
    // Without it there are no lines over time until the next try.
    let history = client.history().unwrap_or_default();
    let place = client.place();
    screen::run(client, App::new(state, history, place))
}

impl Args {
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let token = self.token_file.as_deref().map(endpoint::read_token).transpose()?;
        match (&self.socket, &self.url) {
            (Some(path), _) => Ok(Endpoint { at: At::Sockets(vec![path.clone()]), token }),
            (None, Some(at)) => Ok(Endpoint { at: at.clone(), token }),
            // Only then does it matter whether the configuration can be read.
            (None, None) => Endpoint::of(&self.settings.load(&[])?.config.http, token),
        }
    }
}
