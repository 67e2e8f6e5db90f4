//! Bodies on their way: they are passed on as they come, as fast as the slower side takes them, in little
//! memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::message::{Kind, Reader};
use crate::support::{Client, Gate, Gateway, Origin, Reply, get, h2, serve, within};

/// How much is written at once.
const CHUNK: usize = 64 * 1024;

/// By how much the gateway may grow while a body passes through.
const GROWTH_KIB: u64 = 30 * 1024;

/// The length of a large body: 2 GiB where FOREBAY_TEST_LARGE says so, as tests/run does.
fn large() -> u64 {
    if std::env::var_os("FOREBAY_TEST_LARGE").is_some() { 2 << 30 } else { 512 << 20 }
}

/// The bytes of every chunk.
fn pattern() -> Vec<u8> {
    (0..CHUNK).map(|at| (at % 251) as u8).collect()
}

/// Checks a body of [`pattern`]s as it arrives.
struct Checker {
    pattern: Vec<u8>,
    at: u64,
}

impl Checker {
    fn new() -> Self {
        Self { pattern: pattern(), at: 0 }
    }

    fn take(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let from = &self.pattern[self.at as usize % CHUNK..];
            let (part, rest) = data.split_at(data.len().min(from.len()));
            assert!(part == &from[..part.len()], "it differs after {} bytes", self.at);
            self.at += part.len() as u64;
            data = rest;
        }
    }
}

/// The most memory the gateway has ever used, in KiB.
fn peak_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A gateway for large bodies, after a first small request.
async fn gateway(origin: SocketAddr) -> Gateway {
    let config = Gateway::config(origin, "", "timeout = \"1h\"")
        .replace("workers = 1\n", "workers = 1\nmax_body = \"4GiB\"\n");
    let gateway = Gateway::start(&config);
    assert_eq!(get(gateway.address, "/small").await.text(), "ok");
    gateway.metrics().await;
    gateway
}

/// Serves `/small`, `/counted` and `/chunked`, the latter two of `length` bytes.
async fn downloads(length: u64) -> SocketAddr {
    serve(move |mut stream: TcpStream| async move {
        let mut reader = Reader::default();
        while let Some(request) = reader.message(&mut stream, Kind::Request).await {
            let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n";
            let (head, chunk, end) = match request.target() {
                "/small" => (format!("{head}content-length: 2\r\n\r\nok"), Vec::new(), ""),
                "/counted" => (format!("{head}content-length: {length}\r\n\r\n"), pattern(), ""),
                _ => {
                    let chunk = [format!("{CHUNK:x}\r\n").as_bytes(), &pattern(), b"\r\n"].concat();
                    (format!("{head}transfer-encoding: chunked\r\n\r\n"), chunk, "0\r\n\r\n")
                }
            };
            stream.write_all(head.as_bytes()).await.unwrap();
            if !chunk.is_empty() {
                for _ in 0..length / CHUNK as u64 {
                    stream.write_all(&chunk).await.unwrap();
                }
            }
            stream.write_all(end.as_bytes()).await.unwrap();
        }
    })
    .await
}

async fn a_response_passes(target: &str, length: u64) {
    let gateway = gateway(downloads(length).await).await;
    let before = peak_kib(&gateway);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::get(target).header("host", "test.example").body(Empty::<Bytes>::new()).unwrap();
    let mut body = client.send_request(request).await.unwrap().into_body();
    let mut checker = Checker::new();
    while let Some(frame) = within("more of the body", body.frame()).await {
        checker.take(&frame.unwrap().into_data().unwrap());
    }
    assert_eq!(checker.at, length);
    gateway.at_rest().await;
    let grown = peak_kib(&gateway) - before;
    assert!(grown < GROWTH_KIB, "it grew by {grown} KiB");
    // Only the small one.
    assert_eq!(gateway.metrics().await.sum("forebay_cache_entries", &[]), 1.0);
}

#[tokio::test]
async fn a_large_response_passes_in_little_memory() {
    a_response_passes("/counted", large()).await;
}

/// Its length is not known before its end: it might have fitted the store.
#[tokio::test]
async fn a_large_chunked_response_passes_in_little_memory() {
    a_response_passes("/chunked", large() / 4).await;
}

/// Reads requests whole, checks their bodies, and answers with their length.
async fn uploads() -> SocketAddr {
    serve(|mut stream: TcpStream| async move {
        let mut reader = Reader::default();
        while let Some(request) = reader.message(&mut stream, Kind::HeadResponse).await {
            let length = request.field("content-length").map_or(0, |length| length.parse().unwrap());
            let mut checker = Checker::new();
            while checker.at < length {
                let data = reader.some(&mut stream).await;
                assert!(!data.is_empty(), "cut after {} bytes", checker.at);
                checker.take(&data);
            }
            let text = if length == 0 { "ok".to_owned() } else { length.to_string() };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_large_request_passes_in_little_memory() {
    let length = large();
    let gateway = gateway(uploads().await).await;
    let before = peak_kib(&gateway);
    let mut client = Client::connect(gateway.address).await;
    // A method that is retried: nothing of such a body is kept for that either.
    client.write(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")).await;
    let chunk = pattern();
    for _ in 0..length / CHUNK as u64 {
        client.write(&chunk).await;
    }
    assert_eq!(client.response().await.text(), length.to_string());
    gateway.at_rest().await;
    let grown = peak_kib(&gateway) - before;
    assert!(grown < GROWTH_KIB, "it grew by {grown} KiB");
}

/// What may be on its way at most when one side stops reading: the gateway's share, and what the kernel lets
/// four socket buffers grow to, which may be tens of MiB.
const ON_ITS_WAY: u64 = 256 << 20;

/// Writes until nothing has moved for a second, and says how much that was.
async fn write_until_blocked(stream: &mut TcpStream) -> u64 {
    let chunk = pattern();
    let mut written = 0;
    loop {
        // Every write goes on where the one before ended.
        let from = &chunk[written as usize % CHUNK..];
        match timeout(Duration::from_secs(1), stream.write(from)).await {
            Ok(more) => written += more.unwrap() as u64,
            Err(_) => return written,
        }
        assert!(written < ON_ITS_WAY, "nothing holds the writer back");
    }
}

/// A client that does not read holds its origin back, in bounded memory; when it reads, nothing is missing.
#[tokio::test]
async fn a_client_that_does_not_read_holds_the_origin_back() {
    let (blocked, mut written) = mpsc::unbounded_channel();
    let origin = serve(move |mut stream: TcpStream| {
        let blocked = blocked.clone();
        async move {
            let request = Reader::default().message(&mut stream, Kind::Request).await.unwrap();
            let length: u64 = if request.target() == "/small" { 2 } else { 1 << 40 };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            if length == 2 {
                return stream.write_all(b"ok").await.unwrap();
            }
            let _ = blocked.send(write_until_blocked(&mut stream).await);
            // Until the other side goes.
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let gateway = gateway(origin).await;
    let before = peak_kib(&gateway);
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let written = within("a blocked origin", written.recv()).await.unwrap();
    assert!(peak_kib(&gateway) - before < GROWTH_KIB);
    client.wait_for("\r\n\r\n").await;
    let mut data = client.some().await;
    let head = data.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    data.drain(..head);
    let mut checker = Checker::new();
    checker.take(&data);
    while checker.at < written {
        checker.take(&client.some().await);
    }
    drop(client);
    gateway.at_rest().await;
}

/// An origin that does not read holds its client back; when it reads, nothing is missing.
#[tokio::test]
async fn an_origin_that_does_not_read_holds_the_client_back() {
    let (gate, written) = (Gate::new(), Arc::new(AtomicU64::new(0)));
    let (read, mut all_read) = mpsc::unbounded_channel();
    let origin = serve({
        let (gate, written) = (gate.clone(), written.clone());
        move |mut stream: TcpStream| {
            let (gate, written, read) = (gate.clone(), written.clone(), read.clone());
            async move {
                let mut reader = Reader::default();
                let request = reader.message(&mut stream, Kind::HeadResponse).await.unwrap();
                if request.target() == "/small" {
                    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
                    return stream.write_all(answer).await.unwrap();
                }
                gate.pass().await;
                let mut checker = Checker::new();
                while checker.at < written.load(Ordering::Relaxed) {
                    checker.take(&reader.some(&mut stream).await);
                }
                let _ = read.send(());
                while !reader.some(&mut stream).await.is_empty() {}
            }
        }
    })
    .await;
    let gateway = gateway(origin).await;
    let before = peak_kib(&gateway);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let length = 3_u64 << 30;
    let head = format!("POST /endless HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    written.store(write_until_blocked(&mut client).await, Ordering::Relaxed);
    assert!(peak_kib(&gateway) - before < GROWTH_KIB);
    gate.open();
    within("all of it at the origin", all_read.recv()).await.unwrap();
    drop(client);
    gateway.at_rest().await;
}

/// Events of a stream that never ends by itself.
async fn events(fields: &[(&str, &str)]) -> (Origin, Vec<Gate>) {
    let fields = [&[("content-type", "text/event-stream")], fields].concat();
    let all = Reply::chunked(200, &fields, &["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]);
    let event = "9\r\ndata: 1\n\n\r\n".len();
    let first = all.len() - 2 * event - "0\r\n\r\n".len();
    let gates = vec![Gate::new(), Gate::new(), Gate::new()];
    // From the last to the first: a pause splits what stands before it.
    let reply = all
        .pause_after(first + 2 * event, &gates[2])
        .pause_after(first + event, &gates[1])
        .pause_after(first, &gates[0]);
    (Origin::always(reply).await, gates)
}

/// Server-sent events arrive one by one, whether they could be stored or not, beyond the route's `timeout`.
#[tokio::test]
async fn events_arrive_one_by_one() {
    for fields in [&[("cache-control", "no-cache")][..], &[("cache-control", "max-age=60")], &[]] {
        let (origin, gates) = events(fields).await;
        let gateway = Gateway::before(origin.address, "timeout = \"300ms\"").await;
        let mut client = Client::connect(gateway.address).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.wait_for("data: 1\n\n").await;
        // What is tested is that time passes.
        tokio::time::sleep(Duration::from_millis(600)).await;
        gates[0].open();
        client.wait_for("data: 2\n\n").await;
        gates[1].open();
        client.wait_for("data: 3\n\n").await;
        gates[2].open();
        let answer = client.response().await;
        assert!(answer.complete, "{answer:?}");
        assert_eq!(answer.text(), "data: 1\n\ndata: 2\n\ndata: 3\n\n");
        gateway.at_rest().await;
    }
}

/// gRPC: HTTP/2 on both sides, messages both ways at the same time, and the status in the trailers.
#[tokio::test]
async fn a_grpc_call_passes() {
    let (heads, mut asked) = mpsc::unbounded_channel();
    let origin = h2::origin(move |request: http::Request<hyper::body::Incoming>| {
        let heads = heads.clone();
        async move {
            let (head, mut body) = request.into_parts();
            let _ = heads.send(head);
            let (writer, answer) = h2::piped();
            tokio::spawn(async move {
                while let Some(frame) = body.frame().await {
                    match frame.unwrap().into_data() {
                        Ok(data) => assert!(writer.data(data)),
                        Err(frame) => assert_eq!(frame.trailers_ref().unwrap()["x-mine"], "9"),
                    }
                }
                writer.trailers(&[("grpc-status", "0"), ("grpc-message", "fine")]);
            });
            let answer = http::Response::builder().header("content-type", "application/grpc").body(answer);
            answer.unwrap()
        }
    })
    .await;
    let gateway = Gateway::start(&Gateway::config(origin, "protocol = \"http2\"", ""));
    let mut client = h2::connect(gateway.address).await;
    let (writer, body) = h2::piped();
    let request = http::Request::post("http://test.example/orders.Orders/Watch")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let mut answer = within("an answer", client.send_request(request)).await.unwrap();
    let head = within("a request", asked.recv()).await.unwrap();
    assert_eq!(head.version, http::Version::HTTP_2);
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/orders.Orders/Watch"));
    assert_eq!(head.uri.authority().unwrap(), "test.example");
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    for message in ["one", "two", "three"] {
        assert!(writer.data(message));
        // Each is answered before the next one is sent.
        assert_eq!(h2::data(answer.body_mut()).await, message);
    }
    writer.trailers(&[("x-mine", "9")]);
    drop(writer);
    let trailers = h2::trailers(answer.body_mut()).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["grpc-message"], "fine");
    gateway.at_rest().await;
}
