//! Clients that take their time over a stored response: they cost little, and miss nothing of it.

use std::sync::LazyLock;

use super::limits::assert_nothing_is_held;
use crate::support::{Client, Gate, Gateway, Origin, Reply, get};

const GAUGE: &str = "forebay_connections_in_slow_response";

/// More than the kernel's buffers of both sides take.
const LENGTH: usize = 12 << 20;

async fn slow(gateway: &Gateway, count: f64) {
    gateway.wait_for(GAUGE, &[], |now| now == count).await;
}

/// What is that long, and says where it is.
static TEXT: LazyLock<String> =
    LazyLock::new(|| (0..LENGTH / 8).map(|number| format!("{number:08}")).collect());

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=600")];

/// A gateway whose origin answers `/large` so, and `/small` every time.
async fn before(answer: impl Fn() -> Reply + Send + Sync + 'static, server: &str) -> (Origin, Gateway) {
    let origin = Origin::start(move |request, _| match request.target() {
        "/large" => answer(),
        _ => Reply::ok("small"),
    })
    .await;
    let config = Gateway::config(origin.address, "", "[route.cache]\nenabled = true\n")
        .replace("[server]\n", &format!("[cache]\nmax_object = \"16MiB\"\n[server]\n{server}\n"));
    (origin, Gateway::start(&config))
}

/// A gateway that has it stored.
async fn gateway(server: &str) -> (Origin, Gateway) {
    let (origin, gateway) = before(|| Reply::new(200, FRESH, TEXT.as_str()), server).await;
    assert_eq!(get(gateway.address, "/large").await.body.len(), LENGTH);
    (origin, gateway)
}

/// A client that has asked for it, and has been slow for long enough.
async fn in_a_response(gateway: &Gateway, request: &str) -> Client {
    let mut client = Client::with_little_room(gateway.address).await;
    client.write(request).await;
    slow(gateway, 1.0).await;
    client
}

const LARGE: &str = "GET /large HTTP/1.1\r\nhost: test.example\r\n\r\n";
const SMALL: &str = "GET /small HTTP/1.1\r\nhost: test.example\r\n\r\n";

#[tokio::test]
async fn a_response_that_is_taken_slowly_is_whole() {
    let (origin, gateway) = gateway("").await;
    // The second is asked for ahead, and the third once the first has been taken.
    let mut client = in_a_response(&gateway, &format!("{LARGE}{SMALL}")).await;
    let first = client.response().await;
    assert!(first.complete && first.field("cache-status").unwrap().contains("hit"));
    assert!(first.body == TEXT.as_bytes(), "the same bytes");
    slow(&gateway, 0.0).await;
    assert_eq!(client.response().await.text(), "small");
    client.write(SMALL).await;
    assert_eq!(client.response().await.text(), "small");
    // Slow again, and at once.
    client.write(LARGE).await;
    slow(&gateway, 1.0).await;
    assert!(client.response().await.body == TEXT.as_bytes(), "the same bytes");
    assert_eq!(origin.asked().iter().filter(|asked| asked.request.target() == "/large").count(), 1);
    drop(client);
    assert_nothing_is_held(&gateway).await;
}

/// RFC 9112 §9.6, §9.3: the connection ends with the response where the client said so, or knows no better.
#[tokio::test]
async fn the_last_response_of_a_connection_is_the_last() {
    let (_origin, gateway) = gateway("").await;
    for (version, field) in
        [("1.1", "connection: close\r\n"), ("1.1", "connection: x-a, close\r\n"), ("1.0", "")]
    {
        let request = format!("GET /large HTTP/{version}\r\nhost: test.example\r\n{field}\r\n");
        let mut client = in_a_response(&gateway, &format!("{request}{SMALL}")).await;
        assert!(client.response().await.body == TEXT.as_bytes(), "{version} {field:?}");
        assert!(client.rest().await.is_empty(), "{version} {field:?}");
        slow(&gateway, 0.0).await;
    }
    assert_nothing_is_held(&gateway).await;
}

/// RFC 9112 §9.6: a body that comes when its request was answered long since meets no reset, which would
/// overtake the answer.
#[tokio::test]
async fn a_body_that_comes_late_costs_no_answer() {
    let origin = Origin::always(Reply::ok("small")).await;
    // A config file may be a MiB.
    let text = "x".repeat(1_000_000);
    let fixed = format!(
        "[[route]]\nname = \"fixed\"\nmatch = {{ path = \"/fixed\" }}\nrespond = {{ body = \"{text}\" }}\n"
    );
    let gateway = Gateway::start(&(Gateway::config(origin.address, "", "") + &fixed));
    let mut client = Client::with_little_room(gateway.address).await;
    let fields = "host: test.example\r\ncontent-length: 4\r\n";
    client.write(format!("POST /fixed HTTP/1.1\r\n{fields}\r\n")).await;
    client.wait_for("HTTP/1.1 200").await;
    client.write(format!("body{SMALL}")).await;
    assert_eq!(client.response().await.body.len(), text.len());
    assert!(client.rest().await.is_empty());
    assert!(origin.asked().is_empty());
    assert_nothing_is_held(&gateway).await;
}

/// The log and the metrics know of the response until its end.
#[tokio::test]
async fn a_client_that_leaves_slowly_has_left() {
    let (_origin, gateway) = gateway("").await;
    let client = in_a_response(&gateway, LARGE).await;
    drop(client);
    let aborted = [("reason", "aborted")];
    gateway.wait_for("forebay_responses_incomplete_total", &aborted, |count| count == 1.0).await;
    slow(&gateway, 0.0).await;
    assert_nothing_is_held(&gateway).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_at_all_is_ended() {
    let (_origin, gateway) = gateway("write_timeout = \"1s\"").await;
    let mut client = in_a_response(&gateway, LARGE).await;
    slow(&gateway, 0.0).await;
    let aborted = [("reason", "aborted")];
    gateway.wait_for("forebay_responses_incomplete_total", &aborted, |count| count == 1.0).await;
    assert!(!client.response().await.complete);
    assert_nothing_is_held(&gateway).await;
}

/// What has begun is finished by a gateway that is told to end.
#[tokio::test]
async fn a_gateway_that_ends_writes_what_is_left() {
    let (_origin, mut gateway) = gateway("").await;
    let mut client = in_a_response(&gateway, LARGE).await;
    gateway.signal("TERM");
    gateway.wait_for_log("draining").await;
    let answer = client.response().await;
    assert!(answer.complete && answer.body == TEXT.as_bytes(), "the same bytes");
    assert!(client.rest().await.is_empty());
    assert_eq!(gateway.ended().await, Some(0));
}

/// The large response of a slow origin, whose last byte waits for the gate; in chunks of uneven sizes, or
/// with its length.
fn arriving(chunked: bool, last: &Gate) -> Reply {
    let reply = if chunked {
        let (mut chunks, mut left, mut size) = (Vec::new(), TEXT.as_str(), 1);
        while !left.is_empty() {
            let (chunk, rest) = left.split_at(size.min(left.len()));
            chunks.push(chunk);
            (left, size) = (rest, size % 100_000 * 7 + 1);
        }
        Reply::chunked(200, FRESH, &chunks)
    } else {
        Reply::new(200, FRESH, TEXT.as_str())
    };
    let bytes = reply.len();
    reply.pause_after(bytes - 1, last)
}

/// A gateway for which it has yet to arrive, if the origin sends `what` of it; and the gate.
async fn gateway_before(
    chunked: bool,
    what: impl Fn(Reply) -> Reply + Send + Sync + 'static,
) -> (Origin, Gateway, Gate) {
    let last = Gate::new();
    let gate = last.clone();
    let (origin, gateway) = before(move || what(arriving(chunked, &gate)), "").await;
    (origin, gateway, last)
}

async fn nearly_arrived(gateway: &Gateway) {
    let filling = [("use", "filling")];
    gateway.wait_for("forebay_memory_bytes", &filling, |bytes| bytes > LENGTH as f64 * 0.99).await;
}

/// Clients that wait for one response together: those who are slow cost as little as with a stored one, and
/// are given the same bytes.
#[tokio::test]
async fn a_response_that_arrives_while_it_is_taken_slowly_is_whole() {
    for chunked in [false, true] {
        let (origin, gateway, last) = gateway_before(chunked, |whole| whole).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Client::with_little_room(gateway.address).await;
            client.write(format!("{LARGE}{SMALL}")).await;
            clients.push(client);
        }
        nearly_arrived(&gateway).await;
        slow(&gateway, 3.0).await;
        // One that comes late, takes all there is, and asks for more while it waits for the last byte.
        let mut eager = Client::with_little_room(gateway.address).await;
        eager.write(LARGE).await;
        slow(&gateway, 4.0).await;
        let mut taken = all_but_the_last(&mut eager).await;
        eager.write(SMALL).await;
        last.open();
        for client in &mut clients {
            let answer = client.response().await;
            assert!(answer.complete && answer.body == TEXT.as_bytes(), "the same bytes");
            assert_eq!(client.response().await.text(), "small");
            client.write(SMALL).await;
            assert_eq!(client.response().await.text(), "small");
        }
        while !taken.ends_with(b"small") {
            taken.extend(eager.some().await);
        }
        assert_eq!(origin.asked().iter().filter(|asked| asked.request.target() == "/large").count(), 1);
        drop((clients, eager));
        assert_nothing_is_held(&gateway).await;
    }
}

/// Takes all of a response that has arrived.
async fn all_but_the_last(client: &mut Client) -> Vec<u8> {
    let mut taken = Vec::new();
    let near_the_end = &TEXT.as_bytes()[LENGTH - 40..LENGTH - 1];
    while !taken.windows(near_the_end.len()).rev().take(100).any(|bytes| bytes == near_the_end) {
        taken.extend(client.some().await);
    }
    taken
}

/// It is known to have left although there is nothing to write to it, and although others still wait.
#[tokio::test]
async fn a_client_that_leaves_before_the_origin_has_answered_has_left() {
    let (_origin, gateway, last) = gateway_before(false, |whole| whole).await;
    let mut leaves = Client::with_little_room(gateway.address).await;
    leaves.write(LARGE).await;
    let mut stays = Client::with_little_room(gateway.address).await;
    stays.write(LARGE).await;
    slow(&gateway, 2.0).await;
    all_but_the_last(&mut leaves).await;
    drop(leaves);
    slow(&gateway, 1.0).await;
    let aborted = [("reason", "aborted")];
    gateway.wait_for("forebay_responses_incomplete_total", &aborted, |count| count == 1.0).await;
    last.open();
    assert!(stays.response().await.body == TEXT.as_bytes(), "the same bytes");
    drop(stays);
    assert_nothing_is_held(&gateway).await;
}

/// RFC 9112 §8: what breaks at its end does not look whole.
#[tokio::test]
async fn a_response_that_breaks_while_it_is_taken_slowly_is_not_whole() {
    for chunked in [false, true] {
        let cut = |whole: Reply| {
            let bytes = whole.len();
            whole.cut_after(bytes - 1)
        };
        let (_origin, gateway, last) = gateway_before(chunked, cut).await;
        let mut client = Client::with_little_room(gateway.address).await;
        client.write(LARGE).await;
        slow(&gateway, 1.0).await;
        last.open();
        let answer = client.response().await;
        assert!(!answer.complete && TEXT.as_bytes().starts_with(&answer.body));
        slow(&gateway, 0.0).await;
        assert_nothing_is_held(&gateway).await;
    }
}
