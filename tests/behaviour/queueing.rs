//! Who is served first, and who not at all, where an upstream has more to do than it can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::message::Message;
use crate::support::{Gate, Gateway, Origin, Reply, ask, get, within};

/// One request at the upstream, the others in the queue, and no cache.
fn gateway(origin: SocketAddr, queue: u32, admission: &str) -> Gateway {
    let upstream =
        format!("concurrency = {{ mode = \"fixed\", limit = 1, queue = {queue}, queue_timeout = \"1m\" }}");
    let route = format!("[route.cache]\nenabled = false\n[route.admission]\n{admission}");
    Gateway::start(&Gateway::config(origin, &upstream, &route))
}

/// An origin whose first answer waits for the gate.
async fn origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_, count| if count == 0 { Reply::ok("x").after(&gate) } else { Reply::ok("x") }).await
}

type Asking = tokio::task::JoinHandle<Message>;

/// Sends a request with a field, and waits until so many are in the queue.
async fn queue(gateway: &Gateway, target: &str, field: (&'static str, &'static str), waiting: f64) -> Asking {
    let (address, target) = (gateway.address, target.to_owned());
    let asking = tokio::spawn(async move { ask(address, "GET", &target, &[field]).await });
    gateway.wait_for("forebay_admission_queued", &[], |now| now == waiting).await;
    asking
}

fn reason(answer: &Message) -> String {
    let body: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    body["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_more_important_are_served_first() {
    let gate = Gate::new();
    let origin = origin(&gate).await;
    let gateway = gateway(origin.address, 10, "priority = \"normal\"\npriority_header = \"x-class\"");
    let first = tokio::spawn(get(gateway.address, "/first"));
    origin.wait_for(1).await;
    let mut asking = Vec::new();
    for (at, class) in ["low", "normal", "high", "bogus"].into_iter().enumerate() {
        asking.push(queue(&gateway, &format!("/{class}"), ("x-class", class), at as f64 + 1.0).await);
    }
    gate.open();
    assert_eq!(first.await.unwrap().status(), 200);
    for asking in asking {
        assert_eq!(asking.await.unwrap().status(), 200);
    }
    let order: Vec<_> = origin.asked().iter().map(|asked| asked.request.target().to_owned()).collect();
    // What is no class is of the route's; which of two normal ones is first depends on how long they waited.
    assert_eq!((order[1].as_str(), order[4].as_str()), ("/high", "/low"), "{order:?}");
    let metrics = gateway.metrics().await;
    for (class, waited) in [("high", 1.0), ("normal", 2.0), ("low", 1.0)] {
        let label = [("upstream", "origin"), ("priority", class)];
        assert_eq!(metrics.sum("forebay_admission_wait_seconds_count", &label), waited, "{class}");
    }
    gateway.at_rest().await;
}

#[tokio::test]
async fn a_full_queue_makes_room_for_the_more_important() {
    let gate = Gate::new();
    let origin = origin(&gate).await;
    let gateway = gateway(origin.address, 2, "priority_header = \"x-class\"");
    let first = tokio::spawn(get(gateway.address, "/first"));
    origin.wait_for(1).await;
    let normal = queue(&gateway, "/normal", ("x-class", "normal"), 1.0).await;
    let low = queue(&gateway, "/low", ("x-class", "low"), 2.0).await;
    let high = tokio::spawn({
        let address = gateway.address;
        async move { ask(address, "GET", "/high", &[("x-class", "high")]).await }
    });
    let refused = low.await.unwrap();
    assert_eq!((refused.status(), reason(&refused)), (503, "queue_full".to_owned()));
    assert!(refused.field("retry-after").is_some());
    let late = ask(gateway.address, "GET", "/late", &[("x-class", "low")]).await;
    assert_eq!((late.status(), reason(&late)), (503, "queue_full".to_owned()), "everybody else is before it");
    gate.open();
    for asking in [first, normal, high] {
        assert_eq!(asking.await.unwrap().status(), 200);
    }
    let refused = [("reason", "queue_full"), ("priority", "low")];
    assert_eq!(gateway.metrics().await.sum("forebay_admission_refused_total", &refused), 2.0);
    assert_eq!(origin.asked().len(), 3);
    gateway.at_rest().await;
}

/// However many requests one tenant has, the other one is next.
#[tokio::test]
async fn tenants_take_turns() {
    let gate = Gate::new();
    let origin = origin(&gate).await;
    let gateway = gateway(origin.address, 10, "tenant = \"header:x-tenant\"");
    let first = tokio::spawn(get(gateway.address, "/first"));
    origin.wait_for(1).await;
    let mut asking = Vec::new();
    for (at, tenant) in ["many", "many", "many", "many", "few"].into_iter().enumerate() {
        asking.push(queue(&gateway, &format!("/{tenant}"), ("x-tenant", tenant), at as f64 + 1.0).await);
    }
    gate.open();
    assert_eq!(first.await.unwrap().status(), 200);
    for asking in asking {
        assert_eq!(asking.await.unwrap().status(), 200);
    }
    let order: Vec<_> = origin.asked().iter().map(|asked| asked.request.target().to_owned()).collect();
    assert_eq!(order, ["/first", "/many", "/few", "/many", "/many", "/many"]);
    gateway.at_rest().await;
}

/// Clients that leave make room at once.
#[tokio::test]
async fn who_leaves_the_queue_leaves_it_at_once() {
    let gate = Gate::new();
    let origin = origin(&gate).await;
    let gateway = gateway(origin.address, 2, "tenant = \"header:x-tenant\"\npriority_header = \"x-class\"");
    let first = tokio::spawn(get(gateway.address, "/first"));
    origin.wait_for(1).await;
    let one = queue(&gateway, "/gone", ("x-class", "high"), 1.0).await;
    let other = queue(&gateway, "/gone", ("x-tenant", "a"), 2.0).await;
    for (asking, left) in [(one, 1.0), (other, 0.0)] {
        asking.abort();
        gateway.wait_for("forebay_admission_queued", &[], |now| now == left).await;
    }
    let stays = queue(&gateway, "/stays", ("x-class", "low"), 1.0).await;
    gate.open();
    assert_eq!((first.await.unwrap().status(), stays.await.unwrap().status()), (200, 200));
    assert!(origin.asked().iter().all(|asked| asked.request.target() != "/gone"));
    gateway.at_rest().await;
}

/// A request that the queue cannot serve before its deadline is told so at once; a stale answer is better.
#[tokio::test]
async fn a_deadline_that_cannot_be_met_is_not_waited_for() {
    const EACH: Duration = Duration::from_millis(400);
    let origin = Origin::start(|request, _| match request.target() {
        "/short/stored" => Reply::new(200, &[("cache-control", "max-age=1")], "stored"),
        _ => Reply::ok("x").late(EACH),
    })
    .await;
    let upstream = "concurrency = { mode = \"fixed\", limit = 1, queue = 100, queue_timeout = \"1m\" }";
    let short = "[[route]]\nname = \"short\"\nmatch = { path = \"/short/{*rest}\" }\nupstream = \"origin\"\n\
                 timeout = \"250ms\"\n";
    let gateway =
        Gateway::start(&(Gateway::config(origin.address, upstream, "cache.enabled = false\n") + short));
    let address = gateway.address;
    within("an answer in time", async { while get(address, "/short/stored").await.status() != 200 {} }).await;
    let before = origin.asked().len();
    let busy: Vec<_> = (0..12).map(|_| tokio::spawn(get(address, "/busy"))).collect();
    // From then on it is known what a turn takes, and what is stored is stale.
    origin.wait_for(before + 6).await;
    let refused = get(address, "/short/new").await;
    assert_eq!((refused.status(), reason(&refused)), (503, "deadline_too_near".to_owned()));
    assert!(refused.field("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok_and(|secs| secs > 0)));
    let stale = get(address, "/short/stored").await;
    assert_eq!((stale.status(), stale.text()), (200, "stored"), "{stale:?}");
    assert!(
        stale.field("cache-status").is_some_and(|status| status.contains("stale-on-overload")),
        "{stale:?}"
    );
    for busy in busy {
        assert_eq!(busy.await.unwrap().status(), 200);
    }
    assert!(origin.asked().iter().all(|asked| asked.request.target() != "/short/new"));
    gateway.at_rest().await;
}

/// By default the limit is learnt route by route: calls a hundred times slower than others, at the same
/// upstream, are no overload, and neither kind has the other one refused or kept waiting.
#[tokio::test]
async fn quick_and_slow_calls_share_an_upstream() {
    const SLOW: Duration = Duration::from_secs(2);
    let origin = Origin::start(|request, _| match request.target() {
        "/slow" => Reply::ok("slow").late(SLOW),
        _ => Reply::ok("quick").late(Duration::from_millis(20)),
    })
    .await;
    let slow = "[[route]]\nname = \"slow\"\nmatch = { path = \"/slow\" }\nupstream = \"origin\"\n\
                cache.enabled = false\n";
    let gateway = Gateway::start(&(Gateway::config(origin.address, "", "cache.enabled = false\n") + slow));
    let (address, over) = (gateway.address, Arc::new(AtomicBool::new(false)));
    let mut quick = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let over = over.clone();
        quick.spawn(async move {
            let (mut longest, mut count) = (Duration::ZERO, 0);
            while !over.load(Ordering::SeqCst) {
                let begun = Instant::now();
                assert_eq!(get(address, "/quick").await.text(), "quick");
                longest = longest.max(begun.elapsed());
                count += 1;
            }
            (longest, count)
        });
    }
    for _ in 0..3 {
        let mut calls = tokio::task::JoinSet::new();
        (0..10).for_each(|_| drop(calls.spawn(get(address, "/slow"))));
        for answer in calls.join_all().await {
            assert_eq!(answer.text(), "slow");
        }
    }
    over.store(true, Ordering::SeqCst);
    let quick = quick.join_all().await;
    assert!(quick.iter().all(|(longest, count)| *longest < SLOW && *count > 20), "{quick:?}");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_admission_refused_total", &[]), 0.0);
    assert!(metrics.sum("forebay_admission_limit", &[]) > 16.0, "no room for what was asked");
    gateway.at_rest().await;
}
