//! Finds all problems of a tree, not only the first: reports an error, mends its place, and tries again.
//!
//! Mending never invents a second problem. A misspelt key becomes the one that was meant, so that its value
//! is checked too; any other unknown key goes. A wrong value becomes a [`Hole`]: absent, or where the key is
//! required, a stand-in.

use serde::de::DeserializeOwned;

use super::conceal;
use super::de::{Error, Fault, NodeDeserializer, STAND_INS};
use super::node::{Entry, Hole, Node, Span, Value, clip};
use crate::report::{Path, Report, Segment, nearest};

/// After so many problems we stop looking for more.
pub const MAX_PROBLEMS: usize = 100;

/// Mending takes several rounds a problem at worst: one for each stand-in.
const MAX_ROUNDS: usize = MAX_PROBLEMS * (STAND_INS.len() + 2);

/// Places that the tree does not know, or not any more: unknown keys, secrets of a wrong type, and where the
/// syntax is wrong.
pub type Pins = Vec<Pin>;

/// Such a place.
#[derive(Clone, Debug)]
pub struct Pin {
    /// The path that stands for it.
    pub path: Path,
    /// The place.
    pub span: Span,
    /// Where values stand that are no part of the tree any more.
    pub values: Vec<Span>,
}

/// Deserializes, with every problem in `report`. After an error the value is what could be made of the rest.
pub fn decode<T: DeserializeOwned + Default>(root: &mut Node, report: &mut Report, pins: &mut Pins) -> T {
    for _ in 0..MAX_ROUNDS {
        let error = match T::deserialize(NodeDeserializer(root)) {
            Ok(value) => return value,
            Err(error) => error,
        };
        if !mend(root, &error, report, pins) {
            break;
        }
        if report.problems().len() >= MAX_PROBLEMS {
            report.error(&Path::root(), format!("stopped after {MAX_PROBLEMS} problems: there may be more"));
            break;
        }
    }
    if !report.has_errors() {
        report.error(&Path::root(), "this cannot be read as a config");
    }
    T::default()
}

/// Reports an error and mends its place; `false` where that is not possible.
fn mend(root: &mut Node, error: &Error, report: &mut Report, pins: &mut Pins) -> bool {
    let path = error.path();
    let Some(node) = root.at_mut(path.segments()) else { return false };
    match (&error.fault, &mut node.value) {
        (Fault::UnknownKey { key, known }, Value::Table(entries)) => {
            unknown_key(entries, key, known, &path, report, pins)
        }
        (Fault::MissingKey(key), Value::Table(entries)) => {
            match entries.iter_mut().find(|entry| entry.key == *key) {
                Some(entry) => entry.node.value = Value::Hole(Hole::StandIn(0)),
                None => {
                    report.error(&path, format!("{} is missing here", quoted(key)));
                    entries.push(stand_in(key, node.span));
                }
            }
            true
        }
        (Fault::MissingKey(key), Value::Null) => {
            report.error(&path, format!("{} is missing here", quoted(key)));
            node.value = Value::Table(vec![stand_in(key, node.span)]);
            true
        }
        // A hole that has to be a table with required keys: no problem of its own.
        (Fault::MissingKey(key), Value::Hole(_)) => {
            node.value = Value::Table(vec![stand_in(key, node.span)]);
            true
        }
        (_, Value::Hole(hole)) => {
            let turn = match hole {
                Hole::Absent => 0,
                Hole::StandIn(turn) => *turn + 1,
            };
            *hole = Hole::StandIn(turn);
            turn < STAND_INS.len() || give_up_on_parent(root, &path)
        }
        (fault, _) => {
            let (message, hint) = match fault {
                Fault::Type { expected } if conceal::is_secret(&path) => {
                    (format!("expected {}, found something else", in_words(expected)), None)
                }
                _ => wrong_value(fault, node, path.segments().last()),
            };
            match hint {
                Some(hint) => report.error_with_hint(&path, message, hint),
                None => report.error(&path, message),
            }
            if conceal::is_secret(&path) {
                let mut pin = Pin { path: path.clone(), span: node.span, values: Vec::new() };
                conceal::values(node, &mut pin.values);
                pins.push(pin);
            }
            let in_list = matches!(path.segments().last(), Some(Segment::Index(_)));
            node.value = Value::Hole(if in_list { Hole::StandIn(0) } else { Hole::Absent });
            !path.segments().is_empty()
        }
    }
}

/// No stand-in fits: what the node is part of becomes a hole.
fn give_up_on_parent(root: &mut Node, path: &Path) -> bool {
    let Some((_, parent)) = path.segments().split_last() else { return false };
    let Some(node) = root.at_mut(parent) else { return false };
    node.value = Value::Hole(Hole::Absent);
    !parent.is_empty()
}

fn stand_in(key: &str, span: Span) -> Entry {
    let node = Node { span, value: Value::Hole(Hole::StandIn(0)) };
    Entry { key: key.to_owned(), key_span: span, node }
}

fn unknown_key(
    entries: &mut Vec<Entry>,
    key: &str,
    known: &'static [&'static str],
    at: &Path,
    report: &mut Report,
    pins: &mut Pins,
) -> bool {
    let Some(index) = entries.iter().position(|entry| entry.key == key) else { return false };
    let free = |candidate: &&str| !entries.iter().any(|entry| entry.key == **candidate);
    let word = key.to_lowercase().replace('-', "_");
    let meant = nearest(&word, known.iter().copied().filter(|candidate| free(candidate)));
    let hint = match meant.or_else(|| nearest(&word, known.iter().copied())) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "no key is possible here".to_owned(),
        None => format!("possible here: {}", list(known)),
    };
    let wrong = at.key(key);
    let place = if at.segments().is_empty() { String::new() } else { format!(" in `{at}`") };
    report.error_with_hint(&wrong, format!("unknown key {}{place}", quoted(key)), hint);
    if let Some(entry) = entries.get_mut(index) {
        let mut pin = Pin { path: wrong, span: entry.key_span, values: Vec::new() };
        match meant {
            Some(meant) => entry.key = meant.to_owned(),
            None => {
                conceal::values(&entry.node, &mut pin.values);
                entries.remove(index);
            }
        }
        pins.push(pin);
    }
    true
}

fn quoted(key: &str) -> String {
    format!("`{}`", clip(key))
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ")
}

/// What to say about a value, and what to do about it.
fn wrong_value(fault: &Fault, node: &Node, step: Option<&Segment>) -> (String, Option<String>) {
    match fault {
        Fault::UnknownVariant { known } => {
            let hint = match &node.value {
                Value::Text(text) => nearest(&text.to_lowercase(), known.iter().copied()),
                _ => None,
            };
            let message = format!("expected one of {}, found {}", list(known), node.describe());
            (message, hint.map(|meant| format!("did you mean \"{meant}\"?")))
        }
        Fault::Type { expected } => {
            let message = format!("expected {}, found {}", in_words(expected), node.describe());
            (message, type_hint(expected, node, step))
        }
        Fault::Other(message) => (message.clone(), None),
        // Never of a value, by construction: said all the same rather than lost.
        Fault::UnknownKey { key, .. } => (format!("unknown key {}", quoted(key)), None),
        Fault::MissingKey(key) => (format!("{} is missing here", quoted(key)), None),
    }
}

/// What serde expected, in the reader's words.
fn in_words(expected: &str) -> String {
    let range = |from: i64, to: u64| format!("a whole number from {from} to {to}");
    match expected {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => range(0, u64::MAX),
        "i32" => range(i32::MIN.into(), i32::MAX as u64),
        "i64" => range(i64::MIN, i64::MAX as u64),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn type_hint(expected: &str, node: &Node, step: Option<&Segment>) -> Option<String> {
    let key = match step {
        Some(Segment::Key(key)) => key.as_str(),
        Some(Segment::Index(_)) => "...",
        None => return None,
    };
    match (expected, &node.value) {
        ("a string", Value::Int(value)) => Some(format!("put it in quotes: \"{value}\"")),
        ("a string", Value::Float(value)) => Some(format!("put it in quotes: \"{value}\"")),
        ("a string", Value::Bool(value)) => Some(format!("put it in quotes: \"{value}\"")),
        ("a boolean" | "u8" | "u16" | "u32" | "u64" | "i32" | "f64", Value::Text(text))
            if text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok() =>
        {
            Some(format!("leave the quotes out: {text}"))
        }
        ("a sequence", Value::Table(_)) => {
            Some(format!("there may be several: write `[[{key}]]` in TOML, `- ` before each in YAML"))
        }
        ("a sequence", Value::Text(text)) => Some(format!("write a list: [{:?}]", clip(text))),
        (other, Value::List(_)) if other.starts_with("struct ") => {
            Some(format!("there is only one: write `[{key}]` in TOML, no `-` in YAML"))
        }
        _ => None,
    }
}
