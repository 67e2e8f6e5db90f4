//! What tells idempotency keys apart, and the requests that bear them.
//!
//! Only digests are kept: neither credentials nor content stay in memory for the sake of comparing them.

use aws_lc_rs::digest::{Context, SHA256};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::ClientError;
use crate::http::Request;

/// The longest key, in bytes.
pub const LONGEST: usize = 255;

/// A digest.
pub type Digest = [u8; 32];

/// The key in a field, if there is one: a string (RFC 9651 §3.3.3), as the draft wants it, or the bare text
/// that most clients send.
///
/// # Errors
/// [`ClientError::BadIdempotencyKey`] where it is neither, too long, or given twice.
pub fn given(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Box<[u8]>>, ClientError> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(ClientError::BadIdempotencyKey);
    }
    let key = parse(line.as_bytes().trim_ascii()).filter(|key| !key.is_empty() && key.len() <= LONGEST);
    key.map(Some).ok_or(ClientError::BadIdempotencyKey)
}

fn parse(text: &[u8]) -> Option<Box<[u8]>> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let plain = text.iter().all(|byte| byte.is_ascii_graphic() && !b"\",;".contains(byte));
        return plain.then(|| text.into());
    };
    let mut key = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.strip_suffix(b"\"")?.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => key.push(*bytes.next().filter(|byte| b"\"\\".contains(byte))?),
            b' '..=b'~' if *byte != b'"' => key.push(*byte),
            _ => return None,
        }
    }
    Some(key.into())
}

/// A key of one client: `scope` names the fields that tell clients apart.
pub fn scoped(key: &[u8], headers: &HeaderMap, scope: &[HeaderName]) -> Digest {
    let mut context = Context::new(&SHA256);
    for name in scope {
        lines(&mut context, headers, name);
    }
    part(&mut context, key);
    finish(context)
}

/// What a request asks for: the same key with another one is a client's mistake.
pub fn fingerprint(request: &Request, content: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    part(&mut context, request.method.as_str().as_bytes());
    part(&mut context, request.target.scheme.as_str().as_bytes());
    part(&mut context, request.target.authority.as_bytes());
    part(&mut context, request.target.path_and_query.as_str().as_bytes());
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        lines(&mut context, &request.headers, &name);
    }
    part(&mut context, content);
    finish(context)
}

fn lines(context: &mut Context, headers: &HeaderMap, name: &HeaderName) {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    context.update(&(lines.len() as u64).to_be_bytes());
    for line in lines {
        part(context, line.as_bytes());
    }
}

/// With its length before it, so that no two lists of parts look alike.
fn part(context: &mut Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn finish(context: Context) -> Digest {
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}
