//! What went wrong, by class, and sets of classes and statuses.

use std::ops::RangeInclusive;

use http::StatusCode;

use crate::error::{Error, Refusal, UpstreamErrorKind};
use crate::http::{Response, statuses};

/// What a fallback makes good; the words the user writes in `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No endpoint was reached: none is left, it does not resolve, refuses, or is not trusted.
    Connect,
    /// No response head in time.
    Timeout,
    /// The connection broke before a whole response head.
    Reset,
    /// What came is no HTTP, or breaks its rules.
    BadResponse,
    /// The upstream is busy: admission refused, or no connection came free.
    Overload,
    /// A status that is listed.
    Status,
}

impl Cause {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Timeout, Self::Reset, Self::BadResponse, Self::Overload, Self::Status];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::BadResponse => "bad_response",
            Self::Overload => "overload",
            Self::Status => "status",
        }
    }

    /// The class of an error; none for what is not the upstream's fault. A status that stands for others'
    /// failure ([`UpstreamErrorKind::Trouble`]) is none here: see [`On::cause`].
    const fn of(error: &Error) -> Option<Self> {
        use UpstreamErrorKind as Kind;

        match error {
            Error::Upstream(error) => match error.kind {
                Kind::NoEndpoint | Kind::Dns | Kind::ConnectFailed | Kind::ConnectTimeout | Kind::Tls => {
                    Some(Self::Connect)
                }
                Kind::HeadTimeout | Kind::BodyTimeout | Kind::Deadline => Some(Self::Timeout),
                Kind::Reset | Kind::BodyIncomplete => Some(Self::Reset),
                Kind::BadResponse | Kind::HeadTooLarge | Kind::BadUpgrade => Some(Self::BadResponse),
                Kind::ConnectionLimit => Some(Self::Overload),
                Kind::Trouble => None,
            },
            Error::Refused(refusal) => match refusal {
                Refusal::QueueFull { .. }
                | Refusal::QueueTimeout { .. }
                | Refusal::DeadlineTooNear { .. }
                | Refusal::QuotaSpent { .. } => Some(Self::Overload),
                Refusal::NoRoute
                | Refusal::MethodNotAllowed(_)
                | Refusal::Denied { .. }
                | Refusal::RateLimited { .. }
                | Refusal::RateQueueFull { .. }
                | Refusal::PurgeDenied
                | Refusal::OnlyIfCached => None,
            },
            Error::Client(_) | Error::Part(_) | Error::Internal(_) => None,
        }
    }
}

/// A set of causes and statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct On {
    /// One bit a [`Cause`].
    causes: u8,
    statuses: Vec<RangeInclusive<u16>>,
}

impl On {
    /// Whether a cause other than a status is listed.
    pub const fn contains(&self, cause: Cause) -> bool {
        self.causes & (1 << cause as u8) != 0
    }

    /// Whether nothing is listed.
    pub const fn is_empty(&self) -> bool {
        self.causes == 0 && self.statuses.is_empty()
    }

    /// Why an outcome is one that is listed, if it is.
    pub fn cause(&self, outcome: &Result<Response, Error>) -> Option<Cause> {
        match outcome {
            Ok(response) => self.has_status(response.status).then_some(Cause::Status),
            // The origin has answered those whom this request waited for with an error status.
            Err(Error::Upstream(error)) if error.kind == UpstreamErrorKind::Trouble => {
                self.has_status(StatusCode::SERVICE_UNAVAILABLE).then_some(Cause::Status)
            }
            Err(error) => Cause::of(error).filter(|cause| self.contains(*cause)),
        }
    }

    fn has_status(&self, status: StatusCode) -> bool {
        self.statuses.iter().any(|range| range.contains(&status.as_u16()))
    }

    /// Adds what one word says; false where it says nothing we know.
    pub(super) fn add(&mut self, word: &str) -> bool {
        let named = Cause::ALL.into_iter().filter(|cause| *cause != Cause::Status);
        if let Some(cause) = named.into_iter().find(|cause| cause.as_str() == word) {
            self.causes |= 1 << cause as u8;
            return true;
        }
        let Some(statuses) = statuses::named(word) else { return false };
        self.statuses.push(statuses);
        true
    }
}
