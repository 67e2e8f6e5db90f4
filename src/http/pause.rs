//! What an answer says about when to ask again: `Retry-After` and the `RateLimit` fields.
//!
//! ```
//! use std::time::Duration;
//! use forebay::clock::Wall;
//! use forebay::http::pause;
//!
//! let mut headers = http::HeaderMap::new();
//! headers.insert("ratelimit", "\"per-minute\";r=0;t=7".parse()?);
//! assert_eq!(pause::asked_for(&headers, Wall::from_secs(0)), Some(Duration::from_secs(7)));
//! # Ok::<(), http::header::InvalidHeaderValue>(())
//! ```
//!
//! The `RateLimit` fields have had several shapes on their way through the IETF (draft-ietf-httpapi-
//! ratelimit-headers), and origins send all of them: `RateLimit: "name";r=0;t=7` since draft 8,
//! `RateLimit: limit=10, remaining=0, reset=7` in draft 7, `RateLimit-Remaining` and `RateLimit-Reset` before
//! it, and the same with `X-` before there was a draft, where the reset may be a Unix time.

use std::time::Duration;

use http::{HeaderMap, header};

use crate::clock::Wall;

use super::fields;

/// Reset times from here on are points in time, not seconds from now: the year 2001.
const UNIX_TIMES: u64 = 1_000_000_000;

/// What is left of the origin's own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many requests.
    pub remaining: u64,
    /// Until when; then there are more.
    pub reset: Duration,
}

/// How long the origin asks to wait: what `Retry-After` says, or, where nothing is left of its limit, the
/// time to its reset. `Retry-After` goes first where there are both (the draft, section 5).
pub fn asked_for(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    retry_after(headers, now)
        .or_else(|| standing(headers, now).filter(|standing| standing.remaining == 0).map(|left| left.reset))
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110 §10.2.3). A field that is neither asks for
/// nothing.
pub fn retry_after(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(secs) = number(text) {
        return Some(Duration::from_secs(secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(Wall::from(date).since(now))
}

/// What the `RateLimit` fields say, in whatever shape; of several limits the one with the least left, and of
/// those the one that takes longest.
pub fn standing(headers: &HeaderMap, now: Wall) -> Option<Standing> {
    let lines = headers.get_all(&fields::RATELIMIT).iter().filter_map(|line| line.to_str().ok());
    let listed = lines.flat_map(of_line);
    let pairs = [("ratelimit-remaining", "ratelimit-reset"), ("x-ratelimit-remaining", "x-ratelimit-reset")];
    let paired = pairs.into_iter().filter_map(|(remaining, reset)| {
        let of = |name| headers.get(name)?.to_str().ok();
        Some(Standing { remaining: number(of(remaining)?)?, reset: reset_of(number(of(reset)?)?, now) })
    });
    listed.chain(paired).min_by_key(|standing| (standing.remaining, std::cmp::Reverse(standing.reset)))
}

/// The limits that one `RateLimit` line tells of.
fn of_line(line: &str) -> Vec<Standing> {
    let items = || split(line, ',');
    let named = items().filter_map(|item| of_words(split(item, ';').skip(1), "r", "t"));
    named.chain(of_words(items(), "remaining", "reset")).collect()
}

/// What two of several `name=number` say.
fn of_words<'a>(words: impl Iterator<Item = &'a str>, remaining: &str, reset: &str) -> Option<Standing> {
    let (mut left, mut secs) = (None, None);
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        let of = if name.trim() == remaining { &mut left } else { &mut secs };
        if name.trim() == remaining || name.trim() == reset {
            *of = number(value.trim());
        }
    }
    Some(Standing { remaining: left?, reset: Duration::from_secs(secs?) })
}

/// Splits where no quoted string is (RFC 9651 §3.3.3).
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        escaped = quoted && c == '\\';
        quoted ^= c == '"';
        !quoted && c == at
    })
    .map(str::trim)
}

fn reset_of(secs: u64, now: Wall) -> Duration {
    if secs >= UNIX_TIMES { Wall::from_secs(secs).since(now) } else { Duration::from_secs(secs) }
}

/// A whole number; one that does not fit is still a number, far beyond any deadline.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::from(u32::MAX)).min(u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// RFC 9110 §10.2.3.
    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Wall::from_secs(784_111_770); // seven seconds before RFC 9110's example date
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 3 ", Some(3)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
            ("Sun Nov  6 08:49:37 1994", Some(7)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = headers(&[("retry-after", text)]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn rate_limit_fields_of_all_drafts() {
        let now = Wall::from_secs(1_700_000_000);
        for (lines, expected) in [
            (&[("ratelimit", r#""default";r=50;t=30"#)][..], Some((50, 30))),
            (&[("ratelimit", "default; t=30; r=50; pk=:cHsg:")], Some((50, 30))),
            // Of several limits, the tightest.
            (&[("ratelimit", r#""a";r=5;t=1, "b";r=0;t=9"#)], Some((0, 9))),
            (&[("ratelimit", r#""a";r=0;t=1"#), ("ratelimit", r#""b";r=0;t=9"#)], Some((0, 9))),
            // A name may say anything.
            (&[("ratelimit", r#""a,b;r=1;t=1\"";r=7;t=2"#)], Some((7, 2))),
            (&[("ratelimit", "limit=100, remaining=3, reset=20")], Some((3, 20))),
            (
                &[("ratelimit-limit", "100"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "5")],
                Some((0, 5)),
            ),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060")], Some((0, 60))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1600000000")], Some((0, 0))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "60")], Some((0, 60))),
            (&[("ratelimit", r#""default";r=0"#)], None),
            (&[("ratelimit", r#""default";r=-1;t=5"#)], None),
            (&[("ratelimit", "r=0;t=5")], None),
            (&[("ratelimit", "\"open")], None),
            (&[("ratelimit-remaining", "0")], None),
            (&[], None),
        ] {
            let expected =
                expected.map(|(remaining, secs)| Standing { remaining, reset: Duration::from_secs(secs) });
            assert_eq!(standing(&headers(lines), now), expected, "{lines:?}");
        }
    }

    #[test]
    fn retry_after_goes_first() {
        let now = Wall::from_secs(0);
        let exhausted = ("ratelimit", r#""a";r=0;t=30"#);
        for (lines, expected) in [
            (&[exhausted][..], Some(30)),
            (&[exhausted, ("retry-after", "2")], Some(2)),
            (&[exhausted, ("retry-after", "soon")], Some(30)),
            (&[("ratelimit", r#""a";r=1;t=30"#)], None),
        ] {
            assert_eq!(asked_for(&headers(lines), now), expected.map(Duration::from_secs), "{lines:?}");
        }
    }
}
