//! How long a stored response is fresh, how old it is, and what it is good for right now (RFC 9111 §4.2, RFC 5861).
//!
//! A [`Lifetime`] is worked out once, when a response is stored or confirmed; every request then asks it to judge.
//!
//! Choices where the RFCs leave one:
//!
//! - Age counts from the moment the request was sent (§4.2.3), so that a slow origin's answers are never thought
//!   younger than they are. A lifetime that the operator sets (`ttl.default`, `ttl.override`, `ttl.by_status`) counts
//!   from the moment the response arrived: the origin's clock and its slowness do not eat into it.
//! - `must-revalidate` and `proxy-revalidate` rule out every stale answer. `s-maxage` implies `proxy-revalidate`
//!   (§5.2.2.10), except where the same response says `stale-while-revalidate` or `stale-if-error`: an origin that
//!   writes both means both.
//! - `stale-if-error` in a request takes the place of what the response or the operator allow.

use std::time::Duration;

use http::StatusCode;
use http::header::{AGE, DATE, EXPIRES, HeaderMap, LAST_MODIFIED};

use crate::clock::Wall;

use super::dates::{self, DateField};
use super::directives::{self, RequestDirectives, ResponseDirectives};
use super::plan::TtlPolicy;

/// What is kept of a stored response to judge it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When the response arrived.
    received: Wall,
    /// How old it was then: `corrected_initial_age` of RFC 9111 §4.2.3.
    initial_age: Duration,
    /// Up to which age it is fresh.
    fresh_for: Duration,
    /// How long after that it may be served while it is revalidated.
    while_revalidate: Duration,
    /// How long after that it may be served when the origin fails.
    if_error: Duration,
    /// How long after that it may be served when admission refuses.
    on_overload: Duration,
    /// It may never be used without validation.
    no_cache: bool,
    /// Once stale it may never be used without validation, except as the two windows from the response say.
    strict: bool,
}

/// When a response was asked for and when its head arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When the request was sent.
    pub requested: Wall,
    /// When the response's head arrived.
    pub received: Wall,
}

/// Where a freshness lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `ttl.override`.
    Override,
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// `Expires`.
    Expires,
    /// `ttl.by_status`.
    ByStatus,
    /// A guess from `Last-Modified`.
    Heuristic,
    /// `ttl.default`.
    Default,
    /// Nothing gives one: it is stale from the start.
    None,
}

impl Source {
    /// Whether the origin gave it.
    pub const fn is_origin(self) -> bool {
        matches!(self, Self::SMaxage | Self::MaxAge | Self::Expires)
    }

    /// Whether the operator gave it: such a lifetime counts from the arrival.
    const fn is_operator(self) -> bool {
        matches!(self, Self::Override | Self::ByStatus | Self::Default)
    }
}

impl Lifetime {
    /// Works it out for a response that may be stored, and says where the lifetime comes from.
    pub fn of(
        status: StatusCode,
        headers: &HeaderMap,
        directives: &ResponseDirectives,
        ttl: &TtlPolicy,
        timing: Timing,
    ) -> (Self, Source) {
        let age = initial_age(headers, timing);
        let (fresh_for, source) = fresh_for(status, headers, directives, ttl, timing.received);
        let initial_age = age.unwrap_or_default();
        let fresh_for = match (ttl.max, age) {
            _ if source.is_operator() => fresh_for.min(ttl.max.unwrap_or(Duration::MAX)) + initial_age,
            // An Age that cannot be read may be any age: stale, as far as the origin's word goes.
            (_, None) => Duration::ZERO,
            (max, Some(_)) => fresh_for.min(max.unwrap_or(Duration::MAX)),
        };
        let hard = directives.must_revalidate || directives.proxy_revalidate;
        let strict = hard || directives.s_maxage.is_some();
        let window = |said: Option<u32>, configured: Duration| match said {
            _ if hard => Duration::ZERO,
            Some(seconds) => Duration::from_secs(seconds.into()),
            None if strict => Duration::ZERO,
            None => configured,
        };
        let lifetime = Self {
            received: timing.received,
            initial_age,
            fresh_for,
            while_revalidate: window(directives.stale_while_revalidate, ttl.stale_while_revalidate),
            if_error: window(directives.stale_if_error, ttl.stale_if_error),
            on_overload: window(None, ttl.stale_on_overload),
            no_cache: directives.no_cache && source != Source::Override,
            strict,
        };
        (lifetime, source)
    }

    /// The current age (RFC 9111 §4.2.3): what `Age` says, rounded down to seconds.
    pub const fn age(&self, now: Wall) -> Duration {
        self.initial_age.saturating_add(now.since(self.received))
    }

    /// Seconds of freshness left, rounded down, so negative once stale: `ttl` of `Cache-Status` (RFC 9211 §2.4).
    pub fn ttl(&self, now: Wall) -> i64 {
        let (fresh_for, age) = (millis(self.fresh_for), millis(self.age(now)));
        (fresh_for - age).div_euclid(1000)
    }

    /// When the response arrived.
    pub const fn received(&self) -> Wall {
        self.received
    }

    /// The end of the last window in which the entry can answer without the origin's consent. After it the entry is
    /// worth keeping only if it has a validator.
    pub fn useful_until(&self) -> Wall {
        let stale = self.while_revalidate.max(self.if_error).max(self.on_overload);
        let left = self.fresh_for.saturating_add(stale).saturating_sub(self.initial_age);
        if self.no_cache { self.received } else { self.received.plus(left) }
    }

    /// Whether the entry can ever answer without the origin's consent.
    pub fn is_useful(&self) -> bool {
        self.useful_until() > self.received
    }

    /// The same entry after it became invalid (RFC 9111 §4.4, §4.3.5): it must be validated before any use.
    #[must_use]
    pub const fn invalidated(self) -> Self {
        Self { no_cache: true, ..self }
    }

    /// What the entry is good for, for this request, now.
    pub fn judge(&self, request: &RequestDirectives, now: Wall) -> Freshness {
        let age = self.age(now);
        let fresh = age < self.fresh_for && !self.no_cache;
        if fresh && *request == RequestDirectives::default() {
            return Freshness::Fresh;
        }
        let refused = request.no_cache
            || request.max_age.is_some_and(|max| age >= seconds(max))
            || request.min_fresh.is_some_and(|min| age.saturating_add(seconds(min)) > self.fresh_for);
        if fresh && !refused {
            return Freshness::Fresh;
        }
        if self.no_cache {
            return Freshness::Revalidate(Revalidate {
                requested: false,
                on_error: false,
                on_overload: false,
            });
        }
        let staleness = age.saturating_sub(self.fresh_for);
        if !refused {
            if !self.strict && request.max_stale.is_some_and(|max| staleness <= seconds(max)) {
                return Freshness::MaxStale;
            }
            if staleness < self.while_revalidate {
                return Freshness::StaleWhileRevalidate;
            }
        }
        let if_error = match request.stale_if_error {
            Some(accepted) if !self.strict => seconds(accepted),
            _ => self.if_error,
        };
        // RFC 5861 §4: "regardless of other freshness information". Only no-cache asks for the origin's own word.
        Freshness::Revalidate(Revalidate {
            requested: fresh,
            on_error: !request.no_cache && (fresh || staleness < if_error),
            on_overload: !request.no_cache && (fresh || staleness < self.on_overload),
        })
    }
}

/// What may be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Serve it.
    Fresh,
    /// Serve it: it is stale and the client accepts that (`max-stale`).
    MaxStale,
    /// Serve it and revalidate it in the background (RFC 5861 §3).
    StaleWhileRevalidate,
    /// Ask the origin first.
    Revalidate(Revalidate),
}

/// Why the origin is asked, and what an entry is good for when that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revalidate {
    /// The entry is fresh and the request's directives ask for more: `fwd=request`. Else it is stale: `fwd=stale`.
    pub requested: bool,
    /// It may be served when the origin fails: no answer, or one that [`is_error`] (RFC 5861 §4).
    pub on_error: bool,
    /// It may be served when admission refuses.
    pub on_overload: bool,
}

/// Whether an origin's status counts as its failure: 500, 502, 503 or 504 (RFC 5861 §4).
pub const fn is_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Whether a lifetime may be guessed for a status without further word from the origin (RFC 9110 §15.1); 206 is left
/// out, since partial answers are not stored.
pub const fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Whether the operator's `ttl.default` and `ttl.override` hold for a status to which the origin gave no lifetime.
/// Errors are left out: whoever can provoke one could otherwise poison the store with it. `ttl.by_status` names them.
const fn takes_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308)
}

/// The longest guess: a day.
const HEURISTIC_MAX: Duration = Duration::from_secs(86_400);

/// The freshness lifetime and where it comes from (RFC 9111 §4.2.1).
fn fresh_for(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    ttl: &TtlPolicy,
    received: Wall,
) -> (Duration, Source) {
    let said = origin_lifetime(headers, directives, received);
    if let Some(fixed) = ttl.override_.filter(|_| said.is_some() || takes_default(status)) {
        return (fixed, Source::Override);
    }
    if let Some(said) = said {
        return said;
    }
    if directives.no_cache {
        return (Duration::ZERO, Source::None);
    }
    if let Some(configured) = ttl.by_status(status) {
        return (configured, Source::ByStatus);
    }
    if ttl.heuristic && (is_heuristic(status) || directives.public) {
        let date = dates::field(headers, &DATE, received).at().unwrap_or(received);
        if let DateField::At(modified) = dates::field(headers, &LAST_MODIFIED, received) {
            return ((date.since(modified) / 10).min(HEURISTIC_MAX), Source::Heuristic);
        }
    }
    if takes_default(status) && !ttl.default.is_zero() {
        return (ttl.default, Source::Default);
    }
    (Duration::ZERO, Source::None)
}

/// What the origin says, if it says anything.
fn origin_lifetime(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    received: Wall,
) -> Option<(Duration, Source)> {
    if let Some(s_maxage) = directives.s_maxage {
        return Some((seconds(s_maxage), Source::SMaxage));
    }
    if let Some(max_age) = directives.max_age {
        return Some((seconds(max_age), Source::MaxAge));
    }
    match dates::field(headers, &EXPIRES, received) {
        DateField::Missing => None,
        DateField::Invalid => Some((Duration::ZERO, Source::Expires)),
        DateField::At(expires) => {
            let date = dates::field(headers, &DATE, received).at().unwrap_or(received);
            Some((expires.since(date), Source::Expires))
        }
    }
}

/// `corrected_initial_age` (RFC 9111 §4.2.3); none if `Age` cannot be read.
fn initial_age(headers: &HeaderMap, timing: Timing) -> Option<Duration> {
    let said = match headers.get(AGE) {
        None => 0,
        Some(_) => age_value(headers)?,
    };
    let delay = timing.received.since(timing.requested);
    // A date has whole seconds: the rest of the current one is no age.
    let received = Wall::from_secs(timing.received.secs());
    let apparent = match dates::field(headers, &DATE, timing.received) {
        DateField::At(date) => received.since(date),
        DateField::Missing | DateField::Invalid => Duration::ZERO,
    };
    Some(apparent.max(seconds(said) + delay))
}

/// `Age` in seconds. Of a list in one line the first member counts (RFC 9111 §5.1). Several lines, or a list that says
/// the same twice, come from caches that each wrote their own without reading the other's: no age to trust. RFC 9111
/// lets a cache ignore what it cannot read; we would rather ask the origin once more.
fn age_value(headers: &HeaderMap) -> Option<u32> {
    let mut lines = headers.get_all(AGE).iter();
    let line = lines.next()?.as_bytes();
    if lines.next().is_some() {
        return None;
    }
    let mut members = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let first = members.next()?;
    if members.any(|other| other == first) {
        return None;
    }
    directives::delta_seconds(first)
}

const fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds as u64)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}
