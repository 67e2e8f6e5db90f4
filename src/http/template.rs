//! Texts with `{name}` in them, as `rewrite` and `redirect` have them.
//!
//! ```
//! use forebay::http::template::{Part, parse};
//! let parts = parse("/v1/{rest}")?;
//! assert_eq!(parts, [Part::Text("/v1/".into()), Part::Name("rest".into())]);
//! # Ok::<(), forebay::http::template::TemplateError>(())
//! ```

use crate::http::{Params, normalize};
use crate::report::{Path, Report, nearest};

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Goes out as it is.
    Text(Box<str>),
    /// Stands for a value.
    Name(Box<str>),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{name` or `name}`.
    #[error("a brace is open or closed alone")]
    Unbalanced,
    /// Longer than any use of it.
    #[error("longer than {TEMPLATE_MAX} bytes")]
    TooLong,
}

/// The longest template, in bytes: bounds what one request can make us write.
const TEMPLATE_MAX: usize = 2048;

/// Splits a text into its parts; no text is empty.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Part>, TemplateError> {
    if text.len() > TEMPLATE_MAX {
        return Err(TemplateError::TooLong);
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(TemplateError::Unbalanced)?;
        if before.contains('}') || name.contains('{') {
            return Err(TemplateError::Unbalanced);
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        parts.push(Part::Name(name.into()));
        rest = after;
    }
    if rest.contains('}') {
        return Err(TemplateError::Unbalanced);
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

/// Checks a template of a path or query, whose texts are encoded as they have to be there and whose names are
/// what a route's pattern captures; `None` after an error.
pub fn plan(text: &str, names: &[&str], at: &Path, report: &mut Report) -> Option<Vec<Part>> {
    let mut parts = match parse(text) {
        Ok(parts) => parts,
        Err(error) => {
            report.error(at, error.to_string());
            return None;
        }
    };
    let mut good = true;
    for part in &mut parts {
        match part {
            Part::Text(text) => *text = normalize::encode_text(text).into(),
            Part::Name(name) if names.contains(&&**name) => {}
            Part::Name(name) => {
                good = false;
                let message = format!("the route's path captures no `{name}`");
                match nearest(name, names.iter().copied()) {
                    Some(meant) => report.error_with_hint(at, message, format!("did you mean `{meant}`?")),
                    None => report.error(at, message),
                }
            }
        }
    }
    good.then_some(parts)
}

/// The value of a captured name.
pub fn value<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_must_pair() {
        for text in ["{a", "a}", "{a{b}}", "{a}}", "}{", "a}{b}"] {
            assert_eq!(parse(text), Err(TemplateError::Unbalanced), "{text}");
        }
        assert_eq!(parse("{a}{b}").unwrap().len(), 2);
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse(&"a".repeat(2049)), Err(TemplateError::TooLong));
    }
}
