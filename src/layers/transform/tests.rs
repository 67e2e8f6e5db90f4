use std::future::{Ready, ready};
use std::sync::Mutex;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use tower_service::Service;

use super::config::{HeaderRulesConfig, RewriteConfig};
use super::*;
use crate::error::{ClientError, Error};
use crate::http::testing::request;
use crate::http::{Body, Params, Request, RequestBody, RequestParts, Response};
use crate::layers::Inner;
use crate::report::{Path, Report};

fn rewriting(path: Option<&str>, strip_prefix: Option<&str>, report: &mut Report) -> TransformPlan {
    let rewrite =
        RewriteConfig { path: path.map(str::to_owned), strip_prefix: strip_prefix.map(str::to_owned) };
    let none = HeaderRulesConfig::default();
    plan(&rewrite, &none, &none, &["id", "rest"], &Path::root(), report)
}

fn headed(request: HeaderRulesConfig, response: HeaderRulesConfig, report: &mut Report) -> TransformPlan {
    plan(&RewriteConfig::default(), &request, &response, &[], &Path::root(), report)
}

fn rules(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderRulesConfig {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    HeaderRulesConfig {
        remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        set: map(set),
        add: map(add),
    }
}

fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// Keeps what it was asked for and answers with what it is told.
struct Origin {
    answer: Mutex<Option<Result<Response, Error>>>,
    asked: Mutex<Option<(PathAndQuery, HeaderMap)>>,
}

impl Origin {
    fn new(answer: Result<Response, Error>) -> Self {
        Self { answer: Some(answer).into(), asked: None.into() }
    }

    fn ok() -> Self {
        Self::new(Ok(Response::new(StatusCode::OK, Body::empty())))
    }
}

crate::layers::inner!(impl for Origin);

impl Service<Request> for &Origin {
    type Response = Response;
    type Error = Error;
    type Future = Ready<Result<Response, Error>>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let parts = request.into_parts();
        *self.asked.lock().unwrap() = Some((parts.target.path_and_query, parts.headers));
        ready(self.answer.lock().unwrap().take().unwrap())
    }
}

fn get(path_and_query: &str) -> Request {
    let mut request = request(Method::GET, RequestBody::Empty);
    request.target.path_and_query = path_and_query.parse().unwrap();
    request
}

#[test]
fn rewritten_paths() {
    let template = |path| (Some(path), None);
    let strip = |prefix| (None, Some(prefix));
    for ((path, prefix), from, captured, to) in [
        (template("/v1/{rest}"), "/x/a/b?q=/..", &[("rest", "a/b")][..], "/v1/a/b?q=/.."),
        (template("/v1/{rest}"), "/x/", &[("rest", "")], "/v1/"),
        // The rest was not even there: its slash goes too.
        (template("/v1/{rest}"), "/x", &[], "/v1"),
        (template("/{rest}"), "/x", &[], "/"),
        (template("/{id}/{rest}"), "/x/1/a%2Fb", &[("id", "1"), ("rest", "a%2Fb")], "/1/a%2Fb"),
        (template("/v 1/é"), "/", &[], "/v%201/%C3%A9"),
        // No template makes a dot segment of a value.
        (template("/a/.{id}/c"), "/x", &[("id", ".")], "/c"),
        (template("/a/./b/../{id}"), "/x", &[("id", "1")], "/a/1"),
        (strip("/api"), "/api/x?y", &[], "/x?y"),
        (strip("/api/"), "/api/x", &[], "/x"),
        (strip("/api"), "/api", &[], "/"),
        (strip("/api"), "/api?y", &[], "/?y"),
        (strip("/api"), "/apix", &[], "/apix"),
        (strip("/api"), "/x/api", &[], "/x/api"),
        (strip("/"), "/x", &[], "/x"),
    ] {
        let mut report = Report::new();
        let plan = rewriting(path, prefix, &mut report);
        assert!(report.problems().is_empty(), "{:?}", report.problems());
        let target = get(from).into_parts().target;
        let changed = plan.rewrite.and_then(|rewrite| rewrite.apply(&target, &params(captured)).unwrap());
        assert_eq!(changed.unwrap_or(target.path_and_query).as_str(), to, "{path:?} {prefix:?} {from}");
    }
}

#[test]
fn a_rewrite_that_grows_too_long_is_refused() {
    let plan = rewriting(Some("/{id}{id}{id}{id}"), None, &mut Report::new());
    let target = get("/").into_parts().target;
    let long = "x".repeat(30_000);
    let rewritten = plan.rewrite.unwrap().apply(&target, &params(&[("id", &long)]));
    assert_eq!(rewritten, Err(crate::http::normalize::TargetError::TooLong));
}

#[test]
fn rewrites_that_cannot_be_are_reported() {
    for (path, prefix, at) in [
        (Some("v1"), None, "rewrite.path"),
        (Some("/v1?x={id}"), None, "rewrite.path"),
        (Some("/v1/{ids}"), None, "rewrite.path"),
        (Some("/v1/{id"), None, "rewrite.path"),
        (Some("/v1\\x"), None, "rewrite.path"),
        (Some("/v1/..;/{id}"), None, "rewrite.path"),
        (None, Some("api"), "rewrite.strip_prefix"),
        (None, Some("/{id}"), "rewrite.strip_prefix"),
        (None, Some("/%zz"), "rewrite.strip_prefix"),
        (Some("/a"), Some("/b"), "rewrite"),
    ] {
        let mut report = Report::new();
        let plan = rewriting(path, prefix, &mut report);
        let paths: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(paths, [at], "{path:?} {prefix:?}");
        assert_eq!(plan, TransformPlan::default());
    }
    let mut report = Report::new();
    for (path, hint) in [("/{rset}", Some("did you mean `rest`?")), ("/{other}", None)] {
        rewriting(Some(path), None, &mut report);
        assert_eq!(report.problems().last().unwrap().hint.as_deref(), hint, "{path}");
    }
}

#[test]
fn only_names_in_use_are_captured() {
    let plan = rewriting(Some("/v1/{rest}"), None, &mut Report::new());
    assert!(plan.uses("rest") && !plan.uses("id"));
    assert!(!rewriting(None, Some("/rest"), &mut Report::new()).uses("rest"));
}

#[test]
fn rules_remove_then_set_then_add() {
    let config = rules(&["X-A", "x-b"], &[("X-B", "2"), ("x-c", "2")], &[("x-a", "3"), ("x-c", "3")]);
    let mut report = Report::new();
    let plan = headed(config, HeaderRulesConfig::default(), &mut report);
    assert!(report.problems().is_empty());
    let mut headers = HeaderMap::new();
    for name in ["x-a", "x-b", "x-c", "x-d"] {
        for value in ["0", "1"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    plan.request.apply(&mut headers);
    let values =
        |name| -> Vec<_> { headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect() };
    assert_eq!(values("x-a"), ["3"]);
    assert_eq!(values("x-b"), ["2"]);
    assert_eq!(values("x-c"), ["2", "3"]);
    assert_eq!(values("x-d"), ["0", "1"]);
}

#[test]
fn fields_that_no_rule_may_change_are_reported() {
    let request = rules(
        &["connection", "bad name"],
        &[("Host", "x"), ("content-length", "0"), ("x-a", "1\n2"), ("x-b", "1"), ("X-B", "2")],
        &[("Transfer-Encoding", "chunked")],
    );
    let response = rules(&["keep-alive", "server"], &[("content-length", "0"), ("host", "fine")], &[]);
    let mut report = Report::new();
    let plan = headed(request, response, &mut report);
    let mut paths: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
    paths.sort_unstable();
    let expected = [
        "request_headers.add.Transfer-Encoding",
        "request_headers.remove[0]",
        "request_headers.remove[1]",
        "request_headers.set",
        "request_headers.set.Host",
        "request_headers.set.content-length",
        "request_headers.set.x-a",
        "response_headers.remove[0]",
        "response_headers.set.content-length",
    ];
    assert_eq!(paths, expected);
    assert_eq!(plan.response.remove, [http::header::SERVER]);
}

#[tokio::test]
async fn the_inner_service_sees_the_changed_request() {
    let rewrite = RewriteConfig { path: Some("/v1/{id}".to_owned()), strip_prefix: None };
    let request_rules = rules(&[], &[("x-env", "prod")], &[]);
    let plan = plan(
        &rewrite,
        &request_rules,
        &HeaderRulesConfig::default(),
        &["id"],
        &Path::root(),
        &mut Report::new(),
    );
    let layer = TransformRequest::new(&plan, Origin::ok());
    layer
        .send(Request::from(RequestParts { params: params(&[("id", "7")]), ..get("/x/7?q").into_parts() }))
        .await
        .unwrap();
    let (asked, headers) = layer_asked(&layer).unwrap();
    assert_eq!(asked.as_str(), "/v1/7?q");
    assert_eq!(headers["x-env"], "prod");

    // A value that makes the path ambiguous is the client's fault, and nothing is sent.
    let bad = rewriting(Some("/a%2F{id}"), None, &mut Report::new());
    let layer = TransformRequest::new(&bad, Origin::ok());
    let error = layer
        .send(Request::from(RequestParts { params: params(&[("id", "..")]), ..get("/").into_parts() }))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Client(ClientError::BadRequest("target_disguised_dots"))), "{error}");
    assert!(layer_asked(&layer).is_none());
}

fn layer_asked(layer: &TransformRequest<Origin>) -> Option<(PathAndQuery, HeaderMap)> {
    layer.inner().asked.lock().unwrap().take()
}

#[tokio::test]
async fn responses_go_out_changed() {
    let config = rules(&["server"], &[("x-frame-options", "DENY")], &[]);
    let plan = headed(HeaderRulesConfig::default(), config, &mut Report::new());
    let mut answer = Response::new(StatusCode::BAD_GATEWAY, Body::empty());
    answer.headers.insert("server", HeaderValue::from_static("origin/1.0"));
    let layer = TransformResponse::new(&plan, Origin::new(Ok(answer)));
    let response = layer.send(get("/")).await.unwrap();
    assert!(!response.headers.contains_key("server"));
    assert_eq!(response.headers["x-frame-options"], "DENY");
}

proptest! {
    #[test]
    fn whatever_is_captured_the_result_is_a_normal_path(
        template in "/[a.]{0,2}(\\{id\\}|/|[a.]){0,4}(\\{rest\\})?",
        id in "[a.~;]{0,3}(%2F)?[a.;]{0,3}",
        rest in "[a.~;/]{0,6}",
    ) {
        let mut report = Report::new();
        let plan = rewriting(Some(&template), None, &mut report);
        if let Some(rewrite) = plan.rewrite {
            let target = get("/?q").into_parts().target;
            if let Ok(Some(changed)) = rewrite.apply(&target, &params(&[("id", &id), ("rest", &rest)])) {
                prop_assert!(changed.path().starts_with('/'));
                prop_assert!(!changed.path().split('/').any(|segment| segment == "." || segment == ".."));
                prop_assert_eq!(changed.query(), Some("q"));
            }
        }
    }
}
