//! `POST /api/v1/predict`: a picture comes, its class areas or its mask go back.

use std::fmt;
use std::pin::pin;

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::header::{
    HeaderMap, HeaderValue, ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
};
use hyper::{Request, Response, StatusCode};
use tokio::time::{timeout_at, Instant};

use super::body::{Body, Problem};
use super::predictor::{busy, no_memory, Predictor, Received, Wanted};

/// What pictures are taken.
const TAKEN: &str = "send a JPEG or PNG as the request's body (curl --data-binary @FILE)";

/// The answer to a picture.
pub(super) async fn predict<B>(predictor: &Predictor, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    match respond(predictor, request).await {
        Ok(response) => response,
        Err(problem) => {
            let mut response = problem.response();
            if problem.status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
    }
}

async fn respond<B>(predictor: &Predictor, request: Request<B>) -> Result<Response<Body>, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    let headers = request.headers();
    let wanted = wanted(headers)?;
    let announced = Announced::of(headers)?;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > predictor.max_body() as u64) {
        return Err(too_large(predictor));
    }
    // Nobody should send megabytes to be told this.
    if predictor.is_busy() {
        return Err(busy());
    }
    let picture = receive(predictor, request.into_body(), announced).await?;
    let mut response = predictor.run(picture, wanted).await?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn too_large(predictor: &Predictor) -> Problem {
    let detail = format!("the picture has more than {} bytes, which http.max_body allows", predictor.max_body());
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Reads the body, as far as it can be a picture.
async fn receive<B>(predictor: &Predictor, body: B, announced: Announced) -> Result<Received, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    let patience = predictor.limits.receive;
    let deadline = Instant::now() + patience;
    let mut body = pin!(body);
    let mut held = predictor.hold();
    let no_memory = |error| no_memory("a picture", &error);
    let mut picture = Received::new().map_err(no_memory)?;
    let mut beginning = Vec::with_capacity(PNG.len());
    let mut is_known = false;
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            let detail = format!("the picture did not come within {} s", patience.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the picture did not come to its end: {error}"))
        })?;
        // Trailers are nobody's business here.
        let Ok(data) = frame.into_data() else { continue };
        if picture.len() + data.remaining() > predictor.max_body() {
            return Err(too_large(predictor));
        }
        if !held.grow(data.remaining()) {
            return Err(busy());
        }
        picture.push(&data).map_err(no_memory)?;
        let missing = PNG.len() - beginning.len();
        beginning.extend_from_slice(&data[..missing.min(data.len())]);
        if !is_known && beginning.len() == PNG.len() {
            announced.check(&beginning)?;
            is_known = true;
        }
    }
    announced.check(&beginning)?;
    Ok(picture)
}

/// What the request says that its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Jpeg,
    Png,
    /// Nothing, or nothing that means anything: curl's own type is that of a form.
    Nothing,
}

const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
const JPEG: [u8; 3] = [0xFF, 0xD8, 0xFF];

impl Announced {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(unsupported(&format!("Content-Encoding {encoding:?} is not undone here")));
        }
        let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Self::Nothing) };
        let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "image/jpeg" | "image/jpg" | "image/pjpeg" => Ok(Self::Jpeg),
            "image/png" => Ok(Self::Png),
            "" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(Self::Nothing),
            _ => Err(unsupported(&format!("Content-Type {value:?} is no picture that is taken"))),
        }
    }

    /// What the body begins with counts; what was said must not contradict it.
    fn check(self, body: &[u8]) -> Result<(), Problem> {
        let found = match () {
            () if body.starts_with(&JPEG) => Self::Jpeg,
            () if body.starts_with(&PNG) => Self::Png,
            () if body.is_empty() => return Err(unsupported("the body is empty")),
            () => return Err(unsupported("the body begins neither as a JPEG nor as a PNG does")),
        };
        if self != Self::Nothing && self != found {
            let (said, found) = (self.name(), found.name());
            return Err(unsupported(&format!("Content-Type says {said}, the body begins as a {found} does")));
        }
        Ok(())
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Nothing => "nothing",
        }
    }
}

fn unsupported(reason: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{reason}; {TAKEN}"))
}

/// What the request accepts, the better liked first; JSON where it doesn't matter.
fn wanted(headers: &HeaderMap) -> Result<Wanted, Problem> {
    let mut ranges = headers.get_all(ACCEPT).iter().peekable();
    if ranges.peek().is_none() {
        return Ok(Wanted::Figures);
    }
    let ranges: Vec<&str> = ranges.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    let figures = quality(&ranges, "application", "json");
    let mask = quality(&ranges, "image", "png");
    match figures.max(mask) {
        0 => {
            let detail = "nothing that Accept names is made here; expected application/json or image/png";
            Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
        }
        _ if mask > figures => Ok(Wanted::Mask),
        _ => Ok(Wanted::Figures),
    }
}

/// How welcome a type is, 0 to 1000: the most specific range that fits counts (RFC 9110, section 12.5.1).
fn quality(ranges: &[&str], kind: &str, subkind: &str) -> u16 {
    let fit = |range: &&str| {
        let mut parts = range.split(';').map(str::trim);
        let (found, subfound) = parts.next()?.split_once('/')?;
        let is = |pattern: &str, name: &str| pattern.eq_ignore_ascii_case(name);
        let exactness = match (is(found, kind), is(subfound, subkind)) {
            (true, true) => 2,
            (true, false) if subfound == "*" => 1,
            (false, false) if found == "*" && subfound == "*" => 0,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // What is no weight is none that was given.
        let weight = weight.and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(1.0);
        Some((exactness, (weight.clamp(0.0, 1.0) * 1000.0) as u16))
    };
    ranges.iter().filter_map(fit).max().map_or(0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests;
