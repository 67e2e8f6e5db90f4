//! Routing over the wire: which route takes a request, and what becomes of it on the way there and back.

use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply};

/// A gateway whose routes are these, each ending in what answers; the upstream `origin` is there.
async fn routes(origin: &Origin, routes: &str) -> Gateway {
    let config = Gateway::config(origin.address, "", "");
    let (before, _) = config.split_once("[[route]]").unwrap();
    Gateway::start(&format!("{before}{routes}"))
}

/// A route that answers with its name.
fn named(name: &str, rest: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\nrespond = {{ body = \"{name}\" }}\n{rest}\n")
}

async fn send(gateway: &Gateway, request: &str) -> Message {
    let mut client = Client::connect(gateway.address).await;
    client.write(request).await;
    if request.starts_with("HEAD") { client.head_response().await } else { client.response().await }
}

async fn ask(gateway: &Gateway, host: &str, target: &str, fields: &str) -> Message {
    send(gateway, &format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n")).await
}

#[tokio::test]
async fn hosts() {
    let origin = Origin::always(Reply::ok("")).await;
    let table = [
        named("exact", "match = { host = \"api.example.com\" }"),
        named("wildcard", "match = { host = \"*.example.com\" }"),
        named("six", "match = { host = \"[::1]\" }"),
    ];
    let gateway = routes(&origin, &table.concat()).await;
    for (host, route) in [
        ("api.example.com", "exact"),
        ("API.Example.COM", "exact"),
        ("api.example.com:8080", "exact"),
        ("api.example.com.", "exact"),
        ("api.example.com.:80", "exact"),
        ("x.example.com", "wildcard"),
        ("a.b.example.com", "wildcard"),
        ("[::1]:8080", "six"),
        ("example.com", ""),
        ("api.example.com.evil.example", ""),
        ("evilexample.com", ""),
    ] {
        let answer = ask(&gateway, host, "/", "").await;
        match route {
            "" => assert_eq!(answer.status(), 404, "{host}"),
            route => assert_eq!((answer.status(), answer.text()), (200, route), "{host}"),
        }
    }
    // RFC 9112 §3.2.2: the target's authority counts, whatever `Host` says.
    assert_eq!(ask(&gateway, "x.example.com", "http://api.example.com/", "").await.text(), "exact");
}

/// The more specific match wins; a higher priority wins before that.
#[tokio::test]
async fn the_right_route_wins() {
    let origin = Origin::always(Reply::ok("")).await;
    let table = [
        named("rest", "match = { path = \"/{*rest}\" }"),
        named("orders", "match = { path = \"/orders/{id}\" }"),
        named("special", "match = { path = \"/orders/special\" }"),
        named("beta", "match = { path = \"/orders/{id}\", header = { x-beta = \"1\" } }"),
        named("any", "match = { path = \"/orders/{id}\", header = { x-any = \"*\" }, method = [\"GET\"] }"),
        named("v2", "match = { path = \"/v\", query = { v = \"2\" } }"),
        named("v", "match = { path = \"/v\" }"),
        named("first", "priority = 1\nmatch = { path = \"/first/{*rest}\" }"),
        named("never", "match = { path = \"/first/exactly\" }"),
    ];
    let gateway = routes(&origin, &table.concat()).await;
    for (target, fields, route) in [
        ("/", "", "rest"),
        ("/orders", "", "rest"),
        ("/orders/1", "", "orders"),
        ("/orders/1/items", "", "rest"),
        ("/orders/special", "", "special"),
        ("/orders/../orders/special", "", "special"),
        ("/orders/%73pecial", "", "special"),
        ("//orders//special", "", "special"),
        ("/orders/1", "x-beta: 1\r\n", "beta"),
        ("/orders/1", "X-Beta: 1\r\n", "beta"),
        ("/orders/1", "x-beta: 2\r\n", "orders"),
        ("/orders/1", "x-any: whatever\r\n", "any"),
        ("/v?v=2", "", "v2"),
        ("/v?a=1&v=2", "", "v2"),
        ("/v?v=3", "", "v"),
        ("/v", "", "v"),
        ("/first/exactly", "", "first"),
    ] {
        assert_eq!(ask(&gateway, "a", target, fields).await.text(), route, "{target} {fields:?}");
    }
}

/// RFC 9110 §15.5.6: 405 says what is allowed, and only where the method alone is wrong.
#[tokio::test]
async fn another_method_is_405_and_another_path_404() {
    let origin = Origin::always(Reply::ok("")).await;
    let table = [
        named("read", "match = { path = \"/a\", method = [\"GET\", \"HEAD\"] }"),
        named("write", "match = { path = \"/a\", method = [\"PUT\"] }"),
    ];
    let gateway = routes(&origin, &table.concat()).await;
    let answer = send(&gateway, "DELETE /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.status(), 405);
    let mut allowed: Vec<&str> = answer.field("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "PUT"]);
    assert_eq!(send(&gateway, "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
    assert_eq!(
        send(&gateway, "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.text(),
        "write"
    );

    // RFC 9457: a problem that says what happened and how to find it in the log.
    let answer = ask(&gateway, "a", "/b", "").await;
    assert_eq!((answer.status(), answer.field("content-type")), (404, Some("application/problem+json")));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert!(answer.field("proxy-status").is_some_and(|status| status.contains("destination_not_found")));
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&problem["status"], &problem["reason"]), (&404.into(), &"no_route".into()));
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32);
    // RFC 9110 §9.3.7.
    let answer = send(&gateway, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.status(), 204);
    assert!(answer.field("allow").is_some());
}

#[tokio::test]
async fn what_a_path_captures_goes_into_the_rewritten_one() {
    let origin = Origin::start(|request, _| Reply::ok(request.target())).await;
    let table = "[[route]]\nname = \"a\"\nupstream = \"origin\"\n\
                 match = { path = \"/orders/{id}/items/{*rest}\" }\nrewrite = { path = \"/v1/{id}/{rest}\" }\n\
                 [[route]]\nname = \"b\"\nupstream = \"origin\"\n\
                 match = { path = \"/api/{*rest}\" }\nrewrite = { strip_prefix = \"/api\" }\n";
    let gateway = routes(&origin, table).await;
    for (target, forwarded) in [
        ("/orders/7/items/x/y?q=1", "/v1/7/x/y?q=1"),
        ("/orders/a%2Fb/items/", "/v1/a%2Fb/"),
        ("/api/x", "/x"),
        ("/api/?a", "/?a"),
        ("/api", "/"),
    ] {
        assert_eq!(ask(&gateway, "a", target, "").await.text(), forwarded, "{target}");
    }
}

#[tokio::test]
async fn redirects_and_fixed_answers_ask_no_origin() {
    let origin = Origin::always(Reply::ok("")).await;
    let table = "[[route]]\nname = \"moved\"\nmatch = { path = \"/old/{*rest}\" }\n\
                 redirect = { to = \"https://new.example/{rest}\", status = 301 }\n\
                 [[route]]\nname = \"teapot\"\nmatch = { path = \"/fixed\" }\n\
                 respond = { status = 418, body = \"{}\", content_type = \"application/json\" }\n";
    let gateway = routes(&origin, table).await;
    let answer = ask(&gateway, "a", "/old/a/b", "").await;
    assert_eq!((answer.status(), answer.field("location")), (301, Some("https://new.example/a/b")));
    let answer = ask(&gateway, "a", "/fixed", "").await;
    assert_eq!((answer.status(), answer.text()), (418, "{}"));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert!(origin.asked().is_empty());
}

/// Rules for response fields hold for every response of the route, our own errors too.
#[tokio::test]
async fn rules_for_fields_hold_for_errors_too() {
    let origin = Origin::start(|request, _| match request.target() {
        "/broken" => Reply::ok("").reset_after(0),
        _ => Reply::new(
            200,
            &[("server", "secret"), ("x-kept", "1"), ("x-set", "old")],
            request.field("x-in").unwrap_or(""),
        ),
    })
    .await;
    let rules = "request_headers = { set = { x-in = \"in\" }, remove = [\"x-debug\"] }\n\
                 response_headers = { set = { x-set = \"new\" }, add = { x-added = \"1\" }, remove = [\"server\"] }\n";
    let table = format!(
        "[[route]]\nname = \"all\"\nupstream = \"origin\"\n{rules}[route.retry]\nattempts = 1\n\
         [[route]]\nname = \"few\"\nmatch = {{ path = \"/few\" }}\nrespond = {{ body = \"in\" }}\n{rules}\
         [[route.rate_limit]]\nname = \"x\"\nrate = \"1/h\"\nburst = 1\n"
    );
    let gateway = routes(&origin, &table).await;
    for (target, status) in [("/", 200), ("/broken", 502), ("/few", 200), ("/few", 429)] {
        let answer = ask(&gateway, "a", target, "x-debug: 1\r\n").await;
        assert_eq!(answer.status(), status, "{target}");
        assert_eq!(
            (answer.all("x-set"), answer.all("x-added")),
            (vec!["new"], vec!["1"]),
            "{target} {status}"
        );
        assert_eq!(answer.field("server"), None);
        assert!(status != 200 || answer.text() == "in");
    }
    assert!(origin.asked().iter().all(|asked| asked.request.field("x-debug").is_none()));
}
