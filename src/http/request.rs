//! A request inside the gateway: validated and normalised by the ingress, on its way through a route's stack.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body::{Frame, SizeHint};
use smallvec::SmallVec;

use crate::clock::{Instant, Now};
use crate::error::Error;

use super::incoming::{Incoming, Place};
use super::replay::Replay;
use super::{Interim, Peer, Trail, text};

/// A request.
///
/// In a box: it passes a dozen layers by value, and most of their futures hold it.
#[derive(Debug)]
pub struct Request(Box<RequestParts>);

impl Request {
    /// What it consists of.
    pub fn into_parts(self) -> RequestParts {
        *self.0
    }

    /// The same request once more, without what there is only once: a body that is still arriving, and the
    /// client's side of an upgrade.
    #[must_use]
    pub fn again(&self) -> Self {
        let body = match &self.body {
            RequestBody::Full(bytes) => RequestBody::Full(bytes.clone()),
            RequestBody::Empty | RequestBody::Incoming(_) | RequestBody::Replay(_) => RequestBody::Empty,
        };
        Self::from(RequestParts {
            method: self.method.clone(),
            target: self.target.clone(),
            version: self.version,
            headers: self.headers.clone(),
            body,
            received: self.received,
            deadline: self.deadline,
            gives_up: self.gives_up,
            peer: Arc::clone(&self.peer),
            client: self.client,
            id: self.id.clone(),
            params: self.params.clone(),
            upgrade: None,
            may_purge: self.may_purge,
            interim: self.interim.clone(),
            trail: self.trail.clone(),
            attempt: self.attempt.clone(),
        })
    }
}

impl From<RequestParts> for Request {
    fn from(parts: RequestParts) -> Self {
        Self(Box::new(parts))
    }
}

impl Deref for Request {
    type Target = RequestParts;

    fn deref(&self) -> &RequestParts {
        &self.0
    }
}

impl DerefMut for Request {
    fn deref_mut(&mut self) -> &mut RequestParts {
        &mut self.0
    }
}

/// What a request consists of.
#[derive(Debug)]
pub struct RequestParts {
    /// The method.
    pub method: Method,
    /// What is asked for, normalised once; routing, cache key and upstream all use this.
    pub target: Target,
    /// What the client speaks.
    pub version: Version,
    /// End-to-end fields; no `Host`, no hop-by-hop field, no forwarding field of an untrusted client.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
    /// When its head had arrived.
    pub received: Now,
    /// When the route gives up: set by the deadline layer. An endpoint that lets it pass has failed.
    pub deadline: Option<Instant>,
    /// When the client gives up, where it said so and that is before the deadline: set by the deadline layer.
    pub gives_up: Option<Instant>,
    /// The connection it came on.
    pub peer: Arc<Peer>,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// Its id, for logs and for the origin.
    pub id: RequestId,
    /// What the route's path pattern captured.
    pub params: Params,
    /// A websocket upgrade the client asked for: the downstream side of the tunnel to be.
    pub upgrade: Option<Box<hyper::upgrade::OnUpgrade>>,
    /// Whether it has shown the token of those who may purge the route: found out before anything on the way
    /// changes its fields.
    pub may_purge: bool,
    /// Takes the interim responses that come before the answer.
    pub interim: Interim,
    /// The notes for the log line.
    pub trail: Trail,
    /// Which attempt this is: set by retry.
    pub attempt: Attempt,
}

impl RequestParts {
    /// When nobody waits for the answer any more.
    pub fn until(&self) -> Option<Instant> {
        self.gives_up.or(self.deadline)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The scheme the client used.
    pub scheme: Scheme,
    /// Host in lower case without trailing dot, with the port where it is not the scheme's default. May be
    /// empty for HTTP/1.0.
    pub authority: HeaderValue,
    /// The normalised path, and the query as it came.
    pub path_and_query: PathAndQuery,
}

impl Target {
    /// The path.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Clear text.
    #[default]
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As in a URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that goes without saying.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The values of a route's `{param}`s, in the pattern's order.
pub type Params = SmallVec<[(Arc<str>, Box<str>); 0]>;

/// The id of a request: what a trusted proxy or client gave, or a random one.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// 128 random bits, printed as hex.
    Random(u128),
    /// As it came in `X-Request-Id`.
    Given(HeaderValue),
}

impl RequestId {
    /// The id as a field value.
    pub fn to_value(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Random(bits) => {
                let mut digits = Vec::with_capacity(32);
                text::hex(&mut digits, &bits.to_be_bytes());
                HeaderValue::try_from(digits).unwrap_or(HeaderValue::from_static("0"))
            }
        }
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Random(bits) => write!(f, "{bits:032x}"),
            Self::Given(value) => f.write_str(value.to_str().unwrap_or("invalid")),
        }
    }
}

/// Which attempt a request is, and where not to send it again.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// 0 for the first.
    pub number: u32,
    /// Endpoints that earlier attempts failed at, to be avoided where there is another.
    pub avoid: SmallVec<[Arc<str>; 0]>,
    /// Whether it may be made again whatever its method: set by idempotency.
    pub repeatable: bool,
}

/// A request body.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// None.
    #[default]
    Empty,
    /// In memory.
    Full(Bytes),
    /// From the client's connection.
    Incoming(Box<Incoming>),
    /// From the client's connection, kept for another attempt.
    Replay(Box<Replay>),
}

impl RequestBody {
    /// Whether there is no body at all.
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }

    /// Whether some of it may have yet to come from the client.
    pub const fn is_arriving(&self) -> bool {
        matches!(self, Self::Incoming(_) | Self::Replay(_))
    }

    /// As [`Incoming::occupies`]; nothing for a body that is not arriving.
    pub fn occupies(&mut self, place: Arc<dyn Place>, grace: Duration) {
        match self {
            Self::Empty | Self::Full(_) => {}
            Self::Incoming(incoming) => incoming.occupies(place, grace),
            Self::Replay(replay) => replay.occupies(place, grace),
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut();
        match body {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *body = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(incoming) => incoming.poll_frame(cx),
            Self::Replay(replay) => replay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Replay(replay) => replay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Replay(replay) => replay.size_hint(),
        }
    }
}
