//! The stack: THE list of layers of a route, outermost first, and why each sits where it does.

use crate::layers::access_log::AccessLog;
use crate::layers::admission::Admission;
use crate::layers::aggregate::Aggregate;
use crate::layers::auth::Auth;
use crate::layers::body_limit::BodyLimit;
use crate::layers::cache::Cache;
use crate::layers::compress::Compress;
use crate::layers::cors::Cors;
use crate::layers::deadline::{Deadline, Tell};
use crate::layers::fallback::Fallback;
use crate::layers::fixed::Fixed;
use crate::layers::hedge::Hedge;
use crate::layers::idempotency::Idempotency;
use crate::layers::inner;
use crate::layers::quota::{Charge, Quota};
use crate::layers::rate_limit::RateLimit;
use crate::layers::respond::Respond;
use crate::layers::retry::Retry;
use crate::layers::transform::{TransformRequest, TransformResponse};
use crate::upstream::Balance;

inner!(impl for Balance);

/// What every route has, around whatever answers it.
///
/// - `AccessLog`, so that every request is counted and logged, whatever becomes of it.
/// - `TransformResponse`, so that every response, an error's too, gets the route's fields.
/// - `Cors`, outside `Respond` and `Auth`: pages may read errors too, and browsers send no credentials with
///   preflights. Outside the cache, where nothing is stored that was said to one origin.
/// - `Respond`, so that all further in can fail with an error and no one else has to know how it looks on the
///   wire.
/// - `TransformRequest`, so that cache and upstream see the rewritten request.
/// - `Deadline`, so that one time bound covers delays, queues, attempts and bodies.
/// - `BodyLimit`, so that too large a body is refused before it costs anything.
/// - `Auth`, outside limits and cache: who is not let in uses up nobody's quota and learns nothing of what is
///   stored, and those inside know who it is.
/// - `RateLimit`, outside the cache: a limit is policy for everyone, hits included.
pub type Policy<S> =
    AccessLog<TransformResponse<Cors<Respond<TransformRequest<Deadline<BodyLimit<Auth<RateLimit<S>>>>>>>>>;

/// What a route to an upstream has inside its policy.
///
/// - `Compress`, outside the cache: what is stored is the plain form, which answers everybody and each range.
/// - `Idempotency`, outside whatever may answer: what is kept for a key is the one answer its client was
///   given. Inside compression, so that it fits every client.
/// - `Fallback`, outside the cache: a stored answer comes first, and what another upstream answers is never
///   stored as this one's.
/// - `Cache`, outside admission: a hit never takes a permit, and a refusal can be answered with a stale
///   entry.
/// - `RateLimit` once more, for limits that count only what goes to the origin.
/// - `Attempts`, of this upstream.
pub type ToUpstream = Compress<Idempotency<Fallback<Cache<RateLimit<Attempts>>, Attempts>>>;

/// What sends requests to one upstream, the route's own or one it falls back on.
///
/// - `Quota`, outside admission: a request that waits for its turn holds no permit, and a refusal can be
///   answered with a stale entry.
/// - `Admission`, outside retry: a request holds one permit however often it is tried.
/// - `Retry`, outside balance: another attempt may choose another endpoint.
/// - `Hedge`, inside retry: a second request at once is one attempt still, under one `per_try_timeout`, and
///   retry sees only what both come to. Outside balance: the second one goes to another endpoint.
/// - `Tell`, inside hedge: what is told of the time left is true of each sending.
/// - `Charge`, around each sending: retries and hedges count against the quota too, and every answer may say
///   what is left of it.
/// - `Balance`: the endpoint, its pool, the origin.
pub type Attempts = Quota<Admission<Retry<Hedge<Tell<Charge<Balance>>>>>>;

/// What a route to several upstreams has inside its policy.
///
/// - `Compress`, outside the parts: they are merged in the plain form.
/// - `Aggregate`, and in it for each part all that a route to its upstream has.
pub type ToUpstreams = Compress<Aggregate<ToUpstream>>;

/// What a route that answers itself has inside its policy.
pub type Answered = Compress<Fixed>;

/// A route's layers.
#[derive(Debug)]
pub enum Stack {
    /// To an upstream.
    Upstream(Box<Policy<ToUpstream>>),
    /// To several upstreams, for one answer.
    Aggregate(Box<Policy<ToUpstreams>>),
    /// To a redirect or fixed response of our own.
    Fixed(Box<Policy<Answered>>),
}
