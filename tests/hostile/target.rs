//! For whom and for what a request is: one reading for routing, cache key and origin.

use super::{Case, End, answered, config, frames, passed, refused, run};
use crate::support::{Client, Gateway, Origin, Reply, get};

const HOSTS: &[Case] = &[
    passed("one form for a name", "9110 §4.2.3", host!("A.Example.:80"), &["GET /\nhost: a.example"]),
    passed("a port of its own", "9110 §7.2", host!("a:8080"), &["GET /\nhost: a:8080"]),
    passed(
        "an underscore twin of Host",
        "9112 §3.2",
        get!("_host: b\r\nHost_: c"),
        &["GET /\n_host: b\nhost: a\nhost_: c"],
    ),
    refused("no Host", "9112 §3.2", b"GET / HTTP/1.1\r\nx: y\r\n\r\n"),
    refused("two Hosts", "9112 §3.2", get!("host: b")),
    refused("the same Host twice", "9112 §3.2", get!("host: a")),
    refused("two Hosts in HTTP/1.0", "9112 §3.2", b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n"),
    refused("an empty Host", "9110 §4.2.1", b"GET / HTTP/1.1\r\nhost:\r\n\r\n"),
    refused("a list of Hosts", "9112 §3.2", host!("a, b")),
    refused("a space in Host", "9112 §3.2", host!("a b")),
    refused("user information in Host", "9110 §4.2.4", host!("u@a")),
    refused("a path in Host", "9112 §3.2", host!("a/b")),
    refused("a port that is none", "9112 §3.2", host!("a:http")),
    refused("a port too large", "9112 §3.2", host!("a:65536")),
    refused("two ports", "9112 §3.2", host!("a:80:81")),
    refused("half an IPv6 address", "9112 §3.2", host!("[::1")),
    refused("a byte beyond ASCII in Host", "9112 §3.2", b"GET / HTTP/1.1\r\nhost: a\xe9\r\n\r\n"),
    refused("a percent triplet in Host", "9110 §4.2.3", host!("a%2eb")),
];

const FORMS: &[Case] = &[
    passed(
        "the target's authority wins",
        "9112 §3.2.2",
        target!("http://B.example/x"),
        &["GET /x\nhost: b.example"],
    ),
    passed("an empty path", "9110 §4.2.3", b"GET http://b HTTP/1.1\r\nhost: b\r\n\r\n", &["GET /\nhost: b"]),
    passed(
        "an empty path and a query",
        "9110 §4.2.3",
        b"GET http://b?q=1 HTTP/1.1\r\nhost: b\r\n\r\n",
        &["GET /?q=1\nhost: b"],
    ),
    refused("absolute form without Host", "9112 §3.2", b"GET http://b/x HTTP/1.1\r\n\r\n"),
    refused("absolute form with a bad Host", "9112 §3.2", b"GET http://b/x HTTP/1.1\r\nhost: a b\r\n\r\n"),
    refused("absolute form with an empty Host", "9112 §3.2", b"GET http://b/x HTTP/1.1\r\nhost:\r\n\r\n"),
    refused(
        "absolute form with two Hosts",
        "9112 §3.2",
        b"GET http://b/x HTTP/1.1\r\nhost: b\r\nhost: b\r\n\r\n",
    ),
    refused("user information", "9110 §4.2.4", b"GET http://u:p@b/x HTTP/1.1\r\nhost: b\r\n\r\n"),
    refused("an empty authority", "9110 §4.2.1", b"GET http:///x HTTP/1.1\r\nhost: b\r\n\r\n"),
    answered(
        "https where there is no TLS",
        "9110 §7.4",
        b"GET https://b/x HTTP/1.1\r\nhost: b\r\n\r\n",
        &[421],
    ),
    refused("another scheme", "9110 §7.4", b"GET ftp://b/x HTTP/1.1\r\nhost: b\r\n\r\n"),
    refused("authority form", "9112 §3.2.3", b"GET b:80 HTTP/1.1\r\nhost: b\r\n\r\n"),
    refused("a name alone", "9112 §3.2", b"GET b HTTP/1.1\r\nhost: b\r\n\r\n"),
    refused("a relative path", "9112 §3.2", b"GET a/b HTTP/1.1\r\nhost: b\r\n\r\n"),
    refused("asterisk form with GET", "9112 §3.2.4", b"GET * HTTP/1.1\r\nhost: b\r\n\r\n"),
    Case {
        end: End::Open,
        ..answered(
            "asterisk form with OPTIONS",
            "9110 §9.3.7",
            b"OPTIONS * HTTP/1.1\r\nhost: b\r\n\r\n",
            &[204],
        )
    },
    answered(
        "CONNECT, and what the tunnel would carry",
        "9931 §8",
        b"CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        &[405, 501],
    ),
    answered("CONNECT to a path", "9110 §9.3.6", b"CONNECT /x HTTP/1.1\r\nhost: b\r\n\r\n", &[400, 405, 501]),
    answered(
        "CONNECT with a body",
        "9931 §8",
        b"CONNECT b:443 HTTP/1.1\r\nhost: b\r\ncontent-length: 5\r\n\r\nhello",
        &[400, 405, 501],
    ),
    answered("TRACE", "9110 §9.3.8", b"TRACE / HTTP/1.1\r\nhost: b\r\ncookie: secret\r\n\r\n", &[405]),
    Case {
        end: End::Open,
        ..answered(
            "OPTIONS goes no further than it may",
            "9110 §7.6.2",
            b"OPTIONS /x HTTP/1.1\r\nhost: b\r\nmax-forwards: 0\r\n\r\n",
            &[200, 204],
        )
    },
    passed(
        "OPTIONS goes on",
        "9110 §7.6.2",
        b"OPTIONS /x HTTP/1.1\r\nhost: b\r\nmax-forwards: 7\r\n\r\n",
        &["OPTIONS /x\nhost: b\nmax-forwards: 6"],
    ),
];

const PATHS: &[Case] = &[
    passed("dot segments", "3986 §5.2.4", target!("/a/./b/../c"), &["GET /a/c\nhost: a"]),
    passed("encoded dot segments", "3986 §6.2.2", target!("/public/%2e%2E/admin"), &["GET /admin\nhost: a"]),
    passed("above the root", "3986 §5.2.4", target!("/../../etc"), &["GET /etc\nhost: a"]),
    passed("encoded letters", "3986 §6.2.2", target!("/%61dmin"), &["GET /admin\nhost: a"]),
    passed("many slashes", "3986 §6.2.2", target!("//a///b"), &["GET /a/b\nhost: a"]),
    passed(
        "a path like an authority",
        "9112 §3.2.1",
        target!("//evil.example/b"),
        &["GET /evil.example/b\nhost: a"],
    ),
    passed("an encoded slash", "3986 §2.2", target!("/a%2fb"), &["GET /a%2Fb\nhost: a"]),
    passed("encoded twice", "3986 §2.4", target!("/%252e%252e/b"), &["GET /%252e%252e/b\nhost: a"]),
    passed(
        "a query is opaque",
        "9110 §4.1",
        target!("/a?b=/../c&d=%2e%00?e"),
        &["GET /a?b=/../c&d=%2e%00?e\nhost: a"],
    ),
    passed("parameters are opaque", "3986 §3.3", target!("/a;b=1/c;d"), &["GET /a;b=1/c;d\nhost: a"]),
    refused("a fragment", "9112 §3.2", target!("/a#b")),
    refused("a fragment of nothing", "9112 §3.2", target!("/a?b#")),
    refused("a fragment that would be a path", "9112 §3.2", target!("/a#/../../b")),
    refused("a fragment in absolute form", "9112 §3.2", b"GET http://a/b#c HTTP/1.1\r\nhost: a\r\n\r\n"),
    passed("an encoded number sign", "3986 §2.2", target!("/a%23b?c=%23"), &["GET /a%23b?c=%23\nhost: a"]),
    refused("dot segments before an encoded slash", "3986 §6.2.2", target!("/a/..%2fb")),
    refused("dot segments behind an encoded slash", "3986 §6.2.2", target!("/a%2f..%2fb")),
    refused("dot segments with a parameter", "3986 §3.3", target!("/a/..;/b")),
    refused("a backslash", "3986 §2", target!("/a\\..\\b")),
    refused("an encoded backslash", "3986 §7.3", target!("/a%5c..%5cb")),
    refused("an encoded NUL", "3986 §7.3", target!("/a%00b")),
    refused("an encoded line end", "3986 §7.3", target!("/a%0d%0ab")),
    refused("half a percent triplet", "3986 §2.1", target!("/a%2")),
    refused("a percent triplet that is none", "3986 §2.1", target!("/a%zz")),
    refused("a byte beyond ASCII in a path", "3986 §2", b"GET /caf\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a byte beyond ASCII in a query", "3986 §2", b"GET /?caf\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n"),
];

/// A target, and the one that the origin sees, if it sees one.
type Rewritten = (&'static str, Option<&'static str>);

/// What `server.encoded_slash`, `path_parameters` and `merge_slashes` change, for matching and forwarding
/// alike, in both versions of HTTP.
#[tokio::test]
async fn paths_by_other_rules() {
    let cases: [(&str, &[Rewritten]); 3] = [
        (
            "encoded_slash = \"reject\"",
            &[("/a%2fb", None), ("/a%2Fb", None), ("/a%252fb", Some("/a%252fb")), ("/a/b", Some("/a/b"))],
        ),
        (
            "path_parameters = \"reject\"",
            &[
                ("/admin;x=1/y", None),
                ("/admin;/y", None),
                ("/;/admin", None),
                ("/a;jsessionid=1", None),
                ("/a%3bb", None),
                ("/a%3Bb", None),
                ("/a/../b;c", None),
                ("/a%253bb", Some("/a%253bb")),
                ("/a?b;c=d&e=%3b", Some("/a?b;c=d&e=%3b")),
                ("/a,b=1", Some("/a,b=1")),
            ],
        ),
        (
            "merge_slashes = false",
            &[
                ("//a///b", Some("//a///b")),
                ("/a//../b", Some("/a/b")),
                ("//a/../../b", Some("/b")),
                ("/%2e%2e//b", Some("//b")),
            ],
        ),
    ];
    for (rule, targets) in cases {
        let origin = Origin::always(Reply::ok("ok")).await;
        let config = config(origin.address).replace("[server]\n", &format!("[server]\n{rule}\n"));
        let gateway = Gateway::start(&config);
        for (target, seen) in targets {
            let before = origin.asked().len();
            let answer = get(gateway.address, target).await;
            assert_eq!(answer.status(), if seen.is_some() { 200 } else { 400 }, "{rule} {target}");
            let block = frames::block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", target),
                (":authority", "a"),
            ]);
            let mut client = Client::connect(gateway.address).await;
            client.write([frames::preface(), frames::whole(&block)].concat()).await;
            let outcome = frames::outcome(&mut client).await;
            assert_eq!(outcome, frames::Outcome::Status(answer.status()), "{rule} {target}");
            let asked = origin.asked();
            let asked: Vec<&str> = asked[before..].iter().map(|asked| asked.request.target()).collect();
            assert_eq!(asked, seen.iter().copied().cycle().take(2 * seen.iter().len()).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn hosts() {
    run(HOSTS, 0).await;
}

#[tokio::test]
async fn forms_of_targets() {
    run(FORMS, 0).await;
}

#[tokio::test]
async fn paths() {
    run(PATHS, 0).await;
}

/// As an origin may read a path that takes more for a separator than it should: decoded once, backslashes and
/// parameters gone, dot segments resolved.
fn at_worst(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap();
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let triplet =
            after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let (byte, taken) = match triplet {
            Some(byte) if *first == b'%' => (byte, 3),
            _ => (*first, 1),
        };
        decoded.push(byte);
        rest = &rest[taken..];
    }
    let text = String::from_utf8_lossy(&decoded).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in text.split('/') {
        match segment.split([';', '\0']).next().unwrap() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn the_worst_reading_is_that() {
    for (target, path) in [
        ("/a/../admin/x?y", "/admin/x"),
        ("/%61dmin/x", "/admin/x"),
        ("//admin//x", "/admin/x"),
        ("/b\\..\\admin;z/x", "/admin/x"),
        ("/b%2f..%2fadmin%00/x", "/admin/x"),
        ("/public/x", "/public/x"),
    ] {
        assert_eq!(at_worst(target), path, "{target}");
    }
}

/// What was matched is what is forwarded: no spelling of a guarded path finds a route without its guard, even
/// for an origin that reads it in the worst way.
#[tokio::test]
async fn no_spelling_gets_past_a_guard() {
    guarded("encoded_slash = \"reject\"\n", parameters_only).await;
}

/// Nor for one that takes parameters off.
#[tokio::test]
async fn no_parameter_gets_past_a_guard() {
    guarded("encoded_slash = \"reject\"\npath_parameters = \"reject\"\n", |_| false).await;
}

/// Tries to get past a guard by these rules; `excused` is what may.
async fn guarded(rules: &str, excused: impl Fn(&str) -> bool) {
    let origin = Origin::always(Reply::ok("ok")).await;
    let guarded = "[[route]]\nname = \"guarded\"\nmatch = { path = \"/admin/{*rest}\" }\n\
                   upstream = \"origin\"\nauth = { keys = {} }\n[consumer.alice]\n";
    let config = config(origin.address).replace("[server]\n", &format!("[server]\n{rules}"));
    let gateway = Gateway::start(&(config + guarded));
    let spellings = [
        "/admin/x",
        "/%61dmin/x",
        "/%61%64%6d%69%6e/x",
        "/admin%2fx",
        "/admin%2Fx",
        "//admin/x",
        "///admin//x",
        "/./admin/x",
        "/%2e/admin/x",
        "/a/../admin/x",
        "/a/%2e%2e/admin/x",
        "/a/.%2e/admin/x",
        "/a/b/../../admin/x",
        "/../admin/x",
        "/a/..;/admin/x",
        "/a/..;b=c/admin/x",
        "/a/..%3b/admin/x",
        "/a/..%2fadmin/x",
        "/a%2f..%2fadmin/x",
        "/a%2f%2e%2e%2fadmin%2fx",
        "/a\\..\\admin\\x",
        "/\\admin/x",
        "/admin\\x",
        "/admin%5cx",
        "/a%5c..%5cadmin/x",
        "/;/admin/x",
        "/;a/admin/x",
        "/admin;/x",
        "/admin;a=b/x",
        "/admin%3b/x",
        "/admin/./x",
        "/admin/x/../y",
        "/admin%00/x",
        "/admin%00x",
        "/%00/admin/x",
        "/admin%20/x",
        "/admin/x#",
        "/#/admin/x",
        "/public#/../admin/x",
        "http://a/admin/x",
        "http://a//admin/x",
        "http://a/b/../admin/x",
        "http://a/%61dmin/x",
        "/admin?/../public",
        "/public/../admin/x?/public",
        "/ADMIN/../admin/x",
        "/admin/",
        "/admin",
        "/.//admin/x",
        "/..//admin/x",
        "/a/..//admin/x",
    ];
    for target in spellings {
        let before = origin.asked().len();
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        let answer = client.response().await;
        for asked in &origin.asked()[before..] {
            let read = at_worst(asked.request.target());
            let inside = read == "/admin" || read.starts_with("/admin/");
            assert!(!inside || excused(target), "{target}: the origin sees {}", asked.request.target());
        }
        assert!([200, 400, 401].contains(&answer.status()), "{target}: {answer:?}");
    }
    let spelled = ["/admin/x", "/%61dmin/x", "//admin/x", "/a/%2e%2e/admin/x", "http://a//admin/x"];
    for target in spelled {
        assert_eq!(get(gateway.address, target).await.status(), 401, "{target}");
    }
}

/// Parameters of a segment are a part of its name to us (RFC 3986 §3.3), in matching and forwarding alike.
/// For an origin that takes them off there is `path_parameters = "reject"`.
fn parameters_only(target: &str) -> bool {
    ["/;/admin/x", "/;a/admin/x", "/admin;/x", "/admin;a=b/x", "/admin%3b/x"].contains(&target)
}
