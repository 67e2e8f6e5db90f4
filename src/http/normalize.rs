//! What a request asks for, in the one form that routing, cache key and upstream all use (RFC 3986 §6.2.2).
//!
//! ```
//! use forebay::http::normalize::{self, PathRules};
//! let path = normalize::path("/a/%2e%2E//%7Euser/./%e2%82%ac", PathRules::default())?;
//! assert_eq!(path, "/~user/%E2%82%AC");
//! # Ok::<(), normalize::TargetError>(())
//! ```
//!
//! It happens once, before everything: whoever normalises twice, or for one purpose only, lets a request be
//! one thing for the policy and another for the origin. So what servers read in two ways is refused and not
//! repaired: `\`, `%5C`, encoded control characters, `..;x`, `a%2F..`. A `%2F` stays encoded: it is part of
//! its segment. Double encoding stays double: `%252e` is the text `%2e` and no dot. A `;` is a part of its
//! segment too (RFC 3986 §3.3), unless the rules refuse it.
//!
//! Characters that a path cannot have but clients send (`"<>[]^{|}` and the backtick) become percent
//! triplets.

use std::borrow::Cow;

use http::uri::PathAndQuery;

use crate::error::{ClientError, Error};

pub use super::authority::{authority, authority_value, host};

/// What is wrong with a request target or a `Host` (RFC 9110 §4.2, §7.2; RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum TargetError {
    /// It does not begin with a slash.
    NotAPath,
    /// A control character, a space, a `#` or a byte beyond ASCII stands in it as it is.
    BadByte,
    /// A backslash, encoded or not: some servers take it for a slash.
    Backslash,
    /// A percent sign without two hexadecimal digits after it.
    BadTriplet,
    /// An encoded control character, `%00` first of all.
    EncodedControl,
    /// `%2F`, where `encoded_slash` says to refuse it.
    EncodedSlash,
    /// A `;` or a `%3B`, where `path_parameters` says to refuse it.
    Parameters,
    /// A dot segment in disguise: `..;x`, `a%2F..`.
    DisguisedDots,
    /// Longer than a target may be: 414.
    TooLong,
    /// No host where there must be one.
    NoHost,
    /// Not the name or the address of a host.
    BadHost,
    /// Not a port.
    BadPort,
    /// `user@` before the host (RFC 9110 §4.2.4).
    UserInfo,
}

impl TargetError {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAPath => "target_not_a_path",
            Self::BadByte => "target_bad_byte",
            Self::Backslash => "target_backslash",
            Self::BadTriplet => "target_bad_percent_encoding",
            Self::EncodedControl => "target_encoded_control",
            Self::EncodedSlash => "target_encoded_slash",
            Self::Parameters => "target_parameters",
            Self::DisguisedDots => "target_disguised_dots",
            Self::TooLong => "target_too_long",
            Self::NoHost => "no_host",
            Self::BadHost => "bad_host",
            Self::BadPort => "bad_port",
            Self::UserInfo => "user_info",
        }
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        Self::Client(match error {
            TargetError::TooLong => ClientError::TargetTooLong,
            error => ClientError::BadRequest(error.as_str()),
        })
    }
}

/// Where paths leave a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// `//` is `/`.
    pub merge_slashes: bool,
    /// `%2F` is refused.
    pub reject_encoded_slash: bool,
    /// `;` and `%3B` are refused.
    pub reject_parameters: bool,
}

impl PathRules {
    /// For a path of our own making: slashes are kept, for whether they merge, and what is refused, was
    /// decided when the request came in.
    pub const AS_MADE: Self =
        Self { merge_slashes: false, reject_encoded_slash: false, reject_parameters: false };
}

impl Default for PathRules {
    fn default() -> Self {
        Self { merge_slashes: true, ..Self::AS_MADE }
    }
}

/// Normalises a path and checks the query, which stays as it is. `None`: it was normal already.
///
/// # Errors
/// What cannot be forwarded safely, see [`TargetError`].
pub fn path_and_query(target: &PathAndQuery, rules: PathRules) -> Result<Option<PathAndQuery>, TargetError> {
    let text = target.as_str();
    if let Some(end) = normal_end(text.as_bytes(), rules) {
        check_query(text.as_bytes().get(end..).unwrap_or_default())?;
        return Ok(None);
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    // `http://host?query` has an empty path, which is `/` (RFC 9110 §4.2.3).
    let mut normal = rewrite(if path.is_empty() { "/" } else { path }, rules)?;
    if let Some(query) = query {
        check_query(query.as_bytes())?;
        normal.push('?');
        normal.push_str(query);
    }
    PathAndQuery::try_from(normal).map(Some).map_err(|_| TargetError::TooLong)
}

/// Normalises a path without a query; borrows it where it was normal already.
///
/// # Errors
/// What cannot be forwarded safely, see [`TargetError`].
pub fn path(path: &str, rules: PathRules) -> Result<Cow<'_, str>, TargetError> {
    match normal_end(path.as_bytes(), rules) {
        Some(end) if end == path.len() => Ok(Cow::Borrowed(path)),
        _ => rewrite(path, rules).map(Cow::Owned),
    }
}

/// What a byte is in a path.
enum Class {
    Plain,
    Slash,
    Dot,
    Percent,
    Question,
    Other,
}

const fn class(byte: u8) -> Class {
    match byte {
        b'/' => Class::Slash,
        b'.' => Class::Dot,
        b'%' => Class::Percent,
        b'?' => Class::Question,
        byte if is_unreserved(byte) => Class::Plain,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
            Class::Plain
        }
        _ => Class::Other,
    }
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Where the path ends, if it is surely normal. It may say no to a normal path that looks odd.
fn normal_end(bytes: &[u8], rules: PathRules) -> Option<usize> {
    if bytes.first() != Some(&b'/') {
        return None;
    }
    let mut at = 1;
    let mut after_slash = true;
    while let Some(&byte) = bytes.get(at) {
        let slash = std::mem::replace(&mut after_slash, false);
        match class(byte) {
            Class::Plain if byte == b';' && rules.reject_parameters => return None,
            Class::Plain => {}
            Class::Slash if slash && rules.merge_slashes => return None,
            Class::Slash => after_slash = true,
            Class::Dot if slash => match bytes.get(at + 1) {
                None | Some(b'/' | b'?' | b'.' | b';' | b'%') => return None,
                Some(_) => {}
            },
            Class::Dot => {}
            Class::Percent => {
                let (high, low) = (*bytes.get(at + 1)?, *bytes.get(at + 2)?);
                let value = triplet(high, low)?;
                let raised = high.is_ascii_lowercase() || low.is_ascii_lowercase();
                if raised
                    || value == b'/'
                    || value == b'\\'
                    || value == b';' && rules.reject_parameters
                    || value.is_ascii_control()
                    || is_unreserved(value)
                {
                    return None;
                }
                at += 2;
            }
            Class::Question => return Some(at),
            Class::Other => return None,
        }
        at += 1;
    }
    Some(at)
}

/// The value of two hexadecimal digits.
pub const fn triplet(high: u8, low: u8) -> Option<u8> {
    match ((high as char).to_digit(16), (low as char).to_digit(16)) {
        (Some(high), Some(low)) => Some((high * 16 + low) as u8),
        _ => None,
    }
}

/// The normal form of a path that is not surely normal.
fn rewrite(path: &str, rules: PathRules) -> Result<String, TargetError> {
    let mut segments = path.strip_prefix('/').ok_or(TargetError::NotAPath)?.split('/').peekable();
    // Every segment goes out with its slash in front, so a last dot segment owes one.
    let mut out = String::with_capacity(path.len());
    let mut segment = String::new();
    while let Some(raw) = segments.next() {
        let last = segments.peek().is_none();
        segment.clear();
        decode(raw, &mut segment, rules)?;
        match segment.as_str() {
            "" if rules.merge_slashes && !last => {}
            "." if !last => {}
            "." => out.push('/'),
            ".." => {
                out.truncate(out.rfind('/').unwrap_or_default());
                if last {
                    out.push('/');
                }
            }
            segment => {
                check_disguise(segment)?;
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    Ok(out)
}

/// Adds a segment to `out`: triplets of unreserved characters decoded, others in upper case.
fn decode(raw: &str, out: &mut String, rules: PathRules) -> Result<(), TargetError> {
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match class(byte) {
            Class::Plain if byte == b';' && rules.reject_parameters => return Err(TargetError::Parameters),
            Class::Plain | Class::Dot => out.push(char::from(byte)),
            Class::Percent => {
                let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else {
                    return Err(TargetError::BadTriplet);
                };
                match triplet(high, low).ok_or(TargetError::BadTriplet)? {
                    b'\\' => return Err(TargetError::Backslash),
                    b'/' if rules.reject_encoded_slash => return Err(TargetError::EncodedSlash),
                    b';' if rules.reject_parameters => return Err(TargetError::Parameters),
                    value if value.is_ascii_control() => return Err(TargetError::EncodedControl),
                    value if is_unreserved(value) => out.push(char::from(value)),
                    value => encode(value, out),
                }
            }
            Class::Other => match byte {
                b'\\' => return Err(TargetError::Backslash),
                b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => encode(byte, out),
                _ => return Err(TargetError::BadByte),
            },
            Class::Slash | Class::Question => return Err(TargetError::BadByte),
        }
    }
    Ok(())
}

/// Adds a byte as a percent triplet, in upper case (RFC 3986 §2.1).
pub fn encode(byte: u8, out: &mut String) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
    out.push('%');
    out.push(digit(byte >> 4));
    out.push(digit(byte & 0xf));
}

/// A text that a person wrote, as it is on the wire: spaces and what is not ASCII become percent triplets.
pub fn encode_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte == b' ' || !byte.is_ascii() {
            encode(byte, &mut out);
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

/// Refuses a segment that some server would take for a dot segment, once it has decoded a slash or cut a
/// parameter.
fn check_disguise(segment: &str) -> Result<(), TargetError> {
    let is_dots = |part: &str| {
        let end = part.find(';').into_iter().chain(part.find("%3B")).min().unwrap_or(part.len());
        matches!(part.get(..end), Some("." | ".."))
    };
    if segment.split("%2F").any(is_dots) { Err(TargetError::DisguisedDots) } else { Ok(()) }
}

/// A query is opaque, but it is visible ASCII and no fragment (RFC 9112 §3.2).
fn check_query(query: &[u8]) -> Result<(), TargetError> {
    if query.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        Ok(())
    } else {
        Err(TargetError::BadByte)
    }
}

#[cfg(test)]
#[path = "normalize_tests.rs"]
mod tests;
