//! Files that are written must not be files that are read.

use std::path::Path;

use base::files::same_file;
use camera::Source;

use super::Config;

/// The key of a file of lines that would be written into a file that `config` reads, and why that can't be. `file` is the
/// configuration itself.
pub(super) fn overwritten(config: &Config, file: Option<&Path>) -> Option<(&'static str, String)> {
    let replayed = match &config.camera.source {
        Source::Replay(path) => Some(path.as_path()),
        _ => None,
    };
    let Config { model, engine, http, publish, telemetry, .. } = config;
    let model = model.path.as_set().map(|path| path.0.as_path());
    let named = [&engine.library, &http.token_file, &http.tls_certificate, &http.tls_key].map(Path::new);
    let read = || file.into_iter().chain(replayed).chain(model).chain(named);
    [("publish.jsonl.path", &publish.jsonl.path), ("telemetry.latency_log.path", &telemetry.latency_log.path)]
        .into_iter()
        // Into a device, such as /dev/null, nothing is written that was there.
        .filter(|(_, path)| Path::new(path).is_file())
        .find_map(|(key, path)| {
            let input = same_file(Path::new(path), read())?;
            Some((key, format!("{path} is {}, which is read; it needs a file of its own", input.display())))
        })
}
