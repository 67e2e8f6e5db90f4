//! Whether a request waits for another one's answer: what the route lately answered tells.
//!
//! Of a key that was never asked for nothing is known. Where a route's answers can be shared, one request
//! should fetch for all; where they never can, a follower waits for a head only to learn that it has to go
//! itself, and takes the time of two. So a route remembers whether its last answers for unknown keys could be
//! shared. One that could is enough to collapse; without any, collapsing is tried. Requests with
//! `Authorization` are remembered apart, for their answers mostly belong to one user (RFC 9111 §3.5).
//!
//! It is a guess that costs no correctness: a request that is not collapsed only asks the origin itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Wall;

/// For how many seconds the last answer counts.
const LATELY_SECS: u32 = 60;

/// Whether a request that has to go to the origin follows another one, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collapse {
    /// It does, if another one is under way.
    Yes,
    /// The route is configured not to.
    Disabled,
    /// The client wants the origin's own word (RFC 9111 §5.2.1.4).
    NoCache,
    /// The route's last answers could not be shared.
    NeverShared,
    /// What is arriving is no longer fresh for this request.
    Outdated,
}

impl Collapse {
    /// All, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Yes, Self::Disabled, Self::NoCache, Self::NeverShared, Self::Outdated];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Disabled => "collapse-disabled",
            Self::NoCache => "client-no-cache",
            Self::NeverShared => "never-shared",
            Self::Outdated => "outdated",
        }
    }

    /// Decides. `shareable` is what the route's history tells of an unknown key; none where the key is known.
    pub const fn decide(enabled: bool, no_cache: bool, shareable: Option<bool>) -> Self {
        match (enabled, no_cache, shareable) {
            (false, _, _) => Self::Disabled,
            (true, true, _) => Self::NoCache,
            (true, false, Some(false)) => Self::NeverShared,
            (true, false, Some(true) | None) => Self::Yes,
        }
    }
}

/// The last answers for unknown keys, and when the newest came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct History {
    /// A bit each, the newest lowest: set where the answer could be shared.
    answers: u32,
    /// The second of the newest one; 0 where there is none.
    newest: u32,
}

impl History {
    const fn unpack(packed: u64) -> Self {
        Self { answers: packed as u32, newest: (packed >> 32) as u32 }
    }

    const fn pack(self) -> u64 {
        (self.newest as u64) << 32 | self.answers as u64
    }

    /// Whether an answer may well be shared: some of the last ones could, or nothing is known.
    const fn shareable(self, now: u32) -> bool {
        self.answers != 0 || self.newest == 0 || now.saturating_sub(self.newest) > LATELY_SECS
    }

    /// The history with one more answer.
    const fn with(self, shared: bool, now: u32) -> Self {
        Self { answers: self.answers << 1 | shared as u32, newest: if now == 0 { 1 } else { now } }
    }
}

/// What a route remembers: without `Authorization`, and with.
#[derive(Debug, Default)]
pub struct Evidence([AtomicU64; 2]);

impl Evidence {
    /// Whether the answer for an unknown key may well be shared.
    pub fn shareable(&self, authorized: bool, now: Wall) -> bool {
        History::unpack(self.of(authorized).load(Ordering::Relaxed)).shareable(seconds(now))
    }

    /// Remembers whether the answer for an unknown key could be shared.
    pub fn learn(&self, authorized: bool, shared: bool, now: Wall) {
        let with = |packed| History::unpack(packed).with(shared, seconds(now)).pack();
        self.of(authorized).update(Ordering::Relaxed, Ordering::Relaxed, with);
    }

    const fn of(&self, authorized: bool) -> &AtomicU64 {
        let [open, restricted] = &self.0;
        if authorized { restricted } else { open }
    }
}

fn seconds(now: Wall) -> u32 {
    u32::try_from(now.secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        for (enabled, no_cache, shareable, decision) in [
            (true, false, None, Collapse::Yes),
            (true, false, Some(true), Collapse::Yes),
            (true, false, Some(false), Collapse::NeverShared),
            (true, true, None, Collapse::NoCache),
            (true, true, Some(false), Collapse::NoCache),
            (false, false, None, Collapse::Disabled),
            (false, true, Some(false), Collapse::Disabled),
        ] {
            let decided = Collapse::decide(enabled, no_cache, shareable);
            assert_eq!(decided, decision, "{enabled} {no_cache} {shareable:?}");
        }
        for (index, decision) in Collapse::ALL.into_iter().enumerate() {
            assert_eq!(decision as usize, index, "{}", decision.as_str());
        }
    }

    /// Answers as a text: `s` could be shared, `-` could not.
    #[test]
    fn what_the_last_answers_tell() {
        let many = "-".repeat(31);
        for (answers, shareable) in [
            ("", true),
            ("s", true),
            ("-", false),
            ("--", false),
            ("-s", true),
            ("s-", true),
            ("-s-", true),
            (&format!("s{many}"), true),
            (&format!("s{many}-"), false),
            (&format!("s{many}-s"), true),
        ] {
            let evidence = Evidence::default();
            let now = Wall::from_secs(1_000);
            answers.bytes().for_each(|answer| evidence.learn(false, answer == b's', now));
            assert_eq!(evidence.shareable(false, now), shareable, "{answers}");
            assert!(evidence.shareable(true, now), "requests with Authorization are remembered apart");
        }
    }

    #[test]
    fn what_was_long_ago_tells_nothing() {
        let evidence = Evidence::default();
        evidence.learn(true, false, Wall::from_secs(1_000));
        for (now, shareable) in [(1_000, false), (1_060, false), (1_061, true), (900, false), (0, false)] {
            assert_eq!(evidence.shareable(true, Wall::from_secs(now)), shareable, "{now}");
        }
        assert!(evidence.shareable(false, Wall::from_secs(1_000)));
    }
}
