//! Asks the daemon: one request, one connection, limits on time and size.

use std::borrow::Cow;
use std::future::pending;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::failure::{Failure, Kind};
use base::text::{escaped, shown};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use infer::edgetpu::name_of;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

use super::endpoint::{At, Endpoint};
use crate::telemetry::state::{History, State};

/// Time for one question, all in all.
const TIME: Duration = Duration::from_secs(5);

/// The most that an answer may be: ten minutes of 256 classes are about a megabyte.
const SIZE: usize = 8 << 20;

pub(super) struct Client {
    endpoint: Endpoint,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Kind::Software, format!("no event loop: {error}")))?;
        Ok(Self { endpoint, runtime: Some(runtime) })
    }

    /// Where the daemon is, for people.
    pub(super) fn place(&self) -> String {
        shown(&self.endpoint.at.to_string()).into_owned()
    }

    /// The present.
    pub(super) fn state(&self) -> Result<State, Failure> {
        self.get("/api/v1/state")
    }

    /// The last minutes.
    pub(super) fn history(&self) -> Result<History, Failure> {
        self.get("/api/v1/history")
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let Some(runtime) = &self.runtime else { return Err(Failure::new(Kind::Software, "no event loop")) };
        let late = || self.failure(format_args!("no answer within {} s", TIME.as_secs()));
        let answer = runtime.block_on(async { tokio::time::timeout(TIME, self.exchange(path)).await });
        let (status, body) = answer.map_err(|_| late())??;
        if status != StatusCode::OK {
            return Err(self.refusal(status, &body));
        }
        parse(&body).map_err(|error| {
            let versions =
                format!("its version may be another one than this program's ({})", env!("CARGO_PKG_VERSION"));
            self.failure(format_args!("the answer to {path} is not what it should be ({error}); {versions}"))
        })
    }

    async fn exchange(&self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        match &self.endpoint.at {
            At::Sockets(paths) => self.ask(connect(paths).await?, path).await,
            At::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(|error| {
                    self.failure(format_args!(
                        "{error}; is pspnetd running there, and is http.listen set in its configuration?"
                    ))
                })?;
                self.ask(stream, path).await
            }
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let foreign = |error: hyper::Error| self.failure(format_args!("no HTTP comes from there ({error})"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(foreign)?;
        let mut request = Request::get(path)
            .header(HOST, self.endpoint.at.authority())
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close");
        if let Some(token) = &self.endpoint.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| self.failure(error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(foreign)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), SIZE).collect().await;
            let body =
                body.map_err(|error| self.failure(format_args!("the answer broke off, or is too long ({error})")))?;
            Ok((status, body.to_bytes()))
        };
        // What the connection's end means, the exchange says better.
        let drive = async {
            let _ = connection.await;
            pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            never = drive => never,
        }
    }

    /// Why there is no answer from the daemon.
    fn failure(&self, reason: impl std::fmt::Display) -> Failure {
        Failure::new(Kind::Unavailable, format!("{}: {reason}", self.place()))
    }

    /// What an answer other than 200 means.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let detail = parse::<Value>(body).ok().and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
        let reason = match status {
            StatusCode::UNAUTHORIZED if self.endpoint.token.is_none() => {
                "it wants a token: name the file of its http.token_file with --token-file".to_owned()
            }
            StatusCode::UNAUTHORIZED => "the token is not the one that it wants (its http.token_file)".to_owned(),
            StatusCode::NOT_FOUND => "something else than pspnetd answers there, or another version of it".to_owned(),
            _ => format!("it answers {status}{}", detail.map(|words| format!(": {words}")).unwrap_or_default()),
        };
        let kind = if status == StatusCode::UNAUTHORIZED { Kind::Config } else { Kind::Unavailable };
        Failure::new(kind, format!("{}: {reason}", self.place()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A host name that is still being looked up must not hold the end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Connects to the first of `paths` where somebody listens.
async fn connect(paths: &[PathBuf]) -> Result<UnixStream, Failure> {
    let mut missing = Vec::new();
    for path in paths {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(denied(path)),
            Err(error) => missing.push(format!("{} ({error})", path.display())),
        }
    }
    let reason = format!(
        "no daemon answers at {}. Is it running (`systemctl status pspnetd`)? Where its configuration is another one or has \
         another http.socket, name it with --config or --socket",
        missing.join(", or at ")
    );
    Err(Failure::new(Kind::Unavailable, reason))
}

/// Somebody's socket that this user may not open, or that lies in such a folder.
fn denied(path: &Path) -> Failure {
    let group = std::fs::metadata(path).map(|about| name_of(Path::new("/"), "group", about.gid()));
    let advice = match group {
        Ok(group) => format!(
            "it is open to root and to group {group}: use sudo, or add yourself to the group (`sudo usermod -aG {group} \
             $USER`) and log in again"
        ),
        Err(_) => "its folder is closed to this user: use sudo".to_owned(),
    };
    Failure::new(Kind::Unavailable, format!("{}: permission denied; {advice}", path.display()))
}

/// JSON without anything in its text that a terminal would obey.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    clean(&mut value);
    serde_json::from_value(value)
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(escaped) = escaped(text) {
                *text = escaped;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(values) => values.values_mut().for_each(clean),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use base::text::is_harmful;

    use super::*;
    use crate::telemetry::example;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_in_any_text() {
        let mut state = example::state();
        state.camera.text = "a\u{1b}[2Jb\u{9b}c\u{7}\u{202e}d\r\n\u{200b}Ω".to_owned();
        state.model.classes[0].name = "\u{1b}]0;x\u{7}".to_owned();
        state.events[0].text = "\u{7f}".to_owned();
        let bytes = serde_json::to_vec(&state).unwrap();
        let clean: State = parse(&bytes).unwrap();
        assert_eq!(clean.camera.text, "a\\u{1b}[2Jb\\u{9b}c\\u{7}\\u{202e}d\\r\\n\\u{200b}Ω");
        assert!(!serde_json::to_string(&clean).unwrap().chars().any(is_harmful));
        // And what is harmless stays as it is.
        let bytes = serde_json::to_vec(&example::state()).unwrap();
        assert_eq!(parse::<State>(&bytes).unwrap(), example::state());
    }
}
