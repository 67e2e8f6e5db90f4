//! Changes to header fields.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::fields;
use crate::report::{Path, Report};

use super::config::HeaderRulesConfig;

/// Changes to header fields: `remove` first, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Fields that go.
    pub remove: Vec<HeaderName>,
    /// Fields that get this one value.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that get one more value.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// Whose fields a rule changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

impl HeaderRules {
    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Makes the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

/// Checks rules; those that are wrong are left out.
pub(super) fn plan(config: &HeaderRulesConfig, side: Side, at: &Path, report: &mut Report) -> HeaderRules {
    let mut remove = Vec::new();
    for (index, text) in config.remove.iter().enumerate() {
        let at = at.key("remove").index(index);
        remove.extend(plan_name(text, side, &at, report));
    }
    let set = plan_values(&config.set, side, &at.key("set"), report);
    for (index, (name, _)) in set.iter().enumerate() {
        if set.iter().take(index).any(|(earlier, _)| earlier == name) {
            report
                .error(&at.key("set"), format!("`{name}` is set twice: case does not count in field names"));
        }
    }
    HeaderRules { remove, set, add: plan_values(&config.add, side, &at.key("add"), report) }
}

fn plan_values(
    config: &BTreeMap<String, String>,
    side: Side,
    at: &Path,
    report: &mut Report,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut values = Vec::new();
    for (text, value) in config {
        let at = at.key(text);
        let name = plan_name(text, side, &at, report);
        let Ok(value) = HeaderValue::from_str(value) else {
            report.error(&at, "a field's value is visible ASCII, spaces and tabs (RFC 9110 §5.5)");
            continue;
        };
        values.extend(name.map(|name| (name, value)));
    }
    values
}

fn plan_name(text: &str, side: Side, at: &Path, report: &mut Report) -> Option<HeaderName> {
    let Ok(name) = HeaderName::try_from(text) else {
        report.error(at, format!("`{text}` is no field name"));
        return None;
    };
    if let Some(hint) = refused(&name, side) {
        report.error_with_hint(at, format!("`{name}` is not for rules to change"), hint);
        return None;
    }
    Some(name)
}

/// Why no rule changes this field.
fn refused(name: &HeaderName, side: Side) -> Option<&'static str> {
    if *name == header::HOST && side == Side::Request {
        Some("`upstream.NAME.host` says what the origin gets as `Host`")
    } else if matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::TRAILER) {
        Some("framing follows from the body (RFC 9112 §6)")
    } else if fields::is_hop_by_hop(name) {
        Some("it concerns one connection only and is never forwarded (RFC 9110 §7.6.1)")
    } else {
        None
    }
}
