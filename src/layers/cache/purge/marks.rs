//! What an entry carries to be judged by: how far it is known not to be purged, its URL, its tags.

use std::sync::atomic::{AtomicU64, Ordering};

/// The marks of a stored response; 32 bytes, and eight a tag.
#[derive(Debug, Default)]
pub struct Marks {
    /// No purge up to this generation took it.
    since: AtomicU64,
    /// The hash of the URL that brought it.
    url: u64,
    /// The hashes of its tags.
    tags: Box<[Tag]>,
}

impl Clone for Marks {
    fn clone(&self) -> Self {
        Self { since: self.since().into(), url: self.url, tags: self.tags.clone() }
    }
}

/// A tag's hash, and which kind of tag it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(u64);

/// Set in the hash of a group.
const GROUP: u64 = 1 << 63;

impl Tag {
    /// In place of the tags of a response that has more than are kept: every purge of a tag takes it.
    pub const ANY: Self = Self(u64::MAX);

    /// A tag of the operator's, as in `Surrogate-Key`.
    pub const fn own(hash: u64) -> Self {
        Self(hash & !GROUP)
    }

    /// A group of its origin's (RFC 9875).
    pub const fn group(hash: u64) -> Self {
        Self(hash | GROUP)
    }

    /// Whether it is a group.
    pub const fn is_group(self) -> bool {
        self.0 & GROUP != 0
    }

    /// The hash, of whichever kind it is.
    pub const fn hash(self) -> u64 {
        self.0 & !GROUP
    }
}

impl Marks {
    /// The marks of a response whose request was sent in this generation.
    pub const fn new(since: u64, url: u64, tags: Box<[Tag]>) -> Self {
        Self { since: AtomicU64::new(since), url, tags }
    }

    /// Up to which generation no purge took it.
    pub fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Remembers that no purge up to this generation took it.
    pub(super) fn passed(&self, generation: u64) {
        self.since.store(generation, Ordering::Relaxed);
    }

    /// The hash of the URL that brought it.
    pub const fn url(&self) -> u64 {
        self.url
    }

    /// Its tags.
    pub const fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// How many bytes they take beyond their own struct.
    pub fn weight(&self) -> usize {
        size_of_val(&*self.tags)
    }
}
