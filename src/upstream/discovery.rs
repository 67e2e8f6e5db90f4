//! Endpoints that are found by name: where a service is (RFC 2782), asked again and again.
//!
//! A task a service keeps its targets known, as one does for a host's addresses
//! ([`resolve`](super::resolve)): one lookup at a time, a service that vanishes keeps its last targets.
//! Another task makes a fleet of them and puts it in the place of the last one. An endpoint that stays keeps
//! its connections and what is known of it; one that goes ends with the last request under way on it.
//!
//! Of a target that is named with priority and weight, the priority is a tier: those of a higher number are
//! asked only while all of the lower ones are out, or were tried. The weight is its share in the tier.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Instant;
use crate::metrics::Metrics;

use super::dns::{Dns, Target};
use super::endpoint::Endpoint;
use super::fleet::Fleet;
use super::meters::{self, Meters, ProbeMeters};
use super::plan::{EndpointPlan, Host, ServicePlan, UpstreamPlan};
use super::probe;
use super::resolve::{Answer, keep_resolved, learn};
use super::tls::{BuildError, Tls};

/// Targets of one service that are used: of a longer answer the first ones by priority.
const TARGETS_MAX: usize = 64;

/// What fleets are made with.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) name: Box<str>,
    pub(super) plan: UpstreamPlan,
    pub(super) tls: Option<Tls>,
    pub(super) meters: Arc<Meters>,
    pub(super) probe_meters: Option<Arc<ProbeMeters>>,
    pub(super) dns: Dns,
    pub(super) metrics: Metrics,
}

/// Keeps an upstream's endpoints as they are found; ends when dropped.
#[derive(Debug)]
pub(super) struct Discovery {
    /// How often a fleet was made of what was found.
    made: watch::Receiver<u64>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// What is known of each service, in the plan's order.
type Known = Vec<Answer<Target>>;

impl Workshop {
    /// A fleet of these endpoints. Those that the one before has, at the same place and with the same scheme,
    /// are its own.
    ///
    /// # Errors
    /// Where an endpoint of the config cannot be made.
    pub(super) fn fleet(&self, plans: &[EndpointPlan], before: Option<&Fleet>) -> Result<Fleet, BuildError> {
        let endpoint = |plan: &EndpointPlan| {
            let known = before.and_then(|before| before.endpoints.get(before.place(&plan.label())?));
            match known.filter(|known| known.scheme == plan.scheme) {
                Some(known) => Ok(Arc::clone(known)),
                None => {
                    let dns = &self.dns;
                    Endpoint::build(&self.plan, plan, self.tls.as_ref(), &self.meters, dns).map(Arc::new)
                }
            }
        };
        let endpoints = plans.iter().map(endpoint).collect::<Result<_, _>>()?;
        let fleet = Fleet::new(&self.name, &self.plan, plans, endpoints, Arc::clone(&self.meters));
        if let Some(before) = before {
            fleet.inherit(before);
        }
        Ok(fleet)
    }

    /// Begins to probe a fleet's endpoints, if they are to be; the tasks end with what is returned.
    pub(super) fn probe(&self, fleet: &Arc<Fleet>) -> Vec<AbortOnDropHandle<()>> {
        match (&self.plan.health, &self.probe_meters) {
            (Some(health), Some(meters)) => probe::start(fleet, health, meters),
            _ => Vec::new(),
        }
    }
}

impl Discovery {
    /// Begins to look for the services of the plan, and to put fleets of what is found in `current`.
    pub(super) fn start(workshop: Workshop, current: &Arc<ArcSwap<Fleet>>) -> Self {
        let services = workshop.plan.services.clone();
        let (known, changes) = watch::channel(vec![Answer::Pending; services.len()]);
        let known = Arc::new(known);
        let interval = workshop.plan.resolve_interval;
        let look = |(index, service): (usize, &ServicePlan)| {
            let (known, dns) = (Arc::clone(&known), workshop.dns.clone());
            let name: Arc<str> = (&*service.name).into();
            let lookup = move || {
                let (dns, name) = (dns.clone(), Arc::clone(&name));
                async move { dns.services(&name).await }
            };
            let learnt = move |mut found: Vec<Target>| {
                // In an order of its own, for servers turn theirs round.
                found.sort_by(|a, b| (a.priority, &a.host, a.port).cmp(&(b.priority, &b.host, b.port)));
                found.truncate(TARGETS_MAX);
                let mut is_known = false;
                known.send_if_modified(|all| {
                    let Some(answer) = all.get_mut(index) else { return false };
                    let changed = learn(answer, found);
                    is_known = matches!(answer, Answer::Known(_));
                    changed
                });
                is_known
            };
            AbortOnDropHandle::new(tokio::spawn(keep_resolved(lookup, interval, learnt)))
        };
        let mut tasks: Vec<_> = services.iter().enumerate().map(look).collect();
        let (count, made) = watch::channel(0);
        let assembling = keep_assembled(workshop, Arc::clone(current), changes, count);
        tasks.push(AbortOnDropHandle::new(tokio::spawn(assembling)));
        Self { made, _tasks: tasks }
    }

    /// Waits until something was found, or was not, for the first time; until `until` at most.
    pub(super) async fn first(&self, until: Instant) {
        let mut made = self.made.clone();
        let _ = timeout_at(until, made.wait_for(|made| *made > 0)).await;
    }
}

/// Makes a fleet of what is found, each time that it changes.
async fn keep_assembled(
    workshop: Workshop,
    current: Arc<ArcSwap<Fleet>>,
    mut changes: watch::Receiver<Known>,
    made: watch::Sender<u64>,
) {
    let mut _probes = workshop.probe(&current.load_full());
    while changes.changed().await.is_ok() {
        let known = changes.borrow_and_update().clone();
        let plans = endpoints(&workshop.plan, &known);
        let before = current.load_full();
        match workshop.fleet(&plans, Some(&before)) {
            Ok(fleet) => {
                let names: Vec<_> = fleet.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
                tracing::info!(upstream = &*workshop.name, endpoints = ?names, "endpoints were found");
                let fleet = Arc::new(fleet);
                current.store(Arc::clone(&fleet));
                meters::observe_endpoints(&current, &workshop.name, &workshop.metrics);
                _probes = workshop.probe(&fleet);
            }
            // A target whose name no certificate can have.
            Err(error) => tracing::warn!(upstream = &*workshop.name, %error, "endpoints were not taken"),
        }
        made.send_modify(|made| *made += 1);
    }
}

/// The endpoints of the config, and those of its services.
fn endpoints(plan: &UpstreamPlan, known: &[Answer<Target>]) -> Vec<EndpointPlan> {
    let mut all = plan.endpoints.clone();
    for (service, answer) in plan.services.iter().zip(known) {
        let Answer::Known(targets) = answer else { continue };
        for target in targets.iter() {
            let endpoint = EndpointPlan {
                scheme: service.scheme,
                host: Host::Name(target.host.clone()),
                port: target.port,
                weight: share(target, targets),
                priority: target.priority,
            };
            if !all.iter().any(|known| known.label() == endpoint.label()) {
                all.push(endpoint);
            }
        }
    }
    all
}

/// The weight of a target, next to those of its priority: as it is, less what they have in common, for the
/// numbers themselves mean nothing. Those of weight 0 get a tenth of the least share of the others.
fn share(target: &Target, all: &[Target]) -> u32 {
    let weights = || all.iter().filter(|other| other.priority == target.priority).map(|other| other.weight);
    let common = weights().fold(0, gcd);
    let scale = if weights().any(|weight| weight == 0) { 10 } else { 1 };
    match target.weight.checked_div(common) {
        None | Some(0) => 1,
        Some(weight) => u32::from(weight) * scale,
    }
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2782, "Weight".
    #[test]
    fn weights_are_shares_of_a_priority() {
        for (weights, shares) in [
            (&[0, 0][..], &[1, 1][..]),
            (&[5, 5], &[1, 1]),
            (&[10, 60, 30], &[1, 6, 3]),
            (&[0, 100, 200], &[1, 10, 20]),
            (&[65_535, 1], &[65_535, 1]),
        ] {
            let target = |weight: &u16| Target { priority: 1, weight: *weight, port: 1, host: "a".into() };
            let mut targets: Vec<_> = weights.iter().map(target).collect();
            // Another priority's weights are its own.
            targets.push(Target { priority: 2, ..target(&7) });
            let found: Vec<_> = targets.iter().take(weights.len()).map(|of| share(of, &targets)).collect();
            assert_eq!(found, shares, "{weights:?}");
        }
    }
}
