//! What of a config nobody is to see: problems are shown with their line, and a line may hold a token.
//!
//! A value is secret by its name, wherever it stands: a misplaced token is one too. So are the fields that
//! are added to requests, which may be credentials, the user information of URLs (RFC 3986 §3.2.1), and what
//! stands behind a key that nothing knows. The syntax stays visible, and how long the value is.

use std::borrow::Cow;

use super::node::{Node, Span, Value};
use crate::report::{Path, Segment};

/// The last step to what is secret.
const NAMES: [&str; 5] = ["token", "secret", "password", "keys", "jwks"];

/// Whether the value at a path is secret.
pub fn is_secret(path: &Path) -> bool {
    let mut keys = path.segments().iter().rev().filter_map(|step| match step {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Index(_) => None,
    });
    match (keys.next(), keys.next(), keys.next()) {
        (Some(name), _, _) if NAMES.contains(&name) => true,
        (Some(_), Some("set" | "add"), Some("request_headers")) => true,
        _ => false,
    }
}

/// Where the secrets of a config stand.
pub fn places(root: &Node) -> Vec<Span> {
    let mut found = Vec::new();
    gather(root, &Path::root(), &mut found);
    found
}

fn gather(node: &Node, at: &Path, found: &mut Vec<Span>) {
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                gather(item, &at.index(index), found);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                gather(&entry.node, &at.key(&entry.key), found);
            }
        }
        Value::Text(text) | Value::Expanded(text) if user_information(text).is_some() => {
            found.push(node.span);
        }
        // Where keys are is no secret.
        Value::Text(text) if text.starts_with("https://") => {}
        _ if is_secret(at) => found.push(node.span),
        _ => {}
    }
}

/// Where the values in a node stand, whatever they are called.
pub fn values(node: &Node, found: &mut Vec<Span>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| values(item, found)),
        Value::Table(entries) => entries.iter().for_each(|entry| values(&entry.node, found)),
        _ => found.push(node.span),
    }
}

/// Where secrets may stand in a text that is no config: behind their names, up to the next line that begins
/// with a name of its own.
pub fn guessed(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    let (mut start, mut hidden) = (0, false);
    for line in text.split_inclusive('\n') {
        let span = |from: usize, to: usize| Span::new(start + from, start + to);
        if let Some((from, to)) = user_information(line) {
            found.push(span(from, to));
        }
        let from = match after_secret_name(line) {
            Some(at) => Some(at),
            None if begins_with_name(line) => None,
            None => hidden.then_some(0),
        };
        hidden = from.is_some();
        found.extend(from.map(|from| span(from, line.len())));
        start += line.len();
    }
    found
}

/// Where the value begins of the first key on a line that is called like a secret.
fn after_secret_name(line: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let places =
        NAMES.iter().flat_map(|name| line.match_indices(name).map(|(at, name)| (at, at + name.len())));
    let values = places.filter_map(|(from, to)| {
        let (before, after) = (line.get(..from)?, line.get(to..)?);
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return None;
        }
        let value = after.trim_start_matches(['"', '\'']).trim_start();
        let value = value.strip_prefix(['=', ':']).unwrap_or(value);
        (!value.is_empty()).then_some(line.len() - value.len())
    });
    values.min()
}

/// Whether a line begins with a key or the name of a table.
fn begins_with_name(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ");
    let name = line.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.\"' ".contains(c)));
    let (name, rest) = line.split_at_checked(name.unwrap_or(line.len())).unwrap_or_default();
    (rest.starts_with(['=', ':']) && !name.is_empty()) || (name.is_empty() && rest.starts_with('['))
}

/// Where in a text the user information of a URL stands: up to its last `@`, for a password that is not
/// encoded as it should be may have anything in it.
fn user_information(text: &str) -> Option<(usize, usize)> {
    let from = text.find("://")? + 3;
    let authority = text.get(from..)?;
    let end = authority.find(['`', '"', '\'', '\n']).unwrap_or(authority.len());
    let length = authority.get(..end)?.rfind('@')?;
    Some((from, from + length))
}

/// A text without the user information of the URLs in it.
pub fn without_user_information(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    let mut done = 0;
    while let Some((from, to)) = out.get(done..).and_then(user_information) {
        let (from, to) = (done + from, done + to);
        out.to_mut().replace_range(from..to, "***");
        done = from + "***".len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a text when the spans are masked.
    fn masked(text: &str, spans: &[Span]) -> String {
        let hidden = |at: usize| spans.iter().any(|span| (span.start..span.end).contains(&at));
        text.char_indices().map(|(at, c)| if hidden(at) && c != '\n' { '*' } else { c }).collect()
    }

    #[test]
    fn values_by_name() {
        let toml = concat!(
            "admin = { listen = \"a:1\", token = \"hunter2\" }\n",
            "consumer.a = { keys = [\"one\", \"two\"], password = 'three' }\n",
            "upstream.u.endpoints = [\"http://me:pass@h\", \"http://h\"]\n",
            "[[route]]\nname = \"secret\"\nauth = { keys = { header = \"x-key\" }, jwt.secret = 5 }\n",
            "[[route]]\nauth = { jwt.jwks = \"https://idp/keys\" }\n[[route]]\nauth = { jwt.jwks = '{}' }\n",
            "request_headers = { set = { authorization = \"Bearer x\" }, remove = [\"x-y\"] }\n",
        );
        let expected = concat!(
            "admin = { listen = \"a:1\", token = ********* }\n",
            "consumer.a = { keys = [*****, *****], password = ******* }\n",
            "upstream.u.endpoints = [******************, \"http://h\"]\n",
            "[[route]]\nname = \"secret\"\nauth = { keys = { header = \"x-key\" }, jwt.secret = * }\n",
            "[[route]]\nauth = { jwt.jwks = \"https://idp/keys\" }\n[[route]]\nauth = { jwt.jwks = **** }\n",
            "request_headers = { set = { authorization = ********** }, remove = [\"x-y\"] }\n",
        );
        let root = crate::config::read::read(crate::config::read::Syntax::Toml, toml).unwrap();
        assert_eq!(masked(toml, &places(&root)), expected);
        let yaml = "admin:\n  token: hunter2 # it\n  listen: a\nconsumer: {a: {keys: [one, \"tw\u{f6}\"]}}\n";
        let expected = "admin:\n  token: ******* # it\n  listen: a\nconsumer: {a: {keys: [***, *****]}}\n";
        let root = crate::config::read::read(crate::config::read::Syntax::Yaml, yaml).unwrap();
        assert_eq!(masked(yaml, &places(&root)), expected);
    }

    #[test]
    fn values_by_guess() {
        for (text, expected) in [
            ("token = hunter2\nlisten = a", "token =********\nlisten = a"),
            ("a = { token = \"x\", b", "a = { token =*******"),
            ("\"token\": x", "\"token\":**"),
            ("keys = [\n  \"one\"\n  \"two\"]\n[x]", "keys =**\n*******\n********\n[x]"),
            ("password: >\n  one\n  two\nlisten: b", "password:**\n*****\n*****\nlisten: b"),
            ("token \"hunter2\"", "token *********"),
            ("tokens = 1", "tokens = 1"),
            ("a = \"token\"", "a = \"token\""),
            ("e = \"http://a:b@h/\" x@", "e = \"http://***@h/\" x@"),
        ] {
            assert_eq!(masked(text, &guessed(text)), expected);
        }
    }

    #[test]
    fn user_information_of_urls() {
        for (text, expected) in [
            ("`http://u:p@h:1/a` and `https://x@y@z`", "`http://***@h:1/a` and `https://***@z`"),
            ("`http://u:p/#?& p@h` x@y", "`http://***@h` x@y"),
            ("http://h/ `x@y`", "http://h/ `x@y`"),
            ("://@", "://***@"),
            ("", ""),
        ] {
            assert_eq!(without_user_information(text), expected);
        }
    }

    /// Every key whose value is a [`Secret`](crate::units::Secret) is known here.
    #[test]
    fn all_secrets_have_their_names() {
        fn visit(folder: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let of_config = path.ends_with("config.rs") || path.parent().unwrap().ends_with("config");
                if path.is_dir() {
                    visit(&path, found);
                } else if of_config {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let fields =
                        text.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
                    let secret = fields.filter(|(_, kind)| kind.contains("Secret"));
                    found.extend(secret.map(|(name, _)| name.to_owned()));
                }
            }
        }
        let mut found = Vec::new();
        visit(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.len() >= 5, "{found:?}");
        for name in found {
            assert!(NAMES.contains(&name.as_str()), "{name}");
        }
    }
}
