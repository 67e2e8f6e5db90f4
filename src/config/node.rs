//! The config file as a tree of values, each with its place in the text; TOML and YAML both become this.

use crate::report::{Path, Segment};

/// A range of bytes of the file, `start <= end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to `end`; an end before the start makes it empty.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Whether no byte is in it.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// This span, or another where this one is empty: tables that no header names have no place of their own.
    pub const fn or(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value stands; of a TOML table with a header, the header.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// YAML's `null`, or nothing after a colon.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number, whole ones beyond 64 bits included.
    Float(f64),
    /// A string.
    Text(String),
    /// A string in which `${...}` was replaced: it may stand for a number or a boolean too.
    Expanded(String),
    /// A TOML date or time, which no key takes.
    Date,
    /// A list.
    List(Vec<Node>),
    /// A table, in the file's order or sorted.
    Table(Vec<Entry>),
    /// The place of something wrong that has been reported: it must not cause a second problem. See
    /// [`super::de`].
    Hole(Hole),
}

/// What a [`Value::Hole`] pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hole {
    /// The key is not there at all, so that its default applies.
    Absent,
    /// Whatever the type asks for; of the stand-ins for text, the one with this number.
    StandIn(usize),
}

/// A key of a table and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where it stands.
    pub key_span: Span,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The node for `key` in this table.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The node at exactly these steps below this one.
    pub fn at_mut(&mut self, steps: &[Segment]) -> Option<&mut Self> {
        let mut node = self;
        for step in steps {
            node = match (step, &mut node.value) {
                (Segment::Index(index), Value::List(items)) => items.get_mut(*index)?,
                (Segment::Key(key), Value::Table(entries)) => {
                    &mut entries.iter_mut().find(|entry| entry.key == *key)?.node
                }
                _ => return None,
            };
        }
        Some(node)
    }

    /// The place of the nearest node on the way to `path`, and how many steps of the path lead there.
    pub fn locate(&self, path: &Path) -> (Span, usize) {
        let mut node = self;
        let mut span = self.span;
        for (depth, step) in path.segments().iter().enumerate() {
            let (next, place) = match (step, &node.value) {
                (Segment::Index(index), Value::List(items)) => match items.get(*index) {
                    Some(item) => (item, item.span),
                    None => return (span, depth),
                },
                (Segment::Key(key), _) => match node.get(key) {
                    Some(entry) => (&entry.node, entry.node.span.or(entry.key_span)),
                    None => return (span, depth),
                },
                _ => return (span, depth),
            };
            node = next;
            span = place.or(span);
        }
        (span, path.segments().len())
    }

    /// What it is, for messages: `the number 10`. Text that came out of `${...}` may be secret and is not
    /// shown.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => format!("the string {:?}", clip(text)),
            Value::Expanded(_) => "what came out of `${...}`".to_owned(),
            Value::Date => "a date".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Hole(_) => "something wrong".to_owned(),
        }
    }
}

/// The first characters of a text that may be long.
pub fn clip(text: &str) -> &str {
    text.char_indices().nth(60).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}
