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
