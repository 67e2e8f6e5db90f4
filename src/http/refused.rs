//! A request that was refused at the border, before it became a [`Request`](super::Request): what is known of
//! it, for the answer, the counts and the log line.

use std::net::IpAddr;

use http::request::Parts;

use crate::clock::Now;
use crate::error::Error;

use super::{RequestId, Scheme};

/// A refused request.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong with it.
    pub error: Error,
    /// Its id, which the client is told.
    pub id: RequestId,
    /// When it was refused.
    pub received: Now,
    /// The address at the other end of the connection: forwarding fields of such a request are not believed.
    pub client: IpAddr,
    /// The scheme the client used.
    pub scheme: Scheme,
    /// Its head as it came. `None` where it could not even be read.
    pub head: Option<Parts>,
}
