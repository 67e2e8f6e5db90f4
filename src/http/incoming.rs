//! A body that arrives from a connection, bounded in size, in the time between two reads, and in how slow it
//! may be.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;

use crate::clock::{self, Instant};
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
    /// The least bytes a second; 0 for no such limit.
    min_rate: u64,
    /// Kept from the first wait on.
    pace: Option<Box<Pace>>,
}

/// How long a body may be slower than it must.
const GRACE: Duration = Duration::from_secs(10);

/// How long a body was waited for, and what came. The time in which we did not ask for more does not count.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
    /// Since when it is being waited for.
    since: Option<Instant>,
}

impl Pace {
    fn begins_to_wait(&mut self, now: Instant) {
        self.since = Some(now);
    }

    fn arrives(&mut self, bytes: u64, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.bytes += bytes;
    }

    /// How much longer it may be waited for.
    fn patience(&self, min_rate: u64) -> Duration {
        let earned = self.bytes.saturating_mul(1000).checked_div(min_rate).unwrap_or(u64::MAX);
        Duration::from_millis(earned).max(GRACE).saturating_sub(self.waited)
    }
}

impl Incoming {
    /// A body that may be silent for at most `idle_timeout` and carry at most `max_bytes`.
    pub const fn new(
        body: hyper::body::Incoming,
        side: Side,
        idle_timeout: Duration,
        max_bytes: u64,
    ) -> Self {
        Self {
            body,
            side,
            idle_timeout,
            timer: None,
            left: max_bytes,
            failed: false,
            meter: None,
            min_rate: 0,
            pace: None,
        }
    }

    /// Has the body fail when it brings fewer bytes a second, once it has been waited for ten seconds; 0 for
    /// no such limit.
    #[must_use]
    pub fn at_least(self, min_rate: u64) -> Self {
        Self { min_rate, ..self }
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
                if let Some(pace) = &mut self.pace {
                    pace.arrives(bytes, clock::now().instant);
                }
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
        let (idle_timeout, min_rate, pace) = (self.idle_timeout, self.min_rate, &mut self.pace);
        let timer = self.timer.get_or_insert_with(|| {
            if min_rate == 0 {
                return Box::pin(tokio::time::sleep(idle_timeout));
            }
            let pace = pace.get_or_insert_default();
            let timer = tokio::time::sleep(idle_timeout.min(pace.patience(min_rate)));
            pace.begins_to_wait(clock::now().instant);
            Box::pin(timer)
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_body_may_be_waited_for_as_long_as_it_earns() {
        let begin = clock::now().instant;
        let secs = Duration::from_secs;
        let mut pace = Pace::default();
        assert_eq!(pace.patience(100), GRACE);
        pace.begins_to_wait(begin);
        pace.arrives(100, begin + secs(4));
        assert_eq!(pace.patience(100), secs(6), "four of the ten seconds are gone");
        pace.arrives(2000, begin + secs(1000));
        assert_eq!(pace.patience(100), secs(17), "time in which nobody waited does not count");
        pace.begins_to_wait(begin + secs(1000));
        pace.arrives(1, begin + secs(1017));
        assert_eq!(pace.patience(100), Duration::from_millis(10));
        pace.begins_to_wait(begin + secs(1017));
        pace.arrives(0, begin + secs(1018));
        assert_eq!(pace.patience(100), Duration::ZERO);
    }
}
