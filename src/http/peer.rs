//! The connection a request came on.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

use super::request::Scheme;

/// Who is at the other end of a downstream connection; one value a connection, shared by its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address at the other end of the socket.
    pub address: SocketAddr,
    /// Our end of it.
    pub local: SocketAddr,
    /// `https` where we ended TLS.
    pub scheme: Scheme,
    /// Whether `address` is one of the listener's `trusted_proxies`.
    pub trusted: bool,
    /// The server name of the TLS handshake, lower case.
    pub server_name: Option<Box<str>>,
    /// The client's certificate, if it has shown one.
    pub certificate: Option<Box<ClientCertificate>>,
}

/// What a verified client certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject, as RFC 4514 writes it.
    pub subject: Option<HeaderValue>,
    /// Its names: `DNS:a.example, URI:spiffe://acme/orders`.
    pub names: Option<HeaderValue>,
    /// All of it, as `Client-Cert` has it (RFC 9440 §2.2), where the listener tells it.
    pub whole: Option<HeaderValue>,
}

impl Peer {
    /// The address to count a client by: an IPv6 client owns its /64 (RFC 6177), so that is what counts.
    pub fn counted(address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(six) => match six.to_ipv4_mapped() {
                Some(four) => IpAddr::V4(four),
                None => IpAddr::V6((u128::from(six) & !u128::from(u64::MAX)).into()),
            },
        }
    }
}
