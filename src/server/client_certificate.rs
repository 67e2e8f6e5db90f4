//! A client's certificate, as far as requests can be told by it: its subject and its names.
//!
//! The certificate has been verified by then. Requests carry what it says as `X-Client-Cert-Subject` and
//! `X-Client-Cert-San`, for limits, cache keys and the origin; what a client sends under these names is
//! removed. A listener may tell all of it, too: `Client-Cert` (RFC 9440).

use http::HeaderValue;
use rustls_pki_types::CertificateDer;

use crate::http::{ClientCertificate, base64};

/// A longer subject or list of names is not told: nobody should have to accept such a field.
const TOLD_MAX: usize = 4096;

/// How much of the certificate itself: its text is a third longer, and beside it must be room for other
/// fields within the 16 KiB that many servers take.
const WHOLE_MAX: usize = 8192;

/// Tags of ASN.1 (X.690 §8).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;

/// What a verified certificate says of its client, with all of it if `whole`; `None` where it cannot be read.
pub fn read(certificate: &CertificateDer<'_>, whole: bool) -> Option<ClientCertificate> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let names = parsed.valid_dns_names().map(|name| format!("DNS:{name}"));
    // No URI has a blank (RFC 3986 §2): one that had could pretend to be two names.
    let uris = parsed.valid_uri_names().filter(|uri| uri.bytes().all(|byte| byte.is_ascii_graphic()));
    let uris = uris.map(|uri| format!("URI:{uri}"));
    let names: Vec<String> = names.chain(uris).collect();
    let told = |text: String| {
        (!text.is_empty() && text.len() <= TOLD_MAX).then(|| HeaderValue::try_from(text).ok()).flatten()
    };
    let whole = whole && certificate.len() <= WHOLE_MAX;
    let whole = whole.then(|| HeaderValue::try_from(format!(":{}:", base64::encode(certificate))).ok());
    Some(ClientCertificate {
        subject: told(subject(parsed.subject())?),
        names: told(names.join(", ")),
        whole: whole.flatten(),
    })
}

/// A distinguished name as a text (RFC 4514), from what is inside its DER.
fn subject(mut der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (mut set, rest) = expect(SET, der)?;
        der = rest;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let (attribute, more) = expect(SEQUENCE, set)?;
            set = more;
            let (id, value) = expect(OBJECT_ID, attribute)?;
            let (tag, value, _) = element(value)?;
            attributes.push(text(id, tag, value));
        }
        parts.push(attributes.join("+"));
    }
    // The last one first (RFC 4514 §2.1).
    parts.reverse();
    Some(parts.join(","))
}

/// `CN=a`, or with the number of what has no name, `1.2.3=#0c0161` (RFC 4514 §2.3, §2.4).
fn text(id: &[u8], tag: u8, value: &[u8]) -> String {
    let name = match id {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        _ => return format!("{}=#{}", dotted(id), hex(&[&[tag], &*length(value.len()), value].concat())),
    };
    match tag {
        // UTF8String, PrintableString, IA5String.
        0x0c | 0x13 | 0x16 => format!("{name}={}", escaped(value)),
        _ => format!("{name}=#{}", hex(&[&[tag], &*length(value.len()), value].concat())),
    }
}

/// What may stand for itself does; all else is `\` and two hexadecimal digits, so that it can be sent.
fn escaped(value: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in value.iter().enumerate() {
        let first_or_last = at == 0 || at + 1 == value.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => text.extend(['\\', *byte as char]),
            b' ' if first_or_last => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(*byte as char),
            _ => {
                text.push('\\');
                text.push_str(&hex(&[*byte]));
            }
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An object identifier with dots (X.690 §8.19).
fn dotted(id: &[u8]) -> String {
    let mut text = String::new();
    let mut number: u64 = 0;
    for byte in id {
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (number / 40).min(2);
            text = format!("{first}.{}", number - first * 40);
        } else {
            text.push_str(&format!(".{number}"));
        }
        number = 0;
    }
    text
}

/// A length in DER (X.690 §8.1.3).
fn length(length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => vec![short],
        Ok(long) => vec![0x81, long],
        Err(_) => {
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            vec![0x82, high, low]
        }
    }
}

/// The inside of the first element, which must have this tag, and what follows it.
fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, inside, rest)| (inside, rest))
}

/// The tag of the first element, its inside, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest
            .split_first_chunk::<2>()
            .map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((*tag, inside, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(subject: &[(DnType, &str)], names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_subject_is_told_as_rfc_4514_writes_it() {
        for (subject, told) in [
            (vec![(DnType::CommonName, "alice")], Some("CN=alice")),
            (
                vec![
                    (DnType::CountryName, "DE"),
                    (DnType::OrganizationName, "Acme, Inc."),
                    (DnType::OrganizationalUnitName, "R&D"),
                    (DnType::CommonName, "alice"),
                ],
                Some("CN=alice,OU=R&D,O=Acme\\, Inc.,C=DE"),
            ),
            (
                vec![(DnType::CommonName, " #a+b=\"c\"<d>;e\\ ")],
                Some("CN=\\ #a\\+b\\=\\\"c\\\"\\<d\\>\\;e\\\\\\ "),
            ),
            (vec![(DnType::CommonName, "#a")], Some("CN=\\#a")),
            (vec![(DnType::CommonName, "J\u{f6}rg\r\nx: y")], Some("CN=J\\c3\\b6rg\\0d\\0ax: y")),
            (vec![(DnType::CustomDnType(vec![1, 2, 840, 5]), "a")], Some("1.2.840.5=#0c0161")),
            (vec![], None),
        ] {
            let read = read(&certificate(&subject, vec![]), false).unwrap();
            assert_eq!(read.subject.as_ref().map(|told| told.to_str().unwrap()), told);
            assert_eq!(read.names, None);
        }
    }

    #[test]
    fn names_are_told_by_kind() {
        let names = vec![
            SanType::DnsName(Ia5String::try_from("a.example").unwrap()),
            SanType::URI(Ia5String::try_from("spiffe://acme/orders").unwrap()),
            SanType::URI(Ia5String::try_from("spiffe://acme/a, DNS:root.example").unwrap()),
            SanType::DnsName(Ia5String::try_from("b.example").unwrap()),
        ];
        let read = read(&certificate(&[], names), false).unwrap();
        assert_eq!(read.names.unwrap(), "DNS:a.example, DNS:b.example, URI:spiffe://acme/orders");
        assert_eq!(read.whole, None);
    }

    /// RFC 9440 §2.2: a byte sequence (RFC 9651 §3.3.5) of the DER.
    #[test]
    fn all_of_it_is_told_where_that_is_asked_for() {
        let certificate = certificate(&[(DnType::CommonName, "alice")], vec![]);
        let told = read(&certificate, true).unwrap().whole.unwrap();
        let inside = told.as_bytes().strip_prefix(b":").and_then(|text| text.strip_suffix(b":")).unwrap();
        assert_eq!(base64::decode(inside).as_deref(), Some(&*certificate));
    }

    #[test]
    fn what_is_too_long_is_not_told() {
        let long = "x".repeat(TOLD_MAX);
        let read = read(&certificate(&[(DnType::CommonName, &long)], vec![]), true).unwrap();
        assert_eq!(read.subject, None);
        // It is its own issuer: the name is there twice.
        assert_eq!(read.whole, None);
    }

    #[test]
    fn broken_names_are_no_panic() {
        let whole = [0x31, 0x0c, 0x30, 0x0a, 6, 3, 0x55, 4, 3, 0x0c, 3, b'a', b'b', b'c'];
        assert_eq!(subject(&whole).as_deref(), Some("CN=abc"));
        for end in 1..whole.len() {
            assert_eq!(subject(&whole[..end]), None, "{end}");
        }
    }
}
