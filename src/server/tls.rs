//! TLS towards clients: certificates by server name, TLS 1.2 and 1.3, the protocol by ALPN.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::plan::{CertificatePlan, ClientAuthPlan, ListenerPlan};

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .file.display())]
pub struct CertificateError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The TLS side of a listener.
#[derive(Debug)]
pub struct Tls {
    /// For handshakes.
    pub config: Arc<ServerConfig>,
    /// What is shown in them.
    pub certificates: Arc<ByName>,
}

/// The keys of session tickets, which outlive reloads, so that clients need not begin anew. They are changed
/// by themselves every few hours.
///
/// Where clients show certificates there are none: a ticket stands for a certificate that was good when it
/// was issued, perhaps by an authority that is trusted no more.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<HashMap<SocketAddr, Arc<dyn ProducesTickets>>>);

impl Tickets {
    fn of(&self, plan: &ListenerPlan) -> Option<Arc<dyn ProducesTickets>> {
        if plan.client_auth.is_some() {
            return None;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tickets) = kept.get(&plan.address) {
            return Some(tickets.clone());
        }
        let fresh = rustls::crypto::aws_lc_rs::Ticketer::new().ok()?;
        kept.insert(plan.address, fresh.clone());
        Some(fresh)
    }
}

/// The TLS side of a listener; `None` when it speaks clear text.
///
/// # Errors
/// When a file cannot be read, is no PEM, or key and certificate do not belong together.
pub fn server(plan: &ListenerPlan, tickets: &Tickets) -> Result<Option<Tls>, CertificateError> {
    if plan.certificates.is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificates = Arc::new(ByName::load(&plan.certificates, &provider)?);
    let verifier = match &plan.client_auth {
        Some(client_auth) => verifier(client_auth, &provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let wrong = |error: rustls::Error| CertificateError {
        file: plan.certificates.first().map(|first| first.cert.clone()).unwrap_or_default(),
        problem: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(wrong)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificates.clone());
    if plan.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    if plan.http1 {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    match tickets.of(plan) {
        Some(tickets) => config.ticketer = tickets,
        None => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    Ok(Some(Tls { config: Arc::new(config), certificates }))
}

/// Who checks the certificates of clients.
fn verifier(
    plan: &ClientAuthPlan,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let bad = |problem: String| CertificateError { file: plan.ca.clone(), problem };
    let mut roots = RootCertStore::empty();
    for authority in chain(&plan.ca)? {
        roots.add(authority).map_err(|error| bad(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = if plan.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| bad(error.to_string()))
}

/// Reads the authorities of client certificates, to see whether they can be used.
///
/// # Errors
/// When the file cannot be read or is no PEM of certificates.
pub fn check_client_auth(plan: &ClientAuthPlan) -> Result<(), CertificateError> {
    verifier(plan, &Arc::new(rustls::crypto::aws_lc_rs::default_provider())).map(drop)
}

/// Reads a certificate and its key, to see whether they can be used.
///
/// # Errors
/// When a file cannot be read, is no PEM, or key and certificate do not belong together.
pub fn check(plan: &CertificatePlan) -> Result<(), CertificateError> {
    certified_key(plan, &rustls::crypto::aws_lc_rs::default_provider()).map(drop)
}

/// Certificates by the names they are for.
#[derive(Debug)]
pub struct ByName {
    exact: HashMap<String, Arc<Certificate>>,
    /// By what follows the asterisk's dot.
    wildcard: HashMap<String, Arc<Certificate>>,
    fallback: Option<Arc<Certificate>>,
}

/// A certificate and its names, in lower case.
#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Certificate {
    fn is_for(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(of) => parent == Some(of),
            None => name == host,
        })
    }
}

impl ByName {
    fn load(plans: &[CertificatePlan], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let mut by_name = Self { exact: HashMap::new(), wildcard: HashMap::new(), fallback: None };
        for plan in plans {
            let key = Arc::new(certified_key(plan, provider)?);
            let certified = Arc::new(Certificate { names: names(&key), key });
            for name in &certified.names {
                match name.strip_prefix("*.") {
                    Some(parent) => {
                        by_name.wildcard.entry(parent.to_owned()).or_insert_with(|| certified.clone())
                    }
                    None => by_name.exact.entry(name.clone()).or_insert_with(|| certified.clone()),
                };
            }
            by_name.fallback.get_or_insert(certified);
        }
        Ok(by_name)
    }

    /// Whether what is shown to who asks for `server_name` is for the host of `authority`, too (RFC 9110
    /// §7.4). Both in lower case.
    pub fn serve(&self, server_name: &str, authority: &HeaderValue) -> bool {
        let authority = authority.as_bytes();
        let host = match memchr::memrchr(b':', authority).map(|colon| authority.split_at(colon)) {
            Some((host, port)) if port.iter().skip(1).all(u8::is_ascii_digit) => host,
            _ => authority,
        };
        // HTTP/1.0 may name no host.
        if host == server_name.as_bytes() || host.is_empty() {
            return true;
        }
        let shown = self.find(server_name).or(self.fallback.as_ref());
        shown.is_some_and(|shown| std::str::from_utf8(host).is_ok_and(|host| shown.is_for(host)))
    }

    fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(wildcard)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(&name.to_ascii_lowercase()));
        named.or(self.fallback.as_ref()).map(|shown| shown.key.clone())
    }
}

fn certified_key(
    plan: &CertificatePlan,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let chain = chain(&plan.cert)?;
    let pem = read(&plan.key)?;
    let bad_key = |problem: String| CertificateError { file: plan.key.clone(), problem };
    let key =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| bad_key(format!("no private key: {error}")))?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| bad_key(error.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => {
            Err(bad_key(format!("this key does not belong to the certificate in {}", plan.cert.display())))
        }
    }
}

/// The certificates of a PEM file.
fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bad = |problem: String| CertificateError { file: file.to_owned(), problem };
    let pem = read(file)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(format!("broken PEM: {error}")))?;
    if chain.is_empty() { Err(bad("no certificate in this file".to_owned())) } else { Ok(chain) }
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(file).map_err(|error| CertificateError { file: file.to_owned(), problem: error.to_string() })
}

/// The DNS names a certificate is for, in lower case.
fn names(certified: &CertifiedKey) -> Vec<String> {
    let Ok(end_entity) = certified.end_entity_cert() else { return Vec::new() };
    let Ok(parsed) = webpki::EndEntityCert::try_from(end_entity) else { return Vec::new() };
    parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()
}
