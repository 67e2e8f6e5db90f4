//! Raw bytes that no honest client sends: each has one answer, and the origin never sees what was hidden.

use crate::support::{Client, Gateway, Origin, Reply};

/// A request that must be refused.
struct Case {
    what: &'static str,
    /// The clause it breaks.
    clause: &'static str,
    raw: &'static [u8],
    /// The statuses that are right.
    status: &'static [u16],
}

const fn case(what: &'static str, clause: &'static str, raw: &'static [u8], status: &'static [u16]) -> Case {
    Case { what, clause, raw, status }
}

/// Where a request ends is in doubt, so the connection ends with the answer.
const FRAMING: &[Case] = &[
    case(
        "Content-Length and Transfer-Encoding",
        "RFC 9112 §6.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        // §6.3 allows to process it by its Transfer-Encoding alone; §6.1 then ends the connection.
        &[400, 200],
    ),
    case(
        "Transfer-Encoding and Content-Length",
        "RFC 9112 §6.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        &[400, 200],
    ),
    case(
        "two lengths that differ",
        "RFC 9112 §6.3",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        &[400],
    ),
    case(
        "a list of lengths that differ",
        "RFC 9112 §6.3",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\nabcde",
        &[400],
    ),
    case("a signed length", "RFC 9110 §8.6", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nabcde", &[400]),
    case("a negative length", "RFC 9110 §8.6", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\nabcde", &[400]),
    case("a hexadecimal length", "RFC 9110 §8.6", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nabcde", &[400]),
    case("an empty length", "RFC 9110 §8.6", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\nabcde", &[400]),
    case(
        "a length beyond 64 bits",
        "RFC 9110 §8.6",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551621\r\n\r\nabcde",
        &[400, 413],
    ),
    case(
        "an unknown coding",
        "RFC 9112 §6.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: cow\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    case(
        "a coding that is nearly chunked",
        "RFC 9112 §7",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    case(
        "identity, which is no coding any more",
        "RFC 9112 §7",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nabcde",
        &[400, 501],
    ),
    case(
        "chunked is not the last coding",
        "RFC 9112 §6.3",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    case(
        "chunked twice",
        "RFC 9112 §7.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    case(
        "a coding behind a vertical tab",
        "RFC 9112 §6.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    case(
        "a Kelvin sign for a k",
        "RFC 9112 §6.1",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chun\u{212a}ed\r\n\r\n0\r\n\r\n".as_bytes(),
        &[400, 501],
    ),
    case(
        "whitespace before the colon",
        "RFC 9112 §5.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 5\r\n\r\nabcde",
        &[400],
    ),
    case(
        "a folded line",
        "RFC 9112 §5.2",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    case("a bare CR in a value", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", &[400]),
    case("a NUL in a value", "RFC 9110 §5.5", b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", &[400]),
    case("a field without a colon", "RFC 9112 §5", b"GET / HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n", &[400]),
    case("a field without a name", "RFC 9110 §5.1", b"GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n", &[400]),
    case("another protocol", "RFC 9112 §2.3", b"GET / HTTP/9.9\r\nhost: a\r\n\r\n", &[400, 505]),
    case("no protocol at all", "RFC 9112 §3", b"GET /\r\nhost: a\r\n\r\n", &[400]),
];

/// A body that breaks its framing after the head was good: nothing is passed on as whole.
const BODIES: &[Case] = &[
    case(
        "a chunk size with a sign",
        "RFC 9112 §7.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
        &[400],
    ),
    case(
        "a chunk size with 0x",
        "RFC 9112 §7.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        &[400],
    ),
    case(
        "a chunk size beyond 64 bits",
        "RFC 9112 §7.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n",
        &[400],
    ),
    case(
        "a chunk longer than it says",
        "RFC 9112 §7.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        &[400],
    ),
    case(
        "an LF in a chunk extension",
        "RFC 9112 §7.1.1",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;x\ny\r\na\r\n0\r\n\r\n",
        &[400],
    ),
];

/// Whom a request is for is in doubt.
const TARGETS: &[Case] = &[
    case("no Host", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\n\r\n", &[400]),
    case("two Hosts", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", &[400]),
    case("two equal Hosts", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", &[400]),
    case("user information in Host", "RFC 9110 §7.2", b"GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", &[400]),
    case("a path in Host", "RFC 9110 §7.2", b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", &[400]),
    case("a port that is no number", "RFC 9110 §7.2", b"GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", &[400]),
    case(
        "user information in the target",
        "RFC 9110 §4.2.4",
        b"GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        &[400],
    ),
    case("another scheme", "RFC 9112 §3.2.2", b"GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", &[400, 421]),
    case("a relative target", "RFC 9112 §3.2", b"GET a HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
    case("an asterisk for GET", "RFC 9112 §3.2.4", b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
    case("CONNECT", "RFC 9931 §8", b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", &[405, 501, 400]),
    case("TRACE", "RFC 9110 §9.3.8", b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", &[405]),
    case("a backslash", "RFC 3986 §3.3", b"GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
    case("an encoded backslash", "RFC 3986 §3.3", b"GET /a%5cb HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
    case("an encoded NUL", "RFC 3986 §7.3", b"GET /a%00b HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
    case(
        "an encoded slash and dots",
        "RFC 3986 §6.2.2",
        b"GET /a/..%2fb HTTP/1.1\r\nhost: a\r\n\r\n",
        &[400],
    ),
    case("dots and a semicolon", "RFC 3986 §3.3", b"GET /a/..;/b HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
];

async fn refuse(cases: &'static [Case], closes: bool) {
    let origin = Origin::always(Reply::ok("passed")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut findings = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        // What is hidden behind it: the origin must never hear of that.
        let smuggled = format!("/smuggled/{number}");
        let mut bytes = case.raw.to_vec();
        if closes {
            let hidden = format!("GET {smuggled} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            bytes.extend_from_slice(hidden.as_bytes());
        }
        let before = origin.asked().len();
        let mut client = Client::connect(gateway.address).await;
        client.write(bytes).await;
        let answer = client.response().await;
        let mut finding = Vec::new();
        if !case.status.contains(&answer.status()) {
            finding.push(format!("answered {:?}", answer.start));
        }
        if closes && !client.rest().await.is_empty() {
            finding.push("the connection goes on".to_owned());
        }
        let asked = origin.asked().split_off(before);
        if asked.iter().any(|asked| asked.request.target() == smuggled) {
            finding.push("smuggled".to_owned());
        }
        if answer.status() >= 400 && asked.iter().any(|asked| asked.request.complete) {
            finding.push("the origin saw a whole request".to_owned());
        }
        if !finding.is_empty() {
            findings.push(format!("  {} ({}): {}", case.what, case.clause, finding.join(", ")));
        }
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    // It has lost nothing by it.
    assert_eq!(crate::support::get(gateway.address, "/").await.text(), "passed");
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 0.0).await;
}

#[tokio::test]
async fn doubtful_framing_is_refused_and_the_connection_ends() {
    refuse(FRAMING, true).await;
}

#[tokio::test]
async fn broken_bodies_are_refused_and_never_look_whole() {
    refuse(BODIES, true).await;
}

#[tokio::test]
async fn doubtful_targets_are_refused() {
    refuse(TARGETS, false).await;
}

/// What looks alike is one target, for matching and for the origin alike (RFC 3986 §6.2.2).
#[tokio::test]
async fn targets_are_normalised_once() {
    let origin = Origin::start(|request, _| Reply::ok(request.target())).await;
    let gateway = Gateway::before(origin.address, "").await;
    for (target, seen) in [
        ("/a/./b/../c", "/a/c"),
        ("/%61%2D%7e", "/a-~"),
        ("/a%2fb", "/a%2Fb"),
        ("/..", "/"),
        ("/a?b=../c&d=%41", "/a?b=../c&d=%41"),
        // RFC 9112 §3.2 has no fragment in a request; a client that sends one gets what it would without.
        ("/a#b", "/a"),
        ("http://other.example/x", "/x"),
        ("http://other.example", "/"),
    ] {
        let answer = crate::support::get(gateway.address, target).await;
        assert_eq!((answer.status(), answer.text()), (200, seen), "{target}");
    }
    // RFC 9112 §3.2.2: the target's authority is the one that counts.
    assert_eq!(origin.asked().last().unwrap().request.all("host"), ["other.example"]);
}

/// Fields that concern one connection, and those that say who a client is, come from nobody but us.
#[tokio::test]
async fn fields_of_the_connection_and_of_proxies_are_not_believed() {
    let origin = Origin::always(Reply::ok("x")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client
        .write(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-hop, x-forwarded-for, close\r\nx-hop: 1\r\n\
             keep-alive: 5\r\nproxy-connection: keep-alive\r\nte: gzip\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n\
             x-forwarded-for: 6.6.6.6\r\nx-forwarded-host: evil\r\nforwarded: for=6.6.6.6\r\nx-kept: yes\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.status(), 200);
    let asked = &origin.asked()[0].request;
    for gone in ["x-hop", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "te"] {
        assert_eq!(asked.field(gone), None, "RFC 9110 §7.6.1: {gone}");
    }
    assert_eq!(asked.field("x-kept"), Some("yes"));
    assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"]);
    assert!(!String::from_utf8_lossy(&asked.raw).contains("6.6.6.6"));
    assert_ne!(asked.field("x-forwarded-host"), Some("evil"));
}

/// Heads beyond the limits are refused, and what they take stays bounded.
#[tokio::test]
async fn heads_are_bounded() {
    let origin = Origin::always(Reply::ok("x")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let long = "x".repeat(64 * 1024);
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (what, raw, status) in [
        ("a long target", format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), [414, 431, 400]),
        ("a long value", format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), [431, 431, 431]),
        ("many fields", format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), [431, 431, 431]),
    ] {
        let mut client = Client::connect(gateway.address).await;
        client.write(raw).await;
        let answer = client.response().await;
        assert!(status.contains(&answer.status()), "{what}: {:?}", answer.start);
    }
    assert!(origin.asked().is_empty());
}

/// RFC 9112 §9.6: a client that is still sending when it is refused must not lose the answer to a reset.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends() {
    let origin = Origin::always(Reply::ok("x")).await;
    let gateway = Gateway::before(origin.address, "max_body = \"1KiB\"").await;
    let body = "x".repeat(2 << 20);
    let mut client = Client::connect(gateway.address).await;
    client.write(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    client.write(body).await;
    assert_eq!(client.response().await.status(), 413);
    assert!(origin.asked().iter().all(|asked| !asked.request.complete));
}
