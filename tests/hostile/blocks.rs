//! Field blocks of HTTP/2 whose messages are malformed in ways that the library does not mind: it leaves out
//! what is wrong, and would pass on the rest (RFC 9113 §8.1.1). Nothing of it reaches the origin, and the
//! connection's other streams go on.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Outcome, RST_STREAM, SETTINGS, block,
    frame, get, open, outcome, post, preface, whole,
};
use super::http2::{Case, passed, refused, run};
use super::{SOON, start};
use crate::support::Client;

const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
const PUSH_PROMISE: u8 = 5;

/// `GET http` for the host `a`, by the static table but for the name's value, without a path.
const GET: &[u8] = b"\x82\x86\x01\x01a";

/// `:path`, not indexed, and indexed.
fn path(value: &[u8]) -> Vec<u8> {
    [&[0x04, u8::try_from(value.len()).unwrap()], value].concat()
}

fn indexed_path(value: &[u8]) -> Vec<u8> {
    [&[0x44, u8::try_from(value.len()).unwrap()], value].concat()
}

/// Refused with an answer.
fn told(name: &'static str, clause: &'static str, frames: Vec<u8>) -> Case {
    Case { right: &[Outcome::Status(400)], ..refused(name, clause, frames) }
}

fn reset(name: &'static str, clause: &'static str, frames: Vec<u8>) -> Case {
    Case { right: &[Outcome::Reset], ..refused(name, clause, frames) }
}

fn gone(name: &'static str, clause: &'static str, frames: Vec<u8>) -> Case {
    Case { right: &[Outcome::Gone], ..refused(name, clause, frames) }
}

/// A block in two frames, cut at `at`.
fn cut(flags: u8, block: &[u8], at: usize) -> Vec<u8> {
    let (first, last) = block.split_at(at);
    [frame(HEADERS, flags, 1, first), frame(CONTINUATION, END_HEADERS, 1, last)].concat()
}

#[tokio::test]
async fn fragments_in_paths() {
    let with = |path: Vec<u8>| [GET, &path].concat();
    let clause = "9113 §8.3.1, 9112 §3.2";
    run(vec![
        told("a fragment", clause, whole(&with(path(b"/a#b")))),
        told("an empty one", clause, whole(&with(path(b"/a#")))),
        told("one that looks like a path", clause, whole(&with(path(b"/a#/../b")))),
        told("behind a query", clause, whole(&with(path(b"/a?b#c")))),
        // `/#` by RFC 7541 Appendix B: 6 bits 011000, 12 bits 111111111010, and padding.
        told("one that is coded", "7541 §5.2", whole(&with(vec![0x04, 0x83, 0x63, 0xfe, 0xbf]))),
        told("with a name that is spelt out", clause, whole(&[GET, &block(&[(":path", "/#")])].concat())),
        told("in a continuation", clause, cut(END_STREAM, &with(path(b"/a#b")), GET.len() + 4)),
        told(
            "of a POST, whose body comes",
            clause,
            [
                open(&block(&[
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/cut#"),
                    (":authority", "a"),
                ])),
                frame(DATA, END_STREAM, 1, b"hello"),
            ]
            .concat(),
        ),
        passed(
            "a `#` elsewhere",
            "9110 §5.5",
            whole(&get(&[("referer", "http://a/#b"), ("x", "#")])),
            "GET /\nhost: a\nreferer: http://a/#b\nx: #",
        ),
        passed("an encoded one", "3986 §2.1", whole(&with(path(b"/a%23b"))), "GET /a%23b\nhost: a"),
        passed(
            "none, in a continuation for each byte",
            "9113 §6.10",
            {
                let block = with(path(b"/a"));
                let mut pieces = block.chunks(3);
                let mut frames = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
                let last = pieces.next_back().unwrap();
                frames.extend(pieces.flat_map(|piece| frame(CONTINUATION, 0, 1, piece)));
                [frames, frame(CONTINUATION, END_HEADERS, 1, last)].concat()
            },
            "GET /a\nhost: a",
        ),
        passed(
            "none, with padding and a priority",
            "9113 §6.2",
            {
                let inside = [b"\x03\0\0\0\x07\x10", &with(path(b"/a"))[..], b"\0\0\0"].concat();
                frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, &inside)
            },
            "GET /a\nhost: a",
        ),
        passed(
            "none, behind a table's new sizes",
            "7541 §6.3",
            whole(&[&[0x20, 0x3f, 0xe1, 0x1f], GET, &indexed_path(b"/a")].concat()),
            "GET /a\nhost: a",
        ),
    ])
    .await;
}

#[tokio::test]
async fn pseudo_header_fields_in_trailers() {
    let clause = "9113 §8.1";
    let upload = |trailers: Vec<u8>| [open(&post(&[])), frame(DATA, 0, 1, b"he"), trailers].concat();
    let trailers = |block: &[u8]| upload(frame(HEADERS, END_HEADERS | END_STREAM, 1, block));
    run(vec![
        reset(":path", clause, trailers(&block(&[(":path", "/b")]))),
        reset(":path by its index", clause, trailers(&[0x84])),
        reset(
            ":method, before a good field",
            clause,
            trailers(&block(&[(":method", "PUT"), ("x-sum", "7")])),
        ),
        reset(":authority", clause, trailers(&block(&[(":authority", "b")]))),
        reset("a response's", clause, trailers(&block(&[(":status", "200")]))),
        reset("by an index of the head's", "7541 §2.3.3", {
            let head = [&[0x83, 0x86, 0x01, 1, b'a'][..], &indexed_path(b"/cut")].concat();
            let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xbe]);
            [open(&head), frame(DATA, 0, 1, b"he"), trailers].concat()
        }),
        reset("in a continuation", clause, upload(cut(END_STREAM, &block(&[(":path", "/b")]), 0))),
        reset("cut", clause, upload(cut(END_STREAM, &block(&[(":path", "/b")]), 5))),
        reset("padded", clause, {
            let inside = [&[2][..], &block(&[(":path", "/b")]), &[0, 0]].concat();
            upload(frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &inside))
        }),
        reset("more than a list may have, the end of which would be missing", "9113 §10.5.1", {
            let large = "y".repeat(16_000);
            let block = block(&[("x-a", &large), ("x-b", &large), ("x-c", &large), ("x-sum", "7")]);
            let mut pieces = block.chunks(16_384);
            let mut frames = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
            let last = pieces.next_back().unwrap();
            frames.extend(pieces.flat_map(|piece| frame(CONTINUATION, 0, 1, piece)));
            upload([frames, frame(CONTINUATION, END_HEADERS, 1, last)].concat())
        }),
        passed(
            "good ones",
            clause,
            [
                open(&post(&[("trailer", "x-sum")])),
                frame(DATA, 0, 1, b"he"),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "7")])),
            ]
            .concat(),
            "POST /cut\nhost: a\ntrailer: x-sum\ntransfer-encoding: chunked\n\nhe\n+x-sum: 7",
        ),
    ])
    .await;
}

/// The library forgets what was wrong in a frame that ends within a field.
#[tokio::test]
async fn malformed_fields_before_a_cut() {
    let before_cut = |fields: &[(&str, &str)]| {
        let block = get(&[fields, &[("x", "yz")]].concat());
        cut(END_STREAM, &block, block.len() - 1)
    };
    run(vec![
        reset("Transfer-Encoding", "9113 §8.2.2", before_cut(&[("transfer-encoding", "chunked")])),
        reset("Connection", "9113 §8.2.2", before_cut(&[("connection", "close")])),
        reset("TE", "9113 §8.2.2", before_cut(&[("te", "gzip")])),
        reset("two paths", "9113 §8.3.1", before_cut(&[(":path", "/b")])),
        reset(
            "a pseudo-header field after others",
            "9113 §8.3",
            before_cut(&[("x", "y"), (":status", "200")]),
        ),
        passed("nothing", "9113 §6.10", before_cut(&[]), "GET /\nhost: a\nx: yz"),
    ])
    .await;
}

/// RFC 9113 §4.3: what the library does not decode, or may not, it would be out of step after.
#[tokio::test]
async fn blocks_that_are_not_decoded() {
    let depends = |on: u32| [&on.to_be_bytes()[..], &[16], &get(&[])].concat();
    run(vec![
        gone(
            "a stream that depends on itself",
            "9113 §5.3",
            frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY, 1, &depends(1)),
        ),
        passed(
            "on another",
            "9113 §5.3",
            frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY, 1, &depends(3)),
            "GET /\nhost: a",
        ),
        gone("an empty name before a cut", "9113 §8.2.1", {
            let block = get(&[("", "x")]);
            let rest = frame(CONTINUATION, END_HEADERS, 1, &super::frames::block(&[("x", "y")]));
            [frame(HEADERS, END_STREAM, 1, &block), rest].concat()
        }),
        gone(
            "a push",
            "9113 §8.4",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &get(&[])[..]].concat()),
        ),
        gone("a new size behind a field", "7541 §4.2", whole(&[&get(&[])[..], &[0x20]].concat())),
        gone(
            "a larger table than is allowed",
            "7541 §6.3",
            whole(&[&[0x3f, 0xe2, 0x1f], &get(&[])[..]].concat()),
        ),
        gone("padding of zeros", "7541 §5.2", whole(&[GET, &[0x84], &[0x00, 1, b'x', 0x81, 0x00]].concat())),
    ])
    .await;
}

/// What becomes of a stream, and nothing else is read meanwhile.
async fn end_of(client: &mut Client, wanted: u32) -> Outcome {
    loop {
        let Some(head) = client.take(9).await else { return Outcome::Gone };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = client.take(length as usize).await.unwrap_or_default();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], stream == wanted) {
            (HEADERS, true) => return Outcome::Status(super::frames::status(&payload)),
            (RST_STREAM, true) => return Outcome::Reset,
            (GOAWAY, _) => return Outcome::Gone,
            _ => {}
        }
    }
}

/// However the bytes come, one stream is refused and the others go on; and what a refused block has put into
/// the table is there for the next one, and refused there.
#[tokio::test]
async fn the_connection_goes_on() {
    let (origin, gateway) = start().await;
    let last = END_HEADERS | END_STREAM;
    // The table gets `x: y`, then `:path: /a#b`, then `:path: /c`.
    let field = [0x40, 1, b'x', 1, b'y'];
    let frames = [
        (1, [GET, &indexed_path(b"/a#b"), &field].concat(), Outcome::Status(400)),
        (3, [GET, &[0xbf]].concat(), Outcome::Status(400)),
        (5, [GET, &indexed_path(b"/c"), &[0xbf]].concat(), Outcome::Status(200)),
        (7, [GET, &[0xc0]].concat(), Outcome::Status(400)),
        (9, [GET, &[0xb9, 0xbe]].concat(), Outcome::Reset),
        (11, [GET, &[0xbe, 0xbf]].concat(), Outcome::Status(200)),
    ];
    for piece in [1, 3, 10, 1000] {
        let before = origin.asked().len();
        let mut client = Client::connect(gateway.address).await;
        client.write(preface()).await;
        for (stream, block, expected) in &frames {
            for piece in frame(HEADERS, last, *stream, block).chunks(piece) {
                client.write(piece).await;
                tokio::task::yield_now().await;
            }
            let end = tokio::time::timeout(SOON, end_of(&mut client, *stream)).await.unwrap();
            assert_eq!(end, *expected, "{stream}, in pieces of {piece}");
        }
        let seen: Vec<_> = origin.asked()[before..].iter().map(|asked| asked.request.start.clone()).collect();
        assert_eq!(seen, ["GET /c HTTP/1.1", "GET /c HTTP/1.1"]);
        assert!(origin.asked()[before..].iter().all(|asked| asked.request.field("x") == Some("y")));
    }
}

/// The answer says why, as it does in HTTP/1.
#[tokio::test]
async fn a_fragment_is_refused_in_words() {
    let (_origin, gateway) = start().await;
    for (name, value, reason) in [(":path", "/a#b", "fragment"), ("fragment", " ", "fragment")] {
        let mut client = Client::connect(gateway.address).await;
        let request = match name {
            ":path" => whole(&[GET, &path(value.as_bytes())].concat()),
            _ => whole(&get(&[(name, value)])),
        };
        client.write([preface(), frame(SETTINGS, 1, 0, b""), request].concat()).await;
        assert_eq!(outcome(&mut client).await, Outcome::Status(400));
        let head = client.take(9).await.unwrap();
        let body = client.take(usize::from(head[2])).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(head[3] == DATA && body.contains(&format!("\"reason\":\"{reason}\"")), "{body}");
    }
}
