//! Lists of networks: who may come at all.
//!
//! ```
//! use forebay::layers::auth::address::Addresses;
//! let lists = Addresses { allow: vec!["10.0.0.0/8".parse()?], deny: vec!["10.9.0.0/16".parse()?] };
//! assert!(lists.admit("10.1.2.3".parse()?));
//! assert!(!lists.admit("10.9.0.1".parse()?), "what is denied is denied");
//! assert!(!lists.admit("192.0.2.1".parse()?), "what is not allowed is denied too");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::IpAddr;

use ipnet::IpNet;

use crate::net::networks;
use crate::report::{Path, Report};

/// How many networks a list may have: each request is compared with all of them.
const NETWORKS_MAX: usize = 1024;

/// Whose requests are let in, by their client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// If not empty: the only ones.
    pub allow: Vec<IpNet>,
    /// Those who are not, whatever `allow` says.
    pub deny: Vec<IpNet>,
}

impl Addresses {
    /// Whether everybody is let in.
    pub const fn admit_all(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether this client is let in. An IPv4 address in the clothes of IPv6 is compared as what it is.
    pub fn admit(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let named = |list: &[IpNet]| list.iter().any(|network| network.contains(&client));
        (self.allow.is_empty() || named(&self.allow)) && !named(&self.deny)
    }
}

/// Reads a list of networks and addresses; what is none is reported at its place in it.
pub(super) fn plan(texts: &[String], at: &Path, report: &mut Report) -> Vec<IpNet> {
    if texts.len() > NETWORKS_MAX {
        report.error(at, format!("{} networks; at most {NETWORKS_MAX} are possible", texts.len()));
    }
    networks(texts, at, report)
}
