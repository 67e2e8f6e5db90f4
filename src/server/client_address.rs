//! Who the client is when proxies stand in front of us: the rightmost address that no trusted proxy vouches
//! for.
//!
//! A client can write what it likes into `X-Forwarded-For`; each proxy appends whom it saw. So the list is
//! read from its right end, as long as the address there is one of `trusted_proxies`.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

use crate::http::{Scheme, fields};

/// The networks of trusted proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted(Vec<IpNet>);

impl Trusted {
    /// These networks.
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether an address is one of theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// More hops than this are not followed.
const HOPS_MAX: usize = 32;

/// The client behind the trusted proxy at `peer`.
pub fn behind(headers: &HeaderMap, peer: IpAddr, trusted: &Trusted) -> IpAddr {
    let hops = if headers.contains_key(&fields::X_FORWARDED_FOR) {
        list(headers, &fields::X_FORWARDED_FOR, parse)
    } else {
        list(headers, &FORWARDED, forwarded_for)
    };
    let mut client = peer;
    for hop in hops.into_iter().rev().take(HOPS_MAX) {
        let Some(address) = hop else { break };
        client = address;
        if !trusted.contains(address) {
            break;
        }
    }
    client
}

/// The scheme that the client of a trusted proxy used: what the origin is told too, and may answer by. A list
/// says nothing, for whose word is which of its members is not known.
pub fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let mut said = headers.get_all(&fields::X_FORWARDED_PROTO).iter();
    let scheme = match said.next()?.as_bytes() {
        said if said.eq_ignore_ascii_case(b"https") => Scheme::Https,
        said if said.eq_ignore_ascii_case(b"http") => Scheme::Http,
        _ => return None,
    };
    said.next().is_none().then_some(scheme)
}

fn list(
    headers: &HeaderMap,
    name: &http::HeaderName,
    parse: impl Fn(&str) -> Option<IpAddr>,
) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|element| parse(element.trim())).collect()
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239 §5.2).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let parameters = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = parameters.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    parse(value.trim().trim_matches('"'))
}

/// An address with or without port or brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = plain.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client() {
        let trusted = Trusted::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        for (name, value, client) in [
            ("x-forwarded-for", "1.1.1.1", "1.1.1.1"),
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.1.2.3", "1.1.1.1"),
            ("x-forwarded-for", "10.9.9.9, 10.1.2.3", "10.9.9.9"),
            ("x-forwarded-for", "6.6.6.6, junk, 10.1.2.3", "10.1.2.3"),
            ("x-forwarded-for", "junk", "10.0.0.1"),
            ("x-forwarded-for", "1.1.1.1:8080", "1.1.1.1"),
            ("x-forwarded-for", "[2001:db8::7]:443", "2001:db8::7"),
            ("x-forwarded-for", "::ffff:1.2.3.4", "1.2.3.4"),
            ("forwarded", "for=1.1.1.1;proto=https", "1.1.1.1"),
            ("forwarded", "for=6.6.6.6, For=\"[2001:db8::1]:80\";by=_x", "2001:db8::1"),
            ("forwarded", "by=1.1.1.1", "10.0.0.1"),
            ("accept", "*/*", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::HeaderName::from_static(name), value.parse().unwrap());
            let found = behind(&headers, "10.0.0.1".parse().unwrap(), &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{name}: {value}");
        }
    }

    #[test]
    fn the_scheme_is_one_word() {
        for (values, scheme) in [
            (&["https"][..], Some(Scheme::Https)),
            (&["HTTP"], Some(Scheme::Http)),
            (&["https, http"], None),
            (&["https", "http"], None),
            (&["wss"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&fields::X_FORWARDED_PROTO, value.parse().unwrap());
            }
            assert_eq!(super::scheme(&headers), scheme, "{values:?}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let trusted = Trusted::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.append(&fields::X_FORWARDED_FOR, "6.6.6.6".parse().unwrap());
        headers.append(&fields::X_FORWARDED_FOR, "2.2.2.2, 10.0.0.9".parse().unwrap());
        assert_eq!(
            behind(&headers, "10.0.0.1".parse().unwrap(), &trusted),
            "2.2.2.2".parse::<IpAddr>().unwrap()
        );
    }
}
