//! Reading what nobody wants, so that its connection can be used again.

use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::Body;

/// A larger body, in bytes, costs more than a new connection.
const MAX_BYTES: u64 = 16 * 1024;

/// Reads a small body to its end. Whoever waits for this bounds it in time.
pub async fn drain(mut body: Body) {
    if body.size_hint().upper().is_some_and(|size| size <= MAX_BYTES) {
        while let Some(Ok(_)) = body.frame().await {}
    }
}
