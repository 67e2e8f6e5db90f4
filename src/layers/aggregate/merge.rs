//! One object of all parts, and a word about those that are not as they should be.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;

use crate::error::PartFailure;
use crate::http::body::Chunks;
use crate::http::{Body, End, Held, Response};
use crate::memory::Hold;

use super::part::{Came, Piece};

/// The member of the answer that tells of parts that failed or are stale; absent where none is.
pub(super) const META: &str = "_meta";

/// The field that tells the same: a list of names with parameters (RFC 9651 §3.1).
static PARTS: HeaderName = HeaderName::from_static("forebay-parts");

/// What the parts take of the memory budget, until the last byte has left.
struct Kept(#[expect(dead_code, reason = "its drop gives it back")] Vec<Hold>);

impl Held for Kept {
    fn ended(self: Box<Self>, _: End<'_>) {}
}

/// The answer: the pieces under their names, in the config's order.
pub(super) fn merge(pieces: Vec<(&Arc<str>, Piece)>) -> Response {
    let (mut chunks, mut holds, mut notes) = (Vec::new(), Vec::new(), Notes::default());
    for (index, (name, piece)) in pieces.into_iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        chunks.push(Bytes::from(format!("{before}\"{name}\":")));
        chunks.push(piece.json);
        notes.take(name, &piece.came);
        holds.extend(piece.hold);
    }
    let separator = if chunks.is_empty() { "{" } else { "" };
    let meta = notes.meta();
    let end = meta.map_or_else(|| "}".to_owned(), |meta| format!(",\"{META}\":{meta}}}"));
    chunks.push(Bytes::from(format!("{separator}{end}")));
    let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let mut body = Body::chunks(Chunks::new(chunks.into(), 0, length));
    body.hold(Kept(holds));
    let mut response = Response::new(StatusCode::OK, body);
    let headers = &mut response.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(value) = notes.field() {
        headers.insert(PARTS.clone(), value);
    }
    response
}

/// What there is to say.
#[derive(Default)]
struct Notes {
    failed: Vec<serde_json::Value>,
    stale: Vec<Arc<str>>,
    field: Vec<String>,
}

impl Notes {
    fn take(&mut self, name: &Arc<str>, came: &Came) {
        match came {
            Came::Well => {}
            Came::Stale => {
                self.stale.push(Arc::clone(name));
                self.field.push(format!("{name};stale"));
            }
            Came::Failed(PartFailure::Status(status)) => {
                let (reason, status) = (PartFailure::Status(*status).as_str(), status.as_u16());
                self.failed.push(json!({ "name": &**name, "reason": reason, "status": status }));
                self.field.push(format!("{name};failed={reason};status={status}"));
            }
            Came::Failed(failure) => {
                let reason = failure.as_str();
                self.failed.push(json!({ "name": &**name, "reason": reason }));
                self.field.push(format!("{name};failed={reason}"));
            }
        }
    }

    fn meta(&self) -> Option<serde_json::Value> {
        let stale: Vec<&str> = self.stale.iter().map(AsRef::as_ref).collect();
        (!self.field.is_empty()).then(|| json!({ "failed": self.failed, "stale": stale }))
    }

    fn field(&self) -> Option<HeaderValue> {
        let text = self.field.join(", ");
        (!text.is_empty()).then(|| HeaderValue::try_from(text).ok()).flatten()
    }
}
