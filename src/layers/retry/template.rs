//! What is kept of a request so that it can be made again.
//!
//! The inner service takes a request by value and changes it on its way, so this is copied before the first
//! attempt. Everything but the map of fields is a shared reference; cloning and dropping that one takes 70 ns
//! for three fields and 190 ns for ten, and a flat list of the same fields no less.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};

use crate::clock::{Instant, Now};
use crate::error::Error;
use crate::http::replay::{Replay, ReplayHandle};
use crate::http::{
    Attempt, Interim, Params, Peer, Request, RequestBody, RequestId, RequestParts, Target, Trail,
};
use crate::memory::{Memory, Use};

/// A request that can be made again.
pub(super) struct Template {
    pub(super) method: Method,
    pub(super) deadline: Option<Instant>,
    pub(super) trail: Trail,
    /// The attempt under way.
    pub(super) attempt: Attempt,
    target: Target,
    version: Version,
    headers: HeaderMap,
    body: Kept,
    received: Now,
    peer: Arc<Peer>,
    client: IpAddr,
    id: RequestId,
    params: Params,
    interim: Interim,
}

/// A body that can be sent again.
enum Kept {
    Empty,
    Full(Bytes),
    Replay(ReplayHandle),
    /// It came wrapped by somebody else, who alone can make it again.
    Lost,
}

impl Template {
    /// Copies what another attempt needs; a body that arrives from the client is kept up to `max_body` bytes,
    /// as long as `memory` has room.
    pub(super) fn of(request: &mut Request, max_body: usize, memory: &Memory) -> Self {
        Self {
            method: request.method.clone(),
            target: request.target.clone(),
            version: request.version,
            headers: request.headers.clone(),
            body: Kept::of(&mut request.body, max_body, memory),
            received: request.received,
            deadline: request.deadline,
            peer: request.peer.clone(),
            client: request.client,
            id: request.id.clone(),
            params: request.params.clone(),
            interim: request.interim.clone(),
            trail: request.trail.clone(),
            attempt: request.attempt.clone(),
        }
    }

    /// Whether the body can be sent from its start.
    pub(super) fn can_replay(&self) -> bool {
        match &self.body {
            Kept::Empty | Kept::Full(_) => true,
            Kept::Replay(handle) => handle.can_replay(),
            Kept::Lost => false,
        }
    }

    /// What went wrong with the client's body, if something did.
    pub(super) fn client_failure(&self) -> Option<Error> {
        if let Kept::Replay(handle) = &self.body { handle.failure() } else { None }
    }

    /// The body from its start. From now on the attempt before gets no more of it.
    pub(super) fn body_again(&self) -> Option<RequestBody> {
        match &self.body {
            Kept::Empty => Some(RequestBody::Empty),
            Kept::Full(bytes) => Some(RequestBody::Full(bytes.clone())),
            Kept::Replay(handle) => Some(RequestBody::Replay(Box::new(handle.again()?))),
            Kept::Lost => None,
        }
    }

    /// The request of the attempt that [`attempt`](Self::attempt) tells of.
    pub(super) fn request(&self, body: RequestBody) -> Request {
        Request::from(RequestParts {
            method: self.method.clone(),
            target: self.target.clone(),
            version: self.version,
            headers: self.headers.clone(),
            body,
            received: self.received,
            deadline: self.deadline,
            peer: self.peer.clone(),
            client: self.client,
            id: self.id.clone(),
            params: self.params.clone(),
            upgrade: None,
            interim: self.interim.clone(),
            trail: self.trail.clone(),
            attempt: self.attempt.clone(),
        })
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
            wrapped @ RequestBody::Replay(_) => {
                *body = wrapped;
                Self::Lost
            }
        }
    }
}
