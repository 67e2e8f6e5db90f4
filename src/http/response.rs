//! A response inside the gateway.

use std::ops::{Deref, DerefMut};

use http::{HeaderMap, StatusCode};

use super::Body;

/// A response on its way out.
///
/// In a box, as a [`Request`](super::Request) is: each layer hands it on by value, and its future holds it.
#[derive(Debug)]
pub struct Response(Box<ResponseParts>);

impl Response {
    /// A response without fields.
    pub fn new(status: StatusCode, body: Body) -> Self {
        Self::from(ResponseParts { status, headers: HeaderMap::new(), body, upgrade: None })
    }

    /// Its body, alone.
    pub fn into_body(self) -> Body {
        self.0.body
    }

    /// What it consists of.
    pub fn into_parts(self) -> ResponseParts {
        *self.0
    }
}

impl From<ResponseParts> for Response {
    fn from(parts: ResponseParts) -> Self {
        Self(Box::new(parts))
    }
}

impl Deref for Response {
    type Target = ResponseParts;

    fn deref(&self) -> &ResponseParts {
        &self.0
    }
}

impl DerefMut for Response {
    fn deref_mut(&mut self) -> &mut ResponseParts {
        &mut self.0
    }
}

/// What a response consists of.
#[derive(Debug)]
pub struct ResponseParts {
    /// The status.
    pub status: StatusCode,
    /// The fields: end-to-end ones only; framing is the connection's business.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// On a 101: the upstream's side of the tunnel.
    pub upgrade: Option<Box<hyper::upgrade::OnUpgrade>>,
}
