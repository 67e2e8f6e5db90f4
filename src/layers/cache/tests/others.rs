//! Variants that a request does not select, offered to the origin (RFC 9111 §4.1, §4.3).

use super::super::purge::Mode;
use super::*;

const ENGLISH: &[(&str, &str)] = &[
    ("cache-control", "max-age=60"),
    ("vary", "accept-language"),
    ("etag", "\"en\""),
    ("x-old", "1"),
    ("x-kept", "1"),
];

fn speaking(language: &str) -> [(&'static str, &str); 1] {
    [("accept-language", language)]
}

fn asking() -> Bench {
    bench_with(|config| config.validate_variants = true, room_of(64 << 20, 1 << 20))
}

/// A bench where this is stored for those who speak `en`, and this for those who speak `fr`.
async fn bilingual(english: &[(&str, &str)], french: &[(&str, &str)]) -> Bench {
    let mut bench = asking();
    for (language, fields, body) in [("en", english, "hello"), ("fr", french, "bonjour")] {
        let got = bench.get_at(0, &speaking(language));
        bench.asked().await.answer(Ok(response(200, fields, body)));
        assert_eq!(text(got.await.unwrap().unwrap()).await, body);
        bench.is_idle().await;
    }
    bench
}

/// What `If-None-Match` says to the origin when `request` selects nothing that is stored.
async fn offered(bench: &mut Bench, request: &[(&str, &str)]) -> Option<String> {
    let got = bench.get_at(0, request);
    let asked = bench.asked().await;
    let condition = asked.header("if-none-match").map(ToOwned::to_owned);
    assert!(asked.header("if-modified-since").is_none() && asked.header("range").is_none());
    asked.answer(Ok(response(500, &[], "")));
    text(got.await.unwrap().unwrap()).await;
    bench.is_idle().await;
    condition
}

fn french(tag: &str) -> [(&'static str, &str); 3] {
    [("cache-control", "max-age=60"), ("vary", "accept-language"), ("etag", tag)]
}

#[tokio::test]
async fn a_304_chooses_one_of_them() {
    let mut bench = bilingual(ENGLISH, &french("\"fr\"")).await;
    // The client's own condition is evaluated here, and its range taken from what is chosen.
    let mut request = speaking("en-GB").to_vec();
    request.push(("range", "bytes=0-3"));
    let got = bench.get_at(0, &request);
    let follower = bench.get_at(0, &speaking("en-GB"));
    let asked = bench.asked().await;
    assert_eq!(asked.header("if-none-match"), Some("\"fr\", \"en\""), "the newest first");
    assert_eq!((asked.header("accept-language"), asked.header("range")), (Some("en-GB"), None));
    bench.settle().await;
    let update =
        [("etag", "\"en\""), ("cache-control", "max-age=1000"), ("vary", "accept-language"), ("x-old", "2")];
    asked.answer(Ok(response(304, &update, "")));
    let got = got.await.unwrap().unwrap();
    assert!(
        status_of(&got).starts_with("forebay; fwd=vary-miss; fwd-status=304; ttl="),
        "{}",
        status_of(&got)
    );
    assert_eq!(
        (got.status.as_u16(), field(&got, "x-old"), field(&got, "x-kept")),
        (206, Some("2"), Some("1"))
    );
    assert_eq!(text(got).await, "hell");
    assert_eq!(text(follower.await.unwrap().unwrap()).await, "hello");
    // It is a variant now; the one it was taken from is as it was (§4.3.4).
    for (language, old, seconds) in [("en-GB", "2", 900), ("en", "1", 50)] {
        let hit = bench.get_at(seconds, &speaking(language)).await.unwrap().unwrap();
        assert!(status_of(&hit).contains("; hit"), "{}", status_of(&hit));
        assert_eq!(field(&hit, "x-old"), Some(old));
        assert_eq!(text(hit).await, "hello");
    }
    let stale = bench.get_at(900, &speaking("en"));
    assert_eq!(bench.asked().await.header("if-none-match"), Some("\"en\""));
    stale.abort();
    assert_eq!(bench.calls(), 4);
}

#[tokio::test]
async fn a_200_is_an_answer_like_any_other() {
    let mut bench = bilingual(ENGLISH, &french("\"fr\"")).await;
    let got = bench.get_at(0, &speaking("de"));
    let asked = bench.asked().await;
    assert!(asked.header("if-none-match").is_some());
    asked.answer(Ok(response(200, &french("\"de\""), "hallo")));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "hallo");
    bench.is_idle().await;
    assert_eq!(text(bench.get_at(0, &speaking("de")).await.unwrap().unwrap()).await, "hallo");
}

#[tokio::test]
async fn a_304_for_none_of_them_is_asked_again() {
    for update in [&[("etag", "\"other\"")][..], &[("etag", "W/\"en\"")], &[]] {
        let mut bench = bilingual(ENGLISH, &french("\"fr\"")).await;
        let got = bench.get_at(0, &speaking("de"));
        bench.asked().await.answer(Ok(response(304, update, "")));
        let asked = bench.asked().await;
        assert!(asked.header("if-none-match").is_none());
        asked.answer(Ok(response(200, &french("\"de\""), "hallo")));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "hallo", "{update:?}");
    }
}

#[tokio::test]
async fn what_is_offered() {
    let german = &speaking("de")[..];
    let tags = |first, second| async move {
        let mut bench = bilingual(&french(first), &french(second)).await;
        offered(&mut bench, german).await
    };
    assert_eq!(tags("\"a\"", "\"b\"").await.as_deref(), Some("\"b\", \"a\""));
    assert_eq!(tags("\"a\"", "\"a\"").await.as_deref(), Some("\"a\""), "once");
    assert_eq!(tags("W/\"a\"", "\"b\"").await.as_deref(), Some("\"b\""), "a weak tag tells too little");
    assert_eq!(tags("W/\"a\"", "a").await, None);
    let long = format!("\"{}\"", "x".repeat(1100));
    assert_eq!(tags(&long, "\"b\"").await.as_deref(), Some("\"b\""), "not beyond a KiB");
    let coded = |coding| [french("\"b\"").as_slice(), &[("content-encoding", coding), ("x-a", "1")]].concat();
    let mut bench = bilingual(&french("\"a\""), &coded("gzip")).await;
    assert_eq!(offered(&mut bench, german).await.as_deref(), Some("\"a\""), "it takes no gzip");
    let takes_gzip = [german, &[("accept-encoding", "gzip")]].concat();
    assert_eq!(offered(&mut bench, &takes_gzip).await.as_deref(), Some("\"b\", \"a\""));
    let origins = [("cache-control", "max-age=60"), ("vary", "accept-language, Origin"), ("etag", "\"b\"")];
    let mut bench = bilingual(&french("\"a\""), &origins).await;
    assert_eq!(offered(&mut bench, german).await.as_deref(), Some("\"a\""), "fields differ, not content");
}

#[tokio::test]
async fn not_too_many_are_offered() {
    let mut bench = asking();
    let languages: Vec<_> = (0..12).map(|number| format!("x-{number}")).collect();
    for language in &languages {
        let got = bench.get_at(0, &speaking(language));
        bench.asked().await.answer(Ok(response(200, &french(&format!("\"{language}\"")), "text")));
        text(got.await.unwrap().unwrap()).await;
        bench.is_idle().await;
    }
    let condition = offered(&mut bench, &speaking("de")).await.unwrap();
    let expected: Vec<_> = languages.iter().rev().take(8).map(|language| format!("\"{language}\"")).collect();
    assert_eq!(condition, expected.join(", "));
}

#[tokio::test]
async fn what_was_purged_is_not_offered_nor_served() {
    let mut bench = bilingual(ENGLISH, &french("\"fr\"")).await;
    let control = bench.cache.control().unwrap();
    // While the origin is being asked.
    let got = bench.get_at(0, &speaking("de"));
    let asked = bench.asked().await;
    assert!(asked.header("if-none-match").is_some());
    control.purge(&[control.everything()], Mode::Hard);
    asked.answer(Ok(response(304, ENGLISH, "")));
    let asked = bench.asked().await;
    assert!(asked.header("if-none-match").is_none());
    asked.answer(Ok(response(200, &french("\"de\""), "hallo")));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "hallo");
    // And before.
    control.purge(&[control.everything()], Mode::Hard);
    assert_eq!(offered(&mut bench, &speaking("it")).await, None);
}

#[tokio::test]
async fn nothing_is_offered_unless_the_route_says_so() {
    let mut bench = bench();
    let got = bench.get_at(0, &speaking("en"));
    bench.asked().await.answer(Ok(response(200, ENGLISH, "hello")));
    text(got.await.unwrap().unwrap()).await;
    bench.is_idle().await;
    assert_eq!(offered(&mut bench, &speaking("de")).await, None);
}
