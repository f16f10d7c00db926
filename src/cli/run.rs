//! `pspnetd run`

use base::failure::Failure;

use super::settings::Settings;
use crate::daemon;
use crate::telemetry::log_format::StartLine;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// TensorFlow Lite model, int8; a manifest.toml beside it gives names and colours
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    model: Option<String>,

    /// auto, v4l2:/dev/video0 (better a path under /dev/v4l/by-id), command:PROGRAM ARGUMENTS (it writes MJPEG, Y4M or raw
    /// frames to its standard output), replay:PATH (pictures, Y4M or MJPEG), pattern:WxH
    #[arg(long, value_name = "URI")]
    camera: Option<String>,

    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let loaded =
        args.settings.load(&[("--model", "model.path", args.model), ("--camera", "camera.source", args.camera)])?;
    let configuration = loaded.file.as_deref();
    log::info!("{}", StartLine { version: env!("CARGO_PKG_VERSION"), configuration });
    daemon::run(&loaded.config).map_err(|failure| loaded.origins.locate(failure))
}
