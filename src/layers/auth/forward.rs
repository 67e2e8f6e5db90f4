//! Asks a service of the user's own who a request is from, and whether it may pass.
//!
//! It is asked by GET, with the fields that are listed, and told what the request is for in
//! `X-Forwarded-Method` and `X-Forwarded-Uri`, beside what upstreams are told anyway. A 2xx lets pass; the
//! client gets any other answer as it is. What let a request pass can be remembered, under a keyed digest of
//! its credentials and of what it was for.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http_body_util::{BodyExt, Limited};
use quick_cache::sync::Cache;

use crate::clock::Instant;
use crate::error::Denial;
use crate::http::{Attempt, Interim, Params, Request, RequestBody, Response, Trail, fields};

use super::ask::Ask;
use super::basic::{random_key, tag};
use super::identity::{Consumer, Identity};

/// How many requests' right to pass is remembered.
const REMEMBERED_MAX: usize = 10_000;
/// How much of a good answer is read, so that its connection can be used again.
const DRAIN_MAX: usize = 64 * 1024;

static METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Who decides, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardPlan {
    /// The upstream that decides.
    pub upstream: String,
    /// What it is asked for.
    pub path: PathAndQuery,
    /// The fields that it gets of the request's: the credentials.
    pub send: Vec<HeaderName>,
    /// The fields of its answer that the upstream gets.
    pub copy: Vec<HeaderName>,
    /// The field of its answer that names the consumer.
    pub consumer: Option<HeaderName>,
    /// How long it may take.
    pub timeout: Duration,
    /// How long its yes is remembered.
    pub remember: Duration,
    /// Whether a yes is for what the request was for only.
    pub per_target: bool,
}

/// A service that decides, and what it let pass of late.
pub struct Forward {
    plan: ForwardPlan,
    key: hmac::Key,
    passed: Cache<[u8; 32], (Identity, Instant)>,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What it decided.
#[derive(Debug)]
pub enum Decision {
    /// The request passes.
    Pass(Identity),
    /// The client gets this.
    Answer(Response),
}

impl Forward {
    /// One that has let nobody pass yet.
    pub fn new(plan: ForwardPlan) -> Self {
        Self { plan, key: random_key(), passed: Cache::new(REMEMBERED_MAX) }
    }

    /// What is remembered of requests like this one.
    pub fn recall(&self, request: &Request, now: Instant) -> Option<Identity> {
        let (identity, until) = self.passed.get(&self.tag(request)?)?;
        (now < until).then_some(identity)
    }

    /// Asks who a request is from.
    ///
    /// # Errors
    /// That there was no answer in time, or none that could be used.
    pub async fn decide(&self, ask: &dyn Ask, request: &Request, now: Instant) -> Result<Decision, Denial> {
        let answer = tokio::time::timeout(self.plan.timeout, ask.ask(self.question(request))).await;
        let Ok(Ok(response)) = answer else { return Err(Denial::Unavailable) };
        if !response.status.is_success() {
            return Ok(Decision::Answer(response));
        }
        let identity = self.identity(request, &response.headers)?;
        // Its rest is not judged.
        let drain = Limited::new(response.into_body(), DRAIN_MAX).collect();
        drop(tokio::time::timeout(self.plan.timeout, drain).await);
        if let Some(tag) = self.tag(request) {
            self.passed.insert(tag, (identity.clone(), now + self.plan.remember));
        }
        Ok(Decision::Pass(identity))
    }

    /// A digest of all that decides; none where nothing is to be remembered.
    fn tag(&self, request: &Request) -> Option<[u8; 32]> {
        let credentials = self.plan.send.iter().any(|name| request.headers.contains_key(name));
        (credentials && !self.plan.remember.is_zero()).then(|| {
            let target = &request.target;
            let scope: &[&[u8]] = &[
                request.method.as_str().as_bytes(),
                target.scheme.as_str().as_bytes(),
                target.authority.as_bytes(),
                target.path_and_query.as_str().as_bytes(),
            ];
            self.digest(&request.headers, if self.plan.per_target { scope } else { &[] })
        })
    }

    fn digest(&self, headers: &HeaderMap, scope: &[&[u8]]) -> [u8; 32] {
        let mut parts: Vec<&[u8]> = scope.to_vec();
        for name in &self.plan.send {
            parts.push(name.as_str().as_bytes());
            parts.extend(headers.get_all(name).iter().map(HeaderValue::as_bytes));
        }
        tag(&self.key, &parts)
    }

    fn question(&self, request: &Request) -> Request {
        let mut question = request.again();
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let told = name.as_str().starts_with("x-forwarded-") || *name == fields::FORWARDED;
            if told || self.plan.send.contains(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Ok(method) = HeaderValue::try_from(request.method.as_str()) {
            headers.insert(METHOD.clone(), method);
        }
        if let Ok(uri) = HeaderValue::try_from(request.target.path_and_query.as_str()) {
            headers.insert(URI.clone(), uri);
        }
        question.headers = headers;
        question.method = Method::GET;
        question.body = RequestBody::Empty;
        question.target.path_and_query = self.plan.path.clone();
        // What becomes of it is no part of the request's own story.
        (question.trail, question.interim) = (Trail::off(), Interim::none());
        (question.params, question.attempt) = (Params::new(), Attempt::default());
        question
    }

    fn identity(&self, request: &Request, answer: &HeaderMap) -> Result<Identity, Denial> {
        let named = self.plan.consumer.as_ref().and_then(|name| answer.get(name));
        let consumer = match named {
            Some(name) => name.to_str().ok().and_then(Consumer::new).ok_or(Denial::Unavailable)?,
            None => self.pseudonym(&request.headers).ok_or(Denial::Unavailable)?,
        };
        let copied = |name: &HeaderName| answer.get(name).map(|value| (name.clone(), value.clone()));
        Ok(Identity { consumer, fields: self.plan.copy.iter().filter_map(copied).collect() })
    }

    /// Those who are not named are told apart by their credentials, so that none gets another's answers.
    fn pseudonym(&self, headers: &HeaderMap) -> Option<Consumer> {
        let digest = self.digest(headers, &[]);
        let mut name = String::from("unnamed-");
        for byte in digest.iter().take(16) {
            name.extend(char::from_digit(u32::from(byte >> 4), 16));
            name.extend(char::from_digit(u32::from(byte & 15), 16));
        }
        Consumer::new(&name)
    }
}
