//! The live stream: `/stream.mjpg`, JPEGs one after the other (`multipart/x-mixed-replace`), which browsers show as a film.
//!
//! A viewer who is slow gets fewer pictures, never older ones: the next is taken from the gallery when the last byte of the
//! one before has left for the system. Who takes nothing at all is cut off by the server, as with any answer.
//!
//! While no picture comes because something is wrong, parts that say so come in their place, again and again: a viewer isn't
//! left with a picture of before, and a proxy finds the connection alive.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::header::{HeaderValue, CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body::{Body, Problem};
use super::pictures::{parameter, seconds};
use crate::publish::view::{Encoded, Gallery, Layer, Notice, Opacity, Viewer};
use crate::telemetry::state::Observe;

/// Stands between the parts.
const BOUNDARY: &str = "pspnetd-next-picture";

/// After so long without a picture a viewer looks whether something is wrong.
const SILENT: Duration = Duration::from_secs(2);
/// It looks again after this, once it was told. nginx gives a silent connection up after 60 s, others after 30.
const TOLD: Duration = Duration::from_secs(5);

/// The stream. `layer=frame` shows the camera's picture, `layer=overlay` (and none) the overlay; `opacity` is its share of
/// colour in percent, 0, 25, 50, 75 or 100. Each that is watched is encoded once, so there are five at most.
pub(super) fn stream(gallery: &Arc<Gallery>, observed: &Arc<dyn Observe>, query: &str) -> Response<Body> {
    match layer(query) {
        Ok(layer) => response(Source {
            viewer: gallery.subscribe(layer),
            gallery: Arc::clone(gallery),
            observed: Arc::clone(observed),
            patience: SILENT,
        }),
        Err(problem) => problem.response(),
    }
}

fn layer(query: &str) -> Result<Layer, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let opacity = match parameter(query, "opacity") {
        None => Opacity::HALF,
        Some(text) => text
            .parse()
            .ok()
            .filter(|percent| [0, 25, 50, 75, 100].contains(percent))
            .map(Opacity::percent)
            .ok_or_else(|| bad(format!("opacity {text:?}: expected 0, 25, 50, 75 or 100 (percent) in a stream")))?,
    };
    match parameter(query, "layer") {
        None | Some("overlay") => Ok(Layer::overlay(opacity)),
        Some("frame") => Ok(Layer::Frame),
        Some(other) => Err(bad(format!("layer {other:?}: expected frame or overlay"))),
    }
}

fn response(source: Source) -> Response<Body> {
    let mut response = Response::new(Parts::new(source).boxed());
    let headers = response.headers_mut();
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    if let Ok(kind) = HeaderValue::try_from(kind) {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What comes next, and the writer for what comes then; None at the end.
type Next = Option<(Bytes, Writer)>;

/// The body: the next part is asked for when the connection has room.
struct Parts(Option<Pin<Box<dyn Future<Output = Next> + Send + Sync>>>);

impl Parts {
    fn new(source: Source) -> Self {
        // The first part needs a boundary in front of it.
        let first = Some(Bytes::from(format!("--{BOUNDARY}\r\n")));
        Self(Some(Box::pin(Writer { source, first, way: Arc::new(Semaphore::new(1)) }.next())))
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        let Some((part, writer)) = ready!(next.as_mut().poll(context)) else {
            self.0 = None;
            return Poll::Ready(None);
        };
        self.0 = Some(Box::pin(writer.next()));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

struct Writer {
    source: Source,
    /// What goes in front of the first picture.
    first: Option<Bytes>,
    /// One part at a time is on it.
    way: Arc<Semaphore>,
}

impl Writer {
    async fn next(mut self) -> Next {
        // Nobody closes it.
        let permit = Arc::clone(&self.way).acquire_owned().await.ok()?;
        let bytes = match self.first.take() {
            Some(first) => first,
            None => self.source.next().await?,
        };
        Some((Bytes::from_owner(Sent { bytes, _permit: permit }), self))
    }
}

/// Where parts come from.
struct Source {
    viewer: Viewer,
    gallery: Arc<Gallery>,
    observed: Arc<dyn Observe>,
    patience: Duration,
}

impl Source {
    /// The next picture, or what says that there is none; None when no more come.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Ok(picture) = timeout(self.patience, self.viewer.next()).await {
                self.patience = SILENT;
                return picture.as_ref().map(part);
            }
            let state = self.observed.state();
            if let Some(notice) = self.gallery.notice(&state).await {
                self.patience = TOLD;
                return Some(notice_part(&notice));
            }
        }
    }
}

/// A part that lets the next one go when the connection has written it, and drops it.
struct Sent {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn part(picture: &Encoded) -> Bytes {
    framed(&picture.bytes, picture.time, "")
}

/// One that is no picture of the camera says so to programs.
fn notice_part(notice: &Notice) -> Bytes {
    framed(&notice.bytes, notice.time, &format!("X-Notice: {}\r\n", notice.word))
}

/// A JPEG with its headers in front of it and a boundary behind: browsers show a part when they see where it ends.
fn framed(bytes: &[u8], time: jiff::Timestamp, more: &str) -> Bytes {
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n{more}\r\n",
        bytes.len(),
        seconds(time)
    );
    let tail = format!("\r\n--{BOUNDARY}\r\n");
    [head.as_bytes(), bytes, tail.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use base::clock::ManualClock;
    use base::sync::lock;
    use tokio::time::Instant;

    use super::*;
    use crate::config::Http;
    use crate::publish::view;
    use crate::telemetry::example;
    use crate::telemetry::state::{CameraState, History, StageBuckets, State};

    #[test]
    fn a_query_names_a_layer_that_is_encoded_once_for_all() {
        let overlay = |percent| Ok(Layer::overlay(Opacity::percent(percent)));
        for (query, expected) in [
            ("", overlay(50)),
            ("t=1&x", overlay(50)),
            ("layer=overlay", overlay(50)),
            ("layer=frame", Ok(Layer::Frame)),
            ("layer=frame&opacity=75", Ok(Layer::Frame)),
            ("opacity=0", Ok(Layer::Frame)),
            ("opacity=25", overlay(25)),
            ("opacity=50", overlay(50)),
            ("opacity=75&layer=overlay", overlay(75)),
            ("opacity=100", overlay(100)),
        ] {
            assert_eq!(layer(query), expected, "{query}");
        }
        for query in
            ["layer=mask", "layer=", "opacity=", "opacity=30", "opacity=0.5", "opacity=-25", "layer=frame&opacity=1"]
        {
            assert_eq!(layer(query).unwrap_err().status, StatusCode::BAD_REQUEST, "{query}");
        }
    }

    #[test]
    fn a_part_is_headers_picture_and_the_next_boundary() {
        let time = jiff::Timestamp::from_microsecond(1_700_000_000_000_042).unwrap();
        let picture = Encoded { bytes: Bytes::from_static(b"\xFF\xD8..."), number: 7, time };
        let expected = b"Content-Type: image/jpeg\r\nContent-Length: 5\r\nX-Timestamp: 1700000000.000042\r\n\r\n\
                         \xFF\xD8...\r\n--pspnetd-next-picture\r\n";
        assert_eq!(part(&picture), &expected[..]);
        let notice = Notice { bytes: picture.bytes, word: "waiting", time };
        let expected = b"Content-Type: image/jpeg\r\nContent-Length: 5\r\nX-Timestamp: 1700000000.000042\r\n\
                         X-Notice: waiting\r\n\r\n\xFF\xD8...\r\n--pspnetd-next-picture\r\n";
        assert_eq!(notice_part(&notice), &expected[..]);
    }

    /// A program whose state is what it is told to be.
    struct Told(Mutex<State>);

    impl Observe for Told {
        fn state(&self) -> State {
            lock(&self.0).clone()
        }

        fn history(&self) -> History {
            History::default()
        }

        fn buckets(&self, _: &[f64]) -> Vec<StageBuckets> {
            Vec::new()
        }

        fn liveness(&self) -> Result<(), String> {
            Ok(())
        }
    }

    /// The next part's `X-Notice`, and the seconds that it took to come; None where none came for an hour.
    async fn notice(body: &mut Body) -> Option<(String, u64)> {
        let start = Instant::now();
        let frame = timeout(Duration::from_secs(3600), body.frame()).await.ok()?.unwrap().unwrap();
        let bytes = frame.into_data().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let word = text.lines().find_map(|line| line.strip_prefix("X-Notice: ")).unwrap_or("none").to_owned();
        Some((word, start.elapsed().as_secs()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_is_told_after_2_seconds_and_every_5_and_not_at_all_while_all_is_well() {
        let (_sink, _gate, gallery) = view::open(&Http::default(), Arc::new(ManualClock::default())).unwrap();
        let told = Arc::new(Told(Mutex::new(example::state())));
        let observed: Arc<dyn Observe> = told.clone();
        let mut body = stream(&gallery, &observed, "").into_body();
        assert_eq!(notice(&mut body).await, Some(("none".to_owned(), 0)), "the first boundary");
        assert_eq!(notice(&mut body).await, None);
        for (camera, word) in [(CameraState::Waiting, "waiting"), (CameraState::Paused, "paused")] {
            {
                let mut state = lock(&told.0);
                (state.ready, state.camera.state) = (false, camera);
            }
            let first = notice(&mut body).await.unwrap();
            assert!(first.0 == word && first.1 <= 5, "{first:?}");
            for _ in 0..3 {
                assert_eq!(notice(&mut body).await, Some((word.to_owned(), 5)));
            }
        }
        let mut other = stream(&gallery, &observed, "layer=frame").into_body();
        notice(&mut other).await;
        assert_eq!(notice(&mut other).await, Some(("paused".to_owned(), 2)));
        lock(&told.0).ready = true;
        assert_eq!(notice(&mut body).await, None);
        assert_eq!(gallery.encoded(), 0);
    }
}
