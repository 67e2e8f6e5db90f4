//! Whether one outcome is worth another attempt, and if not, why not. Pure: time, chance and budget are
//! arguments.

use std::time::Duration;

use http::StatusCode;

use crate::error::{Error, UpstreamErrorKind};

use super::plan::Conditions;

/// How long a retry may be put off where the request has no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What makes an outcome worth another attempt; the words the user writes in `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection: not resolved, refused, or not in time.
    Connect,
    /// The connection broke before a whole response head.
    Reset,
    /// No response head in time.
    Timeout,
    /// A status that is listed.
    Status,
}

impl Cause {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Reset, Self::Timeout, Self::Status];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

/// Why a failure is not made good by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// All attempts are made.
    Attempts,
    /// It may have had an effect, and its method does not allow it to have another (RFC 9110 §9.2.2).
    NotIdempotent,
    /// Its body was read and is not kept.
    Body,
    /// The origin asks for a longer pause than `backoff.max` or the deadline allows.
    RetryAfter,
    /// The pause before another attempt would take until the deadline.
    Deadline,
    /// The upstream's retries are spent.
    Budget,
}

impl GiveUp {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Attempts, Self::NotIdempotent, Self::Body, Self::RetryAfter, Self::Deadline, Self::Budget];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::NotIdempotent => "not_idempotent",
            Self::Body => "body",
            Self::RetryAfter => "retry_after",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

/// What is done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another attempt after `wait`.
    Retry {
        /// What for.
        cause: Cause,
        /// The pause before it.
        wait: Duration,
    },
    /// The client gets this outcome.
    GiveUp(GiveUp),
}

impl Decision {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry { cause: Cause::Connect, .. } => "retry_connect",
            Self::Retry { cause: Cause::Reset, .. } => "retry_reset",
            Self::Retry { cause: Cause::Timeout, .. } => "retry_timeout",
            Self::Retry { cause: Cause::Status, .. } => "retry_status",
            Self::GiveUp(GiveUp::Attempts) => "give_up_attempts",
            Self::GiveUp(GiveUp::NotIdempotent) => "give_up_not_idempotent",
            Self::GiveUp(GiveUp::Body) => "give_up_body",
            Self::GiveUp(GiveUp::RetryAfter) => "give_up_retry_after",
            Self::GiveUp(GiveUp::Deadline) => "give_up_deadline",
            Self::GiveUp(GiveUp::Budget) => "give_up_budget",
        }
    }
}

/// What a decision needs to know of a request and its failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// How many attempts may still be made.
    pub attempts_left: u32,
    /// Whether the method may be sent twice.
    pub repeatable: bool,
    /// Whether a byte of the request may have reached the origin.
    pub sent: bool,
    /// Whether the body can be sent from its start.
    pub replayable: bool,
    /// The pause that the origin asks for, if it is respected.
    pub retry_after: Option<Duration>,
    /// The longest pause that is waited for, whoever asks for it: a request that waits holds its permit, and
    /// an origin that sends everyone away for a while would have all of them held.
    pub longest: Duration,
    /// The pause that backoff asks for.
    pub backoff: Duration,
    /// The time to the deadline.
    pub left: Option<Duration>,
}

/// Whether an error is one that `on` lists. Not: what another attempt would meet again (an untrusted
/// certificate, an answer that is no HTTP), what asks for less load (no endpoint, no free connection), and
/// whatever is not the upstream's fault.
pub fn cause_of_error(on: &Conditions, error: &Error) -> Option<Cause> {
    use UpstreamErrorKind as Kind;

    let Error::Upstream(error) = error else { return None };
    let cause = match error.kind {
        Kind::Dns | Kind::ConnectFailed | Kind::ConnectTimeout => Cause::Connect,
        Kind::Reset => Cause::Reset,
        Kind::HeadTimeout => Cause::Timeout,
        Kind::NoEndpoint
        | Kind::Tls
        | Kind::ConnectionLimit
        | Kind::BadResponse
        | Kind::HeadTooLarge
        | Kind::BadUpgrade
        | Kind::BodyTimeout
        | Kind::BodyIncomplete
        | Kind::Deadline
        | Kind::Trouble => return None,
    };
    on.contains(cause).then_some(cause)
}

/// Whether a status is one that `on` lists.
pub fn cause_of_status(on: &Conditions, status: StatusCode) -> Option<Cause> {
    on.contains_status(status).then_some(Cause::Status)
}

/// Decides about an attempt that failed for `cause`; `withdraw` takes one retry from the budget and is asked
/// last, so that nothing is taken for a retry that is not made.
pub fn decide(cause: Cause, facts: &Facts, withdraw: impl FnOnce() -> bool) -> Decision {
    if facts.attempts_left == 0 {
        return Decision::GiveUp(GiveUp::Attempts);
    }
    if facts.sent && !facts.repeatable {
        return Decision::GiveUp(GiveUp::NotIdempotent);
    }
    if !facts.replayable {
        return Decision::GiveUp(GiveUp::Body);
    }
    let left = facts.left.unwrap_or(LONGEST_WAIT);
    let asked = facts.retry_after.unwrap_or_default();
    if facts.retry_after.is_some() && (asked >= left || asked > facts.longest) {
        return Decision::GiveUp(GiveUp::RetryAfter);
    }
    // On top of what the origin asks for, not instead: it has told all its clients the same second.
    let wait = asked.saturating_add(facts.backoff);
    if wait >= left {
        return Decision::GiveUp(GiveUp::Deadline);
    }
    if !withdraw() {
        return Decision::GiveUp(GiveUp::Budget);
    }
    Decision::Retry { cause, wait }
}
