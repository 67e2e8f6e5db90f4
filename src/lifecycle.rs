//! Where the process is in its life: starting, ready, draining.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A shared note of the phase the process is in; it only goes forward.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<AtomicU8>);

/// A phase of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No listener accepts connections yet.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has, and should be given no more.
    Draining,
}

impl Phase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl Lifecycle {
    /// All listeners accept connections.
    pub fn ready(&self) {
        self.advance(Phase::Ready);
    }

    /// The process has been asked to stop.
    pub fn draining(&self) {
        self.advance(Phase::Draining);
    }

    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_goes_forward() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.phase(), Phase::Starting);
        lifecycle.clone().ready();
        assert_eq!(lifecycle.phase(), Phase::Ready);
        lifecycle.draining();
        lifecycle.ready();
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }
}
