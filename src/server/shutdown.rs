//! Signals, and the way to a quiet end.
//!
//! The first TERM or INT: `/readyz` says 503, listeners close, connections finish what is in flight. Whatever
//! is left after `server.drain_timeout`, or at a second signal, is ended.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// Lets what is in flight finish, for at most `timeout` or until `impatient` ends.
pub async fn drain(
    watch: &Watch,
    connections: &TaskTracker,
    tunnels: &Tunnels,
    timeout: Duration,
    impatient: impl Future<Output = ()>,
) -> Drained {
    watch.drain();
    connections.close();
    let quiet = async {
        connections.wait().await;
        tunnels.ended().await;
    };
    info!(connections = connections.len(), "draining");
    tokio::select! {
        () = quiet => return Drained::Quietly,
        () = tokio::time::sleep(timeout) => warn!("the drain's time is up"),
        () = impatient => warn!("asked again to stop"),
    }
    let left = connections.len();
    watch.end();
    tunnels.end();
    // What was ended needs one more poll to be gone; a task that is stuck does not get to hold up the exit.
    let _ = tokio::time::timeout(Duration::from_secs(1), connections.wait()).await;
    Drained::Cut(left)
}
