//! POST: answers that are a GET's (RFC 9110 §9.3.3), and queries that are told apart by their content.

use super::*;
use crate::units::Size;

const OWN: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("content-location", "/a")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

impl Bench {
    fn post(&self, seconds: u64, fields: &[(&str, &str)], content: &'static str) -> Asking {
        let mut request = self.request(Method::POST, "/a", seconds, fields);
        request.body = RequestBody::Full(content.into());
        self.send(request)
    }
}

fn queries() -> Bench {
    queries_with(|_| {})
}

fn queries_with(change: impl FnOnce(&mut CacheConfig)) -> Bench {
    let with = |config: &mut CacheConfig| {
        config.methods.push("POST".to_owned());
        config.key.body = Some(Size::kib(1));
        change(config);
    };
    bench_with(with, room_of(64 << 20, 1 << 20))
}

/// RFC 9110 §9.3.3, RFC 9111 §3: with an explicit lifetime, and as the representation of the target itself.
#[tokio::test]
async fn an_answer_to_post_is_stored_for_gets() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const SELF: (&str, &str) = ("content-location", "/a");
    for (what, status, fields, stored) in [
        ("explicit, and of the target", 200, &[FRESH, SELF][..], true),
        ("the absolute form", 200, &[FRESH, ("content-location", "http://example.com/a")], true),
        ("the empty reference", 200, &[FRESH, ("content-location", "")], true),
        ("Expires", 200, &[("expires", "Fri, 31 Dec 2060 23:59:59 GMT"), SELF], true),
        ("of something else", 200, &[FRESH, ("content-location", "/b")], false),
        ("of another origin", 200, &[FRESH, ("content-location", "http://example.org/a")], false),
        ("of nothing it names", 200, &[FRESH], false),
        ("no lifetime", 200, &[SELF], false),
        ("no lifetime but a validator", 200, &[SELF, ("etag", "\"a\"")], false),
        ("a status of its own", 201, &[FRESH, SELF], false),
        ("an error", 404, &[FRESH, SELF], false),
        ("no-store", 200, &[("cache-control", "max-age=60, no-store"), SELF], false),
        ("private", 200, &[("cache-control", "max-age=60, private"), SELF], false),
        ("Set-Cookie", 200, &[FRESH, SELF, ("set-cookie", "a=b")], false),
    ] {
        let mut bench = bench_with(|_| {}, room_of(64 << 20, 1 << 20));
        bench.fill(&[("cache-control", "max-age=60")], "old").await;
        let post = bench.post(1, &[("if-none-match", "\"x\"")], "content");
        let asked = bench.asked().await;
        assert_eq!((asked.method.as_str(), asked.header("if-none-match")), ("POST", Some("\"x\"")), "{what}");
        asked.answer(Ok(response(status, fields, "posted")));
        let post = post.await.unwrap().unwrap();
        assert!(status_of(&post).starts_with("forebay; fwd=method; fwd-status="), "{}", status_of(&post));
        assert_eq!(status_of(&post).contains("; stored"), stored, "{what}: {}", status_of(&post));
        assert_eq!((post.status.as_u16(), text(post).await.as_str()), (status, "posted"), "{what}");
        bench.settle().await;
        // What was stored before is gone in any case but that of an error (RFC 9111 §4.4).
        for method in [Method::HEAD, Method::GET] {
            let get =
                bench.send(bench.request(method.clone(), "/a", 2, &[("cache-control", "only-if-cached")]));
            let get = get.await.unwrap();
            let expected = if stored { Some("posted") } else { (status >= 400).then_some("old") };
            let expected = expected.map(|body| if method == Method::HEAD { "" } else { body });
            let got = match get {
                Ok(answer) => Some(text(answer).await),
                Err(_) => None,
            };
            assert_eq!(got.as_deref(), expected, "{what}: {method}");
        }
        // A POST is never answered from the store.
        let calls = bench.calls();
        let again = bench.post(2, &[], "content");
        bench.asked().await.answer(Ok(response(200, &[], "again")));
        assert_eq!(text(again.await.unwrap().unwrap()).await, "again", "{what}");
        assert_eq!(bench.calls(), calls + 1);
        bench.is_idle().await;
    }
}

/// A large answer to POST streams while it is stored; a client that leaves takes the fill along.
#[tokio::test]
async fn an_answer_to_post_streams() {
    let mut bench = bench();
    let post = bench.post(0, &[], "content");
    let (mut writer, body) = stream(None);
    bench.asked().await.answer(Ok(response_with(200, OWN, body)));
    let mut post = post.await.unwrap().unwrap();
    writer.push("one ".into());
    assert_eq!(chunk(&mut post.body).await, "one ");
    writer.push("two".into());
    writer.finish(None, None);
    assert_eq!(text(post).await, "two");
    assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "one two");
    let post = bench.post(0, &[], "content");
    let (mut writer, body) = stream(None);
    bench.asked().await.answer(Ok(response_with(200, OWN, body)));
    writer.push("three".into());
    drop(post.await.unwrap().unwrap());
    bench.is_idle().await;
    assert!(bench.get_at(0, &[("cache-control", "only-if-cached")]).await.unwrap().is_err());
}

#[tokio::test]
async fn queries_are_told_apart_by_their_content() {
    let mut bench = queries();
    for (content, answer) in [("{a}", "an a"), ("{b}", "a b")] {
        let first = bench.post(0, JSON, content);
        let asked = bench.asked().await;
        assert_eq!(asked.method, Method::POST);
        asked.answer(Ok(response(200, FRESH, answer)));
        let first = first.await.unwrap().unwrap();
        assert!(status_of(&first).starts_with("forebay; fwd=uri-miss; fwd-status=200; "));
        assert_eq!(text(first).await, answer);
    }
    for (content, answer) in [("{a}", "an a"), ("{b}", "a b"), ("{a}", "an a")] {
        let hit = bench.post(5, JSON, content).await.unwrap().unwrap();
        assert!(status_of(&hit).starts_with("forebay; hit; ttl="), "{}", status_of(&hit));
        assert_eq!(text(hit).await, answer);
    }
    assert_eq!(bench.calls(), 2);
    // Neither answers a GET, nor a POST whose content means something else.
    let other = bench.post(5, &[("content-type", "text/plain")], "{a}");
    bench.asked().await.answer(Ok(response(200, FRESH, "plain")));
    assert_eq!(text(other.await.unwrap().unwrap()).await, "plain");
    let get = bench.get();
    bench.asked().await.answer(Ok(response(200, FRESH, "got")));
    assert_eq!(text(get.await.unwrap().unwrap()).await, "got");
    assert_eq!(text(bench.get_at(1, &[]).await.unwrap().unwrap()).await, "got");
    assert_eq!(text(bench.post(5, JSON, "{a}").await.unwrap().unwrap()).await, "an a");
    let empty = bench.post(5, JSON, "");
    bench.asked().await.answer(Ok(response(200, FRESH, "nothing")));
    assert_eq!(text(empty.await.unwrap().unwrap()).await, "nothing");
    bench.is_idle().await;
}

#[tokio::test]
async fn equal_queries_share_a_flight() {
    let mut bench = queries();
    let both = [bench.post(0, JSON, "{a}"), bench.post(0, JSON, "{a}")];
    let asked = bench.asked().await;
    bench.settle().await;
    asked.answer(Ok(response(200, FRESH, "an a")));
    for one in both {
        assert_eq!(text(one.await.unwrap().unwrap()).await, "an a");
    }
    assert_eq!(bench.calls(), 1);
}

/// There is no conditional POST; an operator's lifetime holds, a guess does not exist for it.
#[tokio::test]
async fn stale_queries_are_fetched_again() {
    let mut bench = queries();
    let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let first = bench.post(0, JSON, "{a}");
    bench.asked().await.answer(Ok(response(200, &fields, "old")));
    text(first.await.unwrap().unwrap()).await;
    let again = bench.post(70, JSON, "{a}");
    let asked = bench.asked().await;
    assert_eq!((asked.method.as_str(), asked.header("if-none-match")), ("POST", None));
    asked.answer(Ok(response(200, &fields, "new")));
    assert_eq!(text(again.await.unwrap().unwrap()).await, "new");
    // The origin is gone: the stale answer stands in, as for a GET.
    let again = bench.post(70, JSON, "{a}");
    bench.asked().await.answer(Err(gone()));
    let stale = again.await.unwrap().unwrap();
    assert!(status_of(&stale).ends_with("detail=stale-if-error"), "{}", status_of(&stale));
    assert_eq!(text(stale).await, "new");
    let mut bench = queries_with(|config| config.ttl.default = crate::units::Time::secs(60));
    let first = bench.post(0, JSON, "{a}");
    bench.asked().await.answer(Ok(response(200, &[], "x")));
    text(first.await.unwrap().unwrap()).await;
    assert_eq!(text(bench.post(1, JSON, "{a}").await.unwrap().unwrap()).await, "x");
}

#[tokio::test]
async fn what_is_no_query_passes() {
    static LONG: [u8; 1025] = [b'x'; 1025];
    let long = std::str::from_utf8(&LONG).unwrap();
    for (fields, content, detail) in [
        (JSON, long, "content"),
        (&[("if-none-match", "\"a\"")], "{a}", "precondition"),
        (&[("if-match", "\"a\"")], "{a}", "precondition"),
        (&[("x-bypass", "1")], "{a}", "bypass-header"),
    ] {
        let mut bench = queries_with(|config| config.bypass.headers.push("x-bypass".to_owned()));
        bench.fill(FRESH, "stored").await;
        for _ in 0..2 {
            let post = bench.post(1, fields, content);
            bench.asked().await.answer(Ok(response(200, FRESH, "posted")));
            let post = post.await.unwrap().unwrap();
            let expected = format!("forebay; fwd=bypass; fwd-status=200; detail={detail}");
            assert_eq!(status_of(&post), expected);
        }
        // By the operator's word it changes nothing.
        assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "stored", "{detail}");
        bench.is_idle().await;
    }
}
