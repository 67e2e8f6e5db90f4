//! A bound address: accepts connections, within the cap, and hands each to a task of its own.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::http::{Peer, Scheme};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::net::Io;

use super::addresses::Place;
use super::client_certificate;
use super::connection::{self, Accepted, Context, Slot, Spoken};
use super::proxy_protocol::{self, Source, Step};

/// Connections the kernel may keep for us while we are busy.
const BACKLOG: u32 = 4096;

/// How long to pause after a failed accept (no file descriptors left), at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What a listener does with a connection; swapped as a whole at a reload.
#[derive(Debug)]
pub struct Serving {
    /// Everything but TLS.
    pub context: Arc<Context>,
    /// TLS, where the listener speaks it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A listener's counters.
#[derive(Clone, Debug)]
struct Counts {
    accepted: Counter,
    failed: Counter,
    tls_failed: Counter,
    open: Gauge,
    resting: Gauge,
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    counts: Counts,
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// When the kernel refuses: the address is taken, not ours, or needs rights we do not have.
    pub fn bind(address: SocketAddr, metrics: &Metrics) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let socket = socket.listen(BACKLOG)?;
        let address = socket.local_addr()?;
        let shown = address.to_string();
        let labels = [("listener", shown.as_str())];
        let counts = Counts {
            accepted: metrics.counter("forebay_connections_total", "Connections accepted.", &labels),
            failed: metrics.counter("forebay_accept_errors_total", "Accepts that failed.", &labels),
            tls_failed: metrics.counter("forebay_tls_failures_total", "TLS handshakes that failed.", &labels),
            open: metrics.gauge("forebay_connections_open", "Connections that are open.", &labels),
            resting: metrics.gauge(
                "forebay_connections_resting",
                "Open connections that are idle and keep nothing but their socket.",
                &labels,
            ),
        };
        Ok(Self { socket, address, counts })
    }

    /// The address it is bound to; the port is the real one where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`. `slots` caps the open connections of all listeners together.
    pub async fn run(
        self,
        serving: Arc<ArcSwap<Serving>>,
        slots: Arc<Semaphore>,
        connections: TaskTracker,
        stop: CancellationToken,
    ) {
        let mut pause = PAUSE.0;
        loop {
            // A place is taken after the accept, for an idle listener must not keep one from the others. So
            // each may hold one connection that has yet to get its place; all further ones wait in the
            // kernel.
            let next = async {
                let (stream, address) = self.socket.accept().await?;
                self.counts.accepted.increment();
                // Before it waits: who has too many connections already does not hold up others.
                let Some((stream, place)) = admit(stream, address, &serving.load().context) else {
                    return Ok(None);
                };
                let permit = slots.clone().acquire_owned().await.ok();
                Ok(permit.map(|permit| (stream, address, place, permit)))
            };
            match stop.run_until_cancelled(next).await {
                None => return,
                Some(Ok(None)) => pause = PAUSE.0,
                Some(Ok(Some((stream, address, place, permit)))) => {
                    pause = PAUSE.0;
                    let (open, resting) = (self.counts.open.hold(), self.counts.resting.clone());
                    let slot = Slot { permit, place, open, resting };
                    connections.spawn(serve(stream, address, slot, serving.load_full(), self.counts.clone()));
                }
                Some(Err(error)) if is_of_one_connection(&error) => self.counts.failed.increment(),
                Some(Err(error)) => {
                    self.counts.failed.increment();
                    warn!(%error, listener = %self.address, "accept failed, pausing");
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }
}

/// Whether an accept failed because that one connection had already ended.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Whether one more connection of this address is taken, and its place among them. A proxy's connections are
/// its clients'.
fn admit(stream: TcpStream, address: SocketAddr, context: &Context) -> Option<(TcpStream, Option<Place>)> {
    if context.border.trusted.contains(address.ip()) {
        return Some((stream, None));
    }
    let place = if context.proxy_protocol { Err("proxy_untrusted") } else { Ok(()) };
    match place.and_then(|()| context.place(address.ip()).ok_or("too_many_of_address")) {
        Ok(place) => Some((stream, Some(place))),
        Err(reason) => {
            refuse(stream, reason, context);
            None
        }
    }
}

/// Closes a connection without a word, and leaves nothing of it in the kernel.
fn refuse(stream: TcpStream, reason: &'static str, context: &Context) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    context.gateway.refused_connection(reason);
}

/// Reads the PROXY header a connection begins with, and takes the client for who it says.
async fn introduce(stream: &mut TcpStream, accepted: &mut Accepted) -> Result<(), &'static str> {
    let watched = accepted.watched.clone();
    let header = connection::unless_ended(&watched, pin!(read_header(stream))).await;
    let source = match header {
        Some(Ok(source)) => source,
        Some(Err(reason)) => return Err(reason),
        None => return Err("proxy_header_timeout"),
    };
    let Source::Client { source, destination } = source else { return Ok(()) };
    let (context, peer) = (&accepted.context, &mut accepted.peer);
    peer.trusted = context.border.trusted.contains(source.ip());
    (peer.address, peer.local) = (source, destination);
    if !peer.trusted {
        accepted.slot.place = Some(context.place(source.ip()).ok_or("too_many_of_address")?);
    }
    Ok(())
}

async fn read_header(stream: &mut TcpStream) -> Result<Source, &'static str> {
    let mut header = Vec::new();
    loop {
        let more = match proxy_protocol::parse(&header) {
            Ok(Step::Done(source)) => return Ok(source),
            Ok(Step::More(more)) => more,
            Err(_) => return Err("proxy_header"),
        };
        let before = header.len();
        header.resize(before + more, 0);
        let read = stream.read(header.get_mut(before..).unwrap_or_default()).await;
        match read {
            // Somebody looks whether we are there.
            Ok(0) if before == 0 => return Err("proxy_header_none"),
            Ok(0) | Err(_) => return Err("proxy_header"),
            Ok(read) => header.truncate(before + read),
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    slot: Slot,
    serving: Arc<Serving>,
    counts: Counts,
) {
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let context = serving.context.clone();
    let trusted = context.border.trusted.contains(address.ip());
    let peer = Peer { address, local, scheme: Scheme::Http, trusted, server_name: None, certificate: None };
    let mut accepted = Accepted { peer, slot, watched: context.enlist(), context };
    if accepted.context.proxy_protocol {
        // In a box, for few listeners read one.
        if let Err(reason) = Box::pin(introduce(&mut stream, &mut accepted)).await {
            return refuse(stream, reason, &accepted.context);
        }
    }
    match serving.tls.clone() {
        None => connection::serve_clear(Io::Tcp(stream), accepted).await,
        // In a box: a clear-text connection's task need not have room for a handshake.
        Some(tls) => Box::pin(serve_tls(stream, tls, accepted, counts)).await,
    }
}

async fn serve_tls(stream: TcpStream, tls: Arc<ServerConfig>, mut accepted: Accepted, counts: Counts) {
    let handshake = pin!(TlsAcceptor::from(tls).accept(stream));
    let stream = match connection::unless_ended(&accepted.watched, handshake).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            counts.tls_failed.increment();
            return debug!(%error, client = %accepted.peer.address, "TLS handshake failed");
        }
        None => return counts.tls_failed.increment(),
    };
    let session = stream.get_ref().1;
    accepted.peer.scheme = Scheme::Https;
    accepted.peer.server_name = session.server_name().map(|name| name.to_ascii_lowercase().into());
    let shown = session.peer_certificates().and_then(|chain| chain.first());
    let whole = accepted.context.tells_certificate;
    accepted.peer.certificate = shown.and_then(|shown| client_certificate::read(shown, whole)).map(Box::new);
    let spoken = match session.alpn_protocol() {
        Some(b"h2") => Spoken::Http2,
        Some(_) => Spoken::Http1,
        None if accepted.context.http1 => Spoken::Http1,
        None => Spoken::Http2,
    };
    connection::serve_known(Io::Tls(Box::new(stream)), spoken, accepted).await;
}
