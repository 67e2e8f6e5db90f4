//! What makes two requests the same, and what tells variants apart (RFC 9111 §2, §4.1).

use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply, ask, get};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn is_hit(answer: &Message) -> bool {
    answer.field("cache-status").is_some_and(|status| status.starts_with("forebay; hit"))
}

/// The origin gets every parameter; those of the list do not make another key.
#[tokio::test]
async fn tracking_parameters_do_not_count() {
    let origin = Origin::start(|request, _| Reply::new(200, &[FRESH], request.target())).await;
    let route = "[route.cache.key.query]\nignore = [\"@tracking\", \"x\"]\nsort = true\n";
    let gateway = Gateway::before(origin.address, route).await;
    let first = get(gateway.address, "/a?b=1&gclid=7&a=2&utm_source=mail&x=y").await;
    assert_eq!(first.text(), "/a?b=1&gclid=7&a=2&utm_source=mail&x=y");
    for same in ["/a?b=1&a=2", "/a?a=2&b=1&fbclid=9", "/a?%75tm_source=b&b=1&a=2", "/a?a=2&x=&b=1&&"] {
        let hit = get(gateway.address, same).await;
        assert!(is_hit(&hit) && hit.text() == first.text(), "{same}: {hit:?}");
    }
    // Parameter cloaking: what some origin might read in another way is another request.
    for other in [
        "/a?b=1&a=2;c=3",
        "/a?b=1&a=2&utm_source=m;a=3",
        "/a?b=1&a=2&utm_x%26a=3",
        "/a?b=1&a=2&utm_x%3ba=3",
        "/a?b=1&a=2&utm_x[a]=3",
        "/a?b=1&a=2&Gclid=3",
        "/a?b=1&a=2&a=3",
        "/a?b=1&a=3&a=2",
        "/a?b=1%26a=2",
        "/a?b=1",
    ] {
        assert_eq!(get(gateway.address, other).await.text(), other);
    }
}

/// Whatever browsers write, there is one variant a set of codings and a language; the origin is asked for it.
#[tokio::test]
async fn fields_are_normalised_for_the_key_and_for_the_origin() {
    let origin = Origin::start(|request, _| {
        let said = |name| request.field(name).unwrap_or("-").to_owned();
        let body = format!("{} / {}", said("accept-encoding"), said("accept-language"));
        Reply::new(200, &[FRESH, ("vary", "accept-encoding, accept-language")], body)
    })
    .await;
    let route = "[route.cache.normalize]\naccept_encoding = true\naccept_language = [\"en\", \"fr\"]\n";
    let gateway = Gateway::before(origin.address, route).await;
    for (at, (asked, variant)) in [
        ([("accept-encoding", "gzip, deflate, br"), ("accept-language", "en-US,en;q=0.5")], "br, gzip / en"),
        ([("accept-encoding", "br;q=0.9,GZIP"), ("accept-language", "EN, fr;q=0.2")], "br, gzip / en"),
        ([("accept-encoding", "gzip,br"), ("accept-language", "de, fr;q=0.9")], "br, gzip / fr"),
        ([("accept-encoding", " br , gzip;q=0.1"), ("accept-language", "fr-CH")], "br, gzip / fr"),
        ([("accept-encoding", "identity"), ("accept-language", "ja")], "identity / -"),
        ([("x-a", "b"), ("x-c", "d")], "identity / -"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(gateway.address, "GET", "/", &asked).await;
        assert_eq!(answer.text(), variant, "{asked:?}");
        assert_eq!(is_hit(&answer), at % 2 == 1, "{asked:?}");
    }
    assert_eq!(origin.asked().len(), 3);
}

/// RFC 9111 §4.1: a response with `Vary: *`, however it is written, answers nobody else.
#[tokio::test]
async fn vary_star_is_never_reused() {
    for vary in ["*", "accept, *", "*, accept", ",*"] {
        let origin =
            Origin::start(move |_, count| Reply::new(200, &[FRESH, ("vary", vary)], format!("{count}")))
                .await;
        let gateway = Gateway::before(origin.address, "").await;
        for count in 0..3 {
            assert_eq!(get(gateway.address, "/").await.text(), count.to_string(), "{vary}");
        }
    }
}

/// The oldest variants go, and the operator learns it once.
#[tokio::test]
async fn too_many_variants_are_told() {
    let origin = Origin::start(|request, count| {
        Reply::new(200, &[FRESH, ("vary", "x-a")], format!("{} {count}", request.field("x-a").unwrap_or("-")))
    })
    .await;
    let gateway = Gateway::before(origin.address, "[route.cache]\nmax_variants = 2\n").await;
    for value in ["a", "b", "c", "d"] {
        ask(gateway.address, "GET", "/", &[("x-a", value)]).await;
    }
    for (value, hit) in [("d", true), ("c", true), ("a", false), ("d", true), ("c", false)] {
        let answer = ask(gateway.address, "GET", "/", &[("x-a", value)]).await;
        assert_eq!(is_hit(&answer), hit, "{value}");
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_cache_variants_dropped_total", &[]), 4.0);
    gateway.wait_for_log("more variants than max_variants").await;
    let said = gateway.log().matches("more variants than max_variants").count();
    assert_eq!(said, 1, "{}", gateway.log());
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\nx-a: d\r\n\r\n").await;
    assert!(!is_hit(&client.response().await), "another host");
}

const SEARCH: &str = "[route.cache.key.query]\nno_vary_search = true\n";

/// An origin that says of every path but `/plain` that `page` and `q` alone matter.
async fn searching(cache_control: &'static str) -> Origin {
    Origin::start(move |request, count| {
        let fields = [
            ("cache-control", cache_control),
            ("etag", "\"1\""),
            ("no-vary-search", "key-order, params, except=(\"page\" \"q\")"),
        ];
        match (request.method(), request.field("if-none-match")) {
            ("DELETE", _) => Reply::new(204, &[], ""),
            (_, Some("\"1\"")) => Reply::new(304, &fields[..2], ""),
            _ if request.target().contains("plain") => Reply::new(200, &fields[..2], format!("{count}")),
            _ => Reply::new(200, &fields, format!("{count}")),
        }
    })
    .await
}

/// draft-ietf-httpbis-no-vary-search, "Caching": the variance is the stored response's own.
#[tokio::test]
async fn responses_say_what_of_a_query_matters() {
    let origin = searching("max-age=60").await;
    let gateway = Gateway::before(origin.address, SEARCH).await;
    for (target, body, hit) in [
        ("/a?q=1&id=7", "0", false),
        ("/a?q=1&id=8", "0", true),
        ("/a?id=9&%71=1", "0", true),
        ("/a?q=1", "0", true),
        ("/a?q=2&id=7", "1", false),
        ("/a?page=2&q=2", "2", false),
        ("/a?q=2&page=2&id=1", "2", true),
        // What some origin might read in another way.
        ("/a?q=2&page=2;q=3", "3", false),
        ("/a?q=2&page=2&Q=3", "4", false),
        ("/a", "5", false),
        ("/a?", "5", true),
        ("/a?id=1", "5", true),
        // Another path, of which nothing is known; and one whose responses say nothing.
        ("/b?q=1", "6", false),
        ("/plain?q=1", "7", false),
        ("/plain?q=1&id=1", "8", false),
        ("/plain?q=1", "7", true),
        // One that says nothing among those that do answers its own target alone.
        ("/a?q=plain", "9", false),
        ("/a?q=plain&id=1", "10", false),
        ("/a?q=plain", "9", true),
        ("/a?q=1&id=10", "0", true),
    ] {
        let answer = get(gateway.address, target).await;
        assert_eq!((answer.text(), is_hit(&answer)), (body, hit), "{target}: {answer:?}");
    }
    gateway.at_rest().await;
    let mut operator = Client::connect(gateway.admin).await;
    let url = "http://test.example/a?q=1%26id=77";
    operator
        .write(format!("GET /api/v1/cache/entry?url={url} HTTP/1.1\r\nhost: {}\r\n\r\n", gateway.admin))
        .await;
    let known = operator.response().await;
    assert!(known.text().contains("no-vary-search"), "{known:?}");
    let other = Gateway::before(origin.address, "").await;
    for target in ["/a?q=1&id=7", "/a?q=1&id=8"] {
        assert!(!is_hit(&get(other.address, target).await), "only where the route says so");
    }
}

/// RFC 9111 §4.3, §4.4: what is found by what its response says is revalidated, and made invalid, like
/// anything else.
#[tokio::test]
async fn responses_found_by_what_matters_of_a_query_live_on() {
    let origin = searching("max-age=0").await;
    let gateway = Gateway::before(origin.address, SEARCH).await;
    assert_eq!(get(gateway.address, "/a?q=1&id=1").await.text(), "0");
    for target in ["/a?q=1&id=2", "/a?id=3&q=1", "/a?q=1&id=1"] {
        assert_eq!(get(gateway.address, target).await.text(), "0");
        let asked = origin.asked().pop().unwrap().request;
        assert_eq!((asked.target(), asked.field("if-none-match")), (target, Some("\"1\"")));
    }
    let unchanged = ask(gateway.address, "HEAD", "/a?q=1&id=4", &[]).await;
    assert_eq!(unchanged.status(), 200);

    let origin = searching("max-age=60").await;
    let gateway = Gateway::before(origin.address, SEARCH).await;
    let stored = ["/a?q=1&id=1", "/a?q=2", "/b?q=1"];
    for target in stored {
        get(gateway.address, target).await;
    }
    assert!(is_hit(&get(gateway.address, "/a?q=1&id=2").await));
    ask(gateway.address, "DELETE", "/a?q=1&id=3", &[]).await;
    for (target, hit) in [("/a?id=4&q=1", false), ("/a?q=2&id=4", false), ("/b?q=1", true)] {
        assert_eq!(is_hit(&get(gateway.address, target).await), hit, "{target}");
    }
    assert!(is_hit(&get(gateway.address, "/a?q=1&id=5").await));
    gateway.at_rest().await;
}

/// A path whose responses change their mind: each answers what it said itself.
#[tokio::test]
async fn what_matters_of_a_query_may_change() {
    let origin = Origin::start(|request, count| {
        let said = if request.target().contains("old") { "params=(\"a\")" } else { "params=(\"b\")" };
        Reply::new(200, &[FRESH, ("no-vary-search", said)], format!("{count}"))
    })
    .await;
    let gateway = Gateway::before(origin.address, SEARCH).await;
    for (target, body) in [
        ("/?old&a=1", "0"),
        ("/?old&a=2", "0"),
        // Found by what /?old said, that a does not matter, but its response says that b does not.
        ("/?a=1", "1"),
        ("/?a=2", "2"),
        ("/?a=1&b=3", "1"),
        ("/?a=2&b=3", "2"),
        // Nothing is found by the new word that was stored by the old one.
        ("/?old&a=3", "3"),
        ("/?old&a=4", "3"),
        ("/?a=3", "4"),
    ] {
        assert_eq!(get(gateway.address, target).await.text(), body, "{target}");
    }
    gateway.at_rest().await;
}
