//! TLS: whom we trust, who we are, and what is spoken.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::upstream::config::{Protocol, UpstreamTlsConfig};
use crate::upstream::plan::UpstreamPlan;

/// An authority and what it signed, as files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, private) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&private, key.serialize_pem()).unwrap();
        (cert, private)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn acceptor(&self, name: &str, client_auth: bool, alpn: &[&str]) -> TlsAcceptor {
        let (cert, key) = self.sign(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if client_auth {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
        let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn secure(origin: &Origin, tls: UpstreamTlsConfig) -> Balance {
    build(&EndpointsConfig { tls, ..config(&[format!("https://{}", origin.address())]) })
}

/// Serves one exchange in HTTP/1.1 over TLS, and another on the same connection.
async fn serve(origin: &Origin, acceptor: &TlsAcceptor, exchanges: usize) -> std::io::Result<()> {
    let peer = origin.accept().await;
    let mut tls = acceptor.accept(peer.stream).await?;
    for _ in 0..exchanges {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if tls.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        tls.write_all(OK.as_bytes()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_trusted_endpoint_by_address_or_by_another_name() {
    let authority = Authority::new();
    for (name, server_name) in [("127.0.0.1", None), ("orders.internal", Some("orders.internal"))] {
        let origin = Origin::new().await;
        let acceptor = authority.acceptor(name, false, &[]);
        let balance = secure(
            &origin,
            UpstreamTlsConfig {
                ca: Some(authority.path("ca.pem")),
                server_name: server_name.map(str::to_owned),
                ..UpstreamTlsConfig::default()
            },
        );
        let twice = async {
            assert_eq!(text(&balance, get()).await.unwrap().1, "ok");
            text(&balance, get()).await
        };
        let (answer, served) = tokio::join!(twice, serve(&origin, &acceptor, 2));
        served.unwrap();
        assert_eq!(answer.unwrap(), (200, "ok".to_owned()));
    }
}

#[tokio::test]
async fn untrusted_endpoints() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (name, authority, server_name) in [
        ("127.0.0.1", &theirs, None),
        ("wrong.example", &ours, None),
        ("127.0.0.1", &ours, Some("orders.internal".to_owned())),
    ] {
        let origin = Origin::new().await;
        let acceptor = authority.acceptor(name, false, &[]);
        let tls =
            UpstreamTlsConfig { ca: Some(ours.path("ca.pem")), server_name, ..UpstreamTlsConfig::default() };
        let balance = secure(&origin, tls);
        let (answer, served) = tokio::join!(text(&balance, get()), serve(&origin, &acceptor, 1));
        assert!(served.is_err(), "{name}");
        let error = failure(answer);
        assert_eq!((error.kind, error.sent), (Kind::Tls, false), "{name}");
        assert_eq!(settled(&balance).await, 0);
    }

    // Something that does not speak TLS at all; and something that hangs up.
    let origin = Origin::new().await;
    let tls = || UpstreamTlsConfig { ca: Some(ours.path("ca.pem")), ..UpstreamTlsConfig::default() };
    let balance = secure(&origin, tls());
    let (answer, _peer) = tokio::join!(text(&balance, get()), async {
        let mut peer = origin.accept().await;
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer
    });
    assert_eq!(failure(answer).kind, Kind::Tls);
    let (answer, ()) = tokio::join!(text(&balance, get()), async { drop(origin.accept().await) });
    assert_eq!(failure(answer).kind, Kind::ConnectFailed);

    // And something that says nothing.
    let slow = EndpointsConfig {
        tls: tls(),
        connect_timeout: Time::millis(100),
        ..config(&[format!("https://{}", origin.address())])
    };
    let balance = build(&slow);
    let (answer, _peer) = tokio::join!(text(&balance, get()), origin.accept());
    assert_eq!(failure(answer).kind, Kind::ConnectTimeout);
    assert_eq!(settled(&balance).await, 0);
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let authority = Authority::new();
    let origin = Origin::new().await;
    let acceptor = authority.acceptor("127.0.0.1", true, &[]);
    let (cert, key) = authority.sign("gateway.example");
    let ca = Some(authority.path("ca.pem"));
    let balance = secure(
        &origin,
        UpstreamTlsConfig { ca: ca.clone(), cert: Some(cert), key: Some(key), server_name: None },
    );
    let (answer, served) = tokio::join!(text(&balance, get()), serve(&origin, &acceptor, 1));
    served.unwrap();
    assert_eq!(answer.unwrap().0, 200);

    let anonymous = secure(&origin, UpstreamTlsConfig { ca, ..UpstreamTlsConfig::default() });
    let (answer, served) = tokio::join!(text(&anonymous, get()), serve(&origin, &acceptor, 1));
    assert!(served.is_err());
    failure(answer);
}

#[tokio::test]
async fn alpn_decides() {
    use std::convert::Infallible;

    use http_body_util::Full;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let authority = Authority::new();
    let origin = Origin::new().await;
    let acceptor = authority.acceptor("127.0.0.1", false, &["h2", "http/1.1"]);
    let tls = UpstreamTlsConfig { ca: Some(authority.path("ca.pem")), ..UpstreamTlsConfig::default() };
    let balance = secure(&origin, tls);
    let served = async {
        let tls = acceptor.accept(origin.accept().await.stream).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let service =
            hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let text = format!("{:?} {}", request.version(), request.uri());
                Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from(text)))
            });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(tls), service)
            .await;
    };
    let asked = async {
        // Nobody knows yet what is spoken: both wait for one handshake.
        let (one, two) = tokio::join!(text(&balance, get()), text(&balance, get()));
        assert_eq!(one.unwrap().1, "HTTP/2.0 https://test.example/");
        assert_eq!(two.unwrap().1, "HTTP/2.0 https://test.example/");
        assert_eq!(settled(&balance).await, 1);
    };
    tokio::select! { () = served => panic!("closed"), () = asked => {} }

    // A tunnel needs HTTP/1.1, and says so.
    let mut upgrade = get();
    upgrade.upgrade = Some(Box::new(hyper::upgrade::on(http::Request::new(()))));
    let (answer, ()) = tokio::join!(send(&balance, upgrade), async {
        let tls = acceptor.accept(origin.accept().await.stream).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    });
    assert_eq!(failure(answer).kind, Kind::Reset);
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("a");
    let (_, other_key) = authority.sign("b");
    let empty = authority.path("empty.pem");
    std::fs::write(&empty, "nothing here").unwrap();
    let tls = UpstreamTlsConfig::default;
    for (tls, path) in [
        (UpstreamTlsConfig { ca: Some("/does/not/exist.pem".to_owned()), ..tls() }, "/does/not/exist.pem"),
        (UpstreamTlsConfig { ca: Some(empty.clone()), ..tls() }, &*empty),
        (UpstreamTlsConfig { cert: Some(cert.clone()), key: Some(empty.clone()), ..tls() }, &*empty),
        (UpstreamTlsConfig { cert: Some(cert.clone()), key: Some(other_key.clone()), ..tls() }, &*other_key),
        (UpstreamTlsConfig { cert: Some(key.clone()), key: Some(key.clone()), ..tls() }, &*key),
    ] {
        let ca = tls.ca.clone().or(Some(authority.path("ca.pem")));
        let config = EndpointsConfig {
            tls: UpstreamTlsConfig { ca, ..tls },
            ..config(&["https://127.0.0.1:1".to_owned()])
        };
        let plan: UpstreamPlan = plan(&config, &Path::root(), &mut Report::new());
        match Upstream::build("test", &plan, &Metrics::default()) {
            Err(crate::upstream::BuildError::File { path: named, problem }) => {
                assert_eq!(named, PathBuf::from(path), "{problem}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

/// Probes trust whom requests trust.
#[tokio::test]
async fn probes_over_tls() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (authority, result, unhealthy) in [(&ours, "ok", false), (&theirs, "tls_error", true)] {
        let origin = Origin::new().await;
        let acceptor = authority.acceptor("127.0.0.1", false, &["h2", "http/1.1"]);
        let metrics = Metrics::default();
        let tls = UpstreamTlsConfig { ca: Some(ours.path("ca.pem")), ..UpstreamTlsConfig::default() };
        let url = format!("https://{}", origin.address());
        let config = EndpointsConfig { tls, health: Some(probing()), ..config(&[url]) };
        let balance = build_with(&EndpointsConfig { protocol: Protocol::Http1, ..config }, &metrics);
        let served = serve(&origin, &acceptor, 1).await;
        assert_eq!(served.is_ok(), !unhealthy);
        let line = format!("forebay_upstream_probes_total{{result=\"{result}\",upstream=\"test\"}}");
        let counted = async {
            while metric(&metrics, &line) != Some(1.0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(HUNG, counted).await.expect("no probe");
        assert_eq!(balance.0.endpoints_status()[0].unhealthy, unhealthy);
    }
}
