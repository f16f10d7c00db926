//! The limits, each by itself and to the second; and what of a stream and of an answer's body tells of them.

use std::future::Future;

use base::clock::ManualClock;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

struct Bench {
    clock: Arc<ManualClock>,
    watch: Arc<Watch>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        // Not at the clock's zero.
        clock.advance(Duration::from_secs(1000));
        Self { watch: Watch::new(clock.clone(), Standing::Stranger), clock }
    }

    fn after(&self, seconds: u64) -> Option<Verdict> {
        self.clock.advance(Duration::from_secs(seconds));
        self.watch.check(self.clock.now());
        self.watch.state().verdict
    }

    fn phase(&self) -> Phase {
        self.watch.state().phase
    }

    /// For how many seconds it has been blocked.
    fn blocked(&self) -> Option<u64> {
        self.watch.state().blocked.map(|since| self.clock.now().since(since).as_secs())
    }
}

#[test]
fn every_phase_has_its_limit_and_its_verdict() {
    /// How a phase is entered, its limit with the verdict, and whether a stop waits for it.
    type Row = (fn(&Watch), Option<(u64, Verdict)>, bool);
    let phases: [Row; 7] = [
        (|_| {}, Some((30, Verdict::Idle)), false),
        (Watch::has_read, Some((10, Verdict::HeadLate)), false),
        (Watch::has_request, None, true),
        (|watch| watch.has_answer(false), Some((120, Verdict::Slow)), true),
        (|watch| watch.has_answer(true), None, false),
        (|watch| (watch.has_answer(false), watch.has_ended()).1, Some((120, Verdict::Slow)), true),
        (|watch| (watch.has_answer(false), watch.has_ended(), watch.has_flushed()).2, Some((30, Verdict::Idle)), false),
    ];
    for (enter, limit, is_answering) in phases {
        let bench = Bench::new();
        enter(&bench.watch);
        assert_eq!(bench.watch.is_answering(), is_answering, "{:?}", bench.phase());
        let last = limit.map_or(100_000, |(seconds, _)| seconds - 1);
        assert_eq!(bench.after(last), None, "{:?}", bench.phase());
        assert_eq!(bench.after(1), limit.map(|(_, verdict)| verdict), "{:?}", bench.phase());
        // Whatever the phase, who doesn't take what is there has 30 s.
        let bench = Bench::new();
        enter(&bench.watch);
        bench.watch.has_written(false);
        let (last, verdict) = limit.filter(|(seconds, _)| *seconds < 30).unwrap_or((30, Verdict::Slow));
        assert_eq!(bench.after(last - 1), None, "{:?}", bench.phase());
        assert_eq!(bench.after(1), Some(verdict), "{:?}", bench.phase());
    }
}

#[test]
fn a_head_has_10_seconds_however_often_a_byte_of_it_comes() {
    let bench = Bench::new();
    bench.watch.is_open();
    for _ in 0..9 {
        bench.watch.has_read();
        assert_eq!(bench.after(1), None);
    }
    bench.watch.has_read();
    assert_eq!(bench.after(1), Some(Verdict::HeadLate));
}

#[test]
fn a_handshake_has_10_seconds_and_a_pause_30() {
    let bench = Bench::new();
    assert_eq!(bench.after(29), None);
    bench.watch.has_read();
    assert_eq!(bench.after(9), None);
    bench.watch.is_open();
    assert_eq!(bench.after(29), None);
    assert_eq!(bench.after(1), Some(Verdict::Idle));
}

#[test]
fn a_peer_that_takes_nothing_has_30_seconds_and_one_that_trickles_120() {
    let answering = |endless| {
        let bench = Bench::new();
        bench.watch.has_request();
        assert_eq!(bench.after(60), None, "a handler has limits of its own");
        bench.watch.has_answer(endless);
        bench
    };
    let bench = answering(true);
    assert_eq!(bench.after(3600), None, "a stream has no end, and nothing to take is no fault");
    bench.watch.has_written(false);
    assert_eq!(bench.after(29), None);
    bench.watch.has_written(false);
    assert_eq!(bench.after(1), Some(Verdict::Slow));

    let bench = answering(false);
    bench.watch.has_ended();
    for _ in 0..11 {
        bench.watch.has_written(false);
        bench.watch.has_written(true);
        assert_eq!(bench.after(10), None);
    }
    assert_eq!(bench.after(10), Some(Verdict::Slow));
}

#[test]
fn what_has_no_request_may_be_given_up_for_a_new_connection() {
    let bench = Bench::new();
    let idleness = || bench.watch.idleness(bench.clock.now());
    let seconds = Duration::from_secs;
    bench.clock.advance(seconds(2));
    assert_eq!(idleness(), Some((Idleness::Idle, seconds(2))));
    bench.watch.has_read();
    bench.clock.advance(Duration::from_millis(999));
    assert_eq!(idleness(), None, "a head that may yet come in time");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(idleness(), Some((Idleness::Slow, seconds(1))));
    bench.clock.advance(seconds(5));
    assert!(Some((Idleness::Idle, seconds(0))) > idleness(), "one without a request goes before a slow one");
    let phases: [fn(&Watch); 4] =
        [Watch::has_request, |watch| watch.has_answer(false), |watch| watch.has_answer(true), Watch::has_ended];
    for enter in phases {
        enter(&bench.watch);
        bench.clock.advance(seconds(100));
        assert_eq!(idleness(), None, "{:?}", bench.phase());
    }
    bench.watch.has_written(false);
    bench.clock.advance(Duration::from_millis(999));
    assert_eq!(idleness(), None, "a peer that may yet take what it gets");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(idleness(), Some((Idleness::Slow, seconds(1))));
    bench.watch.set_standing(Standing::Holder);
    assert_eq!(idleness(), None, "who has shown the token is waited for");
    bench.watch.has_flushed();
    assert_eq!(idleness(), Some((Idleness::Idle, seconds(0))));
}

#[tokio::test]
async fn the_first_reason_counts_unless_the_place_is_needed() {
    let bench = Bench::new();
    bench.watch.cut(Verdict::Slow);
    bench.watch.cut(Verdict::Stopping);
    assert_eq!(bench.watch.is_cut().await, Verdict::Slow);
    assert!(is_pending(bench.watch.is_evicted()).await);
    bench.watch.cut(Verdict::Evicted);
    bench.watch.cut(Verdict::Idle);
    assert!(!is_pending(bench.watch.is_evicted()).await);
    assert_eq!(bench.watch.is_cut().await, Verdict::Evicted);
}

/// Whether `future` has nothing to give now.
async fn is_pending(future: impl Future) -> bool {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// A stream that reads, writes and flushes as it is told.
struct Fake {
    read: usize,
    written: fn() -> Poll<io::Result<usize>>,
    flushed: fn() -> Poll<io::Result<()>>,
}

impl AsyncRead for Fake {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buf.put_slice(&b"GET"[..self.read]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fake {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        (self.written)()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        (self.written)()
    }

    fn is_write_vectored(&self) -> bool {
        self.read == 0
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.flushed)()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

impl Bench {
    fn stream(&self, read: usize) -> Watched<Fake> {
        let fake = Fake { read, written: || Poll::Pending, flushed: || Poll::Pending };
        Watched::new(fake, Arc::clone(&self.watch))
    }
}

#[tokio::test]
async fn bytes_that_come_begin_a_head_and_the_end_of_a_stream_does_not() {
    for (read, phase) in [(0, Phase::Idle), (3, Phase::Head)] {
        let bench = Bench::new();
        let mut bytes = vec![b'x'];
        assert_eq!(bench.stream(read).read_buf(&mut bytes).await.unwrap(), read);
        assert_eq!(bench.phase(), phase);
    }
    // Bytes of a request that is read are none of another one.
    let bench = Bench::new();
    bench.watch.has_request();
    bench.stream(3).read_buf(&mut Vec::new()).await.unwrap();
    assert_eq!(bench.phase(), Phase::Request);
}

#[tokio::test]
async fn a_write_that_waits_blocks_from_then_on_and_one_that_gets_on_ends_that() {
    type Written = fn() -> Poll<io::Result<usize>>;
    let waits: Written = || Poll::Pending;
    let outcomes: [(Written, [Option<u64>; 2]); 4] = [
        (waits, [Some(0), Some(5)]),
        (|| Poll::Ready(Ok(1)), [None, None]),
        // Neither says that the peer takes something.
        (|| Poll::Ready(Ok(0)), [None, Some(5)]),
        (|| Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())), [None, Some(5)]),
    ];
    for vectored in [false, true] {
        for (outcome, [free, blocked]) in outcomes {
            let write = async |stream: &mut Watched<Fake>, outcome: Written| {
                stream.stream.written = outcome;
                if vectored {
                    is_pending(stream.write_vectored(&[io::IoSlice::new(b"x")])).await
                } else {
                    is_pending(stream.write(b"x")).await
                }
            };
            let bench = Bench::new();
            let is_waiting = write(&mut bench.stream(0), outcome).await;
            assert_eq!((bench.blocked(), is_waiting), (free, outcome().is_pending()));
            let bench = Bench::new();
            let mut stream = bench.stream(0);
            write(&mut stream, waits).await;
            bench.clock.advance(Duration::from_secs(5));
            write(&mut stream, outcome).await;
            assert_eq!(bench.blocked(), blocked);
        }
    }
}

#[tokio::test]
async fn an_answer_is_out_when_its_end_is_flushed() {
    for (flushed, is_out) in [((|| Poll::Pending) as fn() -> _, false), (|| Poll::Ready(Ok(())), true)] {
        for (enter, ended) in [((|_| {}) as fn(&Watch), false), (Watch::has_ended, true)] {
            let bench = Bench::new();
            bench.watch.has_answer(false);
            enter(&bench.watch);
            let before = bench.phase();
            let mut stream = bench.stream(0);
            stream.stream.flushed = flushed;
            assert_eq!(is_pending(stream.flush()).await, !is_out);
            assert_eq!(bench.phase(), if is_out && ended { Phase::Idle } else { before });
        }
    }
    // A stream is otherwise what it was.
    let bench = Bench::new();
    assert!(bench.stream(0).is_write_vectored() && !bench.stream(1).is_write_vectored());
    assert_eq!(bench.stream(0).shutdown().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_body_that_is_taken_or_given_up_ends_its_answer() {
    let bench = Bench::new();
    bench.watch.has_answer(false);
    let body = |text: &'static str| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    let tracked = |text| Tracked::new(body(text), Arc::clone(&bench.watch));
    let whole = tracked("four");
    assert_eq!((whole.size_hint().exact(), whole.is_end_stream()), (Some(4), false));
    assert_eq!(bench.phase(), Phase::Answer { endless: false });
    assert_eq!(whole.collect().await.unwrap().to_bytes(), "four");
    assert_eq!(bench.phase(), Phase::Flush);
    let bench = Bench::new();
    let empty = Tracked::new(body(""), Arc::clone(&bench.watch));
    assert!(empty.is_end_stream());
    drop(empty);
    assert_eq!(bench.phase(), Phase::Flush);
}
