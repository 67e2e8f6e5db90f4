//! `${NAME}`, `${NAME:-default}` and `${file:PATH}` inside string values, after parsing.
//!
//! Replacing happens in the tree, not in the text: what a variable holds can add no key and close no quote.
//! `$$` is a dollar; a dollar before anything else stands for itself. A default ends at the first `}`. As in
//! a shell, `:-` applies to an empty variable too. Keys and comments are left alone.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};

use super::node::{Hole, Node, Value};
use crate::report::{Path, Report};

/// The largest file `${file:PATH}` takes, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where values come from.
pub struct Scope<'a> {
    /// The variables of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that relative paths start from: the config file's.
    pub folder: &'a FilePath,
    /// The files that were asked for.
    pub files: RefCell<Vec<PathBuf>>,
}

/// What is wrong with a `${...}`, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    message: String,
    hint: String,
}

/// Replaces in all strings below `node`; a string where that fails is reported and becomes a hole.
pub fn expand(node: &mut Node, at: &Path, scope: &Scope<'_>, report: &mut Report) {
    match &mut node.value {
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(item, &at.index(index), scope, report);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                expand(&mut entry.node, &at.key(&entry.key), scope, report);
            }
        }
        Value::Text(text) if text.contains('$') => match expand_text(text, scope) {
            Ok(Some(text)) => node.value = Value::Expanded(text),
            Ok(None) => {
                let text = text.replace("$$", "$");
                node.value = Value::Text(text);
            }
            Err(refused) => {
                report.error_with_hint(at, refused.message, refused.hint);
                node.value = Value::Hole(Hole::Absent);
            }
        },
        _ => {}
    }
}

/// The text with everything replaced, or `None` if there is no `${...}` in it.
fn expand_text(text: &str, scope: &Scope<'_>) -> Result<Option<String>, Refused> {
    let mut out = String::new();
    let mut replaced = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, after) = after.split_once('}').ok_or_else(|| Refused {
                message: "`${` without `}`".to_owned(),
                hint: "write `$${` for a dollar and a brace".to_owned(),
            })?;
            out.push_str(&resolve(inside, scope)?);
            replaced = true;
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(replaced.then_some(out))
}

/// What stands between the braces, resolved.
fn resolve(inside: &str, scope: &Scope<'_>) -> Result<String, Refused> {
    if let Some(path) = inside.strip_prefix("file:") {
        return read(path, scope);
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(good) {
        return Err(Refused {
            message: format!("`${{{inside}}}` is no variable"),
            hint: "write `${NAME}`, `${NAME:-default}` or `${file:PATH}`; `$$` is a dollar".to_owned(),
        });
    }
    let value = (scope.variable)(name);
    match (value, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Refused {
            message: format!("the environment variable `{name}` is not set"),
            hint: format!("set it, or give a default: `${{{name}:-...}}`"),
        }),
    }
}

/// The file's text without its last line end, as editors and Kubernetes secrets differ there.
fn read(path: &str, scope: &Scope<'_>) -> Result<String, Refused> {
    let full = scope.folder.join(path);
    let refused = |why: String| Refused {
        message: format!("cannot read `{path}`: {why}"),
        hint: format!("looked for `{}`: paths start at the config file's folder", full.display()),
    };
    if path.is_empty() || full.is_dir() {
        return Err(refused("it is not a file".to_owned()));
    }
    scope.files.borrow_mut().push(full.clone());
    let mut bytes = Vec::new();
    File::open(&full)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(refused("it is larger than 1 MiB".to_owned()));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".to_owned()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_expand(text: &str) -> Result<Option<String>, Refused> {
        let variable = |name: &str| match name {
            "HOST" => Some("example.com".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}".to_owned()),
            _ => None,
        };
        expand_text(
            text,
            &Scope { variable: &variable, folder: FilePath::new("."), files: RefCell::default() },
        )
    }

    #[test]
    fn what_is_replaced() {
        for (text, expected) in [
            ("${HOST}", "example.com"),
            ("http://${HOST}:80/", "http://example.com:80/"),
            ("${NONE:-fallback}", "fallback"),
            ("${NONE:-}", ""),
            ("${EMPTY:-fallback}", "fallback"),
            ("${EMPTY}", ""),
            ("${HOST:-x}${HOST}", "example.comexample.com"),
            ("$${HOST} ${HOST}", "${HOST} example.com"),
            ("${NONE:-a:-b}", "a:-b"),
            // What a variable holds is not looked at again.
            ("${TRICK}", "${HOST}"),
        ] {
            assert_eq!(try_expand(text).unwrap().as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not() {
        for text in ["", "plain", "$", "$HOST", "^/a$", "a$$b", "{rest}"] {
            assert_eq!(try_expand(text).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, part) in [
            ("${NONE}", "`NONE` is not set"),
            ("${HOST", "without `}`"),
            ("${}", "is no variable"),
            ("${1A}", "is no variable"),
            ("${A B}", "is no variable"),
            ("${file:}", "not a file"),
            ("${file:/nonexistent/x}", "cannot read"),
        ] {
            let refused = try_expand(text).unwrap_err();
            assert!(refused.message.contains(part), "{text}: {refused:?}");
        }
    }

    #[test]
    fn files_are_found_beside_the_config_and_lose_their_last_line_end() {
        let folder = tempfile::tempdir().unwrap();
        for (content, expected) in [("secret\n", "secret"), ("secret\r\n", "secret"), ("a\n\n", "a\n")] {
            std::fs::write(folder.path().join("token"), content).unwrap();
            let scope = Scope { variable: &|_| None, folder: folder.path(), files: RefCell::default() };
            assert_eq!(expand_text("${file:token}", &scope).unwrap().as_deref(), Some(expected));
        }
        std::fs::write(folder.path().join("token"), vec![b'a'; MAX_FILE as usize + 1]).unwrap();
        let scope = Scope { variable: &|_| None, folder: folder.path(), files: RefCell::default() };
        assert!(expand_text("${file:token}", &scope).unwrap_err().message.contains("1 MiB"));
    }
}
