//! When an endpoint that fails is left out for a while: pure decisions; `now` is an argument.
//!
//! A failure is an attempt without a usable answer (no connection, a broken or malformed answer, a timeout)
//! or an answer that a gateway in front of a dead origin gives: 502, 503, 504. A 500 is no failure: it says
//! something about the request as often as about the endpoint. What the client did wrong never counts.
//!
//! An endpoint is out for `base`, the next time in a row for twice as long, up to `max`. At most a share of
//! all is out at once, and a single endpoint never is. When all are out, all are asked (the caller fails
//! open).

use std::time::Duration;

use crate::clock::Instant;

use super::plan::EjectionPlan;

/// The window of the error rate, in seconds.
const WINDOW: usize = 10;
/// The fewest requests in the window that make a rate.
const WINDOW_REQUESTS: u32 = 10;

/// Who is in and who is out.
#[derive(Debug)]
pub(super) struct Ejector {
    plan: EjectionPlan,
    start: Instant,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    consecutive: u32,
    window: [Second; WINDOW],
    out_until: Option<Instant>,
    /// How often it has been out in a row.
    times: u32,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Seconds since the start.
    at: u64,
    total: u32,
    failed: u32,
}

impl Ejector {
    /// All are in.
    pub(super) fn new(plan: EjectionPlan, endpoints: usize, now: Instant) -> Self {
        Self { plan, start: now, nodes: vec![Node::default(); endpoints] }
    }

    /// Whether an endpoint is out.
    pub(super) fn is_out(&self, index: usize, now: Instant) -> bool {
        self.nodes.get(index).is_some_and(|node| node.is_out(now))
    }

    /// How many are out.
    pub(super) fn out(&self, now: Instant) -> usize {
        self.nodes.iter().filter(|node| node.is_out(now)).count()
    }

    /// Takes in how an attempt ended; returns for how long the endpoint is out where that ejects it.
    pub(super) fn ended(&mut self, index: usize, now: Instant, failed: bool) -> Option<Duration> {
        let second = now.saturating_duration_since(self.start).as_secs();
        let may_eject = self.may_eject(now);
        let node = self.nodes.get_mut(index)?;
        if node.is_out(now) {
            return None;
        }
        node.forgive(now, &self.plan);
        node.count(second, failed);
        let ejected = failed && may_eject && node.is_outlier(second, &self.plan);
        ejected.then(|| node.eject(now, &self.plan))
    }

    fn may_eject(&self, now: Instant) -> bool {
        let all = self.nodes.len();
        let allowed = (self.plan.max_ejected * all as f64).floor();
        all > 1 && (self.out(now) + 1) as f64 <= allowed
    }
}

impl Node {
    fn is_out(&self, now: Instant) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    /// Forgets earlier ejections once it has been in for as long as it was out.
    fn forgive(&mut self, now: Instant, plan: &EjectionPlan) {
        if let Some(until) = self.out_until
            && now.saturating_duration_since(until) >= ejection_time(self.times, plan)
        {
            self.out_until = None;
            self.times = 0;
        }
    }

    fn count(&mut self, second: u64, failed: bool) {
        self.consecutive = if failed { self.consecutive.saturating_add(1) } else { 0 };
        let index = (second % WINDOW as u64) as usize;
        if let Some(slot) = self.window.get_mut(index) {
            if slot.at != second {
                *slot = Second { at: second, total: 0, failed: 0 };
            }
            slot.total = slot.total.saturating_add(1);
            slot.failed = slot.failed.saturating_add(u32::from(failed));
        }
    }

    fn is_outlier(&self, second: u64, plan: &EjectionPlan) -> bool {
        let in_a_row = plan.consecutive_errors > 0 && self.consecutive >= plan.consecutive_errors;
        in_a_row || (plan.error_rate > 0.0 && self.error_rate(second) >= plan.error_rate)
    }

    fn error_rate(&self, second: u64) -> f64 {
        let recent = self.window.iter().filter(|slot| slot.at + WINDOW as u64 > second);
        let (total, failed) = recent.fold((0u32, 0u32), |(total, failed), slot| {
            (total.saturating_add(slot.total), failed.saturating_add(slot.failed))
        });
        if total < WINDOW_REQUESTS { 0.0 } else { f64::from(failed) / f64::from(total) }
    }

    fn eject(&mut self, now: Instant, plan: &EjectionPlan) -> Duration {
        self.times = self.times.saturating_add(1);
        let time = ejection_time(self.times, plan);
        *self = Self { times: self.times, out_until: Some(now + time), ..Self::default() };
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

    fn plan() -> EjectionPlan {
        EjectionPlan {
            consecutive_errors: 3,
            error_rate: 0.5,
            base: Duration::from_secs(10),
            max: Duration::from_secs(25),
            max_ejected: 0.5,
        }
    }

    fn fail(ejector: &mut Ejector, index: usize, now: Instant, times: usize) -> Option<Duration> {
        (0..times).filter_map(|_| ejector.ended(index, now, true)).last()
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time() {
        let mut now = crate::clock::now().instant;
        let mut ejector = Ejector::new(plan(), 2, now);
        for seconds in [10, 20, 25, 25] {
            assert_eq!(fail(&mut ejector, 0, now, 2), None);
            assert_eq!(ejector.ended(0, now, true), Some(Duration::from_secs(seconds)));
            assert!(ejector.is_out(0, now));
            assert_eq!(fail(&mut ejector, 0, now, 9), None, "stragglers change nothing");
            now += Duration::from_secs(seconds);
            assert!(!ejector.is_out(0, now));
        }
        now += Duration::from_secs(25);
        assert_eq!(ejector.ended(0, now, false), None);
        assert_eq!(fail(&mut ejector, 0, now, 3), Some(Duration::from_secs(10)), "forgiven");
    }

    #[test]
    fn a_success_breaks_the_row_and_the_rate_needs_ten() {
        let now = crate::clock::now().instant;
        let mut ejector = Ejector::new(plan(), 2, now);
        for failed in [true, false, true, false, true, false, true, false, true] {
            assert_eq!(ejector.ended(0, now, failed), None);
        }
        // The tenth makes it six of ten.
        assert_eq!(ejector.ended(0, now, true), Some(Duration::from_secs(10)));
    }

    #[test]
    fn the_window_slides() {
        let now = crate::clock::now().instant;
        let mut ejector = Ejector::new(EjectionPlan { consecutive_errors: 0, ..plan() }, 2, now);
        assert_eq!(fail(&mut ejector, 0, now, 9), None);
        assert_eq!(ejector.ended(0, now + Duration::from_secs(10), true), None, "only one is recent");
    }

    #[test]
    fn so_many_and_no_more_are_out() {
        let now = crate::clock::now().instant;
        for (endpoints, max_ejected, out) in
            [(1, 1.0, 0), (2, 0.5, 1), (2, 0.4, 0), (3, 0.5, 1), (4, 0.5, 2), (2, 1.0, 2), (3, 0.0, 0)]
        {
            let mut ejector = Ejector::new(EjectionPlan { max_ejected, ..plan() }, endpoints, now);
            for index in 0..endpoints {
                fail(&mut ejector, index, now, 3);
            }
            assert_eq!(ejector.out(now), out, "{endpoints} endpoints, {max_ejected}");
        }
    }

    #[test]
    fn zero_turns_a_rule_off() {
        let now = crate::clock::now().instant;
        let off = EjectionPlan { consecutive_errors: 0, error_rate: 0.0, ..plan() };
        let mut ejector = Ejector::new(off, 2, now);
        assert_eq!(fail(&mut ejector, 0, now, 100), None);
    }
}
