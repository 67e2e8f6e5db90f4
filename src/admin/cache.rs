//! The cache's part of the admin API.
//!
//! - `POST /api/v1/cache/purge` with `{"url": ...}`, `{"prefix": ...}`, `{"tag": ...}` or `{"all": true}`,
//!   and if wanted `"soft": true` and `"route": ...`.
//! - `GET /api/v1/cache/entry?url=...`: what is stored under a URL; never a body, never a field's value that
//!   could be a secret.
//!
//! Both want the token, where there is one. Without one only the machine itself can be meant, and a browser
//! on it is not to be fooled: the `Host` must be an address or `localhost` (a name could be anybody's that
//! was made to point here), a request that a page of another origin made is refused, and an order must be
//! `application/json`, which no form can send.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, ORIGIN, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;

use crate::http::{Response, fields};
use crate::layers::cache::purge::Mode;
use crate::layers::cache::purge::order::{Done, Order, OrderError, StoredHere, What};

use super::{AdminState, JSON, answer};

/// The largest order, in bytes.
pub const ORDER_MAX: usize = 64 * 1024;

/// What the admin API asks of the gateway's caches.
pub trait Caches: Send + Sync {
    /// Purges.
    ///
    /// # Errors
    /// When it names a route or URL that does not exist.
    fn purge(&self, order: &Order) -> Result<Done, OrderError>;

    /// Tells what is stored under a URL.
    fn stored<'a>(&'a self, url: &'a str) -> Telling<'a>;
}

/// What is stored, to be told.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Result<Vec<StoredHere>, OrderError>> + Send + 'a>>;

/// Something that can be asked of the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To purge.
    Purge,
    /// To tell what is stored.
    Entry,
}

impl Call {
    /// What a path asks for.
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "/api/v1/cache/purge" => Some(Self::Purge),
            "/api/v1/cache/entry" => Some(Self::Entry),
            _ => None,
        }
    }

    /// Whether the request may be made, by its head alone.
    ///
    /// # Errors
    /// The response that refuses it.
    pub fn check(self, state: &AdminState, head: &Parts) -> Result<(), Box<Response>> {
        let (allowed, allow) = match self {
            Self::Purge => (head.method == Method::POST, "POST"),
            Self::Entry => (matches!(head.method, Method::GET | Method::HEAD), "GET, HEAD"),
        };
        if !allowed {
            let problem = problem(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow} here"));
            return Err(with(problem, ALLOW, allow));
        }
        authorize(state, &head.headers)?;
        if !is_from_here(&head.headers, state.token.is_empty()) {
            let detail = "a page of another origin asks for this";
            return Err(Box::new(problem(StatusCode::FORBIDDEN, detail)));
        }
        if self == Self::Purge && !is_json(&head.headers) {
            let detail = "the order must be `content-type: application/json`";
            return Err(Box::new(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)));
        }
        Ok(())
    }
}

/// Carries out an order.
pub fn purge(state: &AdminState, body: &[u8]) -> Response {
    let Some(caches) = &state.caches else { return nothing() };
    let order = match read(body) {
        Ok(order) => order,
        Err(what) => return problem(StatusCode::BAD_REQUEST, what),
    };
    match caches.purge(&order) {
        Ok(done) => {
            tracing::info!(
                purged = done.purged,
                mode = done.mode,
                routes = done.routes.len(),
                generation = done.generation,
                "purged"
            );
            json(&done)
        }
        Err(error) => refusal(&error),
    }
}

/// Tells what is stored under the URL in a query.
pub async fn entry(state: &AdminState, query: Option<&str>) -> Response {
    let Some(caches) = &state.caches else { return nothing() };
    let given = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("url="));
    let Some(url) = given.and_then(decoded) else {
        return problem(StatusCode::BAD_REQUEST, "name a URL: `?url=http://host/path`");
    };
    match caches.stored(&url).await {
        Ok(found) => json(&serde_json::json!({ "url": url, "routes": found })),
        Err(error) => refusal(&error),
    }
}

/// A refusal (RFC 9457).
pub fn problem(status: StatusCode, detail: impl AsRef<str>) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail.as_ref(),
    });
    answer(status, HeaderValue::from_static("application/problem+json"), format!("{body}\n"))
}

fn nothing() -> Response {
    problem(StatusCode::NOT_FOUND, "there are no caches here")
}

fn refusal(error: &OrderError) -> Response {
    let status = match error {
        OrderError::NoRoute(_) | OrderError::NoCache(_) => StatusCode::NOT_FOUND,
        OrderError::NotAUrl | OrderError::Target(_) => StatusCode::BAD_REQUEST,
    };
    problem(status, error.to_string())
}

fn json(told: &impl serde::Serialize) -> Response {
    match serde_json::to_vec_pretty(told) {
        Ok(mut text) => {
            text.push(b'\n');
            answer(StatusCode::OK, JSON, text)
        }
        Err(error) => {
            tracing::error!(%error, "what the caches tell is no JSON");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "see the diagnostics")
        }
    }
}

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Box<Response> {
    response.headers.insert(name, HeaderValue::from_static(value));
    Box::new(response)
}

/// RFC 6750 §2.1, §3.
fn authorize(state: &AdminState, headers: &HeaderMap) -> Result<(), Box<Response>> {
    if state.token.is_empty() {
        return Ok(());
    }
    let unauthorized = |detail: &str, challenge| {
        with(problem(StatusCode::UNAUTHORIZED, detail), WWW_AUTHENTICATE, challenge)
    };
    match fields::bearer(headers) {
        Some(token) if state.token.matches(token) => Ok(()),
        _ if !headers.contains_key(AUTHORIZATION) => {
            Err(unauthorized("this wants `admin.token`", "Bearer realm=\"forebay\""))
        }
        _ => Err(unauthorized(
            "this is not `admin.token`",
            "Bearer realm=\"forebay\", error=\"invalid_token\"",
        )),
    }
}

/// Whether no page of another origin can have made this request.
fn is_from_here(headers: &HeaderMap, host_must_be_ours: bool) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    let host = headers.get(HOST).map(text).unwrap_or_default();
    let site = headers.get("sec-fetch-site").map(text);
    let same_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    let same_origin = headers.get_all(ORIGIN).iter().all(|origin| text(origin) == format!("http://{host}"));
    same_site && same_origin && (!host_must_be_ours || is_ours(&host))
}

/// Whether a `Host` cannot be a name that somebody made to point here.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// An order as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    url: Option<String>,
    prefix: Option<String>,
    tag: Option<String>,
    all: bool,
    soft: bool,
    route: Option<String>,
}

fn read(body: &[u8]) -> Result<Order, String> {
    let written: Written =
        serde_json::from_slice(body).map_err(|error| format!("this is no order: {error}"))?;
    let Written { url, prefix, tag, all, soft, route } = written;
    let what = match (url, prefix, tag, all) {
        (Some(url), None, None, false) => What::Url(url),
        (None, Some(prefix), None, false) => What::Prefix(prefix),
        (None, None, Some(tag), false) if !tag.is_empty() => What::Tag(tag),
        (None, None, None, true) => What::All,
        _ => return Err("an order has one of `url`, `prefix`, `tag` and `\"all\": true`".to_owned()),
    };
    Ok(Order { what, mode: if soft { Mode::Soft } else { Mode::Hard }, route })
}

/// A form-encoded value; none where it is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let octet = match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                crate::http::normalize::triplet(*high, *low)?
            }
            (b'%', _) => return None,
            _ => *byte,
        };
        bytes.push(octet);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let order =
            |what, mode, route: Option<&str>| Some(Order { what, mode, route: route.map(Into::into) });
        for (text, expected) in [
            (r#"{"url":"http://a/"}"#, order(What::Url("http://a/".into()), Mode::Hard, None)),
            (r#"{"prefix":"a/b","soft":true}"#, order(What::Prefix("a/b".into()), Mode::Soft, None)),
            (r#"{"tag":"t","route":"r"}"#, order(What::Tag("t".into()), Mode::Hard, Some("r"))),
            (r#"{"all":true,"soft":false}"#, order(What::All, Mode::Hard, None)),
            (r#"{}"#, None),
            (r#"{"all":false}"#, None),
            (r#"{"soft":true}"#, None),
            (r#"{"tag":""}"#, None),
            (r#"{"url":"a","tag":"b"}"#, None),
            (r#"{"url":"a","all":true}"#, None),
            (r#"{"url":"a","softly":true}"#, None),
            (r#"{"url":3}"#, None),
            (r#"[]"#, None),
            ("", None),
            ("{", None),
        ] {
            assert_eq!(read(text.as_bytes()).ok(), expected, "{text}");
        }
    }

    #[test]
    fn who_may_ask() {
        let headers = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            headers
        };
        let host = ("host", "127.0.0.1:9901");
        for (fields, allowed) in [
            (&[host][..], true),
            (&[("host", "[::1]:9901")], true),
            (&[("host", "localhost:9901")], true),
            (&[("host", "LocalHost")], true),
            (&[("host", "rebound.example:9901")], false),
            (&[("host", "localhost.rebound.example")], false),
            (&[], false),
            (&[host, ("origin", "http://127.0.0.1:9901")], true),
            (&[host, ("origin", "http://rebound.example")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "http://127.0.0.1:9901"), ("origin", "http://x")], false),
            (&[host, ("sec-fetch-site", "same-origin")], true),
            (&[host, ("sec-fetch-site", "none")], true),
            (&[host, ("sec-fetch-site", "cross-site")], false),
            (&[host, ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(is_from_here(&headers(fields), true), allowed, "{fields:?}");
        }
        // With a token, the name it is known by does not matter.
        assert!(is_from_here(&headers(&[("host", "admin.example")]), false));
    }

    #[test]
    fn queries() {
        for (text, expected) in [
            ("http%3A%2F%2Fa%2Fb%3Fc", Some("http://a/b?c")),
            ("http://a/+b", Some("http://a/ b")),
            ("%", None),
            ("%zz", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }
}
