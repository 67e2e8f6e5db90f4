//! Lists of networks, as users write them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::report::{Path, Report};

/// Reads a list of networks and addresses; what is none is reported at its place in it.
pub fn networks(texts: &[String], at: &Path, report: &mut Report) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let network = text.parse::<IpNet>().or_else(|_| text.parse().map(|one: IpAddr| IpNet::from(one)));
        match network {
            Ok(network) => networks.push(network),
            Err(_) => report.error_with_hint(
                &at.index(index),
                format!("`{text}` is no network"),
                "write an address or a network, like \"10.0.0.0/8\"",
            ),
        }
    }
    networks
}
