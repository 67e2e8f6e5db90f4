//! Interim responses (RFC 9110 §15.2) on their way from an origin to the client, ahead of the final one.
//!
//! ```
//! use forebay::http::interim::Exchange;
//! use http::{HeaderMap, StatusCode};
//! let exchange = Exchange::new(|| {});
//! let interim = exchange.begin();
//! interim.push(StatusCode::PROCESSING, &HeaderMap::new());
//! assert_eq!(exchange.take().as_deref(), Some(&b"HTTP/1.1 102 Processing\r\n\r\n"[..]));
//! ```
//!
//! hyper's server cannot send them, so the connection's socket does, between two writes of hyper's. What
//! surprises:
//!
//! - A handle is good for one request. An origin's hints that come when that request has its answer already,
//!   because something else answered it, are dropped: the next request must not get them.
//! - 100 and 101 are not for here: they belong to one connection, and the gateway has an own say in both.
//! - HTTP/1.0 knows no interim responses, and hyper has no way to send them in HTTP/2: their handle drops
//!   everything.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{HeaderName, StatusCode};

use super::fields;

/// How much may wait to be written, in bytes; what comes on top is dropped, for hints are only hints.
const WAITING_MAX_BYTES: usize = 64 * 1024;

/// Takes the interim responses of one request.
#[derive(Clone, Debug, Default)]
pub struct Interim {
    shared: Option<Arc<Shared>>,
    number: u32,
}

/// The requests of one HTTP/1.1 connection, which come one at a time, and what waits to be written ahead of
/// the answer of the one at hand.
#[derive(Clone, Debug)]
pub struct Exchange(Arc<Shared>);

struct Shared {
    /// The number of the request at hand; 0 between two. Only the connection's task writes it.
    current: AtomicU32,
    begun: AtomicU32,
    /// Whether something may wait.
    waits: AtomicBool,
    waiting: Mutex<Waiting>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Waiting {
    number: u32,
    bytes: Vec<u8>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Interim {
    /// Drops everything.
    pub const fn none() -> Self {
        Self { shared: None, number: 0 }
    }

    /// Whether nothing that is pushed goes anywhere.
    pub const fn is_none(&self) -> bool {
        self.shared.is_none()
    }

    /// Passes an interim response on, without its hop-by-hop fields.
    pub fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let Some(shared) = &self.shared else { return };
        let passes = status.is_informational()
            && status != StatusCode::CONTINUE
            && status != StatusCode::SWITCHING_PROTOCOLS;
        if !passes || shared.current.load(Ordering::Relaxed) != self.number {
            return;
        }
        let mut waiting = shared.waiting();
        if waiting.number != self.number {
            *waiting = Waiting { number: self.number, bytes: Vec::new() };
        }
        let before = waiting.bytes.len();
        write(&mut waiting.bytes, status, headers);
        if waiting.bytes.len() > WAITING_MAX_BYTES {
            waiting.bytes.truncate(before);
        }
        drop(waiting);
        shared.waits.store(true, Ordering::Release);
        (shared.wake)();
    }
}

/// Writes a response head (RFC 9112 §4).
fn write(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    put(b"HTTP/1.1 ");
    put(status.as_str().as_bytes());
    put(b" ");
    put(status.canonical_reason().unwrap_or_default().as_bytes());
    put(b"\r\n");
    let mut headers = headers.clone();
    fields::strip_hop_by_hop(&mut headers);
    // A response without content has no framing, and must not look as if it had (RFC 9110 §15.2).
    let framing = |name: &HeaderName| *name == http::header::CONTENT_LENGTH;
    for (name, value) in headers.iter().filter(|(name, _)| !framing(name)) {
        put(name.as_str().as_bytes());
        put(b": ");
        put(value.as_bytes());
        put(b"\r\n");
    }
    put(b"\r\n");
}

impl Exchange {
    /// Those of a new connection, whose task is woken by `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            current: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            waits: AtomicBool::new(false),
            waiting: Mutex::default(),
            wake: Box::new(wake),
        }))
    }

    /// A request begins.
    pub fn begin(&self) -> Interim {
        let number = self.0.begun.load(Ordering::Relaxed).wrapping_add(1).max(1);
        self.0.begun.store(number, Ordering::Relaxed);
        self.0.current.store(number, Ordering::Relaxed);
        Interim { shared: Some(Arc::clone(&self.0)), number }
    }

    /// Its final response is about to be written: nothing may come in between any more.
    pub fn end(&self) {
        self.0.current.store(0, Ordering::Relaxed);
    }

    /// Whether there may be something to write.
    pub fn waits(&self) -> bool {
        self.0.waits.load(Ordering::Acquire)
    }

    /// What is to be written now, if anything is.
    pub fn take(&self) -> Option<Bytes> {
        if !self.waits() {
            return None;
        }
        let mut waiting = self.0.waiting();
        self.0.waits.store(false, Ordering::Relaxed);
        let bytes = std::mem::take(&mut waiting.bytes);
        let current = self.0.current.load(Ordering::Relaxed);
        (waiting.number == current && current != 0 && !bytes.is_empty()).then(|| bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn hints(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("link", value.parse().unwrap());
        headers
    }

    fn text(exchange: &Exchange) -> String {
        exchange.take().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default()
    }

    #[test]
    fn interim_responses_come_in_order_without_what_belongs_to_a_connection() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let exchange = Exchange::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let interim = exchange.begin();
        let mut headers = hints("</a>");
        for (name, value) in [("connection", "x-hop"), ("x-hop", "1"), ("content-length", "5")] {
            headers.insert(name, value.parse().unwrap());
        }
        interim.push(StatusCode::PROCESSING, &HeaderMap::new());
        interim.push(StatusCode::EARLY_HINTS, &headers);
        interim.push(StatusCode::from_u16(104).unwrap(), &HeaderMap::new());
        assert_eq!(
            text(&exchange),
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 104 \r\n\r\n"
        );
        assert!(!exchange.waits());
        assert_eq!(woken.load(Ordering::Relaxed), 3);
    }

    /// RFC 9110 §15.2.1, §15.2.2, §15.1.
    #[test]
    fn what_is_no_hint_does_not_pass() {
        let exchange = Exchange::new(|| {});
        let interim = exchange.begin();
        for status in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK] {
            interim.push(status, &HeaderMap::new());
            assert!(!exchange.waits(), "{status}");
        }
        Interim::none().push(StatusCode::EARLY_HINTS, &HeaderMap::new());
    }

    #[test]
    fn a_request_gets_its_own_hints_only() {
        let exchange = Exchange::new(|| {});
        let first = exchange.begin();
        first.push(StatusCode::EARLY_HINTS, &hints("</first>"));
        exchange.end();
        assert_eq!(text(&exchange), "", "its final response has begun");
        first.push(StatusCode::EARLY_HINTS, &hints("</late>"));
        assert!(!exchange.waits());
        let second = exchange.begin();
        first.push(StatusCode::EARLY_HINTS, &hints("</later>"));
        second.push(StatusCode::EARLY_HINTS, &hints("</second>"));
        assert_eq!(text(&exchange), "HTTP/1.1 103 Early Hints\r\nlink: </second>\r\n\r\n");
    }

    #[test]
    fn what_waits_is_bounded() {
        let exchange = Exchange::new(|| {});
        let interim = exchange.begin();
        for _ in 0..10_000 {
            interim.push(StatusCode::EARLY_HINTS, &hints("</one>"));
        }
        let length = text(&exchange).len();
        assert!((WAITING_MAX_BYTES - 100..=WAITING_MAX_BYTES).contains(&length), "{length}");
    }
}
