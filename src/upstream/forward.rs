//! Our request as an endpoint gets it: whom it is for, on whose behalf it comes, and how its body is framed.
//!
//! Hop-by-hop fields are gone already (the ingress). What surprises:
//! - `X-Forwarded-For` always gains the address of the connection; what stood there before is a trusted
//!   proxy's.
//! - A `traceparent` that is not valid is replaced, and its `tracestate` goes with it (W3C Trace Context
//!   §3.2, §3.3).
//! - `Content-Length` is the body's own or absent; hyper frames what has no known length.

use std::fmt::Write;
use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method, Version};
use http_body::Body;

use crate::clock::Instant;
use crate::error::{Error, InternalError};
use crate::http::fields::{
    FORWARDED, TRACEPARENT, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID,
};
use crate::http::{Interim, Request, RequestId, RequestParts, Scheme, fields};

use super::endpoint::Endpoint;
use super::plan::HostMode;
use super::upload::{Outgoing, Upload};

/// What a request is aimed at, and on whose behalf: the same for each time it is sent.
#[derive(Debug)]
pub(super) struct Aim {
    path_and_query: PathAndQuery,
    authority: HeaderValue,
    scheme: Scheme,
    client: Client,
}

/// What the fields that we add say.
#[derive(Debug)]
struct Client {
    address: IpAddr,
    authority: HeaderValue,
    scheme: Scheme,
    version: Version,
    id: RequestId,
    /// Our part of a trace that starts here.
    span: u64,
    forwarded: bool,
    upgrade: bool,
    interim: Interim,
}

/// What is sent there; sending uses it up.
#[derive(Debug)]
pub(super) struct Load {
    method: Method,
    headers: HeaderMap,
    body: Outgoing,
    /// Whether our fields are among the headers already.
    dressed: bool,
}

/// How requests of an upstream are forwarded.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// What `Host` says.
    pub(super) host: HostMode,
    /// Whether `Forwarded` is sent where the client sent none.
    pub(super) forwarded: bool,
}

/// Prepares a request for an endpoint. The last part watches the body, where there is something to watch.
pub(super) fn prepare(
    request: Request,
    endpoint: &Endpoint,
    forwarding: &Forwarding,
    now: Instant,
) -> (Aim, Load, Option<Upload>) {
    let RequestParts { method, target, version, headers, body, peer, id, upgrade, interim, .. } =
        request.into_parts();
    let authority = match &forwarding.host {
        HostMode::Preserve if !target.authority.is_empty() => target.authority.clone(),
        HostMode::Preserve | HostMode::Endpoint => endpoint.authority.clone(),
        HostMode::Fixed(fixed) => fixed.clone(),
    };
    let client = Client {
        address: peer.address.ip().to_canonical(),
        authority: target.authority,
        scheme: target.scheme,
        version,
        id,
        span: fastrand::u64(1..),
        forwarded: forwarding.forwarded,
        upgrade: upgrade.is_some(),
        interim,
    };
    let aim = Aim { path_and_query: target.path_and_query, authority, scheme: endpoint.scheme, client };
    let (body, upload) = Outgoing::new(body, now);
    (aim, Load { method, headers, body, dressed: false }, upload)
}

impl Client {
    /// Adds our fields.
    fn dress(&self, headers: &mut HeaderMap) {
        headers.reserve(8);
        if self.upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        forwarded_for(headers, self.address);
        if !headers.contains_key(&X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(self.scheme.as_str()));
        }
        if !headers.contains_key(&X_FORWARDED_HOST) && !self.authority.is_empty() {
            headers.insert(X_FORWARDED_HOST.clone(), self.authority.clone());
        }
        if self.forwarded || headers.contains_key(&FORWARDED) {
            forwarded(headers, self.address, &self.authority, self.scheme);
        }
        trace(headers, &self.id, self.span);
        headers.insert(X_REQUEST_ID.clone(), self.id.to_value());
        headers.append(header::VIA, via(self.version));
    }
}

/// `Via` for a message that was received in this version (RFC 9110 §7.6.3).
pub(super) fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(match received {
        Version::HTTP_09 | Version::HTTP_10 => "1.0 forebay",
        Version::HTTP_2 => "2 forebay",
        Version::HTTP_3 => "3 forebay",
        _ => "1.1 forebay",
    })
}

impl Load {
    /// The request in HTTP/1.1: origin-form and `Host` (RFC 9112 §3.2.1).
    pub(super) fn http1(mut self, aim: &Aim) -> http::Request<Outgoing> {
        self.dress(aim);
        join_cookies(&mut self.headers);
        self.headers.insert(header::HOST, aim.authority.clone());
        if self.body.size_hint().exact().is_none() {
            // hyper would leave out the body of a GET of unknown length (RFC 9112 §6.1 wants it framed).
            self.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut request = self.on(Uri::from(aim.path_and_query.clone()), Version::HTTP_11);
        if !aim.client.interim.is_none() {
            let interim = aim.client.interim.clone();
            hyper::ext::on_informational(&mut request, move |response| {
                interim.push(response.status(), response.headers());
            });
        }
        request
    }

    fn dress(&mut self, aim: &Aim) {
        if std::mem::replace(&mut self.dressed, true) {
            // It was meant for a connection of the other kind, perhaps.
            self.headers.remove(header::TE);
            return;
        }
        set_length(&self.method, &mut self.headers, self.body.size_hint().exact());
        aim.client.dress(&mut self.headers);
    }

    /// The request in HTTP/2: `:scheme`, `:authority` and `:path` (RFC 9113 §8.3.1).
    pub(super) fn http2(mut self, aim: &Aim) -> Result<http::Request<Outgoing>, Error> {
        self.dress(aim);
        const BAD: Error = Error::Internal(InternalError::Bug("an authority that is none"));
        let authority = Authority::try_from(aim.authority.as_bytes()).map_err(|_| BAD)?;
        let uri = Uri::builder()
            .scheme(aim.scheme.as_str())
            .authority(authority)
            .path_and_query(aim.path_and_query.clone())
            .build()
            .map_err(|_| BAD)?;
        self.headers.remove(header::HOST);
        if fields::is_grpc(&self.headers) {
            // gRPC servers insist on it, and it is the one value that HTTP/2 allows (RFC 9113 §8.2.2).
            self.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        Ok(self.on(uri, Version::HTTP_2))
    }

    fn on(self, uri: Uri, version: Version) -> http::Request<Outgoing> {
        let mut request = http::Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = self.headers;
        request
    }

    /// What can be sent again, because nothing of it was.
    pub(super) fn recovered(request: http::Request<Outgoing>) -> Self {
        let (parts, body) = request.into_parts();
        Self { method: parts.method, headers: parts.headers, body, dressed: true }
    }

    /// A second load like this one, where it may be sent twice (RFC 9110 §9.2.2) and its body costs nothing
    /// to keep.
    pub(super) fn replica(&self) -> Option<Self> {
        if !self.method.is_idempotent() {
            return None;
        }
        let body = self.body.replica()?;
        let (method, headers) = (self.method.clone(), self.headers.clone());
        Some(Self { method, headers, body, dressed: self.dressed })
    }
}

/// Makes `Content-Length` say what the body's length is, or nothing.
fn set_length(method: &Method, headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        // A method with a body of its own says that it has none (RFC 9110 §8.6).
        Some(0) if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Some(0) | None => {
            headers.remove(header::CONTENT_LENGTH);
        }
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// One `Cookie` line, as HTTP/1.1 wants it (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

fn forwarded_for(headers: &mut HeaderMap, address: IpAddr) {
    let mut value = joined(headers, &X_FORWARDED_FOR);
    if write!(value, "{address}").is_ok()
        && let Ok(value) = HeaderValue::from_str(&value)
    {
        headers.insert(X_FORWARDED_FOR.clone(), value);
    }
}

/// Continues `Forwarded` (RFC 7239 §4).
fn forwarded(headers: &mut HeaderMap, address: IpAddr, authority: &HeaderValue, scheme: Scheme) {
    let mut value = joined(headers, &FORWARDED);
    let node = match address {
        IpAddr::V4(four) => write!(value, "for={four}"),
        IpAddr::V6(six) => write!(value, "for=\"[{six}]\""),
    };
    let host = match authority.to_str() {
        Ok("") | Err(_) => Ok(()),
        Ok(host) => write!(value, ";host=\"{host}\""),
    };
    let scheme = write!(value, ";proto={}", scheme.as_str());
    if let (Ok(()), Ok(()), Ok(()), Ok(value)) = (node, host, scheme, HeaderValue::try_from(value)) {
        headers.insert(FORWARDED.clone(), value);
    }
}

/// What a list field says, ready for one more element.
fn joined(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let mut text = String::new();
    for value in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
        text.push_str(value);
        text.push_str(", ");
    }
    text
}

/// Starts a trace where the client did not: the request's id is the trace's, so that logs and traces meet.
fn trace(headers: &mut HeaderMap, id: &RequestId, span: u64) {
    let mut given = headers.get_all(&TRACEPARENT).iter();
    if given.next().is_some_and(|value| is_traceparent(value.as_bytes())) && given.next().is_none() {
        return;
    }
    headers.remove("tracestate");
    let trace = match id {
        RequestId::Random(bits) if *bits != 0 => *bits,
        _ => fastrand::u128(1..),
    };
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
    if let Some(digits) = text.get_mut(3..35) {
        hex(trace, digits);
    }
    if let Some(digits) = text.get_mut(36..52) {
        hex(u128::from(span), digits);
    }
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(TRACEPARENT.clone(), value);
    }
}

/// Writes the low digits of a number.
fn hex(mut bits: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        let nibble = (bits & 0xf) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        bits >>= 4;
    }
}

/// `version-traceid-parentid-flags` (W3C Trace Context §3.2.2); a later version may have more to say.
fn is_traceparent(value: &[u8]) -> bool {
    let mut parts = value.splitn(5, |byte| *byte == b'-');
    let mut part = |length: usize, may_be_zero: bool| {
        parts.next().filter(|part| {
            part.len() == length
                && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                && (may_be_zero || part.iter().any(|byte| *byte != b'0'))
        })
    };
    let (version, trace, parent, flags) = (part(2, true), part(32, false), part(16, false), part(2, true));
    let more = parts.next().is_some();
    trace.is_some()
        && parent.is_some()
        && flags.is_some()
        && version.is_some_and(|version| version != b"ff" && (version != b"00" || !more))
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
