//! The cache as clients and origins see it (RFC 9111, RFC 9211).

use std::net::SocketAddr;

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn status(answer: &Message) -> &str {
    answer.field("cache-status").unwrap_or_else(|| panic!("no Cache-Status: {answer:?}"))
}

fn is_hit(answer: &Message) -> bool {
    status(answer).starts_with("forebay; hit")
}

/// An origin that numbers its answers.
async fn counting(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::start(move |_, count| Reply::new(200, fields, format!("answer {count}"))).await
}

#[tokio::test]
async fn a_miss_and_its_hits() {
    let origin = counting(&[FRESH, ("etag", "\"v1\""), ("x-mine", "1")]).await;
    let gateway = Gateway::before(origin.address, "").await;
    let first = get(gateway.address, "/a").await;
    assert!(status(&first).starts_with("forebay; fwd=uri-miss; fwd-status=200; ttl="), "{}", status(&first));
    assert!(status(&first).ends_with("; stored"), "{}", status(&first));
    assert_eq!(first.field("age"), None);
    for _ in 0..3 {
        let hit = get(gateway.address, "/a").await;
        assert!(status(&hit).starts_with("forebay; hit; ttl="), "{}", status(&hit));
        // RFC 9111 §4: with an Age; RFC 9110 §8.8.3: with all that identifies it.
        assert!(hit.field("age").is_some_and(|age| age.parse::<u64>().is_ok()), "{hit:?}");
        assert_eq!(
            (hit.text(), hit.field("etag"), hit.field("x-mine")),
            ("answer 0", Some("\"v1\""), Some("1"))
        );
        assert_eq!(hit.field("content-length"), Some("8"));
    }
    // What makes two requests the same: host and query too.
    assert_eq!(get(gateway.address, "/a?b").await.text(), "answer 1");
    let mut client = Client::connect(gateway.address).await;
    client.write("GET /a HTTP/1.1\r\nhost: other.example\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "answer 2");
    assert_eq!(gateway.metrics().await.sum("forebay_cache_entries", &[]), 3.0);
    gateway.at_rest().await;
}

/// RFC 9111 §3, and what the gateway leaves alone on top: cookies.
#[tokio::test]
async fn what_is_not_stored() {
    for (fields, detail) in [
        (&[("cache-control", "no-store, max-age=60")][..], "no-store"),
        (&[("cache-control", "private, max-age=60")], "private"),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], "set-cookie"),
        (&[("cache-control", "max-age=60"), ("vary", "*")], "vary-star"),
        (&[], "no-freshness"),
    ] {
        let origin = counting(fields).await;
        let gateway = Gateway::before(origin.address, "").await;
        let first = get(gateway.address, "/a").await;
        assert!(status(&first).ends_with(&format!("; detail={detail}")), "{}", status(&first));
        assert!(!status(&first).contains("stored;"), "{}", status(&first));
        assert_eq!(get(gateway.address, "/a").await.text(), "answer 1", "{detail}");
        gateway.at_rest().await;
    }
}

/// RFC 9111 §4.1.
#[tokio::test]
async fn variants_are_told_apart() {
    let origin = Origin::start(|request, count| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::new(200, &[FRESH, ("vary", "accept-language")], format!("{language} {count}"))
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    for _ in 0..2 {
        for (count, language) in ["en", "fr", "de"].into_iter().enumerate() {
            let answer = ask(gateway.address, "GET", "/", &[("accept-language", language)]).await;
            assert_eq!(answer.text(), format!("{language} {count}"), "{}", status(&answer));
        }
    }
    let other = get(gateway.address, "/").await;
    assert!(status(&other).contains("fwd=vary-miss"), "{}", status(&other));
    assert_eq!(origin.asked().len(), 4);
}

/// RFC 9111 §4.1, §4.3.1: where a route says so, the origin is asked whether a variant of others is what it
/// would send.
#[tokio::test]
async fn variants_of_others_are_offered_where_a_route_says_so() {
    let origin = Origin::start(|request, count| match request.field("if-none-match") {
        Some("\"en\"") => Reply::raw(
            "HTTP/1.1 304 Not Modified\r\netag: \"en\"\r\nvary: accept-language\r\n\
             cache-control: max-age=60\r\n\r\n",
        ),
        _ => {
            let fields = [FRESH, ("vary", "accept-language"), ("etag", "\"en\"")];
            Reply::new(200, &fields, format!("hello {count}"))
        }
    })
    .await;
    for (route, british) in [("", "hello 1"), ("cache.validate_variants = true", "hello 2")] {
        let gateway = Gateway::before(origin.address, route).await;
        for (language, text) in [("en", None), ("en-GB", Some(british)), ("en-GB", Some(british))] {
            let answer = ask(gateway.address, "GET", "/", &[("accept-language", language)]).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text(), text.unwrap_or(answer.text()), "{route}: {}", status(&answer));
        }
    }
    // One more for each, and the second time without content.
    assert_eq!(origin.asked().len(), 4);
}

/// RFC 9111 §4.3: what is stale is confirmed, not fetched again.
#[tokio::test]
async fn a_stale_entry_is_revalidated() {
    let origin = Origin::start(|request, count| match request.field("if-none-match") {
        Some("\"v1\"") if count < 3 => {
            Reply::raw("HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\nx-count: 2\r\n\r\n")
        }
        _ => {
            Reply::new(200, &[("cache-control", "max-age=0"), ("etag", "\"v1\"")], format!("answer {count}"))
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    assert_eq!(get(gateway.address, "/").await.text(), "answer 0");
    for _ in 0..2 {
        let confirmed = get(gateway.address, "/").await;
        assert_eq!((confirmed.status(), confirmed.text()), (200, "answer 0"));
        assert!(
            status(&confirmed).starts_with("forebay; fwd=stale; fwd-status=304"),
            "{}",
            status(&confirmed)
        );
        assert_eq!(confirmed.field("x-count"), Some("2"), "RFC 9111 §3.2: its fields are updated");
    }
    let changed = get(gateway.address, "/").await;
    assert_eq!(changed.text(), "answer 3");
    assert!(status(&changed).contains("fwd=stale; fwd-status=200"), "{}", status(&changed));
    gateway.at_rest().await;
}

/// RFC 9110 §9.3.2, §13, §14: parts of what is stored, and words about it.
#[tokio::test]
async fn head_conditions_and_ranges_are_answered_from_the_store() {
    let fields = [FRESH, ("etag", "\"v1\""), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let origin = Origin::always(Reply::new(200, &fields, "0123456789")).await;
    let gateway = Gateway::before(origin.address, "").await;
    get(gateway.address, "/").await;
    let head = ask(gateway.address, "HEAD", "/", &[]).await;
    assert_eq!((head.status(), head.field("content-length")), (200, Some("10")));
    assert!(is_hit(&head));
    for (name, value, code, body) in [
        ("if-none-match", "\"v1\"", 304, ""),
        ("if-none-match", "W/\"v1\", \"v0\"", 304, ""),
        ("if-none-match", "\"v0\"", 200, "0123456789"),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 304, ""),
        ("range", "bytes=2-4", 206, "234"),
        ("range", "bytes=-3", 206, "789"),
        ("range", "bytes=20-", 416, ""),
        ("range", "lines=1-2", 200, "0123456789"),
    ] {
        let answer = ask(gateway.address, "GET", "/", &[(name, value)]).await;
        assert_eq!((answer.status(), answer.text()), (code, body), "{name}: {value}");
        assert!(is_hit(&answer), "{name}: {value}: {}", status(&answer));
    }
    let part = ask(gateway.address, "GET", "/", &[("range", "bytes=2-4")]).await;
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(origin.asked().len(), 1);
}

/// A client's range or condition does not shape what is stored (RFC 9111 §3.3).
#[tokio::test]
async fn a_partial_request_fills_the_store_with_the_whole() {
    let origin = Origin::start(|request, _| {
        assert_eq!((request.field("range"), request.field("if-none-match")), (None, None));
        Reply::new(200, &[FRESH, ("etag", "\"v1\"")], "0123456789")
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let part = ask(gateway.address, "GET", "/a", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status(), part.text()), (206, "234"));
    assert_eq!(get(gateway.address, "/a").await.text(), "0123456789");
    let unchanged = ask(gateway.address, "GET", "/b", &[("if-none-match", "\"v1\"")]).await;
    assert_eq!(unchanged.status(), 304);
    assert!(is_hit(&get(gateway.address, "/b").await));
    assert_eq!(origin.asked().len(), 2);
}

/// RFC 5861 §3.
#[tokio::test]
async fn a_stale_entry_is_served_while_it_is_revalidated() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |_, count| {
            let fields = [("cache-control", "max-age=0, stale-while-revalidate=60")];
            let reply = Reply::new(200, &fields, format!("answer {count}"));
            if count == 0 { reply } else { reply.after(&gate) }
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    get(gateway.address, "/").await;
    // The origin takes its time, and nobody waits for it; it is asked once.
    for _ in 0..3 {
        let stale = get(gateway.address, "/").await;
        assert_eq!(stale.text(), "answer 0");
        assert!(status(&stale).ends_with("detail=stale-while-revalidate"), "{}", status(&stale));
    }
    origin.wait_for(2).await;
    gate.open();
    gateway.wait_for("forebay_cache_stored_total", &[], |count| count == 2.0).await;
    assert_eq!(get(gateway.address, "/").await.text(), "answer 1");
    gateway.at_rest().await;
}

/// RFC 5861 §4: better stale than nothing.
#[tokio::test]
async fn a_stale_entry_stands_in_for_an_origin_that_is_gone() {
    let origin = counting(&[("cache-control", "max-age=0, stale-if-error=60")]).await;
    let gateway = Gateway::before(origin.address, "").await;
    get(gateway.address, "/").await;
    drop(origin);
    let stale = get(gateway.address, "/").await;
    assert_eq!((stale.status(), stale.text()), (200, "answer 0"), "{stale:?}");
    assert!(status(&stale).ends_with("detail=stale-if-error"), "{}", status(&stale));
    assert!([502, 503].contains(&get(gateway.address, "/other").await.status()));
    gateway.at_rest().await;
}

/// One request to the origin serves all, and each has its first byte while the origin still writes.
#[tokio::test]
async fn two_hundred_clients_share_one_trickling_answer() {
    let (head, body) = (Gate::new(), Gate::new());
    let whole = Reply::chunked(200, &[FRESH], &["first ", "second"]);
    let first = whole.len() - "6\r\nsecond\r\n0\r\n\r\n".len();
    let origin = Origin::always(whole.pause_after(first, &body).after(&head)).await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(gateway.address).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 200.0).await;
    head.open();
    for client in &mut clients {
        client.wait_for("first ").await;
    }
    body.open();
    let mut collapsed = 0;
    for client in &mut clients {
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.text()), (200, "first second"));
        collapsed += usize::from(status(&answer).contains("; collapsed"));
    }
    assert_eq!((origin.asked().len(), collapsed), (1, 199));
    gateway.at_rest().await;
}

/// Where the route's answers can never be shared, requests for what is unknown go side by side.
#[tokio::test]
async fn requests_are_not_collapsed_where_nothing_is_shared() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| {
            let reply = Reply::new(200, &[("cache-control", "no-store")], "mine alone");
            if request.target() == "/slow" { reply.after(&gate) } else { reply }
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    get(gateway.address, "/first").await;
    let clients = [(); 3].map(|()| tokio::spawn(get(gateway.address, "/slow")));
    // All three are there before one is answered: together they take the time of one.
    origin.wait_for(4).await;
    gate.open();
    for client in clients {
        let answer = client.await.unwrap();
        assert_eq!(answer.text(), "mine alone");
        assert!(status(&answer).ends_with("; detail=no-store"), "{}", status(&answer));
    }
    let decided = [("decision", "never-shared")];
    assert_eq!(gateway.metrics().await.sum("forebay_cache_collapse_decisions_total", &decided), 3.0);
    gateway.at_rest().await;
}

/// RFC 9111 §5.2.1.7.
#[tokio::test]
async fn only_if_cached() {
    let origin = counting(&[FRESH]).await;
    let gateway = Gateway::before(origin.address, "").await;
    let wanted = [("cache-control", "only-if-cached")];
    assert_eq!(ask(gateway.address, "GET", "/", &wanted).await.status(), 504);
    assert!(origin.asked().is_empty());
    get(gateway.address, "/").await;
    assert!(is_hit(&ask(gateway.address, "GET", "/", &wanted).await));
}

/// RFC 9111 §4.4: what a client changes is not served from the store any more; what it failed to change is.
#[tokio::test]
async fn unsafe_methods_invalidate() {
    let origin = Origin::start(|request, count| match (request.method(), request.target()) {
        ("GET", _) => Reply::new(200, &[FRESH], format!("answer {count}")),
        (_, "/refused") => Reply::new(409, &[], ""),
        _ => Reply::new(204, &[], ""),
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for (target, kept) in [("/changed", false), ("/refused", true)] {
            let before = get(gateway.address, target).await;
            let changed = ask(gateway.address, method, target, &[]).await;
            assert!(status(&changed).contains("fwd=method"), "{}", status(&changed));
            let after = get(gateway.address, target).await;
            assert_eq!(is_hit(&after), kept, "{method} {target}: {}", status(&after));
            assert_eq!(before.text() == after.text(), kept, "{method} {target}");
        }
    }
}

/// RFC 9111 §2: the answer to a POST is nobody else's.
#[tokio::test]
async fn post_is_not_stored() {
    let origin = counting(&[FRESH]).await;
    let gateway = Gateway::before(origin.address, "").await;
    for count in 0..2 {
        let answer = ask(gateway.address, "POST", "/", &[]).await;
        assert_eq!(answer.text(), format!("answer {count}"));
    }
    assert_eq!(get(gateway.address, "/").await.text(), "answer 2");
}

/// RFC 9111 §3.3: a response that was cut is no response to store.
#[tokio::test]
async fn nothing_partial_is_stored() {
    let whole = Reply::chunked(200, &[FRESH], &["first ", "second"]);
    let cut = whole.len() - "second\r\n0\r\n\r\n".len();
    let origin = Origin::start(move |_, count| match count {
        0 => whole.clone().cut_after(cut),
        1 => whole.clone().reset_after(cut),
        _ => whole.clone(),
    })
    .await;
    let gateway = Gateway::before(origin.address, "[route.retry]\nattempts = 1").await;
    for _ in 0..2 {
        assert!(!get(gateway.address, "/").await.complete);
        assert_eq!(gateway.metrics().await.sum("forebay_cache_entries", &[]), 0.0);
    }
    assert_eq!(get(gateway.address, "/").await.text(), "first second");
    assert!(is_hit(&get(gateway.address, "/").await));
    gateway.at_rest().await;
}

/// RFC 9111 §3.5: what was made for one user is not another's, unless the origin says so.
#[tokio::test]
async fn answers_to_authorized_requests_are_not_shared_unasked() {
    async fn ask_as(address: SocketAddr, user: &str) -> Message {
        ask(address, "GET", "/", &[("authorization", user)]).await
    }
    for (control, shared) in [
        ("max-age=60", false),
        ("public, max-age=60", true),
        ("s-maxage=60", true),
        ("must-revalidate, max-age=60", true),
    ] {
        let origin = Origin::start(move |_, count| {
            Reply::new(200, &[("cache-control", control)], format!("answer {count}"))
        })
        .await;
        let gateway = Gateway::before(origin.address, "").await;
        let first = ask_as(gateway.address, "Basic YTph").await;
        assert_eq!(status(&first).contains("stored"), shared, "{control}: {}", status(&first));
        assert_eq!(is_hit(&ask_as(gateway.address, "Basic YjpC").await), shared, "{control}");
        assert_eq!(is_hit(&get(gateway.address, "/").await), shared, "{control}");
    }
}

/// RFC 9110 §9.3.3: over a socket, with content that is read in full before its key is known.
#[tokio::test]
async fn queries_in_a_body_are_cached_where_a_route_asks_for_it() {
    let origin = Origin::start(|request, count| {
        let content = String::from_utf8_lossy(&request.body).into_owned();
        Reply::new(200, &[FRESH], format!("{} {content} {count}", request.method()))
    })
    .await;
    let route = "[route.cache]\nmethods = [\"GET\", \"POST\"]\nkey = { body = \"1KiB\" }\n";
    let gateway = Gateway::before(origin.address, route).await;
    let long = "x".repeat(1025);
    let mut client = Client::connect(gateway.address).await;
    for (content, answer, hit) in [
        ("{a}", "POST {a} 0".to_owned(), false),
        ("{b}", "POST {b} 1".to_owned(), false),
        ("{a}", "POST {a} 0".to_owned(), true),
        (long.as_str(), format!("POST {long} 2"), false),
        (long.as_str(), format!("POST {long} 3"), false),
        ("{b}", "POST {b} 1".to_owned(), true),
    ] {
        let length = content.len();
        client
            .write(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{content}"))
            .await;
        let got = client.response().await;
        assert_eq!((got.text(), is_hit(&got)), (answer.as_str(), hit), "{}", status(&got));
    }
    // Content whose length is not known when its head comes passes.
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{a}\r\n0\r\n\r\n")
        .await;
    let chunked = client.response().await;
    assert_eq!(chunked.text(), "POST {a} 4");
    assert!(status(&chunked).ends_with("detail=content"), "{}", status(&chunked));
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "GET  5");
    drop(client);
    gateway.at_rest().await;
}

/// RFC 9213: over a socket, on a miss and on a hit.
#[tokio::test]
async fn a_targeted_field_decides_and_stays_here() {
    let fields = [
        ("forebay-cdn-cache-control", "max-age=60"),
        ("cdn-cache-control", "no-store"),
        ("cache-control", "private"),
    ];
    let origin = Origin::always(Reply::new(200, &fields, "x")).await;
    let gateway = Gateway::before(origin.address, "").await;
    for hit in [false, true, true] {
        let got = get(gateway.address, "/").await;
        assert_eq!(is_hit(&got), hit);
        assert_eq!(got.field("forebay-cdn-cache-control"), None);
        assert_eq!(
            (got.field("cdn-cache-control"), got.field("cache-control")),
            (Some("no-store"), Some("private"))
        );
    }
    assert_eq!(origin.asked().len(), 1);
}
