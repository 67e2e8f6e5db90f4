//! A request body that is kept, up to a bound, so that another attempt can send it again.
//!
//! ```no_run
//! # use forebay::http::{incoming::Incoming, replay::Replay};
//! # use forebay::memory::{Memory, Use};
//! # fn send(_: Replay) -> Result<(), ()> { Err(()) }
//! # fn example(incoming: Incoming, memory: Memory) {
//! let (first, handle) = Replay::new(incoming, 64 * 1024, memory.hold(Use::Replay));
//! if send(first).is_err()
//!     && let Some(second) = handle.again()
//! {
//!     let _ = send(second); // first what the first attempt had read, then the rest from the client
//! }
//! # }
//! ```
//!
//! What surprises:
//! - Data is copied, not shared: a slice of one byte would pin the whole read buffer it came in.
//! - Only the newest attempt reads. An older one that is still polled, by a connection that has not noticed
//!   yet that nobody waits for it, gets an error: it must neither take bytes from the newer one nor end its
//!   message cleanly.
//! - A body that is larger than the bound, or than what is left of the process's memory, can still be sent
//!   again as long as none of it was read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::error::{ClientError, Error};
use crate::memory::Hold;

use super::incoming::{Incoming, Place};

/// One attempt's view of a request body.
pub struct Replay<B = Incoming> {
    shared: Arc<Mutex<Shared<B>>>,
    /// Which attempt this is; it reads while that is the newest.
    attempt: u32,
    /// The next of the kept pieces to deliver.
    next: usize,
    /// Bytes in the kept pieces not yet delivered.
    left: u64,
    trailers_delivered: bool,
}

/// What makes further attempts of the same body.
pub struct ReplayHandle<B = Incoming> {
    shared: Arc<Mutex<Shared<B>>>,
}

struct Shared<B> {
    source: B,
    attempt: u32,
    /// What attempts before the newest have read.
    kept: Vec<Bytes>,
    /// What the newest attempt has read.
    tail: BytesMut,
    trailers: Option<HeaderMap>,
    /// How many bytes may be kept.
    max: usize,
    /// How many are.
    size: usize,
    /// The same, in the process's budget.
    memory: Hold,
    /// Whether everything that was read is kept.
    intact: bool,
    /// How many handles there are.
    handles: usize,
    progress: Progress,
    /// Who waits for the source: an attempt that is superseded must hear of it.
    waker: Option<Waker>,
}

enum Progress {
    Open,
    Ended,
    Failed(Error),
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Replay<B> {
    /// The first attempt's view of `source`, and the handle for more; at most `max_bytes` are kept, and no
    /// more than `memory` can hold.
    pub fn new(source: B, max_bytes: usize, memory: Hold) -> (Self, ReplayHandle<B>) {
        // A body known to be too large is not even begun to be kept.
        let max = if source.size_hint().lower() > max_bytes as u64 { 0 } else { max_bytes };
        let shared = Arc::new(Mutex::new(Shared {
            source,
            attempt: 0,
            kept: Vec::new(),
            tail: BytesMut::new(),
            trailers: None,
            max,
            size: 0,
            memory,
            intact: true,
            handles: 1,
            progress: Progress::Open,
            waker: None,
        }));
        let handle = ReplayHandle { shared: shared.clone() };
        (Self { shared, attempt: 0, next: 0, left: 0, trailers_delivered: false }, handle)
    }

    /// One more handle, of the same body and bounds: each may make the next attempt.
    pub fn handle(&self) -> ReplayHandle<B> {
        lock(&self.shared).handles += 1;
        ReplayHandle { shared: self.shared.clone() }
    }

    /// As [`http_body::Body::poll_frame`].
    ///
    /// # Errors
    ///
    /// Those of the client's body, and [`ClientError::BodyAborted`] for an attempt that is no longer the
    /// newest.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut shared = lock(&self.shared);
        if shared.attempt != self.attempt {
            return Poll::Ready(Some(Err(Error::Client(ClientError::BodyAborted))));
        }
        if let Some(bytes) = shared.kept.get(self.next) {
            self.next += 1;
            self.left -= bytes.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if !self.trailers_delivered
            && let Some(trailers) = &shared.trailers
        {
            self.trailers_delivered = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        }
        let polled = ready!(shared.poll_source(cx));
        if let Some(Ok(frame)) = &polled {
            self.trailers_delivered |= frame.is_trailers();
        }
        Poll::Ready(polled)
    }

    /// As [`http_body::Body::is_end_stream`]; never true of a body that failed.
    pub fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        if shared.attempt != self.attempt || self.left > 0 {
            return false;
        }
        if shared.trailers.is_some() && !self.trailers_delivered {
            return false;
        }
        match shared.progress {
            Progress::Open => shared.source.is_end_stream(),
            Progress::Ended => true,
            Progress::Failed(_) => false,
        }
    }

    /// As [`http_body::Body::size_hint`]: exact where the client's is.
    pub fn size_hint(&self) -> SizeHint {
        let shared = lock(&self.shared);
        let rest = match shared.progress {
            Progress::Open => shared.source.size_hint(),
            Progress::Ended => SizeHint::with_exact(0),
            Progress::Failed(_) => return SizeHint::default(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(self.left));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(self.left));
        }
        hint
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> ReplayHandle<B> {
    /// Another attempt's view, from the first byte. Whatever attempt was the newest before reads no more.
    ///
    /// `None` where something was read that is not kept, or the client's body has failed.
    pub fn again(&self) -> Option<Replay<B>> {
        let mut shared = lock(&self.shared);
        if !shared.can_replay() {
            return None;
        }
        shared.attempt += 1;
        if !shared.tail.is_empty() {
            let read = shared.tail.split().freeze();
            shared.kept.push(read);
        }
        let left = shared.kept.iter().map(|bytes| bytes.len() as u64).sum();
        let attempt = shared.attempt;
        let superseded = shared.waker.take();
        drop(shared);
        if let Some(waker) = superseded {
            waker.wake();
        }
        Some(Replay { shared: self.shared.clone(), attempt, next: 0, left, trailers_delivered: false })
    }

    /// Whether [`again`](Self::again) would make another attempt, now.
    pub fn can_replay(&self) -> bool {
        lock(&self.shared).can_replay()
    }

    /// What went wrong with the client's body, if something did: then no attempt is to blame for its failure.
    pub fn failure(&self) -> Option<Error> {
        match &lock(&self.shared).progress {
            Progress::Failed(error) => Some(error.clone()),
            Progress::Open | Progress::Ended => None,
        }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Shared<B> {
    fn can_replay(&self) -> bool {
        self.intact && !matches!(self.progress, Progress::Failed(_))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !matches!(self.progress, Progress::Open) {
            return Poll::Ready(None);
        }
        let Poll::Ready(polled) = Pin::new(&mut self.source).poll_frame(cx) else {
            match &mut self.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => self.waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        match &polled {
            Some(Ok(frame)) => self.keep(frame),
            Some(Err(error)) => {
                self.progress = Progress::Failed(error.clone());
                self.forget();
            }
            None => self.progress = Progress::Ended,
        }
        Poll::Ready(polled)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let size = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => data.len(),
            (_, Some(trailers)) => {
                trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
            }
            (None, None) => 0,
        };
        if !self.intact || size > self.max - self.size || !self.memory.try_grow(size as u64) {
            return self.forget();
        }
        self.size += size;
        if let Some(data) = frame.data_ref() {
            if self.tail.is_empty() {
                // Of a body whose length is known, one allocation of that length.
                let more = self.source.size_hint().exact().and_then(|more| usize::try_from(more).ok());
                self.tail.reserve(data.len() + more.unwrap_or(0).min(self.max - self.size));
            }
            self.tail.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
    }

    /// Gives up on further attempts, and the memory with it. The newest attempt has delivered all that was
    /// kept, or it would not be reading the source.
    fn forget(&mut self) {
        self.intact = false;
        self.kept = Vec::new();
        self.tail = BytesMut::new();
        self.size = 0;
        self.memory.set(0);
        self.max = 0;
    }
}

impl Replay {
    /// As [`Incoming::occupies`]; the place is that of the newest attempt.
    pub fn occupies(&self, place: Arc<dyn Place>, grace: Duration) {
        lock(&self.shared).source.occupies(place, grace);
    }
}

/// Without a handle there is no further attempt, so what the newest one reads is no longer copied.
impl<B> Drop for ReplayHandle<B> {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.handles -= 1;
        if shared.handles == 0 {
            shared.intact = false;
            shared.tail = BytesMut::new();
        }
    }
}

impl<B> std::fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("attempt", &self.attempt).field("left", &self.left).finish()
    }
}

impl<B> std::fmt::Debug for ReplayHandle<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = lock(&self.shared);
        f.debug_struct("ReplayHandle").field("kept", &shared.size).field("intact", &shared.intact).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::collection;
    use proptest::prelude::*;

    use super::*;
    use crate::memory::{Memory, Use};

    fn room() -> Hold {
        Memory::unlimited().hold(Use::Replay)
    }

    /// A source that does step by step what it is told.
    struct Script {
        steps: VecDeque<Step>,
        sized: bool,
    }

    enum Step {
        Data(Vec<u8>),
        Wait,
        Trailers(HeaderMap),
        Fail,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            match self.steps.pop_front() {
                Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
                Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Some(Step::Fail) => Poll::Ready(Some(Err(Error::Client(ClientError::BadBody)))),
                Some(Step::Wait) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.steps.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            let left = self.steps.iter().map(|step| if let Step::Data(data) = step { data.len() } else { 0 });
            if self.sized { SizeHint::with_exact(left.sum::<usize>() as u64) } else { SizeHint::default() }
        }
    }

    fn script(steps: impl IntoIterator<Item = Step>) -> Script {
        Script { steps: steps.into_iter().collect(), sized: false }
    }

    fn data(text: &str) -> Step {
        Step::Data(text.into())
    }

    fn poll(replay: &mut Replay<Script>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        replay.poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    /// Reads to the end: the data, and the trailers if there were some.
    fn read(replay: &mut Replay<Script>) -> (Vec<u8>, Option<HeaderMap>) {
        let (mut all, mut trailers) = (Vec::new(), None);
        loop {
            match poll(replay) {
                Poll::Pending => {}
                Poll::Ready(None) => return (all, trailers),
                Poll::Ready(Some(frame)) => match frame.unwrap().into_data() {
                    Ok(data) => all.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    #[test]
    fn what_the_process_has_no_room_for_is_not_kept() {
        for (limit, again) in [(4, true), (3, false)] {
            let memory = Memory::new(limit);
            let source = script([data("ab"), data("cd"), data("ef")]);
            let (mut first, handle) = Replay::new(source, 100, memory.hold(Use::Replay));
            assert!(poll(&mut first).is_ready() && poll(&mut first).is_ready());
            assert_eq!(handle.can_replay(), again, "{limit}");
            assert_eq!(memory.used_for(Use::Replay), if again { 4 } else { 0 });
            drop((first, handle));
            assert_eq!(memory.used(), 0);
        }
    }

    #[test]
    fn another_attempt_replays_and_continues() {
        let (mut first, handle) = Replay::new(script([data("ab"), data("cd"), data("ef")]), 100, room());
        assert!(poll(&mut first).is_ready());
        assert!(poll(&mut first).is_ready());
        drop(first);
        let mut second = handle.again().unwrap();
        assert_eq!(read(&mut second).0, b"abcdef");
        assert!(second.is_end_stream());
        assert_eq!(read(&mut handle.again().unwrap()).0, b"abcdef");
    }

    #[test]
    fn trailers_are_replayed() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        let (mut first, handle) =
            Replay::new(script([data("ab"), Step::Trailers(trailers.clone())]), 100, room());
        assert_eq!(read(&mut first), (b"ab".to_vec(), Some(trailers.clone())));
        assert!(first.is_end_stream());
        let mut second = handle.again().unwrap();
        assert!(!second.is_end_stream());
        assert_eq!(read(&mut second), (b"ab".to_vec(), Some(trailers)));
    }

    #[test]
    fn beyond_the_bound_nothing_is_kept() {
        let (mut first, handle) = Replay::new(script([data("abc"), data("d"), data("e")]), 3, room());
        assert!(poll(&mut first).is_ready());
        assert!(handle.can_replay());
        assert!(poll(&mut first).is_ready());
        assert!(!handle.can_replay());
        assert!(handle.again().is_none());
        assert_eq!(lock(&handle.shared).tail.capacity(), 0);
        assert_eq!(read(&mut first).0, b"e", "the attempt under way is not disturbed");
    }

    #[test]
    fn a_large_body_of_which_nothing_was_read_can_be_sent_again() {
        let source = Script { steps: [data("abcdef")].into(), sized: true };
        let (first, handle) = Replay::new(source, 3, room());
        drop(first);
        let mut second = handle.again().unwrap();
        assert_eq!(read(&mut second).0, b"abcdef");
        assert!(handle.again().is_none());
    }

    #[test]
    fn a_client_error_reaches_the_attempt_and_ends_the_replay() {
        let (mut first, handle) = Replay::new(script([data("ab"), Step::Fail]), 100, room());
        assert!(matches!(poll(&mut first), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(poll(&mut first), Poll::Ready(Some(Err(Error::Client(ClientError::BadBody))))));
        assert!(!first.is_end_stream(), "RFC 9112 §8: an incomplete request never looks complete");
        assert!(handle.again().is_none());
        assert!(matches!(handle.failure(), Some(Error::Client(ClientError::BadBody))));
    }

    #[test]
    fn without_a_handle_nothing_is_kept() {
        let (mut first, handle) = Replay::new(script([data("ab"), data("cd"), data("ef")]), 100, room());
        assert!(poll(&mut first).is_ready());
        let mut second = handle.again().unwrap();
        drop(handle);
        assert_eq!(read(&mut second).0, b"abcdef", "what was kept is still delivered");
        let shared = lock(&second.shared);
        assert!(shared.kept.is_empty() && shared.tail.capacity() == 0);
    }

    #[test]
    fn several_may_hold_a_handle() {
        let (mut first, outer) = Replay::new(script([data("ab"), data("cd"), data("ef")]), 100, room());
        let inner = first.handle();
        assert!(poll(&mut first).is_ready());
        let mut second = inner.again().unwrap();
        assert!(poll(&mut second).is_ready() && poll(&mut second).is_ready());
        drop(inner);
        assert!(outer.can_replay(), "one is left");
        assert_eq!(read(&mut outer.again().unwrap()).0, b"abcdef");
        assert!(matches!(poll(&mut second), Poll::Ready(Some(Err(_)))), "whoever made it, the newest reads");
    }

    #[test]
    fn a_superseded_attempt_is_woken_and_reads_no_more() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let (mut first, handle) = Replay::new(script([Step::Wait, data("ab")]), 100, room());
        assert!(first.poll_frame(&mut Context::from_waker(&waker)).is_pending());
        let before = count.0.load(Ordering::Relaxed);
        let mut second = handle.again().unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), before + 1);
        assert!(matches!(poll(&mut first), Poll::Ready(Some(Err(_)))));
        assert!(!first.is_end_stream());
        assert_eq!(read(&mut second).0, b"ab");
    }

    proptest! {
        /// However the body is cut into frames, wherever attempts stop, each attempt sees the same bytes from
        /// the first one on, and there is another one exactly as long as all that was read fits the bound.
        #[test]
        fn any_chunking_any_cut(
            chunks in collection::vec(prop::option::of(collection::vec(any::<u8>(), 0..9)), 0..12),
            cuts in collection::vec(0usize..14, 0..5),
            max in 0usize..40,
            sized: bool,
        ) {
            let whole: Vec<u8> = chunks.iter().flatten().flatten().copied().collect();
            let steps = chunks.into_iter().map(|chunk| chunk.map_or(Step::Wait, Step::Data)).collect();
            let (mut attempt, handle) = Replay::new(Script { steps, sized }, max, room());
            let mut furthest = 0;
            for cut in cuts {
                let mut seen = Vec::new();
                for _ in 0..cut {
                    if sized {
                        prop_assert_eq!(attempt.size_hint().exact(), Some((whole.len() - seen.len()) as u64));
                    }
                    if let Poll::Ready(Some(frame)) = poll(&mut attempt) {
                        seen.extend_from_slice(&frame.unwrap().into_data().unwrap());
                    }
                }
                prop_assert_eq!(&whole[..seen.len()], &seen[..]);
                furthest = furthest.max(seen.len());
                let fits = furthest == 0 || furthest <= max && (!sized || whole.len() <= max);
                prop_assert_eq!(handle.can_replay(), fits);
                match handle.again() {
                    Some(next) => attempt = next,
                    None => return Ok(()),
                }
            }
            prop_assert_eq!(read(&mut attempt).0, whole);
            prop_assert!(attempt.is_end_stream());
        }
    }
}
