//! Path patterns: literals, `{param}` for one segment, `{*rest}` at the end.

use std::fmt;
use std::sync::Arc;

use crate::http::Params;
use crate::http::normalize::{self, PathRules, TargetError};

/// The most segments of a pattern: bounds the depth of the search.
const SEGMENTS_MAX: usize = 64;

/// A parsed path pattern, its literals in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub(super) segments: Vec<Segment>,
    pub(super) tail: Tail,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    Param(Param),
}

impl Segment {
    /// Whether it matches a segment of a path.
    fn takes(&self, part: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *part,
            Self::Param(_) => !part.is_empty(),
        }
    }
}

/// What follows the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    End,
    /// Anything, named by `{*rest}`.
    Rest(Param),
    /// Anything, because the route has no path.
    Any,
}

/// A name, and whether anybody uses its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Param {
    name: Arc<str>,
    captured: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Patterns are absolute.
    #[error("a path begins with a slash")]
    NotAPath,
    /// `x{id}` or `{id}.json`.
    #[error("`{0}`: a parameter takes a whole segment, like `/orders/{{id}}/items`")]
    NotAWholeSegment(String),
    /// `{}`, `{a-b}`.
    #[error("`{0}` is no name for a parameter: use letters, digits and `_`, and begin with a letter")]
    BadName(String),
    /// The same name twice.
    #[error("the parameter `{0}` is there twice")]
    Duplicate(Arc<str>),
    /// `{*rest}/more`.
    #[error("`{{*{0}}}` takes all that is left, so it must come last")]
    RestNotLast(Arc<str>),
    /// `/a/../b`.
    #[error("dot segments are removed before matching, so this matches nothing")]
    Dots,
    /// `?` or `#`.
    #[error("a path ends before `{0}`")]
    NotThePath(char),
    /// Too many segments.
    #[error("a path pattern has at most {SEGMENTS_MAX} segments")]
    TooLong,
    /// A literal that no request can have.
    #[error("no request has such a path: {0}")]
    Target(TargetError),
}

impl PatternError {
    /// What to do about it, where that can be said.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotThePath('?') => Some("match the query with `query = { name = \"value\" }`"),
            Self::RestNotLast(_) => Some("use `{name}` for one segment in the middle"),
            _ => None,
        }
    }
}

impl Pattern {
    /// The pattern of a route without a path: everything, nothing captured.
    pub const fn any() -> Self {
        Self { segments: Vec::new(), tail: Tail::Any }
    }

    /// Parses a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words for the user.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let path = text.strip_prefix('/').ok_or(PatternError::NotAPath)?;
        if path.split('/').count() > SEGMENTS_MAX {
            return Err(PatternError::TooLong);
        }
        let mut pattern = Self { segments: Vec::new(), tail: Tail::End };
        for part in path.split('/') {
            if let Tail::Rest(rest) = &pattern.tail {
                return Err(PatternError::RestNotLast(rest.name.clone()));
            }
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(inner) => match inner.strip_prefix('*') {
                    Some(name) => pattern.tail = Tail::Rest(pattern.param(name)?),
                    None => {
                        let param = pattern.param(inner)?;
                        pattern.segments.push(Segment::Param(param));
                    }
                },
                None => pattern.segments.push(Segment::Literal(literal(part)?)),
            }
        }
        Ok(pattern)
    }

    /// A new parameter of this pattern.
    fn param(&self, name: &str) -> Result<Param, PatternError> {
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid {
            return Err(PatternError::BadName(name.to_owned()));
        }
        let name: Arc<str> = name.into();
        if self.params().any(|param| param.name == name) {
            return Err(PatternError::Duplicate(name));
        }
        Ok(Param { name, captured: true })
    }

    fn params(&self) -> impl Iterator<Item = &Param> {
        let rest = match &self.tail {
            Tail::Rest(param) => Some(param),
            Tail::End | Tail::Any => None,
        };
        let segments = self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(param) => Some(param),
            Segment::Literal(_) => None,
        });
        segments.chain(rest)
    }

    /// The names it captures, from the left.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.params().map(|param| &param.name)
    }

    /// Captures only the names that are used; a name that is not costs nothing.
    pub fn capture_only(&mut self, used: impl Fn(&str) -> bool) {
        let rest = match &mut self.tail {
            Tail::Rest(param) => Some(param),
            Tail::End | Tail::Any => None,
        };
        let segments = self.segments.iter_mut().filter_map(|segment| match segment {
            Segment::Param(param) => Some(param),
            Segment::Literal(_) => None,
        });
        for param in segments.chain(rest) {
            param.captured = used(&param.name);
        }
    }

    /// The values of the parameters in a path that matches. A rest without even its slash (`/orders` for
    /// `/orders/{*rest}`) is not among them.
    pub fn capture(&self, path: &str) -> Params {
        let mut params = Params::new();
        if !self.params().any(|param| param.captured) {
            return params;
        }
        let mut take = |param: &Param, text: &str| {
            if param.captured {
                params.push((param.name.clone(), text.into()));
            }
        };
        let mut left = Some(below_root(path));
        for segment in &self.segments {
            let Some(text) = left else { return params };
            let (part, next) = split_segment(text);
            if let Segment::Param(param) = segment {
                take(param, part);
            }
            left = next;
        }
        if let (Tail::Rest(param), Some(text)) = (&self.tail, left) {
            take(param, text);
        }
        params
    }

    /// How specific it is: of two patterns that match the same path, the more specific one has the smaller
    /// key.
    pub(super) fn specificity(&self) -> Vec<u8> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Param(_) => 1,
        });
        let tail = match self.tail {
            Tail::End => 0,
            Tail::Rest(_) | Tail::Any => 2,
        };
        segments.chain([tail]).collect()
    }

    /// The same text for patterns that differ in the names of their parameters only.
    pub(super) fn shape(&self) -> String {
        let mut shape: String = self
            .segments
            .iter()
            .flat_map(|segment| match segment {
                Segment::Literal(text) => ["/", &**text],
                Segment::Param(_) => ["/", "{}"],
            })
            .collect();
        if self.tail != Tail::End {
            shape.push_str("/{*}");
        }
        shape
    }

    /// Whether it matches a normalised path.
    pub fn takes(&self, path: &str) -> bool {
        let mut left = Some(below_root(path));
        for segment in &self.segments {
            let Some(text) = left else { return false };
            let (part, next) = split_segment(text);
            if !segment.takes(part) {
                return false;
            }
            left = next;
        }
        left.is_none() || self.tail != Tail::End
    }

    /// Whether it may match a path that is this one or goes on from it, segment by segment.
    pub fn may_begin(&self, prefix: &str) -> bool {
        let prefix = below_root(prefix);
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let mut parts = prefix.split('/').filter(|_| !prefix.is_empty());
        let fits = self.segments.iter().all(|segment| parts.next().is_none_or(|part| segment.takes(part)));
        fits && (parts.next().is_none() || self.tail != Tail::End)
    }

    /// Whether it matches every path that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        let open = |pattern: &Self| pattern.tail != Tail::End;
        let length = self.segments.len();
        let lengths_fit = if open(self) {
            other.segments.len() >= length
        } else {
            other.segments.len() == length && !open(other)
        };
        lengths_fit
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Literal(mine), Segment::Literal(theirs)) => mine == theirs,
                (Segment::Param(_), Segment::Literal(theirs)) => !theirs.is_empty(),
                (Segment::Param(_), Segment::Param(_)) => true,
                (Segment::Literal(_), Segment::Param(_)) => false,
            })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Param(param) => write!(f, "/{{{}}}", param.name)?,
            }
        }
        match &self.tail {
            Tail::End => Ok(()),
            Tail::Rest(param) => write!(f, "/{{*{}}}", param.name),
            Tail::Any => f.write_str("*"),
        }
    }
}

/// A literal segment as it is in a normalised path.
fn literal(part: &str) -> Result<Box<str>, PatternError> {
    if part.contains(['{', '}']) {
        return Err(PatternError::NotAWholeSegment(part.to_owned()));
    }
    if let Some(end) = part.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(PatternError::NotThePath(end));
    }
    // The user may write `/café au lait`; on the wire it is encoded.
    let encoded = format!("/{}", normalize::encode_text(part));
    let normal = normalize::path(&encoded, PathRules::default()).map_err(PatternError::Target)?;
    if normal == "/" && !part.is_empty() {
        return Err(PatternError::Dots);
    }
    Ok(below_root(&normal).into())
}

/// A path without its first slash.
pub(super) fn below_root(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// The first segment, and what follows its slash.
pub(super) fn split_segment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((segment, rest)) => (segment, Some(rest)),
        None => (text, None),
    }
}
