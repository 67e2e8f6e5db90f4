//! The response body: a closed enum of sources, and what is held until its end.
//!
//! A source's last frame releases what is held at once, without waiting to be polled again: hyper does not
//! poll a body whose `is_end_stream` says it is over.
//!
//! A body may have a time by which it must have arrived ([`Body::cut_at`]); no timer is armed before it first
//! waits.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use crate::clock::Instant;
use crate::error::{Error, UpstreamError, UpstreamErrorKind};

use super::encoded::Encoded;
use super::held::{End, Held};
use super::incoming::Incoming;
use super::parts::PartsReader;
use super::shared::SharedReader;

/// A response body.
#[derive(Default)]
pub struct Body {
    source: Source,
    cutoff: Cutoff,
    held: Vec<Box<dyn Held>>,
    stored: Option<NonZeroU64>,
}

/// When the source is given up.
#[derive(Default)]
enum Cutoff {
    #[default]
    Never,
    At(Instant),
    Armed(Pin<Box<Sleep>>),
}

impl Cutoff {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::At(at) = *self {
            *self = Self::Armed(Box::pin(tokio::time::sleep_until(at)));
        }
        match self {
            Self::Armed(timer) => timer.as_mut().poll(cx),
            Self::Never | Self::At(_) => Poll::Pending,
        }
    }
}

/// Where the bytes come from.
#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Full(Bytes),
    Chunks(Chunks),
    Shared(Box<SharedReader>),
    Parts(Box<PartsReader>),
    Incoming(Box<Incoming>),
    Encoded(Box<Encoded>),
}

/// A run of stored chunks: `Arc`ed, so that many readers share them.
#[derive(Clone)]
pub struct Chunks {
    chunks: Arc<[Bytes]>,
    next: usize,
    skip: usize,
    left: u64,
}

impl Chunks {
    /// `length` bytes from `start` of the concatenated chunks.
    pub fn new(chunks: Arc<[Bytes]>, start: u64, length: u64) -> Self {
        let (mut next, mut skip) = (0, start);
        for chunk in chunks.iter() {
            if skip < chunk.len() as u64 {
                break;
            }
            skip -= chunk.len() as u64;
            next += 1;
        }
        Self { chunks, next, skip: usize::try_from(skip).unwrap_or(usize::MAX), left: length }
    }

    fn pull(&mut self) -> Option<Bytes> {
        while self.left > 0 {
            let chunk = self.chunks.get(self.next)?;
            let rest = chunk.len().saturating_sub(self.skip);
            let take = rest.min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let start = std::mem::take(&mut self.skip);
            self.next += 1;
            self.left -= take as u64;
            if take > 0 {
                return Some(chunk.slice(start..start + take));
            }
        }
        None
    }
}

/// `length` bytes from `start` of concatenated chunks, as slices of them.
pub fn slices(chunks: &[Bytes], start: u64, length: u64) -> impl Iterator<Item = Bytes> {
    let (mut skip, mut left) = (start, length);
    chunks.iter().filter_map(move |chunk| {
        let from = skip.min(chunk.len() as u64);
        let take = left.min(chunk.len() as u64 - from);
        (skip, left) = (skip - from, left - take);
        let (from, take) = (usize::try_from(from).ok()?, usize::try_from(take).ok()?);
        (take > 0).then(|| chunk.slice(from..from + take))
    })
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Everything in one piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::from_source(if bytes.is_empty() { Source::Empty } else { Source::Full(bytes) })
    }

    /// A run of stored chunks.
    pub fn chunks(chunks: Chunks) -> Self {
        Self::from_source(if chunks.left == 0 { Source::Empty } else { Source::Chunks(chunks) })
    }

    /// A reader of a body that others may read too.
    pub fn shared(reader: SharedReader) -> Self {
        Self::from_source(Source::Shared(Box::new(reader)))
    }

    /// A reader of several parts of such a body.
    pub fn parts(reader: PartsReader) -> Self {
        Self::from_source(Source::Parts(Box::new(reader)))
    }

    /// A body that arrives from a connection.
    pub fn incoming(incoming: Incoming) -> Self {
        Self::from_source(Source::Incoming(Box::new(incoming)))
    }

    /// A body on its way through an encoder.
    pub fn encoded(encoded: Encoded) -> Self {
        Self::from_source(Source::Encoded(Box::new(encoded)))
    }

    const fn from_source(source: Source) -> Self {
        Self { source, cutoff: Cutoff::Never, held: Vec::new(), stored: None }
    }

    /// Says that this answers with the whole of a stored response, by its number; 0 says nothing.
    #[must_use]
    pub const fn of_stored(mut self, number: u64) -> Self {
        self.stored = NonZeroU64::new(number);
        self
    }

    /// The number of the stored response that this is the whole body of, or would be but for the method: the
    /// same bytes as long as the process lives.
    pub const fn stored(&self) -> Option<NonZeroU64> {
        self.stored
    }

    /// Keeps `held` until this body ends. A body that has nothing (more) to deliver releases it at its drop.
    pub fn hold(&mut self, held: impl Held) {
        self.held.push(Box::new(held));
    }

    /// The whole body where it is in memory in one piece already.
    pub fn as_full(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Empty => Some(&[]),
            Source::Full(bytes) => Some(bytes),
            Source::Chunks(_)
            | Source::Shared(_)
            | Source::Parts(_)
            | Source::Incoming(_)
            | Source::Encoded(_) => None,
        }
    }

    /// The same bytes once more, where all are in memory; what is held stays here.
    pub fn again(&self) -> Option<Self> {
        let source = match &self.source {
            Source::Empty => Source::Empty,
            Source::Full(bytes) => Source::Full(bytes.clone()),
            Source::Chunks(chunks) => Source::Chunks(chunks.clone()),
            Source::Shared(_) | Source::Parts(_) | Source::Incoming(_) | Source::Encoded(_) => return None,
        };
        Some(Self::from_source(source).of_stored(self.stored.map_or(0, NonZeroU64::get)))
    }

    /// Whether no part of it has yet to arrive from anywhere.
    pub const fn is_in_memory(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Full(_) | Source::Chunks(_) => true,
            Source::Shared(_) | Source::Parts(_) | Source::Incoming(_) | Source::Encoded(_) => false,
        }
    }

    /// Whether it does not depend on this client: it is in memory, or others wait for it too.
    pub const fn is_shared(&self) -> bool {
        self.is_in_memory() || matches!(self.source, Source::Shared(_))
    }

    /// Fails with [`UpstreamErrorKind::Deadline`] when it still waits for its source at that time.
    pub fn cut_at(&mut self, at: Instant) {
        self.cutoff = Cutoff::At(at);
    }

    /// Takes what is held, to hold it elsewhere.
    pub fn take_held(&mut self) -> Vec<Box<dyn Held>> {
        std::mem::take(&mut self.held)
    }

    /// Holds what [`take_held`](Self::take_held) took from another body.
    pub fn hold_all(&mut self, held: Vec<Box<dyn Held>>) {
        self.held.extend(held);
    }

    fn end(&mut self, end: End<'_>) {
        for held in self.held.drain(..) {
            held.ended(end);
        }
    }

    fn delivered(&mut self, bytes: usize) {
        for held in &mut self.held {
            held.data(bytes);
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Chunks(chunks) => Poll::Ready(chunks.pull().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Shared(reader) => reader.poll_frame(cx),
            Self::Parts(reader) => reader.poll_frame(cx),
            Self::Incoming(incoming) => incoming.poll_frame(cx),
            Self::Encoded(encoded) => encoded.poll_frame(cx),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Chunks(chunks) => chunks.left == 0,
            Self::Shared(reader) => reader.is_end_stream(),
            Self::Parts(reader) => reader.is_end_stream(),
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Encoded(encoded) => encoded.is_end_stream(),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut();
        let polled = match body.source.poll(cx) {
            Poll::Ready(polled) => polled,
            Poll::Pending => {
                ready!(body.cutoff.poll(cx));
                body.source = Source::Empty;
                Some(Err(Error::Upstream(UpstreamError::sent(UpstreamErrorKind::Deadline))))
            }
        };
        if body.held.is_empty() {
            return Poll::Ready(polled);
        }
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    body.delivered(data.len());
                }
                if body.source.is_end() {
                    body.end(End::Complete);
                }
            }
            Some(Err(error)) => body.end(End::Failed(error)),
            None => body.end(End::Complete),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Chunks(chunks) => SizeHint::with_exact(chunks.left),
            Source::Shared(reader) => reader.size_hint(),
            Source::Parts(reader) => reader.size_hint(),
            Source::Incoming(incoming) => incoming.size_hint(),
            Source::Encoded(encoded) => encoded.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            let end = if self.source.is_end() { End::Complete } else { End::Abandoned };
            self.end(end);
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = match &self.source {
            Source::Empty => "empty",
            Source::Full(_) => "full",
            Source::Chunks(_) => "chunks",
            Source::Shared(_) => "shared",
            Source::Parts(_) => "parts",
            Source::Incoming(_) => "incoming",
            Source::Encoded(_) => "encoded",
        };
        f.debug_struct("Body").field("source", &source).field("held", &self.held.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    struct Note(Arc<AtomicU32>);

    impl Held for Note {
        fn ended(self: Box<Self>, end: End<'_>) {
            let mark = match end {
                End::Complete => 1,
                End::Failed(_) => 100,
                End::Abandoned => 10_000,
            };
            self.0.fetch_add(mark, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn held_is_released_once_however_a_body_ends() {
        for (body, read, mark) in
            [(Body::full("abc"), true, 1), (Body::full("abc"), false, 10_000), (Body::empty(), false, 1)]
        {
            let seen = Arc::new(AtomicU32::new(0));
            let mut body = body;
            body.hold(Note(seen.clone()));
            if read {
                drop(body.collect().await)
            } else {
                drop(body)
            }
            assert_eq!(seen.load(Ordering::Relaxed), mark);
        }
    }

    #[tokio::test]
    async fn chunks_deliver_any_range() {
        let chunks: Arc<[Bytes]> = ["ab", "", "cde", "f"].map(Bytes::from).into();
        for start in 0..=6u64 {
            for end in start..=6 {
                let body = Body::chunks(Chunks::new(chunks.clone(), start, end - start));
                let all = body.collect().await.unwrap().to_bytes();
                assert_eq!(all, "abcdef".as_bytes()[start as usize..end as usize]);
                let sliced: Vec<u8> = slices(&chunks, start, end - start).flatten().collect();
                assert_eq!(sliced, all);
            }
        }
    }
}
