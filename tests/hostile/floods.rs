//! Floods of HTTP/2 frames that cost the sender little (RFC 9113 §10.5): the connection ends, its client is
//! told why, and nobody else notices.

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Outcome, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, get, open, outcome, post, preface, whole,
};
use super::{SOON, start};
use crate::support::{Client, Gateway, Origin, PATIENCE, Reply};

const PRIORITY: u8 = 2;

/// `ENHANCE_YOUR_CALM` (RFC 9113 §7).
const CALM: u32 = 0xb;

/// The code of the `GOAWAY` that comes, if one comes before the end.
async fn goaway(client: &mut Client) -> Option<u32> {
    loop {
        let head = client.take(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = client.take(length as usize).await?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
        }
    }
}

/// What is sent before, what is sent many times, and why the connection may end.
type Flood = (&'static str, Vec<u8>, Vec<u8>, &'static [Option<u32>]);

fn floods() -> Vec<Flood> {
    let endless = frame(HEADERS, END_STREAM, 1, &get(&[]));
    let upload = open(&post(&[]));
    vec![
        ("PING", vec![], frame(PING, 0, 0, &[0; 8]), &[Some(CALM)]),
        ("PING acknowledgements", vec![], frame(PING, 1, 0, &[0; 8]), &[Some(CALM)]),
        ("SETTINGS", vec![], frame(SETTINGS, 0, 0, b""), &[Some(CALM)]),
        ("SETTINGS that change", vec![], frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]), &[Some(CALM)]),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]), &[Some(CALM)]),
        ("WINDOW_UPDATE of the connection", vec![], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), &[Some(CALM)]),
        (
            "WINDOW_UPDATE of a stream",
            upload.clone(),
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            &[Some(CALM)],
        ),
        ("empty DATA", upload.clone(), frame(DATA, 0, 1, b""), &[Some(CALM)]),
        ("DATA of padding", upload, frame(DATA, 8, 1, &[3, 0, 0, 0]), &[Some(CALM)]),
        ("frames of an unknown type", vec![], frame(0x42, 0, 0, b"x"), &[Some(CALM)]),
        // A bound on what one field block may be comes first.
        ("empty CONTINUATION", endless, frame(CONTINUATION, 0, 1, b""), &[Some(CALM), Some(1), None]),
        (
            "RST_STREAM of one stream",
            [open(&post(&[])), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat(),
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            &[Some(CALM), Some(1), Some(5)],
        ),
    ]
}

/// Frames of a kind, as many as the budget can never allow.
const MANY: usize = 40_000;

/// What an allocator may keep of what one flood took, in bytes.
pub const KEPT: u32 = 16 << 20;

/// The answers to these streams of a connection, in order.
async fn answered(client: &mut Client, stream: u32) -> bool {
    loop {
        let Some(head) = client.take(9).await else { return false };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        if client.take(length as usize).await.is_none() {
            return false;
        }
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if of == stream && head[4] & END_STREAM != 0 {
            return true;
        }
    }
}

#[tokio::test]
async fn a_flood_ends_its_connection_and_nothing_else() {
    let (_origin, gateway) = start().await;
    let mut other = Client::connect(gateway.address).await;
    other.write([&preface()[..], &whole(&get(&[]))].concat()).await;
    assert!(answered(&mut other, 1).await);
    // What every flood finds: one connection that is served, and whatever the process keeps for good.
    let before = gateway.holds().await;
    let mut failures = Vec::new();
    let mut stream = 3;
    for (name, begin, one, right) in floods() {
        let mut client = Client::connect(gateway.address).await;
        client.write([&preface()[..], &begin].concat()).await;
        client.write(one.repeat(MANY)).await;
        let ended = tokio::time::timeout(SOON, goaway(&mut client)).await;
        match ended {
            Ok(code) if right.contains(&code) => {}
            ended => failures.push(format!("{name}: {ended:?}, not one of {right:?}")),
        }
        // The other connection is served meanwhile and after it.
        other.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[]))).await;
        assert!(answered(&mut other, stream).await, "{name}");
        stream += 2;
        drop(client);
        gateway.back_to(before, KEPT, name).await;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(crate::support::get(gateway.address, "/alive").await.text(), "ok");
    let after = gateway.metrics().await;
    // Some are stopped by other bounds first.
    let counted = after.sum("forebay_refused_connections_total", &[("reason", "http2_flood")]);
    assert!(counted >= 6.0, "{counted}");
    assert!(gateway.log().lines().count() < 50, "nobody can fill the log: {}", gateway.log());
    assert_eq!(after.sum("forebay_requests_total", &[("code", "500")]), 0.0);
}

/// A name, the frames that end a stream, and the flag that its head has.
type Way<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>, u8);

/// Streams that are opened and cancelled, by the client (CVE-2023-44487), or by the server, whom frames that
/// are wrong for a stream make do it (CVE-2025-8671). The origin is asked for few of them, if for any.
#[tokio::test]
async fn rapid_resets() {
    let (origin, gateway) = start().await;
    crate::support::get(gateway.address, "/warm").await;
    let before = gateway.holds().await;
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let shut = |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
    let overflow = |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
    let itself = |stream: u32| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat());
    let ended = |stream| frame(DATA, END_STREAM, stream, b"x");
    let ways: [Way<'_>; 5] = [
        ("RST_STREAM", &reset, 0),
        ("a window that grows by nothing", &shut, 0),
        ("a window that overflows", &overflow, 0),
        ("a stream that depends on itself", &itself, 0),
        ("data behind the end", &ended, END_STREAM),
    ];
    for (name, wrong, end) in ways {
        let mut client = Client::connect(gateway.address).await;
        let mut resets = preface();
        for stream in (1..40_001).step_by(2) {
            resets.extend(frame(HEADERS, END_HEADERS | end, stream, &post(&[])));
            resets.extend(wrong(stream));
        }
        client.write(resets).await;
        let code = tokio::time::timeout(SOON, goaway(&mut client)).await;
        assert!(matches!(code, Ok(Some(CALM | 1 | 5) | None)), "{name}: {code:?}");
        drop(client);
        gateway.back_to(before, KEPT, name).await;
        assert_eq!(crate::support::get(gateway.address, "/alive").await.text(), "ok", "{name}");
        let asked = origin.asked().len();
        assert!(asked < 2000, "{name}: the origin was asked {asked} times");
    }
}

/// A field block that is small on the wire and large in memory: one field in the table, named again and again
/// (RFC 7541 §2.3), and cookies in crumbs. It has the bounds of any other head.
#[tokio::test]
async fn bombs_of_fields() {
    let (origin, gateway) = start().await;
    crate::support::get(gateway.address, "/warm").await;
    let before = gateway.holds().await;
    let asked = origin.asked().len();
    let mut indexed = get(&[]);
    // A literal with indexing, of 3,000 bytes (RFC 7541 §6.2.1); it is entry 62 then.
    indexed.extend([0x40, 1, b'x', 0x7f]);
    indexed.extend([0xb9, 0x16]);
    indexed.extend([b'y'; 3000]);
    let bomb = |times: usize| [&indexed[..], &vec![0xbe; times]].concat();
    let crumbs: Vec<(&str, &str)> = vec![("cookie", "a"); 1500];
    let crumbs = get(&crumbs);
    let in_frames = |block: &[u8]| {
        let mut pieces = block.chunks(16_000).peekable();
        let mut frames = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
        for piece in pieces {
            frames.extend(frame(CONTINUATION, 0, 1, piece));
        }
        frames.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
        frames
    };
    for (name, block) in [
        ("10 references", bomb(10)),
        ("4,000 references", bomb(4000)),
        ("60,000 references", bomb(60_000)),
        ("crumbs", crumbs),
    ] {
        let mut client = Client::connect(gateway.address).await;
        client.write([preface(), in_frames(&block)].concat()).await;
        let outcome = tokio::time::timeout(SOON, outcome(&mut client)).await.unwrap();
        let right = [Outcome::Status(431), Outcome::Reset, Outcome::Gone];
        assert!(right.contains(&outcome), "{name}: {outcome:?}");
        drop(client);
        gateway.back_to(before, KEPT, name).await;
    }
    assert_eq!(origin.asked().len(), asked, "none was forwarded");
    // The same field a few times is no bomb.
    let mut client = Client::connect(gateway.address).await;
    client.write([preface(), whole(&bomb(3))].concat()).await;
    assert_eq!(outcome(&mut client).await, Outcome::Status(200));
}

/// Floods in HTTP/1.1 and before it: empty lines, requests whose answers nobody reads, broken bodies,
/// handshakes that stop midway. Nothing of them stays.
#[tokio::test]
async fn floods_before_http2() {
    let folder = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let (pem, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    std::fs::write(&pem, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let origin = Origin::start(|request, _| match request.target() {
        "/never-read" => Reply::ok("x".repeat(256 * 1024)),
        // What is stored is served, whoever keeps the origin busy.
        _ => Reply::new(200, &[("cache-control", "max-age=600")], "ok"),
    })
    .await;
    let tls = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        pem.display(),
        key.display()
    );
    let config = super::config(origin.address).replace("[server]\n", "[server]\nwrite_timeout = \"1s\"\n");
    let gateway = Gateway::start(&(config + &tls));
    crate::support::get(gateway.address, "/alive").await;
    let before = gateway.holds().await;
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 100]].concat();
    let request = b"GET /never-read HTTP/1.1\r\nhost: a\r\n\r\n";
    let broken = b"POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe";
    // Each takes more than the time for a head to be over, or is over at once.
    let floods: [(&str, usize, Vec<u8>, usize); 6] = [
        ("nothing in TLS", 2, vec![], 200),
        ("half a ClientHello", 2, hello.clone(), 200),
        ("a record of TLS that never ends", 2, [&[0x16, 3, 1, 0x40, 0][..], &[1; 9000]].concat(), 100),
        ("empty lines", 0, b"\r\n".repeat(100_000), 20),
        ("requests whose answers nobody reads", 0, request.repeat(100), 20),
        ("bodies that break off", 0, broken.to_vec(), 200),
    ];
    for (name, listener, bytes, times) in floods {
        let mut clients = Vec::new();
        for _ in 0..times {
            let mut client = Client::connect(gateway.addresses[listener]).await;
            // Whoever is not read from must not hang the test.
            let written = tokio::time::timeout(std::time::Duration::from_millis(100), client.write(&bytes));
            let _ = written.await;
            clients.push(client);
        }
        assert_eq!(crate::support::get(gateway.address, "/alive").await.text(), "ok", "{name}");
        // The clients stay; it is the gateway that ends it.
        gateway.back_to(before, KEPT, name).await;
        drop(clients);
    }
}

/// What a busy client does is no flood: a ping and two window updates a request, for many requests.
#[tokio::test]
async fn a_busy_client_is_left_alone() {
    let (_origin, gateway) = start().await;
    let mut client = Client::connect(gateway.address).await;
    client.write(preface()).await;
    for round in 0..150 {
        let mut frames = Vec::new();
        for index in 0..20 {
            let stream = 2 * (round * 20 + index) + 1;
            frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])));
            frames.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 2]));
        }
        frames.extend(frame(PING, 0, 0, &[7; 8]));
        client.write(frames).await;
        // The answer to the ping: it has been heard.
        loop {
            let head = client.take(9).await.expect("the connection goes on");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            client.take(length as usize).await.expect("a payload");
            assert_ne!(head[3], GOAWAY, "in round {round}");
            if head[3] == PING {
                break;
            }
        }
    }
}

/// RFC 9113 §3.4: settings come first.
#[tokio::test]
async fn a_connection_begins_with_settings() {
    let (_origin, gateway) = start().await;
    let mut client = Client::connect(gateway.address).await;
    client.write([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &whole(&get(&[]))].concat()).await;
    assert_eq!(goaway(&mut client).await, Some(1));
}

/// A field block that does not end is a head that does not end: it has `header_timeout`, not the much longer
/// time between two requests.
#[tokio::test]
async fn a_field_block_without_end_times_out() {
    let (_origin, gateway) = start().await;
    let block = get(&[]);
    for begun in [
        frame(HEADERS, END_STREAM, 1, &block),
        whole(&block)[..15].to_vec(),
        [frame(HEADERS, END_STREAM, 1, &block[..5]), frame(CONTINUATION, 0, 1, &block[5..])].concat(),
    ] {
        let mut client = Client::connect(gateway.address).await;
        let since = std::time::Instant::now();
        client.write([&preface()[..], &begun].concat()).await;
        goaway(&mut client).await;
        assert!(since.elapsed() < SOON.min(PATIENCE), "after {:?}", since.elapsed());
    }
    gateway.wait_for("forebay_connections_open", &[], |now| now == 0.0).await;
}

/// A client that opens the window by a byte now and then cannot keep a response for ever, nor one that never
/// opens it (CVE-2019-9517).
#[tokio::test]
async fn a_window_that_stays_shut_or_nearly() {
    let origin = Origin::always(Reply::ok("x".repeat(8 << 20))).await;
    let config = super::config(origin.address).replace("[server]\n", "[server]\nwrite_timeout = \"1s\"\n");
    let gateway = Gateway::start(&config);
    for drips in [false, true] {
        let mut client = Client::connect(gateway.address).await;
        client.write([preface(), whole(&get(&[]))].concat()).await;
        gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 1.0).await;
        let since = std::time::Instant::now();
        while gateway.metrics().await.sum("forebay_requests_in_flight", &[]) > 0.0 {
            if drips {
                client.write(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
                client.write(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            assert!(since.elapsed() < PATIENCE, "drips: {drips}");
        }
        gateway.at_rest().await;
    }
}

/// `server.max_requests_per_connection`: the last one is answered, and then the connection says that it ends
/// (RFC 9113 §6.8).
#[tokio::test]
async fn a_connection_carries_so_many_requests() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let config =
        super::config(origin.address).replace("[server]\n", "[server]\nmax_requests_per_connection = 2\n");
    let gateway = Gateway::start(&config);
    let mut client = Client::connect(gateway.address).await;
    client.write([preface(), whole(&get(&[]))].concat()).await;
    assert_eq!(outcome(&mut client).await, Outcome::Status(200));
    client.write(frame(HEADERS, END_HEADERS | END_STREAM, 3, &get(&[]))).await;
    assert_eq!(goaway(&mut client).await, Some(0));
}
