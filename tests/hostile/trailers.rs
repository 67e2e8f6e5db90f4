//! Fields at a request's end that count only at its beginning. Whoever merges them into the head frames,
//! routes or authenticates another request than the one that was let in, so the request is malformed (RFC
//! 9110 §6.5.1, RFC 9113 §8.1).

use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame, open, post};
use super::http2;
use super::{Case, cut, passed, run};
use crate::support::{Client, Gateway, Origin, Reply, h2};

/// What no trailer section of a request may have, of every kind: a field and its value.
const SMUGGLED: &[(&str, &str)] = &[
    ("content-length", "5"),
    ("content_length", "5"),
    ("transfer-encoding", "chunked"),
    ("trailer", "x"),
    ("host", "b"),
    ("max-forwards", "0"),
    ("authorization", "Basic eDp5"),
    ("proxy-authorization", "Basic eDp5"),
    ("cookie", "session=1"),
    ("cache-control", "no-store"),
    ("if-none-match", "\"a\""),
    ("range", "bytes=0-0"),
    ("expect", "100-continue"),
    ("content-type", "text/html"),
    ("content-encoding", "gzip"),
    ("connection", "x-forwarded-for"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "close"),
    ("upgrade", "websocket"),
    ("te", "gzip"),
    ("forwarded", "for=192.0.2.1"),
    ("x-forwarded-for", "192.0.2.1"),
    ("X_Forwarded_For", "192.0.2.1"),
    ("x-request-id", "forged"),
    ("client-cert", ":AA==:"),
    ("via", "1.1 b"),
];

const GOOD: &[Case] = &[
    passed(
        "trailers that say something of the content",
        "9112 §7.1.2",
        post!(
            "transfer-encoding: chunked\r\ntrailer: content-digest",
            "1\r\nx\r\n0\r\nContent-Digest: sha-256=:AA==:\r\n\r\n"
        ),
        &[
            "POST /\nhost: a\ntrailer: content-digest\ntransfer-encoding: chunked\n\nx\n+content-digest: sha-256=:AA==:",
        ],
    ),
    passed(
        "trailers that were not announced stay behind",
        "9110 §6.5.1",
        post!("transfer-encoding: chunked", "1\r\nx\r\n0\r\nx-sum: 7\r\n\r\n"),
        &["POST /\nhost: a\ntransfer-encoding: chunked\n\nx"],
    ),
];

#[tokio::test]
async fn what_may_come_at_the_end() {
    run(GOOD, 0).await;
}

/// Announced or not: the last chunk never reaches the origin.
#[tokio::test]
async fn what_may_not() {
    let mut cases = Vec::new();
    for (name, value) in SMUGGLED {
        for announced in [String::new(), format!("trailer: {name}\r\n")] {
            let send = format!(
                "POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n{announced}\r\n\
                 2\r\nhe\r\n0\r\n{name}: {value}\r\n\r\n"
            );
            cases.push(cut(name, "9110 §6.5.1", send.into_bytes().leak()));
        }
    }
    run(&cases, 0).await;
}

#[tokio::test]
async fn what_may_not_in_http2() {
    let mut cases = Vec::new();
    for (name, value) in SMUGGLED {
        let (name, value) = (name.to_ascii_lowercase(), *value);
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(&name, value)]));
        let frames = [open(&post(&[])), frame(DATA, 0, 1, b"he"), trailers].concat();
        cases.push(http2::refused(name.leak(), "9113 §8.1", frames));
    }
    http2::run(cases).await;
}

/// RFC 9113 §8.1: an origin that speaks HTTP/2 would get what it is sent: so would a client.
#[tokio::test]
async fn nothing_of_the_kind_passes_between_two_that_speak_http2() {
    let (heard, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let origin = h2::origin(move |request| {
        let heard = heard.clone();
        async move {
            use http_body_util::BodyExt;
            // A client's body that breaks off is an error here.
            let whole = request.into_body().collect().await.map_err(|_| ());
            let _ = heard.send(whole.map(|whole| whole.trailers().cloned().unwrap_or_default()));
            let (writer, body) = h2::piped();
            writer.data("ok");
            writer.trailers(&[
                ("grpc-status", "0"),
                ("x-request-id", "theirs"),
                ("set-cookie", "a=b"),
                ("content-length", "9"),
                ("cache-control", "public"),
            ]);
            http::Response::new(body)
        }
    })
    .await;
    let gateway =
        Gateway::start(&Gateway::config(origin, "protocol = \"http2\"", "cache = { enabled = false }"));
    for (fields, passes) in [
        (&[("x-sum", "7")][..], true),
        (&[("x-sum", "7"), ("authorization", "Basic eDp5")], false),
        (&[("host", "b")], false),
        (&[("x-forwarded-for", "192.0.2.1")], false),
    ] {
        let mut client = h2::connect(gateway.address).await;
        let (writer, body) = h2::piped();
        writer.data("hello");
        writer.trailers(fields);
        drop(writer);
        let request = http::Request::post("http://a.example/").body(body).unwrap();
        let answer = crate::support::within("an answer", client.send_request(request)).await;
        let end = crate::support::within("the request at the origin", ends.recv()).await.unwrap();
        if !passes {
            assert!(answer.is_err() || answer.unwrap().status() == 400, "{fields:?}");
            assert_eq!(end, Err(()), "{fields:?}");
            continue;
        }
        assert_eq!(end.unwrap()["x-sum"], "7");
        let mut answer = answer.unwrap();
        assert_eq!(h2::data(answer.body_mut()).await, "ok");
        let trailers = h2::trailers(answer.body_mut()).await;
        let mut names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["grpc-status", "x-request-id"]);
    }
}

/// What an origin says at the end is not stored beyond what may be said there either.
#[tokio::test]
async fn what_an_origin_may_not_say_at_the_end_is_not_said_by_the_store() {
    let mut reply = b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntrailer: set-cookie, x-sum\r\n\
                      transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    reply.extend_from_slice(b"2\r\nok\r\n0\r\nset-cookie: a=b\r\nx-sum: 7\r\nage: 9\r\n\r\n");
    let origin = Origin::always(Reply::raw(reply)).await;
    let gateway = Gateway::before(origin.address, "").await;
    for _ in 0..2 {
        let mut client = Client::connect(gateway.address).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n").await;
        let answer = client.response().await;
        assert_eq!(answer.text(), "ok");
        assert!(answer.trailers.iter().all(|(name, _)| name == "x-sum"), "{answer:?}");
        assert_eq!((answer.field("set-cookie"), answer.field("cache-status").is_some()), (None, true));
    }
    assert_eq!(origin.asked().len(), 1);
}
