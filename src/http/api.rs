//! What is told in words and figures: health, state, history, and the description of the interface.

use base::text::{escape_json, shown};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::{whole, Body, Problem};
use crate::telemetry::state::Observe;

/// The interface in OpenAPI 3.1, as docs/ has it.
const OPENAPI: &str = include_str!("../../docs/openapi.json");

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Whether every thread goes round.
pub(super) fn live(observed: &dyn Observe) -> Response<Body> {
    match observed.liveness() {
        Ok(()) => whole(TEXT, "ok\n"),
        Err(reason) => unavailable(&[reason]),
    }
}

/// Whether results come, and why not.
pub(super) fn ready(observed: &dyn Observe) -> Response<Body> {
    let state = observed.state();
    match state.ready {
        true => whole(TEXT, "ready\n"),
        false => unavailable(&state.reasons),
    }
}

fn unavailable(reasons: &[String]) -> Response<Body> {
    let text: String = reasons.iter().map(|reason| format!("{}\n", shown(reason))).collect();
    let mut response = whole(TEXT, if text.is_empty() { "not ready\n".to_owned() } else { text });
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// The present.
pub(super) fn state(observed: &dyn Observe) -> Response<Body> {
    json(&observed.state())
}

/// The last minutes.
pub(super) fn history(observed: &dyn Observe) -> Response<Body> {
    json(&observed.history())
}

/// The description of all this.
pub(super) fn openapi() -> Response<Body> {
    whole(JSON, OPENAPI)
}

fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            escape_json(&mut text, 0);
            whole(JSON, text)
        }
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no JSON: {error}")).response(),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::telemetry::example::{self, Example};
    use crate::telemetry::state::{History, StageBuckets, State};

    /// Status, type and text.
    fn told(response: Response<Body>) -> (u16, String, String) {
        let (status, kind) =
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap().to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
        (status, kind, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// A program that is not ready for these reasons, and hangs for one.
    struct Stuck(&'static [&'static str]);

    impl Observe for Stuck {
        fn state(&self) -> State {
            State {
                ready: false,
                reasons: self.0.iter().map(|&reason| reason.to_owned()).collect(),
                ..example::state()
            }
        }

        fn history(&self) -> History {
            example::history()
        }

        fn buckets(&self, _: &[f64]) -> Vec<StageBuckets> {
            Vec::new()
        }

        fn liveness(&self) -> Result<(), String> {
            Err("the capture stage\u{1b}[2J hangs".to_owned())
        }
    }

    #[test]
    fn health_is_a_word_or_a_reason_on_each_line() {
        let text = |status: u16, text: &str| (status, TEXT.to_owned(), text.to_owned());
        let good = Example(example::state());
        assert_eq!([live(&good), ready(&good)].map(told), [text(200, "ok\n"), text(200, "ready\n")]);
        let stuck = Stuck(&["the camera\nis gone", "no result yet"]);
        assert_eq!(told(live(&stuck)), text(503, "the capture stage\\u{1b}[2J hangs\n"));
        assert_eq!(told(ready(&stuck)), text(503, "the camera\\nis gone\nno result yet\n"));
        assert_eq!(told(ready(&Stuck(&[]))), text(503, "not ready\n"));
    }

    #[test]
    fn state_history_and_description_are_json() {
        let good = Example(example::state());
        let json = |response| {
            let (status, kind, text) = told(response);
            assert_eq!((status, kind.as_str()), (200, "application/json"));
            text
        };
        assert_eq!(serde_json::from_str::<State>(&json(state(&good))).unwrap(), good.0);
        assert_eq!(serde_json::from_str::<History>(&json(history(&good))).unwrap(), example::history());
        assert_eq!(json(openapi()), OPENAPI);
    }
}
