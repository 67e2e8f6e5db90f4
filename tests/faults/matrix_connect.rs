//! Faults before there is a connection: nobody listens, nobody answers, no such name, no trust. Each clears
//! up in the end, and so does what the gateway makes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::places::at_start;
use crate::support::message::{Kind, Message, Reader};
use crate::support::{Gateway, Origin, Reply, ask, get, serve};

/// No cache, and these settings of the retries.
fn route(retry: &str) -> String {
    format!("[route.cache]\nenabled = false\n[route.retry]\n{retry}")
}

fn assert_failed(answer: &Message, status: u16, reason: &str) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert!(answer.text().contains(&format!("\"reason\":\"{reason}\"")), "{answer:?}");
}

/// A port that is ours, on which nobody listens yet.
fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// RFC 9110 §15.6.3: 502 at once, whatever the method; and no longer than that is so.
#[tokio::test]
async fn nobody_listens() {
    let (socket, address) = nobody();
    let gateway = Gateway::start(&Gateway::config(address, "connect_timeout = \"1m\"", &route("")));
    let before = at_start(&gateway).await;
    let begun = Instant::now();
    for method in ["GET", "POST", "GET", "POST", "GET", "POST", "GET", "POST"] {
        let answer = ask(gateway.address, method, "/", &[]).await;
        // Once it is known that no endpoint is left, that is what is said.
        assert!([502, 503].contains(&answer.status()), "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let origin = Origin::on(socket.listen(16).unwrap(), |_, _| Reply::ok("back"));
    assert_eq!(get(gateway.address, "/").await.text(), "back", "the first one to come finds it");
    assert_eq!(origin.asked().len(), 1, "nobody else got through");
    drop(origin);
    before.is_back(&gateway).await;
}

/// An endpoint whose queue of connections is full: its kernel does not answer any more.
struct Full {
    address: SocketAddr,
    listener: tokio::net::TcpListener,
    _queued: Vec<TcpStream>,
}

impl Full {
    async fn new() -> Self {
        let (socket, address) = nobody();
        let listener = socket.listen(1).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queued.push(stream.unwrap());
            assert!(queued.len() < 64, "the queue never fills");
        }
        Self { address, listener, _queued: queued }
    }

    /// Goes on as an origin that answers everything the same.
    fn recover(self) -> Origin {
        Origin::on(self.listener, |_, _| Reply::ok("back"))
    }
}

/// RFC 9110 §15.6.5: 504 after `connect_timeout`; nothing was sent, so any method may try once more.
#[tokio::test]
async fn nobody_answers() {
    let full = Full::new().await;
    let upstream = "connect_timeout = \"400ms\"";
    let gateway = Gateway::start(&Gateway::config(full.address, upstream, &route("attempts = 1")));
    let before = at_start(&gateway).await;
    for method in ["GET", "POST"] {
        let begun = Instant::now();
        assert_failed(&ask(gateway.address, method, "/", &[]).await, 504, "connect_timeout");
        assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_upstream_connects_total", &[("result", "connect_timeout")]), 2.0);

    // Where there is another endpoint, clients wait and see nothing else of it.
    let good = Origin::always(Reply::ok("good")).await;
    let config = Gateway::config(full.address, &format!("{upstream}\nbalance = \"round_robin\""), &route(""));
    let one = format!("[\"http://{}\"]", full.address);
    let two = format!("[\"http://{}\", \"http://{}\"]", full.address, good.address);
    let pair = Gateway::start(&config.replace(&one, &two));
    for method in ["GET", "POST", "GET", "POST"] {
        assert_eq!(ask(pair.address, method, "/", &[]).await.text(), "good", "{method}");
    }
    assert_eq!(good.asked().len(), 4);
    drop(pair);

    let origin = full.recover();
    assert_eq!(get(gateway.address, "/").await.text(), "back");
    drop(origin);
    before.is_back(&gateway).await;
}

/// A name nobody knows is looked up by itself, not by requests; other endpoints are not held up by it.
#[tokio::test]
async fn a_name_does_not_resolve() {
    let good = Origin::always(Reply::ok("good")).await;
    // A resolver that does not answer is a name that does not resolve, before the connection's time is over.
    let config = Gateway::config(good.address, "connect_timeout = \"15s\"", &route("attempts = 1"));
    let one = format!("[\"http://{}\"]", good.address);
    let unknown = "\"http://no-such-name.invalid:80\"";
    let gateway = Gateway::start(&config.replace(&one, &format!("[{unknown}]")));
    for method in ["GET", "POST"] {
        assert_failed(&ask(gateway.address, method, "/", &[]).await, 502, "dns_error");
    }
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(gateway.address, "/").await.status(), 502);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "what is known is not asked for again");
    at_start(&gateway).await.is_back(&gateway).await;

    let pair = format!("[{unknown}, \"http://{}\"]", good.address);
    let gateway = Gateway::start(&config.replace(&one, &pair));
    for method in ["GET", "POST", "GET", "POST"] {
        assert_eq!(ask(gateway.address, method, "/", &[]).await.text(), "good");
    }
    assert_eq!(good.asked().len(), 4);
}

/// What the origin does with a connection that TLS is to be spoken on.
#[derive(Clone, Copy, Debug)]
enum Handshake {
    Reset,
    Close,
    Silence,
    ClearText,
    WrongName,
    Untrusted,
    Sound,
}

struct Secure {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    folder: tempfile::TempDir,
}

fn acceptor(names: &[&str], file: Option<&std::path::Path>) -> TlsAcceptor {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    if let Some(file) = file {
        let known = std::fs::read_to_string(file).unwrap_or_default();
        std::fs::write(file, known + &cert.pem()).unwrap();
    }
    let chain: Vec<CertificateDer<'static>> = vec![cert.der().clone()];
    let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Secure {
    /// The first `broken` connections go this way, all others are sound.
    async fn start(handshake: Handshake, broken: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let sound = acceptor(&["127.0.0.1"], Some(&file));
        let wrong = acceptor(&["other.example"], Some(&file));
        let untrusted = acceptor(&["127.0.0.1"], None);
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let address = serve(move |mut stream: TcpStream| {
            let before = count.fetch_add(1, Ordering::SeqCst);
            let handshake = if before < broken { handshake } else { Handshake::Sound };
            let acceptor = match handshake {
                Handshake::WrongName => wrong.clone(),
                Handshake::Untrusted => untrusted.clone(),
                _ => sound.clone(),
            };
            async move {
                match handshake {
                    Handshake::Close => return,
                    Handshake::Reset => return stream.set_zero_linger().unwrap(),
                    Handshake::Silence => return drop(stream.read_to_end(&mut Vec::new()).await),
                    Handshake::ClearText => {
                        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                        return drop(stream.read_to_end(&mut Vec::new()).await);
                    }
                    Handshake::WrongName | Handshake::Untrusted | Handshake::Sound => {}
                }
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut reader = Reader::default();
                while reader.message(&mut stream, Kind::Request).await.is_some() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { address, accepted, folder }
    }
}

/// RFC 9110 §4.3.4: who cannot be trusted is not asked, and not tried again; what the network did may be.
#[tokio::test]
async fn tls_fails() {
    for (handshake, status, reason, tried) in [
        (Handshake::Reset, 502, "connect_failed", 2),
        (Handshake::Close, 502, "connect_failed", 2),
        (Handshake::Silence, 504, "connect_timeout", 2),
        (Handshake::ClearText, 502, "tls_error", 1),
        (Handshake::WrongName, 502, "tls_error", 1),
        (Handshake::Untrusted, 502, "tls_error", 1),
    ] {
        let origin = Secure::start(handshake, 2 * tried).await;
        let ca = origin.folder.path().join("ca.pem");
        let upstream = format!("connect_timeout = \"1s\"\ntls = {{ ca = \"{}\" }}", ca.display());
        let config = Gateway::config(origin.address, &upstream, &route("attempts = 2"));
        let gateway = Gateway::start(&config.replace("\"http://", "\"https://"));
        let before = at_start(&gateway).await;
        for (count, method) in ["GET", "POST"].iter().enumerate() {
            assert_failed(&ask(gateway.address, method, "/", &[]).await, status, reason);
            assert_eq!(origin.accepted.load(Ordering::SeqCst), (count + 1) * tried, "{handshake:?}");
        }
        assert_eq!(get(gateway.address, "/").await.text(), "back", "{handshake:?}");
        before.is_back(&gateway).await;
    }
}
