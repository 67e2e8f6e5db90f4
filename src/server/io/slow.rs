//! A head that comes slowly, kept in a buffer of its size until hyper can make something of it.
//!
//! hyper's buffers are some 24 KiB a connection, however little its client has sent. A crowd of clients that
//! each begin a head and go on a byte at a time would have them all.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::super::watch::Order;
use super::along::Along;
use super::{WatchedIo, poll_some};

/// More fields than these are hyper's to count.
const FIELDS_MAX: usize = 100;

impl WatchedIo {
    /// Whether the client is before a head or in it, as far as it has been read.
    pub fn is_within_head(&self) -> bool {
        matches!(&self.along, Along::Http1(framing) if framing.is_within_head())
    }

    /// Collects the rest of a head that begins with `begun`, until it is whole, or hyper would refuse it, or
    /// the connection is to end. All of it is what is read next.
    ///
    /// `max_bytes` is how much of a head hyper takes.
    pub async fn await_head(&mut self, begun: Bytes, max_bytes: usize) {
        let heads = self.heads();
        let mut head = BytesMut::from(&*begun);
        // The large buffer it came in.
        drop(begun);
        poll_fn(|cx| self.poll_head(cx, &mut head, heads, max_bytes)).await;
        self.read_first(head.freeze());
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut BytesMut,
        heads: Option<u32>,
        max_bytes: usize,
    ) -> Poll<()> {
        let may_go_on = |head: &[u8]| head.len() < max_bytes && is_good_so_far(head);
        while self.watched.order() == Order::None && self.heads() == heads && may_go_on(head) {
            if !ready!(poll_some(self, cx, head)).is_ok_and(|read| read > 0) {
                break; // hyper finds the same.
            }
        }
        Poll::Ready(())
    }

    /// How many heads were complete, while that is counted.
    pub fn heads(&self) -> Option<u32> {
        match &self.along {
            Along::Http1(framing) => Some(framing.heads()),
            Along::Nothing | Along::Broken(..) | Along::Http2(_) | Along::Flooded => None,
        }
    }
}

/// Whether a head may still become a good one: hyper asks the same parser.
fn is_good_so_far(head: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    httparse::Request::new(&mut fields).parse(head).is_ok()
}
