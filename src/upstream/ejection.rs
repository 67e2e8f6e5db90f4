//! When an endpoint that fails is left out for a while, and how it comes back: pure decisions; `now` is an
//! argument.
//!
//! A failure is an attempt without a usable answer (no connection, a broken or malformed answer, a timeout)
//! or an answer that a gateway in front of a dead origin gives: 502, 503, 504. A 500 is no failure: it says
//! something about the request as often as about the endpoint. What the client did wrong never counts. An
//! endpoint several times slower than the others is no better than one that fails, where `latency_factor`
//! says so.
//!
//! An endpoint is out for `base`, the next time in a row for twice as long, up to `max`. Then it is on trial:
//! one request at a time, and the first failure puts it out again; after [`TRIALS`] good ones it is in, and
//! its share grows to the full one over `slow_start`. Each time that it stays in for as long as it was out
//! takes one doubling back.
//!
//! At most a share of all is out at once, those that fail their probes included, and a single endpoint never
//! is. When all are out, all are asked (the caller fails open).

use std::time::Duration;

use crate::clock::Instant;

use super::plan::EjectionPlan;

/// The window of rates and latencies, in seconds.
const WINDOW: usize = 10;
/// The fewest requests in the window that make a rate, or a latency.
const WINDOW_REQUESTS: u32 = 10;
/// How many good answers in a row an endpoint on trial needs.
const TRIALS: u32 = 3;
/// An endpoint that answers within this time, in seconds, is not slow, whatever the others do.
const FAST: f64 = 0.005;
/// The share that an endpoint starts with when it is back.
const SHARE_MIN: f64 = 0.1;
/// Doublings beyond this make no difference to any `max`.
const TIMES_MAX: u32 = 32;

/// Who is in and who is out.
#[derive(Debug)]
pub(super) struct Ejector {
    plan: EjectionPlan,
    slow_start: Duration,
    start: Instant,
    nodes: Vec<Node>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// When it began.
    pub(super) began: Instant,
    /// Whether it failed.
    pub(super) failed: bool,
    /// The time to its response head, if one came.
    pub(super) latency: Option<Duration>,
}

/// That an endpoint is out from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ejected {
    /// For how long.
    pub(super) time: Duration,
    /// Why.
    pub(super) why: Why,
}

/// Why an endpoint is put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// So many failures in a row.
    ConsecutiveErrors,
    /// Such a share of failures.
    ErrorRate,
    /// Several times slower than the others.
    Latency,
    /// It failed when it was on trial.
    Trial,
}

impl Why {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::ConsecutiveErrors, Self::ErrorRate, Self::Latency, Self::Trial];

    /// The word for log and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveErrors => "consecutive_errors",
            Self::ErrorRate => "error_rate",
            Self::Latency => "latency",
            Self::Trial => "trial",
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Node {
    consecutive: u32,
    window: [Second; WINDOW],
    /// Until when it is out; from then on it is on trial, until this is none again.
    out_until: Option<Instant>,
    /// Whether a request tries it just now, while it is on trial.
    tried: bool,
    /// Good answers on trial.
    passed: u32,
    /// How often it has been out, less what was forgiven.
    times: u32,
    /// Since when it is in; none if it always was.
    back: Option<Instant>,
    /// From when on being in has not been rewarded yet.
    unforgiven: Option<Instant>,
    /// The second in which its latency was compared last.
    compared: u64,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Seconds since the start.
    at: u64,
    total: u32,
    failed: u32,
    answered: u32,
    /// Of all answers together, in seconds.
    latency: f64,
}

impl Ejector {
    /// All are in.
    pub(super) fn new(plan: EjectionPlan, slow_start: Duration, endpoints: usize, now: Instant) -> Self {
        Self { plan, slow_start, start: now, nodes: vec![Node::default(); endpoints] }
    }

    /// Counts seconds from the same start as another one, so that it can take over from it.
    pub(super) const fn counts_like(&mut self, before: &Self) {
        self.start = before.start;
    }

    /// Takes over what is known of an endpoint: here its index is `index`, there it was `was`. A request that
    /// tries it just now is none of ours.
    pub(super) fn take_over(&mut self, index: usize, before: &Self, was: usize) {
        if let (Some(node), Some(known)) = (self.nodes.get_mut(index), before.nodes.get(was)) {
            *node = Node { tried: false, ..known.clone() };
        }
    }

    /// Whether an endpoint is out.
    pub(super) fn is_out(&self, index: usize, now: Instant) -> bool {
        self.nodes.get(index).is_some_and(|node| node.is_out(now))
    }

    /// Whether an endpoint takes one more request: it is in, or it is on trial and nobody tries it.
    pub(super) fn admits(&self, index: usize, now: Instant) -> bool {
        self.nodes.get(index).is_none_or(|node| match node.out_until {
            None => true,
            Some(until) => now >= until && !node.tried,
        })
    }

    /// The part of its full share that an endpoint takes, 0 to 1: less than 1 for a while after it is back.
    pub(super) fn share(&self, index: usize, now: Instant) -> f64 {
        let back = self.nodes.get(index).and_then(|node| node.back);
        let Some(back) = back.filter(|_| !self.slow_start.is_zero()) else { return 1.0 };
        let since = now.saturating_duration_since(back);
        (since.as_secs_f64() / self.slow_start.as_secs_f64()).clamp(SHARE_MIN, 1.0)
    }

    /// A request is sent to an endpoint; says whether that tries one that is on trial. If so,
    /// [`tried`](Self::tried) must follow.
    pub(super) fn begins(&mut self, index: usize, now: Instant) -> bool {
        let Some(node) = self.nodes.get_mut(index) else { return false };
        let trial = !node.tried && node.out_until.is_some_and(|until| now >= until);
        node.tried |= trial;
        trial
    }

    /// The request that tries an endpoint has its answer, or has gone without.
    pub(super) fn tried(&mut self, index: usize) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.tried = false;
        }
    }

    /// Probes say that an endpoint is well again: it starts slowly.
    pub(super) fn recovered(&mut self, index: usize, now: Instant) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.back = Some(now);
        }
    }

    /// Takes in how an attempt ended; tells where that puts the endpoint out. `unhealthy` says of which
    /// endpoints probes do.
    pub(super) fn ended(
        &mut self,
        index: usize,
        now: Instant,
        ended: Ended,
        unhealthy: impl Fn(usize) -> bool,
    ) -> Option<Ejected> {
        let second = now.saturating_duration_since(self.start).as_secs();
        let node = self.nodes.get_mut(index)?;
        if let Some(until) = node.out_until {
            // What was sent before its time was up says nothing about how it is now.
            return if ended.began < until { None } else { node.judge_trial(now, ended.failed, &self.plan) };
        }
        node.forgive(now, &self.plan);
        node.count(second, ended);
        let why = if ended.failed { node.fails(second, &self.plan) } else { self.is_slow(index, second) };
        let why = why.filter(|_| self.may_eject(index, &unhealthy))?;
        let node = self.nodes.get_mut(index)?;
        Some(Ejected { time: node.eject(now, &self.plan), why })
    }

    /// Whether there is room for one more that is out. One on trial takes its place until it is in.
    fn may_eject(&self, index: usize, unhealthy: impl Fn(usize) -> bool) -> bool {
        let all = self.nodes.len();
        let allowed = (self.plan.max_ejected * all as f64).floor();
        let is_gone =
            |(other, node): (usize, &Node)| other != index && (node.out_until.is_some() || unhealthy(other));
        let gone = self.nodes.iter().enumerate().filter(|node| is_gone(*node)).count();
        all > 1 && (gone + 1) as f64 <= allowed
    }

    /// Whether an endpoint is an outlier by its latency; looked at once a second.
    fn is_slow(&mut self, index: usize, second: u64) -> Option<Why> {
        let node = self.nodes.get_mut(index)?;
        if self.plan.latency_factor == 0.0 || node.compared == second {
            return None;
        }
        node.compared = second;
        let mine = node.latency(second).filter(|latency| *latency > FAST)?;
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        let mut others: Vec<f64> = others.filter_map(|(_, node)| node.latency(second)).collect();
        others.sort_by(f64::total_cmp);
        let median = others.get(others.len() / 2)?;
        (mine > median * self.plan.latency_factor).then_some(Why::Latency)
    }
}

impl Node {
    fn is_out(&self, now: Instant) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    fn judge_trial(&mut self, now: Instant, failed: bool, plan: &EjectionPlan) -> Option<Ejected> {
        if failed {
            return Some(Ejected { time: self.eject(now, plan), why: Why::Trial });
        }
        self.passed += 1;
        if self.passed >= TRIALS {
            let in_again = Self { times: self.times, tried: self.tried, ..Self::default() };
            *self = Self { back: Some(now), unforgiven: Some(now), ..in_again };
        }
        None
    }

    /// Takes a doubling back for each time that it was in for as long as it was out.
    fn forgive(&mut self, now: Instant, plan: &EjectionPlan) {
        while let Some(since) = self.unforgiven {
            let time = ejection_time(self.times, plan);
            if now.saturating_duration_since(since) < time {
                return;
            }
            self.times = self.times.saturating_sub(1);
            self.unforgiven = (self.times > 0).then(|| since + time);
        }
    }

    fn count(&mut self, second: u64, ended: Ended) {
        self.consecutive = if ended.failed { self.consecutive.saturating_add(1) } else { 0 };
        let index = (second % WINDOW as u64) as usize;
        let Some(slot) = self.window.get_mut(index) else { return };
        if slot.at != second {
            *slot = Second { at: second, ..Second::default() };
        }
        slot.total = slot.total.saturating_add(1);
        slot.failed = slot.failed.saturating_add(u32::from(ended.failed));
        if let Some(latency) = ended.latency {
            slot.answered = slot.answered.saturating_add(1);
            slot.latency += latency.as_secs_f64();
        }
    }

    fn fails(&self, second: u64, plan: &EjectionPlan) -> Option<Why> {
        if plan.consecutive_errors > 0 && self.consecutive >= plan.consecutive_errors {
            return Some(Why::ConsecutiveErrors);
        }
        let too_often = plan.error_rate > 0.0 && self.error_rate(second) >= plan.error_rate;
        too_often.then_some(Why::ErrorRate)
    }

    fn recent(&self, second: u64) -> impl Iterator<Item = &Second> {
        self.window.iter().filter(move |slot| slot.at + WINDOW as u64 > second)
    }

    fn error_rate(&self, second: u64) -> f64 {
        let (total, failed) = self.recent(second).fold((0u32, 0u32), |(total, failed), slot| {
            (total.saturating_add(slot.total), failed.saturating_add(slot.failed))
        });
        if total < WINDOW_REQUESTS { 0.0 } else { f64::from(failed) / f64::from(total) }
    }

    /// Its mean latency in seconds, if it has answered often enough.
    fn latency(&self, second: u64) -> Option<f64> {
        let (answered, sum) = self.recent(second).fold((0u32, 0.0), |(answered, sum), slot| {
            (answered.saturating_add(slot.answered), sum + slot.latency)
        });
        (answered >= WINDOW_REQUESTS).then(|| sum / f64::from(answered))
    }

    fn eject(&mut self, now: Instant, plan: &EjectionPlan) -> Duration {
        let times = (self.times + 1).min(TIMES_MAX);
        let time = ejection_time(times, plan);
        *self = Self { times, tried: self.tried, out_until: Some(now + time), ..Self::default() };
        time
    }
}

/// `base`, doubled each time in a row, up to `max`.
fn ejection_time(times: u32, plan: &EjectionPlan) -> Duration {
    let doublings = times.saturating_sub(1).min(31);
    plan.base.saturating_mul(1 << doublings).min(plan.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan() -> EjectionPlan {
        EjectionPlan {
            consecutive_errors: 3,
            error_rate: 0.5,
            latency_factor: 0.0,
            base: Duration::from_secs(10),
            max: Duration::from_secs(25),
            max_ejected: 0.5,
        }
    }

    fn ejector(plan: EjectionPlan, endpoints: usize, now: Instant) -> Ejector {
        Ejector::new(plan, 10 * SECOND, endpoints, now)
    }

    fn ended(ejector: &mut Ejector, index: usize, now: Instant, failed: bool) -> Option<Ejected> {
        let latency = (!failed).then_some(Duration::from_millis(1));
        ejector.ended(index, now, Ended { began: now, failed, latency }, |_| false)
    }

    fn fail(ejector: &mut Ejector, index: usize, now: Instant, times: usize) -> Option<Ejected> {
        (0..times).filter_map(|_| ended(ejector, index, now, true)).last()
    }

    fn out(ejector: &Ejector, now: Instant) -> usize {
        (0..ejector.nodes.len()).filter(|index| ejector.is_out(*index, now)).count()
    }

    #[test]
    fn an_endpoint_on_trial_is_out_again_for_longer_at_its_first_failure() {
        let mut now = crate::clock::instant();
        let mut ejector = ejector(plan(), 2, now);
        assert_eq!(fail(&mut ejector, 0, now, 2), None);
        let first = Ejected { time: 10 * SECOND, why: Why::ConsecutiveErrors };
        assert_eq!(ended(&mut ejector, 0, now, true), Some(first));
        for (seconds, next) in [(10, 20), (20, 25), (25, 25)] {
            assert!(ejector.is_out(0, now) && !ejector.admits(0, now));
            assert_eq!(fail(&mut ejector, 0, now, 9), None, "stragglers change nothing");
            now += seconds * SECOND;
            assert!(!ejector.is_out(0, now) && ejector.admits(0, now));
            let again = Ejected { time: next * SECOND, why: Why::Trial };
            assert_eq!(ended(&mut ejector, 0, now, true), Some(again));
        }
    }

    #[test]
    fn a_trial_is_one_request_at_a_time_and_what_began_before_does_not_count() {
        let now = crate::clock::instant();
        let mut ejector = ejector(plan(), 2, now);
        assert!(!ejector.begins(0, now), "an endpoint that is in is not tried");
        fail(&mut ejector, 0, now, 3);
        let later = now + 10 * SECOND;
        for passed in 0..TRIALS {
            assert!(ejector.begins(0, later), "{passed}");
            assert!(!ejector.admits(0, later) && !ejector.begins(0, later), "one at a time");
            let straggler = Ended { began: now, failed: true, latency: None };
            assert_eq!(ejector.ended(0, later, straggler, |_| false), None);
            ejector.tried(0);
            assert!(ejector.admits(0, later));
            assert_eq!(ended(&mut ejector, 0, later, false), None);
        }
        assert!(ejector.admits(0, later) && !ejector.begins(0, later), "in");
        assert_eq!(fail(&mut ejector, 0, later, 2), None, "and judged like any other");
    }

    /// Ejected three times in a row, then in for so long, then ejected again.
    #[test]
    fn the_time_shrinks_again() {
        for (seconds, expected) in [(0, 25), (24, 25), (25, 25), (45, 20), (55, 10), (999, 10)] {
            let mut now = crate::clock::instant();
            let mut ejector = ejector(plan(), 2, now);
            fail(&mut ejector, 0, now, 3);
            for time in [10, 20] {
                now += time * SECOND;
                fail(&mut ejector, 0, now, 1);
            }
            now += 25 * SECOND;
            (0..TRIALS).for_each(|_| assert_eq!(ended(&mut ejector, 0, now, false), None));
            now += seconds * SECOND;
            let ejected = fail(&mut ejector, 0, now, 3).unwrap();
            assert_eq!(ejected.time, expected * SECOND, "after {seconds} s");
        }
    }

    #[test]
    fn the_share_grows_when_it_is_back() {
        let now = crate::clock::instant();
        let mut ejector = ejector(plan(), 2, now);
        assert_eq!(ejector.share(0, now), 1.0, "who was never out has all of it");
        ejector.recovered(0, now);
        for (seconds, share) in [(0, 0.1), (1, 0.1), (5, 0.5), (10, 1.0), (99, 1.0)] {
            assert_eq!(ejector.share(0, now + seconds * SECOND), share, "{seconds}");
        }
        assert_eq!(ejector.share(1, now), 1.0);
        let mut off = Ejector::new(plan(), Duration::ZERO, 2, now);
        off.recovered(0, now);
        assert_eq!(off.share(0, now), 1.0);
    }

    #[test]
    fn a_success_breaks_the_row_and_the_rate_needs_ten() {
        let now = crate::clock::instant();
        let mut ejector = ejector(plan(), 2, now);
        for failed in [true, false, true, false, true, false, true, false, true] {
            assert_eq!(ended(&mut ejector, 0, now, failed), None);
        }
        // The tenth makes it six of ten.
        let expected = Ejected { time: 10 * SECOND, why: Why::ErrorRate };
        assert_eq!(ended(&mut ejector, 0, now, true), Some(expected));
    }

    #[test]
    fn the_window_slides() {
        let now = crate::clock::instant();
        let mut ejector = ejector(EjectionPlan { consecutive_errors: 0, ..plan() }, 2, now);
        assert_eq!(fail(&mut ejector, 0, now, 9), None);
        assert_eq!(ended(&mut ejector, 0, now + 10 * SECOND, true), None, "only one is recent");
    }

    #[test]
    fn so_many_and_no_more_are_out() {
        let now = crate::clock::instant();
        for (endpoints, max_ejected, expected) in
            [(1, 1.0, 0), (2, 0.5, 1), (2, 0.4, 0), (3, 0.5, 1), (4, 0.5, 2), (2, 1.0, 2), (3, 0.0, 0)]
        {
            let mut ejector = ejector(EjectionPlan { max_ejected, ..plan() }, endpoints, now);
            for index in 0..endpoints {
                fail(&mut ejector, index, now, 3);
            }
            assert_eq!(out(&ejector, now), expected, "{endpoints} endpoints, {max_ejected}");
        }
    }

    /// The last one that probes leave is not put out, and one on trial keeps its place.
    #[test]
    fn those_that_are_gone_for_another_reason_count() {
        let now = crate::clock::instant();
        let mut probed = ejector(plan(), 2, now);
        let failure = Ended { began: now, failed: true, latency: None };
        assert!((0..9).all(|_| probed.ended(0, now, failure, |index| index == 1).is_none()));
        let mut ejector = ejector(plan(), 2, now);
        fail(&mut ejector, 0, now, 3);
        let later = now + 10 * SECOND;
        assert_eq!(fail(&mut ejector, 1, later, 9), None);
    }

    #[test]
    fn slow_endpoints_are_outliers_where_the_factor_says_so() {
        for (factor, millis, expected) in [
            (0.0, [1000, 10, 10], None),
            (5.0, [60, 10, 10], Some(Why::Latency)),
            (5.0, [60, 10, 20], None),
            (5.0, [40, 10, 10], None),
            // In fractions of milliseconds everyone is fast.
            (5.0, [4, 0, 0], None),
        ] {
            let now = crate::clock::instant();
            let mut ejector = ejector(EjectionPlan { latency_factor: factor, ..plan() }, 3, now);
            let mut found = None;
            for round in 0..30 {
                // Over two seconds, for it is compared once a second.
                let now = now + round * Duration::from_millis(100);
                for (index, millis) in millis.into_iter().enumerate() {
                    let latency = Some(Duration::from_millis(millis));
                    let answer = Ended { began: now, failed: false, latency };
                    let ejected = ejector.ended(index, now, answer, |_| false);
                    assert!(ejected.is_none() || index == 0, "{millis}");
                    found = found.or(ejected);
                }
            }
            assert_eq!(found.map(|ejected| ejected.why), expected, "{factor} {millis:?}");
        }
    }

    #[test]
    fn zero_turns_a_rule_off() {
        let now = crate::clock::instant();
        let off = EjectionPlan { consecutive_errors: 0, error_rate: 0.0, ..plan() };
        let mut ejector = ejector(off, 2, now);
        assert_eq!(fail(&mut ejector, 0, now, 100), None);
    }
}
