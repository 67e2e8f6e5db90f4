//! A body that is encoded as it is read: with the pace of its reader, and without holding up other tasks.
//!
//! What comes out of the source goes into the encoder at once. Where the source has nothing (yet), all that
//! was given is flushed, so that a slow body reaches its client as it comes. A [`Desk`] says how many
//! encoders may work off the event loop at a time: more than what is [done at once](Level::at_once) goes
//! there, in pieces of [`PIECE`], and what is done here is interrupted as often.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::Semaphore;

use crate::error::{Error, InternalError};

use super::body::Body;
use super::coding::{Encoder, Level, Then};

/// How much is encoded in one go off the event loop, in bytes: what a client that leaves has us do in vain.
pub const PIECE: usize = 256 * 1024;

/// How much is handed on at a time, unless the source has no more: enough for a write to be worth it, in
/// bytes.
const OUTPUT: usize = 16 * 1024;

/// The places for encoders off the event loop: a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Semaphore>);

impl Desk {
    /// So many places.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))))
    }
}

/// A body on its way through an encoder.
pub struct Encoded {
    source: Body,
    work: Work,
    level: Level,
    desk: Desk,
    /// What the source gave and the encoder did not yet get.
    rest: Bytes,
    /// Whether the source has ended.
    ended: bool,
    /// How much was encoded here since other tasks last ran, in bytes.
    spent: usize,
    trailers: Option<HeaderMap>,
}

enum Work {
    /// The encoder is here.
    Here(Box<Encoder>),
    /// It is at the desk, or waits for a place there.
    Away(Away),
    /// It has come to its end.
    Over,
}

type Away = Pin<Box<dyn Future<Output = Result<(Box<Encoder>, Then), Error>> + Send>>;

impl Encoded {
    /// What comes of `source` in an encoder of this level.
    pub fn new(source: Body, level: Level, encoder: Encoder, desk: Desk) -> Self {
        Self {
            source,
            work: Work::Here(Box::new(encoder)),
            level,
            desk,
            rest: Bytes::new(),
            ended: false,
            spent: 0,
            trailers: None,
        }
    }

    /// As [`http_body::Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let step = match std::mem::replace(&mut self.work, Work::Over) {
                Work::Over => {
                    return Poll::Ready(self.trailers.take().map(|fields| Ok(Frame::trailers(fields))));
                }
                Work::Away(away) => self.come_back(away, cx),
                Work::Here(encoder) => self.go_on(encoder, cx),
            };
            if let Some(frame) = ready!(step).transpose() {
                return Poll::Ready(Some(frame));
            }
        }
    }

    /// Waits for the encoder.
    fn come_back(
        &mut self,
        mut away: Away,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Error>> {
        match away.as_mut().poll(cx) {
            Poll::Ready(done) => {
                self.spent = 0;
                let (encoder, then) = done?;
                Poll::Ready(Ok(self.encoded(encoder, then)))
            }
            Poll::Pending => {
                self.work = Work::Away(away);
                Poll::Pending
            }
        }
    }

    /// Encodes what is there, or asks the source for more.
    fn go_on(
        &mut self,
        encoder: Box<Encoder>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Error>> {
        if self.rest.is_empty() && !self.ended {
            match Pin::new(&mut self.source).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.rest = data;
                        self.ended = self.source.is_end_stream();
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.ended = true;
                    }
                },
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => {
                    self.spent = 0;
                    if encoder.is_dirty() {
                        return Poll::Ready(self.encode(encoder, Bytes::new(), Then::Flush));
                    }
                    self.work = Work::Here(encoder);
                    return Poll::Pending;
                }
            }
        }
        let allowed = self.level.at_once().unwrap_or(0);
        let piece = self.rest.len().min(PIECE);
        if piece <= allowed && self.spent + piece > allowed {
            self.spent = 0;
            self.work = Work::Here(encoder);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.rest.split_to(piece);
        let last = self.ended && self.rest.is_empty();
        Poll::Ready(self.encode(encoder, piece, if last { Then::Finish } else { Then::More }))
    }

    /// Encodes a piece here, if it is small, or at the desk.
    fn encode(
        &mut self,
        mut encoder: Box<Encoder>,
        piece: Bytes,
        then: Then,
    ) -> Result<Option<Frame<Bytes>>, Error> {
        if self.level.at_once().is_some_and(|allowed| piece.len() <= allowed) {
            self.spent += piece.len();
            encoder.encode(&piece, then).map_err(|_| BROKEN)?;
            return Ok(self.encoded(encoder, then));
        }
        let desk = self.desk.clone();
        self.work = Work::Away(Box::pin(async move {
            let place = desk.0.acquire_owned().await.map_err(|_| BROKEN)?;
            let work = tokio::task::spawn_blocking(move || {
                let done = encoder.encode(&piece, then).map(|()| (encoder, then));
                drop(place);
                done
            });
            work.await.map_err(|_| Error::Internal(InternalError::Panicked))?.map_err(|_| BROKEN)
        }));
        Ok(None)
    }

    /// What to hand on after a piece.
    fn encoded(&mut self, mut encoder: Box<Encoder>, then: Then) -> Option<Frame<Bytes>> {
        let enough = then != Then::More || encoder.ready() >= OUTPUT;
        let frame = (enough && encoder.ready() > 0).then(|| Frame::data(encoder.take()));
        self.work = if then == Then::Finish { Work::Over } else { Work::Here(encoder) };
        frame
    }

    /// As [`http_body::Body::is_end_stream`].
    pub const fn is_end_stream(&self) -> bool {
        matches!(self.work, Work::Over) && self.trailers.is_none()
    }

    /// As [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

const BROKEN: Error = Error::Internal(InternalError::Bug("an encoder that cannot encode"));

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = match self.work {
            Work::Here(_) => "here",
            Work::Away(_) => "away",
            Work::Over => "over",
        };
        f.debug_struct("Encoded").field("source", &self.source).field("work", &work).finish()
    }
}

#[cfg(test)]
mod tests;
