//! A serde `Deserializer` over the tree, whose errors know the node and what was expected there.
//!
//! [`Hole`]s are what lets [`super::repair`] go on after an error: an absent one is skipped, so that the
//! key's default applies; a stand-in gives whatever type is asked for.

use std::fmt::{self, Display};

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::node::{Entry, Hole, Node, Value};
use crate::report::{Path, Segment};

/// Texts that a hole tries in turn: one of them satisfies every type that is parsed from text.
pub const STAND_INS: [&str; 4] = ["", "1s", "1KiB", "1/s"];

/// A key or value that is not what was expected.
#[derive(Clone, Debug)]
pub struct Error {
    /// The steps to the node, the last one first.
    steps: Vec<Segment>,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a node.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This table has a key that nothing knows.
    UnknownKey {
        /// The key.
        key: String,
        /// What is known.
        known: &'static [&'static str],
    },
    /// This table lacks a key.
    MissingKey(&'static str),
    /// This text is none of those that are possible.
    UnknownVariant {
        /// What is known.
        known: &'static [&'static str],
    },
    /// This is of another type, or out of range.
    Type {
        /// What was expected, in serde's words.
        expected: String,
    },
    /// Anything else, in the type's own words.
    Other(String),
}

impl Error {
    const fn new(fault: Fault) -> Self {
        Self { steps: Vec::new(), fault }
    }

    fn below(mut self, step: Segment) -> Self {
        self.steps.push(step);
        self
    }

    /// Where the node stands.
    pub fn path(&self) -> Path {
        self.steps.iter().rev().fold(Path::root(), |path, step| match step {
            Segment::Key(key) => path.key(key),
            Segment::Index(index) => path.index(*index),
        })
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path(), self.fault)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Fault::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::Type { expected: expected.to_string() })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::Type { expected: expected.to_string() })
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownVariant { known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Fault::MissingKey(key))
    }
}

/// Deserializes one node.
#[derive(Clone, Copy, Debug)]
pub struct NodeDeserializer<'a>(pub &'a Node);

/// A scalar of the type `T` out of text that `${...}` gave.
fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::Expanded(text) => text.trim().parse().ok(),
        _ => None,
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self.0.value {
                Value::Hole(_) => visitor.$visit(<$type>::default()),
                value => match parsed::<$type>(value) {
                    Some(number) => visitor.$visit(number),
                    None => self.deserialize_any(visitor),
                },
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) | Value::Expanded(text) => visitor.visit_borrowed_str(text),
            Value::Date => Err(de::Error::invalid_type(Unexpected::Other("date"), &visitor)),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            Value::Table(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
            Value::Hole(Hole::Absent) => visitor.visit_borrowed_str(""),
            Value::Hole(Hole::StandIn(turn)) => {
                visitor.visit_borrowed_str(STAND_INS.get(*turn).copied().unwrap_or_default())
            }
        }
    }

    numbers! {
        deserialize_bool visit_bool bool;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null | Value::Hole(_) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null | Value::Hole(_) => visitor.visit_seq(Items { items: [].iter(), index: 0 }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null | Value::Hole(_) => visitor.visit_map(Entries { entries: [].iter(), current: None }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A derived visitor takes a list for a table too, field by field: nobody means that.
        if matches!(self.0.value, Value::List(_)) {
            return Err(de::Error::invalid_type(Unexpected::Seq, &visitor));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name = match &self.0.value {
            Value::Text(text) | Value::Expanded(text) => text.as_str(),
            Value::Hole(_) => variants.first().copied().unwrap_or_default(),
            _ => return Err(Error::new(Fault::UnknownVariant { known: variants })),
        };
        visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(name))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The elements of a list. Holes among them stand in, so that the places of the others stay right.
struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(NodeDeserializer(item)).map(Some).map_err(|e| e.below(Segment::Index(index)))
    }
}

/// The entries of a table, without those that are absent.
struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.current = self.entries.find(|entry| !matches!(entry.node.value, Value::Hole(Hole::Absent)));
        match self.current {
            Some(entry) => seed.deserialize(BorrowedStrDeserializer::new(&entry.key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.current else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(NodeDeserializer(&entry.node)).map_err(|e| e.below(Segment::Key(entry.key.clone())))
    }
}
