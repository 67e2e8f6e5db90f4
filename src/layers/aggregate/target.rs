//! Which path and query a part is asked for.

use bytes::Bytes;
use http::uri::PathAndQuery;

use crate::http::normalize::{self, PathRules, TargetError};
use crate::http::template::{self, Part};
use crate::http::{Params, Target};
use crate::report::{Path, Report};

/// A path and query, to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTarget {
    path: Vec<Part>,
    query: Vec<Part>,
    pass: Pass,
}

/// What of the client's query goes along.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pass {
    All,
    /// The parameters of these names, as they are written.
    Named(Vec<String>),
}

impl PartTarget {
    /// What one request asks the part for.
    ///
    /// # Errors
    /// What cannot be a path, because captured values make it too long or ambiguous.
    pub fn expand(&self, target: &Target, params: &Params) -> Result<PathAndQuery, TargetError> {
        let mut path = String::new();
        for part in &self.path {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Name(name) => path.push_str(template::value(params, name).unwrap_or_default()),
            }
            check_length(&path)?;
        }
        let mut out = normalize::path(&path, PathRules::AS_MADE)?.into_owned();
        let mut separator = '?';
        if !self.query.is_empty() {
            out.push(std::mem::replace(&mut separator, '&'));
        }
        for part in &self.query {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => escape(template::value(params, name).unwrap_or_default(), &mut out),
            }
            check_length(&out)?;
        }
        for parameter in target.query().into_iter().flat_map(|query| query.split('&')) {
            if self.pass.takes(parameter) {
                out.push(std::mem::replace(&mut separator, '&'));
                out.push_str(parameter);
            }
        }
        PathAndQuery::from_maybe_shared(Bytes::from(out)).map_err(|_| TargetError::TooLong)
    }

    /// Whether it needs what the route's path captured under this name.
    pub(super) fn uses(&self, name: &str) -> bool {
        let mut parts = self.path.iter().chain(&self.query);
        parts.any(|part| matches!(part, Part::Name(known) if **known == *name))
    }

    /// Checks a path and the parameters passed on; `None` after an error.
    pub(super) fn plan(
        text: &str,
        pass: &[String],
        names: &[&str],
        at: &Path,
        report: &mut Report,
    ) -> Option<Self> {
        let pass = Pass::plan(pass, &at.key("query"), report);
        let at = at.key("path");
        if !text.starts_with('/') || text.contains('#') {
            report.error(&at, "a part's path begins with a slash and has no `#`");
            return None;
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let path = template::plan(path, names, &at, report)?;
        let query = template::plan(query, names, &at, report)?;
        let target = Self { path, query, pass };
        let params = names.iter().map(|name| ((*name).into(), "x".into())).collect();
        let example = Target {
            scheme: crate::http::Scheme::Http,
            authority: http::HeaderValue::from_static("host.example"),
            path_and_query: PathAndQuery::from_static("/"),
        };
        if let Err(error) = target.expand(&example, &params) {
            report.error(&at, format!("no request can have such a path: {error}"));
            return None;
        }
        Some(target)
    }
}

impl Pass {
    fn takes(&self, parameter: &str) -> bool {
        match self {
            Self::All => !parameter.is_empty(),
            Self::Named(names) => {
                let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
                names.iter().any(|known| known == name)
            }
        }
    }

    fn plan(names: &[String], at: &Path, report: &mut Report) -> Self {
        if names.iter().any(|name| name == "*") {
            if names.len() > 1 {
                report.warn(at, "`*` is all parameters, those named included", "write `[\"*\"]` alone");
            }
            return Self::All;
        }
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte))
            {
                report.error_with_hint(
                    &at.index(index),
                    format!("`{name}` cannot name a parameter"),
                    "write it as it is in a URL, percent triplets included",
                );
            }
        }
        Self::Named(names.to_vec())
    }
}

/// What the `http` crate takes at most; checked as a path grows so that repeated names cannot make it long.
const fn check_length(text: &str) -> Result<(), TargetError> {
    if text.len() > u16::MAX as usize { Err(TargetError::TooLong) } else { Ok(()) }
}

/// Adds a captured value to a query, in which it is no more than one value.
fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '&' | '=' | '+' | ';' => normalize::encode(c as u8, out),
            c => out.push(c),
        }
    }
}
