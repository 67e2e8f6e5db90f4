//! A client that leaves: its request upstream ends within a second, unless somebody else waits for the
//! answer, or it is worth having in the store. Then nothing of it is left.

use std::net::SocketAddr;
use std::time::Duration;

use ::h2::RecvStream;
use ::h2::client::ResponseFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::places::at_start;
use crate::support::message::{Kind, Reader};
use crate::support::{Client, Gate, Gateway, H2, get, h2, serve, within};

/// How soon a request upstream ends after its client has left: a second, and one more for a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// What the client speaks, and how it leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// HTTP/1.1: it closes the connection.
    Http1,
    /// HTTP/2: it resets the stream, and the connection stays.
    Stream,
    /// HTTP/2: it is gone, connection and all.
    Http2,
}

/// Who else has a use for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// Nobody.
    Nobody,
    /// A client that waits for the same answer.
    Follow,
    /// The cache, which has most of it already.
    Store,
}

struct Row {
    name: &'static str,
    cache: &'static str,
    /// What the origin has sent when the client leaves.
    begun: &'static str,
    others: Others,
}

const fn row(name: &'static str, cache: &'static str, begun: &'static str, others: Others) -> Row {
    Row { name, cache, begun, others }
}

const OFF: &str = "enabled = false";
const ON: &str = "enabled = true";
const COUNTED: &str =
    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nconnection: close\r\ncontent-length: 10\r\n\r\nbegun";
/// More is missing than a fill is finished for.
const LONG: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10000000\r\n\r\nbegun";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
const PRIVATE: &str = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 10\r\n\r\nbegun";

const ROWS: [Row; 9] = [
    row("without a cache, before the head", OFF, "", Others::Nobody),
    row("without a cache, in the body", OFF, COUNTED, Others::Nobody),
    row("what is not stored, in the body", ON, PRIVATE, Others::Nobody),
    row("a fill, before the head", ON, "", Others::Nobody),
    row("a fill of unknown length", ON, CHUNKED, Others::Nobody),
    row("a fill of which nearly all is missing", ON, LONG, Others::Nobody),
    row("a fill that another one waits for, before the head", ON, "", Others::Follow),
    row("a fill that another one reads", ON, CHUNKED, Others::Follow),
    row("a fill that is nearly done", ON, COUNTED, Others::Store),
];

/// An origin that answers each request with `begun`, and goes on with `-over` when the gate opens. It tells
/// what happens.
async fn patient(begun: &'static str, gate: &Gate) -> (SocketAddr, mpsc::UnboundedReceiver<&'static str>) {
    let (events, happened) = mpsc::unbounded_channel();
    let gate = gate.clone();
    let address = serve(move |mut stream: TcpStream| {
        let (events, gate) = (events.clone(), gate.clone());
        async move {
            if Reader::default().message(&mut stream, Kind::HeadResponse).await.is_none() {
                return;
            }
            stream.write_all(begun.as_bytes()).await.unwrap();
            let _ = events.send("asked");
            let mut byte = [0];
            tokio::select! {
                _ = stream.read(&mut byte) => drop(events.send("cancelled")),
                () = gate.pass() => stream.write_all(b"-over").await.unwrap(),
            }
        }
    })
    .await;
    (address, happened)
}

/// A client whose answer has not come, or not all of it.
enum Waiting {
    Http1(Client),
    Http2 { h2: H2, answer: Option<ResponseFuture>, body: Option<RecvStream> },
}

impl Waiting {
    async fn begin(leaves: Leaves, gateway: SocketAddr) -> Self {
        if let Leaves::Http1 = leaves {
            let mut client = Client::connect(gateway).await;
            client.write("GET / HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
            return Self::Http1(client);
        }
        let mut h2 = H2::connect(gateway).await;
        let answer = Some(h2.begin("http://test.example/").await);
        Self::Http2 { h2, answer, body: None }
    }

    /// Reads the beginning of the body.
    async fn read(&mut self) {
        match self {
            Self::Http1(client) => client.wait_for("begun").await,
            Self::Http2 { answer, body, .. } => {
                let response = within("a response", answer.take().unwrap()).await.unwrap();
                let mut stream = response.into_body();
                assert_eq!(within("data", stream.data()).await.unwrap().unwrap(), "begun");
                *body = Some(stream);
            }
        }
    }

    /// Leaves; a connection that stays is kept by who asks for it.
    fn leave(self, leaves: Leaves) -> Option<H2> {
        match self {
            Self::Http1(client) => drop(client),
            Self::Http2 { h2, answer, body } => {
                if let Leaves::Stream = leaves {
                    drop((answer, body));
                    return Some(h2);
                }
                h2.cut();
            }
        }
        None
    }
}

#[tokio::test]
async fn what_comes_of_a_request_whose_client_leaves() {
    for row in &ROWS {
        for leaves in [Leaves::Http1, Leaves::Stream, Leaves::Http2] {
            let what = format!("{}, {leaves:?}", row.name);
            let gate = Gate::new();
            let (origin, mut happened) = patient(row.begun, &gate).await;
            let gateway = Gateway::before(origin, &format!("[route.cache]\n{}", row.cache)).await;
            let before = at_start(&gateway).await;
            let mut leaver = Waiting::begin(leaves, gateway.address).await;
            assert_eq!(within(&what, happened.recv()).await, Some("asked"));
            let mut follower = None;
            if row.others == Others::Follow {
                follower = Some(Waiting::begin(leaves, gateway.address).await);
                gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 2.0).await;
            }
            if !row.begun.is_empty() {
                for client in [Some(&mut leaver), follower.as_mut()].into_iter().flatten() {
                    client.read().await;
                }
            }
            let mut kept = vec![leaver.leave(leaves)];
            if row.others != Others::Nobody {
                let rest = if follower.is_some() { 1.0 } else { 0.0 };
                gateway.wait_for("forebay_requests_in_flight", &[], |now| now == rest).await;
                assert_eq!(gateway.metrics().await.sum("forebay_cache_fills", &[]), 1.0, "{what}");
                assert!(happened.try_recv().is_err(), "{what}: there is a use for it");
            }
            if let Some(follower) = follower {
                kept.push(follower.leave(leaves));
            }
            if row.others == Others::Store {
                gate.open();
                gateway.at_rest().await;
                let stored = get(gateway.address, "/").await;
                assert_eq!(stored.text(), "begun-over", "{what}");
                assert!(stored.field("cache-status").unwrap().contains("; hit"), "{what}: {stored:?}");
            } else {
                let over = tokio::time::timeout(SOON, happened.recv()).await;
                assert_eq!(over, Ok(Some("cancelled")), "{what}");
            }
            gateway.at_rest().await;
            drop(kept);
            assert!(happened.try_recv().is_err(), "{what}: it was asked again");
            before.is_back(&gateway).await;
        }
    }
}

/// Over HTTP/2 the stream upstream is reset, and its connection serves on.
#[tokio::test]
async fn a_stream_upstream_is_reset() {
    for begun in [false, true] {
        let (events, mut happened) = mpsc::unbounded_channel();
        let answering = move |request: http::Request<hyper::body::Incoming>| {
            let events = events.clone();
            async move {
                let (writer, body) = h2::piped();
                if request.uri().path() == "/whole" {
                    writer.data("whole");
                    return http::Response::new(body);
                }
                let ended = Ended(events.clone());
                let _ = events.send("asked");
                if !begun {
                    std::future::pending::<()>().await;
                }
                tokio::spawn(async move {
                    while writer.data("begun") {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    drop(ended);
                });
                http::Response::new(body)
            }
        };
        let origin = h2::origin(answering).await;
        let upstream = "protocol = \"http2\"";
        let gateway = Gateway::start(&Gateway::config(origin, upstream, "[route.cache]\nenabled = false"));
        let before = at_start(&gateway).await;
        for leaves in [Leaves::Http1, Leaves::Stream, Leaves::Http2] {
            let mut leaver = Waiting::begin(leaves, gateway.address).await;
            assert_eq!(within("a request", happened.recv()).await, Some("asked"));
            if begun {
                leaver.read().await;
            }
            let kept = leaver.leave(leaves);
            let over = tokio::time::timeout(SOON, happened.recv()).await;
            assert_eq!(over, Ok(Some("cancelled")), "{leaves:?}, begun: {begun}");
            gateway.at_rest().await;
            drop(kept);
            assert_eq!(get(gateway.address, "/whole").await.text(), "whole");
        }
        let connects = gateway.metrics().await.sum("forebay_upstream_connects_total", &[]);
        assert_eq!(connects, 1.0, "begun: {begun}");
        before.is_back(&gateway).await;
    }
}

/// Tells when it is dropped.
struct Ended(mpsc::UnboundedSender<&'static str>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.send("cancelled");
    }
}
