//! What a client is told whose head could not be read: the gateway's own answer, whether hyper refuses or we.

use tokio::io::AsyncWriteExt;

use super::{SOON, start};
use crate::support::message::{Kind, Reader};
use crate::support::{Client, Gateway, Origin, Reply, serve};

/// What is sent, and status and reason of the answer.
const UNREADABLE: &[(&str, u16, &str)] = &[
    ("no HTTP at all\r\n\r\n", 400, "malformed_head"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n", 400, "malformed_head"),
    ("GET / HTTP/1.1\nhost: a\n\n", 400, "bare_lf"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        400,
        "both_framings",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", 400, "content_length"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 400, "transfer_coding"),
    ("GET / HTTP/1.1\r\nhost:", 408, "request_head_timeout"),
];

#[tokio::test]
async fn an_unreadable_head_is_answered_like_any_other_bad_request() {
    let (_origin, gateway) = start().await;
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(20_000));
    let more = [(large.as_str(), 431, "request_head_too_large"), (long.as_str(), 414, "target_too_long")];
    for (send, status, reason) in UNREADABLE.iter().copied().chain(more) {
        let mut client = Client::connect(gateway.address).await;
        client.write(send).await;
        let answer = tokio::time::timeout(SOON, client.response()).await.unwrap();
        assert_eq!(answer.status(), status, "{send:.80}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{send:.80}");
        assert_eq!(answer.field("connection"), Some("close"), "{send:.80}");
        assert!(answer.field("date").is_some_and(|date| date.ends_with("GMT")), "{send:.80}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["reason"], reason, "{send:.80}");
        assert!(client.rest().await.is_empty(), "{send:.80}");
        let refused = [("reason", reason)];
        let counted = gateway.metrics().await.sum("forebay_refused_requests_total", &refused);
        assert!(counted >= 1.0, "{reason}");
    }
    let metrics = gateway.metrics().await;
    let refused = metrics.sum("forebay_refused_requests_total", &[]);
    assert_eq!(refused, (UNREADABLE.len() + more.len()) as f64, "each is counted once");
}

/// RFC 9110 §9.3.2.
#[tokio::test]
async fn an_unreadable_head_of_a_head_request_gets_no_content() {
    let (_origin, gateway) = start().await;
    let mut client = Client::connect(gateway.address).await;
    client.write("HEAD / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n").await;
    let answer = client.head_response().await;
    assert_eq!(answer.status(), 400);
    assert_ne!(answer.field("content-length"), Some("0"));
    assert!(client.rest().await.is_empty());
}

/// RFC 9112 §9.3.2: whatever is wrong with a later one, the requests before it are answered first, and
/// however it is cut into pieces.
#[tokio::test]
async fn answers_keep_their_order_in_pieces_of_any_size() {
    let good = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n\
                POST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\n\n\n\r\n0\r\nx: y\r\n\r\n\
                POST /3 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n\n\n\n";
    let bad =
        "POST /4 HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\nhost: a\r\n\r\n0\r\n\r\n";
    for piece in [1, 2, 3, 5, 8, 13, 40, 80, 1000] {
        let (origin, gateway) = start().await;
        let mut client = Client::connect(gateway.address).await;
        for bytes in (good.to_owned() + bad).as_bytes().chunks(piece) {
            client.write(bytes).await;
            if piece < 40 {
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..3 {
            assert_eq!(client.response().await.status(), 200, "in pieces of {piece}");
        }
        let answer = client.response().await;
        assert_eq!(answer.status(), 400, "in pieces of {piece}");
        assert!(answer.text().contains("both_framings"), "in pieces of {piece}: {answer:?}");
        assert!(client.rest().await.is_empty(), "in pieces of {piece}");
        assert_eq!(origin.asked().len(), 3, "in pieces of {piece}");
    }
}

/// The answer to the request before is not the last: one that says what is wrong follows.
#[tokio::test]
async fn what_is_wrong_behind_a_body_is_answered_too() {
    let (_origin, gateway) = start().await;
    let mut client = Client::connect(gateway.address).await;
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nha").await;
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 1.0).await;
    client.write("lfGET / HTTP/1.1\nhost: a\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.field("connection")), (200, None));
    assert_eq!(client.response().await.status(), 400);
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// RFC 9931 §6, RFC 6455 §4.1: what comes behind a handshake is the tunnel's if it succeeds, whatever it is.
#[tokio::test]
async fn what_follows_a_handshake_is_not_looked_at() {
    let early = b"\n\0GET / HTTP/1.1\n\n";
    let origin = serve(move |mut stream| async move {
        let mut reader = Reader::default();
        reader.message(&mut stream, Kind::Request).await.unwrap();
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let heard = reader.take(&mut stream, early.len()).await.unwrap();
        stream.write_all(&heard).await.unwrap();
    })
    .await;
    let gateway = Gateway::start(&super::config(origin));
    for at_once in [true, false] {
        let mut client = Client::connect(gateway.address).await;
        if at_once {
            client.write([HANDSHAKE.as_bytes(), early].concat()).await;
        } else {
            client.write(HANDSHAKE).await;
        }
        assert_eq!(client.response().await.status(), 101);
        if !at_once {
            client.write(early).await;
        }
        assert_eq!(client.take(early.len()).await.as_deref(), Some(&early[..]), "at once: {at_once}");
    }
}

/// And it is a request like any other if the handshake fails.
#[tokio::test]
async fn what_follows_a_failed_handshake_is_a_request() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = Gateway::start(&super::config(origin.address));
    for (more, status) in [
        ("GET /next HTTP/1.1\r\nhost: a\r\n\r\n", 200),
        ("GET /next HTTP/1.1\nhost: a\r\n\r\n", 400),
        ("\0", 400),
    ] {
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("{HANDSHAKE}{more}")).await;
        assert_eq!(client.response().await.status(), 200);
        let answer = tokio::time::timeout(SOON, client.response()).await.unwrap();
        assert_eq!(answer.status(), status, "{more:?}: {answer:?}");
    }
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        client.write(HANDSHAKE).await;
        assert_eq!(client.response().await.status(), 200);
    }
}
