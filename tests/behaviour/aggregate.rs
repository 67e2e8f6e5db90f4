//! One answer of several: at once, each part by itself, and what becomes of those that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, ask, get};

const JSON: (&str, &str) = ("content-type", "application/json");
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn answer(fields: &[(&str, &str)], body: &str) -> Reply {
    Reply::new(200, &[&[JSON][..], fields].concat(), body)
}

/// A route `/start/{id}` with these parts, at two upstreams.
fn config(one: &Origin, two: &Origin, parts: &str, route: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.one]\nendpoints = [\"http://{}\"]\n[upstream.two]\nendpoints = [\"http://{}\"]\n\
         [[route]]\nname = \"start\"\nmatch = {{ path = \"/start/{{id}}\" }}\naggregate = [{parts}]\n{route}\n",
        one.address, two.address
    )
}

fn body(answer: &Message) -> Value {
    assert!(answer.complete, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

const THREE: &str = "{ name = \"a\", path = \"/a/{id}\", upstream = \"one\" }, \
                     { name = \"b\", path = \"/b/{id}\", upstream = \"two\" }, \
                     { name = \"c\", path = \"/c?id={id}\", upstream = \"two\", query = [\"page\"] }";

/// No part is answered before all of them have been asked for.
#[tokio::test]
async fn parts_are_asked_for_at_once() {
    let gate = Gate::new();
    let script = {
        let gate = gate.clone();
        move |request: &Message, _| answer(&[], &format!("\"{}\"", request.target())).after(&gate)
    };
    let (one, two) = (Origin::start(script.clone()).await, Origin::start(script).await);
    let gateway = Gateway::start(&config(&one, &two, THREE, ""));
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /start/7?page=2&x=1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer t\r\n\r\n").await;
    let (first, others) = (one.wait_for(1).await, two.wait_for(2).await);
    assert!(client.is_silent().await);
    gate.open();
    let whole = client.response().await;
    assert_eq!((whole.status(), whole.field("content-type")), (200, Some("application/json")));
    assert_eq!(body(&whole), json!({ "a": "/a/7", "b": "/b/7", "c": "/c?id=7&page=2" }));
    for asked in first.iter().chain(&others) {
        assert_eq!(asked.request.field("authorization"), Some("Bearer t"));
        assert_eq!(asked.request.field("accept"), Some("application/json"));
    }
    // HEAD tells what GET would, and HTTP/2 gets the same.
    let head = ask(gateway.address, "HEAD", "/start/7?page=2", &[]).await;
    assert_eq!(head.field("content-length"), Some(&*whole.body.len().to_string()));
    assert_eq!(head.status(), 200);
    let same = H2::connect(gateway.address).await.get("http://a/start/7?page=2").await;
    assert_eq!(same.body, whole.body);
    let refused = ask(gateway.address, "POST", "/start/7", &[]).await;
    assert_eq!((refused.status(), refused.field("allow")), (405, Some("GET, HEAD")));
    gateway.at_rest().await;
}

/// Three slow parts take the time of one.
#[tokio::test]
async fn it_takes_the_time_of_the_slowest() {
    const EACH: Duration = Duration::from_millis(800);
    let slow = || answer(&[], "1").late(EACH);
    let (one, two) = (Origin::always(slow()).await, Origin::always(slow()).await);
    let gateway = Gateway::start(&config(&one, &two, THREE, ""));
    let begun = Instant::now();
    assert_eq!(body(&get(gateway.address, "/start/7").await), json!({ "a": 1, "b": 1, "c": 1 }));
    let took = begun.elapsed();
    assert!(took >= EACH && took < 2 * EACH, "{took:?}");
}

/// Each part is stored by itself, under its own path, for as long as it says.
#[tokio::test]
async fn each_part_has_its_own_cache() {
    let one = Origin::always(answer(&[FRESH], "1")).await;
    let two = Origin::start(|_, before| answer(&[("cache-control", "no-store")], &before.to_string())).await;
    let parts = "{ name = \"kept\", path = \"/kept\", upstream = \"one\" }, \
                 { name = \"new\", path = \"/new\", upstream = \"two\" }";
    let gateway = Gateway::start(&config(&one, &two, parts, ""));
    for count in 0..3 {
        // Another id, the same parts.
        let whole = get(gateway.address, &format!("/start/{count}")).await;
        assert_eq!(body(&whole), json!({ "kept": 1, "new": count }));
        assert_eq!(whole.field("cache-control"), Some("no-store"), "the whole is for nobody's cache");
    }
    assert_eq!((one.asked().len(), two.asked().len()), (1, 3));
    let metrics = gateway.metrics().await;
    let hits = metrics.sum("forebay_cache_requests_total", &[("route", "start/kept"), ("result", "hit")]);
    assert_eq!(hits, 2.0, "{metrics:?}");
    gateway.at_rest().await;
}

const OPTIONAL: &str = "{ name = \"need\", path = \"/need\", upstream = \"one\" }, \
                        { name = \"nice\", path = \"/nice\", upstream = \"two\", optional = true, default = [] }";

/// An optional part that fails is replaced, by what is stored or else by its default, and that is said.
#[tokio::test]
async fn an_optional_part_may_fail() {
    let well = Arc::new(AtomicBool::new(false));
    let one = Origin::always(answer(&[], "\"needed\"")).await;
    let two = Origin::start({
        let well = well.clone();
        move |_, _| match well.load(Ordering::SeqCst) {
            false => Reply::new(500, &[], "out of order"),
            true => answer(&[("cache-control", "max-age=0, stale-if-error=60")], "[1]"),
        }
    })
    .await;
    let gateway = Gateway::start(&config(&one, &two, OPTIONAL, ""));
    let whole = get(gateway.address, "/start/7").await;
    assert_eq!(whole.field("forebay-parts"), Some("nice;failed=part_status;status=500"));
    let failed = json!([{ "name": "nice", "reason": "part_status", "status": 500 }]);
    let expected = json!({ "need": "needed", "nice": [], "_meta": { "failed": failed, "stale": [] } });
    assert_eq!(body(&whole), expected);

    well.store(true, Ordering::SeqCst);
    let whole = get(gateway.address, "/start/7").await;
    assert_eq!(body(&whole), json!({ "need": "needed", "nice": [1] }));
    assert_eq!(whole.field("forebay-parts"), None);

    well.store(false, Ordering::SeqCst);
    let whole = get(gateway.address, "/start/7").await;
    assert_eq!(whole.field("forebay-parts"), Some("nice;stale"));
    let meta = json!({ "failed": [], "stale": ["nice"] });
    assert_eq!(body(&whole), json!({ "need": "needed", "nice": [1], "_meta": meta }));
    let metrics = gateway.metrics().await;
    for (result, count) in [("failed", 1.0), ("ok", 1.0), ("stale", 1.0)] {
        let labels = [("route", "start"), ("part", "nice"), ("result", result)];
        assert_eq!(metrics.sum("forebay_aggregate_parts_total", &labels), count, "{result}");
    }
    gateway.at_rest().await;
}

/// A required part that fails is named, and the others are not waited for.
#[tokio::test]
async fn a_required_part_fails_the_whole() {
    let two = Origin::always(answer(&[], "1").stall_after(10)).await;
    for (fault, status, reason) in [
        (Reply::new(404, &[JSON], "{}"), 502, "part_status"),
        (Reply::new(200, &[("content-type", "text/html")], "<p>"), 502, "part_not_json"),
        (answer(&[], "{\"a\": "), 502, "part_not_json"),
        (answer(&[], "[1, 2, 3]").cut_after(85), 502, "response_incomplete"),
        (Reply::raw("x").reset_after(0), 502, "upstream_reset"),
    ] {
        let one = Origin::always(fault).await;
        let gateway = Gateway::start(&config(&one, &two, OPTIONAL, "[route.retry]\nattempts = 1"));
        let whole = get(gateway.address, "/start/7").await;
        assert_eq!(whole.status(), status, "{reason}: {whole:?}");
        assert_eq!(whole.field("content-type"), Some("application/problem+json"));
        let problem = body(&whole);
        assert_eq!((&problem["part"], &problem["reason"]), (&json!("need"), &json!(reason)), "{problem}");
        // The part that stalls was given up with it.
        gateway.at_rest().await;
        gateway.wait_for("forebay_upstream_connections", &[("state", "active")], |now| now == 0.0).await;
    }
}

/// A part has a time of its own.
#[tokio::test]
async fn a_late_part_is_not_waited_for() {
    let one = Origin::always(answer(&[], "1")).await;
    for stall in [0, 70] {
        let two = Origin::always(answer(&[], "[1, 2, 3]").stall_after(stall)).await;
        let parts = OPTIONAL.replace("default = []", "timeout = \"300ms\"");
        let gateway = Gateway::start(&config(&one, &two, &parts, ""));
        let begun = Instant::now();
        let whole = get(gateway.address, "/start/7").await;
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert_eq!(whole.field("forebay-parts"), Some("nice;failed=deadline"), "{whole:?}");
        assert_eq!(body(&whole)["nice"], Value::Null);
        gateway.at_rest().await;
        gateway.wait_for("forebay_upstream_connections", &[("state", "active")], |now| now == 0.0).await;
    }
}

/// A client that leaves takes all parts with it.
#[tokio::test]
async fn a_client_that_leaves_cancels_all_parts() {
    let never = || answer(&[], "1").stall_after(0);
    let (one, two) = (Origin::always(never()).await, Origin::always(never()).await);
    let gateway = Gateway::start(&config(&one, &two, THREE, ""));
    for count in 1..=3 {
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("GET /start/{count}?page={count} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        one.wait_for(count).await;
        two.wait_for(2 * count).await;
        drop(client);
        gateway.at_rest().await;
        gateway.wait_for("forebay_upstream_connections", &[("state", "active")], |now| now == 0.0).await;
    }
}

/// A part's limit on what goes to the origin is its own.
#[tokio::test]
async fn each_part_is_limited_by_itself() {
    let (one, two) = (Origin::always(answer(&[], "1")).await, Origin::always(answer(&[FRESH], "2")).await);
    let limit =
        "[[route.rate_limit]]\nname = \"origin\"\nkey = \"global\"\nrate = \"2/h\"\nscope = \"origin\"";
    let parts = "{ name = \"new\", path = \"/new\", upstream = \"one\", optional = true }, \
                 { name = \"kept\", path = \"/kept\", upstream = \"two\" }";
    let gateway = Gateway::start(&config(&one, &two, parts, limit));
    for count in 0..4 {
        let whole = get(gateway.address, "/start/7").await;
        let new = if count < 2 { json!(1) } else { Value::Null };
        assert_eq!((&body(&whole)["new"], &body(&whole)["kept"]), (&new, &json!(2)), "{count}");
    }
    assert_eq!((one.asked().len(), two.asked().len()), (2, 1));
}

/// What is stored of a part is purged under the part's own path.
#[tokio::test]
async fn a_part_can_be_purged() {
    let (one, two) =
        (Origin::always(answer(&[FRESH], "1")).await, Origin::always(answer(&[FRESH], "2")).await);
    let gateway = Gateway::start(&config(&one, &two, THREE, ""));
    for (order, asked) in [
        ("", (1, 2)),
        ("", (1, 2)),
        ("{\"url\":\"http://test.example/b/7\"}", (1, 3)),
        ("{\"prefix\":\"http://test.example/a\"}", (2, 3)),
        ("{\"all\":true,\"route\":\"start\"}", (3, 5)),
    ] {
        if !order.is_empty() {
            let head = format!(
                "POST /api/v1/cache/purge HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{order}",
                gateway.admin,
                order.len()
            );
            let mut client = Client::connect(gateway.admin).await;
            client.write(head).await;
            let done = client.response().await;
            assert_eq!(done.status(), 200, "{order}: {done:?}");
        }
        assert_eq!(get(gateway.address, "/start/7").await.status(), 200);
        assert_eq!((one.asked().len(), two.asked().len()), asked, "{order}");
    }
}
