//! The origin fails at every point of its answer in turn: after each, the client has one well-formed answer
//! or a clean cut, nothing partial is stored, and nothing is left held.

mod cache;
mod matrix;
mod matrix_client;
mod matrix_connect;
mod matrix_http2;
mod matrix_origin;
mod matrix_reuse;
mod places;

use crate::support::{Gateway, Origin, Reply, get};

/// Asks for a path of its own a fault, then again: the second answer is whole, so nothing partial was stored.
async fn break_everywhere(whole: Reply, body: &'static str, fault: fn(Reply, usize) -> Reply) {
    let length = whole.len();
    let origin = Origin::start({
        let whole = whole.clone();
        move |request, _| {
            let (path, after) = request.target().rsplit_once('/').unwrap();
            if path == "/broken" { fault(whole.clone(), after.parse().unwrap()) } else { whole.clone() }
        }
    })
    .await;
    // Without retries a fault is seen, not made good; without ejection the origin is asked every time.
    let config = Gateway::config(
        origin.address,
        "ejection = { consecutive_errors = 0, error_rate = 0.0 }",
        "[route.retry]\nattempts = 1\n[route.cache]\nenabled = true",
    );
    let gateway = Gateway::start(&config);
    for after in 0..length {
        let answer = get(gateway.address, &format!("/broken/{after}")).await;
        let whole = answer.complete && answer.status() == 200 && answer.text() == body;
        // RFC 9112 §8: what the origin did not finish must not look finished.
        let clean = answer.status() == 502 || !answer.complete;
        assert!(clean && !whole, "after {after} of {length} bytes: {answer:?}");
    }
    let asked = origin.asked().len();
    for after in 0..length {
        get(gateway.address, &format!("/broken/{after}")).await;
    }
    assert_eq!(origin.asked().len(), 2 * asked, "a partial answer was stored");
    assert_eq!(get(gateway.address, "/whole/0").await.text(), body);
    gateway.at_rest().await;
}

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

#[tokio::test]
async fn a_counted_answer_is_closed_after_every_byte() {
    break_everywhere(Reply::new(200, &FRESH, "0123456789"), "0123456789", Reply::cut_after).await;
}

#[tokio::test]
async fn a_counted_answer_is_reset_after_every_byte() {
    break_everywhere(Reply::new(200, &FRESH, "0123456789"), "0123456789", Reply::reset_after).await;
}

#[tokio::test]
async fn a_chunked_answer_is_closed_after_every_byte() {
    let whole = Reply::chunked(200, &FRESH, &["012", "3456789"]);
    break_everywhere(whole, "0123456789", Reply::cut_after).await;
}

#[tokio::test]
async fn a_chunked_answer_is_reset_after_every_byte() {
    let whole = Reply::chunked(200, &FRESH, &["012", "3456789"]);
    break_everywhere(whole, "0123456789", Reply::reset_after).await;
}

/// A connection the origin closes after its answer is not used for the next request.
#[tokio::test]
async fn a_connection_that_was_closed_is_not_used_again() {
    let origin = Origin::start(|_, _| Reply::new(200, &[("connection", "close")], "bye").then_close()).await;
    let gateway = Gateway::before(origin.address, "[route.retry]\nattempts = 1").await;
    for count in 1..=5 {
        let answer = get(gateway.address, "/").await;
        assert_eq!((answer.status(), answer.text()), (200, "bye"));
        let last = origin.wait_for(count).await.pop().unwrap();
        assert_eq!(last.connection, count - 1);
    }
}

/// Nobody listens: 502 (or 503 where the endpoint is known to be out), at once and in good form.
#[tokio::test]
async fn an_origin_that_is_not_there() {
    let gone = Origin::always(Reply::default()).await;
    let address = gone.address;
    drop(gone);
    let gateway = Gateway::before(address, "").await;
    for _ in 0..20 {
        let answer = get(gateway.address, "/").await;
        assert!([502, 503].contains(&answer.status()) && answer.complete, "{answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    }
    gateway.at_rest().await;
}
