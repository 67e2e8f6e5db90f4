//! Requests that wait for nobody, and for which nobody waits.

use crate::error::Error;
use crate::http::{Request, Response};
use crate::layers::Inner;

use super::core::Core;
use super::fetch::Fetch;
use super::layer::Cache;
use super::ranged;
use super::status::{Forwarded, HitKind};

impl<S: Inner> Cache<S> {
    /// Sends a request on without anybody else's answer or for anybody else.
    pub(super) async fn alone(
        &self,
        core: &Core,
        request: Request,
        forwarded: Forwarded,
    ) -> Result<Response, Error> {
        let (trail, whole) = (request.trail.clone(), ranged::is_for_the_whole(&request));
        let result = ranged::checked(whole, self.inner.send(request).await);
        core.forwarded(&trail, forwarded, result)
    }

    /// The same; a stale entry stands in where it may.
    pub(super) async fn alone_or_stale(
        &self,
        core: &Core,
        request: Request,
        mut fetch: Fetch,
        detail: &'static str,
    ) -> Result<Response, Error> {
        let own = request.again();
        let result = ranged::checked(ranged::is_for_the_whole(&own), self.inner.send(request).await);
        fetch.reconsider(core, &own);
        match result {
            Ok(response) if core.plan.trouble.has(response.status) && fetch.stale_on_error().is_some() => {
                core.stand_in(&own, fetch.stale_on_error(), HitKind::StaleIfError)
            }
            Err(error) => core.fall_back(&own, &fetch, error),
            Ok(response) => {
                let forwarded = Forwarded { detail: Some(detail), ..Forwarded::new(fetch.forward()) };
                core.forwarded(&own.trail, forwarded, Ok(response))
            }
        }
    }
}
