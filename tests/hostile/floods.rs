//! Floods of HTTP/2 frames that cost the sender little (RFC 9113 §10.5): the connection ends, its client is
//! told why, and nobody else notices.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Outcome, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, get, open, outcome, post, preface, whole,
};
use super::{SOON, start};
use crate::support::{Client, Gateway, PATIENCE};

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

#[tokio::test]
async fn a_flood_ends_its_connection_and_nothing_else() {
    let (_origin, gateway) = start().await;
    let mut other = Client::connect(gateway.address).await;
    other.write(preface()).await;
    let before = gateway.metrics().await;
    let memory =
        |metrics: &crate::support::gateway::Metrics| metrics.sum("process_resident_memory_bytes", &[]);
    let mut failures = Vec::new();
    let mut number = 1;
    for (name, begin, one, right) in floods() {
        let mut client = Client::connect(gateway.address).await;
        client.write([&preface()[..], &begin].concat()).await;
        client.write(one.repeat(MANY)).await;
        let ended = tokio::time::timeout(SOON, goaway(&mut client)).await;
        match ended {
            Ok(code) if right.contains(&code) => {}
            ended => failures.push(format!("{name}: {ended:?}, not one of {right:?}")),
        }
        drop(client);
        // The other connection is served meanwhile and after it.
        other.write(frame(HEADERS, END_HEADERS | END_STREAM, number, &get(&[]))).await;
        number += 2;
        if number == 3 {
            assert_eq!(outcome(&mut other).await, Outcome::Status(200), "{name}");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(crate::support::get(gateway.address, "/alive").await.text(), "ok");
    gateway.at_rest().await;
    gateway.wait_for("forebay_connections_open", &[], |now| now <= 1.0).await;
    let after = gateway.metrics().await;
    // Some are stopped by other bounds first.
    let counted = after.sum("forebay_refused_connections_total", &[("reason", "http2_flood")]);
    assert!(counted >= 6.0, "{counted}");
    assert!(gateway.log().lines().count() < 50, "nobody can fill the log: {}", gateway.log());
    assert!(memory(&before) > 0.0);
    let grown = memory(&after) - memory(&before);
    assert!(grown < f64::from(32 << 20), "{grown} bytes more");
    assert_eq!(after.sum("forebay_requests_total", &[("code", "500")]), 0.0);
}

/// CVE-2023-44487: streams that are opened and cancelled.
#[tokio::test]
async fn rapid_resets() {
    let (_origin, gateway) = start().await;
    let mut client = Client::connect(gateway.address).await;
    let mut resets = preface();
    for stream in (1..40_001).step_by(2) {
        resets.extend(frame(HEADERS, END_HEADERS, stream, &post(&[])));
        resets.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    client.write(resets).await;
    let code = tokio::time::timeout(SOON, goaway(&mut client)).await;
    assert!(matches!(code, Ok(Some(CALM))), "{code:?}");
    drop(client);
    gateway.at_rest().await;
    gateway.wait_for("forebay_connections_open", &[], |now| now == 0.0).await;
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
    let origin = crate::support::Origin::always(crate::support::Reply::ok("x".repeat(8 << 20))).await;
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
    let origin = crate::support::Origin::always(crate::support::Reply::ok("ok")).await;
    let config =
        super::config(origin.address).replace("[server]\n", "[server]\nmax_requests_per_connection = 2\n");
    let gateway = Gateway::start(&config);
    let mut client = Client::connect(gateway.address).await;
    client.write([preface(), whole(&get(&[]))].concat()).await;
    assert_eq!(outcome(&mut client).await, Outcome::Status(200));
    client.write(frame(HEADERS, END_HEADERS | END_STREAM, 3, &get(&[]))).await;
    assert_eq!(goaway(&mut client).await, Some(0));
}
