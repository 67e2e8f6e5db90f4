//! A response inside the gateway.

use http::{HeaderMap, StatusCode};

use super::Body;

/// A response on its way out.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The fields: end-to-end ones only; framing is the connection's business.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// On a 101: the upstream's side of the tunnel.
    pub upgrade: Option<Box<hyper::upgrade::OnUpgrade>>,
}

impl Response {
    /// A response without fields.
    pub fn new(status: StatusCode, body: Body) -> Self {
        Self { status, headers: HeaderMap::new(), body, upgrade: None }
    }
}
