//! What clients say about how long they wait, and what upstreams are told of it.
//!
//! ```
//! use std::time::Duration;
//! use forebay::layers::deadline::signals::Signals;
//! use http::{HeaderMap, HeaderName};
//!
//! let signals = Signals {
//!     grpc: true,
//!     request: Some(HeaderName::from_static("x-request-timeout")),
//!     upstream: Some(HeaderName::from_static("x-deadline-ms")),
//! };
//! let mut headers = HeaderMap::new();
//! headers.insert("x-request-timeout", "2s".parse().unwrap());
//! headers.insert("grpc-timeout", "1500m".parse().unwrap());
//! assert_eq!(signals.asked(&headers), Some(Duration::from_millis(1500))); // the shorter one
//! signals.tell(&mut headers, Duration::from_millis(1200));
//! assert_eq!(headers["x-deadline-ms"], "1200");
//! assert_eq!(headers["grpc-timeout"], "1200000u");
//! ```

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::units::Time;

/// gRPC's field: up to eight digits and a unit.
pub static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most that eight digits say.
const GRPC_MAX: u128 = 99_999_999;

/// Longer than anybody waits, and short enough to be added to any point in time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Which fields say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signals {
    /// Whether `grpc-timeout` is honoured, and passed on with what is left.
    pub grpc: bool,
    /// A request field that says how long the client waits.
    pub request: Option<HeaderName>,
    /// A request field that tells the upstream how many milliseconds are left.
    pub upstream: Option<HeaderName>,
}

impl Signals {
    /// Whether upstreams may be told anything.
    pub const fn tells(&self) -> bool {
        self.grpc || self.upstream.is_some()
    }

    /// How long the client waits, if it says so in a way that we know; the shortest of what it says.
    pub fn asked(&self, headers: &HeaderMap) -> Option<Duration> {
        let grpc = if self.grpc { headers.get(&GRPC_TIMEOUT).and_then(grpc) } else { None };
        let lines = self.request.iter().flat_map(|name| headers.get_all(name));
        let plain = lines.filter_map(plain).min();
        grpc.into_iter().chain(plain).min()
    }

    /// Says that so much is left.
    pub fn tell(&self, headers: &mut HeaderMap, left: Duration) {
        if let Some(name) = &self.upstream {
            let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            headers.insert(name, HeaderValue::from(millis));
        }
        // Without one, the client's own call has no end that its server could be told of.
        if self.grpc && headers.contains_key(&GRPC_TIMEOUT) {
            headers.insert(&GRPC_TIMEOUT, as_grpc(left));
        }
    }
}

/// A duration with its unit, or a number of milliseconds.
fn plain(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are still a number.
        return Some(Duration::from_millis(text.parse().unwrap_or(u64::MAX)).min(LONGEST));
    }
    text.parse::<Time>().ok().map(Time::get)
}

/// `TimeoutValue TimeoutUnit` of gRPC over HTTP/2: 1 to 8 digits and one of `HMSmun`.
fn grpc(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let duration = match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    };
    Some(duration.min(LONGEST))
}

/// As precise as eight digits allow; never more than it is.
fn as_grpc(left: Duration) -> HeaderValue {
    let units = [(left.as_micros(), 'u'), (left.as_millis(), 'm')];
    let fits = units.into_iter().find(|(number, _)| *number <= GRPC_MAX);
    let (number, unit) = fits.unwrap_or((u128::from(left.as_secs()).min(GRPC_MAX), 'S'));
    HeaderValue::try_from(format!("{number}{unit}")).unwrap_or(HeaderValue::from_static("0u"))
}
