//! The method `PURGE` where clients connect: off, unless the config says who may.
//!
//! It purges its own target, with all variants, on the route that takes the request. With tags in one of the
//! fields that carry tags (`Surrogate-Key: a b`), it purges what the route stores under those tags instead.
//! `Purge-Mode: soft` makes stale; anything else, or nothing, purges for good.
//!
//! The token is looked for where the route was found ([`Control::may_purge`]): further in, the route may have
//! set another `Authorization`, or taken it away as somebody's credentials. Who has shown it needs no
//! credentials of the route's `auth`; from where it may be used is still for `auth` to say.
//!
//! On a route with a cache, a `PURGE` never reaches the origin: it is answered with 405 where it is off, and
//! with 403 where it is on but not for this client. A route whose `match.method` is given takes it only if
//! that names it.

use std::fmt;
use std::net::IpAddr;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::error::{Error, Refusal};
use crate::http::{Body, Request, Response, fields};
use crate::net::networks;
use crate::report::{Path, Report};
use crate::units::Secret;

use super::super::core::Core;
use super::config::PurgeConfig;
use super::control::Control;
use super::generation::{Kind, Mode, Name, Purges};
use super::order::Done;

/// Who may purge with `PURGE`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PurgePlan {
    from: Box<[IpNet]>,
    token: Secret,
}

// What is stored does not depend on who may purge it, and nobody is to see the token.
impl fmt::Debug for PurgePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PurgePlan")
    }
}

/// What a `PURGE` may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permit {
    /// It is off.
    Off,
    /// It is on, and not for this client.
    Denied,
    Granted,
}

impl PurgePlan {
    /// Checks the config at `at`.
    pub fn plan(config: &PurgeConfig, at: &Path, report: &mut Report) -> Self {
        let from = networks(&config.from, &at.key("from"), report);
        // Reported at the table, for a problem shows the line where it stands.
        if !config.token.is_sendable() {
            let hint = "a token is of letters, digits and punctuation, without blanks";
            report.error_with_hint(at, "no client can send this token", hint);
        }
        Self { from: from.into(), token: config.token.clone() }
    }

    /// The same for a route, which may leave it to `cache.purge`: nobody then, as far as the route goes.
    pub fn of_route(config: Option<&PurgeConfig>, at: &Path, report: &mut Report) -> Self {
        config.map(|config| Self::plan(config, at, report)).unwrap_or_default()
    }

    /// Whether a request as the client sent it shows the token.
    fn is_shown_by(&self, headers: &HeaderMap) -> bool {
        !self.token.is_empty() && fields::bearer(headers).is_some_and(|given| self.token.matches(given))
    }

    fn permit(&self, client: IpAddr, shown: bool) -> Permit {
        if self.from.is_empty() && self.token.is_empty() {
            return Permit::Off;
        }
        let near = self.from.is_empty() || self.from.iter().any(|network| network.contains(&client));
        let knows = self.token.is_empty() || shown;
        if near && knows { Permit::Granted } else { Permit::Denied }
    }
}

/// Whether a method is `PURGE`.
pub fn is_purge(method: &Method) -> bool {
    method.as_str() == "PURGE"
}

impl Control {
    /// Whether there is a token for those who may purge with `PURGE`.
    pub fn has_purge_token(&self) -> bool {
        !self.0.plan.purge.token.is_empty()
    }

    /// Whether a request, as the client sent it, is a `PURGE` that shows the token of those who may.
    pub fn may_purge(&self, request: &Request) -> bool {
        is_purge(&request.method) && self.0.plan.purge.is_shown_by(&request.headers)
    }
}

impl Core {
    /// Answers a `PURGE`.
    ///
    /// # Errors
    /// When it may not be made.
    pub(in super::super) fn purge_by_method(&self, request: &Request) -> Result<Response, Error> {
        match self.plan.purge.permit(request.client, request.may_purge) {
            Permit::Granted => Ok(self.purge_for(request)),
            Permit::Denied => Err(Refusal::PurgeDenied.into()),
            Permit::Off => {
                Err(Refusal::MethodNotAllowed(HeaderValue::from_static(fields::ALL_METHODS)).into())
            }
        }
    }

    fn purge_for(&self, request: &Request) -> Response {
        let mode = match request.headers.get("purge-mode") {
            Some(mode) if mode.as_bytes().eq_ignore_ascii_case(b"soft") => Mode::Soft,
            _ => Mode::Hard,
        };
        let tags = self.plan.tags.own(&request.headers);
        let mut names: Vec<Name> = tags.flat_map(|tag| self.purges.tag(Some(self.namespace), tag)).collect();
        let kind = if names.is_empty() { Kind::Url } else { Kind::Tag };
        let mut entries = None;
        if names.is_empty() {
            names.push(Purges::url(self.url_hash(&request.target)));
            entries = self.count(&request.target);
        }
        let generation = self.purges.purge(&names, mode);
        let routes = vec![self.meter.route().to_owned()];
        let (purged, mode) = (kind.as_str(), mode.as_str());
        let done = Done { purged, mode, routes, generation, entries, lazy: true };
        let text = serde_json::to_string(&done).unwrap_or_default();
        let mut response = Response::new(StatusCode::OK, Body::full(text + "\n"));
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::headers;
    use super::*;

    #[test]
    fn who_may() {
        let plan = |from: &[&str], token: &str| {
            let config = PurgeConfig {
                from: from.iter().map(ToString::to_string).collect(),
                token: token.to_owned().into(),
            };
            PurgePlan::plan(&config, &Path::root(), &mut Report::new())
        };
        let right = [("authorization", "Bearer t")];
        let wrong = [("authorization", "Bearer x")];
        let twice = [right[0], right[0]];
        for (from, token, client, fields, permit) in [
            (&[][..], "", "127.0.0.1", &right[..], Permit::Off),
            (&["127.0.0.1"], "", "127.0.0.1", &[], Permit::Granted),
            (&["127.0.0.1"], "", "127.0.0.2", &[], Permit::Denied),
            (&["127.0.0.1"], "", "::1", &[], Permit::Denied),
            (&["10.0.0.0/8", "::1/128"], "", "10.1.2.3", &[], Permit::Granted),
            (&["10.0.0.0/8", "::1/128"], "", "::1", &[], Permit::Granted),
            (&[], "t", "192.0.2.1", &right, Permit::Granted),
            (&[], "t", "192.0.2.1", &wrong, Permit::Denied),
            (&[], "t", "192.0.2.1", &twice, Permit::Denied),
            (&[], "t", "192.0.2.1", &[], Permit::Denied),
            (&["127.0.0.1"], "t", "127.0.0.1", &[], Permit::Denied),
            (&["127.0.0.1"], "t", "192.0.2.1", &right, Permit::Denied),
            (&["127.0.0.1"], "t", "127.0.0.1", &right, Permit::Granted),
        ] {
            let plan = plan(from, token);
            let found = plan.permit(client.parse().unwrap(), plan.is_shown_by(&headers(fields)));
            assert_eq!(found, permit, "{from:?} {token} {client} {fields:?}");
        }
    }

    #[test]
    fn problems_are_reported_without_the_token() {
        let config = PurgeConfig {
            from: vec!["10.0.0.0/8".to_owned(), "10.0.0.0/99".to_owned()],
            token: "hunter 2".to_owned().into(),
        };
        let mut report = Report::new();
        let plan = PurgePlan::plan(&config, &Path::root().key("purge"), &mut report);
        let found: Vec<_> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(found, ["purge.from[1]", "purge"]);
        assert!(!format!("{plan:?} {config:?} {report:?}").contains("hunter"));
    }
}
