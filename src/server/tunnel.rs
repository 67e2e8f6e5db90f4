//! Tunnels: what becomes of two connections after an upgrade (WebSocket). Bytes pass both ways until a side
//! ends, or neither has said anything for `server.tunnel_timeout`.
//!
//! Tunnels outlive reloads. While the gateway drains they go on until the drain's deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Gauge, Metrics};

/// Every open tunnel.
#[derive(Clone, Debug)]
pub struct Tunnels {
    tasks: TaskTracker,
    end: CancellationToken,
    open: Gauge,
}

impl Tunnels {
    /// None yet.
    pub fn new(metrics: &Metrics) -> Self {
        let open = metrics.gauge("forebay_tunnels_open", "Upgraded connections that are open.", &[]);
        Self { tasks: TaskTracker::new(), end: CancellationToken::new(), open }
    }

    /// Joins two connections once both have switched protocols; `slot` is the downstream one's, and freed at
    /// the end.
    pub fn open(
        &self,
        downstream: OnUpgrade,
        upstream: OnUpgrade,
        idle_timeout: Duration,
        slot: impl Send + 'static,
    ) {
        let (end, open) = (self.end.clone(), self.open.hold());
        self.tasks.spawn(async move {
            tokio::select! {
                () = join(downstream, upstream, idle_timeout) => {}
                () = end.cancelled() => {}
            }
            drop((open, slot));
        });
    }

    /// Waits until all have ended.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all now.
    pub fn end(&self) {
        self.end.cancel();
    }
}

async fn join(downstream: OnUpgrade, upstream: OnUpgrade, idle_timeout: Duration) {
    let Ok((downstream, upstream)) = tokio::try_join!(downstream, upstream) else { return };
    let moved = Arc::new(AtomicU64::new(0));
    let mut downstream = Counted { io: TokioIo::new(downstream), moved: moved.clone() };
    let mut upstream = TokioIo::new(upstream);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut downstream, &mut upstream) => {}
        () = silence(&moved, idle_timeout) => {}
    }
}

/// Ends when nothing has moved for `idle_timeout`.
async fn silence(moved: &AtomicU64, idle_timeout: Duration) {
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(idle_timeout).await;
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// Counts every read and write, so that silence can be told from traffic.
struct Counted<T> {
    io: T,
    moved: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if polled.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
