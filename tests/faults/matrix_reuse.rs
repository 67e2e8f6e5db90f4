//! Faults of a connection that was good once, and of one that a request is still being sent on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::places::{Places, at_start};
use crate::support::message::{Kind, Reader};
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get, serve, within};

/// One attempt, no cache, and idle connections that are kept.
fn patient(origin: std::net::SocketAddr, attempts: u32) -> Gateway {
    let route = format!("[route.cache]\nenabled = false\n[route.retry]\nattempts = {attempts}");
    Gateway::start(&Gateway::config(origin, "idle_timeout = \"5s\"", &route))
}

/// RFC 9112 §9.3.1: a connection used before may be closed just as it is used again. What may be sent twice
/// is, on a new one, at once and beside the retries; what may not, is not.
#[tokio::test]
async fn a_used_connection_breaks() {
    type Fault = fn() -> Reply;
    let faults: [(&str, Fault); 2] =
        [("closed", || Reply::raw("x").cut_after(0)), ("reset", || Reply::raw("x").reset_after(0))];
    for (name, fault) in faults {
        let origin = Places::start(move |request, before| match (request.target(), before) {
            ("/warm", _) => Reply::ok("warm"),
            (_, 0) => fault(),
            _ => Reply::ok("again"),
        })
        .await;
        let gateway = patient(origin.address(), 1);
        let before = at_start(&gateway).await;
        for (method, repeated) in [
            ("GET", true),
            ("HEAD", true),
            ("PUT", true),
            ("DELETE", true),
            ("OPTIONS", true),
            ("POST", false),
        ] {
            assert_eq!(get(gateway.address, "/warm").await.text(), "warm");
            gateway.wait_for("forebay_upstream_connections", &[("state", "idle")], |now| now > 0.0).await;
            let path = format!("/{method}");
            let answer = ask(gateway.address, method, &path, &[]).await;
            let (status, asked) = if repeated { (200, 2) } else { (502, 1) };
            assert_eq!((answer.status(), origin.asked_for(&path)), (status, asked), "{name} {method}");
        }
        before.is_back(&gateway).await;
    }
}

/// What an origin does on an idle connection is nobody's answer (RFC 9112 §9.2, RFC 9110 §15.5.9), and ends
/// it.
#[tokio::test]
async fn an_idle_connection_speaks_or_ends() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
    const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 4\r\n\r\nevil";
    const UNASKED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    #[derive(Clone, Copy, Debug)]
    enum Then {
        Says(&'static [u8]),
        SaysAndCloses(&'static [u8]),
        HalfCloses,
        Resets,
    }
    for then in [
        Then::Says(UNASKED),
        Then::Says(b"\r\n"),
        Then::Says(b"evil"),
        Then::SaysAndCloses(TIMEOUT),
        Then::HalfCloses,
        Then::Resets,
    ] {
        let address = serve(move |mut stream: TcpStream| async move {
            let mut reader = Reader::default();
            if reader.message(&mut stream, Kind::Request).await.is_some() {
                stream.write_all(ANSWER).await.unwrap();
                // Long enough for the answer to be read by itself. That it might be read together with what
                // follows is the matrix's case.
                tokio::time::sleep(Duration::from_millis(100)).await;
                match then {
                    Then::Says(bytes) => stream.write_all(bytes).await.unwrap(),
                    Then::SaysAndCloses(bytes) => {
                        stream.write_all(bytes).await.unwrap();
                        stream.shutdown().await.unwrap();
                    }
                    Then::HalfCloses => stream.shutdown().await.unwrap(),
                    Then::Resets => return stream.set_zero_linger().unwrap(),
                }
                // The other side ends it too: there is nothing more to read, nor to write to.
                let mut rest = Vec::new();
                let _ = within("the end of the connection", stream.read_to_end(&mut rest)).await;
                assert!(rest.is_empty(), "{then:?}: another request on it");
            }
        })
        .await;
        let gateway = patient(address, 1);
        let before = at_start(&gateway).await;
        for _ in 0..3 {
            // Not idempotent, so that nothing but a sound connection does.
            let answer = ask(gateway.address, "POST", "/", &[]).await;
            assert_eq!((answer.status(), answer.text()), (200, "good"), "{then:?}");
            // Far before its time: it has ended by itself.
            gateway.wait_for("forebay_upstream_connections", &[], |now| now == 0.0).await;
        }
        before.is_back(&gateway).await;
    }
}

/// RFC 9110 §9.2.2: a request that breaks while it is sent is sent again where it may be, whole; a POST is
/// not.
#[tokio::test]
async fn an_upload_is_reset() {
    for (method, status, asked) in [("POST", 502, 1), ("PUT", 200, 2)] {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        let address = serve(move |mut stream: TcpStream| {
            let before = count.clone();
            async move {
                let mut reader = Reader::default();
                let Some(head) = reader.message(&mut stream, Kind::HeadResponse).await else { return };
                assert!(head.complete, "{head:?}");
                // In the middle of its body.
                assert_eq!(reader.take(&mut stream, 4).await.as_deref(), Some(&b"firs"[..]));
                if before.fetch_add(1, Ordering::SeqCst) == 0 {
                    return stream.set_zero_linger().unwrap();
                }
                assert_eq!(reader.take(&mut stream, 7).await.as_deref(), Some(&b"t later"[..]));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole").await;
            }
        })
        .await;
        let gateway = patient(address, 3);
        let before = at_start(&gateway).await;
        let mut client = Client::connect(gateway.address).await;
        let head = format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n");
        client.write(head + "first ").await;
        within("the origin's part", async {
            while begun.load(Ordering::SeqCst) < asked {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        client.write("later").await;
        assert_eq!(client.response().await.status(), status, "{method}");
        drop(client);
        assert_eq!(begun.load(Ordering::SeqCst), asked, "{method}");
        before.is_back(&gateway).await;
    }
}

/// RFC 9112 §9.3, §9.5: an answer to half a request is the answer, whatever becomes of the other half and of
/// the connection, which carries nothing else.
#[tokio::test]
async fn an_upload_is_answered_early() {
    for (status, then_reset) in [(413, false), (401, false), (200, false), (503, false), (413, true)] {
        let address = serve(move |mut stream: TcpStream| async move {
            let mut reader = Reader::default();
            let Some(_) = reader.message(&mut stream, Kind::HeadResponse).await else { return };
            let answer = format!("HTTP/1.1 {status} Enough\r\ncontent-length: 6\r\n\r\nenough");
            stream.write_all(answer.as_bytes()).await.unwrap();
            if then_reset {
                // Not before the answer can have been read.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return stream.set_zero_linger().unwrap();
            }
            // RFC 9112 §9.6: reads on until the other side ends it, so that its answer is not lost.
            let rest = reader.rest(&mut stream).await;
            assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "another request");
        })
        .await;
        let gateway = patient(address, 2);
        let before = at_start(&gateway).await;
        for _ in 0..3 {
            let mut client = Client::connect(gateway.address).await;
            client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nhalf").await;
            let answer = client.response().await;
            let got = (answer.status(), answer.text(), answer.complete);
            assert_eq!(got, (status, "enough", true), "reset: {then_reset}");
            // The rest would be taken for another request.
            assert!(client.rest().await.is_empty(), "{status}");
        }
        before.is_back(&gateway).await;
    }
}

/// A body that comes slowly and steadily is no fault, however long it takes as a whole; one that is silent
/// for too long is cut.
#[tokio::test]
async fn a_slow_body_is_none() {
    let gate = Gate::new();
    let whole = Reply::new(200, &[], "0123456789");
    let slow = whole.clone().trickle_after(whole.len() - 10, Duration::from_millis(200));
    let length = whole.len();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| match request.target() {
            "/slow" => slow.clone(),
            _ => whole.clone().pause_after(length - 5, &gate),
        }
    })
    .await;
    let gateway = Gateway::start(&Gateway::config(origin.address, "read_timeout = \"1500ms\"", ""));
    let before = at_start(&gateway).await;
    let answer = get(gateway.address, "/slow").await;
    assert_eq!((answer.status(), answer.text()), (200, "0123456789"));
    let answer = get(gateway.address, "/silent").await;
    assert!(!answer.complete && answer.text() == "01234", "{answer:?}");
    gate.open();
    before.is_back(&gateway).await;
}
