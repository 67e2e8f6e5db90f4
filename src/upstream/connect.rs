//! Making a connection: resolve, TCP, TLS, and the handshake of the protocol, all within one timeout.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::clock::{self, Instant};
use crate::error::UpstreamErrorKind as Kind;

use super::config::Protocol;
use super::connection::{Exclusive, Shared};
use super::endpoint::{Endpoint, Line};
use super::grant::{Dial, Need};
use super::io::Socket;

/// Connects to an endpoint until `deadline`. However it ends, those who wait for the outcome go on; where it
/// fails, the slot is free again.
pub(super) async fn connect(
    endpoint: &Endpoint,
    need: Need,
    dial: Dial,
    deadline: Instant,
) -> Result<Line, Kind> {
    let Dial { slot, flight } = dial;
    let connected = timeout_at(deadline, async {
        let (socket, http2) = open(endpoint, need, deadline).await?;
        let spoken = if http2 {
            let shared = Shared::over(socket, slot, endpoint.pool.expected_streams()).await;
            shared.map(|shared| Line::Stream(endpoint.pool.share(shared, clock::instant())))
        } else {
            Exclusive::over(socket, slot).await.map(Line::Exclusive)
        };
        spoken.map_err(|error| {
            tracing::debug!(endpoint = &*endpoint.name, %error, "no handshake");
            Kind::ConnectFailed
        })
    });
    let connected = connected.await.unwrap_or(Err(Kind::ConnectTimeout));
    if flight.is_some() && matches!(connected, Ok(Line::Exclusive(_))) {
        endpoint.pool.learn_http1();
    }
    drop(flight);
    connected
}

/// Opens a socket; the flag says whether HTTP/2 is spoken on it.
pub(super) async fn open(endpoint: &Endpoint, need: Need, deadline: Instant) -> Result<(Socket, bool), Kind> {
    let tcp = tcp(endpoint, deadline).await?;
    let Some((tls, name)) = &endpoint.tls else {
        return Ok((Socket::Tcp(tcp), endpoint.protocol == Protocol::Http2));
    };
    let stream = tls.connector(need == Need::Http1).connect(name.clone(), tcp).await.map_err(|error| {
        let kind = tls_failure(&error);
        tracing::warn!(endpoint = &*endpoint.name, %error, reason = kind.as_str(), "no TLS");
        kind
    })?;
    let http2 = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => true,
        // Without ALPN there is no HTTP/2 over TLS (RFC 9113 §3.2).
        _ if endpoint.protocol == Protocol::Http2 => {
            tracing::warn!(endpoint = &*endpoint.name, "the endpoint does not speak HTTP/2");
            return Err(Kind::Tls);
        }
        _ => false,
    };
    Ok((Socket::Tls(Box::new(stream)), http2))
}

/// A handshake that the network cut short says nothing about trust, and is worth another try.
fn tls_failure(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Kind::ConnectFailed,
        _ => Kind::Tls,
    }
}

/// Dials each address of the endpoint; one that does not answer leaves time for those after it.
async fn tcp(endpoint: &Endpoint, deadline: Instant) -> Result<TcpStream, Kind> {
    let addresses = endpoint.location.addresses().await;
    let mut last = Kind::Dns;
    for (done, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(clock::instant());
        let share = left / u32::try_from(addresses.len() - done).unwrap_or(u32::MAX);
        let until = clock::instant() + share.max(Duration::from_millis(1));
        last = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // Requests are written whole: waiting for more to send would only delay them.
                tcp.set_nodelay(true).ok();
                return Ok(tcp);
            }
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "no connection");
                if error.kind() == io::ErrorKind::TimedOut {
                    Kind::ConnectTimeout
                } else {
                    Kind::ConnectFailed
                }
            }
            Err(_) => Kind::ConnectTimeout,
        };
    }
    Err(last)
}
