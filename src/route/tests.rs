use std::cmp::Reverse;
use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::config::MatchConfig;
use super::lint::{Candidate, unreachable};
use super::pattern::{Pattern, PatternError};
use super::plan::{HostMatch, MatchPlan, ValueMatch, plan};
use super::{Found, RouteTable};
use crate::report::{Path, Report, Severity};

fn planned(host: &str, path: &str, methods: &[&str]) -> MatchPlan {
    let mut report = Report::new();
    let config = MatchConfig {
        host: (!host.is_empty()).then(|| host.to_owned()),
        path: (!path.is_empty()).then(|| path.to_owned()),
        method: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..MatchConfig::default()
    };
    let plan = plan(&config, &Path::root(), &mut report);
    assert!(report.problems().is_empty(), "{:?}", report.problems());
    plan
}

fn table(routes: &[(&str, &str, &[&str])]) -> RouteTable<usize> {
    RouteTable::new(
        routes
            .iter()
            .enumerate()
            .map(|(index, (host, path, methods))| (planned(host, path, methods), 0, index)),
    )
}

fn get<'t>(table: &'t RouteTable<usize>, host: &str, path: &str) -> Found<'t, usize> {
    table.find(host, path, &Method::GET, &HeaderMap::new(), None)
}

/// The index of the route found, and what it captured as `name=value`.
fn outcome(found: &Found<'_, usize>) -> (Option<usize>, String) {
    match found {
        Found::Route { value, params } => {
            let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (Some(**value), params.join(" "))
        }
        Found::MethodNotAllowed { allow } => (None, allow.to_str().unwrap().to_owned()),
        Found::NotFound => (None, String::new()),
    }
}

#[test]
fn the_more_specific_route_wins() {
    let table = table(&[
        ("", "", &[]),
        ("", "/orders/{*rest}", &[]),
        ("", "/orders/{id}", &[]),
        ("", "/orders/new", &[]),
        ("", "/{kind}/new/x", &[]),
        ("*.example.com", "/orders/{id}", &[]),
        ("*.eu.example.com", "/{*all}", &[]),
        ("api.example.com", "/{a}/{b}/{c}", &[]),
    ]);
    for (host, path, index, params) in [
        ("h", "/", 0, ""),
        ("h", "/other", 0, ""),
        ("h", "/orders", 1, ""),
        ("h", "/orders/", 1, "rest="),
        ("h", "/orders/1/2", 1, "rest=1/2"),
        ("h", "/orders/1", 2, "id=1"),
        ("h", "/orders/a%2Fb", 2, "id=a%2Fb"),
        ("h", "/orders/new", 3, ""),
        ("h", "/orders/new/", 1, "rest=new/"),
        // The first segment decides: a literal before a parameter.
        ("h", "/orders/new/x", 1, "rest=new/x"),
        ("h", "/users/new/x", 4, "kind=users"),
        ("a.example.com", "/orders/new", 5, "id=new"),
        ("a.b.example.com", "/orders/new", 5, "id=new"),
        ("example.com", "/orders/new", 3, ""),
        ("a.eu.example.com", "/orders/new", 6, "all=orders/new"),
        ("eu.example.com", "/orders/new", 5, "id=new"),
        ("api.example.com", "/x/y/z", 7, "a=x b=y c=z"),
        // The host's own routes do not match: the wider ones are still there.
        ("api.example.com", "/orders/1", 5, "id=1"),
        ("api.example.com", "/x", 0, ""),
    ] {
        let found = get(&table, host, path);
        assert_eq!(outcome(&found), (Some(index), params.to_owned()), "{host} {path}");
    }
}

#[test]
fn priority_beats_specificity() {
    let table = RouteTable::new([
        (planned("api.example.com", "/a/b", &[]), 0, 0),
        (planned("", "/{*rest}", &[]), 1, 1),
        (planned("api.example.com", "/a/c", &[]), 2, 2),
    ]);
    assert_eq!(outcome(&get(&table, "api.example.com", "/a/b")).0, Some(1));
    assert_eq!(outcome(&get(&table, "api.example.com", "/a/c")).0, Some(2));
}

#[test]
fn a_method_that_no_route_takes_is_told_what_is_taken() {
    let table = table(&[
        ("", "/a", &["GET", "HEAD"]),
        ("", "/{x}", &["PUT", "GET"]),
        ("", "/a", &["POST"]),
        ("", "/b", &["DELETE"]),
    ]);
    let find =
        |path, method: Method| outcome(&table.find("h", path, &method, &HeaderMap::new(), None)).clone();
    assert_eq!(find("/a", Method::POST), (Some(2), String::new()));
    assert_eq!(find("/a", Method::PUT), (Some(1), "x=a".to_owned()));
    // RFC 9110 §10.2.1: Allow has the methods of the resource.
    assert_eq!(find("/a", Method::DELETE), (None, "GET, HEAD, POST, PUT".to_owned()));
    assert_eq!(find("/a/b", Method::GET), (None, String::new()));
}

#[test]
fn fields_and_parameters_decide_among_equals() {
    let conditions = |header: &[(&str, &str)], query: &[(&str, &str)]| {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let config = MatchConfig { header: map(header), query: map(query), ..MatchConfig::default() };
        plan(&config, &Path::root(), &mut Report::new())
    };
    let table = RouteTable::new([
        (conditions(&[], &[]), 0, 0),
        (conditions(&[("x-beta", "1")], &[]), 0, 1),
        (conditions(&[("x-beta", "*")], &[("v", "2")]), 0, 2),
        (conditions(&[], &[("q name", "a b")]), 0, 3),
    ]);
    let beta = |values: &[&str]| -> HeaderMap {
        let pair = |value: &&str| (HeaderName::from_static("x-beta"), HeaderValue::try_from(*value).unwrap());
        values.iter().map(pair).collect()
    };
    for (values, query, index) in [
        (&[][..], None, 0),
        (&["1"], None, 1),
        (&["0"], None, 0),
        (&["0", "1"], None, 1),
        (&["1"], Some("v=2"), 2),
        (&["0"], Some("x&v=3&v=2"), 2),
        (&["0"], Some("v=%32&"), 2),
        (&["0"], Some("v=22"), 0),
        (&[], Some("v=2"), 0),
        (&[], Some("q+name=a%20b"), 3),
        (&[], Some("q%name=a%20b"), 0),
    ] {
        let found = table.find("h", "/", &Method::GET, &beta(values), query);
        assert_eq!(outcome(&found).0, Some(index), "{values:?} {query:?}");
    }
}

#[test]
fn only_used_names_are_captured() {
    let mut plan = planned("", "/{a}/{b}/{*rest}", &[]);
    plan.capture_only(|name| name == "b");
    let table = RouteTable::new([(plan, 0, 0)]);
    assert_eq!(outcome(&get(&table, "h", "/1/2/3")), (Some(0), "b=2".to_owned()));
}

#[test]
fn a_node_with_many_children_finds_them_all() {
    let routes: Vec<(MatchPlan, i32, usize)> =
        (0..100).map(|index| (planned("", &format!("/r{index}/x"), &[]), 0, index)).collect();
    let table = RouteTable::new(routes);
    for index in 0..100 {
        assert_eq!(outcome(&get(&table, "h", &format!("/r{index}/x"))).0, Some(index));
    }
    assert_eq!(get(&table, "h", "/r100/x"), Found::NotFound);
}

#[test]
fn hosts_are_canonical() {
    for (text, host) in [
        ("API.Example.com.", HostMatch::Exact("api.example.com".into())),
        ("example.com:8080", HostMatch::Exact("example.com".into())),
        ("*.Example.com", HostMatch::Below("example.com".into())),
        ("[::0001]:80", HostMatch::Exact("[::1]".into())),
        ("[::1]", HostMatch::Exact("[::1]".into())),
        ("*", HostMatch::Any),
    ] {
        assert_eq!(planned(text, "", &[]).host, host, "{text}");
    }
}

#[test]
fn patterns_are_normal() {
    for (text, pattern) in [
        ("/", "/"),
        ("/a/{b}/{*c}", "/a/{b}/{*c}"),
        ("/%61%2f/", "/a%2F/"),
        ("/café au lait", "/caf%C3%A9%20au%20lait"),
    ] {
        assert_eq!(Pattern::parse(text).unwrap().to_string(), pattern);
    }
    assert_eq!(Pattern::parse("orders"), Err(PatternError::NotAPath));
    assert_eq!(Pattern::parse("/a/{x}/{x}"), Err(PatternError::Duplicate("x".into())));
    assert_eq!(Pattern::parse("/{*rest}/a"), Err(PatternError::RestNotLast("rest".into())));
    assert_eq!(Pattern::parse("/{}"), Err(PatternError::BadName(String::new())));
    assert_eq!(Pattern::parse("/{a-b}"), Err(PatternError::BadName("a-b".to_owned())));
    assert_eq!(Pattern::parse("/{id}.json"), Err(PatternError::NotAWholeSegment("{id}.json".to_owned())));
    assert_eq!(Pattern::parse("/a/%2e%2e/b"), Err(PatternError::Dots));
    assert_eq!(Pattern::parse("/a?b=1"), Err(PatternError::NotThePath('?')));
    assert_eq!(Pattern::parse(&"/a".repeat(65)), Err(PatternError::TooLong));
    assert!(matches!(Pattern::parse("/a\\b"), Err(PatternError::Target(_))));
}

#[test]
fn all_that_is_wrong_is_reported_where_it_is() {
    let text = |text: &str| Some(text.to_owned());
    let config = MatchConfig {
        host: text("exa mple.com"),
        path: text("/{id}/{id}"),
        method: ["get", "POSTT", "TRACE", "X Y", "PURGE", "PURGE"].map(str::to_owned).to_vec(),
        header: [("host", "a"), ("x y", "1"), ("te", "trailers")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        query: BTreeMap::new(),
    };
    let mut report = Report::new();
    let plan = plan(&config, &Path::root().key("match"), &mut report);
    let mut paths: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
    paths.sort_unstable();
    let expected = [
        "match.header.host",
        "match.header.te",
        "match.header.x y",
        "match.host",
        "match.method[0]",
        "match.method[1]",
        "match.method[2]",
        "match.method[3]",
        "match.method[5]",
        "match.path",
    ];
    assert_eq!(paths, expected);
    let purge = vec![Method::from_bytes(b"PURGE").unwrap()];
    assert_eq!(plan, MatchPlan { methods: purge, ..MatchPlan::default() });
}

#[test]
fn routes_that_nothing_reaches_are_told() {
    let plans = [
        (planned("", "/a/{x}", &[]), 0),
        (planned("", "/a/{y}", &[]), 0),
        (planned("", "/a/{y}", &["GET"]), 0),
        (planned("*.example.com", "/{*all}", &[]), 5),
        (planned("a.example.com", "/b", &["POST"]), 0),
        (planned("a.example.org", "/b", &["POST"]), 0),
    ];
    let candidates: Vec<Candidate<'_>> = plans
        .iter()
        .enumerate()
        .map(|(index, (plan, priority))| Candidate {
            plan,
            priority: *priority,
            name: "route",
            at: Path::root().key("route").index(index),
        })
        .collect();
    let mut report = Report::new();
    unreachable(&candidates, &mut report);
    let mut paths: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["route[1].match", "route[4].match"]);
    assert!(report.problems().iter().all(|problem| problem.severity == Severity::Warning));
}

// The table against a matcher that looks at every route and every segment.

#[derive(Clone, Debug)]
struct Model {
    host: &'static str,
    path: Vec<&'static str>,
    method: Option<&'static str>,
    header: bool,
    priority: i32,
}

const HOSTS: [&str; 6] = ["", "a.test", "b.a.test", "*.test", "*.a.test", "*.b.a.test"];

fn model() -> impl Strategy<Value = Model> {
    let segment = prop::sample::select(vec!["a", "b", "", "{}", "{}"]);
    let path = (prop::collection::vec(segment, 1..4), any::<bool>()).prop_map(|(mut path, rest)| {
        if rest {
            path.pop();
            path.push("{*}");
        }
        path
    });
    let method = prop::sample::select(vec![None, None, Some("GET"), Some("PUT")]);
    (prop::sample::select(HOSTS.to_vec()), path, method, prop::bool::weighted(0.2), -1..2i32)
        .prop_map(|(host, path, method, header, priority)| Model { host, path, method, header, priority })
}

impl Model {
    fn text(&self) -> String {
        let mut text = String::new();
        for (index, segment) in self.path.iter().enumerate() {
            text.push('/');
            match *segment {
                "{}" => text.push_str(&format!("{{p{index}}}")),
                "{*}" => text.push_str(&format!("{{*p{index}}}")),
                literal => text.push_str(literal),
            }
        }
        text
    }

    fn plan(&self) -> MatchPlan {
        let mut plan = planned_raw(self.host, &self.text());
        plan.methods = self.method.iter().map(|method| method.parse().unwrap()).collect();
        if self.header {
            plan.headers = vec![(HeaderName::from_static("x"), ValueMatch::Any)];
        }
        plan
    }

    /// What it captures of a request it takes, or whether it takes one at all.
    fn takes(&self, host: &str, path: &str, header: bool) -> Option<String> {
        let host_fits = match self.host.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix),
            None => self.host.is_empty() || self.host == host,
        };
        if !host_fits || (self.header && !header) {
            return None;
        }
        let segments: Vec<&str> = path[1..].split('/').collect();
        let mut captured = Vec::new();
        for (index, wanted) in self.path.iter().enumerate() {
            let found = segments.get(index);
            match (*wanted, found) {
                ("{*}", None) => return Some(captured.join(" ")),
                ("{*}", Some(_)) => {
                    captured.push(format!("p{index}={}", segments[index..].join("/")));
                    return Some(captured.join(" "));
                }
                ("{}", Some(found)) if !found.is_empty() => captured.push(format!("p{index}={found}")),
                (literal, Some(found)) if literal == *found => {}
                _ => return None,
            }
        }
        (segments.len() == self.path.len()).then(|| captured.join(" "))
    }

    fn rank(&self) -> impl Ord + use<> {
        let host = match self.host {
            "" => (2, Reverse(0)),
            wildcard if wildcard.starts_with('*') => (1, Reverse(wildcard.len())),
            _ => (0, Reverse(0)),
        };
        let kind = |segment: &&str| match *segment {
            "{}" => 1,
            "{*}" => 2,
            _ => 0,
        };
        let path: Vec<i32> = self.path.iter().map(kind).collect();
        (Reverse(self.priority), host, path, self.method.is_none(), Reverse(self.header))
    }
}

fn planned_raw(host: &str, path: &str) -> MatchPlan {
    let config = MatchConfig {
        host: (!host.is_empty()).then(|| host.to_owned()),
        path: Some(path.to_owned()),
        ..MatchConfig::default()
    };
    let mut report = Report::new();
    let plan = plan(&config, &Path::root(), &mut report);
    assert!(!report.has_errors(), "{:?}", report.problems());
    plan
}

#[test]
fn an_asterisk_is_no_pattern_and_that_is_said() {
    for (path, warns) in [("/a/*", true), ("/**", true), ("/a*", false), ("/a/{*rest}", false)] {
        let config = MatchConfig { path: Some(path.to_owned()), ..MatchConfig::default() };
        let mut report = Report::new();
        plan(&config, &Path::root(), &mut report);
        assert!(!report.has_errors());
        assert_eq!(!report.problems().is_empty(), warns, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_table_agrees_with_a_naive_matcher(
        models in prop::collection::vec(model(), 0..24),
        requests in prop::collection::vec(
            (
                prop::sample::select(vec!["test", "a.test", "b.a.test", "c.b.a.test", "x.test", "other"]),
                prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ""]), 1..5),
                any::<bool>(),
            ),
            1..16,
        ),
    ) {
        let table = RouteTable::new(
            models.iter().enumerate().map(|(index, model)| (model.plan(), model.priority, index)),
        );
        for (host, path, header) in requests {
            let path = format!("/{}", path.join("/"));
            let mut headers = HeaderMap::new();
            if header {
                headers.insert("x", HeaderValue::from_static("1"));
            }
            let found = table.find(host, &path, &Method::GET, &headers, None);
            let mut takers: Vec<(usize, &Model, String)> = models
                .iter()
                .enumerate()
                .filter_map(|(index, model)| Some((index, model, model.takes(host, &path, header)?)))
                .collect();
            let refused = takers.iter().any(|(_, model, _)| model.method.is_some());
            takers.retain(|(_, model, _)| model.method.is_none_or(|method| method == "GET"));
            match takers.iter().min_by_key(|(index, model, _)| (model.rank(), *index)) {
                Some((index, _, params)) => prop_assert_eq!(outcome(&found), (Some(*index), params.clone())),
                None if refused => prop_assert_eq!(outcome(&found), (None, "PUT".to_owned())),
                None => prop_assert_eq!(found, Found::NotFound),
            }
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches(a in model(), b in model(), path in "/[ab]{0,1}(/[ab]{0,1}){0,3}") {
        let (mine, theirs) = (a.plan(), b.plan());
        if mine.path.covers(&theirs.path) {
            let any_host = |model: &Model| Model { host: "", header: false, ..model.clone() };
            if any_host(&b).takes("", &path, false).is_some() {
                prop_assert!(any_host(&a).takes("", &path, false).is_some(), "{} {} {}", mine.path, theirs.path, path);
            }
        }
    }
}
