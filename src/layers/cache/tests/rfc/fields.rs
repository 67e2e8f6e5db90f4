//! RFC 9111 §3.1, §3.2: the fields of what is stored, and how a 304 changes them.

use super::*;

#[tokio::test]
async fn what_is_kept() {
    let rows = [
        ("§3.1", "content-type", true),
        ("§3.1: unknown fields too", "x-unknown", true),
        ("§3.1", "content-encoding", true),
        ("§3.1", "content-security-policy", true),
        ("§3.1", "www-authenticate", true),
        ("9110 §7.6.1", "connection", false),
        ("9110 §7.6.1: named by Connection", "x-hop", false),
        ("9110 §7.6.1", "keep-alive", false),
        ("9110 §7.6.1", "proxy-connection", false),
        ("9110 §7.6.1", "te", false),
        ("9110 §7.6.1", "upgrade", false),
        ("§3.1", "proxy-authenticate", false),
        ("§3.1", "proxy-authorization", false),
        ("§3.1", "proxy-authentication-info", false),
        ("§5.2.2.4: withheld", "x-withheld", false),
    ];
    let mut first = vec![("cache-control", "max-age=60, no-cache=\"x-withheld\""), ("connection", "x-hop")];
    first.extend(rows.iter().filter(|row| row.1 != "connection").map(|row| (row.1, "value")));
    let mut bench = after_answer(|_| {}, 200, &first).await;
    let (got, answer) = ask_again(&mut bench, Method::GET, 1, &[], NOT_MODIFIED).await;
    assert_eq!(got, Got::Hit);
    let answer = answer.unwrap();
    for (clause, name, kept) in rows {
        assert_eq!(field(&answer, name).is_some(), kept, "{clause}: {name}");
    }
    assert!(field(&answer, "date").is_some(), "9110 §6.6.1: a cache adds a Date that is missing");
    assert!(field(&answer, "age").is_some(), "§5.1");
}

#[tokio::test]
async fn what_a_304_changes() {
    let (near, far) = ("Fri, 31 Dec 2060 23:59:59 GMT", "Sat, 31 Dec 2061 23:59:59 GMT");
    for (clause, name, before, update, after) in [
        ("§3.2", "x-any", "1", "2", "2"),
        ("§3.2", "content-type", "text/plain", "text/html", "text/html"),
        ("§3.2", "content-location", "/x", "/y", "/y"),
        ("§3.2", "content-language", "en", "de", "de"),
        ("§3.2", "expires", near, far, far),
        ("§3.2", "cache-control", "max-age=60", "max-age=600", "max-age=600"),
        ("§3.2", "vary", "accept", "accept, x", "accept, x"),
        ("§3.2", "link", "</a>", "</b>", "</b>"),
        ("§3.2: of these bytes", "content-length", "3", "5", "3"),
        ("§3.2: of these bytes", "content-encoding", "x-a", "x-b", "x-a"),
        ("§3.2: of these bytes", "content-range", "", "bytes 0-1/2", ""),
        ("§3.2: of these bytes", "content-md5", "a", "b", "a"),
        ("ours: belongs to these bytes", "etag", "\"a\"", "\"b\"", "\"a\""),
        ("§3.1: of the connection", "keep-alive", "", "timeout=5", ""),
        ("§3.1: of the connection", "transfer-encoding", "", "chunked", ""),
    ] {
        let others = [("etag", "\"a\""), ("cache-control", "max-age=60"), ("x-kept", "1")];
        let mut first: Vec<_> = others.into_iter().filter(|(other, _)| *other != name).collect();
        first.extend((!before.is_empty()).then_some((name, before)));
        let mut bench = after_answer(|_| {}, 200, &first).await;
        let (got, answer) = ask_again(&mut bench, Method::GET, 70, &[], (304, &[(name, update)])).await;
        // The answer to who asked, and to the next one.
        let answer = answer.unwrap();
        let sent = field(&answer, name).unwrap_or_default();
        assert_eq!((got, sent), (Got::Validated, after), "{clause}: {name}");
        assert_eq!(field(&answer, "x-kept"), Some("1"), "§3.2: what it does not name stays");
        let next = bench.get_at(1, &[]).await.unwrap().unwrap();
        assert_eq!(field(&next, name).unwrap_or_default(), after, "{clause}: {name}");
        assert_eq!(text(next).await, "old");
    }
}

/// §4.2.3: a 304 starts a new age, and its `Age` is the entry's.
#[tokio::test]
async fn a_304_has_an_age_of_its_own() {
    let first = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("age", "10")];
    let mut bench = after_answer(|_| {}, 200, &first).await;
    let (got, _) = ask_again(&mut bench, Method::GET, 55, &[], (304, &[("age", "30")])).await;
    assert_eq!(got, Got::Validated);
    // The clock stands still in these tests: it came at the start.
    let next = bench.get_at(5, &[]).await.unwrap().unwrap();
    assert!(matches!(field(&next, "age"), Some("34" | "35" | "36")), "{:?}", field(&next, "age"));
}
