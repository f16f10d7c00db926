//! What is told in words and figures: health, state, history, and the description of the interface.

use hyper::{Response, StatusCode};
use serde::Serialize;

use super::{whole, Body, Problem};
use crate::telemetry::state::Observe;

/// The interface in OpenAPI 3.1, as docs/ has it.
const OPENAPI: &str = include_str!("../../../docs/openapi.json");

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
    let text: String = reasons.iter().map(|reason| format!("{}\n", one_line(reason))).collect();
    let mut response = whole(TEXT, if text.is_empty() { "not ready\n".to_owned() } else { text });
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// A reason has a line, whatever a camera calls itself.
fn one_line(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
        Ok(text) => whole(JSON, text),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no JSON: {error}")).response(),
    }
}
