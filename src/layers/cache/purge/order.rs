//! What an operator orders, what became of it, and what is told of stored responses. The field names are an
//! interface that users' scripts read.

use serde::Serialize;

use crate::clock::Wall;
use crate::http::normalize::TargetError;

use super::generation::{Kind, Mode};

/// What to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which entries.
    pub what: What,
    /// How thoroughly.
    pub mode: Mode,
    /// Of this route alone.
    pub route: Option<String>,
}

/// Which entries. URLs are as clients write them; the scheme may be left out, and does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Those of a URL.
    Url(String),
    /// Those of all URLs that begin like this one, segment by segment.
    Prefix(String),
    /// Those with this tag or group.
    Tag(String),
    /// All.
    All,
}

impl What {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Url(_) => Kind::Url.as_str(),
            Self::Prefix(_) => Kind::Prefix.as_str(),
            Self::Tag(_) => Kind::Tag.as_str(),
            Self::All => Kind::All.as_str(),
        }
    }
}

/// What a purge did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// What was purged: `url`, `prefix`, `tag` or `all`.
    pub purged: &'static str,
    /// `hard` or `soft`.
    pub mode: &'static str,
    /// The routes whose entries it may take.
    pub routes: Vec<String>,
    /// The generation that begins with it.
    pub generation: u64,
    /// How many responses it takes, where that is known: those under a URL whose key has nothing else in it,
    /// and all that are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Always true: no entry was touched yet, each is judged when it is next asked for.
    pub lazy: bool,
}

/// Why an order cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such route.
    #[error("there is no route `{0}`")]
    NoRoute(String),
    /// The route stores nothing.
    #[error("route `{0}` stores nothing")]
    NoCache(String),
    /// Not a URL, or not one of HTTP.
    #[error("that is no URL of ours: write `http://host/path` or `host/path`")]
    NotAUrl,
    /// A URL that no request can have.
    #[error("no request has such a URL: {0}")]
    Target(#[from] TargetError),
}

/// What a route stores under a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredHere {
    /// The route.
    pub route: String,
    /// The variants, the newest first.
    pub variants: Vec<StoredVariant>,
}

/// What is told of a stored response: never its body, nor any value of its fields but those that name other
/// fields and groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredVariant {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The status.
    pub status: u16,
    /// The names of the stored fields.
    pub fields: Vec<String>,
    /// What it varies on.
    pub vary: Vec<String>,
    /// The body's length, in bytes.
    pub body_bytes: u64,
    /// What it takes of the store, in bytes.
    pub bytes: u64,
    /// When it arrived or was last confirmed.
    pub received: String,
    /// Its age, in seconds.
    pub age: u64,
    /// Whether it answers without the origin's consent.
    pub fresh: bool,
    /// Until when it is fresh, unless it is purged.
    pub fresh_until: String,
    /// Seconds until then; negative once it is stale.
    pub ttl: i64,
    /// What gives it this lifetime: a directive, a field or a key of the config.
    pub because: &'static str,
    /// For how many seconds after that it may be used in place of a fresh one.
    pub stale: StaleRights,
    /// How many tags it has, groups included.
    pub tags: usize,
    /// Its groups (RFC 9875).
    pub groups: Vec<String>,
    /// `soft` or `hard` if it was purged.
    pub purged: Option<&'static str>,
}

/// For how many seconds a stale response may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StaleRights {
    /// While it is revalidated.
    pub while_revalidate: u64,
    /// When the origin fails.
    pub if_error: u64,
    /// When admission refuses.
    pub on_overload: u64,
}

/// A moment as text.
pub(super) fn moment(wall: Wall) -> String {
    String::from_utf8_lossy(&wall.rfc3339()).into_owned()
}
