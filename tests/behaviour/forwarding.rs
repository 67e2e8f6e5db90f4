//! Messages on their way through: what is passed on, what is not, what is added, and when a request is given
//! up.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::message::{Kind, Reader};
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get, serve};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// RFC 9110 §7.6.1: what concerns one connection stays on it, in both directions.
#[tokio::test]
async fn hop_by_hop_fields_stay_behind() {
    let origin = Origin::always(Reply::new(
        200,
        &[
            ("connection", "keep-alive, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("x-hop", "1"),
            ("x-end", "2"),
        ],
        "x",
    ))
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client
        .write(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: X-Hop, keep-alive\r\nkeep-alive: timeout=5\r\n\
             proxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\nte: trailers\r\nx-hop: 1\r\n\
             upgrade: h2c\r\nx-end: 2\r\n\r\n",
        )
        .await;
    let answer = client.response().await;
    let asked = &origin.asked()[0].request;
    for message in [asked, &answer] {
        assert_eq!(message.field("x-end"), Some("2"));
        for name in ["x-hop", "keep-alive", "proxy-connection", "te", "upgrade"] {
            assert_eq!(message.field(name), None, "{message:?}");
        }
    }
    assert_eq!(asked.field("proxy-authorization"), None);
    assert_eq!(answer.field("proxy-authenticate"), None);
}

/// RFC 9110 §7.6.3; X-Forwarded-*; W3C Trace Context. A client nobody trusts has no say in them.
#[tokio::test]
async fn the_origin_is_told_on_whose_behalf_it_is_asked() {
    let origin = Origin::always(Reply::ok("x")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let pretended = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("x-request-id", "mine"),
    ];
    let answer = ask(gateway.address, "GET", "/", &pretended).await;
    assert!(answer.field("via").is_some_and(|via| via.ends_with("forebay")), "{answer:?}");
    let asked = &origin.asked()[0].request;
    assert_eq!(asked.all("via"), ["1.1 forebay"]);
    assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(asked.all("x-forwarded-proto"), ["http"]);
    assert_eq!(asked.all("x-forwarded-host"), ["test.example"]);
    assert_eq!((asked.field("forwarded"), asked.field("x-real-ip")), (None, None));
    let id = asked.field("x-request-id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let trace: Vec<_> = asked.field("traceparent").unwrap().split('-').collect();
    assert_eq!(trace.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
}

/// RFC 7239, where it is asked for; and a proxy that is trusted is continued.
#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let origin = Origin::always(Reply::ok("x")).await;
    let config = Gateway::config(origin.address, "forwarded = true", "")
        .replace("[[listener]]\n", "[[listener]]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    let gateway = Gateway::start(&config);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "mine"),
        ("traceparent", trace),
    ];
    ask(gateway.address, "GET", "/", &fields).await;
    let asked = &origin.asked()[0].request;
    assert_eq!(asked.all("x-forwarded-for").join(", "), "192.0.2.7, 127.0.0.1");
    assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
    assert_eq!(asked.all("x-request-id"), ["mine"]);
    assert!(
        asked.field("forwarded").is_some_and(|forwarded| forwarded.contains("for=127.0.0.1")),
        "{asked:?}"
    );
    assert_eq!(asked.field("traceparent").unwrap()[3..35], trace[3..35], "the trace goes on");
}

/// RFC 9110 §6.5, RFC 9112 §7.1.2.
#[tokio::test]
async fn trailers_pass_both_ways_in_http1() {
    let mut whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n".to_vec();
    whole.extend_from_slice(b"2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n");
    let origin = Origin::always(Reply::raw(whole)).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client
        .write(
            "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-mine\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-mine: 9\r\n\r\n",
        )
        .await;
    let answer = client.response().await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())], "{answer:?}");
    let asked = &origin.asked()[0].request;
    assert_eq!(asked.text(), "abc");
    assert_eq!(asked.trailers, [("x-mine".to_owned(), "9".to_owned())], "{asked:?}");
}

/// RFC 9110 §10.1.1: 100 is said when the body is wanted, and not while the request waits in a queue.
#[tokio::test]
async fn the_body_is_asked_for_when_the_origin_takes_the_request() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| match request.target() {
            "/slow" => Reply::ok("slow").after(&gate),
            _ => Reply::ok(&request.body),
        }
    })
    .await;
    let config = Gateway::config(
        origin.address,
        "concurrency = { mode = \"fixed\", limit = 1, queue = 5, queue_timeout = \"1m\" }",
        "",
    );
    let gateway = Gateway::start(&config);
    let slow = tokio::spawn(get(gateway.address, "/slow"));
    origin.wait_for(1).await;
    let mut client = Client::connect(gateway.address).await;
    client.write("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    gateway.wait_for("forebay_admission_queued", &[], |now| now == 1.0).await;
    assert!(client.is_silent().await, "nobody has asked for the body yet");
    gate.open();
    assert_eq!(client.response().await.status(), 100);
    client.write("hello").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (200, "hello"));
    assert_eq!(origin.asked()[1].request.field("expect"), None, "the expectation is met here");
    slow.await.unwrap();
    gateway.at_rest().await;
}

/// RFC 9110 §10.1.1: a final answer comes instead of 100, not after it.
#[tokio::test]
async fn what_is_refused_is_not_asked_for() {
    let origin = Origin::always(Reply::ok("x")).await;
    let gateway = Gateway::before(origin.address, "max_body = \"10B\"").await;
    for (fields, status) in [
        ("expect: 100-continue\r\ncontent-length: 11", 413),
        ("expect: 100-continue\r\ncontent-length: 99999999", 413),
        ("expect: a-miracle\r\ncontent-length: 5", 417),
    ] {
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), status, "{fields}: {answer:?}");
    }
    assert!(origin.asked().is_empty());
    gateway.at_rest().await;
}

/// A limit a route, whichever protocol the body comes in: where its length is known, the upstream does not
/// see a byte.
#[tokio::test]
async fn a_body_that_is_too_large_for_its_route_reaches_nobody() {
    let origin = Origin::always(Reply::ok("x")).await;
    let more = "[[route]]\nname = \"large\"\nmatch = { path = \"/large\" }\nupstream = \"origin\"\nmax_body = \"20B\"";
    let gateway = Gateway::before(origin.address, &format!("max_body = \"10B\"\n{more}")).await;
    let mut h2 = crate::support::h2::connect(gateway.address).await;
    for (target, length, status) in [("/", 11, 413), ("/large", 21, 413), ("/large", 11, 200), ("/", 10, 200)]
    {
        let before = origin.asked().len();
        let body = "y".repeat(length);
        let mut client = Client::connect(gateway.address).await;
        client
            .write(format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"))
            .await;
        assert_eq!(client.response().await.status(), status, "{target} {length}");
        let (writer, piped) = crate::support::h2::piped();
        writer.data(body);
        drop(writer);
        let request = http::Request::post(format!("http://a{target}")).header("content-length", length);
        let answer = h2.send_request(request.body(piped).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "HTTP/2: {target} {length}");
        let asked = if status == 413 { 0 } else { 2 };
        assert_eq!(origin.asked().len() - before, asked, "{target} {length}");
    }
    gateway.at_rest().await;
}

/// RFC 9112 §9.3, §9.5: the answer to half a request reaches the client; its connection is not used again.
#[tokio::test]
async fn an_early_answer_is_passed_on_during_the_upload() {
    let (asked, mut connections) = mpsc::unbounded_channel();
    let origin = serve(move |mut stream: TcpStream| {
        let asked = asked.clone();
        async move {
            let mut reader = Reader::default();
            while let Some(head) = reader.message(&mut stream, Kind::HeadResponse).await {
                if head.complete {
                    let _ = asked.send(head.start);
                    stream.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
                }
            }
        }
    })
    .await;
    let gateway = Gateway::before(origin, "").await;
    for count in 0..2 {
        let mut client = Client::connect(gateway.address).await;
        client
            .write(format!("POST /{count} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nhalf"))
            .await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.text(), answer.complete), (403, "no", true));
        assert_eq!(answer.field("connection"), Some("close"));
        // A head that was read as part of the body before it would not be one.
        assert_eq!(connections.recv().await.unwrap(), format!("POST /{count} HTTP/1.1"));
    }
    gateway.at_rest().await;
}

/// RFC 9112 §9.6: where the rest of a body is not read, the answer says that the connection ends.
#[tokio::test]
async fn an_answer_to_half_a_request_says_that_it_is_the_last() {
    let origin = Origin::always(Reply::ok("x")).await;
    let more = "[[route]]\nname = \"fixed\"\nmatch = { path = \"/fixed\" }\nrespond = { status = 200, body = \"fixed\" }";
    let gateway = Gateway::before(origin.address, &format!("max_body = \"10B\"\n{more}")).await;
    let (sized, chunked) = ("content-length: 16", "transfer-encoding: chunked");
    for (target, status, framing, body, goes_on) in [
        ("/fixed", 200, sized, "half", false),
        ("/fixed", 200, sized, "and another half", true),
        ("/fixed", 200, chunked, "9\r\nhalf", false),
        ("/fixed", 200, chunked, "9\r\nall of it\r\n0\r\n\r\n", true),
        // It is all there, and hyper does not read as far.
        ("/fixed", 200, chunked, "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", false),
        ("/", 413, sized, "half", false),
        ("/", 413, sized, "and another half", true),
    ] {
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("POST {target} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}")).await;
        let answer = client.response().await;
        let close = answer.field("connection");
        assert_eq!((answer.status(), close.is_none()), (status, goes_on), "{target} {framing} {body}");
        client.write("GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n").await;
        if goes_on {
            assert_eq!(client.response().await.text(), "fixed");
        } else {
            assert_eq!((close, client.rest().await), (Some("close"), vec![]));
        }
    }
    assert!(origin.asked().is_empty());
    // What has begun to come is the body of another request.
    let mut client = Client::connect(gateway.address).await;
    let post = "POST /fixed HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n";
    client.write(format!("GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n{post}half{post}ha")).await;
    for close in [None, None, Some("close")] {
        let answer = client.response().await;
        assert_eq!((answer.text(), answer.field("connection")), ("fixed", close));
    }
    gateway.at_rest().await;
}

/// RFC 9112 §9.3.2: answers come in order, and as soon as they are there.
#[tokio::test]
async fn an_answer_does_not_wait_for_the_next_request() {
    let origin = Origin::start(|request, _| Reply::ok(request.target())).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HT").await;
    assert_eq!(client.response().await.text(), "/1");
    assert_eq!(client.response().await.text(), "/2");
    client.write("TP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "/3");
    gateway.at_rest().await;
}

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-protocol: chat\r\n\r\n";

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat\r\n\r\n";

/// An origin that switches, echoes, and tells what it was asked.
async fn echo() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<crate::support::message::Message>) {
    let (asked, requests) = mpsc::unbounded_channel();
    let address = serve(move |mut stream: TcpStream| {
        let asked = asked.clone();
        async move {
            let head = Reader::default().message(&mut stream, Kind::HeadResponse).await.unwrap();
            let _ = asked.send(head);
            stream.write_all(SWITCHED.as_bytes()).await.unwrap();
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    })
    .await;
    (address, requests)
}

/// RFC 6455 §4, RFC 9110 §7.8.
#[tokio::test]
async fn a_websocket_is_tunnelled() {
    let (origin, mut requests) = echo().await;
    let gateway = Gateway::before(origin, "").await;
    let mut client = Client::connect(gateway.address).await;
    // What follows the handshake in the same packet belongs to the tunnel.
    client.write(format!("{HANDSHAKE}first ")).await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 101, "{answer:?}");
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(answer.all(name), [value], "{answer:?}");
    }
    let asked = requests.recv().await.unwrap();
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(asked.all(name), [value], "{asked:?}");
    }
    client.write("second").await;
    client.wait_for("first second").await;
    gateway.wait_for("forebay_tunnels_open", &[], |now| now == 1.0).await;
    drop(client);
    gateway.at_rest().await;
}

/// A tunnel ends when it has been silent for `server.tunnel_timeout`, and not before.
#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let (origin, _requests) = echo().await;
    let config =
        Gateway::config(origin, "", "").replace("workers = 1\n", "workers = 1\ntunnel_timeout = \"500ms\"\n");
    let gateway = Gateway::start(&config);
    let mut client = Client::connect(gateway.address).await;
    client.write(HANDSHAKE).await;
    assert_eq!(client.response().await.status(), 101);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        client.write("ping").await;
        assert_eq!(client.some().await, b"ping", "it is not silent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(client.rest().await.is_empty());
    gateway.at_rest().await;
}

/// RFC 9110 §7.8: a server may ignore an upgrade.
#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_any_other() {
    let origin = Origin::always(Reply::new(403, &[("x-why", "because")], "no chat")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write(HANDSHAKE).await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text(), answer.field("x-why")), (403, "no chat", Some("because")));
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 403, "the connection goes on");
    gateway.at_rest().await;
}

/// RFC 6455 §4.1: an endpoint that does not answer the challenge has not understood the handshake.
#[tokio::test]
async fn a_switch_that_answers_no_challenge_is_no_tunnel() {
    let wrong = SWITCHED.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let origin = Origin::always(Reply::raw(wrong)).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write(HANDSHAKE).await;
    assert_eq!(client.response().await.status(), 502);
    gateway.at_rest().await;
}

/// RFC 9110 §15.2.2: nobody switches to what nobody asked for.
#[tokio::test]
async fn an_unasked_switch_is_a_bad_answer() {
    let origin = Origin::always(Reply::raw(SWITCHED)).await;
    let gateway = Gateway::before(origin.address, "[route.retry]\nattempts = 1").await;
    let answer = get(gateway.address, "/").await;
    assert_eq!(answer.status(), 502, "{answer:?}");
    gateway.at_rest().await;
}

/// A fill that is half done is worth finishing; one of unknown length is not.
#[tokio::test]
async fn a_fill_is_finished_where_that_is_worth_it() {
    let body = "x".repeat(600_000);
    let gate = Gate::new();
    let counted = Reply::new(200, &[FRESH], &body);
    let half = counted.len() - 200_000;
    let chunked = Reply::chunked(200, &[FRESH], &["begun", &body]);
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| match request.target() {
            "/counted" => counted.clone().pause_after(half, &gate),
            _ => chunked.clone().pause_after(100, &gate),
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let leave = async |target: &str, seen: &str| {
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("GET {target} HTTP/1.1\r\nhost: test.example\r\n\r\n")).await;
        client.wait_for(seen).await;
    };
    leave("/chunked", "begun").await;
    gateway.at_rest().await;
    leave("/counted", &"x".repeat(300_000)).await;
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 0.0).await;
    assert_eq!(gateway.metrics().await.sum("forebay_cache_fills", &[]), 1.0);
    gate.open();
    gateway.at_rest().await;
    let answer = get(gateway.address, "/counted").await;
    assert!(answer.field("cache-status").unwrap().contains("; hit"), "{:?}", answer.fields);
    assert_eq!(answer.body.len(), body.len());
    assert_eq!(origin.asked().len(), 2);
}
