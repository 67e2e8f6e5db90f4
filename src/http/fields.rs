//! Header fields: which ones concern one connection only, and names that the `http` crate has no constant
//! for.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What `Allow` says of the server as a whole: the methods that pass to an origin (RFC 9110 §10.2.1).
pub const ALL_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// `Cache-Status` (RFC 9211).
pub static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// `CDN-Cache-Control` (RFC 9213).
pub static CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// `Forebay-CDN-Cache-Control`: the same, for this gateway alone (RFC 9213 §3).
pub static FOREBAY_CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("forebay-cdn-cache-control");
/// `Proxy-Status` (RFC 9209).
pub static PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// `Forwarded` (RFC 7239).
pub static FORWARDED: HeaderName = HeaderName::from_static("forwarded");
/// `X-Forwarded-For`.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Request-Id`.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `X-Client-Cert-Subject`: whose certificate the client has shown us.
pub static X_CLIENT_CERT_SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
/// `X-Client-Cert-San`: the names in it.
pub static X_CLIENT_CERT_SAN: HeaderName = HeaderName::from_static("x-client-cert-san");
/// `Client-Cert` (RFC 9440): the certificate itself.
pub static CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// `traceparent` (W3C Trace Context).
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `Keep-Alive`.
pub static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// `Proxy-Connection`.
pub static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `RateLimit` (the IETF draft).
pub static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `RateLimit-Policy` (the IETF draft).
pub static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Whether a message is one of gRPC or gRPC-Web, by its `Content-Type`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let field = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    field.split_at_checked(TYPE.len()).is_some_and(|(begins, rest)| {
        begins.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b'-' | b' '))
    })
}

/// The token of the one `Authorization: Bearer TOKEN` (RFC 6750 §2.1); the scheme's case does not count (RFC
/// 9110 §11.1).
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, token) = line.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Removes fields that some origins read as another one because `_` and `-` are the same to them
/// (CVE-2025-64484): those whose name is one that `is_meant` with dashes for underscores.
pub fn strip_twins(headers: &mut HeaderMap, is_meant: impl Fn(&HeaderName) -> bool) {
    let is_twin = |name: &&HeaderName| dashed(name).is_some_and(|dashed| is_meant(&dashed));
    let twins: smallvec::SmallVec<[HeaderName; 2]> = headers.keys().filter(is_twin).cloned().collect();
    for name in twins {
        headers.remove(name);
    }
}

/// A name that has underscores, with dashes for them.
fn dashed(name: &HeaderName) -> Option<HeaderName> {
    let name = name.as_str();
    name.contains('_').then(|| HeaderName::from_bytes(name.replace('_', "-").as_bytes()).ok()).flatten()
}

/// The pairs of all `Cookie` fields, as they are but for the blanks around them (RFC 6265 §4.2.1).
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

/// Adds a name to `Vary`, unless it is there or all requests differ (RFC 9110 §12.5.5).
pub fn add_vary(headers: &mut HeaderMap, name: &HeaderName) {
    let mut members = headers
        .get_all(header::VARY)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    if !members.any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_str().as_bytes())) {
        headers.append(header::VARY, HeaderValue::from(name.clone()));
    }
}

/// Takes back what our own cache has said in `Cache-Status`, and leaves what others before it did (RFC 9211
/// §2: ours is the last member).
pub fn disown_cache_status(headers: &mut HeaderMap) {
    let is_ours = |value: &HeaderValue| value.as_bytes().starts_with(b"forebay;");
    let mut said: Vec<HeaderValue> = headers.get_all(&CACHE_STATUS).iter().cloned().collect();
    if said.pop_if(|last| is_ours(last)).is_none() {
        return;
    }
    headers.remove(&CACHE_STATUS);
    for value in said {
        headers.append(&CACHE_STATUS, value);
    }
}

/// Whether a field concerns one connection only (RFC 9110 §7.6.1), whatever `Connection` says.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    // As text: a name without a constant of its own would have to be compared as a whole, one by one.
    matches!(
        name.as_str(),
        "connection"
            | "transfer-encoding"
            | "te"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
    )
}

/// How often a message has passed a Forebay (RFC 9110 §7.6.3).
pub fn hops(headers: &HeaderMap) -> usize {
    let lines = headers.get_all(header::VIA).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    // `1.1 forebay`, perhaps with a comment.
    let is_ours = |member: &[u8]| {
        let mut words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(b"forebay"))
    };
    members.filter(|member| is_ours(member)).count()
}

/// Counts `Max-Forwards` down; false where it says that the request goes no further (RFC 9110 §7.6.2). What
/// is no number is let pass: the field has no say then.
pub fn count_hop(headers: &mut HeaderMap) -> bool {
    let given = headers.get(header::MAX_FORWARDS).and_then(|value| value.to_str().ok());
    let Some(left) = given.and_then(|left| left.parse::<u64>().ok()) else { return true };
    let Some(fewer) = left.checked_sub(1) else { return false };
    headers.insert(header::MAX_FORWARDS, fewer.into());
    true
}

/// Removes the fields that concern one connection only: the fixed ones and those that `Connection` lists
/// (RFC 9110 §7.6.1). A `Connection` that lists a field which must reach the other side is not obeyed.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut found: smallvec::SmallVec<[HeaderName; 4]> = smallvec::SmallVec::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_hop_by_hop(name)) {
        if *name == header::CONNECTION {
            found.extend(listed(value));
        }
        found.push(name.clone());
    }
    for name in found {
        headers.remove(name);
    }
}

/// The fields that a `Connection` lists and that may be taken away.
fn listed(connection: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let tokens = connection.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tokens
        // What it mostly says: an option without a field (RFC 9112 §9.6), and one whose field goes anyway.
        .filter(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !is_protected(name))
}

/// Whether a client may not send a field in a request's trailer section: it belongs in a head, or only a
/// proxy may say it. Who merged it into the head would frame, route or authenticate another request than we
/// have passed on (RFC 9110 §6.5.1). Some origins take `_` for `-`, so here they are the same.
pub fn is_smuggled(name: &HeaderName) -> bool {
    let dashed = dashed(name);
    let name = dashed.as_ref().unwrap_or(name);
    belongs_in_head(name) || is_of_proxies(name)
}

/// Whether a field counts only in a head (RFC 9110 §6.5.1): what frames or routes a message, says who sends
/// it, changes what is asked for or how the answer is kept, tells how to read the content, or concerns one
/// connection.
pub fn belongs_in_head(name: &HeaderName) -> bool {
    is_hop_by_hop(name)
        || name.as_str().starts_with("if-")
        || matches!(
            name.as_str(),
            "age"
                | "authorization"
                | "cache-control"
                | "content-encoding"
                | "content-length"
                | "content-range"
                | "content-type"
                | "cookie"
                | "date"
                | "expect"
                | "expires"
                | "host"
                | "location"
                | "max-forwards"
                | "pragma"
                | "range"
                | "retry-after"
                | "set-cookie"
                | "trailer"
                | "vary"
                | "via"
                | "www-authenticate"
        )
}

/// Whether it is for a trusted proxy alone to say this of a request.
pub fn is_of_proxies(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "client-cert"
                | "client-cert-chain"
                | "forwarded"
                | "x-client-cert-san"
                | "x-client-cert-subject"
                | "x-forwarded"
                | "x-host"
                | "x-http-host-override"
                | "x-original-host"
                | "x-original-url"
                | "x-real-ip"
                | "x-request-id"
                | "x-rewrite-url"
        )
}

/// Fields that `Connection` cannot remove: framing, routing, and what decides who may read an answer.
fn is_protected(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::HOST
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::CONTENT_ENCODING
            | header::CONTENT_RANGE
            | header::AUTHORIZATION
            | header::COOKIE
            | header::SET_COOKIE
            | header::CACHE_CONTROL
            | header::VARY
            | header::DATE
            | header::AGE
            | header::EXPIRES
            | header::VIA
    ) || name.as_str().starts_with("x-forwarded-")
        || name == X_REQUEST_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens() {
        for (lines, token) in [
            (&["Bearer a"][..], Some(&b"a"[..])),
            (&["bearer  a "], Some(b"a")),
            (&["Bearer "], Some(b"")),
            (&["Basic a"], None),
            (&["Bearer"], None),
            (&["Bearer a", "Bearer a"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::AUTHORIZATION, line.parse().unwrap());
            }
            assert_eq!(bearer(&headers), token, "{lines:?}");
        }
    }

    #[test]
    fn vary_names_a_field_once() {
        for (lines, after) in [
            (&[][..], &["accept-encoding"][..]),
            (&["Origin"], &["Origin", "accept-encoding"]),
            (&["Origin, Accept-Encoding"], &["Origin, Accept-Encoding"]),
            (&["Origin", " ACCEPT-ENCODING "], &["Origin", "ACCEPT-ENCODING"]),
            (&["*"], &["*"]),
            (&["x-accept-encoding"], &["x-accept-encoding", "accept-encoding"]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::VARY, line.trim().parse().unwrap());
            }
            add_vary(&mut headers, &header::ACCEPT_ENCODING);
            assert_eq!(headers.get_all(header::VARY).iter().collect::<Vec<_>>(), after, "{lines:?}");
        }
    }

    #[test]
    fn what_trailers_may_not_say() {
        for (name, smuggled) in [
            ("content-length", true),
            ("content_length", true),
            ("transfer-encoding", true),
            ("host", true),
            ("authorization", true),
            ("if-none-match", true),
            ("x-forwarded-for", true),
            ("x_forwarded_for", true),
            ("x-request-id", true),
            ("content-digest", false),
            ("server-timing", false),
            ("grpc-status", false),
            ("x-checksum", false),
        ] {
            assert_eq!(is_smuggled(&HeaderName::from_static(name)), smuggled, "{name}");
        }
        assert!(!belongs_in_head(&X_REQUEST_ID), "a gRPC server may say so at the end");
    }

    #[test]
    fn hops_are_counted_in_all_lines() {
        let mut headers = HeaderMap::new();
        assert_eq!(hops(&headers), 0);
        headers.append(header::VIA, "1.1 forebay, 1.0 other,2 Forebay (a comment)".parse().unwrap());
        headers.append(header::VIA, "1.1 forebayed, forebay, HTTP/1.1 forebay".parse().unwrap());
        assert_eq!(hops(&headers), 3);
    }

    #[test]
    fn listed_fields_go_and_protected_ones_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret ,x-forwarded-for, content-length"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("x-secret", "1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "x-forwarded-for"]);
    }
}
