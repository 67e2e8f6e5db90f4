//! Signals, and the way to a quiet end.
//!
//! The first TERM or INT: `/readyz` says 503, listeners close, connections finish what is in flight. Whatever
//! is left after `server.drain_timeout`, or at a second signal, is ended.
//!
//! Nobody's request is lost in between: what the kernel has queued for a listener is accepted before it
//! closes, and what comes on a connection that is new or was just used is answered, with `Connection: close`.
//! A socket that was handed over ([`sockets`](super::sockets)) is used until all older connections have
//! ended, so that clients wait for the next process only while the last few are being answered.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::tunnel::Tunnels;
use super::watch::Watch;

/// What somebody outside wants of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Stop; asked twice, stop at once.
    Stop,
    /// Read the config again.
    Reload,
    /// Open log files again.
    ReopenLogs,
}

/// The signals we listen to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    /// Takes over TERM, INT, HUP and USR1.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next wish.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.user1.recv() => Wish::ReopenLogs,
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything in flight was finished.
    Quietly,
    /// So many connections were cut.
    Cut(usize),
}

/// What is to come to its end.
#[derive(Debug)]
pub struct Work<'a> {
    /// Who tells the connections.
    pub watch: &'a Watch,
    /// The listeners' tasks.
    pub listening: &'a TaskTracker,
    /// The connections' tasks.
    pub connections: &'a TaskTracker,
    /// The tasks of connections that come while the others end.
    pub late: &'a TaskTracker,
    /// Upgraded connections.
    pub tunnels: &'a Tunnels,
    /// Has listeners whose socket was handed over let go of it.
    pub let_go: &'a CancellationToken,
}

/// Lets what is in flight finish, for at most `timeout` or until `impatient` ends.
pub async fn drain(work: Work<'_>, timeout: Duration, impatient: impl Future<Output = ()>) -> Drained {
    let Work { watch, listening, connections, late, tunnels, let_go } = work;
    watch.drain();
    for tasks in [connections, late, listening] {
        tasks.close();
    }
    let quiet = async {
        connections.wait().await;
        let_go.cancel();
        listening.wait().await;
        late.wait().await;
        tunnels.ended().await;
    };
    info!(connections = connections.len(), "draining");
    tokio::select! {
        () = quiet => return Drained::Quietly,
        () = tokio::time::sleep(timeout) => warn!("the drain's time is up"),
        () = impatient => warn!("asked again to stop"),
    }
    let_go.cancel();
    let left = connections.len() + late.len();
    watch.end();
    tunnels.end();
    let ended = async {
        connections.wait().await;
        late.wait().await;
    };
    // What was ended needs one more poll to be gone; a task that is stuck does not get to hold up the exit.
    let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
    Drained::Cut(left)
}
