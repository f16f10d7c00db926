//! The thread `view`: draws overlays and encodes what is watched.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::priority;
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use model::labels::Palette;
use pixels::frame::Size;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use super::gallery::{Encoded, Layer, Shared, Watched};
use crate::publish::images;
use crate::scene::Outcome;

/// A JPEG quality at which a live picture shows no blocks.
const QUALITY: i32 = 80;
/// Buffers that nobody needed for this long are freed.
const KEEP: Duration = Duration::from_secs(10);

/// A result on its way to the encoder. Its buffers circulate.
pub(super) struct Shot {
    /// RGB; empty when nobody asked for the picture.
    picture: Vec<u8>,
    mask: Vec<u8>,
    size: Size,
    palette: Palette,
    number: u64,
    time: jiff::Timestamp,
}

impl Default for Shot {
    fn default() -> Self {
        Self {
            picture: Vec::new(),
            mask: Vec::new(),
            size: Size::new(0, 0),
            palette: [[0; 3]; 256],
            number: 0,
            time: jiff::Timestamp::UNIX_EPOCH,
        }
    }
}

impl Shot {
    /// Copies what is needed of a result.
    pub(super) fn take(&mut self, outcome: &Outcome, picture: Option<&[u8]>) {
        self.picture.clear();
        self.picture.extend_from_slice(picture.unwrap_or_default());
        self.mask.clear();
        self.mask.extend_from_slice(&outcome.mask);
        self.size = outcome.size;
        self.palette = outcome.edition.labels.colors();
        self.number = outcome.sequence;
        self.time = outcome.time;
    }
}

/// Encodes, and hands to those who watch.
pub(super) struct Encoder {
    shared: Arc<Shared>,
    jpeg: Option<Compressor>,
    /// An overlay's pixels.
    drawn: Vec<u8>,
    layers: Vec<Watched>,
    said: bool,
}

impl Encoder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, jpeg: None, drawn: Vec::new(), layers: Vec::new(), said: false }
    }

    /// Ends when the sink has gone. `spare` are the buffers that lie unused.
    pub(super) fn run(mut self, shots: &Receiver<Shot>, back: &Sender<Shot>, spare: &Receiver<Shot>) {
        priority::lower(priority::SIDE);
        // However this ends, nobody waits for pictures any more.
        let closing = Closing(Arc::clone(&self.shared));
        let mut is_warm = false;
        loop {
            let shot = if is_warm { shots.recv_timeout(KEEP) } else { shots.recv().map_err(Into::into) };
            match shot {
                Ok(shot) => {
                    self.show(&shot);
                    is_warm = true;
                    let _ = back.try_send(shot);
                }
                Err(RecvTimeoutError::Timeout) => {
                    is_warm = false;
                    (self.drawn, self.jpeg) = (Vec::new(), None);
                    // One that the sink takes meanwhile comes back here filled.
                    for _ in 0..spare.len() {
                        if spare.try_recv().is_ok() {
                            let _ = back.try_send(Shot::default());
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        drop(closing);
    }

    /// Encodes every layer that is watched, and that `shot` has.
    fn show(&mut self, shot: &Shot) {
        let mut layers = std::mem::take(&mut self.layers);
        self.shared.watched(&mut layers);
        for (layer, sender) in layers.drain(..) {
            if layer != Layer::Mask && shot.picture.is_empty() {
                continue;
            }
            match self.encode(layer, shot) {
                Ok(bytes) => {
                    log::debug!("view: frame {}: {layer}, {} bytes", shot.number, bytes.len());
                    self.shared.count();
                    sender.send_replace(Some(Encoded { bytes, number: shot.number, time: shot.time }));
                    self.said = false;
                }
                Err(error) if !self.said => {
                    self.said = true;
                    log::warn!("view: the {layer} of frame {} can't be encoded: {error}", shot.number);
                }
                Err(_) => {}
            }
        }
        self.layers = layers;
    }

    fn encode(&mut self, layer: Layer, shot: &Shot) -> io::Result<Bytes> {
        let opacity = match layer {
            Layer::Mask => return images::encode_mask(&shot.mask, shot.size, &shot.palette).map(Bytes::from),
            Layer::Frame => return self.encode_rgb(&shot.picture, shot.size),
            Layer::Overlay(opacity) => opacity,
        };
        let mut drawn = std::mem::take(&mut self.drawn);
        drawn.clear();
        drawn.extend_from_slice(&shot.picture);
        images::blend(&mut drawn, &shot.mask, &shot.palette, opacity.of_256());
        let encoded = self.encode_rgb(&drawn, shot.size);
        self.drawn = drawn;
        encoded
    }

    fn encode_rgb(&mut self, pixels: &[u8], size: Size) -> io::Result<Bytes> {
        let Size { width, height } = size;
        let image = Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB };
        let jpeg = match self.jpeg.take() {
            Some(jpeg) => jpeg,
            None => compressor().map_err(io::Error::other)?,
        };
        let bytes = self.jpeg.insert(jpeg).compress_to_vec(image).map_err(io::Error::other)?;
        Ok(bytes.into())
    }
}

fn compressor() -> turbojpeg::Result<Compressor> {
    let mut jpeg = Compressor::new()?;
    jpeg.set_quality(QUALITY)?;
    jpeg.set_subsamp(Subsamp::Sub2x2)?;
    Ok(jpeg)
}

struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::gallery::Gallery;
    use super::*;

    #[test]
    fn without_its_picture_a_result_shows_its_mask_only() {
        let shared = Arc::new(Shared::default());
        let gallery = Gallery::new(Arc::clone(&shared));
        let _viewers = [Layer::Frame, Layer::Mask].map(|layer| gallery.subscribe(layer));
        let mut encoder = Encoder::new(Arc::clone(&shared));
        let mut shot = Shot { mask: vec![0; 4], size: Size::new(2, 2), number: 7, ..Shot::default() };
        let shown = |encoder: &mut Encoder, shot: &Shot| {
            encoder.show(shot);
            let mut layers = Vec::new();
            shared.watched(&mut layers);
            layers.iter().map(|(_, sender)| sender.borrow().as_ref().map(|picture| picture.number)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&mut encoder, &shot), [None, Some(7)]);
        shot.picture = vec![0; 12];
        shot.number = 8;
        assert_eq!(shown(&mut encoder, &shot), [Some(8), Some(8)]);
        // What can't be encoded costs its own layer, and the next one is shown again.
        shot.mask.clear();
        shot.number = 9;
        assert_eq!(shown(&mut encoder, &shot), [Some(9), Some(8)]);
        assert_eq!(gallery.encoded(), 4);
    }
}
