//! A request body that is kept, up to a bound, so that another attempt can send it again.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::error::Error;

/// One attempt's view of a request body.
#[derive(Debug)]
pub struct Replay {}

impl Replay {
    /// As [`http_body::Body::poll_frame`].
    pub fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(None)
    }

    /// As [`http_body::Body::is_end_stream`].
    pub fn is_end_stream(&self) -> bool {
        true
    }

    /// As [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
