//! Active probes: a task an endpoint, which asks it again and again how it does.
//!
//! A probe makes a connection of its own, as a new client would, and closes it: an endpoint that serves the
//! connections it has but accepts no more is not well, and probes neither wait in the pool's line nor take a
//! request's place. There is one probe at a time an endpoint, however slow it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::uri::{Authority, Uri};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{self, Instant};
use crate::error::UpstreamErrorKind as Kind;
use crate::http::RequestBody;

use super::connect::open;
use super::connection::{Exclusive, Shared};
use super::endpoint::Endpoint;
use super::failure::{classify_http1, classify_http2};
use super::fleet::Fleet;
use super::grant::{Need, Slot};
use super::health::Health;
use super::meters::ProbeMeters;
use super::plan::HealthPlan;
use super::upload::Outgoing;

/// The first probe comes within this time, so that little is sent to an endpoint that is not there.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// How much of a probe's answer is read, so that its connection ends in order.
const DRAIN_MAX: usize = 64 * 1024;

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As expected.
    Good,
    /// With a status that is not expected.
    Status,
    /// The time was over.
    Timeout,
    /// Without an answer.
    Failed(Kind),
}

impl Outcome {
    /// What a probe can end with, for the `result` label.
    pub(super) const ALL: [Self; 9] = [
        Self::Good,
        Self::Status,
        Self::Timeout,
        Self::Failed(Kind::Dns),
        Self::Failed(Kind::ConnectFailed),
        Self::Failed(Kind::Tls),
        Self::Failed(Kind::Reset),
        Self::Failed(Kind::BadResponse),
        Self::Failed(Kind::HeadTooLarge),
    ];

    /// The word for log and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Status => "status",
            Self::Timeout => "timeout",
            Self::Failed(kind) => kind.as_str(),
        }
    }
}

/// Begins to probe all endpoints; the tasks end with what is returned. Needs a tokio runtime.
pub(super) fn start(
    fleet: &Arc<Fleet>,
    plan: &HealthPlan,
    meters: &Arc<ProbeMeters>,
) -> Vec<AbortOnDropHandle<()>> {
    let plan = Arc::new(plan.clone());
    let task = |index| keep_probing(Arc::clone(fleet), index, Arc::clone(&plan), Arc::clone(meters));
    (0..fleet.endpoints.len()).map(|index| AbortOnDropHandle::new(tokio::spawn(task(index)))).collect()
}

async fn keep_probing(fleet: Arc<Fleet>, index: usize, plan: Arc<HealthPlan>, meters: Arc<ProbeMeters>) {
    let Some(endpoint) = fleet.endpoints.get(index) else { return };
    // Another task may have probed it, when it was of another fleet.
    let mut health = match (endpoint.probed.load(Ordering::Relaxed), endpoint.is_unhealthy()) {
        (false, _) => Health::Unknown,
        (true, false) => Health::Healthy { bad: 0 },
        (true, true) => Health::Unhealthy { good: 0 },
    };
    // Spread, so that endpoints, and gateways that started together, are not probed in step.
    sleep(plan.interval.min(FIRST_WITHIN).mul_f64(fastrand::f64())).await;
    loop {
        let outcome = probe(endpoint, &plan).await;
        meters.probed(outcome);
        endpoint.probed.store(true, Ordering::Relaxed);
        let next = health.after(outcome == Outcome::Good, plan.thresholds);
        if next.is_healthy() != health.is_healthy() {
            fleet.probed(index, next.is_healthy(), outcome);
        }
        health = next;
        sleep(plan.interval.mul_f64(fastrand::f64().mul_add(0.2, 0.9))).await;
    }
}

/// Asks once.
async fn probe(endpoint: &Endpoint, plan: &HealthPlan) -> Outcome {
    let deadline = clock::instant() + plan.timeout;
    match timeout_at(deadline, ask(endpoint, plan, deadline)).await {
        Err(_) | Ok(Err(Kind::ConnectTimeout)) => Outcome::Timeout,
        Ok(Err(kind)) => Outcome::Failed(kind),
        Ok(Ok((status, ending))) => {
            // Neither its rest nor its end is judged.
            let _ = timeout_at(deadline, ending.drain()).await;
            let good = plan.expect.iter().any(|range| range.contains(&status.as_u16()));
            if good { Outcome::Good } else { Outcome::Status }
        }
    }
}

/// What is left of a probe after its response head.
struct Ending {
    line: Line,
    body: Incoming,
}

enum Line {
    Exclusive(Exclusive),
    /// Its drop ends the connection.
    Shared(#[expect(dead_code, reason = "it is held to its drop")] Shared),
}

async fn ask(
    endpoint: &Endpoint,
    plan: &HealthPlan,
    deadline: Instant,
) -> Result<(StatusCode, Ending), Kind> {
    let (socket, http2) = open(endpoint, Need::Any, deadline).await?;
    let request = request(endpoint, plan, http2).ok_or(Kind::BadResponse)?;
    let (response, line) = if http2 {
        let mut shared = Shared::over(socket, Slot::apart(), 1).await.map_err(|_| Kind::ConnectFailed)?;
        let sent = shared.send(request).await;
        let flood = shared.flood();
        (sent.map_err(|error| classify_http2(error.error(), flood).kind)?, Line::Shared(shared))
    } else {
        let mut exclusive = Exclusive::over(socket, Slot::apart()).await.map_err(|_| Kind::ConnectFailed)?;
        let sent = exclusive.send(request).await;
        let flood = exclusive.wire().flood();
        (sent.map_err(|error| classify_http1(error.error(), flood))?, Line::Exclusive(exclusive))
    };
    if let Line::Exclusive(exclusive) = &line {
        exclusive.wire().head_arrived();
    }
    let (parts, body) = Response::into_parts(response);
    Ok((parts.status, Ending { line, body }))
}

impl Ending {
    /// Reads the body, if it is small, so that the endpoint does not see its connection reset.
    async fn drain(mut self) {
        let mut read = 0;
        while let Some(Ok(frame)) = self.body.frame().await {
            read += frame.data_ref().map_or(0, bytes::Bytes::len);
            if read > DRAIN_MAX {
                return;
            }
        }
        if let Line::Exclusive(exclusive) = &mut self.line {
            exclusive.finished();
        }
    }
}

/// The request of a probe; none for a host that cannot be asked for, which a plan does not have.
fn request(endpoint: &Endpoint, plan: &HealthPlan, http2: bool) -> Option<Request<Outgoing>> {
    let host = plan.host.as_ref().unwrap_or(&endpoint.authority);
    let (body, _) = Outgoing::new(RequestBody::Empty, clock::instant());
    let mut request = Request::new(body);
    let agent = HeaderValue::from_static(concat!("forebay/", env!("CARGO_PKG_VERSION"), " (health check)"));
    request.headers_mut().insert(header::USER_AGENT, agent);
    if http2 {
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::builder()
            .scheme(endpoint.scheme.as_str())
            .authority(Authority::try_from(host.as_bytes()).ok()?)
            .path_and_query(plan.path.clone())
            .build()
            .ok()?;
    } else {
        *request.uri_mut() = Uri::from(plan.path.clone());
        request.headers_mut().insert(header::HOST, host.clone());
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Some(request)
}
