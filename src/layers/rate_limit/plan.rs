//! Validated rate limits: what [`Limiter::new`](super::Limiter::new) is built from, and what decides whether
//! one survives a reload.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;

use crate::report::{Path, Report, nearest};
use crate::units::Rate;

use super::config::{Mode, RateLimitConfig, Scope};

/// How many limits one route may have.
pub const MAX_LIMITS: usize = 16;
/// How long a limit's name may be, in bytes: it is sent with every response.
pub const MAX_NAME: usize = 64;
/// How long a bucket may take to fill: it keeps the arithmetic in nanoseconds far from overflow.
pub const MAX_WINDOW: Duration = Duration::from_secs(366 * 86_400);
/// The fastest rate, in requests a second: beyond it, whole nanoseconds are too coarse an interval.
pub const MAX_PER_SECOND: u32 = 100_000_000;
/// How many requests may wait in one limit's queue.
pub const MAX_QUEUE: u32 = 100_000;
/// How many keys a limit may remember.
pub const MAX_KEYS: u32 = 10_000_000;

/// One limit of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitPlan {
    /// Its name: ASCII letters, digits, `-`, `_` and `.`, unique in its route.
    pub name: String,
    /// Whom it counts.
    pub key: KeyPlan,
    /// How much it lets through.
    pub quota: Quota,
    /// What happens to a request beyond it.
    pub excess: Excess,
    /// What it counts.
    pub scope: Scope,
    /// How many keys are remembered.
    pub max_keys: u32,
}

/// Whom a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlan {
    /// Each client address by itself, an IPv6 one by its /64.
    ClientIp,
    /// Everybody together.
    Global,
    /// Each value of a header field by itself.
    Header(HeaderName),
    /// Each value of a query parameter by itself.
    Query(String),
    /// Each value of a cookie by itself.
    Cookie(String),
}

/// What happens to a request beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is refused at once.
    Reject,
    /// It waits for its turn.
    Delay {
        /// How many requests may wait at once, over all keys.
        queue: u32,
    },
}

/// How much a limit lets through: `burst` at once, and `rate` in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    rate: Rate,
    burst: NonZeroU32,
}

impl Quota {
    /// A quota; `None` where it is beyond [`MAX_PER_SECOND`] or [`MAX_WINDOW`].
    pub fn new(rate: Rate, burst: NonZeroU32) -> Option<Self> {
        let quota = Self { rate, burst };
        let fastest = Duration::from_secs(1) / MAX_PER_SECOND;
        let sound = !rate.per().is_zero()
            && rate.per() / rate.count() >= fastest
            && quota.nanos_of(u128::from(burst.get())) <= MAX_WINDOW.as_nanos();
        sound.then_some(quota)
    }

    /// How many requests an interval, in the long run.
    pub const fn rate(self) -> Rate {
        self.rate
    }

    /// How many requests at once.
    pub const fn burst(self) -> NonZeroU32 {
        self.burst
    }

    /// The time in which one request becomes possible, rounded up to whole nanoseconds: the limit is never
    /// exceeded, and missed by 0.1 % at most.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos_of(1)).unwrap_or(u64::MAX))
    }

    /// The time in which an empty bucket fills, in seconds, rounded up: `w` of `RateLimit-Policy`.
    pub fn window_secs(self) -> u64 {
        let nanos = self.nanos_of(u128::from(self.burst.get()));
        u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }

    /// The time in which `requests` become possible, in nanoseconds, rounded up once.
    fn nanos_of(self, requests: u128) -> u128 {
        (self.rate.per().as_nanos() * requests).div_ceil(u128::from(self.rate.count()))
    }
}

/// In which fields of its requests a route is told whom they are from: nobody else can write them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// The consumer's name, where consumers are told apart.
    pub consumer: Option<&'a HeaderName>,
    /// Claims of its token.
    pub claims: &'a [(HeaderName, String)],
}

/// Validates a route's limits; `at` is the path of the array.
pub fn plan(configs: &[RateLimitConfig], told: Told<'_>, at: &Path, report: &mut Report) -> Vec<LimitPlan> {
    if configs.len() > MAX_LIMITS {
        report.error(
            at,
            format!("{} rate limits on one route; at most {MAX_LIMITS} are possible", configs.len()),
        );
    }
    let mut plans: Vec<LimitPlan> = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let at = at.index(index);
        if plans.iter().any(|earlier| earlier.name == config.name) {
            report.error_with_hint(
                &at.key("name"),
                format!("another limit of this route is named `{}`", config.name),
                "names tell limits apart in `RateLimit-Policy`, log and metrics: give each its own",
            );
        }
        plans.push(plan_one(config, told, &at, report));
    }
    plans
}

fn plan_one(config: &RateLimitConfig, told: Told<'_>, at: &Path, report: &mut Report) -> LimitPlan {
    check_name(&config.name, &at.key("name"), report);
    LimitPlan {
        name: config.name.clone(),
        key: plan_key(&config.key, told, &at.key("key"), report),
        quota: plan_quota(config, at, report),
        excess: plan_excess(config, at, report),
        scope: config.scope,
        max_keys: bounded(config.max_keys, MAX_KEYS, &at.key("max_keys"), report),
    }
}

/// A name goes into a quoted string of a header field and into a metric's label, so it is kept plain.
fn check_name(name: &str, at: &Path, report: &mut Report) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() {
        report.error(at, "a limit needs a name");
    } else if name.len() > MAX_NAME {
        report.error(at, format!("the name has {} bytes; at most {MAX_NAME} are possible", name.len()));
    } else if !name.bytes().all(plain) {
        report.error_with_hint(
            at,
            format!("`{}` is no name for a limit", name.escape_debug()),
            "use ASCII letters, digits, `-`, `_` and `.`, like \"per-client\"",
        );
    }
}

/// Validates whom to count.
pub fn plan_key(text: &str, told: Told<'_>, at: &Path, report: &mut Report) -> KeyPlan {
    const KINDS: &str =
        "`client_ip`, `global`, `header:NAME`, `query:NAME`, `cookie:NAME`, `consumer` or `claim:NAME`";
    let key = match text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name))) {
        ("client_ip", None) => Some(KeyPlan::ClientIp),
        ("global", None) => Some(KeyPlan::Global),
        ("consumer", None) => {
            if told.consumer.is_none() {
                report.error_with_hint(
                    at,
                    "`consumer` cannot be counted: the route has no authentication to tell consumers apart",
                    "add `auth` to the route, like `auth = { keys = {} }`",
                );
            }
            Some(told.consumer.map_or(KeyPlan::ClientIp, |header| KeyPlan::Header(header.clone())))
        }
        ("header", Some(name)) => HeaderName::try_from(name).ok().map(KeyPlan::Header),
        ("query", Some(name)) => (!name.is_empty()).then(|| KeyPlan::Query(name.to_owned())),
        ("cookie", Some(name)) => HeaderName::try_from(name).ok().map(|_| KeyPlan::Cookie(name.to_owned())),
        ("claim", Some(name)) => (!name.is_empty()).then(|| plan_claim(name, told, at, report)),
        ("header" | "query" | "cookie" | "claim", None) => {
            report.error_with_hint(at, format!("`{text}` of what name?"), format!("write \"{text}:NAME\""));
            return KeyPlan::ClientIp;
        }
        (kind, _) => {
            let hint = match nearest(kind, KIND_WORDS) {
                Some(meant) if meant != kind => format!("did you mean `{meant}`? Possible are {KINDS}"),
                _ => format!("possible are {KINDS}"),
            };
            report.error_with_hint(at, format!("`{}` is no key to count by", text.escape_debug()), hint);
            return KeyPlan::ClientIp;
        }
    };
    key.unwrap_or_else(|| {
        let message = format!("`{}` has no valid name after its colon", text.escape_debug());
        report.error_with_hint(at, message, format!("possible are {KINDS}"));
        KeyPlan::ClientIp
    })
}

/// What may stand before a colon, or alone.
const KIND_WORDS: [&str; 7] = ["client_ip", "global", "header", "query", "cookie", "consumer", "claim"];

/// A claim is counted by the field that the route is told it in.
fn plan_claim(name: &str, told: Told<'_>, at: &Path, report: &mut Report) -> KeyPlan {
    if let Some((field, _)) = told.claims.iter().find(|(_, claim)| claim == name) {
        return KeyPlan::Header(field.clone());
    }
    let message = format!("the claim `{}` cannot be counted: nobody tells it", name.escape_debug());
    let hint = match nearest(name, told.claims.iter().map(|(_, claim)| claim.as_str())) {
        Some(meant) => format!("did you mean `claim:{meant}`?"),
        None => format!(
            "name a field for it in the route's `auth.jwt`: headers = {{ \"x-{name}\" = \"{name}\" }}"
        ),
    };
    report.error_with_hint(at, message, hint);
    KeyPlan::ClientIp
}

fn plan_quota(config: &RateLimitConfig, at: &Path, report: &mut Report) -> Quota {
    let whole = NonZeroU32::new(config.rate.count()).unwrap_or(NonZeroU32::MIN);
    let fallback = Quota { rate: config.rate, burst: NonZeroU32::MIN };
    if Quota::new(config.rate, NonZeroU32::MIN).is_none() {
        report.error_with_hint(
            &at.key("rate"),
            format!("`{}` is faster than a limit can count", config.rate),
            format!("at most {MAX_PER_SECOND} requests a second are possible"),
        );
        return Quota { rate: Rate::new(1, Duration::from_secs(1)), burst: NonZeroU32::MIN };
    }
    let burst = match config.burst.map(NonZeroU32::new) {
        None => whole,
        Some(Some(burst)) => burst,
        Some(None) => {
            report.error_with_hint(
                &at.key("burst"),
                "a burst of 0 allows nothing",
                "1 spreads requests evenly; without the key it is the rate's count",
            );
            return fallback;
        }
    };
    Quota::new(config.rate, burst).unwrap_or_else(|| {
        report.error_with_hint(
            &at.key("burst"),
            format!("at {}, a burst of {burst} takes more than a year to come back", config.rate),
            "lower the burst",
        );
        fallback
    })
}

fn plan_excess(config: &RateLimitConfig, at: &Path, report: &mut Report) -> Excess {
    match config.mode {
        Mode::Reject => Excess::Reject,
        Mode::Delay if config.queue == 0 => {
            report.error_with_hint(
                &at.key("queue"),
                "nobody can wait in a queue of 0",
                "write mode = \"reject\" to refuse at once",
            );
            Excess::Reject
        }
        Mode::Delay => Excess::Delay { queue: bounded(config.queue, MAX_QUEUE, &at.key("queue"), report) },
    }
}

fn bounded(value: u32, max: u32, at: &Path, report: &mut Report) -> u32 {
    if value == 0 || value > max {
        report.error(at, format!("{value} is out of range: 1 to {max} are possible"));
    }
    value.clamp(1, max)
}
