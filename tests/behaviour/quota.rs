//! An origin with a rate limit of its own: what it is asked, and what becomes of the rest.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Client, Gate, Gateway, Origin, Reply, get};

fn gateway(origin: SocketAddr, quota: &str, route: &str) -> Gateway {
    Gateway::start(&Gateway::config(origin, &format!("[upstream.origin.quota]\n{quota}"), route))
}

/// An origin that notes when it is asked.
async fn timed(
    reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> (Origin, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = times.clone();
    let script = move |request: &crate::support::message::Message, count: usize| {
        noted.lock().unwrap().push(Instant::now());
        reply(request.target(), count)
    };
    (Origin::start(script).await, times)
}

const UNCACHED: &str = "cache.enabled = false";

#[tokio::test]
async fn requests_are_paced_and_the_rest_is_refused() {
    let (origin, times) = timed(|_, _| Reply::ok("x")).await;
    let gateway = gateway(origin.address, "rate = \"5/s\"\nqueue = 3\nqueue_timeout = \"10s\"", UNCACHED);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..12 {
        clients.spawn(get(gateway.address, "/"));
    }
    let answers = clients.join_all().await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    for refused in answers.iter().filter(|answer| answer.status() != 200) {
        assert_eq!(refused.status(), 503);
        assert!(refused.text().contains("\"reason\":\"quota_spent\""), "{}", refused.text());
        assert!(refused.field("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()));
    }
    // One at once and three from the queue; more where this machine took its time.
    assert!(passed >= 4 && origin.asked().len() == passed, "{passed}");
    let times = times.lock().unwrap().clone();
    // From the first to the last they are a fifth of a second apart, give or take what it takes to get there.
    let least = Duration::from_millis(200) * (passed as u32 - 1);
    assert!(times[passed - 1] - times[0] + Duration::from_millis(100) >= least, "{passed} in {times:?}");
    gateway.wait_for("forebay_quota_queued", &[], |now| now == 0.0).await;
    let verdicts = gateway.metrics().await;
    let of =
        |result| verdicts.sum("forebay_quota_requests_total", &[("upstream", "origin"), ("result", result)]);
    assert_eq!(of("passed") + of("delayed"), passed as f64);
    assert_eq!(of("queue_full"), 12.0 - passed as f64);
    gateway.at_rest().await;
}

/// What the origin says counts more than what we were told: nobody is sent before its reset.
#[tokio::test]
async fn the_origins_own_word_is_kept() {
    for (status, field) in [(200, ("ratelimit", "\"all\";r=0;t=2")), (429, ("retry-after", "2"))] {
        let reply = move |_: &str, count| {
            if count == 0 { Reply::new(status, &[field], "first") } else { Reply::ok("x") }
        };
        let (origin, times) = timed(reply).await;
        let gateway = gateway(origin.address, "rate = \"1000/s\"\nqueue_timeout = \"10s\"", UNCACHED);
        assert_eq!(get(gateway.address, "/").await.text(), "first");
        assert_eq!(get(gateway.address, "/").await.text(), "x");
        let times = times.lock().unwrap().clone();
        assert!(times[1] - times[0] >= Duration::from_millis(1900), "{field:?}: {:?}", times[1] - times[0]);
        gateway.at_rest().await;
    }
}

/// What could not be sent in time is refused at once, and a stale answer is better than that.
#[tokio::test]
async fn a_reset_too_far_away_is_not_waited_for() {
    let reply = |target: &str, _| match target {
        "/stored" => Reply::new(200, &[("cache-control", "max-age=1")], "stored"),
        _ => Reply::new(200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "600")], "last"),
    };
    let (origin, _) = timed(reply).await;
    let gateway = gateway(origin.address, "rate = \"1000/s\"", "");
    assert_eq!(get(gateway.address, "/stored").await.text(), "stored");
    assert_eq!(get(gateway.address, "/last").await.text(), "last");
    let refused = get(gateway.address, "/new").await;
    assert_eq!(refused.status(), 503);
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((500..=600).contains(&wait), "{wait}");
    let labels = [("result", "stale"), ("reason", "stale-on-overload")];
    // It is fresh for a second yet.
    while gateway.metrics().await.sum("forebay_cache_requests_total", &labels) == 0.0 {
        assert_eq!(get(gateway.address, "/stored").await.text(), "stored");
    }
    assert_eq!(origin.asked().len(), 2);
    gateway.at_rest().await;
}

/// A retry is a request too: those after it wait for it.
#[tokio::test]
async fn retries_count() {
    let (origin, times) =
        timed(|_, count| if count == 0 { Reply::new(503, &[], "") } else { Reply::ok("x") }).await;
    let route =
        "cache.enabled = false\nretry = { attempts = 2, backoff = { base = \"1ms\", max = \"1ms\" } }";
    let gateway = gateway(origin.address, "rate = \"2/s\"\nqueue_timeout = \"20s\"", route);
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    let times = times.lock().unwrap().clone();
    assert_eq!(times.len(), 3);
    assert!(times[2] - times[0] >= Duration::from_millis(900), "{:?}", times[2] - times[0]);
    gateway.at_rest().await;
}

/// What admission refuses was not sent: its turn is somebody else's.
#[tokio::test]
async fn a_turn_that_admission_makes_nothing_of_is_given_back() {
    let gate = Gate::new();
    let slow = Reply::ok("x").after(&gate);
    let origin = Origin::always(slow).await;
    let upstream = "concurrency = { mode = \"fixed\", limit = 1, queue = 0 }\n\
                    quota = { rate = \"1/h\", burst = 2, queue_timeout = \"1s\" }";
    let gateway = Gateway::start(&Gateway::config(origin.address, upstream, UNCACHED));
    let first = tokio::spawn(get(gateway.address, "/"));
    origin.wait_for(1).await;
    for _ in 0..5 {
        let refused = get(gateway.address, "/").await;
        assert!(refused.text().contains("\"queue_full\""), "{}", refused.text());
    }
    gate.open();
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(get(gateway.address, "/").await.status(), 200, "the second turn is there yet");
    let spent = get(gateway.address, "/").await;
    assert!(spent.text().contains("\"quota_spent\""), "{}", spent.text());
    gateway.at_rest().await;
}

/// Who leaves while waiting for a permit was not sent either.
#[tokio::test]
async fn a_turn_of_a_client_that_leaves_in_the_queue_is_given_back() {
    let gate = Gate::new();
    let slow = Reply::ok("x").after(&gate);
    let origin = Origin::always(slow).await;
    let upstream = "concurrency = { mode = \"fixed\", limit = 1, queue = 5, queue_timeout = \"1m\" }\n\
                    quota = { rate = \"1/h\", burst = 2, queue_timeout = \"1s\" }";
    let gateway = Gateway::start(&Gateway::config(origin.address, upstream, UNCACHED));
    let first = tokio::spawn(get(gateway.address, "/"));
    origin.wait_for(1).await;
    for _ in 0..3 {
        let mut leaver = Client::connect(gateway.address).await;
        leaver.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gateway.wait_for("forebay_admission_queued", &[], |now| now == 1.0).await;
        drop(leaver);
        gateway.wait_for("forebay_admission_queued", &[], |now| now == 0.0).await;
    }
    gate.open();
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(get(gateway.address, "/").await.status(), 200, "the second turn is there yet");
    let spent = get(gateway.address, "/").await;
    assert!(spent.text().contains("\"quota_spent\""), "{}", spent.text());
    assert_eq!(origin.asked().len(), 2);
    gateway.at_rest().await;
}

/// Who leaves when the request is at the origin has used it.
#[tokio::test]
async fn a_turn_of_a_client_that_leaves_later_is_used_up() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("x").after(&gate)).await;
    let upstream = "quota = { rate = \"1/h\", queue_timeout = \"1s\" }";
    let gateway = Gateway::start(&Gateway::config(origin.address, upstream, UNCACHED));
    let mut leaver = Client::connect(gateway.address).await;
    leaver.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for(1).await;
    drop(leaver);
    gateway.at_rest().await;
    let spent = get(gateway.address, "/").await;
    assert!(spent.text().contains("\"quota_spent\""), "{}", spent.text());
    gateway.at_rest().await;
}
