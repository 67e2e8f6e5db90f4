//! One part: the request for it, and what it brought.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde::de::IgnoredAny;
use tokio::time::timeout_at;

use crate::clock;
use crate::error::{Error, InternalError, PartError, PartFailure, UpstreamError, UpstreamErrorKind};
use crate::http::drain::drain;
use crate::http::{Body, Interim, Request, Response, Trail};
use crate::layers::Inner;
use crate::memory::{Hold, Memory, Use};
use crate::metrics::{Counter, Metrics};

use super::plan::PartPlan;

/// Fields of the client's that are about the one answer it gets, and not about the parts of it.
const OWN: [HeaderName; 9] = [
    header::ACCEPT_ENCODING,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
];

/// JSON up to this size, in bytes, is checked in place: that takes less than a millisecond.
const CHECK_HERE_MAX: usize = 256 * 1024;

/// A part, and who is asked for it.
#[derive(Debug)]
pub(super) struct Part<S> {
    pub(super) plan: PartPlan,
    inner: S,
    memory: Memory,
    came: [Counter; 3],
}

/// How a part came out.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// As it should be.
    Well,
    /// From the store, and stale.
    Stale,
    /// Not at all: its default stands in.
    Failed(PartFailure),
}

/// A part's place in the answer.
#[derive(Debug)]
pub(super) struct Piece {
    /// JSON.
    pub(super) json: Bytes,
    pub(super) came: Came,
    /// What of the memory budget it takes.
    pub(super) hold: Option<Hold>,
}

impl<S> Part<S> {
    pub(super) fn new(plan: PartPlan, inner: S, memory: Memory, metrics: &Metrics, route: &str) -> Self {
        let came = ["ok", "stale", "failed"].map(|result| {
            let labels = [("route", route), ("part", &*plan.name), ("result", result)];
            metrics.counter(
                "forebay_aggregate_parts_total",
                "Parts of aggregates, by what became of them.",
                &labels,
            )
        });
        Self { plan, inner, memory, came }
    }

    /// The request for this part, on behalf of the client's.
    pub(super) fn request(&self, whole: &Request) -> Result<Request, Error> {
        let mut request = whole.again();
        request.method = Method::GET;
        request.target.path_and_query = self.plan.target.expand(&whole.target, &whole.params)?;
        for name in &OWN {
            request.headers.remove(name);
        }
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // Hints would be about something the client does not get.
        request.interim = Interim::none();
        // Whether it is stale is told there, and several parts cannot share one.
        request.trail = Trail::kept();
        if let Some(timeout) = self.plan.timeout {
            let own = clock::now().instant + timeout;
            request.deadline = Some(request.deadline.map_or(own, |deadline| deadline.min(own)));
        }
        Ok(request)
    }
}

impl<S: Inner> Part<S> {
    /// Asks for it.
    ///
    /// # Errors
    /// [`PartError`], where it is required.
    pub(super) async fn fetch(&self, request: Request) -> Result<Piece, Error> {
        let (trail, deadline) = (request.trail.clone(), request.deadline);
        let brought = match deadline.filter(|_| self.plan.timeout.is_some()) {
            None => self.bring(request).await,
            Some(deadline) => timeout_at(deadline, self.bring(request)).await.unwrap_or_else(|_| {
                let late = UpstreamError::sent(UpstreamErrorKind::Deadline);
                Err(PartFailure::Error(Error::Upstream(late)))
            }),
        };
        let [well, stale, failed] = &self.came;
        match brought {
            Ok((json, hold)) if trail.read().cache == Some("stale") => {
                stale.increment();
                Ok(Piece { json, came: Came::Stale, hold: Some(hold) })
            }
            Ok((json, hold)) => {
                well.increment();
                Ok(Piece { json, came: Came::Well, hold: Some(hold) })
            }
            Err(failure) => {
                failed.increment();
                tracing::debug!(part = &*self.plan.name, reason = failure.as_str(), "a part failed");
                if self.plan.optional {
                    return Ok(Piece {
                        json: self.plan.default.clone(),
                        came: Came::Failed(failure),
                        hold: None,
                    });
                }
                Err(Error::Part(Box::new(PartError { part: Arc::clone(&self.plan.name), failure })))
            }
        }
    }

    async fn bring(&self, request: Request) -> Result<(Bytes, Hold), PartFailure> {
        let response = self.inner.send(request).await.map_err(PartFailure::Error)?;
        if let Err(failure) = judge(&response) {
            drain(response.into_body()).await;
            return Err(failure);
        }
        let mut hold = self.memory.hold(Use::Filling);
        let json = read(response.into_body(), self.plan.max_body, &mut hold).await?;
        if json.len() > CHECK_HERE_MAX {
            let json = json.clone();
            let checked = tokio::task::spawn_blocking(move || is_json(&json)).await;
            checked.map_err(|_| PartFailure::Error(Error::Internal(InternalError::Panicked)))?
        } else {
            is_json(&json)
        }
        .then_some((json, hold))
        .ok_or(PartFailure::NotJson)
    }
}

/// Whether an answer's head lets us expect JSON.
fn judge(response: &Response) -> Result<(), PartFailure> {
    if !response.status.is_success() {
        return Err(PartFailure::Status(response.status));
    }
    if !says_json(&response.headers) {
        return Err(PartFailure::NotJson);
    }
    let coding = response.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(PartFailure::Encoded);
    }
    Ok(())
}

/// `application/json`, or something `+json` (RFC 6839 §3.1).
fn says_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// One JSON text and nothing else (RFC 8259 §2), in UTF-8 (§8.1).
fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Reads a body of at most `max` bytes.
async fn read(mut body: Body, max: u64, hold: &mut Hold) -> Result<Bytes, PartFailure> {
    if body.size_hint().lower() > max {
        return Err(PartFailure::TooLarge);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut length = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(PartFailure::Error)?.into_data() else { continue };
        length = length.saturating_add(data.len() as u64);
        if length > max {
            return Err(PartFailure::TooLarge);
        }
        if !hold.try_grow(data.len() as u64) {
            return Err(PartFailure::NoMemory);
        }
        // Most come in one piece, which needs no copy.
        if length == data.len() as u64 {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
