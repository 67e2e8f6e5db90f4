//! Text to tree: TOML through `toml`, YAML (and JSON, which is YAML) through `serde-saphyr`, both with
//! places.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use toml::de::{DeTable, DeValue};

use super::node::{Entry, Node, Span, Value};

/// How many levels YAML may nest: a config has eight, and each level takes some 40 KiB of stack in a debug
/// build.
const MAX_DEPTH: usize = 24;

/// How a config file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `.toml`
    Toml,
    /// `.yaml`, `.yml` and `.json`
    Yaml,
}

impl Syntax {
    /// By the file's name; a name without a known ending is TOML.
    pub fn of(path: &std::path::Path) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "yaml" | "yml" | "json" => Self::Yaml,
            _ => Self::Toml,
        }
    }
}

/// Why a text is not TOML or YAML.
#[derive(Clone, Debug)]
pub struct SyntaxError {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
}

/// Reads a text; several errors only where the parser can go on after one.
pub fn read(syntax: Syntax, text: &str) -> Result<Node, Vec<SyntaxError>> {
    match syntax {
        Syntax::Toml => read_toml(text),
        Syntax::Yaml => read_yaml(text).map_err(|error| vec![error]),
    }
}

fn read_toml(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { span: Span::default(), value: toml_table(table.into_inner()) });
    }
    let mut kept: Vec<SyntaxError> = Vec::new();
    let mut last_line = None;
    for error in errors {
        let span = error.span().map_or_else(Span::default, |range| Span::new(range.start, range.end));
        // What follows an error on the same line is mostly the parser finding its feet again.
        let line = text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count();
        if last_line != Some(line) {
            kept.push(SyntaxError { span, message: error.message().to_owned() });
        }
        last_line = Some(line);
    }
    Err(kept)
}

fn toml_table(table: DeTable<'_>) -> Value {
    let entries = table.into_iter().map(|(key, value)| {
        let key_span = Span::new(key.span().start, key.span().end);
        Entry { key: key.into_inner().into_owned(), key_span, node: toml_node(value) }
    });
    Value::Table(entries.collect())
}

// Recursive, and bounded: the parser refuses more than 80 levels.
fn toml_node(value: toml::Spanned<DeValue<'_>>) -> Node {
    let span = Span::new(value.span().start, value.span().end);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(items.into_iter().map(toml_node).collect()),
        DeValue::Table(table) => toml_table(table),
    };
    Node { span, value }
}

fn read_yaml(text: &str) -> Result<Node, SyntaxError> {
    // Only `true` and `false` are booleans: a country code `no` is text.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    };
    match serde_saphyr::from_str_with_options::<Tree>(text, options) {
        Ok(Tree(node)) => Ok(Node { span: Span::default(), ..node }),
        Err(error) => {
            let span = error.location().map_or_else(Span::default, |place| error_span(place, text));
            let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            // The place is ours to say.
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or(message).to_owned();
            Err(SyntaxError { span, message })
        }
    }
}

fn span_of(location: Location) -> Span {
    let span = location.span();
    let start = span.byte_offset().unwrap_or_default() as usize;
    Span::new(start, start.saturating_add(span.byte_len().unwrap_or_default() as usize))
}

/// The same for an error, which may know its line and column only.
fn error_span(location: Location, text: &str) -> Span {
    if location.span().byte_offset().is_some() {
        return span_of(location);
    }
    let above = usize::try_from(location.line()).unwrap_or(usize::MAX).saturating_sub(1);
    let before = usize::try_from(location.column()).unwrap_or(usize::MAX).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(above).map(str::len).sum();
    let line = text.get(start..).unwrap_or_default();
    let column: usize = line.chars().take(before).map(char::len_utf8).sum();
    Span::new(start + column, start + column)
}

/// A YAML node with its place. Recursive, and bounded: the parser's budget is [`MAX_DEPTH`] levels.
struct Tree(Node);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Bare>::deserialize(deserializer)?;
        // Where an alias is used, the value to correct stands at its anchor.
        Ok(Self(Node { span: span_of(spanned.defined), value: spanned.value.0 }))
    }
}

/// A YAML value without its own place.
struct Bare(Value);

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BareVisitor)
    }
}

struct BareVisitor;

impl<'de> Visitor<'de> for BareVisitor {
    type Value = Bare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Bare, E> {
        Ok(Bare(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Bare, E> {
        Ok(Bare(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Bare, E> {
        Ok(Bare(Value::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Bare, E> {
        Ok(Bare(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Bare, E> {
        Ok(Bare(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Bare, E> {
        Ok(Bare(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Bare, E> {
        Ok(Bare(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Bare, E> {
        Ok(Bare(Value::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Bare, E> {
        Ok(Bare(Value::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bare, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(mut node)) = items.next_element()? {
            // A table in a list has no place of its own either, nor a key that could lend it one.
            if let Value::Table(entries) = &node.value {
                let first = entries.first().map_or_else(Span::default, |entry| entry.key_span);
                node.span = node.span.or(first);
            }
            list.push(node);
        }
        Ok(Bare(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bare, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let Tree(node) = map.next_value()?;
            entries.push(Entry { key_span: span_of(key.defined), key: key.value, node });
        }
        Ok(Bare(Value::Table(entries)))
    }
}
