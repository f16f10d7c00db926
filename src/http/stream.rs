//! The live stream: `/stream.mjpg`, JPEGs one after the other (`multipart/x-mixed-replace`), which browsers show as a film.
//!
//! A viewer who is slow gets fewer pictures, never older ones: the next is taken from the gallery when the last byte of the
//! one before has left for the system. Who takes nothing at all is cut off by the server, as with any answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::header::{HeaderValue, CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{Body, Problem};
use super::pictures::{parameter, seconds};
use crate::publish::view::{Encoded, Gallery, Layer, Opacity, Viewer};

/// Stands between the parts.
const BOUNDARY: &str = "pspnetd-next-picture";

/// The stream. `layer=frame` shows the camera's picture, `layer=overlay` (and none) the overlay; `opacity` is its share of
/// colour in percent, 0, 25, 50, 75 or 100. Each that is watched is encoded once, so there are five at most.
pub(super) fn stream(gallery: &Gallery, query: &str) -> Response<Body> {
    match layer(query) {
        Ok(layer) => response(gallery.subscribe(layer)),
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

fn response(viewer: Viewer) -> Response<Body> {
    let mut response = Response::new(Parts::new(viewer).boxed());
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
    fn new(viewer: Viewer) -> Self {
        // The first part needs a boundary in front of it.
        let first = Some(Bytes::from(format!("--{BOUNDARY}\r\n")));
        Self(Some(Box::pin(Writer { viewer, first, way: Arc::new(Semaphore::new(1)) }.next())))
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
    viewer: Viewer,
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
            None => part(&self.viewer.next().await?),
        };
        Some((Bytes::from_owner(Sent { bytes, _permit: permit }), self))
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

/// A picture with its headers in front of it and a boundary behind: browsers show a part when they see where it ends.
fn part(picture: &Encoded) -> Bytes {
    let Encoded { bytes, time, .. } = picture;
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\r\n",
        bytes.len(),
        seconds(*time)
    );
    let tail = format!("\r\n--{BOUNDARY}\r\n");
    [head.as_bytes(), bytes, tail.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
