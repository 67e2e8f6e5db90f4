//! What the user wrote in `[route.retry]`, validated.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::http::statuses;
use crate::layers::budget::BudgetPlan;
use crate::report::{Path, Report, nearest};

use super::backoff::BackoffPlan;
use super::condition::Cause;
use super::config::{BackoffConfig, BudgetConfig, RetryConfig};

/// More attempts help nobody: at a rate of failures where ten are not enough, the origin needs a pause.
const MAX_ATTEMPTS: u32 = 10;

/// The largest replay buffer: each request under way may hold one.
const MAX_BODY: usize = 16 << 20;

/// When and how failed attempts of a route are made again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPlan {
    /// How many attempts, the first one included: 1 to 10; 1 turns retries off.
    pub attempts: u32,
    /// What is retried.
    pub on: Conditions,
    /// Methods that may be sent twice.
    pub methods: Vec<Method>,
    /// How long one attempt may take to its response head.
    pub per_try_timeout: Option<Duration>,
    /// How long to wait before an attempt.
    pub backoff: BackoffPlan,
    /// How much more the upstream is asked for this route.
    pub budget: BudgetPlan,
    /// Whether `Retry-After` and `RateLimit` are respected.
    pub respect_retry_after: bool,
    /// The size of the replay buffer, in bytes.
    pub max_body: usize,
}

impl Default for RetryPlan {
    fn default() -> Self {
        plan(&RetryConfig::default(), &Path::root(), &mut Report::new())
    }
}

/// A set of causes and statuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One bit a [`Cause`].
    causes: u8,
    /// One bit a status, from 400.
    statuses: [u64; 4],
}

impl Conditions {
    /// Whether a cause other than a status is listed.
    pub const fn contains(&self, cause: Cause) -> bool {
        self.causes & (1 << cause as u8) != 0
    }

    /// Whether a status is listed.
    pub fn contains_status(&self, status: StatusCode) -> bool {
        let Some(bit) = status.as_u16().checked_sub(400).map(usize::from) else { return false };
        self.statuses.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what one word says; false where it says nothing we know.
    fn add(&mut self, word: &str) -> bool {
        let causes = [Cause::Connect, Cause::Reset, Cause::Timeout];
        if let Some(cause) = causes.into_iter().find(|cause| cause.as_str() == word) {
            self.causes |= 1 << cause as u8;
            return true;
        }
        let Some(statuses) = statuses::named(word) else { return false };
        for bit in statuses.map(|status| usize::from(status - 400)) {
            if let Some(word) = self.statuses.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        true
    }
}

/// Validates a route's retry policy, reporting every problem.
pub fn plan(config: &RetryConfig, at: &Path, report: &mut Report) -> RetryPlan {
    let max_body = config.max_body.len();
    if max_body > MAX_BODY {
        report.error_with_hint(
            &at.key("max_body"),
            format!("a replay buffer of {} is too large", config.max_body),
            "every request under way may hold one: at most 16MiB",
        );
    }
    let on = conditions(&config.on, &at.key("on"), report);
    if on.is_empty() && config.on.is_empty() && config.attempts > 1 {
        report.warn(&at.key("on"), "nothing is retried", "write `attempts = 1` to turn retries off");
    }
    RetryPlan {
        attempts: attempts(config.attempts, &at.key("attempts"), report),
        on,
        methods: methods(&config.methods, &at.key("methods"), report),
        per_try_timeout: per_try_timeout(config, &at.key("per_try_timeout"), report),
        backoff: backoff(&config.backoff, &at.key("backoff"), report),
        budget: budget(&config.budget, &at.key("budget"), report),
        respect_retry_after: config.respect_retry_after,
        max_body: max_body.min(MAX_BODY),
    }
}

fn attempts(attempts: u32, at: &Path, report: &mut Report) -> u32 {
    match attempts {
        0 => report.error_with_hint(
            at,
            "`attempts` counts the first attempt too",
            "write 1 to turn retries off",
        ),
        1..=MAX_ATTEMPTS => {}
        _ => report.error_with_hint(
            at,
            format!("{attempts} attempts are too many"),
            format!("at most {MAX_ATTEMPTS}; 2 or 3 are usual"),
        ),
    }
    attempts.clamp(1, MAX_ATTEMPTS)
}

fn conditions(words: &[String], at: &Path, report: &mut Report) -> Conditions {
    let mut on = Conditions::default();
    for (index, word) in words.iter().enumerate() {
        if on.add(word) {
            continue;
        }
        let hint = match nearest(word, ["connect", "reset", "timeout", "4xx", "5xx"]) {
            _ if word.parse::<u16>().is_ok() => "only error statuses are retried, 400 to 599".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => "write connect, reset, timeout, or a status like 503 or 5xx".to_owned(),
        };
        report.error_with_hint(&at.index(index), format!("`{word}` is nothing to retry on"), hint);
    }
    on
}

fn methods(words: &[String], at: &Path, report: &mut Report) -> Vec<Method> {
    let mut methods = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let at = at.index(index);
        let upper = word.to_ascii_uppercase();
        let Ok(method) = Method::from_bytes(word.as_bytes()) else {
            report.error(&at, format!("`{word}` is no method name"));
            continue;
        };
        // RFC 9110 §9.1: method names are case-sensitive, and `get` is no method anybody serves.
        if upper != *word {
            report.error_with_hint(
                &at,
                format!("`{word}` is not a method anybody sends"),
                format!("did you mean `{upper}`?"),
            );
        } else if method == Method::CONNECT {
            report.error(&at, "CONNECT is refused, so it is never retried");
        } else {
            if method == Method::POST || method == Method::PATCH {
                report.warn(
                    &at,
                    format!("a {method} that is sent twice may take effect twice"),
                    "list it only if the origin recognises repeated requests (RFC 9110 §9.2.2)",
                );
            }
            methods.push(method);
        }
    }
    methods
}

fn per_try_timeout(config: &RetryConfig, at: &Path, report: &mut Report) -> Option<Duration> {
    let timeout = config.per_try_timeout?.get();
    if timeout.is_zero() {
        report.error_with_hint(
            at,
            "no attempt can succeed in no time",
            "leave it out for no limit of its own",
        );
        return None;
    }
    Some(timeout)
}

fn backoff(config: &BackoffConfig, at: &Path, report: &mut Report) -> BackoffPlan {
    let mut factor = config.factor;
    if !factor.is_finite() || factor < 1.0 {
        report.error_with_hint(
            &at.key("factor"),
            format!("a factor of {factor} does not make waits longer"),
            "at least 1.0, which keeps them the same; 2.0 doubles them",
        );
        factor = BackoffConfig::default().factor;
    }
    let (base, max) = (config.base.get(), config.max.get());
    if base > max {
        report.error_with_hint(
            &at.key("base"),
            format!("the first wait of {} is longer than the longest of {}", config.base, config.max),
            "raise `max` or lower `base`",
        );
    }
    BackoffPlan { base: base.min(max), factor, max, jitter: config.jitter }
}

fn budget(config: &BudgetConfig, at: &Path, report: &mut Report) -> BudgetPlan {
    let mut ratio = config.ratio;
    if !(0.0..=1.0).contains(&ratio) {
        report.error_with_hint(
            &at.key("ratio"),
            format!("{ratio} is no share of the successful requests"),
            "write a number from 0.0 to 1.0: 0.2 lets one in five be retried",
        );
        ratio = BudgetConfig::default().ratio;
    }
    if ratio == 0.0 && config.min_per_second == 0 {
        report.warn(
            at,
            "a budget of nothing",
            "there are no hedges then, and stale entries are not refreshed in the background; for no retries \
             alone, write `attempts = 1`",
        );
    }
    BudgetPlan { ratio, min_per_second: config.min_per_second }
}
