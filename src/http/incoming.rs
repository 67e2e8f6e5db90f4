//! A body that arrives from a connection, bounded in size, in the time between two reads, and in how slow it
//! may be.
//!
//! What surprises:
//! - A request's trailers that say what only a head may say make it malformed; in a response's, such fields
//!   are left out (RFC 9110 §6.5.1).
//! - A request that has a [`Place`] somewhere, where others may wait for it, has to give it up to them when
//!   its body keeps us waiting. Then the body fails: what cannot be had is not waited for.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::clock::{self, Instant};
use crate::error::{ClientError, Error, UpstreamError, UpstreamErrorKind};

use super::fields;

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
    wait: Option<Pin<Box<Wait>>>,
    left: u64,
    failed: bool,
    meter: Option<Arc<AtomicU64>>,
    /// The least bytes a second; 0 for no such limit.
    min_rate: u64,
    /// Kept from the first wait on.
    pace: Option<Box<Pace>>,
    /// What the sender occupies.
    place: Option<Occupied>,
}

/// What the sender of a body occupies until its request is answered, and others may be waiting for.
pub trait Place: Debug + Send + Sync {
    /// Gives it to whoever waits for it; false where nobody does.
    fn give_up(&self) -> bool;
}

/// A place, and how long the body may keep us waiting before somebody else may have it.
#[derive(Debug)]
struct Occupied {
    place: Arc<dyn Place>,
    grace: Duration,
}

/// The least bytes a second of a body whose place others wait for.
const WANTED_RATE: u64 = 16 * 1024;

/// How often such a body asks whether its place is wanted, while it is being waited for.
const ASK_EVERY: Duration = Duration::from_millis(100);

pin_project! {
    /// A wait for the next frame.
    #[derive(Debug)]
    struct Wait {
        #[pin]
        timer: Sleep,
        // When the body fails.
        ends: Instant,
    }
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
    fn patience(&self, min_rate: u64, grace: Duration) -> Duration {
        let earned = self.bytes.saturating_mul(1000).checked_div(min_rate).unwrap_or(u64::MAX);
        Duration::from_millis(earned).max(grace).saturating_sub(self.waited)
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
            wait: None,
            left: max_bytes,
            failed: false,
            meter: None,
            min_rate: 0,
            pace: None,
            place: None,
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

    /// Has the sender make way: `place` goes to whoever waits for it, and the body fails, when it is silent
    /// for longer than `grace`, or is waited for that long and slower than 16 KiB a second. Bodies that are
    /// exempt from a least rate are exempt from this one too.
    pub fn occupies(&mut self, place: Arc<dyn Place>, grace: Duration) {
        self.place = Some(Occupied { place, grace });
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
                self.wait = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                if let Some(pace) = &mut self.pace {
                    pace.arrives(bytes, clock::instant());
                }
                if let Some(meter) = &self.meter {
                    meter.fetch_add(bytes, Ordering::Relaxed);
                }
                let Some(left) = self.left.checked_sub(bytes) else {
                    return self.fail(self.too_large());
                };
                self.left = left;
                match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(frame) => self.trailers(frame.into_trailers().unwrap_or_default()),
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let error = self.broken(&error);
                self.fail(error)
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.poll_wait(cx),
        }
    }

    /// Looks at the trailers before anybody else does.
    fn trailers(&mut self, mut trailers: HeaderMap) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.side {
            Side::Client if trailers.keys().any(fields::is_smuggled) => {
                return self.fail(Error::Client(ClientError::BadBody));
            }
            Side::Client => {}
            Side::Upstream => {
                let wrong = trailers.keys().filter(|name| fields::belongs_in_head(name));
                let wrong: Vec<HeaderName> = wrong.cloned().collect();
                for name in wrong {
                    trailers.remove(name);
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.wait.is_none() {
            let now = clock::instant();
            let (ends, asks) = self.patience(now);
            let timer = tokio::time::sleep_until(asks);
            self.wait = Some(Box::pin(Wait { timer, ends }));
        }
        while let Some(wait) = &mut self.wait {
            let mut wait = wait.as_mut().project();
            ready!(wait.timer.as_mut().poll(cx));
            let (now, ends) = (clock::instant(), *wait.ends);
            if now >= ends {
                return self.fail(self.stalled());
            }
            wait.timer.reset(ends.min(now + ASK_EVERY));
            if self.place.as_ref().is_some_and(|occupied| occupied.place.give_up()) {
                return self.fail(Error::Client(ClientError::BodyMadeWay));
            }
        }
        Poll::Pending
    }

    /// Begins a wait: when it ends in failure, and when it is first asked whether somebody wants the place.
    fn patience(&mut self, now: Instant) -> (Instant, Instant) {
        let (mut most, mut least) = (self.idle_timeout, Duration::MAX);
        if let Some(Occupied { grace, .. }) = &self.place {
            least = *grace;
        }
        if self.min_rate > 0 {
            let pace = self.pace.get_or_insert_default();
            most = most.min(pace.patience(self.min_rate, GRACE));
            least = least.min(pace.patience(self.min_rate.max(WANTED_RATE), least));
            pace.begins_to_wait(now);
        }
        (now + most, now + least.min(most))
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.failed = true;
        self.wait = None;
        self.place = None;
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
        let begin = clock::instant();
        let secs = Duration::from_secs;
        let mut pace = Pace::default();
        assert_eq!(pace.patience(100, GRACE), GRACE);
        pace.begins_to_wait(begin);
        pace.arrives(100, begin + secs(4));
        assert_eq!(pace.patience(100, GRACE), secs(6), "four of the ten seconds are gone");
        pace.arrives(2000, begin + secs(1000));
        assert_eq!(pace.patience(100, GRACE), secs(17), "time in which nobody waited does not count");
        pace.begins_to_wait(begin + secs(1000));
        pace.arrives(1, begin + secs(1017));
        assert_eq!(pace.patience(100, GRACE), Duration::from_millis(10));
        pace.begins_to_wait(begin + secs(1017));
        pace.arrives(0, begin + secs(1018));
        assert_eq!(pace.patience(100, GRACE), Duration::ZERO);
        assert_eq!(Pace::default().patience(100, secs(1)), secs(1));
    }
}
