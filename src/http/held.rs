//! What is released when a body ends, however it ends: permits, pooled connections, counters, the log line.

use crate::error::Error;

/// How a body ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// Every byte and the trailers were handed on.
    Complete,
    /// Its source failed.
    Failed(&'a Error),
    /// It was dropped before its end: whoever read it has left.
    Abandoned,
}

/// Something a response body carries and releases at its end, exactly once.
pub trait Held: Send + 'static {
    /// So many bytes of data were handed on.
    fn data(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// The body has ended; called once, from the reader's task or from drop. Must not block.
    fn ended(self: Box<Self>, end: End<'_>);
}

/// A value whose drop is its release.
pub struct DropAtEnd<T>(pub T);

impl<T: Send + 'static> Held for DropAtEnd<T> {
    fn ended(self: Box<Self>, _: End<'_>) {}
}
