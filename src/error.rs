//! Every way a request can fail, sorted by whose fault it is; `layers/respond` alone turns one into a
//! response.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

/// A failed request, by culprit.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client sent something we cannot act on: 4xx, and no reason to doubt the upstream.
    #[error("client: {}", .0.as_str())]
    Client(ClientError),
    /// We chose not to serve it.
    #[error("refused: {}", .0.as_str())]
    Refused(Refusal),
    /// The upstream failed or was not reached.
    #[error("upstream: {0}")]
    Upstream(UpstreamError),
    /// A part of an aggregate failed that it cannot do without.
    #[error("{0}")]
    Part(Box<PartError>),
    /// Our own fault.
    #[error("internal: {}", .0.as_str())]
    Internal(InternalError),
}

impl Error {
    /// The one word for it in log, metrics and `Proxy-Status` details.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Client(error) => error.as_str(),
            Self::Refused(refusal) => refusal.as_str(),
            Self::Upstream(error) => error.kind.as_str(),
            Self::Part(error) => error.failure.as_str(),
            Self::Internal(error) => error.as_str(),
        }
    }
}

/// A failed part of an aggregate.
#[derive(Clone, Debug, thiserror::Error)]
#[error("part {part}: {}", .failure.as_str())]
pub struct PartError {
    /// The part's name.
    pub part: Arc<str>,
    /// Why it failed.
    pub failure: PartFailure,
}

/// Why a part of an aggregate failed.
#[derive(Clone, Debug)]
pub enum PartFailure {
    /// There was no answer: as that error says.
    Error(Error),
    /// The answer is not a success: 502.
    Status(StatusCode),
    /// The answer is not JSON: 502.
    NotJson,
    /// The answer has a coding, though none was asked for: 502.
    Encoded,
    /// The answer is larger than the part's `max_body`: 502.
    TooLarge,
    /// There is no memory left to hold it: 503.
    NoMemory,
}

impl PartFailure {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Error(error) => error.as_str(),
            Self::Status(_) => "part_status",
            Self::NotJson => "part_not_json",
            Self::Encoded => "part_encoded",
            Self::TooLarge => "part_too_large",
            Self::NoMemory => "part_no_memory",
        }
    }
}

/// What the client did wrong, as far as layers below the ingress can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The head breaks a rule that framing or routing depend on, which the word names: 400, then a close.
    BadRequest(&'static str),
    /// The target is longer than we accept: 414.
    TargetTooLong,
    /// Too many fields, or too large: 431.
    HeadTooLarge,
    /// The head took longer than `server.header_timeout`: 408 (RFC 9110 §15.5.9).
    HeadTimeout,
    /// `CONNECT`, or a method whose name is absurdly long: 501, and the connection ends (RFC 9931 §8).
    MethodNotImplemented,
    /// `TRACE`, which would tell an attacker what the gateway adds: 405 (RFC 9110 §9.3.8, §17.9).
    MethodRefused,
    /// The request body broke its framing (RFC 9112 §7.1, §8; RFC 9113 §8.1.1): 400.
    BadBody,
    /// The request body ended early or the connection broke: 400, if anybody still listens.
    BodyAborted,
    /// The request body stalled for longer than `server.body_timeout`: 408.
    BodyTimeout,
    /// The request body kept us waiting while others waited for its place at the upstream
    /// (`concurrency.upload_grace`): 408.
    BodyMadeWay,
    /// The request body is larger than `max_body`: 413.
    BodyTooLarge,
    /// An `Expect` we do not know: 417 (RFC 9110 §10.1.1).
    UnknownExpectation,
    /// It has passed a Forebay more often than `server.max_hops`: 508 (RFC 9110 §7.6.3, RFC 5842 §7.2).
    Loop,
    /// The certificate is not for the host asked for, or `https` came without TLS: 421 (RFC 9110 §7.4).
    Misdirected,
    /// The route wants an idempotency key, and there is none: 400.
    NoIdempotencyKey,
    /// The idempotency key is no string, too long, or given twice: 400.
    BadIdempotencyKey,
    /// The idempotency key stands for another request: 422.
    IdempotencyKeyReused,
    /// The request with that idempotency key was carried out, and its answer is not kept: 409.
    IdempotencyAnswerLost,
}

impl ClientError {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest(word) => word,
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "request_head_too_large",
            Self::HeadTimeout => "request_head_timeout",
            Self::MethodNotImplemented => "method_not_implemented",
            Self::MethodRefused => "method_refused",
            Self::BadBody => "bad_request_body",
            Self::BodyAborted => "request_body_aborted",
            Self::BodyTimeout => "request_body_timeout",
            Self::BodyMadeWay => "request_body_made_way",
            Self::BodyTooLarge => "request_body_too_large",
            Self::UnknownExpectation => "unknown_expectation",
            Self::Loop => "request_loop",
            Self::Misdirected => "misdirected",
            Self::NoIdempotencyKey => "no_idempotency_key",
            Self::BadIdempotencyKey => "bad_idempotency_key",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::IdempotencyAnswerLost => "idempotency_answer_lost",
        }
    }
}

/// Why we refused.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// No route matches: 404.
    NoRoute,
    /// A route matches but for its method: 405, with these in `Allow`.
    MethodNotAllowed(HeaderValue),
    /// The client may not use the route, or it cannot be found out whether it may (`auth`).
    Denied {
        /// Why.
        why: Denial,
        /// How it can prove who it is, for a 401.
        challenges: Arc<[HeaderValue]>,
    },
    /// A rate limit: 429, with the `RateLimit` fields.
    RateLimited {
        /// When a token is free again.
        retry_after: Duration,
        /// `RateLimit` and `RateLimit-Policy`.
        fields: Box<[(HeaderName, HeaderValue)]>,
    },
    /// The delay queue of a rate limit is full: 429.
    RateQueueFull {
        /// When a token is free again.
        retry_after: Duration,
    },
    /// Admission's queue is full: 503.
    QueueFull {
        /// When trying again is worth it.
        retry_after: Duration,
    },
    /// The wait in admission's queue took longer than `queue_timeout`: 503.
    QueueTimeout {
        /// When trying again is worth it.
        retry_after: Duration,
    },
    /// Admission's queue does not drain fast enough for the request's deadline: 503.
    DeadlineTooNear {
        /// When trying again is worth it.
        retry_after: Duration,
    },
    /// The origin's own rate limit is used up for longer than the request can wait, or too many wait: 503.
    QuotaSpent {
        /// When its turn would be.
        retry_after: Duration,
    },
    /// `PURGE`, and the client may not (`cache.purge`): 403.
    PurgeDenied,
    /// `only-if-cached` and nothing is stored (RFC 9111 §5.2.1.7): 504.
    OnlyIfCached,
}

impl Refusal {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::Denied { why, .. } => why.as_str(),
            Self::RateLimited { .. } => "rate_limited",
            Self::RateQueueFull { .. } => "rate_queue_full",
            Self::QueueFull { .. } => "queue_full",
            Self::QueueTimeout { .. } => "queue_timeout",
            Self::DeadlineTooNear { .. } => "deadline_too_near",
            Self::QuotaSpent { .. } => "quota_spent",
            Self::PurgeDenied => "purge_denied",
            Self::OnlyIfCached => "only_if_cached",
        }
    }
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Its address is not one that may come: 403.
    Address,
    /// It says nothing about who it is: 401.
    NoCredentials,
    /// What it says is wrong, or whose it is was disabled: 401.
    BadCredentials,
    /// It is known, and this route is not for it: 403.
    NotAllowed,
    /// Its token is not one that is taken here: 401.
    BadToken,
    /// Its token was good once: 401.
    ExpiredToken,
    /// The keys that tokens are checked with are not there: 503.
    KeysUnavailable,
    /// Too many wait to have their passwords checked: 503.
    Busy,
    /// Who decides did not answer: 503.
    Unavailable,
}

impl Denial {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Address,
        Self::NoCredentials,
        Self::BadCredentials,
        Self::NotAllowed,
        Self::BadToken,
        Self::ExpiredToken,
        Self::KeysUnavailable,
        Self::Busy,
        Self::Unavailable,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address_denied",
            Self::NoCredentials => "no_credentials",
            Self::BadCredentials => "bad_credentials",
            Self::NotAllowed => "consumer_not_allowed",
            Self::BadToken => "bad_token",
            Self::ExpiredToken => "expired_token",
            Self::KeysUnavailable => "token_keys_unavailable",
            Self::Busy => "auth_busy",
            Self::Unavailable => "auth_unavailable",
        }
    }
}

/// A failed attempt at an upstream.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .kind.as_str())]
pub struct UpstreamError {
    /// What went wrong.
    pub kind: UpstreamErrorKind,
    /// Whether a byte of the request may have reached the origin: only then may it have had an effect.
    pub sent: bool,
    /// The endpoint it went wrong at, where one had been chosen.
    pub endpoint: Option<Arc<str>>,
}

impl UpstreamError {
    /// A failure before anything was sent.
    pub const fn unsent(kind: UpstreamErrorKind) -> Self {
        Self { kind, sent: false, endpoint: None }
    }

    /// A failure after something may have been sent.
    pub const fn sent(kind: UpstreamErrorKind) -> Self {
        Self { kind, sent: true, endpoint: None }
    }

    /// The same at a known endpoint.
    #[must_use]
    pub fn at(self, endpoint: Arc<str>) -> Self {
        Self { endpoint: Some(endpoint), ..self }
    }
}

/// What went wrong with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamErrorKind {
    /// No endpoint is left to ask: 503.
    NoEndpoint,
    /// The name does not resolve: 502.
    Dns,
    /// The connection was refused or reset while connecting: 502.
    ConnectFailed,
    /// No connection within `connect_timeout`: 504.
    ConnectTimeout,
    /// The TLS handshake failed or the certificate is not trusted: 502.
    Tls,
    /// All `max_connections` are busy and none came free in time: 503.
    ConnectionLimit,
    /// The connection broke before a whole response head: 502.
    Reset,
    /// The answer is not HTTP, or breaks its rules: 502.
    BadResponse,
    /// The response head is larger than we accept: 502.
    HeadTooLarge,
    /// An upgrade went wrong: 502.
    BadUpgrade,
    /// No response head within the per-try or read timeout: 504.
    HeadTimeout,
    /// The response body stalled for longer than `read_timeout`: the transfer is cut.
    BodyTimeout,
    /// The response body ended before its framing said so: the transfer is cut.
    BodyIncomplete,
    /// The route's deadline passed: 504.
    Deadline,
    /// The origin answered others, who asked for the same at the same time, with an error of its own: 503.
    Trouble,
}

impl UpstreamErrorKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Dns => "dns_error",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls_error",
            Self::ConnectionLimit => "connection_limit",
            Self::Reset => "upstream_reset",
            Self::BadResponse => "bad_response",
            Self::HeadTooLarge => "response_head_too_large",
            Self::BadUpgrade => "bad_upgrade",
            Self::HeadTimeout => "response_timeout",
            Self::BodyTimeout => "response_body_timeout",
            Self::BodyIncomplete => "response_incomplete",
            Self::Deadline => "deadline",
            Self::Trouble => "origin_trouble",
        }
    }
}

/// What we did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalError {
    /// A task panicked; the panic's message is in the log.
    Panicked,
    /// Something that a type should have ruled out.
    Bug(&'static str),
}

impl InternalError {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Bug(_) => "bug",
        }
    }
}

/// An error of one culprit is an error.
macro_rules! culprits {
    ($($culprit:ident: $error:ty),+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$culprit(error)
            }
        })+
    };
}

culprits!(Client: ClientError, Refused: Refusal, Upstream: UpstreamError, Internal: InternalError);
