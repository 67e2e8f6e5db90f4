//! TLS towards clients: certificates by server name, TLS 1.2 and 1.3, the protocol by ALPN.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::plan::{CertificatePlan, ListenerPlan};

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .file.display())]
pub struct CertificateError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The TLS side of a listener; `None` when it speaks clear text.
///
/// # Errors
/// When a file cannot be read, is no PEM, or key and certificate do not belong together.
pub fn server_config(plan: &ListenerPlan) -> Result<Option<Arc<ServerConfig>>, CertificateError> {
    if plan.certificates.is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let resolver = ByName::load(&plan.certificates, &provider)?;
    let wrong = |error: rustls::Error| CertificateError {
        file: plan.certificates.first().map(|first| first.cert.clone()).unwrap_or_default(),
        problem: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    if plan.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    if plan.http1 {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    if let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Some(Arc::new(config)))
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
struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the asterisk's dot.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    fallback: Option<Arc<CertifiedKey>>,
}

impl ByName {
    fn load(plans: &[CertificatePlan], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let mut by_name = Self { exact: HashMap::new(), wildcard: HashMap::new(), fallback: None };
        for plan in plans {
            let certified = Arc::new(certified_key(plan, provider)?);
            for name in names(&certified) {
                let name = name.to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(parent) => {
                        by_name.wildcard.entry(parent.to_owned()).or_insert_with(|| certified.clone())
                    }
                    None => by_name.exact.entry(name).or_insert_with(|| certified.clone()),
                };
            }
            by_name.fallback.get_or_insert(certified);
        }
        Ok(by_name)
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(wildcard)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(&name.to_ascii_lowercase()));
        named.or(self.fallback.as_ref()).cloned()
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

/// The DNS names a certificate is for.
fn names(certified: &CertifiedKey) -> Vec<String> {
    let Ok(end_entity) = certified.end_entity_cert() else { return Vec::new() };
    let Ok(parsed) = webpki::EndEntityCert::try_from(end_entity) else { return Vec::new() };
    parsed.valid_dns_names().map(str::to_owned).collect()
}
