//! What the upstream is asked for instead.

use bytes::Bytes;
use http::uri::PathAndQuery;

use crate::http::normalize::{self, PathRules, TargetError};
use crate::http::template::{self, Part};
use crate::http::{Params, Target};
use crate::report::{Path, Report};

use super::config::RewriteConfig;

/// A change of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Another path.
    Path(Vec<Part>),
    /// The path without these first segments; it begins with a slash and does not end with one.
    Strip(Box<str>),
}

impl Rewrite {
    /// The new path and the query as it was. `None`: nothing changes.
    ///
    /// # Errors
    /// What cannot be a path, because captured values make it too long or ambiguous.
    pub fn apply(&self, target: &Target, params: &Params) -> Result<Option<PathAndQuery>, TargetError> {
        let mut out = match self {
            Self::Path(parts) => expand(parts, params)?,
            Self::Strip(prefix) => match target.path().strip_prefix(&**prefix) {
                Some("") => "/".to_owned(),
                Some(rest) if rest.starts_with('/') => rest.to_owned(),
                _ => return Ok(None),
            },
        };
        if let Some(query) = target.query() {
            out.push('?');
            out.push_str(query);
        }
        PathAndQuery::from_maybe_shared(Bytes::from(out)).map(Some).map_err(|_| TargetError::TooLong)
    }

    /// Whether it needs what the pattern captured under this name.
    pub fn uses(&self, name: &str) -> bool {
        match self {
            Self::Path(parts) => {
                parts.iter().any(|part| matches!(part, Part::Name(known) if **known == *name))
            }
            Self::Strip(_) => false,
        }
    }
}

fn expand(parts: &[Part], params: &Params) -> Result<String, TargetError> {
    let mut out = String::new();
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Name(name) => match template::value(params, name) {
                Some(value) => out.push_str(value),
                None if index + 1 == parts.len() && out.len() > 1 && out.ends_with('/') => {
                    out.pop();
                }
                None => {}
            },
        }
        // What the `http` crate takes at most; checked here so that repeated names cannot grow beyond it.
        if out.len() > usize::from(u16::MAX) {
            return Err(TargetError::TooLong);
        }
    }
    normalize::path(&out, PathRules::AS_MADE).map(std::borrow::Cow::into_owned)
}

/// Checks a rewrite; `names` are what the route's pattern captures.
pub(super) fn plan(
    config: &RewriteConfig,
    names: &[&str],
    at: &Path,
    report: &mut Report,
) -> Option<Rewrite> {
    match (&config.path, &config.strip_prefix) {
        (Some(_), Some(_)) => {
            report.error_with_hint(
                at,
                "`path` and `strip_prefix` exclude each other",
                "capture the rest with `{*rest}` and use it in `path`",
            );
            None
        }
        (Some(path), None) => plan_path(path, names, &at.key("path"), report),
        (None, Some(prefix)) => plan_prefix(prefix, &at.key("strip_prefix"), report),
        (None, None) => None,
    }
}

fn plan_path(text: &str, names: &[&str], at: &Path, report: &mut Report) -> Option<Rewrite> {
    if !check_path(text, at, report) {
        return None;
    }
    let parts = template::plan(text, names, at, report)?;
    let values = names.iter().map(|name| ((*name).into(), "x".into())).collect();
    if let Err(error) = expand(&parts, &values) {
        report.error(at, format!("no request can have such a path: {error}"));
        return None;
    }
    Some(Rewrite::Path(parts))
}

fn plan_prefix(text: &str, at: &Path, report: &mut Report) -> Option<Rewrite> {
    if !check_path(text, at, report) {
        return None;
    }
    if text.contains(['{', '}']) {
        report.error_with_hint(
            at,
            "a prefix has no parameters",
            "capture the rest with `{*rest}` and use it in `rewrite.path`",
        );
        return None;
    }
    match normalize::path(&normalize::encode_text(text), PathRules::AS_MADE) {
        Ok(path) => {
            let prefix = path.trim_end_matches('/');
            (!prefix.is_empty()).then(|| Rewrite::Strip(prefix.into()))
        }
        Err(error) => {
            report.error(at, format!("no request can have such a path: {error}"));
            None
        }
    }
}

fn check_path(text: &str, at: &Path, report: &mut Report) -> bool {
    if !text.starts_with('/') {
        report.error(at, "a path begins with a slash");
        return false;
    }
    if text.contains(['?', '#']) {
        report.error(at, "a path has no `?` and no `#`; the query stays as it came");
        return false;
    }
    true
}
