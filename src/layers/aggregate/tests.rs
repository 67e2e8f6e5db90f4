use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tower_service::Service;

use super::config::PartConfig;
use super::layer::Aggregate;
use super::plan::{PartPlan, plan};
use crate::clock;
use crate::error::{Error, Refusal, UpstreamError, UpstreamErrorKind};
use crate::http::testing::request;
use crate::http::{Body, Request, RequestBody, Response, Target};
use crate::layers::{Boxed, Inner, always_ready, inner};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::report::{Path, Report};

/// Answers by path, and remembers what it was asked.
#[derive(Default)]
struct Origin {
    asked: Mutex<Vec<(String, HeaderMap)>>,
}

#[derive(Clone)]
struct Shared(std::sync::Arc<Origin>);

inner!(impl for Shared);

fn json(body: impl Into<bytes::Bytes>) -> Response {
    let mut response = Response::new(StatusCode::OK, Body::full(body));
    response.headers.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

impl<'a> Service<Request> for &'a Shared {
    type Response = Response;
    type Error = Error;
    type Future = Boxed<'a>;

    always_ready!();

    fn call(&mut self, request: Request) -> Boxed<'a> {
        let path = request.target.path_and_query.to_string();
        self.0.asked.lock().unwrap().push((path.clone(), request.headers.clone()));
        assert_eq!(request.method, Method::GET);
        Box::pin(async move {
            let path = path.split('?').next().unwrap_or_default();
            if let Some(millis) = path.strip_prefix("/slow/") {
                tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
            }
            Ok(match path {
                "/down" => return Err(UpstreamError::sent(UpstreamErrorKind::Reset).into()),
                "/busy" => {
                    let retry_after = Duration::from_secs(3);
                    return Err(Refusal::QueueFull { retry_after }.into());
                }
                "/missing" => Response::new(StatusCode::NOT_FOUND, Body::full("{}")),
                "/text" => Response::new(StatusCode::OK, Body::full("text")),
                "/broken" => json("{\"a\":"),
                "/two" => json("1 2"),
                "/latin" => json(b"\"\xff\"".to_vec()),
                "/large" => json(vec![b'1'; 2000]),
                "/huge" => json(format!("[{}1]", "1,".repeat(300_000))),
                "/gzip" => {
                    let mut response = json("1");
                    response.headers.insert("content-encoding", HeaderValue::from_static("gzip"));
                    response
                }
                "/stale" => {
                    request.trail.note(|notes| notes.cache = Some("stale"));
                    json("\"old\"")
                }
                _ => json(format!("{{\"n\":1.10,\"path\":\"{path}\"}}")),
            })
        })
    }
}

fn part(name: &str, path: &str) -> PartConfig {
    PartConfig { name: name.to_owned(), path: path.to_owned(), ..PartConfig::default() }
}

fn optional(name: &str, path: &str) -> PartConfig {
    PartConfig { optional: true, ..part(name, path) }
}

fn planned(parts: &[PartConfig], names: &[&str]) -> Vec<PartPlan> {
    let mut report = Report::new();
    let plans = plan(parts, names, &Path::root(), &mut report);
    assert!(report.problems().is_empty(), "{:?}", report.problems());
    plans
}

fn aggregate(parts: &[PartConfig]) -> (Aggregate<Shared>, Shared) {
    let origin = Shared(Default::default());
    let parts = planned(parts, &["id", "rest"]).into_iter().map(|plan| (plan, origin.clone()));
    (Aggregate::new(parts, &Memory::unlimited(), &Metrics::default(), "test"), origin)
}

fn get(target: &'static str) -> Request {
    let mut request = request(Method::GET, RequestBody::Empty);
    request.target.path_and_query = http::uri::PathAndQuery::from_static(target);
    request.params = [("id".into(), "7".into()), ("rest".into(), "a/b&c".into())].into_iter().collect();
    request
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn parts_are_merged_under_their_names_as_they_came() {
    let (layer, origin) = aggregate(&[part("user", "/users/{id}"), part("b-2", "/x?of={rest}&y=1")]);
    let mut request = get("/?page=2");
    for (name, value) in [("range", "bytes=0-1"), ("if-none-match", "*"), ("accept-encoding", "br")] {
        request.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    request.headers.insert("authorization", HeaderValue::from_static("Bearer x"));
    let response = layer.send(request).await.unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(response.headers["cache-control"], "no-store");
    assert!(!response.headers.contains_key("forebay-parts"));
    let expected = r#"{"user":{"n":1.10,"path":"/users/7"},"b-2":{"n":1.10,"path":"/x"}}"#;
    assert_eq!(text(response).await, expected);
    let asked = origin.0.asked.lock().unwrap();
    assert_eq!(asked[1].0, "/x?of=a/b%26c&y=1", "a captured value is one value");
    for (path, headers) in asked.iter() {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "authorization"], "{path}");
    }
}

#[tokio::test]
async fn what_is_not_well_is_said() {
    let with = PartConfig { default: Some(serde_json::json!([1])), ..optional("d", "/missing") };
    let (layer, _) = aggregate(&[optional("a", "/down"), part("b", "/stale"), part("c", "/ok"), with]);
    let response = layer.send(get("/")).await.unwrap();
    let field = "a;failed=upstream_reset, b;stale, d;failed=part_status;status=404";
    assert_eq!(response.headers["forebay-parts"], field);
    let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "a": null, "b": "old", "c": { "n": 1.10, "path": "/ok" }, "d": [1],
            "_meta": {
                "failed": [
                    { "name": "a", "reason": "upstream_reset" },
                    { "name": "d", "reason": "part_status", "status": 404 },
                ],
                "stale": ["b"],
            },
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_required_part_fails_the_whole_at_once() {
    for (path, reason, status) in [
        ("/down", "upstream_reset", 502),
        ("/busy", "queue_full", 503),
        ("/missing", "part_status", 502),
        ("/text", "part_not_json", 502),
        ("/broken", "part_not_json", 502),
        ("/two", "part_not_json", 502),
        ("/latin", "part_not_json", 502),
        ("/gzip", "part_encoded", 502),
        ("/large", "part_too_large", 502),
    ] {
        let bad = PartConfig { max_body: "1000B".parse().unwrap(), ..part("bad", path) };
        let (layer, _) = aggregate(&[part("slow", "/slow/60000"), bad]);
        let begun = clock::now().instant;
        let error = layer.send(get("/")).await.unwrap_err();
        assert!(clock::now().instant - begun < Duration::from_secs(1), "nobody waits for the others");
        assert!(matches!(&error, Error::Part(error) if &*error.part == "bad"), "{error:?}");
        assert_eq!(error.as_str(), reason, "{path}");
        let response = crate::layers::respond::response(&error, &crate::http::RequestId::Random(1));
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.headers.contains_key("retry-after"), status == 503, "{path}");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!((&body["part"], &body["reason"]), (&"bad".into(), &reason.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn it_takes_the_time_of_the_slowest_and_no_longer_than_a_part_may() {
    let late = PartConfig { timeout: Some(crate::units::Time::millis(300)), ..optional("d", "/slow/9000") };
    let (layer, _) =
        aggregate(&[part("a", "/slow/100"), part("b", "/slow/200"), part("c", "/slow/100"), late]);
    let begun = clock::now().instant;
    let response = layer.send(get("/")).await.unwrap();
    let took = clock::now().instant - begun;
    assert!((300..320).contains(&took.as_millis()), "{took:?}");
    assert_eq!(response.headers["forebay-parts"], "d;failed=deadline");
}

#[tokio::test]
async fn large_parts_are_merged_too() {
    let (layer, _) = aggregate(&[part("a", "/huge"), part("b", "/ok")]);
    let response = layer.send(get("/")).await.unwrap();
    let length = http_body::Body::size_hint(&response.body).exact().unwrap();
    let body = text(response).await;
    assert!(body.len() as u64 == length && length > 600_000);
    assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
}

#[tokio::test]
async fn what_is_held_is_given_back_with_the_body() {
    let origin = Shared(Default::default());
    let parts = || planned(&[part("a", "/huge"), part("b", "/huge")], &[]);
    let memory = Memory::new(1_500_000);
    let metrics = Metrics::default();
    let with = |plan| (plan, origin.clone());
    let layer = Aggregate::new(parts().into_iter().map(with), &memory, &metrics, "test");
    let response = layer.send(get("/")).await.unwrap();
    assert!(memory.used() > 1_200_000);
    assert_eq!(layer.send(get("/")).await.unwrap_err().as_str(), "part_no_memory");
    drop(response);
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn other_methods_are_refused() {
    let (layer, origin) = aggregate(&[part("a", "/ok")]);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let request = request(method, RequestBody::Empty);
        let error = layer.send(request).await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refusal::MethodNotAllowed(allow)) if allow == "GET, HEAD"));
    }
    assert!(origin.0.asked.lock().unwrap().is_empty());
    let head = Request::from(crate::http::RequestParts { method: Method::HEAD, ..get("/").into_parts() });
    assert_eq!(layer.send(head).await.unwrap().status, 200);
}

#[test]
fn what_a_part_is_asked_for() {
    let all = ["*".to_owned()];
    let named = ["q".to_owned(), "page".to_owned()];
    for (path, pass, target, expected) in [
        ("/a", &[][..], "/?x=1", "/a"),
        ("/a", &all[..], "/?x=1&&y", "/a?x=1&y"),
        ("/a?z=0", &all, "/?x=1", "/a?z=0&x=1"),
        ("/a", &all, "/", "/a"),
        ("/a", &named, "/?q=1&x=2&page=3&q=4&pages=5&q", "/a?q=1&page=3&q=4&q"),
        ("/a/{id}?q={id}", &named, "/?page=3", "/a/7?q=7&page=3"),
        ("/{rest}", &[], "/", "/a/b&c"),
        ("/ü x", &[], "/", "/%C3%BC%20x"),
    ] {
        let config = PartConfig { query: pass.to_vec(), ..part("a", path) };
        let plans = planned(&[config], &["id", "rest"]);
        let asked = get("/");
        let asked_for =
            Target { path_and_query: http::uri::PathAndQuery::from_static(target), ..asked.target.clone() };
        let got = plans[0].target.expand(&asked_for, &asked.params).unwrap();
        assert_eq!(got, expected, "{path} {pass:?} {target}");
    }
    let plans = planned(&[part("a", "/{id}/b")], &["id"]);
    let params = [("id".into(), "..".into())].into_iter().collect();
    let got = plans[0].target.expand(&get("/").target, &params);
    assert!(got.is_err() || got.as_ref().is_ok_and(|path| path == "/b"), "{got:?}");
}

#[test]
fn what_cannot_be_planned_is_reported() {
    let large = PartConfig { max_body: crate::units::Size::mib(17), ..part("a", "/") };
    let required = PartConfig { default: Some(serde_json::json!(1)), ..part("a", "/") };
    let hasty = PartConfig { timeout: Some(crate::units::Time::secs(0)), ..part("a", "/") };
    for (parts, expected) in [
        (vec![part("", "/")], "cannot name a part"),
        (vec![part("a b", "/")], "cannot name a part"),
        (vec![part("1", "/")], "cannot name a part"),
        (vec![part("_meta", "/")], "which parts failed"),
        (vec![part("a", "/"), part("a", "/")], "two parts are named `a`"),
        (vec![part("a", "x")], "begins with a slash"),
        (vec![part("a", "/x#y")], "has no `#`"),
        (vec![part("a", "/{ib}")], "did you mean `id`"),
        (vec![part("a", "/{id")], "a brace"),
        (vec![part("a", "/%00")], "no request can have such a path"),
        (vec![PartConfig { query: vec!["a=b".to_owned()], ..part("a", "/") }], "cannot name a parameter"),
        (vec![large], "16MiB"),
        (vec![required], "optional = true"),
        (vec![hasty], "in no time"),
        ((0..17).map(|index| part(&format!("p{index}"), "/")).collect(), "17 parts are too many"),
    ] {
        let mut report = Report::new();
        plan(&parts, &["id"], &Path::root(), &mut report);
        let said = format!("{:?}", report.problems());
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
