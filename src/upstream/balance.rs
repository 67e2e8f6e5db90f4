//! Which endpoint gets a request: pure decisions; time and chance are arguments.
//!
//! `p2c` compares two random endpoints by peak-EWMA latency times requests in flight: a slow answer counts at
//! once, and is forgotten as time passes, so that an endpoint gets another chance. A failure counts as a slow
//! answer, however fast it came: an endpoint that refuses everything in a millisecond must not look like the
//! best one.

use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Instant;

use super::config::Balance;

/// After this time a latency counts for 1/e of what it was.
const LATENCY_DECAY: Duration = Duration::from_secs(5);
/// The least that a failure counts as.
const FAILURE_LATENCY: Duration = Duration::from_millis(250);
/// How many times the usual latency a failure counts as.
const FAILURE_FACTOR: f64 = 4.0;
/// An endpoint without answers yet counts as this fast, so that it is tried early but not by everybody at
/// once.
const LATENCY_FLOOR: f64 = 100e-6;

/// The endpoints a request may go to, by index.
pub(super) type Candidates = SmallVec<[usize; 16]>;

/// The choice among several endpoints.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Balance,
    nodes: Vec<Node>,
    /// Where the search for the least loaded starts, so that equals take turns.
    turn: usize,
}

#[derive(Debug)]
struct Node {
    weight: f64,
    name_hash: u64,
    latency: PeakEwma,
    /// Smooth weighted round robin: what it is owed.
    owed: f64,
}

impl Balancer {
    /// Endpoints by weight and name, in their order.
    pub(super) fn new<'a>(policy: Balance, endpoints: impl IntoIterator<Item = (u32, &'a str)>) -> Self {
        let nodes = endpoints.into_iter().map(|(weight, name)| Node {
            weight: f64::from(weight.max(1)),
            name_hash: hash(name.as_bytes()),
            latency: PeakEwma::default(),
            owed: 0.0,
        });
        Self { policy, nodes: nodes.collect(), turn: 0 }
    }

    /// Chooses one of the candidates. `in_flight` says how busy one is, `key` is what `hash` goes by.
    pub(super) fn pick(
        &mut self,
        candidates: &Candidates,
        now: Instant,
        key: u64,
        in_flight: impl Fn(usize) -> usize,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        match candidates.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => match self.policy {
                Balance::P2c => self.p2c(several, now, in_flight, random),
                Balance::RoundRobin => self.round_robin(several),
                Balance::LeastRequests => self.least_requests(several, in_flight),
                Balance::Hash => self.rendezvous(several, key),
            },
        }
    }

    /// Takes in how long an answer took.
    pub(super) fn answered(&mut self, index: usize, now: Instant, latency: Duration) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.latency.observe(now, latency.as_secs_f64());
        }
    }

    /// Takes in that somebody left after waiting for so long: the answer would have taken longer, who knows
    /// how much.
    pub(super) fn waited(&mut self, index: usize, now: Instant, after: Duration) {
        if let Some(node) = self.nodes.get_mut(index)
            && after.as_secs_f64() > node.latency.read(now)
        {
            node.latency.observe(now, after.as_secs_f64());
        }
    }

    /// Takes in that there was none.
    pub(super) fn failed(&mut self, index: usize, now: Instant, after: Duration) {
        if let Some(node) = self.nodes.get_mut(index) {
            let usual = node.latency.read(now) * FAILURE_FACTOR;
            let counted = after.max(FAILURE_LATENCY).as_secs_f64().max(usual.min(60.0));
            node.latency.observe(now, counted);
        }
    }

    /// Takes over what is known of an endpoint: here its index is `index`, there it was `was`.
    pub(super) fn take_over(&mut self, index: usize, before: &Self, was: usize) {
        if let (Some(node), Some(known)) = (self.nodes.get_mut(index), before.nodes.get(was)) {
            node.latency = known.latency;
        }
    }

    fn weight(&self, index: usize) -> f64 {
        self.nodes.get(index).map_or(1.0, |node| node.weight)
    }

    /// Two at random by weight, and of them the one that promises the sooner answer; ties go to the first
    /// drawn, so that idle endpoints share by weight.
    fn p2c(
        &self,
        candidates: &[usize],
        now: Instant,
        in_flight: impl Fn(usize) -> usize,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        let first = self.draw(candidates, None, random)?;
        let second = self.draw(candidates, Some(first), random)?;
        let cost = |index: usize| {
            let latency = self.nodes.get(index).map_or(0.0, |node| node.latency.read(now));
            latency.max(LATENCY_FLOOR) * (in_flight(index) as f64 / self.weight(index) + 1.0)
        };
        Some(if cost(second) < cost(first) { second } else { first })
    }

    fn draw(&self, candidates: &[usize], but: Option<usize>, random: &mut fastrand::Rng) -> Option<usize> {
        let open = || candidates.iter().copied().filter(|index| Some(*index) != but);
        let mut left = random.f64() * open().map(|index| self.weight(index)).sum::<f64>();
        open()
            .find(|index| {
                left -= self.weight(*index);
                left < 0.0
            })
            .or_else(|| open().next_back())
    }

    fn round_robin(&mut self, candidates: &[usize]) -> Option<usize> {
        let mut total = 0.0;
        let mut best: Option<(usize, f64)> = None;
        for index in candidates {
            let node = self.nodes.get_mut(*index)?;
            node.owed += node.weight;
            total += node.weight;
            if best.is_none_or(|(_, owed)| node.owed > owed) {
                best = Some((*index, node.owed));
            }
        }
        let (index, _) = best?;
        self.nodes.get_mut(index)?.owed -= total;
        Some(index)
    }

    fn least_requests(&mut self, candidates: &[usize], in_flight: impl Fn(usize) -> usize) -> Option<usize> {
        self.turn = self.turn.wrapping_add(1);
        let start = self.turn % candidates.len();
        let load = |index: usize| (in_flight(index) as f64 + 1.0) / self.weight(index);
        let (before, after) = candidates.split_at_checked(start)?;
        after.iter().chain(before).copied().min_by(|a, b| load(*a).total_cmp(&load(*b)))
    }

    /// Weighted rendezvous hashing: each endpoint scores for the key, and when one goes only its keys move.
    fn rendezvous(&self, candidates: &[usize], key: u64) -> Option<usize> {
        let score = |index: usize| {
            let Some(node) = self.nodes.get(index) else { return 0.0 };
            // 53 bits make a number in (0, 1).
            let uniform = ((mix(key ^ node.name_hash) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -node.weight / uniform.ln()
        };
        candidates.iter().copied().max_by(|a, b| score(*a).total_cmp(&score(*b)))
    }
}

/// A latency that rises at once and falls slowly, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct PeakEwma {
    value: f64,
    at: Option<Instant>,
}

impl PeakEwma {
    fn read(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        self.value * (-now.saturating_duration_since(at).as_secs_f64() / LATENCY_DECAY.as_secs_f64()).exp()
    }

    fn observe(&mut self, now: Instant, latency: f64) {
        let kept = self.read(now);
        self.value = if latency >= kept {
            latency
        } else {
            let age = self.at.map_or(f64::INFINITY, |at| now.saturating_duration_since(at).as_secs_f64());
            let weight = (-age / LATENCY_DECAY.as_secs_f64()).exp();
            self.value * weight + latency * (1.0 - weight)
        };
        self.at = Some(now);
    }
}

/// A hash that is the same in every process, so that several gateways agree (FNV-1a, then mixed).
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(folded)
}

/// SplitMix64's finalizer: every input bit changes half of the output bits.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
