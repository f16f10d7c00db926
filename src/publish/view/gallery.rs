//! [`Gallery`]: who wants pictures, and how they get them. Counting who wants what is all that the pipeline's threads see
//! of it; drawing and encoding are left to `encoder`.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base::sync::lock;
use bytes::Bytes;
use tokio::sync::watch;

use super::notice::{Notice, Notices};
use crate::telemetry::state::State;

/// How long a still picture may take to come. A camera that runs has one in a fraction of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// PictureRunner pictures come at least this often where they are asked for, however slow the stream may be.
const STILL_EVERY: Duration = Duration::from_millis(200);

/// Share of class colour in an overlay, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opacity(u8);

impl Opacity {
    /// Half picture, half colour.
    pub const HALF: Self = Self(50);

    /// `percent`, at most 100.
    pub fn percent(percent: u8) -> Self {
        Self(percent.min(100))
    }

    /// In 1/256.
    pub(super) fn of_256(self) -> u16 {
        (u16::from(self.0) * 256 + 50) / 100
    }
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The camera's picture, JPEG.
    Frame,
    /// Class ids as a palette PNG.
    Mask,
    /// The picture with the classes' colours over it, JPEG.
    Overlay(Opacity),
}

impl Layer {
    /// An overlay; without any colour it is the frame, and audience with those who look at that.
    pub fn overlay(opacity: Opacity) -> Self {
        if opacity.0 == 0 {
            Self::Frame
        } else {
            Self::Overlay(opacity)
        }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Mask => "image/png",
            Self::Frame | Self::Overlay(_) => "image/jpeg",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame => f.write_str("frame"),
            Self::Mask => f.write_str("mask"),
            Self::Overlay(Opacity(percent)) => write!(f, "overlay at {percent} %"),
        }
    }
}

/// A picture as it goes out. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// JPEG or PNG, as [`Layer::content_type`] says.
    pub bytes: Bytes,
    /// Number of the frame.
    pub number: u64,
    /// When the picture was taken.
    pub time: jiff::Timestamp,
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPicture {
    /// None came in time.
    #[error("no picture came within {} s: the camera is missing, paused, damaged or slow; /api/v1/state says which", PATIENCE.as_secs())]
    None,
    /// The program stops.
    #[error("no more pictures come: the run has ended")]
    Ended,
}

/// Where pictures are asked for. While nobody asks, none are made.
#[derive(Debug)]
pub struct Gallery {
    audience: Arc<Audience>,
    notices: Notices,
    said: AtomicBool,
}

/// What the pipeline's threads, the encoder and everybody who watches share.
#[derive(Debug, Default)]
pub(super) struct Audience {
    wall: Mutex<Wall>,
    /// Viewers of layers that need the camera's picture.
    pictures: AtomicUsize,
    /// Viewers of the mask, which doesn't.
    masks: AtomicUsize,
    /// Those of both that wait for one picture only.
    stills: AtomicUsize,
    /// Pictures that were encoded.
    encoded: AtomicU64,
}

/// Every layer that somebody watches.
#[derive(Debug, Default)]
struct Wall {
    layers: Vec<Watched>,
    closed: bool,
}

/// A layer, and the way to those who watch it.
pub(super) type Watched = (Layer, watch::Sender<Option<Encoded>>);

impl Gallery {
    pub(super) fn new(audience: Arc<Audience>) -> Self {
        Self { audience, notices: Notices::default(), said: AtomicBool::new(false) }
    }

    /// Watches `layer` until the viewer is dropped. It is encoded once, however many watch.
    pub fn subscribe(&self, layer: Layer) -> Viewer {
        Viewer::new(&self.audience, layer, false)
    }

    /// The next picture of `layer`. Those who ask at the same time share it.
    ///
    /// # Errors
    /// When none came within 5 s, or none will come any more.
    pub async fn still(&self, layer: Layer) -> Result<Encoded, NoPicture> {
        let mut viewer = Viewer::new(&self.audience, layer, true);
        match tokio::time::timeout(PATIENCE, viewer.next()).await {
            Ok(picture) => picture.ok_or(NoPicture::Ended),
            Err(_) => Err(NoPicture::None),
        }
    }

    /// A picture of words that says what `state` tells; None while results come. Those who ask at the same time share it.
    pub async fn notice(&self, state: &State) -> Option<Notice> {
        match self.notices.of(state).await {
            Ok(notice) => notice,
            Err(error) => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    log::warn!("view: the picture that says that none comes can't be encoded: {error}");
                }
                None
            }
        }
    }

    #[cfg(test)]
    pub(super) fn audience(&self) -> Arc<Audience> {
        Arc::clone(&self.audience)
    }

    /// How many pictures were encoded since the start.
    pub fn encoded(&self) -> u64 {
        self.audience.encoded.load(Ordering::Relaxed)
    }
}

/// Somebody who watches a layer.
#[derive(Debug)]
pub struct Viewer {
    pictures: watch::Receiver<Option<Encoded>>,
    layer: Layer,
    is_still: bool,
    audience: Arc<Audience>,
}

impl Viewer {
    fn new(audience: &Arc<Audience>, layer: Layer, is_still: bool) -> Self {
        let pictures = {
            let mut wall = audience.wall();
            match wall.layers.iter().find(|(watched, _)| *watched == layer) {
                Some((_, sender)) => sender.subscribe(),
                None => {
                    let (sender, receiver) = watch::channel(None);
                    // On a closed wall the sender is dropped, and the viewer finds no picture.
                    if !wall.closed {
                        wall.layers.push((layer, sender));
                    }
                    receiver
                }
            }
        };
        let viewer = Self { pictures, layer, is_still, audience: Arc::clone(audience) };
        viewer.counters().for_each(|counter| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        viewer
    }

    /// Waits for the next picture; those that came since the last call are skipped, up to the newest. None when no more come.
    pub async fn next(&mut self) -> Option<Encoded> {
        self.pictures.changed().await.ok()?;
        self.pictures.borrow_and_update().clone()
    }

    fn counters(&self) -> impl Iterator<Item = &AtomicUsize> {
        let layer = if self.layer == Layer::Mask { &self.audience.masks } else { &self.audience.pictures };
        [Some(layer), self.is_still.then_some(&self.audience.stills)].into_iter().flatten()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.counters().for_each(|counter| {
            counter.fetch_sub(1, Ordering::Relaxed);
        });
        // This viewer's own receiver still counts.
        self.audience.wall().layers.retain(|(layer, sender)| *layer != self.layer || sender.receiver_count() > 1);
    }
}

impl Audience {
    /// Whether somebody waits for the camera's picture.
    pub(super) fn wants_picture(&self) -> bool {
        self.pictures.load(Ordering::Relaxed) > 0
    }

    /// Whether somebody waits for the mask.
    pub(super) fn wants_mask(&self) -> bool {
        self.masks.load(Ordering::Relaxed) > 0
    }

    /// How much earlier than every `every` the next picture is wanted.
    pub(super) fn hurry(&self, every: Duration) -> Duration {
        match self.stills.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => every.saturating_sub(STILL_EVERY),
        }
    }

    /// Every layer that is watched now, into `layers`.
    pub(super) fn watched(&self, layers: &mut Vec<Watched>) {
        layers.clone_from(&self.wall().layers);
    }

    /// Notes a picture that was encoded.
    pub(super) fn count(&self) {
        self.encoded.fetch_add(1, Ordering::Relaxed);
    }

    /// No more pictures come: whoever waits is told.
    pub(super) fn close(&self) {
        let mut wall = self.wall();
        wall.closed = true;
        wall.layers.clear();
    }

    fn wall(&self) -> MutexGuard<'_, Wall> {
        // Every critical section leaves the wall whole, so a panic elsewhere doesn't spoil it.
        lock(&self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Layer = Layer::Overlay(Opacity::HALF);

    #[test]
    fn an_opacity_is_a_part_of_256_and_at_most_all_of_it() {
        let parts = [0, 1, 25, 50, 75, 99, 100, 101, 255].map(|percent| Opacity::percent(percent).of_256());
        assert_eq!(parts, [0, 3, 64, 128, 192, 253, 256, 256, 256]);
        assert_eq!(Opacity::HALF, Opacity::percent(50));
    }

    #[test]
    fn a_layer_has_its_name_and_its_type_and_no_colour_is_the_frame() {
        for (layer, name, kind) in [
            (Layer::Frame, "frame", "image/jpeg"),
            (Layer::Mask, "mask", "image/png"),
            (Layer::overlay(Opacity::percent(1)), "overlay at 1 %", "image/jpeg"),
            (Layer::overlay(Opacity::percent(0)), "frame", "image/jpeg"),
        ] {
            assert_eq!((layer.to_string().as_str(), layer.content_type()), (name, kind));
        }
    }

    /// What is wanted: pictures, masks, and how much earlier than every second.
    fn wanted(audience: &Audience) -> (bool, bool, Duration) {
        (audience.wants_picture(), audience.wants_mask(), audience.hurry(Duration::from_secs(1)))
    }

    #[test]
    fn what_is_wanted_is_what_somebody_waits_for() {
        let audience = Arc::new(Audience::default());
        let (no_hurry, hurry) = (Duration::ZERO, Duration::from_millis(800));
        assert_eq!(wanted(&audience), (false, false, no_hurry));
        for (layer, is_still, expected) in [
            (Layer::Frame, false, (true, false, no_hurry)),
            (HALF, false, (true, false, no_hurry)),
            (Layer::Mask, false, (false, true, no_hurry)),
            (Layer::Frame, true, (true, false, hurry)),
            (HALF, true, (true, false, hurry)),
            (Layer::Mask, true, (false, true, hurry)),
        ] {
            let [one, other] = [(); 2].map(|()| Viewer::new(&audience, layer, is_still));
            assert_eq!(wanted(&audience), expected, "{layer}");
            drop(one);
            assert_eq!(wanted(&audience), expected, "{layer}, one left");
            drop(other);
            assert_eq!(wanted(&audience), (false, false, no_hurry), "{layer}, nobody");
        }
        assert_eq!(audience.hurry(STILL_EVERY / 2), no_hurry);
    }

    #[test]
    fn a_layer_is_on_the_wall_once_while_somebody_watches_it() {
        let audience = Arc::new(Audience::default());
        let gallery = Gallery::new(Arc::clone(&audience));
        let on_the_wall = || {
            let mut layers = Vec::new();
            audience.watched(&mut layers);
            layers.into_iter().map(|(layer, _)| layer).collect::<Vec<_>>()
        };
        let [first, second] = [(); 2].map(|()| gallery.subscribe(Layer::Frame));
        let mask = gallery.subscribe(Layer::Mask);
        assert_eq!(on_the_wall(), [Layer::Frame, Layer::Mask]);
        drop(first);
        assert_eq!(on_the_wall(), [Layer::Frame, Layer::Mask]);
        drop(second);
        assert_eq!(on_the_wall(), [Layer::Mask]);
        drop(mask);
        assert_eq!(on_the_wall(), []);
        let _frame = gallery.subscribe(Layer::Frame);
        audience.close();
        let _late = gallery.subscribe(Layer::Mask);
        assert_eq!(on_the_wall(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_still_picture_has_5_seconds_to_come() {
        let gallery = Gallery::new(Arc::default());
        let start = tokio::time::Instant::now();
        assert_eq!(gallery.still(Layer::Frame).await, Err(NoPicture::None));
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(!gallery.audience().wants_picture());
    }
}
