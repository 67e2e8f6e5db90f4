//! A body that arrives from a connection, bounded in size and in the time between two reads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;

use crate::error::{ClientError, Error, UpstreamError, UpstreamErrorKind};

/// Whose body it is: that decides what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request body, from the client.
    Client,
    /// A response body, from an endpoint.
    Upstream,
}

/// A body from a hyper connection.
#[derive(Debug)]
pub struct Incoming {
    body: hyper::body::Incoming,
    side: Side,
    idle_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    left: u64,
    failed: bool,
    meter: Option<Arc<AtomicU64>>,
}

impl Incoming {
    /// A body that may be silent for at most `idle_timeout` and carry at most `max_bytes`.
    pub const fn new(
        body: hyper::body::Incoming,
        side: Side,
        idle_timeout: Duration,
        max_bytes: u64,
    ) -> Self {
        Self { body, side, idle_timeout, timer: None, left: max_bytes, failed: false, meter: None }
    }

    /// Narrows the size bound, for a route that accepts less than the server.
    pub fn limit(&mut self, max_bytes: u64) {
        self.left = self.left.min(max_bytes);
    }

    /// The number of data bytes that arrive from now on, kept up to date.
    pub fn meter(&mut self) -> Arc<AtomicU64> {
        self.meter.get_or_insert_default().clone()
    }

    /// As [`http_body::Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                if let Some(meter) = &self.meter {
                    meter.fetch_add(bytes, Ordering::Relaxed);
                }
                let Some(left) = self.left.checked_sub(bytes) else {
                    return self.fail(self.too_large());
                };
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = self.broken(&error);
                self.fail(error)
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.poll_timer(cx),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let idle_timeout = self.idle_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_timeout)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => self.fail(self.stalled()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.failed = true;
        self.timer = None;
        Poll::Ready(Some(Err(error)))
    }

    const fn too_large(&self) -> Error {
        match self.side {
            Side::Client => Error::Client(ClientError::BodyTooLarge),
            Side::Upstream => Error::Upstream(UpstreamError::sent(UpstreamErrorKind::BadResponse)),
        }
    }

    const fn stalled(&self) -> Error {
        match self.side {
            Side::Client => Error::Client(ClientError::BodyTimeout),
            Side::Upstream => Error::Upstream(UpstreamError::sent(UpstreamErrorKind::BodyTimeout)),
        }
    }

    fn broken(&self, error: &hyper::Error) -> Error {
        match self.side {
            Side::Client if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
                Error::Client(ClientError::BodyAborted)
            }
            Side::Client => Error::Client(ClientError::BadBody),
            Side::Upstream => Error::Upstream(UpstreamError::sent(UpstreamErrorKind::BodyIncomplete)),
        }
    }

    /// As [`http_body::Body::is_end_stream`].
    pub fn is_end_stream(&self) -> bool {
        self.failed || self.body.is_end_stream()
    }

    /// As [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.get_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.size_hint()
    }
}
