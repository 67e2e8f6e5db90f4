//! RFC 9111 §4.3, RFC 9110 §13: conditions of clients and of ours.

use super::*;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sat, 05 Nov 1994 08:49:37 GMT";
const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

/// RFC 9110 §13.1, §13.2.2; RFC 9111 §4.3.2: what a fresh entry answers.
#[tokio::test]
async fn conditions_of_clients() {
    let strong: Fields<'_> = &[MINUTE, ("etag", "\"a\""), ("last-modified", MODIFIED)];
    let weak: Fields<'_> = &[MINUTE, ("etag", "W/\"a\"")];
    let dated: Fields<'_> = &[MINUTE, ("last-modified", MODIFIED)];
    let bare: Fields<'_> = &[MINUTE];
    let rows: [(&str, Fields<'_>, Fields<'_>, u16); 22] = [
        ("§13.1.2 strong", strong, &[("if-none-match", "\"a\"")], 304),
        ("§13.1.2 compares weakly", strong, &[("if-none-match", "W/\"a\"")], 304),
        ("§13.1.2 compares weakly", weak, &[("if-none-match", "\"a\"")], 304),
        ("§13.1.2 in a list", strong, &[("if-none-match", "\"x\", \"a\"")], 304),
        ("§13.1.2 over lines", strong, &[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")], 304),
        ("§13.1.2 a tag with a comma", strong, &[("if-none-match", "\"x, \"a\"")], 200),
        ("§13.1.2 any", strong, &[("if-none-match", "*")], 304),
        ("§13.1.2 any, without a tag", bare, &[("if-none-match", "*")], 304),
        ("§13.1.2 none of it", strong, &[("if-none-match", "\"x\"")], 200),
        ("§13.1.2 unquoted", strong, &[("if-none-match", "a")], 200),
        ("§8.8.3 case counts", strong, &[("if-none-match", "\"A\"")], 200),
        ("§13.1.2 no tag stored", dated, &[("if-none-match", "\"a\"")], 200),
        ("§13.1.3 the date", dated, &[("if-modified-since", MODIFIED)], 304),
        ("§13.1.3 a later date", dated, &[("if-modified-since", LATER)], 304),
        ("§13.1.3 an earlier date", dated, &[("if-modified-since", EARLIER)], 200),
        ("§5.6.7 rfc850", dated, &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")], 304),
        ("§5.6.7 asctime", dated, &[("if-modified-since", "Sun Nov  6 08:49:37 1994")], 304),
        ("§13.1.3 no date", dated, &[("if-modified-since", "1994")], 200),
        ("9111 §4.3.2 the Date for want of better", bare, &[("if-modified-since", LATER)], 200),
        ("§13.2.2 tag first", strong, &[("if-none-match", "\"x\""), ("if-modified-since", LATER)], 200),
        ("§13.2.2 tag first", strong, &[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)], 304),
        ("§13.1.5 If-Range alone", strong, &[("if-range", "\"x\"")], 200),
    ];
    for (clause, first, request, expected) in rows {
        let mut bench = after_answer(|_| {}, 200, first).await;
        let (got, answer) = ask_again(&mut bench, Method::GET, 1, request, NOT_MODIFIED).await;
        let answer = answer.unwrap();
        assert_eq!((got, answer.status.as_u16()), (Got::Hit, expected), "{clause}: {request:?}");
        if expected == 304 {
            // RFC 9110 §15.4.5
            assert!(field(&answer, "content-length").is_none() && field(&answer, "date").is_some());
            assert_eq!(text(answer).await, "");
        }
    }
    // RFC 9110 §13.2.1: only where the answer would be a success.
    let mut bench = after_answer(|_| {}, 404, strong).await;
    let asks = [("if-none-match", "\"a\"")];
    let (_, answer) = ask_again(&mut bench, Method::GET, 1, &asks, NOT_MODIFIED).await;
    assert_eq!(answer.unwrap().status, 404);
}

/// RFC 9111 §4.3.1: with what the origin is asked; the client's own conditions are not passed on.
#[tokio::test]
async fn our_conditions() {
    let rows: [(&str, Fields<'_>, Option<&str>, Option<&str>); 5] = [
        ("an entity tag", &[MINUTE, ("etag", "\"a\"")], Some("\"a\""), None),
        ("a weak one", &[MINUTE, ("etag", "W/\"a\"")], Some("W/\"a\""), None),
        ("a date", &[MINUTE, ("last-modified", MODIFIED)], None, Some(MODIFIED)),
        ("both", &[MINUTE, ("etag", "\"a\""), ("last-modified", MODIFIED)], Some("\"a\""), Some(MODIFIED)),
        ("none", &[MINUTE], None, None),
    ];
    for (clause, first, tag, modified) in rows {
        let mut bench = after_answer(|_| {}, 200, first).await;
        let own = [("if-none-match", "\"mine\""), ("if-modified-since", LATER), ("if-range", "\"mine\"")];
        let _asking = bench.get_at(100, &own);
        let asked = bench.asked().await;
        let sent = (asked.header("if-none-match"), asked.header("if-modified-since"));
        assert_eq!(sent, (tag, modified), "{clause}");
        assert_eq!(asked.header("if-range"), None, "{clause}");
    }
}

/// RFC 9111 §4.3.3, §4.3.4: which 304 confirms what is stored.
#[tokio::test]
async fn confirmations() {
    let tagged: Fields<'_> = &[MINUTE, ("etag", "\"a\"")];
    let dated: Fields<'_> = &[MINUTE, ("last-modified", MODIFIED)];
    let rows: [(&str, Fields<'_>, Fields<'_>, bool); 7] = [
        ("the same tag", tagged, &[("etag", "\"a\"")], true),
        ("no tag: the one asked about", tagged, &[], true),
        ("a weak one of it", tagged, &[("etag", "W/\"a\"")], true),
        ("ours: another tag, the one asked about all the same", tagged, &[("etag", "\"b\"")], true),
        ("the same date", dated, &[("last-modified", MODIFIED)], true),
        ("no date: the one asked about", dated, &[], true),
        ("another date: of something else", dated, &[("last-modified", LATER)], false),
    ];
    for (clause, first, update, confirmed) in rows {
        let mut bench = after_answer(|_| {}, 200, first).await;
        let asking = bench.get_at(70, &[]);
        bench.asked().await.answer(Ok(response(304, update, "")));
        if !confirmed {
            // §4.3.3: asked again, for all of it.
            let again = bench.asked().await;
            assert_eq!(again.header("if-modified-since"), None, "{clause}");
            again.answer(Ok(response(200, &[MINUTE], "new")));
        }
        let answer = asking.await.unwrap().unwrap();
        assert_eq!((answer.status.as_u16(), text(answer).await == "old"), (200, confirmed), "{clause}");
    }
}

/// RFC 9111 §4.3.5: what an answer to HEAD does to the entry of a GET.
#[tokio::test]
async fn heads() {
    const LONGER: (&str, &str) = ("cache-control", "max-age=600");
    let first: Fields<'_> = &[MINUTE, ("etag", "\"a\""), ("x", "1")];
    let rows: [(&str, u16, Fields<'_>, Got, &str); 8] = [
        ("freshens", 200, &[LONGER, ("x", "2")], Got::Hit, "2"),
        ("the same tag", 200, &[LONGER, ("etag", "\"a\"")], Got::Hit, "1"),
        ("the same length", 200, &[LONGER, ("content-length", "3")], Got::Hit, "1"),
        ("another tag: invalid", 200, &[LONGER, ("etag", "\"b\"")], Got::Fetched, ""),
        ("another length: invalid", 200, &[LONGER, ("content-length", "4")], Got::Fetched, ""),
        ("an error says nothing", 500, &[LONGER], Got::Validated, "1"),
        ("nor does a 410", 410, &[LONGER], Got::Validated, "1"),
        ("now private: goes", 200, &[("cache-control", "private")], Got::Fetched, ""),
    ];
    for (clause, status, update, got, x) in rows {
        // A stale entry that may not stand in for an error.
        let alone = |config: &mut CacheConfig| config.stale_if_error = crate::units::Time::secs(0);
        let mut bench = after_answer(alone, 200, first).await;
        let head = bench.send(bench.request(Method::HEAD, "/a", 70, &[]));
        let asked = bench.asked().await;
        assert_eq!(asked.method, Method::HEAD, "{clause}");
        asked.answer(Ok(response(status, update, "")));
        assert_eq!(head.await.unwrap().unwrap().status.as_u16(), status, "{clause}");
        let (again, answer) = ask_again(&mut bench, Method::GET, 80, &[], NOT_MODIFIED).await;
        let answer = answer.unwrap();
        assert_eq!((again, field(&answer, "x").unwrap_or_default()), (got, x), "{clause}");
    }
}
