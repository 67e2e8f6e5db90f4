//! A request body on its way to an endpoint, watched: whether all of it went out, whether it broke, whether
//! it moves.
//!
//! hyper keeps these to itself. They decide whose fault a failure is, whether a connection may be used again
//! (not while a request is still being sent on it, RFC 9112 §9.3) and whether a silent endpoint waits for us.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::clock::{self, Instant};
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::RequestBody;

/// A request body as hyper sends it. One that is in memory is not watched: it neither breaks nor stalls.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: RequestBody,
    watch: Option<Box<Watch>>,
}

/// The sender's end of a watched body.
#[derive(Debug)]
struct Watch {
    progress: Arc<Mutex<Progress>>,
    /// Resolves when whoever asked has left.
    left: oneshot::Receiver<()>,
}

/// The asker's end of a watched body; its drop stops the upload.
#[derive(Debug)]
pub(super) struct Upload {
    progress: Arc<Mutex<Progress>>,
    _here: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Progress {
    /// When the body last delivered something.
    moved: Instant,
    /// Whether the client is waited for, and not the endpoint.
    starved: bool,
    /// How it ended, when it has.
    outcome: Option<Result<(), Error>>,
}

impl Outgoing {
    /// A body to send, and its other end where it must be watched.
    pub(super) fn new(body: RequestBody, now: Instant) -> (Self, Option<Upload>) {
        if body.is_empty() || matches!(body, RequestBody::Full(_)) {
            return (Self { body, watch: None }, None);
        }
        let progress = Arc::new(Mutex::new(Progress { moved: now, starved: false, outcome: None }));
        let (here, left) = oneshot::channel();
        let watch = Watch { progress: Arc::clone(&progress), left };
        (Self { body, watch: Some(Box::new(watch)) }, Some(Upload { progress, _here: here }))
    }

    /// A second body like this one, where that costs nothing.
    pub(super) fn replica(&self) -> Option<Self> {
        match &self.body {
            RequestBody::Full(bytes) => Some(Self { body: RequestBody::Full(bytes.clone()), watch: None }),
            body if body.is_empty() => Some(Self { body: RequestBody::Empty, watch: None }),
            _ => None,
        }
    }
}

impl Watch {
    fn note(&self, note: impl FnOnce(&mut Progress)) {
        note(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Upload {
    /// How the body ended: sent as a whole, or broken on the client's side. None while it is on its way.
    pub(super) fn outcome(&self) -> Option<Result<(), Error>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).outcome.clone()
    }

    /// Since when the endpoint has kept us waiting; `now` where it is the client who does.
    pub(super) fn waiting_since(&self, now: Instant) -> Instant {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.starved && progress.outcome.is_none() { now } else { progress.moved }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let Some(watch) = &mut this.watch else {
            return Pin::new(&mut this.body).poll_frame(cx);
        };
        if Pin::new(&mut watch.left).poll(cx).is_ready() {
            let left = UpstreamError::sent(UpstreamErrorKind::Reset);
            return Poll::Ready(Some(Err(Error::Upstream(left))));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending() {
            watch.note(|progress| progress.starved = true);
            return polled;
        }
        let ended = this.body.is_empty();
        watch.note(|progress| {
            progress.starved = false;
            progress.moved = clock::instant();
            match &polled {
                Poll::Ready(Some(Err(error))) => progress.outcome = Some(Err(error.clone())),
                Poll::Ready(None) => progress.outcome = Some(Ok(())),
                _ if ended => progress.outcome = Some(Ok(())),
                _ => {}
            }
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
