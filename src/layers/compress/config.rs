//! What the user writes in `[route.compress]`, and process-wide in `[compress]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Size;

/// What the compressed forms of stored responses may take, for all routes that compress.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeptConfig {
    /// How much is kept of them, as part of `server.memory_limit`; `"0B"` compresses every answer anew.
    /// Where this is not given, it is an eighth of a smaller `server.memory_limit`.
    pub memory: Size,
}

impl Default for KeptConfig {
    fn default() -> Self {
        Self { memory: Size::mib(32) }
    }
}

/// Compression of responses, for clients that accept it. Off where this is not given; `compress = {}` turns
/// it on. Not for answers that repeat what a request says and carry a secret: see BREACH.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CompressConfig {
    /// The codings that may be used. Of those that a client likes equally, the first one here is.
    pub codings: Vec<CodingName>,
    /// Bodies smaller than this stay as they are, where their length is known beforehand.
    pub min_size: Size,
    /// The media types that are compressed: `type/subtype`, `type/*` or `*+suffix`. Event streams and gRPC
    /// never are.
    pub types: Vec<String>,
    /// How hard the codings try.
    pub levels: LevelsConfig,
    /// What the origin is asked for.
    pub origin: OriginCoding,
}

impl Default for CompressConfig {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/javascript",
            "application/x-ndjson",
            "application/xml",
            "application/yaml",
            "application/wasm",
            "*+json",
            "*+xml",
            "*+yaml",
            "font/otf",
            "font/ttf",
        ];
        Self {
            codings: vec![CodingName::Zstd, CodingName::Br, CodingName::Gzip],
            min_size: Size::kib(1),
            types: types.map(str::to_owned).into(),
            levels: LevelsConfig::default(),
            origin: OriginCoding::Identity,
        }
    }
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodingName {
    /// Zstandard.
    Zstd,
    /// Brotli.
    Br,
    /// Deflate in gzip's frame.
    Gzip,
}

/// How hard the codings try: higher levels take more time for fewer bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LevelsConfig {
    /// 1 to 15.
    pub zstd: u32,
    /// 1 to 9.
    pub br: u32,
    /// 1 to 9.
    pub gzip: u32,
}

impl Default for LevelsConfig {
    fn default() -> Self {
        Self { zstd: 3, br: 4, gzip: 5 }
    }
}

/// What the origin is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginCoding {
    /// For its answer without any coding: one form is stored for all.
    #[default]
    Identity,
    /// For what the client accepts. What the origin does not encode is encoded here.
    AsAsked,
}
