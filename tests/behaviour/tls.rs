//! TLS on both sides: which certificate, which protocol, and files that change.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::lifecycle::config;
use crate::support::message::{Kind, Message, Reader};
use crate::support::{Gateway, H2, Origin, Reply, get, within};

/// A certificate that is its own authority, in a folder as `NAME.pem` and `NAME.key`.
pub fn certify(folder: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let _: &KeyPair = &signing_key;
    std::fs::write(folder.join(format!("{file}.pem")), cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{file}.key")), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A line for `[[listener]]`.
pub fn tls(folder: &TempDir, files: &[&str]) -> String {
    let folder = folder.path().display();
    let one = |file: &&str| format!("{{ cert = \"{folder}/{file}.pem\", key = \"{folder}/{file}.key\" }}");
    format!("tls = [{}]", files.iter().map(one).collect::<Vec<_>>().join(", "))
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Shakes hands, offering these protocols.
pub async fn connect(
    address: SocketAddr,
    name: &str,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

pub async fn ask(stream: &mut TlsStream<TcpStream>, host: &str) -> Message {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(stream, request.as_bytes()).await.unwrap();
    within("a response", Reader::default().message(stream, Kind::Response)).await.unwrap()
}

fn served(stream: &TlsStream<TcpStream>) -> &CertificateDer<'static> {
    &stream.get_ref().1.peer_certificates().unwrap()[0]
}

fn spoken(stream: &TlsStream<TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}

/// RFC 6066 §3, RFC 7301: the name chooses the certificate, and the client's offer the protocol.
#[tokio::test]
async fn the_name_chooses_the_certificate_and_the_offer_the_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path(), "first", &["one.example"]);
    let second = certify(folder.path(), "second", &["two.example", "*.two.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(&config(&origin, "", &tls(&folder, &["first", "second"]), ""));
    for (name, certificate) in [
        ("one.example", &first),
        ("two.example", &second),
        ("TWO.example", &second),
        ("a.two.example", &second),
    ] {
        let mut stream = connect(gateway.address, name, certificate, &["http/1.1"]).await.unwrap();
        assert_eq!((served(&stream), spoken(&stream)), (certificate, Some(&b"http/1.1"[..])), "{name}");
        assert_eq!(ask(&mut stream, name).await.text(), "hello");
    }
    // RFC 9112 §3.2 and the rest are as on clear text; the origin is told that it was not.
    assert_eq!(origin.asked()[0].request.field("x-forwarded-proto"), Some("https"));
    // A name that no certificate has is given the first.
    let unknown = connect(gateway.address, "else.example", &first, &[]).await;
    assert!(unknown.is_err(), "the client sees that it is another name's");

    let stream = connect(gateway.address, "one.example", &first, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(spoken(&stream), Some(&b"h2"[..]));
    let mut h2 = H2::over(stream).await;
    assert_eq!(h2.get("https://one.example/").await.body, b"hello");
    // A client without ALPN speaks HTTP/1.1.
    let mut stream = connect(gateway.address, "one.example", &first, &[]).await.unwrap();
    assert_eq!(ask(&mut stream, "one.example").await.text(), "hello");
}

#[tokio::test]
async fn a_handshake_that_fails_is_counted_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certify(folder.path(), "a", &["a.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let listener = format!("protocols = [\"http1\"]\n{}", tls(&folder, &["a"]));
    let mut gateway = Gateway::start(&config(&origin, "header_timeout = \"200ms\"", &listener, ""));
    let failures = async |count: f64| {
        gateway.wait_for("forebay_tls_failures_total", &[], |now| now == count).await;
        gateway.wait_for("forebay_connections_open", &[], |now| now == 0.0).await;
    };
    // RFC 7301 §3.2: no protocol in common.
    assert!(connect(gateway.address, "a.example", &certificate, &["h2"]).await.is_err());
    failures(1.0).await;
    // Clear text.
    assert!(!get(gateway.address, "/").await.start.starts_with("HTTP/1.1 2"));
    failures(2.0).await;
    // Nothing at all.
    let mut silent = crate::support::Client::connect(gateway.address).await;
    assert!(silent.rest().await.is_empty());
    failures(3.0).await;
    // One that has just begun does not hold up the end.
    let gateway_is_slow = config(&origin, "header_timeout = \"1h\"", &listener, "");
    gateway = Gateway::start(&gateway_is_slow);
    let mut silent = crate::support::Client::connect(gateway.address).await;
    gateway.wait_for("forebay_connections_open", &[], |now| now == 1.0).await;
    gateway.signal("TERM");
    assert!(silent.rest().await.is_empty());
    assert_eq!(gateway.ended().await, Some(0));
}

/// The certificate's files change under the same names: SIGHUP reads them again, though the config says
/// nothing new.
#[tokio::test]
async fn a_renewed_certificate_is_read_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let old = certify(folder.path(), "a", &["a.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(&config(&origin, "", &tls(&folder, &["a"]), ""));
    let mut kept = connect(gateway.address, "a.example", &old, &["http/1.1"]).await.unwrap();
    assert_eq!(ask(&mut kept, "a.example").await.text(), "hello");

    // Half of a renewal: the key is still the old one.
    let key = std::fs::read(folder.path().join("a.key")).unwrap();
    let new = certify(folder.path(), "a", &["a.example"]);
    let new_key = std::fs::read(folder.path().join("a.key")).unwrap();
    std::fs::write(folder.path().join("a.key"), key).unwrap();
    gateway.signal("HUP");
    gateway.wait_for("forebay_reloads_total", &[("result", "refused")], |count| count == 1.0).await;
    gateway.wait_for_log("does not belong to the certificate").await;
    connect(gateway.address, "a.example", &old, &["http/1.1"]).await.unwrap();

    std::fs::write(folder.path().join("a.key"), new_key).unwrap();
    gateway.signal("HUP");
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count == 1.0).await;
    let mut stream = connect(gateway.address, "a.example", &new, &["http/1.1"]).await.unwrap();
    assert_eq!(ask(&mut stream, "a.example").await.text(), "hello");
    assert_eq!(ask(&mut kept, "a.example").await.text(), "hello", "connections that are there stay");
}

/// Without a signal too: who renews certificates need not know who uses them.
#[tokio::test]
async fn a_renewed_certificate_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let old = certify(folder.path(), "a", &["a.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(&config(&origin, "", &tls(&folder, &["a"]), ""));
    connect(gateway.address, "a.example", &old, &["http/1.1"]).await.unwrap();
    let new = certify(folder.path(), "a", &["a.example"]);
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count >= 1.0).await;
    let mut stream = connect(gateway.address, "a.example", &new, &["http/1.1"]).await.unwrap();
    assert_eq!(ask(&mut stream, "a.example").await.text(), "hello");
}

/// An origin that speaks TLS and answers everything with this; each connection has one request.
pub async fn secure_origin(folder: &Path, file: &str, body: &str) -> SocketAddr {
    let answer =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{file}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{file}.key"))).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                Reader::default().message(&mut stream, Kind::Request).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_renewed_authority_is_read_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "origin", &["origin.example"]);
    certify(folder.path(), "ca", &["origin.example"]);
    let address = secure_origin(folder.path(), "origin", "secure").await;
    let upstream = format!(
        "tls = {{ ca = \"{}\", server_name = \"origin.example\" }}",
        folder.path().join("ca.pem").display()
    );
    let config = Gateway::config(address, &upstream, "").replace("http://", "https://");
    let gateway = Gateway::start(&config);
    let answer = get(gateway.address, "/").await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("tls_error"), "{}", answer.text());

    std::fs::copy(folder.path().join("origin.pem"), folder.path().join("ca.pem")).unwrap();
    gateway.signal("HUP");
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count == 1.0).await;
    assert_eq!(get(gateway.address, "/").await.text(), "secure");
}
