//! Who waits at a gate, and who is next: by priority, then by tenant, then in turn, until there is no hope to
//! serve everybody.
//!
//! - **Classes share the permits** by [weight](Priority::weight), 16 to 4 to 1, as long as all of them have
//!   somebody waiting (stride scheduling: C. Waldspurger and W. Weihl, 1995). So a higher class goes first,
//!   and none starves.
//! - **Within a class, tenants take turns**, however many of each wait.
//! - **Within a tenant, the oldest is next**, as long as there is hope for everybody: all who wait can be
//!   served in a fifth of `queue_timeout`. Where there is none, and the queue has not been empty for
//!   [`CONGESTED`] either, it does not smooth a burst any more, it only makes every request late. Then the
//!   newest is served first: who has waited longest is the likeliest to have given up, and serving him would
//!   take from one who has not (adaptive LIFO and controlled delay: B. Maurer, "Fail at Scale", ACM Queue 13
//!   (8), 2015). A queue that always has somebody in it is not enough: that is what a fixed number of clients
//!   makes who each ask again when they are answered, and the newest first would leave some of them waiting
//!   for ever.
//! - **A full queue makes room** for one of a higher class, at the cost of the lowest that waits; and for one
//!   of the same class where its tenant has less than its share, or the queue is congested. Who goes is of
//!   the tenant that has most waiting: the one that would be served last.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Instant;

use super::claim::Claim;
use super::class::{Class, Which};
use super::config::Priority;
use super::drain::Drain;
use super::gate::Permit;

/// After how long without being empty a queue counts as congested.
pub const CONGESTED: Duration = Duration::from_millis(100);

/// The part of the queue's timeout in which all who wait can be served, as long as there is hope.
pub const HOPE: u32 = 5;

/// How a waiter gets its permit; its drop tells that there will be none.
pub type Turn = oneshot::Sender<Permit>;

/// Those who wait.
#[derive(Debug, Default)]
pub struct Queue {
    /// The highest first.
    classes: [Shared; Priority::ALL.len()],
    /// How far the class has come that was served last.
    reached: u64,
    next: u64,
    /// When it was empty last.
    formed: Option<Instant>,
    /// There is no hope for everybody where serving all takes longer.
    patience: Duration,
    /// How fast it drains.
    pub drain: Drain,
}

/// A class, and its share in what was served.
#[derive(Debug, Default)]
struct Shared {
    class: Class,
    /// How far it will have come with its next turn: the one that is least far is served.
    pass: u64,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    number: u64,
    priority: Priority,
    tenant: u64,
}

impl Queue {
    /// An empty one, whose waiters leave after `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self { patience: timeout / HOPE, ..Self::default() }
    }

    /// Takes somebody in; the ticket is for [`leave`](Self::leave).
    pub fn join(&mut self, claim: &Claim, turn: Turn, now: Instant) -> Ticket {
        if self.is_empty() {
            self.formed = Some(now);
            self.drain.begin(now);
        }
        let Claim { priority, tenant, .. } = *claim;
        let number = self.next;
        self.next += 1;
        let reached = self.reached;
        let shared = self.shared(priority);
        if shared.class.is_empty() {
            // Who was not there has saved up nothing.
            shared.pass = shared.pass.max(reached + priority.stride());
        }
        shared.class.join(tenant, number, turn);
        Ticket { number, priority, tenant }
    }

    /// Takes out the one whose turn it is.
    pub fn next(&mut self, now: Instant) -> Option<Turn> {
        let which = if self.is_congested(now) { Which::Newest } else { Which::Oldest };
        let waiting = Priority::ALL.into_iter().zip(&mut self.classes).filter(|(_, of)| !of.class.is_empty());
        // Of equals the first, which is the higher class.
        let (priority, shared) = waiting.min_by_key(|(_, shared)| shared.pass)?;
        self.reached = shared.pass;
        shared.pass += priority.stride();
        shared.class.next(which)
    }

    /// Takes out the one that makes room for a newcomer, if one has to.
    pub fn displace(&mut self, claim: &Claim, now: Instant) -> Option<Turn> {
        let congested = self.is_congested(now);
        let mut waiting = Priority::ALL.into_iter().zip(&mut self.classes).rev();
        let (lowest, shared) = waiting.find(|(_, shared)| !shared.class.is_empty())?;
        let class = &mut shared.class;
        let room = claim.priority < lowest
            || claim.priority == lowest && (congested || class.most() > class.waiting_of(claim.tenant) + 1);
        let which = if congested { Which::Oldest } else { Which::Newest };
        if room { class.displace(which) } else { None }
    }

    /// Takes out one that leaves; false where its turn has come.
    pub fn leave(&mut self, ticket: &Ticket) -> bool {
        let Ticket { number, priority, tenant } = *ticket;
        self.shared(priority).class.take(tenant, Which::Number(number)).is_some()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.classes.iter().all(|shared| shared.class.is_empty())
    }

    /// How long a newcomer would wait, as the queue drains now; `None` where that is not known.
    ///
    /// That is until its tenant's turn has come often enough, when its class gets its share of the permits.
    pub fn wait_of(&self, claim: &Claim, now: Instant) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        let each = self.drain.each(now)?;
        let all: usize = self.classes.iter().map(|shared| shared.class.waiting()).sum();
        let (mut turns, mut weights) = (0, 0);
        for (priority, Shared { class, .. }) in Priority::ALL.into_iter().zip(&self.classes) {
            let own = priority == claim.priority;
            if own {
                let before = class.waiting_of(claim.tenant);
                let tenants = class.tenants() + usize::from(before == 0);
                turns = match self.is_congested(now) {
                    true => tenants,
                    false => (tenants * (before + 1)).min(class.waiting() + 1),
                };
            }
            if own || !class.is_empty() {
                weights += priority.weight();
            }
        }
        let shared = (turns as u64 * weights).div_ceil(claim.priority.weight());
        let behind = shared.min(all as u64 + 1);
        Some(each.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX)))
    }

    fn shared(&mut self, priority: Priority) -> &mut Shared {
        let [high, normal, low] = &mut self.classes;
        match priority {
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        }
    }

    fn is_congested(&self, now: Instant) -> bool {
        let late = self.formed.is_some_and(|formed| now.saturating_duration_since(formed) >= CONGESTED);
        let waiting: usize = self.classes.iter().map(|shared| shared.class.waiting()).sum();
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        late && waiting > 0 && self.drain.pace(now).saturating_mul(waiting) >= self.patience
    }
}
