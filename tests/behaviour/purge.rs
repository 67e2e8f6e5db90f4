//! Purging, as operators and clients see it: the admin API, the command, what is served afterwards.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::gateway::program;
use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get, within};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const TAGGED: &[(&str, &str)] =
    &[FRESH, ("etag", "\"v\""), ("surrogate-key", "news sport"), ("cache-groups", "\"g\"")];

fn status(answer: &Message) -> &str {
    answer.field("cache-status").unwrap_or_else(|| panic!("no Cache-Status: {answer:?}"))
}

fn is_hit(answer: &Message) -> bool {
    status(answer).starts_with("forebay; hit")
}

/// An order to the admin API, with these fields.
async fn post(admin: SocketAddr, fields: &[(&str, &str)], body: &str) -> Message {
    let mut head = format!(
        "POST /api/v1/cache/purge HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !fields.iter().any(|(name, _)| *name == "host") {
        head.push_str(&format!("host: {admin}\r\n"));
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut client = Client::connect(admin).await;
    client.write(head + "\r\n" + body).await;
    client.response().await
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// An order that is carried out.
async fn purge(gateway: &Gateway, order: Value) -> Value {
    let answer = post(gateway.admin, &[JSON], &order.to_string()).await;
    assert_eq!(answer.status(), 200, "{order} {answer:?}");
    let done: Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(done["lazy"], true);
    done
}

/// Stores what is at these paths and makes sure that it is.
async fn store(gateway: &Gateway, paths: &[&str]) {
    for path in paths {
        get(gateway.address, path).await;
        assert!(is_hit(&get(gateway.address, path).await), "{path}");
    }
}

/// Which of these paths are still stored.
async fn stored<'a>(gateway: &Gateway, paths: &[&'a str]) -> Vec<&'a str> {
    let mut stored = Vec::new();
    for path in paths {
        if is_hit(&get(gateway.address, path).await) {
            stored.push(*path);
        }
    }
    stored
}

#[tokio::test]
async fn what_each_order_takes() {
    let origin = Origin::start(|request, _| {
        let tag = if request.target().starts_with("/a/") { "inner" } else { "outer" };
        Reply::new(200, &[FRESH, ("cache-tag", &format!("all, {tag}"))], "x")
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let all = ["/a", "/a?q=1", "/a/", "/a/b", "/ab", "/"];
    for (order, left) in [
        (json!({ "url": "http://test.example/a" }), &["/a?q=1", "/a/", "/a/b", "/ab", "/"][..]),
        (json!({ "url": "test.example/a?q=1" }), &["/a", "/a/", "/a/b", "/ab", "/"]),
        (json!({ "url": "https://TEST.example/x/../ab" }), &["/a", "/a?q=1", "/a/", "/a/b", "/"]),
        (json!({ "url": "http://other.example/a" }), &all),
        (json!({ "prefix": "test.example/a/" }), &["/a", "/a?q=1", "/ab", "/"]),
        (json!({ "prefix": "test.example/a" }), &["/ab", "/"]),
        (json!({ "prefix": "test.example" }), &[]),
        (json!({ "prefix": "other.example" }), &all),
        (json!({ "tag": "inner" }), &["/a", "/a?q=1", "/ab", "/"]),
        (json!({ "tag": "inner", "route": "all" }), &["/a", "/a?q=1", "/ab", "/"]),
        (json!({ "tag": "inne" }), &all),
        (json!({ "all": true }), &[]),
        (json!({ "all": true, "route": "all" }), &[]),
    ] {
        store(&gateway, &all).await;
        let done = purge(&gateway, order.clone()).await;
        assert_eq!(done["routes"], json!(["all"]));
        // How many it takes is known of a URL, and of everything.
        let taken = (all.len() - left.len()) as u64;
        let known = order.get("url").is_some() || order == json!({ "all": true });
        assert_eq!(done.get("entries").and_then(Value::as_u64), known.then_some(taken), "{order}");
        assert_eq!(stored(&gateway, &all).await, left, "{order}");
    }
}

#[tokio::test]
async fn a_url_is_purged_with_all_its_variants_and_header_keyed_twins() {
    let fields = [FRESH, ("vary", "accept-language")];
    let origin = Origin::start(move |_, count| Reply::new(200, &fields, format!("{count}"))).await;
    let gateway =
        Gateway::before(origin.address, "cache.key = { headers = [\"x-tenant\"], cookies = [\"plan\"] }")
            .await;
    let clients: [&[(&str, &str)]; 4] = [
        &[],
        &[("accept-language", "en")],
        &[("x-tenant", "1"), ("accept-language", "en")],
        &[("cookie", "plan=a")],
    ];
    for method in ["", "POST"] {
        for client in clients {
            ask(gateway.address, "GET", "/a", client).await;
            assert!(is_hit(&ask(gateway.address, "GET", "/a", client).await), "{client:?}");
        }
        if method.is_empty() {
            purge(&gateway, json!({ "url": "test.example/a" })).await;
        } else {
            // RFC 9111 §4.4: whoever changes a resource changes it for all.
            ask(gateway.address, method, "/a", &[("x-tenant", "9")]).await;
        }
        for client in clients {
            let answer = ask(gateway.address, "GET", "/a", client).await;
            assert!(!is_hit(&answer), "{method} {client:?}");
        }
    }
}

#[tokio::test]
async fn a_soft_purge_revalidates_and_a_hard_one_forgets() {
    let origin =
        Origin::start(|request, _| match (request.field("if-none-match"), request.field("x-fail")) {
            (_, Some(_)) => Reply::new(503, &[], "down"),
            (Some(_), None) => Reply::raw("HTTP/1.1 304 Not Modified\r\netag: \"v\"\r\n\r\n"),
            (None, None) => Reply::new(200, TAGGED, "stored"),
        })
        .await;
    let gateway = Gateway::before(origin.address, "retry.attempts = 1").await;
    let down = [("x-fail", "1")];
    for (soft, standing_in, later) in [(true, 200, "fwd=stale; fwd-status=304"), (false, 503, "fwd=uri-miss")]
    {
        store(&gateway, &["/a"]).await;
        purge(&gateway, json!({ "tag": "news", "soft": soft })).await;
        let answer = ask(gateway.address, "GET", "/a", &down).await;
        assert_eq!(answer.status(), standing_in, "{answer:?}");
        if soft {
            assert!(status(&answer).contains("detail=stale-if-error"), "{}", status(&answer));
        }
        let answer = get(gateway.address, "/a").await;
        assert_eq!(answer.text(), "stored");
        assert!(status(&answer).contains(later), "{}", status(&answer));
        assert_eq!(answer.field("surrogate-key"), None, "tags are for us");
        assert_eq!(answer.field("cache-groups"), Some("\"g\""), "groups are for every cache");
        assert!(is_hit(&get(gateway.address, "/a").await));
    }
}

#[tokio::test]
async fn an_answer_on_its_way_during_a_purge_is_not_stored_and_not_followed() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_, count| {
            let reply = Reply::new(200, &[FRESH], format!("answer {count}"));
            if count == 0 { reply.after(&gate) } else { reply }
        })
        .await
    };
    let gateway = Gateway::before(origin.address, "").await;
    let mut before = Client::connect(gateway.address).await;
    before.write("GET /a HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
    origin.wait_for(1).await;
    purge(&gateway, json!({ "url": "test.example/a" })).await;
    assert_eq!(get(gateway.address, "/a").await.text(), "answer 1");
    gate.open();
    assert_eq!(before.response().await.text(), "answer 0");
    let after = get(gateway.address, "/a").await;
    assert!(is_hit(&after));
    assert_eq!(after.text(), "answer 1");
    gateway.at_rest().await;
}

/// RFC 9875 §2.1, §3.
#[tokio::test]
async fn a_group_is_invalidated_by_unsafe_requests_within_its_origin() {
    let origin = Origin::start(|request, _| match request.method() {
        "POST" => Reply::new(200, &[("cache-group-invalidation", "\"g\";x=1, \"other\"")], ""),
        _ => Reply::new(200, TAGGED, "x"),
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    store(&gateway, &["/a", "/b"]).await;
    let elsewhere = "GET /a HTTP/1.1\r\nhost: other.example\r\n\r\n";
    let mut other = Client::connect(gateway.address).await;
    other.write(elsewhere).await;
    other.response().await;
    ask(gateway.address, "POST", "/c", &[]).await;
    assert!(stored(&gateway, &["/a", "/b"]).await.is_empty());
    other.write(elsewhere).await;
    assert!(is_hit(&other.response().await), "another origin's group has the same name");
    // An operator means it wherever it is.
    purge(&gateway, json!({ "tag": "g" })).await;
    other.write(elsewhere).await;
    assert!(!is_hit(&other.response().await));
}

#[tokio::test]
async fn urls_are_those_of_clients_whatever_a_route_rewrites() {
    let origin = Origin::start(|_, _| Reply::new(200, &[FRESH], "x")).await;
    let other = "[[route]]\nname = \"api\"\nmatch = { path = \"/api/{*rest}\" }\nupstream = \"origin\"\n\
                 rewrite = { path = \"/v1/{rest}\" }\n\
                 [[route]]\nname = \"off\"\nmatch = { path = \"/off\" }\nupstream = \"origin\"\n\
                 cache.enabled = false\n";
    let config = Gateway::config(origin.address, "", "") + other;
    let gateway = Gateway::start(&config);
    let all = ["/api/a", "/api/b", "/v1/a"];
    store(&gateway, &all).await;
    let done = purge(&gateway, json!({ "url": "test.example/api/a" })).await;
    // The other route would take it too, if this one did not.
    assert_eq!(done["routes"], json!(["api", "all"]));
    assert_eq!(stored(&gateway, &all).await, ["/api/b", "/v1/a"]);
    store(&gateway, &all).await;
    let done = purge(&gateway, json!({ "prefix": "test.example/api/a", "route": "api" })).await;
    assert_eq!(done["routes"], json!(["api"]));
    assert_eq!(stored(&gateway, &all).await, ["/v1/a"], "what a prefix becomes cannot be told");
    for (route, said) in [("none", "there is no route"), ("off", "stores nothing")] {
        let answer = post(gateway.admin, &[JSON], &json!({ "all": true, "route": route }).to_string()).await;
        assert_eq!(answer.status(), 404);
        assert!(answer.text().contains(said), "{}", answer.text());
    }
}

#[tokio::test]
async fn an_entry_is_told_without_its_secrets() {
    let fields = &[
        ("cache-control", "max-age=60, public, stale-if-error=30"),
        ("x-secret", "hunter2"),
        ("surrogate-key", "a b"),
        ("cache-groups", "\"g\""),
        ("vary", "Accept-Language"),
    ];
    let origin = Origin::always(Reply::new(200, fields, "the body")).await;
    let gateway = Gateway::before(origin.address, "").await;
    let secret = [("authorization", "Basic aHVudGVyMg==")];
    ask(gateway.address, "GET", "/a?b", &secret).await;
    let told = async |url: &str| {
        let target = format!("/api/v1/cache/entry?url={url}");
        let answer = ask(gateway.admin, "GET", &target, &[]).await;
        (answer.status(), answer.text().to_owned())
    };
    // The Host of the tests' client is a name: it might be anybody's.
    assert_eq!(told("test.example/a").await.0, 403);
    let told = async |url: &str| {
        let mut client = Client::connect(gateway.admin).await;
        let admin = gateway.admin;
        client.write(format!("GET /api/v1/cache/entry?url={url} HTTP/1.1\r\nhost: {admin}\r\n\r\n")).await;
        let answer = client.response().await;
        (answer.status(), answer.text().to_owned())
    };
    let (status, text) = told("http%3A%2F%2Ftest.example%2Fa%3Fb").await;
    assert_eq!(status, 200, "{text}");
    let entry: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(entry["url"], "http://test.example/a?b");
    let variant = &entry["routes"][0]["variants"][0];
    for (key, value) in [
        ("status", json!(200)),
        ("scheme", json!("http")),
        ("body_bytes", json!(8)),
        ("fresh", json!(true)),
        ("because", json!("max-age")),
        ("vary", json!(["accept-language"])),
        ("tags", json!(3)),
        ("groups", json!(["g"])),
        ("purged", json!(null)),
        ("stale", json!({ "while_revalidate": 0, "if_error": 30, "on_overload": 300 })),
    ] {
        assert_eq!(variant[key], value, "{key}: {text}");
    }
    assert!(variant["fields"].as_array().unwrap().contains(&json!("x-secret")));
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg") && !text.contains("the body"));
    purge(&gateway, json!({ "all": true, "soft": true })).await;
    let (_, text) = told("test.example/a?b").await;
    let entry: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(entry["routes"][0]["variants"][0]["purged"], "soft");
    assert_eq!(entry["routes"][0]["variants"][0]["fresh"], false);
    assert_eq!(told("test.example/none").await.1.matches("status").count(), 0);
    for bad in ["", "/a", "ftp://a/", "%zz"] {
        assert_eq!(told(bad).await.0, 400, "{bad}");
    }
}

const TOKEN: &str = "a-long-and-random-token";

#[tokio::test]
async fn who_may_purge() {
    let origin = Origin::always(Reply::new(200, &[FRESH], "x")).await;
    let open = Gateway::before(origin.address, "").await;
    let config = Gateway::config(origin.address, "", "");
    let config = config.replacen("[admin]", &format!("[admin]\ntoken = \"{TOKEN}\""), 1);
    let closed = Gateway::start(&config);
    let all = "{\"all\":true}";
    let large = format!("{{\"tag\":\"{}\"}}", "x".repeat(64 * 1024));
    let (bearer, wrong) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}x"));
    for (gateway, fields, body, expected) in [
        (&open, &[JSON][..], all, 200),
        (&open, &[("content-type", "application/json; charset=utf-8")], all, 200),
        (&open, &[], all, 415),
        (&open, &[("content-type", "text/plain")], all, 415),
        (&open, &[JSON], "{", 400),
        (&open, &[JSON], &large, 413),
        (&open, &[JSON, ("origin", "http://evil.example")], all, 403),
        (&open, &[JSON, ("sec-fetch-site", "cross-site")], all, 403),
        (&open, &[JSON, ("host", "evil.example")], all, 403),
        (&closed, &[JSON], all, 401),
        (&closed, &[JSON, ("authorization", &wrong)], all, 401),
        (&closed, &[JSON, ("authorization", "Bearer ")], all, 401),
        (&closed, &[JSON, ("authorization", &bearer), ("authorization", &bearer)], all, 401),
        (&closed, &[JSON, ("authorization", &bearer)], all, 200),
        (&closed, &[JSON, ("authorization", &bearer), ("host", "admin.example")], all, 200),
        (&closed, &[JSON, ("authorization", &bearer), ("origin", "http://evil.example")], all, 403),
        (&closed, &[("authorization", &bearer)], all, 415),
    ] {
        store(gateway, &["/a"]).await;
        let answer = post(gateway.admin, fields, body).await;
        assert_eq!(answer.status(), expected, "{fields:?} {answer:?}");
        let is_problem = answer.field("content-type") == Some("application/problem+json");
        assert_eq!(is_problem, expected != 200, "{answer:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), expected == 401, "{answer:?}");
        assert_eq!(stored(gateway, &["/a"]).await.is_empty(), expected == 200, "{fields:?}");
        assert!(!answer.text().contains(TOKEN));
    }
    for (method, path, allow) in [
        ("GET", "/api/v1/cache/purge", "POST"),
        ("PUT", "/api/v1/cache/purge", "POST"),
        ("POST", "/api/v1/cache/entry", "GET, HEAD"),
    ] {
        let answer = ask(open.admin, method, path, &[]).await;
        assert_eq!((answer.status(), answer.field("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(ask(closed.admin, "GET", "/api/v1/cache/entry?url=a/", &[]).await.status(), 401);
    assert_eq!(ask(closed.admin, "GET", "/readyz", &[]).await.status(), 200, "the pages are for all");
    assert!(!closed.log().contains(TOKEN));
}

#[tokio::test]
async fn purge_as_a_method_is_off_until_somebody_may() {
    let origin = Origin::always(Reply::new(200, TAGGED, "x")).await;
    let of_the_store = |route: &str, store: &str| {
        Gateway::start(&format!("{}\n[cache.purge]\n{store}\n", Gateway::config(origin.address, "", route)))
    };
    let off = Gateway::before(origin.address, "").await;
    let near = of_the_store("", "from = [\"127.0.0.0/8\"]");
    let far = of_the_store("", "from = [\"192.0.2.0/24\"]");
    let token = of_the_store("cache.purge = { token = \"t\" }", "from = [\"127.0.0.1\"]");
    let (right, wrong) = (("authorization", "Bearer t"), ("authorization", "Bearer x"));
    for (gateway, fields, expected, left) in [
        (&off, &[][..], 405, &["/a", "/b"][..]),
        (&off, &[right], 405, &["/a", "/b"]),
        (&far, &[], 403, &["/a", "/b"]),
        (&token, &[], 403, &["/a", "/b"]),
        (&token, &[wrong], 403, &["/a", "/b"]),
        (&token, &[right], 200, &["/b"]),
        (&near, &[], 200, &["/b"]),
        (&near, &[("surrogate-key", "none")], 200, &["/a", "/b"]),
        (&near, &[("surrogate-key", "x sport")], 200, &[]),
        (&near, &[("cache-tag", "x,news")], 200, &[]),
    ] {
        store(gateway, &["/a", "/b"]).await;
        let answer = ask(gateway.address, "PURGE", "/a", fields).await;
        assert_eq!(answer.status(), expected, "{fields:?} {answer:?}");
        assert_eq!(answer.field("allow").is_some(), expected == 405);
        assert_eq!(stored(gateway, &["/a", "/b"]).await, left, "{fields:?}");
    }
    store(&near, &["/a"]).await;
    let done = ask(near.address, "PURGE", "/a", &[("purge-mode", "soft")]).await;
    let done: Value = serde_json::from_str(done.text()).unwrap();
    assert_eq!(
        (&done["purged"], &done["mode"], &done["lazy"], &done["entries"]),
        (&json!("url"), &json!("soft"), &json!(true), &json!(1))
    );
    let answer = get(near.address, "/a").await;
    assert!(status(&answer).contains("fwd=stale"), "{}", status(&answer));
    assert!(origin.asked().iter().all(|asked| asked.request.method() != "PURGE"), "none reached the origin");
}

/// It is the client's token that counts, whatever the route makes of `Authorization` on the way.
#[tokio::test]
async fn the_token_of_a_purge_is_the_one_that_the_client_sent() {
    let origin = Origin::always(Reply::new(200, TAGGED, "x")).await;
    let (right, wrong) = (("authorization", "Bearer t"), ("authorization", "Bearer x"));
    let changed = |change: &str| {
        let route = format!("cache.purge = {{ token = \"t\" }}\nrequest_headers = {change}\n");
        Gateway::start(&Gateway::config(origin.address, "", &route))
    };
    let set = changed("{ set = { authorization = \"Bearer of-the-gateway\" } }");
    let made = changed("{ set = { authorization = \"Bearer t\" } }");
    let removed = changed("{ remove = [\"authorization\"] }");
    let added = changed("{ add = { authorization = \"Basic eDp5\" } }");
    for (gateway, what) in [(&set, "set"), (&made, "made"), (&removed, "removed"), (&added, "added")] {
        for (fields, expected) in [(&[][..], 403), (&[wrong], 403), (&[right, right], 403), (&[right], 200)] {
            let answer = ask(gateway.address, "PURGE", "/a", fields).await;
            assert_eq!(answer.status(), expected, "{what} {fields:?} {answer:?}");
        }
        // And the origin still gets what the route makes of it.
        assert_eq!(get(gateway.address, "/a").await.status(), 200);
    }
    let seen = |at: usize| origin.asked()[at].request.field("authorization").map(str::to_owned);
    assert_eq!(seen(0).as_deref(), Some("Bearer of-the-gateway"));
    assert!(origin.asked().iter().all(|asked| asked.request.method() != "PURGE"), "none reached the origin");
}

/// On a route that wants credentials, the token stands for them, for a `PURGE` and nothing else; from where a
/// request may come is for the route to say still.
#[tokio::test]
async fn the_token_of_a_purge_stands_for_credentials() {
    let origin = Origin::always(Reply::new(200, TAGGED, "x")).await;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"alice-key");
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let guarded = |auth: &str| {
        let route = format!(
            "cache.purge = {{ token = \"t\" }}\nauth = {auth}\n[consumer.alice]\nkeys = [\"{digest}\"]\n"
        );
        Gateway::start(&Gateway::config(origin.address, "", &route))
    };
    let jwt = "{ jwt = { algorithms = [\"HS256\"], secret = \"0123456789abcdef0123456789abcdef\", \
               issuer = [\"i\"], audience = [\"a\"] } }";
    let keys = guarded("{ keys = {} }");
    let tokens = guarded(jwt);
    let far = guarded("{ allow = [\"192.0.2.0/24\"] }");
    let (right, wrong) = (("authorization", "Bearer t"), ("authorization", "Bearer x"));
    let key = ("x-api-key", "alice-key");
    for (gateway, method, fields, expected) in [
        (&keys, "PURGE", &[][..], 401),
        (&keys, "PURGE", &[wrong], 401),
        (&keys, "PURGE", &[key], 403),
        (&keys, "PURGE", &[key, wrong], 403),
        (&keys, "PURGE", &[key, right], 200),
        (&keys, "PURGE", &[right], 200),
        (&keys, "GET", &[right], 401),
        (&keys, "purge", &[right], 401),
        (&tokens, "PURGE", &[], 401),
        (&tokens, "PURGE", &[wrong], 401),
        (&tokens, "PURGE", &[right], 200),
        (&tokens, "GET", &[right], 401),
        (&tokens, "POST", &[right, ("x-http-method-override", "PURGE"), ("content-length", "0")], 401),
        (&far, "PURGE", &[right], 403),
    ] {
        let answer = ask(gateway.address, method, "/a", fields).await;
        assert_eq!(answer.status(), expected, "{method} {fields:?} {answer:?}");
    }
    assert!(origin.asked().is_empty(), "nobody was let through");
}

/// Parts of an aggregate are no cache that a client could purge: the token opens nothing there.
#[tokio::test]
async fn the_token_of_a_purge_opens_no_aggregate() {
    let origin = Origin::always(Reply::new(200, &[("content-type", "application/json")], "{}")).await;
    let route = "cache.purge = { token = \"t\" }\n\
                 [[route]]\nname = \"parts\"\nmatch = { path = \"/parts\" }\nauth = { keys = {} }\n\
                 cache.purge = { token = \"t\" }\n\
                 aggregate = [{ name = \"one\", path = \"/one\", upstream = \"origin\" }]\n\
                 [consumer.alice]\n";
    let gateway = Gateway::start(&Gateway::config(origin.address, "", route));
    let answer = ask(gateway.address, "PURGE", "/parts", &[("authorization", "Bearer t")]).await;
    assert_eq!(answer.status(), 401, "{answer:?}");
    assert!(origin.asked().is_empty());
}

#[test]
fn an_admin_listener_that_others_can_reach_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    for (admin, code, said) in [
        ("listen = \"0.0.0.0:0\"", 2, "f.toml:4:10"),
        ("listen = \"0.0.0.0:0\"\ntoken = \"\"", 2, "set `admin.token`, or listen on 127.0.0.1"),
        ("listen = \"0.0.0.0:0\"\ntoken = \"a b\"", 2, "no client can send this token"),
        ("listen = \"0.0.0.0:0\"\ntoken = \"short\"", 0, "fewer than 16 characters"),
        ("listen = \"0.0.0.0:0\"\ntoken = \"a-long-and-random-token\"", 0, ""),
        ("listen = \"127.0.0.1:0\"", 0, ""),
    ] {
        let rest = Gateway::config(SocketAddr::from(([127, 0, 0, 1], 1)), "", "");
        std::fs::write(
            &file,
            rest.replacen("[admin]\nlisten = \"127.0.0.1:0\"", &format!("[admin]\n{admin}"), 1),
        )
        .unwrap();
        let out = program().args(["check", "-c"]).arg(&file).output().unwrap();
        let err = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{admin} {err}");
        assert!(err.contains(said), "{admin} {err}");
        assert!(!err.contains("a b") && !err.contains("short\""), "{err}");
    }
}

/// Runs `forebay purge`: exit code, stdout, stderr.
fn command(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String, String) {
    let admin = gateway.admin.to_string();
    let out = program().arg("purge").args(["--admin", &admin]).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_purges() {
    let origin = Origin::always(Reply::new(200, TAGGED, "x")).await;
    let config = Gateway::config(origin.address, "", "");
    let config = config.replacen("[admin]", &format!("[admin]\ntoken = \"{TOKEN}\""), 1);
    let mut gateway = Gateway::start(&config);
    for args in [
        &["--url", "http://test.example/a"][..],
        &["--prefix", "test.example/"],
        &["--tag", "sport", "--soft"],
        &["--all", "--route", "all"],
    ] {
        store(&gateway, &["/a"]).await;
        let (code, out, err) = command(&gateway, &[&["--token", TOKEN], args].concat());
        assert_eq!((code, &*err), (Some(0), ""), "{args:?}");
        let done: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(done["mode"], if args.contains(&"--soft") { "soft" } else { "hard" });
        assert!(stored(&gateway, &["/a"]).await.is_empty(), "{args:?}");
    }
    for (args, said) in [
        (&["--all"][..], "401"),
        (&["--all", "--token", "no"], "401"),
        (&["--all", "--route", "none", "--token", TOKEN], "there is no route `none`"),
        (&["--url", "/a", "--token", TOKEN], "no URL"),
        (&["--token", TOKEN], "required"),
        (&["--url", "a", "--all"], "cannot be used with"),
    ] {
        let (code, out, err) = command(&gateway, args);
        assert_eq!((code, &*out), (Some(2), ""), "{args:?} {err}");
        assert!(err.contains(said) && !err.contains(TOKEN), "{args:?} {err}");
    }
    gateway.signal("TERM");
    gateway.ended().await;
    let (code, out, err) = command(&gateway, &["--all", "--token", TOKEN]);
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(err.contains("no answer from"), "{err}");
}

/// What a reload takes out of use and another one brings back is used again; but not what a purge meant.
#[tokio::test]
async fn what_a_reload_brings_back_is_purged_too() {
    let origin = Origin::always(Reply::new(200, TAGGED, "x")).await;
    // With a route that says which config is in force.
    let config = |more: &str, number: u32| {
        let mark = format!(
            "[[route]]\nname = \"mark\"\nmatch = {{ path = \"/mark\" }}\nrespond = {{ status = 200, body = \"{number}\" }}"
        );
        Gateway::config(origin.address, "", &format!("[route.cache]\n{more}\n{mark}\n"))
    };
    let (before, between) = ("", "stale_if_error = \"7s\"");
    let gateway = Gateway::start(&config(before, 0));
    let mut number = 0;
    let mut reload = async |more: &str| {
        number += 1;
        gateway.rewrite(&config(more, number));
        within("a reload", async {
            while get(gateway.address, "/mark").await.text() != number.to_string() {
                gateway.signal("HUP");
            }
        })
        .await;
    };
    store(&gateway, &["/a/b"]).await;
    reload(between).await;
    assert!(!is_hit(&get(gateway.address, "/a/b").await), "other rules");
    reload(before).await;
    assert!(is_hit(&get(gateway.address, "/a/b").await), "the same rules, and nothing was purged");
    for order in [
        json!({ "url": "http://test.example/a/b" }),
        json!({ "prefix": "http://test.example/a/" }),
        json!({ "tag": "news", "route": "all" }),
    ] {
        store(&gateway, &["/a/b"]).await;
        reload(between).await;
        purge(&gateway, order.clone()).await;
        reload(before).await;
        assert!(!is_hit(&get(gateway.address, "/a/b").await), "{order}");
    }
}
