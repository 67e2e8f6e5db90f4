//! Purges against a scripted origin: what becomes of entries, and of requests that are on their way.

use super::super::purge::{Mode, Name, Purges};
use super::*;

const TAGGED: &[(&str, &str)] =
    &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("surrogate-key", "one two")];

impl Bench {
    fn purges(&self) -> &Purges {
        self.store.purges()
    }

    fn purge(&self, names: &[Name], mode: Mode) {
        self.purges().purge(names, mode);
    }

    fn name_of_url(&self, path: &str) -> Name {
        let target = self.request(Method::GET, path, 0, &[]).into_parts().target;
        self.cache.control().unwrap().url(&target)
    }

    fn purge_tag(&self, tag: &str, mode: Mode) {
        self.purge(&self.purges().tag(None, tag.as_bytes()), mode);
    }
}

/// Asks, lets the origin answer, and returns the answer.
async fn ask(bench: &mut Bench, fields: &[(&str, &str)], answer: Result<Response, Error>) -> Response {
    let got = bench.get_at(0, fields);
    bench.asked().await.answer(answer);
    got.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_hard_purge_leaves_nothing() {
    for kind in ["url", "tag", "route", "all"] {
        let mut bench = bench();
        bench.fill(TAGGED, "old").await;
        let names: Vec<Name> = match kind {
            "url" => vec![bench.name_of_url("/a")],
            "tag" => bench.purges().tag(None, b"two").into(),
            "route" => vec![bench.cache.control().unwrap().everything()],
            _ => vec![bench.purges().everything(None)],
        };
        bench.purge(&names, Mode::Hard);
        let got = bench.get();
        let asked = bench.asked().await;
        assert_eq!(asked.header("if-none-match"), None, "{kind}");
        asked.answer(Err(gone()));
        assert!(got.await.unwrap().is_err(), "{kind}: not even in an emergency");
        let fresh = ask(&mut bench, &[], Ok(response(200, TAGGED, "new"))).await;
        assert!(status_of(&fresh).contains("fwd=uri-miss"), "{}", status_of(&fresh));
        assert_eq!(text(fresh).await, "new");
        assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "new");
        assert_eq!(bench.calls(), 3, "{kind}");
        bench.is_idle().await;
    }
}

#[tokio::test]
async fn a_soft_purge_makes_stale() {
    let mut bench = bench();
    bench.fill(TAGGED, "old").await;
    bench.purge_tag("one", Mode::Soft);
    let got = ask(&mut bench, &[], Err(gone())).await;
    assert!(status_of(&got).contains("detail=stale-if-error"), "{}", status_of(&got));
    assert_eq!(text(got).await, "old");
    let full = Error::from(Refusal::QueueFull { retry_after: Duration::from_secs(1) });
    let got = ask(&mut bench, &[], Err(full)).await;
    assert!(status_of(&got).contains("detail=stale-on-overload"), "{}", status_of(&got));
    let refused = bench.get_at(0, &[("cache-control", "only-if-cached")]).await.unwrap();
    assert!(matches!(refused, Err(Error::Refused(Refusal::OnlyIfCached))));

    let got = bench.get();
    let asked = bench.asked().await;
    assert_eq!(asked.header("if-none-match"), Some("\"a\""));
    asked.answer(Ok(response(304, &[], "")));
    let got = got.await.unwrap().unwrap();
    assert!(status_of(&got).contains("fwd=stale; fwd-status=304"), "{}", status_of(&got));
    assert!(status_of(&bench.get().await.unwrap().unwrap()).starts_with("forebay; hit"));
    assert_eq!(bench.calls(), 4);

    // The confirmed entry has the tags that the 304 said nothing of.
    bench.purge_tag("one", Mode::Hard);
    assert_eq!(text(ask(&mut bench, &[], Ok(response(200, TAGGED, "new"))).await).await, "new");
    bench.is_idle().await;
}

#[tokio::test]
async fn a_soft_purge_grants_no_right_to_be_stale() {
    for directives in ["max-age=60, must-revalidate", "max-age=60, stale-if-error=0"] {
        let mut bench = bench();
        bench.fill(&[("cache-control", directives), ("surrogate-key", "one")], "old").await;
        bench.purge_tag("one", Mode::Soft);
        let got = bench.get();
        bench.asked().await.answer(Err(gone()));
        assert!(got.await.unwrap().is_err(), "{directives}");
        bench.is_idle().await;
    }
}

#[tokio::test]
async fn others_stay() {
    let mut bench = bench();
    bench.fill(TAGGED, "old").await;
    let names = [bench.name_of_url("/a?b"), bench.name_of_url("/ab")];
    bench.purge(&names, Mode::Hard);
    bench.purge_tag("on", Mode::Hard);
    assert!(status_of(&bench.get().await.unwrap().unwrap()).starts_with("forebay; hit"));
}

#[tokio::test]
async fn a_purge_takes_all_variants_and_all_that_fields_and_cookies_tell_apart() {
    let store = room_of(64 << 20, 1 << 20);
    let mut bench = bench_with(
        |config| {
            config.key.headers = vec!["x-tenant".to_owned()];
            config.key.cookies = vec!["plan".to_owned()];
        },
        store,
    );
    let varied = [("cache-control", "max-age=60"), ("vary", "accept-language")];
    let clients: [&[(&str, &str)]; 5] = [
        &[],
        &[("accept-language", "en")],
        &[("x-tenant", "1")],
        &[("x-tenant", "1"), ("accept-language", "en")],
        &[("cookie", "plan=a")],
    ];
    for unsafe_method in [false, true] {
        for client in clients {
            text(ask(&mut bench, client, Ok(response(200, &varied, "x"))).await).await;
            assert!(status_of(&bench.get_at(0, client).await.unwrap().unwrap()).starts_with("forebay; hit"));
        }
        if unsafe_method {
            let post = bench.send(bench.request(Method::POST, "/a", 0, &[("x-tenant", "2")]));
            bench.asked().await.answer(Ok(response(204, &[], "")));
            post.await.unwrap().unwrap();
        } else {
            bench.purge(&[bench.name_of_url("/a")], Mode::Hard);
        }
    }
    for client in clients {
        let got = ask(&mut bench, client, Ok(response(200, &varied, "x"))).await;
        // What is stored meanwhile of the key is another variant.
        let misses = ["fwd=uri-miss", "fwd=vary-miss"];
        let miss = misses.iter().any(|miss| status_of(&got).contains(miss));
        assert!(miss, "{client:?} {}", status_of(&got));
        text(got).await;
    }
}

#[tokio::test]
async fn what_was_on_its_way_is_not_stored() {
    let mut bench = bench();
    for (purge_tag, headed) in [(false, false), (false, true), (true, false), (true, true)] {
        let got = bench.get();
        let asked = bench.asked().await;
        let (mut writer, body) = stream(None);
        let purge = |bench: &Bench| match purge_tag {
            true => bench.purge_tag("two", Mode::Soft),
            false => bench.purge(&[bench.name_of_url("/a")], Mode::Soft),
        };
        if !headed {
            purge(&bench);
        }
        asked.answer(Ok(response_with(200, TAGGED, body)));
        let got = got.await.unwrap().unwrap();
        if headed {
            purge(&bench);
        }
        writer.push("old".into());
        writer.finish(None, None);
        assert_eq!(text(got).await, "old", "who asked before the purge is answered");
        bench.settle().await;
        let next = bench.get();
        bench.asked().await.answer(Ok(response(200, &[], "new")));
        assert_eq!(text(next.await.unwrap().unwrap()).await, "new", "{purge_tag} {headed}");
        bench.purge(&[bench.purges().everything(None)], Mode::Hard);
    }
    bench.is_idle().await;
}

#[tokio::test]
async fn nobody_follows_a_flight_that_is_older_than_the_purge() {
    let mut bench = bench();
    for headed in [false, true] {
        let first = bench.get();
        let mut old = Some(bench.asked().await);
        let (mut writer, body) = stream(None);
        if headed {
            old.take().unwrap().answer(Ok(response_with(200, FRESH, body)));
            bench.settle().await;
        }
        bench.purge(&[bench.name_of_url("/a")], Mode::Hard);
        let second = bench.get();
        let third = bench.get();
        let new = bench.asked().await;
        bench.settle().await;
        new.answer(Ok(response(200, &[("cache-control", "max-age=60")], "new")));
        for later in [second, third] {
            assert_eq!(text(later.await.unwrap().unwrap()).await, "new");
        }
        if let Some(old) = old {
            old.answer(Ok(response(200, FRESH, "old")));
        } else {
            writer.push("old".into());
            writer.finish(None, None);
        }
        assert_eq!(text(first.await.unwrap().unwrap()).await, "old");
        bench.settle().await;
        assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "new", "the old one did not replace it");
        bench.purge(&[bench.purges().everything(None)], Mode::Hard);
    }
    assert_eq!(bench.calls(), 4);
    bench.is_idle().await;
}

#[tokio::test]
async fn followers_whose_answer_turns_out_to_be_purged_ask_again_together() {
    let mut bench = bench();
    let first = bench.get();
    let asked = bench.asked().await;
    let followers: Vec<_> = (0..5).map(|_| bench.get()).collect();
    bench.settle().await;
    bench.purge_tag("two", Mode::Hard);
    asked.answer(Ok(response(200, TAGGED, "old")));
    assert_eq!(text(first.await.unwrap().unwrap()).await, "old");
    bench.asked().await.answer(Ok(response(200, TAGGED, "new")));
    for follower in followers {
        assert_eq!(text(follower.await.unwrap().unwrap()).await, "new");
    }
    assert_eq!(bench.calls(), 2);
    bench.is_idle().await;
}

#[tokio::test]
async fn what_is_purged_while_it_is_validated_answers_nobody() {
    let stale = [("cache-control", "max-age=0"), ("etag", "\"a\""), ("surrogate-key", "one")];
    for confirmed in [true, false] {
        let mut bench = bench();
        bench.fill(&stale, "old").await;
        let got = bench.get();
        let asked = bench.asked().await;
        assert_eq!(asked.header("if-none-match"), Some("\"a\""));
        bench.purge_tag("one", Mode::Hard);
        if confirmed {
            asked.answer(Ok(response(304, &[], "")));
            let again = bench.asked().await;
            assert_eq!(again.header("if-none-match"), None);
            again.answer(Ok(response(200, &stale, "new")));
            assert_eq!(text(got.await.unwrap().unwrap()).await, "new");
        } else {
            asked.answer(Err(gone()));
            assert!(got.await.unwrap().is_err());
        }
        bench.is_idle().await;
    }
}

/// RFC 9875 §3.
#[tokio::test]
async fn unsafe_requests_invalidate_groups_and_safe_ones_do_not() {
    let grouped = [("cache-control", "max-age=60"), ("cache-groups", "\"a\", \"b\"")];
    let invalidation = [("cache-group-invalidation", "\"x\", \"b\"")];
    let mut bench = bench();
    bench.fill(&grouped, "old").await;
    for (method, survives) in [(Method::OPTIONS, true), (Method::GET, true), (Method::POST, false)] {
        let other = bench.send(bench.request(method.clone(), "/other", 0, &[]));
        bench.asked().await.answer(Ok(response(200, &invalidation, "")));
        text(other.await.unwrap().unwrap()).await;
        if survives {
            let hit = bench.get().await.unwrap().unwrap();
            assert!(status_of(&hit).starts_with("forebay; hit"), "{method}");
            assert_eq!(field(&hit, "cache-groups"), Some("\"a\", \"b\""), "caches behind us need it");
        } else {
            text(ask(&mut bench, &[], Ok(response(200, &grouped, "new"))).await).await;
        }
    }
}

#[tokio::test]
async fn tags_go_no_further_unless_they_may() {
    for strip in [true, false] {
        let store = room_of(64 << 20, 1 << 20);
        let mut bench = bench_with(|config| config.strip_tags = strip, store);
        let tags = (!strip).then_some("one two");
        for answer in [TAGGED, &[("surrogate-key", "one two"), ("cache-control", "private")]] {
            bench.purge(&[bench.purges().everything(None)], Mode::Hard);
            let first = ask(&mut bench, &[], Ok(response(200, answer, "x"))).await;
            assert_eq!(field(&first, "surrogate-key"), tags);
            text(first).await;
        }
        bench.purge(&[bench.purges().everything(None)], Mode::Hard);
        let post = bench.send(bench.request(Method::POST, "/a", 0, &[]));
        bench.asked().await.answer(Ok(response(200, &[("surrogate-key", "one two")], "")));
        assert_eq!(field(&post.await.unwrap().unwrap(), "surrogate-key"), tags);
        let got = bench.send(bench.request(Method::GET, "/b", 0, &[]));
        bench.asked().await.answer(Ok(response(200, TAGGED, "x")));
        text(got.await.unwrap().unwrap()).await;
        let hit = bench.send(bench.request(Method::GET, "/b", 0, &[])).await.unwrap().unwrap();
        assert_eq!(field(&hit, "surrogate-key"), tags);
    }
}

#[tokio::test]
async fn what_a_post_brings_is_not_stored_where_it_was_purged_on_its_way() {
    let fields = [("cache-control", "max-age=60"), ("content-location", "/a"), ("surrogate-key", "one")];
    for purged in [false, true] {
        let mut bench = bench();
        let post = bench.send(bench.request(Method::POST, "/a", 0, &[]));
        let asked = bench.asked().await;
        if purged {
            bench.purge_tag("one", Mode::Hard);
        }
        asked.answer(Ok(response(200, &fields, "posted")));
        assert_eq!(text(post.await.unwrap().unwrap()).await, "posted");
        bench.settle().await;
        let got = bench.get();
        if purged {
            bench.asked().await.answer(Ok(response(200, &fields, "got")));
        }
        let expected = if purged { "got" } else { "posted" };
        assert_eq!(text(got.await.unwrap().unwrap()).await, expected);
        bench.is_idle().await;
    }
}
