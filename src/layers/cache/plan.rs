//! The validated plan of the cache: what the config says, checked and compiled.

use std::time::Duration;

use http::StatusCode;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue};

use crate::report::{Path, Report};
use crate::units::Size;

use super::bypass::BypassRules;
pub use super::config::Ranges;
use super::config::{
    AuthorizationUse, CacheConfig, CookieUse, EvictionPolicy, KeyConfig, QueryKeyConfig, SMaxageStale,
    StoreConfig, TtlConfig,
};
use super::directives;
use super::key::{KeyRules, Pattern, QueryRules};
use super::normalize::Normalize;
use super::post;
use super::presets;
use super::purge::{PurgePlan, tags::TagRules};
use super::trouble::Trouble;

/// The store, one for the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// How many bytes it may hold, keys, fields and bookkeeping included.
    pub memory: u64,
    /// The largest body stored, in bytes.
    pub max_object: u64,
    /// What stays when room is short.
    pub eviction: EvictionPolicy,
}

/// Validates the store's config at `at`; `limit` is what all bodies may take together.
///
/// Beside a full store there must be room for one object that arrives and for its copy in the store: without
/// it nothing could be stored any more once the store is full.
pub fn plan_store(config: &StoreConfig, limit: Size, at: &Path, report: &mut Report) -> StorePlan {
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
    if memory.saturating_add(max_object.saturating_mul(2)) > limit.bytes() {
        report.error_with_hint(
            &at.key("memory"),
            format!(
                "a store of {} and two objects of {} on their way do not fit into `server.memory_limit`, {limit}",
                config.memory, config.max_object
            ),
            "half of `server.memory_limit` is a good `memory`",
        );
    }
    StorePlan { memory, max_object, eviction: config.eviction }
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
    /// POST is, as a query of at most so many bytes.
    pub query_body: Option<u64>,
    /// What makes two requests the same.
    pub key: KeyRules,
    /// Whether responses say what of a query matters.
    pub no_vary_search: bool,
    /// How long responses are fresh and useful.
    pub ttl: TtlPolicy,
    /// The statuses of an origin in trouble.
    pub trouble: Trouble,
    /// Whether what is asked for often is refreshed before it is stale.
    pub refresh_ahead: bool,
    /// Whether one request fetches for all.
    pub collapse: bool,
    /// Whether the origin is asked about variants that a request does not select.
    pub validate_variants: bool,
    /// How many variants of a key are kept.
    pub max_variants: usize,
    /// Whether a client's directives are obeyed.
    pub honor_client: bool,
    /// What a request for a range of something that is not stored does.
    pub ranges: Ranges,
    /// Whether partial answers that cannot be placed are kept for those who ask for the same.
    pub repeat_parts: bool,
    /// Whether `Accept-Language` is compared by meaning.
    pub match_language: bool,
    /// Which request fields are brought into one form; boxed, and none for none.
    pub normalize: Option<Box<Normalize>>,
    /// Who may purge with `PURGE`.
    pub purge: PurgePlan,
    /// Which fields carry tags.
    pub tags: TagRules,
    /// Whether responses with `Set-Cookie` are stored.
    pub store_set_cookie: bool,
    /// Whether answers to requests with `Authorization` are.
    pub authorization: AuthorizationUse,
    /// Whether every request came with `Authorization`, though it has it no more.
    pub authorized: bool,
    /// Whether answers to requests with `Cookie` are.
    pub cookie: CookieUse,
    /// In place of the origin's `Cache-Control`.
    pub cache_control: Option<HeaderValue>,
    /// Which requests pass; boxed, and none for none.
    pub bypass: Option<Box<BypassRules>>,
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
    /// What `s-maxage` says of stale answers.
    pub s_maxage_stale: SMaxageStale,
}

impl TtlPolicy {
    /// Whether a response can be fresh without a word of the origin.
    pub fn is_own(&self) -> bool {
        self.heuristic || !self.default.is_zero() || !self.by_status.is_empty() || self.override_.is_some()
    }

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
    let Methods { get, head, post } = plan_methods(&config.methods, &at.key("methods"), report);
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
        query_body: post::plan(config, post, at, report),
        key: KeyRules {
            authorization: config.authorization == AuthorizationUse::Keyed,
            ..plan_key(&config.key, &at.key("key"), report)
        },
        no_vary_search: plan_search(config, &at.key("key").key("query").key("no_vary_search"), report),
        ttl: plan_ttl(config, &at.key("ttl"), report),
        trouble: Trouble::plan(&config.stale_on_status, &at.key("stale_on_status"), report),
        refresh_ahead: config.refresh_ahead,
        collapse: config.collapse,
        validate_variants: config.validate_variants,
        max_variants: usize::try_from(max_variants).unwrap_or(1),
        honor_client: config.honor_client_no_cache,
        ranges: config.ranges,
        repeat_parts: plan_repeat_parts(config, &at.key("repeat_parts"), report),
        match_language: config.match_language,
        normalize: Normalize::plan(&config.normalize, &at.key("normalize"), report),
        purge: PurgePlan::of_route(config.purge.as_ref(), &at.key("purge"), report),
        tags: TagRules::plan(config, &at.key("tags_header"), report),
        store_set_cookie: config.store_set_cookie,
        authorization: plan_authorization(config, at, report),
        authorized: false,
        cookie: if config.key.cookies.is_empty() { config.cookie } else { CookieUse::Shared },
        cache_control: plan_cache_control(config.cache_control.as_deref(), at, report),
        bypass: BypassRules::plan(&config.bypass, &at.key("bypass"), report),
    }
}

fn plan_search(config: &CacheConfig, at: &Path, report: &mut Report) -> bool {
    let search = config.key.query.no_vary_search;
    if search && config.ranges == Ranges::Parts {
        report.error_with_hint(
            at,
            "parts of a response are not looked for by what `No-Vary-Search` says",
            "write `ranges = \"whole\"`, or leave `no_vary_search` out",
        );
    }
    search
}

fn plan_repeat_parts(config: &CacheConfig, at: &Path, report: &mut Report) -> bool {
    if config.repeat_parts && config.ranges != Ranges::Parts {
        report.error_with_hint(at, "no ranges are asked for here", "write `ranges = \"parts\"` beside it");
    }
    config.repeat_parts
}

fn plan_authorization(config: &CacheConfig, at: &Path, report: &mut Report) -> AuthorizationUse {
    let named = config.key.headers.iter().any(|name| name.eq_ignore_ascii_case(AUTHORIZATION.as_str()));
    if named && config.authorization == AuthorizationUse::Explicit {
        report.warn(
            &at.key("key").key("headers"),
            "`authorization` in the key does not make answers to requests with it storable",
            "write `authorization = \"keyed\"` instead",
        );
    }
    config.authorization
}

fn plan_cache_control(text: Option<&str>, at: &Path, report: &mut Report) -> Option<HeaderValue> {
    let text = text?;
    let at = at.key("cache_control");
    let value = HeaderValue::from_str(text).ok();
    match value.as_ref().map(directives::check) {
        None => report.error(&at, "this is no value of a field"),
        Some(Err(problem)) => report.error_with_hint(&at, problem, "write it like \"public, max-age=60\""),
        Some(Ok(())) => {}
    }
    value
}

/// Which methods are answered from the store.
#[derive(Default)]
struct Methods {
    get: bool,
    head: bool,
    post: bool,
}

fn plan_methods(methods: &[String], at: &Path, report: &mut Report) -> Methods {
    let Methods { mut get, mut head, mut post } = Methods::default();
    for (index, method) in methods.iter().enumerate() {
        match method.as_str() {
            "GET" => get = true,
            "HEAD" => head = true,
            "POST" => post = true,
            other => {
                let hint = match other.to_ascii_uppercase().as_str() {
                    "GET" | "HEAD" | "POST" => "methods are written in capitals".to_owned(),
                    _ => "only GET, HEAD and POST are answered from the store".to_owned(),
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
    Methods { get, head, post }
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
        s_maxage_stale: config.s_maxage_stale,
    }
}

fn plan_key(config: &KeyConfig, at: &Path, report: &mut Report) -> KeyRules {
    let QueryKeyConfig { ignore, only, sort, .. } = &config.query;
    let query = (!ignore.is_empty() || !only.is_empty() || *sort).then(|| QueryRules {
        ignore: plan_patterns(ignore, presets::find, &at.key("query").key("ignore"), report),
        only: plan_patterns(only, |_| None, &at.key("query").key("only"), report),
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
    KeyRules {
        host: config.host,
        query,
        headers: headers.into(),
        cookies: cookies.into(),
        authorization: false,
    }
}

fn plan_patterns(
    texts: &[String],
    preset: fn(&str) -> Option<&'static [&'static str]>,
    at: &Path,
    report: &mut Report,
) -> Box<[Pattern]> {
    let mut patterns = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        if let Some(names) = preset(text) {
            patterns.extend(names.iter().filter_map(|name| Pattern::parse(name)));
            continue;
        }
        if text.starts_with('@') {
            let known = presets::PRESETS.map(|preset| format!("`ignore = [\"{}\"]`", preset.name)).join(", ");
            report.error_with_hint(
                &at.index(index),
                format!("there is no list `{text}` here"),
                format!("what begins with `@` is a list of names: {known}"),
            );
            continue;
        }
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

#[cfg(test)]
mod tests {
    use crate::report::Severity;
    use crate::units::Time;

    use super::*;

    fn problems(change: impl FnOnce(&mut CacheConfig)) -> Vec<(String, Severity)> {
        let mut config = CacheConfig::default();
        change(&mut config);
        let mut report = Report::new();
        plan(&config, &Path::root().key("cache"), &mut report);
        report.problems().iter().map(|problem| (problem.path.to_string(), problem.severity)).collect()
    }

    #[test]
    fn the_default_is_fine() {
        assert!(problems(|_| {}).is_empty());
        let plan = plan(&CacheConfig::default(), &Path::root(), &mut Report::new());
        assert!(plan.enabled && plan.get && plan.head && plan.honor_client && !plan.store_set_cookie);
        assert_eq!(plan.key, KeyRules::default());
    }

    #[test]
    fn authorization_in_the_key_alone_is_no_use() {
        for (mode, warned) in [(AuthorizationUse::Explicit, true), (AuthorizationUse::Keyed, false)] {
            let found = problems(|config| {
                config.key.headers.push("Authorization".to_owned());
                config.authorization = mode;
            });
            let expected = [("cache.key.headers".to_owned(), Severity::Warning)];
            assert_eq!(found, if warned { &expected[..] } else { &[] }, "{mode:?}");
        }
    }

    #[test]
    fn parts_are_not_found_by_what_responses_say_of_queries() {
        for ranges in [Ranges::Whole, Ranges::Pass, Ranges::Parts] {
            let found = problems(|config| {
                config.key.query.no_vary_search = true;
                config.ranges = ranges;
            });
            let expected = [("cache.key.query.no_vary_search".to_owned(), Severity::Error)];
            assert_eq!(found, if ranges == Ranges::Parts { &expected[..] } else { &[] }, "{ranges:?}");
        }
    }

    #[test]
    fn partial_answers_are_repeated_only_where_ranges_are_asked_for() {
        for ranges in [Ranges::Whole, Ranges::Pass, Ranges::Parts] {
            let found = problems(|config| {
                config.repeat_parts = true;
                config.ranges = ranges;
            });
            let expected = [("cache.repeat_parts".to_owned(), Severity::Error)];
            assert_eq!(found, if ranges == Ranges::Parts { &[] } else { &expected[..] }, "{ranges:?}");
        }
    }

    #[test]
    fn posts_are_answered_by_their_content_or_not_at_all() {
        for (post, body, path) in [
            (true, Some(Size::kib(64)), None),
            (false, None, None),
            (true, None, Some("cache.methods")),
            (false, Some(Size::kib(64)), Some("cache.key.body")),
            (true, Some(Size::mib(2)), Some("cache.key.body")),
            (true, Some(Size::kib(0)), Some("cache.key.body")),
        ] {
            let found = problems(|config| {
                config.methods.extend(post.then(|| "POST".to_owned()));
                config.key.body = body;
            });
            let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
            assert_eq!(paths, path.as_slice(), "{post} {body:?}");
        }
    }

    #[test]
    fn every_problem_is_reported_where_it_stands() {
        let text = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = problems(|config| {
            config.methods = text(&["GET", "PUT", "head"]);
            config.cache_control = Some("max-age=a".to_owned());
            config.bypass.paths = text(&["/a", "a"]);
            config.max_variants = 0;
            config.normalize.accept_language = text(&["en", "en_GB", "*"]);
            config.stale_on_status = vec![503, 200, 404, 600];
            config.key.query.ignore = text(&["utm_*", "*utm", "@tracking", "@trucking"]);
            config.key.query.only = text(&["", "a", "@tracking"]);
            config.key.headers = text(&["x-a", "a b", "Host"]);
            config.key.cookies = text(&["a", "b=c", ""]);
            config.tags_header = "a b, x-tag,".to_owned();
            for status in ["206", "404", "4xx", "99", "600"] {
                config.ttl.by_status.insert(status.to_owned(), Time::secs(1));
            }
        });
        let mut paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "cache.bypass.paths[1]",
                "cache.cache_control",
                "cache.key.cookies[1]",
                "cache.key.cookies[2]",
                "cache.key.headers[1]",
                "cache.key.headers[2]",
                "cache.key.query.ignore[1]",
                "cache.key.query.ignore[3]",
                "cache.key.query.only[0]",
                "cache.key.query.only[2]",
                "cache.max_variants",
                "cache.methods[1]",
                "cache.methods[2]",
                "cache.normalize.accept_language[1]",
                "cache.normalize.accept_language[2]",
                "cache.stale_on_status[1]",
                "cache.stale_on_status[3]",
                "cache.tags_header",
                "cache.ttl.by_status.206",
                "cache.ttl.by_status.4xx",
                "cache.ttl.by_status.600",
                "cache.ttl.by_status.99",
            ]
        );
        assert!(found.iter().all(|(_, severity)| *severity == Severity::Error));
    }

    #[test]
    fn what_is_odd_is_a_warning() {
        for found in [
            problems(|config| config.methods = vec!["HEAD".to_owned()]),
            problems(|config| config.key.headers = vec!["cookie".to_owned()]),
            problems(|config| config.normalize.accept_language = vec!["en".to_owned(), "EN".to_owned()]),
            problems(|config| {
                config.ttl.override_ = Some(Time::secs(60));
                config.ttl.max = Some(Time::secs(30));
            }),
        ] {
            assert!(matches!(found.as_slice(), [(_, Severity::Warning)]), "{found:?}");
        }
    }

    #[test]
    fn equal_rules_make_equal_plans() {
        let with = |headers: &[&str]| {
            let mut config = CacheConfig::default();
            config.key.headers = headers.iter().map(ToString::to_string).collect();
            plan(&config, &Path::root(), &mut Report::new())
        };
        assert_eq!(with(&["x-a", "x-b"]), with(&["X-B", "x-a", "x-a"]));
        assert_ne!(with(&["x-a"]), with(&["x-b"]));
    }

    #[test]
    fn statuses_are_found() {
        let mut config = CacheConfig::default();
        config.ttl.by_status = [("404".to_owned(), Time::secs(4)), ("301".to_owned(), Time::secs(3))].into();
        let ttl = plan(&config, &Path::root(), &mut Report::new()).ttl;
        assert_eq!(ttl.by_status(StatusCode::NOT_FOUND), Some(Duration::from_secs(4)));
        assert_eq!(ttl.by_status(StatusCode::MOVED_PERMANENTLY), Some(Duration::from_secs(3)));
        assert_eq!(ttl.by_status(StatusCode::OK), None);
    }

    #[test]
    fn an_object_must_fit_into_the_store() {
        let mut report = Report::new();
        let config = StoreConfig { memory: Size::mib(1), max_object: Size::mib(2), ..StoreConfig::default() };
        let plan = plan_store(&config, Size::mib(512), &Path::root(), &mut report);
        assert_eq!((plan.memory, plan.max_object), (1 << 20, 1 << 20));
        assert!(report.has_errors());
        let mut report = Report::new();
        plan_store(&StoreConfig::default(), Size::mib(512), &Path::root(), &mut report);
        assert!(report.problems().is_empty());
    }

    #[test]
    fn a_store_must_fit_into_the_process() {
        for (memory, max_object, limit, fits) in
            [(256, 8, 272, true), (256, 8, 271, false), (1024, 8, 512, false), (500, 6, 512, true)]
        {
            let mut report = Report::new();
            let (memory, max_object) = (Size::mib(memory), Size::mib(max_object));
            let config = StoreConfig { memory, max_object, ..StoreConfig::default() };
            plan_store(&config, Size::mib(limit), &Path::root().key("cache"), &mut report);
            let found: Vec<_> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
            assert_eq!(found.is_empty(), fits, "{memory} {max_object} {limit}");
            assert!(fits || found == ["cache.memory"]);
        }
    }
}
