//! What becomes of an endpoint that fails its requests: its share, its way out, and its way back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Gateway, Origin, Reply, get};

/// One route to these origins, without a cache.
pub fn config(origins: &[SocketAddr], upstream: &str, route: &str) -> String {
    let [first, others @ ..] = origins else { panic!("no origin") };
    let others: String = others.iter().map(|other| format!(", \"http://{other}\"")).collect();
    let route = format!("[route.cache]\nenabled = false\n{route}");
    let config = Gateway::config(*first, upstream, &route);
    config.replace(&format!("[\"http://{first}\"]"), &format!("[\"http://{first}\"{others}]"))
}

/// An origin that fails while the flag is up.
async fn flapping(failing: &Arc<AtomicBool>) -> Origin {
    let failing = failing.clone();
    Origin::start(
        move |_, _| {
            if failing.load(Ordering::SeqCst) { Reply::new(503, &[], "") } else { Reply::ok("x") }
        },
    )
    .await
}

async fn ejections(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metrics().await.sum("forebay_upstream_ejections_total", &[("reason", reason)])
}

/// One of three fails at once whatever it is asked: it attracts nothing, and clients see nothing of it.
#[tokio::test]
async fn an_endpoint_that_fails_fast_attracts_nothing() {
    const CLIENTS: usize = 5;
    const REQUESTS: usize = 200;
    for (balance, failure) in [
        ("p2c", Reply::new(503, &[], "")),
        ("p2c", Reply::ok("lost").reset_after(0)),
        ("round_robin", Reply::new(502, &[], "")),
        ("least_requests", Reply::new(504, &[], "")),
    ] {
        let bad = Origin::always(failure).await;
        let (good, better) = (Origin::always(Reply::ok("x")).await, Origin::always(Reply::ok("x")).await);
        let origins = [bad.address, good.address, better.address];
        let gateway = Gateway::start(&config(&origins, &format!("balance = \"{balance}\""), ""));
        let address = gateway.address;
        let client = move || async move {
            let mut failed = Vec::new();
            for _ in 0..REQUESTS {
                let answer = get(address, "/").await;
                if answer.status() != 200 {
                    failed.push(answer);
                }
            }
            failed
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(client())).collect();
        let mut failed = Vec::new();
        for client in clients {
            failed.extend(client.await.unwrap());
        }
        let requests = CLIENTS * REQUESTS;
        assert!(failed.len() * 1000 <= requests, "{balance}: {failed:?} of {requests}");
        // Five in a row, those that were under way by then, and a trial each ten seconds.
        let asked = bad.asked().len();
        assert!((1..=5 + CLIENTS + 10).contains(&asked), "{balance}: {asked}");
        gateway.at_rest().await;
    }
}

/// After its time an endpoint gets one request; if that fails it is out for longer.
#[tokio::test]
async fn an_ejected_endpoint_comes_back_on_trial() {
    let failing = Arc::new(AtomicBool::new(true));
    let (bad, good) = (flapping(&failing).await, Origin::always(Reply::ok("x")).await);
    let upstream = "balance = \"round_robin\"\nslow_start = \"0s\"\n\
                    ejection = { consecutive_errors = 3, error_rate = 0.0, base = \"20ms\", max = \"100ms\" }";
    let gateway = Gateway::start(&config(&[bad.address, good.address], upstream, ""));
    while ejections(&gateway, "trial").await < 4.0 {
        assert_eq!(get(gateway.address, "/").await.status(), 200);
    }
    let (out, trials) = (ejections(&gateway, "consecutive_errors").await, ejections(&gateway, "trial").await);
    assert_eq!(out, 1.0);
    assert_eq!(bad.asked().len() as f64, 3.0 + trials, "one request a trial");
    failing.store(false, Ordering::SeqCst);
    let healed = bad.asked().len();
    while bad.asked().len() < healed + 20 {
        assert_eq!(get(gateway.address, "/").await.status(), 200);
    }
    // In again, it takes its turn: every second request is its.
    let (before, others) = (bad.asked().len(), good.asked().len());
    for _ in 0..20 {
        get(gateway.address, "/").await;
    }
    assert_eq!((bad.asked().len() - before, good.asked().len() - others), (10, 10));
    assert!(ejections(&gateway, "trial").await <= trials + 1.0);
    gateway.at_rest().await;
}

/// When every endpoint is out, every one is asked, and the operator learns it once.
#[tokio::test]
async fn when_all_are_ejected_all_are_asked() {
    let failing = Arc::new(AtomicBool::new(true));
    let (one, two) = (flapping(&failing).await, flapping(&failing).await);
    let upstream = "balance = \"round_robin\"\n\
                    ejection = { consecutive_errors = 2, base = \"1h\", max = \"1h\", max_ejected = 1.0 }";
    let retry = "[route.retry]\nattempts = 1";
    let gateway = Gateway::start(&config(&[one.address, two.address], upstream, retry));
    while gateway.metrics().await.sum("forebay_upstream_panic", &[]) == 0.0 {
        assert_eq!(get(gateway.address, "/").await.status(), 503);
    }
    failing.store(false, Ordering::SeqCst);
    let before = [one.asked().len(), two.asked().len()];
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").await.status(), 200);
    }
    assert_eq!([one.asked().len() - before[0], two.asked().len() - before[1]], [5, 5]);
    gateway.wait_for_log("all endpoints are out").await;
    assert_eq!(gateway.log().matches("all endpoints are out").count(), 1, "{}", gateway.log());
}

#[tokio::test]
async fn an_endpoint_much_slower_than_the_others_is_ejected() {
    let slow = Origin::always(Reply::ok("slow").late(Duration::from_millis(80))).await;
    let late = || Reply::ok("x").late(Duration::from_millis(6));
    let (good, better) = (Origin::always(late()).await, Origin::always(late()).await);
    let upstream = "balance = \"round_robin\"\nejection = { latency_factor = 3.0 }";
    let origins = [slow.address, good.address, better.address];
    let gateway = Gateway::start(&config(&origins, upstream, ""));
    while ejections(&gateway, "latency").await == 0.0 {
        assert_eq!(get(gateway.address, "/").await.status(), 200);
    }
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").await.text(), "x");
    }
}

/// An endpoint that is well again gets little at first.
#[tokio::test]
async fn an_endpoint_that_is_back_starts_slowly() {
    let failing = Arc::new(AtomicBool::new(true));
    let (back, other) = (flapping(&failing).await, Origin::always(Reply::ok("x")).await);
    let upstream = "balance = \"round_robin\"\nslow_start = \"1h\"\n\
                    health = { interval = \"50ms\", path = \"/healthz\" }";
    let gateway = Gateway::start(&config(&[back.address, other.address], upstream, ""));
    gateway.wait_for("forebay_upstream_healthy", &[], |healthy| healthy == 1.0).await;
    failing.store(false, Ordering::SeqCst);
    gateway.wait_for("forebay_upstream_healthy", &[], |healthy| healthy == 2.0).await;
    for _ in 0..200 {
        assert_eq!(get(gateway.address, "/").await.status(), 200);
    }
    let asked = back.asked().iter().filter(|asked| asked.request.target() == "/").count();
    // A candidate for a tenth of 200; half of them would be its full share.
    assert!((1..=45).contains(&asked), "{asked}");
}
