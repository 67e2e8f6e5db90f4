//! A route's guard at work: it looks at a request, takes the credentials out of it, and decides.

use std::sync::Arc;

use crate::error::{Denial, Refusal};
use crate::http::Request;

use super::identity::{self, Identity};
use super::keys::{Carried, Keyring};
use super::plan::{AuthPlan, MethodsPlan};

/// What is to be done about a request.
#[derive(Debug)]
pub enum Verdict {
    /// Nobody asks who it is from.
    Open,
    /// This is who it is from.
    Known(Identity),
    /// It is turned away.
    Denied(Denial),
}

/// A guard; it lives behind an `Arc` and survives a reload as long as its plan is equal.
#[derive(Debug)]
pub struct Guard {
    plan: AuthPlan,
    keyring: Keyring,
}

impl Guard {
    /// A guard of these rules.
    pub fn new(plan: AuthPlan) -> Self {
        let consumers = plan.methods.iter().flat_map(|methods| methods.consumers.iter());
        let keys = consumers.flat_map(|one| one.keys.iter().map(|key| (*key, one.consumer.clone())));
        let keyring = Keyring::new(keys);
        Self { plan, keyring }
    }

    /// What it was made from.
    pub const fn plan(&self) -> &AuthPlan {
        &self.plan
    }

    /// Looks at a request; what only the gateway may say is gone from it then, and so are the credentials
    /// that go no further.
    pub fn look(&self, request: &mut Request) -> Verdict {
        identity::strip(&self.plan.strip, &mut request.headers);
        if !self.plan.addresses.admit(request.client) {
            return Verdict::Denied(Denial::Address);
        }
        let Some(methods) = &self.plan.methods else { return Verdict::Open };
        match methods.keys.as_ref().map_or(Carried::Nothing, |keys| keys.take(request)) {
            Carried::Key(key) => match self.keyring.find(&key) {
                Some(consumer) => Verdict::Known(Identity::of(consumer.clone())),
                None => Verdict::Denied(Denial::BadCredentials),
            },
            Carried::Unusable => Verdict::Denied(Denial::BadCredentials),
            Carried::Nothing => Verdict::Denied(Denial::NoCredentials),
        }
    }

    /// Lets someone in, if the route is for it, and tells those further in who it is.
    ///
    /// # Errors
    /// That it is not.
    pub fn admit(&self, identity: Identity, request: &mut Request) -> Result<(), Denial> {
        let Some(MethodsPlan { allowed, header, .. }) = &self.plan.methods else { return Ok(()) };
        let name = identity.consumer.name();
        request.trail.note(|notes| notes.consumer = Some(Arc::clone(name)));
        if !allowed.is_empty() && !allowed.contains(&**name) {
            return Err(Denial::NotAllowed);
        }
        identity.tell(header, &mut request.headers);
        Ok(())
    }

    /// The answer to someone who is turned away.
    pub fn refusal(&self, why: Denial) -> Refusal {
        let challenges = self.plan.methods.as_ref().map(|methods| Arc::clone(&methods.challenges));
        Refusal::Denied { why, challenges: challenges.unwrap_or_default() }
    }
}
