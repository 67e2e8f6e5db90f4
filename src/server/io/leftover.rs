//! What is left of a response that its client does not take at once, written without hyper.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::super::lending::Remainder;
use super::super::watch::Order;
use super::{AHEAD_MAX_BYTES, WatchedIo, poll_some};

impl WatchedIo {
    /// What hyper is told of a write: where it has to wait, and we can write the same without it, that all
    /// has gone.
    pub(super) fn or_take_back(
        &self,
        polled: Poll<io::Result<usize>>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &self.connection {
            Some(connection) if polled.is_pending() && connection.lending.take_back(bufs) => {
                Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
            }
            Some(_) | None => polled,
        }
    }

    /// Waits for the client to leave while there is nothing to write. What it asks for meanwhile waits for
    /// its turn.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.raw.len() < AHEAD_MAX_BYTES {
            if !ready!(poll_some(&mut self.io, cx, &mut self.raw)).is_ok_and(|read| read > 0) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Writes what is left of a response. `None` where the connection is over: it was the last response, the
    /// client is gone, or the connection is to end.
    pub(in crate::server) async fn write_out(&mut self, mut remainder: Remainder) -> Option<()> {
        poll_fn(|cx| {
            loop {
                if self.watched.order() == Order::End {
                    return Poll::Ready(None);
                }
                if ready!(Pin::new(&mut *self).poll_flush(cx)).is_err() {
                    return Poll::Ready(None);
                }
                match remainder.poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => self.own_left = bytes,
                    Poll::Ready(Some(Err(_))) => {
                        self.watched.cut();
                        return Poll::Ready(None);
                    }
                    Poll::Ready(None) => return Poll::Ready(Some(())),
                    Poll::Pending => return self.poll_gone(cx).map(|()| None),
                }
            }
        })
        .await?;
        remainder.written();
        // Once more, now that no request is in flight: all has been said.
        self.flush().await.ok()?;
        if !remainder.persists {
            let _ = self.shutdown().await;
            self.linger().await;
            return None;
        }
        Some(())
    }
}
