//! What of `timeout` and `[route.deadline]` can be used.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::{CONTENT_LENGTH, HOST, TRAILER};

use crate::http::fields;
use crate::report::{Path, Report};
use crate::units::Time;

use super::config::DeadlineConfig;
use super::signals::{GRPC_TIMEOUT, Signals};

/// How long a route's requests may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlinePlan {
    /// For the whole request; never zero.
    pub timeout: Duration,
    /// What clients say about it and upstreams are told, if anything.
    pub signals: Option<Arc<Signals>>,
}

/// Checks both, reporting what is wrong at the keys of the route at `at`.
pub fn plan(timeout: Time, config: Option<&DeadlineConfig>, at: &Path, report: &mut Report) -> DeadlinePlan {
    let signals = config.map(|config| Arc::new(signals(config, &at.key("deadline"), report)));
    let mut timeout = timeout.get();
    if timeout.is_zero() {
        report.error_with_hint(
            &at.key("timeout"),
            "a request needs some time",
            "to wait for as long as it takes, write a long time like \"1d\"",
        );
        timeout = Duration::from_secs(300);
    }
    DeadlinePlan { timeout, signals }
}

fn signals(config: &DeadlineConfig, at: &Path, report: &mut Report) -> Signals {
    let mut name = |key: &str, text: &Option<String>| {
        let (text, at) = (text.as_ref()?, at.key(key));
        let Ok(name) = HeaderName::try_from(text) else {
            report.error(&at, format!("`{text}` is no field name"));
            return None;
        };
        if name == GRPC_TIMEOUT {
            let hint = "`grpc_timeout` honours it and passes it on";
            report.error_with_hint(&at, "`grpc-timeout` has a form of its own", hint);
            return None;
        }
        if fields::is_hop_by_hop(&name) || matches!(name, HOST | CONTENT_LENGTH | TRAILER) {
            report.error(&at, format!("`{name}` has another meaning"));
            return None;
        }
        Some(name)
    };
    Signals {
        grpc: config.grpc_timeout,
        request: name("request_header", &config.request_header),
        upstream: name("upstream_header", &config.upstream_header),
    }
}
