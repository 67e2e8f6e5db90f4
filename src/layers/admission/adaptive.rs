//! Learns how many requests an upstream can take at once, from latency and failures.
//!
//! An upstream serves some number of requests at once, its *capacity*. Less in flight leaves it idle, more
//! in flight waits in a queue there, where no one can see or refuse it. The limit sought is the capacity and
//! a little more, so that the upstream never runs dry.
//!
//! Windows of answers are measured one after another. For each route the wait at the upstream is how far
//! its answers are above the route's [`Baseline`]; the number that wait is rate times wait, by Little's law,
//! summed over the routes. So 20 ms and 20 s calls share an upstream: each is compared with
//! itself, and weighs as much as it occupies. The limit follows: in flight, less those that wait, plus some
//! headroom ([`Adaptive::headroom`]), by bounded steps.
//!
//! - **Only a limit that is used is changed.** What an upstream takes when little is asked of it tells its
//!   baseline, not its capacity.
//! - **A cut is an experiment.** If latency falls when less is in flight, there was a queue. If it stays,
//!   the upstream itself has become slower: the baseline is raised, the limit restored. This is how a
//!   permanently slower upstream is accepted, without the trap of taking a standing queue for normal.
//! - **A limit in use is tried now and then**: a quarter less, until the answers show the effect. What is not
//!   in flight waits in the gate's queue meanwhile, so nobody is refused for it; and it is what makes
//!   gateways that share an upstream agree on the baseline, and hence on fair shares.
//! - **Overload that is said aloud** (429, 503, a timeout) cuts in proportion to its share of the answers.
//!   Other failures say nothing about load: an upstream that is down is not to be found at a limit of 4 when
//!   it comes back.
//! - **A client that leaves** has waited at least that long: its time counts once it exceeds the baseline.
//!
//! What it owes to others: the estimate of the queue is that of TCP Vegas (Brakmo, Peterson: "TCP Vegas",
//! SIGCOMM 1994), whose limiter and Gradient2 are in Netflix's
//! [concurrency-limits](https://github.com/Netflix/concurrency-limits); a headroom that grows like the
//! square root is Gradient2's. The idea to look below the queue now and then is BBR's (Cardwell et al., ACM
//! Queue 2016) and that of Envoy's
//! adaptive concurrency filter, both of which go down to (nearly) nothing for it. Little's law: J. D. C.
//! Little, Operations Research 9, 1961.

use std::time::Duration;

use crate::clock::Instant;

use super::baseline::{Baseline, Load, Verdict};
use super::window::Window;

/// The most baselines: routes beyond share the last one.
pub const MAX_BASELINES: usize = 256;

/// The fewest answers in a window, and how many are enough at any limit: else it is as many as the limit, for
/// an upstream may work in batches as large as itself.
const WINDOW: (f64, f64) = (24.0, 1000.0);
/// The share of its distance by which the share of time before a response head is followed.
const AHEAD: f64 = 0.1;
/// The error of the estimated queue, as a share of the limit.
const ERROR: f64 = 0.06;
/// The error while a cut is judged.
const ERROR_JUDGED: f64 = 0.04;
/// A limit is used when this share of it is in flight, on average.
const USED: f64 = 0.8;
/// And it is idle below this one.
const IDLE: f64 = 0.5;
/// The share of its distance that the limit goes in one window.
const GAIN: f64 = 0.6;
/// No queue to speak of is one of less than this share of the headroom.
const FREE: f64 = 0.25;
/// Without one, steps grow up to so many times.
const BOLD: u32 = 6;
/// A queue of so many times the headroom is cut at once, and the cut is judged.
const HEAVY: f64 = 2.5;
/// The lowest share of itself that a limit is cut to in one step.
const STEP: f64 = 0.6;
/// The share that is left in a trial.
const TRIAL: f64 = 0.75;
/// The windows between two trials, and between two that found the baseline wrong.
const TRIAL_EVERY: (u32, u32) = (32, 4);
/// What is left of a limit at which there was overload.
const OVERLOAD_CUT: (f64, f64) = (0.6, 0.95);
/// The share of a step by which the limit goes on near where there was overload.
const CAREFUL: f64 = 0.1;
/// A limit that has sunk to this share without a cut is judged as if it had been cut.
const SUNK: f64 = 0.75;

/// How a request ended, as far as it tells about the upstream's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response head came.
    Answered,
    /// The upstream said that it has too much to do, or did not answer in time.
    Overloaded,
    /// It failed for reasons that tell nothing about load.
    Failed,
    /// The client left, or we refused it further in.
    Left,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Which baseline it is compared with: its route's.
    pub baseline: usize,
    /// How many were in flight when it began, itself included.
    pub in_flight: u32,
    /// The time from its permit to the response head, or to its end without one.
    pub latency: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// Between what the limit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Where it begins.
    pub start: u32,
    /// Never less; at least 1.
    pub min: u32,
    /// Never more.
    pub max: u32,
}

/// What is being done with the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// It follows.
    Steady,
    /// A queue was seen; if it is still there when all in flight are new, the limit is cut.
    Suspect,
    /// It was cut from this for a queue that was seen.
    Cut(f64),
    /// It was cut from this to see what is below.
    Trial(f64),
}

/// The limit of one upstream.
#[derive(Debug)]
pub struct Adaptive {
    bounds: Bounds,
    limit: f64,
    baselines: Vec<Baseline>,
    window: Window,
    stage: Stage,
    next_trial: u32,
    /// The limit when the latencies to judge it by were marked.
    anchor: f64,
    /// For how many windows there has been no queue to speak of.
    free: u32,
    /// Where there was overload.
    ceiling: f64,
    last_cut: Option<Instant>,
    /// What an answer takes, all routes together.
    round: Duration,
    /// The share of what is in flight whose answer has not begun.
    ahead: f64,
}

impl Adaptive {
    /// One that knows nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: f64::from(bounds.start),
            baselines: Vec::new(),
            window: Window::default(),
            stage: Stage::Steady,
            next_trial: 2 * TRIAL_EVERY.1,
            anchor: f64::from(bounds.start),
            free: 0,
            ceiling: f64::INFINITY,
            last_cut: None,
            round: Duration::ZERO,
            ahead: 1.0,
        }
    }

    /// How many requests may be in flight.
    pub fn limit(&self) -> u32 {
        (self.limit as u32).clamp(self.bounds.min, self.bounds.max)
    }

    /// Makes room for so many baselines, so that observing allocates nothing.
    pub fn reserve(&mut self, baselines: usize) {
        let baselines = baselines.min(MAX_BASELINES);
        if self.baselines.len() < baselines {
            self.baselines.resize_with(baselines, Baseline::default);
        }
    }

    /// Learns of a request that ended at `now`.
    pub fn observe(&mut self, now: Instant, sample: Sample) {
        let last = self.baselines.len().saturating_sub(1);
        let Some(baseline) = self.baselines.get_mut(sample.baseline.min(last)) else { return };
        let seconds = sample.latency.as_secs_f64();
        let began = *self.window.began.get_or_insert(now);
        if self.window.skip > 0 {
            self.window.skip -= 1;
            if self.window.skip == 0 {
                self.window.began = Some(now);
            }
            return;
        }
        match (sample.outcome, baseline.base()) {
            (Outcome::Failed, _) => return,
            (Outcome::Left, base) if base.is_none_or(|base| seconds <= base) => self.window.in_vain += 1,
            (Outcome::Answered | Outcome::Left, _) => {
                baseline.add(seconds, sample.outcome == Outcome::Answered);
                self.window.work += seconds;
                self.window.answers += 1;
            }
            (Outcome::Overloaded, _) => self.window.overloaded += 1,
        }
        self.window.in_flight += u64::from(sample.in_flight);
        let seconds = now.saturating_duration_since(began).as_secs_f64();
        if self.window.tells_overload(self.limit) {
            // Not more than once in the time of an answer: more would be counted twice.
            if self.last_cut.is_none_or(|cut| now.saturating_duration_since(cut) >= self.round) {
                self.cut(now);
            }
            return;
        }
        let (least, enough) = WINDOW;
        if f64::from(self.window.all()) >= self.limit.clamp(least, enough) {
            self.close(now, seconds);
        }
    }

    /// Cuts the limit because the upstream says that it is too much.
    fn cut(&mut self, now: Instant) {
        let (least, most) = OVERLOAD_CUT;
        // A few at once at the beginning of a window are not yet all.
        let all = f64::from(self.window.all()).max(self.limit);
        let share =
            (1.0 - 0.5 * f64::from(self.window.overloaded + self.window.in_vain) / all).clamp(least, most);
        let in_flight = self.window.mean_in_flight();
        self.window = Window { began: Some(now), ..Window::default() };
        (self.last_cut, self.stage, self.ceiling) = (Some(now), Stage::Steady, self.limit);
        self.set(share * self.limit, in_flight);
        self.anchor = self.limit;
    }

    /// How many may wait at the upstream so that it never runs dry: 3 % of what is in flight, for noise
    /// grows with it, and a share of the square root, which grows less: so that of gateways that share an
    /// upstream the one with less gets more.
    fn headroom(&self) -> f64 {
        0.03 * self.limit + 0.35 * self.limit.sqrt()
    }

    /// Decides, if the window tells enough.
    fn close(&mut self, now: Instant, seconds: f64) {
        let (in_flight, limit) = (self.window.mean_in_flight(), self.limit);
        let steady = matches!(self.stage, Stage::Steady | Stage::Suspect);
        let error = if steady { ERROR } else { ERROR_JUDGED };
        let work = self.window.work;
        let sure = self.baselines.iter().filter(|baseline| baseline.is_sure(work, error));
        if sure.map(Baseline::sum).sum::<f64>() * 2.0 < work {
            return;
        }
        self.round = Duration::from_secs_f64(work / f64::from(self.window.answers.max(1)));
        // By Little's law, what is in flight before the head of its answer.
        let ahead = (work / (seconds * in_flight).max(f64::MIN_POSITIVE)).min(1.0);
        self.ahead += AHEAD * (ahead - self.ahead);
        self.window = Window { began: Some(now), ..Window::default() };
        let load = match in_flight {
            in_flight if in_flight <= f64::from(self.bounds.min) && in_flight < USED * limit => Load::Quiet,
            in_flight if in_flight < IDLE * limit => Load::Idle,
            in_flight if in_flight < USED * limit => Load::Partial,
            _ => Load::Full,
        };
        // The queues that were measured now, and those that were measured earlier.
        let (mut queue, mut earlier) = (0.0, 0.0);
        for baseline in &mut self.baselines {
            if baseline.is_sure(work, error) {
                queue += self.ahead * in_flight * baseline.close(work, load, !steady);
            } else {
                baseline.carry(work);
                earlier += self.ahead * in_flight * baseline.waiting();
            }
        }
        match std::mem::replace(&mut self.stage, Stage::Steady) {
            stage @ (Stage::Steady | Stage::Suspect) if load == Load::Full => {
                self.follow(stage == Stage::Suspect, queue, earlier, in_flight);
            }
            Stage::Steady | Stage::Suspect => {}
            Stage::Cut(from) => {
                if load == Load::Full && self.judge(limit / from) == Verdict::Slower {
                    self.set(from, in_flight);
                }
            }
            Stage::Trial(from) => {
                let before = self.sum_of_bases();
                if load == Load::Full {
                    self.judge(limit / from);
                }
                let wrong = (self.sum_of_bases() - before).abs() > 0.03 * before;
                self.next_trial = if wrong { TRIAL_EVERY.1 } else { TRIAL_EVERY.0 };
                self.set(from, in_flight);
            }
        }
    }

    fn sum_of_bases(&self) -> f64 {
        self.baselines.iter().filter_map(Baseline::base).sum()
    }

    /// Takes the limit to where the queue is the headroom.
    fn follow(&mut self, suspected: bool, queue: f64, earlier: f64, in_flight: f64) {
        let headroom = self.headroom();
        if self.limit < SUNK * self.anchor && self.judge(self.limit / self.anchor) == Verdict::Slower {
            return self.set(self.anchor, in_flight);
        }
        if queue > HEAVY * headroom {
            if self.limit <= f64::from(self.bounds.min) {
                // As low as it may be: whatever an answer takes, it takes.
                self.baselines.iter_mut().for_each(Baseline::accept);
                return;
            }
            if !suspected {
                self.stage = Stage::Suspect;
                self.window.skip = in_flight as u32;
                return;
            }
            self.mark();
            self.stage = Stage::Cut(self.limit);
            return self.set((self.limit - queue + headroom).max(STEP * self.limit), in_flight);
        }
        self.next_trial = self.next_trial.saturating_sub(1);
        if self.next_trial == 0 {
            self.mark();
            self.stage = Stage::Trial(self.limit);
            return self.set(TRIAL * self.limit, in_flight);
        }
        // What was measured earlier is a reason not to grow, but not to shrink more than once.
        if queue > headroom {
            return self.set(self.limit + GAIN * (headroom - queue), in_flight);
        }
        let mut by = GAIN * (headroom - queue - earlier).max(0.0);
        // The longer no queue is seen, the bolder.
        self.free = if queue < FREE * headroom { self.free + 1 } else { 0 };
        by *= f64::from((1 + self.free).min(BOLD));
        if self.limit + by > OVERLOAD_CUT.1 * self.ceiling {
            by *= CAREFUL;
        }
        self.ceiling *= 1.0 + 0.1 * CAREFUL;
        self.set(self.limit + by, in_flight);
        self.mark();
    }

    /// Remembers what answers take at this limit.
    fn mark(&mut self) {
        self.anchor = self.limit;
        self.baselines.iter_mut().for_each(Baseline::mark);
    }

    /// Judges the cut to `share` for each route; the upstream is slower if a route is and no route shows a
    /// queue.
    fn judge(&mut self, share: f64) -> Verdict {
        let verdicts = self.baselines.iter_mut().map(|baseline| baseline.judge(share));
        verdicts.fold(Verdict::Unclear, |all, one| match (all, one) {
            (Verdict::Queue, _) | (_, Verdict::Queue) => Verdict::Queue,
            (Verdict::Slower, _) | (_, Verdict::Slower) => Verdict::Slower,
            (Verdict::Unclear, Verdict::Unclear) => Verdict::Unclear,
        })
    }

    /// Sets the limit; what is in flight by then began under the one before.
    fn set(&mut self, limit: f64, in_flight: f64) {
        let before = self.limit();
        self.limit = limit.clamp(f64::from(self.bounds.min), f64::from(self.bounds.max));
        if self.limit() != before {
            self.window.skip = in_flight as u32;
        }
    }
}
