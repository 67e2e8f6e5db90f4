//! Validation: answering a client's conditions from an entry, asking the origin about an entry, and bringing
//! an entry up to date (RFC 9110 §13, RFC 9111 §3.2, §4.3, §4.4).
//!
//! Choices where the RFCs leave one:
//!
//! - We ask about one entry at a time, so a 304 speaks of that entry, even if its `ETag` differs (origins
//!   that compress on the fly are known for it); the entry keeps its own `ETag`, which belongs to its bytes.
//! - A 304's `Content-Encoding`, `Content-Length`, `Content-MD5` and `Content-Range` describe those bytes as
//!   well and do not replace the entry's.

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, DATE,
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, RANGE,
};
use http::uri::{PathAndQuery, Uri};
use http::{Method, StatusCode};
use smallvec::SmallVec;

use crate::clock::Wall;
use crate::http::{Scheme, Target};

use super::dates;
use super::directives::element_end;
use super::storable;

/// What identifies a stored representation, read once when it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// Conditions are evaluated only where the answer without them would be a success (RFC 9110 §13.2.1).
    conditional: bool,
    /// Ranges are taken only from a 200 (RFC 9110 §14.2).
    ranged: bool,
    etag: Option<HeaderValue>,
    last_modified: Option<Wall>,
    /// `Date`, or when the response arrived: stands in for `Last-Modified` (RFC 9111 §4.3.2).
    date: Wall,
}

impl Validators {
    /// Those of a stored response.
    pub fn of(status: StatusCode, headers: &HeaderMap, received: Wall) -> Self {
        Self {
            conditional: status.is_success(),
            ranged: status == StatusCode::OK,
            etag: headers.get(ETAG).cloned(),
            last_modified: dates::field(headers, &LAST_MODIFIED, received).at(),
            date: dates::field(headers, &DATE, received).at().unwrap_or(received),
        }
    }

    /// Whether there are none, so that the origin cannot be asked about the entry.
    pub const fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// Whether an `If-Range` names exactly this representation (RFC 9110 §13.1.5): by a strong comparison of
    /// entity tags, or by the exact date where that is a strong validator, at least a second before `Date`
    /// (§8.8.2.2).
    pub fn is_exactly(&self, if_range: &HeaderValue) -> bool {
        let condition = if_range.as_bytes();
        if !self.ranged {
            return false;
        }
        if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
            return self.etag.as_ref().is_some_and(|etag| strong_match(etag.as_bytes(), condition));
        }
        let Some(asked) = dates::parse(condition, self.date) else { return false };
        self.last_modified.is_some_and(|modified| modified == asked && modified.secs() < self.date.secs())
    }

    /// Whether ranges of it may be sent.
    pub const fn is_ranged(&self) -> bool {
        self.ranged
    }
}

/// Whether a request has a condition that an entry can answer, or a `Range`: if not, the entry is the answer
/// as it is.
pub fn is_conditional(request: &HeaderMap) -> bool {
    request.contains_key(IF_NONE_MATCH)
        || request.contains_key(IF_MODIFIED_SINCE)
        || request.contains_key(RANGE)
}

/// Whether the answer to a GET or HEAD that an entry answers is 304 (RFC 9110 §13.2.2, RFC 9111 §4.3.2).
pub fn not_modified(request: &HeaderMap, stored: &Validators, now: Wall) -> bool {
    if !stored.conditional {
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        return request
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|line| lists(line.as_bytes(), stored.etag.as_ref()));
    }
    // Several lines are no date (RFC 9110 §13.1.3).
    let mut lines = request.get_all(IF_MODIFIED_SINCE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    dates::parse(line.as_bytes(), now)
        .is_some_and(|since| stored.last_modified.unwrap_or(stored.date) <= since)
}

/// Whether a line of `If-None-Match` lists the entity tag, or is `*`.
fn lists(line: &[u8], etag: Option<&HeaderValue>) -> bool {
    if line.trim_ascii() == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    let mut rest = line;
    while !rest.is_empty() {
        let (tag, tail) = rest.split_at_checked(element_end(rest)).unwrap_or((rest, &[]));
        if weak_match(etag.as_bytes(), tag.trim_ascii()) {
            return true;
        }
        rest = tail.strip_prefix(b",").unwrap_or(tail);
    }
    false
}

/// Weak comparison: the same opaque tag (RFC 9110 §8.8.3.2).
pub fn weak_match(a: &[u8], b: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    !a.is_empty() && opaque(a) == opaque(b)
}

/// Strong comparison: the same tag, and not weak (RFC 9110 §8.8.3.2).
pub fn strong_match(a: &[u8], b: &[u8]) -> bool {
    !a.is_empty() && a == b && !a.starts_with(b"W/")
}

/// Whether a field of an entry belongs into a 304 for it: those RFC 9110 §15.4.5 names and whatever is not
/// about the representation. `Last-Modified` only where there is no entity tag.
pub fn belongs_in_304(name: &HeaderName, has_etag: bool) -> bool {
    match *name {
        CONTENT_TYPE | CONTENT_LENGTH | CONTENT_ENCODING | CONTENT_LANGUAGE | CONTENT_RANGE => false,
        LAST_MODIFIED => !has_etag,
        _ => *name != CONTENT_MD5,
    }
}

/// The fields of a 304 for an entry.
pub fn not_modified_fields(stored: &HeaderMap) -> HeaderMap {
    let has_etag = stored.contains_key(ETAG);
    let mut fields = HeaderMap::with_capacity(stored.len());
    for (name, value) in stored {
        if belongs_in_304(name, has_etag) {
            fields.append(name, value.clone());
        }
    }
    fields
}

/// Removes the client's conditions and `Range` from a request that fills an entry: they must not shape it.
pub fn strip_conditions(request: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
}

/// Makes a request ask about an entry: strips the client's conditions, sets ours (RFC 9111 §4.3.1). The
/// validators go out exactly as they came.
pub fn condition(request: &mut HeaderMap, stored: &HeaderMap) {
    strip_conditions(request);
    if let Some(etag) = stored.get(ETAG) {
        request.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = stored.get(LAST_MODIFIED) {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
    }
}

/// Whether a 304 to [`condition`] speaks of the entry (RFC 9111 §4.3.4). If not, the origin is to be asked
/// again, without conditions. See the module for entity tags that differ.
pub fn confirms(stored: &HeaderMap, update: &HeaderMap) -> bool {
    stored.contains_key(ETAG)
        || match (stored.get(LAST_MODIFIED), update.get(LAST_MODIFIED)) {
            (stored, Some(update)) => stored == Some(update),
            (stored, None) => stored.is_some(),
        }
}

/// `Content-MD5` (RFC 2616 §14.15).
static CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Whether a field of a 304, or of a HEAD's response, takes the place of the entry's (RFC 9111 §3.2).
fn is_updated(name: &HeaderName) -> bool {
    !matches!(*name, CONTENT_LENGTH | CONTENT_ENCODING | CONTENT_RANGE | ETAG)
        && *name != CONTENT_MD5
        && !storable::is_never_stored(name)
}

/// The entry's fields brought up to date with those of a 304, or of a HEAD's response, that arrived at
/// `received` (RFC 9111 §3.2). A field of the update replaces all lines of the entry's. [`storable::prepare`]
/// is still to be applied where the result is stored.
pub fn merge(stored: &HeaderMap, update: &HeaderMap, received: Wall) -> HeaderMap {
    let mut merged = stored.clone();
    // The age of the entry is from now on that of the update.
    merged.remove(http::header::AGE);
    if !update.contains_key(DATE) {
        merged.insert(DATE, dates::format(received));
    }
    for name in update.keys().filter(|name| is_updated(name)) {
        merged.remove(name);
        for value in update.get_all(name) {
            merged.append(name, value.clone());
        }
    }
    merged
}

/// What a HEAD's response does to the entry of a GET (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// Nothing.
    None,
    /// Its fields are merged into the entry.
    Update,
    /// The entry is of another representation: it becomes invalid.
    Invalidate,
}

/// What a HEAD's response does to the entry of a GET with a body of `length` bytes: what it says of entity
/// tag, date and length must be what is stored.
pub fn head_effect(stored: &HeaderMap, length: u64, status: StatusCode, update: &HeaderMap) -> HeadEffect {
    if status != StatusCode::OK {
        return HeadEffect::None;
    }
    let same = |name| update.get(&name).is_none_or(|new: &HeaderValue| stored.get(&name) == Some(new));
    let same_length = update
        .get(CONTENT_LENGTH)
        .is_none_or(|new| new.to_str().ok().and_then(|text| text.parse::<u64>().ok()) == Some(length));
    if same(ETAG) && same(LAST_MODIFIED) && same_length { HeadEffect::Update } else { HeadEffect::Invalidate }
}

/// Whether a method is defined as safe (RFC 9110 §9.2.1 and the registry); one that is not known is not.
pub fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY"
    )
}

/// The targets whose entries become invalid by a response (RFC 9111 §4.4): after a non-error answer to an
/// unsafe method its target, and what `Location` and `Content-Location` name within the same origin.
pub fn invalidated(
    method: &Method,
    target: &Target,
    status: StatusCode,
    response: &HeaderMap,
) -> SmallVec<[Target; 1]> {
    let mut targets = SmallVec::new();
    if is_safe(method) || !(status.is_success() || status.is_redirection()) {
        return targets;
    }
    targets.push(target.clone());
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(other) = response.get(name).and_then(|reference| resolve(target, reference))
            && targets.iter().all(|known: &Target| known.path_and_query != other.path_and_query)
        {
            targets.push(other);
        }
    }
    targets
}

/// The target a reference leads to from a base (RFC 3986 §5.2), if it has the same origin.
pub fn resolve(base: &Target, reference: &HeaderValue) -> Option<Target> {
    let reference = reference.to_str().ok()?;
    let reference = reference.split_once('#').map_or(reference, |(before, _)| before);
    let path_and_query = match reference {
        "" => return Some(base.clone()),
        _ if reference.starts_with("//") => {
            same_origin(base, &format!("{}:{reference}", base.scheme.as_str()))?
        }
        _ if reference.starts_with('/') => reference.to_owned(),
        _ if reference.starts_with('?') => format!("{}{reference}", base.path()),
        _ if has_scheme(reference) => same_origin(base, reference)?,
        _ => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{reference}")
        }
    };
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query.as_str(), None),
    };
    let mut text = remove_dot_segments(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    Some(Target { path_and_query: PathAndQuery::try_from(text).ok()?, ..base.clone() })
}

/// Whether a reference begins with a scheme (RFC 3986 §3.1).
fn has_scheme(reference: &str) -> bool {
    reference.find([':', '/', '?']).is_some_and(|at| at > 0 && reference.as_bytes().get(at) == Some(&b':'))
}

/// The path and query of an absolute URI, if its origin is the base's.
fn same_origin(base: &Target, absolute: &str) -> Option<String> {
    let uri: Uri = absolute.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let port = uri.port_u16().unwrap_or(scheme.default_port());
    let own_port = base
        .authority()
        .strip_prefix(base.host())
        .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
        .unwrap_or(base.scheme.default_port());
    let host = uri.host()?;
    let same = scheme == base.scheme
        && port == own_port
        && host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(base.host());
    same.then(|| uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string))
}

/// A path without `.` and `..` (RFC 3986 §5.2.4).
fn remove_dot_segments(path: &str) -> String {
    let mut kept: SmallVec<[&str; 16]> = SmallVec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut text = String::with_capacity(path.len() + 1);
    for segment in &kept {
        text.push('/');
        text.push_str(segment);
    }
    if text.is_empty() {
        text.push('/');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{NOW, headers, target};
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    const EARLY: &str = "Tue, 31 Dec 2024 00:00:00 GMT";
    const MODIFIED: &str = "Wed, 01 Jan 2025 00:00:00 GMT";
    const DATE: &str = "Thu, 02 Jan 2025 00:00:00 GMT";

    /// RFC 9110 §13.1.2, §13.1.3, §13.2.2; RFC 9111 §4.3.2.
    #[test]
    fn client_conditions() {
        let strong: Fields<'_> = &[("etag", "\"a\""), ("last-modified", MODIFIED), ("date", DATE)];
        let weak: Fields<'_> = &[("etag", "W/\"a\""), ("date", DATE)];
        let bare: Fields<'_> = &[("date", DATE)];
        let cases: [(Fields<'_>, Fields<'_>, bool); 25] = [
            (strong, &[], false),
            (strong, &[("if-none-match", "\"a\"")], true),
            (strong, &[("if-none-match", "W/\"a\"")], true),
            (strong, &[("if-none-match", "\"b\"")], false),
            (strong, &[("if-none-match", "\"b\", \"a\" , \"c\"")], true),
            (strong, &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], true),
            (strong, &[("if-none-match", "\"x,\\\"a\"")], false),
            (strong, &[("if-none-match", "a")], false),
            (strong, &[("if-none-match", "*")], true),
            (strong, &[("if-none-match", "\"*\"")], false),
            (strong, &[("if-none-match", "")], false),
            (strong, &[("if-none-match", "\"b\""), ("if-modified-since", MODIFIED)], false),
            (strong, &[("if-none-match", "\"a\""), ("if-modified-since", EARLY)], true),
            (strong, &[("if-modified-since", MODIFIED)], true),
            (strong, &[("if-modified-since", DATE)], true),
            (strong, &[("if-modified-since", EARLY)], false),
            (strong, &[("if-modified-since", "Wednesday, 01-Jan-25 00:00:00 GMT")], true),
            (strong, &[("if-modified-since", "yesterday")], false),
            (strong, &[("if-modified-since", DATE), ("if-modified-since", DATE)], false),
            (weak, &[("if-none-match", "\"a\"")], true),
            (weak, &[("if-none-match", "W/\"a\"")], true),
            (bare, &[("if-none-match", "*")], true),
            (bare, &[("if-none-match", "\"a\"")], false),
            (bare, &[("if-modified-since", DATE)], true),
            (bare, &[("if-modified-since", MODIFIED)], false),
        ];
        for (stored, request, expected) in cases {
            let stored = Validators::of(StatusCode::OK, &headers(stored), NOW);
            assert_eq!(not_modified(&headers(request), &stored, NOW), expected, "{request:?} {stored:?}");
        }
        let missing = Validators::of(StatusCode::NOT_FOUND, &headers(strong), NOW);
        assert!(!not_modified(&headers(&[("if-none-match", "\"a\"")]), &missing, NOW), "RFC 9110 §13.2.1");
    }

    #[test]
    fn comparison_of_entity_tags() {
        // The table of RFC 9110 §8.8.3.2.
        for (a, b, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            assert_eq!(strong_match(a.as_bytes(), b.as_bytes()), strong, "{a} {b}");
            assert_eq!(weak_match(a.as_bytes(), b.as_bytes()), weak, "{a} {b}");
        }
    }

    /// RFC 9110 §15.4.5.
    #[test]
    fn fields_of_a_304() {
        let stored = headers(&[
            ("etag", "\"a\""),
            ("last-modified", MODIFIED),
            ("date", DATE),
            ("content-type", "text/plain"),
            ("content-length", "3"),
            ("content-location", "/x"),
            ("vary", "a"),
            ("vary", "b"),
            ("access-control-allow-origin", "*"),
        ]);
        let fields = not_modified_fields(&stored);
        let mut names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["access-control-allow-origin", "content-location", "date", "etag", "vary", "vary"]
        );
        assert!(not_modified_fields(&headers(&[("last-modified", MODIFIED)])).contains_key(LAST_MODIFIED));
    }

    /// RFC 9111 §4.3.1: the client's conditions do not reach the origin.
    #[test]
    fn our_conditions_replace_the_clients() {
        let mut request = headers(&[
            ("if-none-match", "\"mine\""),
            ("if-modified-since", EARLY),
            ("if-range", "\"mine\""),
            ("range", "bytes=0-1"),
            ("accept", "*/*"),
        ]);
        condition(&mut request, &headers(&[("etag", "W/\"a\""), ("last-modified", MODIFIED)]));
        let expected =
            headers(&[("accept", "*/*"), ("if-none-match", "W/\"a\""), ("if-modified-since", MODIFIED)]);
        assert_eq!(request, expected);
    }

    /// RFC 9111 §4.3.4.
    #[test]
    fn what_a_304_confirms() {
        let etag: Fields<'_> = &[("etag", "\"a\"")];
        let modified: Fields<'_> = &[("last-modified", MODIFIED)];
        for (stored, update, expected) in [
            (etag, etag, true),
            (etag, &[][..], true),
            (etag, &[("etag", "\"b\"")][..], true),
            (modified, modified, true),
            (modified, &[][..], true),
            (modified, &[("last-modified", DATE)][..], false),
            (&[][..], &[][..], false),
        ] {
            assert_eq!(confirms(&headers(stored), &headers(update)), expected, "{stored:?} {update:?}");
        }
    }

    /// RFC 9111 §3.2.
    #[test]
    fn merging() {
        let stored = headers(&[
            ("date", EARLY),
            ("age", "5"),
            ("etag", "\"a\""),
            ("content-length", "3"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("content-type", "text/plain"),
            ("link", "<1>"),
            ("link", "<2>"),
            ("kept", "1"),
        ]);
        let update = headers(&[
            ("etag", "\"b\""),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-md5", "y"),
            ("content-range", "bytes 0-1/2"),
            ("content-type", "text/html"),
            ("link", "<3>"),
            ("link", "<4>"),
            ("new", "1"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
        ]);
        let expected = headers(&[
            ("date", "Thu, 02 Jan 2025 03:04:05 GMT"),
            ("etag", "\"a\""),
            ("content-length", "3"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("content-type", "text/html"),
            ("link", "<3>"),
            ("link", "<4>"),
            ("kept", "1"),
            ("new", "1"),
        ]);
        assert_eq!(merge(&stored, &update, NOW), expected);
        assert_eq!(merge(&stored, &headers(&[("date", DATE)]), NOW)[http::header::DATE], DATE);
    }

    /// RFC 9111 §4.3.5.
    #[test]
    fn what_a_head_does() {
        let stored = headers(&[("etag", "\"a\""), ("last-modified", MODIFIED)]);
        let cases: [(u16, Fields<'_>, HeadEffect); 8] = [
            (200, &[], HeadEffect::Update),
            (
                200,
                &[("etag", "\"a\""), ("last-modified", MODIFIED), ("content-length", "3")],
                HeadEffect::Update,
            ),
            (200, &[("etag", "\"b\"")], HeadEffect::Invalidate),
            (200, &[("last-modified", DATE)], HeadEffect::Invalidate),
            (200, &[("content-length", "4")], HeadEffect::Invalidate),
            (200, &[("content-length", "x")], HeadEffect::Invalidate),
            (304, &[("etag", "\"b\"")], HeadEffect::None),
            (500, &[("etag", "\"b\"")], HeadEffect::None),
        ];
        for (status, update, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(head_effect(&stored, 3, status, &headers(update)), expected, "{status} {update:?}");
        }
    }

    /// RFC 9111 §4.4.
    #[test]
    fn invalidation() {
        let base = target("http://a.example:8080/x/y?z");
        let paths = |method: &str, status: u16, fields: Fields<'_>| -> Vec<String> {
            let method = method.parse().unwrap();
            invalidated(&method, &base, StatusCode::from_u16(status).unwrap(), &headers(fields))
                .iter()
                .map(|target| target.path_and_query.to_string())
                .collect()
        };
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(paths(method, 200, &[("location", "/b")]).is_empty(), "{method}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
            assert_eq!(paths(method, 200, &[]), ["/x/y?z"], "{method}");
        }
        for status in [400, 404, 500, 503] {
            assert!(paths("POST", status, &[("location", "/b")]).is_empty(), "{status}");
        }
        let both: Fields<'_> = &[("location", "/b"), ("content-location", "c")];
        assert_eq!(paths("POST", 201, both), ["/x/y?z", "/b", "/x/c"]);
        assert_eq!(
            paths("PUT", 303, &[("location", "http://other/b"), ("content-location", "")]),
            ["/x/y?z"]
        );
    }

    /// RFC 3986 §5.4, and RFC 9111 §4.4: never another origin.
    #[test]
    fn references() {
        let base = target("http://a/b/c/d;p?q");
        for (reference, expected) in [
            ("", Some("/b/c/d;p?q")),
            ("#s", Some("/b/c/d;p?q")),
            ("g", Some("/b/c/g")),
            ("./g", Some("/b/c/g")),
            ("g/", Some("/b/c/g/")),
            ("/g", Some("/g")),
            ("?y", Some("/b/c/d;p?y")),
            ("g?y#s", Some("/b/c/g?y")),
            ("g?y/./x", Some("/b/c/g?y/./x")),
            (".", Some("/b/c/")),
            ("..", Some("/b/")),
            ("../g", Some("/b/g")),
            ("../../../g", Some("/g")),
            ("/./g", Some("/g")),
            ("g/../h", Some("/b/c/h")),
            ("//a/g", Some("/g")),
            ("http://a/g", Some("/g")),
            ("HTTP://A:80/g", Some("/g")),
            ("http://a", Some("/")),
            ("//b/g", None),
            ("https://a/g", None),
            ("http://a:81/g", None),
            ("mailto:x", None),
        ] {
            let resolved = resolve(&base, &HeaderValue::from_str(reference).unwrap());
            let resolved = resolved.map(|target| target.path_and_query.to_string());
            assert_eq!(resolved.as_deref(), expected, "{reference}");
        }
        let six = target("https://[::1]:8443/");
        assert!(resolve(&six, &HeaderValue::from_static("https://[::1]:8443/x")).is_some());
        assert!(resolve(&six, &HeaderValue::from_static("https://[::1]/x")).is_none());
    }

    proptest! {
        #[test]
        fn any_reference_is_survived(text in "[ -~]{0,24}", dots in "[./]{0,8}") {
            let base = target("http://a/b/c?d");
            for text in [text, dots] {
                if let Some(target) = resolve(&base, &HeaderValue::from_str(&text).unwrap()) {
                    prop_assert!(target.path().starts_with('/'), "{}", target.path());
                }
            }
        }

        #[test]
        fn any_list_is_survived(bytes in proptest::collection::vec(0x20..=0x7eu8, 0..40)) {
            let mut request = HeaderMap::new();
            request.insert(IF_NONE_MATCH, HeaderValue::from_bytes(&bytes).unwrap());
            let stored = Validators::of(StatusCode::OK, &headers(&[("etag", "\"a\"")]), NOW);
            not_modified(&request, &stored, NOW);
        }
    }
}
