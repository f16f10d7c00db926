//! hyper answers by itself what it can't parse, with a head and no body. [`Refusable`] keeps that from the peer, and says which
//! status it was, so that the connection can end with an answer of ours.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watched::Watch;

/// A stream between hyper and the peer.
pub(super) struct Refusable<S> {
    pub(super) stream: S,
    watch: Arc<Watch>,
    /// What hyper would have said.
    pub(super) refused: Option<StatusCode>,
}

impl<S> Refusable<S> {
    pub(super) fn new(stream: S, watch: Arc<Watch>) -> Self {
        Self { stream, watch, refused: None }
    }

    /// Whether these bytes stay here. Answers of ours begin only after their request was handed over; what comes while a
    /// request is awaited comes from hyper.
    fn keeps(&mut self, bytes: &[u8]) -> bool {
        if self.refused.is_none() && self.watch.awaits_request() {
            self.refused = status(bytes).filter(StatusCode::is_client_error);
        }
        self.refused.is_some()
    }
}

/// The status of an answer that begins with `bytes`.
fn status(bytes: &[u8]) -> Option<StatusCode> {
    let (version, rest) = bytes.split_at_checked(9)?;
    [b"HTTP/1.1 ", b"HTTP/1.0 "]
        .contains(&version.try_into().ok()?)
        .then(|| StatusCode::from_bytes(rest.get(..3)?).ok())?
}

/// What is wrong with a request that hyper refuses with `status`.
pub(super) fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the request's head is too large: at most 16 KiB and 100 fields are read"
        }
        StatusCode::URI_TOO_LONG => "the request's target is too long: at most 2048 bytes are read",
        _ => "this is no request of HTTP/1.1",
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Refusable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Refusable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.keeps(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.keeps(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The answer is still to come.
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
