//! The cache's part of the admin API.
//!
//! - `POST /api/v1/cache/purge` with `{"url": ...}`, `{"prefix": ...}`, `{"tag": ...}` or `{"all": true}`,
//!   and if wanted `"soft": true` and `"route": ...`. The answer says what was purged, and that it is lazy:
//!   nothing is touched before it is asked for. `entries` is how many responses that takes, where it is
//!   known.
//! - `GET /api/v1/cache/entry?url=...`: what is stored under a URL; never a body, never a field's value that
//!   could be a secret.
//!
//! [`guard`] says who may ask. An order must be `application/json` besides, which no form can send.

use std::future::Future;
use std::pin::Pin;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use crate::http::Response;
use crate::layers::cache::purge::Mode;
use crate::layers::cache::purge::order::{Done, Order, OrderError, StoredHere, What};

use super::guard::{self, problem};
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
    pub fn check(self, state: &AdminState, head: &Parts) -> Result<(), Response> {
        match self {
            Self::Purge => guard::method(&head.method, &[Method::POST], "POST")?,
            Self::Entry => guard::method(&head.method, &[Method::GET, Method::HEAD], "GET, HEAD")?,
        }
        guard::bearer(&state.token, &head.headers)?;
        guard::same_origin(&state.token, &head.headers)?;
        if self == Self::Purge && !is_json(&head.headers) {
            let detail = "the order must be `content-type: application/json`";
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
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
