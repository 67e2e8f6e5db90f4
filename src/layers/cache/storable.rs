//! Which requests the cache handles at all, which responses may be stored (RFC 9111 §3), and with which
//! fields (§3.1).
//!
//! Choices where the RFC leaves one:
//!
//! - Nothing is stored that the origin did not speak about: a response without `max-age`, `s-maxage`,
//!   `Expires`, `no-cache` or `public` needs a `ttl` of the operator's, or `heuristic = true`.
//! - A response that is stale on arrival is stored only if it can be validated, or served stale.
//! - `Set-Cookie` keeps a response out of the store, unless `store_set_cookie` says otherwise or
//!   `no-cache="set-cookie"` leaves the field out of what is stored.
//! - Partial answers (206) are not stored here; see [`ranged`](super::ranged) for routes that ask for it.
//! - An answer to a request with `Cookie` is stored only where the origin itself says that it may be: no RFC
//!   says a word about it, and one that says nothing may be made for one user (`cookie`, `key.cookies`).
//! - A response to POST is stored as the one to a later GET where the origin asks for it: explicit freshness,
//!   and a `Content-Location` that is the target itself (RFC 9110 §9.3.3).

use http::header::{
    CONTENT_LOCATION, COOKIE, DATE, ETAG, EXPIRES, HeaderMap, HeaderName, IF_MATCH, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, SET_COOKIE, VARY,
};
use http::{Method, StatusCode};

use crate::clock::Wall;
use crate::http::{Request, Target, fields};

use super::config::{AuthorizationUse, CookieUse};
use super::dates;
use super::directives::{RequestDirectives, ResponseDirectives};
use super::freshness::{self, Lifetime, Source, Timing};
use super::plan::{CachePlan, TtlPolicy};
use super::validate;
use super::vary;

/// Whether the cache handles a request: neither looked up nor stored if not, only watched for invalidation.
pub fn bypass(request: &Request, plan: &CachePlan) -> Option<Bypass> {
    let answered = match request.method {
        Method::GET => plan.get,
        Method::HEAD => plan.head,
        _ => false,
    };
    if !answered {
        return Some(Bypass::Method);
    }
    if !plan.enabled {
        return Some(Bypass::Disabled);
    }
    if !request.body.is_empty() {
        return Some(Bypass::Content);
    }
    if request.upgrade.is_some() {
        return Some(Bypass::Upgrade);
    }
    let headers = &request.headers;
    if headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
        return Some(Bypass::Precondition);
    }
    plan.bypass.as_ref().and_then(|rules| rules.check(request))
}

/// Why the cache does not handle a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bypass {
    /// The method is not one that is answered from the store.
    Method,
    /// `enabled = false`.
    Disabled,
    /// It has content, which has no meaning for GET and HEAD; an origin may still heed it (RFC 9110 §9.3.1).
    Content,
    /// It asks for another protocol.
    Upgrade,
    /// `If-Match` or `If-Unmodified-Since`: a question to the origin, not to a cache (RFC 9111 §4.3.2).
    Precondition,
    /// `bypass.headers`.
    Header,
    /// `bypass.cookies`.
    Cookie,
    /// `bypass.paths`.
    Path,
}

impl Bypass {
    /// The word for it, in `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Disabled => "disabled",
            Self::Content => "content",
            Self::Upgrade => "upgrade",
            Self::Precondition => "precondition",
            Self::Header => "bypass-header",
            Self::Cookie => "bypass-cookie",
            Self::Path => "bypass-path",
        }
    }
}

/// A request and the response to it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// What it asked for.
    pub target: &'a Target,
    /// The request's directives.
    pub request: &'a RequestDirectives,
    /// The request's fields.
    pub request_headers: &'a HeaderMap,
    /// The response's status; of a confirmed entry, the entry's.
    pub status: StatusCode,
    /// The response's fields; of a confirmed entry, the merged ones.
    pub headers: &'a HeaderMap,
    /// The response's directives.
    pub directives: &'a ResponseDirectives,
    /// When the request was sent and the response came.
    pub timing: Timing,
    /// Whether the request is a query whose content is part of its key.
    pub query: bool,
}

/// Decides whether the response may be stored; if so, how long it lives.
pub fn decide(exchange: &Exchange<'_>, plan: &CachePlan) -> Result<Lifetime, NotStored> {
    let Exchange { status, headers, directives, .. } = *exchange;
    check_method(exchange, &plan.ttl)?;
    check_status(status, directives)?;
    check_audience(exchange, plan)?;
    let (lifetime, source) = Lifetime::of(status, headers, directives, &plan.ttl, exchange.timing);
    let spoken = source != Source::None || directives.no_cache || directives.public;
    if !spoken {
        return Err(NotStored::NoFreshness);
    }
    if plan.cookie == CookieUse::Explicit
        && exchange.request_headers.contains_key(COOKIE)
        && !is_explicit(exchange, source)
    {
        return Err(NotStored::Cookie);
    }
    let validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    match (lifetime.is_useful() || validator, source) {
        (true, _) => Ok(lifetime),
        (false, Source::None) => Err(NotStored::NoFreshness),
        (false, _) => Err(NotStored::Stale),
    }
}

/// Whether the origin itself says that, or how long, the response may be stored.
fn is_explicit(exchange: &Exchange<'_>, source: Source) -> bool {
    let Exchange { headers, directives, timing, .. } = *exchange;
    directives.public
        || directives.no_cache && source != Source::Override
        || freshness::origin_lifetime(headers, directives, timing.received).is_some()
}

fn check_method(exchange: &Exchange<'_>, ttl: &TtlPolicy) -> Result<(), NotStored> {
    match *exchange.method {
        Method::GET => Ok(()),
        Method::POST if exchange.query => Ok(()),
        Method::POST if is_own_representation(exchange, ttl) => Ok(()),
        _ => Err(NotStored::Method),
    }
}

/// Whether the response to a POST is what a GET of the same target would get (RFC 9110 §9.3.3).
fn is_own_representation(exchange: &Exchange<'_>, ttl: &TtlPolicy) -> bool {
    let Exchange { status, headers, directives, timing, .. } = *exchange;
    status == StatusCode::OK
        && headers
            .get(CONTENT_LOCATION)
            .and_then(|location| validate::resolve(exchange.target, location))
            .is_some_and(|location| location.path_and_query == exchange.target.path_and_query)
        && Lifetime::of(status, headers, directives, ttl, timing).1.is_origin()
}

fn check_status(status: StatusCode, directives: &ResponseDirectives) -> Result<(), NotStored> {
    match status {
        StatusCode::PARTIAL_CONTENT => return Err(NotStored::Partial),
        StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(NotStored::Status);
        }
        _ if status.as_u16() < 200 => return Err(NotStored::Status),
        _ => {}
    }
    // We understand what is registered: the status codes that have a reason phrase.
    let understood = status.canonical_reason().is_some();
    if directives.must_understand {
        // RFC 9111 §5.2.2.3: who understands must-understand and the status ignores no-store.
        return if understood { Ok(()) } else { Err(NotStored::NotUnderstood) };
    }
    if directives.no_store { Err(NotStored::NoStore) } else { Ok(()) }
}

/// Whether others than this client may see the response.
fn check_audience(exchange: &Exchange<'_>, plan: &CachePlan) -> Result<(), NotStored> {
    let Exchange { headers, directives, .. } = *exchange;
    if exchange.request.no_store {
        return Err(NotStored::RequestNoStore);
    }
    if directives.private {
        return Err(NotStored::Private);
    }
    // RFC 9111 §3.5
    let shared = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if plan.authorization == AuthorizationUse::Explicit
        && plan.came_authorized(exchange.request_headers)
        && !shared
    {
        return Err(NotStored::Authorization);
    }
    if headers.contains_key(VARY) && vary::is_star(headers) {
        return Err(NotStored::VaryStar);
    }
    if headers.contains_key(SET_COOKIE)
        && !plan.store_set_cookie
        && !directives.withheld.contains(&SET_COOKIE)
    {
        return Err(NotStored::SetCookie);
    }
    Ok(())
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// The method's responses are not stored (RFC 9111 §3).
    Method,
    /// The status has no meaning for later requests: 1xx, 304, 412, 416.
    Status,
    /// 206.
    Partial,
    /// `must-understand`, and we do not know the status.
    NotUnderstood,
    /// `no-store` in the response.
    NoStore,
    /// `no-store` in the request.
    RequestNoStore,
    /// `private`.
    Private,
    /// The request had `Authorization` and the response does not allow sharing (RFC 9111 §3.5).
    Authorization,
    /// The request had `Cookie` and the origin does not say that the response may be stored.
    Cookie,
    /// `Vary: *`.
    VaryStar,
    /// `Set-Cookie`.
    SetCookie,
    /// Nothing says how long it is fresh.
    NoFreshness,
    /// It is stale already and could not be used.
    Stale,
    /// It is larger than `cache.max_object`.
    TooLarge,
    /// The process's memory has no room for it now: `server.memory_limit`.
    MemoryLimit,
    /// It did not arrive as a whole.
    Incomplete,
    /// The key has too many variants: `max_variants`.
    Variants,
}

impl NotStored {
    /// All, for metrics.
    pub const ALL: [Self; 17] = [
        Self::Method,
        Self::Status,
        Self::Partial,
        Self::NotUnderstood,
        Self::NoStore,
        Self::RequestNoStore,
        Self::Private,
        Self::Authorization,
        Self::Cookie,
        Self::VaryStar,
        Self::SetCookie,
        Self::NoFreshness,
        Self::Stale,
        Self::TooLarge,
        Self::MemoryLimit,
        Self::Incomplete,
        Self::Variants,
    ];

    /// Whether this word says that there is no room, which tells nothing of whether the response could be
    /// shared.
    pub fn is_want_of_room(word: &str) -> bool {
        [Self::TooLarge, Self::MemoryLimit].iter().any(|reason| reason.as_str() == word)
    }

    /// The word for it, in `Cache-Status`'s `detail`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::NotUnderstood => "not-understood",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::VaryStar => "vary-star",
            Self::SetCookie => "set-cookie",
            Self::NoFreshness => "no-freshness",
            Self::Stale => "stale-on-arrival",
            Self::TooLarge => "too-large",
            Self::MemoryLimit => "memory-limit",
            Self::Incomplete => "incomplete",
            Self::Variants => "max-variants",
        }
    }
}

/// `Proxy-Authentication-Info` (RFC 9110 §11.7.3).
static PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// Whether a field concerns the connection or the proxy it came through, so that it is never stored (RFC 9111
/// §3.1).
pub fn is_never_stored(name: &HeaderName) -> bool {
    fields::is_hop_by_hop(name) || *name == PROXY_AUTHENTICATION_INFO
}

/// Makes a response's fields those of an entry (RFC 9111 §3.1): without what concerns one connection and what
/// `no-cache="..."` withholds, with a `Date`. `Age` goes too: every answer gets its own.
pub fn prepare(headers: &mut HeaderMap, directives: &ResponseDirectives, received: Wall) {
    fields::strip_hop_by_hop(headers);
    headers.remove(&PROXY_AUTHENTICATION_INFO);
    headers.remove(http::header::AGE);
    for name in &directives.withheld {
        headers.remove(name);
    }
    if !headers.contains_key(DATE) {
        headers.insert(DATE, dates::format(received));
    }
    // Several lines of Expires were read as one; a client downstream need not read them the same way.
    if headers.get_all(EXPIRES).iter().nth(1).is_some() {
        match dates::field(headers, &EXPIRES, received) {
            dates::DateField::At(earliest) => drop(headers.insert(EXPIRES, dates::format(earliest))),
            _ => drop(headers.insert(EXPIRES, http::HeaderValue::from_static("0"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::report::{Path, Report};

    use super::super::config::CacheConfig;
    use super::super::fixture::{NOW, headers, target};
    use super::super::plan;
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const MODIFIED: (&str, &str) = ("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT");
    const ETAG: (&str, &str) = ("etag", "\"a\"");

    fn default_plan() -> CachePlan {
        plan::plan(&CacheConfig::default(), &Path::root(), &mut Report::new())
    }

    fn asked(
        plan: &CachePlan,
        method: &Method,
        request: Fields<'_>,
        status: u16,
        response: Fields<'_>,
    ) -> Result<Lifetime, NotStored> {
        let (request_headers, headers) = (headers(request), headers(response));
        decide(
            &Exchange {
                method,
                target: &target("http://a/b?c"),
                request: &RequestDirectives::of(&request_headers, true),
                request_headers: &request_headers,
                status: StatusCode::from_u16(status).unwrap(),
                headers: &headers,
                directives: &ResponseDirectives::of(&headers),
                timing: Timing { requested: NOW, received: NOW },
                query: false,
            },
            plan,
        )
    }

    fn why(status: u16, response: Fields<'_>) -> Option<NotStored> {
        asked(&default_plan(), &Method::GET, &[], status, response).err()
    }

    /// RFC 9111 §3.
    #[test]
    fn responses() {
        let cases: [(Fields<'_>, Option<NotStored>); 23] = [
            (&[FRESH], None),
            (&[("expires", "Fri, 03 Jan 2025 00:00:00 GMT")], None),
            (&[("cache-control", "s-maxage=1")], None),
            (&[], Some(NotStored::NoFreshness)),
            (&[ETAG], Some(NotStored::NoFreshness)),
            (&[MODIFIED], Some(NotStored::NoFreshness)),
            (&[("cache-control", "no-cache"), ETAG], None),
            (&[("cache-control", "no-cache"), MODIFIED], None),
            (&[("cache-control", "no-cache")], Some(NotStored::NoFreshness)),
            (&[("cache-control", "public")], Some(NotStored::NoFreshness)),
            (&[("cache-control", "public"), ETAG], None),
            (&[("cache-control", "max-age=0")], Some(NotStored::Stale)),
            (&[("cache-control", "max-age=0"), ETAG], None),
            (&[("cache-control", "max-age=0, stale-while-revalidate=5")], None),
            (&[("expires", "0")], Some(NotStored::Stale)),
            (&[FRESH, ("cache-control", "no-store")], Some(NotStored::NoStore)),
            (&[FRESH, ("cache-control", "No-StOrE")], Some(NotStored::NoStore)),
            (&[FRESH, ("cache-control", "private")], Some(NotStored::Private)),
            (&[FRESH, ("cache-control", "private=\"x\"")], Some(NotStored::Private)),
            (&[FRESH, ("vary", "a"), ("vary", "*")], Some(NotStored::VaryStar)),
            (&[FRESH, ("set-cookie", "a=b")], Some(NotStored::SetCookie)),
            (&[FRESH, ("set-cookie", "a=b"), ("cache-control", "no-cache=\"Set-Cookie\"")], None),
            (&[FRESH, ("age", "1000"), ("cache-control", "must-revalidate")], Some(NotStored::Stale)),
        ];
        for (response, expected) in cases {
            assert_eq!(why(200, response), expected, "{response:?}");
        }
        let keep = CachePlan { store_set_cookie: true, ..default_plan() };
        assert!(asked(&keep, &Method::GET, &[], 200, &[FRESH, ("set-cookie", "a=b")]).is_ok());
    }

    #[test]
    fn statuses() {
        for status in
            [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599]
        {
            assert_eq!(why(status, &[FRESH]), None, "{status}");
            assert_eq!(why(status, &[]), Some(NotStored::NoFreshness), "{status}");
        }
        assert_eq!(why(206, &[FRESH]), Some(NotStored::Partial));
        for status in [100, 101, 103, 304, 412, 416] {
            assert_eq!(why(status, &[FRESH]), Some(NotStored::Status), "{status}");
        }
    }

    /// RFC 9111 §5.2.2.3.
    #[test]
    fn must_understand() {
        let fields: Fields<'_> = &[("cache-control", "max-age=60, no-store, must-understand")];
        assert_eq!(why(200, fields), None);
        assert_eq!(why(599, fields), Some(NotStored::NotUnderstood));
        assert_eq!(
            why(599, &[("cache-control", "max-age=60, must-understand")]),
            Some(NotStored::NotUnderstood)
        );
    }

    /// RFC 9111 §3.5 and §5.2.1.5.
    #[test]
    fn requests() {
        let authorized: Fields<'_> = &[("authorization", "Basic x")];
        for (request, response, expected) in [
            (authorized, &[FRESH][..], Some(NotStored::Authorization)),
            (authorized, &[("cache-control", "max-age=60, public")], None),
            (authorized, &[("cache-control", "max-age=60, must-revalidate")], None),
            (authorized, &[("cache-control", "s-maxage=60")], None),
            (
                authorized,
                &[("cache-control", "max-age=60, proxy-revalidate")],
                Some(NotStored::Authorization),
            ),
            (&[("cache-control", "no-store")], &[FRESH], Some(NotStored::RequestNoStore)),
            (&[("cookie", "a=b")], &[FRESH], None),
        ] {
            let stored = asked(&default_plan(), &Method::GET, request, 200, response);
            assert_eq!(stored.err(), expected, "{request:?} {response:?}");
        }
    }

    /// The operator's lifetimes do not overrule what protects users.
    #[test]
    fn override_has_limits() {
        let mut plan = default_plan();
        plan.ttl.override_ = Some(Duration::from_secs(60));
        let with = |response: Fields<'_>| asked(&plan, &Method::GET, &[], 200, response).err();
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("cache-control", "no-cache, max-age=0")]), None);
        assert_eq!(with(&[("cache-control", "no-store")]), Some(NotStored::NoStore));
        assert_eq!(with(&[("cache-control", "private")]), Some(NotStored::Private));
        assert_eq!(with(&[("vary", "*")]), Some(NotStored::VaryStar));
        assert_eq!(with(&[("set-cookie", "a=b")]), Some(NotStored::SetCookie));
        assert_eq!(asked(&plan, &Method::GET, &[], 500, &[]).err(), Some(NotStored::NoFreshness));
    }

    /// RFC 9110 §9.3.3.
    #[test]
    fn methods() {
        let plan = default_plan();
        for method in [Method::HEAD, Method::PUT, Method::OPTIONS, Method::POST] {
            assert_eq!(asked(&plan, &method, &[], 200, &[FRESH]).err(), Some(NotStored::Method), "{method}");
        }
        for (location, expected) in
            [("/b?c", None), ("http://a/b?c", None), ("", None), ("/b", Some(NotStored::Method))]
        {
            let response: Fields<'_> = &[FRESH, ("content-location", location)];
            assert_eq!(asked(&plan, &Method::POST, &[], 200, response).err(), expected, "{location}");
        }
        assert_eq!(
            asked(&plan, &Method::POST, &[], 200, &[("content-location", "/b?c"), ETAG]).err(),
            Some(NotStored::Method)
        );
    }

    /// RFC 9111 §3.1 and §5.2.2.4.
    #[test]
    fn stored_fields() {
        let mut fields = headers(&[
            ("connection", "a"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("age", "5"),
            ("te", "x"),
            ("proxy-authentication-info", "x"),
            ("proxy-authenticate", "x"),
            ("keep-alive", "x"),
            ("expires", "Fri, 03 Jan 2025 00:00:00 GMT"),
            ("expires", "0"),
            ("cache-control", "no-cache=\"b\""),
        ]);
        let directives = ResponseDirectives::of(&fields);
        prepare(&mut fields, &directives, NOW);
        let expected = headers(&[
            ("c", "3"),
            ("expires", "0"),
            ("cache-control", "no-cache=\"b\""),
            ("date", "Thu, 02 Jan 2025 03:04:05 GMT"),
        ]);
        assert_eq!(fields, expected);
    }

    #[test]
    fn words_are_distinct_tokens() {
        let words: std::collections::BTreeSet<_> =
            NotStored::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), NotStored::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    }
}
