//! The fields that tell a client how it stands: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers).
//!
//! ```text
//! RateLimit-Policy: "per-client";q=200;w=2, "everybody";q=5000;w=1
//! RateLimit: "per-client";r=42;t=1, "everybody";r=4711;t=1
//! ```
//!
//! `q` is the burst and `w` the seconds in which it comes back; `r` is how many requests are possible right
//! away and `t` in how many seconds, rounded up, it is one more. So on a 429 `t` and `Retry-After` agree.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::http::fields::{RATELIMIT, RATELIMIT_POLICY};

use super::limiter::Standing;
use super::plan::LimitPlan;

/// What is the same in every response: the policy, and the start of each limit's standing.
#[derive(Clone, Debug)]
pub struct Template {
    policy: HeaderValue,
    starts: Box<[Box<[u8]>]>,
}

impl Template {
    /// The template of these limits, in this order.
    pub fn new<'a>(plans: impl IntoIterator<Item = &'a LimitPlan>) -> Self {
        let (mut policy, mut starts) = (String::new(), Vec::new());
        for plan in plans {
            let separator = if policy.is_empty() { "" } else { ", " };
            let (name, burst, window) = (&plan.name, plan.quota.burst(), plan.quota.window_secs());
            policy.push_str(&format!("{separator}\"{name}\";q={burst};w={window}"));
            starts.push(format!("{separator}\"{name}\";r=").into_bytes().into_boxed_slice());
        }
        // Names were checked by the plan: this is plain ASCII.
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(""));
        Self { policy, starts: starts.into_boxed_slice() }
    }

    /// A `RateLimit` value to be written, without any standing yet.
    pub fn writer(&self) -> Writer<'_> {
        Writer { template: self, rest: self.starts.iter(), text: SmallVec::new() }
    }
}

/// A `RateLimit` value in the making.
pub struct Writer<'a> {
    template: &'a Template,
    rest: std::slice::Iter<'a, Box<[u8]>>,
    text: SmallVec<[u8; 128]>,
}

impl<'a> Writer<'a> {
    /// Adds how the next limit stands.
    pub fn push(&mut self, standing: &Standing) {
        let Some(start) = self.rest.next() else { return };
        let mut number = itoa::Buffer::new();
        self.text.extend_from_slice(start);
        self.text.extend_from_slice(number.format(standing.remaining).as_bytes());
        self.text.extend_from_slice(b";t=");
        self.text.extend_from_slice(number.format(whole_secs(standing.next)).as_bytes());
    }

    /// Both fields: of all limits the policy, and what was pushed.
    pub fn finish(&self) -> Fields<'a> {
        // Digits, and names that were checked by the plan: this is plain ASCII.
        let standing = HeaderValue::from_bytes(&self.text).unwrap_or(HeaderValue::from_static(""));
        Fields { policy: &self.template.policy, standing }
    }
}

/// The two fields of one response.
#[derive(Debug)]
pub struct Fields<'a> {
    policy: &'a HeaderValue,
    standing: HeaderValue,
}

impl Fields<'_> {
    /// The fields by name.
    pub fn into_pairs(self) -> [(HeaderName, HeaderValue); 2] {
        [(RATELIMIT_POLICY.clone(), self.policy.clone()), (RATELIMIT.clone(), self.standing)]
    }
}

/// In seconds, rounded up.
fn whole_secs(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
