//! API keys: found in a request, taken out of it, and looked up by their SHA-256.
//!
//! The keys themselves are nowhere: the config has digests, and a digest is what is looked up. How long that
//! takes tells nothing about a key: which ones are compared depends on a hash of the digest under seeds that
//! nobody knows, and the comparison takes the same time wherever two differ. A key that is not known and one
//! whose consumer is disabled are the same.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::{constant_time, digest};
use http::uri::PathAndQuery;
use http::{HeaderName, header};

use crate::http::{Request, Target, fields, normalize, query};

use super::identity::Consumer;

/// The longest key that is looked at, in bytes.
const KEY_MAX: usize = 4096;

/// Where requests carry a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysPlan {
    /// In this field.
    pub header: Option<HeaderName>,
    /// In this parameter of the query.
    pub query: Option<Box<str>>,
    /// Whether the field stays.
    pub forward: bool,
}

/// The SHA-256 of a key. Two are compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct KeyDigest([u8; 32]);

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl KeyDigest {
    /// Of a key.
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        Self(bytes)
    }

    /// As `sha256sum` writes it; none if it is something else.
    pub fn parse(hex: &str) -> Option<Self> {
        let digits = hex.strip_prefix("sha256:").unwrap_or(hex).as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        let mut bytes = [0; 32];
        if !rest.is_empty() || pairs.len() != bytes.len() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = normalize::triplet(*high, *low)?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// The keys of all consumers.
#[derive(Clone, Debug, Default)]
pub struct Keyring(HashMap<KeyDigest, Consumer>);

impl Keyring {
    /// Of these keys.
    pub fn new(keys: impl Iterator<Item = (KeyDigest, Consumer)>) -> Self {
        Self(keys.collect())
    }

    /// Whose key it is.
    pub fn find(&self, key: &KeyDigest) -> Option<&Consumer> {
        self.0.get(key)
    }
}

/// What a request has in the place of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Nothing.
    Nothing,
    /// This key.
    Key(KeyDigest),
    /// Several, or what cannot be one: whose it is must not depend on who reads it.
    Unusable,
}

impl KeysPlan {
    /// Takes the key out of a request, from wherever there can be one; the field's counts where there are
    /// both.
    pub fn take(&self, request: &mut Request) -> Carried {
        let in_query = self.query.as_deref().map_or(Carried::Nothing, |name| {
            let (carried, cut) = from_query(&request.target, name);
            if let Some(cut) = cut {
                request.target.path_and_query = cut;
            }
            carried
        });
        match self.header.as_ref().map_or(Carried::Nothing, |name| self.in_header(name, request)) {
            Carried::Nothing => in_query,
            carried => carried,
        }
    }

    fn in_header(&self, name: &HeaderName, request: &mut Request) -> Carried {
        let headers = &mut request.headers;
        let mut lines = headers.get_all(name).iter();
        let carried = match (lines.next(), lines.next()) {
            (None, _) => return Carried::Nothing,
            (Some(_), Some(_)) => Carried::Unusable,
            (Some(_), None) if *name == header::AUTHORIZATION => match fields::bearer(headers) {
                Some(token) => usable(token),
                // Another scheme's credentials are not ours to judge, nor to take away.
                None => return Carried::Nothing,
            },
            (Some(line), None) => usable(line.as_bytes()),
        };
        if !self.forward {
            headers.remove(name);
        }
        carried
    }
}

fn usable(key: &[u8]) -> Carried {
    let is_key = !key.is_empty() && key.len() <= KEY_MAX;
    if is_key { Carried::Key(KeyDigest::of(key)) } else { Carried::Unusable }
}

/// The key in a query, and what is asked for without it, where it is there.
fn from_query(target: &Target, name: &str) -> (Carried, Option<PathAndQuery>) {
    let Some(parameters) = target.query() else { return (Carried::Nothing, None) };
    let mut carried = Carried::Nothing;
    let mut rest = String::with_capacity(parameters.len());
    let mut cut = false;
    for parameter in parameters.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if *query::decoded(key.as_bytes()) == *name.as_bytes() {
            cut = true;
            carried = match carried {
                Carried::Nothing => usable(&query::decoded(value.as_bytes())),
                Carried::Key(_) | Carried::Unusable => Carried::Unusable,
            };
        } else {
            rest.push_str(if rest.is_empty() { "?" } else { "&" });
            rest.push_str(parameter);
        }
    }
    let without = cut.then(|| PathAndQuery::try_from(format!("{}{rest}", target.path())));
    match without.transpose() {
        Ok(without) => (carried, without),
        // A part of what was valid is valid; if not, it does not get any further with a key in it.
        Err(_) => (Carried::Unusable, Some(PathAndQuery::from_static("/"))),
    }
}
