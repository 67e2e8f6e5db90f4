//! Key sets that are fetched: by one request at a time, on demand, and kept through an outage.
//!
//! - The first fetch begins with the guard, and the first tokens wait for it. Later ones use what is there: a
//!   set that is older than `refresh` is fetched anew in the background.
//! - A token that names a key which is not there waits for a fetch, for keys rotate; but there is none within
//!   `min_refresh` of the last one, so made-up names cost the issuer next to nothing.
//! - A fetch that fails changes nothing. After `max_stale` without a good one the set is given up, and
//!   tokens are refused until there is one again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use tokio::sync::watch;

use crate::clock::{self, Instant};
use crate::http::{
    Attempt, Interim, Params, Peer, Request, RequestBody, RequestId, RequestParts, Scheme, Target, Trail,
};

use super::ask::Ask;
use super::jwt::KeySet;

/// The largest set that is read, in bytes.
const SET_MAX: usize = 256 * 1024;
/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a set is, and how long it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksPlan {
    /// The upstream that has it.
    pub upstream: String,
    /// Whether that is none of the config's, but where a URL leads to: `https://idp.example`.
    pub implied: bool,
    /// Its path there.
    pub path: PathAndQuery,
    /// When it is fetched anew.
    pub refresh: Duration,
    /// Between two fetches.
    pub min_refresh: Duration,
    /// How long it is used without being confirmed.
    pub max_stale: Duration,
}

/// A set that is fetched.
pub struct Jwks {
    plan: JwksPlan,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last set that was read, and when.
    set: Option<(Arc<KeySet>, Instant)>,
    /// When a fetch began last.
    tried: Option<Instant>,
    /// Told when the fetch that is under way has ended.
    fetch: Option<watch::Receiver<()>>,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Jwks {
    /// A set that nobody has asked for yet.
    pub fn new(plan: JwksPlan) -> Self {
        Self { plan, state: Mutex::default() }
    }

    /// Where it is.
    pub const fn plan(&self) -> &JwksPlan {
        &self.plan
    }

    /// The set, while it is good; where it is not young any more, a fetch begins.
    pub fn current(self: &Arc<Self>, ask: &Arc<dyn Ask>, now: Instant) -> Option<Arc<KeySet>> {
        let (set, age) = {
            let state = self.lock();
            let (set, read) = state.set.as_ref()?;
            (Arc::clone(set), now.saturating_duration_since(*read))
        };
        if age >= self.plan.refresh {
            drop(self.begin(ask, now));
        }
        (age < self.plan.max_stale).then_some(set)
    }

    /// Begins to fetch it, so that it is there when the first token comes.
    pub fn warm(self: &Arc<Self>, ask: &Arc<dyn Ask>, now: Instant) {
        drop(self.begin(ask, now));
    }

    /// Waits for a newer set, if there may be one: until the fetch under way, or a new one, has ended.
    pub async fn newer(self: &Arc<Self>, ask: &Arc<dyn Ask>, now: Instant) {
        if let Some(mut fetch) = self.begin(ask, now) {
            // The task that tells drops its end in any case.
            let _ = fetch.changed().await;
        }
    }

    /// Joins the fetch that is under way, or begins one if there may be.
    fn begin(self: &Arc<Self>, ask: &Arc<dyn Ask>, now: Instant) -> Option<watch::Receiver<()>> {
        let mut state = self.lock();
        if let Some(fetch) = &state.fetch {
            return Some(fetch.clone());
        }
        let early = |tried: Instant| now.saturating_duration_since(tried) < self.plan.min_refresh;
        if state.tried.is_some_and(early) {
            return None;
        }
        let (ended, fetch) = watch::channel(());
        state.tried = Some(now);
        state.fetch = Some(fetch.clone());
        drop(state);
        let (set, ask) = (Arc::clone(self), Arc::clone(ask));
        tokio::spawn(async move {
            // Told also where the fetch panics, or the runtime ends.
            let _ended = Ended { of: &set, ended };
            let fetched = tokio::time::timeout(PATIENCE, fetch_set(&*ask, &set.plan.path)).await;
            match fetched.unwrap_or(Err("it took too long")) {
                Ok(keys) => set.lock().set = Some((Arc::new(keys), now)),
                Err(why) => {
                    let (upstream, path) = (&set.plan.upstream, set.plan.path.path());
                    tracing::warn!(upstream, path, why, "cannot fetch the keys for tokens");
                }
            }
        });
        Some(fetch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch; its drop tells those who wait that it has ended.
struct Ended<'a> {
    of: &'a Jwks,
    ended: watch::Sender<()>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.of.lock().fetch = None;
        self.ended.send_replace(());
    }
}

async fn fetch_set(ask: &dyn Ask, path: &PathAndQuery) -> Result<KeySet, &'static str> {
    let response = ask.ask(request(path)).await.map_err(|error| error.as_str())?;
    if response.status != StatusCode::OK {
        return Err("the answer is not 200");
    }
    let body = Limited::new(response.into_body(), SET_MAX).collect().await;
    let json: Bytes = body.map_err(|_| "its body is too large, or ended early")?.to_bytes();
    KeySet::parse(&json)
}

/// A request of our own: on nobody's behalf.
fn request(path: &PathAndQuery) -> Request {
    let nobody = ([127, 0, 0, 1], 0).into();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
    let agent = HeaderValue::from_static(concat!("forebay/", env!("CARGO_PKG_VERSION"), " (keys)"));
    headers.insert(USER_AGENT, agent);
    Request::from(RequestParts {
        method: Method::GET,
        target: Target {
            scheme: Scheme::Http,
            // The endpoint's own.
            authority: HeaderValue::from_static(""),
            path_and_query: path.clone(),
        },
        version: Version::HTTP_11,
        headers,
        body: RequestBody::Empty,
        received: clock::now(),
        deadline: None,
        gives_up: None,
        peer: Arc::new(Peer {
            address: nobody,
            local: nobody,
            scheme: Scheme::Http,
            trusted: false,
            server_name: None,
            certificate: None,
        }),
        client: nobody.ip(),
        id: RequestId::Random(fastrand::u128(..)),
        params: Params::new(),
        upgrade: None,
        may_purge: false,
        interim: Interim::none(),
        trail: Trail::off(),
        attempt: Attempt::default(),
    })
}
