//! The process's half: decodes a picture, runs it, and writes its mask. It is in the sandbox, with nothing but the model, the
//! picture and the place of the mask.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use camera::jpeg::JpegError;
use camera::picture::{self, PictureError};
use infer::worker::Service;
use infer::{Engine, SealedBytes};
use model::labels::Palette;
use pixels::frame::Size;
use pixels::preprocess::PixelMap;

use super::message::{Made, Reply, Settings, Wanted};
use crate::one_picture::PictureSteps;
use crate::publish::images;

/// Makes the service that runs pictures, of [`Settings`] as JSON.
///
/// # Errors
/// When these are none.
pub(crate) fn picture_service(settings: &str, engine: Box<dyn Engine>) -> Result<Box<dyn Service>, String> {
    let settings: Settings = serde_json::from_str(settings).map_err(|error| format!("the settings: {error}"))?;
    let palette: Palette = settings.palette.try_into().map_err(|_| "the settings: expected 256 colours".to_owned())?;
    let io = engine.io().clone();
    let map = PixelMap::new(io.input.signed, io.input.scale, io.input.zero_point, settings.normalisation.as_ref());
    let steps = PictureSteps::new(engine, &io, settings.fit, map);
    Ok(Box::new(PictureService { steps, palette, max_pixels: settings.max_pixels }))
}

struct PictureService {
    steps: PictureSteps,
    palette: Palette,
    max_pixels: usize,
}

impl Service for PictureService {
    fn answer(&mut self, request: &[u8], files: Vec<OwnedFd>) -> Vec<u8> {
        let reply = match serde_json::from_slice(request) {
            Ok(wanted) => self.run(wanted, files).unwrap_or_else(|refusal| refusal),
            Err(error) => Reply::Failed(format!("the request: {error}")),
        };
        // Numbers and texts: that can't fail.
        serde_json::to_vec(&reply).unwrap_or_default()
    }
}

impl PictureService {
    fn run(&mut self, wanted: Wanted, files: Vec<OwnedFd>) -> Result<Reply, Reply> {
        let failed = |error: io::Error| Reply::Failed(error.to_string());
        let mut files = files.into_iter();
        let missing = || Reply::Failed("a descriptor is missing (too many open files?)".to_owned());
        let bytes = SealedBytes::new(files.next().ok_or_else(missing)?).map_err(failed)?;
        let picture = picture::decode(&bytes, self.max_pixels).map_err(|error| unusable(&error))?;
        // Its bytes may be as much as its pixels.
        drop(bytes);
        let times = self.steps.run_rgb(&picture).map_err(|failure| Reply::Failed(failure.to_string()))?;
        let size = picture.size;
        drop(picture);
        let mask_bytes = match wanted {
            Wanted::Figures => 0,
            Wanted::Mask => self.write_mask(size, files.next().ok_or_else(missing)?).map_err(failed)?,
        };
        // The next picture's pixels may need it.
        self.steps.forget_mask();
        Ok(Reply::Made(Made::new(size, self.steps.summary(), times, mask_bytes)))
    }

    /// Writes the mask's PNG to `file`. Returns how long it is.
    fn write_mask(&self, size: Size, file: OwnedFd) -> io::Result<usize> {
        let png = images::encode_mask(self.steps.mask(), size, &self.palette)?;
        File::from(file).write_all_at(&png, 0)?;
        Ok(png.len())
    }
}

fn unusable(error: &PictureError) -> Reply {
    let text = error.to_string();
    match error {
        PictureError::NoMemory(_) | PictureError::Jpeg(JpegError::NoMemory(_)) => Reply::NoMemory(text),
        PictureError::TooLarge(_)
        | PictureError::TooManyPixels(_)
        | PictureError::TooDeep { .. }
        | PictureError::Jpeg(JpegError::TooLarge(_))
        | PictureError::Png(png::DecodingError::LimitsExceeded)
        | PictureError::Image(image::ImageError::Limits(_)) => Reply::TooLarge(text),
        PictureError::Jpeg(_)
        | PictureError::Png(_)
        | PictureError::Image(_)
        | PictureError::Io(_)
        | PictureError::Unknown => Reply::Broken(text),
    }
}
