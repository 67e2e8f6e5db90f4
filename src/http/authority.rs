//! Host and port in the one form that routing, cache key and upstream all use (RFC 9110 §4.2.3, §7.2).
//!
//! ```
//! use forebay::http::{Scheme, normalize};
//! assert_eq!(normalize::authority(b"API.example.com.:443", Scheme::Https)?, "api.example.com");
//! # Ok::<(), normalize::TargetError>(())
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use http::HeaderValue;

use super::Scheme;
use super::normalize::TargetError;

/// Host and port as [`Target::authority`](super::Target::authority) has them: lower case, no trailing dot, no
/// default port. A value that is so already is shared, not copied.
///
/// # Errors
/// What is no host and port, see [`TargetError`].
pub fn authority_value(value: &HeaderValue, scheme: Scheme) -> Result<HeaderValue, TargetError> {
    if is_canonical(value.as_bytes(), scheme) {
        return Ok(value.clone());
    }
    let canonical = canonical(value.as_bytes(), scheme)?;
    if canonical.as_bytes() == value.as_bytes() {
        return Ok(value.clone());
    }
    HeaderValue::try_from(canonical).map_err(|_| TargetError::BadHost)
}

/// The same for bytes that are no field value.
///
/// # Errors
/// What is no host and port, see [`TargetError`].
pub fn authority(host: &[u8], scheme: Scheme) -> Result<HeaderValue, TargetError> {
    HeaderValue::try_from(canonical(host, scheme)?).map_err(|_| TargetError::BadHost)
}

/// A host without a port in its canonical form: lower case, no trailing dot, IPv6 in brackets (RFC 5952).
///
/// # Errors
/// What is no host, see [`TargetError`].
pub fn host(text: &str) -> Result<String, TargetError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let address: Ipv6Addr = inner.parse().map_err(|_| TargetError::BadHost)?;
        return Ok(format!("[{address}]"));
    }
    let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if is_host(lower.as_bytes()) { Ok(lower) } else { Err(TargetError::BadHost) }
}

/// The longest name of a host, in bytes (RFC 1035 §2.3.4).
const HOST_MAX: usize = 255;

/// Whether this is the canonical name of a host, or the canonical form of an IPv4 address.
///
/// `sub-delims` and percent triplets, which RFC 3986 would let pass in a `reg-name`, are in no name that DNS
/// or a certificate has; in `X-Forwarded-Host` or a log line they would do harm.
fn is_host(name: &[u8]) -> bool {
    let mut last = 0..0;
    for (at, byte) in name.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => last.end = at + 1,
            b'.' if !last.is_empty() => last = at + 1..at + 1,
            _ => return false,
        }
    }
    if last.is_empty() || name.len() > HOST_MAX {
        return false;
    }
    // A name that ends in a number can only be an address: what reads `127.1` does not agree with what does
    // not.
    let numeric = name.get(last).is_some_and(|label| label.iter().all(u8::is_ascii_digit));
    !numeric || std::str::from_utf8(name).is_ok_and(|name| name.parse::<Ipv4Addr>().is_ok())
}

pub(super) fn is_canonical(value: &[u8], scheme: Scheme) -> bool {
    match memchr::memchr(b':', value) {
        None => is_host(value),
        Some(colon) => {
            let (name, port) = value.split_at(colon);
            let port = port.get(1..).unwrap_or_default();
            is_host(name)
                && (port.first() != Some(&b'0') || port == b"0")
                && matches!(parse_port(port), Ok(Some(port)) if port != scheme.default_port())
        }
    }
}

fn canonical(value: &[u8], scheme: Scheme) -> Result<String, TargetError> {
    let text = std::str::from_utf8(value).map_err(|_| TargetError::BadHost)?;
    if text.is_empty() {
        return Err(TargetError::NoHost);
    }
    if text.contains('@') {
        return Err(TargetError::UserInfo);
    }
    let colon =
        if text.starts_with('[') { text.find("]:").map(|bracket| bracket + 1) } else { text.find(':') };
    let (name, port) = text.split_at_checked(colon.unwrap_or(text.len())).ok_or(TargetError::BadHost)?;
    let mut out = host(name)?;
    match parse_port(port.strip_prefix(':').unwrap_or_default().as_bytes())? {
        Some(port) if port != scheme.default_port() => {
            out.push(':');
            out.push_str(itoa::Buffer::new().format(port));
        }
        _ => {}
    }
    Ok(out)
}

/// One to five digits; `None` for no digit at all, which says as much as no port (RFC 3986 §6.2.3).
fn parse_port(digits: &[u8]) -> Result<Option<u16>, TargetError> {
    if digits.len() > 5 {
        return Err(TargetError::BadPort);
    }
    let mut port: u32 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(TargetError::BadPort);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    if digits.is_empty() {
        return Ok(None);
    }
    u16::try_from(port).map(Some).map_err(|_| TargetError::BadPort)
}
