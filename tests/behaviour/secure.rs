//! What TLS says about a request: whose certificate, which host, and whether it came that way at all.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::lifecycle::config;
use super::tls::{ask, certify, connect, provider, tls};
use crate::support::message::{Kind, Message, Reader};
use crate::support::{Client, Gateway, H2, Origin, Reply, within};

/// Somebody who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Leaves its own certificate as `NAME.pem` in the folder.
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key) }
    }

    fn sign(&self, subject: &str, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity(certificate.der().clone(), key.serialize_der())
    }
}

struct Identity(CertificateDer<'static>, Vec<u8>);

/// How a client shakes hands.
fn client(
    trusted: &CertificateDer<'static>,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(Identity(certificate, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
            builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
        }
    })
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

async fn shake(
    address: SocketAddr,
    name: &str,
    client: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("a handshake", TlsConnector::from(client.clone()).connect(name, stream)).await
}

/// The answer to a request with these fields; `None` where there is no connection. In TLS 1.3 a client only
/// learns at its first read that its certificate is not wanted.
async fn try_ask(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    host: &str,
    fields: &str,
) -> Option<Message> {
    let mut stream = shake(address, "a.example", client).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut reader = Reader::default();
    let message = reader.message(&mut stream, Kind::Response);
    within("a response", message).await.filter(|message| message.status() != 0)
}

#[tokio::test]
async fn clients_show_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let server = certify(folder.path(), "a", &["a.example"]);
    let ours = Authority::new(folder.path(), "ours").sign("alice", &["alice.example"]);
    let others = Authority::new(folder.path(), "others").sign("alice", &[]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let ca = folder.path().join("ours.pem");
    let forged = "x-client-cert-subject: CN=root\r\nx-client-cert-san: DNS:root\r\n\
                  X_Client_Cert_Subject: CN=root\r\nclient-cert: :AAAA:\r\n";
    for (auth, without) in [("required", false), ("optional", true)] {
        let listener =
            format!("client_ca = \"{}\"\nclient_auth = \"{auth}\"\n{}", ca.display(), tls(&folder, &["a"]));
        let gateway = Gateway::start(&config(&origin, "", &listener, ""));
        for version in BOTH {
            let with = |identity| client(&server, identity, &[version]);
            let answer = try_ask(gateway.address, &with(Some(&ours)), "a.example", forged).await.unwrap();
            assert_eq!(answer.text(), "hello", "{auth}");
            let asked = origin.asked().pop().unwrap().request;
            assert_eq!(asked.all("x-client-cert-subject"), ["CN=alice"]);
            assert_eq!(asked.all("x-client-cert-san"), ["DNS:alice.example"]);
            assert_eq!((asked.field("x_client_cert_subject"), asked.field("client-cert")), (None, None));

            let answer = try_ask(gateway.address, &with(None), "a.example", forged).await;
            assert_eq!(answer.is_some(), without, "{auth}");
            if without {
                let asked = origin.asked().pop().unwrap().request;
                assert_eq!(asked.field("x-client-cert-subject"), None);
                assert_eq!(asked.field("x-client-cert-san"), None);
            }
            let answer = try_ask(gateway.address, &with(Some(&others)), "a.example", "").await;
            assert!(answer.is_none(), "{auth}: another authority's");
        }
        // Nothing is resumed: what was good once may not be any more.
        let same = client(&server, Some(&ours), BOTH);
        for _ in 0..2 {
            let mut stream = shake(gateway.address, "a.example", &same).await.unwrap();
            ask(&mut stream, "a.example").await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
        assert!(gateway.metrics().await.sum("forebay_tls_failures_total", &[]) >= 2.0);
    }
}

/// Routes and limits can go by a client's certificate, and origins can have it whole (RFC 9440).
#[tokio::test]
async fn rules_go_by_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let server = certify(folder.path(), "a", &["a.example"]);
    let authority = Authority::new(folder.path(), "ours");
    let [alice, bob] = ["alice", "bob"].map(|name| authority.sign(name, &[&format!("{name}.example")]));
    let origin = Origin::always(Reply::new(200, &[("cache-control", "no-store")], "hello")).await;
    let listener = format!(
        "client_ca = \"{}\"\nclient_cert_header = true\n{}",
        folder.path().join("ours.pem").display(),
        tls(&folder, &["a"])
    );
    let routes = "[[route.rate_limit]]\nname = \"each\"\nkey = \"header:x-client-cert-san\"\nrate = \"2/h\"\n\
                  [[route]]\nname = \"bob\"\npriority = 1\n\
                  match = { path = \"/{*rest}\", header = { x-client-cert-subject = \"CN=bob\" } }\n\
                  respond = { status = 403, body = \"not bob\" }";
    let gateway = Gateway::start(&config(&origin, "", &listener, routes));
    let forged = "x-client-cert-subject: CN=bob\r\nx-client-cert-san: DNS:x\r\nclient-cert: :AAAA:\r\n";
    for (identity, status) in [(&alice, 200), (&bob, 403), (&alice, 200), (&alice, 429), (&bob, 403)] {
        let client = client(&server, Some(identity), BOTH);
        let answer = try_ask(gateway.address, &client, "a.example", forged).await.unwrap();
        assert_eq!(answer.status(), status, "{}", answer.text());
    }
    let told = origin.asked()[0].request.all("client-cert").join(" ");
    assert!(told.starts_with(":MII") && told.ends_with(':'), "{told}");
    // As many as it takes: four characters for three bytes.
    assert_eq!(told.len(), 2 + alice.0.len().div_ceil(3) * 4);
    assert_eq!(origin.asked().len(), 2);
}

#[test]
fn an_authority_that_cannot_be_read_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "a", &["a.example"]);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nclient_ca = \"{}\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        at("gone.pem"),
        at("a.pem"),
        at("a.key")
    );
    let file = folder.path().join("forebay.toml");
    std::fs::write(&file, listener + "[[route]]\nname = \"a\"\nrespond = { status = 200 }\n").unwrap();
    let out = crate::support::gateway::program().arg("check").arg("-c").arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(2), "{told}");
    assert!(told.contains("gone.pem") && told.contains("client_ca"), "{told}");
}

/// A client that has been here need not begin anew after a reload (RFC 8446 §2.2).
#[tokio::test]
async fn session_tickets_outlive_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let server = certify(folder.path(), "a", &["a.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(&config(&origin, "", &tls(&folder, &["a"]), ""));
    for version in BOTH {
        let client = client(&server, None, &[version]);
        let mut kinds = Vec::new();
        for round in 0..3 {
            let mut stream = shake(gateway.address, "a.example", &client).await.unwrap();
            assert_eq!(ask(&mut stream, "a.example").await.text(), "hello");
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            if round == 1 {
                let labels = [("result", "applied")];
                let before = gateway.metrics().await.sum("forebay_reloads_total", &labels);
                gateway.signal("HUP");
                gateway.wait_for("forebay_reloads_total", &labels, |now| now == before + 1.0).await;
            }
        }
        assert_eq!(
            kinds,
            [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed],
            "{version:?}"
        );
    }
}

/// RFC 8996: a client that knows nothing newer than TLS 1.1 is told so, by an alert.
#[tokio::test]
async fn older_versions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "a", &["a.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(&config(&origin, "", &tls(&folder, &["a"]), ""));
    for minor in [0, 1, 2] {
        // ClientHello (RFC 4346 §7.4.1.2): version, random, no session, one suite, no compression.
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
        let length = u8::try_from(hello.len()).unwrap();
        let record = [&[22, 3, minor, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
        let mut client = Client::connect(gateway.address).await;
        client.write(record).await;
        let answer = client.rest().await;
        // A fatal alert: `protocol_version`, or `handshake_failure` (RFC 8446 §6.2).
        assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 70 | 40]), "{minor}: {answer:?}");
    }
}

/// RFC 9110 §7.4: a connection is for the hosts of the certificate that was shown on it.
#[tokio::test]
async fn another_host_than_the_certificate_is_for_is_misdirected() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path(), "first", &["a.example", "b.example", "*.c.example"]);
    certify(folder.path(), "second", &["d.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let gateway = Gateway::start(&config(&origin, "", &tls(&folder, &["first", "second"]), ""));
    let client = client(&first, None, BOTH);
    for (host, status) in [
        ("a.example", 200),
        ("A.EXAMPLE.:443", 200),
        ("a.example:8443", 200),
        ("b.example", 200),
        ("x.c.example", 200),
        ("c.example", 421),
        ("x.y.c.example", 421),
        ("d.example", 421),
        ("e.example", 421),
        ("127.0.0.1", 421),
        ("[::1]:443", 421),
    ] {
        let answer = try_ask(gateway.address, &client, host, "").await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
        if status == 421 {
            assert!(answer.text().contains("misdirected"), "{answer:?}");
        }
    }
    // On HTTP/2, where connections are shared among hosts (RFC 9113 §9.1.2), others go on.
    let stream = connect(gateway.address, "a.example", &first, &["h2"]).await.unwrap();
    let mut h2 = H2::over(stream).await;
    for (url, status) in
        [("https://a.example/", 200), ("https://d.example/", 421), ("https://b.example/", 200)]
    {
        assert_eq!(h2.get(url).await.status, status, "{url}");
    }
}

#[tokio::test]
async fn clear_text_is_sent_to_https() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let listener = "redirect_to_https = true\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let gateway = Gateway::start(&config(&origin, "", listener, ""));
    let mut client = Client::connect(gateway.address).await;
    for (request, status, location) in [
        ("GET /x/../y?q=1 HTTP/1.1\r\nhost: A.example\r\n\r\n", 308, Some("https://a.example/y?q=1")),
        ("GET / HTTP/1.1\r\nhost: a.example:8080\r\n\r\n", 308, Some("https://a.example/")),
        ("POST /z HTTP/1.1\r\nhost: [::1]:80\r\ncontent-length: 0\r\n\r\n", 308, Some("https://[::1]/z")),
        ("GET http://b.example HTTP/1.1\r\nhost: a\r\n\r\n", 308, Some("https://b.example/")),
        ("GET / HTTP/1.1\r\nhost: a.example\r\nx-forwarded-proto: https\r\n\r\n", 200, None),
        ("OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n", 204, None),
        ("GET / HTTP/1.0\r\n\r\n", 400, None),
    ] {
        client.write(request).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("location")), (status, location), "{request}");
    }
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn browsers_are_told_to_come_by_https() {
    let folder = tempfile::tempdir().unwrap();
    let server = certify(folder.path(), "a", &["a.example"]);
    let origin = Origin::start(|request, _| match request.target() {
        "/own" => {
            Reply::raw("HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=1\r\ncontent-length: 0\r\n\r\n")
        }
        _ => Reply::ok("hello"),
    })
    .await;
    let hsts = "hsts = { max_age = \"365d\", include_subdomains = true }\n";
    let clear = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{hsts}");
    let secure = format!("{hsts}{}", tls(&folder, &["a"]));
    let gateway = Gateway::start(&(config(&origin, "", &secure, "") + &clear));
    let client = client(&server, None, BOTH);
    let told = Some("max-age=31536000; includeSubDomains");
    let answer = try_ask(gateway.address, &client, "a.example", "").await.unwrap();
    assert_eq!(answer.field("strict-transport-security"), told);
    // Whatever the answer is.
    let answer = try_ask(gateway.address, &client, "a.example", "expect: x\r\n").await.unwrap();
    assert_eq!((answer.status(), answer.field("strict-transport-security")), (417, told));
    let mut stream = shake(gateway.address, "a.example", &client).await.unwrap();
    stream.write_all(b"GET /own HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
    let answer = Reader::default().message(&mut stream, Kind::Response).await.unwrap();
    assert_eq!(answer.all("strict-transport-security"), ["max-age=1"]);
    // RFC 6797 §7.2: not in clear text.
    let answer = crate::support::get(gateway.addresses[1], "/").await;
    assert_eq!((answer.status(), answer.field("strict-transport-security")), (200, None));
}

/// A PROXY header comes before the handshake, and says whose requests those in it are.
#[tokio::test]
async fn a_proxy_header_comes_before_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let server = certify(folder.path(), "a", &["a.example"]);
    let origin = Origin::always(Reply::ok("hello")).await;
    let listener =
        format!("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n{}", tls(&folder, &["a"]));
    let gateway = Gateway::start(&config(&origin, "", &listener, ""));
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n").await.unwrap();
    let name = ServerName::try_from("a.example").unwrap();
    let connector = TlsConnector::from(client(&server, None, BOTH));
    let mut stream = within("a handshake", connector.connect(name, stream)).await.unwrap();
    assert_eq!(ask(&mut stream, "a.example").await.text(), "hello");
    assert_eq!(origin.asked()[0].request.field("x-forwarded-for"), Some("192.0.2.7"));
}
