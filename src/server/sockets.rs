//! Where a listener's socket comes from, and how it is left to whoever comes next.
//!
//! A request must not fail because the process changes. There are three ways a socket may end:
//!
//! - It was bound by us alone: what waits in it is accepted, then it is closed. Who connects before the next
//!   process has bound the address is refused.
//! - It was handed over (systemd's socket activation, `LISTEN_FDS`): it stays open with whoever handed it
//!   over, so connections wait in it for the next process, which is handed the same socket.
//! - Its address is shared (`SO_REUSEPORT`): the next process has one of its own already. The kernel deals
//!   connections out to both by their addresses, and resets those that are in the queue of the one that is
//!   closed. So the old socket is first made deaf to new handshakes, those that are under way come to their
//!   end and are accepted, and then it is closed. A client whose handshake was not heard begins again after a
//!   second, as TCP does, and meets the new process. With `net.ipv4.tcp_migrate_req = 1` the kernel moves the
//!   queue itself, and nobody waits: then no handshake is turned away.
//!
//! The sockets handed over are turned into Rust's by the crate `listenfd`, for that takes `unsafe`: 130 lines
//! that look at the environment, check that a descriptor is a TCP socket, and mark it close-on-exec.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use listenfd::ListenFd;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::plan::ListenerPlan;

/// Connections the kernel may keep for us while we are busy.
const BACKLOG: u32 = 4096;

/// Most sockets that are looked at of those handed over.
const INHERITED_MAX: usize = 64;

/// Whether the kernel moves connections from a listening socket that is closed to another one of its address
/// (since Linux 5.14).
const MIGRATES: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// How a listener's socket is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It is closed.
    Closes,
    /// It is closed, and another process's takes its connections.
    MakesWay,
    /// It goes on to be somebody else's.
    HandsBack,
}

/// The sockets that were handed over to the process, with their names.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, StdListener)>);

impl Inherited {
    /// Takes what the environment speaks of (`sd_listen_fds(3)`: `LISTEN_FDS`, `LISTEN_PID`,
    /// `LISTEN_FDNAMES`), and takes that out of the environment: call it while there is one thread.
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..descriptors.len().min(INHERITED_MAX) {
            let name = names.next().unwrap_or_default().to_owned();
            let taken = descriptors.take_tcp_listener(index);
            match taken.and_then(|socket| socket.map(listening).transpose()) {
                Ok(Some(socket)) => sockets.push((name, socket)),
                Ok(None) => {}
                Err(error) => warn!(%error, name, "a descriptor that was handed over is of no use"),
            }
        }
        Self(sockets)
    }

    /// The socket a listener is to use. It is kept too, for a listener that comes with a later config.
    ///
    /// # Errors
    /// Where the plan names a socket that was not handed over.
    fn socket(&self, plan: &ListenerPlan) -> io::Result<Option<StdListener>> {
        let found = self.0.iter().find(|(name, socket)| is_for(plan, name, socket));
        match (found, &plan.socket) {
            (Some((_, socket)), _) => socket.try_clone().map(Some),
            (None, None) => Ok(None),
            (None, Some(name)) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no socket named `{name}` was handed over (LISTEN_FDS, LISTEN_FDNAMES)"),
            )),
        }
    }

    /// Says which sockets no listener uses: their clients would wait for nobody.
    pub fn warn_of_unused(&self, plans: &[ListenerPlan]) {
        for (name, socket) in &self.0 {
            if !plans.iter().any(|plan| is_for(plan, name, socket)) {
                let address = socket.local_addr().ok();
                warn!(name, ?address, "a socket was handed over that no listener uses");
            }
        }
    }
}

fn is_for(plan: &ListenerPlan, name: &str, socket: &StdListener) -> bool {
    match &plan.socket {
        Some(wanted) => wanted == name,
        None => socket.local_addr().is_ok_and(|address| address == plan.address),
    }
}

fn listening(socket: StdListener) -> io::Result<StdListener> {
    if !SockRef::from(&socket).is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A listener's socket, handed over or bound.
pub(super) fn open(plan: &ListenerPlan, inherited: &Inherited) -> io::Result<(TcpListener, Leaving)> {
    if let Some(socket) = inherited.socket(plan)? {
        return Ok((TcpListener::from_std(socket)?, Leaving::HandsBack));
    }
    let address = plan.address;
    if plan.reuse_port {
        if bind(address, false).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            info!(%address, "another process listens here too: each gets a part of the connections");
        }
        return Ok((bind(address, true)?.listen(BACKLOG)?, Leaving::MakesWay));
    }
    Ok((bind(address, false)?.listen(BACKLOG)?, Leaving::Closes))
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if shared {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    Ok(socket)
}

/// Has the kernel drop each new handshake that it deals to this socket, unless it moves them itself when the
/// socket is closed. Handshakes that are under way go on.
///
/// # Errors
/// When the kernel takes no filter.
pub(super) fn turn_away(socket: &TcpListener) -> io::Result<()> {
    let migrates = std::fs::read_to_string(MIGRATES).is_ok_and(|value| value.trim() == "1");
    if migrates { Ok(()) } else { SockRef::from(socket).attach_filter(&DEAF) }
}

/// Drops segments with SYN and without ACK (RFC 9293 §3.1: the flags are octet 13 of the header), in the
/// language of `socket(7)`'s `SO_ATTACH_FILTER`.
const DEAF: [SockFilter; 5] = [
    SockFilter::new(LOAD_OCTET, 0, 0, 13),
    SockFilter::new(AND, 0, 0, SYN | ACK),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;
const LOAD_OCTET: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
