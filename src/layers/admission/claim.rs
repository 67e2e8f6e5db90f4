//! What a request brings to the gate: how important it is, whose it is, and how long it can wait.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use crate::clock::Instant;
use crate::http::Request;
use crate::report::{Path, Report};

use super::config::{Priority, RouteAdmissionConfig};

/// What a request brings to the gate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    /// The baseline that it is compared with: see [`Gate::baseline`](super::Gate::baseline).
    pub baseline: usize,
    /// Its class in the queue.
    pub priority: Priority,
    /// Whose it is, as a number: turns of a class go round among them.
    pub tenant: u64,
    /// When its client has waited long enough.
    pub deadline: Option<Instant>,
}

/// How a route's requests stand in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimPlan {
    /// Their class.
    pub priority: Priority,
    /// The field that names another one.
    pub header: Option<HeaderName>,
}

/// Validates `[route.admission]`, but for the key of its tenants.
pub fn plan(config: &RouteAdmissionConfig, at: &Path, report: &mut Report) -> ClaimPlan {
    let header = config.priority_header.as_ref().and_then(|name| {
        let parsed = HeaderName::try_from(name.as_str()).ok();
        if parsed.is_none() {
            let message = format!("`{}` is no name of a header field", name.escape_debug());
            report.error_with_hint(&at.key("priority_header"), message, "like \"x-priority\"");
        }
        parsed
    });
    ClaimPlan { priority: config.priority, header }
}

/// Tells whose a request is.
pub type TenantOf = Arc<dyn Fn(&Request) -> u64 + Send + Sync>;

/// Makes the claims of a route's requests.
#[derive(Clone, Default)]
pub struct Claims {
    plan: ClaimPlan,
    baseline: usize,
    tenant_of: Option<TenantOf>,
}

impl Claims {
    /// By this plan. Without `tenant_of`, all requests are of one tenant.
    pub fn new(plan: ClaimPlan, tenant_of: Option<TenantOf>) -> Self {
        Self { plan, baseline: 0, tenant_of }
    }

    /// The same, compared with a baseline of its own.
    #[must_use]
    pub fn compared_with(self, baseline: usize) -> Self {
        Self { baseline, ..self }
    }

    /// The number of the baseline.
    pub const fn baseline(&self) -> usize {
        self.baseline
    }

    /// What this request claims. It is asked for only where the request may have to wait.
    pub fn of(&self, request: &Request) -> Claim {
        let named = self.plan.header.as_ref().and_then(|name| request.headers.get(name));
        Claim {
            baseline: self.baseline,
            priority: named.and_then(|value| Priority::named(value.as_bytes())).unwrap_or(self.plan.priority),
            tenant: self.tenant_of.as_ref().map_or(0, |tenant_of| tenant_of(request)),
            deadline: request.until(),
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("plan", &self.plan)
            .field("baseline", &self.baseline)
            .field("tenants", &self.tenant_of.is_some())
            .finish()
    }
}
