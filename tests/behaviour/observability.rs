//! What operators see: the access log, the metrics, and the admin pages.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::lifecycle::config;
use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, get, within};

/// A config that logs to the file `access.log` beside it.
fn logged(config: &str) -> String {
    config.replace("access = \"off\"\nformat = \"text\"", "access = \"access.log\"")
}

fn log_of(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("access.log")
}

/// Waits until the file has so many lines, and no more than that.
async fn text_lines(file: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    let whole = || read().matches('\n').count();
    within(&format!("{count} lines in {}", file.display()), async {
        while whole() < count {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let lines: Vec<String> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

async fn lines(gateway: &Gateway, count: usize) -> Vec<Value> {
    let lines = text_lines(&log_of(gateway), count).await;
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The line of the one request with this target.
fn line<'a>(lines: &'a [Value], path: &str) -> &'a Value {
    lines.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path} in {lines:#?}"))
}

#[tokio::test]
async fn a_request_is_one_line_that_tells_all() {
    let origin = Origin::start(|request, count| match (request.target(), count) {
        ("/flaky", 1) => Reply::new(503, &[], "not yet"),
        ("/private", _) => Reply::new(200, &[("cache-control", "private")], "mine"),
        _ => Reply::new(200, &[("cache-control", "max-age=60")], "stored"),
    })
    .await;
    let route = "[route.cache]\nenabled = true\n[route.retry]\nattempts = 3\nbackoff = { base = \"1ms\" }";
    let gateway = Gateway::start(&logged(&config(&origin, "", "", route)));
    let mut client = Client::connect(gateway.address).await;
    let mut ask = async |request: &str, fields: &str| {
        client.write(format!("{request} HTTP/1.1\r\nhost: Test.Example:80\r\n{fields}\r\n")).await;
        client.response().await
    };
    ask("GET /item?page=2", "user-agent: test/1\r\nreferer: http://a/\"b\r\n").await;
    ask("GET /flaky", "").await;
    ask("GET /item?page=2", "").await;
    ask("GET /private", "").await;
    client.write("POST /post HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    client.response().await;
    H2::connect(gateway.address).await.get("http://test.example/two").await;
    let lines = lines(&gateway, 6).await;

    let miss = &lines[0];
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("scheme", "http"),
        ("host", "test.example"),
        ("path", "/item?page=2"),
        ("protocol", "HTTP/1.1"),
        ("route", "all"),
        ("upstream", "origin"),
        ("user_agent", "test/1"),
        ("referer", "http://a/\"b"),
        ("cache", "miss"),
        ("cache_reason", "uri-miss"),
        ("endpoint", &origin.address.to_string()),
    ] {
        assert_eq!(miss[key], value, "{key} in {miss:#}");
    }
    for (key, value) in [("status", 200), ("bytes", 6), ("attempts", 1), ("upstream_status", 200)] {
        assert_eq!(miss[key], value, "{key} in {miss:#}");
    }
    assert_eq!(miss["time"].as_str().unwrap().len(), "2026-03-01T12:00:00.123Z".len());
    assert_eq!(miss["id"].as_str().unwrap().len(), 32);
    let [duration, ttfb, upstream] =
        ["duration_ms", "ttfb_ms", "upstream_ms"].map(|key| miss[key].as_f64().unwrap());
    assert!(upstream > 0.0 && upstream <= ttfb && ttfb <= duration && duration < 20_000.0, "{miss:#}");
    assert_eq!(origin.asked()[0].request.field("x-request-id"), miss["id"].as_str());

    assert_eq!(line(&lines, "/flaky")["attempts"], 2, "{:#}", line(&lines, "/flaky"));
    let hit = &lines[2];
    assert_eq!((&hit["cache"], &hit["status"], &hit["bytes"]), (&"hit".into(), &200.into(), &6.into()));
    assert!(hit.get("upstream_ms").is_none() && hit.get("attempts").is_none(), "{hit:#}");
    let private = line(&lines, "/private");
    assert_ne!(private["cache"], "hit");
    let post = line(&lines, "/post");
    assert_eq!((&post["method"], &post["bytes_received"]), (&"POST".into(), &3.into()));
    assert_eq!(line(&lines, "/two")["protocol"], "HTTP/2");
}

#[tokio::test]
async fn waiting_for_a_permit_is_in_the_line() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("x").after(&gate)).await;
    let config =
        Gateway::config(origin.address, "[upstream.origin.concurrency]\nmode = \"fixed\"\nlimit = 1", "");
    let gateway = Gateway::start(&logged(&config));
    let first = tokio::spawn(get(gateway.address, "/first"));
    origin.wait_for(1).await;
    let second = tokio::spawn(get(gateway.address, "/second"));
    gateway.wait_for("forebay_admission_queued", &[("upstream", "origin")], |queued| queued == 1.0).await;
    gate.open();
    first.await.unwrap();
    second.await.unwrap();
    let lines = lines(&gateway, 2).await;
    assert!(line(&lines, "/first").get("queue_ms").is_none());
    assert!(line(&lines, "/second")["queue_ms"].as_f64().unwrap() > 0.0, "{lines:#?}");
}

#[tokio::test]
async fn a_client_that_left_is_499() {
    let whole = Reply::ok("0123456789");
    let begun = whole.len() - 5;
    let origin = Origin::start(move |request, _| match request.target() {
        "/begun" => whole.clone().stall_after(begun),
        _ => whole.clone().stall_after(0),
    })
    .await;
    let gateway = Gateway::start(&logged(&Gateway::config(origin.address, "", "")));
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /waited HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for(1).await;
    drop(client);
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /begun HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.wait_for("01234").await;
    drop(client);
    let lines = lines(&gateway, 2).await;
    let waited = line(&lines, "/waited");
    assert_eq!((&waited["status"], &waited["outcome"]), (&499.into(), &"aborted".into()));
    let begun = line(&lines, "/begun");
    assert_eq!(
        (&begun["status"], &begun["outcome"], &begun["bytes"]),
        (&200.into(), &"aborted".into(), &5.into())
    );
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_requests_total", &[("route", "all"), ("code", "499")]), 1.0);
    assert_eq!(metrics.sum("forebay_responses_incomplete_total", &[("reason", "aborted")]), 2.0);
}

/// A request that does not get past the border is a line and a count like any other, whoever refused it.
#[tokio::test]
async fn a_refused_request_is_a_line_and_a_count() {
    let origin = Origin::always(Reply::ok("x")).await;
    let server = "header_timeout = \"300ms\"\nmax_header_bytes = \"2KiB\"\nmax_body = \"10B\"";
    let gateway = Gateway::start(&logged(&config(&origin, server, "", "")));
    let large = format!("GET /large HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(4000));
    let cases = [
        (
            "GET /two HTTP/1.1\r\nhost: a\r\nhost: b\r\nuser-agent: t\r\n\r\n",
            400,
            "several_hosts",
            "GET",
            "/two",
        ),
        ("GET /none HTTP/1.1\r\n\r\n", 400, "no_host", "GET", "/none"),
        ("TRACE /t HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method_refused", "TRACE", "/t"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 501, "method_not_implemented", "CONNECT", "-"),
        ("GET /e HTTP/1.1\r\nhost: a\r\nexpect: cake\r\n\r\n", 417, "unknown_expectation", "GET", "/e"),
        (
            "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n",
            413,
            "request_body_too_large",
            "POST",
            "/b",
        ),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n", 400, "", "GET", "/%00"),
        // These do not even become a request.
        ("no HTTP at all\r\n\r\n", 400, "malformed_head", "-", "-"),
        (&large, 431, "request_head_too_large", "-", "-"),
        ("GET / HTTP/1.1\r\nhost:", 408, "request_head_timeout", "-", "-"),
    ];
    for (request, status, ..) in &cases {
        let mut client = Client::connect(gateway.address).await;
        client.write(request).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), *status, "{request:?}");
        assert!(client.rest().await.is_empty(), "RFC 9112 §9.6: {request:?}");
    }
    let logged = lines(&gateway, cases.len()).await;
    for (line, (request, status, reason, method, path)) in logged.iter().zip(&cases) {
        assert_eq!((&line["status"], &line["route"]), (&(*status).into(), &"-".into()), "{request:?}");
        assert_eq!((&line["method"], &line["path"]), (&(*method).into(), &(*path).into()), "{request:?}");
        assert!(reason.is_empty() || line["error"] == *reason, "{request:?}: {line:#}");
        assert_eq!((&line["client"], line["id"].as_str().unwrap().len()), (&"127.0.0.1".into(), 32));
    }
    assert_eq!(logged[0]["user_agent"], "t");
    let metrics = gateway.metrics().await;
    let unrouted = [("route", "-")];
    assert_eq!(metrics.sum("forebay_requests_total", &unrouted), cases.len() as f64);
    assert_eq!(metrics.sum("forebay_request_seconds_count", &unrouted), cases.len() as f64);
    assert_eq!(metrics.sum("forebay_refused_requests_total", &[]), cases.len() as f64);
    assert_eq!(metrics.sum("forebay_refused_requests_total", &[("reason", "several_hosts")]), 1.0);

    // The id that the client is told is the one in the log.
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\n\r\n").await;
    let problem: Value = serde_json::from_slice(&client.response().await.body).unwrap();
    let logged = lines(&gateway, cases.len() + 1).await;
    assert_eq!(problem["request_id"], logged.last().unwrap()["id"]);
}

/// Requests without a route, and those about the server, are lines too.
#[tokio::test]
async fn nothing_goes_unrecorded() {
    let origin = Origin::always(Reply::ok("x")).await;
    let config = Gateway::config(origin.address, "", "").replace("/{*rest}", "/known");
    let gateway = Gateway::start(&logged(&config));
    assert_eq!(get(gateway.address, "/unknown").await.status(), 404);
    let mut client = Client::connect(gateway.address).await;
    client.write("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 204);
    let lines = lines(&gateway, 2).await;
    let unknown = line(&lines, "/unknown");
    assert_eq!(
        (&unknown["status"], &unknown["error"], &unknown["route"]),
        (&404.into(), &"no_route".into(), &"-".into())
    );
    assert_eq!(line(&lines, "*")["status"], 204);
    assert_eq!(gateway.metrics().await.sum("forebay_requests_total", &[("route", "-")]), 2.0);
}

#[tokio::test]
async fn a_line_of_text_is_for_people() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let config = Gateway::config(origin.address, "", "").replace("\"off\"", "\"access.log\"");
    let gateway = Gateway::start(&config);
    get(gateway.address, "/a?b").await;
    let lines = text_lines(&log_of(&gateway), 1).await;
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert!(time.ends_with('Z'), "{time}");
    assert!(rest.starts_with("127.0.0.1 \"GET http://test.example/a?b HTTP/1.1\" 200 5B "), "{rest}");
    assert!(rest.contains("ms route=\"all\" upstream=\"origin\" id=\""), "{rest}");
}

/// SIGUSR1: after a rotation the lines go into a new file, and none is lost.
#[tokio::test]
async fn a_signal_opens_the_log_again() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(&logged(&Gateway::config(origin.address, "", "")));
    get(gateway.address, "/before").await;
    lines(&gateway, 1).await;
    let rotated = gateway.folder().join("access.log.1");
    std::fs::rename(log_of(&gateway), &rotated).unwrap();
    get(gateway.address, "/between").await;
    text_lines(&rotated, 2).await;
    gateway.signal("USR1");
    within("a new file", async {
        while !log_of(&gateway).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    get(gateway.address, "/after").await;
    assert_eq!(line(&lines(&gateway, 1).await, "/after")["status"], 200);
    text_lines(&rotated, 2).await;
}

/// What is in flight at the end is in the log before the process is gone.
#[tokio::test]
async fn the_last_lines_are_written() {
    let origin = Origin::always(Reply::ok("never").stall_after(0)).await;
    let config = logged(&config(&origin, "drain_timeout = \"100ms\"", "", ""));
    let mut gateway = Gateway::start(&config);
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /last HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for(1).await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, Some(0));
    assert_eq!(line(&lines(&gateway, 1).await, "/last")["status"], 499);
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let origin = Origin::start(|request, count| match (request.target(), count) {
        ("/flaky", 1) => Reply::new(503, &[], "not yet"),
        _ => Reply::new(200, &[("cache-control", "max-age=60")], "hello"),
    })
    .await;
    let route = "[route.cache]\nenabled = true\n[route.retry]\nattempts = 2\nbackoff = { base = \"1ms\" }\n\
                 [[route.rate_limit]]\nname = \"few\"\nrate = \"1/h\"\nburst = 4\n";
    let gateway = Gateway::start(&config(&origin, "", "", route));
    for (path, status) in [("/a", 200), ("/flaky", 200), ("/a", 200), ("/a", 200), ("/a", 429)] {
        assert_eq!(get(gateway.address, path).await.status(), status, "{path}");
    }
    gateway.wait_for("forebay_connections_open", &[], |now| now == 0.0).await;
    let metrics = gateway.metrics().await;
    let all = ("route", "all");
    let origin_label = ("upstream", "origin");
    for (name, labels, value) in [
        // Rate, errors and duration by route.
        ("forebay_requests_total", &[all, ("method", "GET"), ("code", "200")][..], 4.0),
        ("forebay_requests_total", &[all, ("code", "429")], 1.0),
        ("forebay_request_seconds_count", &[all], 5.0),
        ("forebay_request_seconds_bucket", &[all, ("le", "+Inf")], 5.0),
        ("forebay_requests_in_flight", &[all], 0.0),
        // The cache.
        ("forebay_cache_requests_total", &[all, ("result", "hit")], 2.0),
        ("forebay_cache_requests_total", &[all, ("result", "miss")], 2.0),
        ("forebay_cache_stored_total", &[all], 2.0),
        ("forebay_cache_entries", &[], 2.0),
        // The limiter.
        ("forebay_rate_limit_total", &[all, ("limit", "few"), ("result", "allowed")], 4.0),
        // The queue.
        ("forebay_admission_in_flight", &[origin_label], 0.0),
        ("forebay_admission_queued", &[origin_label], 0.0),
        // Retries.
        ("forebay_retries_total", &[all, ("reason", "status")], 1.0),
        // The upstream and its pool.
        ("forebay_upstream_requests_total", &[origin_label], 3.0),
        ("forebay_upstream_requests_total", &[origin_label, ("code", "5xx")], 1.0),
        ("forebay_upstream_request_seconds_count", &[origin_label], 3.0),
        ("forebay_upstream_connects_total", &[origin_label], 1.0),
        ("forebay_upstream_healthy", &[origin_label], 1.0),
        // Listeners and the process.
        ("forebay_connections_total", &[], 5.0),
        ("forebay_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        let found = metrics.sum(name, labels);
        assert_eq!(found, value, "{name} {labels:?}");
        assert!(metrics.names().contains(&name), "{name}");
    }
    for name in ["forebay_rate_limit_total", "forebay_cache_bytes", "forebay_upstream_connections"] {
        assert!(metrics.sum(name, &[]) > 0.0, "{name}");
    }
    let resident = metrics.sum("process_resident_memory_bytes", &[]);
    assert!((1e6..1e9).contains(&resident), "{resident}");
    assert!(metrics.sum("process_open_fds", &[]) > 5.0);
    assert!(metrics.sum("forebay_request_seconds_sum", &[all]) > 0.0);
}

/// Series of what a reload took away go with it.
#[tokio::test]
async fn metrics_forget_what_is_gone() {
    let origin = Origin::always(Reply::ok("x")).await;
    let config = Gateway::config(origin.address, "", "");
    let gateway = Gateway::start(&config);
    get(gateway.address, "/").await;
    assert_eq!(gateway.metrics().await.sum("forebay_requests_total", &[("route", "all")]), 1.0);
    gateway.rewrite(&config.replace("name = \"all\"", "name = \"every\""));
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count == 1.0).await;
    get(gateway.address, "/").await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_requests_total", &[("route", "every")]), 1.0);
    assert_eq!(metrics.sum("forebay_requests_total", &[]), 1.0);
    assert_eq!(metrics.sum("forebay_upstream_requests_total", &[]), 2.0);
}

#[tokio::test]
async fn the_admin_pages() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("x").after(&gate)).await;
    let gateway = Gateway::before(origin.address, "").await;
    for (path, text) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = get(gateway.admin, path).await;
        assert_eq!((answer.status(), answer.text()), (200, text));
    }
    assert_eq!(get(gateway.admin, "/else").await.status(), 404);
    let metrics = gateway.page("/metrics").await;
    assert_eq!(metrics.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));

    let request = tokio::spawn(get(gateway.address, "/"));
    origin.wait_for(1).await;
    let status = gateway.page("/api/v1/status").await;
    let status: Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!((&status["phase"], &status["config_generation"]), (&"ready".into(), &1.into()));
    assert_eq!(status["routes"][0]["name"], "all");
    let endpoint = &status["upstreams"][0]["endpoints"][0];
    assert_eq!(endpoint["endpoint"], origin.address.to_string());
    assert_eq!((&endpoint["state"], &endpoint["in_flight"]), (&"healthy".into(), &1.into()));
    gate.open();
    request.await.unwrap();
    // The pages are not on the port of the clients.
    assert_eq!(get(gateway.address, "/metrics").await.text(), "x");
}
