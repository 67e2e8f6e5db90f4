//! Our request as an endpoint gets it: whom it is for, on whose behalf it comes, and how its body is framed.
//!
//! Hop-by-hop fields are gone already (the ingress). What surprises:
//! - `X-Forwarded-For` always gains the address of the connection; what stood there before is a trusted
//!   proxy's.
//! - A `traceparent` that is not valid is replaced, and its `tracestate` goes with it (W3C Trace Context
//!   §3.2, §3.3).
//! - `Content-Length` is the body's own or absent; hyper frames what has no known length.

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
use crate::http::{Interim, Request, RequestId, RequestParts, Scheme, fields, text};

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
        let given = Given::among(headers);
        headers.reserve(8);
        if self.upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        forwarded_for(headers, self.address);
        if !given.forwarded_proto {
            headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(self.scheme.as_str()));
        }
        if !given.forwarded_host && !self.authority.is_empty() {
            headers.insert(X_FORWARDED_HOST.clone(), self.authority.clone());
        }
        if self.forwarded || given.forwarded {
            forwarded(headers, self.address, &self.authority, self.scheme);
        }
        if given.trace {
            trace(headers, &self.id, self.span);
        } else {
            headers.insert(TRACEPARENT.clone(), traceparent(&self.id, self.span));
        }
        headers.insert(X_REQUEST_ID.clone(), self.id.to_value());
        headers.append(header::VIA, via(self.version));
    }
}

/// Which of the fields that we have a say in are there already: one look at every name costs less than one
/// search for each of these.
#[derive(Debug, Default)]
struct Given {
    forwarded_proto: bool,
    forwarded_host: bool,
    forwarded: bool,
    trace: bool,
}

impl Given {
    fn among(headers: &HeaderMap) -> Self {
        let mut given = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "x-forwarded-proto" => given.forwarded_proto = true,
                "x-forwarded-host" => given.forwarded_host = true,
                "forwarded" => given.forwarded = true,
                "traceparent" | "tracestate" => given.trace = true,
                _ => {}
            }
        }
        given
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
    text::address(&mut value, address);
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(X_FORWARDED_FOR.clone(), value);
    }
}

/// Continues `Forwarded` (RFC 7239 §4).
fn forwarded(headers: &mut HeaderMap, address: IpAddr, authority: &HeaderValue, scheme: Scheme) {
    let mut value = joined(headers, &FORWARDED);
    let (before, behind) = if address.is_ipv6() { ("for=\"[", "]\"") } else { ("for=", "") };
    value.extend_from_slice(before.as_bytes());
    text::address(&mut value, address);
    value.extend_from_slice(behind.as_bytes());
    if let Ok(host) = authority.to_str()
        && !host.is_empty()
    {
        value.extend_from_slice(b";host=\"");
        value.extend_from_slice(host.as_bytes());
        value.push(b'"');
    }
    value.extend_from_slice(b";proto=");
    value.extend_from_slice(scheme.as_str().as_bytes());
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(FORWARDED.clone(), value);
    }
}

/// What a list field says, ready for one more element.
fn joined(headers: &HeaderMap, name: &header::HeaderName) -> Vec<u8> {
    let mut text = Vec::with_capacity(64);
    for value in headers.get_all(name).iter().filter(|value| value.to_str().is_ok()) {
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b", ");
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
    headers.insert(TRACEPARENT.clone(), traceparent(id, span));
}

/// A trace that starts here, with our part of it.
fn traceparent(id: &RequestId, span: u64) -> HeaderValue {
    let trace = match id {
        RequestId::Random(bits) if *bits != 0 => *bits,
        _ => fastrand::u128(1..),
    };
    let mut value = Vec::with_capacity(55);
    value.extend_from_slice(b"00-");
    text::hex(&mut value, &trace.to_be_bytes());
    value.push(b'-');
    text::hex(&mut value, &span.to_be_bytes());
    value.extend_from_slice(b"-01");
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
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
