//! Validated rules.

use http::{HeaderName, HeaderValue, Method};

use crate::report::{Path, Report};

use super::config::CorsConfig;
use super::origin::Pattern;

/// What browsers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsPlan {
    /// Whose pages may use the route.
    pub origins: Vec<Pattern>,
    /// With which methods; all if none.
    pub methods: Option<Vec<Method>>,
    /// With which fields; all if none.
    pub headers: Option<Vec<HeaderName>>,
    /// The fields that are named beside `*`, too: `Authorization` is not meant by it.
    pub always: Vec<HeaderName>,
    /// What they may read: the value that says so.
    pub expose: Option<HeaderValue>,
    /// Whether credentials come along.
    pub credentials: bool,
    /// For how long a preflight's answer holds, in seconds.
    pub max_age: HeaderValue,
}

impl CorsPlan {
    /// Whether every page may use the route, so that the answer is the same for all.
    pub fn is_for_all(&self) -> bool {
        self.origins.contains(&Pattern::Any)
    }

    /// Whether a page of this origin may.
    pub fn takes(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|pattern| pattern.takes(origin.as_bytes()))
    }
}

/// Validates a route's config at `at`.
pub fn plan(config: &CorsConfig, at: &Path, report: &mut Report) -> CorsPlan {
    let mut origins = Vec::new();
    if config.origins.is_empty() {
        let hint = "name them, like [\"https://app.example.com\"]; without `cors`, none may";
        report.error_with_hint(&at.key("origins"), "no page of another origin may use this", hint);
    }
    for (index, text) in config.origins.iter().enumerate() {
        match Pattern::parse(text) {
            Ok(pattern) => origins.push(pattern),
            Err(why) => {
                let hint = "write it as browsers send it, like \"https://app.example.com\"";
                let message = format!("`{}` is no origin: {why}", text.escape_debug());
                report.error_with_hint(&at.key("origins").index(index), message, hint);
            }
        }
    }
    if config.credentials {
        for (key, list) in [
            ("origins", &config.origins),
            ("methods", &config.methods),
            ("headers", &config.headers),
            ("expose", &config.expose),
        ] {
            if list.iter().any(|item| item == "*") {
                let hint = "with `credentials`, browsers take no `*`, and any page could act for its visitors: \
                            name what is meant";
                report.error_with_hint(&at.key(key), "`*` and `credentials` do not go together", hint);
            }
        }
    }
    let methods: Vec<Method> = names(&config.methods, "method", &at.key("methods"), report);
    let headers: Vec<HeaderName> = names(&config.headers, "field", &at.key("headers"), report);
    let expose: Vec<HeaderName> = names(&config.expose, "field", &at.key("expose"), report);
    let any = |list: &[String]| list.iter().any(|item| item == "*");
    CorsPlan {
        origins,
        methods: (!any(&config.methods)).then_some(methods),
        always: headers.clone(),
        headers: (!any(&config.headers)).then_some(headers),
        expose: if any(&config.expose) { Some(HeaderValue::from_static("*")) } else { joined(&expose) },
        credentials: config.credentials,
        max_age: HeaderValue::from(config.max_age.get().as_secs()),
    }
}

/// Names of a kind; `*` is left out.
fn names<T: for<'a> TryFrom<&'a str>>(
    texts: &[String],
    kind: &str,
    at: &Path,
    report: &mut Report,
) -> Vec<T> {
    let mut names = Vec::new();
    for (index, text) in texts.iter().enumerate().filter(|(_, text)| *text != "*") {
        match T::try_from(text) {
            Ok(name) => names.push(name),
            Err(_) => report.error(&at.index(index), format!("`{}` is no {kind}", text.escape_debug())),
        }
    }
    names
}

/// A list as one value; none for no list.
pub(super) fn joined<T: AsRef<str>>(names: &[T]) -> Option<HeaderValue> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten()
}
