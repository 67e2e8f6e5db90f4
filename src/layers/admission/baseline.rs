//! What the answers of one route take when nothing queues at the upstream, and how many queue when they
//! take longer.
//!
//! By Little's law the requests that wait at the upstream are to those in flight as the time they wait is to
//! the time they take. Only means will do: a
//! quantile is blind for a queue that only some requests meet, as when work goes through the upstream in
//! batches. The price is noise. So a baseline measures until the error of its estimate is small against the
//! limit: 24 answers where all take the same time, some hundreds where they do not.

/// The fewest answers that have a mean worth the name.
const LEAST: f64 = 8.0;
/// The most: by then the estimate is as good as it gets.
const MOST: f64 = 1000.0;

/// A mean tells nothing of what it would be when this share of the answers is not awaited.
const UNCLEAR: f64 = 0.25;
/// What is left of a variance after a measurement with a smaller one.
const FORGET: f64 = 0.7;
/// The share of its distance by which a baseline follows what is below it while the upstream is busy.
const DOWN: f64 = 0.3;
/// Less than this below it is noise.
const DOWN_NOISE: f64 = 0.9;
/// The shares by which it follows down and up while more could be in flight.
const IDLE: (f64, f64) = (0.1, 0.02);
/// The share by which it follows in either direction while next to nothing is in flight.
const QUIET: f64 = 0.1;
/// The shares by which it follows what a cut shows, below it and, if nothing else is to be seen, above it.
const BELOW: f64 = 0.75;
const ABOVE: f64 = 0.25;
/// A drop of latency that was expected to be smaller than this share cannot be told from noise.
const JUDGED: f64 = 0.04;
/// Less than this share of the expected drop is no response.
const RESPONSE: f64 = 0.25;

/// A wait at the upstream that nobody has to be kept from, in seconds. To an upstream that answers in a
/// fraction of a millisecond, ours and the scheduler's own delays look like a queue of many; CoDel lets 5 ms
/// stand (RFC 8289 §4.4), for links where that is a packet or two.
const SLACK: f64 = 0.002;

/// What counts of a wait, in seconds: next to nothing below [`SLACK`], nearly all far above it.
fn wait(above_base: f64) -> f64 {
    let wait = above_base.max(0.0);
    wait * wait * wait / (wait * wait + SLACK * SLACK)
}

/// How busy the upstream was while the latencies were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So little that nothing can queue: no more than the least limit.
    Quiet,
    /// Less than half of what it may be given.
    Idle,
    /// Something in between.
    Partial,
    /// All that it may be given.
    Full,
}

/// The latencies of one route, in seconds.
#[derive(Debug, Default)]
pub struct Baseline {
    count: f64,
    sum: f64,
    squares: f64,
    /// Of those, the ones that were not awaited.
    cut_short: f64,
    /// The variance of one latency; it is forgotten slowly, for a few answers alike prove nothing.
    variance: f64,
    /// The time that the answers of all routes took while it has been measuring, this window aside.
    work: f64,
    /// How often it has measured.
    rounds: f64,
    /// What an answer takes without a wait, once known.
    base: Option<f64>,
    /// What it took in the last measurement.
    now: Option<f64>,
    /// Whether many answers were not awaited in the last measurement: then it took longer than that.
    unclear: bool,
    /// What it took before the limit was cut.
    before: Option<f64>,
    /// The share of all time that was a wait of this route in the last measurement.
    waiting: f64,
}

impl Baseline {
    /// Takes note of an answer's latency in seconds; of one that was not `awaited`, it is only known that it
    /// would have taken longer.
    pub fn add(&mut self, seconds: f64, awaited: bool) {
        self.count += 1.0;
        self.cut_short += f64::from(!awaited);
        self.sum += seconds;
        self.squares += seconds * seconds;
        // The first answers began before there could be a queue.
        if self.base.is_none() && self.count >= LEAST && self.cut_short < 1.0 {
            self.base = Some(self.sum / self.count);
        }
    }

    /// What an answer takes without a wait, once known.
    pub const fn base(&self) -> Option<f64> {
        self.base
    }

    /// How many answers have been measured since the last estimate.
    pub const fn count(&self) -> f64 {
        self.count
    }

    /// The time they took together.
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// The share of all time that was a wait of this route, as of the last measurement.
    pub const fn waiting(&self) -> f64 {
        self.waiting
    }

    /// Whether the share can be told to within `error`, after a window in which the answers of all routes
    /// took so many seconds.
    pub fn is_sure(&self, work: f64, error: f64) -> bool {
        let deviation = (self.count * self.variance().max(FORGET * self.variance)).sqrt();
        self.count >= MOST || self.count >= LEAST && deviation <= error * (self.work + work)
    }

    fn variance(&self) -> f64 {
        let mean = self.sum / self.count.max(1.0);
        (self.squares / self.count.max(1.0) - mean * mean).max(0.0)
    }

    /// Takes what an answer takes now for what it takes without a wait.
    pub const fn accept(&mut self) {
        if !self.unclear {
            self.base = self.now;
        }
    }

    /// Ends a window whose share cannot be told yet: it is measured further.
    pub fn carry(&mut self, work: f64) {
        self.work += work;
    }

    /// Ends a measurement, and learns from it unless the limit is being tried: the share of all time that was
    /// a wait of this route.
    pub fn close(&mut self, work: f64, load: Load, trying: bool) -> f64 {
        let now = self.sum / self.count.max(1.0);
        let mut base = *self.base.get_or_insert(now);
        self.unclear = self.cut_short > UNCLEAR * self.count;
        if !trying && !self.unclear {
            self.rounds += 1.0;
            base += (now - base)
                * match load {
                    Load::Quiet => QUIET.max(1.0 / self.rounds),
                    Load::Idle if now < base => IDLE.0,
                    Load::Idle => IDLE.1,
                    Load::Partial | Load::Full if now < DOWN_NOISE * base => DOWN,
                    Load::Partial | Load::Full => 0.0,
                };
        }
        self.waiting = self.count * wait(now - base) / (self.work + work).max(f64::MIN_POSITIVE);
        self.variance = self.variance().max(FORGET * self.variance);
        (self.now, self.base) = (Some(now), Some(base));
        (self.count, self.sum, self.squares, self.cut_short, self.work) = (0.0, 0.0, 0.0, 0.0, 0.0);
        self.waiting
    }

    /// Remembers the latency before the limit is cut.
    pub const fn mark(&mut self) {
        self.before = self.now;
    }

    /// Judges what the latency did when the limit was cut to `share` of what it was: whether it fell as a
    /// queue's would have.
    ///
    /// A queue at the upstream shrinks with what is in flight; a slower upstream stays as slow as it is.
    pub fn judge(&mut self, share: f64) -> Verdict {
        let (Some(before), Some(now), Some(base)) = (self.before.take(), self.now, self.base) else {
            return Verdict::Unclear;
        };
        if self.unclear {
            return Verdict::Queue;
        }
        let expected = before - base.max(share * before);
        let (base, verdict) = if now < base {
            let share = if now < DOWN_NOISE * base { BELOW } else { ABOVE };
            (base + share * (now - base), Verdict::Queue)
        } else if expected < JUDGED * base {
            (base + ABOVE * (now.min(before).max(base) - base), Verdict::Unclear)
        } else if before - now < RESPONSE * expected {
            (now.min(before), Verdict::Slower)
        } else {
            (base, Verdict::Queue)
        };
        self.base = Some(base);
        verdict
    }
}

/// What a cut of the limit told about a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Latency fell: there was a queue.
    Queue,
    /// Latency stayed: the upstream is slower than it was, and the baseline has been raised to that.
    Slower,
    /// There was too little to go by.
    Unclear,
}
