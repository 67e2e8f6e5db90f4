//! A HEAD that no entry answers: it goes alone, and tells what is stored from what is not any more.

use std::sync::Arc;

use crate::clock;
use crate::error::Error;
use crate::http::{Request, Response};
use crate::layers::Inner;

use super::core::Core;
use super::fetch::Fetch;
use super::freshness::Timing;
use super::layer::Cache;
use super::status::{Forwarded, HitKind};

impl<S: Inner> Cache<S> {
    /// A HEAD that the entry cannot answer: it goes alone, and what it brings freshens the entry or makes it
    /// invalid (RFC 9111 §4.3.5).
    pub(super) async fn head(
        &self,
        core: &Arc<Core>,
        request: Request,
        mut fetch: Fetch,
    ) -> Result<Response, Error> {
        let own = request.again();
        let sent = clock::now();
        let result = self.inner.send(request).await;
        fetch.reconsider(core, &own);
        let response = match result {
            Ok(response) if core.plan.trouble.has(response.status) && fetch.stale_on_error().is_some() => {
                return core.stand_in(&own, fetch.stale_on_error(), HitKind::StaleIfError);
            }
            Ok(mut response) => {
                core.arrived(&mut response);
                response
            }
            Err(error) => return core.fall_back(&own, &fetch, error),
        };
        if let Some(entry) = fetch.stale_entry()
            && !fetch.asked().no_store
        {
            let timing = Timing { requested: sent.wall, received: clock::now().wall };
            core.head_came(&own, &fetch, entry, (response.status, &response.headers), timing).await;
        }
        let forwarded = Forwarded { detail: Some("head"), ..Forwarded::new(fetch.forward()) };
        core.forwarded(&own.trail, forwarded, Ok(response))
    }
}
