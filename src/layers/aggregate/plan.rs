//! What the user wrote in `aggregate`, validated.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::report::{Path, Report};

use super::config::PartConfig;
use super::merge::META;
use super::target::PartTarget;

/// How many parts an answer may have: each is a request of its own.
const MAX_PARTS: usize = 16;
/// How large all parts together may be, in bytes: they are held until the last one is there.
const MAX_TOTAL: u64 = 16 << 20;
/// How long a part's name may be, in bytes.
const MAX_NAME: usize = 64;

/// One part.
#[derive(Clone, Debug, PartialEq)]
pub struct PartPlan {
    /// Its name: a token (RFC 9110 §5.6.2) that needs no escapes in JSON.
    pub name: Arc<str>,
    /// Who is asked.
    pub upstream: String,
    /// What for.
    pub target: PartTarget,
    /// Whether the answer can do without it.
    pub optional: bool,
    /// What stands in for it: JSON.
    pub default: Bytes,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// The largest body, in bytes.
    pub max_body: u64,
}

impl PartPlan {
    /// Whether it needs what the route's path captured under this name.
    pub fn uses(&self, name: &str) -> bool {
        self.target.uses(name)
    }
}

/// Checks the parts of a route; `names` are what its path captures. What is wrong is left out.
pub fn plan(parts: &[PartConfig], names: &[&str], at: &Path, report: &mut Report) -> Vec<PartPlan> {
    if parts.len() > MAX_PARTS {
        let message = format!("{} parts are too many", parts.len());
        report.error_with_hint(at, message, format!("at most {MAX_PARTS}: each is a request of its own"));
    }
    let total = parts.iter().fold(0u64, |total, part| total.saturating_add(part.max_body.bytes()));
    if total > MAX_TOTAL {
        report.error_with_hint(
            at,
            "the parts may be too large together",
            "their `max_body` may be 16MiB in all: they are held until the last one is there",
        );
    }
    let mut seen = BTreeSet::new();
    let mut plans = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let at = at.index(index);
        check_name(&part.name, &at.key("name"), report);
        if !seen.insert(part.name.as_str()) {
            report.error(&at.key("name"), format!("two parts are named `{}`", part.name));
        }
        plans.extend(one(part, names, &at, report));
    }
    plans
}

fn check_name(name: &str, at: &Path, report: &mut Report) {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if name == META {
        report.error(at, format!("`{META}` is where the answer says which parts failed"));
    } else if !begins || !name.bytes().all(legal) || name.len() > MAX_NAME {
        report.error_with_hint(
            at,
            format!("`{name}` cannot name a part"),
            "write a letter, then letters, digits, `_` or `-`, 64 at most",
        );
    }
}

fn one(part: &PartConfig, names: &[&str], at: &Path, report: &mut Report) -> Option<PartPlan> {
    if part.default.is_some() && !part.optional {
        report.error_with_hint(
            &at.key("default"),
            "nothing stands in for a part that is required",
            "add `optional = true`",
        );
    }
    let timeout = part.timeout.map(|timeout| timeout.get());
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        report.error(&at.key("timeout"), "no part is there in no time");
    }
    if part.max_body.bytes() == 0 {
        report.error(&at.key("max_body"), "JSON is at least one byte");
    }
    let default = part.default.as_ref().map_or_else(|| "null".to_owned(), ToString::to_string);
    Some(PartPlan {
        name: part.name.as_str().into(),
        upstream: part.upstream.clone(),
        target: PartTarget::plan(&part.path, &part.query, names, at, report)?,
        optional: part.optional,
        default: default.into(),
        timeout,
        max_body: part.max_body.bytes(),
    })
}
