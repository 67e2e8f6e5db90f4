//! The border: hyper's request becomes ours, or is refused.
//!
//! hyper checks syntax and framing. What it leaves to a gateway is done here, once, before anything looks at
//! the request: one unambiguous target, end-to-end fields only, and no field that pretends to come from a
//! proxy we trust.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use http_body::Body as _;
use hyper::body::Incoming as HyperIncoming;

use crate::clock::Now;
use crate::error::{ClientError, Error};
use crate::http::incoming::{Incoming, Side};
use crate::http::normalize::{self, PathRules, TargetError};
use crate::http::{
    Attempt, Interim, Params, Peer, Refused, Request, RequestBody, RequestId, RequestParts, Scheme, Target,
    Trail, fields,
};
use crate::plan::ServerPlan;

use super::client_address::{self, Trusted};
use super::frames;
use super::pretence;
use super::tls::ByName;

/// What the border needs to know of its listener.
#[derive(Debug)]
pub struct Border {
    /// Limits and timeouts.
    pub server: ServerPlan,
    /// Whose forwarding fields are believed.
    pub trusted: Trusted,
    /// The certificates, where it speaks TLS.
    pub certificates: Option<Arc<ByName>>,
}

/// Method names longer than this are nobody's.
const METHOD_MAX: usize = 32;

/// The longest target, in bytes: somewhat more than everyone must accept (RFC 9112 §3).
const TARGET_MAX: usize = 8 * 1024;

/// The longest `X-Request-Id` that is taken over.
const REQUEST_ID_MAX: usize = 128;

/// Takes a request in.
///
/// # Errors
/// When its head breaks a rule that routing, caching or framing depend on. The connection should end then:
/// what follows on it may not be what it seems (RFC 9112 §2.2, §3.2).
pub fn admit(
    mut request: http::Request<HyperIncoming>,
    border: &Border,
    peer: &Arc<Peer>,
    now: Now,
) -> Result<Request, Box<Refused>> {
    let upgrade = wants_websocket(&request).then(|| Box::new(hyper::upgrade::on(&mut request)));
    let (mut parts, body) = request.into_parts();
    let checked = check(&mut parts, &body, border, peer);
    let Checked { target, client, id } = match checked {
        Ok(checked) => checked,
        Err(error) => return Err(refuse(error.into(), Some(parts), peer, now)),
    };
    Ok(Request::from(RequestParts {
        method: parts.method,
        target,
        version: parts.version,
        headers: parts.headers,
        body: take_body(body, parts.version, &border.server),
        received: now,
        deadline: None,
        gives_up: None,
        peer: peer.clone(),
        client: IpAddr::to_canonical(&client),
        id,
        params: Params::new(),
        upgrade,
        may_purge: false,
        interim: Interim::none(),
        trail: Trail::off(),
        attempt: Attempt::default(),
    }))
}

/// What is known of a request that is not taken in, whose head may not even have been read.
pub fn refuse(error: Error, head: Option<Parts>, peer: &Peer, now: Now) -> Box<Refused> {
    Box::new(Refused {
        error,
        id: RequestId::Random(fastrand::u128(..)),
        received: now,
        client: peer.address.ip().to_canonical(),
        scheme: peer.scheme,
        head,
    })
}

/// What the checks found.
struct Checked {
    target: Target,
    client: IpAddr,
    id: RequestId,
}

fn check(
    parts: &mut Parts,
    body: &HyperIncoming,
    border: &Border,
    peer: &Peer,
) -> Result<Checked, ClientError> {
    check_method(&parts.method)?;
    let screened = Screened::of(&parts.headers, parts.version, &border.server)?;
    if screened.special {
        expectation(&mut parts.headers, parts.version)?;
        if fields::hops(&parts.headers) > border.server.max_hops {
            return Err(ClientError::Loop);
        }
    }
    if body.size_hint().lower() > border.server.max_body {
        return Err(ClientError::BodyTooLarge);
    }
    let said = if peer.trusted { client_address::scheme(&parts.headers) } else { None };
    let mut target = target(parts, said.unwrap_or(peer.scheme), border, peer)?;
    let mut client = peer.address.ip();
    let mut id = None;
    if screened.special {
        let headers = &mut parts.headers;
        fields::strip_hop_by_hop(headers);
        if parts.method == Method::OPTIONS && !fields::count_hop(headers) {
            // It is we who are asked, as with the asterisk form (RFC 9110 §7.6.2).
            target.path_and_query = PathAndQuery::from_static("*");
        }
        if peer.trusted {
            client = client_address::behind(headers, client, &border.trusted);
            id = given_id(headers);
        } else {
            pretence::strip(headers, &parts.method);
        }
        pretence::strip_twins(headers);
    }
    if let Some(certificate) = &peer.certificate {
        pretence::tell_of_certificate(&mut parts.headers, certificate);
    }
    let id = id.unwrap_or_else(|| RequestId::Random(fastrand::u128(..)));
    Ok(Checked { target, client, id })
}

/// RFC 9110 §9.3.6, §9.3.8; RFC 9931 §8.
fn check_method(method: &Method) -> Result<(), ClientError> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH => Ok(()),
        Method::TRACE => Err(ClientError::MethodRefused),
        Method::CONNECT => Err(ClientError::MethodNotImplemented),
        _ if method.as_str().len() > METHOD_MAX => Err(ClientError::MethodNotImplemented),
        _ => Ok(()),
    }
}

/// What one pass over the fields found.
struct Screened {
    /// Whether there is a field that needs more than being passed on.
    special: bool,
}

impl Screened {
    fn of(headers: &HeaderMap, version: Version, server: &ServerPlan) -> Result<Self, ClientError> {
        if headers.len() > server.max_headers {
            return Err(ClientError::HeadTooLarge);
        }
        let (mut special, mut bytes) = (false, 0);
        for (name, value) in headers {
            bytes += name.as_str().len() + value.len() + 4;
            special = special || is_special(name);
            if version >= Version::HTTP_2 && is_padded(value) {
                return Err(ClientError::BadRequest(match name.as_str() {
                    frames::FRAGMENT => frames::FRAGMENT,
                    _ => "padded_field_value",
                }));
            }
        }
        if bytes > server.max_header_bytes {
            return Err(ClientError::HeadTooLarge);
        }
        check_framing(headers)?;
        Ok(Self { special })
    }
}

/// Space around a value is the wire's in HTTP/1 and gone by now; in HTTP/2 it makes a message malformed
/// (RFC 9113 §8.2.1).
fn is_padded(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    blank(value.as_bytes().first()) || blank(value.as_bytes().last())
}

/// Refuses what another recipient could frame differently (RFC 9112 §6.1, §6.3). hyper has made sure that
/// the last coding is chunked; it may not be the only one. Where there was a length too, it has dropped that
/// and closes the connection after the answer.
fn check_framing(headers: &HeaderMap) -> Result<(), ClientError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err(ClientError::BadRequest("both_framings"));
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(ClientError::BadRequest("transfer_coding"));
    }
    Ok(())
}

/// Whether a field may concern the connection, a proxy or an expectation.
fn is_special(name: &HeaderName) -> bool {
    match *name {
        header::HOST
        | header::ACCEPT
        | header::USER_AGENT
        | header::ACCEPT_ENCODING
        | header::CONTENT_LENGTH => false,
        header::EXPECT | header::FORWARDED | header::MAX_FORWARDS | header::VIA => true,
        _ if fields::is_hop_by_hop(name) => true,
        _ => {
            let name = name.as_str();
            name.starts_with("x-") || name.contains('_') || name.starts_with("client-cert")
        }
    }
}

/// The one target of a request (RFC 9112 §3.2, RFC 9113 §8.3.1). It is taken out of the head, but only if
/// nothing is wrong with it: a refused request is logged as it came.
fn target(parts: &mut Parts, scheme: Scheme, border: &Border, peer: &Peer) -> Result<Target, ClientError> {
    if parts.uri.path_and_query().is_some_and(|given| given.as_str().len() > TARGET_MAX) {
        return Err(ClientError::TargetTooLong);
    }
    let authority = authority(parts, scheme)?;
    // RFC 9110 §7.4: what is asked for by `https` must have come that way; of proxies it is believed.
    let is_secure = scheme == Scheme::Https || peer.trusted;
    if !is_secure && parts.uri.scheme_str() == Some("https") {
        return Err(ClientError::Misdirected);
    }
    if let (Some(name), Some(certificates)) = (&peer.server_name, &border.certificates)
        && !certificates.serve(name, &authority)
    {
        return Err(ClientError::Misdirected);
    }
    let normalized = match parts.uri.path_and_query() {
        Some(given) => path_of(given, &parts.method, &border.server.paths)?,
        None => Some(PathAndQuery::from_static("/")),
    };
    parts.headers.remove(header::HOST);
    let given = std::mem::take(&mut parts.uri).into_parts().path_and_query;
    let path_and_query = normalized.or(given).unwrap_or(PathAndQuery::from_static("/"));
    Ok(Target { scheme, authority, path_and_query })
}

/// Host and port that are asked for, in canonical form.
fn authority(parts: &Parts, scheme: Scheme) -> Result<HeaderValue, ClientError> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(ClientError::BadRequest("several_hosts"));
    }
    match (parts.uri.authority(), host) {
        (Some(authority), host) => {
            match parts.uri.scheme_str() {
                Some("http" | "https") => {}
                Some(_) => return Err(ClientError::BadRequest("unknown_scheme")),
                // CONNECT's authority form (RFC 9112 §3.2.3), or a path without its slash.
                None => return Err(ClientError::BadRequest("authority_form")),
            }
            let value = HeaderValue::from_str(authority.as_str());
            let value = value.map_err(|_| ClientError::BadRequest("bad_authority"))?;
            let authority = authority_of(&value, scheme)?;
            // HTTP/1 lets the target win, but wants a good `Host` nonetheless (RFC 9112 §3.2, §3.2.2).
            match host.map(|host| authority_of(host, scheme)).transpose()? {
                None if parts.version == Version::HTTP_11 => Err(ClientError::BadRequest("no_host")),
                Some(host) if parts.version >= Version::HTTP_2 && host != authority => {
                    Err(ClientError::BadRequest("host_is_not_authority"))
                }
                _ => Ok(authority),
            }
        }
        (None, Some(host)) => authority_of(host, scheme),
        (None, None) if parts.version <= Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        (None, None) => Err(ClientError::BadRequest("no_host")),
    }
}

fn authority_of(value: &HeaderValue, scheme: Scheme) -> Result<HeaderValue, ClientError> {
    normalize::authority_value(value, scheme).map_err(bad_target)
}

/// The normalised path; `None` where it is that already.
fn path_of(
    given: &PathAndQuery,
    method: &Method,
    rules: &PathRules,
) -> Result<Option<PathAndQuery>, ClientError> {
    match given.as_str() {
        // Only OPTIONS has an asterisk form (RFC 9112 §3.2.4).
        "*" if *method == Method::OPTIONS => Ok(None),
        "*" => Err(ClientError::BadRequest("asterisk_form")),
        _ => normalize::path_and_query(given, *rules).map_err(bad_target),
    }
}

const fn bad_target(error: TargetError) -> ClientError {
    match error {
        TargetError::TooLong => ClientError::TargetTooLong,
        error => ClientError::BadRequest(error.as_str()),
    }
}

/// `100-continue` is hyper's to answer, when the body is first asked for; others are unknown (RFC 9110
/// §10.1.1).
fn expectation(headers: &mut HeaderMap, version: Version) -> Result<(), ClientError> {
    let mut expected = headers.get_all(header::EXPECT).iter();
    let first = expected.next();
    let known = match first {
        None => return Ok(()),
        Some(value) => value.as_bytes().eq_ignore_ascii_case(b"100-continue") && expected.next().is_none(),
    };
    headers.remove(header::EXPECT);
    // An HTTP/1.0 client cannot expect anything: its field is ignored.
    if known || version <= Version::HTTP_10 { Ok(()) } else { Err(ClientError::UnknownExpectation) }
}

/// The id a trusted proxy gave.
fn given_id(headers: &HeaderMap) -> Option<RequestId> {
    let value = headers.get(&fields::X_REQUEST_ID)?;
    let usable = value.len() <= REQUEST_ID_MAX
        && !value.is_empty()
        && value.as_bytes().iter().all(|byte| byte.is_ascii_graphic());
    usable.then(|| RequestId::Given(value.clone()))
}

/// A WebSocket handshake (RFC 6455 §4.1): the only upgrade that is passed on, and never with content.
fn wants_websocket(request: &http::Request<HyperIncoming>) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && headers.contains_key(header::UPGRADE)
        && *request.method() == Method::GET
        && request.body().is_end_stream()
        && headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        })
}

fn take_body(body: HyperIncoming, version: Version, server: &ServerPlan) -> RequestBody {
    if body.is_end_stream() {
        return RequestBody::Empty;
    }
    // A stream of messages is silent between them.
    let is_stream = version >= Version::HTTP_2 && body.size_hint().exact().is_none();
    let body = Incoming::new(body, Side::Client, server.body_timeout, server.max_body);
    RequestBody::Incoming(Box::new(body.at_least(if is_stream { 0 } else { server.min_rate })))
}
