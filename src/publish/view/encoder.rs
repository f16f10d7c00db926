//! The thread `view`: draws overlays and encodes what is watched.

use std::io;
use std::sync::Arc;

use base::outbox::{Carrier, Fate};
use base::priority;
use bytes::Bytes;
use model::labels::Palette;
use pixels::frame::Size;
use turbojpeg::Compressor;

use super::gallery::{Audience, Encoded, Layer, Watched};
use super::jpeg;
use crate::publish::images;
use crate::scene::Outcome;

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
    audience: Arc<Audience>,
    jpeg: Option<Compressor>,
    /// An overlay's pixels.
    drawn: Vec<u8>,
    layers: Vec<Watched>,
    said: bool,
}

impl Encoder {
    pub(super) fn new(audience: Arc<Audience>) -> Self {
        Self { audience, jpeg: None, drawn: Vec::new(), layers: Vec::new(), said: false }
    }
}

impl Carrier<Shot> for Encoder {
    fn begin(&mut self) {
        priority::lower(priority::SIDE);
    }

    fn carry(&mut self, shot: &mut Shot) -> Fate {
        self.show(shot);
        Fate::Carried
    }

    fn rest(&mut self) {
        (self.drawn, self.jpeg) = (Vec::new(), None);
    }
}

impl Drop for Encoder {
    /// However the thread ends, nobody waits for pictures any more.
    fn drop(&mut self) {
        self.audience.close();
    }
}

impl Encoder {
    /// Encodes every layer that is watched, and that `shot` has.
    fn show(&mut self, shot: &Shot) {
        let mut layers = std::mem::take(&mut self.layers);
        self.audience.watched(&mut layers);
        for (layer, sender) in layers.drain(..) {
            if layer != Layer::Mask && shot.picture.is_empty() {
                continue;
            }
            match self.encode(layer, shot) {
                Ok(bytes) => {
                    log::debug!("view: frame {}: {layer}, {} bytes", shot.number, bytes.len());
                    self.audience.count();
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
        let compressor = match self.jpeg.take() {
            Some(compressor) => compressor,
            None => jpeg::compressor()?,
        };
        jpeg::encode(self.jpeg.insert(compressor), pixels, size)
    }
}
