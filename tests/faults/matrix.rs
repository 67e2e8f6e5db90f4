//! Every way an origin can fail, row by row: what clients of three kinds see of it, that nothing broken is
//! passed on as whole or stored, how often the origin was asked, and that all is as before afterwards.
//!
//! The rows, and where each is:
//!
//! | fault | test |
//! |---|---|
//! | an answer that is broken, in any way a table of bytes can tell | here, [`ROWS`] |
//! | the same over HTTP/2 | [`super::matrix_http2`] |
//! | cut or reset after every single byte | [`super`], and [`super::cache`] for what the cache does |
//! | connect refused, connect time-out, DNS, TLS, reset in the handshake | [`super::matrix_connect`] |
//! | a connection used before that breaks, bytes between two answers, half-close | [`super::matrix_reuse`] |
//! | early answer and reset during an upload | [`super::matrix_reuse`] |
//! | 503 with `Retry-After`, flapping, all endpoints down, a stopped process | [`super::matrix_origin`] |
//! | a client that leaves | [`super::matrix_client`], and [`super::cache`] after every single byte |

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::places::{Places, at_start};
use crate::support::{Client, Gateway, H2, Reply, ask, within};

const BODY: &str = "0123456789";
const SOUND: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nconnection: close\r\n\
                     content-length: 10\r\n\r\n0123456789";

/// What becomes of it at the client.
#[derive(Clone, Copy, Debug)]
enum Sees {
    /// This status, and this word for why.
    Error(u16, &'static str),
    /// The head at most, or 502 where that had not been sent: never a whole answer.
    Cut,
    /// A whole answer, with this status and body.
    Whole(u16, &'static str),
}
use Sees::{Cut, Error, Whole};

/// One fault.
struct Row {
    name: &'static str,
    /// Where the rule is, like `9112 §6.3`.
    clause: &'static str,
    fault: fn() -> Reply,
    sees: Sees,
    /// Whether another attempt makes it good, for a request that may be sent twice.
    retried: bool,
}

const fn row(name: &'static str, clause: &'static str, fault: fn() -> Reply, sees: Sees) -> Row {
    Row { name, clause, fault, sees, retried: false }
}

/// A fault that another attempt makes good.
const fn lost(name: &'static str, clause: &'static str, fault: fn() -> Reply, sees: Sees) -> Row {
    Row { retried: true, ..row(name, clause, fault, sees) }
}

/// These bytes, and then the end of the connection.
fn says(text: impl Into<Vec<u8>>) -> Reply {
    Reply::raw(text).then_close()
}

/// The head of a storable answer with these lines added, then the body, then the connection's end.
fn answers(lines: &str, body: &str) -> Reply {
    says(format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{lines}\r\n{body}"))
}

/// A storable answer in chunks.
fn chunks(body: &str) -> Reply {
    answers("transfer-encoding: chunked\r\n", body)
}

const fn bad(name: &'static str, clause: &'static str, fault: fn() -> Reply) -> Row {
    row(name, clause, fault, Error(502, "bad_response"))
}

const fn large(name: &'static str, fault: fn() -> Reply) -> Row {
    row(name, "9112 §3", fault, Error(502, "response_head_too_large"))
}

const fn cut(name: &'static str, clause: &'static str, fault: fn() -> Reply) -> Row {
    row(name, clause, fault, Cut)
}

const RESET: Sees = Error(502, "upstream_reset");

const ROWS: &[Row] = &[
    // Before a whole head.
    lost("closed before the head", "9112 §8", || says(""), RESET),
    lost("reset before the head", "9112 §8", || Reply::raw("").then_reset(), RESET),
    lost("closed inside the head", "9112 §8", || says(&SOUND[..40]), RESET),
    lost("reset inside the head", "9112 §8", || Reply::raw(&SOUND[..40]).then_reset(), RESET),
    lost("closed after an interim head", "9112 §8", || says("HTTP/1.1 103 Early Hints\r\n\r\n"), RESET),
    lost("silent", "9110 §15.6.5", || Reply::raw("x").stall_after(0), Error(504, "response_timeout")),
    lost("silent inside the head", "9110 §15.6.5", || Reply::raw(SOUND).stall_after(40), SLOW),
    lost("the head in a trickle", "9110 §15.6.5", || Reply::raw(SOUND).trickle_after(0, PAUSE), SLOW),
    lost("interim heads in a trickle", "9110 §15.6.5", || interim(40).trickle_after(0, PAUSE), SLOW),
    // What is no head.
    bad("garbage", "9112 §2.3", || says("\x16\x03\x01 garbage \r\n\r\n")),
    bad("a greeting of another protocol", "9112 §2.3", || says("SSH-2.0-OpenSSH_9.2\r\n")),
    bad("HTTP/0.9", "9112 §2.3", || says("<html>hello</html>\n")),
    bad("HTTP/2 frames", "9113 §3.4", || says(b"\0\0\0\x04\0\0\0\0\0\r\n\r\n".to_vec())),
    bad("a later version", "9112 §2.3", || says("HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n")),
    bad("a lower-case version", "9112 §2.3", || says("http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
    bad("a status of two digits", "9112 §4", || says("HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n")),
    bad("a status of four digits", "9112 §4", || says("HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n")),
    bad("a status of letters", "9112 §4", || says("HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n")),
    bad("status 0", "9110 §15", || says("HTTP/1.1 000 No\r\ncontent-length: 0\r\n\r\n")),
    // Field lines.
    bad("a name with a space", "9112 §5.1", || answers("x y: z\r\ncontent-length: 10\r\n", BODY)),
    bad("no colon", "9112 §5", || answers("nothing\r\ncontent-length: 10\r\n", BODY)),
    bad("no name", "9112 §5", || answers(": x\r\ncontent-length: 10\r\n", BODY)),
    bad("NUL in a value", "9110 §5.5", || answers("x: a\0b\r\ncontent-length: 10\r\n", BODY)),
    bad("NUL in a name", "9110 §5.1", || answers("x\0: b\r\ncontent-length: 10\r\n", BODY)),
    bad("a bare CR in a value", "9110 §5.5", || answers("x: a\rset-cookie: b\r\n", BODY)),
    bad("a folded line", "9112 §5.2", || answers("x: a\r\n b\r\ncontent-length: 10\r\n", BODY)),
    bad("a folded length", "9112 §5.2", || answers("content-length:\r\n 10\r\n", BODY)),
    // Framing.
    bad("a length that is no number", "9112 §6.3", || answers("content-length: ten\r\n", BODY)),
    bad("a signed length", "9112 §6.3", || answers("content-length: +10\r\n", BODY)),
    bad("a negative length", "9112 §6.3", || answers("content-length: -1\r\n", BODY)),
    bad("an empty length", "9112 §6.3", || answers("content-length:\r\n", BODY)),
    bad("a length in hex", "9112 §6.3", || answers("content-length: 0xa\r\n", BODY)),
    bad("a length beyond 64 bits", "9112 §6.3", || {
        answers("content-length: 18446744073709551626\r\n", BODY)
    }),
    bad("two lengths", "9112 §6.3", || answers("content-length: 10\r\ncontent-length: 5\r\n", BODY)),
    bad("a list of lengths", "9112 §6.3", || answers("content-length: 10, 5\r\n", BODY)),
    bad("an unknown coding", "9112 §6.3", || answers("transfer-encoding: gzip\r\n", BODY)),
    bad("chunked, and then another", "9112 §6.3", || answers("transfer-encoding: chunked, gzip\r\n", BODY)),
    bad("chunked twice", "9112 §7.1", || {
        answers("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n")
    }),
    bad("chunks in HTTP/1.0", "9112 §6.1", || {
        says("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n")
    }),
    // Heads without end.
    large("a field of 80 KiB", || answers(&format!("x: {}\r\n", "y".repeat(80 << 10)), BODY)),
    large("200 fields", || answers(&"x: y\r\n".repeat(200), BODY)),
    large("fields without end", || answers(&"x: y\r\n".repeat(200_000), BODY)),
    large("a reason without end", || says(format!("HTTP/1.1 200 {}", "y".repeat(1 << 20)))),
    large("empty lines without end", || says("\r\n".repeat(1 << 19))),
    bad("interim heads without end", "9110 §15.2", || interim(10_000)),
    large("large interim heads", || interim_of(&format!("link: {}\r\n", "y".repeat(60 << 10)), 10)),
    bad("a switch that nobody asked for", "9110 §15.2.2", || {
        says("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nevil")
    }),
    // Bodies that are not whole.
    cut("closed inside a counted body", "9112 §8", || answers("content-length: 10\r\n", "01234")),
    cut("reset inside a counted body", "9112 §8", || Reply::raw(SOUND).reset_after(SOUND.len() - 5)),
    cut("a length that is never reached", "9112 §8", || {
        answers("content-length: 9007199254740993\r\n", BODY)
    }),
    cut("closed inside a chunk", "9112 §8", || chunks("a\r\n01234")),
    cut("closed between two chunks", "9112 §8", || chunks("5\r\n01234\r\n")),
    cut("closed before the last line", "9112 §8", || chunks("a\r\n0123456789\r\n0\r\n")),
    cut("closed inside the trailers", "9112 §8", || chunks("a\r\n0123456789\r\n0\r\nx-sum: 1")),
    cut("a chunk size that is none", "9112 §7.1", || chunks("a\r\n0123456789\r\nzz\r\n")),
    cut("a chunk size beyond 64 bits", "9112 §7.1", || chunks("a\r\n0123456789\r\n10000000000000000a\r\n")),
    cut("a signed chunk size", "9112 §7.1", || chunks("+a\r\n0123456789\r\n0\r\n\r\n")),
    cut("a chunk longer than its size", "9112 §7.1", || chunks("5\r\n0123456789\r\n0\r\n\r\n")),
    cut("trailers without end", "9112 §7.1.2", || {
        chunks(&("0\r\n".to_owned() + &"x: y\r\n".repeat(100_000)))
    }),
    cut("a chunk extension without end", "9112 §7.1.1", || chunks(&format!("a;{}", "x".repeat(1 << 20)))),
    cut("reset where only the end would tell", "9112 §8", || {
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\n";
        Reply::raw(format!("{head}01234")).then_reset()
    }),
    cut("silent inside the body", "9110 §15.6.5", || Reply::raw(SOUND).stall_after(SOUND.len() - 5)),
    cut("silent inside a chunk", "9110 §15.6.5", || {
        let whole = chunks("a\r\n0123456789\r\n0\r\n\r\n");
        let length = whole.len();
        whole.stall_after(length - 10)
    }),
    // What is odd, and whole all the same.
    row(
        "both framings",
        "9112 §6.3",
        || answers("content-length: 3\r\ntransfer-encoding: chunked\r\n", "a\r\n0123456789\r\n0\r\n\r\n"),
        Whole(200, BODY),
    ),
    row(
        "the same length twice",
        "9112 §6.3",
        || answers("content-length: 10\r\ncontent-length: 10\r\n", BODY),
        Whole(200, BODY),
    ),
    row(
        "a length with a leading zero",
        "9110 §8.6",
        || answers("content-length: 010\r\n", BODY),
        Whole(200, BODY),
    ),
    row(
        "a space before a colon",
        "9112 §5.1",
        || answers("x : y\r\ncontent-length: 10\r\n", BODY),
        Error(502, "bad_response"),
    ),
    row("bytes after a counted body", "9112 §9.2", || Reply::raw(format!("{SOUND}{EVIL}")), Whole(200, BODY)),
    row(
        "bytes after the last chunk",
        "9112 §9.2",
        || Reply::raw(format!("{CHUNKED}a\r\n0123456789\r\n0\r\n\r\n{EVIL}")),
        Whole(200, BODY),
    ),
    row(
        "a body on 204",
        "9112 §6.3",
        || Reply::raw(format!("HTTP/1.1 204 No Content\r\ncache-control: max-age=60\r\n\r\n{EVIL}")),
        Whole(204, ""),
    ),
    row(
        "a counted body on 204",
        "9110 §8.6",
        || {
            let head = "HTTP/1.1 204 No Content\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n";
            Reply::raw(format!("{head}{BODY}"))
        },
        Whole(204, ""),
    ),
    row(
        "chunks on 204",
        "9112 §6.1",
        || {
            let head =
                "HTTP/1.1 204 No Content\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n";
            Reply::raw(format!("{head}a\r\n0123456789\r\n0\r\n\r\n"))
        },
        Whole(204, ""),
    ),
    row("some interim heads", "9110 §15.2", || interim(60), Whole(200, BODY)),
    row(
        "a hundred that nobody waits for",
        "9110 §15.2.1",
        || Reply::raw(format!("HTTP/1.1 100 Continue\r\n\r\n{SOUND}")),
        Whole(200, BODY),
    ),
    row(
        "the body in a trickle",
        "9112 §9.5",
        || Reply::raw(SOUND).trickle_after(0, Duration::from_millis(1)),
        Whole(200, BODY),
    ),
    row("the end of the connection ends it", "9112 §6.3", || answers("", BODY), Whole(200, BODY)),
    row(
        "HTTP/1.0",
        "9112 §6.3",
        || says(format!("HTTP/1.0 200 OK\r\ncache-control: max-age=60\r\n\r\n{BODY}")),
        Whole(200, BODY),
    ),
    row("line feeds for line ends", "9112 §2.2", || says(SOUND.replace("\r\n", "\n")), Whole(200, BODY)),
];

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n";
/// An answer that nobody asked for.
const EVIL: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nevil";
const SLOW: Sees = Error(504, "response_timeout");
/// Between two bytes of a trickle: all of it takes far longer than `read_timeout`, each pause does not.
const PAUSE: Duration = Duration::from_millis(100);

fn interim(count: usize) -> Reply {
    interim_of("", count)
}

/// So many interim heads with these lines, and then a sound answer.
fn interim_of(lines: &str, count: usize) -> Reply {
    let head = format!("HTTP/1.1 103 Early Hints\r\n{lines}\r\n");
    says(head.repeat(count) + SOUND)
}

/// What a client got.
#[derive(Debug)]
struct Got {
    status: u16,
    body: String,
    /// Whether it ended as its framing says.
    complete: bool,
}

impl Got {
    /// Whether that is what this kind of fault must look like.
    fn is(&self, sees: Sees) -> bool {
        match sees {
            // The reason is in the body: `application/problem+json`.
            Error(status, word) => {
                self.complete
                    && self.status == status
                    && self.body.contains(&format!("\"reason\":\"{word}\""))
            }
            Cut => !self.complete || self.status == 502,
            Whole(status, body) => self.complete && self.status == status && self.body == body,
        }
    }
}

/// On a connection of its own; interim responses are read past.
async fn http1(gateway: &Gateway, method: &str, path: &str) -> Got {
    let mut client = Client::connect(gateway.address).await;
    let head = format!("{method} {path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n");
    client.write(head).await;
    let mut message = client.response().await;
    while (100..200).contains(&message.status()) {
        message = client.response().await;
    }
    let body = String::from_utf8_lossy(&message.body).into_owned();
    Got { status: message.status(), body, complete: message.complete }
}

/// RFC 9112 §9.6: HTTP/1.0 has no way to tell a body that was cut from one that ended, but a reset.
async fn http10(gateway: &Gateway, path: &str) -> Got {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: test.example\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = within("the connection's end", stream.read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let complete = end.is_ok() && length.is_none_or(|length| length == body.len());
    Got { status, body: body.to_owned(), complete }
}

async fn http2(gateway: &Gateway, path: &str) -> Got {
    let url = format!("http://test.example{path}");
    let (answer, complete) = match H2::connect(gateway.address).await.try_get(&url).await {
        Ok(answer) => (Some(answer), true),
        Err(answer) => (answer, false),
    };
    let (status, body) = answer.map_or((0, Vec::new()), |answer| (answer.status, answer.body));
    Got { status, body: String::from_utf8_lossy(&body).into_owned(), complete }
}

/// An origin whose every path is broken the first time, in the way its number says, and sound from then on.
async fn broken_once() -> Places {
    Places::start(|request, before| {
        let number: usize = request.target().split('/').nth(1).unwrap().parse().unwrap();
        match before {
            0 => (ROWS[number].fault)(),
            _ => says(SOUND),
        }
    })
    .await
}

/// Each row through all kinds of clients: without retries, so that the fault is seen, and with them.
#[tokio::test]
async fn what_comes_of_a_broken_answer() {
    let origin = Arc::new(broken_once().await);
    // Time-outs that a test can wait for; and no row is to wait for another one's permit.
    let upstream = "read_timeout = \"1500ms\"\nconcurrency = { mode = \"fixed\", limit = 100 }";
    let budget = "budget = { min_per_second = 1000 }";
    let retry = |attempts| format!("[route.retry]\nattempts = {attempts}\n{budget}\n[route.cache]\n");
    let start = |attempts| Gateway::start(&Gateway::config(origin.address(), upstream, &retry(attempts)));
    let gateways = Arc::new((start(1), start(3)));
    let before = (at_start(&gateways.0).await, at_start(&gateways.1).await);
    let room = Arc::new(Semaphore::new(16));
    let mut rows = tokio::task::JoinSet::new();
    for (number, row) in ROWS.iter().enumerate() {
        let (origin, gateways, room) = (origin.clone(), gateways.clone(), room.clone());
        rows.spawn(async move {
            let _place = room.acquire().await.unwrap();
            let (once, thrice) = &*gateways;
            seen(row, &format!("/{number}/once"), once, &origin).await;
            made_good(row, &format!("/{number}/thrice"), thrice, &origin).await;
        });
    }
    let mut failed = 0;
    while let Some(ended) = rows.join_next().await {
        failed += usize::from(ended.is_err());
    }
    assert_eq!(failed, 0, "of {} rows", ROWS.len());
    before.0.is_back(&gateways.0).await;
    before.1.is_back(&gateways.1).await;
}

/// Nothing makes the fault good: each kind of client sees it, and it is gone with the next answer.
async fn seen(row: &Row, path: &str, gateway: &Gateway, origin: &Places) {
    let Row { name, clause, sees, .. } = *row;
    let case = |client: &str, got: &Got| format!("{name} (RFC {clause}), {client}: {got:?}");
    for (client, path) in [
        ("GET", format!("{path}/get")),
        ("HTTP/1.0", format!("{path}/http10")),
        ("HTTP/2", format!("{path}/http2")),
        ("POST", format!("{path}/post")),
    ] {
        let got = match client {
            "HTTP/1.0" => http10(gateway, &path).await,
            "HTTP/2" => http2(gateway, &path).await,
            method => http1(gateway, method, &path).await,
        };
        assert!(got.is(sees), "{}", case(client, &got));
        assert_eq!(origin.asked_for(&path), 1, "{}", case(client, &got));
        if client == "POST" {
            continue;
        }
        // RFC 9111 §3.3: nothing broken was stored, and what follows is sound, and is stored.
        let (body, asked) = if let Whole(_, body) = sees { (body, 1) } else { (BODY, 2) };
        for _ in 0..2 {
            let next = http1(gateway, "GET", &path).await;
            assert!(next.complete && next.body == body, "{}", case(client, &next));
            assert_eq!(origin.asked_for(&path), asked, "{}", case(client, &next));
        }
    }
    // RFC 9112 §9.3, §9.6: no request comes after what was broken on the same connection.
    for path in ["get", "http10", "http2", "post"].map(|client| format!("{path}/{client}")) {
        let after = origin.asked_after(&path);
        assert!(after.is_empty(), "{name} (RFC {clause}), on the same connection: {after:?}");
    }
}

/// Another attempt makes good what may be sent twice, where it is worth it; never a POST.
async fn made_good(row: &Row, path: &str, gateway: &Gateway, origin: &Places) {
    let Row { name, clause, sees, retried, .. } = *row;
    let get = format!("{path}/get");
    let got = http1(gateway, "GET", &get).await;
    let (sees_now, asked) = if retried { (Whole(200, BODY), 2) } else { (sees, 1) };
    assert!(got.is(sees_now), "{name} (RFC {clause}), with retries: {got:?}");
    assert_eq!(origin.asked_for(&get), asked, "{name} (RFC {clause}), with retries: {got:?}");
    let post = format!("{path}/post");
    let got = http1(gateway, "POST", &post).await;
    assert!(got.is(sees), "{name} (RFC {clause}), POST: {got:?}");
    assert_eq!(origin.asked_for(&post), 1, "{name} (RFC {clause}): POST is sent once (RFC 9110 §9.2.2)");
}

/// RFC 9110 §9.3.2, RFC 9112 §6.3: an answer to HEAD has no content, whatever its framing says and whatever
/// comes behind it.
#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    const HEADS: [&str; 3] = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    ];
    let origin = Places::start(|request, _| match request.method() {
        "HEAD" => Reply::raw(HEADS[request.target()[1..].parse::<usize>().unwrap()]),
        _ => says(SOUND),
    })
    .await;
    let gateway = Gateway::before(origin.address(), "").await;
    let before = at_start(&gateway).await;
    for number in 0..HEADS.len() {
        let path = format!("/{number}");
        let head = ask(gateway.address, "HEAD", &path, &[]).await;
        assert_eq!((head.status(), head.text()), (200, ""), "{number}");
        assert_eq!(http1(&gateway, "GET", &path).await.body, BODY, "{number}");
        assert!(origin.asked_after(&path).is_empty(), "{number}: its connection was used again");
    }
    before.is_back(&gateway).await;
}
