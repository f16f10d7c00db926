//! Requests to a predictor, without a connection.

use std::convert::Infallible;
use std::io::Cursor;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base::values::{Auto, Bytes as ByteCount};
use camera::testing::encode;
use http_body_util::{Empty, Full};
use hyper::body::Frame;
use infer::EngineKind;
use model::CurrentEdition;
use serde_json::Value;

use super::*;
use crate::config::{Config, ModelPath};
use crate::runners::Runners;

fn predictor(model: &str, max_body: u64) -> Predictor {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(model);
    let mut config = alone();
    config.model.path = Auto::Set(ModelPath(path));
    config.http.max_body = ByteCount(max_body);
    with(&config)
}

/// The default configuration, but with the CPU in this process: a test has no worker in it.
fn alone() -> Config {
    let mut config = Config::default();
    config.engine.isolation = infer::Isolation::None;
    config
}

/// A predictor for the model of `config`, that runs pictures in this process.
fn with(config: &Config) -> Predictor {
    let editions = CurrentEdition::new(Runners::load(config).unwrap().edition);
    Predictor::without_process(config, editions)
}

fn colours() -> Predictor {
    predictor("colours/model.tflite", 1 << 20)
}

fn jpeg() -> Vec<u8> {
    encode(64, 48, turbojpeg::Subsamp::None)
}

/// A PNG of whose pixels only a beginning is there.
fn png_header(width: u32, height: u32, color: png::ColorType, depth: png::BitDepth) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0x78, 0x9C]).unwrap();
    bytes
}

async fn post(predictor: &Predictor, body: Vec<u8>, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let mut request = Request::post("/api/v1/predict");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(predict(predictor, request.body(Full::new(Bytes::from(body))).unwrap()).await).await
}

async fn answer(response: Response<Body>) -> (StatusCode, Value) {
    let (status, kind) = (response.status(), response.headers()[CONTENT_TYPE].clone());
    assert_eq!(response.headers().contains_key(RETRY_AFTER), status == StatusCode::SERVICE_UNAVAILABLE);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    if kind == "image/png" {
        return (status, Value::Null);
    }
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// A body that gives `piece` so many times, and then waits for ever.
struct Pieces {
    piece: Bytes,
    left: usize,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}

/// A body that comes byte by byte.
struct Bytewise(std::vec::IntoIter<u8>);

impl hyper::body::Body for Bytewise {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|byte| Ok(Frame::data(Bytes::copy_from_slice(&[byte])))))
    }
}

/// A body of which nothing may be read.
struct Untouchable;

impl hyper::body::Body for Untouchable {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("the body is read");
    }
}

#[tokio::test]
async fn a_picture_becomes_figures_or_a_mask() {
    let predictor = colours();
    let (status, figures) = post(&predictor, jpeg(), &[]).await;
    assert_eq!((status, &figures["width"], &figures["height"]), (StatusCode::OK, &64.into(), &48.into()));
    assert_eq!(figures["classes"].as_object().unwrap().len(), 8);
    assert!(figures["times_ms"]["infer"].as_f64().unwrap() > 0.0 && figures["model"] == "colours");
    for accept in ["image/png", "image/png, application/json;q=0.9", "image/*", "text/html, image/png;q=0.1"] {
        assert_eq!(post(&predictor, jpeg(), &[("accept", accept)]).await, (StatusCode::OK, Value::Null), "{accept}");
    }
    let picture = image::RgbImage::new(20, 10);
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    for accept in
        ["*/*", "application/json", "application/*;q=0.1", "image/png;q=0, */*", "image/*;q=0.5, application/json"]
    {
        let (status, figures) = post(&predictor, png.get_ref().clone(), &[("accept", accept)]).await;
        assert_eq!((status, &figures["classes"]["black"]), (StatusCode::OK, &1.0.into()), "{accept}");
    }
    for accept in ["text/html", "image/jpeg", "", "application/json;q=0", "nonsense", "text/*", "*/png", "*/json"] {
        assert_eq!(post(&predictor, jpeg(), &[("accept", accept)]).await.0, StatusCode::NOT_ACCEPTABLE, "{accept}");
    }
}

#[tokio::test]
async fn what_the_body_begins_with_decides_and_the_type_must_not_contradict() {
    let predictor = colours();
    for kind in ["image/jpeg", "IMAGE/JPEG; q=1", "application/octet-stream", "application/x-www-form-urlencoded"] {
        assert_eq!(post(&predictor, jpeg(), &[("content-type", kind)]).await.0, StatusCode::OK, "{kind}");
    }
    for kind in ["image/png", "text/plain", "multipart/form-data; boundary=x", "image/webp"] {
        let (status, problem) = post(&predictor, jpeg(), &[("content-type", kind)]).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
        assert!(problem["detail"].as_str().unwrap().contains("--data-binary"), "{problem}");
    }
    let encoded = post(&predictor, jpeg(), &[("content-encoding", "gzip")]).await;
    assert_eq!(encoded.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for body in [&b""[..], b"\xFF", b"GIF89a and more", b"BM and a bitmap", b"P6 1 1 255\nabc", b"RIFF....WEBPVP8 "] {
        let (status, problem) = post(&predictor, body.to_vec(), &[]).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{problem}");
    }
}

#[tokio::test]
async fn broken_pictures_and_bombs_are_refused_and_the_next_one_is_run() {
    let predictor = colours();
    let whole = jpeg();
    let announced = |width: u16, height: u16| {
        let mut jpeg = whole.clone();
        let sof = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        jpeg[sof + 5..sof + 7].copy_from_slice(&height.to_be_bytes());
        jpeg[sof + 7..sof + 9].copy_from_slice(&width.to_be_bytes());
        jpeg
    };
    use png::{BitDepth::Eight, BitDepth::Sixteen, ColorType::Grayscale, ColorType::Rgb, ColorType::Rgba};
    for bomb in [
        png_header(50_000, 50_000, Rgb, Eight),
        png_header(1921, 1080, Grayscale, Eight),
        png_header(16_000, 16_000, Grayscale, Eight),
        // Few enough pixels, but each would take eight bytes.
        png_header(1920, 1080, Rgba, Sixteen),
        announced(50_000, 50_000),
        announced(16_000, 16_000),
        announced(1921, 1080),
    ] {
        let (status, problem) = post(&predictor, bomb, &[]).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("http.max_pixels allows 2073600 pixels"), "{problem}");
    }
    for broken in
        [announced(1920, 1080), whole[..whole.len() / 2].to_vec(), png_header(10, 10, Rgb, Eight), PNG.to_vec()]
    {
        let (status, problem) = post(&predictor, broken, &[]).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with("the picture can't be decoded: "), "{problem}");
    }
    assert_eq!(post(&predictor, whole, &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read_on() {
    let predictor = colours();
    let request = Request::post("/").header(CONTENT_LENGTH, "1048577").body(Untouchable).unwrap();
    assert_eq!(answer(predict(&predictor, request).await).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    // Without a length, as much as is allowed and no more: the body would go on for ever.
    let piece = Bytes::from([&JPEG[..], &[0; 100_000]].concat());
    let request = Request::post("/").body(Pieces { piece, left: usize::MAX }).unwrap();
    assert_eq!(answer(predict(&predictor, request).await).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    // What is no picture is told after its first bytes.
    let request = Request::post("/").body(Pieces { piece: Bytes::from_static(b"no picture"), left: 1 }).unwrap();
    assert_eq!(answer(predict(&predictor, request).await).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_picture_that_does_not_come_in_time_is_given_up() {
    let mut predictor = colours();
    predictor.limits.receive = Duration::from_millis(50);
    let request = Request::post("/").body(Pieces { piece: Bytes::from(jpeg()), left: 1 }).unwrap();
    assert_eq!(answer(predict(&predictor, request).await).await.0, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(post(&predictor, jpeg(), &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn many_slow_senders_get_no_more_memory_than_two() {
    let predictor = predictor("colours/model.tflite", 1000);
    let slow = || {
        let piece = Bytes::from([&JPEG[..], &[0; 897]].concat());
        Box::pin(predict(&predictor, Request::post("/").body(Pieces { piece, left: 1 }).unwrap()))
    };
    let mut waiting = [slow(), slow()];
    for one in &mut waiting {
        assert!(tokio::time::timeout(Duration::from_millis(20), one).await.is_err());
    }
    assert_eq!(answer(slow().await).await.0, StatusCode::SERVICE_UNAVAILABLE);
    drop(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(20), slow()).await.is_err(), "there is room again");
}

#[tokio::test]
async fn one_picture_at_a_time_also_when_nobody_waits_for_it_any_more() {
    let predictor = predictor("colours_320x240_int8_slow.tflite", 1 << 20);
    let first = post(&predictor, jpeg(), &[]);
    assert!(tokio::time::timeout(Duration::from_millis(50), first).await.is_err(), "the slow model was fast");
    let request = Request::post("/").body(Untouchable).unwrap();
    let (status, problem) = answer(predict(&predictor, request).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem["detail"].as_str().unwrap().contains("one at a time"), "{problem}");
    while predictor.is_busy() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(post(&predictor, jpeg(), &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_model_is_freed_after_a_while_and_is_the_same_again_whatever_became_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.tflite");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    std::fs::copy(models.join("colours_96x64_int8.tflite"), &path).unwrap();
    let mut predictor = predictor(path.to_str().unwrap(), 1 << 20);
    predictor.limits.keep = Duration::from_millis(200);
    let (status, before) = post(&predictor, jpeg(), &[]).await;
    assert_eq!(status, StatusCode::OK);
    // The camera's frames run the edition that was loaded at the start, and so do pictures.
    std::fs::copy(models.join("argmax_96x64_uint8.tflite"), &path).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (status, after) = post(&predictor, jpeg(), &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&after["classes"], &after["model"]), (&before["classes"], &before["model"]));
}

#[tokio::test]
async fn another_edition_runs_the_next_picture() {
    let predictor = colours();
    let of = |(status, figures): (StatusCode, Value)| {
        assert_eq!(status, StatusCode::OK, "{figures}");
        figures["model"].as_str().unwrap().to_owned()
    };
    let before = of(post(&predictor, jpeg(), &[]).await);
    let mut config = alone();
    config.model.path =
        Auto::Set(ModelPath(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/colours_96x64_int8.tflite")));
    predictor.editions.replace(Runners::load(&config).unwrap().edition);
    let after = of(post(&predictor, jpeg(), &[]).await);
    assert_eq!((before.as_str(), after.as_str()), ("colours", "colours_96x64_int8"));
}

#[tokio::test]
async fn a_model_without_a_half_for_the_cpu_runs_no_pictures() {
    let mut config = alone();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    config.engine.kind = EngineKind::EdgeTpu;
    config.engine.cpu_fallback = false;
    config.model.path = Auto::Set(ModelPath(models.join("colours_edgetpu.tflite")));
    let (status, problem) = post(&with(&config), jpeg(), &[]).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{problem}");
    // Where there is one, it doesn't matter which half is named, nor that there is no device.
    for name in ["model.tflite", "model_edgetpu.tflite"] {
        config.model.path = Auto::Set(ModelPath(models.join("colours-pair").join(name)));
        assert_eq!(post(&with(&config), jpeg(), &[]).await.0, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn an_empty_request_is_no_picture() {
    let request = Request::post("/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(answer(predict(&colours(), request).await).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[test]
fn the_most_specific_range_says_how_welcome_a_type_is() {
    for (ranges, png, json) in [
        ("*/*", 1000, 1000),
        ("image/*;q=0.5", 500, 0),
        ("IMAGE/PNG;Q=0.25, */*;q=0.75", 250, 750),
        ("*/*;q=0.9, image/*;q=0.5, image/png;q=0.001", 1, 900),
        ("image/png;level=1; q=0.3, application/json;q=much", 300, 1000),
        ("image/png;q=7, application/json;q=-1", 1000, 0),
        ("text/*, */png, image/, png", 0, 0),
    ] {
        let ranges: Vec<&str> = ranges.split(',').map(str::trim).collect();
        assert_eq!(
            [quality(&ranges, "image", "png"), quality(&ranges, "application", "json")],
            [png, json],
            "{ranges:?}"
        );
    }
}

#[test]
fn what_a_request_says_of_its_body_is_a_picture_or_means_nothing() {
    let announced = |fields: &[(&'static str, &'static str)]| {
        let fields = fields.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        Announced::of(&fields.collect::<HeaderMap>()).map_err(|problem| problem.status.as_u16())
    };
    assert_eq!(announced(&[]), Ok(Announced::Nothing));
    for (kind, expected) in [
        ("image/jpeg", Ok(Announced::Jpeg)),
        ("image/jpg; charset=x", Ok(Announced::Jpeg)),
        ("image/pjpeg", Ok(Announced::Jpeg)),
        ("Image/PNG ", Ok(Announced::Png)),
        ("", Ok(Announced::Nothing)),
        ("application/octet-stream", Ok(Announced::Nothing)),
        ("application/x-www-form-urlencoded", Ok(Announced::Nothing)),
        ("image/gif", Err(415)),
    ] {
        assert_eq!(announced(&[("content-type", kind)]), expected, "{kind}");
    }
    assert_eq!(announced(&[("content-type", "image/png"), ("content-encoding", "identity")]), Ok(Announced::Png));
    assert_eq!(announced(&[("content-encoding", "gzip")]), Err(415));
}

#[tokio::test]
async fn the_largest_picture_is_taken_and_one_byte_more_is_not() {
    let picture = jpeg();
    let length = picture.len().to_string();
    for (spare, status) in [(0, StatusCode::OK), (1, StatusCode::PAYLOAD_TOO_LARGE)] {
        let predictor = predictor("colours/model.tflite", picture.len() as u64 - spare);
        assert_eq!(post(&predictor, picture.clone(), &[]).await.0, status);
        assert_eq!(post(&predictor, picture.clone(), &[("content-length", &length)]).await.0, status);
        let bytewise = Request::post("/").body(Bytewise(picture.clone().into_iter())).unwrap();
        assert_eq!(answer(predict(&predictor, bytewise).await).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_has_30_seconds_to_come_and_30_to_be_run() {
    let slow = predictor("colours_320x240_int8_slow.tflite", 1 << 20);
    for (left, status, words, seconds) in [
        (1, StatusCode::REQUEST_TIMEOUT, "did not come within 30 s", 30),
        // The process's own limit comes first.
        (0, StatusCode::SERVICE_UNAVAILABLE, "longer than 30 s", 31),
    ] {
        let start = Instant::now();
        let (found, problem) = match left {
            1 => {
                let request = Request::post("/").body(Pieces { piece: Bytes::from(jpeg()), left }).unwrap();
                answer(predict(&slow, request).await).await
            }
            // Time is paused, so that the model can't be done in time.
            _ => post(&slow, jpeg(), &[]).await,
        };
        assert!(found == status && problem["detail"].as_str().unwrap().contains(words), "{problem}");
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn the_times_are_parts_of_what_the_answer_took() {
    let predictor = colours();
    let start = std::time::Instant::now();
    let (_, figures) = post(&predictor, jpeg(), &[]).await;
    let took = start.elapsed().as_secs_f64() * 1e3;
    let of = |stage: &str| figures["times_ms"][stage].as_f64().unwrap();
    let sum = of("convert") + of("infer") + of("decode");
    assert!(of("infer") > 0.0 && sum <= took + 0.01, "{figures}, took {took} ms");
    assert!(figures.get("groups").is_none() && figures["confidence"].is_number(), "{figures}");
}

#[test]
fn a_body_that_is_no_picture_is_told_from_one_that_is_empty() {
    let refusal = |body: &[u8]| Announced::Nothing.check(body).map_err(|problem| problem.detail);
    assert!(refusal(b"").unwrap_err().starts_with("the body is empty; "));
    assert!(refusal(b"GIF89a").unwrap_err().starts_with("the body begins neither as a JPEG nor as a PNG does; "));
    assert!(refusal(&JPEG).is_ok() && refusal(&PNG).is_ok());
}
