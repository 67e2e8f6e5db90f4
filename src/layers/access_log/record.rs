//! What one line holds, and its two spellings.
//!
//! JSON, one object a line, is for machines; values that say nothing are left out:
//!
//! ```json
//! {"time":"2026-03-01T12:00:00.123Z","client":"192.0.2.1","method":"GET","scheme":"https",
//!  "host":"api.example.com","path":"/orders?page=2","protocol":"HTTP/2","route":"orders",
//!  "upstream":"orders","id":"5d...","user_agent":"curl/8","status":200,"bytes":1024,
//!  "duration_ms":12.345,"ttfb_ms":11.870,"cache":"miss"}
//! ```
//!
//! Text is for people:
//!
//! ```text
//! 2026-03-01T12:00:00.123Z 192.0.2.1 "GET https://api.example.com/orders?page=2 HTTP/2" 200 1024B 12.345ms
//! route="orders" upstream="orders" id="5d..." user_agent="curl/8" ttfb_ms=11.870 cache="miss"
//! ```

use std::net::IpAddr;
use std::time::Duration;

use http::Version;

use crate::clock::Wall;
use crate::http::trail::Notes;
use crate::http::{RequestId, Scheme};

use super::config::Format;
use super::encode;

/// The longest path and query that is written, in bytes; what follows is cut.
const MAX_PATH: usize = 4096;
/// The longest other value.
const MAX_VALUE: usize = 512;

/// What the request tells.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// When its head had arrived.
    pub time: Wall,
    /// Its id.
    pub id: &'a RequestId,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The scheme the client used.
    pub scheme: Scheme,
    /// Host and port.
    pub host: &'a [u8],
    /// Path and query.
    pub path: &'a [u8],
    /// What the client speaks.
    pub version: Version,
    /// The route that matched.
    pub route: &'a str,
    /// The upstream of the route.
    pub upstream: Option<&'a str>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    /// The status that was sent, 499 where the client left before that.
    pub status: u16,
    /// Bytes of the response body that were handed on.
    pub bytes: u64,
    /// Bytes of the request body that were read.
    pub bytes_received: u64,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// From the request's head to the response's.
    pub ttfb: Option<Duration>,
    /// How it ended.
    pub outcome: Outcome,
    /// What the layers noted.
    pub notes: &'a Notes,
}

/// How the response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Whole.
    Complete,
    /// Cut, because its source failed; with the error's word.
    Failed(&'static str),
    /// Cut, because the client left.
    Aborted,
}

impl Outcome {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed(_) => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// A line whose answer is not known yet.
#[derive(Clone, Debug)]
pub struct Line {
    format: Format,
    text: Vec<u8>,
    /// Where status, size and duration go.
    split: usize,
}

/// The name of a value with what stands around it, in both spellings.
struct Key {
    json: &'static str,
    text: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        Key { json: concat!(",\"", $name, "\":"), text: concat!(" ", $name, "=") }
    };
}

/// Appends named values.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
}

impl Fields<'_> {
    fn key(&mut self, key: &Key) {
        let key = match self.format {
            Format::Json => key.json,
            Format::Text => key.text,
        };
        self.out.extend_from_slice(key.as_bytes());
    }

    fn quoted(&mut self, key: &Key, value: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.out.push(b'"');
        value(self.out);
        self.out.push(b'"');
    }

    fn string(&mut self, key: &Key, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.quoted(key, |out| encode::string(out, value, MAX_VALUE));
        }
    }

    fn number(&mut self, key: &Key, value: u64) {
        self.key(key);
        encode::number(self.out, value);
    }

    fn millis(&mut self, key: &Key, value: Duration) {
        self.key(key);
        encode::millis(self.out, value);
    }
}

impl Line {
    /// Begins a line with what the request tells.
    pub fn begin(format: Format, asked: &Asked<'_>) -> Self {
        let mut text = Vec::with_capacity(512);
        match format {
            Format::Json => begin_json(&mut text, asked),
            Format::Text => begin_text(&mut text, asked),
        }
        let json_ends_here = text.len();
        let mut fields = Fields { out: &mut text, format };
        fields.string(&key!("route"), Some(asked.route.as_bytes()));
        fields.string(&key!("upstream"), asked.upstream.map(str::as_bytes));
        fields.quoted(&key!("id"), |out| encode::request_id(out, asked.id, MAX_VALUE));
        fields.string(&key!("user_agent"), asked.user_agent);
        fields.string(&key!("referer"), asked.referer);
        let split = match format {
            Format::Json => text.len(),
            Format::Text => json_ends_here,
        };
        Self { format, text, split }
    }

    /// Appends the whole line, its line feed included.
    pub fn end(&self, answered: &Answered<'_>, out: &mut Vec<u8>) {
        let (before, after) = self.text.split_at_checked(self.split).unwrap_or((&self.text, &[]));
        out.reserve(self.text.len() + 256);
        out.extend_from_slice(before);
        match self.format {
            Format::Json => {
                let mut fields = Fields { out, format: Format::Json };
                fields.number(&key!("status"), answered.status.into());
                fields.number(&key!("bytes"), answered.bytes);
                fields.millis(&key!("duration_ms"), answered.duration);
            }
            Format::Text => {
                out.push(b' ');
                encode::number(out, answered.status.into());
                out.push(b' ');
                encode::number(out, answered.bytes);
                out.extend_from_slice(b"B ");
                encode::millis(out, answered.duration);
                out.extend_from_slice(b"ms");
            }
        }
        out.extend_from_slice(after);
        end_fields(&mut Fields { out, format: self.format }, answered);
        out.extend_from_slice(match self.format {
            Format::Json => b"}\n",
            Format::Text => b"\n",
        });
    }
}

fn begin_json(out: &mut Vec<u8>, asked: &Asked<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&asked.time.rfc3339());
    out.push(b'"');
    let mut fields = Fields { out, format: Format::Json };
    fields.quoted(&key!("client"), |out| encode::address(out, asked.client));
    fields.string(&key!("method"), Some(asked.method.as_bytes()));
    fields.string(&key!("scheme"), Some(asked.scheme.as_str().as_bytes()));
    fields.string(&key!("host"), Some(asked.host));
    fields.quoted(&key!("path"), |out| encode::string(out, asked.path, MAX_PATH));
    fields.string(&key!("protocol"), Some(protocol(asked.version).as_bytes()));
}

fn begin_text(out: &mut Vec<u8>, asked: &Asked<'_>) {
    out.extend_from_slice(&asked.time.rfc3339());
    out.push(b' ');
    encode::address(out, asked.client);
    out.extend_from_slice(b" \"");
    encode::string(out, asked.method.as_bytes(), MAX_VALUE);
    out.push(b' ');
    out.extend_from_slice(asked.scheme.as_str().as_bytes());
    out.extend_from_slice(b"://");
    encode::string(out, asked.host, MAX_VALUE);
    encode::string(out, asked.path, MAX_PATH);
    out.push(b' ');
    out.extend_from_slice(protocol(asked.version).as_bytes());
    out.push(b'"');
}

/// What is said only where there is something to say.
fn end_fields(fields: &mut Fields<'_>, answered: &Answered<'_>) {
    let Answered { bytes_received, ttfb, outcome, notes, .. } = answered;
    if let Some(ttfb) = ttfb {
        fields.millis(&key!("ttfb_ms"), *ttfb);
    }
    if *bytes_received > 0 {
        fields.number(&key!("bytes_received"), *bytes_received);
    }
    fields.string(&key!("consumer"), notes.consumer.as_deref().map(str::as_bytes));
    fields.string(&key!("cache"), notes.cache.map(str::as_bytes));
    fields.string(&key!("cache_reason"), notes.cache_reason.map(str::as_bytes));
    if notes.attempts > 0 {
        fields.number(&key!("attempts"), notes.attempts.into());
    }
    for (key, wait) in [
        (key!("queue_ms"), notes.queue_wait),
        (key!("delayed_ms"), notes.delayed),
        (key!("upstream_ms"), notes.upstream_time),
    ] {
        if !wait.is_zero() {
            fields.millis(&key, wait);
        }
    }
    fields.string(&key!("priority"), notes.priority.map(str::as_bytes));
    fields.string(&key!("compress"), notes.compress.map(str::as_bytes));
    fields.string(&key!("hedge"), notes.hedge.map(str::as_bytes));
    fields.string(&key!("idempotency"), notes.idempotency.map(str::as_bytes));
    if let Some((fallback, reason)) = notes.fallback {
        fields.string(&key!("fallback"), Some(fallback.as_bytes()));
        fields.string(&key!("fallback_reason"), Some(reason.as_bytes()));
    }
    fields.string(&key!("endpoint"), notes.endpoint.as_deref().map(str::as_bytes));
    if let Some(status) = notes.upstream_status {
        fields.number(&key!("upstream_status"), status.into());
    }
    let error = match outcome {
        Outcome::Failed(word) => Some(*word),
        Outcome::Complete | Outcome::Aborted => notes.error,
    };
    fields.string(&key!("error"), error.map(str::as_bytes));
    if *outcome != Outcome::Complete {
        fields.string(&key!("outcome"), Some(outcome.as_str().as_bytes()));
    }
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "unknown",
    }
}
