//! What the user writes in `[route.idempotency]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Time};

/// Requests with an idempotency key take effect once: duplicates wait for the one result, later ones get the
/// stored answer (draft-ietf-httpapi-idempotency-key-header).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdempotencyConfig {
    /// The request field with the key.
    pub header: String,
    /// Methods that are looked at.
    pub methods: Vec<String>,
    /// Whether such a request without a key is refused with 400.
    pub required: bool,
    /// Request fields that tell clients apart, beside the consumer: keys with different ones never meet.
    pub scope: Vec<String>,
    /// How long an answer is kept.
    pub ttl: Time,
    /// How many keys are kept at most, those under way included; the oldest answers go first.
    pub max_entries: usize,
    /// How many bytes their answers may take.
    pub max_bytes: Size,
    /// The largest request body with a key; 413 above. It is read before it is sent.
    pub max_request: Size,
    /// The largest answer that is kept. A larger one is passed on, and later requests with its key get 409.
    pub max_response: Size,
    /// Whether a request with a key may be sent to the origin again (`retry`), whatever its method: only if
    /// the origin recognises keys too.
    pub retry: bool,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self {
            header: "idempotency-key".to_owned(),
            methods: ["POST", "PATCH"].map(str::to_owned).to_vec(),
            required: false,
            scope: ["authorization", "cookie"].map(str::to_owned).to_vec(),
            ttl: Time::secs(24 * 3600),
            max_entries: 10_000,
            max_bytes: Size::mib(16),
            max_request: Size::mib(1),
            max_response: Size::kib(256),
            retry: false,
        }
    }
}
