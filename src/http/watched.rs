//! What one connection is doing and since when: seen from its reads, its writes and the life of its answers.
//!
//! hyper's own time limit is for request heads only. These are for everything that a peer can hold up.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use base::clock::{Clock, Instant};
use base::sync::lock;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Body;

/// From a request's first byte to the end of its head; also for a TLS handshake.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Between two requests.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Without a byte taken by a peer that has an answer to take.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// For the whole of an answer that has an end.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// A request head or handshake that takes longer than this, or a peer that takes nothing for so long, may be given up for a
/// new connection.
const PROMPT: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing.
    Idle,
    /// A request, or a TLS handshake, has begun to arrive.
    Head,
    /// A handler works on it.
    Request,
    /// An answer is under way; it has no end if `endless`.
    Answer { endless: bool },
    /// The answer's end is on its way out.
    Flush,
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its place is needed.
    Evicted,
    /// No request came.
    Idle,
    /// A request's head, or a handshake, took too long.
    HeadLate,
    /// The peer takes nothing, or too slowly.
    Slow,
    /// The program stops.
    Stopping,
}

#[derive(Debug)]
struct Watching {
    phase: Phase,
    since: Instant,
    /// When the peer stopped taking what is there for it.
    blocked: Option<Instant>,
    verdict: Option<Verdict>,
    standing: Standing,
}

/// What is known of a peer, and so how its place is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has one of the places that are kept for those with a token, and has not shown one yet.
    Guest,
    /// It has a place, and has shown no token.
    Stranger,
    /// It has shown the token.
    Holder,
}

/// How willingly a connection is given up for a new one, the last most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Idleness {
    /// Its request doesn't come, or its peer takes nothing.
    Slow,
    /// It has no request.
    Idle,
}

/// One connection, watched.
pub(super) struct Watch {
    clock: Arc<dyn Clock>,
    state: Mutex<Watching>,
    changed: Notify,
}

impl Watch {
    pub(super) fn new(clock: Arc<dyn Clock>, standing: Standing) -> Arc<Self> {
        let state = Watching { phase: Phase::Idle, since: clock.now(), blocked: None, verdict: None, standing };
        Arc::new(Self { clock, state: Mutex::new(state), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, Watching> {
        lock(&self.state)
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = phase;
        state.since = self.clock.now();
    }

    /// A TLS handshake is done; a request may come.
    pub(super) fn is_open(&self) {
        self.enter(Phase::Idle);
    }

    /// No request has been handed over whose answer is not out yet.
    pub(super) fn awaits_request(&self) -> bool {
        matches!(self.state().phase, Phase::Idle | Phase::Head)
    }

    /// A request's head is complete.
    pub(super) fn has_request(&self) {
        self.enter(Phase::Request);
    }

    /// Its answer begins.
    pub(super) fn has_answer(&self, endless: bool) {
        self.enter(Phase::Answer { endless });
    }

    /// Bytes of a request, or of a handshake, have come.
    pub(super) fn has_read(&self) {
        if self.state().phase == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn has_written(&self, progress: bool) {
        let now = self.clock.now();
        let mut state = self.state();
        state.blocked = if progress { None } else { state.blocked.or(Some(now)) };
    }

    /// The peer takes nothing.
    #[cfg(test)]
    pub(super) fn is_blocked(&self) {
        self.has_written(false);
    }

    fn has_ended(&self) {
        // `since` stays that of the answer: its limit is for all of it.
        self.state().phase = Phase::Flush;
    }

    fn has_flushed(&self) {
        if self.state().phase == Phase::Flush {
            self.enter(Phase::Idle);
        }
    }

    /// Cuts the connection if one of its limits is past.
    pub(super) fn check(&self, now: Instant) {
        let state = self.state();
        let age = now.since(state.since);
        let is_stalled = state.blocked.is_some_and(|since| now.since(since) >= STALL_LIMIT);
        let verdict = match state.phase {
            _ if is_stalled => Verdict::Slow,
            Phase::Head if age >= HEAD_LIMIT => Verdict::HeadLate,
            Phase::Idle if age >= IDLE_LIMIT => Verdict::Idle,
            Phase::Answer { endless: false } | Phase::Flush if age >= ANSWER_LIMIT => Verdict::Slow,
            _ => return,
        };
        drop(state);
        self.cut(verdict);
    }

    /// How willingly this connection is given up for a new one, and since when; None while it has a request and takes what
    /// it gets.
    pub(super) fn idleness(&self, now: Instant) -> Option<(Idleness, Duration)> {
        let state = self.state();
        let is_holder = state.standing == Standing::Holder;
        let age = now.since(state.since);
        let blocked = state.blocked.map(|since| now.since(since)).filter(|blocked| *blocked >= PROMPT);
        match state.phase {
            Phase::Idle => Some((Idleness::Idle, age)),
            _ if is_holder => None,
            Phase::Head if age >= PROMPT => Some((Idleness::Slow, age)),
            Phase::Request => None,
            _ => blocked.map(|blocked| (Idleness::Slow, blocked)),
        }
    }

    /// How long it has been doing what it does.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.since(self.state().since)
    }

    pub(super) fn standing(&self) -> Standing {
        self.state().standing
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        self.state().standing = standing;
    }

    /// Orders the connection to end. The first reason counts, but one whose place is needed has no time for farewells.
    pub(super) fn cut(&self, verdict: Verdict) {
        let mut state = self.state();
        if state.verdict.is_none() || verdict == Verdict::Evicted {
            state.verdict = Some(verdict);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for the order to end.
    pub(super) async fn is_cut(&self) -> Verdict {
        self.is_told(|_| true).await
    }

    /// Waits until the place is needed for another connection.
    pub(super) async fn is_evicted(&self) {
        self.is_told(|verdict| verdict == Verdict::Evicted).await;
    }

    async fn is_told(&self, awaited: impl Fn(Verdict) -> bool) -> Verdict {
        loop {
            let verdict = self.state().verdict;
            match verdict.filter(|&verdict| awaited(verdict)) {
                Some(verdict) => return verdict,
                None => self.changed.notified().await,
            }
        }
    }

    /// An answer with an end is on its way: worth a moment when the program stops.
    pub(super) fn is_answering(&self) -> bool {
        matches!(self.state().phase, Phase::Request | Phase::Answer { endless: false } | Phase::Flush)
    }
}

/// A stream that tells its [`Watch`].
pub(super) struct Watched<S> {
    stream: S,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: Arc<Watch>) -> Self {
        Self { stream, watch }
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    fn written(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Pending => self.watch.has_written(false),
            Poll::Ready(Ok(count)) if *count > 0 => self.watch.has_written(true),
            Poll::Ready(_) => {}
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.has_read();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        // hyper and rustls come here when everything before is written.
        if outcome.is_ready() {
            self.watch.has_flushed();
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An answer's body that tells when hyper has taken all of it, or dropped it.
pub(super) struct Tracked {
    body: Body,
    watch: Arc<Watch>,
}

impl Tracked {
    pub(super) fn new(body: Body, watch: Arc<Watch>) -> Self {
        Self { body, watch }
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.watch.has_ended();
    }
}

#[cfg(test)]
mod tests;
