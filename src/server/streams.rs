//! The tasks of HTTP/2 streams: each is dropped when its client takes nothing of the response for too long.
//!
//! A client need not read a stream: it keeps the flow-control window shut while the connection stays alive
//! (RFC 9113 §10.5). On HTTP/1 the socket's own buffer fills and the [watchman](super::watch) sees it; here
//! nothing but the one stream stands still, and its body, with all it holds, is not even polled. So its task
//! is watched from outside. Its drop resets the stream, frees what the response holds, and leaves the
//! connection's other streams alone.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

/// Whom a response body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It has nothing to send yet.
    ForUs,
    /// What it handed on last has yet to be taken.
    ForClient,
}

thread_local! {
    /// What the body of the stream that this thread is polling did last, if it was asked for anything.
    static BODY: Cell<Option<Waits>> = const { Cell::new(None) };
}

/// To be told by the body of an HTTP/2 response whenever it was asked for more.
pub fn note(waits: Waits) {
    BODY.set(Some(waits));
}

/// Spawns the tasks of streams.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    /// How long a client may take nothing of a response.
    pub write_timeout: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(Stream { stream, waits: Waits::ForUs, timer: None, write_timeout: self.write_timeout });
    }
}

pin_project! {
    /// The task of one stream.
    struct Stream<F> {
        #[pin]
        stream: F,
        waits: Waits,
        // Boxed, for few streams ever need one.
        timer: Option<Pin<Box<Sleep>>>,
        write_timeout: Duration,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        BODY.set(None);
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(waits) = BODY.take() {
            // It was asked for more: what it had handed on before was taken.
            *this.waits = waits;
            *this.timer = None;
        }
        match *this.waits {
            Waits::ForUs => Poll::Pending,
            Waits::ForClient => {
                let write_timeout = *this.write_timeout;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_timeout)));
                timer.as_mut().poll(cx)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    /// A stream whose polls note this and never end, and something that is freed with it.
    fn start(mut note_next: impl FnMut() + Send + 'static) -> Arc<()> {
        let held = Arc::new(());
        let inside = held.clone();
        Streams { write_timeout: TIMEOUT }.execute(async move {
            poll_fn(|_| -> Poll<()> {
                note_next();
                Poll::Pending
            })
            .await;
            drop(inside);
        });
        held
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_reads_is_dropped() {
        for (waits, kept) in [(Some(Waits::ForClient), 1), (Some(Waits::ForUs), 2), (None, 2)] {
            let mut first = waits;
            let held = start(move || first.take().into_iter().for_each(note));
            tokio::time::sleep(TIMEOUT + Duration::from_millis(10)).await;
            assert_eq!(Arc::strong_count(&held), kept, "{waits:?}");
        }
    }
}
