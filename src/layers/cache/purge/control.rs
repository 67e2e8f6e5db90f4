//! What an operator can do with the cache of one route.

use std::sync::Arc;

use http::HeaderMap;

use crate::http::{Scheme, Target};

use super::super::core::Core;
use super::super::entry::Entry;
use super::super::store::Peek;
use super::generation::{Mode, Name, Purges};

/// A handle to the cache of one route. URLs are as the cache sees them: after the route has rewritten them.
#[derive(Clone, Debug)]
pub struct Control(pub(in super::super) Arc<Core>);

impl Control {
    /// What tells the route's entries from those of others.
    pub fn namespace(&self) -> u64 {
        self.0.namespace
    }

    /// Everything the route stores.
    pub fn everything(&self) -> Name {
        self.0.purges.everything(Some(self.0.namespace))
    }

    /// A URL, with all its variants, and whatever fields and cookies count for the key.
    pub fn url(&self, target: &Target) -> Name {
        Purges::url(self.0.url_hash(target))
    }

    /// How many responses are stored under a URL; none where that cannot be told at once.
    pub fn count(&self, target: &Target) -> Option<u64> {
        self.0.count(target)
    }

    /// All URLs that begin with this one, segment by segment; the query does not count.
    pub fn prefix(&self, target: &Target) -> Name {
        self.0.purges.prefix(&self.0.site(target))
    }

    /// A tag, as far as the route's entries have it.
    pub fn tag(&self, tag: &[u8]) -> [Name; 2] {
        self.0.purges.tag(Some(self.0.namespace), tag)
    }

    /// Purges these names, of this route or of others; returns the generation.
    pub fn purge(&self, names: &[Name], mode: Mode) -> u64 {
        self.0.purges.purge(names, mode)
    }
}

impl Core {
    /// How many responses are stored under a URL, where nothing else is part of the key.
    pub(super) fn count(&self, target: &Target) -> Option<u64> {
        let plan = &self.plan;
        if plan.key.tells_clients_apart() || plan.no_vary_search || plan.query_body.is_some() {
            return None;
        }
        let (mut key, mut count) = (Vec::new(), 0);
        for scheme in [Scheme::Http, Scheme::Https] {
            let target = Target { scheme, ..target.clone() };
            plan.key.write(&mut key, self.namespace, &target, &HeaderMap::new());
            let Peek::Now(slot) = self.store.peek(&key) else { return None };
            let alive = |entry: &Entry| self.purged(entry, &target) != Some(Mode::Hard);
            count += slot.map_or(0, |slot| slot.count_of(alive));
        }
        Some(count)
    }
}
