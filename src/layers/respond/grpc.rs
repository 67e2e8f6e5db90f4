//! How an error looks to a gRPC client: a response without content whose fields say what the trailers would
//! have said ("Trailers-Only" in gRPC over HTTP/2), with HTTP status 200. Clients of other protocols get the
//! status that says it; a gRPC client would make one of its own of that, and not the right one: of 504, for
//! instance, `UNAVAILABLE`, which it tries again.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::error::{ClientError, Denial, Error, PartFailure, Refusal, UpstreamErrorKind};
use crate::http::{Body, Request, RequestId, Response, fields};

use super::problem;

static STATUS: HeaderName = HeaderName::from_static("grpc-status");
static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The codes of gRPC that we give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The media type that a gRPC client speaks, where it is one.
pub(super) fn media_type(request: &Request) -> Option<HeaderValue> {
    // All its calls are POST, so that others do not pay for the look.
    let is_call = request.method == Method::POST && fields::is_grpc(&request.headers);
    is_call.then(|| request.headers.get(CONTENT_TYPE).cloned()).flatten()
}

/// The response for an error.
pub(super) fn response(error: &Error, id: &RequestId, media_type: HeaderValue) -> Response {
    // The fields that it brings with it say the same to whoever is on the way.
    let mut response = problem::response(error, id);
    response.status = StatusCode::OK;
    response.body = Body::empty();
    let headers: &mut HeaderMap = &mut response.headers;
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(&STATUS, HeaderValue::from(code(error) as u16));
    // Of these words nothing would have to be percent-encoded.
    let message = format!("{} ({})", problem::problem(error).detail, error.as_str());
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(&MESSAGE, message);
    }
    response
}

fn code(error: &Error) -> Code {
    match error {
        Error::Client(error) => client(*error),
        Error::Refused(refusal) => refused(refusal),
        Error::Upstream(error) => upstream(error.kind),
        Error::Part(error) => match &error.failure {
            PartFailure::Error(error) => code(error),
            PartFailure::NoMemory => Code::Unavailable,
            PartFailure::Status(_) | PartFailure::NotJson | PartFailure::Encoded | PartFailure::TooLarge => {
                Code::Internal
            }
        },
        Error::Internal(_) => Code::Internal,
    }
}

const fn client(error: ClientError) -> Code {
    match error {
        ClientError::BadRequest(_)
        | ClientError::BadBody
        | ClientError::UnknownExpectation
        | ClientError::NoIdempotencyKey
        | ClientError::BadIdempotencyKey => Code::InvalidArgument,
        ClientError::TargetTooLong | ClientError::HeadTooLarge | ClientError::BodyTooLarge => {
            Code::ResourceExhausted
        }
        ClientError::HeadTimeout | ClientError::BodyTimeout => Code::DeadlineExceeded,
        ClientError::BodyMadeWay => Code::Unavailable,
        ClientError::MethodNotImplemented | ClientError::MethodRefused => Code::Unimplemented,
        ClientError::BodyAborted => Code::Cancelled,
        ClientError::Loop => Code::Internal,
        ClientError::Misdirected => Code::Unavailable,
        ClientError::IdempotencyKeyReused => Code::FailedPrecondition,
        ClientError::IdempotencyAnswerLost => Code::Aborted,
    }
}

const fn refused(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NoRoute | Refusal::MethodNotAllowed(_) => Code::Unimplemented,
        Refusal::Denied { why, .. } => denied(*why),
        Refusal::RateLimited { .. } | Refusal::RateQueueFull { .. } => Code::ResourceExhausted,
        // Nothing was sent, so it is worth another try.
        Refusal::QueueFull { .. }
        | Refusal::QueueTimeout { .. }
        | Refusal::DeadlineTooNear { .. }
        | Refusal::QuotaSpent { .. } => Code::Unavailable,
        Refusal::PurgeDenied => Code::PermissionDenied,
        Refusal::OnlyIfCached => Code::FailedPrecondition,
    }
}

const fn denied(why: Denial) -> Code {
    match why {
        Denial::Address | Denial::NotAllowed => Code::PermissionDenied,
        Denial::NoCredentials | Denial::BadCredentials | Denial::BadToken | Denial::ExpiredToken => {
            Code::Unauthenticated
        }
        Denial::KeysUnavailable | Denial::Busy | Denial::Unavailable => Code::Unavailable,
    }
}

const fn upstream(kind: UpstreamErrorKind) -> Code {
    use UpstreamErrorKind as Kind;
    match kind {
        Kind::Deadline | Kind::HeadTimeout | Kind::BodyTimeout => Code::DeadlineExceeded,
        Kind::NoEndpoint
        | Kind::Dns
        | Kind::ConnectFailed
        | Kind::ConnectTimeout
        | Kind::Tls
        | Kind::ConnectionLimit
        | Kind::Reset
        | Kind::BodyIncomplete
        | Kind::Trouble => Code::Unavailable,
        Kind::BadResponse | Kind::HeadTooLarge | Kind::BadUpgrade => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{InternalError, UpstreamError};
    use crate::http::RequestBody;
    use crate::http::testing::request;

    /// gRPC's "Status codes and their use in gRPC", and its mapping of HTTP's.
    #[test]
    fn each_error_has_its_code() {
        let retry_after = Duration::from_secs(1);
        let fields = Box::default();
        let denied = |why| Refusal::Denied { why, challenges: [].into() };
        let cases: Vec<(Error, &str)> = vec![
            (UpstreamError::sent(UpstreamErrorKind::Deadline).into(), "4"),
            (UpstreamError::sent(UpstreamErrorKind::HeadTimeout).into(), "4"),
            (UpstreamError::unsent(UpstreamErrorKind::ConnectTimeout).into(), "14"),
            (UpstreamError::unsent(UpstreamErrorKind::NoEndpoint).into(), "14"),
            (UpstreamError::sent(UpstreamErrorKind::BadResponse).into(), "13"),
            (Refusal::RateLimited { retry_after, fields }.into(), "8"),
            (Refusal::QueueFull { retry_after }.into(), "14"),
            (Refusal::QuotaSpent { retry_after }.into(), "14"),
            (Refusal::NoRoute.into(), "12"),
            (denied(Denial::NoCredentials).into(), "16"),
            (denied(Denial::NotAllowed).into(), "7"),
            (denied(Denial::Busy).into(), "14"),
            (ClientError::BodyTooLarge.into(), "8"),
            (ClientError::BadBody.into(), "3"),
            (InternalError::Panicked.into(), "13"),
        ];
        for (error, code) in cases {
            let media_type = HeaderValue::from_static("application/grpc+proto");
            let response = response(&error, &RequestId::Random(1), media_type);
            assert_eq!(
                (response.status.as_u16(), response.headers[&STATUS].to_str().unwrap()),
                (200, code),
                "{error}"
            );
            let message = response.headers[&MESSAGE].to_str().unwrap();
            assert!(message.contains(error.as_str()) && !message.contains('%'), "{message}");
            assert_eq!(response.headers[CONTENT_TYPE], "application/grpc+proto");
            assert!(response.body.as_full().is_none_or(<[u8]>::is_empty));
        }
    }

    #[test]
    fn calls_are_known_by_method_and_type() {
        for (method, field, is_call) in [
            (Method::POST, Some("application/grpc"), true),
            (Method::POST, Some("application/grpc+proto"), true),
            (Method::POST, Some("application/grpc-web"), true),
            (Method::POST, Some("Application/GRPC;x=y"), true),
            (Method::POST, Some("application/grpcx"), false),
            (Method::POST, Some("application/json"), false),
            (Method::POST, None, false),
            (Method::GET, Some("application/grpc"), false),
        ] {
            let mut request = request(method, RequestBody::Empty);
            if let Some(field) = field {
                request.headers.insert(CONTENT_TYPE, field.parse().unwrap());
            }
            assert_eq!(media_type(&request).is_some(), is_call, "{field:?}");
        }
    }
}
