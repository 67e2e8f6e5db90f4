//! The permit of a request whose body is still arriving: it may have to make way.
//!
//! A client can send a head and then nothing, or next to nothing, at no cost to itself. Its request is at the
//! upstream all the same, holds a permit, and keeps others from being served until `body_timeout`. So while
//! others wait for a permit, the body asks here whether its own is wanted; if it is, one of them has it at
//! that moment, and the body fails. One permit goes for one request that waits, whose body was late first.
//! From the response head on the permit is the response's, and nobody is asked any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::RequestBody;
use crate::http::incoming;

use super::gate::Permit;

/// A permit that the request's body can give up.
#[derive(Debug, Default)]
struct Place(Mutex<Option<Permit>>);

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Permit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl incoming::Place for Place {
    fn give_up(&self) -> bool {
        let mut permit = self.lock();
        let given_up = permit.as_mut().is_some_and(Permit::make_way);
        if given_up {
            *permit = None;
        }
        given_up
    }
}

/// What a request holds until its response head; its drop gives it back, whoever may still have the body.
#[derive(Debug)]
pub(super) enum Holding {
    /// Nothing, for there is no limit.
    Nothing,
    /// A permit.
    Permit(Permit),
    /// A permit that the body may give up.
    Place(Seat),
}

/// The request's end of a [`Place`].
#[derive(Debug)]
pub(super) struct Seat(Arc<Place>);

impl Holding {
    /// Holds `permit` for a request with this body.
    pub(super) fn new(permit: Permit, body: &mut RequestBody) -> Self {
        let Some(grace) = permit.upload_grace().filter(|_| body.is_arriving()) else {
            return Self::Permit(permit);
        };
        let place = Arc::new(Place(Mutex::new(Some(permit))));
        body.occupies(Arc::clone(&place) as Arc<dyn incoming::Place>, grace);
        Self::Place(Seat(place))
    }

    /// Takes the permit, if it is still there: from now on it is nobody else's.
    pub(super) fn take(&mut self) -> Option<Permit> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => None,
            Self::Permit(permit) => Some(permit),
            Self::Place(seat) => seat.0.lock().take(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let permit = self.0.lock().take();
        // Outside the lock: its drop may wake others.
        drop(permit);
    }
}
