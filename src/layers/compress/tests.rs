//! What is decided, clause by clause.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use proptest::prelude::*;

use super::accept::Accept;
use super::config::{CodingName, CompressConfig, KeptConfig, LevelsConfig};
use super::judge::{self, Asked, Verdict};
use super::plan::{TypePattern, plan, plan_kept};
use super::rewrite;
use crate::http::coding::{Coding, Level};
use crate::http::{Body, RequestBody, Response, testing};
use crate::report::{Path, Report};
use crate::units::Size;

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

fn offered() -> [Level; 3] {
    [Level::new(Coding::Zstd, 3), Level::new(Coding::Br, 4), Level::new(Coding::Gzip, 5)]
}

/// RFC 9110 §12.5.3 and §12.4.2.
#[test]
fn accept_encoding() {
    for (lines, best, refuses) in [
        (&[][..], None, false),
        (&[""], None, false),
        (&["gzip"], Some("gzip"), false),
        (&["GZIP"], Some("gzip"), false),
        (&["x-gzip"], Some("gzip"), false),
        (&["gzip, deflate, br, zstd"], Some("zstd"), false),
        (&["gzip", "br"], Some("br"), false),
        (&["gzip;q=1.0, br;q=0.5"], Some("gzip"), false),
        (&["gzip; q=0.5 , br ;q=0.6"], Some("br"), false),
        (&["gzip;q=0"], None, false),
        (&["gzip;q=0.000"], None, false),
        (&["gzip;q=0.001"], Some("gzip"), false),
        (&["identity"], None, false),
        (&["identity, gzip"], Some("gzip"), false),
        (&["identity, gzip;q=0.9"], None, false),
        (&["identity;q=0.5, gzip;q=0.9"], Some("gzip"), false),
        (&["identity;q=0"], None, true),
        (&["identity;q=0, gzip"], Some("gzip"), true),
        (&["*;q=0"], None, true),
        (&["*;q=0, identity"], None, false),
        (&["*;q=0, br"], Some("br"), true),
        (&["*"], Some("gzip"), false),
        (&["*;q=0.5, gzip;q=0"], None, false),
        (&["identity;q=0, *"], Some("gzip"), true),
        (&["deflate, compress"], None, false),
        (&["gzip;q=0, gzip"], None, false),
        // What cannot be read counts for nothing.
        (&["gzip;q=2"], None, false),
        (&["gzip;q=1.001"], None, false),
        (&["gzip;q=0.0001"], None, false),
        (&["gzip;q="], None, false),
        (&["gzip;q=-1"], None, false),
        (&["gzip;level=9"], None, false),
        (&["gzip br"], None, false),
        (&[", ,gzip,,"], Some("gzip"), false),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, line.parse().unwrap());
        }
        let accept = Accept::of(&headers);
        let found = accept.best(&offered()).map(|level| level.coding.as_str());
        assert_eq!((found, accept.refuses_identity()), (best, refuses), "{lines:?}");
    }
}

#[test]
fn only_what_is_offered_is_chosen() {
    let accept = Accept::of(&fields(&[("accept-encoding", "br, gzip;q=0.5")]));
    let best = |offered: &[Level]| accept.best(offered).map(|level| level.coding);
    assert_eq!(best(&offered()[2..]), Some(Coding::Gzip));
    assert_eq!(best(&offered()[..1]), None);
    let any = Accept::of(&fields(&[("accept-encoding", "*")]));
    assert_eq!(any.best(&offered()[..2]), None, "`*` is no promise to know what is new");
}

#[test]
fn media_types() {
    for (pattern, media_type, matches) in [
        ("text/*", "text/plain", true),
        ("text/*", "TEXT/HTML", true),
        ("text/*", "texts/plain", false),
        ("text/*", "text", false),
        ("application/json", "Application/JSON", true),
        ("application/json", "application/json5", false),
        ("*+json", "application/problem+json", true),
        ("*+json", "application/json", false),
        ("*+json", "+json", false),
        ("*+xml", "image/svg+XML", true),
    ] {
        let pattern = TypePattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(media_type.as_bytes()), matches, "{pattern:?} {media_type}");
    }
    for wrong in
        ["", "*", "*/*", "text", "text/", "/plain", "*+", "te xt/plain", "text/*x", "text/plain; a=b"]
    {
        assert_eq!(TypePattern::parse(wrong), None, "{wrong}");
    }
}

fn verdict(request: &[(&str, &str)], status: u16, response: &[(&str, &str)]) -> &'static str {
    let plan = plan(&CompressConfig::default(), &Path::root(), &mut Report::new());
    let mut asking = testing::request(Method::GET, RequestBody::Empty);
    asking.headers = fields(request);
    let mut answer = Response::new(StatusCode::from_u16(status).unwrap(), Body::empty());
    answer.headers = fields(response);
    let asked = Asked::of(&asking, &plan);
    match judge::can_be(&plan, &answer, &asked).and(asked.coding) {
        Ok(level) => level.coding.as_str(),
        Err(verdict) => verdict.as_str(),
    }
}

#[test]
fn which_responses_are_encoded() {
    let long = ("content-length", "5000");
    let json = ("content-type", "application/json; charset=utf-8");
    let gzip = ("accept-encoding", "gzip");
    let must = ("accept-encoding", "gzip, identity;q=0");
    for (request, status, response, expected) in [
        (&[gzip][..], 200, &[long, json][..], "gzip"),
        (&[gzip], 404, &[long, json], "gzip"),
        (&[], 200, &[long, json], "not-accepted"),
        (&[gzip, ("range", "bytes=0-1")], 200, &[long, json], "range"),
        (&[gzip], 200, &[("content-length", "1023"), json], "size"),
        (&[gzip], 200, &[("content-length", "1024"), json], "gzip"),
        (&[must], 200, &[("content-length", "1"), json], "gzip"),
        (&[must], 200, &[("content-length", "0"), json], "size"),
        (&[gzip], 200, &[long, ("content-type", "image/png")], "type"),
        (&[gzip], 200, &[long], "type"),
        (&[must], 200, &[long, ("content-type", "image/png")], "gzip"),
        (&[gzip], 200, &[("content-type", "text/event-stream")], "type"),
        (&[must], 200, &[("content-type", "Text/Event-Stream; charset=utf-8")], "type"),
        (&[must], 200, &[("content-type", "application/grpc")], "type"),
        (&[must], 200, &[("content-type", "application/grpc-web+json")], "type"),
        (&[gzip], 200, &[long, json, ("content-encoding", "br")], "has-coding"),
        (&[gzip], 200, &[long, json, ("content-encoding", "identity")], "has-coding"),
        (&[gzip], 200, &[long, json, ("cache-control", "public, No-Transform")], "no-transform"),
        (&[gzip], 200, &[long, json, ("cache-control", "max-age=1, no-transform=1")], "no-transform"),
        (&[gzip, ("cache-control", "no-transform")], 200, &[long, json], "no-transform"),
        (&[gzip], 200, &[long, json, ("repr-digest", "sha-256=:eA==:")], "digest"),
        (&[gzip], 200, &[long, json, ("content-md5", "eA==")], "digest"),
        (&[gzip], 204, &[json], "status"),
        (&[gzip], 206, &[long, json, ("content-range", "bytes 0-4999/9999")], "status"),
        (&[gzip], 206, &[long, ("content-type", "multipart/byteranges; boundary=a")], "status"),
        (&[gzip], 416, &[json, ("content-range", "bytes */9999")], "status"),
        (&[gzip], 304, &[], "status"),
        (&[gzip], 101, &[], "status"),
    ] {
        // The stub's body is empty: what counts is the length it says it has.
        let response: Vec<_> = response.to_vec();
        let known = response.iter().any(|(name, _)| *name == "content-length");
        let found = verdict(request, status, &response);
        if known || found != "size" {
            assert_eq!(found, expected, "{request:?} {status} {response:?}");
        }
    }
    for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
        assert_eq!(verdict as usize, index, "{}", verdict.as_str());
    }
    for (index, coding) in Coding::ALL.into_iter().enumerate() {
        assert_eq!(coding as usize, index, "{}", coding.as_str());
    }
}

#[test]
fn fields_of_an_encoded_response() {
    let mut headers = fields(&[
        ("content-length", "5000"),
        ("accept-ranges", "bytes"),
        ("etag", "\"v1\""),
        ("vary", "origin"),
        ("content-type", "text/plain"),
    ]);
    rewrite::encoded(&mut headers, Coding::Br, None);
    let expected = fields(&[
        ("etag", "W/\"v1\""),
        ("vary", "origin"),
        ("vary", "accept-encoding"),
        ("content-type", "text/plain"),
        ("content-encoding", "br"),
    ]);
    assert_eq!(headers, expected);
    rewrite::encoded(&mut headers, Coding::Gzip, Some(70));
    assert_eq!(
        (&headers["etag"], &headers["content-length"]),
        (&HeaderValue::from_static("W/\"v1\""), &HeaderValue::from(70))
    );
}

/// RFC 9111 §4.3.4: a 304 names what the client has by the tag it has it under.
#[test]
fn tags_of_a_304() {
    for (tag, known, expected) in [
        ("\"a\"", &["\"a\""][..], "\"a\""),
        ("\"a\"", &["W/\"a\""], "W/\"a\""),
        ("\"a\"", &["\"b\", W/\"a\""], "W/\"a\""),
        ("\"a\"", &["\"b\"", "W/\"a\", \"c\""], "W/\"a\""),
        ("\"a\"", &["W/\"ab\", \"a\""], "\"a\""),
        ("\"a\"", &["*"], "\"a\""),
        ("\"a\"", &[], "\"a\""),
        ("W/\"a\"", &["W/\"a\""], "W/\"a\""),
    ] {
        let mut headers = fields(&[("etag", tag)]);
        let lines: Vec<HeaderValue> = known.iter().map(|line| line.parse().unwrap()).collect();
        rewrite::not_modified(&mut headers, &lines);
        assert_eq!(headers["etag"], expected, "{tag} {known:?}");
        assert_eq!(headers["vary"], "accept-encoding");
    }
}

#[test]
fn what_cannot_be_planned() {
    let default = CompressConfig::default();
    let cases = [
        (CompressConfig { codings: vec![], ..default.clone() }, "codings"),
        (CompressConfig { codings: vec![CodingName::Br, CodingName::Br], ..default.clone() }, "codings[1]"),
        (CompressConfig { types: vec![], ..default.clone() }, "types"),
        (CompressConfig { types: vec!["json".to_owned()], ..default.clone() }, "types[0]"),
        (
            CompressConfig { levels: LevelsConfig { br: 11, ..LevelsConfig::default() }, ..default.clone() },
            "levels.br",
        ),
        (
            CompressConfig { levels: LevelsConfig { zstd: 0, ..LevelsConfig::default() }, ..default.clone() },
            "levels.zstd",
        ),
        (
            CompressConfig {
                levels: LevelsConfig { gzip: 10, ..LevelsConfig::default() },
                ..default.clone()
            },
            "levels.gzip",
        ),
    ];
    for (config, at) in cases {
        let mut report = Report::new();
        plan(&config, &Path::root(), &mut report);
        let found: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(found, [at]);
    }
    let mut report = Report::new();
    let planned = plan(&default, &Path::root(), &mut report);
    assert_eq!((planned.codings.as_ref(), report.problems().len()), (&offered()[..], 0));
    let kept = plan_kept(&KeptConfig::default(), 64 << 20, &Path::root(), &mut report);
    assert_eq!((kept, report.problems().len()), (8 << 20, 0), "it fits by itself");
    plan_kept(&KeptConfig { memory: Size::mib(65) }, 128 << 20, &Path::root(), &mut report);
    assert_eq!(report.problems().len(), 1);
}

proptest! {
    #[test]
    fn no_field_breaks_the_reading(lines in proptest::collection::vec("[ -~]{0,40}", 0..4)) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(header::ACCEPT_ENCODING, line.parse().unwrap());
        }
        let accept = Accept::of(&headers);
        if let Some(level) = accept.best(&offered()) {
            let named = lines.join(",").to_ascii_lowercase();
            prop_assert!(named.contains(level.coding.as_str()) || named.contains('*'));
        }
    }
}
