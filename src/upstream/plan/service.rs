//! Validated services: endpoints that are found by name (RFC 2782), and the name servers that are asked.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

use crate::http::Scheme;
use crate::report::{Path, Report};
use crate::upstream::config::DnsConfig;
use crate::upstream::dns;

use super::{Host, endpoint_url};

/// What a URL of a service begins with, before its scheme.
pub const PREFIX: &str = "srv+";

/// A service whose endpoints are found by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePlan {
    /// What its endpoints speak.
    pub scheme: Scheme,
    /// The name of its records, in lower case, like `_orders._tcp.example.com`.
    pub name: Box<str>,
}

/// Parses what follows `srv+`: `scheme://name`; the error is a message and a hint.
pub(super) fn service_url(url: &str) -> Result<ServicePlan, (String, String)> {
    let endpoint = endpoint_url(url)?;
    let wrong = |what: &str, hint: &str| Err((format!("`{PREFIX}{url}` {what}"), hint.to_owned()));
    if url.parse::<Uri>().is_ok_and(|uri| uri.port_u16().is_some()) {
        return wrong("has a port", "the ports of a service are in its records");
    }
    match endpoint.host {
        Host::Name(name) => Ok(ServicePlan { scheme: endpoint.scheme, name }),
        Host::Ip(_) => wrong("has an address", "a service has a name, like _orders._tcp.example.com"),
    }
}

/// The name servers to ask: addresses, with a port where it is another one than 53.
pub fn name_servers(config: &DnsConfig, at: &Path, report: &mut Report) -> Vec<SocketAddr> {
    let server = |text: &str| {
        let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, dns::PORT));
        address.ok().or_else(|| text.parse().ok())
    };
    let mut servers = Vec::new();
    for (index, text) in config.servers.iter().enumerate() {
        match server(text) {
            Some(address) => servers.push(address),
            None => {
                let hint = "write addresses, like \"10.0.0.53\" or \"10.0.0.53:8600\"";
                let at = at.key("servers").index(index);
                report.error_with_hint(&at, format!("`{text}` is no address of a name server"), hint);
            }
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_scheme_and_a_name() {
        for (url, expected) in [
            ("http://_Api._tcp.example", Ok((Scheme::Http, "_api._tcp.example"))),
            ("https://api.service.consul/", Ok((Scheme::Https, "api.service.consul"))),
            ("http://_api._tcp.example:80", Err("has a port")),
            ("http://10.0.0.1", Err("has an address")),
            ("http://[::1]", Err("has an address")),
            ("http://a/b", Err("has a path")),
            ("ftp://a", Err("is neither http nor https")),
            ("a", Err("has no scheme")),
        ] {
            match (service_url(url), expected) {
                (Ok(plan), Ok((scheme, name))) => assert_eq!((plan.scheme, &*plan.name), (scheme, name)),
                (Err((message, _)), Err(expected)) => assert!(message.contains(expected), "{message}"),
                (found, _) => panic!("{url}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_name_server_is_an_address() {
        let servers = ["10.0.0.1", "10.0.0.1:8600", "::1", "[::1]:54", "dns.example", ""];
        let config = DnsConfig { servers: servers.map(str::to_owned).to_vec() };
        let mut report = Report::new();
        let found = name_servers(&config, &Path::root().key("dns"), &mut report);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1:53", "10.0.0.1:8600", "[::1]:53", "[::1]:54"]);
        assert_eq!(report.problems().len(), 2);
    }
}
