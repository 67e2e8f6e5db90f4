//! What a connection is doing, and what is wanted of it.

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing has been read yet.
    New = 0,
    /// Part of a head has been read.
    Head = 1,
    /// A request is being served.
    Busy = 2,
    /// The last request has been answered, the next one not begun.
    Idle = 3,
}

impl Phase {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::New,
            1 => Self::Head,
            2 => Self::Busy,
            _ => Self::Idle,
        }
    }
}

/// What the watchman wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Order {
    /// Go on.
    None = 0,
    /// Finish what is in flight, and end once nothing more can be on its way
    /// ([`Watched::may_end`](super::watched::Watched::may_end)).
    Drain = 1,
    /// The head took too long: say so and end.
    HeadTimeout = 2,
    /// End without a word.
    End = 3,
}

impl Order {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Drain,
            2 => Self::HeadTimeout,
            _ => Self::End,
        }
    }
}
