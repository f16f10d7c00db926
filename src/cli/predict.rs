//! `pspnetd predict`

use std::path::{Path, PathBuf};

use base::failure::{Failure, Kind};
use base::files;
use base::rounding::rounded;
use camera::picture::{self, PictureError};
use pixels::frame::Size;
use serde_json::json;

use super::print_json;
use super::settings::Settings;
use crate::one_picture::PictureRunner;
use crate::publish::images;
use crate::scene::object;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("result").args(["output", "json"]).required(true).multiple(true)))]
pub(super) struct Args {
    /// Pictures: JPEG, PNG, BMP, PPM or WebP, up to 64 megapixels; turned upright as their EXIF says
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// TensorFlow Lite model, int8
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    model: Option<String>,

    /// Folder for <stem>_mask.png (class ids, palette) and <stem>_overlay.png; it is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Print one JSON object per picture: class and group areas, confidence, times
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.settings.load_with_model(args.model.clone())?;
    check_stems(args)?;
    let mut runner = PictureRunner::load(&config)?;
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
        check_outputs(args, folder, &runner)?;
    }
    // Every picture gets its chance. The caller tells the last failure, and its code is the exit code.
    let mut untold: Option<Failure> = None;
    for image in &args.images {
        if let Err(failure) = one(args, &mut runner, image) {
            if let Some(earlier) = untold.replace(failure) {
                log::error!("{earlier}");
            }
        }
    }
    untold.map_or(Ok(()), Err)
}

fn one(args: &Args, runner: &mut PictureRunner, path: &Path) -> Result<(), Failure> {
    let mut picture = picture::load(path).map_err(|error| unreadable(path, &error))?;
    let times = runner.steps().run_rgb(&picture)?;
    if let Some(folder) = &args.output {
        let labels = &runner.edition().labels;
        let [mask_path, overlay_path] = outputs(folder, path);
        images::write_mask(&mask_path, runner.mask(), picture.size, labels).map_err(|error| at(&mask_path, &error))?;
        images::overlay(&mut picture.pixels, runner.mask(), labels);
        images::write_rgb(&overlay_path, &picture.pixels, picture.size).map_err(|error| at(&overlay_path, &error))?;
    }
    if args.json {
        let ms = |time: std::time::Duration| rounded(time.as_secs_f64() * 1e3, 1e3);
        let labels = &runner.edition().labels;
        let Size { width, height } = picture.size;
        let mut line = json!({
            "image": path.to_string_lossy(),
            "width": width,
            "height": height,
            "classes": object(runner.areas().classes(labels)),
            "confidence": runner.summary().confidence.map(|value| rounded(f64::from(value), 1e4)),
            "latency_ms": {"convert": ms(times.convert), "infer": ms(times.infer), "decode": ms(times.decode)},
        });
        if !labels.groups().is_empty() {
            line["groups"] = object(runner.areas().groups(labels));
        }
        print_json(line.to_string())?;
    }
    Ok(())
}

/// The files that a picture leads to: its mask and its overlay.
fn outputs(folder: &Path, picture: &Path) -> [PathBuf; 2] {
    ["mask", "overlay"].map(|kind| folder.join(format!("{}_{kind}.png", stem(picture))))
}

/// Nothing that is read may be overwritten.
fn check_outputs(args: &Args, folder: &Path, runner: &PictureRunner) -> Result<(), Failure> {
    let inputs: Vec<&Path> =
        args.images.iter().map(PathBuf::as_path).chain([runner.edition().file.path.as_path()]).collect();
    for output in args.images.iter().flat_map(|picture| outputs(folder, picture)) {
        if let Some(input) = files::same_file(&output, inputs.iter().copied()) {
            let reason = format!("{} would overwrite {}, which is read", output.display(), input.display());
            return Err(Failure::new(Kind::Data, format!("{reason}; write to another folder")));
        }
    }
    Ok(())
}

/// Two pictures of one stem would write the same files.
fn check_stems(args: &Args) -> Result<(), Failure> {
    if args.output.is_none() {
        return Ok(());
    }
    let mut stems: Vec<(String, &PathBuf)> = args.images.iter().map(|path| (stem(path), path)).collect();
    stems.sort();
    match stems.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Failure::new(
            Kind::Data,
            format!(
                "{} and {} would both write {}_mask.png; run them with different folders",
                pair[0].1.display(),
                pair[1].1.display(),
                pair[0].0
            ),
        )),
        None => Ok(()),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Io, format!("{}: {error}", path.display()))
}

/// The failure that a picture's error is.
pub(super) fn unreadable(path: &Path, error: &PictureError) -> Failure {
    let kind = match error {
        PictureError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Kind::NoInput,
        PictureError::Io(_) => Kind::Io,
        _ => Kind::Data,
    };
    Failure::new(kind, format!("{}: {error}", path.display()))
}
