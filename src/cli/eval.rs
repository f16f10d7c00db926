//! `pspnetd eval`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::failure::{Failure, Kind};
use base::text::shown;
use camera::picture;
use indicatif::{ProgressBar, ProgressStyle};
use pixels::score::{load_labels, Confusion};
use serde_json::{json, Value};

use super::predict::unreadable;
use super::settings::Settings;
use super::{print_json, print_line};
use crate::one_picture::PictureRunner;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// TensorFlow Lite model, int8
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    model: Option<String>,

    /// Folder of pictures
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Folder of label PNGs (class id per pixel, grey or palette), paired with the pictures by stem
    #[arg(long, value_name = "DIR")]
    labels: PathBuf,

    /// Label id that is not judged; can be repeated. 255 is never judged where the model has no such class
    #[arg(long, value_name = "ID")]
    void: Vec<u8>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: Settings,
}

/// Sums over all pictures.
struct Judgement {
    confusion: Confusion,
    pictures: u32,
    time: Duration,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.settings.load_with_model(args.model.clone())?;
    let pairs = pairs(&args.images, &args.labels)?;
    let mut runner = PictureRunner::load(&config)?;
    let judgement = judge(args, &mut runner, &pairs)?;
    if args.json {
        print_json(as_json(&runner, &judgement).to_string())?;
    } else {
        for row in table(&runner, &judgement) {
            print_line(&row)?;
        }
    }
    Ok(())
}

fn judge(args: &Args, runner: &mut PictureRunner, pairs: &[(PathBuf, PathBuf)]) -> Result<Judgement, Failure> {
    let classes = runner.edition().labels.len();
    let mut void = args.void.clone();
    if classes <= 255 && !void.contains(&255) {
        void.push(255);
    }
    let confusion = Confusion::new(classes, &void);
    let mut judgement = Judgement { confusion, pictures: 0, time: Duration::ZERO };
    let bar = ProgressBar::new(pairs.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} pictures, {eta} left, {msg}") {
        bar.set_style(style);
    }
    for (image, labels) in pairs {
        let named = |path: &Path, reason: String| Failure::new(Kind::Data, format!("{}: {reason}", path.display()));
        let picture = picture::load(image).map_err(|error| unreadable(image, &error))?;
        let truth = load_labels(labels).map_err(|reason| named(labels, reason))?;
        if truth.size != picture.size {
            let reason = format!("labels of {} for a picture of {} ({})", truth.size, picture.size, image.display());
            let is_swapped = (truth.size.width, truth.size.height) == (picture.size.height, picture.size.width);
            let hint = if is_swapped {
                "; a picture is turned upright as its EXIF says, and so must its labels be"
            } else {
                ""
            };
            return Err(named(labels, reason + hint));
        }
        let times = runner.steps().run_rgb(&picture)?;
        judgement.time += times.convert + times.infer + times.decode;
        judgement.confusion.add(&truth.ids, runner.mask()).map_err(|error| named(labels, error.to_string()))?;
        judgement.pictures += 1;
        bar.set_message(format!("mIoU {:.1} %", 100.0 * judgement.confusion.mean_iou().unwrap_or(0.0)));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(judgement)
}

/// Pictures with their labels, by stem, in order.
fn pairs(images: &Path, labels: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let pictures = by_stem(images, &picture::EXTENSIONS)?;
    let mut truths = by_stem(labels, &["png"])?;
    let missing = |kind: &str, folder: &Path, extensions: &str| {
        Failure::new(Kind::NoInput, format!("{}: no {kind} there ({extensions})", folder.display()))
    };
    if pictures.is_empty() {
        return Err(missing("pictures", images, &picture::EXTENSIONS.join(", ")));
    }
    if truths.is_empty() {
        return Err(missing("labels", labels, "png"));
    }
    let mut unpaired = Vec::new();
    let pairs: Vec<_> = pictures
        .into_iter()
        .filter_map(|(stem, image)| match truths.remove(&stem) {
            Some(truth) => Some((image, truth)),
            None => {
                unpaired.push(stem);
                None
            }
        })
        .collect();
    if pairs.is_empty() {
        let reason = format!(
            "no picture in {} has the name of a label in {}; pairs are found by the name before the extension",
            images.display(),
            labels.display()
        );
        return Err(Failure::new(Kind::NoInput, reason));
    }
    for (what, stems) in [("labels", unpaired), ("a picture", truths.into_keys().collect())] {
        if let Some(first) = stems.first() {
            log::warn!(
                "{} without {what} are left out: {first}{}",
                stems.len(),
                if stems.len() > 1 { ", …" } else { "" }
            );
        }
    }
    Ok(pairs)
}

fn by_stem(folder: &Path, extensions: &[&str]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| Failure::new(Kind::NoInput, format!("{}: {error}", folder.display()));
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let Some(stem) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { continue };
        if !extensions.contains(&extension.as_str()) || !path.is_file() {
            continue;
        }
        if let Some(other) = found.insert(stem, path.clone()) {
            let reason = format!("{} and {} have one stem; keep one", other.display(), path.display());
            return Err(Failure::new(Kind::Data, reason));
        }
    }
    Ok(found)
}

fn milliseconds_per_picture(judgement: &Judgement) -> f64 {
    judgement.time.as_secs_f64() * 1e3 / f64::from(judgement.pictures.max(1))
}

fn as_json(runner: &PictureRunner, judgement: &Judgement) -> Value {
    let confusion = &judgement.confusion;
    let iou: serde_json::Map<String, Value> = runner
        .edition()
        .labels
        .names()
        .iter()
        .enumerate()
        .map(|(class, name)| (name.clone(), json!(confusion.iou(class))))
        .collect();
    let mut object = json!({
        "model": runner.edition().name,
        "pictures": judgement.pictures,
        "pixels": confusion.pixels(),
        "miou": confusion.mean_iou(),
        "pixel_accuracy": confusion.pixel_accuracy(),
        "iou": iou,
        "ms_per_picture": milliseconds_per_picture(judgement),
    });
    let groups = runner.edition().labels.groups();
    if !groups.is_empty() {
        object["group_miou"] = json!(confusion.mean_group_iou(groups.iter().map(|group| group.classes.as_slice())));
        object["group_iou"] =
            groups.iter().map(|group| (group.name.clone(), json!(confusion.group_iou(&group.classes)))).collect();
    }
    object
}

fn table(runner: &PictureRunner, judgement: &Judgement) -> Vec<String> {
    let confusion = &judgement.confusion;
    let percent =
        |value: Option<f64>| value.map_or_else(|| "     -".to_owned(), |value| format!("{:6.2}", 100.0 * value));
    let names: Vec<_> = runner.edition().labels.names().iter().map(|name| shown(name)).collect();
    let width = names.iter().map(|name| name.chars().count()).chain([14]).max().unwrap_or(14);
    let mut rows = vec![format!("{:<width$}  IoU %", "class")];
    rows.extend(
        names
            .iter()
            .enumerate()
            .filter(|(class, _)| runner.edition().labels.is_known() || confusion.iou(*class).is_some())
            .map(|(class, name)| format!("{name:<width$} {}", percent(confusion.iou(class)))),
    );
    rows.push(format!("{:<width$} {}", "mIoU", percent(confusion.mean_iou())));
    let groups = runner.edition().labels.groups();
    if !groups.is_empty() {
        rows.push(format!(
            "{:<width$} {}",
            "groups mIoU",
            percent(confusion.mean_group_iou(groups.iter().map(|group| group.classes.as_slice())))
        ));
    }
    rows.push(format!("{:<width$} {}", "pixel accuracy", percent(confusion.pixel_accuracy())));
    rows.push(format!("{} pictures, {:.1} ms each", judgement.pictures, milliseconds_per_picture(judgement)));
    rows
}
