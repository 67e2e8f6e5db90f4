//! The PROXY protocol, versions 1 and 2: how a proxy that only moves bytes says whose they are.
//!
//! The header comes before everything else, TLS included. [`parse`] says how many more bytes may be read
//! without reading beyond its end, so nothing has to be put back. What a header says is believed, so it is
//! only read from `trusted_proxies`, and then it must be there: whether a connection has one is never guessed
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>, section 2).
//!
//! ```
//! use forebay::server::proxy_protocol::{Source, Step, parse};
//! let Step::Done(Source::Client { source, .. }) = parse(b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\r\n")? else { panic!() };
//! assert_eq!(source.to_string(), "192.0.2.1:5000");
//! # Ok::<(), forebay::server::proxy_protocol::HeaderError>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// The shortest header of version 1, `PROXY UNKNOWN`, and the longest (section 2.1).
const LINE_MIN: usize = 15;
const LINE_MAX: usize = 107;

/// The fixed part of version 2, and the most that may follow: more than addresses and the TLVs of a client's
/// certificate take.
const FIXED: usize = 16;
const REST_MAX: usize = 4096;

/// The TLV that has a checksum of the whole header (section 2.2.3).
const CHECKSUM: u8 = 0x03;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client's.
    Client {
        /// Its address.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// The proxy's own, or of somebody it cannot name (`LOCAL`, `UNKNOWN`, `UNSPEC`).
    Proxy,
}

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At least so many bytes are missing.
    More(usize),
    /// It is complete, and so are the bytes.
    Done(Source),
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They begin neither version.
    #[error("no PROXY header")]
    Missing,
    /// A line of version 1 that is none.
    #[error("a bad line")]
    Line,
    /// A version, command, family or length that version 2 does not have.
    #[error("a bad binary header")]
    Binary,
    /// More than [`REST_MAX`] bytes follow.
    #[error("a header too long")]
    TooLong,
    /// What follows the addresses is no sequence of TLVs.
    #[error("bad extensions")]
    Extensions,
    /// It is not what the proxy wrote.
    #[error("a wrong checksum")]
    Checksum,
}

/// Reads a header as far as it has come.
///
/// # Errors
/// When it can no longer become one.
pub fn parse(bytes: &[u8]) -> Result<Step, HeaderError> {
    let is_binary = begins(bytes, SIGNATURE);
    if !is_binary && !begins(bytes, WORD) {
        return Err(HeaderError::Missing);
    }
    if bytes.len() < LINE_MIN {
        // Both versions have as many.
        return Ok(Step::More(LINE_MIN - bytes.len()));
    }
    if is_binary {
        return binary(bytes);
    }
    match bytes.strip_suffix(b"\r\n") {
        _ if bytes.len() > LINE_MAX => Err(HeaderError::Line),
        Some(line) => self::line(line).map(Step::Done),
        None if bytes.contains(&b'\n') || bytes.len() == LINE_MAX => Err(HeaderError::Line),
        None => Ok(Step::More(1)),
    }
}

/// Whether as much of `expected` is there as can be.
fn begins(bytes: &[u8], expected: &[u8]) -> bool {
    let length = bytes.len().min(expected.len());
    bytes.get(..length) == expected.get(..length)
}

/// A line of version 1, without its end (section 2.1).
fn line(line: &[u8]) -> Result<Source, HeaderError> {
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Source::Proxy);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family? {
            "TCP4" => word.parse().ok().map(IpAddr::V4),
            "TCP6" => word.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address(), address());
    let mut port = || words.next().and_then(port);
    let (source_port, destination_port) = (port(), port());
    match (source, destination, source_port, destination_port, words.next()) {
        (Some(source), Some(destination), Some(source_port), Some(destination_port), None) => {
            Ok(Source::Client {
                source: SocketAddr::new(source, source_port),
                destination: SocketAddr::new(destination, destination_port),
            })
        }
        _ => Err(HeaderError::Line),
    }
}

/// Digits alone, the first of several not zero.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word.len() == 1 || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

/// Version 2 (section 2.2).
fn binary(bytes: &[u8]) -> Result<Step, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Step::More(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_MAX {
        return Err(HeaderError::TooLong);
    }
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Binary),
    };
    if rest.len() < length {
        return Ok(Step::More(length - rest.len()));
    }
    if rest.len() > length {
        return Err(HeaderError::Binary);
    }
    if local {
        return Ok(Step::Done(Source::Proxy));
    }
    let (source, extensions) = match family {
        0x11 => four(rest),
        0x21 => six(rest),
        // A Unix socket's two paths of 108 bytes.
        0x31 | 0x32 => rest.get(216..).map(|extensions| (Source::Proxy, extensions)),
        0x00 => return Ok(Step::Done(Source::Proxy)),
        // A datagram did not come on this connection.
        _ => None,
    }
    .ok_or(HeaderError::Binary)?;
    check_extensions(bytes, extensions)?;
    Ok(Step::Done(source))
}

fn four(rest: &[u8]) -> Option<(Source, &[u8])> {
    let (source, rest) = rest.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    ends(Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), rest)
}

fn six(rest: &[u8]) -> Option<(Source, &[u8])> {
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    ends(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), rest)
}

/// Reads the two ports.
fn ends(source: IpAddr, destination: IpAddr, rest: &[u8]) -> Option<(Source, &[u8])> {
    let ([a, b, c, d], rest) = rest.split_first_chunk::<4>()?;
    let client = Source::Client {
        source: SocketAddr::new(source, u16::from_be_bytes([*a, *b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([*c, *d])),
    };
    Some((client, rest))
}

/// TLVs are skipped, but they must be there as a whole (section 2.2.1), and a checksum among them must be
/// right.
fn check_extensions(header: &[u8], mut rest: &[u8]) -> Result<(), HeaderError> {
    let mut checksum = None;
    while !rest.is_empty() {
        let ([kind, high, low], after) = rest.split_first_chunk::<3>().ok_or(HeaderError::Extensions)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(length).ok_or(HeaderError::Extensions)?;
        if *kind == CHECKSUM {
            let value: [u8; 4] = value.try_into().map_err(|_| HeaderError::Extensions)?;
            let at = header.len() - next.len() - value.len();
            if checksum.replace((at, u32::from_be_bytes(value))).is_some() {
                return Err(HeaderError::Extensions);
            }
        }
        rest = next;
    }
    match checksum {
        Some((at, said)) if crc32c(header, at) != said => Err(HeaderError::Checksum),
        _ => Ok(()),
    }
}

/// The CRC32c (RFC 3720 appendix B.4) of a header whose checksum, four bytes at `hole`, counts as zero. Bit
/// by bit: a header has some fifty bytes, once a connection.
fn crc32c(header: &[u8], hole: usize) -> u32 {
    let bytes = header.iter().enumerate().map(|(at, byte)| match at {
        at if (hole..hole + 4).contains(&at) => 0,
        _ => u32::from(*byte),
    });
    let bit = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.fold(!0, |crc: u32, byte| (0..8).fold(crc ^ byte, |crc, _| bit(crc)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(source: &str, destination: &str) -> Result<Source, HeaderError> {
        Ok(Source::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    /// Reads as a connection is read, never more than is asked for; the rest must be left.
    fn read(bytes: &[u8]) -> Result<(Source, usize), HeaderError> {
        let mut at = 0;
        loop {
            match parse(&bytes[..at])? {
                Step::Done(source) => return Ok((source, at)),
                Step::More(more) => {
                    assert!(more > 0);
                    at += more;
                    if at > bytes.len() {
                        return Err(HeaderError::Missing);
                    }
                }
            }
        }
    }

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    /// RFC 3720 appendix B.4, and what everybody checks a CRC by.
    #[test]
    fn checksums() {
        let none = usize::MAX - 4;
        assert_eq!(crc32c(b"123456789", none), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32], none), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32], none), 0x62a8_ab43);
        assert_eq!(crc32c(b"12345\xff\xff\xff\xff", 5), crc32c(b"12345\0\0\0\0", none));
    }

    #[test]
    fn lines() {
        for (line, source) in [
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 65535", client("1.2.3.4:9", "5.6.7.8:65535")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 0 80",
                client("255.255.255.255:0", "255.255.255.255:80"),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 9 80", client("[2001:db8::1]:9", "[::1]:80")),
            ("PROXY UNKNOWN", Ok(Source::Proxy)),
            ("PROXY UNKNOWN ffff:f...f ffff 65535 65535", Ok(Source::Proxy)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9", Err(HeaderError::Line)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 80 ", Err(HeaderError::Line)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 80 x", Err(HeaderError::Line)),
            ("PROXY TCP4  1.2.3.4 5.6.7.8 9 80", Err(HeaderError::Line)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 65536", Err(HeaderError::Line)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +9 80", Err(HeaderError::Line)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 09 80", Err(HeaderError::Line)),
            ("PROXY TCP4 1.2.3.04 5.6.7.8 9 80", Err(HeaderError::Line)),
            ("PROXY TCP4 ::1 ::1 9 80", Err(HeaderError::Line)),
            ("PROXY TCP6 1.2.3.4 5.6.7.8 9 80", Err(HeaderError::Line)),
            ("PROXY TCP5 1.2.3.4 5.6.7.8 9 80", Err(HeaderError::Line)),
            ("PROXY tcp4 1.2.3.4 5.6.7.8 9 80", Err(HeaderError::Line)),
            ("PROXY TCP4\n1.2.3.4 5.6.7.8 9 80", Err(HeaderError::Line)),
            ("proxy TCP4 1.2.3.4 5.6.7.8 9 80", Err(HeaderError::Missing)),
            ("PROXYTCP4 1.2.3.4 5.6.7.8 9 80", Err(HeaderError::Missing)),
            ("GET / HTTP/1.1", Err(HeaderError::Missing)),
        ] {
            let bytes = format!("{line}\r\nGET / HTTP/1.1\r\n");
            let expected = source.map(|source| (source, line.len() + 2));
            assert_eq!(read(bytes.as_bytes()), expected, "{line}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX));
        assert_eq!(read(long.as_bytes()), Err(HeaderError::Line));
    }

    #[test]
    fn binary_headers() {
        const SUM: u32 = 0x2f72_ddd8;
        let four = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0, 80];
        let six = [[0u8; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 9, 0, 80]].concat();
        let tlv = [&four[..], &[5, 0, 2, 1, 1, 4, 0, 0]].concat();
        // As any CRC32c of these bytes says, not only ours.
        let sum = |sum: u32, more: &[u8]| [&four[..], &[3, 0, 4], &sum.to_be_bytes(), more].concat();
        for (name, bytes, source) in [
            ("IPv4", header(0x21, 0x11, &four), client("1.2.3.4:9", "5.6.7.8:80")),
            ("IPv6", header(0x21, 0x21, &six), client("[::1]:9", "[::2]:80")),
            ("with TLVs", header(0x21, 0x11, &tlv), client("1.2.3.4:9", "5.6.7.8:80")),
            ("a checksum", header(0x21, 0x11, &sum(SUM, &[])), client("1.2.3.4:9", "5.6.7.8:80")),
            ("another one", header(0x21, 0x11, &sum(SUM ^ 1, &[])), Err(HeaderError::Checksum)),
            ("one of other bytes", header(0x21, 0x11, &sum(SUM, &[4, 0, 0])), Err(HeaderError::Checksum)),
            (
                "two of them",
                header(0x21, 0x11, &sum(SUM, &[3, 0, 4, 0, 0, 0, 0])),
                Err(HeaderError::Extensions),
            ),
            (
                "a short one",
                header(0x21, 0x11, &[&four[..], &[3, 0, 1, 0]].concat()),
                Err(HeaderError::Extensions),
            ),
            ("LOCAL", header(0x20, 0, &[]), Ok(Source::Proxy)),
            ("LOCAL, with something", header(0x20, 0x11, &[1; 100]), Ok(Source::Proxy)),
            ("UNSPEC", header(0x21, 0, &[1; 7]), Ok(Source::Proxy)),
            ("a Unix socket", header(0x21, 0x31, &[0; 216]), Ok(Source::Proxy)),
            ("half a Unix socket", header(0x21, 0x31, &[0; 215]), Err(HeaderError::Binary)),
            ("a datagram", header(0x21, 0x12, &four), Err(HeaderError::Binary)),
            ("an unknown family", header(0x21, 0x41, &four), Err(HeaderError::Binary)),
            ("an unknown command", header(0x22, 0x11, &four), Err(HeaderError::Binary)),
            ("another version", header(0x31, 0x11, &four), Err(HeaderError::Binary)),
            ("too short", header(0x21, 0x11, &four[..11]), Err(HeaderError::Binary)),
            ("too short for IPv6", header(0x21, 0x21, &four), Err(HeaderError::Binary)),
            ("half a TLV", header(0x21, 0x11, &tlv[..18]), Err(HeaderError::Extensions)),
            ("half a TLV's head", header(0x21, 0x11, &tlv[..14]), Err(HeaderError::Extensions)),
            ("too long", header(0x21, 0x11, &[0; REST_MAX + 1]), Err(HeaderError::TooLong)),
        ] {
            let length = bytes.len();
            let followed = [bytes, b"GET / HTTP/1.1\r\n".to_vec()].concat();
            assert_eq!(read(&followed), source.map(|source| (source, length)), "{name}");
        }
    }

    proptest! {
        /// Whatever comes, it is read without a panic and never beyond what is asked for.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3u8) {
            let begin: &[u8] = match kind { 0 => SIGNATURE, 1 => b"PROXY TCP4 ", _ => b"" };
            let _ = read(&[begin, &bytes].concat());
        }

        /// What a proxy writes is what is read, in both versions.
        #[test]
        fn addresses(
            ends: ([u8; 16], [u8; 16]),
            ports: (u16, u16),
            is_four: bool,
            tlv in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let address = |bytes: [u8; 16]| -> IpAddr {
                let [a, b, c, d, ..] = bytes;
                if is_four { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(bytes).into() }
            };
            let octets = |address: IpAddr| match address {
                IpAddr::V4(four) => four.octets().to_vec(),
                IpAddr::V6(six) => six.octets().to_vec(),
            };
            let (from, to) = (address(ends.0), address(ends.1));
            let expected = Source::Client {
                source: SocketAddr::new(from, ports.0),
                destination: SocketAddr::new(to, ports.1),
            };
            let (word, family) = if is_four { ("TCP4", 0x11) } else { ("TCP6", 0x21) };
            let line = format!("PROXY {word} {from} {to} {} {}\r\n", ports.0, ports.1);
            prop_assert_eq!(read(line.as_bytes()), Ok((expected, line.len())));
            let mut rest = [octets(from), octets(to)].concat();
            rest.extend(ports.0.to_be_bytes());
            rest.extend(ports.1.to_be_bytes());
            rest.push(0xea);
            rest.extend(u16::try_from(tlv.len()).unwrap().to_be_bytes());
            rest.extend(tlv);
            let bytes = header(0x21, family, &rest);
            prop_assert_eq!(read(&bytes), Ok((expected, bytes.len())));
        }
    }
}
