//! Clients that take their time over a head: they cost little, and are answered like others.

use crate::support::{Client, Gateway, Origin, Reply, get};

const GAUGE: &str = "forebay_connections_in_slow_head";

async fn slow(gateway: &Gateway, count: f64) {
    gateway.wait_for(GAUGE, &[], |now| now == count).await;
}

/// A client in the middle of a head for so long that nothing but the head is kept.
async fn in_a_head(gateway: &Gateway, begun: &str) -> Client {
    let mut client = Client::connect(gateway.address).await;
    client.write(begun).await;
    slow(gateway, 1.0).await;
    client
}

#[tokio::test]
async fn a_head_that_comes_in_many_pieces_is_a_request() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = in_a_head(&gateway, "G").await;
    for byte in "ET /a HTTP/1.1\r\nhost: a\r\nx-long: y\r\n\r\n".bytes() {
        client.write([byte]).await;
        // Each by itself.
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response().await.text(), "hello");
    slow(&gateway, 0.0).await;
    // The second one on a connection, its end together with two more; and a body behind a slow head.
    client.write("GET /b HTTP/1.1\r\n").await;
    slow(&gateway, 1.0).await;
    client.write("host: a\r\n\r\nGET /c HTTP/1.1\r\nhost: a\r\n\r\nPOST /d HTTP/1.1\r\nhost: a\r\n").await;
    for _ in 0..2 {
        assert_eq!(client.response().await.text(), "hello");
    }
    slow(&gateway, 1.0).await;
    client.write("content-length: 4\r\n\r\nbodyGET /e HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for _ in 0..2 {
        assert_eq!(client.response().await.text(), "hello");
    }
    let asked = origin.asked();
    let targets: Vec<_> = asked.iter().map(|asked| asked.request.target()).collect();
    assert_eq!(targets, ["/a", "/b", "/c", "/d", "/e"]);
    assert_eq!(asked[3].request.text(), "body");
}

/// As soon as it can be known, and by an answer.
#[tokio::test]
async fn a_slow_head_that_is_wrong_is_refused_at_once() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(
        &Gateway::config(origin.address, "", "").replace("[server]\n", "[server]\nheader_timeout = \"5m\"\n"),
    );
    let wide = format!("x: {}\r\n", "y".repeat(8000));
    for (begun, more, status) in [
        ("GET / HTTP/1.1\r\nhost", "\0", 400),        // RFC 9110 §5.5
        ("GET / HTTP/1.1\r\nhost", ": a\n", 400),     // RFC 9112 §2.2
        ("GET / HTTP/1.1\r\nhost: a\r\n", " x", 400), // RFC 9112 §5.2
        ("GET / HTT", "Q", 400),                      // RFC 9112 §3
        ("GET / HTTP/1.1\r\nhost: a\r\n", &wide.repeat(5), 431),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\n", "transfer-encoding: chunked\r\n", 400), // RFC 9112 §6.3
    ] {
        let mut client = in_a_head(&gateway, begun).await;
        client.write(more).await;
        assert_eq!(client.response().await.status(), status, "{begun:?} {more:.20?}");
        assert!(client.rest().await.is_empty());
        slow(&gateway, 0.0).await;
    }
    assert!(origin.asked().is_empty());
    assert_eq!(get(gateway.address, "/").await.status(), 200);
}

#[tokio::test]
async fn a_slow_head_ends_with_its_time_its_client_or_the_gateway() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let config = Gateway::config(origin.address, "", "");
    let gateway = Gateway::start(&config.replace("[server]\n", "[server]\nheader_timeout = \"1s\"\n"));
    let mut late = in_a_head(&gateway, "GET / HTTP/1.1\r\nhost: a").await;
    assert_eq!(late.response().await.status(), 408);
    assert!(late.rest().await.is_empty());
    slow(&gateway, 0.0).await;
    drop(in_a_head(&gateway, "GET / HTTP/1.1\r\nhost: a").await);
    slow(&gateway, 0.0).await;
    gateway.wait_for("forebay_connections_open", &[], |now| now == 0.0).await;

    let mut gateway = Gateway::start(&config);
    let mut stays = in_a_head(&gateway, "GET / HTTP/1.1\r\nhost: a").await;
    gateway.signal("TERM");
    stays.write("\r\n\r\n").await;
    let last = stays.response().await;
    assert!(matches!(last.status(), 0 | 200), "{last:?}");
    assert!(stays.rest().await.is_empty());
    assert_eq!(gateway.ended().await, Some(0));
    assert!(origin.asked().len() <= 1);
}

/// After a response that closes the connection nothing is read as a request, however late it comes (RFC 9112
/// §9.6): a connection that is being closed does not rest.
#[tokio::test]
async fn nothing_is_answered_after_the_close() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let (mut closes, mut other) =
        (Client::connect(gateway.address).await, Client::connect(gateway.address).await);
    // What is behind the request, empty lines (RFC 9112 §2.2), makes the close wait for the client.
    let request = "GET /first HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    closes.write(request.to_owned() + &"\r\n".repeat(100_000)).await;
    assert_eq!(closes.response().await.field("connection"), Some("close"));
    other.write("GET /other HTTP/1.1\r\nhost: a\r\n\r\n").await;
    other.response().await;
    gateway.wait_for("forebay_connections_resting", &[], |now| now == 1.0).await;
    closes.write("GET /second HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(closes.rest().await.is_empty());
    assert!(origin.asked().iter().all(|asked| ["/first", "/other"].contains(&asked.request.target())));
}
