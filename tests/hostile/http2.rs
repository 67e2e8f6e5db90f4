//! HTTP/2 in clear text, frame by frame: what is malformed there must not become a good request in HTTP/1.1.

use super::floods::KEPT;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame, get, open, outcome, post, preface, whole,
};
use super::{SOON, normal, start};
use crate::support::{Client, Gateway, Origin};

/// Frames that follow the preface, and what may come of them.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) clause: &'static str,
    pub(super) frames: Vec<u8>,
    pub(super) right: &'static [Outcome],
    /// The one request the origin sees, if it sees one.
    pub(super) seen: Option<&'static str>,
}

/// Any way to say no.
const NO: &[Outcome] = &[Outcome::Reset, Outcome::Gone, Outcome::Status(400)];

pub(super) fn refused(name: &'static str, clause: &'static str, frames: Vec<u8>) -> Case {
    Case { name, clause, frames, right: NO, seen: None }
}

pub(super) fn passed(name: &'static str, clause: &'static str, frames: Vec<u8>, seen: &'static str) -> Case {
    Case { name, clause, frames, right: &[Outcome::Status(200)], seen: Some(seen) }
}

/// Tries all cases, and says which went wrong.
pub(super) async fn run(cases: Vec<Case>) {
    let (origin, gateway) = start().await;
    let mut failures = Vec::new();
    for case in &cases {
        let before = origin.asked().len();
        let outcome = send(&gateway, &case.frames).await;
        let seen: Vec<String> = origin.asked()[before..]
            .iter()
            .filter(|asked| asked.request.complete)
            .map(|asked| normal(&asked.request, origin.address))
            .collect();
        let (name, clause) = (case.name, case.clause);
        if !outcome.is_some_and(|outcome| case.right.contains(&outcome)) {
            failures.push(format!("{name} (RFC {clause}): {outcome:?}, not one of {:?}", case.right));
        }
        if !seen.iter().map(String::as_str).eq(case.seen) {
            failures.push(format!("{name} (RFC {clause}): the origin saw {seen:?}, not {:?}", case.seen));
        }
        alive(&gateway).await;
    }
    failures.extend(begun(&origin));
    assert!(failures.is_empty(), "{} in {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// What was begun at the origin and must not have been.
fn begun(origin: &Origin) -> Vec<String> {
    let asked = origin.asked().into_iter().filter(|asked| !asked.request.complete);
    let wrong = asked.filter(|asked| !asked.request.target().starts_with("/cut"));
    wrong.map(|asked| format!("began to forward {asked:?}")).collect()
}

/// What comes of frames on a connection of their own; `None` if nothing does.
async fn send(gateway: &Gateway, frames: &[u8]) -> Option<Outcome> {
    let mut client = Client::connect(gateway.address).await;
    client.write([&preface(), frames].concat()).await;
    tokio::time::timeout(SOON, outcome(&mut client)).await.ok()
}

async fn alive(gateway: &Gateway) {
    let alive = crate::support::get(gateway.address, "/alive").await;
    assert_eq!(alive.text(), "ok");
}

#[tokio::test]
async fn good_requests() {
    run(vec![
        passed("a request", "9113 §8.3.1", whole(&get(&[("x", "y")])), "GET /\nhost: a\nx: y"),
        passed(
            "cookie crumbs",
            "9113 §8.2.3",
            whole(&get(&[("cookie", "a=1"), ("cookie", "b=2"), ("x", "y"), ("cookie", "c=3")])),
            "GET /\ncookie: a=1; b=2; c=3\nhost: a\nx: y",
        ),
        passed("TE: trailers", "9113 §8.2.2", whole(&get(&[("te", "trailers")])), "GET /\nhost: a"),
        passed("Host beside :authority", "9113 §8.3.1", whole(&get(&[("host", "A")])), "GET /\nhost: a"),
        passed(
            "a body",
            "9113 §8.1",
            [open(&post(&[("content-length", "5")])), frame(DATA, END_STREAM, 1, b"hello")].concat(),
            "POST /cut\ncontent-length: 5\nhost: a\n\nhello",
        ),
        passed(
            "a body of unknown length, empty frames in it",
            "9113 §8.1",
            [
                open(&post(&[])),
                frame(DATA, 0, 1, b""),
                frame(DATA, 0, 1, b"hello"),
                frame(DATA, END_STREAM, 1, b""),
            ]
            .concat(),
            "POST /cut\nhost: a\ntransfer-encoding: chunked\n\nhello",
        ),
        passed(
            "forged forwarding fields",
            "7239 §8.1",
            whole(&get(&[
                ("x-forwarded-for", "6.6.6.6"),
                ("x_forwarded_for", "6.6.6.6"),
                ("forwarded", "for=x"),
            ])),
            "GET /\nhost: a",
        ),
        passed(
            "dot segments",
            "3986 §5.2.4",
            whole(&block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/a/%2e%2e/b"),
                (":authority", "a"),
            ])),
            "GET /b\nhost: a",
        ),
    ])
    .await;
}

#[tokio::test]
async fn malformed_fields() {
    let field = |name, clause, field| refused(name, clause, whole(&get(&[field])));
    run(vec![
        field("a name in capitals", "9113 §8.2.1", ("X-Y", "z")),
        field("an empty name", "9113 §8.2.1", ("", "z")),
        field("a name with a space", "9113 §8.2.1", ("x y", "z")),
        field("a name with a colon", "9113 §8.2.1", ("x:y", "z")),
        field("a name with a line end", "9113 §8.2.1", ("x: y\r\nz", "z")),
        field("a value with CR LF", "9113 §8.2.1", ("x", "y\r\nz: 1")),
        field("a value with LF", "9113 §8.2.1", ("x", "y\nz")),
        field("a value with NUL", "9113 §8.2.1", ("x", "y\0z")),
        field("a value after a space", "9113 §8.2.1", ("x", " y")),
        field("a value before a tab", "9113 §8.2.1", ("x", "y\t")),
        field("Connection", "9113 §8.2.2", ("connection", "close")),
        field("Keep-Alive", "9113 §8.2.2", ("keep-alive", "timeout=5")),
        field("Proxy-Connection", "9113 §8.2.2", ("proxy-connection", "close")),
        field("Upgrade", "9113 §8.2.2", ("upgrade", "websocket")),
        field("Transfer-Encoding", "9113 §8.2.2", ("transfer-encoding", "chunked")),
        field("TE with more than trailers", "9113 §8.2.2", ("te", "gzip")),
        field("a pseudo-header field after others", "9113 §8.3", (":path", "/b")),
        field("a pseudo-header field nobody knows", "9113 §8.3", (":x", "y")),
        field("a response's pseudo-header field", "9113 §8.3", (":status", "200")),
        field("a Host that differs", "9113 §8.3.1", ("host", "b")),
        field("a length that is none", "9113 §8.1.1", ("content-length", "x")),
    ])
    .await;
}

#[tokio::test]
async fn malformed_targets() {
    let target = |name, clause, method, scheme, path, authority| {
        let fields = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)];
        refused(name, clause, whole(&block(&fields)))
    };
    let connect = Case {
        right: &[Outcome::Reset, Outcome::Gone, Outcome::Status(400), Outcome::Status(501)],
        ..refused("CONNECT", "9113 §8.5", open(&block(&[(":method", "CONNECT"), (":authority", "a:443")])))
    };
    run(vec![
        connect,
        target("an extended CONNECT we did not offer", "8441 §3", "CONNECT", "http", "/", "a"),
        target("no method", "9113 §8.3.1", "", "http", "/", "a"),
        target("a method with a space", "9113 §8.3.1", "GET /x HTTP/1.1\r\nx:", "http", "/", "a"),
        target("another scheme", "9110 §7.4", "GET", "ftp", "/", "a"),
        Case {
            right: &[Outcome::Status(421)],
            ..target("https where there is no TLS", "9110 §7.4", "GET", "https", "/", "a")
        },
        target("an empty path", "9113 §8.3.1", "GET", "http", "", "a"),
        target("a relative path", "9113 §8.3.1", "GET", "http", "b", "a"),
        target("an absolute URI", "9113 §8.3.1", "GET", "http", "http://b/", "a"),
        target("an asterisk", "9113 §8.3.1", "GET", "http", "*", "a"),
        target("a path with a space", "9113 §10.3", "GET", "http", "/ HTTP/1.1", "a"),
        target("a path with CR LF", "9113 §10.3", "GET", "http", "/\r\nx: y", "a"),
        target("user information", "9113 §8.3.1", "GET", "http", "/", "u@a"),
        target("a path in :authority", "9113 §8.3.1", "GET", "http", "/", "a/b"),
        target("a space in :authority", "9113 §8.3.1", "GET", "http", "/", "a b"),
        target("an empty :authority", "9113 §8.3.1", "GET", "http", "/", ""),
        refused(
            "no :path",
            "9113 §8.3.1",
            whole(&block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")])),
        ),
        refused(
            "no :scheme",
            "9113 §8.3.1",
            whole(&block(&[(":method", "GET"), (":path", "/"), (":authority", "a")])),
        ),
        refused(
            "neither :authority nor Host",
            "9113 §8.3.1",
            whole(&block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")])),
        ),
        refused(
            "two methods",
            "9113 §8.3.1",
            whole(&block(&[
                (":method", "GET"),
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ])),
        ),
        refused("two Hosts", "9113 §8.3.1", whole(&get(&[("host", "a"), ("host", "a")]))),
    ])
    .await;
}

/// RFC 9113 §8.1.1: a body that is not as long as was said must not look whole to the origin.
#[tokio::test]
async fn malformed_bodies() {
    let counted = |length| open(&post(&[("content-length", length)]));
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let trailers = |flags, fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    run(vec![
        refused("a length and no body", "9113 §8.1.1", whole(&post(&[("content-length", "5")]))),
        refused("too short", "9113 §8.1.1", [counted("5"), data(END_STREAM, b"he")].concat()),
        refused("too long", "9113 §8.1.1", [counted("2"), data(END_STREAM, b"hello")].concat()),
        refused(
            "too short, and an empty frame at the end",
            "9113 §8.1.1",
            [counted("5"), data(0, b"he"), data(END_STREAM, b"")].concat(),
        ),
        refused("none but an empty frame", "9113 §8.1.1", [counted("5"), data(END_STREAM, b"")].concat()),
        refused(
            "two lengths",
            "9113 §8.1.1",
            [open(&post(&[("content-length", "5"), ("content-length", "6")])), data(END_STREAM, b"hello!")]
                .concat(),
        ),
        refused(
            "too short, and trailers",
            "9113 §8.1.1",
            [counted("5"), data(0, b"he"), trailers(END_STREAM, &[("x", "y")])].concat(),
        ),
        refused(
            "trailers that do not end the stream",
            "9113 §8.1",
            [open(&post(&[])), data(0, b"he"), trailers(0, &[("x", "y")])].concat(),
        ),
        refused(
            "Transfer-Encoding in trailers",
            "9113 §8.2.2",
            [open(&post(&[])), data(0, b"he"), trailers(END_STREAM, &[("transfer-encoding", "chunked")])]
                .concat(),
        ),
        refused(
            "a line end in trailers",
            "9113 §8.2.1",
            [open(&post(&[])), data(0, b"he"), trailers(END_STREAM, &[("x", "y\r\n\r\nGET / HTTP/1.1")])]
                .concat(),
        ),
        refused(
            "data after the end",
            "9113 §5.1",
            [
                open(&post(&[])),
                data(0, b"he"),
                frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
                data(END_STREAM, b"llo"),
            ]
            .concat(),
        ),
    ]
    .into_iter()
    .map(|case| match case.name {
        // Nobody is left to be told.
        "data after the end" => Case { frames: [case.frames, frame(PING, 0, 0, b"1")].concat(), ..case },
        _ => case,
    })
    .collect())
    .await;
}

#[tokio::test]
async fn malformed_frames() {
    let gone = |name, clause, frames| Case { right: &[Outcome::Gone], ..refused(name, clause, frames) };
    run(vec![
        gone("a head on stream 0", "9113 §6.2", frame(HEADERS, END_HEADERS | END_STREAM, 0, &get(&[]))),
        gone(
            "a head on a stream of ours",
            "9113 §5.1.1",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &get(&[])),
        ),
        gone("data on an idle stream", "9113 §5.1", frame(DATA, END_STREAM, 1, b"x")),
        gone("a reset of an idle stream", "9113 §6.4", frame(RST_STREAM, 0, 1, &[0; 4])),
        gone("a continuation of nothing", "9113 §6.10", frame(CONTINUATION, END_HEADERS, 1, &get(&[]))),
        gone(
            "another frame inside a field block",
            "9113 §6.10",
            [frame(HEADERS, END_STREAM, 1, &get(&[])), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        gone("settings of an odd length", "9113 §6.5", frame(SETTINGS, 0, 0, &[0; 5])),
        gone("settings of a stream", "9113 §6.5", frame(SETTINGS, 0, 1, &[])),
        gone("a ping that is too short", "9113 §6.7", frame(PING, 0, 0, b"1")),
        gone("a window that grows by nothing", "9113 §6.9", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        gone("a window that overflows", "9113 §6.9.1", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        gone("a frame that is too large", "9113 §4.2", frame(DATA, 0, 1, &[0; 16_385])),
        gone("an index into nothing", "7541 §2.3.3", whole(&[0xff, 0xff, 0x7f])),
        gone("a string longer than its block", "7541 §5.2", whole(&[0x00, 0x7e, b'x'])),
    ])
    .await;
}

/// RFC 9113 §10.5: what costs the sender little must not cost us much.
#[tokio::test]
async fn floods() {
    let (origin, gateway) = start().await;
    crate::support::get(gateway.address, "/warm").await;
    let before = gateway.holds().await;
    let large = "y".repeat(15_000);
    let bomb = get(&[("x", &large), ("x", &large), ("x", &large)]);
    let mut pieces = bomb.chunks(16_000);
    let mut bomb = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
    for piece in pieces {
        bomb.extend(frame(CONTINUATION, 0, 1, piece));
    }
    bomb.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
    let outcome = send(&gateway, &bomb).await.unwrap();
    assert!([Outcome::Status(431), Outcome::Reset, Outcome::Gone].contains(&outcome), "{outcome:?}");

    let many: Vec<(String, &str)> = (0..101).map(|index| (format!("x-{index}"), "y")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(send(&gateway, &whole(&get(&many))).await, Some(Outcome::Status(431)));

    let mut endless = frame(HEADERS, END_STREAM, 1, &get(&[]));
    endless.extend(frame(CONTINUATION, 0, 1, b"").repeat(100_000));
    assert_eq!(send(&gateway, &endless).await, Some(Outcome::Gone), "CVE-2024-27316");

    let mut resets = Vec::new();
    for stream in (3..6001).step_by(2) {
        resets.extend(frame(HEADERS, END_HEADERS, stream, &post(&[])));
        resets.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    assert_eq!(send(&gateway, &resets).await, Some(Outcome::Gone), "CVE-2023-44487");

    alive(&gateway).await;
    gateway.back_to(before, KEPT, "all of them").await;
    assert!(begun(&origin).is_empty(), "{:?}", begun(&origin));
}

/// What is between two requests is idle, not a slow head, and never answered in HTTP/1.1.
#[tokio::test]
async fn an_idle_connection_is_kept() {
    let (_origin, gateway) = start().await;
    let mut client = Client::connect(gateway.address).await;
    client.write(preface()).await;
    // Twice the time for a head.
    let later = tokio::time::Instant::now() + std::time::Duration::from_secs(2);
    while tokio::time::Instant::now() < later {
        client.write(frame(PING, 0, 0, &[0; 8])).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    client.write(whole(&get(&[]))).await;
    assert_eq!(outcome(&mut client).await, Outcome::Status(200));
}
