//! Who may use a route, who the upstream is told it is, and whose answers stay whose.

use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Three consumers, of whom eve is disabled, and a route with this `auth` and these lines.
pub fn config(origin: &Origin, auth: &str, route: &str) -> String {
    let consumers: String = [("alice", ""), ("bob", ""), ("eve", "disabled = true\n")]
        .map(|(name, more)| {
            format!("[consumer.{name}]\nkeys = [\"{}\"]\n{more}", sha256(&format!("{name}-key")))
        })
        .concat();
    Gateway::config(origin.address, "", &format!("{auth}\n{route}\n{consumers}"))
}

fn start(origin: &Origin, auth: &str, route: &str) -> Gateway {
    Gateway::start(&config(origin, auth, route))
}

/// An origin that says whom it answers.
async fn named(cache_control: &'static str) -> Origin {
    Origin::start(move |request, before| {
        let name = request.field("x-consumer").unwrap_or("nobody").to_owned();
        Reply::new(200, &[("cache-control", cache_control)], format!("{name} {before}"))
    })
    .await
}

const KEYS: &str = "auth = { keys = {} }";

#[tokio::test]
async fn a_key_opens_the_route_and_goes_no_further() {
    let origin = named("no-store").await;
    let gateway = start(&origin, KEYS, "");
    let answer = ask(gateway.address, "GET", "/", &[("x-api-key", "alice-key")]).await;
    assert_eq!((answer.status(), answer.text()), (200, "alice 0"));
    let asked = &origin.asked()[0].request;
    assert_eq!((asked.field("x-consumer"), asked.field("x-api-key")), (Some("alice"), None));
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_auth_total", &[("route", "all"), ("result", "ok")]), 1.0);
}

/// RFC 9110 §15.5.2; unknown and disabled are the same, and the upstream hears of neither.
#[tokio::test]
async fn who_has_none_is_told_how_and_the_upstream_is_not_asked() {
    let origin = named("no-store").await;
    let gateway = start(&origin, KEYS, "");
    let mut answers = Vec::new();
    for fields in [&[][..], &[("x-api-key", "eve-key")], &[("x-api-key", "mallory-key")]] {
        let answer = ask(gateway.address, "GET", "/", fields).await;
        assert_eq!(answer.status(), 401, "{fields:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let challenge = answer.field("www-authenticate").unwrap();
        assert_eq!(challenge, "ApiKey realm=\"forebay\", in=\"header\", name=\"x-api-key\"");
        assert!(!answer.text().contains("-key\""), "{}", answer.text());
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        answers.push((said["reason"].clone(), said["detail"].clone()));
    }
    assert_eq!(answers[0].0, "no_credentials");
    assert_eq!(answers[1], answers[2]);
    assert_eq!(answers[1].0, "bad_credentials");
    assert!(origin.asked().is_empty());
}

/// The name is ours to say, on routes without authentication too.
#[tokio::test]
async fn nobody_else_can_say_who_it_is() {
    let origin = named("no-store").await;
    let open = "[[route]]\nname = \"open\"\nmatch = { path = \"/open\" }\nupstream = \"origin\"";
    let gateway = start(&origin, KEYS, open);
    let pretence = [("x-consumer", "root"), ("X_Consumer", "root"), ("x-api-key", "bob-key")];
    assert_eq!(ask(gateway.address, "GET", "/", &pretence).await.text(), "bob 0");
    assert_eq!(ask(gateway.address, "GET", "/open", &pretence).await.text(), "nobody 1");
    for asked in origin.asked() {
        assert_eq!(asked.request.field("x_consumer"), None);
    }
    // `Connection` cannot take it away either.
    let hop = [("connection", "x-consumer"), ("x-api-key", "bob-key")];
    assert_eq!(ask(gateway.address, "GET", "/", &hop).await.text(), "bob 2");
}

/// A key in the query is in no log line, whatever becomes of the request, in no target, and in no cache key.
#[tokio::test]
async fn a_key_in_the_query_is_seen_by_nobody() {
    let origin = named("max-age=60").await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let auth = "match = { path = \"/api\" }\nauth = { keys = { header = \"\", query = \"key\" } }";
    let config = config(&origin, auth, "")
        .replace("match = { path = \"/{*rest}\" }\n", "")
        .replace("access = \"off\"", &format!("access = \"{}\"", log.display()));
    let mut gateway = Gateway::start(&config);
    let first = get(gateway.address, "/api?a=1&key=alice-key&b=2").await;
    assert_eq!((first.status(), first.text()), (200, "alice 0"));
    assert_eq!(origin.asked()[0].request.target(), "/api?a=1&b=2");
    let again = get(gateway.address, "/api?key=alice%2Dkey&a=1&b=2").await;
    assert_eq!(again.text(), "alice 0", "one key, wherever the secret stood");
    assert_eq!(get(gateway.address, "/api?a=1&b=2&key=bob-key").await.text(), "bob 1");
    assert_eq!(get(gateway.address, "/api?key=wrong-key").await.status(), 401);
    assert_eq!(get(gateway.address, "/none?key=alice-key").await.status(), 404);
    let referer = [("referer", "http://a.example/?key=alice-key")];
    assert_eq!(ask(gateway.address, "GET", "/api", &referer).await.status(), 401);
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /bad?key=alice-key HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 400);
    gateway.signal("TERM");
    gateway.ended().await;
    let lines = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count(), 7, "{lines}");
    assert!(
        !lines.contains("alice-key") && !lines.contains("alice%2D") && !lines.contains("wrong-key"),
        "{lines}"
    );
    assert!(lines.contains("/api?a=1&key=***&b=2") && lines.contains("consumer=\"alice\""), "{lines}");
}

/// Each consumer has entries of its own: hits, misses, and what is stale.
#[tokio::test]
async fn stored_answers_do_not_cross_consumers() {
    let origin = named("max-age=1, stale-while-revalidate=60").await;
    let gateway = start(&origin, KEYS, "");
    let address = gateway.address;
    let asks = |name: &'static str| async move {
        let key = format!("{name}-key");
        ask(address, "GET", "/", &[("x-api-key", &key)]).await.text().to_owned()
    };
    assert_eq!(asks("alice").await, "alice 0");
    assert_eq!(asks("bob").await, "bob 1");
    assert_eq!(asks("alice").await, "alice 0");
    assert_eq!(asks("bob").await, "bob 1");
    assert_eq!(get(address, "/").await.status(), 401, "a hit is not for everybody");
    // Stale: each is served its own and refreshes its own.
    for _ in 0..400 {
        let (alice, bob) = (asks("alice").await, asks("bob").await);
        assert!(alice.starts_with("alice ") && bob.starts_with("bob "), "{alice} {bob}");
        if origin.asked().len() >= 4 && alice != "alice 0" && bob != "bob 1" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nothing was refreshed: {:?}", origin.asked().len());
}

/// Requests of one consumer wait for one another, those of two never do.
#[tokio::test]
async fn requests_of_two_consumers_are_not_collapsed() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| {
            let name = request.field("x-consumer").unwrap_or("nobody").to_owned();
            Reply::new(200, &[("cache-control", "max-age=60")], name).after(&gate)
        }
    })
    .await;
    let gateway = start(&origin, KEYS, "");
    let address = gateway.address;
    let clients: Vec<_> = ["alice", "bob", "alice", "bob", "alice"]
        .map(|name| {
            tokio::spawn(async move {
                let key = format!("{name}-key");
                (name, ask(address, "GET", "/", &[("x-api-key", &key)]).await)
            })
        })
        .into();
    origin.wait_for(2).await;
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 5.0).await;
    gate.open();
    for client in clients {
        let (name, answer) = client.await.unwrap();
        assert_eq!(answer.text(), name);
    }
    assert_eq!(origin.asked().len(), 2);
}

/// The operator may say that all get the same.
#[tokio::test]
async fn public_answers_are_shared() {
    let origin = named("max-age=60").await;
    let gateway = start(&origin, "auth = { keys = {}, public_cache = true }", "");
    for name in ["alice-key", "bob-key"] {
        let answer = ask(gateway.address, "GET", "/", &[("x-api-key", name)]).await;
        assert_eq!(answer.text(), "alice 0");
    }
    assert_eq!(get(gateway.address, "/").await.status(), 401);
}

/// RFC 9111 §3.5, also where `Authorization` is taken away: stored only where the answer says that it may be.
#[tokio::test]
async fn answers_to_authorized_requests_are_stored_only_where_they_say_so() {
    for (cache_control, stored) in [
        ("max-age=60", false),
        ("public, max-age=60", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
    ] {
        let origin = named(cache_control).await;
        let gateway = start(&origin, "auth = { keys = { header = \"authorization\" } }", "");
        for name in ["alice", "bob"] {
            let token = format!("Bearer {name}-key");
            let fields = [("authorization", token.as_str())];
            let first = ask(gateway.address, "GET", "/", &fields).await;
            let second = ask(gateway.address, "GET", "/", &fields).await;
            assert!(first.text().starts_with(name));
            assert_eq!(first.text() == second.text(), stored, "{cache_control}: {second:?}");
        }
        assert_eq!(origin.asked()[0].request.field("authorization"), None);
    }
}

/// A change by one consumer is seen by the others (RFC 9111 §4.4).
#[tokio::test]
async fn an_unsafe_request_invalidates_for_all_consumers() {
    let origin = named("max-age=60").await;
    let gateway = start(&origin, KEYS, "");
    let asks = |method: &'static str, key: &'static str| {
        let address = gateway.address;
        async move { ask(address, method, "/", &[("x-api-key", key)]).await.text().to_owned() }
    };
    assert_eq!(asks("GET", "alice-key").await, "alice 0");
    assert_eq!(asks("GET", "bob-key").await, "bob 1");
    asks("POST", "alice-key").await;
    assert_eq!(asks("GET", "bob-key").await, "bob 3");
    assert_eq!(asks("GET", "alice-key").await, "alice 4");
}

/// Who is not let in uses up nobody's quota, and each consumer has one of its own.
#[tokio::test]
async fn limits_count_consumers() {
    let origin = named("no-store").await;
    let limit = "[[route.rate_limit]]\nname = \"each\"\nkey = \"consumer\"\nrate = \"1/m\"";
    let gateway = start(&origin, KEYS, limit);
    for (key, status) in
        [("no-key", 401), ("no-key", 401), ("alice-key", 200), ("alice-key", 429), ("bob-key", 200)]
    {
        let answer = ask(gateway.address, "GET", "/", &[("x-api-key", key), ("x-consumer", "x")]).await;
        assert_eq!(answer.status(), status, "{key}");
    }
}

#[tokio::test]
async fn addresses_are_let_in_or_not() {
    let origin = named("no-store").await;
    for (lists, status) in [
        ("allow = [\"127.0.0.0/8\"]", 200),
        ("allow = [\"192.0.2.0/24\"]", 403),
        ("deny = [\"127.0.0.1\"]", 403),
        ("allow = [\"127.0.0.0/8\"], deny = [\"127.0.0.1\"]", 403),
        ("deny = [\"192.0.2.0/24\"]", 200),
    ] {
        let gateway = start(&origin, &format!("auth = {{ {lists} }}"), "");
        let answer = get(gateway.address, "/").await;
        assert_eq!(answer.status(), status, "{lists}");
        assert_eq!(answer.field("www-authenticate"), None);
    }
}

/// A key is good, or good no more, from the moment the config says so.
#[tokio::test]
async fn a_reload_changes_who_is_let_in() {
    let origin = named("max-age=60").await;
    let gateway = start(&origin, KEYS, "");
    let fields = [("x-api-key", "alice-key")];
    assert_eq!(ask(gateway.address, "GET", "/", &fields).await.text(), "alice 0");
    let changed = config(&origin, KEYS, "").replace(&sha256("alice-key"), &sha256("new-key"));
    gateway.rewrite(&changed);
    gateway.signal("HUP");
    gateway.wait_for_log("reloaded").await;
    assert_eq!(ask(gateway.address, "GET", "/", &fields).await.status(), 401);
    let answer = ask(gateway.address, "GET", "/", &[("x-api-key", "new-key")]).await;
    assert_eq!(answer.text(), "alice 0", "her entries are still hers");
}
