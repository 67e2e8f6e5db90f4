//! Asks name servers: those of the config, or for what the system's resolver cannot be asked, those of
//! `/etc/resolv.conf`.
//!
//! A stub resolver (RFC 1034 §5.3.1) with no cache: whoever asks keeps the answer and knows how long it
//! lives. It is ours, and not `hickory-resolver`, because that brings fifty crates, the tables of ICU among
//! them, for what are three kinds of questions here.
//!
//! Each question has a random id and a socket of its own, which takes datagrams from that server only. An
//! answer that was cut is asked for again by TCP. A server that does not answer within [`TRY_TIMEOUT`], or
//! cannot find out, makes room for the next; each is asked twice.

pub mod message;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use message::{Kind, Record, Reply};

pub(super) use message::Target;

/// How long one server has for one answer.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// How often each server is asked.
const TRIES: usize = 2;
/// The largest datagram without an extension (RFC 1035 §4.2.1), and some more from servers that do not mind.
const DATAGRAM_MAX: usize = 4096;
/// Name servers that are used of `/etc/resolv.conf`, as many as the system's resolver uses.
const SYSTEM_SERVERS_MAX: usize = 3;
/// Where the system's name servers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of name servers.
pub(super) const PORT: u16 = 53;

/// What was found, and for how long it may be believed where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub(super) items: Vec<T>,
    pub(super) ttl: Option<Duration>,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub(super) struct Dns {
    servers: Vec<SocketAddr>,
}

impl Dns {
    /// These servers; the system where there are none.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec() }
    }

    /// The addresses of a host. The system is asked where there are no servers, and always for what is on
    /// this machine (RFC 6761 §6.3); it does not say how long they live.
    pub(super) async fn addresses(&self, name: &str, port: u16) -> io::Result<Found<SocketAddr>> {
        if self.servers.is_empty() || name == "localhost" || name.ends_with(".localhost") {
            let items = lookup_host((name, port)).await?.collect();
            return Ok(Found { items, ttl: None });
        }
        let ask = |kind| self.ask(&self.servers, name, kind);
        let (four, six) = tokio::join!(ask(Kind::A), ask(Kind::Aaaa));
        let found = match (four, six) {
            (Ok(four), Ok(six)) => {
                // A kind that there is none of says nothing of how long the other lives.
                let ttl = [&four, &six].into_iter().filter(|found| !found.items.is_empty());
                let ttl = ttl.filter_map(|found| found.ttl).min();
                Found { items: [four.items, six.items].concat(), ttl }
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => found,
            (Err(error), Err(_)) => return Err(error),
        };
        let address = |record| match record {
            Record::Address(address) => Some(SocketAddr::new(address, port)),
            Record::Service(_) => None,
        };
        Ok(Found { items: found.items.into_iter().filter_map(address).collect(), ttl: found.ttl })
    }

    /// Where a service is (RFC 2782).
    pub(super) async fn services(&self, name: &str) -> io::Result<Found<Target>> {
        let of_system;
        let servers = if self.servers.is_empty() {
            // Read each time: who moves from one network to another has other servers.
            of_system = system_servers(&tokio::fs::read_to_string(RESOLV_CONF).await?);
            &of_system
        } else {
            &self.servers
        };
        let found = self.ask(servers, name, Kind::Srv).await?;
        let target = |record| match record {
            Record::Service(target) => Some(target),
            Record::Address(_) => None,
        };
        Ok(Found { items: found.items.into_iter().filter_map(target).collect(), ttl: found.ttl })
    }

    async fn ask(&self, servers: &[SocketAddr], name: &str, kind: Kind) -> io::Result<Found<Record>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no name server to ask");
        for _ in 0..TRIES {
            for server in servers {
                match timeout(TRY_TIMEOUT, ask_one(*server, name, kind)).await {
                    Ok(Ok(found)) => return Ok(found),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
        }
        Err(last)
    }
}

/// Asks one server, by UDP and if need be by TCP.
async fn ask_one(server: SocketAddr, name: &str, kind: Kind) -> io::Result<Found<Record>> {
    let mut id = [0; 2];
    // Who guesses it, and the socket's port, could answer in the server's place.
    aws_lc_rs::rand::fill(&mut id).map_err(|_| io::Error::other("no random numbers"))?;
    let asked = message::question(u16::from_be_bytes(id), name, kind);
    let asked = asked.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no name"))?;
    let reply = match by_udp(server, &asked, kind).await? {
        Reply::Truncated => by_tcp(server, &asked, kind).await?,
        reply => reply,
    };
    match reply {
        Reply::Records { records, ttl } => {
            let ttl = Some(Duration::from_secs(u64::from(ttl))).filter(|_| !records.is_empty());
            Ok(Found { items: records, ttl })
        }
        Reply::Failed(code) => Err(io::Error::other(format!("the name server says RCODE {code}"))),
        Reply::Truncated => Err(io::Error::other("the name server cuts its answer")),
    }
}

async fn by_udp(server: SocketAddr, asked: &[u8], kind: Kind) -> io::Result<Reply> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(asked).await?;
    let mut datagram = [0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut datagram).await?;
        // What is no answer to this question may be somebody's guess: the true one is still to come.
        if let Ok(reply) = message::answer(datagram.get(..length).unwrap_or_default(), asked, kind) {
            return Ok(reply);
        }
    }
}

async fn by_tcp(server: SocketAddr, asked: &[u8], kind: Kind) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    // RFC 1035 §4.2.2: the length comes first.
    let length = u16::try_from(asked.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), asked].concat()).await?;
    let mut answered = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answered).await?;
    message::answer(&answered, asked, kind).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The servers of `resolv.conf(5)`, in their order.
fn system_servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        // A zone (`fe80::1%eth0`) is for the system's resolver.
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    };
    let addresses = text.lines().filter_map(address).take(SYSTEM_SERVERS_MAX);
    addresses.map(|address: IpAddr| SocketAddr::new(address, PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_servers() {
        let text = "# comment\nsearch a b\nnameserver 10.0.0.1\n nameserver ::1 # ours\nnameserver x\n\
                    nameserver\n#nameserver 10.0.0.9\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let servers = ["10.0.0.1:53", "[::1]:53", "10.0.0.2:53"].map(|server| server.parse().unwrap());
        assert_eq!(system_servers(text), servers);
    }
}
