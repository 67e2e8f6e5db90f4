//! A response body that is in memory, or that several clients wait for, lent to hyper piece by piece, so that
//! what a client does not take at once can be written without hyper.
//!
//! hyper keeps its two buffers of 8 KiB for as long as it has something to write. When the socket takes no
//! more, what hyper could not write is taken back: hyper is told that all of it was written, gets no more of
//! the body, and is let go. The rest is written from where it is stored, or as it arrives. To build hyper
//! anew for the next request costs little beside a body that is larger than a socket's buffer.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::error::Error;
use crate::http::Body;

use super::exchange::InFlight;

/// What is smaller the kernel takes at once.
const LENT_MIN_BYTES: u64 = 32 * 1024;

/// How many pieces of a body hyper has that it has not written yet, at most.
const GIVEN_MAX: usize = 16;

/// How much may be copied of what hyper has to write and no piece has: the head.
const COPIED_MAX_BYTES: usize = 4096;

/// What a connection has lent of the response that is being written, if anything.
#[derive(Debug, Default)]
pub(super) struct Lending {
    /// Whether there is a loan: the lock is not taken for responses that are small.
    is_lent: AtomicBool,
    loan: Mutex<Option<Box<Loan>>>,
}

#[derive(Debug)]
struct Loan {
    body: Body,
    /// The last pieces that hyper was given.
    given: VecDeque<Bytes>,
    /// Whether hyper has had all of the body, or has given it up, before anything was taken back.
    is_over: bool,
    /// Whether it goes in chunks, for nobody knew its length (RFC 9112 §7.1).
    is_chunked: bool,
    /// What was taken back.
    unsent: Option<VecDeque<Bytes>>,
    in_flight: Option<InFlight>,
    persists: bool,
}

/// What is left of a response that hyper has not written.
#[derive(Debug)]
pub(super) struct Remainder {
    unsent: VecDeque<Bytes>,
    body: Body,
    /// Whether what is left of the body goes in chunks, and the last one has yet to.
    is_chunked: bool,
    in_flight: Option<InFlight>,
    /// Whether another request may follow.
    pub(super) persists: bool,
}

impl Remainder {
    /// The next bytes, and whether there are any. Trailers are left out, as hyper does where no `Trailer` has
    /// told of them.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(unsent) = self.unsent.pop_front() {
            return Poll::Ready(Some(Ok(unsent)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        Poll::Ready(match frame.and_then(|frame| frame.into_data().ok()) {
            Some(data) if self.is_chunked => {
                let size = format!("{:X}\r\n", data.len());
                self.unsent.extend([data, Bytes::from_static(b"\r\n")]);
                Some(Ok(size.into()))
            }
            None if std::mem::take(&mut self.is_chunked) => Some(Ok(Bytes::from_static(b"0\r\n\r\n"))),
            data => data.map(Ok),
        })
    }

    /// All of it was written.
    pub(super) fn written(&mut self) {
        self.in_flight = None;
    }
}

impl Lending {
    /// Whether such a body is lent, for it may be a large one.
    pub(super) fn takes(body: &Body) -> bool {
        body.is_shared() && body.size_hint().exact().is_none_or(|length| length >= LENT_MIN_BYTES)
    }

    /// A response's body from here on. `persists` is whether another request may follow on the connection.
    pub(super) fn lend(&self, body: Body, is_chunked: bool, persists: bool) {
        let loan = Loan {
            body,
            given: VecDeque::new(),
            is_over: false,
            is_chunked,
            unsent: None,
            in_flight: None,
            persists,
        };
        let before = self.loan().replace(Box::new(loan));
        self.is_lent.store(true, Ordering::Relaxed);
        drop(before);
    }

    /// The next piece, for hyper.
    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut loan = self.loan();
        let Some(loan) = loan.as_mut() else { return Poll::Ready(None) };
        if loan.unsent.is_some() {
            return Poll::Pending; // It is let go next.
        }
        let polled = Pin::new(&mut loan.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            if loan.given.len() == GIVEN_MAX {
                loan.given.pop_front();
            }
            loan.given.push_back(data.clone());
        }
        polled
    }

    /// Whether hyper has had all of it.
    pub(super) fn is_end_stream(&self) -> bool {
        self.loan().as_ref().is_none_or(|loan| loan.body.is_end_stream())
    }

    /// How much of it hyper has not had.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.loan().as_ref().map_or_else(|| SizeHint::with_exact(0), |loan| loan.body.size_hint())
    }

    /// hyper has had all of it, or wants no more. The request is in flight for longer where it is ours to
    /// finish.
    pub(super) fn ended(&self, in_flight: InFlight) {
        let mut loan = self.loan();
        let Some(loan) = loan.as_mut() else { return };
        let given_up = match loan.unsent {
            Some(_) => {
                loan.in_flight = Some(in_flight);
                None
            }
            None => {
                loan.is_over = true;
                Some((std::mem::take(&mut loan.body), in_flight))
            }
        };
        drop(given_up);
    }

    /// hyper has written all that it had.
    pub(super) fn flushed(&self) {
        if !self.is_lent.load(Ordering::Relaxed) {
            return;
        }
        let mut slot = self.loan();
        match slot.as_mut() {
            Some(loan) if loan.unsent.is_some() => {}
            Some(loan) if !loan.is_over => loan.given.clear(),
            Some(_) | None => {
                self.is_lent.store(false, Ordering::Relaxed);
                *slot = None;
            }
        }
    }

    /// Takes back what hyper has to write; `false` where it is not a body that was lent, or too much besides.
    pub(super) fn take_back(&self, bufs: &[IoSlice<'_>]) -> bool {
        if !self.is_lent.load(Ordering::Relaxed) {
            return false;
        }
        let mut loan = self.loan();
        let Some(loan) = loan.as_mut().filter(|loan| loan.unsent.is_none()) else { return false };
        let (mut unsent, mut copied) = (VecDeque::with_capacity(bufs.len()), 0);
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            let lent = loan.given.iter().find_map(|given| part_of(given, buf));
            copied += if lent.is_some() { 0 } else { buf.len() };
            if copied > COPIED_MAX_BYTES {
                return false;
            }
            unsent.push_back(lent.unwrap_or_else(|| Bytes::copy_from_slice(buf)));
        }
        loan.given.clear();
        loan.unsent = Some(unsent);
        true
    }

    /// Whether something was taken back, so that hyper is to be let go.
    pub(super) fn is_taken_back(&self) -> bool {
        self.is_lent.load(Ordering::Relaxed) && self.loan().as_ref().is_some_and(|loan| loan.unsent.is_some())
    }

    /// What was taken back, to write it. Whatever else was lent is over: hyper is gone.
    pub(super) fn remainder(&self) -> Option<Remainder> {
        if !self.is_lent.swap(false, Ordering::Relaxed) {
            return None;
        }
        let loan = self.loan().take()?;
        let Loan { body, unsent, in_flight, persists, is_over, is_chunked, .. } = *loan;
        Some(Remainder { unsent: unsent?, body, is_chunked: is_chunked && !is_over, in_flight, persists })
    }

    fn loan(&self) -> MutexGuard<'_, Option<Box<Loan>>> {
        self.loan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same bytes, where they lie within `whole`.
fn part_of(whole: &Bytes, part: &[u8]) -> Option<Bytes> {
    let (inside, around) = (part.as_ptr_range(), whole.as_ptr_range());
    (around.start <= inside.start && inside.end <= around.end).then(|| whole.slice_ref(part))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn give(lending: &Lending) -> Bytes {
        match lending.poll_frame(&mut cx()) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
            polled => panic!("{polled:?}"),
        }
    }

    fn all(mut remainder: Remainder) -> Vec<u8> {
        let next = || match remainder.poll_next(&mut cx()) {
            Poll::Ready(next) => next.transpose().unwrap(),
            Poll::Pending => panic!("it is all there"),
        };
        std::iter::from_fn(next).flatten().collect()
    }

    fn lending(chunks: &[&'static [u8]]) -> Lending {
        let lending = Lending::default();
        let chunks: Vec<_> = chunks.iter().map(|chunk| Bytes::from_static(chunk)).collect();
        let length = chunks.iter().map(Bytes::len).sum::<usize>() as u64;
        lending.lend(Body::chunks(crate::http::Chunks::new(chunks.into(), 0, length)), false, true);
        lending
    }

    #[test]
    fn what_was_not_written_and_not_given_is_left() {
        for taken in 0..=7 {
            let lending = lending(&[b"abc", b"def", b"ghi"]);
            let (first, second) = (give(&lending), give(&lending));
            let (head, bufs) = (b"1", [b"1".as_slice(), &first, &second].concat());
            let left = [head.as_slice(), &first, &second];
            // As hyper would have it after a write of so many bytes.
            let mut skip = taken;
            let left = left.map(|buf| {
                let skipped = skip.min(buf.len());
                skip -= skipped;
                IoSlice::new(&buf[skipped..])
            });
            assert!(!lending.is_taken_back() && lending.take_back(&left) && lending.is_taken_back());
            let pended = lending.poll_frame(&mut cx());
            assert!(pended.is_pending(), "hyper gets no more");
            lending.flushed();
            let remainder = lending.remainder().unwrap();
            assert!(remainder.persists);
            assert_eq!(all(remainder), [&bufs[taken..], b"ghi"].concat());
            assert!(!lending.is_taken_back() && lending.remainder().is_none());
        }
    }

    /// RFC 9112 §7.1.
    #[test]
    fn what_has_begun_in_chunks_ends_in_chunks() {
        let lending = Lending::default();
        let chunks: Vec<_> = ["abc", "0123456789abcdef"].map(Bytes::from).into();
        lending.lend(Body::chunks(crate::http::Chunks::new(chunks.into(), 0, 19)), true, true);
        let first = give(&lending);
        let left = [b"3\r\n".as_slice(), &first, b"\r\n"].map(IoSlice::new);
        assert!(lending.take_back(&left));
        let written = all(lending.remainder().unwrap());
        assert_eq!(written.escape_ascii().to_string(), r"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    }

    #[test]
    fn what_is_no_part_of_the_body_is_copied_if_it_is_little() {
        let lending = lending(&[b"abc"]);
        give(&lending);
        let foreign = vec![b'x'; COPIED_MAX_BYTES + 1];
        assert!(!lending.take_back(&[IoSlice::new(&foreign)]));
        assert!(lending.take_back(&[IoSlice::new(&foreign[1..])]));
        assert_eq!(all(lending.remainder().unwrap()), &foreign[1..]);
    }

    #[test]
    fn nothing_is_lent_for_longer_than_it_takes() {
        let lending = Lending::default();
        assert!(!lending.take_back(&[IoSlice::new(b"abc")]));
        lending.lend(Body::full("abc"), false, true);
        assert_eq!(give(&lending), "abc");
        lending.flushed();
        assert!(lending.is_end_stream());
        assert!(lending.loan().is_some(), "hyper may still ask");
        assert!(lending.remainder().is_none(), "nothing was taken back");
        assert!(lending.loan().is_none());
        let short = Body::full(vec![0; LENT_MIN_BYTES as usize - 1]);
        assert!(!Lending::takes(&short) && Lending::takes(&Body::full(vec![0; LENT_MIN_BYTES as usize])));
    }
}
