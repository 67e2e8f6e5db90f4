//! Who may ask what of the admin listener, by the head of a request.
//!
//! - `/livez` and `/readyz` are for everybody who can connect: probes know no secret, and may say any `Host`.
//! - `/metrics` is, too; `/api/...` wants `admin.token`, where there is one (RFC 6750).
//! - Without a token only the machine itself can be meant, and a browser on it is not to be fooled. The
//!   `Host` must be an address or `localhost`: a name could be anybody's that was made to point here (DNS
//!   rebinding).
//! - What looks into the cache or changes it is refused to pages of another origin, by what browsers say of
//!   them: `Origin` and `Sec-Fetch-Site`. The rest is only read, and a page cannot read the answer of another
//!   origin that does not allow it to.

use std::net::IpAddr;

use http::header::{ALLOW, AUTHORIZATION, HOST, HeaderMap, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::http::{Response, fields};
use crate::units::Secret;

use super::answer;

/// A request that may go on, or the answer that refuses it.
pub type Allowed = Result<(), Response>;

/// Whether a method is one of these (RFC 9110 §15.5.6: who is refused is told which they are).
///
/// # Errors
/// 405 where it is none of them.
pub fn method(method: &Method, allowed: &[Method], allow: &'static str) -> Allowed {
    if allowed.contains(method) {
        return Ok(());
    }
    Err(with(problem(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow} here")), ALLOW, allow))
}

/// Whether the token is known, where there is one (RFC 6750 §2.1, §3).
///
/// # Errors
/// 401 where it is not.
pub fn bearer(token: &Secret, headers: &HeaderMap) -> Allowed {
    if token.is_empty() {
        return Ok(());
    }
    let unauthorized = |detail: &str, challenge| {
        Err(with(problem(StatusCode::UNAUTHORIZED, detail), WWW_AUTHENTICATE, challenge))
    };
    match fields::bearer(headers) {
        Some(given) if token.matches(given) => Ok(()),
        _ if !headers.contains_key(AUTHORIZATION) => {
            unauthorized("this wants `admin.token`", "Bearer realm=\"forebay\"")
        }
        _ => unauthorized("this is not `admin.token`", "Bearer realm=\"forebay\", error=\"invalid_token\""),
    }
}

/// Whether no name was made to point here, so that a page could take this for its own origin. Who knows a
/// token is no such page.
///
/// # Errors
/// 403 where the `Host` may be such a name.
pub fn host(token: &Secret, headers: &HeaderMap) -> Allowed {
    if token.is_empty() && !is_ours(&text(headers.get(HOST))) {
        let detail = "without `admin.token`, the host must be an address or `localhost`";
        return Err(problem(StatusCode::FORBIDDEN, detail));
    }
    Ok(())
}

/// Whether no page of another origin can have made this request.
///
/// # Errors
/// 403 where one can.
pub fn same_origin(token: &Secret, headers: &HeaderMap) -> Allowed {
    host(token, headers)?;
    let own = format!("http://{}", text(headers.get(HOST)));
    let site = headers.get("sec-fetch-site").map(|site| text(Some(site)));
    let same_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    if !same_site || headers.get_all(ORIGIN).iter().any(|origin| text(Some(origin)) != own) {
        let detail = "a page of another origin asks for this";
        return Err(problem(StatusCode::FORBIDDEN, detail));
    }
    Ok(())
}

fn text(value: Option<&HeaderValue>) -> String {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase()
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

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers.insert(name, HeaderValue::from_static(value));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn whose_page_may_ask() {
        let none = Secret::default();
        let at = ("host", "127.0.0.1:9901");
        for (fields, allowed) in [
            (&[at][..], true),
            (&[("host", "[::1]:9901")], true),
            (&[("host", "localhost:9901")], true),
            (&[("host", "LocalHost")], true),
            (&[("host", "rebound.example:9901")], false),
            (&[("host", "localhost.rebound.example")], false),
            (&[], false),
            (&[at, ("origin", "http://127.0.0.1:9901")], true),
            (&[at, ("origin", "http://rebound.example")], false),
            (&[at, ("origin", "null")], false),
            (&[at, ("origin", "http://127.0.0.1:9901"), ("origin", "http://x")], false),
            (&[at, ("sec-fetch-site", "same-origin")], true),
            (&[at, ("sec-fetch-site", "none")], true),
            (&[at, ("sec-fetch-site", "cross-site")], false),
            (&[at, ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(same_origin(&none, &headers(fields)).is_ok(), allowed, "{fields:?}");
        }
        // With a token, the name it is known by does not matter; whose page it is does.
        let token = Secret::from("token".to_owned());
        assert!(host(&token, &headers(&[("host", "admin.example")])).is_ok());
        let page = [("host", "admin.example"), ("origin", "http://other.example")];
        assert!(same_origin(&token, &headers(&page)).is_err());
    }
}
