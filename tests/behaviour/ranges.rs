//! Ranges: of what is stored whole, of what is stored in part, and what an origin may do wrong (RFC 9110 §14,
//! RFC 9111 §3.3, §3.4).

use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply, ask, get};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn status(answer: &Message) -> &str {
    answer.field("cache-status").unwrap_or_else(|| panic!("no Cache-Status: {answer:?}"))
}

fn is_hit(answer: &Message) -> bool {
    status(answer).starts_with("forebay; hit")
}

/// A representation: no two bytes in a row are the same for long.
fn text(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + (at / 26 + at) as u8 % 26)).collect()
}

/// RFC 9110 §14.6: the parts of an answer, read as a client does: `(first, last, length, body)`.
fn parts(answer: &Message) -> Vec<(usize, usize, usize, String)> {
    let content_type = answer.field("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let text = format!("\r\n{}", answer.text());
    let (text, end) = text.split_once(&format!("\r\n--{boundary}--")).unwrap();
    assert_eq!(end, "\r\n");
    let mut found = Vec::new();
    for part in text.split(&format!("\r\n--{boundary}\r\n")).skip(1) {
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Content-Type: text/plain"), "{head}");
        let range = head.split_once("Content-Range: bytes ").unwrap().1;
        let (range, length) = range.split_once('/').unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let number = |digits: &str| digits.parse().unwrap();
        found.push((number(first), number(last), number(length), body.to_owned()));
    }
    found
}

#[tokio::test]
async fn several_ranges_of_what_is_stored() {
    // Large enough for an entry in pieces.
    for length in [1_000, 700_000] {
        let whole = text(length);
        let fields = [FRESH, ("etag", "\"v1\""), ("content-type", "text/plain")];
        let origin = Origin::always(Reply::new(200, &fields, &whole)).await;
        let gateway = Gateway::before(origin.address, "").await;
        get(gateway.address, "/").await;
        let last = length - 1;
        for (asked, expected) in [
            (format!("bytes=0-9, 500-509, {last}-"), vec![(0, 9), (500, 509), (last, last)]),
            (format!("bytes=-10, 0-{}", length / 2), vec![(length - 10, last), (0, length / 2)]),
        ] {
            let answer = ask(gateway.address, "GET", "/", &[("range", &asked)]).await;
            assert_eq!(answer.status(), 206, "{asked}");
            assert!(is_hit(&answer) && answer.field("content-range").is_none(), "{asked}");
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(first, last)| (first, last, length, whole[first..=last].to_owned()))
                .collect();
            assert_eq!(parts(&answer), expected, "{asked}");
        }
        // RFC 9110 §14.2: ranges that overlap, or that are many and tiny, cost no more than the whole.
        let many = (0..16).map(|at| format!("{}-{}", at * 60, at * 60 + 1)).collect::<Vec<_>>().join(",");
        for (asked, code) in [
            ("bytes=0-,0-,0-,0-,0-,0-,0-,0-", 206),
            (&format!("bytes={many}"), 206),
            (&format!("bytes={many},{many}"), 200),
            (&format!("bytes={length}-, -0"), 416),
        ] {
            let answer = ask(gateway.address, "GET", "/", &[("range", asked)]).await;
            assert_eq!(answer.status(), code, "{asked}");
            assert!(answer.text().len() <= length, "{asked}");
            assert!(code != 206 || answer.field("content-range").is_some(), "joined: {asked}");
        }
        // RFC 9110 §13.1.5.
        for (condition, code) in [("\"v1\"", 206), ("\"v0\"", 200), ("W/\"v1\"", 200)] {
            let fields = [("range", "bytes=0-9, 500-509"), ("if-range", condition)];
            assert_eq!(ask(gateway.address, "GET", "/", &fields).await.status(), code, "{condition}");
        }
        // The connection goes on: the length was right.
        let mut client = Client::connect(gateway.address).await;
        for _ in 0..2 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\nrange: bytes=0-9, 500-509\r\n\r\n").await;
            assert_eq!(client.response().await.status(), 206);
        }
        gateway.at_rest().await;
    }
}
