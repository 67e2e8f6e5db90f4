//! The protocol (the Fetch standard, §3.2): what is asked, and what is said.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::http::{Body, Request, Response};

use super::plan::{CorsPlan, joined};

/// What an upstream may have said, and we say instead.
static OURS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// What `Access-Control-Allow-Origin` may say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Nothing: the page's origin is not one that may, or no page asks.
    None,
    /// That all may.
    All,
    /// That this one may.
    Origin(HeaderValue),
}

/// What to say to a request.
pub(super) fn grant(plan: &CorsPlan, headers: &HeaderMap) -> Grant {
    if plan.is_for_all() && !plan.credentials {
        return Grant::All;
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) if plan.takes(origin) => Grant::Origin(origin.clone()),
        _ => Grant::None,
    }
}

/// Whether a browser asks whether it may ask.
pub(super) fn is_preflight(request: &Request) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight: 204 either way, for it is a question that was answered. What is not granted is
/// not mentioned, and the browser does not send the request.
pub(super) fn preflight(plan: &CorsPlan, request: &Request) -> Response {
    let mut response = Response::new(StatusCode::NO_CONTENT, Body::empty());
    let headers = &mut response.headers;
    let asked: [&HeaderName; 2] = [&ACCESS_CONTROL_REQUEST_METHOD, &ACCESS_CONTROL_REQUEST_HEADERS];
    let granted = grant(plan, &request.headers);
    if granted != Grant::None {
        if let Some(methods) = methods(plan, request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(fields) = fields(plan, &request.headers) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, fields);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, plan.max_age.clone());
    }
    say(plan, &granted, headers);
    for name in asked {
        vary(headers, name);
    }
    response
}

fn methods(plan: &CorsPlan, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
    match &plan.methods {
        Some(methods) => joined(methods),
        // Named, for `*` does not hold everywhere that a name does.
        None => asked.filter(|asked| Method::from_bytes(asked.as_bytes()).is_ok()).cloned(),
    }
}

fn fields(plan: &CorsPlan, asked: &HeaderMap) -> Option<HeaderValue> {
    let allowed = |name: &HeaderName| match &plan.headers {
        Some(names) => names.contains(name),
        None => *name != http::header::AUTHORIZATION || plan.always.contains(name),
    };
    let lines = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).into_iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let granted: Vec<HeaderName> = names.filter(allowed).collect();
    joined(&granted)
}

/// Says on a response what is granted, in the place of what it said.
pub(super) fn say(plan: &CorsPlan, granted: &Grant, headers: &mut HeaderMap) {
    match granted {
        Grant::None => {}
        Grant::All => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Grant::Origin(origin) => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if plan.credentials {
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
    if *granted != Grant::All {
        // The Fetch standard, §3.2.5: also where nothing is said, or a cache would go on saying nothing.
        vary(headers, &ORIGIN);
    }
}

/// The same on an answer to a request that is no preflight.
pub(super) fn replace(plan: &CorsPlan, granted: &Grant, headers: &mut HeaderMap) {
    for name in &OURS {
        headers.remove(name);
    }
    say(plan, granted, headers);
    if let (Some(expose), true) = (&plan.expose, *granted != Grant::None) {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
    }
}

/// Adds a field to `Vary`, where it is not there.
fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let said = headers.get_all(VARY).iter().any(|line| {
        let mut members = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_str().as_bytes()))
    });
    if !said {
        headers.append(VARY, HeaderValue::from_name(name.clone()));
    }
}
