//! What the matrix of faults is made of: an origin where every path is a place of its own, and a look at what
//! the gateway holds, before and after.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use crate::support::message::Message;
use crate::support::{Gateway, Origin, Reply};

/// An origin that counts requests path by path.
pub struct Places(Origin);

impl Places {
    /// The script gets the request, and how many came for its path before.
    pub async fn start(script: impl Fn(&Message, usize) -> Reply + Send + Sync + 'static) -> Self {
        let seen: Mutex<HashMap<String, usize>> = Mutex::default();
        Self(
            Origin::start(move |request, _| {
                let before = {
                    let mut seen = seen.lock().unwrap();
                    let count = seen.entry(request.target().to_owned()).or_default();
                    *count += 1;
                    *count - 1
                };
                script(request, before)
            })
            .await,
        )
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// How often it was asked for a path.
    pub fn asked_for(&self, path: &str) -> usize {
        self.0.asked().iter().filter(|asked| asked.request.target() == path).count()
    }

    /// What it was asked on the connection of the first request for a path, after that.
    pub fn asked_after(&self, path: &str) -> Vec<String> {
        let asked = self.0.asked();
        let mut after = asked.iter().skip_while(|asked| asked.request.target() != path);
        let Some(connection) = after.next().map(|first| first.connection) else { return Vec::new() };
        let same = after.filter(|asked| asked.connection == connection);
        same.map(|asked| asked.request.start.clone()).collect()
    }
}

/// What a gateway holds that it must give back.
pub struct AtStart {
    descriptors: f64,
}

/// Notes what the gateway holds while it has nothing to do.
pub async fn at_start(gateway: &Gateway) -> AtStart {
    gateway.at_rest().await;
    AtStart { descriptors: gateway.metrics().await.sum("process_open_fds", &[]) }
}

impl AtStart {
    /// Waits until the gateway holds what it held: no request, permit, place, fill, connection or descriptor
    /// more. Idle connections end after the upstream's `idle_timeout`.
    pub async fn is_back(&self, gateway: &Gateway) {
        gateway.at_rest().await;
        gateway.wait_for("forebay_upstream_connections", &[], |now| now == 0.0).await;
        gateway.wait_for("process_open_fds", &[], |now| now <= self.descriptors).await;
    }
}
