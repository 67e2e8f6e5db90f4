//! Who a request is from, once that is known, and how the layers inside and the upstream are told.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::fields;

/// The longest name of a consumer, in bytes: it goes into a field and into cache keys.
pub const NAME_MAX: usize = 256;

/// Someone who uses the APIs, under the name that limits, cache, log and upstream know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    name: Arc<str>,
    /// The name as it is sent: made once.
    value: HeaderValue,
}

impl Consumer {
    /// A consumer of this name; none if it cannot be one: empty, too long, or not printable ASCII.
    pub fn new(name: &str) -> Option<Self> {
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let edges = name.trim() == name;
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(printable) || !edges {
            return None;
        }
        Some(Self { name: name.into(), value: HeaderValue::try_from(name).ok()? })
    }

    /// Its name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }
}

/// What was found out about who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub consumer: Consumer,
    /// What else the upstream is told.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

impl Identity {
    /// Only who it is.
    pub const fn of(consumer: Consumer) -> Self {
        Self { consumer, fields: Vec::new() }
    }

    /// Tells those further in, the name in `header`.
    pub(super) fn tell(self, header: &HeaderName, headers: &mut HeaderMap) {
        for (name, value) in self.fields {
            headers.insert(name, value);
        }
        headers.insert(header.clone(), self.consumer.value);
    }
}

/// Removes what only the gateway may say, and the fields that some origins take for it because `_` and `-`
/// are the same to them.
pub(super) fn strip(names: &[HeaderName], headers: &mut HeaderMap) {
    for name in names {
        headers.remove(name);
    }
    let is_one =
        |dashed: &HeaderName| names.iter().any(|ours| ours.as_str().replace('_', "-") == dashed.as_str());
    fields::strip_twins(headers, is_one);
}
