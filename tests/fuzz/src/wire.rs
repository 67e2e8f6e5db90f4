//! What comes before there is a request: PROXY headers, the framing of HTTP/1, certificates, tokens, and what
//! name servers say.

use std::sync::OnceLock;

use forebay::clock::Wall;
use forebay::layers::auth::jwt::{KeySet, TokenRules};
use forebay::server::client_certificate;
use forebay::server::framing::{Found, Framing};
use forebay::server::proxy_protocol::{self, HeaderError, Source, Step};
use forebay::upstream::dns::message::{self, Kind, Record, Reply};
use rustls_pki_types::CertificateDer;

/// What version 2 of the PROXY protocol begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads a PROXY header as a connection is read, never beyond its end.
fn read(data: &[u8]) -> Option<(Source, usize)> {
    let mut at = 0;
    loop {
        match proxy_protocol::parse(&data[..at]) {
            Ok(Step::Done(source)) => return Some((source, at)),
            Ok(Step::More(more)) => {
                assert!(more > 0);
                at += more;
                if at > data.len() {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}

/// PROXY headers of both versions: what is read is what either would say of it, and with a checksum (section
/// 2.2.3) no bit of an address can change unseen.
pub fn proxy(data: &[u8]) {
    let (bit, data) = data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest));
    let Some((source, length)) = read(data) else { return };
    let Source::Client { source: from, destination: to } = source else { return };
    assert_eq!(from.is_ipv4(), to.is_ipv4());
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let line = format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
    assert_eq!(read(line.as_bytes()), Some((source, line.len())));
    if !data.starts_with(SIGNATURE) {
        return;
    }
    // The same header with a checksum at its end.
    let mut summed = data[..length].to_vec();
    summed.extend([3, 0, 4, 0, 0, 0, 0]);
    let rest = u16::try_from(summed.len() - 16).expect("short");
    summed[14..16].copy_from_slice(&rest.to_be_bytes());
    let sum = crc32c(&summed).to_be_bytes();
    let at = summed.len() - 4;
    summed[at..].copy_from_slice(&sum);
    match proxy_protocol::parse(&summed) {
        Ok(Step::Done(found)) => assert_eq!(found, source),
        // Two of them, or too much of it.
        Err(HeaderError::Extensions | HeaderError::TooLong) => return,
        other => panic!("{other:?}"),
    }
    let addresses = if from.is_ipv4() { 12 } else { 36 };
    summed[16 + bit / 8 % addresses] ^= 1 << (bit % 8);
    assert_eq!(proxy_protocol::parse(&summed), Err(HeaderError::Checksum));
}

/// By a table, unlike the one that is tested.
fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: OnceLock<Vec<u32>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        (0..256).map(|byte| (0..8).fold(byte, step)).collect()
    });
    !bytes.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ table[((crc ^ u32::from(*byte)) & 255) as usize])
}

/// Where HTTP/1 requests end, and what is wrong with them: the same in however many pieces they come.
pub fn framing(data: &[u8]) {
    let (size, data) = data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest));
    let mut whole = Framing::default();
    let found = whole.read(data);
    let mut pieces = Framing::default();
    let (mut at, mut last) = (0, Found::Nothing);
    for piece in data.chunks(1 + size) {
        last = match pieces.read(piece) {
            Found::Nothing => Found::Nothing,
            Found::Handshake(good) => Found::Handshake(at + good),
            Found::Fault { at: good, instead, reason } => Found::Fault { at: at + good, instead, reason },
        };
        if last != Found::Nothing {
            break;
        }
        at += piece.len();
    }
    assert_eq!((last, pieces.heads()), (found, whole.heads()));
    if let Found::Handshake(good) | Found::Fault { at: good, .. } = found {
        assert!(good <= data.len());
    }
}

/// Certificates of clients: what is told of one can be sent in a field.
pub fn certificate(data: &[u8]) {
    let Some(told) = client_certificate::read(&CertificateDer::from(data), true) else { return };
    for value in [told.subject, told.names].into_iter().flatten() {
        assert!(value.to_str().is_ok_and(|text| !text.is_empty() && text.len() <= 4096), "{value:?}");
    }
}

/// Sets of keys and tokens, a line each: no token is good for keys that nobody has.
pub fn token(data: &[u8]) {
    let (set, token) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&b""[..], data),
    };
    let algorithms = ["RS256", "PS512", "ES256", "ES384", "EdDSA"];
    let rules = TokenRules {
        algorithms: algorithms.iter().filter_map(|name| name.parse().ok()).collect(),
        issuers: vec!["a".to_owned()],
        audiences: vec!["a".to_owned()],
        types: Vec::new(),
        skew: std::time::Duration::ZERO,
        consumer: "sub".to_owned(),
        fields: Vec::new(),
    };
    let keys = KeySet::parse(set).unwrap_or_default();
    assert!(rules.identify(token, &keys, Wall::from_secs(1_800_000_000)).is_err());
}

/// What a name server answers, as it is, and behind the head and the question that it must repeat: names are
/// those of hosts, and of what was asked for.
pub fn dns(data: &[u8]) {
    let Some(([which, high, low, count], rest)) = data.split_first_chunk() else { return };
    let kind = [Kind::A, Kind::Aaaa, Kind::Srv][usize::from(which % 3)];
    let asked = message::question(7, "_api._tcp.example", kind).expect("a name");
    let mut whole = asked.clone();
    (whole[2], whole[3], whole[7]) = (0x80 | *high, *low, *count);
    whole.extend_from_slice(rest);
    for message in [data, &whole] {
        let Ok(Reply::Records { records, .. }) = message::answer(message, &asked, kind) else { continue };
        for record in records {
            match (kind, record) {
                (Kind::A, Record::Address(address)) => assert!(address.is_ipv4()),
                (Kind::Aaaa, Record::Address(address)) => assert!(address.is_ipv6()),
                (Kind::Srv, Record::Service(target)) => {
                    let host = &*target.host;
                    assert!(!host.is_empty() && host.len() < 255 && !host.ends_with('.'), "{host:?}");
                    assert_eq!(host, host.to_ascii_lowercase());
                    assert!(message::question(1, host, Kind::A).is_some(), "{host:?}");
                    assert_ne!(target.port, 0);
                }
                (kind, record) => panic!("{kind:?} {record:?}"),
            }
        }
    }
}
