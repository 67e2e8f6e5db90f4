//! A bound address: accepts connections, within the cap, and hands each to a task of its own.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::clock;
use crate::http::{Peer, Scheme};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::net::Io;
use crate::plan::ListenerPlan;

use super::addresses::Place;
use super::client_certificate;
use super::connection::{self, Accepted, Context, Slot, Spoken};
use super::proxy_protocol::{self, Source, Step};
use super::sockets::{self, Inherited, Leaving};

/// How long to pause after a failed accept (no file descriptors left), at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long handshakes that are under way have to come to their end, before a socket that makes way for
/// another process's is closed: a round trip.
const SETTLE: Duration = Duration::from_millis(250);

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
    slow_heads: Gauge,
    slow_responses: Gauge,
}

/// What a listener works with.
#[derive(Clone, Debug)]
pub struct Work {
    /// What becomes of a connection.
    pub serving: Arc<ArcSwap<Serving>>,
    /// Caps the open connections of all listeners together.
    pub slots: Arc<Semaphore>,
    /// The connections' tasks.
    pub connections: TaskTracker,
    /// The tasks of those that came after the listener was told to leave.
    pub late: TaskTracker,
}

/// What tells a listener to end, in two steps.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Accept what is on its way, and close.
    pub leave: CancellationToken,
    /// Close.
    pub stop: CancellationToken,
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    leaving: Leaving,
    counts: Counts,
}

impl Listener {
    /// Binds an address, or takes the socket that was handed over for it.
    ///
    /// # Errors
    /// When the kernel refuses: the address is taken, not ours, or needs rights we do not have. When there is
    /// no socket of the name that the plan gives.
    pub fn bind(plan: &ListenerPlan, inherited: &Inherited, metrics: &Metrics) -> io::Result<Self> {
        let (socket, leaving) = sockets::open(plan, inherited)?;
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
            slow_heads: metrics.gauge(
                "forebay_connections_in_slow_head",
                "Open connections that keep nothing but what there is of the head of a request.",
                &labels,
            ),
            slow_responses: metrics.gauge(
                "forebay_connections_in_slow_response",
                "Open connections that keep nothing but what their client has yet to take of a response.",
                &labels,
            ),
        };
        Ok(Self { socket, address, leaving, counts })
    }

    /// The address it is bound to; the port is the real one where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it will leave.
    pub const fn leaving(&self) -> Leaving {
        self.leaving
    }

    /// Accepts until it is told to end. A connection that the kernel has taken for us is not lost with that.
    pub async fn run(self, work: Work, ending: Ending) {
        let context = work.serving.load().context.clone();
        let mut pause = PAUSE.0;
        // Only the wait for a connection is ever given up, never what is done with one.
        while let Some(next) = ending.leave.run_until_cancelled(self.socket.accept()).await {
            self.take(next, &work, &work.connections, &mut pause).await;
        }
        self.leave(&work, &mut pause, &ending.stop).await;
        context.watch.drain_listener(context.listener);
    }

    /// Accepts what is on its way, and closes.
    async fn leave(self, work: &Work, pause: &mut Duration, stop: &CancellationToken) {
        let settled = clock::now().instant + SETTLE;
        match self.leaving {
            Leaving::Closes => {}
            Leaving::MakesWay => {
                if let Err(error) = sockets::turn_away(&self.socket) {
                    debug!(%error, listener = %self.address, "goes on being offered connections");
                }
                while let Ok(next) = timeout_at(settled, self.socket.accept()).await {
                    self.take(next, work, &work.late, pause).await;
                }
            }
            Leaving::HandsBack => {
                while let Some(next) = stop.run_until_cancelled(self.socket.accept()).await {
                    self.take(next, work, &work.late, pause).await;
                }
                // Whoever comes next finds in the socket what waits there.
                return;
            }
        }
        // Asked directly: tokio knows of a connection only once it has been told.
        let Self { socket, counts, .. } = self;
        let Ok(socket) = socket.into_std() else { return };
        while let Ok((stream, client)) = socket.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                hand_on(stream, client, work, &work.late, &counts).await;
            }
        }
    }

    async fn take(
        &self,
        next: io::Result<(TcpStream, SocketAddr)>,
        work: &Work,
        tracker: &TaskTracker,
        pause: &mut Duration,
    ) {
        match next {
            Ok((stream, client)) => {
                *pause = PAUSE.0;
                hand_on(stream, client, work, tracker, &self.counts).await;
            }
            Err(error) if is_of_one_connection(&error) => self.counts.failed.increment(),
            Err(error) => {
                self.counts.failed.increment();
                warn!(%error, listener = %self.address, "accept failed, pausing");
                sleep(*pause).await;
                *pause = (*pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Gives a connection its place and a task of its own.
///
/// The place is taken after the accept, for an idle listener must not keep one from the others. So each may
/// hold one connection that has yet to get its place; all further ones wait in the kernel.
async fn hand_on(stream: TcpStream, client: SocketAddr, work: &Work, tracker: &TaskTracker, counts: &Counts) {
    counts.accepted.increment();
    // Before it waits: who has too many connections already does not hold up others.
    let Some((stream, place)) = admit(stream, client, &work.serving.load().context) else { return };
    let Ok(permit) = work.slots.clone().acquire_owned().await else { return };
    let slot = Slot {
        permit,
        place,
        open: counts.open.hold(),
        resting: counts.resting.clone(),
        slow_heads: counts.slow_heads.clone(),
        slow_responses: counts.slow_responses.clone(),
    };
    tracker.spawn(serve(stream, client, slot, &work.serving.load(), counts));
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

/// Serves a connection. There are many, so its task is small: an `async fn` has room twice for what it is
/// given, hence the boxes.
fn serve(
    stream: TcpStream,
    address: SocketAddr,
    slot: Slot,
    serving: &Serving,
    counts: &Counts,
) -> impl Future<Output = ()> + Send + use<> {
    let _ = stream.set_nodelay(true);
    let context = serving.context.clone();
    let trusted = context.border.trusted.contains(address.ip());
    // A client that has left already has no end of ours either. Once in the watch, it is told when its
    // listener leaves.
    let opened = stream.local_addr().ok().map(|local| {
        let peer =
            Peer { address, local, scheme: Scheme::Http, trusted, server_name: None, certificate: None };
        Box::new(Accepted { peer, slot, watched: context.enlist(), context })
    });
    let tls = serving.tls.clone().map(|tls| Box::new((tls, counts.tls_failed.clone())));
    async move {
        let (mut stream, Some(mut accepted)) = (stream, opened) else { return };
        if accepted.context.proxy_protocol
            && let Err(reason) = Box::pin(introduce(&mut stream, &mut accepted)).await
        {
            return refuse(stream, reason, &accepted.context);
        }
        match tls {
            None => connection::serve_clear(Io::Tcp(stream), accepted).await,
            Some(tls) => Box::pin(serve_tls(stream, tls.0, accepted, tls.1)).await,
        }
    }
}

async fn serve_tls(stream: TcpStream, tls: Arc<ServerConfig>, mut accepted: Box<Accepted>, failed: Counter) {
    let handshake = pin!(TlsAcceptor::from(tls).accept(stream));
    let stream = match connection::unless_ended(&accepted.watched, handshake).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            failed.increment();
            return debug!(%error, client = %accepted.peer.address, "TLS handshake failed");
        }
        None => return failed.increment(),
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
    connection::serve_known(Io::Tls(Box::new(stream)), BytesMut::new(), spoken, *accepted).await;
}
