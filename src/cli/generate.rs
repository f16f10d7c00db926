//! `pspnetd completions` and `pspnetd man`: from the same definition as the parser.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base::failure::{Failure, Kind};
use base::files;
use clap::CommandFactory as _;

use super::Cli;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn completions(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pspnetd", &mut script);
    write(&script)
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Folder for one page per command (pspnetd.1, pspnetd-run.1 …), as packages want them; it is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// What clap knows nothing of. In roff, as it stands in the page.
const FILES: &str = "\
.SH FILES
.TP
.I /etc/pspnetd/pspnetd.toml
Configuration of the service, which `systemctl status pspnetd` shows
.TP
.I /var/lib/pspnetd
What the service writes: masks.jsonl, unless the configuration says otherwise
.TP
.I /var/lib/pspnetd/models, /usr/share/pspnetd/models
Where a model is looked for when none is named: NAME/model.tflite with a manifest.toml beside it
";

pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    // `help` has no page of its own, so none may be referred to. build() gives the others their full names.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    let Some(folder) = &args.output else {
        return write(&pages.into_iter().flat_map(|(_, page)| page).collect::<Vec<u8>>());
    };
    let at = |path: &Path, error: &io::Error| Failure::new(Kind::Io, format!("{}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
    for (name, page) in pages {
        let path = folder.join(name);
        files::write(&path, |file| file.write_all(&page)).map_err(|error| at(&path, &error))?;
    }
    Ok(())
}

/// The day of the pages: today, or that of SOURCE_DATE_EPOCH, so that a package can be built again bit by bit.
fn date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let time =
        given.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).unwrap_or_else(jiff::Timestamp::now);
    time.strftime("%Y-%m-%d").to_string()
}

/// Adds file names and text: a command's page first, then those of its subcommands.
fn add_pages(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or("pspnetd");
    let man = clap_mangen::Man::new(command.clone())
        .title(name)
        .date(date())
        .source(concat!("pspnetd ", env!("CARGO_PKG_VERSION")))
        .manual("pspnetd");
    let mut page = Vec::new();
    man.render(&mut page)?;
    if pages.is_empty() {
        page.extend_from_slice(FILES.as_bytes());
    }
    pages.push((format!("{name}.1"), page));
    command.get_subcommands().try_for_each(|command| add_pages(command, pages))
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}
