//! How many connections each client has open, so that one of them cannot take every place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::Peer;

/// The open connections of each address; an IPv6 client is its /64 ([`Peer::counted`]). It has an entry for
/// no address but those with a connection open, so `server.max_connections` bounds it.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<Mutex<HashMap<IpAddr, usize, ahash::RandomState>>>);

/// A place among the connections of one address; freed when dropped.
#[derive(Debug)]
pub struct Place {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// Takes a place for a connection from `address`; `None` where it has `most` already.
    pub fn take(&self, address: IpAddr, most: usize) -> Option<Place> {
        let address = Peer::counted(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { addresses: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_so_many_places() {
        let addresses = Addresses::default();
        let take = |address: &str| addresses.take(address.parse().unwrap(), 2);
        let held = [take("10.0.0.1"), take("::ffff:10.0.0.1"), take("10.0.0.2"), take("2001:db8::1")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("10.0.0.1").is_none());
        assert!(take("2001:db8::2").is_some(), "dropped at once");
        let more = take("2001:db8::3");
        assert!(take("2001:db8::4").is_none(), "they are all in one /64");
        assert!(take("2001:db8:0:1::4").is_some());
        drop(held);
        assert!(take("10.0.0.1").is_some());
        drop(more);
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
