//! PictureRunner pictures: `/api/v1/frame.jpg`, `/api/v1/mask.png`, `/api/v1/overlay.jpg`.

use hyper::header::{HeaderName, HeaderValue, CACHE_CONTROL, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::body::{whole, Body, Problem};
use crate::publish::view::{Encoded, Gallery, Layer, Opacity};

/// When the picture was taken: Unix time in seconds, with six digits after the point.
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("x-timestamp");
/// The frame's number.
const SEQUENCE: HeaderName = HeaderName::from_static("x-sequence");

/// The camera's next picture.
pub(super) async fn frame(gallery: &Gallery, _query: &str) -> Response<Body> {
    still(gallery, Layer::Frame).await
}

/// The next class map.
pub(super) async fn mask(gallery: &Gallery, _query: &str) -> Response<Body> {
    still(gallery, Layer::Mask).await
}

/// The next picture with the classes' colours over it. `opacity=0` is all picture, `opacity=1` all colour; half without it.
pub(super) async fn overlay(gallery: &Gallery, query: &str) -> Response<Body> {
    match opacity(query) {
        Ok(opacity) => still(gallery, Layer::overlay(opacity)).await,
        Err(problem) => problem.response(),
    }
}

async fn still(gallery: &Gallery, layer: Layer) -> Response<Body> {
    let Encoded { bytes, number, time } = match gallery.still(layer).await {
        Ok(picture) => picture,
        Err(reason) => {
            let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason.to_string()).response();
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        }
    };
    let mut response = whole(layer.content_type(), bytes);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SEQUENCE, number.into());
    // Digits and a point are always a header's value.
    if let Ok(seconds) = seconds(time).parse() {
        headers.insert(TIMESTAMP, seconds);
    }
    response
}

/// Unix time in seconds.
pub(super) fn seconds(time: jiff::Timestamp) -> String {
    let micros = time.as_microsecond().max(0);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn opacity(query: &str) -> Result<Opacity, Problem> {
    let Some(text) = parameter(query, "opacity") else { return Ok(Opacity::HALF) };
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    // At most 100, and never negative.
    share.map(|share: f64| Opacity::percent((share * 100.0).round() as u8)).ok_or_else(|| {
        let detail = format!("opacity {text:?}: expected a number from 0 (all picture) to 1 (all colour)");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// The first value of `name` in a query; others are for others.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opacity_is_a_share() {
        for (query, percent) in
            [("", 50), ("opacity=0", 0), ("t=7&opacity=0.25", 25), ("opacity=1", 100), ("opacity=.005", 1)]
        {
            assert_eq!(opacity(query), Ok(Opacity::percent(percent)), "{query}");
        }
        for query in ["opacity=", "opacity=50", "opacity=-1", "opacity=nan", "opacity=half", "opacity=inf"] {
            let problem = opacity(query).unwrap_err();
            assert!(
                problem.status == StatusCode::BAD_REQUEST && problem.detail.contains("0 (all picture)"),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn times_have_six_digits() {
        assert_eq!(seconds(jiff::Timestamp::from_microsecond(1_700_000_000_000_042).unwrap()), "1700000000.000042");
        assert_eq!(seconds(jiff::Timestamp::UNIX_EPOCH), "0.000000");
    }
}
