//! What an operator decides: what passes, whose answers are stored, what the origin is taken to say.

use super::super::config::{AuthorizationUse, CookieUse};
use super::*;
use crate::units::Time;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// What is set up, how, an answer's status and fields, and whether it is stored.
type Setup<'a> = (&'a str, fn(&mut CacheConfig), u16, Fields<'a>, bool);

fn bench_of(change: impl FnOnce(&mut CacheConfig)) -> Bench {
    bench_with(change, room_of(64 << 20, 1 << 20))
}

/// Asks for a path; the origin, if asked, answers with these. Says whether it was asked, and what came.
async fn ask(
    bench: &mut Bench,
    path: &str,
    request: Fields<'_>,
    status: u16,
    fields: Fields<'_>,
) -> (bool, Response) {
    let asking = bench.send(bench.request(Method::GET, path, 1, request));
    bench.settle().await;
    let asked = !asking.is_finished();
    if asked {
        bench.asked().await.answer(Ok(response(status, fields, "x")));
    }
    let answer = asking.await.unwrap().unwrap();
    bench.settle().await;
    (asked, answer)
}

#[tokio::test]
async fn what_passes() {
    let rules = |config: &mut CacheConfig| {
        config.bypass.headers = vec!["x-debug".to_owned()];
        config.bypass.cookies = vec!["session*".to_owned(), "draft".to_owned()];
        config.bypass.paths = vec!["/admin/*".to_owned(), "*.live".to_owned()];
    };
    let rows: [(&str, Fields<'_>, Option<&str>); 11] = [
        ("/a", &[], None),
        ("/a", &[("x-debug", "")], Some("bypass-header")),
        ("/a", &[("cookie", "a=1; session_id=2")], Some("bypass-cookie")),
        ("/a", &[("cookie", "a=1"), ("cookie", "draft=1")], Some("bypass-cookie")),
        ("/a", &[("cookie", "a=session; drafts=1")], None),
        ("/a", &[("cookie", "draft")], Some("bypass-cookie")),
        ("/admin/x", &[], Some("bypass-path")),
        ("/admin", &[], None),
        ("/x/y.live?z=1", &[], Some("bypass-path")),
        ("/x?y.live", &[], None),
        ("/a", &[("x-other", "1")], None),
    ];
    for (path, request, reason) in rows {
        let mut bench = bench_of(rules);
        for round in 0..2 {
            let (asked, answer) = ask(&mut bench, path, request, 200, FRESH).await;
            assert_eq!(asked, round == 0 || reason.is_some(), "{path} {request:?}");
            if let Some(reason) = reason {
                let expected = format!("forebay; fwd=bypass; fwd-status=200; detail={reason}");
                assert_eq!(status_of(&answer), expected, "{path} {request:?}");
            }
        }
        bench.is_idle().await;
    }
}

/// RFC 9111 §3.5, and the two ways around it.
#[tokio::test]
async fn whose_authorization() {
    let (mine, yours) = ([("authorization", "Basic bWU6")], [("authorization", "Basic eW91Og==")]);
    // Who finds stored what was asked for with `mine`: the same client, another one, one without.
    for (mode, line, expected) in [
        (AuthorizationUse::Explicit, "max-age=60", [false, false, false]),
        (AuthorizationUse::Explicit, "max-age=60, public", [true, true, true]),
        (AuthorizationUse::Keyed, "max-age=60", [true, false, false]),
        (AuthorizationUse::Keyed, "max-age=60, public", [true, false, false]),
        (AuthorizationUse::Keyed, "max-age=60, private", [false, false, false]),
        (AuthorizationUse::Shared, "max-age=60", [true, true, true]),
        (AuthorizationUse::Shared, "max-age=60, private", [false, false, false]),
    ] {
        for (who, found) in [&mine[..], &yours, &[]].into_iter().zip(expected) {
            let mut bench = bench_of(|config| config.authorization = mode);
            ask(&mut bench, "/a", &mine, 200, &[("cache-control", line)]).await;
            let (asked, _) = ask(&mut bench, "/a", who, 200, &[("cache-control", line)]).await;
            assert_eq!(!asked, found, "{mode:?} {line} {who:?}");
        }
    }
    // A change by one client makes everybody's answers invalid.
    let mut bench = bench_of(|config| config.authorization = AuthorizationUse::Keyed);
    ask(&mut bench, "/a", &mine, 200, FRESH).await;
    let put = bench.send(bench.request(Method::PUT, "/a", 1, &yours));
    bench.asked().await.answer(Ok(response(204, &[], "")));
    put.await.unwrap().unwrap();
    assert!(ask(&mut bench, "/a", &mine, 200, FRESH).await.0);
}

/// An answer to a request with cookies is stored where the origin says so, and not by the operator's guess.
#[tokio::test]
async fn whose_cookies() {
    let cookie = [("cookie", "id=1")];
    let guess = |config: &mut CacheConfig| config.ttl.default = Time::secs(60);
    let fixed = |config: &mut CacheConfig| config.ttl.override_ = Some(Time::secs(60));
    let heuristic = |config: &mut CacheConfig| config.heuristic = true;
    let negative =
        |config: &mut CacheConfig| config.ttl.by_status = [("404".to_owned(), Time::secs(60))].into();
    let modified: Fields<'_> = &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let setups: [Setup<'_>; 8] = [
        ("ttl.default", guess, 200, &[], false),
        ("ttl.default, explicit", guess, 200, FRESH, true),
        ("ttl.override", fixed, 200, &[], false),
        ("ttl.override, explicit", fixed, 200, FRESH, true),
        ("ttl.override, no-cache", fixed, 200, &[("cache-control", "no-cache")], false),
        ("heuristic", heuristic, 200, modified, false),
        ("heuristic, public", heuristic, 200, &[("cache-control", "public"), modified[0]], true),
        ("ttl.by_status", negative, 404, &[], false),
    ];
    for (what, setup, status, fields, stored) in setups {
        let mut bench = bench_of(setup);
        let (_, first) = ask(&mut bench, "/a", &cookie, status, fields).await;
        assert_eq!(status_of(&first).ends_with("detail=cookie"), !stored, "{what}: {}", status_of(&first));
        // It does not keep others' answers out of the store, and those answer it too.
        assert_eq!(ask(&mut bench, "/a", &[], status, fields).await.0, !stored, "{what}");
        assert!(!ask(&mut bench, "/a", &cookie, status, fields).await.0, "{what}");
        let mut open = bench_of(|config| {
            setup(config);
            config.cookie = CookieUse::Shared;
        });
        ask(&mut open, "/a", &cookie, status, fields).await;
        assert!(!ask(&mut open, "/a", &[], status, fields).await.0, "{what}: no answer depends on cookies");
        let mut keyed = bench_of(|config| {
            setup(config);
            config.key.cookies.push("id".to_owned());
        });
        ask(&mut keyed, "/a", &cookie, status, fields).await;
        assert!(!ask(&mut keyed, "/a", &cookie, status, fields).await.0, "{what}: the cookie counts");
        assert!(
            ask(&mut keyed, "/a", &[("cookie", "id=2")], status, fields).await.0,
            "{what}: the cookie counts"
        );
    }
}

/// Negative caching: an operator's lifetime for a status, where the origin gives none.
#[tokio::test]
async fn lifetimes_by_status() {
    let setup = |config: &mut CacheConfig| {
        for (status, seconds) in [("404", 10), ("503", 5)] {
            config.ttl.by_status.insert(status.to_owned(), Time::secs(seconds));
        }
    };
    let rows: [(u16, Fields<'_>, bool); 8] = [
        (404, &[], true),
        (503, &[], true),
        (500, &[], false),
        (200, &[], false),
        (404, &[("cache-control", "no-store")], false),
        (404, &[("cache-control", "private")], false),
        (404, &[("cache-control", "max-age=0")], false),
        (404, &[("set-cookie", "a=b")], false),
    ];
    for (status, fields, stored) in rows {
        let mut bench = bench_of(setup);
        ask(&mut bench, "/a", &[], status, fields).await;
        let (asked, answer) = ask(&mut bench, "/a", &[], status, fields).await;
        assert_eq!((asked, answer.status.as_u16()), (!stored, status), "{status} {fields:?}");
        let later = bench.get_at(20, &[]);
        bench.asked().await.answer(Ok(response(200, &[], "there now")));
        assert_eq!(text(later.await.unwrap().unwrap()).await, "there now", "{status} {fields:?}");
    }
}

#[tokio::test]
async fn in_place_of_the_origins_word() {
    let setup = |config: &mut CacheConfig| config.cache_control = Some("public, max-age=60".to_owned());
    let rows: [(u16, Fields<'_>, bool); 8] = [
        (200, &[], true),
        (200, &[("cache-control", "no-store"), ("pragma", "no-cache"), ("expires", "0")], true),
        (200, &[("cdn-cache-control", "no-store"), ("forebay-cdn-cache-control", "private")], true),
        (301, &[], true),
        (404, &[], false),
        (500, &[], false),
        (200, &[("set-cookie", "a=b")], false),
        (200, &[("vary", "*")], false),
    ];
    for (status, fields, stored) in rows {
        let mut bench = bench_of(setup);
        for round in 0..2 {
            let (asked, answer) = ask(&mut bench, "/a", &[], status, fields).await;
            assert_eq!(asked, round == 0 || !stored, "{status} {fields:?}");
            if status < 400 {
                assert_eq!(
                    field(&answer, "cache-control"),
                    Some("public, max-age=60"),
                    "{status} {fields:?}"
                );
                for name in ["expires", "pragma", "cdn-cache-control"] {
                    assert_eq!(field(&answer, name), None, "{status} {fields:?}");
                }
            }
        }
    }
    // A 304 says no more than the first answer did.
    let mut bench = bench_of(setup);
    bench.fill(&[("etag", "\"a\"")], "old").await;
    let again = bench.get_at(70, &[]);
    bench.asked().await.answer(Ok(response(304, &[("cache-control", "no-store")], "")));
    let again = again.await.unwrap().unwrap();
    assert_eq!(field(&again, "cache-control"), Some("public, max-age=60"));
    assert_eq!(text(again).await, "old");
    assert!(!ask(&mut bench, "/a", &[], 200, &[]).await.0);
    // What passes is left as it is.
    let post = bench.send(bench.request(Method::POST, "/a", 1, &[]));
    bench.asked().await.answer(Ok(response(200, &[("cache-control", "no-store")], "x")));
    assert_eq!(field(&post.await.unwrap().unwrap(), "cache-control"), Some("no-store"));
}
