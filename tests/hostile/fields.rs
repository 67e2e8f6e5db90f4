//! The bytes of a head: lines, names, values.

use super::{Case, Seen, answered, passed, passed_and_closed, refused, run};

const LINES: &[Case] = &[
    // RFC 9112 §2.2 lets a server take LF alone for a line's end. We do not.
    refused("LF alone at all ends", "9112 §2.2", b"GET / HTTP/1.1\nhost: a\nx: y\n\n"),
    refused("LF alone after the request line", "9112 §2.2", b"GET / HTTP/1.1\nhost: a\r\n\r\n"),
    refused("LF alone after a field", "9112 §2.2", b"GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n"),
    refused("LF alone at the end of the head", "9112 §2.2", b"GET / HTTP/1.1\r\nhost: a\r\n\n"),
    refused("LF LF at the end of the head", "9112 §2.2", b"GET / HTTP/1.1\r\nhost: a\n\n"),
    refused("LF alone before a request", "9112 §2.2", b"\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused(
        "LF alone hides a field",
        "9112 §2.2",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: y\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "LF alone hides a request",
        "9112 §2.2",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: y\n\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    Case {
        first: &[200],
        seen: Seen::Exactly(&["GET /1\nhost: a"]),
        ..refused(
            "LF alone after a good request",
            "9112 §2.2",
            b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\nhost: a\r\n\r\n",
        )
    },
    passed(
        "LF in a body",
        "9112 §6.2",
        post!("content-length: 12", "\n\nGET /\n\r\n\n\n"),
        &["POST /\ncontent-length: 12\nhost: a\n\n\n\nGET /\n\r\n\n\n"],
    ),
    passed(
        "an empty line before a request",
        "9112 §2.2",
        b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET /\nhost: a"],
    ),
    passed(
        "bytes beyond ASCII in a value are opaque",
        "9110 §5.5",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: caf\xc3\xa9\r\n\r\n",
        &["GET /\nhost: a\nx: caf\u{e9}"],
    ),
    passed(
        "no space after the colon, two after the value",
        "9112 §5",
        b"GET / HTTP/1.1\r\nhost:a\r\nx:y  \r\n\r\n",
        &["GET /\nhost: a\nx: y"],
    ),
    refused("a fold with a space", "9112 §5.2", get!("x: y\r\n z")),
    refused("a fold with a tab", "9112 §5.2", get!("x: y\r\n\tz")),
    refused("a fold of the first field", "9112 §2.2", b"GET / HTTP/1.1\r\n host: a\r\nhost: b\r\n\r\n"),
    refused("CR alone in a value", "9112 §2.2", get!("x: y\rz: 1")),
    refused("CR alone as a line's end", "9112 §2.2", b"GET / HTTP/1.1\rhost: a\r\r"),
    refused("CR CR LF", "9112 §2.2", b"GET / HTTP/1.1\r\nhost: a\r\r\n\r\n"),
    refused("NUL in a value", "9110 §5.5", get!("x: y\0z")),
    refused("a control character in a value", "9110 §5.5", get!("x: y\x01z")),
    refused("DEL in a value", "9110 §5.5", get!("x: y\x7f")),
    refused("NUL in a name", "9110 §5.1", get!("x\0y: z")),
    refused("a space in a name", "9110 §5.1", get!("x y: z")),
    refused("a delimiter in a name", "9110 §5.1", get!("x(y): z")),
    refused("a byte beyond ASCII in a name", "9110 §5.1", b"GET / HTTP/1.1\r\nhost: a\r\nx\xffy: z\r\n\r\n"),
    refused("an empty name", "9110 §5.1", get!(": z")),
    refused("no colon", "9112 §5", get!("x")),
    refused("a space before the colon", "9112 §5.1", get!("x : z")),
    refused("a space before the colon of Host", "9112 §5.1", b"GET / HTTP/1.1\r\nhost : a\r\n\r\n"),
];

const START_LINES: &[Case] = &[
    passed("a method of one's own", "9110 §9.1", b"get / HTTP/1.1\r\nhost: a\r\n\r\n", &["get /\nhost: a"]),
    passed_and_closed(
        "HTTP/1.0 without Host",
        "9112 §3.2",
        b"GET / HTTP/1.0\r\n\r\n",
        &["GET /\nhost: ORIGIN"],
    ),
    passed_and_closed(
        "HTTP/1.0 does not pipeline",
        "9112 §9.3",
        b"GET / HTTP/1.0\r\nhost: a\r\n\r\nGET /smuggled HTTP/1.0\r\nhost: a\r\n\r\n",
        &["GET /\nhost: a"],
    ),
    refused("no version", "9112 §3", b"GET /\r\nhost: a\r\n\r\n"),
    refused("two spaces", "9112 §3", b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a tab", "9112 §3", b"GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a space at the end", "9112 §3", b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n"),
    refused("a space at the beginning", "9112 §3", b" GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a space in the target", "9112 §3.2", b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("CR in the target", "9112 §3.2", b"GET /a\rb HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("NUL in the target", "9112 §3.2", b"GET /a\0b HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a method that is no token", "9110 §5.6.2", b"G(T / HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a version in small letters", "9112 §2.3", b"GET / http/1.1\r\nhost: a\r\n\r\n"),
    refused("a version to come", "9112 §2.3", b"GET / HTTP/1.10\r\nhost: a\r\n\r\n"),
    refused("another major version", "9112 §2.3", b"GET / HTTP/2.0\r\nhost: a\r\n\r\n"),
    refused("another protocol", "9112 §2.3", b"GET / RTSP/1.0\r\nhost: a\r\n\r\n"),
    refused("bytes of any kind", "9112 §2.2", b"\x80\xff\xfe\x01garbage\r\n\r\n"),
    refused("TLS where there is none", "9112 §2.2", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    refused("half of another protocol's preface", "9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    answered("a method without end", "9110 §9.1", &[b'A'; 9000], &[400, 431, 501, 408]),
    answered(
        "a long method",
        "9110 §9.1",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\nhost: a\r\n\r\n",
        &[501],
    ),
];

#[tokio::test]
async fn lines_and_fields() {
    run(LINES, 0).await;
}

#[tokio::test]
async fn start_lines() {
    run(START_LINES, 0).await;
}
