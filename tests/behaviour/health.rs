//! Active health checks: who is asked, who is left out, and what operators see of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::message::Message;
use crate::support::{Gateway, Origin, Reply, get};

/// Two endpoints in turn, probed every 50 ms; only probes decide.
fn config(origins: [SocketAddr; 2], health: &str) -> String {
    let upstream = format!(
        "balance = \"round_robin\"\nslow_start = \"0s\"\nejection = {{ consecutive_errors = 0, error_rate = 0.0 }}\n\
         [upstream.origin.health]\npath = \"/healthz\"\ninterval = \"50ms\"\n{health}"
    );
    Gateway::config(origins[0], &upstream, "[route.cache]\nenabled = false\n[route.retry]\nattempts = 1")
        .replace("endpoints = [", &format!("endpoints = [\"http://{}\", ", origins[1]))
}

fn gateway(origins: [SocketAddr; 2], health: &str) -> Gateway {
    Gateway::start(&config(origins, health))
}

async fn wait_for(gateway: &Gateway, endpoint: SocketAddr, healthy: bool) {
    let labels = [("endpoint", &*endpoint.to_string())];
    let wanted = f64::from(u8::from(healthy));
    gateway.wait_for("forebay_upstream_endpoint_healthy", &labels, |now| now == wanted).await;
}

/// Answers each probe as the script says, and everything else with its name.
async fn origin(name: &'static str, probe: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Origin {
    let probes = AtomicUsize::new(0);
    Origin::start(move |request, _| match request.target() {
        "/healthz" => probe(probes.fetch_add(1, Ordering::SeqCst)),
        _ => Reply::ok(name),
    })
    .await
}

/// Which of the endpoints answer some requests.
async fn answering(gateway: &Gateway) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..8 {
        names.push(get(gateway.address, "/").await.text().to_owned());
    }
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn an_endpoint_goes_bad_and_comes_back() {
    for (what, bad) in [
        ("status", Reply::new(503, &[], "down")),
        ("status", Reply::new(404, &[], "")),
        ("timeout", Reply::ok("hangs").stall_after(0)),
        ("timeout", Reply::ok("hangs").stall_after(12)),
        ("upstream_reset", Reply::ok("cut").cut_after(10)),
        ("upstream_reset", Reply::ok("reset").reset_after(0)),
        ("bad_response", Reply::raw("what?\r\n\r\n")),
    ] {
        let ill = Arc::new(AtomicUsize::new(0));
        let (first, second) = (
            origin("first", |_| Reply::ok("")).await,
            origin("second", {
                let ill = ill.clone();
                move |_| if ill.load(Ordering::SeqCst) == 1 { bad.clone() } else { Reply::new(204, &[], "") }
            })
            .await,
        );
        let gateway = gateway([first.address, second.address], "timeout = \"200ms\"");
        gateway.wait_for("forebay_upstream_probes_total", &[("result", "ok")], |count| count >= 4.0).await;
        assert_eq!(answering(&gateway).await, ["first", "second"], "{what}");
        ill.store(1, Ordering::SeqCst);
        wait_for(&gateway, second.address, false).await;
        let metrics = gateway.metrics().await;
        assert!(metrics.sum("forebay_upstream_probes_total", &[("result", what)]) >= 3.0, "{what}");
        assert_eq!(metrics.sum("forebay_upstream_healthy", &[]), 1.0);
        assert_eq!(metrics.sum("forebay_upstream_panic", &[]), 0.0);
        assert_eq!(answering(&gateway).await, ["first"], "{what}");
        ill.store(0, Ordering::SeqCst);
        wait_for(&gateway, second.address, true).await;
        assert_eq!(answering(&gateway).await, ["first", "second"], "{what}");
        gateway.at_rest().await;
    }
}

/// What a probe looks like, and which statuses are good.
#[tokio::test]
async fn probes_ask_for_what_the_config_says() {
    let script = |request: &Message, _| match request.target() {
        "/status?deep=1" => Reply::new(429, &[], "busy is well"),
        _ => Reply::ok("x"),
    };
    let (first, second) = (Origin::start(script).await, Origin::start(script).await);
    let health = "expect = [\"204\", \"400-499\"]\nhost = \"probe.example\"";
    let config = config([first.address, second.address], health).replace("/healthz", "/status?deep=1");
    let gateway = Gateway::start(&config);
    gateway.wait_for("forebay_upstream_probes_total", &[("result", "ok")], |count| count >= 3.0).await;
    assert_eq!(gateway.metrics().await.sum("forebay_upstream_healthy", &[]), 2.0);
    let asked = first.wait_for(2).await;
    let probe = &asked[0].request;
    assert!(probe.start.starts_with("GET /status?deep=1 "), "{probe:?}");
    assert_eq!(probe.field("host"), Some("probe.example"));
    assert!(probe.field("user-agent").is_some_and(|agent| agent.contains("health check")), "{probe:?}");
    assert_ne!(asked[0].connection, asked[1].connection, "a probe connects as a new client would");
}

/// Where nobody listens there is no second chance: the first probe decides.
#[tokio::test]
async fn an_endpoint_that_was_never_there_is_left_out_after_one_probe() {
    let first = origin("first", |_| Reply::ok("")).await;
    let gone = Origin::always(Reply::default()).await;
    let address = gone.address;
    drop(gone);
    // Rare enough that there is one probe each in this test.
    let health = "interval = \"1h\"";
    let config = config([first.address, address], "").replace("interval = \"50ms\"", health);
    let gateway = Gateway::start(&config);
    wait_for(&gateway, address, false).await;
    // The other one's comes at its own time.
    gateway.wait_for("forebay_upstream_probes_total", &[], |count| count == 2.0).await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_upstream_probes_total", &[("result", "connect_failed")]), 1.0);
    let connects = |metrics: crate::support::gateway::Metrics| {
        metrics.sum("forebay_upstream_connects_total", &[("result", "connect_failed")])
    };
    assert_eq!(answering(&gateway).await, ["first"]);
    assert_eq!(connects(gateway.metrics().await), 0.0, "requests do not even try");
    let status = gateway.page("/api/v1/status").await;
    assert!(status.text().contains("\"state\": \"unhealthy\""), "{}", status.text());

    // A reload that leaves the upstream as it is keeps what is known of it.
    gateway.rewrite(&format!(
        "{config}\n[[route]]\nname = \"new\"\nrespond = {{ body = \"new\" }}\nmatch = {{ path = \"/new\" }}\n"
    ));
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count == 1.0).await;
    assert_eq!(get(gateway.address, "/new").await.text(), "new");
    wait_for(&gateway, address, false).await;
    assert_eq!(answering(&gateway).await, ["first"]);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_upstream_probes_total", &[]), 2.0, "nobody was probed again");
}

/// A wrong health check takes nothing down.
#[tokio::test]
async fn when_all_are_unhealthy_all_are_asked() {
    let ill = Arc::new(AtomicUsize::new(1));
    let probe = |ill: &Arc<AtomicUsize>| {
        let ill = ill.clone();
        move |_| if ill.load(Ordering::SeqCst) == 1 { Reply::new(500, &[], "") } else { Reply::ok("") }
    };
    let (first, second) = (origin("first", probe(&ill)).await, origin("second", probe(&ill)).await);
    let gateway = gateway([first.address, second.address], "");
    gateway.wait_for("forebay_upstream_panic", &[], |panic| panic == 1.0).await;
    for _ in 0..3 {
        assert_eq!(answering(&gateway).await, ["first", "second"]);
    }
    gateway.wait_for_log("all endpoints are out").await;
    ill.store(0, Ordering::SeqCst);
    gateway.wait_for("forebay_upstream_healthy", &[], |healthy| healthy == 2.0).await;
    assert_eq!(answering(&gateway).await, ["first", "second"]);
    gateway.wait_for_log("an endpoint is back").await;
    assert_eq!(gateway.log().matches("all endpoints are out").count(), 1, "told once: {}", gateway.log());
}
