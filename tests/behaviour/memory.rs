//! What the process takes, seen from outside: `server.memory_limit`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Gate, Gateway, Origin, Reply, get, serve, within};

const MIB: usize = 1 << 20;

/// An origin with as many large objects as there are paths: `/8` has 8 MiB. Without a copy of them in memory.
async fn large_objects(cache_control: &'static str) -> SocketAddr {
    serve(move |mut stream: TcpStream| async move {
        let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
                    _ => return,
                }
            }
            let target = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().to_owned();
            head.clear();
            let length = target.split('/').nth(1).unwrap().parse::<usize>().unwrap() * MIB;
            let fields = format!("cache-control: {cache_control}\r\ncontent-length: {length}");
            if stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").as_bytes()).await.is_err() {
                return;
            }
            for _ in 0..length / 65_536 {
                if stream.write_all(&[b'x'; 65_536]).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// The resident set of a process, in bytes.
fn resident(pid: u32) -> usize {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Asks for a target; the connection's end is the response's.
async fn ask(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Reads a response with that much of a body to its end, without keeping it.
async fn drain(mut stream: TcpStream, length: usize) {
    let (mut count, mut buffer) = (0, vec![0; 65_536]);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            some => count += some,
        }
    }
    assert!(count > length, "cut after {count} bytes of head and {length} of body");
}

fn config(origin: SocketAddr) -> String {
    let limits = "memory_limit = \"48MiB\"\n[cache]\nmemory = \"24MiB\"\nmax_object = \"8MiB\"\n";
    let upstream = "[upstream.origin.concurrency]\nmode = \"off\"\n";
    Gateway::config(origin, upstream, "").replace("workers = 1\n", &format!("workers = 1\n{limits}"))
}

#[tokio::test]
async fn a_stampede_of_large_objects_keeps_to_the_limit() {
    const CLIENTS: usize = 60;
    let origin = large_objects("max-age=60").await;
    let gateway = Gateway::start(&config(origin));
    get(gateway.address, "/0").await;
    let idle = resident(gateway.pid());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let stream = ask(gateway.address, &format!("/8/{number}")).await;
        within("a head", stream.readable()).await.unwrap();
        clients.push(stream);
    }
    // All have their head, and nobody reads on: what comes now has to be kept somewhere, or not to come.
    gateway.wait_for("forebay_cache_not_stored_total", &[("reason", "memory-limit")], |now| now > 30.0).await;
    let reading: Vec<_> = clients.into_iter().map(|stream| tokio::spawn(drain(stream, 8 * MIB))).collect();
    let mut peak = 0;
    while reading.iter().any(|client| !client.is_finished()) {
        peak = peak.max(resident(gateway.pid()));
        let metrics = gateway.metrics().await;
        let used = metrics.sum("forebay_memory_bytes", &[]);
        let limit = metrics.sum("forebay_memory_limit_bytes", &[]);
        assert!(used <= limit + (CLIENTS * 512 * 1024) as f64, "{used} of {limit}");
    }
    for client in reading {
        within("a whole answer", client).await.unwrap();
    }
    // 480 MiB went through. Beside the budget each connection has buffers of its own, on both sides.
    let grown = peak.saturating_sub(idle);
    assert!(grown < (48 + 64) * MIB, "{} MiB", grown / MIB);
    gateway.at_rest().await;
    let stored = gateway.wait_for("forebay_cache_bytes", &[], |now| now <= (24 * MIB) as f64).await;
    assert!(stored >= (8 * MIB) as f64, "what there was room for is stored: {stored}");
}

/// What is too large to store is still fetched once for those who ask together.
#[tokio::test]
async fn clients_share_an_object_too_large_to_store() {
    let gate = Gate::new();
    let body = "x".repeat(9 * MIB);
    let reply = Reply::new(200, &[("cache-control", "max-age=60")], body).after(&gate);
    let origin = Origin::always(reply).await;
    let gateway = Gateway::start(&config(origin.address));
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(tokio::spawn(drain(ask(gateway.address, "/").await, 9 * MIB)));
    }
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 10.0).await;
    gate.open();
    for client in clients {
        within("a whole answer", client).await.unwrap();
    }
    gateway.at_rest().await;
    assert_eq!(origin.asked().len(), 1);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_cache_entries", &[]), 0.0);
    assert_eq!(metrics.sum("forebay_cache_not_stored_total", &[("reason", "too-large")]), 1.0);
}

/// What the gauge says a stored entry takes is what the process grows by.
#[tokio::test]
async fn the_gauge_of_stored_bytes_tells_the_truth() {
    const ENTRIES: usize = 6000;
    let origin = Origin::always(Reply::new(200, &[("cache-control", "max-age=600")], [b'x'; 1024])).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    let mut fill = async |from: usize, to: usize| {
        for number in from..to {
            client.write(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            assert_eq!(client.response().await.status(), 200);
        }
        gateway.wait_for("forebay_cache_entries", &[], |now| now == to as f64).await;
        (resident(gateway.pid()), gateway.metrics().await.sum("forebay_cache_bytes", &[]))
    };
    let (resident_before, bytes_before) = fill(0, 1000).await;
    let (resident_after, bytes_after) = fill(1000, 1000 + ENTRIES).await;
    let (grown, told) = ((resident_after - resident_before) as f64, bytes_after - bytes_before);
    let case = format!("an entry takes {} bytes, {} by the gauge", grown / 6000.0, told / 6000.0);
    println!("{case}");
    assert!((0.75..1.15).contains(&(grown / told)), "{case}");
    assert!(told / (ENTRIES as f64) < 1024.0 + 700.0 + 100.0, "{case}");
}
