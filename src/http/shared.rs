//! A body with one writer and many readers, each at its own pace.
//!
//! ```
//! use std::time::Duration;
//! use forebay::http::shared::{Limits, SharedWriter};
//! use forebay::memory::{Memory, Use};
//! use http_body_util::BodyExt;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let limits = Limits { keep: 1024, window: 64, patience: Duration::from_secs(5) };
//! let mut writer = SharedWriter::new(limits, None, Memory::new(4096).hold(Use::Filling));
//! let early = writer.body().reader().ok_or("gone")?;
//! writer.push("for".into());
//! let late = writer.body().reader().ok_or("gone")?; // gets everything from the first byte
//! writer.finish(Some("ebay".into()), None);
//! for reader in [early, late] {
//!     assert_eq!(forebay::http::Body::shared(reader).collect().await?.to_bytes(), "forebay");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A body begins **kept**: every chunk stays, so that a reader may join at any time and nobody waits for
//! anybody; it is bounded by [`Limits::keep`] and by the process's [`Memory`](crate::memory::Memory). A body
//! that outgrows one of them is **streamed** from then on: chunks all readers have passed are freed, no
//! reader joins once the first one is, and the writer waits for the slowest reader within [`Limits::window`],
//! which is one chunk where memory is tight. Where that one holds others back for longer than
//! [`Limits::patience`] in all, it is cut off; a reader that is alone sets the pace and never is.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use crate::clock;
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::memory::Hold;

use self::state::{Ending, Seat, State, wake};

/// What one shared body may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many bytes are kept at most; a larger body is streamed.
    pub keep: u64,
    /// How many bytes the fastest reader of a streamed body may be ahead of the slowest. One chunk more may
    /// be held.
    pub window: u64,
    /// How long, in all, a slow reader may keep the others waiting before it is cut off.
    pub patience: Duration,
}

/// The one writer. Dropped without [`finish`](Self::finish), it fails the readers with
/// [`UpstreamErrorKind::BodyIncomplete`].
#[derive(Debug)]
pub struct SharedWriter {
    body: SharedBody,
    limits: Limits,
    patience: Duration,
}

/// A handle to join a shared body by.
#[derive(Clone, Debug)]
pub struct SharedBody(Arc<Shared>);

/// One reader of a shared body.
#[derive(Debug)]
pub struct SharedReader {
    shared: Arc<Shared>,
    seat: usize,
    skip: u64,
    left: Option<u64>,
    seated: bool,
    done: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Tells the writer that there is room again.
    room: Notify,
    length: Option<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedWriter {
    /// An empty body that will have `length` bytes, where that is known. What `memory` holds already is set
    /// aside for it; beyond that it asks for more as chunks arrive.
    pub fn new(limits: Limits, length: Option<u64>, memory: Hold) -> Self {
        let state = State::new(limits.window, memory);
        let shared = Arc::new(Shared { state: Mutex::new(state), room: Notify::new(), length });
        Self { body: SharedBody(shared), limits, patience: limits.patience }
    }

    /// A handle for readers to join by.
    pub fn body(&self) -> SharedBody {
        self.body.clone()
    }

    /// How many bytes were pushed.
    pub fn total(&self) -> u64 {
        self.body.0.lock().total
    }

    /// Whether every chunk is still here.
    pub fn is_kept(&self) -> bool {
        self.body.0.lock().kept
    }

    /// Waits until there is room for a chunk: at once unless the body is streamed. Cancel-safe.
    pub async fn ready(&mut self) {
        loop {
            let starving = {
                let mut state = self.body.0.lock();
                if state.free() {
                    return;
                }
                state.starving()
            };
            let room = self.body.0.room.notified();
            if !starving {
                // Nobody is held back yet; look again now and then, for a reader may become so without a word
                // to us.
                let _ = tokio::time::timeout(self.limits.patience, room).await;
                continue;
            }
            let since = clock::now().instant;
            let waited = tokio::time::timeout(self.patience, room).await;
            self.patience = self.patience.saturating_sub(clock::now().instant - since);
            if waited.is_err() || self.patience.is_zero() {
                self.patience = self.limits.patience;
                let wakers = self.body.0.lock().cut();
                wake(wakers);
            }
        }
    }

    /// Adds a chunk. Does not wait: call [`ready`](Self::ready) before. Says whether the body is still kept.
    pub fn push(&mut self, chunk: Bytes) -> bool {
        if chunk.is_empty() {
            return self.is_kept();
        }
        let (kept, wakers) = {
            let mut state = self.body.0.lock();
            let bytes = chunk.len() as u64;
            let fits = state.kept && state.total + bytes <= self.limits.keep && state.charge(bytes);
            state.push(chunk);
            if !fits {
                state.kept = false;
                state.free();
            }
            (fits, state.wakers())
        };
        wake(wakers);
        kept
    }

    /// Every chunk so far, if the body is kept.
    pub fn chunks(&self) -> Option<Vec<Bytes>> {
        let state = self.body.0.lock();
        state.kept.then(|| state.chunks.iter().cloned().collect())
    }

    /// Ends the body well, after one `last` chunk and with `trailers`, where there are some.
    pub fn finish(self, last: Option<Bytes>, trailers: Option<HeaderMap>) {
        self.end(last.filter(|chunk| !chunk.is_empty()), Ending::Complete(trailers));
    }

    /// Ends the body badly.
    pub fn fail(self, error: Error) {
        self.end(None, Ending::Failed(error));
    }

    fn end(&self, last: Option<Bytes>, ending: Ending) {
        let wakers = {
            let mut state = self.body.0.lock();
            if state.end.is_some() {
                return;
            }
            if let Some(chunk) = last {
                state.push(chunk);
            }
            state.end = Some(ending);
            state.wakers()
        };
        wake(wakers);
    }
}

impl Drop for SharedWriter {
    fn drop(&mut self) {
        self.end(None, Ending::Failed(UpstreamError::sent(UpstreamErrorKind::BodyIncomplete).into()));
    }
}

impl SharedBody {
    /// A reader from the first byte; none where that is gone already.
    pub fn reader(&self) -> Option<SharedReader> {
        self.seat(0, self.0.length)
    }

    /// A reader of `length` bytes from `start`.
    pub fn reader_of(&self, start: u64, length: u64) -> Option<SharedReader> {
        self.seat(start, Some(length))
    }

    /// Its length, where that was known at its start.
    pub fn length(&self) -> Option<u64> {
        self.0.length
    }

    fn seat(&self, skip: u64, left: Option<u64>) -> Option<SharedReader> {
        let mut state = self.0.lock();
        if state.base > 0 {
            return None;
        }
        let seat = Seat { next: 0, waker: None, cut: false };
        let free = state.seats.iter().position(Option::is_none);
        let number = free.unwrap_or(state.seats.len());
        match state.seats.get_mut(number) {
            Some(place) => *place = Some(seat),
            None => state.seats.push(Some(seat)),
        }
        drop(state);
        Some(SharedReader {
            shared: Arc::clone(&self.0),
            seat: number,
            skip,
            left,
            seated: true,
            done: left == Some(0),
        })
    }
}

/// What a reader found.
enum Found {
    Data(Bytes, bool),
    Trailers(HeaderMap),
    End,
    Failed(Error),
}

impl SharedReader {
    /// As [`http_body::Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            let Poll::Ready(found) = self.look(cx) else { return Poll::Pending };
            match found {
                Found::Data(chunk, last) => {
                    let data = self.take(chunk);
                    if last || self.left == Some(0) {
                        self.leave();
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Found::Trailers(trailers) => {
                    self.leave();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Found::End => self.leave(),
                Found::Failed(error) => {
                    self.leave();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// Finds what comes next, under the lock; leaves a waker where nothing does yet.
    fn look(&self, cx: &Context<'_>) -> Poll<Found> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let end = state.end_number();
        let Some(seat) = state.seats.get_mut(self.seat).and_then(Option::as_mut) else {
            return Poll::Ready(Found::End);
        };
        if seat.cut {
            // The transfer to this client stalled: the only word for it that the log has.
            return Poll::Ready(Found::Failed(UpstreamError::sent(UpstreamErrorKind::BodyTimeout).into()));
        }
        let index = usize::try_from(seat.next - state.base).unwrap_or(usize::MAX);
        if let Some(chunk) = state.chunks.get(index) {
            let chunk = chunk.clone();
            seat.next += 1;
            let last = seat.next == end && matches!(state.end, Some(Ending::Complete(None)));
            let was_slowest = index == 0 && !state.kept;
            let room = was_slowest && state.free();
            drop(guard);
            if room {
                self.shared.room.notify_one();
            }
            return Poll::Ready(Found::Data(chunk, last));
        }
        match &state.end {
            // The trailers of a whole do not belong to a part.
            Some(Ending::Complete(Some(trailers))) if self.skip == 0 => {
                Poll::Ready(Found::Trailers(trailers.clone()))
            }
            Some(Ending::Complete(_)) => Poll::Ready(Found::End),
            Some(Ending::Failed(error)) => Poll::Ready(Found::Failed(error.clone())),
            None => {
                match &mut seat.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => seat.waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The part of a chunk that is ours.
    fn take(&mut self, mut chunk: Bytes) -> Bytes {
        let skip = self.skip.min(chunk.len() as u64);
        self.skip -= skip;
        let mut data = chunk.split_off(usize::try_from(skip).unwrap_or(chunk.len()));
        if let Some(left) = &mut self.left {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
        }
        data
    }

    /// Gives the seat back: nobody waits for this reader any more.
    fn leave(&mut self) {
        self.done = true;
        if !std::mem::take(&mut self.seated) {
            return;
        }
        let room = {
            let mut state = self.shared.lock();
            if let Some(seat) = state.seats.get_mut(self.seat) {
                *seat = None;
            }
            !state.kept && state.free()
        };
        if room {
            self.shared.room.notify_one();
        }
    }

    /// As [`http_body::Body::is_end_stream`].
    pub fn is_end_stream(&self) -> bool {
        self.done
    }

    /// As [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.done => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
