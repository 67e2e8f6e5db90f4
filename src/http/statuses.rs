//! Error statuses as users name them, one or all of a class.

use std::ops::RangeInclusive;

/// The statuses that a word stands for: `4xx`, `5xx`, or the number of one from 400 to 599.
///
/// ```
/// use forebay::http::statuses::named;
/// assert_eq!(named("5xx"), Some(500..=599));
/// assert_eq!(named("429"), Some(429..=429));
/// assert_eq!(named("200"), None);
/// ```
pub fn named(word: &str) -> Option<RangeInclusive<u16>> {
    match (word, word.parse::<u16>()) {
        ("4xx", _) => Some(400..=499),
        ("5xx", _) => Some(500..=599),
        (_, Ok(status @ 400..=599)) => Some(status..=status),
        _ => None,
    }
}
