//! What the user wrote in `[route.idempotency]`, validated.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::report::{Path, Report};

use super::config::IdempotencyConfig;

/// More keys than anybody can want in the memory of one process.
const MAX_ENTRIES: usize = 1_000_000;
/// The largest request and response: each is held in memory as a whole.
const MAX_BODY: u64 = 16 << 20;

/// How a route treats idempotency keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyPlan {
    /// The request field with the key.
    pub header: HeaderName,
    /// Methods that are looked at.
    pub methods: Vec<Method>,
    /// Whether a request needs a key.
    pub required: bool,
    /// Request fields that tell clients apart.
    pub scope: Vec<HeaderName>,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// How many keys are kept at most.
    pub max_entries: usize,
    /// How many bytes their answers may take.
    pub max_bytes: u64,
    /// The largest request body, in bytes.
    pub max_request: u64,
    /// The largest answer that is kept, in bytes.
    pub max_response: u64,
    /// Whether a request with a key may be sent again.
    pub retry: bool,
}

/// Checks what the user wrote; `consumer` is the field that tells the consumer, where there are any. Every
/// problem is reported at the path of the wrong value.
pub fn plan(
    config: &IdempotencyConfig,
    consumer: Option<&HeaderName>,
    at: &Path,
    report: &mut Report,
) -> IdempotencyPlan {
    let name = |text: &str, at: &Path, report: &mut Report| {
        let name = HeaderName::try_from(text).ok();
        if name.is_none() {
            report.error(at, format!("`{text}` is no field name"));
        }
        name
    };
    let mut scope: Vec<HeaderName> = consumer.into_iter().cloned().collect();
    for (index, text) in config.scope.iter().enumerate() {
        scope.extend(name(text, &at.key("scope").index(index), report));
    }
    if scope.is_empty() {
        let hint = "name the field that clients prove themselves by";
        report.warn(&at.key("scope"), "clients that use the same key get each other's answers", hint);
    }
    let header = name(&config.header, &at.key("header"), report);
    if config.ttl.get().is_zero() {
        report.error(&at.key("ttl"), "an answer that is kept for no time answers nobody");
    }
    if config.max_entries == 0 || config.max_entries > MAX_ENTRIES {
        report.error(
            &at.key("max_entries"),
            format!("{}: at least 1, at most {MAX_ENTRIES}", config.max_entries),
        );
    }
    for (key, size) in [("max_request", config.max_request), ("max_response", config.max_response)] {
        if size.bytes() > MAX_BODY {
            let hint = "each is held in memory as a whole: at most 16MiB";
            report.error_with_hint(&at.key(key), format!("{size} is too large"), hint);
        }
    }
    if config.max_response > config.max_bytes {
        report.error(&at.key("max_response"), "one answer may not take more than all together (`max_bytes`)");
    }
    IdempotencyPlan {
        header: header.unwrap_or(HeaderName::from_static("idempotency-key")),
        methods: methods(&config.methods, &at.key("methods"), report),
        required: config.required,
        scope,
        ttl: config.ttl.get(),
        max_entries: config.max_entries.clamp(1, MAX_ENTRIES),
        max_bytes: config.max_bytes.bytes(),
        max_request: config.max_request.bytes().min(MAX_BODY),
        max_response: config.max_response.bytes().min(MAX_BODY),
        retry: config.retry,
    }
}

fn methods(words: &[String], at: &Path, report: &mut Report) -> Vec<Method> {
    let mut methods = Vec::new();
    for (index, word) in words.iter().enumerate() {
        match Method::from_bytes(word.as_bytes()) {
            Ok(method) if method.is_safe() => {
                let message = format!("{method} has no effect that could happen twice (RFC 9110 §9.2.1)");
                report.error(&at.index(index), message);
            }
            Ok(method) => methods.push(method),
            Err(_) => report.error(&at.index(index), format!("`{word}` is no method name")),
        }
    }
    methods
}
