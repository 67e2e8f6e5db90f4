//! What is stored under a URL, told to an operator.

use http::HeaderMap;
use http::header::VARY;

use crate::clock::Wall;
use crate::http::{Scheme, Target};

use super::super::core::Core;
use super::super::directives::RequestDirectives;
use super::super::entry::Entry;
use super::super::freshness::Freshness;
use super::control::Control;
use super::order::{StaleRights, StoredVariant, moment};
use super::tags::{self, CACHE_GROUPS};

impl Control {
    /// What is stored under a URL, of either scheme. Where fields or cookies are part of the key, it is what
    /// a request without them would find.
    pub async fn stored(&self, target: &Target, now: Wall) -> Vec<StoredVariant> {
        let core = &self.0;
        let mut found = Vec::new();
        for scheme in [Scheme::Http, Scheme::Https] {
            let target = Target { scheme, ..target.clone() };
            let mut key = Vec::new();
            let mut keys = Vec::new();
            if core.plan.no_vary_search && core.key_by_search(&mut key, &target, &HeaderMap::new()) {
                keys.push(key.clone());
            }
            core.plan.key.write(&mut key, core.namespace, &target, &HeaderMap::new());
            keys.push(key);
            for key in keys {
                let Some(slot) = core.store.get(&key).await else { continue };
                found.extend(slot.entries().map(|entry| tell(core, &target, entry, now)));
            }
        }
        found
    }
}

fn tell(core: &Core, target: &Target, entry: &Entry, now: Wall) -> StoredVariant {
    let (headers, lifetime) = (entry.headers(0), entry.lifetime());
    let [while_revalidate, if_error, on_overload] = lifetime.stale_rights().map(|window| window.as_secs());
    let purged = core.purged(entry, target);
    let fresh = lifetime.judge(&RequestDirectives::default(), now) == Freshness::Fresh;
    let vary = headers.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
    StoredVariant {
        scheme: target.scheme.as_str(),
        status: entry.status().as_u16(),
        fields: headers.keys().map(|name| name.as_str().to_owned()).collect(),
        vary: vary.flat_map(|line| line.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect(),
        body_bytes: entry.length(),
        bytes: entry.weight() as u64,
        received: moment(lifetime.received()),
        age: lifetime.age(now).as_secs(),
        fresh: fresh && purged.is_none(),
        fresh_until: moment(lifetime.fresh_until()),
        ttl: lifetime.ttl(now),
        because: lifetime.because(),
        stale: StaleRights { while_revalidate, if_error, on_overload },
        tags: entry.marks().tags().len(),
        groups: tags::strings(&headers, &CACHE_GROUPS).into_iter().map(Into::into).collect(),
        purged: purged.map(super::Mode::as_str),
    }
}
