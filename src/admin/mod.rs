//! What the admin listener answers: `/livez`, `/readyz`, `/metrics`, `/api/v1/status`, and in [`cache`] what
//! is stored and how to purge it.
//!
//! ```
//! use forebay::admin::{self, AdminState, Snapshot};
//! use forebay::lifecycle::Lifecycle;
//! use forebay::metrics::Metrics;
//!
//! let lifecycle = Lifecycle::default();
//! let state = AdminState::new(Metrics::default(), lifecycle.clone(), Snapshot::default);
//! let (probe, ()) = http::Request::get("/readyz").body(())?.into_parts();
//! assert_eq!(admin::handle(&state, &probe).status, 503);
//! lifecycle.ready();
//! assert_eq!(admin::handle(&state, &probe).status, 200);
//! # Ok::<(), http::Error>(())
//! ```
//!
//! No page here changes anything, and nothing of the config is shown but names and endpoints: no secret can
//! be. What changes something is in [`cache`], and wants more than a GET; [`guard`] says who may ask.
//! `/metrics` and the status take time in proportion to the routes; the rest takes none.

pub mod cache;
pub mod guard;
mod status;

#[cfg(test)]
mod tests;

use std::fmt;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use crate::clock::{self, Now};
use crate::http::{Body, Response};
use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::{self, Metrics};
use crate::units::Secret;

pub use status::{EndpointState, EndpointStatus, RouteStatus, Snapshot, UpstreamStatus};

use status::Status;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const METRICS: HeaderValue = HeaderValue::from_static(metrics::CONTENT_TYPE);

/// What the answers are made from.
pub struct AdminState {
    metrics: Metrics,
    lifecycle: Lifecycle,
    started: Now,
    snapshot: Box<dyn Fn() -> Snapshot + Send + Sync>,
    token: Secret,
    caches: Option<Box<dyn cache::Caches>>,
}

impl AdminState {
    /// A state whose uptime begins now; `snapshot` tells what is running whenever the status is asked for.
    pub fn new(
        metrics: Metrics,
        lifecycle: Lifecycle,
        snapshot: impl Fn() -> Snapshot + Send + Sync + 'static,
    ) -> Self {
        Self {
            metrics,
            lifecycle,
            started: clock::now(),
            snapshot: Box::new(snapshot),
            token: Secret::default(),
            caches: None,
        }
    }

    /// The same with caches to purge and look into, for those who know the token; for all who can connect
    /// where it is empty.
    #[must_use]
    pub fn with_caches(self, caches: impl cache::Caches + 'static, token: Secret) -> Self {
        Self { caches: Some(Box::new(caches)), token, ..self }
    }
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}

/// Something that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Live,
    Ready,
    Metrics,
    Status,
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            "/metrics" => Some(Self::Metrics),
            "/api/v1/status" => Some(Self::Status),
            _ => None,
        }
    }

    fn check(self, state: &AdminState, head: &Parts) -> guard::Allowed {
        guard::method(&head.method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
        match self {
            Self::Live | Self::Ready => Ok(()),
            Self::Metrics => guard::host(&state.token, &head.headers),
            Self::Status => {
                guard::bearer(&state.token, &head.headers)?;
                guard::host(&state.token, &head.headers)
            }
        }
    }

    fn answer(self, state: &AdminState) -> Response {
        match self {
            Self::Live => answer(StatusCode::OK, TEXT, "alive\n"),
            Self::Ready => ready(state.lifecycle.phase()),
            Self::Metrics => answer(StatusCode::OK, METRICS, state.metrics.render()),
            Self::Status => status(state, clock::now()),
        }
    }
}

/// Answers a request. `HEAD` is answered as `GET` is; the connection leaves the body out (RFC 9110 §9.3.2).
pub fn handle(state: &AdminState, head: &Parts) -> Response {
    let Some(page) = Page::at(head.uri.path()) else {
        return answer(StatusCode::NOT_FOUND, TEXT, "there is nothing here\n");
    };
    match page.check(state, head) {
        Ok(()) => page.answer(state),
        Err(refusal) => refusal,
    }
}

fn ready(phase: Phase) -> Response {
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer(status, TEXT, format!("{}\n", phase.as_str()))
}

fn status(state: &AdminState, now: Now) -> Response {
    let uptime = now.instant.saturating_duration_since(state.started.instant);
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: state.lifecycle.phase().as_str(),
        started: String::from_utf8_lossy(&state.started.wall.rfc3339()).into_owned(),
        uptime_seconds: uptime.as_secs(),
        snapshot: (state.snapshot)(),
    };
    match serde_json::to_vec_pretty(&status) {
        Ok(mut json) => {
            json.push(b'\n');
            answer(StatusCode::OK, JSON, json)
        }
        Err(error) => {
            tracing::error!(%error, "the status is no JSON");
            answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "see the diagnostics\n")
        }
    }
}

fn answer(status: StatusCode, content_type: HeaderValue, body: impl Into<bytes::Bytes>) -> Response {
    let mut response = Response::new(status, Body::full(body));
    response.headers.insert(CONTENT_TYPE, content_type);
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
