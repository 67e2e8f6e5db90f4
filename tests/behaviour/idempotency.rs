//! Requests with an idempotency key take effect once, however often they are sent
//! (draft-ietf-httpapi-idempotency-key-header).

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, get};

async fn gateway(origin: SocketAddr, more: &str) -> Gateway {
    Gateway::before(origin, &format!("[route.idempotency]\n{more}")).await
}

/// A POST with these fields and this body.
fn post(target: &str, fields: &[(&str, &str)], body: &str) -> String {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("POST {target} HTTP/1.1\r\nhost: a\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

async fn send(address: SocketAddr, fields: &[(&str, &str)], body: &str) -> Message {
    let mut client = Client::connect(address).await;
    client.write(post("/", fields, body)).await;
    client.response().await
}

/// An origin that says how often it was asked.
async fn counting(status: u16) -> Origin {
    Origin::start(move |_, count| {
        Reply::new(status, &[("x-made", "yes"), ("set-cookie", "a=b")], format!("effect {count}"))
    })
    .await
}

const KEY: (&str, &str) = ("idempotency-key", "\"one\"");

#[tokio::test]
async fn a_duplicate_gets_the_stored_answer() {
    let origin = counting(201).await;
    let gateway = gateway(origin.address, "").await;
    let first = send(gateway.address, &[KEY], "x").await;
    assert_eq!((first.status(), first.text()), (201, "effect 0"));
    assert_eq!(first.field("idempotent-replayed"), None);
    for key in [KEY, ("idempotency-key", "one")] {
        let again = send(gateway.address, &[key], "x").await;
        assert_eq!((again.status(), again.text()), (201, "effect 0"));
        assert_eq!((again.field("x-made"), again.field("set-cookie")), (Some("yes"), Some("a=b")));
        assert_eq!(again.field("idempotent-replayed"), Some("true"));
    }
    assert_eq!(send(gateway.address, &[("idempotency-key", "two")], "x").await.text(), "effect 1");
    assert_eq!(send(gateway.address, &[], "x").await.text(), "effect 2", "no key, no word");
    assert_eq!(origin.asked().len(), 3);
    let metrics = gateway.metrics().await;
    for (result, count) in [("first", 2.0), ("replayed", 2.0)] {
        assert_eq!(metrics.sum("forebay_idempotency_total", &[("result", result)]), count, "{result}");
    }
    gateway.at_rest().await;
}

/// §2.7 of the draft: 400 for a key that is missing, 422 for one that stands for another request.
#[tokio::test]
async fn mistakes_are_told() {
    let origin = counting(200).await;
    let gateway = gateway(origin.address, "required = true\nmax_request = \"10B\"").await;
    assert_eq!(send(gateway.address, &[KEY], "x").await.status(), 200);
    for (fields, body, status, reason) in [
        (&[][..], "x", 400, "no_idempotency_key"),
        (&[("idempotency-key", "\"x")], "x", 400, "bad_idempotency_key"),
        (&[KEY, KEY], "x", 400, "bad_idempotency_key"),
        (&[KEY], "y", 422, "idempotency_key_reused"),
        (&[KEY, ("content-type", "a/b")], "x", 422, "idempotency_key_reused"),
        (&[("idempotency-key", "two")], "12345678901", 413, "request_body_too_large"),
    ] {
        let answer = send(gateway.address, fields, body).await;
        assert_eq!(
            (answer.status(), answer.field("content-type")),
            (status, Some("application/problem+json"))
        );
        assert!(answer.text().contains(&format!("\"reason\":\"{reason}\"")), "{}", answer.text());
    }
    let mut elsewhere = Client::connect(gateway.address).await;
    elsewhere.write(post("/other", &[KEY], "x")).await;
    assert_eq!(elsewhere.response().await.status(), 422);
    assert_eq!(get(gateway.address, "/").await.status(), 200, "only what has an effect needs one");
    assert_eq!(origin.asked().len(), 2);
    gateway.at_rest().await;
}

#[tokio::test]
async fn clients_never_meet() {
    let origin = counting(200).await;
    let gateway = gateway(origin.address, "").await;
    for (count, fields) in [
        &[KEY][..],
        &[KEY, ("authorization", "Bearer a")],
        &[KEY, ("authorization", "Bearer b")],
        &[KEY, ("cookie", "session=a")],
    ]
    .iter()
    .enumerate()
    {
        for _ in 0..2 {
            assert_eq!(send(gateway.address, fields, "x").await.text(), format!("effect {count}"));
        }
    }
    gateway.at_rest().await;
}

#[tokio::test]
async fn concurrent_duplicates_wait_for_the_one_result() {
    for reply in [Reply::ok("done"), Reply::chunked(200, &[], &["do", "ne"]), Reply::new(500, &[], "done")] {
        let gate = Gate::new();
        let origin = Origin::always(reply.after(&gate)).await;
        let gateway = gateway(origin.address, "").await;
        let address = gateway.address;
        let clients: Vec<_> =
            (0..8).map(|_| tokio::spawn(async move { send(address, &[KEY], "x").await })).collect();
        gateway.wait_for("forebay_idempotency_total", &[("result", "waited")], |now| now == 7.0).await;
        gate.open();
        for client in clients {
            assert_eq!(client.await.unwrap().text(), "done");
        }
        assert_eq!(origin.asked().len(), 1);
        gateway.at_rest().await;
    }
}

/// The reason for all of it: a client that gave up asks again, and hears what became of its request.
#[tokio::test]
async fn a_client_that_left_finds_its_answer() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("done").after(&gate)).await;
    let gateway = gateway(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write(post("/", &[KEY], "x")).await;
    origin.wait_for(1).await;
    drop(client);
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 0.0).await;
    let address = gateway.address;
    let again = tokio::spawn(async move { send(address, &[KEY], "x").await });
    gateway.wait_for("forebay_idempotency_total", &[("result", "waited")], |now| now == 1.0).await;
    gate.open();
    assert_eq!(again.await.unwrap().text(), "done");
    assert_eq!(origin.asked().len(), 1);
    gateway.at_rest().await;
}

#[tokio::test]
async fn what_failed_is_not_kept() {
    for (what, failure, status) in [
        ("5xx", Reply::new(503, &[], "no"), 503),
        ("put off", Reply::new(429, &[], "no"), 429),
        ("reset", Reply::ok("no").reset_after(0), 502),
        ("cut", Reply::ok("0123456789").cut_after(Reply::ok("0123456789").len() - 5), 200),
    ] {
        let origin =
            Origin::start(move |_, count| if count == 0 { failure.clone() } else { Reply::ok("yes") }).await;
        let gateway = gateway(origin.address, "").await;
        let failed = send(gateway.address, &[KEY], "x").await;
        // Where the body breaks at once, the connection may end before the head.
        assert!(failed.status() == status || what == "cut", "{what}: {failed:?}");
        assert_eq!(failed.complete, what != "cut", "{what}");
        assert_eq!(send(gateway.address, &[KEY], "x").await.text(), "yes", "{what}");
        assert_eq!(origin.asked().len(), 2, "{what}");
        gateway.at_rest().await;
    }
}

/// It has happened: it is not done twice because its answer was too large to keep.
#[tokio::test]
async fn an_answer_too_large_to_keep_is_no_excuse() {
    let large = "x".repeat(300_000);
    for reply in [Reply::ok(&large), Reply::chunked(200, &[], &[&large[..100_000], &large[..200_000]])] {
        let origin = Origin::always(reply).await;
        let gateway = gateway(origin.address, "max_response = \"64KiB\"").await;
        let first = send(gateway.address, &[KEY], "x").await;
        assert_eq!((first.body.len(), first.complete), (300_000, true));
        let again = send(gateway.address, &[KEY], "x").await;
        assert_eq!(again.status(), 409, "{again:?}");
        assert_eq!(origin.asked().len(), 1);
        gateway.at_rest().await;
    }
}

#[tokio::test]
async fn answers_are_kept_for_their_time() {
    let origin = counting(200).await;
    let gateway = gateway(origin.address, "ttl = \"200ms\"").await;
    assert_eq!(send(gateway.address, &[KEY], "x").await.text(), "effect 0");
    crate::support::within("the end of its time", async {
        while send(gateway.address, &[KEY], "x").await.text() == "effect 0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    gateway.at_rest().await;
}

/// Only if the config says so is a POST with a key sent to the origin again.
#[tokio::test]
async fn retries_are_the_operators_to_allow() {
    for (more, fields, status, asked) in
        [("retry = true", &[KEY][..], 200, 2), ("retry = true", &[], 503, 1), ("", &[KEY], 503, 1)]
    {
        let origin =
            Origin::start(|_, count| if count == 0 { Reply::new(503, &[], "") } else { Reply::ok("x") })
                .await;
        let gateway = gateway(origin.address, more).await;
        assert_eq!(send(gateway.address, fields, "hello").await.status(), status, "{more} {fields:?}");
        let seen = origin.asked();
        assert_eq!(seen.len(), asked, "{more} {fields:?}");
        assert!(seen.iter().all(|asked| asked.request.text() == "hello"));
        gateway.at_rest().await;
    }
}
