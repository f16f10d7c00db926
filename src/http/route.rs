//! Which path is answered by what.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, ACCEPT, ALLOW};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::{api, metrics, page, pictures, predict, stream, Body, Problem, Services};

/// The longest target of a request, path and query.
const LONGEST_TARGET: usize = 2048;

/// What every handler gets, but for those with limits of their own.
const HANDLER_LIMIT: Duration = Duration::from_secs(10);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Live,
    Ready,
    Metrics,
    State,
    History,
    OpenApi,
    Frame,
    Mask,
    Overlay,
    Stream,
    Predict,
}

/// Paths are compared as they are written: nothing is decoded, joined or looked up.
const ROUTES: [(&str, Route); 12] = [
    ("/", Route::Page),
    ("/livez", Route::Live),
    ("/readyz", Route::Ready),
    ("/metrics", Route::Metrics),
    ("/api/v1/state", Route::State),
    ("/api/v1/history", Route::History),
    ("/api/v1/openapi.json", Route::OpenApi),
    ("/api/v1/frame.jpg", Route::Frame),
    ("/api/v1/mask.png", Route::Mask),
    ("/api/v1/overlay.jpg", Route::Overlay),
    ("/stream.mjpg", Route::Stream),
    ("/api/v1/predict", Route::Predict),
];

impl Route {
    /// What `path` stands for.
    pub(super) fn find(path: &str) -> Option<Self> {
        ROUTES.iter().find(|(known, _)| *known == path).map(|(_, route)| *route)
    }

    /// Whoever asks whether the program lives needs no token.
    pub(super) const fn needs_token(self) -> bool {
        !matches!(self, Self::Live)
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Predict => method == Method::POST,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }

    const fn allow(self) -> &'static str {
        match self {
            Self::Predict => "POST",
            _ => "GET, HEAD",
        }
    }

    /// How long the handler may take to give an answer; None where it sees to that itself.
    const fn limit(self) -> Option<Duration> {
        match self {
            Self::Predict => None,
            _ => Some(HANDLER_LIMIT),
        }
    }
}

/// The answer to a request that may be made.
pub(super) async fn answer(route: Option<Route>, request: Request<Incoming>, services: &Services) -> Response<Body> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > LONGEST_TARGET {
        let reason = format!("the request's target has {target} bytes; at most {LONGEST_TARGET} are read");
        return Problem::new(StatusCode::URI_TOO_LONG, reason).response();
    }
    let Some(route) = route else {
        let reason = "there is nothing at this path; /api/v1/openapi.json lists what there is";
        return Problem::new(StatusCode::NOT_FOUND, reason).response();
    };
    if !route.takes(request.method()) {
        let reason = format!("{} is not for this path; expected {}", request.method(), route.allow());
        let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, reason).response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(route.allow()));
        return response;
    }
    let handler = handle(route, request, services);
    match route.limit() {
        None => handler.await,
        Some(limit) => timeout(limit, handler).await.unwrap_or_else(|_| {
            let reason = format!("no answer was there within {} s; try again", limit.as_secs());
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason).response()
        }),
    }
}

async fn handle(route: Route, request: Request<Incoming>, services: &Services) -> Response<Body> {
    let observed = services.observed.as_ref();
    match route {
        Route::Page => page::reply(),
        Route::Live => api::live(observed),
        Route::Ready => api::ready(observed),
        Route::Metrics => {
            metrics::reply(observed, request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()))
        }
        Route::State => api::state(observed),
        Route::History => api::history(observed),
        Route::OpenApi => api::openapi(),
        Route::Frame | Route::Mask | Route::Overlay | Route::Stream => {
            let (Some(gallery), query) = (&services.gallery, request.uri().query().unwrap_or_default()) else {
                return off("http.pictures");
            };
            match route {
                Route::Mask => pictures::mask(gallery, query).await,
                Route::Overlay => pictures::overlay(gallery, query).await,
                Route::Stream => stream::stream(gallery, &services.observed, query),
                _ => pictures::frame(gallery, query).await,
            }
        }
        // The only one that reads a body, with limits of its own; those of the others are dropped unread.
        Route::Predict => match &services.predictor {
            Some(predictor) => predict::predict(predictor, request).await,
            None => off("http.predict"),
        },
    }
}

/// What the configuration has switched off.
fn off(key: &str) -> Response<Body> {
    Problem::new(StatusCode::NOT_FOUND, format!("this is switched off: {key} = false")).response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_paths_are_found() {
        for (path, route) in ROUTES {
            assert_eq!(Route::find(path), Some(route));
        }
        let tricks =
            ["", "*", "/livez/", "//livez", "/./livez", "/x/../livez", "/%6civez", "/LIVEZ", "/livez\0", "livez"];
        for trick in tricks {
            assert_eq!(Route::find(trick), None, "{trick}");
        }
    }

    #[test]
    fn only_predict_is_posted_to_and_has_limits_of_its_own() {
        for (path, route) in ROUTES {
            let taken: Vec<Method> =
                [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]
                    .into_iter()
                    .filter(|method| route.takes(method))
                    .collect();
            let names: Vec<&str> = taken.iter().map(Method::as_str).collect();
            assert_eq!(names.join(", "), route.allow(), "{path}");
            let expected = match path {
                "/api/v1/predict" => ("POST", None),
                _ => ("GET, HEAD", Some(Duration::from_secs(10))),
            };
            assert_eq!((route.allow(), route.limit()), expected, "{path}");
        }
    }

    #[test]
    fn only_liveness_is_free() {
        let free: Vec<_> = ROUTES.iter().filter(|(_, route)| !route.needs_token()).map(|(path, _)| *path).collect();
        assert_eq!(free, ["/livez"]);
    }
}
