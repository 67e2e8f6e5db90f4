//! What is kept of a request so that it can be made again.
//!
//! The inner service takes a request by value and changes it on its way, so this is copied before the first
//! attempt. Everything but the map of fields is a shared reference; cloning and dropping that one takes 70 ns
//! for three fields and 190 ns for ten, and a flat list of the same fields no less.

use bytes::Bytes;

use crate::error::Error;
use crate::memory::{Memory, Use};

use super::replay::{Replay, ReplayHandle};
use super::{Request, RequestBody};

/// A request that can be made again.
#[derive(Debug)]
pub struct Repeat {
    /// The attempt under way, without its body.
    pub head: Request,
    /// Whether a byte of an attempt may have reached an origin: set by whoever makes them.
    pub sent: bool,
    body: Kept,
}

/// A body that can be sent again.
#[derive(Debug)]
enum Kept {
    Empty,
    Full(Bytes),
    Replay(ReplayHandle),
}

impl Repeat {
    /// Copies what another attempt needs; a body that arrives from the client is kept up to `max_body` bytes,
    /// as long as `memory` has room. One that somebody further out keeps already is kept as they do.
    pub fn of(request: &mut Request, max_body: usize, memory: &Memory) -> Self {
        let head = request.again();
        Self { head, sent: false, body: Kept::of(&mut request.body, max_body, memory) }
    }

    /// Whether the body can be sent from its start.
    pub fn can_replay(&self) -> bool {
        match &self.body {
            Kept::Empty | Kept::Full(_) => true,
            Kept::Replay(handle) => handle.can_replay(),
        }
    }

    /// What went wrong with the client's body, if something did.
    pub fn client_failure(&self) -> Option<Error> {
        if let Kept::Replay(handle) = &self.body { handle.failure() } else { None }
    }

    /// The body from its start. From now on the attempt before gets no more of it.
    pub fn body_again(&self) -> Option<RequestBody> {
        match &self.body {
            Kept::Empty => Some(RequestBody::Empty),
            Kept::Full(bytes) => Some(RequestBody::Full(bytes.clone())),
            Kept::Replay(handle) => Some(RequestBody::Replay(Box::new(handle.again()?))),
        }
    }

    /// The request of the attempt under way.
    pub fn request(&self, body: RequestBody) -> Request {
        let mut request = self.head.again();
        request.body = body;
        request
    }
}

impl Kept {
    fn of(body: &mut RequestBody, max_body: usize, memory: &Memory) -> Self {
        match std::mem::take(body) {
            RequestBody::Empty => Self::Empty,
            RequestBody::Full(bytes) => {
                *body = RequestBody::Full(bytes.clone());
                Self::Full(bytes)
            }
            RequestBody::Incoming(incoming) => {
                let (replay, handle) = Replay::new(*incoming, max_body, memory.hold(Use::Replay));
                *body = RequestBody::Replay(Box::new(replay));
                Self::Replay(handle)
            }
            RequestBody::Replay(replay) => {
                let handle = replay.handle();
                *body = RequestBody::Replay(replay);
                Self::Replay(handle)
            }
        }
    }
}
