//! How each error looks on the wire.

use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::error::{ClientError, Denial, Error, InternalError, PartFailure, Refusal, UpstreamErrorKind};
use crate::http::{Body, RequestId, Response, fields};

/// What is said about an error.
pub(super) struct Problem {
    status: StatusCode,
    /// The error type of RFC 9209 §2.3.
    kind: &'static str,
    /// One sentence for a person.
    pub(super) detail: &'static str,
    retry_after: Option<Duration>,
}

impl Problem {
    const fn new(status: StatusCode, kind: &'static str, detail: &'static str) -> Self {
        Self { status, kind, detail, retry_after: None }
    }

    const fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }
}

/// The response for an error; the id is told to the client so that it can be found in the log.
pub fn response(error: &Error, id: &RequestId) -> Response {
    let problem = problem(error);
    let mut body = serde_json::json!({
        "type": "about:blank",
        "title": problem.status.canonical_reason().unwrap_or("Error"),
        "status": problem.status.as_u16(),
        "detail": problem.detail,
        "reason": error.as_str(),
        "request_id": id.to_string(),
    });
    if let (Error::Part(error), Some(members)) = (error, body.as_object_mut()) {
        members.insert("part".to_owned(), (&*error.part).into());
        if let PartFailure::Status(status) = error.failure {
            members.insert("part_status".to_owned(), status.as_u16().into());
        }
    }
    let mut response = Response::new(problem.status, Body::full(body.to_string()));
    let headers = &mut response.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = format!("forebay; error={}; details=\"{}\"", problem.kind, error.as_str());
    if let Ok(value) = HeaderValue::try_from(status) {
        headers.insert(fields::PROXY_STATUS.clone(), value);
    }
    if let Some(wait) = problem.retry_after {
        headers.insert(RETRY_AFTER, whole_seconds(wait));
    }
    for (name, value) in own_fields(error) {
        headers.append(name, value);
    }
    response
}

/// Rounded up, at least one: a client that comes back at that time must not come too early.
fn whole_seconds(wait: Duration) -> HeaderValue {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(secs.max(1))
}

/// Fields that an error brings with it.
fn own_fields(error: &Error) -> Vec<(HeaderName, HeaderValue)> {
    match error {
        Error::Refused(Refusal::MethodNotAllowed(allowed)) => vec![(ALLOW, allowed.clone())],
        Error::Client(ClientError::MethodRefused) => {
            vec![(ALLOW, HeaderValue::from_static(fields::ALL_METHODS))]
        }
        Error::Refused(Refusal::Denied { why, challenges })
            if denied(*why).status == StatusCode::UNAUTHORIZED =>
        {
            challenges.iter().map(|challenge| (WWW_AUTHENTICATE, challenge.clone())).collect()
        }
        Error::Refused(Refusal::RateLimited { fields, .. }) => fields.to_vec(),
        Error::Part(error) => match &error.failure {
            PartFailure::Error(error) => own_fields(error),
            _ => Vec::new(),
        },
        Error::Client(_) | Error::Refused(_) | Error::Upstream(_) | Error::Internal(_) => Vec::new(),
    }
}

/// What is to be said about an error.
pub(super) fn problem(error: &Error) -> Problem {
    match error {
        Error::Client(error) => client(*error),
        Error::Refused(refusal) => refused(refusal),
        Error::Upstream(error) => upstream(error.kind),
        Error::Part(error) => part(&error.failure),
        Error::Internal(InternalError::Panicked | InternalError::Bug(_)) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "proxy_internal_error",
            "The gateway failed to handle this request.",
        ),
    }
}

/// What fails a part fails the whole for the same reason.
fn part(failure: &PartFailure) -> Problem {
    const KIND: &str = "http_response_incomplete";
    let bad = StatusCode::BAD_GATEWAY;
    match failure {
        PartFailure::Error(error) => problem(error),
        PartFailure::Status(_) => Problem::new(bad, KIND, "A part of the answer has a status of failure."),
        PartFailure::NotJson => Problem::new(bad, KIND, "A part of the answer is not JSON."),
        PartFailure::Encoded => Problem::new(bad, KIND, "A part of the answer has a content coding."),
        PartFailure::TooLarge => Problem::new(bad, KIND, "A part of the answer is too large."),
        PartFailure::NoMemory => {
            let detail = "There is no memory left for a part of the answer.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response", detail)
                .after(Duration::from_secs(1))
        }
    }
}

const fn client(error: ClientError) -> Problem {
    const KIND: &str = "http_request_error";
    match error {
        ClientError::BadRequest(_) => Problem::new(
            StatusCode::BAD_REQUEST,
            KIND,
            "The request breaks a rule of HTTP; the reason names it.",
        ),
        ClientError::TargetTooLong => Problem::new(StatusCode::URI_TOO_LONG, KIND, "The target is too long."),
        ClientError::HeadTooLarge => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            KIND,
            "The header fields are too many or too large.",
        ),
        ClientError::HeadTimeout => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, KIND, "The request head did not arrive in time.")
        }
        ClientError::MethodNotImplemented => {
            Problem::new(StatusCode::NOT_IMPLEMENTED, KIND, "The gateway does not implement this method.")
        }
        ClientError::MethodRefused => Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "http_request_denied",
            "The gateway refuses this method.",
        ),
        ClientError::BadBody => {
            Problem::new(StatusCode::BAD_REQUEST, KIND, "The request body breaks its framing.")
        }
        ClientError::BodyAborted => {
            Problem::new(StatusCode::BAD_REQUEST, KIND, "The request body ended before it was complete.")
        }
        ClientError::BodyTimeout | ClientError::BodyMadeWay => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, KIND, "The request body did not arrive in time.")
        }
        ClientError::BodyTooLarge => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            KIND,
            "The request body is larger than accepted here.",
        ),
        ClientError::Loop => Problem::new(
            StatusCode::LOOP_DETECTED,
            "proxy_loop_detected",
            "This request has passed the gateway too often.",
        ),
        ClientError::Misdirected => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            KIND,
            "This connection is not for what is asked for; open another one.",
        ),
        ClientError::NoIdempotencyKey => {
            Problem::new(StatusCode::BAD_REQUEST, KIND, "This operation needs an idempotency key.")
        }
        ClientError::BadIdempotencyKey => {
            Problem::new(StatusCode::BAD_REQUEST, KIND, "An idempotency key is a string of up to 255 bytes.")
        }
        ClientError::IdempotencyKeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            KIND,
            "This idempotency key was used for another request.",
        ),
        ClientError::IdempotencyAnswerLost => Problem::new(
            StatusCode::CONFLICT,
            KIND,
            "The request with this idempotency key was carried out; its answer is not kept.",
        ),
        ClientError::UnknownExpectation => {
            Problem::new(StatusCode::EXPECTATION_FAILED, KIND, "Only `100-continue` can be expected.")
        }
    }
}

fn refused(refusal: &Refusal) -> Problem {
    const LIMITED: &str = "http_request_denied";
    const FULL: &str = "connection_limit_reached";
    match refusal {
        Refusal::NoRoute => {
            Problem::new(StatusCode::NOT_FOUND, "destination_not_found", "No route matches this request.")
        }
        Refusal::MethodNotAllowed(_) => {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, LIMITED, "This route does not take this method.")
        }
        Refusal::Denied { why, .. } => denied(*why),
        Refusal::RateLimited { retry_after, .. } => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, LIMITED, "A rate limit is exceeded.")
                .after(*retry_after)
        }
        Refusal::RateQueueFull { retry_after } => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, LIMITED, "Too many requests wait for a rate limit.")
                .after(*retry_after)
        }
        Refusal::QueueFull { retry_after } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, FULL, "The upstream is busy and its queue is full.")
                .after(*retry_after)
        }
        Refusal::QueueTimeout { retry_after } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, FULL, "The upstream was busy for too long.")
                .after(*retry_after)
        }
        Refusal::DeadlineTooNear { retry_after } => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            FULL,
            "The upstream is too busy to serve this request before its deadline.",
        )
        .after(*retry_after),
        Refusal::QuotaSpent { retry_after } => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            FULL,
            "What the upstream lets us ask is used up for now.",
        )
        .after(*retry_after),
        Refusal::PurgeDenied => {
            Problem::new(StatusCode::FORBIDDEN, LIMITED, "This client may not purge here.")
        }
        Refusal::OnlyIfCached => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            LIMITED,
            "Only a stored response was wanted; there is none.",
        ),
    }
}

const fn denied(why: Denial) -> Problem {
    const DENIED: &str = "http_request_denied";
    match why {
        Denial::Address => Problem::new(StatusCode::FORBIDDEN, DENIED, "This route is not for your address."),
        Denial::NoCredentials => {
            Problem::new(StatusCode::UNAUTHORIZED, DENIED, "This route wants to know who you are.")
        }
        Denial::BadCredentials => {
            Problem::new(StatusCode::UNAUTHORIZED, DENIED, "These credentials are not good here.")
        }
        Denial::NotAllowed => Problem::new(StatusCode::FORBIDDEN, DENIED, "This route is not for you."),
        Denial::BadToken => Problem::new(StatusCode::UNAUTHORIZED, DENIED, "This token is not good here."),
        Denial::ExpiredToken => Problem::new(StatusCode::UNAUTHORIZED, DENIED, "This token has expired."),
        Denial::KeysUnavailable | Denial::Busy | Denial::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "destination_unavailable",
            "It cannot be found out at the moment who you are.",
        )
        .after(Duration::from_secs(1)),
    }
}

const fn upstream(kind: UpstreamErrorKind) -> Problem {
    use UpstreamErrorKind as Kind;
    let bad = StatusCode::BAD_GATEWAY;
    let late = StatusCode::GATEWAY_TIMEOUT;
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match kind {
        Kind::NoEndpoint => {
            Problem::new(unavailable, "destination_unavailable", "No endpoint of the upstream is available.")
                .after(Duration::from_secs(1))
        }
        Kind::Dns => Problem::new(bad, "dns_error", "The upstream's name does not resolve."),
        Kind::ConnectFailed => {
            Problem::new(bad, "connection_refused", "The upstream refused the connection.")
        }
        Kind::ConnectTimeout => {
            Problem::new(late, "connection_timeout", "The upstream did not accept in time.")
        }
        Kind::Tls => Problem::new(bad, "tls_protocol_error", "The TLS handshake with the upstream failed."),
        Kind::ConnectionLimit => {
            Problem::new(unavailable, "connection_limit_reached", "All connections to the upstream are busy.")
                .after(Duration::from_secs(1))
        }
        Kind::Reset => Problem::new(bad, "connection_terminated", "The upstream closed before it answered."),
        Kind::BadResponse => {
            Problem::new(bad, "http_protocol_error", "The upstream's answer is not valid HTTP.")
        }
        Kind::HeadTooLarge => Problem::new(
            bad,
            "http_response_header_section_size",
            "The upstream's header section is too large.",
        ),
        Kind::BadUpgrade => {
            Problem::new(bad, "http_upgrade_failed", "The upstream did not upgrade as asked.")
        }
        Kind::HeadTimeout => {
            Problem::new(late, "connection_read_timeout", "The upstream did not answer in time.")
        }
        Kind::BodyTimeout => {
            Problem::new(late, "connection_read_timeout", "The upstream stalled in its answer.")
        }
        Kind::BodyIncomplete => {
            Problem::new(bad, "http_response_incomplete", "The upstream's answer was cut short.")
        }
        Kind::Deadline => Problem::new(late, "http_response_timeout", "The request's deadline passed."),
        Kind::Trouble => {
            Problem::new(unavailable, "http_request_error", "The upstream answered others with an error.")
                .after(Duration::from_secs(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::UpstreamError;

    fn made(error: impl Into<Error>) -> Response {
        response(&error.into(), &RequestId::Random(0xabc))
    }

    #[test]
    fn each_error_has_its_status() {
        let second = Duration::from_secs(1);
        let cases: Vec<(Error, u16)> = vec![
            (ClientError::BadRequest("no_host").into(), 400),
            (ClientError::TargetTooLong.into(), 414),
            (ClientError::HeadTooLarge.into(), 431),
            (ClientError::HeadTimeout.into(), 408),
            (ClientError::MethodNotImplemented.into(), 501),
            (ClientError::MethodRefused.into(), 405),
            (ClientError::BodyTimeout.into(), 408),
            (ClientError::BodyMadeWay.into(), 408),
            (ClientError::BodyTooLarge.into(), 413),
            (ClientError::UnknownExpectation.into(), 417),
            (ClientError::Misdirected.into(), 421),
            (ClientError::Loop.into(), 508),
            (ClientError::NoIdempotencyKey.into(), 400),
            (ClientError::BadIdempotencyKey.into(), 400),
            (ClientError::IdempotencyKeyReused.into(), 422),
            (ClientError::IdempotencyAnswerLost.into(), 409),
            (Refusal::NoRoute.into(), 404),
            (Refusal::QueueFull { retry_after: second }.into(), 503),
            (Refusal::DeadlineTooNear { retry_after: second }.into(), 503),
            (Refusal::QuotaSpent { retry_after: second }.into(), 503),
            (Refusal::PurgeDenied.into(), 403),
            (Refusal::OnlyIfCached.into(), 504),
            (UpstreamError::unsent(UpstreamErrorKind::ConnectFailed).into(), 502),
            (UpstreamError::unsent(UpstreamErrorKind::ConnectTimeout).into(), 504),
            (UpstreamError::unsent(UpstreamErrorKind::NoEndpoint).into(), 503),
            (UpstreamError::sent(UpstreamErrorKind::Deadline).into(), 504),
            (UpstreamError::sent(UpstreamErrorKind::Trouble).into(), 503),
            (InternalError::Panicked.into(), 500),
        ];
        for (error, status) in cases {
            let response = made(error.clone());
            assert_eq!(response.status.as_u16(), status, "{error}");
            assert_eq!(response.headers[CACHE_CONTROL], "no-store");
            let body: serde_json::Value = serde_json::from_slice(response.body.as_full().unwrap()).unwrap();
            assert_eq!(body["status"], status);
            assert_eq!(body["reason"], error.as_str());
            assert_eq!(body["request_id"], format!("{:032x}", 0xabc));
        }
    }

    #[test]
    fn retry_after_is_rounded_up_and_at_least_one() {
        for (millis, secs) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_500, "60")] {
            let response = made(Refusal::QueueTimeout { retry_after: Duration::from_millis(millis) });
            assert_eq!(response.headers[RETRY_AFTER], secs);
        }
    }

    #[test]
    fn a_rate_limit_brings_its_fields() {
        let fields = vec![(fields::RATELIMIT.clone(), HeaderValue::from_static("\"a\";r=0;t=1"))].into();
        let response = made(Refusal::RateLimited { retry_after: Duration::from_secs(1), fields });
        assert_eq!(response.status, 429);
        assert_eq!(response.headers["ratelimit"], "\"a\";r=0;t=1");
        assert_eq!(made(Refusal::MethodNotAllowed(HeaderValue::from_static("GET"))).headers[ALLOW], "GET");
    }
}
