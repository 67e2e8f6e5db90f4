//! Sets of keys that are fetched: once for all, bounded in size and time, and kept through an outage.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::super::ask::Ask;
use super::super::jwks::{Jwks, JwksPlan};
use super::tokens::Signer;
use crate::clock;
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::{Body, Request, Response};
use crate::layers::Boxed;

/// What the issuer does when it is asked.
#[derive(Clone)]
enum Does {
    Answer(u16, String),
    Fail,
    Stall,
}

/// An issuer, and how often it was asked.
struct Issuer {
    does: Mutex<Does>,
    asked: AtomicUsize,
}

impl Issuer {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does: Mutex::new(does), asked: AtomicUsize::new(0) })
    }

    fn now_does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Ask for Issuer {
    fn ask(&self, request: Request) -> Boxed<'_> {
        assert_eq!(request.target.path_and_query, "/keys");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let does = self.does.lock().unwrap().clone();
        Box::pin(async move {
            // A fetch takes a moment.
            tokio::time::sleep(Duration::from_millis(1)).await;
            match does {
                Does::Answer(status, body) => {
                    Ok(Response::new(StatusCode::from_u16(status).unwrap(), Body::full(body)))
                }
                Does::Fail => Err(Error::Upstream(UpstreamError::unsent(UpstreamErrorKind::ConnectFailed))),
                Does::Stall => std::future::pending().await,
            }
        })
    }
}

const REFRESH: Duration = Duration::from_secs(300);
const MIN_REFRESH: Duration = Duration::from_secs(10);
const MAX_STALE: Duration = Duration::from_secs(3600);

fn jwks() -> Arc<Jwks> {
    Arc::new(Jwks::new(JwksPlan {
        upstream: "idp".to_owned(),
        implied: false,
        path: "/keys".parse().unwrap(),
        refresh: REFRESH,
        min_refresh: MIN_REFRESH,
        max_stale: MAX_STALE,
    }))
}

fn good() -> Does {
    Does::Answer(200, json!({ "keys": [Signer::ec("a").jwk] }).to_string())
}

/// A set, an issuer, and who asks it, after the first fetch.
async fn fetched(does: Does) -> (Arc<Jwks>, Arc<Issuer>, Arc<dyn Ask>) {
    let (jwks, issuer) = (jwks(), Issuer::new(does));
    let ask: Arc<dyn Ask> = issuer.clone();
    jwks.newer(&ask, clock::now().instant).await;
    (jwks, issuer, ask)
}

#[tokio::test(start_paused = true)]
async fn what_is_no_set_is_none() {
    for (what, does) in [
        ("not found", Does::Answer(404, json!({ "keys": [Signer::ec("a").jwk] }).to_string())),
        ("elsewhere", Does::Answer(302, String::new())),
        ("nothing", Does::Answer(200, String::new())),
        ("a page", Does::Answer(200, "<html>".to_owned())),
        ("no keys", Does::Answer(200, json!({ "keys": [] }).to_string())),
        ("too large", Does::Answer(200, " ".repeat(256 * 1024) + "{\"keys\":[]}")),
        ("nobody there", Does::Fail),
        ("silence", Does::Stall),
    ] {
        let before = clock::now().instant;
        let (jwks, issuer, ask) = fetched(does).await;
        let now = clock::now().instant;
        assert!(now - before < Duration::from_secs(11), "{what}: {:?}", now - before);
        assert!(jwks.current(&ask, now).is_none(), "{what}");
        // It is not asked again at once, however many want to know.
        let again = before + MIN_REFRESH - Duration::from_millis(1);
        for _ in 0..100 {
            jwks.newer(&ask, again).await;
        }
        assert_eq!(issuer.asked(), 1, "{what}");
        issuer.now_does(good());
        jwks.newer(&ask, before + MIN_REFRESH).await;
        assert!(jwks.current(&ask, now).is_some(), "{what}: it is asked again then");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_is_fetched_anew_in_the_background_and_kept_through_an_outage() {
    let (jwks, issuer, ask) = fetched(good()).await;
    let start = clock::now().instant;
    let at = |after: Duration| jwks.current(&ask, start + after);
    assert!(at(REFRESH - Duration::from_secs(1)).is_some());
    assert_eq!(issuer.asked(), 1, "it is young");
    issuer.now_does(Does::Fail);
    for round in 1..=4 {
        // Nobody waits for the fetch, and one that fails takes nothing away.
        assert!(at(REFRESH * round).is_some());
        assert!(at(REFRESH * round).is_some());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(issuer.asked(), 1 + round as usize);
    }
    assert!(at(MAX_STALE).is_none(), "not for ever");
    tokio::time::sleep(Duration::from_millis(10)).await;
    issuer.now_does(good());
    jwks.newer(&ask, start + MAX_STALE + MIN_REFRESH).await;
    assert!(at(MAX_STALE + MIN_REFRESH).is_some());
}

/// The first fetch begins before the first token comes, which then waits for that one.
#[tokio::test(start_paused = true)]
async fn a_crowd_has_one_fetch_and_it_has_begun_already() {
    let (jwks, issuer) = (jwks(), Issuer::new(good()));
    let ask: Arc<dyn Ask> = issuer.clone();
    let now = clock::now().instant;
    jwks.warm(&ask, now);
    jwks.warm(&ask, now);
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (jwks, ask) = (jwks.clone(), ask.clone());
            tokio::spawn(async move {
                jwks.newer(&ask, now).await;
                assert!(jwks.current(&ask, now).is_some());
            })
        })
        .collect();
    for one in waiting {
        one.await.unwrap();
    }
    assert_eq!(issuer.asked(), 1);
}
