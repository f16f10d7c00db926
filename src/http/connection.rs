//! One connection, from its first byte to its close.

use std::convert::Infallible;
use std::future::{poll_fn, Future};
use std::io;
use std::net::SocketAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderValue, CONNECTION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::access::{Access, Brought, Peer};
use super::connections::{Connections, Place};
use super::headers::Framing;
use super::refusal::{self, Refusable};
use super::tls::Tls;
use super::watched::{Standing, Tracked, Verdict, Watch, Watched};
use super::{headers, route, Body, Problem, Services};

/// What of a connection is kept in memory while it is read and written, and so the largest head of a request.
const BUFFER: usize = 16 << 10;

/// After the last answer, a peer that still sends is read for so long: closed at once, it would lose the answer.
const LINGER: Duration = Duration::from_secs(2);

const BUSY: &str = "every connection is busy; try again, or raise http.max_connections";

/// The first byte of every TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Where connections come from.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Sets the options of a new connection.
    fn prepare(&self);

    /// The first byte, which stays unread; None at the end.
    fn first_byte(&self) -> impl Future<Output = io::Result<Option<u8>>> + Send;
}

/// What all connections of one address share.
pub(super) struct Host {
    pub(super) services: Services,
    pub(super) access: Access,
    pub(super) connections: Arc<Connections>,
    pub(super) tls: Option<Tls>,
    pub(super) framing: Framing,
}

/// Serves `stream` if there is a place, or says that there is none.
pub(super) fn admit<S: Stream>(stream: S, peer: Option<SocketAddr>, host: &Arc<Host>) {
    if let Some(place) = host.connections.admit() {
        tokio::spawn(attend(stream, Peer(peer), place, Arc::clone(host)));
    } else if let Some(refusal) = host.connections.refusal().filter(|_| host.tls.is_none()) {
        log::debug!("http: {}: every connection is busy", Peer(peer));
        tokio::spawn(async move {
            let mut stream = stream;
            say(&mut stream, StatusCode::SERVICE_UNAVAILABLE, BUSY).await;
            drop(refusal);
        });
    }
}

async fn attend<S: Stream>(stream: S, peer: Peer, place: Place, host: Arc<Host>) {
    let watch = Arc::clone(&place.watch);
    let stream = Watched::new(stream, Arc::clone(&watch));
    let Some(tls) = &host.tls else {
        return serve(stream, peer, &watch, &host).await;
    };
    let handshake = async {
        // Somebody wrote http:// for https://, which deserves a word.
        if stream.stream().first_byte().await?.is_some_and(|byte| byte != TLS_HANDSHAKE) {
            let mut stream = stream;
            say(&mut stream, StatusCode::BAD_REQUEST, "TLS is spoken here: https:// instead of http://").await;
            return Ok(None);
        }
        tls.acceptor().accept(stream).await.map(Some)
    };
    let agreed = tokio::select! {
        agreed = handshake => agreed,
        verdict = watch.is_cut() => return log::debug!("http: {peer}: cut: {verdict:?}"),
    };
    match agreed {
        Ok(Some(stream)) => {
            watch.is_open();
            serve(stream, peer, &watch, &host).await;
        }
        Ok(None) => {}
        Err(error) => log::debug!("http: {peer}: no TLS: {error}"),
    }
}

/// Answers requests until either side has enough.
async fn serve<I>(io: I, peer: Peer, watch: &Arc<Watch>, host: &Arc<Host>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (watch, host) = (Arc::clone(watch), Arc::clone(host));
        let answer = async move { Ok::<_, Infallible>(answer(request, peer, &watch, &host).await) };
        Box::pin(answer) as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER).max_header_size(BUFFER).header_read_timeout(None);
    let mut connection = http.serve_connection(TokioIo::new(Refusable::new(io, Arc::clone(watch))), service);
    let verdict = tokio::select! {
        outcome = &mut connection => {
            if let Err(error) = outcome {
                log::debug!("http: {peer}: {error}");
            }
            None
        }
        verdict = watch.is_cut() => Some(verdict),
    };
    if verdict == Some(Verdict::Stopping) && watch.is_answering() {
        Pin::new(&mut connection).graceful_shutdown();
        let _ = (&mut connection).await;
    }
    let Refusable { stream: mut io, refused, .. } = connection.into_parts().io.into_inner();
    let farewell = async {
        match verdict {
            None if refused.is_some() => {
                let status = refused.unwrap_or(StatusCode::BAD_REQUEST);
                say(&mut io, status, refusal::reason(status)).await;
            }
            None => linger(&mut io).await,
            Some(Verdict::HeadLate) => {
                say(&mut io, StatusCode::REQUEST_TIMEOUT, "the request did not come in time").await;
            }
            Some(verdict) => log::debug!("http: {peer}: cut: {verdict:?}"),
        }
    };
    // Its place may be somebody else's meanwhile, and then it must not go on beside that one.
    tokio::select! {
        () = farewell => {}
        () = watch.is_evicted() => {}
    }
}

/// The answer to one request, whatever happens to its handler.
async fn answer(request: Request<Incoming>, peer: Peer, watch: &Arc<Watch>, host: &Host) -> Response<Tracked> {
    watch.has_request();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = route::Route::find(&path);
    let checked = host.access.check(&request, route, peer);
    if checked == Ok(Brought::Token) {
        host.connections.has_shown_token(watch);
    }
    let is_guest = watch.standing() == Standing::Guest;
    let mut response = match checked {
        Err(problem) => problem.response(),
        Ok(_) if is_guest && route != Some(route::Route::Live) => busy().response(),
        Ok(_) => unharmed(route::answer(route, request, &host.services)).await,
    };
    if is_guest {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers::complete(&mut response, &host.framing);
    let length = response.body().size_hint().exact();
    log::debug!("http: {peer}: {method} {path:?}: {}, {length:?} bytes", response.status().as_u16());
    watch.has_answer(length.is_none());
    response.map(|body| Tracked::new(body, Arc::clone(watch)))
}

/// There is no place for whoever asks.
fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY)
}

/// What `handler` gives; where it panics, an answer that says so.
async fn unharmed(handler: impl Future<Output = Response<Body>>) -> Response<Body> {
    let mut handler = pin!(handler);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => {
            log::error!("http: a handler failed; the request is lost, the server goes on");
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a fault of the program; its log has more");
            Poll::Ready(problem.response())
        }
    })
    .await
}

/// Tells a peer that hyper doesn't speak with, and closes.
async fn say(io: &mut (impl AsyncRead + AsyncWrite + Unpin), status: StatusCode, reason: &str) {
    let body = Problem::new(status, reason).text();
    let words = status.canonical_reason().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {words}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\ncache-control: no-store\r\nconnection: close\r\n\r\n",
        status.as_u16(),
        body.len()
    );
    let _ = timeout(LINGER, io.write_all((head + &body).as_bytes())).await;
    linger(io).await;
}

/// Closes this side, and reads what the peer still sends, within limits.
async fn linger(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let _ = timeout(LINGER, async {
        let _ = io.shutdown().await;
        let mut waste = [0; 4096];
        while io.read(&mut waste).await.is_ok_and(|count| count > 0) {}
    })
    .await;
}

#[cfg(test)]
pub(super) mod tests;
