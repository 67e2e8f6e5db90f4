//! What the user wrote in `[[route.fallback]]`, validated.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::http::{Body, Response, fields};
use crate::report::{Path, Report, nearest};

use super::cause::{Cause, On};
use super::config::{FallbackConfig, FallbackResponseConfig};

/// The most rules a route may have: each may cost a request an attempt.
const MAX_RULES: usize = 8;

/// One fallback of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackPlan {
    /// Which failures it makes good.
    pub on: On,
    /// For timeouts: how long whoever is asked before may take.
    pub after: Option<Duration>,
    /// Who answers.
    pub to: ToPlan,
}

/// Who answers instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToPlan {
    /// An upstream, by name.
    Upstream(String),
    /// We do.
    Respond(FixedAnswer),
}

/// A response that is always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl FixedAnswer {
    /// The response.
    pub fn response(&self) -> Response {
        let mut response = Response::new(self.status, Body::full(self.body.clone()));
        response.headers.clone_from(&self.headers);
        response
    }
}

/// Checks a route's rules. Whether an upstream exists is not known here. What is wrong is left out.
pub fn plan(configs: &[FallbackConfig], at: &Path, report: &mut Report) -> Vec<FallbackPlan> {
    if configs.len() > MAX_RULES {
        report.error(at, format!("{} fallbacks are too many: at most {MAX_RULES}", configs.len()));
    }
    let rules = configs.iter().enumerate().take(MAX_RULES);
    rules.filter_map(|(index, config)| rule(config, &at.index(index), report)).collect()
}

fn rule(config: &FallbackConfig, at: &Path, report: &mut Report) -> Option<FallbackPlan> {
    let on = conditions(&config.on, &at.key("on"), report);
    let after = config.after.map(|after| after.get());
    if after.is_some_and(|after| after.is_zero()) {
        report.error(&at.key("after"), "whoever is asked before needs some time");
    } else if after.is_some() && !on.contains(Cause::Timeout) {
        let hint = "add \"timeout\" to `on`, or leave `after` out";
        report.error_with_hint(&at.key("after"), "`after` is for timeouts, which `on` does not list", hint);
    }
    let to = match (&config.upstream, &config.respond) {
        (Some(name), None) => ToPlan::Upstream(name.clone()),
        (None, Some(answer)) => ToPlan::Respond(fixed_answer(answer, &at.key("respond"), report)),
        (both, _) => {
            let what = if both.is_some() { "has two ways to answer" } else { "does not say who answers" };
            let hint = "give it one of `upstream` and `respond`";
            report.error_with_hint(at, format!("the fallback {what}"), hint);
            return None;
        }
    };
    Some(FallbackPlan { on, after, to })
}

fn conditions(words: &[String], at: &Path, report: &mut Report) -> On {
    let mut on = On::default();
    for (index, word) in words.iter().enumerate() {
        if on.add(word) {
            continue;
        }
        let named = Cause::ALL.map(Cause::as_str).into_iter().filter(|name| *name != Cause::Status.as_str());
        let hint = match nearest(word, named.chain(["4xx", "5xx"])) {
            _ if word.parse::<u16>().is_ok() => "only error statuses are failures, 400 to 599".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => "write connect, timeout, reset, bad_response, overload, or a status like 503 or 5xx"
                .to_owned(),
        };
        report.error_with_hint(&at.index(index), format!("`{word}` is no failure to fall back on"), hint);
    }
    if words.is_empty() {
        report.error_with_hint(at, "the fallback is for no failure", "leave `on` out for the usual ones");
    }
    on
}

fn fixed_answer(config: &FallbackResponseConfig, at: &Path, report: &mut Report) -> FixedAnswer {
    let status = StatusCode::from_u16(config.status).ok().filter(|_| (200..600).contains(&config.status));
    let status = status.unwrap_or_else(|| {
        report.error(&at.key("status"), format!("{} is not between 200 and 599", config.status));
        StatusCode::SERVICE_UNAVAILABLE
    });
    let bodiless = matches!(config.status, 204 | 205 | 304);
    if bodiless && !config.body.is_empty() {
        let message = format!("a {} has no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5)", config.status);
        report.error(&at.key("body"), message);
    }
    let body = if bodiless { "" } else { config.body.as_str() };
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::from_str(&config.content_type) {
        Ok(kind) if !body.is_empty() => drop(headers.insert(CONTENT_TYPE, kind)),
        Ok(_) => {}
        Err(_) => report.error(&at.key("content_type"), "not a media type"),
    }
    for (name, value) in &config.headers {
        let at = at.key("headers").key(name);
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Err(_), _) => report.error(&at, format!("`{name}` is no field name")),
            (Ok(name), _) if is_framing(&name) => {
                report.error(&at, format!("`{name}` follows from the body and the connection"));
            }
            (_, Err(_)) => {
                report.error(&at, "a field's value is visible ASCII, spaces and tabs (RFC 9110 §5.5)");
            }
            (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
        }
    }
    FixedAnswer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn is_framing(name: &HeaderName) -> bool {
    matches!(*name, CONTENT_LENGTH | TRANSFER_ENCODING | TRAILER) || fields::is_hop_by_hop(name)
}
