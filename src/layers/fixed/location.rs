//! Where a redirect leads.

use http::{HeaderValue, Uri};

use crate::error::{Error, InternalError};
use crate::http::normalize::{self, TargetError};
use crate::http::template::{self, Part};
use crate::http::{Params, Scheme, Target};
use crate::report::{Path, Report, nearest};

/// The longest `Location`, in bytes.
const LOCATION_MAX: usize = 32 * 1024;

/// A template for `Location`: a path, or a URL whose scheme and host no captured value can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pieces: Vec<Piece>,
    relative: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Scheme,
    Host,
    Authority,
    Path,
    Query,
    Captured { name: Box<str>, in_query: bool },
}

/// The names that every request has a value for.
const BUILT_IN: [&str; 5] = ["scheme", "host", "authority", "path", "query"];

impl Default for Location {
    /// The root.
    fn default() -> Self {
        Self { pieces: vec![Piece::Text("/".into())], relative: true }
    }
}

impl Location {
    /// Whether it needs what the route's path captured under this name.
    pub fn uses(&self, name: &str) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Captured { name: known, .. } if **known == *name))
    }

    /// The field's value for one request.
    ///
    /// # Errors
    /// The request makes it too long, or it has no host and the template needs one.
    pub fn expand(&self, target: &Target, params: &Params) -> Result<HeaderValue, Error> {
        let mut out = String::new();
        let last = self.pieces.len().saturating_sub(1);
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Scheme => out.push_str(target.scheme.as_str()),
                Piece::Host | Piece::Authority if target.host().is_empty() => {
                    return Err(TargetError::NoHost.into());
                }
                Piece::Host => out.push_str(target.host()),
                Piece::Authority => out.push_str(target.authority()),
                Piece::Path => out.push_str(target.path()),
                Piece::Query => match target.query().filter(|query| !query.is_empty()) {
                    Some(query) => out.push_str(query),
                    None if index == last && out.ends_with(['?', '&']) => {
                        out.pop();
                    }
                    None => {}
                },
                Piece::Captured { name, in_query } => {
                    let value = template::value(params, name).unwrap_or_default();
                    if *in_query { push_escaped(value, &mut out) } else { out.push_str(value) }
                }
            }
            if out.len() > LOCATION_MAX {
                return Err(TargetError::TooLong.into());
            }
        }
        let mut text = out.as_str();
        while let Some(rest) = text.strip_prefix('/').filter(|rest| self.relative && rest.starts_with('/')) {
            text = rest;
        }
        HeaderValue::from_str(text).map_err(|_| InternalError::Bug("a location is no field value").into())
    }

    /// Checks a template; `None` after an error.
    pub(super) fn plan(text: &str, names: &[&str], at: &Path, report: &mut Report) -> Option<Self> {
        let parts = match template::parse(text) {
            Ok(parts) => parts,
            Err(error) => {
                report.error(at, error.to_string());
                return None;
            }
        };
        let mut pieces = Vec::new();
        let mut in_query = false;
        for part in parts {
            pieces.push(match part {
                Part::Text(text) => {
                    in_query |= text.contains('?');
                    Piece::Text(normalize::encode_text(&text).into())
                }
                Part::Name(name) => plan_name(&name, in_query, names, at, report)?,
            });
        }
        let relative = match check(&pieces) {
            Ok(relative) => relative,
            Err(Unsafe { message, hint }) => {
                report.error_with_hint(at, message, hint);
                return None;
            }
        };
        let location = Self { pieces, relative };
        if !location.is_uri(names) {
            report.error(at, "this makes no valid URL");
            return None;
        }
        Some(location)
    }

    /// Whether a harmless request makes it a URI.
    fn is_uri(&self, names: &[&str]) -> bool {
        let target = Target {
            scheme: Scheme::Https,
            authority: HeaderValue::from_static("host.example"),
            path_and_query: http::uri::PathAndQuery::from_static("/path?query"),
        };
        let params = names.iter().map(|name| ((*name).into(), "x".into())).collect();
        let value = self.expand(&target, &params).ok();
        // The `http` crate knows no fragments; what is before one must be a URI.
        let text = value.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte);
        let Ok(uri) = before.parse::<Uri>() else { return false };
        let host = uri.authority().map(|host| normalize::authority(host.as_str().as_bytes(), Scheme::Https));
        before.bytes().chain(fragment.bytes()).all(legal) && matches!(host, None | Some(Ok(_)))
    }
}

fn plan_name(name: &str, in_query: bool, names: &[&str], at: &Path, report: &mut Report) -> Option<Piece> {
    if BUILT_IN.contains(&name) && names.contains(&name) {
        report.warn(
            at,
            format!("`{{{name}}}` is that part of the request, not what the path captures"),
            "give the path's parameter another name",
        );
    }
    match name {
        "scheme" => Some(Piece::Scheme),
        "host" => Some(Piece::Host),
        "authority" => Some(Piece::Authority),
        "path" => Some(Piece::Path),
        "query" if in_query => Some(Piece::Query),
        "query" => {
            report.error_with_hint(at, "`{query}` comes after a `?`", "write `?{query}`");
            None
        }
        name if names.contains(&name) => Some(Piece::Captured { name: name.into(), in_query }),
        name => {
            let message = format!("the route's path captures no `{name}`");
            match nearest(name, names.iter().copied().chain(BUILT_IN)) {
                Some(meant) => report.error_with_hint(at, message, format!("did you mean `{meant}`?")),
                None => report.error(at, message),
            }
            None
        }
    }
}

/// Why a template could lead elsewhere than it says.
struct Unsafe {
    message: &'static str,
    hint: &'static str,
}

/// Whether a template is a path; otherwise it is a URL whose host is fixed before any captured value comes.
fn check(pieces: &[Piece]) -> Result<bool, Unsafe> {
    const KIND: Unsafe = Unsafe {
        message: "a redirect leads to a path or to a URL with a host",
        hint: "begin with `/`, `https://name/`, or `{scheme}://{host}/`",
    };
    let mut pieces = pieces.iter();
    let after_scheme = match pieces.next() {
        Some(Piece::Path) => return Ok(true),
        Some(Piece::Text(text)) if text.starts_with('/') && !text.starts_with("//") => return Ok(true),
        Some(Piece::Text(text)) => {
            text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(KIND)?
        }
        Some(Piece::Scheme) => match pieces.next() {
            Some(Piece::Text(text)) => text.strip_prefix("://").ok_or(KIND)?,
            _ => return Err(KIND),
        },
        _ => return Err(KIND),
    };
    let ends = |text: &str| text.contains(['/', '?', '#']);
    if after_scheme.starts_with(['/', '?', '#']) {
        return Err(KIND);
    }
    if ends(after_scheme) {
        return Ok(false);
    }
    let mut named = !after_scheme.is_empty();
    for piece in pieces {
        match piece {
            Piece::Text(text) if ends(text) => return if named { Ok(false) } else { Err(KIND) },
            Piece::Path => return if named { Ok(false) } else { Err(KIND) },
            Piece::Text(_) | Piece::Host | Piece::Authority => named = true,
            Piece::Captured { .. } | Piece::Query | Piece::Scheme => {
                return Err(Unsafe {
                    message: "a captured value could change the host this leads to",
                    hint: "put a `/` between the host and the value",
                });
            }
        }
    }
    if named { Ok(false) } else { Err(KIND) }
}

/// Adds a value to a query: what would end it or begin another parameter is escaped.
fn push_escaped(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '&' | '=' | '+' | ';' => normalize::encode(c as u8, out),
            c => out.push(c),
        }
    }
}
