//! Whom a request counts for.
//!
//! A [`Key`] has a fixed size whatever the client sends: a text becomes its 128-bit hash under seeds that are
//! random for each limiter. So keys are bounded, nobody can aim at another's bucket, and no credential is
//! kept in memory.
//!
//! - A request without the header field, parameter, cookie or claim is not let through uncounted: all such
//!   requests share one bucket of their own.
//! - Of a field, parameter or cookie that comes several times, the first counts.
//! - A query value counts decoded: `a%62c` is `abc`, or every spelling of one value would have a bucket of
//!   its own.

use std::borrow::Cow;
use std::net::IpAddr;

use ahash::RandomState;
use http::header::HOST;

use crate::http::{Peer, Request, fields, query};

use super::plan::KeyPlan;

/// Whom a request counts for, in the terms of one limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Everybody.
    Global,
    /// All who did not say.
    Missing,
    /// An IPv4 address.
    V4(u32),
    /// The /64 of an IPv6 address.
    V6(u64),
    /// The hash of a text.
    Text([u64; 2]),
}

/// Finds the key of requests.
#[derive(Clone, Debug)]
pub struct Keyer {
    plan: KeyPlan,
    seeds: [RandomState; 2],
}

impl Keyer {
    /// A keyer with seeds of its own: keys of two keyers do not compare.
    pub fn new(plan: KeyPlan) -> Self {
        Self { plan, seeds: [RandomState::new(), RandomState::new()] }
    }

    /// Whom `request` counts for.
    pub fn key(&self, request: &Request) -> Key {
        match &self.plan {
            KeyPlan::Global => Key::Global,
            KeyPlan::ClientIp => address(request.client),
            // Ingress moved `Host` into the target.
            KeyPlan::Header(name) if *name == HOST => self.text(Some(request.target.authority.as_bytes())),
            KeyPlan::Header(name) => self.text(request.headers.get(name).map(|value| value.as_bytes())),
            KeyPlan::Query(name) => self.text(parameter(request, name.as_bytes()).as_deref()),
            KeyPlan::Cookie(name) => self.text(cookie(request, name.as_bytes())),
        }
    }

    fn text(&self, text: Option<&[u8]>) -> Key {
        let Some(text) = text else { return Key::Missing };
        let [first, second] = &self.seeds;
        Key::Text([first.hash_one(text), second.hash_one(text)])
    }
}

fn address(client: IpAddr) -> Key {
    match Peer::counted(client) {
        IpAddr::V4(four) => Key::V4(four.to_bits()),
        // `counted` cleared the lower half.
        IpAddr::V6(six) => Key::V6((six.to_bits() >> 64) as u64),
    }
}

/// The decoded value of a query parameter.
fn parameter<'a>(request: &'a Request, wanted: &[u8]) -> Option<Cow<'a, [u8]>> {
    let parameters = request.target.query()?.as_bytes();
    parameters.split(|byte| *byte == b'&').find_map(|pair| {
        let (name, value) = split_pair(pair);
        (query::decoded(name) == wanted).then(|| query::decoded(value))
    })
}

/// The value of a cookie, without quotes (RFC 6265 §4.1.1).
fn cookie<'a>(request: &'a Request, wanted: &[u8]) -> Option<&'a [u8]> {
    fields::cookies(&request.headers).find_map(|pair| {
        let (name, value) = split_pair(pair);
        (name == wanted)
            .then(|| value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// What stands before and after the first `=`; after it is nothing where there is none.
fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair).and_then(|at| pair.split_at_checked(at)) {
        Some((name, rest)) => (name, rest.get(1..).unwrap_or_default()),
        None => (pair, &[]),
    }
}
