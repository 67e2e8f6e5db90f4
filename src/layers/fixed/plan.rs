//! What of `redirect` and `respond` can be used.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::report::{Path, Report};

use super::config::{FixedConfig, RedirectConfig};
use super::location::Location;

/// What a route answers without an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FixedPlan {
    /// A redirect.
    Redirect {
        /// Where to.
        to: Location,
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
    },
    /// A fixed response.
    Respond {
        /// 200 to 599.
        status: StatusCode,
        /// The body.
        body: Bytes,
        /// Its media type.
        content_type: HeaderValue,
    },
}

impl FixedPlan {
    /// Whether it needs what the route's path captured under this name.
    pub fn uses(&self, name: &str) -> bool {
        match self {
            Self::Redirect { to, .. } => to.uses(name),
            Self::Respond { .. } => false,
        }
    }
}

/// Checks a redirect; `names` are what the route's path captures. What is wrong leads to `/`.
pub fn plan_redirect(config: &RedirectConfig, names: &[&str], at: &Path, report: &mut Report) -> FixedPlan {
    let status = match config.status {
        301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(config.status).ok(),
        _ => None,
    };
    let status = status.unwrap_or_else(|| {
        report.error_with_hint(
            &at.key("status"),
            format!("{} is no redirect", config.status),
            "307 and 308 keep the method, 303 makes it GET; 301 and 308 are for good (RFC 9110 §15.4)",
        );
        StatusCode::PERMANENT_REDIRECT
    });
    let to = Location::plan(&config.to, names, &at.key("to"), report).unwrap_or_default();
    FixedPlan::Redirect { to, status }
}

/// Checks a fixed response. A wrong status becomes 200.
pub fn plan_respond(config: &FixedConfig, at: &Path, report: &mut Report) -> FixedPlan {
    let status = match StatusCode::from_u16(config.status) {
        Ok(status) if (200..600).contains(&config.status) => status,
        _ => {
            report.error(&at.key("status"), format!("{} is not between 200 and 599", config.status));
            StatusCode::OK
        }
    };
    let mut body = Bytes::copy_from_slice(config.body.as_bytes());
    if matches!(config.status, 204 | 205 | 304) && !body.is_empty() {
        let message = format!("a {} has no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5)", config.status);
        report.error(&at.key("body"), message);
        body = Bytes::new();
    }
    let content_type = HeaderValue::from_str(&config.content_type).unwrap_or_else(|_| {
        report.error(&at.key("content_type"), "not a media type");
        HeaderValue::from_static("text/plain; charset=utf-8")
    });
    FixedPlan::Respond { status, body, content_type }
}
