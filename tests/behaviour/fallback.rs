//! Who answers where the route's upstream does not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

/// A route to `own` with `backup` as another upstream; the rest of the route is given.
fn gateway(own: SocketAddr, backup: SocketAddr, upstream: &str, route: &str) -> Gateway {
    let upstream = format!(
        "ejection = {{ consecutive_errors = 0, error_rate = 0.0 }}\n{upstream}\n\
         [upstream.backup]\nendpoints = [\"http://{backup}\"]"
    );
    Gateway::start(&Gateway::config(own, &upstream, route))
}

const BACKUP: &str = "[[route.fallback]]\nupstream = \"backup\"\n";
const ONCE: &str = "[route.retry]\nattempts = 1\n";

/// Nobody listens there.
async fn nowhere() -> SocketAddr {
    Origin::always(Reply::default()).await.address
}

#[tokio::test]
async fn another_upstream_answers_by_what_went_wrong() {
    let backup = Origin::always(Reply::ok("backup")).await;
    for (what, reply, reason) in [
        ("a status", Reply::new(503, &[], "no"), "status"),
        ("a reset", Reply::ok("lost").reset_after(0), "reset"),
        ("cut in the head", Reply::ok("lost").cut_after(10), "reset"),
        ("no HTTP", Reply::raw("what?\r\n\r\n").then_close(), "bad_response"),
        ("silence", Reply::ok("never").stall_after(0), "timeout"),
    ] {
        let own = Origin::always(reply).await;
        let route =
            format!("timeout = \"15s\"\n{ONCE}[[route.fallback]]\nupstream = \"backup\"\nafter = \"300ms\"");
        let gateway = gateway(own.address, backup.address, "", &route);
        let answer = get(gateway.address, "/").await;
        assert_eq!((answer.status(), answer.text()), (200, "backup"), "{what}");
        let said = answer.field("cache-status");
        assert_eq!(said, Some("forebay; fwd=bypass; fwd-status=200; detail=fallback-upstream"), "{what}");
        let labels = [("route", "all"), ("reason", reason), ("result", "upstream")];
        assert_eq!(gateway.metrics().await.sum("forebay_fallbacks_total", &labels), 1.0, "{what}");
        gateway.at_rest().await;
    }
}

/// The backup's answers are not stored as the route's own, and it is left alone once the route's upstream is
/// back.
#[tokio::test]
async fn a_fallback_is_for_the_moment() {
    let fields = [("cache-control", "max-age=60")];
    let own = Origin::start(move |_, count| match count {
        0 | 1 => Reply::new(502, &[("cache-control", "no-store")], ""),
        _ => Reply::new(200, &fields, "own"),
    })
    .await;
    let backup = Origin::always(Reply::new(200, &fields, "backup")).await;
    let gateway = gateway(own.address, backup.address, "", &format!("{ONCE}{BACKUP}"));
    for expected in ["backup", "backup", "own", "own"] {
        assert_eq!(get(gateway.address, "/").await.text(), expected);
    }
    assert_eq!((own.asked().len(), backup.asked().len()), (3, 2), "the last answer is from the store");
    gateway.at_rest().await;
}

#[tokio::test]
async fn a_stored_answer_comes_first() {
    let own = Origin::start(|_, count| match count {
        0 => Reply::new(200, &[("cache-control", "max-age=0, stale-if-error=60")], "stored"),
        _ => Reply::new(503, &[], ""),
    })
    .await;
    let backup = Origin::always(Reply::ok("backup")).await;
    let gateway = gateway(own.address, backup.address, "", &format!("{ONCE}{BACKUP}"));
    assert_eq!(get(gateway.address, "/").await.text(), "stored");
    let stale = get(gateway.address, "/").await;
    assert_eq!(stale.text(), "stored");
    assert!(stale.field("cache-status").unwrap().contains("stale-if-error"), "{stale:?}");
    assert!(backup.asked().is_empty());
    gateway.at_rest().await;
}

/// RFC 9110 §9.2.2: what may have had an effect is not sent elsewhere, unless it may have it twice.
#[tokio::test]
async fn only_what_may_be_repeated_is_sent_elsewhere() {
    let backup = Origin::start(|request, _| Reply::ok([b"backup ", &request.body[..]].concat())).await;
    let own = Origin::always(Reply::new(503, &[], "own")).await;
    let gone = nowhere().await;
    for (method, origin, status, text) in [
        ("PUT", own.address, 200, "backup hello"),
        ("DELETE", own.address, 200, "backup hello"),
        ("POST", own.address, 503, "own"),
        ("PATCH", own.address, 503, "own"),
        ("POST", gone, 200, "backup hello"),
    ] {
        let gateway = gateway(origin, backup.address, "", &format!("{ONCE}{BACKUP}"));
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.text()), (status, text), "{method}");
        gateway.at_rest().await;
        gateway.wait_for("forebay_memory_used_bytes", &[("use", "replay")], |now| now == 0.0).await;
    }
}

/// Retries come first, and keep the body for the fallback.
#[tokio::test]
async fn a_body_survives_retries_and_the_fallback() {
    let own = Origin::always(Reply::new(503, &[], "")).await;
    let backup = Origin::start(|request, count| match count {
        0 => Reply::new(503, &[], ""),
        _ => Reply::ok(&request.body),
    })
    .await;
    let retry = "[route.retry]\nattempts = 2\nbackoff = { base = \"1ms\" }\n";
    let gateway = gateway(own.address, backup.address, "", &format!("{retry}{BACKUP}"));
    let mut client = Client::connect(gateway.address).await;
    client
        .write("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.response().await.text(), "hello");
    let asked = own.asked();
    assert_eq!((asked.len(), backup.asked().len()), (2, 2));
    assert!(asked.iter().chain(&backup.asked()).all(|asked| asked.request.text() == "hello"));
    gateway.at_rest().await;
}

#[tokio::test]
async fn a_fixed_response_is_the_last_resort() {
    let (own, backup) = (Origin::always(Reply::new(502, &[], "")).await, nowhere().await);
    let fixed = "[[route.fallback]]\non = [\"connect\"]\n\
                 respond = { status = 200, headers = { retry-after = \"7\" }, body = \"[]\", \
                 content_type = \"application/json\" }";
    let gateway = gateway(own.address, backup, "", &format!("{ONCE}{BACKUP}{fixed}"));
    let answer = get(gateway.address, "/").await;
    assert_eq!((answer.status(), answer.text()), (200, "[]"));
    for (name, value) in [
        ("content-type", "application/json"),
        ("retry-after", "7"),
        ("cache-control", "no-store"),
        ("proxy-status", "forebay; details=\"fallback_respond\""),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name}");
    }
    assert_eq!(answer.field("cache-status"), None, "RFC 9211 §2: no cache had a part in it");
    let head = ask(gateway.address, "HEAD", "/", &[]).await;
    assert_eq!((head.status(), head.field("content-length"), head.text()), (200, Some("2"), ""));
    gateway.at_rest().await;
}

#[tokio::test]
async fn a_busy_upstream_is_relieved() {
    let gate = Gate::new();
    let own = Origin::always(Reply::ok("own").after(&gate)).await;
    let backup = Origin::always(Reply::ok("backup")).await;
    let concurrency = "concurrency = { mode = \"fixed\", limit = 1, queue = 0 }";
    let route = format!("cache = {{ enabled = false }}\n{BACKUP}");
    let gateway = gateway(own.address, backup.address, concurrency, &route);
    let first = tokio::spawn(get(gateway.address, "/"));
    own.wait_for(1).await;
    assert_eq!(ask(gateway.address, "POST", "/", &[]).await.text(), "backup", "it was not sent: any method");
    gate.open();
    assert_eq!(first.await.unwrap().text(), "own");
    assert_eq!(own.asked().len(), 1);
    gateway.at_rest().await;
}

/// From the head on the client has seen bytes: there is no second answer.
#[tokio::test]
async fn a_response_that_has_begun_is_never_replaced() {
    let whole = Reply::ok("0123456789");
    let cut = whole.len() - 5;
    let own = Origin::always(whole.cut_after(cut)).await;
    let backup = Origin::always(Reply::ok("backup")).await;
    let gateway = gateway(own.address, backup.address, "", &format!("{ONCE}{BACKUP}"));
    let answer = get(gateway.address, "/").await;
    assert_eq!((answer.status(), answer.text(), answer.complete), (200, "01234", false));
    assert!(backup.asked().is_empty());
    gateway.at_rest().await;
}

/// Without `after`, the upstream has most of the request's time, and the fallback the rest.
#[tokio::test]
async fn the_fallback_comes_before_the_deadline() {
    let own = Origin::always(Reply::ok("never").stall_after(0)).await;
    let fixed = "timeout = \"2s\"\n[[route.fallback]]\nrespond = { body = \"later\" }";
    let gateway = gateway(own.address, own.address, "", fixed);
    let begun = Instant::now();
    let answer = get(gateway.address, "/").await;
    assert_eq!((answer.status(), answer.text()), (503, "later"));
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    gateway.at_rest().await;
}

#[tokio::test]
async fn the_log_names_the_fallback() {
    let own = Origin::always(Reply::new(503, &[], "")).await;
    let backup = Origin::always(Reply::ok("backup")).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let config = Gateway::config(
        own.address,
        &format!("[upstream.backup]\nendpoints = [\"http://{}\"]", backup.address),
        &format!("{ONCE}{BACKUP}"),
    )
    .replace("access = \"off\"\nformat = \"text\"", &format!("access = {log:?}\nformat = \"json\""));
    let gateway = Gateway::start(&config);
    assert_eq!(get(gateway.address, "/").await.text(), "backup");
    gateway.at_rest().await;
    let line = crate::support::within("a log line", async {
        loop {
            match std::fs::read_to_string(&log).unwrap_or_default() {
                text if text.ends_with('\n') => return text,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["fallback"], &line["fallback_reason"]),
        (&"upstream".into(), &"status".into()),
        "{line}"
    );
    assert_eq!(line["endpoint"], backup.address.to_string());
}
