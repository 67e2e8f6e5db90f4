//! The gate of one upstream: so many permits, and a bounded [queue](super::queue).
//!
//! One atomic word holds how many permits are out and how many requests wait. A free permit is one
//! compare-and-swap, and so is its release as long as nobody waits. The queue itself is behind a lock that is
//! never held over an await; the number of waiters changes only under it.
//!
//! - **Nobody slips past the queue.** Who comes while others wait joins it, even if a permit is free at that
//!   moment.
//! - **No permit is lost.** A permit is handed over inside a channel. If its receiver is gone, the permit
//!   comes back and the next in the queue gets it; if its receiver goes later, the permit is dropped with the
//!   channel.
//! - **No wake-up is lost.** Joining the queue and giving back a permit both compare the whole word: a
//!   release that did not see a waiter fails if one joined, and a waiter that did not see a free permit fails
//!   if one came back.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::clock::{self, Instant};
use crate::error::{Error, Refusal};
use crate::http::Trail;
use crate::metrics::Metrics;

use super::adaptive::{Outcome, Sample};
use super::claim::Claim;
use super::count::{Count, Word};
use super::limit::LimitPolicy;
use super::plan::AdmissionPlan;
use super::queue::{Queue, Ticket, Turn};
use super::watch::{Reason, Watch};

/// Permits of one upstream.
///
/// It lives behind an `Arc` and survives a reload as long as its plan is equal. One that was replaced keeps
/// count of its own permits until they are back; so for a short while after a reload, both may have permits
/// out.
#[derive(Debug)]
pub struct Gate {
    plan: AdmissionPlan,
    policy: LimitPolicy,
    word: Word,
    queue: Mutex<Queue>,
    watch: Watch,
}

/// What came of asking for a permit.
enum Asked {
    Granted(Permit),
    Queued(Waiting),
    Refused(Reason, Refusal),
}

impl Gate {
    /// A gate with all permits free.
    pub fn new(upstream: &str, plan: &AdmissionPlan, metrics: &Metrics) -> Arc<Self> {
        let (policy, watch) = (LimitPolicy::new(plan.limit), Watch::new(upstream, metrics));
        watch.limit(policy.current().unwrap_or(0));
        let queue = Mutex::new(Queue::new(plan.queue_timeout));
        Arc::new(Self { plan: plan.clone(), policy, word: Word::default(), queue, watch })
    }

    /// What it was built from.
    pub const fn plan(&self) -> &AdmissionPlan {
        &self.plan
    }

    /// How many permits are out.
    pub fn in_flight(&self) -> u32 {
        self.word.read().in_flight
    }

    /// How many requests wait.
    pub fn waiting(&self) -> u32 {
        self.word.read().waiting
    }

    /// How many permits there are now; `None` for as many as come.
    pub fn limit(&self) -> Option<u32> {
        self.policy.current()
    }

    /// Whether there is no limit, so that no permit is needed.
    pub const fn is_off(&self) -> bool {
        matches!(self.policy, LimitPolicy::Off)
    }

    /// The number of the baseline that the requests of `route` are compared with, to be told when asking for
    /// a permit.
    pub fn baseline(&self, route: &str) -> usize {
        self.policy.baseline(route)
    }

    /// A permit, if one is free and nobody waits for it.
    pub fn try_acquire(self: &Arc<Self>, baseline: usize) -> Option<Permit> {
        let (_, after) = self.word.change(|count| {
            let free = count.waiting == 0 && self.has_room(count);
            free.then_some(Count { in_flight: count.in_flight + 1, ..count })
        })?;
        let mut permit = Permit::new(self.clone());
        permit.begin(baseline, after.in_flight);
        Some(permit)
    }

    /// A permit, now or after a wait in the queue; the wait is noted on `trail`.
    ///
    /// Dropping the future leaves the queue at once.
    ///
    /// # Errors
    ///
    /// At once: [`Refusal::QueueFull`], and [`Refusal::DeadlineTooNear`] where the queue does not drain fast
    /// enough for the claim's deadline. [`Refusal::QueueTimeout`] after `queue_timeout` or at the deadline,
    /// whichever is first: a request that waited in vain never reached the upstream, so it is our refusal and
    /// no gateway timeout. [`Refusal::QueueFull`] also for one that has to make room.
    pub async fn acquire(self: &Arc<Self>, claim: Claim, trail: &Trail) -> Result<Permit, Error> {
        let asked_at = clock::instant();
        let Claim { baseline, priority, deadline, .. } = claim;
        let waiting = match self.ask(&claim, asked_at) {
            Asked::Granted(mut permit) => {
                permit.begin(baseline, self.in_flight());
                return Ok(permit);
            }
            Asked::Queued(waiting) => waiting,
            Asked::Refused(reason, refusal) => {
                trail.note(|notes| notes.priority = Some(priority.as_str()));
                self.watch.refused(reason, priority);
                return Err(refusal.into());
            }
        };
        let timeout = asked_at + self.plan.queue_timeout;
        let (until, reason) = match deadline {
            Some(deadline) if deadline < timeout => (deadline, Reason::Deadline),
            Some(_) | None => (timeout, Reason::QueueTimeout),
        };
        let outcome = tokio::time::timeout_at(until, waiting).await;
        let now = clock::instant();
        let waited = now.saturating_duration_since(asked_at);
        trail.note(|notes| {
            notes.queue_wait += waited;
            notes.priority = Some(priority.as_str());
        });
        self.watch.waited(waited, priority);
        let refusal = |reason, refusal: fn(Duration) -> Refusal| {
            self.watch.refused(reason, priority);
            Error::from(refusal(self.retry_after(now)))
        };
        match outcome {
            Ok(Ok(mut permit)) => {
                permit.begin(baseline, self.in_flight());
                Ok(permit)
            }
            Ok(Err(_)) => Err(refusal(Reason::QueueFull, |retry_after| Refusal::QueueFull { retry_after })),
            Err(_) => Err(refusal(reason, |retry_after| Refusal::QueueTimeout { retry_after })),
        }
    }

    fn ask(self: &Arc<Self>, claim: &Claim, now: Instant) -> Asked {
        let mut queue = self.lock();
        let in_vain = claim
            .deadline
            .is_some_and(|deadline| queue.wait_of(claim, now).is_some_and(|wait| now + wait > deadline));
        let changed = self.word.change(|count| {
            if count.waiting == 0 && self.has_room(count) {
                return Some(Count { in_flight: count.in_flight + 1, ..count });
            }
            let joins = !in_vain && count.waiting < self.plan.queue;
            joins.then_some(Count { waiting: count.waiting + 1, ..count })
        });
        match changed {
            None if in_vain => {
                let retry_after = queue.drain.retry_after(self.waiting(), now);
                Asked::Refused(Reason::DeadlineTooNear, Refusal::DeadlineTooNear { retry_after })
            }
            None => match queue.displace(claim, now) {
                // One goes and one comes: as many wait as before.
                Some(other) => {
                    let asked = self.join(&mut queue, claim, now);
                    drop(queue);
                    drop(other);
                    asked
                }
                None => {
                    let retry_after = queue.drain.retry_after(self.waiting(), now);
                    Asked::Refused(Reason::QueueFull, Refusal::QueueFull { retry_after })
                }
            },
            Some((before, after)) if before.waiting == after.waiting => {
                drop(queue);
                Asked::Granted(Permit::new(self.clone()))
            }
            Some(_) => {
                self.watch.queued(1);
                self.join(&mut queue, claim, now)
            }
        }
    }

    fn join(self: &Arc<Self>, queue: &mut Queue, claim: &Claim, now: Instant) -> Asked {
        let (sender, receiver) = oneshot::channel();
        let ticket = queue.join(claim, sender, now);
        Asked::Queued(Waiting { gate: self.clone(), ticket, receiver, over: false })
    }

    fn retry_after(&self, now: Instant) -> Duration {
        self.lock().drain.retry_after(self.word.read().waiting, now)
    }

    /// Takes back a permit, and hands on what is free.
    fn release(self: &Arc<Self>) {
        self.watch.in_flight(-1);
        if self.word.change(|count| (count.waiting == 0).then(|| count.less_one())).is_none() {
            self.hand_over(self.lock());
        }
    }

    /// Takes back a permit if somebody waits for one, and says whether.
    fn take_over(self: &Arc<Self>) -> bool {
        let queue = self.lock();
        if queue.is_empty() {
            return false;
        }
        self.watch.in_flight(-1);
        self.watch.made_way();
        self.hand_over(queue);
        true
    }

    fn hand_over(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        self.word.change(|count| Some(count.less_one()));
        queue.drain.released(clock::instant());
        self.hand_out(queue);
    }

    /// Gives free permits to those whose turn it is.
    fn hand_out(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let now = clock::instant();
        let mut granted: SmallVec<[Turn; 1]> = SmallVec::new();
        while !queue.is_empty() {
            let next = |count: Count| Count { in_flight: count.in_flight + 1, waiting: count.waiting - 1 };
            if self
                .word
                .change(|count| (count.waiting > 0 && self.has_room(count)).then(|| next(count)))
                .is_none()
            {
                break;
            }
            granted.extend(queue.next(now));
        }
        // Outside the lock: a receiver that has just left gives its permit back, which takes the lock again.
        drop(queue);
        for sender in granted {
            self.watch.queued(-1);
            drop(sender.send(Permit::new(self.clone())));
        }
    }

    /// Leaves the queue; nothing to do for one whose turn has come.
    fn leave(&self, ticket: &Ticket) {
        let mut queue = self.lock();
        if queue.leave(ticket) {
            self.word.change(|count| Some(Count { waiting: count.waiting.saturating_sub(1), ..count }));
            self.watch.queued(-1);
        }
    }

    fn learn(self: &Arc<Self>, began: Began, outcome: Outcome) {
        let now = clock::instant();
        let Began { at, baseline, in_flight } = began;
        let latency = now.saturating_duration_since(at);
        let sample = Sample { baseline, in_flight, latency, outcome };
        let Some(limit) = self.policy.observe(now, sample) else { return };
        self.watch.limit(limit);
        // It may have grown.
        if self.word.read().waiting > 0 {
            self.hand_out(self.lock());
        }
    }

    /// Whether the limit is so far off that one request in [`SPARSE`] tells enough.
    fn is_calm(&self, in_flight: u32) -> bool {
        self.policy.current().is_none_or(|limit| in_flight < limit / 2)
    }

    fn has_room(&self, count: Count) -> bool {
        self.policy.current().is_none_or(|limit| count.in_flight < limit)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to have one request at the upstream; its drop gives it back.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    /// How it began, if the policy wants to know.
    began: Option<Began>,
    /// Whether it was given back before its end.
    over: bool,
}

/// How a request began.
#[derive(Clone, Copy, Debug)]
struct Began {
    at: Instant,
    baseline: usize,
    in_flight: u32,
}

/// Of so many requests to an upstream that is far from its limit, one is timed.
const SPARSE: u32 = 4;

thread_local! {
    static TURN: Cell<u32> = const { Cell::new(0) };
}

impl Permit {
    /// Wraps a permit that the word already counts.
    fn new(gate: Arc<Gate>) -> Self {
        gate.watch.in_flight(1);
        Self { gate, began: None, over: false }
    }

    /// The request is on its way, one of `in_flight`.
    fn begin(&mut self, baseline: usize, in_flight: u32) {
        if !self.gate.policy.learns() {
            return;
        }
        let turn = TURN.with(|turn| {
            turn.set(turn.get().wrapping_add(1));
            turn.get()
        });
        if turn.is_multiple_of(SPARSE) || !self.gate.is_calm(in_flight) {
            self.began = Some(Began { at: clock::instant(), baseline, in_flight });
        }
    }

    /// How long the body of its request may keep us waiting while others wait for a permit.
    pub fn upload_grace(&self) -> Option<Duration> {
        self.gate.plan.upload_grace
    }

    /// Gives it back at once if somebody waits for one, and says whether.
    pub fn make_way(&mut self) -> bool {
        self.over = self.over || self.gate.waiting() > 0 && self.gate.take_over();
        self.over
    }

    /// Tells how the request went, once its response head is there; otherwise it is [`Outcome::Left`].
    pub fn observe(&mut self, outcome: Outcome) {
        if let Some(began) = self.began.take() {
            self.gate.learn(began, outcome);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.observe(Outcome::Left);
        if !self.over {
            self.gate.release();
        }
    }
}

/// A place in the queue; its drop leaves it.
struct Waiting {
    gate: Arc<Gate>,
    ticket: Ticket,
    receiver: oneshot::Receiver<Permit>,
    over: bool,
}

impl Future for Waiting {
    /// A permit; an error for one that had to make room for somebody else.
    type Output = Result<Permit, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.receiver).poll(cx);
        self.over = polled.is_ready();
        polled
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // First leave, then drop the receiver: a permit that is already in it goes back then.
        if !self.over {
            self.gate.leave(&self.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::admission::plan::LimitPlan;

    #[test]
    fn nobody_overtakes_while_a_permit_is_between_two_owners() {
        let timeout = Duration::from_secs(1);
        let plan = AdmissionPlan {
            limit: LimitPlan::Fixed(2),
            queue: 2,
            queue_timeout: timeout,
            upload_grace: None,
        };
        let gate = Gate::new("orders", &plan, &Metrics::default());
        // As a release leaves it for a moment, before the permit goes to the first in the queue.
        gate.word.change(|_| Some(Count { in_flight: 1, waiting: 1 }));
        assert!(gate.try_acquire(0).is_none());
        assert!(matches!(gate.ask(&Claim::default(), clock::instant()), Asked::Queued(_)));
        assert_eq!(gate.in_flight(), 1);
    }
}
