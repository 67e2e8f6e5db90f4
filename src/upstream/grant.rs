//! What a pool grants, as values whose drop gives it back.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::connection::{Exclusive, Shared};
use super::pool::Pool;

/// What a request can be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Any connection.
    Any,
    /// An HTTP/1.1 connection: for an upgrade.
    Http1,
    /// A new connection: an idle one has just turned out to be dead.
    Fresh,
}

/// What a request gets to be sent on.
#[derive(Debug)]
pub(super) enum Grant {
    /// An HTTP/1.1 connection for itself.
    Exclusive(Exclusive),
    /// A stream of a shared connection.
    Stream(Stream),
    /// A place for a connection, which is to be made.
    Dial(Dial),
}

/// A grant, or a place in line for one.
#[derive(Debug)]
pub(super) enum Checkout {
    Now(Grant),
    Wait(oneshot::Receiver<Grant>),
    /// The line is full.
    Full,
}

/// A place for one connection, freed by its drop.
#[derive(Debug)]
pub(super) struct Slot(Weak<Pool>);

impl Slot {
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self(Arc::downgrade(pool))
    }

    /// The place of a connection that no pool counts: a probe's.
    pub(super) const fn apart() -> Self {
        Self(Weak::new())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.slot_freed();
        }
    }
}

/// A place for a connection that is to be made.
#[derive(Debug)]
pub(super) struct Dial {
    /// The place.
    pub(super) slot: Slot,
    /// Where others wait for the outcome; ends at its drop.
    pub(super) flight: Option<Flight>,
}

/// The one attempt to connect that others wait for.
#[derive(Debug)]
pub(super) struct Flight(Weak<Pool>);

impl Flight {
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self(Arc::downgrade(pool))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.flight_ended();
        }
    }
}

/// One stream of a shared connection, given back by its drop.
#[derive(Debug)]
pub(super) struct Stream {
    pool: Arc<Pool>,
    id: u64,
    /// The connection it is a stream of.
    pub(super) connection: Shared,
}

impl Stream {
    pub(super) fn new(pool: &Arc<Pool>, id: u64, connection: Shared) -> Self {
        Self { pool: Arc::clone(pool), id, connection }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.pool.stream_ended(self.id);
    }
}
