use http::{HeaderValue, Method};
use proptest::prelude::*;

use super::config::{FixedConfig, RedirectConfig};
use super::*;
use crate::error::ClientError;
use crate::http::testing::request;
use crate::http::{Params, RequestBody, Scheme, Target};
use crate::layers::Inner;
use crate::report::{Path, Report, Severity};

const NAMES: [&str; 2] = ["id", "rest"];

fn redirect(to: &str, report: &mut Report) -> FixedPlan {
    let config = RedirectConfig { to: to.to_owned(), status: 308 };
    plan_redirect(&config, &NAMES, &Path::root().key("redirect"), report)
}

fn location(to: &str, target: &Target, params: &Params) -> Result<HeaderValue, Error> {
    let mut report = Report::new();
    let FixedPlan::Redirect { to, .. } = redirect(to, &mut report) else { panic!("no redirect") };
    assert!(report.problems().is_empty(), "{:?}", report.problems());
    to.expand(target, params)
}

fn target(authority: &str, path_and_query: &str) -> Target {
    Target {
        scheme: Scheme::Http,
        authority: authority.parse().unwrap(),
        path_and_query: path_and_query.parse().unwrap(),
    }
}

fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

#[test]
fn locations() {
    for (to, path_and_query, captured, expected) in [
        ("/new", "/old?a=1", &[][..], "/new"),
        ("/new?{query}", "/old?a=1", &[], "/new?a=1"),
        ("/new?{query}", "/old", &[], "/new"),
        ("/new?x=1&{query}", "/old", &[], "/new?x=1"),
        ("https://{host}{path}?{query}", "/a/b?c", &[], "https://api.test/a/b?c"),
        ("{scheme}://{authority}/v2{path}", "/a", &[], "http://api.test:8080/v2/a"),
        ("https://www.example.com/{rest}", "/old/x/y", &[("rest", "x/y")], "https://www.example.com/x/y"),
        ("https://{host}", "/", &[], "https://api.test"),
        ("https://www.{host}/#{id}", "/", &[("id", "1")], "https://www.api.test/#1"),
        ("/é à", "/", &[], "/%C3%A9%20%C3%A0"),
        // In a query, a value is one value.
        ("/find?q={id}", "/x", &[("id", "a&admin=1")], "/find?q=a%26admin%3D1"),
        // A browser takes two slashes for another host: `//evil.test`.
        ("/{rest}", "/old//evil.test", &[("rest", "/evil.test")], "/evil.test"),
        ("/{id}/{rest}", "/", &[("rest", "/evil.test")], "/evil.test"),
        ("{path}", "///evil.test/a//b", &[], "/evil.test/a//b"),
    ] {
        let found = location(to, &target("api.test:8080", path_and_query), &params(captured)).unwrap();
        assert_eq!(found, expected, "{to} {path_and_query}");
    }
}

#[test]
fn requests_that_cannot_be_redirected() {
    let error = location("https://{host}{path}", &target("", "//evil.test"), &Params::new()).unwrap_err();
    assert!(matches!(error, Error::Client(ClientError::BadRequest("no_host"))), "{error}");
    let long = "x".repeat(20_000);
    let error = location("/{id}/{id}", &target("a", "/"), &params(&[("id", &long)])).unwrap_err();
    assert!(matches!(error, Error::Client(ClientError::TargetTooLong)), "{error}");
}

#[test]
fn redirects_that_could_lead_elsewhere_are_refused() {
    for to in [
        "",
        "new",
        "{rest}",
        "{id}://x/",
        "{host}/x",
        "{query}",
        "/x{query}",
        "//{host}/x",
        "//evil.test/",
        "javascript:alert(1)",
        "ftp://a/",
        "https:///x",
        "https://{path}",
        "https://{id}/",
        "https://{id}.example.com/",
        "https://example.com{rest}",
        "https://{host}{rest}",
        "https://{host}:{id}/",
        "{scheme}:{rest}",
        "{scheme}//x",
        "/\\evil.test",
        "/{ids}",
        "/{id",
        "https://exa mple.com/",
        "https://example.com:port/",
    ] {
        let mut report = Report::new();
        let plan = redirect(to, &mut report);
        let paths: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(paths, ["redirect.to"], "{to}");
        assert!(report.has_errors(), "{to}");
        assert!(matches!(plan, FixedPlan::Redirect { to, .. } if to == Location::default()));
    }
}

#[test]
fn statuses_bodies_and_names() {
    let at = Path::root();
    for (status, fine) in [(301, true), (308, true), (300, false), (304, false), (200, false)] {
        let mut report = Report::new();
        let config = RedirectConfig { to: "/".to_owned(), status };
        plan_redirect(&config, &[], &at, &mut report);
        assert_eq!(!report.has_errors(), fine, "{status}");
    }
    for (status, body, fine) in [
        (200, "x", true),
        (599, "x", true),
        (204, "", true),
        (204, "x", false),
        (304, "x", false),
        (101, "", false),
        (600, "", false),
    ] {
        let mut report = Report::new();
        let config = FixedConfig { status, body: body.to_owned(), content_type: "text/html".to_owned() };
        plan_respond(&config, &at, &mut report);
        assert_eq!(!report.has_errors(), fine, "{status} {body}");
    }
    let mut report = Report::new();
    let config = RedirectConfig { to: "/{path}/{id}".to_owned(), status: 302 };
    let plan = plan_redirect(&config, &["path", "id"], &at, &mut report);
    assert_eq!(report.problems()[0].severity, Severity::Warning);
    assert!(plan.uses("id") && !plan.uses("path"));
}

#[tokio::test]
async fn answers() {
    let fixed = Fixed::new(redirect("/new", &mut Report::new()));
    let response = fixed.send(request(Method::GET, RequestBody::Empty)).await.unwrap();
    assert_eq!(
        (response.status.as_u16(), &response.headers[LOCATION]),
        (308, &HeaderValue::from_static("/new"))
    );
    assert_eq!(response.body.as_full(), Some(&b""[..]));

    let config =
        FixedConfig { status: 503, body: "<p>later".to_owned(), content_type: "text/html".to_owned() };
    let fixed = Fixed::new(plan_respond(&config, &Path::root(), &mut Report::new()));
    // HEAD has the fields of GET (RFC 9110 §9.3.2); the connection leaves the body out.
    for method in [Method::GET, Method::HEAD] {
        let response = fixed.send(request(method, RequestBody::Empty)).await.unwrap();
        assert_eq!(response.status, 503);
        assert_eq!(response.headers[CONTENT_TYPE], "text/html");
        assert_eq!(response.body.as_full(), Some(&b"<p>later"[..]));
    }
}

proptest! {
    #[test]
    fn no_value_leads_to_another_host(
        to in prop::sample::select(vec![
            "/{rest}", "/{id}{rest}", "{path}", "{path}{rest}", "/a/{id}/{rest}",
            "https://good.test/{rest}", "https://good.test{path}", "{scheme}://good.test/?{query}{id}",
        ]),
        id in "[a-z./:@;%&=]{0,6}",
        rest in "[a-z./:@;&=]{0,12}",
        path in "/[a-z./:@;]{0,12}",
    ) {
        let target = target("api.test", &path);
        if let Ok(found) = location(to, &target, &params(&[("id", &id), ("rest", &rest)])) {
            let found = found.to_str().unwrap();
            let good = found.starts_with("https://good.test/") || found.starts_with("http://good.test/");
            let relative = found.starts_with('/') && !found.starts_with("//");
            prop_assert!(if to.contains("good") { good } else { relative }, "{} {}", to, found);
        }
    }
}
