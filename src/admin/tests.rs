//! Tests of the admin pages.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn snapshot() -> Snapshot {
    let endpoint =
        |endpoint: &str, state, in_flight| EndpointStatus { endpoint: endpoint.to_owned(), state, in_flight };
    Snapshot {
        config_generation: 3,
        routes: vec![
            RouteStatus { name: "orders".to_owned(), upstream: Some("o".to_owned()) },
            RouteStatus { name: "old".to_owned(), upstream: None },
        ],
        upstreams: vec![UpstreamStatus {
            name: "o".to_owned(),
            endpoints: vec![
                endpoint("http://10.0.0.1:80", EndpointState::Healthy, 2),
                endpoint("http://10.0.0.2:80", EndpointState::Ejected, 0),
            ],
        }],
    }
}

fn state() -> (AdminState, Lifecycle) {
    let lifecycle = Lifecycle::default();
    (AdminState::new(Metrics::default(), lifecycle.clone(), snapshot), lifecycle)
}

fn ask(state: &AdminState, method: Method, path: &str, fields: &[(&str, &str)]) -> Response {
    let mut request = http::Request::builder().method(method).uri(if path.is_empty() { "*" } else { path });
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    handle(state, &request.body(()).unwrap().into_parts().0)
}

fn get(state: &AdminState, path: &str) -> Response {
    ask(state, Method::GET, path, &[("host", "localhost:9901")])
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body.as_full().unwrap()).unwrap()
}

#[test]
fn it_is_ready_between_its_first_listener_and_its_end_and_alive_all_the_time() {
    let (state, lifecycle) = state();
    let ask = || {
        assert_eq!(get(&state, "/livez").status, StatusCode::OK);
        let ready = get(&state, "/readyz");
        (ready.status.as_u16(), text(&ready).to_owned())
    };
    assert_eq!(ask(), (503, "starting\n".to_owned()));
    lifecycle.ready();
    assert_eq!(ask(), (200, "ready\n".to_owned()));
    lifecycle.draining();
    assert_eq!(ask(), (503, "draining\n".to_owned()));
}

#[test]
fn metrics_come_with_their_media_type() {
    let (state, _) = state();
    state.metrics.counter("forebay_x_total", "X.", &[]).increment();
    let response = get(&state, "/metrics");
    assert_eq!(response.headers[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    assert!(text(&response).ends_with("\nforebay_x_total 1\n"));
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_what_runs() {
    let (state, lifecycle) = state();
    lifecycle.ready();
    tokio::time::advance(Duration::from_secs(90)).await;
    let response = get(&state, "/api/v1/status");
    assert_eq!(response.headers[CONTENT_TYPE], "application/json");
    let mut status: Value = serde_json::from_str(text(&response)).unwrap();
    let started = status.as_object_mut().unwrap().remove("started").unwrap();
    assert_eq!(started.as_str().unwrap().as_bytes(), state.started.wall.rfc3339());
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": "ready",
        "uptime_seconds": 90,
        "config_generation": 3,
        "routes": [{ "name": "orders", "upstream": "o" }, { "name": "old", "upstream": null }],
        "upstreams": [{
            "name": "o",
            "endpoints": [
                { "endpoint": "http://10.0.0.1:80", "state": "healthy", "in_flight": 2 },
                { "endpoint": "http://10.0.0.2:80", "state": "ejected", "in_flight": 0 },
            ],
        }],
    });
    assert_eq!(status, expected);
}

#[test]
fn other_paths_are_404_and_other_methods_405() {
    let (state, _) = state();
    for path in ["/", "", "/livez/", "/LIVEZ", "/metrics/x", "/api/v1", "*"] {
        assert_eq!(get(&state, path).status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/status"] {
        assert_eq!(ask(&state, Method::HEAD, path, &[("host", "[::1]")]).status, get(&state, path).status);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let response = ask(&state, method.clone(), path, &[("host", "localhost")]);
            assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(response.headers[http::header::ALLOW], "GET, HEAD");
        }
    }
    assert_eq!(ask(&state, Method::POST, "/", &[]).status, StatusCode::NOT_FOUND);
}

/// A name may be anybody's that was made to point here; probes may say any.
#[test]
fn who_may_see_which_page() {
    let (open, _) = state();
    let (closed, _) = state();
    let closed = AdminState { token: Secret::from("a-token".to_owned()), ..closed };
    let (name, token) = (("host", "rebound.example"), ("authorization", "Bearer a-token"));
    for (path, rebound, stranger) in
        [("/livez", 200, 200), ("/readyz", 503, 503), ("/metrics", 403, 200), ("/api/v1/status", 403, 401)]
    {
        assert_eq!(ask(&open, Method::GET, path, &[name]).status, rebound, "{path}");
        assert_eq!(ask(&closed, Method::GET, path, &[name]).status, stranger, "{path}");
        let known = ask(&closed, Method::GET, path, &[name, token]).status;
        assert_eq!(known, get(&open, path).status, "{path}");
    }
}

#[test]
fn no_answer_may_be_stored() {
    let (state, _) = state();
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/status", "/"] {
        assert_eq!(get(&state, path).headers[CACHE_CONTROL], "no-store", "{path}");
    }
}
