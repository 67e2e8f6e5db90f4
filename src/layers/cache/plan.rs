//! The validated plan of the cache: what the config says, checked and compiled.

use std::time::Duration;

use http::StatusCode;
use http::header::{COOKIE, HOST, HeaderName};

use crate::report::{Path, Report};

use super::config::{CacheConfig, KeyConfig, QueryKeyConfig, StoreConfig, TtlConfig};
use super::key::{KeyRules, Pattern, QueryRules};

/// The store, one for the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// How many bytes it may hold, keys, fields and bookkeeping included.
    pub memory: u64,
    /// The largest body stored, in bytes.
    pub max_object: u64,
}

/// Validates the store's config at `at`.
pub fn plan_store(config: &StoreConfig, at: &Path, report: &mut Report) -> StorePlan {
    let memory = config.memory.bytes();
    let mut max_object = config.max_object.bytes();
    if max_object > memory {
        report.error_with_hint(
            &at.key("max_object"),
            format!("an object of {} does not fit into a store of {}", config.max_object, config.memory),
            "make `memory` larger or `max_object` smaller; a tenth of `memory` is a good `max_object`",
        );
        max_object = memory;
    }
    StorePlan { memory, max_object }
}

/// How a route's responses are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// Whether they are at all.
    pub enabled: bool,
    /// GET is answered from the store.
    pub get: bool,
    /// HEAD is answered from the store.
    pub head: bool,
    /// What makes two requests the same.
    pub key: KeyRules,
    /// How long responses are fresh and useful.
    pub ttl: TtlPolicy,
    /// Whether one request fetches for all.
    pub collapse: bool,
    /// How many variants of a key are kept.
    pub max_variants: usize,
    /// Whether a client's directives are obeyed.
    pub honor_client: bool,
    /// Whether `Accept-Language` is compared by meaning.
    pub match_language: bool,
    /// Whether responses with `Set-Cookie` are stored.
    pub store_set_cookie: bool,
}

/// How long responses are fresh, and stale but useful.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TtlPolicy {
    /// Where the origin says nothing.
    pub default: Duration,
    /// The same for single statuses, sorted by status.
    pub by_status: Box<[(u16, Duration)]>,
    /// Whatever the origin says.
    pub override_: Option<Duration>,
    /// The longest lifetime believed.
    pub max: Option<Duration>,
    /// Whether a lifetime is guessed from `Last-Modified`.
    pub heuristic: bool,
    /// Where the origin says nothing of its own.
    pub stale_while_revalidate: Duration,
    /// Where the origin says nothing of its own.
    pub stale_if_error: Duration,
    /// When admission refuses.
    pub stale_on_overload: Duration,
}

impl TtlPolicy {
    /// What `ttl.by_status` says of a status.
    pub fn by_status(&self, status: StatusCode) -> Option<Duration> {
        let at = self.by_status.binary_search_by_key(&status.as_u16(), |(status, _)| *status).ok()?;
        self.by_status.get(at).map(|(_, ttl)| *ttl)
    }
}

/// More variants than this make every look-up of their key slow.
const VARIANTS_MAX: u32 = 1024;

/// Validates a route's config at `at`.
pub fn plan(config: &CacheConfig, at: &Path, report: &mut Report) -> CachePlan {
    let (get, head) = plan_methods(&config.methods, &at.key("methods"), report);
    let mut max_variants = config.max_variants;
    if max_variants == 0 || max_variants > VARIANTS_MAX {
        report.error_with_hint(
            &at.key("max_variants"),
            format!("{max_variants} variants: at least 1 and at most {VARIANTS_MAX}"),
            "to keep nothing, write `enabled = false`",
        );
        max_variants = max_variants.clamp(1, VARIANTS_MAX);
    }
    CachePlan {
        enabled: config.enabled,
        get,
        head,
        key: plan_key(&config.key, &at.key("key"), report),
        ttl: plan_ttl(config, &at.key("ttl"), report),
        collapse: config.collapse,
        max_variants: usize::try_from(max_variants).unwrap_or(1),
        honor_client: config.honor_client_no_cache,
        match_language: config.match_language,
        store_set_cookie: config.store_set_cookie,
    }
}

fn plan_methods(methods: &[String], at: &Path, report: &mut Report) -> (bool, bool) {
    let (mut get, mut head) = (false, false);
    for (index, method) in methods.iter().enumerate() {
        match method.as_str() {
            "GET" => get = true,
            "HEAD" => head = true,
            other => {
                let hint = match other.to_ascii_uppercase().as_str() {
                    "GET" | "HEAD" => "methods are written in capitals".to_owned(),
                    _ => "only GET and HEAD are answered from the store".to_owned(),
                };
                report.error_with_hint(&at.index(index), format!("`{other}` cannot be cached"), hint);
            }
        }
    }
    if head && !get {
        report.warn(
            at,
            "HEAD is answered by what GETs have stored, and no GET stores anything here",
            "add \"GET\"",
        );
    }
    (get, head)
}

fn plan_ttl(config: &CacheConfig, at: &Path, report: &mut Report) -> TtlPolicy {
    let TtlConfig { default, by_status, override_, max } = &config.ttl;
    if let (Some(fixed), Some(max)) = (override_, max)
        && fixed > max
    {
        report.warn(
            &at.key("override"),
            format!("`max` cuts this to {max}"),
            "make `max` larger, or leave it out",
        );
    }
    let mut statuses: Vec<(u16, Duration)> = Vec::with_capacity(by_status.len());
    for (text, ttl) in by_status {
        let at = at.key("by_status").key(text);
        match text.parse::<u16>() {
            Ok(206 | 304 | 412 | 416) => {
                report.error(&at, format!("a {text} answers one request only and is never stored"));
            }
            Ok(status @ 200..=599) => statuses.push((status, ttl.get())),
            _ => report.error_with_hint(
                &at,
                format!("`{text}` is no status of a response"),
                "write one status from 200 to 599, like \"404\"",
            ),
        }
    }
    statuses.sort_unstable();
    statuses.dedup_by_key(|(status, _)| *status);
    TtlPolicy {
        default: default.get(),
        by_status: statuses.into(),
        override_: override_.map(|ttl| ttl.get()),
        max: max.map(|ttl| ttl.get()),
        heuristic: config.heuristic,
        stale_while_revalidate: config.stale_while_revalidate.get(),
        stale_if_error: config.stale_if_error.get(),
        stale_on_overload: config.stale_on_overload.get(),
    }
}

fn plan_key(config: &KeyConfig, at: &Path, report: &mut Report) -> KeyRules {
    let QueryKeyConfig { ignore, only, sort } = &config.query;
    let query = (!ignore.is_empty() || !only.is_empty() || *sort).then(|| QueryRules {
        ignore: plan_patterns(ignore, &at.key("query").key("ignore"), report),
        only: plan_patterns(only, &at.key("query").key("only"), report),
        sort: *sort,
    });
    let mut headers = Vec::with_capacity(config.headers.len());
    for (index, text) in config.headers.iter().enumerate() {
        let at = at.key("headers").index(index);
        match text.parse::<HeaderName>() {
            Err(_) => report.error(&at, format!("`{text}` is no field name")),
            Ok(HOST) => report.error_with_hint(&at, "the host is no field here", "write `host = true`"),
            Ok(name) => {
                if name == COOKIE {
                    report.warn(
                        &at,
                        "hardly two clients send the same cookies",
                        "name those that count: `cookies`",
                    );
                }
                headers.push(name);
            }
        }
    }
    let mut cookies: Vec<Box<str>> = Vec::with_capacity(config.cookies.len());
    for (index, text) in config.cookies.iter().enumerate() {
        if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte >= 127 || b"=;,\"".contains(&byte))
        {
            report.error(&at.key("cookies").index(index), format!("`{text}` is no cookie name"));
        } else {
            cookies.push(text.as_str().into());
        }
    }
    headers.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    headers.dedup();
    cookies.sort_unstable();
    cookies.dedup();
    KeyRules { host: config.host, query, headers: headers.into(), cookies: cookies.into() }
}

fn plan_patterns(texts: &[String], at: &Path, report: &mut Report) -> Box<[Pattern]> {
    let mut patterns = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match Pattern::parse(text) {
            Some(pattern) => patterns.push(pattern),
            None => report.error_with_hint(
                &at.index(index),
                format!("`{text}` is no parameter name"),
                "a name, or the beginning of names with `*` at its end, like \"utm_*\"",
            ),
        }
    }
    patterns.into()
}
