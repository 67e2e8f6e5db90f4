//! Validated compression.

use crate::http::coding::{Coding, Level};
use crate::report::{Path, Report};

use super::config::{CodingName, CompressConfig, KeptConfig, OriginCoding};

/// What a route compresses, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressPlan {
    /// The codings, the one we like best first.
    pub codings: Box<[Level]>,
    /// What is known to be smaller is not encoded, in bytes.
    pub min_size: u64,
    /// The media types that are encoded.
    pub types: Box<[TypePattern]>,
    /// Whether the origin is asked for `identity`.
    pub plain_origin: bool,
}

/// One or more media types; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// This one.
    Exact(Box<str>),
    /// All that begin so, slash included.
    Prefix(Box<str>),
    /// All that end so, plus sign included.
    Suffix(Box<str>),
}

impl TypePattern {
    /// Reads `type/subtype`, `type/*` or `*+suffix`; none if it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        let token = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        let text = text.to_ascii_lowercase();
        if let Some(suffix) = text.strip_prefix("*+") {
            return token(suffix).then(|| Self::Suffix(format!("+{suffix}").into()));
        }
        let (kind, subtype) = text.split_once('/')?;
        if !token(kind) {
            return None;
        }
        if subtype == "*" {
            return Some(Self::Prefix(format!("{kind}/").into()));
        }
        token(subtype).then(|| Self::Exact(text.into()))
    }

    /// Whether it is this type, whatever its case; without parameters.
    pub fn matches(&self, media_type: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => media_type.eq_ignore_ascii_case(whole.as_bytes()),
            Self::Prefix(prefix) => media_type
                .split_at_checked(prefix.len())
                .is_some_and(|(start, _)| start.eq_ignore_ascii_case(prefix.as_bytes())),
            Self::Suffix(suffix) => media_type
                .len()
                .checked_sub(suffix.len())
                .and_then(|at| media_type.split_at_checked(at))
                .is_some_and(|(start, end)| {
                    start.contains(&b'/') && end.eq_ignore_ascii_case(suffix.as_bytes())
                }),
        }
    }
}

/// Checks what the user wrote; every problem is reported at the path of the wrong value.
pub fn plan(config: &CompressConfig, at: &Path, report: &mut Report) -> CompressPlan {
    let mut codings: Vec<Level> = Vec::new();
    for (index, name) in config.codings.iter().enumerate() {
        let (coding, level) = match name {
            CodingName::Zstd => (Coding::Zstd, config.levels.zstd),
            CodingName::Br => (Coding::Br, config.levels.br),
            CodingName::Gzip => (Coding::Gzip, config.levels.gzip),
        };
        if codings.iter().any(|other| other.coding == coding) {
            let message = format!("`{}` is there twice", coding.as_str());
            report.error(&at.key("codings").index(index), message);
        } else {
            codings.push(Level::new(coding, level));
        }
    }
    if codings.is_empty() {
        let hint = "name some of `zstd`, `br` and `gzip`, or leave `compress` out";
        report.error_with_hint(&at.key("codings"), "there is no coding to compress with", hint);
    }
    let levels = &config.levels;
    for (coding, level) in [(Coding::Zstd, levels.zstd), (Coding::Br, levels.br), (Coding::Gzip, levels.gzip)]
    {
        let (low, high) = coding.levels();
        if !(low..=high).contains(&level) {
            let hint = format!(
                "write a level from {low} to {high}; beyond, files are made ahead and not on the fly"
            );
            let message = format!("there is no level {level} of `{}` here", coding.as_str());
            report.error_with_hint(&at.key("levels").key(coding.as_str()), message, hint);
        }
    }
    let mut types = Vec::with_capacity(config.types.len());
    for (index, text) in config.types.iter().enumerate() {
        match TypePattern::parse(text) {
            Some(pattern) => types.push(pattern),
            None => report.error_with_hint(
                &at.key("types").index(index),
                format!("`{text}` is no media type"),
                "write \"application/json\", \"text/*\" or \"*+json\"",
            ),
        }
    }
    if config.types.is_empty() {
        let hint = "name some media types, or leave `compress` out";
        report.error_with_hint(&at.key("types"), "nothing would be compressed", hint);
    }
    CompressPlan {
        codings: codings.into(),
        min_size: config.min_size.bytes(),
        types: types.into(),
        plain_origin: config.origin == OriginCoding::Identity,
    }
}

/// Checks what encoded forms may take, of the `limit` for all bodies in memory, in bytes.
pub fn plan_kept(config: &KeptConfig, limit: u64, at: &Path, report: &mut Report) -> u64 {
    let memory = config.memory.bytes();
    if *config == KeptConfig::default() {
        return memory.min(limit / 8);
    }
    if memory > limit / 2 {
        report.error_with_hint(
            &at.key("memory"),
            format!("{} is more than half of `server.memory_limit`", config.memory),
            "an eighth of `cache.memory` is a good `memory`",
        );
    }
    memory
}
