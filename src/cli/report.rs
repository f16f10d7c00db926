//! `pspnetd report`

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::failure::{Failure, Kind};
use base::files;
use base::line_file::rotated;
use base::text::shown;
use jiff::{SignedDuration, Timestamp};

use super::{print_json, print_lines};
use crate::report::{Comparison, Range, Report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Latency logs, or the log as text (journalctl -u pspnetd -o short-iso); files that were rotated away (FILE.1, FILE.2, …) are taken along. `-` is standard input
    #[arg(required_unless_present = "compare", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Compare the second log, and each further one, with the first
    #[arg(long, num_args = 2.., value_name = "FILE", conflicts_with_all = ["files", "html"])]
    compare: Vec<PathBuf>,

    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Only intervals that end after this: 2026-11-22, 2026-11-22T10:00 (UTC) or with +01:00; 90min, 12h, 7d: so long ago
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,

    /// Only intervals that end by this time, written like --from
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
}

/// A moment on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = [("min", 60), ("h", 3600), ("d", 86_400)].into_iter().find_map(|(unit, seconds)| {
            Some(text.strip_suffix(unit)?.parse::<u32>().ok()?.into()).map(|n: i64| n * seconds)
        });
        if let Some(seconds) = ago {
            return Timestamp::now()
                .checked_sub(SignedDuration::from_secs(seconds))
                .map(Self)
                .map_err(|_| format!("{text} ago is before all time"));
        }
        // With an offset, or in UTC without one.
        text.parse::<Timestamp>()
            .or_else(|_| {
                text.parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::UTC).map(|time| time.timestamp())
            })
            .map(Self)
            .map_err(|_| "expected 2026-11-22, 2026-11-22T10:00, 2026-11-22T10:00+01:00, 90min, 12h or 7d".to_owned())
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let range = Range { from: args.from.map(|moment| moment.0), to: args.to.map(|moment| moment.0) };
    if !args.compare.is_empty() {
        return compare(args, range);
    }
    if let Some(path) = &args.html {
        is_no_log(path, &args.files)?;
    }
    let report = Report::read(&args.files, range)?;
    if let Some(path) = &args.html {
        let page = report.page()?;
        write_page(path, page.as_bytes())
            .map_err(|error| Failure::new(Kind::Io, format!("{}: {error}", path.display())))?;
    }
    if args.json {
        print_json(report.json()?)?;
    } else {
        print_report(&report.text())?;
    }
    Ok(())
}

/// The page must not take the place of what it is made of.
fn is_no_log(page: &Path, logs: &[PathBuf]) -> Result<(), Failure> {
    for log in logs {
        let with_rotated = std::iter::once(log.clone()).chain((1..).map(|n| rotated(log, n)));
        let there: Vec<PathBuf> = with_rotated.take_while(|file| file == log || file.exists()).collect();
        if let Some(input) = files::same_file(page, there.iter().map(PathBuf::as_path)) {
            let reason = format!("--html {} would overwrite {}, which is read", page.display(), input.display());
            return Err(Failure::new(Kind::Data, format!("{reason}; name another file")));
        }
    }
    Ok(())
}

/// Prints lines, each of which stays one whatever is in it.
fn print_report(lines: &[String]) -> io::Result<()> {
    print_lines(&lines.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n"))
}

fn write_page(path: &Path, page: &[u8]) -> io::Result<()> {
    // A pipe or /dev/stdout has no place beside it, and nothing in it to be kept.
    match path.metadata() {
        Ok(meta) if !meta.is_file() && !meta.is_dir() => OpenOptions::new().write(true).open(path)?.write_all(page),
        _ => files::write(path, |file| file.write_all(page)),
    }
}

fn compare(args: &Args, range: Range) -> Result<(), Failure> {
    let reports = args
        .compare
        .iter()
        .map(|path| Report::read(std::slice::from_ref(path), range))
        .collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = args.compare.iter().map(|path| shown(&path.to_string_lossy()).into_owned()).collect();
    let comparison = Comparison::new(&names, &reports);
    if args.json {
        print_json(comparison.json()?)?;
    } else {
        print_report(&comparison.text())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_several_ways() {
        let second = |text: &str| text.parse::<Moment>().map(|moment| moment.0.as_second());
        assert_eq!(second("2026-11-22"), Ok(1_795_305_600));
        assert_eq!(second("2026-11-22T10:00"), Ok(1_795_305_600 + 36_000));
        assert_eq!(second("2026-11-22T10:00:00+01:00"), Ok(1_795_305_600 + 32_400));
        let ago = |text| Timestamp::now().as_second() - second(text).unwrap();
        assert!((5_399..5_402).contains(&ago("90min")) && (172_799..172_802).contains(&ago("2d")));
        for text in ["", "soon", "h", "-3h", "2026-13-01", "99999999999d"] {
            assert!(second(text).is_err(), "{text}");
        }
    }
}
