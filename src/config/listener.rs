//! What the user writes in `[[listener]]`.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::units::Time;

/// An address where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// `"127.0.0.1:8080"`, `"[::]:8443"`; port 0 takes a free one, which is printed.
    pub address: String,
    /// The name of a socket that systemd hands over (`FileDescriptorName=`), to be used in place of binding
    /// `address`. A socket that is handed over and bound to just `address` is used without this.
    #[serde(default)]
    pub socket: Option<String>,
    /// Whether another process may listen on the same address (`SO_REUSEPORT`), if its user is the same: a
    /// new Forebay begins to accept beside the old one, which is then told to stop (`run --replace`). Without
    /// this, an address that is taken is an error. Needs a restart.
    #[serde(default)]
    pub reuse_port: bool,
    /// What is spoken: HTTP/2 by ALPN on TLS, by prior knowledge in clear text.
    #[serde(default = "protocols")]
    pub protocols: Vec<DownstreamProtocol>,
    /// Certificates; with them, the listener speaks TLS. Several are chosen by server name (SNI), the first
    /// is the default.
    #[serde(default)]
    pub tls: OneOrMany<CertificateConfig>,
    /// Networks of the proxies in front of us whose `X-Forwarded-For`, `Forwarded` and `X-Request-Id` we
    /// believe, and `X-Forwarded-Proto`: what `http` is answered with is not stored for `https`. What else
    /// they let through from their clients and the origin answers by, like `X-Forwarded-Host`, belongs into
    /// a route's `cache.key.headers`.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Whether each connection begins with a PROXY header (version 1 or 2), which says whose it is. It is
    /// believed if it comes from one of `trusted_proxies`; all other connections are closed. What they say is
    /// then in the log, in limits and in `X-Forwarded-For`.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Who signs the certificates of clients, a PEM file. Requests then carry the subject (RFC 4514) as
    /// `X-Client-Cert-Subject` and the names as `X-Client-Cert-San`, to the origin and for `rate_limit` and
    /// `cache.key`; clients cannot send these fields themselves.
    #[serde(default)]
    pub client_ca: Option<String>,
    /// Whether a client must have a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Whether origins get a client's certificate itself, too, in `Client-Cert` (RFC 9440). They do not get
    /// one of more than 8 KiB.
    #[serde(default)]
    pub client_cert_header: bool,
    /// Answer every request in clear text with a redirect (308) to the same URL at `https`, port 443. Not
    /// those of which one of `trusted_proxies` says that they came by `https`.
    #[serde(default)]
    pub redirect_to_https: bool,
    /// `Strict-Transport-Security` on every response to a request by `https` (RFC 6797).
    #[serde(default)]
    pub hsts: Option<HstsConfig>,
}

fn protocols() -> Vec<DownstreamProtocol> {
    vec![DownstreamProtocol::Http1, DownstreamProtocol::Http2]
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            socket: None,
            reuse_port: false,
            protocols: protocols(),
            tls: OneOrMany::default(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            client_ca: None,
            client_auth: ClientAuth::default(),
            client_cert_header: false,
            redirect_to_https: false,
            hsts: None,
        }
    }
}

/// A protocol clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownstreamProtocol {
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Without one, or with another's, there is no connection.
    #[default]
    Required,
    /// Without one, requests carry none of the fields; with another's, there is no connection.
    Optional,
}

/// How browsers are told to come by `https` only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HstsConfig {
    /// For how long they remember.
    pub max_age: Time,
    /// Whether that goes for all hosts below as well.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Whether the host may be put on the lists that browsers come with. Hard to take back.
    #[serde(default)]
    pub preload: bool,
}

/// A certificate chain and its key, PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The chain, our certificate first.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

// By hand, for with serde's `untagged` an error inside would not say what is wrong, nor where.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, or a list of tables")
    }

    fn visit_unit<E>(self) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<OneOrMany<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany::Many)
    }
}
