//! The whole way of a request through the real program: a first look at each thing the gateway is for.

use crate::support::{Client, Gate, Gateway, Origin, Reply, get};

#[tokio::test]
async fn a_request_goes_through_and_back() {
    let origin = Origin::start(|request, _| Reply::new(201, &[("x-origin", "yes")], &request.body)).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client
        .write("POST /a/b?c=d HTTP/1.1\r\nhost: Test.Example\r\nx-mine: 1\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text()), (201, "hello"));
    assert_eq!(response.field("x-origin"), Some("yes"));
    let asked = &origin.asked()[0].request;
    assert_eq!(asked.start, "POST /a/b?c=d HTTP/1.1");
    assert_eq!(asked.all("host"), ["test.example"]);
    assert_eq!(asked.field("x-mine"), Some("1"));
    assert!(asked.field("x-forwarded-for").is_some());
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::always(Reply::ok("x")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 200);
    }
    let asked = origin.wait_for(3).await;
    assert!(asked.iter().all(|asked| asked.connection == 0), "one upstream connection serves one client");
}

/// RFC 9111 §4: what is fresh is not asked for again.
#[tokio::test]
async fn what_is_fresh_is_served_from_the_store() {
    let fresh = [("cache-control", "max-age=60")];
    let origin = Origin::start(move |_, count| Reply::new(200, &fresh, format!("answer {count}"))).await;
    let gateway = Gateway::before(origin.address, "[route.cache]\nenabled = true").await;
    let first = get(gateway.address, "/item").await;
    assert_eq!((first.status(), first.text()), (200, "answer 0"));
    let second = get(gateway.address, "/item").await;
    assert_eq!(second.text(), "answer 0");
    assert!(second.field("age").is_some(), "RFC 9111 §5.1");
    assert!(second.field("cache-status").is_some_and(|status| status.contains("hit")), "RFC 9211 §2.1");
    assert_eq!(origin.asked().len(), 1);
}

/// One fill serves everyone who waits for it.
#[tokio::test]
async fn requests_for_the_same_thing_are_collapsed() {
    let gate = Gate::new();
    let reply = Reply::new(200, &[("cache-control", "max-age=60")], "slow").after(&gate);
    let origin = Origin::always(reply).await;
    let gateway = Gateway::before(origin.address, "[route.cache]\nenabled = true").await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        clients.spawn(get(gateway.address, "/slow"));
    }
    origin.wait_for(1).await;
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now >= 10.0).await;
    gate.open();
    while let Some(response) = clients.join_next().await {
        assert_eq!(response.unwrap().text(), "slow");
    }
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn a_failure_is_retried_and_counted() {
    let origin = Origin::start(|_, count| match count {
        0 => Reply::new(503, &[], "try again"),
        1 => Reply::ok("lost").reset_after(10),
        _ => Reply::ok("third time"),
    })
    .await;
    let gateway = Gateway::before(origin.address, "[route.retry]\nattempts = 3").await;
    let response = get(gateway.address, "/").await;
    assert_eq!((response.status(), response.text()), (200, "third time"));
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_retries_total", &[("reason", "status")]), 1.0);
    assert_eq!(metrics.sum("forebay_retries_total", &[("reason", "reset")]), 1.0);
}

/// RFC 9110 §9.2.2: what may have had an effect is not done again.
#[tokio::test]
async fn a_post_is_not_sent_twice() {
    let origin = Origin::always(Reply::ok("lost").reset_after(0)).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write("POST /pay HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await;
    let response = client.response().await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn a_slow_origin_meets_the_deadline() {
    let origin = Origin::always(Reply::ok("never").stall_after(0)).await;
    let gateway = Gateway::before(origin.address, "timeout = \"300ms\"").await;
    assert_eq!(get(gateway.address, "/").await.status(), 504);
}

/// RFC 9112 §8: a message that was cut short must not look complete, nor be stored.
#[tokio::test]
async fn a_cut_answer_is_cut_for_the_client_and_not_stored() {
    let whole = Reply::new(200, &[("cache-control", "max-age=60")], "0123456789");
    let origin = Origin::start(move |_, count| match count {
        0 => whole.clone().cut_after(whole.len() - 3),
        _ => whole.clone(),
    })
    .await;
    let gateway = Gateway::before(origin.address, "[route.cache]\nenabled = true").await;
    let cut = get(gateway.address, "/").await;
    assert!(!cut.complete || cut.status() == 502, "{cut:?}");
    assert_eq!(get(gateway.address, "/").await.text(), "0123456789");
    assert_eq!(origin.asked().len(), 2);
}

/// The first signal drains, and a request under way is answered.
#[tokio::test]
async fn a_request_under_way_survives_the_drain() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("last").after(&gate)).await;
    let mut gateway = Gateway::before(origin.address, "").await;
    let request = tokio::spawn(get(gateway.address, "/"));
    origin.wait_for(1).await;
    gateway.signal("TERM");
    gate.open();
    assert_eq!(request.await.unwrap().text(), "last");
    assert_eq!(gateway.ended().await, Some(0));
}

/// Bytes go on as they come: the client has the first chunk while the origin holds the second back.
#[tokio::test]
async fn a_body_streams() {
    let gate = Gate::new();
    let whole = Reply::chunked(200, &[], &["first", "second"]);
    let first = whole.len() - "6\r\nsecond\r\n0\r\n\r\n".len();
    let origin = Origin::always(whole.pause_after(first, &gate)).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.wait_for("first").await;
    gate.open();
    assert_eq!(client.response().await.text(), "firstsecond");
}

/// RFC 9110 §9.3.2: HEAD is answered like GET, without the content.
#[tokio::test]
async fn head_has_no_body() {
    let origin = Origin::start(|request, _| match request.method() {
        "HEAD" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        _ => Reply::ok("hello"),
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    client.write("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head_response().await.field("content-length"), Some("5"));
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "hello");
}

/// A new config is taken over while connections stay; a broken one changes nothing.
#[tokio::test]
async fn a_config_is_reloaded() {
    let (old, new) = (Origin::always(Reply::ok("old")).await, Origin::always(Reply::ok("new")).await);
    let gateway = Gateway::before(old.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    let mut ask = async || {
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.response().await.text().to_owned()
    };
    assert_eq!(ask().await, "old");
    gateway.rewrite("[[route]]\nupstraem = 1\n");
    gateway.signal("HUP");
    gateway.wait_for("forebay_reloads_total", &[], |count| count > 0.0).await;
    assert_eq!(ask().await, "old");
    gateway.rewrite(&Gateway::config(new.address, "", ""));
    gateway.signal("HUP");
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count > 0.0).await;
    assert_eq!(ask().await, "new");
}
