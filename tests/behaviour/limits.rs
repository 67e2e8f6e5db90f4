//! Timeouts and caps: nobody keeps a connection, a request or memory for longer than the config says.

use std::time::Duration;

use super::lifecycle::config;
use super::reload::Tunnel;
use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, get};

async fn hello() -> Origin {
    Origin::always(Reply::ok("hello")).await
}

/// What must be left when everybody has gone; the one connection is that of who asks.
pub async fn assert_nothing_is_held(gateway: &Gateway) {
    for name in ["forebay_requests_in_flight", "forebay_admission_in_flight", "forebay_connections_open"] {
        gateway.wait_for(name, &[], |now| now == 0.0).await;
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let origin = hello().await;
    let gateway = Gateway::start(&config(&origin, "header_timeout = \"200ms\"", "", ""));
    assert!(Client::connect(gateway.address).await.rest().await.is_empty());
    assert_nothing_is_held(&gateway).await;
}

/// RFC 9110 §15.5.9: 408; the time counts from the first byte, however steadily more of them come.
#[tokio::test]
async fn a_head_that_takes_too_long_is_refused() {
    let origin = hello().await;
    let gateway = Gateway::start(&config(&origin, "header_timeout = \"300ms\"", "", ""));
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.field("connection")), (408, Some("close")));
    assert!(client.rest().await.is_empty());

    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nx-slow: ").await;
    loop {
        client.write("x").await;
        tokio::select! {
            answer = client.response() => {
                assert_eq!(answer.status(), 408);
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    assert!(origin.asked().is_empty());
    assert_nothing_is_held(&gateway).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let origin = hello().await;
    let gateway = Gateway::start(&config(&origin, "idle_timeout = \"200ms\"", "", ""));
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..2 {
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "hello");
    }
    assert!(client.rest().await.is_empty());
    // RFC 9113 §6.8: an HTTP/2 client is told with GOAWAY.
    let mut h2 = H2::connect(gateway.address).await;
    assert_eq!(h2.get("http://a/").await.status, 200);
    h2.ended().await.unwrap();
    assert_nothing_is_held(&gateway).await;
}

/// The timeouts of heads and idle connections are none of a request that is being served.
#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let gate = Gate::new();
    let slow = Reply::ok("at last").after(&gate);
    let origin = Origin::always(slow).await;
    let server = "idle_timeout = \"100ms\"\nheader_timeout = \"100ms\"\nwrite_timeout = \"100ms\"";
    let gateway = Gateway::start(&config(&origin, server, "", ""));
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /one HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut h2 = H2::connect(gateway.address).await;
    let stream = h2.begin("http://a/two").await;
    origin.wait_for(2).await;
    // Others meet the timeouts meanwhile.
    for _ in 0..3 {
        assert!(Client::connect(gateway.address).await.rest().await.is_empty());
    }
    gate.open();
    assert_eq!(client.response().await.text(), "at last");
    assert_eq!(H2::finish(stream).await.body, b"at last");
}

#[tokio::test]
async fn a_request_body_that_stalls_is_given_up() {
    let origin = hello().await;
    let gateway = Gateway::start(&config(&origin, "body_timeout = \"200ms\"", "", ""));
    let mut client = Client::connect(gateway.address).await;
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234").await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 408);
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert!(answer.text().contains("request_body_timeout"), "{}", answer.text());
    assert!(client.rest().await.is_empty(), "what follows on this connection would be the rest of the body");
    // It was not finished towards the origin either.
    assert!(origin.asked().iter().all(|asked| !asked.request.complete));
    assert_nothing_is_held(&gateway).await;
}

fn large() -> Reply {
    Reply::ok(vec![b'x'; 32 << 20])
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let origin = Origin::always(large()).await;
    let gateway = Gateway::start(&config(&origin, "write_timeout = \"300ms\"", "", ""));
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.wait_for("HTTP/1.1 200").await;
    gateway
        .wait_for("forebay_responses_incomplete_total", &[("reason", "aborted")], |count| count == 1.0)
        .await;
    assert_nothing_is_held(&gateway).await;
    let answer = client.response().await;
    assert!(!answer.complete);
}

/// One that reads slowly, yet reads, is served to the end; the idle timeout does not count while it does.
#[tokio::test]
async fn a_client_that_reads_slowly_is_served() {
    let body = vec![b'x'; 8 << 20];
    let fresh = Reply::new(200, &[("cache-control", "max-age=60")], &body);
    let origin = Origin::always(fresh).await;
    let server = "write_timeout = \"2s\"\nidle_timeout = \"100ms\"";
    let gateway = Gateway::start(&config(&origin, server, "", "[route.cache]\nenabled = true"));
    assert_eq!(get(gateway.address, "/").await.body.len(), body.len());
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(64 << 10).unwrap();
    let mut client = client.connect(gateway.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n")
        .await
        .unwrap();
    let (mut read, mut piece) = (0, vec![0; 256 << 10]);
    while read < body.len() {
        let more = tokio::io::AsyncReadExt::read(&mut client, &mut piece).await.unwrap();
        assert_ne!(more, 0, "cut after {read} bytes");
        read += more;
        // Its pace: about half a second for the whole.
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert_eq!(origin.asked().len(), 1);
}

/// RFC 9113 §10.5: a client that keeps a stream's window shut loses that stream, and no other.
#[tokio::test]
async fn a_stream_that_is_not_read_is_reset() {
    let origin = Origin::start(|request, _| match request.target() {
        "/stored" => Reply::new(200, &[("cache-control", "max-age=60")], vec![b'x'; 4 << 20]),
        "/large" => large(),
        _ => Reply::ok("small"),
    })
    .await;
    let route = "[route.cache]\nenabled = true";
    let gateway = Gateway::start(&config(&origin, "write_timeout = \"300ms\"", "", route));
    get(gateway.address, "/stored").await;
    let mut h2 = H2::connect(gateway.address).await;
    for (path, cut) in [("/large", 1.0), ("/stored", 2.0)] {
        let response = h2.begin(&format!("http://test.example{path}")).await;
        let (head, mut body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        // It is never released, so the window stays shut.
        let mut last = body.data().await;
        while let Some(Ok(_)) = last {
            last = body.data().await;
        }
        let error = last.unwrap().unwrap_err();
        assert!(error.is_reset(), "{path}: {error}");
        let aborted = [("reason", "aborted")];
        gateway.wait_for("forebay_responses_incomplete_total", &aborted, |count| count == cut).await;
        drop(body);
        let answer = h2.get("http://test.example/small").await;
        assert_eq!(answer.body, b"small", "the connection's other streams go on");
    }
    drop(h2);
    assert_nothing_is_held(&gateway).await;
}

/// `max_connections`: one more waits, and is served when one ends. A second listener takes no place for
/// itself.
#[tokio::test]
async fn connections_beyond_the_cap_wait() {
    let origin = hello().await;
    let second = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\n";
    let config = config(&origin, "max_connections = 2", "", "").replace("[[listener]]\n", second);
    let gateway = Gateway::start(&config);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(gateway.address).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "hello");
        clients.push(client);
    }
    let mut third = Client::connect(gateway.address).await;
    third.write("GET /third HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for _ in 0..10 {
        clients[0].write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(clients[0].response().await.text(), "hello");
    }
    assert!(origin.asked().iter().all(|asked| asked.request.target() != "/third"));
    assert_eq!(gateway.metrics().await.sum("forebay_connections_open", &[]), 2.0);
    clients.pop();
    assert_eq!(third.response().await.text(), "hello");
}

/// A tunnel is a connection like any other.
#[tokio::test]
async fn a_tunnel_counts_as_a_connection() {
    let origin = Tunnel::origin().await;
    let gateway = Gateway::start(&config(&origin, "max_connections = 1", "", ""));
    let mut tunnel = Tunnel::open(&gateway).await;
    let mut second = Client::connect(gateway.address).await;
    second.write("GET /second HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for _ in 0..10 {
        tunnel.echo().await;
    }
    assert!(origin.asked().iter().all(|asked| asked.request.target() != "/second"));
    assert_eq!(gateway.metrics().await.sum("forebay_connections_open", &[]), 1.0);
    drop(tunnel);
    assert_eq!(second.response().await.text(), "no tunnel");
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let origin = Tunnel::origin().await;
    let gateway = Gateway::start(&config(&origin, "tunnel_timeout = \"200ms\"", "", ""));
    let mut tunnel = Tunnel::open(&gateway).await;
    for _ in 0..3 {
        tunnel.echo().await;
    }
    assert!(tunnel.client.rest().await.is_empty());
    assert_nothing_is_held(&gateway).await;
}
