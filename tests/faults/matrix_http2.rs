//! The matrix of faults for an origin that speaks HTTP/2 (RFC 9113), frame by frame.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::places::at_start;
use crate::hostile::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame,
};
use crate::support::message::{Message, Reader};
use crate::support::{Gateway, H2, ask, serve};

const BODY: &str = "0123456789";

/// What the origin does about a request, given its stream.
type Fault = fn(u32) -> Vec<Does>;

enum Does {
    Sends(Vec<u8>),
    Closes,
    Resets,
}
use Does::{Closes, Resets, Sends};

/// What becomes of it at the client.
#[derive(Clone, Copy, Debug)]
enum Sees {
    /// 502 or 504, for this reason.
    Error(u16, &'static str),
    /// Never a whole answer.
    Cut,
    /// The body, whole.
    Whole,
}
use Sees::{Cut, Error, Whole};

struct Row {
    name: &'static str,
    /// Where the rule is in RFC 9113.
    clause: &'static str,
    fault: Fault,
    sees: Sees,
    /// The methods of which another attempt makes it good.
    retried: &'static [&'static str],
}

const fn row(name: &'static str, clause: &'static str, fault: Fault, sees: Sees) -> Row {
    Row { name, clause, fault, sees, retried: &[] }
}

/// One that another attempt makes good, for these methods.
const fn lost(
    name: &'static str,
    clause: &'static str,
    retried: &'static [&'static str],
    fault: Fault,
    sees: Sees,
) -> Row {
    Row { retried, ..row(name, clause, fault, sees) }
}

/// A storable answer's head with these fields; a body follows.
fn head(stream: u32, fields: &[(&str, &str)]) -> Does {
    let good = [(":status", "200"), ("cache-control", "max-age=60")];
    Sends(frame(HEADERS, END_HEADERS, stream, &block(&[&good[..], fields].concat())))
}

/// A head and nothing more.
fn only(stream: u32, fields: &[(&str, &str)]) -> Vec<Does> {
    vec![Sends(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)))]
}

fn data(stream: u32, body: &str, flags: u8) -> Does {
    Sends(frame(DATA, flags, stream, body.as_bytes()))
}

fn reset(stream: u32, code: u32) -> Does {
    Sends(frame(RST_STREAM, 0, stream, &code.to_be_bytes()))
}

fn goaway(last: u32, code: u32) -> Does {
    Sends(frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()))
}

fn sound(stream: u32) -> Vec<Does> {
    vec![head(stream, &[("content-length", "10")]), data(stream, BODY, END_STREAM)]
}

/// A whole answer with these fields too, which are wrong.
fn odd(stream: u32, fields: &[(&str, &str)]) -> Vec<Does> {
    vec![head(stream, fields), data(stream, BODY, END_STREAM)]
}

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const RESET: Sees = Error(502, "upstream_reset");
const BAD: Sees = Error(502, "bad_response");
const GET: &[&str] = &["GET"];
const ANY: &[&str] = &["GET", "POST"];

const ROWS: &[Row] = &[
    // Before a head.
    lost("reset: internal error", "§5.4.2", GET, |id| vec![reset(id, INTERNAL_ERROR)], RESET),
    lost("reset: cancelled", "§5.4.2", GET, |id| vec![reset(id, CANCEL)], RESET),
    lost("reset: refused", "§8.7", ANY, |id| vec![reset(id, REFUSED_STREAM)], RESET),
    lost("gone before it was taken", "§6.8", ANY, |_| vec![goaway(0, NO_ERROR), Closes], RESET),
    lost("gone after it was taken", "§6.8", GET, |id| vec![goaway(id, NO_ERROR), Closes], RESET),
    lost("gone for an error", "§6.8", GET, |id| vec![goaway(id, INTERNAL_ERROR), Closes], RESET),
    lost("closed", "§9.1", GET, |_| vec![Closes], RESET),
    lost("connection reset", "§9.1", GET, |_| vec![Resets], RESET),
    lost("silent", "§5.4", GET, |_| vec![], Error(504, "response_timeout")),
    // Heads that are none (§8.1.1: malformed).
    row("no status", "§8.3.2", |id| only(id, &[("x", "y")]), BAD),
    row("a status that is no number", "§8.3.2", |id| only(id, &[(":status", "abc")]), BAD),
    row("two statuses", "§8.3.2", |id| only(id, &[(":status", "200"), (":status", "204")]), BAD),
    row("an unknown pseudo-header", "§8.3", |id| odd(id, &[(":evil", "1")]), BAD),
    row("a request's pseudo-header", "§8.3", |id| odd(id, &[(":path", "/")]), BAD),
    row("a name in upper case", "§8.2.1", |id| odd(id, &[("X-Evil", "1")]), BAD),
    row("a name with a space", "§8.2.1", |id| odd(id, &[("x evil", "1")]), BAD),
    row("a line end in a value", "§8.2.1", |id| odd(id, &[("x", "a\r\nset-cookie: b")]), BAD),
    row("a line feed in a value", "§8.2.1", |id| odd(id, &[("x", "a\nset-cookie: b")]), BAD),
    row("NUL in a value", "§8.2.1", |id| odd(id, &[("x", "a\0b")]), BAD),
    row("connection", "§8.2.2", |id| odd(id, &[("connection", "close")]), BAD),
    row("transfer-encoding", "§8.2.2", |id| odd(id, &[("transfer-encoding", "chunked")]), BAD),
    row("a switch", "§8.6", |id| only(id, &[(":status", "101")]), BAD),
    row("a length that is no number", "§8.1.1", |id| odd(id, &[("content-length", "ten")]), BAD),
    row("two lengths", "§8.1.1", |id| odd(id, &[("content-length", "10"), ("content-length", "5")]), BAD),
    row("a head of 80 KiB", "§10.5.1", |id| odd(id, &[("x", "y".repeat(16_000).as_str()); 5]), HEAD),
    row(
        "a head in continuations without end",
        "§10.5.1",
        |id| {
            let mut frames = vec![Sends(frame(HEADERS, 0, id, &block(&[(":status", "200")])))];
            let more = || Sends(frame(CONTINUATION, 0, id, &block(&[("x", &"y".repeat(16_000))])));
            frames.extend((0..200).map(|_| more()));
            frames
        },
        CUT_OFF,
    ),
    row(
        "interim heads without end",
        "§8.1",
        |id| {
            let interim =
                || Sends(frame(HEADERS, END_HEADERS, id, &block(&[(":status", "103"), ("x", "y")])));
            (0..10_000).map(|_| interim()).chain(sound(id)).collect()
        },
        BAD,
    ),
    // Bodies that are not whole.
    row(
        "reset inside the body",
        "§8.1",
        |id| vec![head(id, &[("content-length", "10")]), data(id, "01234", 0), reset(id, INTERNAL_ERROR)],
        Cut,
    ),
    row(
        "reset inside a body of no length",
        "§8.1",
        |id| vec![head(id, &[]), data(id, "01234", 0), reset(id, CANCEL)],
        Cut,
    ),
    row("closed inside the body", "§9.1", |id| vec![head(id, &[]), data(id, "01234", 0), Closes], Cut),
    row(
        "connection reset inside the body",
        "§9.1",
        |id| vec![head(id, &[]), data(id, "01234", 0), Resets],
        Cut,
    ),
    row(
        "gone inside the body",
        "§6.8",
        |id| vec![head(id, &[]), data(id, "01234", 0), goaway(id, PROTOCOL_ERROR), Closes],
        Cut,
    ),
    row(
        "a body shorter than its length",
        "§8.1.1",
        |id| vec![head(id, &[("content-length", "10")]), data(id, "01234", END_STREAM)],
        Cut,
    ),
    row(
        "a body longer than its length",
        "§8.1.1",
        |id| vec![head(id, &[("content-length", "5")]), data(id, BODY, END_STREAM)],
        Cut,
    ),
    row(
        "no body where there is a length",
        "§8.1.1",
        |id| only(id, &[(":status", "200"), ("cache-control", "max-age=60"), ("content-length", "10")]),
        Cut,
    ),
    row("silent inside the body", "§5.4", |id| vec![head(id, &[]), data(id, "01234", 0)], Cut),
    row(
        "a second head inside the body",
        "§8.1",
        |id| vec![head(id, &[]), data(id, "01234", 0), head(id, &[]), data(id, "56789", END_STREAM)],
        Cut,
    ),
    // The decoder drops it, and the body has ended all the same.
    row(
        "trailers with a pseudo-header",
        "§8.1",
        |id| {
            let trailers = frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[(":status", "200")]));
            vec![head(id, &[]), data(id, BODY, 0), Sends(trailers)]
        },
        Whole,
    ),
    row(
        "more than the window",
        "§6.9.1",
        |id| {
            let flood = std::iter::repeat_with(|| data(id, &"x".repeat(16_384), 0)).take(400);
            [head(id, &[])].into_iter().chain(flood).chain([Closes]).collect()
        },
        Cut,
    ),
    row("frames that are none", "§4.2", |_| vec![Sends(vec![0xff; 64])], BAD),
    // What is odd, and whole all the same.
    row(
        "data after its end",
        "§5.1",
        |id| sound(id).into_iter().chain([data(id, "evil", END_STREAM)]).collect(),
        Whole,
    ),
    row(
        "reset after its end",
        "§8.1",
        |id| sound(id).into_iter().chain([reset(id, NO_ERROR)]).collect(),
        Whole,
    ),
    row(
        "gone after its end",
        "§6.8",
        |id| sound(id).into_iter().chain([goaway(id, NO_ERROR), Closes]).collect(),
        Whole,
    ),
    row(
        "some interim heads",
        "§8.1",
        |id| {
            let interim =
                || Sends(frame(HEADERS, END_HEADERS, id, &block(&[(":status", "103"), ("x", "y")])));
            (0..20).map(|_| interim()).chain(sound(id)).collect()
        },
        Whole,
    ),
    row(
        "unknown frames and padding",
        "§4.1",
        |id| {
            let padded = frame(DATA, END_STREAM | 8, id, &[&[3][..], BODY.as_bytes(), &[0; 3]].concat());
            vec![Sends(frame(0xbe, 0xff, id, b"x")), head(id, &[]), Sends(padded)]
        },
        Whole,
    ),
];

const HEAD: Sees = Error(502, "");
/// 502, whatever the reason: it depends on which bound is met first.
const CUT_OFF: Sees = Error(502, "");

/// An origin on a port of its own that answers its first `broken` requests this way. It counts them.
async fn origin(fault: Fault, broken: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let address = serve(move |stream| {
        let count = count.clone();
        async move {
            let _ = converse(stream, fault, broken, &count).await;
        }
    })
    .await;
    (address, asked)
}

async fn converse(mut stream: TcpStream, fault: Fault, broken: usize, asked: &AtomicUsize) -> Option<()> {
    let mut reader = Reader::default();
    reader.take(&mut stream, 24).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.ok()?;
    loop {
        let head = reader.take(&mut stream, 9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = reader.take(&mut stream, length).await?;
        let answer = match (head[3], head[4] & 1) {
            (SETTINGS, 0) => vec![Sends(frame(SETTINGS, 1, 0, b""))],
            (PING, 0) => vec![Sends(frame(PING, 1, 0, &payload))],
            (HEADERS, _) if asked.fetch_add(1, Ordering::SeqCst) < broken => fault(id),
            (HEADERS, _) => sound(id),
            (WINDOW_UPDATE, _) => vec![],
            _ => vec![],
        };
        for does in answer {
            match does {
                Sends(bytes) => stream.write_all(&bytes).await.ok()?,
                Closes => {
                    stream.shutdown().await.ok()?;
                    reader.rest(&mut stream).await;
                    return None;
                }
                Resets => {
                    stream.set_zero_linger().ok()?;
                    return None;
                }
            }
        }
    }
}

/// Whether that is what this kind of fault must look like.
fn is(status: u16, body: &str, complete: bool, sees: Sees) -> bool {
    match sees {
        Error(wanted, word) => complete && status == wanted && body.contains(word),
        Cut => !complete || status == 502,
        Whole => complete && status == 200 && body == BODY,
    }
}

fn gateway(origin: SocketAddr, attempts: u32) -> Gateway {
    let upstream = "protocol = \"http2\"\nread_timeout = \"1500ms\"\nidle_timeout = \"300ms\"";
    Gateway::start(&Gateway::config(origin, upstream, &format!("[route.retry]\nattempts = {attempts}\n")))
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap_or("no text")
}

async fn play(row: &Row) {
    let Row { name, clause, fault, sees, retried } = *row;
    // Seen as it is, by both kinds of clients; nothing of it is stored, and the next answer is sound.
    for client in ["h1", "h2"] {
        let (address, asked) = origin(fault, 1).await;
        let gateway = gateway(address, 1);
        let before = at_start(&gateway).await;
        let case = format!("{name} ({clause}), {client}");
        if client == "h1" {
            let got = ask(gateway.address, "GET", "/", &[]).await;
            assert!(is(got.status(), text(&got), got.complete, sees), "{case}: {got:?}");
        } else {
            let got = H2::connect(gateway.address).await.try_get("http://test.example/").await;
            let complete = got.is_ok();
            let (status, body) =
                got.or_else(|cut| cut.ok_or(())).map_or((0, vec![]), |got| (got.status, got.body));
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(is(status, &body, complete, sees), "{case}: {status} {complete} {body:?}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{case}");
        let asked_then = if matches!(sees, Whole) { 1 } else { 2 };
        for round in 0..2 {
            let mut next = ask(gateway.address, "GET", "/", &[]).await;
            // Whoever comes while a broken connection is being closed may find it broken still.
            while round == 0 && next.status() == 502 && asked.load(Ordering::SeqCst) == 1 {
                next = ask(gateway.address, "GET", "/", &[]).await;
            }
            assert!(next.complete && text(&next) == BODY, "{case}, then: {next:?}");
            assert_eq!(asked.load(Ordering::SeqCst), asked_then, "{case}, then");
        }
        before.is_back(&gateway).await;
    }
    // Made good where it may be.
    for method in ANY {
        let (address, asked) = origin(fault, 1).await;
        let gateway = gateway(address, 3);
        let got = ask(gateway.address, method, "/", &[]).await;
        let good = retried.contains(method);
        let (sees, count) = if good { (Whole, 2) } else { (sees, 1) };
        assert!(is(got.status(), text(&got), got.complete, sees), "{name} ({clause}), {method}: {got:?}");
        assert_eq!(asked.load(Ordering::SeqCst), count, "{name} ({clause}), {method}");
        gateway.at_rest().await;
    }
}

/// Each row with gateways of its own, a few rows at a time.
#[tokio::test]
async fn what_comes_of_a_broken_answer() {
    let mut failed = 0;
    for rows in ROWS.chunks(8) {
        let mut playing = tokio::task::JoinSet::new();
        for row in rows {
            playing.spawn(play(row));
        }
        while let Some(ended) = playing.join_next().await {
            failed += usize::from(ended.is_err());
        }
    }
    assert_eq!(failed, 0, "of {} rows", ROWS.len());
}
