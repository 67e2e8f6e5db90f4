//! What of `health` can be used.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use crate::report::{Path, Report};
use crate::units::Time;

use super::super::config::HealthConfig;
use super::fixed_host;

/// How endpoints are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// What a probe asks for.
    pub path: PathAndQuery,
    /// Its `Host`; the endpoint's own if none.
    pub host: Option<HeaderValue>,
    /// The pause between two probes; not zero.
    pub interval: Duration,
    /// How long one may take; not zero.
    pub timeout: Duration,
    /// When an endpoint changes sides.
    pub thresholds: Thresholds,
    /// The statuses of a good probe; at least one.
    pub expect: Vec<RangeInclusive<u16>>,
}

/// How many probes of one kind in a row change what is thought of an endpoint; both are at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones, for an unhealthy endpoint.
    pub healthy_after: u32,
    /// Bad ones, for a healthy endpoint.
    pub unhealthy_after: u32,
}

/// Probes are made at most so often: a connection each, to every endpoint.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// Checks what the user wrote. `host` is the upstream's.
pub(super) fn plan(config: &HealthConfig, host: &str, at: &Path, report: &mut Report) -> HealthPlan {
    let interval = config.interval.get();
    if interval < INTERVAL_MIN {
        report.error_with_hint(&at.key("interval"), "less than 50ms", "1s to 10s are usual");
    }
    HealthPlan {
        path: path(&config.path, &at.key("path"), report),
        host: self::host(config, host, &at.key("host"), report),
        interval: interval.max(INTERVAL_MIN),
        timeout: timeout(config.timeout, &at.key("timeout"), report),
        thresholds: Thresholds {
            healthy_after: at_least_one(config.healthy_after, &at.key("healthy_after"), report),
            unhealthy_after: at_least_one(config.unhealthy_after, &at.key("unhealthy_after"), report),
        },
        expect: expect(&config.expect, &at.key("expect"), report),
    }
}

fn path(text: &str, at: &Path, report: &mut Report) -> PathAndQuery {
    match text.parse() {
        Ok(path) if text.starts_with('/') && !text.contains('#') => path,
        _ => {
            let hint = "a path starts with a slash, like \"/healthz\"";
            report.error_with_hint(at, format!("`{text}` is no path"), hint);
            PathAndQuery::from_static("/")
        }
    }
}

fn host(config: &HealthConfig, upstream: &str, at: &Path, report: &mut Report) -> Option<HeaderValue> {
    let Some(host) = &config.host else {
        let is_name = !matches!(upstream, "preserve" | "endpoint");
        return fixed_host(upstream).filter(|_| is_name);
    };
    let value = fixed_host(host);
    if value.is_none() {
        report.error_with_hint(at, format!("`{host}` is no host"), "write a name like \"api.example.com\"");
    }
    value
}

fn timeout(timeout: Time, at: &Path, report: &mut Report) -> Duration {
    if timeout.get().is_zero() {
        report.error_with_hint(at, "no probe can succeed in no time", "write a duration like \"1s\"");
        return Duration::from_secs(1);
    }
    timeout.get()
}

fn at_least_one(count: u32, at: &Path, report: &mut Report) -> u32 {
    if count == 0 {
        report.error_with_hint(at, "no probe at all changes nothing", "write at least 1");
    }
    count.max(1)
}

fn expect(words: &[String], at: &Path, report: &mut Report) -> Vec<RangeInclusive<u16>> {
    if words.is_empty() {
        report.error_with_hint(at, "no status is good", "write \"200-399\", or a status like \"204\"");
    }
    let mut ranges = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        match range(word) {
            Some(range) => ranges.push(range),
            None => report.error_with_hint(
                &at.index(index),
                format!("`{word}` is no range of statuses"),
                "write \"200-399\", or a status like \"204\"",
            ),
        }
    }
    ranges
}

/// `204` or `200-399`; what is expected of a final response (RFC 9110 §15: 200 to 599).
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|status| digits && (200..=599).contains(status))
    };
    let range = status(first)?..=status(last)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_statuses() {
        for (word, expected) in [
            ("204", Some(204..=204)),
            ("200-399", Some(200..=399)),
            ("500-599", Some(500..=599)),
            ("399-200", None),
            ("2xx", None),
            ("20", None),
            ("+204", None),
            ("100", None),
            ("200-600", None),
            ("200 - 299", None),
            ("", None),
        ] {
            assert_eq!(range(word), expected, "{word}");
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let config = HealthConfig {
            path: "healthz".to_owned(),
            host: Some("no host".to_owned()),
            interval: Time::millis(1),
            timeout: Time::secs(0),
            healthy_after: 0,
            unhealthy_after: 0,
            expect: vec!["200".to_owned(), "ok".to_owned()],
        };
        let mut report = Report::new();
        let plan = plan(&config, "preserve", &Path::root(), &mut report);
        let paths: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(
            paths,
            ["interval", "path", "host", "timeout", "healthy_after", "unhealthy_after", "expect[1]"]
        );
        assert_eq!(plan.thresholds, Thresholds { healthy_after: 1, unhealthy_after: 1 });
    }

    #[test]
    fn the_host_is_its_own_or_the_upstreams_or_the_endpoints() {
        for (own, upstream, expected) in [
            (Some("probe.example"), "api.example", Some("probe.example")),
            (None, "api.example", Some("api.example")),
            (None, "preserve", None),
            (None, "endpoint", None),
        ] {
            let config = HealthConfig { host: own.map(str::to_owned), ..HealthConfig::default() };
            let mut report = Report::new();
            let plan = plan(&config, upstream, &Path::root(), &mut report);
            assert!(report.problems().is_empty(), "{:?}", report.problems());
            assert_eq!(plan.host.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes));
        }
    }
}
