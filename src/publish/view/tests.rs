//! Tests of the sink, the gate, the encoder and the gallery together.

use base::clock::ManualClock;
use camera::jpeg::JpegDecoder;
use pixels::frame::Size;

use super::*;
use crate::scene::testing::classes;

const LIMIT: Duration = Duration::from_secs(30);
const SIZE: Size = Size::new(64, 32);

struct Bench {
    sink: Box<dyn Sink>,
    gate: Arc<dyn PictureGate>,
    gallery: Arc<Gallery>,
    clock: Arc<ManualClock>,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(&Http::default())
    }

    fn with(config: &Http) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1000));
        let (sink, gate, gallery) = open(config, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Self { sink, gate, gallery, clock, next: 0 }
    }

    /// One frame as the pipeline handles it, 33 ms after the one before. True where it carried its picture.
    fn frame(&mut self) -> bool {
        self.clock.advance(Duration::from_millis(33));
        let now = self.clock.now();
        let is_due = self.gate.is_due(now);
        if is_due {
            self.gate.taken(now);
        }
        self.publish(is_due);
        is_due
    }

    fn publish(&mut self, with_picture: bool) {
        // Class 0 is all there is; it has the first default colour.
        let mut outcome = Outcome::example().sized(SIZE, 0, with_picture.then_some(100));
        outcome.sequence = self.next;
        self.sink.publish(&outcome);
        self.next += 1;
    }

    fn wait_for_encoded(&self, count: u64) {
        let start = std::time::Instant::now();
        while self.gallery.encoded() < count {
            assert!(start.elapsed() < LIMIT, "{} encoded", self.gallery.encoded());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The first pixel of a JPEG.
fn pixel(picture: &Encoded) -> [u8; 3] {
    let (size, pixels) = JpegDecoder::new().unwrap().decode_rgb(&picture.bytes).unwrap();
    assert_eq!(size, SIZE);
    [pixels[0], pixels[1], pixels[2]]
}

async fn next(viewer: &mut Viewer) -> Option<Encoded> {
    tokio::time::timeout(LIMIT, viewer.next()).await.expect("a picture in time")
}

#[test]
fn while_nobody_looks_nothing_is_asked_for_and_nothing_is_encoded() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        assert!(!bench.frame());
        // A snapshot may have asked for the picture.
        bench.publish(true);
    }
    drop(bench.gallery.subscribe(Layer::Frame));
    assert!(!bench.frame());
    // Had one been on its way, it would be encoded by the time that the thread has seen its end.
    let Bench { sink, gallery, .. } = bench;
    sink.close(Closing::Drain);
    assert_eq!(gallery.encoded(), 0);
}

#[tokio::test]
async fn every_layer_is_encoded_once_however_many_watch() {
    let mut bench = Bench::new();
    let layers = [Layer::Frame, Layer::overlay(Opacity::HALF), Layer::overlay(Opacity::percent(100)), Layer::Mask];
    let mut viewers: Vec<Viewer> =
        layers.iter().chain(&layers).chain(&layers).map(|&layer| bench.gallery.subscribe(layer)).collect();
    let color = classes(2).color(0).map(u16::from);
    for round in 1..=5 {
        // 100 ms, the shortest time between two.
        assert_eq!([(); 3].map(|()| bench.frame()).iter().filter(|&&due| due).count(), 1, "round {round}");
        bench.clock.advance(Duration::from_millis(1));
        for viewer in &mut viewers {
            let picture = next(viewer).await.unwrap();
            assert_eq!(picture.number, (round - 1) * 3);
        }
        assert_eq!(bench.gallery.encoded(), round * 4);
    }
    // What each layer shows.
    let mut frame = bench.gallery.subscribe(Layer::overlay(Opacity::percent(0)));
    bench.frame();
    assert!(pixel(&next(&mut frame).await.unwrap()).iter().all(|value| value.abs_diff(100) < 4));
    let half = next(&mut viewers[1]).await.unwrap();
    let full = next(&mut viewers[2]).await.unwrap();
    for (channel, color) in color.into_iter().enumerate() {
        assert!(u16::from(pixel(&half)[channel]).abs_diff((100 + color) / 2) < 8, "{:?}", pixel(&half));
        assert!(u16::from(pixel(&full)[channel]).abs_diff(color) < 8, "{:?}", pixel(&full));
    }
    let mask = next(&mut viewers[3]).await.unwrap();
    let mut reader = png::Decoder::new(io::Cursor::new(&mask.bytes)).read_info().unwrap();
    let mut ids = vec![9; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut ids).unwrap();
    assert_eq!(ids, [0; SIZE.pixels()]);
}

#[tokio::test]
async fn a_slow_viewer_skips_to_the_newest() {
    let mut bench = Bench::new();
    let mut slow = bench.gallery.subscribe(Layer::Frame);
    for count in 1..=4 {
        while !bench.frame() {}
        bench.wait_for_encoded(count);
    }
    let newest = bench.next - 1;
    assert_eq!(next(&mut slow).await.unwrap().number, newest);
}

#[tokio::test]
async fn a_mask_needs_no_picture_and_takes_no_pictures_turn() {
    let mut bench = Bench::new();
    let mut mask = bench.gallery.subscribe(Layer::Mask);
    assert!(!bench.frame());
    assert_eq!(next(&mut mask).await.unwrap().number, 0);
    let mut frame = bench.gallery.subscribe(Layer::Frame);
    bench.clock.advance(Duration::from_secs(1));
    bench.publish(false);
    assert!(bench.frame());
    assert_eq!((next(&mut frame).await.unwrap().number, next(&mut mask).await.unwrap().number), (2, 2));
}

#[tokio::test]
async fn stills_are_shared_and_come_with_the_next_frame() {
    let mut bench = Bench::new();
    let gallery = Arc::clone(&bench.gallery);
    let asked = [(); 8].map(|()| {
        let gallery = Arc::clone(&gallery);
        tokio::spawn(async move { gallery.still(Layer::Frame).await })
    });
    while !bench.gate.is_due(bench.clock.now()) {
        tokio::task::yield_now().await;
    }
    // Every task has asked: each runs up to its wait before another has its turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(bench.frame());
    for task in asked {
        assert_eq!(task.await.unwrap().unwrap().number, 0);
    }
    assert_eq!(gallery.encoded(), 1);
    assert!(!bench.frame());
}

#[tokio::test]
async fn when_the_run_ends_nobody_waits_in_vain() {
    let bench = Bench::new();
    let mut viewer = bench.gallery.subscribe(Layer::Frame);
    bench.sink.close(Closing::Drain);
    assert_eq!(next(&mut viewer).await, None);
    assert_eq!(bench.gallery.still(Layer::Mask).await, Err(NoPicture::Ended));
}

#[test]
fn an_encoder_that_is_behind_is_not_given_more() {
    let bench = Bench::new();
    let _viewer = bench.gallery.subscribe(Layer::Frame);
    // A gate before an outbox whose items are all away.
    let (mut outbox, _by_hand) = Outbox::<Shot>::by_hand(WORDS, SHOTS);
    (0..SHOTS).for_each(|_| assert!(outbox.offer(|_| ())));
    let (audience, pace) = (bench.gallery.audience(), Pace::new(Duration::from_millis(1)));
    let gate = ViewGate { audience, room: outbox.room(), pace };
    assert!(!gate.is_due(bench.clock.now()));
    assert!(bench.gate.is_due(bench.clock.now()));
}

#[test]
fn a_still_picture_need_not_wait_for_a_slow_stream() {
    let bench = Bench::with(&toml::from_str("stream_fps = 0.1").unwrap());
    let _stream = bench.gallery.subscribe(Layer::Frame);
    let is_due_after = |millis| {
        bench.clock.advance(Duration::from_millis(millis));
        bench.gate.is_due(bench.clock.now())
    };
    assert!(is_due_after(0));
    bench.gate.taken(bench.clock.now());
    assert!(!is_due_after(199));
    let mut still = Box::pin(bench.gallery.still(Layer::Frame));
    // It counts from its first poll on.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { assert!(tokio::time::timeout(Duration::ZERO, &mut still).await.is_err()) });
    assert!(!is_due_after(0) && is_due_after(1));
    drop(still);
    assert!(!is_due_after(9799) && is_due_after(1), "the stream's own turn");
}

#[test]
fn a_picture_that_another_gate_asked_for_does_not_put_off_the_next_turn() {
    let bench = Bench::new();
    let _viewer = bench.gallery.subscribe(Layer::Frame);
    bench.gate.taken(bench.clock.now());
    for _ in 0..9 {
        bench.clock.advance(Duration::from_millis(10));
        bench.gate.taken(bench.clock.now());
        assert!(!bench.gate.is_due(bench.clock.now()));
    }
    bench.clock.advance(Duration::from_millis(10));
    assert!(bench.gate.is_due(bench.clock.now()));
}

#[tokio::test]
async fn masks_keep_to_the_rate_too_but_for_half_a_turn() {
    let mut bench = Bench::new();
    let mut viewer = bench.gallery.subscribe(Layer::Mask);
    for millis in (0..300).step_by(10) {
        bench.publish(false);
        // Whether it is taken is decided at once; encoding takes its time.
        if [0, 50, 150, 250].contains(&millis) {
            assert_eq!(next(&mut viewer).await.unwrap().number, millis / 10);
        }
        bench.clock.advance(Duration::from_millis(10));
    }
    // The thread ends when it has encoded all that it was given.
    drop(bench.sink);
    while next(&mut viewer).await.is_some() {}
    assert_eq!(bench.gallery.encoded(), 4);
}

#[tokio::test]
async fn when_the_sink_is_dropped_nobody_waits_in_vain_either() {
    let bench = Bench::new();
    let mut viewer = bench.gallery.subscribe(Layer::Frame);
    drop(bench.sink);
    assert_eq!(next(&mut viewer).await, None);
    assert_eq!(bench.gallery.still(Layer::Mask).await, Err(NoPicture::Ended));
}

#[test]
fn the_view_only_looks_on_and_loses_nothing() {
    let bench = Bench::new();
    assert_eq!((bench.sink.name(), bench.sink.is_onlooker()), ("view", true));
    assert_eq!((bench.sink.health(), bench.sink.close(Closing::Drain)), Default::default());
}
