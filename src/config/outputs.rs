//! Files that are written must not be files that are read.

use std::path::{Path, PathBuf};

use base::files::same_file;
use base::line_file::rotated;
use camera::{picture, Source};

use super::Config;

/// The key of a file of lines that would be written into a file that `config` reads, or renamed over one, and why that can't
/// be. `file` is the configuration itself.
pub(super) fn overwritten(config: &Config, file: Option<&Path>) -> Option<(&'static str, String)> {
    let (jsonl, log) = (&config.publish.jsonl, &config.telemetry.latency_log);
    let lines = [("publish.jsonl.path", &jsonl.path, jsonl.keep), ("telemetry.latency_log.path", &log.path, log.keep)];
    let read = read(config, file);
    lines.into_iter().find_map(|(key, path, keep)| {
        let written =
            std::iter::once(PathBuf::from(path)).chain((1..=keep).map(|number| rotated(Path::new(path), number)));
        // Into a device, such as /dev/null, nothing is written that was there.
        let there =
            written.take_while(|written| written == Path::new(path) || written.exists()).filter(|it| it.is_file());
        there.into_iter().find_map(|written| {
            let input = same_file(&written, read.iter().map(PathBuf::as_path))?;
            let reason =
                format!("{} is {}, which is read; it needs a file of its own", written.display(), input.display());
            Some((key, reason))
        })
    })
}

/// The files that `config` reads, those that it finds beside others among them.
fn read(config: &Config, file: Option<&Path>) -> Vec<PathBuf> {
    let Config { model, engine, http, .. } = config;
    let named = [&engine.library, &http.token_file, &http.tls_certificate, &http.tls_key].map(PathBuf::from);
    let mut read: Vec<PathBuf> = file.map(Path::to_owned).into_iter().chain(named).collect();
    if let Source::Replay(path) = &config.camera.source {
        read.extend(of_kind(path, &picture::EXTENSIONS));
        read.push(path.clone());
    }
    if let Some(model) = model.path.as_set().map(|path| &path.0) {
        // With its manifest and its other half.
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        read.extend(of_kind(folder, &["toml", "tflite"]));
        read.push(model.clone());
    }
    read
}

/// The files in `folder` with one of these extensions.
fn of_kind(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let is_it = |path: &PathBuf| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
    };
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_it).collect()
}
