//! Listeners and the end: what is spoken where, and how the process stops.

use tokio::net::TcpStream;

use super::reload::Tunnel;
use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, get};

/// A gateway with more lines in `[server]` and in its listener, before an origin.
pub fn config(origin: &Origin, server: &str, listener: &str, route: &str) -> String {
    Gateway::config(origin.address, "", route)
        .replace("[server]\n", &format!("[server]\n{server}\n"))
        .replace("[[listener]]\n", &format!("[[listener]]\n{listener}\n"))
}

/// RFC 9113 §3.3: a client that knows speaks HTTP/2 at once, on the port of HTTP/1.1.
#[tokio::test]
async fn both_protocols_share_a_clear_text_port() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::before(origin.address, "").await;
    assert_ne!(gateway.address.port(), 0, "the port that was found is printed");
    assert_eq!(get(gateway.address, "/one").await.text(), "hello");
    let mut h2 = H2::connect(gateway.address).await;
    for path in ["/two", "/three"] {
        let answer = h2.get(&format!("http://test.example{path}")).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    }
    let asked: Vec<_> = origin.asked().iter().map(|asked| asked.request.target().to_owned()).collect();
    assert_eq!(asked, ["/one", "/two", "/three"]);
}

/// A client that sends its preface byte by byte is understood all the same.
#[tokio::test]
async fn a_preface_may_come_in_pieces() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    for piece in ["PRI * HT", "TP/2.0\r\n", "\r\nSM\r\n\r\n", "\0\0\0\u{4}\0\0\0\0\0"] {
        client.write(piece).await;
        // A round trip on another connection: the piece before this one has been read alone.
        get(gateway.address, "/").await;
    }
    // The length, type and flags of our SETTINGS frame's acknowledgement (RFC 9113 §6.5).
    client.wait_for("\0\0\0\u{4}\u{1}").await;
    // What looks like one at first may be a request of HTTP/1.1.
    let mut client = Client::connect(gateway.address).await;
    for piece in ["P", "R", "OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        client.write(piece).await;
        get(gateway.address, "/").await;
    }
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn every_listener_serves() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let second =
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"[::1]:0\"\n[[listener]]\n";
    let config = config(&origin, "", "", "").replace("[[listener]]\n", second);
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.addresses.len(), 3);
    for address in &gateway.addresses {
        assert_eq!(get(*address, "/").await.text(), "hello", "{address}");
    }
}

#[tokio::test]
async fn a_listener_speaks_only_what_it_is_told_to() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let second = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"http2\"]\n[[listener]]\n";
    let config = config(&origin, "", "protocols = [\"http1\"]", "").replace("[[listener]]\n", second);
    let gateway = Gateway::start(&config);
    let [only_http2, only_http1] = gateway.addresses[..] else { panic!("{:?}", gateway.addresses) };

    assert_eq!(get(only_http1, "/").await.text(), "hello");
    assert_eq!(H2::connect(only_http2).await.get("http://a/").await.status, 200);

    let mut client = Client::connect(only_http2).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let rest = client.rest().await;
    assert!(!rest.starts_with(b"HTTP/1"), "{rest:?}");
    let mut client = Client::connect(only_http1).await;
    client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
    let rest = client.rest().await;
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
}

/// What drains: the request under way is answered, the answer says that the connection ends (RFC 9112 §9.6),
/// connections that wait for a request are closed, and no new ones are taken.
#[tokio::test]
async fn the_first_signal_drains() {
    let gate = Gate::new();
    let slow = Reply::ok("last").after(&gate);
    let origin = Origin::start(move |request, _| match request.target() {
        "/quick" => Reply::ok("quick"),
        _ => slow.clone(),
    })
    .await;
    let mut gateway = Gateway::before(origin.address, "").await;
    let (mut busy, mut idle) =
        (Client::connect(gateway.address).await, Client::connect(gateway.address).await);
    idle.write("GET /quick HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(idle.response().await.text(), "quick");
    let mut silent = Client::connect(gateway.address).await;
    busy.write("GET /slow/1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut streams = H2::connect(gateway.address).await;
    let stream = streams.begin("http://a/slow/2").await;
    origin.wait_for(3).await;
    assert_eq!(get(gateway.admin, "/readyz").await.status(), 200);

    gateway.signal("TERM");
    assert!(idle.rest().await.is_empty());
    assert!(silent.rest().await.is_empty());
    let ready = get(gateway.admin, "/readyz").await;
    assert_eq!((ready.status(), ready.text()), (503, "draining\n"));
    assert_eq!(get(gateway.admin, "/livez").await.status(), 200);
    assert!(TcpStream::connect(gateway.address).await.is_err());

    gate.open();
    let answer = busy.response().await;
    assert_eq!((answer.status(), answer.text(), answer.field("connection")), (200, "last", Some("close")));
    assert!(busy.rest().await.is_empty());
    assert_eq!(H2::finish(stream).await.body, b"last");
    // RFC 9113 §6.8: GOAWAY, and the connection ends without an error.
    streams.ended().await.unwrap();
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn the_drain_has_a_deadline() {
    let whole = Reply::new(200, &[], "0123456789");
    let begun = whole.len() - 5;
    let origin = Origin::start(move |request, count| match request.target() {
        "/" => whole.clone().stall_after(begun),
        _ => Tunnel::answer(request, count),
    })
    .await;
    let mut gateway = Gateway::start(&config(&origin, "drain_timeout = \"300ms\"", "", ""));
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.wait_for("01234").await;
    let mut tunnel = Tunnel::open(&gateway).await;
    gateway.signal("TERM");
    let answer = client.response().await;
    assert!(!answer.complete, "RFC 9112 §8: {answer:?}");
    assert!(tunnel.client.rest().await.is_empty());
    assert_eq!(gateway.ended().await, Some(0));
    assert!(gateway.log().contains("Cut(1)"), "{}", gateway.log());
}

#[tokio::test]
async fn the_second_signal_stops_at_once() {
    let origin = Origin::always(Reply::ok("never").stall_after(0)).await;
    for second in ["TERM", "INT"] {
        let mut gateway = Gateway::start(&config(&origin, "drain_timeout = \"1h\"", "", ""));
        let mut client = Client::connect(gateway.address).await;
        let asked = origin.asked().len();
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        origin.wait_for(asked + 1).await;
        gateway.signal("TERM");
        gateway.wait_for_log("draining").await;
        // Two of one kind that come together are one.
        gateway.signal("HUP");
        gateway.signal(second);
        assert!(client.rest().await.is_empty());
        assert_eq!(gateway.ended().await, Some(0));
    }
}

/// An idle connection keeps its socket and little else; nobody notices but the memory.
#[tokio::test]
async fn a_connection_that_rests_wakes_up() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let resting =
        async |count| gateway.wait_for("forebay_connections_resting", &[], |now| now == count).await;
    let (mut stays, mut leaves) =
        (Client::connect(gateway.address).await, Client::connect(gateway.address).await);
    for client in [&mut stays, &mut leaves] {
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "hello");
    }
    resting(2.0).await;
    // Woken by a request, by two at once, and by a part of one.
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for (first, rest, answers) in [(request, "", 1), (&request.repeat(2), "", 2), ("GE", &request[2..], 1)] {
        stays.write(first).await;
        if !rest.is_empty() {
            resting(1.0).await;
            stays.write(rest).await;
        }
        for _ in 0..answers {
            assert_eq!(stays.response().await.text(), "hello");
        }
        resting(2.0).await;
    }
    drop(leaves);
    resting(1.0).await;
    gateway.wait_for("forebay_connections_open", &[], |now| now == 1.0).await;
    gateway.signal("TERM");
    assert!(stays.rest().await.is_empty());
}

/// Nothing of a body that may still be on its way must be taken for a request (RFC 9112 §9.3): its connection
/// does not rest.
#[tokio::test]
async fn a_connection_does_not_rest_in_a_body() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let early = "[[route]]\nname = \"early\"\nmatch = { path = \"/early\" }\nrespond = { status = 200, body = \"early\" }";
    let gateway = Gateway::before(origin.address, &format!("\n{early}")).await;
    let (mut client, mut other) =
        (Client::connect(gateway.address).await, Client::connect(gateway.address).await);
    client.write("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await;
    assert_eq!(client.response().await.text(), "early");
    other.write("GET /other HTTP/1.1\r\nhost: a\r\n\r\n").await;
    other.response().await;
    gateway.wait_for("forebay_connections_resting", &[], |now| now == 1.0).await;
    client.write("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.rest().await;
    assert!(origin.asked().iter().all(|asked| asked.request.target() == "/other"));
}

/// Many clients that ask once and stay are a usual thing.
#[tokio::test]
async fn resting_connections_take_little_memory() {
    const CROWD: u16 = 300;
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let memory = async || gateway.metrics().await.sum("process_resident_memory_bytes", &[]);
    let mut clients = Vec::new();
    let mut before = 0.0;
    // What the first crowd has freed serves the second one.
    for crowd in 1..=2 {
        before = memory().await;
        for _ in 0..CROWD {
            let mut client = Client::connect(gateway.address).await;
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            client.response().await;
            clients.push(client);
        }
        let all = f64::from(crowd * CROWD);
        gateway.wait_for("forebay_connections_resting", &[], |now| now == all).await;
    }
    let each = (memory().await - before) / f64::from(CROWD);
    assert!(each < 10_000.0, "{each} bytes a connection");
}
