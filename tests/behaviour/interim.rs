//! Interim responses (RFC 9110 §15.2) pass, ahead of the final one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, within};

const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";
const HINTS_OUT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
const PROCESSING: &str = "HTTP/1.1 102 Processing\r\n\r\n";
const FRESH: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nfinal";

async fn raw(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn hints_come_in_order_and_before_the_answer_is_there() {
    for route in ["[route.cache]\nenabled = false\n", "[route.cache]\nenabled = true\n"] {
        let gate = Gate::new();
        let interim = format!("{HINTS}{PROCESSING}{HINTS}");
        let origin =
            Origin::always(Reply::raw(format!("{interim}{FRESH}")).pause_after(interim.len(), &gate)).await;
        let gateway = Gateway::before(origin.address, route).await;
        let mut client = Client::connect(gateway.address).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        for wanted in [HINTS_OUT, PROCESSING, HINTS_OUT] {
            assert_eq!(String::from_utf8(client.response().await.raw).unwrap(), wanted);
        }
        assert!(client.is_silent().await);
        gate.open();
        assert_eq!(client.response().await.text(), "final");
        gateway.at_rest().await;
    }
}

/// RFC 9111 §3: an interim response is not stored.
#[tokio::test]
async fn a_hit_has_no_hints() {
    let origin = Origin::always(Reply::raw(format!("{HINTS}{FRESH}"))).await;
    let gateway = Gateway::before(origin.address, "").await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let first = raw(gateway.address, request).await;
    assert!(first.starts_with(HINTS_OUT) && first.ends_with("final"), "{first}");
    let second = raw(gateway.address, request).await;
    assert!(second.starts_with("HTTP/1.1 200 OK\r\n") && second.ends_with("final"), "{second}");
    assert_eq!(origin.asked().len(), 1);
}

/// RFC 9110 §15.2: HTTP/1.0 has none; in HTTP/2 they are left out.
#[tokio::test]
async fn who_cannot_take_hints_gets_none() {
    let origin = Origin::always(Reply::raw(format!("{PROCESSING}{HINTS}{FRESH}"))).await;
    let gateway = Gateway::before(origin.address, "[route.cache]\nenabled = false\n").await;
    let answer = raw(gateway.address, "GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("final"), "{answer}");
    assert_eq!(H2::connect(gateway.address).await.get("http://a/").await.status, 200);
}

/// The answer to one request must not be mixed with hints for the next, however fast they come.
#[tokio::test]
async fn pipelined_requests_get_their_own_hints() {
    let origin = Origin::start(|request, _| {
        let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n", request.target());
        let body = "x".repeat(300_000);
        Reply::raw(format!("{hints}HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    })
    .await;
    let gateway = Gateway::before(origin.address, "[route.cache]\nenabled = false\n").await;
    let mut client = Client::connect(gateway.address).await;
    let paths: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    for path in &paths {
        client.write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    }
    for path in &paths {
        let hints = client.response().await;
        assert_eq!((hints.status(), hints.field("link")), (103, Some(&*format!("<{path}>"))));
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.body.len(), answer.complete), (200, 300_000, true));
    }
}

/// Hints of an attempt that fails stay hints: the answer is that of the attempt that succeeds.
#[tokio::test]
async fn a_retry_after_hints_is_no_harm() {
    let origin = Origin::start(|_, number| match number {
        0 => Reply::raw(HINTS).then_close(),
        _ => Reply::raw(format!("{PROCESSING}{FRESH}")),
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut seen = Vec::new();
    while seen.last() != Some(&200) {
        seen.push(client.response().await.status());
    }
    assert_eq!(seen, [103, 102, 200]);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 200, "stored without them");
}
