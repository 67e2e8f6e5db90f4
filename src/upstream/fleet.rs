//! The endpoints of an upstream together: which one gets a request, and what is learnt from how it went.
//!
//! With one endpoint there is nothing to choose and nothing to learn: no lock is taken.

mod inherit;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use crate::clock::{self, Instant};
use crate::error::{Error, UpstreamErrorKind as Kind};
use crate::http::Request;

use super::balance::{Balancer, Candidates, hash};
use super::ejection::{Ejector, Ended};
use super::endpoint::Endpoint;
use super::meters::Meters;
use super::plan::{EndpointPlan, UpstreamPlan};
use super::probe::Outcome;

/// The endpoints, and what is known of them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) meters: Arc<Meters>,
    name: Box<str>,
    /// Whether all endpoints were out when last one was chosen: told once each time.
    panic: AtomicBool,
    choice: Option<Mutex<Choice>>,
    /// The tier of each endpoint; none where all are alike.
    priorities: Vec<u16>,
    /// Set in `hash` mode.
    key: Option<Key>,
}

/// The endpoint that a request goes to.
struct Picked {
    index: usize,
    /// Whether the request tries an endpoint that is on trial.
    trial: bool,
}

#[derive(Debug)]
struct Choice {
    balancer: Balancer,
    ejector: Ejector,
    random: fastrand::Rng,
}

/// What `hash` mode goes by.
#[derive(Debug)]
enum Key {
    Header(HeaderName),
    Client,
}

impl Fleet {
    /// Endpoints of the upstream of that name, each with its plan at the same place of `plans`.
    pub(super) fn new(
        name: &str,
        plan: &UpstreamPlan,
        plans: &[EndpointPlan],
        endpoints: Vec<Arc<Endpoint>>,
        meters: Arc<Meters>,
    ) -> Self {
        let several = endpoints.len() > 1;
        let choice = several.then(|| {
            let weights = plans.iter().map(|endpoint| endpoint.weight);
            let nodes = weights.zip(endpoints.iter().map(|endpoint| &*endpoint.name));
            Mutex::new(Choice {
                balancer: Balancer::new(plan.balance, nodes),
                ejector: Ejector::new(
                    plan.ejection.clone(),
                    plan.slow_start,
                    endpoints.len(),
                    clock::instant(),
                ),
                random: fastrand::Rng::new(),
            })
        });
        let key = (several && plan.balance == super::config::Balance::Hash)
            .then(|| plan.hash_header.clone().map_or(Key::Client, Key::Header));
        let mut priorities: Vec<_> = plans.iter().map(|endpoint| endpoint.priority).collect();
        if priorities.iter().all(|priority| priorities.first() == Some(priority)) {
            priorities.clear();
        }
        Self { endpoints, meters, name: name.into(), panic: AtomicBool::new(false), choice, priorities, key }
    }

    /// Chooses an endpoint that is not in `avoid`, if there is another one. Endpoints that are left out are
    /// asked only when all are, or all others were tried.
    fn pick(&self, request: &Request, now: Instant, tried: &[usize]) -> Option<Picked> {
        let Some(choice) = &self.choice else {
            self.note_panic(self.is_unhealthy(0));
            let first = tried.is_empty() && !self.endpoints.is_empty();
            return first.then_some(Picked { index: 0, trial: false });
        };
        let key = self.key(request);
        let mut guard = lock(choice);
        let Choice { balancer, ejector, random } = &mut *guard;
        let is_in = |index| !self.is_unhealthy(index) && !ejector.is_out(index, now);
        let all: Candidates = (0..self.endpoints.len()).collect();
        self.note_panic(!all.iter().any(|index| is_in(*index)));
        let open: Candidates = all.into_iter().filter(|index| !tried.contains(index)).collect();
        let healthy = only(&open, is_in);
        let admitting = self.nearest(only(&healthy, |index| ejector.admits(index, now)));
        let wanted = only(&admitting, |index| !self.is_avoided(request, index));
        // Who takes a part of its share is a candidate for a part of the requests, whatever the policy.
        let candidates = only(&wanted, |index| {
            let share = ejector.share(index, now);
            share >= 1.0 || random.f64() < share
        });
        let index = balancer.pick(&candidates, now, key, |index| self.in_flight(index), random)?;
        Some(Picked { index, trial: ejector.begins(index, now) })
    }

    /// Those of the lowest priority number (RFC 2782).
    fn nearest(&self, candidates: Candidates) -> Candidates {
        let priority = |index: usize| self.priorities.get(index).copied();
        match candidates.iter().filter_map(|index| priority(*index)).min() {
            None => candidates,
            nearest => only(&candidates, |index| priority(index) == nearest),
        }
    }

    /// Tells once that all endpoints are out, and once that they no longer are.
    fn note_panic(&self, all_out: bool) {
        if self.panic.load(Ordering::Relaxed) == all_out
            || self.panic.swap(all_out, Ordering::Relaxed) == all_out
        {
            return;
        }
        if all_out {
            tracing::warn!(upstream = &*self.name, "all endpoints are out, so all are asked");
        } else {
            tracing::info!(upstream = &*self.name, "an endpoint is back: no longer are all asked");
        }
    }

    fn is_unhealthy(&self, index: usize) -> bool {
        self.endpoints.get(index).is_some_and(|endpoint| endpoint.is_unhealthy())
    }

    /// Its probes have changed what is thought of an endpoint.
    pub(super) fn probed(&self, index: usize, healthy: bool, outcome: Outcome) {
        let Some(endpoint) = self.endpoints.get(index) else { return };
        endpoint.unhealthy.store(!healthy, Ordering::Relaxed);
        let (upstream, name, reason) = (&*self.name, &*endpoint.name, outcome.as_str());
        if healthy {
            if let Some(choice) = &self.choice {
                lock(choice).ejector.recovered(index, clock::instant());
            }
            tracing::info!(upstream, endpoint = name, "endpoint healthy");
        } else {
            tracing::warn!(upstream, endpoint = name, reason, "endpoint unhealthy");
        }
    }

    fn is_avoided(&self, request: &Request, index: usize) -> bool {
        let avoid = &request.attempt.avoid;
        !avoid.is_empty() && self.endpoints.get(index).is_some_and(|endpoint| avoid.contains(&endpoint.name))
    }

    fn in_flight(&self, index: usize) -> usize {
        self.endpoints.get(index).map_or(0, |endpoint| endpoint.in_flight())
    }

    fn key(&self, request: &Request) -> u64 {
        match &self.key {
            None => 0,
            Some(Key::Header(name)) => match request.headers.get(name) {
                Some(value) => hash(value.as_bytes()),
                None => hash_address(request.client),
            },
            Some(Key::Client) => hash_address(request.client),
        }
    }

    /// Whether an endpoint is left out.
    pub(super) fn is_out(&self, index: usize, now: Instant) -> bool {
        self.choice.as_ref().is_some_and(|choice| lock(choice).ejector.is_out(index, now))
    }

    /// Whether an endpoint is given requests.
    pub(super) fn takes_requests(&self, index: usize, now: Instant) -> bool {
        !self.is_unhealthy(index) && !self.is_out(index, now)
    }

    /// How many endpoints are not left out.
    pub(super) fn healthy(&self, now: Instant) -> usize {
        (0..self.endpoints.len()).filter(|index| self.takes_requests(*index, now)).count()
    }

    fn answered(&self, index: usize, now: Instant, after: Duration) {
        if let Some(choice) = &self.choice {
            lock(choice).balancer.answered(index, now, after);
        }
    }

    fn waited(&self, index: usize, now: Instant, after: Duration) {
        if let Some(choice) = &self.choice {
            lock(choice).balancer.waited(index, now, after);
        }
    }

    fn tried(&self, index: usize) {
        if let Some(choice) = &self.choice {
            lock(choice).ejector.tried(index);
        }
    }

    fn ended(&self, index: usize, now: Instant, ended: Ended) {
        let Some(choice) = &self.choice else { return };
        let ejected = {
            let mut choice = lock(choice);
            if ended.failed {
                choice.balancer.failed(index, now, now.saturating_duration_since(ended.began));
            }
            choice.ejector.ended(index, now, ended, |index| self.is_unhealthy(index))
        };
        if let (Some(ejected), Some(endpoint)) = (ejected, self.endpoints.get(index)) {
            self.meters.ejected(ejected.why);
            let (reason, seconds) = (ejected.why.as_str(), ejected.time.as_secs_f64());
            tracing::warn!(
                upstream = &*self.name,
                endpoint = &*endpoint.name,
                reason,
                seconds,
                "endpoint ejected"
            );
        }
    }
}

fn lock(choice: &Mutex<Choice>) -> MutexGuard<'_, Choice> {
    choice.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that pass, or all where none does.
fn only(candidates: &Candidates, mut passes: impl FnMut(usize) -> bool) -> Candidates {
    let passing: Candidates = candidates.iter().copied().filter(|index| passes(*index)).collect();
    if passing.is_empty() { candidates.clone() } else { passing }
}

fn hash_address(address: IpAddr) -> u64 {
    let octets: SmallVec<[u8; 16]> = match address.to_canonical() {
        IpAddr::V4(four) => four.octets().into_iter().collect(),
        IpAddr::V6(six) => six.octets().into_iter().collect(),
    };
    hash(&octets)
}

/// The account of one attempt at one endpoint, from its start to the end of the response body. It is settled
/// once; a drop before that settles it as given up.
#[derive(Debug)]
pub(super) struct Account {
    fleet: Arc<Fleet>,
    index: usize,
    trial: bool,
    started: Instant,
    deadline: Option<Instant>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Answered { failed: bool, after: Duration },
    Settled,
}

impl Account {
    /// Chooses an endpoint for a request that was not `tried` yet, and opens the account of the attempt; none
    /// where none is left.
    pub(super) fn open(
        fleet: &Arc<Fleet>,
        request: &Request,
        started: Instant,
        tried: &[usize],
    ) -> Option<Self> {
        let Picked { index, trial } = fleet.pick(request, started, tried)?;
        fleet.endpoints.get(index)?.in_flight.fetch_add(1, Ordering::Relaxed);
        let (fleet, deadline) = (Arc::clone(fleet), request.deadline);
        Some(Self { fleet, index, trial, started, deadline, state: State::Waiting })
    }

    /// The index of the endpoint it is about.
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// The endpoint it is about.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.fleet.endpoints.get(self.index).map(|endpoint| &**endpoint)
    }

    /// A response head has arrived. Returns how long that took.
    pub(super) fn answered(&mut self, now: Instant, status: StatusCode) -> Duration {
        let after = now.saturating_duration_since(self.started);
        self.fleet.meters.answered(status, after);
        self.fleet.answered(self.index, now, after);
        self.end_trial();
        self.state = State::Answered { failed: matches!(status.as_u16(), 502..=504), after };
        after
    }

    /// The attempt failed, before or after its response head.
    pub(super) fn failed(&mut self, error: &Error) {
        let answered = matches!(self.state, State::Answered { .. });
        if !answered {
            self.fleet.meters.failed(error);
        }
        let failed = match error {
            Error::Upstream(error) => {
                !matches!(error.kind, Kind::ConnectionLimit | Kind::NoEndpoint | Kind::BadUpgrade)
            }
            Error::Client(_) | Error::Refused(_) | Error::Part(_) | Error::Internal(_) => false,
        };
        self.state = State::Settled;
        if failed {
            self.end(clock::instant(), true, None);
        }
    }

    /// The response body has ended, or nobody wants the rest of it.
    pub(super) fn settle(&mut self, now: Instant) {
        if let State::Answered { failed, after } = self.state {
            self.end(now, failed, Some(after).filter(|_| !failed));
        }
        self.state = State::Settled;
    }

    fn end(&self, now: Instant, failed: bool, latency: Option<Duration>) {
        self.fleet.ended(self.index, now, Ended { began: self.started, failed, latency });
    }

    /// Lets another request try the endpoint, if this one did.
    fn end_trial(&mut self) {
        if std::mem::take(&mut self.trial) {
            self.fleet.tried(self.index);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint() {
            endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        match self.state {
            State::Settled => {}
            State::Answered { .. } => self.settle(clock::instant()),
            State::Waiting => {
                let now = clock::instant();
                self.fleet.meters.canceled();
                // The deadline layer gives up at the same moment as we do: an endpoint that let it pass has
                // failed.
                if self.deadline.is_some_and(|deadline| now >= deadline) {
                    self.end(now, true, None);
                } else {
                    self.fleet.waited(self.index, now, now.saturating_duration_since(self.started));
                }
            }
        }
        // Last, so that nobody tries an endpoint that this attempt has just put out.
        self.end_trial();
    }
}
