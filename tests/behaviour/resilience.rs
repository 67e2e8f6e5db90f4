//! What protects origins and clients from each other: rate limits, admission, retries.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

/// Retries alone: no cache between, no endpoint left out.
fn retrying(origin: SocketAddr, retry: &str) -> Gateway {
    let ejection = "ejection = { consecutive_errors = 0, error_rate = 0.0 }";
    let route = format!("[route.cache]\nenabled = false\n[route.retry]\n{retry}");
    Gateway::start(&Gateway::config(origin, ejection, &route))
}

fn limit(key: &str) -> String {
    format!("[[route.rate_limit]]\nname = \"mine\"\nkey = \"{key}\"\nrate = \"2/h\"")
}

/// Whose bucket a request is counted in.
#[tokio::test]
async fn a_limit_counts_by_its_key() {
    for (key, name, others) in [
        ("client_ip", "x-forwarded-for", true),
        ("header:x-api-key", "x-api-key", true),
        ("global", "x-api-key", false),
    ] {
        let origin = Origin::always(Reply::ok("x")).await;
        let config = Gateway::config(origin.address, "", &limit(key))
            .replace("[[listener]]\n", "[[listener]]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
        let gateway = Gateway::start(&config);
        let ask_as = async |who: &str| ask(gateway.address, "GET", "/", &[(name, who)]).await;
        for left in [1, 0] {
            let answer = ask_as("192.0.2.1").await;
            assert_eq!(answer.status(), 200, "{key}");
            assert_eq!(answer.field("ratelimit-policy"), Some("\"mine\";q=2;w=3600"), "{key}");
            let standing = answer.field("ratelimit").unwrap();
            assert!(standing.starts_with(&format!("\"mine\";r={left};t=")), "{key}: {standing}");
        }
        let refused = ask_as("192.0.2.1").await;
        assert_eq!(refused.status(), 429, "{key}");
        assert_eq!(refused.field("content-type"), Some("application/problem+json"));
        let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((1700..=1800).contains(&wait), "a token comes back every 30 minutes: {wait}");
        assert_eq!(refused.field("ratelimit"), Some(&*format!("\"mine\";r=0;t={wait}")), "both say the same");
        assert_eq!(refused.field("ratelimit-policy"), Some("\"mine\";q=2;w=3600"));
        assert_eq!(ask_as("192.0.2.2").await.status() == 200, others, "{key}");
        assert_eq!(origin.asked().len(), if others { 3 } else { 2 });
        gateway.at_rest().await;
    }
}

/// In `delay` mode requests wait their turn; those that find the queue full are refused.
#[tokio::test]
async fn a_limit_can_delay() {
    let origin = Origin::always(Reply::ok("x")).await;
    let route =
        "[[route.rate_limit]]\nname = \"slow\"\nrate = \"4/s\"\nburst = 1\nmode = \"delay\"\nqueue = 2";
    let gateway = Gateway::before(origin.address, route).await;
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        clients.spawn(get(gateway.address, "/"));
    }
    let answers: Vec<Message> = clients.join_all().await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    let refused = answers.iter().filter(|answer| answer.status() == 429);
    assert!(refused.clone().all(|answer| answer.field("retry-after").is_some()));
    assert_eq!(passed + refused.count(), 10);
    // One at once, two from the queue; more where this machine took its time.
    assert!(passed >= 3, "{passed}");
    let least = Duration::from_millis(250) * (passed as u32 - 1);
    assert!(begun.elapsed() + Duration::from_millis(20) >= least, "{passed} in {:?}", begun.elapsed());
    gateway.at_rest().await;
}

/// One request at the upstream, one in the queue.
fn admitting(origin: SocketAddr, concurrency: &str) -> Gateway {
    let upstream = format!("concurrency = {{ mode = \"fixed\", limit = 1, {concurrency} }}");
    Gateway::start(&Gateway::config(origin, &upstream, "[route.cache]\nenabled = false"))
}

fn assert_shed(answer: &Message) {
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.field("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn a_full_queue_sheds() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("x").after(&gate)).await;
    let gateway = admitting(origin.address, "queue = 1, queue_timeout = \"1m\"");
    let first = tokio::spawn(get(gateway.address, "/1"));
    origin.wait_for(1).await;
    let second = tokio::spawn(get(gateway.address, "/2"));
    gateway.wait_for("forebay_admission_queued", &[], |now| now == 1.0).await;
    assert_shed(&get(gateway.address, "/3").await);
    assert_eq!(origin.asked().len(), 1);
    gate.open();
    assert_eq!((first.await.unwrap().status(), second.await.unwrap().status()), (200, 200));
    assert_eq!(origin.asked().len(), 2, "what was shed never got there");
    gateway.at_rest().await;
}

#[tokio::test]
async fn a_long_wait_in_the_queue_ends() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("x").after(&gate)).await;
    let gateway = admitting(origin.address, "queue = 5, queue_timeout = \"200ms\"");
    let first = tokio::spawn(get(gateway.address, "/1"));
    origin.wait_for(1).await;
    let begun = Instant::now();
    assert_shed(&get(gateway.address, "/2").await);
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    gate.open();
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(get(gateway.address, "/3").await.status(), 200);
    gateway.at_rest().await;
}

/// The origin is at work until the last byte of its answer.
#[tokio::test]
async fn a_permit_is_held_to_the_end_of_the_body() {
    let gate = Gate::new();
    let whole = Reply::chunked(200, &[], &["first ", "second"]);
    let first = whole.len() - "6\r\nsecond\r\n0\r\n\r\n".len();
    let origin = Origin::always(whole.pause_after(first, &gate)).await;
    let gateway = admitting(origin.address, "queue = 0");
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.wait_for("first ").await;
    assert_shed(&get(gateway.address, "/").await);
    gate.open();
    assert_eq!(client.response().await.text(), "first second");
    gateway.at_rest().await;
    assert_eq!(get(gateway.address, "/").await.text(), "first second");
    gateway.at_rest().await;
}

/// Which failures are made good, and which are the client's to see.
#[tokio::test]
async fn failures_are_retried_by_what_they_are() {
    let cut = |bytes| Reply::ok("lost").cut_after(bytes);
    for (what, method, failure, status, asked) in [
        ("502", "GET", Reply::new(502, &[], ""), 200, 2),
        ("503", "PUT", Reply::new(503, &[], ""), 200, 2),
        ("504", "DELETE", Reply::new(504, &[], ""), 200, 2),
        ("not listed", "GET", Reply::new(500, &[], ""), 500, 1),
        ("reset", "GET", Reply::ok("lost").reset_after(0), 200, 2),
        ("closed", "GET", cut(0), 200, 2),
        ("closed in the head", "GET", cut(10), 200, 2),
        ("a POST that was sent", "POST", Reply::new(503, &[], ""), 503, 1),
        ("a POST that was reset", "POST", Reply::ok("lost").reset_after(0), 502, 1),
    ] {
        let origin =
            Origin::start(move |_, count| if count == 0 { failure.clone() } else { Reply::ok("x") }).await;
        let gateway = retrying(origin.address, "attempts = 3");
        assert_eq!(ask(gateway.address, method, "/", &[]).await.status(), status, "{what}");
        assert_eq!(origin.asked().len(), asked, "{what}");
        gateway.at_rest().await;
    }
}

/// A connection that cannot be made is another endpoint's chance, for any method: nothing was sent.
#[tokio::test]
async fn an_endpoint_that_is_not_there_is_passed_over() {
    let gone = Origin::always(Reply::default()).await;
    let address = gone.address;
    drop(gone);
    let origin = Origin::always(Reply::ok("x")).await;
    let config =
        Gateway::config(origin.address, "balance = \"round_robin\"", "[route.cache]\nenabled = false")
            .replace("endpoints = [", &format!("endpoints = [\"http://{address}\", "));
    let gateway = Gateway::start(&config);
    for _ in 0..10 {
        assert_eq!(ask(gateway.address, "POST", "/", &[]).await.status(), 200);
    }
    assert_eq!(origin.asked().len(), 10);
    gateway.at_rest().await;
}

/// A body that fits is sent again, whole.
#[tokio::test]
async fn a_body_is_sent_again() {
    let origin = Origin::start(|request, count| match count {
        0 => Reply::new(503, &[], ""),
        _ => Reply::ok(&request.body),
    })
    .await;
    let gateway = retrying(origin.address, "attempts = 2");
    let mut client = Client::connect(gateway.address).await;
    client.write("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(client.response().await.text(), "hello");
    assert!(origin.asked().iter().all(|asked| asked.request.text() == "hello"));
    gateway.at_rest().await;
}

/// An origin that fails every time is not hit several times harder for it.
#[tokio::test]
async fn the_budget_bounds_retries_when_everything_fails() {
    let origin = Origin::always(Reply::new(503, &[], "")).await;
    let retry = "attempts = 5\nbackoff = { base = \"1ms\", max = \"1ms\" }\n\
                 budget = { ratio = 0.2, min_per_second = 5 }";
    let gateway = retrying(origin.address, retry);
    const REQUESTS: usize = 100;
    for _ in 0..REQUESTS {
        assert_eq!(get(gateway.address, "/").await.status(), 503);
    }
    // Nothing succeeded, so nothing was earned: only what is given on trust, once.
    assert_eq!(origin.asked().len(), REQUESTS + 5);
    assert!(gateway.metrics().await.sum("forebay_retry_budget_exhausted_total", &[]) > 0.0);
    gateway.at_rest().await;
}

/// An attempt that takes too long is given up, and its connection with it.
#[tokio::test]
async fn an_attempt_has_a_time_of_its_own() {
    let origin = Origin::start(|_, count| match count {
        0 => Reply::ok("never").stall_after(5),
        _ => Reply::ok("x"),
    })
    .await;
    let gateway = retrying(origin.address, "attempts = 2\nper_try_timeout = \"300ms\"");
    let begun = Instant::now();
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    let asked = origin.asked();
    assert_ne!(asked[0].connection, asked[1].connection);
    assert_eq!(gateway.metrics().await.sum("forebay_retries_total", &[("reason", "timeout")]), 1.0);
    gateway.at_rest().await;
}

/// RFC 9110 §10.2.3: the origin says when to come back; where that is too late, its answer is passed on.
#[tokio::test]
async fn retry_after_is_respected() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let origin = Origin::start({
        let times = times.clone();
        move |request, _| {
            let mut times = times.lock().unwrap();
            times.push(Instant::now());
            match (request.target(), times.len()) {
                ("/late", _) => Reply::new(503, &[("retry-after", "600")], "later"),
                (_, 1) => Reply::new(503, &[("retry-after", "1")], ""),
                _ => Reply::ok("x"),
            }
        }
    })
    .await;
    let gateway = retrying(origin.address, "attempts = 3");
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    let waited = {
        let times = times.lock().unwrap();
        times[1] - times[0]
    };
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let late = get(gateway.address, "/late").await;
    assert_eq!((late.status(), late.field("retry-after"), late.text()), (503, Some("600"), "later"));
    assert_eq!(origin.asked().len(), 3, "ten minutes are more than the request has");
    gateway.at_rest().await;
}
