//! What an upstream is asked beyond what its clients ask: retries, hedges and refreshes, within one budget.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Gateway, Origin, Reply, get, within};

/// Nothing else keeps requests from the origin: no limit is learnt, no endpoint left out.
const PLAIN: &str =
    "ejection = { consecutive_errors = 0, error_rate = 0.0 }\nconcurrency = { mode = \"off\" }";

/// A route of its own, beside the one of `Gateway::config`.
fn route(name: &str, rest: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}/{{*rest}}\" }}\nupstream = \"origin\"\n{rest}\n"
    )
}

fn retrying(origin: SocketAddr, retry: &str) -> Gateway {
    let route = format!("[route.cache]\nenabled = false\n[route.retry]\n{retry}");
    Gateway::start(&Gateway::config(origin, PLAIN, &route))
}

/// How many requests `per_second` allows in a time that began then, with a second begun at each end.
fn allowed(per_second: usize, begun: Instant) -> usize {
    per_second * (begun.elapsed().as_secs() as usize + 2)
}

/// By the defaults, and with every attempt that a route may ask for: the load rises by the floor alone.
#[tokio::test]
async fn at_a_failing_origin_the_load_rises_by_the_budget_and_not_by_attempts() {
    const CLIENTS: usize = 8;
    const EACH: usize = 25;
    for (what, reply, retry) in [
        ("defaults", Reply::new(503, &[], ""), ""),
        (
            "ten attempts",
            Reply::new(503, &[], ""),
            "attempts = 10\nbackoff = { base = \"1ms\", max = \"1ms\" }",
        ),
        (
            "resets",
            Reply::ok("lost").reset_after(0),
            "attempts = 10\nbackoff = { base = \"1ms\", max = \"1ms\" }",
        ),
    ] {
        let origin = Origin::always(reply).await;
        let gateway = retrying(origin.address, retry);
        let address = gateway.address;
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(async move {
                for _ in 0..EACH {
                    assert!(get(address, "/").await.status() >= 500);
                }
            });
        }
        clients.join_all().await;
        assert_eq!(origin.asked().len(), CLIENTS * EACH + 10, "{what}");
        gateway.at_rest().await;
    }
}

/// Over seconds, each of which has a floor of its own: an origin that answers nothing gets no more than one
/// of them in all. As it answers again, its failures get their retries again.
#[tokio::test]
async fn an_origin_that_answers_nothing_gets_its_floor_once() {
    let origin = Origin::start(|request, _| match request.target() {
        "/well" => Reply::ok("x"),
        _ => Reply::new(503, &[], ""),
    })
    .await;
    let retry = "attempts = 3\nbackoff = { base = \"1ms\", max = \"1ms\" }\n\
                 budget = { ratio = 0.2, min_per_second = 4 }";
    let gateway = retrying(origin.address, retry);
    let (begun, mut requests) = (Instant::now(), 0);
    while requests < 20 || begun.elapsed() < Duration::from_millis(2500) {
        assert_eq!(get(gateway.address, "/").await.status(), 503);
        requests += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(origin.asked().len(), requests + 4, "of {requests}");
    for _ in 0..2 {
        assert_eq!(get(gateway.address, "/well").await.status(), 200);
    }
    let before = origin.asked().len();
    assert_eq!(get(gateway.address, "/").await.status(), 503);
    assert_eq!(origin.asked().len(), before + 3, "a retry for each answer");
    gateway.at_rest().await;
}

/// Two routes of one upstream: what one spends, the other has no more.
#[tokio::test]
async fn routes_of_an_upstream_share_its_budget() {
    let origin = Origin::always(Reply::new(503, &[], "")).await;
    let retry = |floor: u32| {
        format!(
            "cache.enabled = false\nretry = {{ attempts = 5, backoff = {{ base = \"1ms\", max = \"1ms\" }}, \
                 budget = {{ ratio = 0.2, min_per_second = {floor} }} }}"
        )
    };
    let config =
        Gateway::config(origin.address, PLAIN, "") + &route("small", &retry(1)) + &route("large", &retry(4));
    let gateway = Gateway::start(&config);
    let mut requests = 0;
    while requests < 100 {
        for target in ["/large/a", "/small/a"] {
            assert_eq!(get(gateway.address, target).await.status(), 503);
            requests += 1;
        }
    }
    assert_eq!(origin.asked().len(), requests + 4, "of {requests}: the larger floor, not both");
    gateway.at_rest().await;
}

/// Entries that are served stale, of an origin that has begun to fail: their refreshes are paid from the
/// budget too. While the origin is well, they cost nothing. And when nothing is left for retries, they still
/// find out that it is well again.
#[tokio::test]
async fn background_refreshes_are_paid_from_the_budget_where_they_fail() {
    const KEYS: usize = 60;
    const STALE: (&str, &str) = ("cache-control", "max-age=0, stale-while-revalidate=600");
    let failing = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start({
        let failing = failing.clone();
        move |_, _| match failing.load(Ordering::SeqCst) {
            0 => Reply::new(200, &[STALE], "x"),
            1 => Reply::new(503, &[], ""),
            _ => Reply::new(200, &[STALE], "well again"),
        }
    })
    .await;
    let route = "cache = { stale_on_status = [503] }\n\
                 retry = { attempts = 3, budget = { ratio = 0.0, min_per_second = 2 } }";
    let gateway = Gateway::start(&Gateway::config(origin.address, PLAIN, route));
    let ask_all = async || {
        for key in 0..KEYS {
            assert_eq!(get(gateway.address, &format!("/{key}")).await.text(), "x", "stale is good enough");
        }
    };
    let refreshes = async |decision| {
        gateway.metrics().await.sum("forebay_cache_refreshes_total", &[("decision", decision)])
    };
    ask_all().await;
    // Each of these is a refresh that succeeds: far more of them than two a second.
    let begun = Instant::now();
    while origin.asked().len() < KEYS + 10 * allowed(2, begun).min(10) {
        ask_all().await;
    }
    gateway.at_rest().await;
    failing.store(1, Ordering::SeqCst);
    let (before, begun) = (origin.asked().len(), Instant::now());
    for _ in 0..5 {
        ask_all().await;
    }
    gateway.at_rest().await;
    let (asked, most) = (origin.asked().len() - before, allowed(2, begun));
    // Retries of refreshes are of the same budget.
    assert!(asked > 0 && asked <= most, "{asked}, at most {most}, of {}", 5 * KEYS);
    assert!(refreshes("budget").await > 0.0);
    failing.store(2, Ordering::SeqCst);
    within("a refresh", async {
        let mut key = 0;
        while get(gateway.address, &format!("/{key}")).await.text() != "well again" {
            key = (key + 1) % KEYS;
        }
    })
    .await;
    gateway.at_rest().await;
}

/// The draft's `RateLimit`, of which nothing is left: the retry waits for its reset, or is not made.
#[tokio::test]
async fn the_reset_of_the_origins_rate_limit_is_respected() {
    for fields in [
        &[("ratelimit", "\"all\";r=0;t=1")][..],
        &[("ratelimit", "limit=5, remaining=0, reset=1")],
        &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1")],
    ] {
        let times = Arc::new(Mutex::new(Vec::new()));
        let (exhausted, late) =
            (Reply::new(503, fields, ""), Reply::new(503, &[("ratelimit", "\"a\";r=0;t=900")], "late"));
        let origin = Origin::start({
            let times = times.clone();
            move |request, _| {
                let mut times = times.lock().unwrap();
                times.push(Instant::now());
                match (request.target(), times.len()) {
                    ("/late", _) => late.clone(),
                    (_, 1) => exhausted.clone(),
                    _ => Reply::ok("x"),
                }
            }
        })
        .await;
        let gateway = retrying(origin.address, "attempts = 3");
        assert_eq!(get(gateway.address, "/").await.text(), "x", "{fields:?}");
        let waited = {
            let times = times.lock().unwrap();
            times[1] - times[0]
        };
        assert!(waited >= Duration::from_secs(1), "{fields:?}: {waited:?}");
        // A quarter of an hour is more than the request has.
        assert_eq!(get(gateway.address, "/late").await.text(), "late");
        assert_eq!(origin.asked().len(), 3, "{fields:?}");
        gateway.at_rest().await;
    }
}

/// The second attempt goes to the endpoint that has not failed.
#[tokio::test]
async fn another_endpoint_is_tried_first() {
    let (bad, good) = (Origin::always(Reply::new(503, &[], "")).await, Origin::always(Reply::ok("x")).await);
    let config = Gateway::config(good.address, PLAIN, "cache.enabled = false\nretry = { attempts = 2 }")
        .replace(
            "endpoints = [",
            &format!("balance = \"round_robin\"\nendpoints = [\"http://{}\", ", bad.address),
        );
    let gateway = Gateway::start(&config);
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").await.text(), "x");
    }
    assert_eq!((bad.asked().len(), good.asked().len()), (5, 10));
    gateway.at_rest().await;
}
