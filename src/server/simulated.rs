//! A connection without a socket: the seam for simulation and fuzzing.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::DuplexStream;

use crate::http::{Peer, Scheme};
use crate::metrics::Gauge;
use crate::net::Io;

use super::Server;
use super::connection::{self, Accepted, Slot};

impl Server {
    /// Serves a connection over memory from its first byte to its last, in clear text, as the first listener
    /// does one from `address`. `None` where there is no listener, or no place for another connection.
    pub fn serve_over_memory(
        &self,
        stream: DuplexStream,
        address: SocketAddr,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let bound = self.listeners.first()?;
        let context = bound.serving.load().context.clone();
        let permit = self.slots.clone().try_acquire_owned().ok()?;
        let unseen = Gauge::default();
        let slot = Slot {
            permit,
            place: None,
            open: unseen.hold(),
            resting: unseen.clone(),
            slow_heads: unseen.clone(),
            slow_responses: unseen,
        };
        let trusted = context.border.trusted.contains(address.ip());
        let peer = Peer {
            address,
            local: bound.address,
            scheme: Scheme::Http,
            trusted,
            server_name: None,
            certificate: None,
        };
        let accepted = Accepted { peer, slot, watched: context.enlist(), context };
        Some(connection::serve_clear(Io::Memory(stream), Box::new(accepted)))
    }
}
