//! How an HTTP/1 connection gets on: whoever waits for something on it polls it first, in its own task.
//!
//! A task a connection would be woken and polled twice a request, and wake the request's task in turn. Here
//! the request's task does it all. What surprises:
//!
//! - hyper's two ends of a connection wake each other through channels, and here both are polled by the same
//!   task, which would only wake itself. So hyper gets a waker of ours, the [`Bell`]: what rings while we
//!   poll is seen by us, and only what rings while we wait wakes the task.
//! - Nobody waits for an idle connection. Its bell keeps the ring: whoever wants to use it then looks what it
//!   was about, mostly that the endpoint has closed it.
//! - One that has to go on without anybody waiting gets a task after all: while a request's body is being
//!   sent, which goes on when nobody asks for the response's, and for a tunnel's beginning.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use crate::http::incoming::Carrier;

/// hyper's end of a connection.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection, and how it calls for attention.
pub(super) struct Drive {
    connection: Mutex<State>,
    bell: Arc<Bell>,
    /// The bell once more, as hyper wants it.
    waker: Waker,
}

enum State {
    Open(Connection),
    /// It has ended while nobody waited for it. It is kept: the pool looks at idle ones under its lock, which
    /// a drop would take too, to give back its place.
    Over(#[expect(dead_code, reason = "its drop closes the socket")] Connection),
    /// It was taken away.
    Gone,
}

impl Drive {
    pub(super) fn new(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Arc<Self> {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        Arc::new(Self { connection: Mutex::new(State::Open(Box::pin(connection))), bell, waker })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the connection, and then what is awaited of it. Where that has to wait, the connection wakes the
    /// task from now on.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        awaited: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.bell.mute_for(cx.waker());
        self.turn();
        // Its drop hands back a request that it has not begun to send.
        drop(self.take_ended());
        let polled = awaited(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            self.bell.mute();
        } else if self.bell.unmute() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Sees to what an idle connection has rung for.
    pub(super) fn look(&self) {
        if self.bell.has_rung() {
            self.bell.mute();
            self.turn();
        }
    }

    fn turn(&self) {
        let mut state = self.state();
        let State::Open(connection) = &mut *state else { return };
        let Poll::Ready(ended) = connection.as_mut().poll(&mut Context::from_waker(&self.waker)) else {
            return;
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "upstream connection ended");
        }
        if let State::Open(connection) = std::mem::replace(&mut *state, State::Gone) {
            *state = State::Over(connection);
        }
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        !matches!(*self.state(), State::Open(_))
    }

    /// Takes the connection out, unless it has ended: to be dropped, or polled by somebody else.
    pub(super) fn take(&self) -> Option<Connection> {
        // In two steps: what is dropped here is dropped without the lock.
        let state = std::mem::replace(&mut *self.state(), State::Gone);
        match state {
            State::Open(connection) => Some(connection),
            State::Over(_) | State::Gone => None,
        }
    }

    fn take_ended(&self) -> Option<State> {
        let mut state = self.state();
        matches!(*state, State::Over(_)).then(|| std::mem::replace(&mut *state, State::Gone))
    }
}

impl Carrier for Drive {
    fn poll_frame(
        &self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut poll = |cx: &mut Context<'_>| Pin::new(&mut *body).poll_frame(cx);
        // What came with the head is there already. Taking it asks the connection for more, by its bell.
        self.bell.mute();
        match poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(polled) => {
                self.bell.mute();
                Poll::Ready(polled)
            }
            Poll::Pending => self.poll(cx, poll),
        }
    }
}

impl std::fmt::Debug for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("bell", &self.bell).finish_non_exhaustive()
    }
}

/// Rings itself, or has a task woken, as the case may be.
#[derive(Debug, Default)]
struct Bell {
    /// [`MUTE`], [`RUNG`] or [`WAITED_FOR`].
    state: AtomicU8,
    task: Mutex<Option<Waker>>,
}

/// A ring is kept: whoever polls looks at everything anyway, or nobody does and somebody may later.
const MUTE: u8 = 0;
/// It has rung since.
const RUNG: u8 = 1;
/// A ring wakes the task.
const WAITED_FOR: u8 = 2;

impl Bell {
    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps rings from now on, and forgets those before; later ones will be for this task.
    fn mute_for(&self, waker: &Waker) {
        self.mute();
        let mut task = self.task();
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    fn mute(&self) {
        self.state.store(MUTE, Ordering::SeqCst);
    }

    /// Has rings wake the task from now on. True where it has rung already.
    fn unmute(&self) -> bool {
        self.state.swap(WAITED_FOR, Ordering::SeqCst) == RUNG
    }

    fn has_rung(&self) -> bool {
        self.state.load(Ordering::SeqCst) == RUNG
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let kept = self.state.compare_exchange(MUTE, RUNG, Ordering::SeqCst, Ordering::SeqCst);
        if kept == Err(WAITED_FOR)
            && let Some(task) = &*self.task()
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection that rings before and while somebody waits for it, so often each.
    fn rung(before: usize, then: usize) -> (usize, bool) {
        let drive = Drive::new(std::future::pending());
        let task = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&task));
        let polled = drive.poll(&mut Context::from_waker(&waker), |cx| {
            (0..before).for_each(|_| cx.waker().wake_by_ref());
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        (0..then).for_each(|_| drive.waker.wake_by_ref());
        (task.0.load(Ordering::Relaxed), drive.bell.has_rung())
    }

    #[test]
    fn no_ring_is_lost_on_who_waits() {
        assert_eq!(rung(0, 0), (0, false));
        assert_eq!(rung(3, 0), (1, false), "what rang while it was polled");
        assert_eq!(rung(0, 1), (1, false));
    }

    #[test]
    fn who_has_what_it_waited_for_is_left_alone_and_the_ring_is_kept() {
        let drive = Drive::new(std::future::pending());
        let task = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&task));
        let polled = drive.poll(&mut Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        });
        assert!(polled.is_ready() && !drive.bell.has_rung(), "it has looked just now");
        drive.waker.wake_by_ref();
        assert!(drive.bell.has_rung());
        drive.look();
        assert!(!drive.bell.has_rung() && !drive.is_over());
        assert_eq!(task.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_has_ended_while_nobody_waited_is_found_out() {
        let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
        let drive = Drive::new(async move {
            let _ = (&mut ended).await;
            Ok(())
        });
        drive.turn();
        drop(end);
        assert!(!drive.is_over());
        drive.look();
        assert!(drive.is_over() && drive.take().is_none());
    }
}
