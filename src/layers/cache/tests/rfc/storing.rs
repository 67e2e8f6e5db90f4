//! RFC 9111 §3: what is stored.

use super::*;

const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

/// RFC 9111 §3: a final status, and an explicit lifetime, whatever the status.
#[tokio::test]
async fn statuses_with_a_lifetime() {
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 418, 500, 501] {
        assert_eq!(outcome_with(|_| {}, status, &[MINUTE], 1, &[]).await, Got::Hit, "{status}");
    }
    // They answer one request only.
    for status in [304, 412, 416] {
        assert_ne!(outcome_with(|_| {}, status, &[MINUTE], 1, &[]).await, Got::Hit, "{status}");
    }
}

#[tokio::test]
async fn responses() {
    let in_an_hour = date(3600);
    let rows: [(&str, Fields<'_>, Got); 21] = [
        ("9111 §3: max-age", &[MINUTE], Got::Hit),
        ("9111 §3: s-maxage", &[("cache-control", "s-maxage=60")], Got::Hit),
        ("9111 §3: Expires", &[("expires", &in_an_hour)], Got::Hit),
        ("9111 §3: nothing explicit, no heuristics", &[], Got::Fetched),
        ("9111 §4.2.2: a validator is no lifetime", &[("etag", "\"a\"")], Got::Fetched),
        ("9111 §5.2.2.5", &[("cache-control", "max-age=60, no-store")], Got::Fetched),
        ("9111 §5.2.2.5: over several lines", &[MINUTE, ("cache-control", "no-store")], Got::Fetched),
        ("9111 §5.2: case", &[("cache-control", "MAX-AGE=60, No-Store")], Got::Fetched),
        ("9111 §5.2.2.5: with an argument", &[("cache-control", "max-age=60, no-store=x")], Got::Fetched),
        ("9111 §5.2: text in quotes", &[("cache-control", "max-age=60, x=\"no-store\"")], Got::Hit),
        ("9111 §5.2.2.7", &[("cache-control", "max-age=60, private")], Got::Fetched),
        ("9111 §5.2.2.7: qualified", &[("cache-control", "max-age=60, private=\"x\"")], Got::Fetched),
        ("9111 §5.2.2.7: as a token", &[("cache-control", "max-age=60, private=x")], Got::Fetched),
        ("9111 §5.2.2.9: public is no lifetime", &[("cache-control", "public")], Got::Fetched),
        ("9111 §5.2.2.3", &[("cache-control", "max-age=60, no-store, must-understand")], Got::Hit),
        ("9111 §5.2.3: unknown", &[("cache-control", "max-age=60, x-unknown=1")], Got::Hit),
        ("9111 §4.1: Vary: *", &[MINUTE, ("vary", "*")], Got::Fetched),
        ("9111 §4.1: Vary: * in a list", &[MINUTE, ("vary", "accept, *")], Got::Fetched),
        ("ours: Set-Cookie", &[MINUTE, ("set-cookie", "a=b")], Got::Fetched),
        ("9111 §5.4: Pragma says nothing of responses", &[MINUTE, ("pragma", "no-cache")], Got::Hit),
        ("9111 §5.4: nor does it alone", &[("pragma", "no-cache")], Got::Fetched),
    ];
    for (clause, first, expected) in rows {
        assert_eq!(outcome(first, 1, &[]).await, expected, "{clause}: {first:?}");
    }
}

/// RFC 9111 §5.2.2.3.
#[tokio::test]
async fn must_understand() {
    for (status, line, expected) in [
        (200, "max-age=60, must-understand", Got::Hit),
        (404, "max-age=60, must-understand, no-store", Got::Hit),
        (599, "max-age=60, must-understand", Got::Fetched),
        (599, "max-age=60, must-understand, no-store", Got::Fetched),
        (599, "max-age=60", Got::Hit),
        (200, "max-age=60, must-understand, no-store, private", Got::Fetched),
    ] {
        let got = outcome_with(|_| {}, status, &[("cache-control", line)], 1, &[]).await;
        assert_eq!(got, expected, "{status} {line}");
    }
}

/// RFC 9111 §3.5.
#[tokio::test]
async fn authorization() {
    let auth = [("authorization", "Basic YTpi")];
    for (line, shared) in [
        ("max-age=60", false),
        ("max-age=60, proxy-revalidate", false),
        ("max-age=60, no-cache=\"x\"", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
        ("s-maxage=60, private", false),
    ] {
        for fields in [&[][..], &auth] {
            let mut bench = bench();
            let got = bench.get_at(0, &auth);
            bench.asked().await.answer(Ok(response(200, &[("cache-control", line)], "old")));
            text(got.await.unwrap().unwrap()).await;
            // What is stored answers everybody.
            let (got, _) = ask_again(&mut bench, Method::GET, 1, fields, NOT_MODIFIED).await;
            assert_eq!(got == Got::Hit, shared, "{line} {fields:?}");
        }
    }
}

/// RFC 9111 §5.2.1.5: a request's `no-store` covers its answer, and nothing that is stored.
#[tokio::test]
async fn a_request_that_says_no_store() {
    let no_store = [("cache-control", "no-store")];
    let mut stored = bench();
    let got = stored.get_at(0, &no_store);
    stored.asked().await.answer(Ok(response(200, &[MINUTE], "old")));
    text(got.await.unwrap().unwrap()).await;
    assert_eq!(ask_again(&mut stored, Method::GET, 1, &[], NOT_MODIFIED).await.0, Got::Fetched);
    let mut stored = after_answer(|_| {}, 200, &[MINUTE]).await;
    assert_eq!(ask_again(&mut stored, Method::GET, 1, &no_store, NOT_MODIFIED).await.0, Got::Hit);
}
