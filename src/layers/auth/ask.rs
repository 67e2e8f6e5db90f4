//! Requests of the gateway's own: for key sets, and to a service that decides.

use crate::http::Request;
use crate::layers::{Boxed, Inner};

/// Something that answers requests: an upstream, as far as this layer knows it.
pub trait Ask: Send + Sync + 'static {
    /// Asks.
    fn ask(&self, request: Request) -> Boxed<'_>;
}

impl<S: Inner> Ask for S {
    fn ask(&self, request: Request) -> Boxed<'_> {
        Box::pin(self.send(request))
    }
}
