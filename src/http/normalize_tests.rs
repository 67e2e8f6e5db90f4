//! Tables and properties for [`super`]; the clauses are those of "Target, Host, path" in RFC 3986, 9110 and
//! 9112.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::http::Scheme;
use crate::http::authority::is_canonical;

const KEEP: PathRules =
    PathRules { merge_slashes: false, reject_encoded_slash: false, reject_parameters: false };
const REJECT: PathRules =
    PathRules { merge_slashes: true, reject_encoded_slash: true, reject_parameters: true };

#[test]
fn paths_become_normal() {
    for (from, to) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        // RFC 3986 §6.2.2.1 and §6.2.2.2: case and unreserved characters.
        ("/%7euser/%41%2d%2E%5f", "/~user/A-._"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%3ab", "/a%3Ab"),
        // RFC 3986 §5.2.4: dot segments, encoded ones too.
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/..", "/"),
        ("/.", "/"),
        ("/../../x", "/x"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e", "/a/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/..a/.b./...", "/..a/.b./..."),
        ("/.a%2fb", "/.a%2Fb"),
        // Slashes merge first, so that `..` takes a segment off and not a slash.
        ("//a///b//", "/a/b/"),
        ("//", "/"),
        ("/a//../b", "/b"),
        // Decoded once, never twice.
        ("/%252e%252e/a", "/%252e%252e/a"),
        ("/a%2fb/c", "/a%2Fb/c"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/{id}|[x]", "/%7Bid%7D%7C%5Bx%5D"),
    ] {
        assert_eq!(path(from, PathRules::default()).unwrap(), to, "{from}");
    }
    for (from, to) in [("//a//b/", "//a//b/"), ("/a//../b", "/a/b"), ("/.//a", "//a"), ("//", "//")] {
        assert_eq!(path(from, KEEP).unwrap(), to, "{from}");
    }
}

#[test]
fn paths_that_are_refused() {
    use TargetError as E;
    for (from, error) in [
        ("", E::NotAPath),
        ("*", E::NotAPath),
        ("a/b", E::NotAPath),
        ("/a\\b", E::Backslash),
        ("/a%5cb", E::Backslash),
        ("/..%5C..", E::Backslash),
        ("/a%00", E::EncodedControl),
        ("/a%0d%0aX:1", E::EncodedControl),
        ("/a%7f", E::EncodedControl),
        ("/a b", E::BadByte),
        ("/a\u{7f}", E::BadByte),
        ("/a\nb", E::BadByte),
        ("/é", E::BadByte),
        ("/a#b", E::BadByte),
        ("/a%", E::BadTriplet),
        ("/a%2", E::BadTriplet),
        ("/a%zz", E::BadTriplet),
        ("/a%+1", E::BadTriplet),
        ("/a/..;/b", E::DisguisedDots),
        ("/a/.;x=1/b", E::DisguisedDots),
        ("/a/..%3b/b", E::DisguisedDots),
        ("/a/%2e%2e;/b", E::DisguisedDots),
        ("/a%2f../b", E::DisguisedDots),
        ("/a%2F%2e%2e", E::DisguisedDots),
        ("/..%2fadmin", E::DisguisedDots),
        ("/a%2f.;x%2fb", E::DisguisedDots),
    ] {
        assert_eq!(path(from, PathRules::default()), Err(error), "{from}");
    }
    assert_eq!(path("/a%2fb", REJECT), Err(E::EncodedSlash));
}

/// Servers that know parameters (RFC 2396 §3.3) read all of these as other paths.
#[test]
fn parameters_may_be_refused() {
    for from in [
        "/admin;x=1/y",
        "/admin;/y",
        "/;/admin",
        "/a/b;v=1",
        "/a/;",
        "/a;jsessionid=1?b",
        "/a%3bb",
        "/a%3B/b",
        "/a/../b;c",
        "/a//b;c",
        "/{;}",
        "/..;/a",
    ] {
        let from = PathAndQuery::try_from(from).unwrap();
        assert_eq!(path_and_query(&from, REJECT), Err(TargetError::Parameters), "{from}");
    }
    for from in ["/a?b;c=d", "/a?%3b", "/a%253bb", "/a,b=1"] {
        let from = PathAndQuery::try_from(from).unwrap();
        assert_eq!(path_and_query(&from, REJECT), Ok(None), "{from}");
    }
    for from in ["/admin;x=1/y", "/a%3Bb"] {
        let from = PathAndQuery::try_from(from).unwrap();
        assert_eq!(path_and_query(&from, PathRules::default()), Ok(None), "{from}");
    }
}

#[test]
fn normal_paths_are_not_copied_and_queries_stay() {
    for (from, to) in [
        ("/", None),
        ("/orders/42?b=1&a=%2e%2e/..//", None),
        ("/a%20b/%E2%82%AC?", None),
        ("/a//b?x=//", Some("/a/b?x=//")),
        ("?a", Some("/?a")),
        ("/a/..?%zz", Some("/?%zz")),
    ] {
        let target = PathAndQuery::try_from(from).unwrap();
        let normal = path_and_query(&target, PathRules::default()).unwrap();
        assert_eq!(normal.as_ref().map(PathAndQuery::as_str), to, "{from}");
    }
    let target = PathAndQuery::try_from("/a?é").unwrap();
    assert_eq!(path_and_query(&target, PathRules::default()), Err(TargetError::BadByte));
    let grows = PathAndQuery::try_from("/".to_owned() + &"{".repeat(40_000)).unwrap();
    assert_eq!(path_and_query(&grows, PathRules::default()), Err(TargetError::TooLong));
}

#[test]
fn authorities_become_canonical() {
    for (from, to) in [
        ("example.com", "example.com"),
        ("EXAMPLE.Com.", "example.com"),
        ("example.com:80", "example.com"),
        ("example.com:0080", "example.com"),
        ("example.com:08080", "example.com:8080"),
        ("example.com:", "example.com"),
        ("example.com:000", "example.com:0"),
        ("example.com.:443", "example.com:443"),
        ("my_host", "my_host"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]", "[::1]"),
        ("[0:0::A]:80", "[::a]"),
        ("[2001:DB8::1]:8443", "[2001:db8::1]:8443"),
    ] {
        assert_eq!(authority(from.as_bytes(), Scheme::Http).unwrap(), to, "{from}");
        let value = HeaderValue::try_from(from).unwrap();
        assert_eq!(authority_value(&value, Scheme::Http).unwrap(), to, "{from}");
    }
    assert_eq!(authority(b"a:443", Scheme::Https).unwrap(), "a");
    assert_eq!(authority(b"a:80", Scheme::Https).unwrap(), "a:80");
}

#[test]
fn a_canonical_authority_is_shared() {
    let value =
        HeaderValue::from_maybe_shared(bytes::Bytes::from("api.example.com:8080".to_owned())).unwrap();
    let canonical = authority_value(&value, Scheme::Http).unwrap();
    assert_eq!(canonical.as_bytes().as_ptr(), value.as_bytes().as_ptr());
}

#[test]
fn authorities_that_are_refused() {
    use TargetError as E;
    // RFC 9112 §3.2: a Host that is not `uri-host [":" port]` is a 400.
    for (from, error) in [
        ("", E::NoHost),
        (".", E::BadHost),
        (":80", E::BadHost),
        ("a..b", E::BadHost),
        (".a", E::BadHost),
        ("a..", E::BadHost),
        ("a b", E::BadHost),
        ("a/b", E::BadHost),
        ("a,b", E::BadHost),
        ("a%2eb", E::BadHost),
        ("a?b", E::BadHost),
        ("http://a", E::BadPort),
        ("a#b", E::BadHost),
        ("é", E::BadHost),
        ("127.1", E::BadHost),
        ("127.0.0.01", E::BadHost),
        ("256.0.0.1", E::BadHost),
        ("user@a", E::UserInfo),
        ("user:pw@a:80", E::UserInfo),
        ("a:b", E::BadPort),
        ("a:-1", E::BadPort),
        ("a:65536", E::BadPort),
        ("a:000080", E::BadPort),
        ("a:80:80", E::BadPort),
        ("[::1", E::BadHost),
        ("[::1]x", E::BadHost),
        ("[::1]80", E::BadHost),
        ("[fe80::1%25eth0]", E::BadHost),
        ("[v1.x]", E::BadHost),
        ("::1", E::BadHost),
    ] {
        assert_eq!(authority(from.as_bytes(), Scheme::Http), Err(error), "{from}");
    }
    assert_eq!(authority(&[b'a'; 256], Scheme::Http), Err(E::BadHost));
}

fn rules() -> impl Strategy<Value = PathRules> {
    any::<[bool; 3]>().prop_map(|[merge_slashes, reject_encoded_slash, reject_parameters]| PathRules {
        merge_slashes,
        reject_encoded_slash,
        reject_parameters,
    })
}

proptest! {
    #[test]
    fn normalisation_is_idempotent_and_leaves_no_dots(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "/", "/", "/", ".", "..", "a", "B", "%2e", "%2E", "%2f", "%41", "%7e", "%25", ";", "%3b", "{", "~", "%c3",
            ]),
            0..24,
        ),
        rules in rules(),
    ) {
        let from = format!("/{}", pieces.concat());
        if let Ok(normal) = path(&from, rules) {
            let again = path(&normal, rules);
            prop_assert_eq!(again.as_deref(), Ok(&*normal), "{}", from);
            prop_assert!(normal.starts_with('/'));
            prop_assert!(!normal.split('/').any(|segment| segment == "." || segment == ".."), "{}", normal);
            prop_assert!(!rules.merge_slashes || !normal.contains("//"), "{}", normal);
            let parameters = normal.contains(';') || normal.contains("%3B");
            prop_assert!(!rules.reject_parameters || !parameters, "{}", normal);
        }
    }

    #[test]
    fn no_input_panics(text in ".{0,64}", bytes in prop::collection::vec(any::<u8>(), 0..64), rules in rules()) {
        let _ = path(&text, rules);
        let _ = path(&format!("/{text}"), rules);
        let _ = authority(&bytes, Scheme::Https);
        if let Ok(target) = PathAndQuery::try_from(bytes.as_slice()) {
            let _ = path_and_query(&target, rules);
        }
    }

    #[test]
    fn authorities_are_idempotent(
        text in r"[a-zA-Z0-9.\-_\[\]:@ ]{0,24}", https in any::<bool>(),
    ) {
        let scheme = if https { Scheme::Https } else { Scheme::Http };
        if let Ok(canonical) = authority(text.as_bytes(), scheme) {
            prop_assert_eq!(authority_value(&canonical, scheme), Ok(canonical.clone()));
            prop_assert!(canonical.as_bytes().starts_with(b"[") || is_canonical(canonical.as_bytes(), scheme));
        }
    }
}
