//! What of `rewrite`, `request_headers` and `response_headers` can be used.

use crate::report::{Path, Report};

use super::config::{HeaderRulesConfig, RewriteConfig};
use super::rewrite::{self, Rewrite};
use super::rules::{self, HeaderRules, Side};

/// What a route changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransformPlan {
    /// Of the path.
    pub rewrite: Option<Rewrite>,
    /// Of the request's fields.
    pub request: HeaderRules,
    /// Of the response's fields.
    pub response: HeaderRules,
}

impl TransformPlan {
    /// Whether it needs what the route's path captured under this name.
    pub fn uses(&self, name: &str) -> bool {
        self.rewrite.as_ref().is_some_and(|rewrite| rewrite.uses(name))
    }
}

/// Checks all three, reporting what is wrong at the keys of the route at `at`. `names` are what its path
/// captures. What is wrong is left out.
pub fn plan(
    rewrite: &RewriteConfig,
    request: &HeaderRulesConfig,
    response: &HeaderRulesConfig,
    names: &[&str],
    at: &Path,
    report: &mut Report,
) -> TransformPlan {
    TransformPlan {
        rewrite: rewrite::plan(rewrite, names, &at.key("rewrite"), report),
        request: rules::plan(request, Side::Request, &at.key("request_headers"), report),
        response: rules::plan(response, Side::Response, &at.key("response_headers"), report),
    }
}
