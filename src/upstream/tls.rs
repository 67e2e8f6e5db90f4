//! TLS towards `https` endpoints: whom we trust, who we are, and which protocols we offer (ALPN, RFC 7301).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::config::Protocol;
use super::plan::{EndpointPlan, TlsPlan, UpstreamPlan};

/// Why an upstream could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A TLS file cannot be read, or is not what it should be.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system has no certificate authorities that we could trust.
    #[error(
        "no certificate authorities found on this system ({0}); name some with tls = {{ ca = \"ca.pem\" }}"
    )]
    NoSystemRoots(String),
    /// rustls does not accept the combination.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A name that cannot be in a certificate.
    #[error("`{0}` is no name that a certificate can have")]
    ServerName(String),
}

impl BuildError {
    fn file(path: &Path, problem: impl ToString) -> Self {
        Self::File { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// How TLS is begun with the endpoints of one upstream; sessions are resumed across all of them.
#[derive(Clone)]
pub(super) struct Tls {
    /// Offers what the upstream may speak.
    any: TlsConnector,
    /// Offers HTTP/1.1 only: for upgrades.
    http1: TlsConnector,
    server_name: Option<Box<str>>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn build(plan: &TlsPlan, protocol: Protocol) -> Result<Self, BuildError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(plan)?);
        let mut config = match &plan.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| BuildError::file(key, pem_problem(&error, "private key")))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, private)
                    .map_err(|error| BuildError::file(key, error))?
            }
        };
        let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
        config.alpn_protocols = vec![h1.clone()];
        let http1 = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = match protocol {
            Protocol::Auto => vec![h2, h1],
            Protocol::Http1 => vec![h1],
            Protocol::Http2 => vec![h2],
        };
        Ok(Self { any: TlsConnector::from(Arc::new(config)), http1, server_name: plan.server_name.clone() })
    }

    /// The name to expect of an endpoint.
    pub(super) fn server_name(&self, endpoint: &EndpointPlan) -> Result<ServerName<'static>, BuildError> {
        let name = match &self.server_name {
            Some(name) => name.to_string(),
            None => endpoint.host.to_string(),
        };
        ServerName::try_from(name.clone()).map_err(|_| BuildError::ServerName(name))
    }

    /// Begins TLS; with `http1_only` for a connection that will be upgraded.
    pub(super) const fn connector(&self, http1_only: bool) -> &TlsConnector {
        if http1_only { &self.http1 } else { &self.any }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// What TLS files hold, as a hash: enough to see that they have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// Reads the files that a plan names; one that cannot be read is as good as empty.
    pub(super) fn of(plan: &UpstreamPlan) -> Self {
        let mut hasher = DefaultHasher::new();
        if plan.is_secure() {
            let identity = plan.tls.identity.iter().flat_map(|(cert, key)| [cert, key]);
            for file in plan.tls.ca.iter().chain(identity) {
                std::fs::read(file).unwrap_or_default().hash(&mut hasher);
            }
        }
        Self(hasher.finish())
    }
}

fn roots(plan: &TlsPlan) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &plan.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| BuildError::file(path, error))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(BuildError::NoSystemRoots(why.join("; ")));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(BuildError::file(path, "contains no certificate in PEM format"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(BuildError::file(path, pem_problem(&error, "certificate"))),
    }
}

fn pem_problem(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("contains no {what} in PEM format"),
        error => error.to_string(),
    }
}
