//! What the gateway says in an answer of its own making: never anything of a cache (RFC 9211 §2: "an
//! intermediary SHOULD NOT append a Cache-Status member to responses that it generates locally", unless a
//! stored response is behind them). What went wrong is in `Proxy-Status` (RFC 9209).

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, ask, get};

fn claims(answer: &Message) -> Vec<&str> {
    answer.all("cache-status")
}

/// What is sent, and the status and the reason of the answer; none where it is no failure.
type Own = (&'static str, &'static str, u16, Option<&'static str>);

#[tokio::test]
async fn no_cache_has_a_part_in_what_was_refused_before_it() {
    let origin = Origin::always(Reply::new(200, &[("cache-control", "max-age=60")], "x")).await;
    let more = "max_body = \"8B\"\nmatch = { path = \"/{*rest}\", method = [\"GET\", \"POST\", \"PURGE\", \"OPTIONS\"] }\n\
                cors = { origins = [\"https://a.example\"], methods = [\"GET\"] }\n\
                [[route]]\nname = \"limited\"\nmatch = { path = \"/limited\" }\nupstream = \"origin\"\n\
                rate_limit = [{ name = \"one\", rate = \"1/h\", burst = 1 }]\n\
                [[route]]\nname = \"guarded\"\nmatch = { path = \"/guarded\" }\nupstream = \"origin\"\n\
                auth = { keys = {} }\n\
                [[route]]\nname = \"away\"\nmatch = { path = \"/away\" }\nredirect = { to = \"/\" }\n\
                [[route]]\nname = \"fixed\"\nmatch = { path = \"/fixed\" }\nrespond = { status = 200, body = \"x\" }\n";
    let config = Gateway::config(origin.address, "", more);
    let config = config.replacen("match = { path = \"/{*rest}\" }\n", "", 1);
    let gateway = Gateway::start(&config);
    assert_eq!(get(gateway.address, "/limited").await.status(), 200);
    let cases: &[Own] = &[
        ("a bad head", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400, Some("several_hosts")),
        ("an unreadable head", "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", 400, Some("bare_lf")),
        ("another method", "DELETE / HTTP/1.1\r\nhost: a\r\n\r\n", 405, Some("method_not_allowed")),
        ("TRACE", "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", 405, Some("method_refused")),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 501, Some("method_not_implemented")),
        (
            "too long a body",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n",
            413,
            Some("request_body_too_large"),
        ),
        ("no credentials", "GET /guarded HTTP/1.1\r\nhost: a\r\n\r\n", 401, Some("no_credentials")),
        ("a limit", "GET /limited HTTP/1.1\r\nhost: a\r\n\r\n", 429, Some("rate_limited")),
        ("PURGE that is off", "PURGE / HTTP/1.1\r\nhost: a\r\n\r\n", 405, Some("method_not_allowed")),
        (
            "only-if-cached",
            "GET /never HTTP/1.1\r\nhost: a\r\ncache-control: only-if-cached\r\n\r\n",
            504,
            Some("only_if_cached"),
        ),
        ("the server's options", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 204, None),
        (
            "a preflight",
            "OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: https://a.example\r\naccess-control-request-method: GET\r\n\r\n",
            204,
            None,
        ),
        ("a redirect", "GET /away HTTP/1.1\r\nhost: a\r\n\r\n", 308, None),
        ("a fixed response", "GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n", 200, None),
    ];
    for (what, send, status, reason) in cases {
        let mut client = Client::connect(gateway.address).await;
        client.write(send).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), *status, "{what}: {answer:?}");
        assert!(claims(&answer).is_empty(), "{what}: {answer:?}");
        if let Some(reason) = reason {
            let said = answer.field("proxy-status").unwrap_or_default();
            assert!(said.ends_with(&format!("details=\"{reason}\"")), "{what}: {said:?}");
        }
    }
}

/// Where a cache had nothing and the upstream did not answer either, the answer is ours too. The log and the
/// metrics keep what the cache did.
#[tokio::test]
async fn no_cache_has_a_part_in_an_answer_in_place_of_the_upstreams() {
    let gate = Gate::new();
    let nowhere = Origin::always(Reply::default()).await.address;
    for (what, origin, method, status, reason) in [
        ("refused", None, "GET", 502, "connect_failed"),
        ("refused, and past the cache", None, "POST", 502, "connect_failed"),
        ("a reset", Some(Reply::ok("x").reset_after(0)), "GET", 502, "upstream_reset"),
        ("no HTTP", Some(Reply::raw("what?\r\n\r\n").then_close()), "GET", 502, "bad_response"),
        ("too late", Some(Reply::ok("x").after(&gate)), "GET", 504, "deadline"),
    ] {
        let origin = match origin {
            Some(reply) => Some(Origin::always(reply).await),
            None => None,
        };
        let address = origin.as_ref().map_or(nowhere, |origin| origin.address);
        let gateway = Gateway::before(address, "timeout = \"1s\"\nretry = { attempts = 1 }").await;
        let answer = ask(gateway.address, method, "/", &[]).await;
        assert_eq!(answer.status(), status, "{what}: {answer:?}");
        assert!(claims(&answer).is_empty(), "{what}: {answer:?}");
        let said = answer.field("proxy-status").unwrap_or_default();
        assert!(said.ends_with(&format!("details=\"{reason}\"")), "{what}: {said:?}");
        if reason == "deadline" {
            // It may have left the cache before that could count.
            continue;
        }
        let labels = [("route", "all"), ("reason", if method == "GET" { "uri-miss" } else { "method" })];
        assert_eq!(gateway.metrics().await.sum("forebay_cache_requests_total", &labels), 1.0, "{what}");
    }
}

/// What the origin says is passed on with what the cache did, an error too; and so is what is stored.
#[tokio::test]
async fn a_cache_says_what_it_did_with_answers_of_others() {
    let origin = Origin::start(|_, count| match count {
        0 => Reply::new(200, &[("cache-control", "max-age=0, stale-if-error=60"), ("etag", "\"a\"")], "x"),
        _ => Reply::new(503, &[("cache-status", "other; hit")], ""),
    })
    .await;
    let gateway = Gateway::before(origin.address, "retry = { attempts = 1 }").await;
    let stored = get(gateway.address, "/").await;
    assert!(claims(&stored)[0].starts_with("forebay; fwd=uri-miss; fwd-status=200; ttl="), "{stored:?}");
    let stale = get(gateway.address, "/").await;
    assert!(claims(&stale)[0].starts_with("forebay; hit; ttl="), "{stale:?}");
    let not_modified = ask(gateway.address, "GET", "/", &[("if-none-match", "\"a\"")]).await;
    assert_eq!(not_modified.status(), 304);
    assert!(claims(&not_modified)[0].starts_with("forebay; hit; ttl="), "{not_modified:?}");
    let error = get(gateway.address, "/other").await;
    assert_eq!(error.status(), 503);
    assert_eq!(claims(&error).len(), 2, "{error:?}");
    assert_eq!(claims(&error)[0], "other; hit", "RFC 9211 §2: what others say stays");
    assert!(claims(&error)[1].starts_with("forebay; fwd=uri-miss; fwd-status=503"), "{error:?}");
}

/// A kept answer is given once more by no cache, and what a cache before us did is as true as it was.
#[tokio::test]
async fn a_replayed_answer_was_not_forwarded_again() {
    let origin = Origin::always(Reply::new(201, &[("cache-status", "other; fwd=method")], "made")).await;
    let gateway = Gateway::before(origin.address, "idempotency = {}").await;
    let fields = [("idempotency-key", "\"k\""), ("content-length", "0")];
    let first = ask(gateway.address, "POST", "/", &fields).await;
    assert_eq!(claims(&first).len(), 2, "{first:?}");
    let again = ask(gateway.address, "POST", "/", &fields).await;
    assert_eq!(again.field("idempotent-replayed"), Some("true"), "{again:?}");
    assert_eq!(claims(&again), ["other; fwd=method"]);
    assert_eq!(origin.asked().len(), 1);
}

/// RFC 9110 §9.3.2, RFC 9113 §8.1.1: an answer to HEAD has no content on HTTP/2 either. A client takes any as
/// a stream error.
#[tokio::test]
async fn no_answer_to_head_has_content_on_http2() {
    let origin = Origin::always(Reply::new(204, &[], "")).await;
    let more = "rate_limit = [{ name = \"one\", rate = \"1/h\", burst = 1 }]\n\
                match = { path = \"/limited\" }\n\
                [[route]]\nname = \"away\"\nmatch = { path = \"/away\" }\nredirect = { to = \"/\" }\n\
                [[route]]\nname = \"fixed\"\nmatch = { path = \"/fixed\" }\nrespond = { status = 200, body = \"x\" }\n";
    let config = Gateway::config(origin.address, "", more);
    let gateway = Gateway::start(&config.replacen("match = { path = \"/{*rest}\" }\n", "", 1));
    assert_eq!(get(gateway.address, "/limited").await.status(), 204);
    let mut client = H2::connect(gateway.address).await;
    for (path, status) in [("/limited", 429), ("/none", 404), ("/fixed", 200), ("/away", 308)] {
        let content = client.get(&format!("http://a{path}")).await.body;
        let (head, ended) = client.head(&format!("http://a{path}")).await;
        assert_eq!((head.status().as_u16(), ended), (status, true), "{path}");
        let length = head.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        let same = length.is_none_or(|length| length.parse() == Ok(content.len()));
        assert!(same, "{path}: {head:?} for {} bytes", content.len());
    }
    gateway.at_rest().await;
}
