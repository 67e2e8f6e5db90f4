//! What the user writes in `[log]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The access log: one line a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Where it goes: `stdout`, `off`, or a file's path (reopened on SIGUSR1).
    pub access: String,
    /// How a line looks.
    pub format: Format,
    /// Lines that may wait to be written; beyond it they are dropped and counted.
    pub queue: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { access: "stdout".to_owned(), format: Format::Json, queue: 16_384 }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Words for people.
    Text,
}
