//! The generations of purges, and the judgement of entries.
//!
//! A purge writes its number where entries will look before it makes the number known, so whoever sees the
//! new number sees the purge. A response belongs to the generation in which its request was sent: a purge
//! that comes while it is on its way is newer, and takes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use ahash::RandomState;

use crate::http::{Scheme, Target};

use super::marks::{Marks, Tag};
use super::sketch::Sketch;

/// How thoroughly something is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It is stale from now on: to be validated, and good in an emergency.
    Soft,
    /// It is never used again.
    Hard,
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

/// What kind of name is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Everything, or everything of a route.
    All,
    /// A URL, with all its variants.
    Url,
    /// All URLs that begin alike.
    Prefix,
    /// A tag of the operator's.
    Tag,
    /// A group of an origin's (RFC 9875).
    Group,
}

impl Kind {
    const ALL: [Self; 5] = [Self::All, Self::Url, Self::Prefix, Self::Tag, Self::Group];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Url => "url",
            Self::Prefix => "prefix",
            Self::Tag => "tag",
            Self::Group => "group",
        }
    }
}

/// Something to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    kind: Kind,
    hash: u64,
}

/// Where a request looks for an entry: what decides, with the entry's marks, which names the entry has.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The route's namespace.
    pub namespace: u64,
    /// Whether entries are kept apart by host.
    pub by_host: bool,
    /// What is asked for.
    pub target: &'a Target,
}

impl Site<'_> {
    /// The host and port that tell entries apart, if they do.
    fn authority(&self) -> &[u8] {
        if self.by_host { self.target.authority.as_bytes() } else { b"" }
    }
}

/// The namespace of names that hold for all routes.
const EVERYWHERE: u64 = 0;

/// How many segments of a prefix count.
const SEGMENTS: usize = 32;

/// All purges of the process, as far as they matter.
///
/// Alone on its cache line: every hit reads the generation, and hardly anybody ever writes it.
#[derive(Debug)]
#[repr(align(64))]
pub struct Purges {
    generation: AtomicU64,
    /// In which generation something of each kind was last purged.
    newest: [AtomicU64; Kind::ALL.len()],
    /// Made by the first purge.
    sketch: OnceLock<Sketch>,
    hasher: RandomState,
    writer: Mutex<()>,
}

impl Default for Purges {
    fn default() -> Self {
        Self {
            generation: AtomicU64::new(1),
            newest: Default::default(),
            sketch: OnceLock::new(),
            hasher: RandomState::new(),
            writer: Mutex::new(()),
        }
    }
}

impl Purges {
    /// The generation, for comparison with what an entry was judged in: a purge that is being made may not be
    /// seen yet.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The generation of a request that is about to be sent.
    pub fn begin(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Purges names, all at once; returns the generation. What is sent for from now on is not concerned.
    pub fn purge(&self, names: &[Name], mode: Mode) -> u64 {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let sketch = self.sketch.get_or_init(Sketch::new);
        for name in names {
            sketch.raise(name.hash, mode, generation);
            self.newest_of(name.kind).store(generation, Ordering::Release);
        }
        self.generation.store(generation, Ordering::Release);
        generation
    }

    /// Whether something with these marks, found at `site`, was purged, and how thoroughly. What was not is
    /// marked, so that it is not judged again before the next purge.
    pub fn judge(&self, marks: &Marks, site: &Site<'_>) -> Option<Mode> {
        let generation = self.generation.load(Ordering::Acquire);
        if marks.since() == generation {
            return None;
        }
        let verdict = self.sketch.get().and_then(|sketch| self.verdict(sketch, marks, site));
        if verdict.is_none() {
            marks.passed(generation);
        }
        verdict
    }

    fn verdict(&self, sketch: &Sketch, marks: &Marks, site: &Site<'_>) -> Option<Mode> {
        let since = marks.since();
        let mut verdict = None;
        let mut look = |name: Name| {
            for mode in [Mode::Soft, Mode::Hard] {
                if verdict < Some(mode) && sketch.last(name.hash, mode) > since {
                    verdict = Some(mode);
                }
            }
        };
        let lately = |kind| self.newest_of(kind).load(Ordering::Acquire) > since;
        if lately(Kind::All) {
            look(self.everything(None));
            look(self.everything(Some(site.namespace)));
        }
        if lately(Kind::Url) {
            look(Name { kind: Kind::Url, hash: marks.url() });
        }
        if lately(Kind::Prefix) {
            self.prefixes(site, |name, _| look(name));
        }
        if lately(Kind::Tag) {
            for tag in marks.tags() {
                look(self.tag_in(None, tag.hash()));
                look(self.tag_in(Some(site.namespace), tag.hash()));
            }
        }
        if lately(Kind::Group) {
            for tag in marks.tags().iter().filter(|tag| tag.is_group()) {
                look(self.group_of(site, tag.hash()));
            }
        }
        verdict
    }

    /// The hash of a URL, for an entry's marks and for [`url`](Self::url): of the part of the key that only
    /// the URL decides.
    pub fn url_hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one((Kind::Url, key))
    }

    /// The hash of a tag.
    pub fn tag_hash(&self, tag: &[u8]) -> u64 {
        self.hasher.hash_one(tag)
    }

    /// Everything, or everything of a route.
    pub fn everything(&self, namespace: Option<u64>) -> Name {
        Name { kind: Kind::All, hash: self.hash(Kind::All, namespace.unwrap_or(EVERYWHERE)) }
    }

    /// A URL, by its [hash](Self::url_hash).
    pub const fn url(hash: u64) -> Name {
        Name { kind: Kind::Url, hash }
    }

    /// A tag or group of whichever origin, everywhere or of a route: its names, to be purged together.
    pub fn tag(&self, namespace: Option<u64>, tag: &[u8]) -> [Name; 2] {
        let any = Tag::ANY.hash();
        [self.tag_in(namespace, Tag::own(self.tag_hash(tag)).hash()), self.tag_in(namespace, any)]
    }

    /// A group of the origin of `site` (RFC 9875 §2.1): its names, to be purged together.
    pub fn group(&self, site: &Site<'_>, group: &[u8]) -> [Name; 4] {
        let (named, any) = (Tag::group(self.tag_hash(group)).hash(), Tag::ANY.hash());
        // Where entries are not kept apart by host, an entry may be of any of them.
        let anywhere = &Site { by_host: false, ..*site };
        let origin = &Site { by_host: true, ..*site };
        [(origin, named), (anywhere, named), (origin, any), (anywhere, any)]
            .map(|(site, hash)| self.group_of(site, hash))
    }

    /// All of a site's URLs whose path begins with the site's, segment by segment.
    pub fn prefix(&self, site: &Site<'_>) -> Name {
        let mut last = self.everything(Some(site.namespace));
        self.prefixes(site, |name, whole| {
            if whole {
                last = name;
            }
        });
        last
    }

    /// All prefixes of a site's path; with the last one, whether it is the path itself.
    fn prefixes(&self, site: &Site<'_>, mut each: impl FnMut(Name, bool)) {
        use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

        let mut hasher = self.hasher.build_hasher();
        (Kind::Prefix, site.namespace, site.authority()).hash(&mut hasher);
        let name = |hasher: &ahash::AHasher, slash: bool| {
            let mut hasher = hasher.clone();
            slash.hash(&mut hasher);
            Name { kind: Kind::Prefix, hash: hasher.finish() }
        };
        let path = site.target.path();
        let mut left = Some(path.strip_prefix('/').unwrap_or(path));
        each(name(&hasher, true), left == Some(""));
        for count in 1..=SEGMENTS {
            let Some(text) = left.filter(|text| !text.is_empty()) else { return };
            let (segment, next) = match text.split_once('/') {
                Some((segment, next)) => (segment, Some(next)),
                None => (text, None),
            };
            segment.hash(&mut hasher);
            each(name(&hasher, false), next.is_none() || count == SEGMENTS);
            if let Some(next) = next.filter(|_| count < SEGMENTS) {
                each(name(&hasher, true), next.is_empty());
            }
            left = next;
        }
    }

    fn tag_in(&self, namespace: Option<u64>, tag: u64) -> Name {
        let hash = self.hasher.hash_one((Kind::Tag, namespace.unwrap_or(EVERYWHERE), tag));
        Name { kind: Kind::Tag, hash }
    }

    fn group_of(&self, site: &Site<'_>, group: u64) -> Name {
        let secure = site.target.scheme == Scheme::Https;
        let hash = self.hasher.hash_one((Kind::Group, secure, site.authority(), group));
        Name { kind: Kind::Group, hash }
    }

    fn hash(&self, kind: Kind, namespace: u64) -> u64 {
        self.hasher.hash_one((kind, namespace))
    }

    fn newest_of(&self, kind: Kind) -> &AtomicU64 {
        let [all, url, prefix, tag, group] = &self.newest;
        match kind {
            Kind::All => all,
            Kind::Url => url,
            Kind::Prefix => prefix,
            Kind::Tag => tag,
            Kind::Group => group,
        }
    }
}
