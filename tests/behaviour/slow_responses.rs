//! Clients that take their time over a stored response: they cost little, and miss nothing of it.

use super::limits::assert_nothing_is_held;
use crate::support::{Client, Gateway, Origin, Reply, get};

const GAUGE: &str = "forebay_connections_in_slow_response";

/// More than the kernel's buffers of both sides take.
const LENGTH: usize = 12 << 20;

async fn slow(gateway: &Gateway, count: f64) {
    gateway.wait_for(GAUGE, &[], |now| now == count).await;
}

/// Each byte says where it is.
fn body() -> Vec<u8> {
    (0..LENGTH as u32 / 4).flat_map(u32::to_be_bytes).collect()
}

/// A gateway that has stored it as `/large`, and asks for `/small` every time.
async fn gateway(server: &str) -> (Origin, Gateway) {
    let origin = Origin::start(|request, _| match request.target() {
        "/large" => Reply::new(200, &[("cache-control", "max-age=600")], body()),
        _ => Reply::ok("small"),
    })
    .await;
    let config = Gateway::config(origin.address, "", "[route.cache]\nenabled = true\n")
        .replace("[server]\n", &format!("[cache]\nmax_object = \"16MiB\"\n[server]\n{server}\n"));
    let gateway = Gateway::start(&config);
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
    assert!(first.body == body(), "the same bytes");
    slow(&gateway, 0.0).await;
    assert_eq!(client.response().await.text(), "small");
    client.write(SMALL).await;
    assert_eq!(client.response().await.text(), "small");
    // Slow again, and at once.
    client.write(LARGE).await;
    slow(&gateway, 1.0).await;
    assert!(client.response().await.body == body(), "the same bytes");
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
        assert!(client.response().await.body == body(), "{version} {field:?}");
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
    assert!(answer.complete && answer.body == body(), "the same bytes");
    assert!(client.rest().await.is_empty());
    assert_eq!(gateway.ended().await, Some(0));
}
