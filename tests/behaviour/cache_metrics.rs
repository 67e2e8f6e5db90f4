//! What the metrics say of the cache: each count is of something that a client or an origin can tell.

use std::time::Duration;

use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

const REQUESTS: &str = "forebay_cache_requests_total";
const EVICTIONS: &str = "forebay_cache_evictions_total";
const ROUTE: (&str, &str) = ("route", "all");

/// An origin whose answers are as the path says: `/max-age=60` and so on; a second part after a slash tells
/// paths apart. `/broken...` fails from the second time on.
async fn literal() -> Origin {
    Origin::start(|request, count| {
        let said = request.target().split('/').nth(1).unwrap();
        match said.strip_prefix("broken,") {
            Some(_) if count > 0 => Reply::new(503, &[], "broken"),
            Some(said) => Reply::new(200, &[("cache-control", said)], "x"),
            None => {
                let fields = [("cache-control", said), ("vary", "x-v"), ("surrogate-key", "t")];
                Reply::new(200, &fields, "0123456789")
            }
        }
    })
    .await
}

#[tokio::test]
async fn requests_are_counted_by_result_and_reason() {
    let origin = literal().await;
    let gateway = Gateway::before(origin.address, "").await;
    for (method, target, fields, result, reason) in [
        ("GET", "/max-age=60", &[][..], "miss", "uri-miss"),
        ("GET", "/max-age=60", &[], "hit", "fresh"),
        ("HEAD", "/max-age=60", &[], "hit", "fresh"),
        ("GET", "/max-age=60", &[("range", "bytes=0-1")], "hit", "fresh"),
        ("GET", "/max-age=60", &[("x-v", "1")], "miss", "vary-miss"),
        ("GET", "/max-age=60", &[("cache-control", "no-cache")], "miss", "request"),
        ("GET", "/max-age=0,stale-while-revalidate=60", &[], "miss", "uri-miss"),
        ("GET", "/max-age=0,stale-while-revalidate=60", &[], "stale", "stale-while-revalidate"),
        ("GET", "/no-store", &[], "miss", "uri-miss"),
        ("GET", "/no-store", &[], "miss", "uri-miss"),
        ("GET", "/unknown", &[("cache-control", "only-if-cached")], "refused", "only-if-cached"),
        ("POST", "/max-age=60", &[("content-length", "0")], "pass", "method"),
    ] {
        let labels = [ROUTE, ("result", result), ("reason", reason)];
        let before = gateway.metrics().await;
        ask(gateway.address, method, target, fields).await;
        let after = gateway.metrics().await;
        let case = format!("{method} {target} {fields:?}");
        assert_eq!(after.sum(REQUESTS, &labels), before.sum(REQUESTS, &labels) + 1.0, "{case}");
        assert_eq!(after.sum(REQUESTS, &[]), before.sum(REQUESTS, &[]) + 1.0, "{case}: and nowhere else");
    }
    gateway.at_rest().await;
}

/// RFC 5861 §4, and admission that refuses.
#[tokio::test]
async fn stale_answers_are_counted_by_the_trouble_they_hide() {
    let origin = literal().await;
    let gateway = Gateway::before(origin.address, "").await;
    let target = "/broken,max-age=0,stale-if-error=60";
    get(gateway.address, target).await;
    assert_eq!(get(gateway.address, target).await.text(), "x");
    let labels = [ROUTE, ("result", "stale"), ("reason", "stale-if-error")];
    assert_eq!(gateway.metrics().await.sum(REQUESTS, &labels), 1.0);

    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| {
            let reply = Reply::new(200, &[("cache-control", "max-age=1")], "x");
            if request.target() == "/slow" { reply.after(&gate) } else { reply }
        }
    })
    .await;
    let upstream = "[upstream.origin.concurrency]\nmode = \"fixed\"\nlimit = 1\nqueue = 0";
    let gateway = Gateway::start(&Gateway::config(origin.address, upstream, ""));
    get(gateway.address, "/a").await;
    let mut slow = Client::connect(gateway.address).await;
    slow.write("GET /slow HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
    origin.wait_for(2).await;
    let labels = [ROUTE, ("result", "stale"), ("reason", "stale-on-overload")];
    // It is fresh for a second yet.
    while gateway.metrics().await.sum(REQUESTS, &labels) == 0.0 {
        assert_eq!(get(gateway.address, "/a").await.text(), "x");
    }
    gate.open();
    slow.response().await;
    gateway.at_rest().await;
}

#[tokio::test]
async fn followers_and_what_the_origin_was_spared_are_counted() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |_, _| Reply::new(200, &[("cache-control", "max-age=60")], "0123456789").after(&gate)
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(gateway.address).await;
        client.write("GET /a HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
        clients.push(client);
    }
    gateway.wait_for("forebay_cache_collapse_decisions_total", &[("decision", "yes")], |n| n == 5.0).await;
    assert_eq!(gateway.metrics().await.sum("forebay_cache_fills", &[ROUTE]), 1.0);
    let waited = std::time::Instant::now();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let at_least = waited.elapsed().as_secs_f64();
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "0123456789");
    }
    gateway.at_rest().await;
    for _ in 0..10 {
        get(gateway.address, "/a").await;
    }
    let metrics = gateway.metrics().await;
    let of = |name: &str| metrics.sum(&format!("forebay_cache_{name}"), &[ROUTE]);
    assert_eq!(of("collapsed_total"), 4.0);
    assert_eq!((of("stored_total"), of("stored_bytes_total")), (1.0, 10.0));
    assert_eq!((of("origin_seconds_count"), of("fill_seconds_count")), (1.0, 1.0));
    let (origin_time, fill_time) = (of("origin_seconds_sum"), of("fill_seconds_sum"));
    assert!(origin_time >= at_least && fill_time >= origin_time, "{at_least} {origin_time} {fill_time}");
    // Ten hits spared it ten times that, in whole milliseconds.
    let saved = of("origin_seconds_saved_total");
    assert!((saved - 10.0 * fill_time).abs() <= 0.010, "{saved} {fill_time}");
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn what_is_stored_is_a_gauge_and_what_leaves_is_counted_by_reason() {
    let origin = literal().await;
    let config = Gateway::config(origin.address, "", "[route.cache]\nmax_variants = 2");
    let gateway = Gateway::start(&format!("[cache]\nmemory = \"20KiB\"\nmax_object = \"10KiB\"\n{config}"));
    let left = async |reason: &str| gateway.metrics().await.sum(EVICTIONS, &[("reason", reason)]);
    let gauges = async || {
        let metrics = gateway.metrics().await;
        (metrics.sum("forebay_cache_entries", &[]), metrics.sum("forebay_cache_bytes", &[]))
    };
    assert_eq!(gauges().await, (0.0, 0.0));
    get(gateway.address, "/max-age=60").await;
    let (entries, bytes) = gauges().await;
    assert!(entries == 1.0 && (100.0..2000.0).contains(&bytes), "{entries} {bytes}");

    ask(gateway.address, "GET", "/max-age=60", &[("cache-control", "no-cache")]).await;
    assert_eq!(left("replaced").await, 1.0);
    for version in ["1", "2"] {
        ask(gateway.address, "GET", "/max-age=60", &[("x-v", version)]).await;
    }
    assert_eq!(left("variants").await, 1.0);
    assert_eq!(gauges().await.0, 2.0);

    // RFC 9111 §4.4: both variants.
    ask(gateway.address, "DELETE", "/max-age=60", &[]).await;
    assert_eq!(left("purged").await, 2.0);
    assert_eq!(gauges().await.0, 0.0);

    assert_eq!((left("size").await, left("expired").await), (0.0, 0.0));
    for number in 0..100 {
        get(gateway.address, &format!("/max-age=60/{number}")).await;
    }
    gateway.wait_for(EVICTIONS, &[("reason", "size")], |count| count > 50.0).await;
    gateway.wait_for("forebay_cache_bytes", &[], |bytes| bytes <= 1.1 * 20.0 * 1024.0).await;
    assert_eq!(left("expired").await, 0.0);
    gateway.at_rest().await;
}

/// `cache.eviction`: what its origin took long for counts for more, unless popularity alone is to decide.
#[tokio::test]
async fn what_is_expensive_is_counted_where_it_counts() {
    let origin = Origin::start(|request, _| {
        let late = if request.target() == "/slow" { 600 } else { 0 };
        Reply::new(200, &[("cache-control", "max-age=60")], "x").late(Duration::from_millis(late))
    })
    .await;
    let config = Gateway::config(origin.address, "", "");
    for (eviction, costly) in [("", 1.0), ("eviction = \"cost\"", 1.0), ("eviction = \"popularity\"", 0.0)] {
        let gateway = Gateway::start(&format!("{config}\n[cache]\n{eviction}\n"));
        for number in 0..6 {
            get(gateway.address, &format!("/{number}")).await;
        }
        let before = gateway.metrics().await.sum("forebay_cache_costly_total", &[]);
        get(gateway.address, "/slow").await;
        let after = gateway.metrics().await.sum("forebay_cache_costly_total", &[]);
        assert_eq!(after - before, costly, "{eviction}");
    }
}
