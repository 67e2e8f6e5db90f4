//! How long a stored response is fresh, how old it is, what it is good for now (RFC 9111 §4.2, RFC 5861).
//!
//! A [`Lifetime`] is worked out once, when a response is stored or confirmed; every request then asks it to
//! judge.
//!
//! Choices where the RFCs leave one:
//!
//! - Age counts from the moment the request was sent (§4.2.3), so that a slow origin's answers are never
//!   thought younger than they are. A lifetime that the operator sets (`ttl.default`, `ttl.override`,
//!   `ttl.by_status`) counts from the moment the response arrived: the origin's clock and its slowness do not
//!   eat into it.
//! - `must-revalidate` and `proxy-revalidate` rule out every stale answer. `s-maxage` implies
//!   `proxy-revalidate` (§5.2.2.10), except where the same response says `stale-while-revalidate` or
//!   `stale-if-error`: an origin that writes both means both. `s_maxage_stale` changes that either way.
//! - A reload (`max-age=0` in the request) does not revalidate what is fresh and `immutable`; a forced one
//!   (`no-cache`) does: RFC 8246 §2 names `no-cache` as the signal to heed.
//! - A lifetime of zero (`max-age=0`, an `Expires` in the past) asks for the origin's word on every use: what
//!   the operator or a client allow to be served stale does not hold for it. Such answers are often made for
//!   one user.
//! - `stale-if-error` in a request takes the place of what the response or the operator allow.

use std::time::Duration;

use http::StatusCode;
use http::header::{AGE, DATE, EXPIRES, HeaderMap, LAST_MODIFIED};

use crate::clock::Wall;

use super::config::SMaxageStale;
use super::dates::{self, DateField};
use super::directives::{self, RequestDirectives, ResponseDirectives};
use super::plan::TtlPolicy;

pub use super::source::Source;

/// What is kept of a stored response to judge it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When the response arrived.
    received: Wall,
    /// How old it was then: `corrected_initial_age` of RFC 9111 §4.2.3.
    initial_age: Span,
    /// Up to which age it is fresh.
    fresh_for: Span,
    /// How long after that it may be served while it is revalidated.
    while_revalidate: Span,
    /// How long after that it may be served when the origin fails.
    if_error: Span,
    /// How long after that it may be served when admission refuses.
    on_overload: Span,
    /// It may never be used without validation.
    no_cache: bool,
    /// Once stale it may never be used without validation, except as the two windows from the response say.
    strict: bool,
    /// Where `fresh_for` comes from.
    source: Source,
    /// While fresh it does not change (RFC 8246).
    immutable: bool,
}

/// A duration in whole milliseconds: half the size of a [`Duration`], for there is one [`Lifetime`] an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span(u64);

impl Span {
    const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// When a response was asked for and when its head arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When the request was sent.
    pub requested: Wall,
    /// When the response's head arrived.
    pub received: Wall,
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
        let s_maxage = directives.s_maxage.map(|_| ttl.s_maxage_stale);
        let hard = directives.must_revalidate
            || directives.proxy_revalidate
            || s_maxage == Some(SMaxageStale::Never);
        let strict = hard || s_maxage == Some(SMaxageStale::Explicit) || fresh_for.is_zero();
        let window = |said: Option<u32>, configured: Duration| match said {
            _ if hard => Duration::ZERO,
            Some(seconds) => Duration::from_secs(seconds.into()),
            None if strict => Duration::ZERO,
            None => configured,
        };
        let lifetime = Self {
            received: timing.received,
            initial_age: initial_age.into(),
            fresh_for: fresh_for.into(),
            while_revalidate: window(directives.stale_while_revalidate, ttl.stale_while_revalidate).into(),
            if_error: window(directives.stale_if_error, ttl.stale_if_error).into(),
            on_overload: window(None, ttl.stale_on_overload).into(),
            no_cache: directives.no_cache && source != Source::Override,
            strict,
            immutable: directives.immutable,
            source,
        };
        (lifetime, source)
    }

    /// The current age (RFC 9111 §4.2.3): what `Age` says, rounded down to seconds.
    pub const fn age(&self, now: Wall) -> Duration {
        self.initial_age.get().saturating_add(now.since(self.received))
    }

    /// Seconds of freshness left, rounded down, so negative once stale: `ttl` of `Cache-Status` (RFC 9211
    /// §2.4).
    pub fn ttl(&self, now: Wall) -> i64 {
        let (fresh_for, age) = (millis(self.fresh_for.get()), millis(self.age(now)));
        (fresh_for - age).div_euclid(1000)
    }

    /// When it stops being fresh.
    pub fn fresh_until(&self) -> Wall {
        self.received.plus(self.fresh_for.get().saturating_sub(self.initial_age.get()))
    }

    /// What gives it its lifetime, in one word.
    pub const fn because(&self) -> &'static str {
        if self.no_cache { "no-cache" } else { self.source.as_str() }
    }

    /// How long after that it may be served while it is revalidated, when the origin fails, and when
    /// admission refuses.
    pub const fn stale_rights(&self) -> [Duration; 3] {
        [self.while_revalidate.get(), self.if_error.get(), self.on_overload.get()]
    }

    /// When the response arrived.
    pub const fn received(&self) -> Wall {
        self.received
    }

    /// The end of the last window in which the entry can answer without the origin's consent. After it the
    /// entry is worth keeping only if it has a validator.
    pub fn useful_until(&self) -> Wall {
        let stale = self.while_revalidate.get().max(self.if_error.get()).max(self.on_overload.get());
        let left = self.fresh_for.get().saturating_add(stale).saturating_sub(self.initial_age.get());
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

    /// What the entry is good for, now, after it was softly purged: as stale as it can be, until the origin
    /// confirms it. It may stand in as if it were stale, from now to the end of the windows.
    pub fn judge_purged(&self, request: &RequestDirectives, now: Wall) -> Freshness {
        let has = |window: Span| window.get() > Duration::ZERO;
        match self.judge(request, now) {
            Freshness::Revalidate(rights) => Freshness::Revalidate(Revalidate {
                requested: false,
                on_error: rights.on_error && has(self.if_error),
                on_overload: rights.on_overload && has(self.on_overload),
            }),
            Freshness::Fresh | Freshness::MaxStale | Freshness::StaleWhileRevalidate => {
                let staleness = self.age(now).saturating_sub(self.fresh_for.get());
                Freshness::Revalidate(Revalidate {
                    requested: false,
                    on_error: has(self.if_error) && staleness < self.error_window(request),
                    on_overload: staleness < self.on_overload.get(),
                })
            }
        }
    }

    /// How long after it is stale it may stand in for an origin that fails, for this request (RFC 5861 §4).
    fn error_window(&self, request: &RequestDirectives) -> Duration {
        let accepted = request.stale_if_error.filter(|_| !self.strict);
        accepted.map_or(self.if_error.get(), seconds)
    }

    /// Whether it answers this request now without the origin's consent, and is not to be replaced meanwhile.
    pub fn answers(&self, request: &RequestDirectives, now: Wall) -> bool {
        matches!(self.judge(request, now), Freshness::Fresh | Freshness::MaxStale)
    }

    /// Whether it is fresh.
    pub fn is_fresh(&self, now: Wall) -> bool {
        self.age(now) < self.fresh_for.get() && !self.no_cache
    }

    /// Whether it is fresh, and no more than a tenth of its lifetime is left.
    pub fn is_nearly_over(&self, now: Wall) -> bool {
        let left = self.fresh_for.get().saturating_sub(self.age(now));
        !left.is_zero() && left <= self.fresh_for.get() / 10
    }

    /// What the entry is good for, for this request, now.
    pub fn judge(&self, request: &RequestDirectives, now: Wall) -> Freshness {
        let age = self.age(now);
        let fresh = age < self.fresh_for.get() && !self.no_cache;
        if fresh && *request == RequestDirectives::default() {
            return Freshness::Fresh;
        }
        let refused = request.no_cache
            || request.max_age.is_some_and(|max| age >= seconds(max) && !(fresh && self.immutable))
            || request.min_fresh.is_some_and(|min| age.saturating_add(seconds(min)) > self.fresh_for.get());
        if fresh && !refused {
            return Freshness::Fresh;
        }
        if self.no_cache {
            let rights = Revalidate { requested: false, on_error: false, on_overload: false };
            return Freshness::Revalidate(rights);
        }
        let staleness = age.saturating_sub(self.fresh_for.get());
        if !refused {
            if !self.strict && request.max_stale.is_some_and(|max| staleness <= seconds(max)) {
                return Freshness::MaxStale;
            }
            if staleness < self.while_revalidate.get() {
                return Freshness::StaleWhileRevalidate;
            }
        }
        // RFC 5861 §4: "regardless of other freshness information". Only no-cache asks for the origin's own
        // word.
        Freshness::Revalidate(Revalidate {
            requested: fresh,
            on_error: !request.no_cache && (fresh || staleness < self.error_window(request)),
            on_overload: !request.no_cache && (fresh || staleness < self.on_overload.get()),
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
    /// The entry is fresh and the request's directives ask for more: `fwd=request`. Else it is stale:
    /// `fwd=stale`.
    pub requested: bool,
    /// It may be served when the origin fails: no answer, or one with a status of `stale_on_status` (RFC 5861
    /// §4).
    pub on_error: bool,
    /// It may be served when admission refuses.
    pub on_overload: bool,
}

/// Whether a lifetime may be guessed for a status without further word from the origin (RFC 9110 §15.1); 206
/// is left out, since partial answers are not stored.
pub const fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Whether the operator's `ttl.default` and `ttl.override` hold for a status to which the origin gave no
/// lifetime. Errors are left out: whoever can provoke one could otherwise poison the store with it.
/// `ttl.by_status` names them.
pub(super) const fn takes_default(status: StatusCode) -> bool {
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
pub(super) fn origin_lifetime(
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
        _ if directives.targeted => None,
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

/// `Age` in seconds. Of a list in one line the first member counts (RFC 9111 §5.1). Several lines, or a list
/// that says the same twice, come from caches that each wrote their own without reading the other's: no age
/// to trust. RFC 9111 lets a cache ignore what it cannot read; we would rather ask the origin once more.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{NOW, headers};
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    /// [`NOW`] as it stands in `Date`, and some moments around it.
    const DATE: (&str, &str) = ("date", "Thu, 02 Jan 2025 03:04:05 GMT");
    const IN_AN_HOUR: &str = "Thu, 02 Jan 2025 04:04:05 GMT";
    const HOUR_AGO: &str = "Thu, 02 Jan 2025 02:04:05 GMT";
    const AT_ONCE: Timing = Timing { requested: NOW, received: NOW };

    fn lifetime(fields: Fields<'_>, ttl: &TtlPolicy) -> (Lifetime, Source) {
        of(200, fields, ttl, AT_ONCE)
    }

    fn of(status: u16, fields: Fields<'_>, ttl: &TtlPolicy, timing: Timing) -> (Lifetime, Source) {
        let fields = headers(fields);
        let status = StatusCode::from_u16(status).unwrap();
        Lifetime::of(status, &fields, &ResponseDirectives::of(&fields), ttl, timing)
    }

    fn request(line: &str) -> RequestDirectives {
        RequestDirectives::of(&headers(&[("cache-control", line)]), true)
    }

    fn later(seconds: u64) -> Wall {
        NOW.plus(Duration::from_secs(seconds))
    }

    /// RFC 9111 §4.2.1.
    #[test]
    fn lifetimes_the_origin_gives() {
        let cases: [(Fields<'_>, i64, Source); 12] = [
            (&[("cache-control", "max-age=60")], 60, Source::MaxAge),
            (&[("cache-control", "max-age=60, s-maxage=10")], 10, Source::SMaxage),
            (&[("cache-control", "s-maxage=3600, max-age=0"), ("expires", HOUR_AGO)], 3600, Source::SMaxage),
            (&[("cache-control", "max-age=60"), ("expires", "0")], 60, Source::MaxAge),
            (&[("cache-control", "max-age=0"), ("expires", IN_AN_HOUR)], 0, Source::MaxAge),
            (&[DATE, ("expires", IN_AN_HOUR)], 3600, Source::Expires),
            (&[("expires", IN_AN_HOUR)], 3600, Source::Expires),
            (&[("date", "foo"), ("expires", IN_AN_HOUR)], 3600, Source::Expires),
            (&[DATE, ("expires", HOUR_AGO)], 0, Source::Expires),
            (&[DATE, ("expires", "0")], 0, Source::Expires),
            (&[("date", HOUR_AGO), ("expires", DATE.1)], 0, Source::Expires),
            (&[], 0, Source::None),
        ];
        for (fields, ttl, source) in cases {
            let (lifetime, found) = lifetime(fields, &TtlPolicy::default());
            assert_eq!((lifetime.ttl(NOW), found), (ttl, source), "{fields:?}");
        }
    }

    #[test]
    fn lifetimes_the_operator_gives() {
        let hour = Some(Duration::from_secs(3600));
        let default = TtlPolicy { default: Duration::from_secs(5), ..TtlPolicy::default() };
        let by_status = TtlPolicy { by_status: Box::new([(404, Duration::from_secs(7))]), ..default.clone() };
        let fixed = TtlPolicy { override_: hour, ..default.clone() };
        let max = TtlPolicy { max: Some(Duration::from_secs(3)), ..fixed.clone() };
        let said: Fields<'_> = &[("cache-control", "max-age=60")];
        let old: Fields<'_> = &[("cache-control", "max-age=60"), ("age", "50")];
        let aged: Fields<'_> = &[("age", "50")];
        let cases: [(&TtlPolicy, u16, Fields<'_>, i64, Source); 16] = [
            (&default, 200, &[], 5, Source::Default),
            (&default, 200, aged, 5, Source::Default),
            (&default, 200, said, 60, Source::MaxAge),
            (&default, 200, &[("cache-control", "no-cache")], 0, Source::None),
            (&default, 404, &[], 0, Source::None),
            (&default, 500, &[], 0, Source::None),
            (&by_status, 404, &[], 7, Source::ByStatus),
            (&by_status, 404, said, 60, Source::MaxAge),
            (&fixed, 200, &[], 3600, Source::Override),
            (&fixed, 200, old, 3600, Source::Override),
            (&fixed, 200, &[("cache-control", "no-cache")], 3600, Source::Override),
            (&fixed, 500, &[], 0, Source::None),
            (&fixed, 500, said, 3600, Source::Override),
            (&max, 200, &[], 3, Source::Override),
            (&TtlPolicy { override_: None, ..max.clone() }, 200, said, 3, Source::MaxAge),
            (&TtlPolicy { override_: None, ..max.clone() }, 200, old, -47, Source::MaxAge),
        ];
        for (ttl, status, fields, expected, source) in cases {
            let (lifetime, found) = of(status, fields, ttl, AT_ONCE);
            assert_eq!((lifetime.ttl(NOW), found), (expected, source), "{status} {fields:?} {ttl:?}");
        }
    }

    /// RFC 9111 §4.2.2.
    #[test]
    fn guesses() {
        let ttl = TtlPolicy { heuristic: true, ..TtlPolicy::default() };
        let hour: Fields<'_> = &[DATE, ("last-modified", HOUR_AGO)];
        let public: Fields<'_> = &[DATE, ("last-modified", HOUR_AGO), ("cache-control", "public")];
        let old: Fields<'_> = &[DATE, ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
        for status in [200, 203, 204, 404, 405, 410, 414, 501] {
            assert_eq!(of(status, hour, &ttl, AT_ONCE).0.ttl(NOW), 360, "{status}");
        }
        for status in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
            assert_eq!(of(status, hour, &ttl, AT_ONCE).1, Source::None, "{status}");
        }
        assert_eq!(of(599, public, &ttl, AT_ONCE).1, Source::Heuristic);
        assert_eq!(lifetime(old, &ttl).0.ttl(NOW), 86_400);
        assert_eq!(lifetime(&[DATE, ("last-modified", IN_AN_HOUR)], &ttl).0.ttl(NOW), 0);
        assert_eq!(lifetime(&[DATE], &ttl).1, Source::None);
        assert_eq!(lifetime(hour, &TtlPolicy::default()).1, Source::None);
    }

    /// RFC 9111 §4.2.3 and §5.1.
    #[test]
    fn initial_ages() {
        let slow = Timing { requested: NOW, received: later(4) };
        let cases: [(Fields<'_>, Timing, u64); 8] = [
            (&[DATE], AT_ONCE, 0),
            (&[], AT_ONCE, 0),
            (&[("date", HOUR_AGO)], AT_ONCE, 3600),
            (&[("date", IN_AN_HOUR)], AT_ONCE, 0),
            (&[DATE, ("age", "30")], AT_ONCE, 30),
            (&[DATE, ("age", "0,7200")], AT_ONCE, 0),
            (&[("age", "30")], slow, 34),
            (&[("date", HOUR_AGO), ("age", "30")], slow, 3604),
        ];
        for (fields, timing, seconds) in cases {
            let age = of(200, fields, &TtlPolicy::default(), timing).0.age(timing.received);
            assert_eq!(age, Duration::from_secs(seconds), "{fields:?}");
        }
        let fraction = Timing { requested: NOW, received: Wall::from_millis(NOW.millis() + 900) };
        let age = of(200, &[DATE], &TtlPolicy::default(), fraction).0.age(fraction.received);
        assert_eq!(age, Duration::from_millis(900), "the delay, and not the second's fraction on top");
    }

    #[test]
    fn an_age_that_cannot_be_read_makes_stale() {
        for lines in [
            &["abc"][..],
            &["-7200"],
            &["7200.0"],
            &["7200;foo=bar"],
            &["0, 0"],
            &["0", "7200"],
            &["0", "0"],
            &[""],
        ] {
            let mut fields = vec![DATE, ("cache-control", "max-age=3600")];
            fields.extend(lines.iter().map(|line| ("age", *line)));
            let (lifetime, _) = lifetime(&fields, &TtlPolicy::default());
            assert!(lifetime.ttl(NOW) <= 0, "{lines:?}");
            assert_ne!(lifetime.judge(&RequestDirectives::default(), NOW), Freshness::Fresh, "{lines:?}");
        }
    }

    fn revalidate(requested: bool, on_error: bool, on_overload: bool) -> Freshness {
        Freshness::Revalidate(Revalidate { requested, on_error, on_overload })
    }

    /// RFC 9111 §4.2.4, §5.2.2; RFC 5861.
    #[test]
    fn what_responses_allow() {
        let ttl = TtlPolicy {
            stale_while_revalidate: Duration::from_secs(10),
            stale_if_error: Duration::from_secs(20),
            stale_on_overload: Duration::from_secs(30),
            ..TtlPolicy::default()
        };
        let never = revalidate(false, false, false);
        for (line, seconds, expected) in [
            ("max-age=60", 0, Freshness::Fresh),
            ("max-age=60", 59, Freshness::Fresh),
            ("max-age=60", 60, Freshness::StaleWhileRevalidate),
            ("max-age=60", 69, Freshness::StaleWhileRevalidate),
            ("max-age=60", 70, revalidate(false, true, true)),
            ("max-age=60", 80, revalidate(false, false, true)),
            ("max-age=60", 90, never),
            ("max-age=60, stale-while-revalidate=0", 60, revalidate(false, true, true)),
            ("max-age=60, stale-while-revalidate=5, stale-if-error=100", 159, revalidate(false, true, false)),
            ("max-age=60, must-revalidate", 59, Freshness::Fresh),
            ("max-age=60, must-revalidate", 60, never),
            ("max-age=60, must-revalidate, stale-while-revalidate=5", 60, never),
            ("max-age=60, proxy-revalidate, stale-if-error=5", 60, never),
            ("s-maxage=60", 59, Freshness::Fresh),
            ("s-maxage=60", 60, never),
            ("s-maxage=60, stale-while-revalidate=5", 60, Freshness::StaleWhileRevalidate),
            ("s-maxage=60, stale-if-error=5", 60, revalidate(false, true, false)),
            ("max-age=60, no-cache", 0, never),
            ("max-age=60, no-cache, stale-while-revalidate=100", 0, never),
            ("max-age=0", 0, never),
            ("max-age=0", 5, never),
            ("max-age=0, stale-while-revalidate=10", 5, Freshness::StaleWhileRevalidate),
            ("max-age=60, immutable", 70, revalidate(false, true, true)),
        ] {
            let (lifetime, _) = lifetime(&[("cache-control", line)], &ttl);
            let judged = lifetime.judge(&RequestDirectives::default(), later(seconds));
            assert_eq!(judged, expected, "{line} after {seconds}s");
        }
    }

    /// RFC 9111 §5.2.1.
    #[test]
    fn what_requests_ask_for() {
        let ttl = TtlPolicy { stale_if_error: Duration::from_secs(20), ..TtlPolicy::default() };
        let requested = revalidate(true, true, true);
        for (line, asks, seconds, expected) in [
            ("max-age=60", "no-cache", 0, revalidate(true, false, false)),
            ("max-age=60", "no-cache", 70, revalidate(false, false, false)),
            ("max-age=60", "max-age=0", 0, requested),
            ("max-age=60", "max-age=10", 9, Freshness::Fresh),
            ("max-age=60", "max-age=10", 10, requested),
            ("max-age=60", "min-fresh=10", 50, Freshness::Fresh),
            ("max-age=60", "min-fresh=10", 51, requested),
            ("max-age=60", "no-store", 0, Freshness::Fresh),
            ("max-age=60", "only-if-cached", 0, Freshness::Fresh),
            ("max-age=60", "max-stale", 9999, Freshness::MaxStale),
            ("max-age=60", "max-stale=10", 70, Freshness::MaxStale),
            ("max-age=60", "max-stale=10", 71, revalidate(false, true, false)),
            ("max-age=60", "max-stale=10, max-age=65", 66, revalidate(false, true, false)),
            ("max-age=60", "stale-if-error=100", 159, revalidate(false, true, false)),
            ("max-age=60", "stale-if-error=1", 70, revalidate(false, false, false)),
            ("max-age=60, must-revalidate", "max-stale", 60, revalidate(false, false, false)),
            ("max-age=60, must-revalidate", "stale-if-error=100", 60, revalidate(false, false, false)),
            ("s-maxage=60", "max-stale", 60, revalidate(false, false, false)),
            ("max-age=0", "max-stale", 5, revalidate(false, false, false)),
            ("max-age=60, no-cache", "max-stale", 0, revalidate(false, false, false)),
        ] {
            let (lifetime, _) = lifetime(&[("cache-control", line)], &ttl);
            let judged = lifetime.judge(&request(asks), later(seconds));
            assert_eq!(judged, expected, "{line}, asked for {asks} after {seconds}s");
        }
    }

    #[test]
    fn usefulness_ends_with_the_last_window() {
        let ttl = TtlPolicy { stale_if_error: Duration::from_secs(20), ..TtlPolicy::default() };
        for (line, until) in [
            ("max-age=60", later(80)),
            ("max-age=60, stale-while-revalidate=100", later(160)),
            ("max-age=60, must-revalidate", later(60)),
            ("max-age=60, no-cache", NOW),
            ("max-age=0", NOW),
        ] {
            let (lifetime, _) = lifetime(&[("cache-control", line)], &ttl);
            assert_eq!(lifetime.useful_until(), until, "{line}");
            assert_eq!(lifetime.is_useful(), until > NOW, "{line}");
        }
        let (old, _) = lifetime(&[("cache-control", "max-age=60"), ("age", "100")], &ttl);
        assert!(!old.is_useful());
    }

    #[test]
    fn what_is_invalidated_must_be_validated() {
        let (lifetime, _) = lifetime(&[("cache-control", "max-age=60")], &TtlPolicy::default());
        assert_eq!(lifetime.judge(&RequestDirectives::default(), NOW), Freshness::Fresh);
        let judged = lifetime.invalidated().judge(&request("max-stale"), NOW);
        assert_eq!(judged, revalidate(false, false, false));
    }

    /// RFC 5861 §4: a client's `stale-if-error` holds for what was softly purged in any of its windows, too.
    #[test]
    fn what_was_purged_stands_in_for_as_long_as_the_client_accepts() {
        let fields = [("cache-control", "max-age=10, stale-while-revalidate=100, stale-if-error=60")];
        let (lifetime, _) = lifetime(&fields, &TtlPolicy::default());
        for (line, after, on_error) in [
            ("", 5, true),
            ("", 50, true),
            ("", 75, false),
            ("stale-if-error=5", 14, true),
            ("stale-if-error=5", 15, false),
            ("stale-if-error=5", 50, false),
            ("stale-if-error=0", 5, false),
        ] {
            let judged = lifetime.judge_purged(&request(line), later(after));
            let Freshness::Revalidate(rights) = judged else { panic!("{line} {after}: {judged:?}") };
            assert_eq!(rights.on_error, on_error, "{line} after {after}s");
        }
    }

    #[test]
    fn a_clock_that_steps_back_does_not_underflow() {
        let (lifetime, _) = lifetime(&[("cache-control", "max-age=60")], &TtlPolicy::default());
        let before = NOW.minus(Duration::from_secs(1000));
        assert_eq!((lifetime.age(before), lifetime.ttl(before)), (Duration::ZERO, 60));
    }

    proptest! {
        /// Once stale an entry does not become fresh again by waiting.
        #[test]
        fn freshness_only_goes(
            max_age in 0..1000u32,
            age in 0..1000u32,
            first in 0..2000u64,
            second in 0..2000u64,
        ) {
            let (max_age, age) = (format!("max-age={max_age}"), age.to_string());
            let fields = [("cache-control", max_age.as_str()), ("age", &age)];
            let (lifetime, _) = lifetime(&fields, &TtlPolicy::default());
            let plain = RequestDirectives::default();
            let fresh = |seconds| lifetime.judge(&plain, later(seconds)) == Freshness::Fresh;
            let (first, second) = (first.min(second), first.max(second));
            prop_assert!(fresh(first) || !fresh(second));
            prop_assert_eq!(fresh(first), lifetime.ttl(later(first)) > 0);
        }
    }
}
