mod fetched;
mod passwords;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Ready, ready};
use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, Method, StatusCode};
use tower_service::Service;

use super::config::{AuthConfig, ConsumerConfig};
use super::keys::{Carried, KeyDigest, KeysPlan};
use super::plan::AuthPlan;
use super::*;
use crate::error::{Denial, Error, Refusal};
use crate::http::testing::request;
use crate::http::{Body, Request, RequestBody, Response};
use crate::layers::Inner;
use crate::metrics::Metrics;
use crate::report::{Path, Report};

/// A request with this target and these fields.
fn asked(target: &str, fields: &[(&str, &str)]) -> Request {
    let mut request = request(Method::GET, RequestBody::Empty);
    request.target.path_and_query = target.parse().unwrap();
    for (name, value) in fields {
        request.headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    request
}

fn consumers(toml: &str) -> (BTreeMap<String, ConsumerConfig>, plan::Consumers, Report) {
    let configs: BTreeMap<String, ConsumerConfig> = toml::from_str(toml).unwrap();
    let mut report = Report::new();
    let plans = plan_consumers(&configs, &Path::root().key("consumer"), &mut report);
    (configs, plans, report)
}

fn sha256(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `alice` with the keys `a1` and `a2`, `bob` with `b1`, and `carol`, who is disabled, with `c1`.
fn everybody() -> String {
    format!(
        "alice = {{ keys = ['{}', 'sha256:{}'] }}\nbob = {{ keys = ['{}'] }}\n\
         carol = {{ keys = ['{}'], disabled = true }}",
        sha256("a1"),
        sha256("a2"),
        sha256("b1").to_uppercase(),
        sha256("c1"),
    )
}

fn planned(toml: &str) -> (AuthPlan, Report) {
    let (configs, plans, mut report) = consumers(&everybody());
    let config: AuthConfig = toml::from_str(toml).unwrap();
    let known: BTreeSet<&str> = configs.keys().map(String::as_str).collect();
    let mut plan = plan(&config, &plans, &known, &Path::root().key("auth"), &mut report);
    plan.strip = own_fields([&config].into_iter());
    (plan, report)
}

fn guard(toml: &str) -> Arc<Guard> {
    let (plan, report) = planned(toml);
    assert!(!report.has_errors(), "{:?}", report.problems());
    Arc::new(Guard::new(plan))
}

/// Answers with the fields of the request.
struct Mirror;

crate::layers::inner!(impl for Mirror);

impl Service<Request> for &Mirror {
    type Response = Response;
    type Error = Error;
    type Future = Ready<Result<Response, Error>>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let mut response = Response::new(StatusCode::OK, Body::empty());
        response.headers = request.headers.clone();
        ready(Ok(response))
    }
}

/// What becomes of a request: the consumer's name as the upstream would get it, or why not.
async fn outcome(guard: &Arc<Guard>, request: Request) -> Result<Option<String>, Denial> {
    let layer = Auth::new(Some((Arc::clone(guard), Others::default())), &Metrics::default(), "r", Mirror);
    match layer.send(request).await {
        Ok(response) => Ok(response.headers.get("x-consumer").map(|name| name.to_str().unwrap().to_owned())),
        Err(Error::Refused(Refusal::Denied { why, .. })) => Err(why),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn digests() {
    let hex = sha256("secret");
    for (text, good) in [
        (hex.clone(), true),
        (hex.to_uppercase(), true),
        (format!("sha256:{hex}"), true),
        (format!("md5:{hex}"), false),
        (hex[1..].to_owned(), false),
        (format!("{hex}00"), false),
        (format!("g{}", &hex[1..]), false),
        (format!("é{}", &hex[2..]), false),
        (String::new(), false),
    ] {
        assert_eq!(KeyDigest::parse(&text), good.then(|| KeyDigest::of(b"secret")), "{text}");
    }
    assert_eq!(format!("{:?}", KeyDigest::of(b"secret")), "KeyDigest(..)");
}

/// The digest decides, all of it.
#[test]
fn keys_are_compared_by_their_digests() {
    let alice = identity::Consumer::new("alice").unwrap();
    let ring = keys::Keyring::new([(KeyDigest::of(b"secret"), alice)].into_iter());
    for (key, known) in
        [("secret", true), ("Secret", false), ("secre", false), ("secret ", false), ("", false)]
    {
        assert_eq!(ring.find(&KeyDigest::of(key.as_bytes())).is_some(), known, "{key}");
    }
    let hex = sha256("secret");
    let flip = |at: usize| if &hex[at..=at] == "0" { "1" } else { "0" };
    for at in 0..hex.len() {
        let other = format!("{}{}{}", &hex[..at], flip(at), &hex[at + 1..]);
        assert_ne!(KeyDigest::parse(&other), KeyDigest::parse(&hex), "{at}");
    }
}

/// What a key is found in, and what is left of the request.
#[test]
fn keys_are_taken_out() {
    let plan = |header: &str, query: &str, forward| KeysPlan {
        header: (!header.is_empty()).then(|| header.parse().unwrap()),
        query: (!query.is_empty()).then(|| query.into()),
        forward,
    };
    let key = |text: &str| Carried::Key(KeyDigest::of(text.as_bytes()));
    let (field, query) = (plan("x-api-key", "", false), plan("", "key", false));
    let both = plan("x-api-key", "key", false);
    let bearer = plan("authorization", "", false);
    type Case<'a> = (&'a KeysPlan, &'a str, &'a [(&'a str, &'a str)], Carried, &'a str);
    let cases: [Case<'_>; 20] = [
        (&field, "/", &[], Carried::Nothing, "/"),
        (&field, "/", &[("x-api-key", "k")], key("k"), "/"),
        (&field, "/", &[("x-api-key", "")], Carried::Unusable, "/"),
        (&field, "/", &[("x-api-key", "k"), ("x-api-key", "k")], Carried::Unusable, "/"),
        (&field, "/?key=k", &[], Carried::Nothing, "/?key=k"),
        (&query, "/?key=k", &[], key("k"), "/"),
        (&query, "/a?b=1&key=k&c=%26", &[], key("k"), "/a?b=1&c=%26"),
        (&query, "/?%6Bey=%6b%2B+", &[], key("k+ "), "/"),
        (&query, "/?key=k&key=k", &[], Carried::Unusable, "/"),
        (&query, "/?key=k&a&%6bey=l", &[], Carried::Unusable, "/?a"),
        (&query, "/?key", &[], Carried::Unusable, "/"),
        (&query, "/?key=", &[], Carried::Unusable, "/"),
        (&query, "/?Key=k", &[], Carried::Nothing, "/?Key=k"),
        (&query, "/?a;key=k", &[], Carried::Nothing, "/?a;key=k"),
        (&both, "/?key=q", &[("x-api-key", "h")], key("h"), "/"),
        (&both, "/?key=q", &[], key("q"), "/"),
        (&bearer, "/", &[("authorization", "bearer k")], key("k"), "/"),
        (&bearer, "/", &[("authorization", "Basic k")], Carried::Nothing, "/"),
        (&bearer, "/", &[("authorization", "Bearer ")], Carried::Unusable, "/"),
        (&bearer, "/", &[("x-api-key", "k")], Carried::Nothing, "/"),
    ];
    for (plan, target, fields, carried, left) in cases {
        let mut request = asked(target, fields);
        assert_eq!(plan.take(&mut request), carried, "{target} {fields:?}");
        assert_eq!(request.target.path_and_query, left, "{target}");
        let is_left = plan.header.as_ref().is_some_and(|name| request.headers.contains_key(name));
        assert!(!is_left || carried == Carried::Nothing, "{fields:?}");
    }
    let mut request = asked("/", &[("x-api-key", "k")]);
    assert_eq!(plan("x-api-key", "", true).take(&mut request), key("k"));
    assert_eq!(request.headers["x-api-key"], "k");
    let mut request = asked("/", &[("x-api-key", &"k".repeat(4097))]);
    assert_eq!(field.take(&mut request), Carried::Unusable);
}

#[tokio::test]
async fn who_has_a_key_is_let_in_and_named() {
    let guard = guard("keys = {}");
    for (fields, expected) in [
        (&[("x-api-key", "a1")][..], Ok(Some("alice"))),
        (&[("x-api-key", "a2")], Ok(Some("alice"))),
        (&[("x-api-key", "b1")], Ok(Some("bob"))),
        (&[("x-api-key", "c1")], Err(Denial::BadCredentials)),
        (&[("x-api-key", "a")], Err(Denial::BadCredentials)),
        (&[("x-api-key", "A1")], Err(Denial::BadCredentials)),
        (&[], Err(Denial::NoCredentials)),
        (&[("x-consumer", "alice")], Err(Denial::NoCredentials)),
        (&[("x-api-key", "b1"), ("x-consumer", "alice"), ("x_consumer", "alice")], Ok(Some("bob"))),
    ] {
        let found = outcome(&guard, asked("/", fields)).await;
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(|why| *why), expected, "{fields:?}");
    }
    let layer = Auth::new(Some((guard, Others::default())), &Metrics::default(), "r", Mirror);
    let fields = [("x-api-key", "b1"), ("x_consumer", "alice"), ("x_other", "1")];
    let seen = layer.send(asked("/", &fields)).await.unwrap().into_parts().headers;
    assert!(!seen.contains_key("x-api-key") && !seen.contains_key("x_consumer"));
    assert_eq!(seen["x_other"], "1");
}

#[tokio::test]
async fn a_route_may_be_for_some_only() {
    let guard = guard("keys = {}\nconsumers = ['alice', 'carol']");
    assert_eq!(outcome(&guard, asked("/", &[("x-api-key", "a1")])).await, Ok(Some("alice".to_owned())));
    assert_eq!(outcome(&guard, asked("/", &[("x-api-key", "b1")])).await, Err(Denial::NotAllowed));
    assert_eq!(outcome(&guard, asked("/", &[("x-api-key", "c1")])).await, Err(Denial::BadCredentials));
}

/// Addresses come first: who may not come learns nothing about keys.
#[tokio::test]
async fn addresses_are_looked_at_first() {
    for (lists, client, expected) in [
        ("allow = ['10.0.0.0/8']", "10.1.1.1", Ok(None)),
        ("allow = ['10.0.0.0/8']", "::ffff:10.1.1.1", Ok(None)),
        ("allow = ['10.0.0.0/8']", "11.1.1.1", Err(Denial::Address)),
        ("allow = ['10.0.0.0/8']", "::1", Err(Denial::Address)),
        ("allow = ['10.0.0.0/8']\ndeny = ['10.9.0.0/16', '10.1.1.1']", "10.1.1.1", Err(Denial::Address)),
        ("deny = ['2001:db8::/32']", "2001:db8:1::1", Err(Denial::Address)),
        ("deny = ['2001:db8::/32']", "2001:db9::1", Ok(None)),
        ("deny = ['10.1.1.1']\nkeys = {}", "10.1.1.1", Err(Denial::Address)),
        ("deny = ['10.1.1.1']\nkeys = {}", "10.1.1.2", Ok(Some("alice".to_owned()))),
    ] {
        let mut request = asked("/", &[("x-api-key", "a1")]);
        request.client = client.parse().unwrap();
        assert_eq!(outcome(&guard(lists), request).await, expected, "{lists} {client}");
    }
}

/// RFC 9110 §15.5.2: a 401 has a challenge, a 403 has none.
#[tokio::test]
async fn challenges() {
    for (config, challenge) in [
        ("keys = {}", r#"ApiKey realm="forebay", in="header", name="x-api-key""#),
        ("keys = { header = '', query = 'key' }\nrealm = 'x y'", r#"ApiKey realm="x y", in="query""#),
        ("keys = { header = 'Authorization' }", r#"Bearer realm="forebay""#),
    ] {
        let layer = Auth::new(Some((guard(config), Others::default())), &Metrics::default(), "r", Mirror);
        let error = layer.send(asked("/", &[])).await.unwrap_err();
        let response = crate::layers::respond::response(&error, &crate::http::RequestId::Random(1));
        assert_eq!(response.status, 401);
        assert_eq!(response.headers[WWW_AUTHENTICATE], challenge);
    }
    let layer = Auth::new(
        Some((guard("keys = {}\ndeny = ['127.0.0.1']"), Others::default())),
        &Metrics::default(),
        "r",
        Mirror,
    );
    let error = layer.send(asked("/", &[])).await.unwrap_err();
    let response = crate::layers::respond::response(&error, &crate::http::RequestId::Random(1));
    assert_eq!((response.status.as_u16(), response.headers.get(WWW_AUTHENTICATE)), (403, None));
}

#[test]
fn problems_are_found_and_show_no_secret() {
    for (toml, path, part) in [
        ("", "auth", "lets everybody in"),
        ("consumers = ['alice']", "auth.consumers", "cannot be known"),
        ("keys = { header = '' }", "auth.keys", "nowhere"),
        ("keys = { header = 'a b' }", "auth.keys.header", "no field name"),
        ("keys = { header = 'authorization' }\nbasic = {}", "auth.keys", "other credentials"),
        ("basic = { remember = '25h' }", "auth.basic.remember", "is long"),
        ("jwt = {}", "auth.jwt", "`issuer` is missing"),
        ("jwt = {}", "auth.jwt", "`audience` is missing"),
        ("jwt = {}", "auth.jwt", "where the keys come from"),
        ("jwt = {}", "auth.jwt.algorithms", "no algorithm"),
        ("jwt = { algorithms = ['none'] }", "auth.jwt.algorithms[0]", "no algorithm that"),
        ("jwt = { algorithms = ['RS256', 'HS256'] }", "auth.jwt.algorithms[1]", "another kind"),
        ("jwt = { algorithms = ['HS256'], jwks = '{}' }", "auth.jwt", "not for these"),
        ("jwt = { algorithms = ['RS256'], secret = 'x' }", "auth.jwt", "not for these"),
        ("jwt = { algorithms = ['HS256'], secret = 'short' }", "auth.jwt", "fewer than 32"),
        ("jwt = { algorithms = ['RS256'], jwks = '{}' }", "auth.jwt", "no `keys`"),
        ("jwt = { skew = '6m' }", "auth.jwt.skew", "5 minutes"),
        ("jwt = { headers = { host = 'x' } }", "auth.jwt.headers.host", "another meaning"),
        ("jwt = { typ = ['at jwt'] }", "auth.jwt.typ[0]", "no media type"),
        ("jwt = { jwks = 'idp.example/keys' }", "auth.jwt", "no JSON"),
        ("jwt = { jwks = 'https://' }", "auth.jwt.jwks", "no URL"),
        ("jwt = { jwks = 'https://a/#b' }", "auth.jwt.jwks", "no URL"),
        ("jwt = { jwks = 'http://a/' }", "auth.jwt.jwks", "on the way"),
        ("jwt = { jwks = 'https://a/', refresh = '0s' }", "auth.jwt.refresh", "is zero"),
        ("jwt = { jwks = 'https://a/', upstream = 'a' }", "auth.jwt", "where the keys come from"),
        ("jwt = { jwks = 'https://a/', algorithms = ['HS256'] }", "auth.jwt", "not for these"),
        ("jwt = { upstream = 'a', path = 'x' }", "auth.jwt.path", "no path"),
        ("jwt = { upstream = 'a', min_refresh = '0s' }", "auth.jwt.min_refresh", "is zero"),
        ("jwt = { upstream = 'a', max_stale = '1s' }", "auth.jwt.max_stale", "shorter"),
        ("forward = { path = 'check' }", "auth.forward.path", "no path"),
        ("forward = { request_headers = [] }", "auth.forward.request_headers", "without credentials"),
        ("forward = { response_headers = ['host'] }", "auth.forward.response_headers[0]", "another"),
        ("forward = { remember = '2h' }", "auth.forward.remember", "is long"),
        ("forward = { timeout = '0s' }", "auth.forward.timeout", "is zero"),
        ("keys = { query = 'k', forward = true }", "auth.keys.forward", "is not forwarded"),
        ("keys = {}\nconsumers = ['alic']", "auth.consumers[0]", "`alic`"),
        ("keys = {}\nheader = 'host'", "auth.header", "another meaning"),
        ("keys = {}\nheader = ''", "auth.header", "no field name"),
        ("keys = {}\nrealm = '\"'", "auth.realm", "cannot be sent"),
        ("allow = ['10.0.0.0/33']", "auth.allow[0]", "no network"),
        ("deny = ['x']", "auth.deny[0]", "no network"),
    ] {
        let (_, report) = planned(toml);
        let found =
            report.problems().iter().any(|it| it.path.to_string() == path && it.message.contains(part));
        assert!(found, "{toml}: {:?}", report.problems());
    }
    let same = sha256("same");
    for (toml, path, part) in [
        ("a = { keys = ['hunter2'] }".to_owned(), "consumer.a", "no SHA-256"),
        ("a = { password = 'hunter2' }".to_owned(), "consumer.a", "no PHC string"),
        (format!("a = {{ keys = ['{same}'] }}\nb = {{ keys = ['{same}'] }}"), "consumer.b", "one of `a`"),
        ("'' = {}".to_owned(), "consumer.", "no name"),
        ("'ä' = {}".to_owned(), "consumer.ä", "no name"),
    ] {
        let (configs, _, report) = consumers(&toml);
        let found =
            report.problems().iter().find(|it| it.path.to_string().starts_with(path)).unwrap_or_else(|| {
                panic!("{toml}: {:?}", report.problems());
            });
        assert!(found.message.contains(part), "{found:?}");
        let shown = format!("{:?} {configs:?}", report.problems());
        assert!(!shown.contains("hunter2") && !shown.contains(&same), "{shown}");
    }
    let shown = format!("{:?}", planned("keys = {}").0);
    assert!(!shown.contains(&sha256("a1")[..8]), "{shown}");
}
