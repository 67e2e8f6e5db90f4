//! Those of one priority who wait: in turn by tenant, and within a tenant by age.
//!
//! Only tenants that wait are remembered, so there are never more of them than places in the queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ahash::RandomState;

use super::queue::Turn;

/// Which of a tenant's waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Who has waited longest.
    Oldest,
    /// Who came last.
    Newest,
    /// The one with this number.
    Number(u64),
}

/// Those of one priority who wait.
#[derive(Debug, Default)]
pub struct Class {
    tenants: HashMap<u64, Tenant, RandomState>,
    /// The tenants by when their turn comes.
    ring: BTreeMap<u64, u64>,
    /// How many wait for each tenant, and its place in the ring: the last one has most.
    sizes: BTreeSet<(usize, u64)>,
    /// The next place in the ring.
    place: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Tenant {
    place: u64,
    /// By number, which only grows: in the order of arrival.
    waiters: BTreeMap<u64, Turn>,
}

impl Class {
    /// How many wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many tenants have somebody waiting.
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// How many wait for this tenant.
    pub fn waiting_of(&self, tenant: u64) -> usize {
        self.tenants.get(&tenant).map_or(0, |tenant| tenant.waiters.len())
    }

    /// How many wait for the tenant that has most.
    pub fn most(&self) -> usize {
        self.sizes.last().map_or(0, |(size, _)| *size)
    }

    /// Takes somebody in.
    pub fn join(&mut self, tenant: u64, number: u64, turn: Turn) {
        let place = self.place;
        let known = self.tenants.entry(tenant).or_insert_with(|| {
            self.place += 1;
            self.ring.insert(place, tenant);
            Tenant { place, waiters: BTreeMap::new() }
        });
        self.sizes.remove(&(known.waiters.len(), known.place));
        known.waiters.insert(number, turn);
        self.sizes.insert((known.waiters.len(), known.place));
        self.waiting += 1;
    }

    /// Takes one of the tenant whose turn it is, which is the last in the ring then.
    pub fn next(&mut self, which: Which) -> Option<Turn> {
        let (_, tenant) = self.ring.pop_first()?;
        if let Some(known) = self.tenants.get_mut(&tenant) {
            let size = known.waiters.len();
            self.sizes.remove(&(size, known.place));
            known.place = self.place;
            self.place += 1;
            self.sizes.insert((size, known.place));
            self.ring.insert(known.place, tenant);
        }
        self.take(tenant, which)
    }

    /// Takes one of the tenant that has most waiting.
    pub fn displace(&mut self, which: Which) -> Option<Turn> {
        let (_, place) = self.sizes.last()?;
        let tenant = *self.ring.get(place)?;
        self.take(tenant, which)
    }

    /// Takes one of this tenant; `None` where it is gone.
    pub fn take(&mut self, tenant: u64, which: Which) -> Option<Turn> {
        let known = self.tenants.get_mut(&tenant)?;
        let size = known.waiters.len();
        let turn = match which {
            Which::Oldest => known.waiters.pop_first().map(|(_, turn)| turn),
            Which::Newest => known.waiters.pop_last().map(|(_, turn)| turn),
            Which::Number(number) => known.waiters.remove(&number),
        }?;
        let place = known.place;
        self.waiting -= 1;
        self.sizes.remove(&(size, place));
        if size > 1 {
            self.sizes.insert((size - 1, place));
        } else {
            self.tenants.remove(&tenant);
            self.ring.remove(&place);
        }
        Some(turn)
    }
}
