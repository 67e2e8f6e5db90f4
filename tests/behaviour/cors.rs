//! Which pages may use a route from a browser (the Fetch standard, §3.2).

use crate::support::message::Message;
use crate::support::{Gateway, Origin, Reply, ask};

const APP: &str = "https://app.example.com";

async fn start(origin: &Origin, cors: &str, more: &str) -> Gateway {
    Gateway::before(origin.address, &format!("cors = {{ {cors} }}\n{more}")).await
}

fn grants(answer: &Message) -> (Option<&str>, Option<&str>) {
    (answer.field("access-control-allow-origin"), answer.field("access-control-allow-credentials"))
}

fn varies(answer: &Message, name: &str) -> bool {
    let members = answer.all("vary").join(",").to_ascii_lowercase();
    members.split(',').any(|member| member.trim() == name)
}

/// The gateway answers, without credentials, and the upstream is not asked.
#[tokio::test]
async fn preflights_are_answered_here() {
    let origin = Origin::always(Reply::ok("x")).await;
    let rules = "origins = [\"https://app.example.com\", \"https://*.dev.example.com\"], \
                 methods = [\"GET\", \"PUT\"], headers = [\"x-api-key\", \"content-type\"], \
                 credentials = true, max_age = \"1h\"";
    let gateway = start(&origin, rules, "auth = { keys = {} }").await;
    for (page, granted) in [
        (APP, true),
        ("https://a.dev.example.com", true),
        ("https://dev.example.com", false),
        ("https://app.example.com.evil.example", false),
        ("http://app.example.com", false),
        ("null", false),
    ] {
        let fields = [
            ("origin", page),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "content-type, x-evil,X-Api-Key"),
        ];
        let answer = ask(gateway.address, "OPTIONS", "/", &fields).await;
        assert_eq!((answer.status(), answer.text()), (204, ""), "{page}");
        let expected = if granted { (Some(page), Some("true")) } else { (None, None) };
        assert_eq!(grants(&answer), expected, "{page}");
        let said = |name| answer.field(name).filter(|_| granted);
        assert_eq!(answer.field("access-control-allow-methods"), said("access-control-allow-methods"));
        if granted {
            assert_eq!(answer.field("access-control-allow-methods"), Some("GET, PUT"));
            assert_eq!(answer.field("access-control-allow-headers"), Some("content-type, x-api-key"));
            assert_eq!(answer.field("access-control-max-age"), Some("3600"));
        }
        assert!(varies(&answer, "origin"), "{answer:?}");
    }
    assert!(origin.asked().is_empty());
    // An OPTIONS that is no preflight is a request like others.
    assert_eq!(ask(gateway.address, "OPTIONS", "/", &[("origin", APP)]).await.status(), 401);
}

/// What is stored has nothing of one origin in it, and what the upstream says about CORS is replaced.
#[tokio::test]
async fn a_stored_answer_is_told_to_each_origin_in_its_own_words() {
    let said = [
        ("cache-control", "max-age=60"),
        ("access-control-allow-origin", "https://upstream.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-upstream"),
        ("etag", "\"1\""),
    ];
    let origin = Origin::always(Reply::new(200, &said, "x")).await;
    let rules = "origins = [\"https://app.example.com\", \"https://other.example.com\"], expose = [\"etag\"]";
    let gateway = start(&origin, rules, "").await;
    for page in [Some(APP), Some("https://other.example.com"), Some("https://evil.example"), None, Some(APP)]
    {
        let fields: Vec<_> = page.iter().map(|page| ("origin", *page)).collect();
        let answer = ask(gateway.address, "GET", "/", &fields).await;
        let granted = page.filter(|page| !page.contains("evil"));
        assert_eq!(grants(&answer), (granted, None), "{page:?}");
        assert_eq!(answer.field("access-control-expose-headers"), granted.map(|_| "etag"));
        assert!(varies(&answer, "origin"), "{answer:?}");
        assert_eq!(answer.text(), "x");
        // RFC 9110 §15.4.5: a 304 has the `Vary` that the 200 would have had.
        let fields = [&fields[..], &[("if-none-match", "\"1\"")]].concat();
        let answer = ask(gateway.address, "GET", "/", &fields).await;
        assert_eq!((answer.status(), grants(&answer)), (304, (granted, None)), "{page:?}");
        assert!(varies(&answer, "origin"), "{answer:?}");
    }
    assert_eq!(origin.asked().len(), 1);
}

/// Where all may, the answer is the same for all: `*`, and nothing varies.
#[tokio::test]
async fn a_route_for_all_pages() {
    let origin = Origin::always(Reply::new(200, &[("vary", "accept")], "x")).await;
    let rules = "origins = [\"*\"], headers = [\"*\"], methods = [\"*\"]";
    let gateway = start(&origin, rules, "").await;
    let answer = ask(gateway.address, "GET", "/", &[("origin", APP)]).await;
    assert_eq!((grants(&answer), varies(&answer, "origin")), ((Some("*"), None), false));
    assert!(varies(&answer, "accept"));
    let fields = [
        ("origin", APP),
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "x-any, authorization"),
    ];
    let answer = ask(gateway.address, "OPTIONS", "/", &fields).await;
    assert_eq!(grants(&answer), (Some("*"), None));
    assert_eq!(answer.field("access-control-allow-methods"), Some("DELETE"));
    assert_eq!(answer.field("access-control-allow-headers"), Some("x-any"), "it must be named");
}

/// A page must be able to read why it was refused.
#[tokio::test]
async fn errors_can_be_read_too() {
    let origin = Origin::always(Reply::ok("x")).await;
    let rules = "origins = [\"https://app.example.com\"]";
    let gateway = start(&origin, rules, "auth = { keys = {} }").await;
    let answer = ask(gateway.address, "GET", "/", &[("origin", APP)]).await;
    assert_eq!((answer.status(), grants(&answer)), (401, (Some(APP), None)));
    let evil = ask(gateway.address, "GET", "/", &[("origin", "https://evil.example")]).await;
    assert_eq!((evil.status(), grants(&evil)), (401, (None, None)));
}
