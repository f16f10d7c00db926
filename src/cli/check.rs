//! `pspnetd check`

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock::{Clock, SystemClock};
use base::failure::{Failure, Kind};
use base::shutdown::TICK;
use base::text::{is_harmful, shown};
use camera::{Camera, Poll, Source};
use model::{Edition, Manifest};
use pixels::frame::Size;
use pixels::orientation::{Flip, Rotate};

use super::settings::Settings;
use super::{print_line, print_lines};
use crate::config::{self, Config};
use crate::daemon::{camera_maker, scene};
use crate::plugs::PLUGS;
use crate::runners::Runners;

/// The longest look for a first frame of a file.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// The same of a program, which may have to start a camera first.
const LONGEST_START: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// TensorFlow Lite model to check instead of the configured one
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    model: Option<String>,

    /// Camera to check instead of the configured one
    #[arg(long, value_name = "URI")]
    camera: Option<String>,

    /// Only list every key with its default
    #[arg(long)]
    keys: bool,

    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.keys {
        return print(&Config::default());
    }
    let loaded = args
        .settings
        .load(&[("--model", "model.path", args.model.clone()), ("--camera", "camera.source", args.camera.clone())])?;
    let config = &loaded.config;
    let origin = loaded.file.as_ref().map_or_else(|| "no file, defaults".to_owned(), |path| path.display().to_string());
    print_line(&format!("# configuration: {origin}"))?;
    print(config)?;

    let mut failures: Vec<Failure> = Vec::new();
    let model = model(config, &mut failures)?;
    let manifest = model.as_ref().and_then(|model| model.edition.file.manifest.as_ref());
    for (what, said) in manifest.into_iter().flat_map(licences).filter(|(_, said)| !said.is_empty()) {
        print_line(&comment(what, said))?;
    }
    report("camera", camera(config, &mut failures))?;
    plugs(config, model.as_ref().map(|model| model.edition.as_ref()), &mut failures)?;
    if !config.rules.0.is_empty() {
        let known = model.as_ref().map(|model| scene(config, &model.edition));
        let rules = known.transpose().map_err(|error| failures.push(error.into()));
        report(
            "rules",
            rules.is_ok().then(|| match config.rules.0.len() {
                1 => "1 rule".to_owned(),
                count => format!("{count} rules"),
            }),
        )?;
    }
    let failures: Vec<Failure> = failures.into_iter().map(|failure| loaded.origins.locate(failure)).collect();
    for failure in &failures {
        print_line(&format!("# problem: {failure}"))?;
    }
    worst(failures)
}

/// The failure with the highest exit code, which `run` can least do without; of several such the first.
fn worst(failures: Vec<Failure>) -> Result<(), Failure> {
    failures.into_iter().min_by_key(|failure| std::cmp::Reverse(failure.exit_code())).map_or(Ok(()), Err)
}

fn print(config: &Config) -> Result<(), Failure> {
    let fault = |error: toml::ser::Error| Failure::new(Kind::Software, error.to_string());
    let mut table = toml::Table::try_from(config).map_err(fault)?;
    let mut strange = Vec::new();
    set_aside(table.iter_mut(), &mut strange);
    // In the order of the documentation, unless something must be set aside.
    let text = if strange.is_empty() { toml::to_string(config) } else { toml::to_string(&table) };
    let mut text = text.map_err(fault)?;
    for (number, value) in strange.iter().enumerate() {
        text = text.replace(&format!("\"{}\"", placeholder(number)), &basic_string(value));
    }
    print_lines(text.trim_end())?;
    Ok(())
}

/// Replaces each text that must not reach a terminal by a placeholder: the library writes some of it as it is.
fn set_aside<'a>(entries: impl Iterator<Item = (&'a String, &'a mut toml::Value)>, strange: &mut Vec<String>) {
    for (_, value) in entries {
        match value {
            toml::Value::String(text) if text.chars().any(is_harmful) => {
                strange.push(std::mem::replace(text, placeholder(strange.len())));
            }
            toml::Value::Table(table) => set_aside(table.iter_mut(), strange),
            _ => {}
        }
    }
}

fn placeholder(number: usize) -> String {
    format!("set aside {number}")
}

/// `text` as a TOML string on one line, which reads back as the same.
fn basic_string(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        harmful if is_harmful(harmful) => format!("\\U{:08x}", u32::from(harmful)),
        other => other.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fn report(what: &str, good: Option<String>) -> Result<(), Failure> {
    let text = good.map_or_else(|| "not usable, see below".to_owned(), |good| format!("good: {good}"));
    print_line(&comment(what, &text))?;
    Ok(())
}

/// One line, whatever `text` holds: the output must read back as TOML.
fn comment(what: &str, text: &str) -> String {
    format!("# {what}: {}", shown(text.trim()))
}

fn model(config: &Config, failures: &mut Vec<Failure>) -> Result<Option<Runners>, Failure> {
    let mut model = Runners::load(config).map_err(|failure| failures.push(failure)).ok();
    let found = model.as_ref().map(|model| {
        let engine = model.cpu.as_ref().map_or_else(|| model.edition.name.clone(), |cpu| cpu.engine.describe());
        let (size, classes) = (model.edition.io.input.size, model.edition.labels.len());
        format!("{engine}, input {size}, {classes} classes, {}", model.edition.file.path.display())
    });
    report("model", found)?;
    if let Some(model) = &mut model {
        devices(model, failures)?;
    }
    Ok(model)
}

fn devices(model: &mut Runners, failures: &mut Vec<Failure>) -> Result<(), Failure> {
    let tried = match model.try_workers() {
        Ok(tried) => tried,
        Err(failure) => vec![Err(failure)],
    };
    let some_work = tried.iter().any(Result::is_ok);
    for tried in tried {
        let text = match tried {
            Ok(ready) => format!("good: {ready}"),
            // `run` goes on without, as with a camera program that starts later.
            Err(failure) if some_work => format!("the others go on without it: {failure}"),
            Err(failure) if model.cpu.is_some() => format!("the CPU fills in: {failure}"),
            Err(failure) => {
                failures.push(failure);
                "not usable, see below".to_owned()
            }
        };
        print_line(&comment("device", &text))?;
    }
    Ok(())
}

/// Each plug, in the table's order; those with the same name in one line. The sinks have theirs also where nothing is said.
fn plugs(config: &Config, edition: Option<&Edition>, failures: &mut Vec<Failure>) -> Result<(), Failure> {
    let mut lines: Vec<(&str, Result<Option<String>, ()>)> = Vec::new();
    for plug in PLUGS {
        let outcome = plug.check(config, edition).map_err(|failure| failures.push(failure));
        match lines.iter_mut().find(|(name, _)| *name == plug.name()) {
            Some((_, said)) if outcome.is_err() || said.as_ref().is_ok_and(Option::is_none) => *said = outcome,
            Some(_) => {}
            None => lines.push((plug.name(), outcome)),
        }
    }
    for (name, said) in lines {
        match said {
            Ok(None) if name == "sinks" => report(name, Some("can be written".to_owned()))?,
            Ok(None) => {}
            Ok(Some(text)) => print_line(&comment(name, &text))?,
            Err(()) => report(name, None)?,
        }
    }
    Ok(())
}

/// What the model's user is bound to, as far as its manifest says.
fn licences(manifest: &Manifest) -> [(&'static str, &str); 3] {
    let training = &manifest.training;
    [("licence", &manifest.licence), ("training data", &training.data), ("training data licence", &training.licence)]
}

fn camera(config: &Config, failures: &mut Vec<Failure>) -> Option<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Only JPEG decoding depends on the model's size, and nothing is decoded here.
    let wanted = Size::new(1, 1);
    let tried = camera_maker(&config.camera, wanted, &clock)().map_err(Failure::from).and_then(|mut camera| {
        let source = &config.camera.source;
        match source {
            Source::Replay(_) => has_a_frame(camera.as_mut(), source, LONGEST_LOOK, Kind::Data)?,
            Source::Command(_) => has_a_frame(camera.as_mut(), source, LONGEST_START, Kind::Unavailable)?,
            _ => {}
        }
        Ok(format!("{}{}", camera.describe(), turned(&config.camera)))
    });
    tried.map_err(|failure| failures.push(failure)).ok()
}

/// How its pictures are turned, where they are.
fn turned(camera: &config::Camera) -> String {
    let turn = match camera.rotate {
        Rotate::None => String::new(),
        rotate => format!(", turned clockwise by {rotate} degrees"),
    };
    let mirror = match camera.flip {
        Flip::Off => "",
        Flip::Horizontal => ", left and right exchanged",
        Flip::Vertical => ", top and bottom exchanged",
    };
    turn + mirror
}

/// What opens can still give nothing that can be used: looks for one frame, for a while.
fn has_a_frame(camera: &mut dyn Camera, source: &Source, limit: Duration, otherwise: Kind) -> Result<(), Failure> {
    let start = Instant::now();
    let mut reason = "nothing came".to_owned();
    while start.elapsed() < limit {
        match camera.poll(TICK, &mut |_| {})? {
            Poll::Taken => return Ok(()),
            Poll::Corrupt(why) => reason = why,
            Poll::Idle => {}
            Poll::End => break,
        }
    }
    Err(Failure::new(otherwise, format!("{source}: no frame of it can be used: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_failures_the_highest_exit_code_counts_whatever_their_order() {
        use Kind::{Config, Data, Io, NoInput, Software, Unavailable};
        assert_eq!(worst(Vec::new()), Ok(()));
        let kinds = [Data, NoInput, Unavailable, Software, Io, Config];
        // Every two of them in both orders, and in all rotations.
        for (low, kind) in kinds.into_iter().enumerate() {
            for other in &kinds[low..] {
                for pair in [[kind, *other], [*other, kind]] {
                    let failures = pair.map(|kind| Failure::new(kind, format!("{kind:?}")));
                    assert_eq!(worst(failures.into()), Err(Failure::new(*other, format!("{other:?}"))), "{pair:?}");
                }
            }
            let all = kinds.iter().cycle().skip(low).take(kinds.len());
            let failures = all.map(|kind| Failure::new(*kind, "x")).collect();
            assert_eq!(worst(failures).unwrap_err().exit_code(), 78);
        }
    }

    #[test]
    fn what_was_found_is_one_comment_whatever_is_in_it() {
        assert_eq!(comment("model", " a\nb\u{1b}[1m\tc "), "# model: a\\nb\\u{1b}[1m c");
    }

    #[test]
    fn of_several_failures_with_one_exit_code_the_first_is_told() {
        let failure = |text: &str| Failure::new(Kind::Config, text);
        let failures = vec![Failure::new(Kind::Data, "camera"), failure("model"), failure("sinks")];
        assert_eq!(worst(failures), Err(failure("model")));
    }
}
