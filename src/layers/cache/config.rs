//! What the user writes in `[route.cache]`, and process-wide in `[cache]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Time};

use super::purge::config::PurgeConfig;

/// The store, one for the process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// How much it may hold, keys, fields and bookkeeping included.
    pub memory: Size,
    /// The largest response body that is stored.
    pub max_object: Size,
    /// What stays when room is short.
    pub eviction: EvictionPolicy,
    /// Who may purge with the method `PURGE`, on routes that do not say it.
    pub purge: PurgeConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            memory: Size::mib(256),
            max_object: Size::mib(8),
            eviction: EvictionPolicy::Cost,
            purge: PurgeConfig::default(),
        }
    }
}

/// What stays when room is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvictionPolicy {
    /// What is asked for often, and of what is asked for equally often that which the origin took longer for:
    /// an arrival counts as up to eight uses, by its cost in proportion to others'. The origin is spared more
    /// work, and about as many requests are hits.
    #[default]
    Cost,
    /// What is asked for often, whatever it cost: the most hits.
    Popularity,
}

/// How a route's responses are cached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Whether they are at all.
    pub enabled: bool,
    /// Methods answered from the store: `GET`, `HEAD`, and with `key.body` also `POST`.
    pub methods: Vec<String>,
    /// What makes two requests the same.
    pub key: KeyConfig,
    /// How long responses are fresh, where the origin does not decide.
    pub ttl: TtlConfig,
    /// Guess a lifetime from `Last-Modified` where the origin says nothing (RFC 9111 §4.2.2).
    pub heuristic: bool,
    /// How long a stale entry is served while it is revalidated in the background, when the origin says
    /// nothing.
    pub stale_while_revalidate: Time,
    /// How long a stale entry is served when the origin fails, when the origin says nothing.
    pub stale_if_error: Time,
    /// The statuses of an origin in trouble: a stale entry is served in their place, as far as
    /// `stale_if_error` and the origin allow, and those who wait for the same answer ask once more, together.
    pub stale_on_status: Vec<u16>,
    /// How long a stale entry is served when admission refuses.
    pub stale_on_overload: Time,
    /// Whether a response with `s-maxage` may be served stale. RFC 9111 §5.2.2.10 lets `s-maxage` forbid it
    /// like `proxy-revalidate`.
    pub s_maxage_stale: SMaxageStale,
    /// Refresh what is asked for often in the background shortly before it is stale, so that no client waits
    /// for it: entries whose clients would wait a second together in the last tenth of their lifetime.
    pub refresh_ahead: bool,
    /// Let one request fetch for all that ask for the same at the same time.
    pub collapse: bool,
    /// How many variants (`Vary`) of a key are kept: those stored or confirmed last. The first time that a
    /// route drops one it says so in the log; `forebay_cache_variants_dropped_total` counts them.
    pub max_variants: u32,
    /// Where none of a key's stored variants answers a request, ask the origin whether one of them is what it
    /// would send, by their strong entity tags: it saves the content where `Vary` names more than matters.
    /// For origins whose 304 has all fields that depend on the request. What varies on `Origin` is left out.
    pub validate_variants: bool,
    /// Obey a client's `Cache-Control`: `no-cache`, `max-age`, `min-fresh`, `no-store`, ...
    pub honor_client_no_cache: bool,
    /// What a request for a range of something that is not stored does.
    pub ranges: Ranges,
    /// With `ranges = "parts"`: keep a partial answer that is not simply what was asked for (another part, one
    /// of a whole whose length is unknown, several, or one with more or fewer bytes than it says) and give it
    /// to those who ask for exactly the same range, as it came.
    pub repeat_parts: bool,
    /// Compare `Accept-Language` by meaning where a response varies on it: the order of equally liked
    /// languages does not count, and a stored response in the language that a client likes best answers it.
    pub match_language: bool,
    /// Which request fields are brought into one form, for the origin too.
    pub normalize: NormalizeConfig,
    /// Response fields whose values are tags to purge by, separated by commas; tags in them are separated by
    /// blanks or commas. Empty: none. `Cache-Groups` (RFC 9875) is always heeded.
    pub tags_header: String,
    /// Take those fields out of answers, for they are only for us.
    pub strip_tags: bool,
    /// Whether answers to requests with `Authorization` are stored.
    pub authorization: AuthorizationUse,
    /// Whether answers to requests with `Cookie` are stored, where `key.cookies` names none.
    pub cookie: CookieUse,
    /// What is used in place of the origin's `Cache-Control`, and of every other field that says how long
    /// an answer is fresh, like `"public, max-age=60"`; clients get it too. It holds for the statuses 200,
    /// 203, 204, 206, 300, 301, 304 and 308, and overrules `no-store` and `private`.
    pub cache_control: Option<String>,
    /// Requests that the cache leaves alone: not looked up, not stored.
    pub bypass: BypassConfig,
    /// Who may purge the route with the method `PURGE`; `cache.purge` if not given.
    pub purge: Option<PurgeConfig>,
    /// Store responses with `Set-Cookie`, cookie included: every client that gets the entry gets the cookie.
    pub store_set_cookie: bool,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            key: KeyConfig::default(),
            ttl: TtlConfig::default(),
            heuristic: false,
            stale_while_revalidate: Time::secs(0),
            stale_if_error: Time::secs(300),
            stale_on_status: vec![500, 502, 503, 504],
            stale_on_overload: Time::secs(300),
            s_maxage_stale: SMaxageStale::Explicit,
            refresh_ahead: false,
            collapse: true,
            max_variants: 32,
            validate_variants: false,
            honor_client_no_cache: true,
            ranges: Ranges::Whole,
            repeat_parts: false,
            match_language: false,
            normalize: NormalizeConfig::default(),
            tags_header: "surrogate-key, cache-tag".to_owned(),
            strip_tags: true,
            authorization: AuthorizationUse::Explicit,
            cookie: CookieUse::Explicit,
            cache_control: None,
            bypass: BypassConfig::default(),
            purge: None,
            store_set_cookie: false,
        }
    }
}

/// Whether a response with `s-maxage` may be served stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SMaxageStale {
    /// Never: the RFC to the letter.
    Never,
    /// As long as the response itself says, with `stale-while-revalidate` or `stale-if-error`.
    #[default]
    Explicit,
    /// As any other: this file's windows and a client's `max-stale` hold for it too.
    Always,
}

/// Whether answers to requests with `Authorization` are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationUse {
    /// Only those that say `public`, `s-maxage` or `must-revalidate`, and then for everybody (RFC 9111 §3.5).
    #[default]
    Explicit,
    /// As others, each for requests with the same `Authorization` alone.
    Keyed,
    /// As others, and for everybody: the field says nothing of who asks, like a key that all clients share.
    Shared,
}

/// Whether answers to requests with `Cookie` are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CookieUse {
    /// Only those of which the origin itself says that or how long they may be stored: not by `ttl` or
    /// `heuristic` alone. An answer that says nothing may be made for one user.
    #[default]
    Explicit,
    /// As others, and for everybody: no answer depends on cookies.
    Shared,
}

/// Requests that the cache leaves alone. In cookie names and paths `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BypassConfig {
    /// Those with one of these fields.
    pub headers: Vec<String>,
    /// Those with a cookie of one of these names, like `session*`.
    pub cookies: Vec<String>,
    /// Those with one of these paths, like `/admin/*`; the query does not count.
    pub paths: Vec<String>,
}

/// What makes two requests the same: method class, scheme, host and path always; this on top.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// Which parts of the query count.
    pub query: QueryKeyConfig,
    /// Request fields whose values are part of the key.
    pub headers: Vec<String>,
    /// Cookies whose values are part of the key.
    pub cookies: Vec<String>,
    /// Whether the host is part of the key.
    pub host: bool,
    /// Take every POST for a query, like those of GraphQL, and answer it by a digest of its content, up to
    /// this size; `methods` must name `POST`. Requests that change things must not come to such a route.
    pub body: Option<Size>,
}

impl Default for KeyConfig {
    fn default() -> Self {
        Self {
            query: QueryKeyConfig::default(),
            headers: Vec::new(),
            cookies: Vec::new(),
            host: true,
            body: None,
        }
    }
}

/// What a request for a range of something that is not stored does. What is stored whole answers every range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ranges {
    /// It fetches the whole, which is stored, and gets its part of it.
    #[default]
    Whole,
    /// It fetches that range. Parts are stored; those with the same strong validator are put together, and
    /// what is missing of them is fetched when somebody asks for more. Several ranges at once are sent on as
    /// they are.
    Parts,
    /// It is sent on as it is, and its answer is not stored.
    Pass,
}

/// Which request fields are brought into one form before they select a variant. The origin gets them in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeConfig {
    /// `Accept-Encoding`: those of `zstd`, `br` and `gzip` that the client takes, in this order and without
    /// weights, or `identity`.
    pub accept_encoding: bool,
    /// `Accept-Language`: the one of these that the client likes best, or no such field if it likes none;
    /// empty leaves the field as it is. Of those it likes equally, the first one here.
    pub accept_language: Vec<String>,
}

/// Which parts of the query count. The origin always gets the query as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueryKeyConfig {
    /// Parameters that do not count; `utm_*` ignores all that begin with `utm_`. `"@tracking"` stands for
    /// what campaigns and click counters add: `utm_*`, `mtm_*`, `gclid`, `gclsrc`, `dclid`, `gbraid`,
    /// `wbraid`, `gad_source`, `gad_campaignid`, `srsltid`, `_ga`, `_gl`, `fbclid`, `igshid`, `igsh`,
    /// `msclkid`, `yclid`, `ysclid`, `ymclid`, `twclid`, `ttclid`, `li_fat_id`, `epik`, `rdt_cid`, `ScCid`,
    /// `mc_cid`, `mc_eid`, `mkt_tok`, `_hsenc`, `_hsmi`, `__hstc`, `__hssc`, `__hsfp`, `hsCtaTracking`,
    /// `vero_id`, `vero_conv`, `oly_anon_id`, `oly_enc_id`, `s_kwcid`, `wickedid`, `pk_campaign`, `pk_kwd`,
    /// `pk_source`, `pk_medium`, `pk_content`, `pk_cid`.
    pub ignore: Vec<String>,
    /// If not empty: the only parameters that count.
    pub only: Vec<String>,
    /// Whether the order of parameters does not count.
    pub sort: bool,
    /// Heed `No-Vary-Search`: a response answers requests whose queries differ in nothing but what that field
    /// says does not matter. What makes one URL invalid, or purges it, does so for its path then, whatever
    /// the query. Not with `ranges = "parts"`.
    pub no_vary_search: bool,
}

/// How long responses are fresh.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TtlConfig {
    /// Where the origin says nothing; `"0s"` does not store such responses.
    pub default: Time,
    /// The same for one status, like `"404" = "10s"`: negative caching. It holds for errors too; what keeps
    /// an answer out of the store (`no-store`, `private`, `Set-Cookie`, ...) still does.
    pub by_status: BTreeMap<String, Time>,
    /// Whatever the origin says (except `no-store` and `private`).
    #[serde(rename = "override")]
    pub override_: Option<Time>,
    /// The longest lifetime believed.
    pub max: Option<Time>,
}

impl Default for TtlConfig {
    fn default() -> Self {
        Self { default: Time::secs(0), by_status: BTreeMap::new(), override_: None, max: None }
    }
}
