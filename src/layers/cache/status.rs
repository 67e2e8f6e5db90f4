//! What the cache did with a request, in one word and in `Cache-Status` (RFC 9211).

use http::{HeaderValue, StatusCode};
use smallvec::SmallVec;

/// What the cache did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered from the store.
    Hit(Hit),
    /// Answered by the origin.
    Forwarded(Forwarded),
}

/// How the store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Seconds of freshness left; negative when stale.
    pub ttl: i64,
    /// Why.
    pub kind: HitKind,
}

/// Which kind of hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HitKind {
    /// Fresh.
    Fresh,
    /// Stale, and the client accepts that.
    MaxStale,
    /// Stale, revalidated in the background.
    StaleWhileRevalidate,
    /// Stale, because the origin failed.
    StaleIfError,
    /// Stale, because admission refused.
    StaleOnOverload,
}

impl HitKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::MaxStale => "max-stale",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::StaleOnOverload => "stale-on-overload",
        }
    }
}

/// How the origin was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Why.
    pub reason: Forward,
    /// The origin's status: 304 when it confirmed the entry.
    pub status: Option<StatusCode>,
    /// Seconds of freshness of what was stored, if it was.
    pub ttl: Option<i64>,
    /// Whether the answer is stored.
    pub stored: bool,
    /// Whether this request waited for another one's answer.
    pub collapsed: bool,
    /// More about it, as a token: why it was not stored, why it was not looked up.
    pub detail: Option<&'static str>,
}

impl Forwarded {
    /// A request that is forwarded for this reason; nothing else is known yet.
    pub const fn new(reason: Forward) -> Self {
        Self { reason, status: None, ttl: None, stored: false, collapsed: false, detail: None }
    }
}

/// Why a request was forwarded (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was told not to handle it.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the key.
    UriMiss,
    /// Nothing is stored that the selecting fields match.
    VaryMiss,
    /// The stored answer is fresh but the request's directives ask for another.
    Request,
    /// The stored answer is stale.
    Stale,
    /// Only part of the answer is stored.
    Partial,
}

impl Forward {
    /// The RFC's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// The outcome in one word, for log and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// Fresh from the store.
    Hit,
    /// Stale from the store.
    Stale,
    /// From the store after the origin confirmed it.
    Revalidated,
    /// With another request's answer.
    Collapsed,
    /// From the origin.
    Miss,
    /// From the origin, without the cache.
    Pass,
}

impl Word {
    /// All, in the order of their discriminants: `Word::ALL[word as usize] == word`.
    pub const ALL: [Self; 6] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Collapsed, Self::Miss, Self::Pass];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Pass => "pass",
        }
    }
}

impl Outcome {
    /// The outcome in one word.
    pub fn word(&self) -> Word {
        match self {
            Self::Hit(Hit { kind: HitKind::Fresh, .. }) => Word::Hit,
            Self::Hit(_) => Word::Stale,
            Self::Forwarded(forwarded) => match forwarded {
                Forwarded { reason: Forward::Bypass | Forward::Method, .. } => Word::Pass,
                Forwarded { collapsed: true, .. } => Word::Collapsed,
                Forwarded { status: Some(StatusCode::NOT_MODIFIED), .. } => Word::Revalidated,
                _ => Word::Miss,
            },
        }
    }

    /// [`word`](Self::word) as text.
    pub fn as_str(&self) -> &'static str {
        self.word().as_str()
    }

    /// The reason, for log and metrics: the most telling token of `Cache-Status`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Hit(hit) => hit.kind.as_str(),
            Self::Forwarded(forwarded) => forwarded.reason.as_str(),
        }
    }

    /// The field value, like `forebay; hit; ttl=30`. One allocation, of its exact size.
    pub fn to_value(&self) -> HeaderValue {
        let mut text = SmallVec::<[u8; 128]>::from_slice(b"forebay; ");
        match self {
            Self::Hit(hit) => hit.write(&mut text),
            Self::Forwarded(forwarded) => forwarded.write(&mut text),
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("forebay"))
    }
}

type Text = SmallVec<[u8; 128]>;

impl Hit {
    fn write(&self, text: &mut Text) {
        text.extend_from_slice(b"hit");
        write_number(text, b"; ttl=", self.ttl);
        if self.kind != HitKind::Fresh {
            write_token(text, b"; detail=", self.kind.as_str());
        }
    }
}

impl Forwarded {
    fn write(&self, text: &mut Text) {
        write_token(text, b"fwd=", self.reason.as_str());
        if let Some(status) = self.status {
            write_token(text, b"; fwd-status=", status.as_str());
        }
        if let Some(ttl) = self.ttl {
            write_number(text, b"; ttl=", ttl);
        }
        if self.stored {
            text.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            text.extend_from_slice(b"; collapsed");
        }
        if let Some(detail) = self.detail {
            write_token(text, b"; detail=", detail);
        }
    }
}

fn write_token(text: &mut Text, parameter: &[u8], token: &str) {
    text.extend_from_slice(parameter);
    text.extend_from_slice(token.as_bytes());
}

fn write_number(text: &mut Text, parameter: &[u8], number: i64) {
    text.extend_from_slice(parameter);
    // RFC 8941 §3.3.1: an sf-integer has at most 15 digits.
    let number = number.clamp(-999_999_999_999_999, 999_999_999_999_999);
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9211 §2.
    #[test]
    fn field_values_and_words() {
        let miss = Forwarded::new(Forward::UriMiss);
        for (outcome, value, word, reason) in [
            (Outcome::Hit(Hit { ttl: 30, kind: HitKind::Fresh }), "forebay; hit; ttl=30", "hit", "fresh"),
            (
                Outcome::Hit(Hit { ttl: -412, kind: HitKind::StaleIfError }),
                "forebay; hit; ttl=-412; detail=stale-if-error",
                "stale",
                "stale-if-error",
            ),
            (
                Outcome::Hit(Hit { ttl: i64::MIN, kind: HitKind::MaxStale }),
                "forebay; hit; ttl=-999999999999999; detail=max-stale",
                "stale",
                "max-stale",
            ),
            (
                Outcome::Forwarded(Forwarded {
                    status: Some(StatusCode::OK),
                    ttl: Some(60),
                    stored: true,
                    collapsed: true,
                    ..miss
                }),
                "forebay; fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed",
                "collapsed",
                "uri-miss",
            ),
            (
                Outcome::Forwarded(Forwarded { detail: Some("no-store"), ..miss }),
                "forebay; fwd=uri-miss; detail=no-store",
                "miss",
                "uri-miss",
            ),
            (
                Outcome::Forwarded(Forwarded {
                    status: Some(StatusCode::NOT_MODIFIED),
                    ..Forwarded::new(Forward::Stale)
                }),
                "forebay; fwd=stale; fwd-status=304",
                "revalidated",
                "stale",
            ),
            (Outcome::Forwarded(Forwarded::new(Forward::Method)), "forebay; fwd=method", "pass", "method"),
        ] {
            assert_eq!(outcome.to_value(), value);
            assert_eq!(outcome.as_str(), word, "{value}");
            assert_eq!(outcome.reason(), reason, "{value}");
        }
    }

    #[test]
    fn words_are_indexed_by_their_discriminants() {
        for (index, word) in Word::ALL.into_iter().enumerate() {
            assert_eq!(word as usize, index, "{}", word.as_str());
        }
    }
}
