//! What of `match` can be used: checked, and in the form that requests have.

use http::{HeaderMap, HeaderName, Method, header};

use crate::http::fields;
use crate::http::normalize;
use crate::http::query::octets;
use crate::report::{Path, Report, nearest};

use super::config::MatchConfig;
use super::pattern::Pattern;

/// Which requests a route takes. All parts must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchPlan {
    /// The host.
    pub host: HostMatch,
    /// The path.
    pub path: Pattern,
    /// The methods, as in the file; none means all.
    pub methods: Vec<Method>,
    /// The fields it must have.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// The query parameters it must have, decoded.
    pub queries: Vec<(Box<str>, ValueMatch)>,
}

impl Default for MatchPlan {
    /// Takes everything.
    fn default() -> Self {
        Self {
            host: HostMatch::Any,
            path: Pattern::any(),
            methods: Vec::new(),
            headers: Vec::new(),
            queries: Vec::new(),
        }
    }
}

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// This one.
    Exact(Box<str>),
    /// Those below this one, at any depth, but not itself.
    Below(Box<str>),
    /// All.
    Any,
}

/// Which values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// Any.
    Any,
    /// This one.
    Is(Box<str>),
}

impl MatchPlan {
    /// Captures only the path parameters that somebody uses.
    pub fn capture_only(&mut self, used: impl Fn(&str) -> bool) {
        self.path.capture_only(used);
    }

    pub(super) fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    pub(super) fn takes_fields(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        self.headers.iter().all(|(name, wanted)| match wanted {
            ValueMatch::Any => headers.contains_key(name),
            ValueMatch::Is(value) => {
                headers.get_all(name).iter().any(|found| found.as_bytes() == value.as_bytes())
            }
        }) && self.queries.iter().all(|(name, wanted)| has_parameter(query.unwrap_or_default(), name, wanted))
    }

    /// Whether it takes every request that `other` takes.
    pub fn covers(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|method| self.methods.contains(method)));
        methods
            && self.host.covers(&other.host)
            && self.path.covers(&other.path)
            && implied(&self.headers, &other.headers)
            && implied(&self.queries, &other.queries)
    }
}

impl HostMatch {
    /// Whether it takes a host, canonical and without its port.
    pub fn takes(&self, host: &str) -> bool {
        self.covers(&Self::Exact(host.into()))
    }

    fn covers(&self, other: &Self) -> bool {
        let below = |name: &str, parent: &str| {
            name.strip_suffix(parent).is_some_and(|front| front.ends_with('.') && front.len() > 1)
        };
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Exact(mine), Self::Exact(theirs)) => mine == theirs,
            (Self::Below(mine), Self::Exact(theirs)) => below(theirs, mine),
            (Self::Below(mine), Self::Below(theirs)) => mine == theirs || below(theirs, mine),
            (Self::Exact(_) | Self::Below(_), _) => false,
        }
    }
}

impl std::fmt::Display for HostMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Whether requests that fulfil `given` fulfil `conditions`.
fn implied<N: PartialEq>(conditions: &[(N, ValueMatch)], given: &[(N, ValueMatch)]) -> bool {
    conditions.iter().all(|(name, wanted)| {
        given
            .iter()
            .any(|(given_name, value)| name == given_name && (*wanted == ValueMatch::Any || wanted == value))
    })
}

/// Whether a query has a parameter of this name and value, both compared decoded.
fn has_parameter(query: &str, name: &str, wanted: &ValueMatch) -> bool {
    query.split('&').filter(|pair| !pair.is_empty()).any(|pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        octets(found.as_bytes()).eq(name.bytes())
            && match wanted {
                ValueMatch::Any => true,
                ValueMatch::Is(wanted) => octets(value.as_bytes()).eq(wanted.bytes()),
            }
    })
}

/// Checks a `match`, reporting all that is wrong. What is wrong matches as if it were not there.
pub fn plan(config: &MatchConfig, at: &Path, report: &mut Report) -> MatchPlan {
    let path = config.path.as_deref().map_or(Ok(Pattern::any()), Pattern::parse).unwrap_or_else(|error| {
        match error.hint() {
            Some(hint) => report.error_with_hint(&at.key("path"), error.to_string(), hint),
            None => report.error(&at.key("path"), error.to_string()),
        }
        Pattern::any()
    });
    if config.path.as_deref().is_some_and(|path| path.split('/').any(|part| matches!(part, "*" | "**"))) {
        report.warn(
            &at.key("path"),
            "`*` stands for itself in a path",
            "write `{*rest}` for all that is left, `{name}` for one segment",
        );
    }
    if config.path.as_deref().is_some_and(|path| path.contains("//")) {
        report.warn(
            &at.key("path"),
            "repeated slashes are merged before matching",
            "this matches only with `server.merge_slashes = false`",
        );
    }
    MatchPlan {
        host: config.host.as_deref().map_or(HostMatch::Any, |host| plan_host(host, at, report)),
        path,
        methods: plan_methods(&config.method, &at.key("method"), report),
        headers: config
            .header
            .iter()
            .filter_map(|(name, value)| plan_header(name, value, &at.key("header").key(name), report))
            .collect(),
        queries: config
            .query
            .iter()
            .map(|(name, value)| (name.as_str().into(), value_match(value)))
            .collect(),
    }
}

fn value_match(value: &str) -> ValueMatch {
    if value == "*" { ValueMatch::Any } else { ValueMatch::Is(value.into()) }
}

fn plan_host(text: &str, at: &Path, report: &mut Report) -> HostMatch {
    if text == "*" {
        return HostMatch::Any;
    }
    let (name, wildcard) = match text.strip_prefix("*.") {
        Some(parent) => (parent, true),
        None => (text, false),
    };
    // A port is allowed and does not count; one in brackets is part of an address.
    let name = match name.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => name,
    };
    match normalize::host(name) {
        Ok(host) if wildcard => HostMatch::Below(host.into()),
        Ok(host) => HostMatch::Exact(host.into()),
        Err(_) => {
            report.error_with_hint(
                &at.key("host"),
                format!("`{text}` is no host"),
                "write a name like `api.example.com`, an address, or `*.example.com` for all names below one",
            );
            HostMatch::Any
        }
    }
}

/// Methods of RFC 9110 §9.3, RFC 5789 and WebDAV: what a misspelt one is compared with.
const METHODS: [&str; 16] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

fn plan_methods(config: &[String], at: &Path, report: &mut Report) -> Vec<Method> {
    let mut methods = Vec::new();
    for (index, text) in config.iter().enumerate() {
        let at = at.index(index);
        if matches!(text.as_str(), "CONNECT" | "TRACE") {
            report.error(&at, format!("`{text}` is refused before routing (RFC 9110 §9.3.6, §9.3.8)"));
            continue;
        }
        let known = METHODS.contains(&text.as_str());
        let meant = nearest(&text.to_ascii_uppercase(), METHODS).filter(|_| !known);
        match (Method::from_bytes(text.as_bytes()), meant) {
            (_, Some(meant)) => report.error_with_hint(
                &at,
                format!("`{text}` is no method we know"),
                format!("did you mean `{meant}`? Methods are case-sensitive"),
            ),
            (Ok(method), None) if methods.contains(&method) => {
                report.warn(&at, format!("`{text}` is there twice"), "remove one");
            }
            (Ok(method), None) => methods.push(method),
            (Err(_), None) => report.error(&at, format!("`{text}` is no method")),
        }
    }
    methods
}

fn plan_header(name: &str, value: &str, at: &Path, report: &mut Report) -> Option<(HeaderName, ValueMatch)> {
    let Ok(parsed) = HeaderName::try_from(name) else {
        report.error(at, format!("`{name}` is no field name"));
        return None;
    };
    if parsed == header::HOST {
        report.error_with_hint(at, "`Host` is not matched as a field", "use `match.host`");
        return None;
    }
    if fields::is_hop_by_hop(&parsed) {
        report.error(at, format!("`{parsed}` concerns one connection and is gone before routing"));
        return None;
    }
    Some((parsed, value_match(value)))
}
