//! What is noted about one request on its way, for its log line, and for layers that have to know what those
//! within did: which endpoint was asked, whether anything was sent.
//!
//! It is shared and not an annotation on the response: a request whose client leaves has no response, and its
//! log line must still tell how far it came. Without an access log, and where no layer reads it, there is no
//! trail and nothing is noted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The notes of one request. Each field belongs to the layer named.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// auth: who the request is from.
    pub consumer: Option<Arc<str>>,
    /// cache: `hit`, `miss`, `stale`, `revalidated`, `collapsed`, `pass`, ...
    pub cache: Option<&'static str>,
    /// cache: why.
    pub cache_reason: Option<&'static str>,
    /// retry: how many attempts were made.
    pub attempts: u32,
    /// quota: whether it was sent, so that its turn is used up.
    pub turn_used: bool,
    /// admission: how long it waited for a permit.
    pub queue_wait: Duration,
    /// admission: its class, where it came to wait.
    pub priority: Option<&'static str>,
    /// rate limit: how long it was delayed.
    pub delayed: Duration,
    /// hedge: `won`, `lost`, `max_extra`, `budget`, where the request was late.
    pub hedge: Option<&'static str>,
    /// idempotency: what was done with a request that bears a key.
    pub idempotency: Option<&'static str>,
    /// fallback: what was done about a failure, and about which.
    pub fallback: Option<(&'static str, &'static str)>,
    /// compress: what became of the response, where the route compresses.
    pub compress: Option<&'static str>,
    /// upstream: the endpoint of the last attempt.
    pub endpoint: Option<Arc<str>>,
    /// upstream: from the start of the last attempt to its response head.
    pub upstream_time: Duration,
    /// upstream: the status of the last attempt.
    pub upstream_status: Option<u16>,
    /// respond: the word of the error, where we made the response from one.
    pub error: Option<&'static str>,
}

/// A shared handle on the notes of one request.
#[derive(Clone, Debug, Default)]
pub struct Trail(Option<Arc<Mutex<Notes>>>);

impl Trail {
    /// A trail that keeps what is noted.
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// A trail nobody will read: notes are not even made.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Keeps what is noted from here on, for one who will read it.
    pub fn keep(&mut self) {
        if self.0.is_none() {
            *self = Self::kept();
        }
    }

    /// Notes something.
    pub fn note(&self, note: impl FnOnce(&mut Notes)) {
        if let Some(notes) = &self.0 {
            note(&mut notes.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// What has been noted so far.
    pub fn read(&self) -> Notes {
        self.0
            .as_ref()
            .map_or_else(Notes::default, |notes| notes.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
