//! The JSON schema in the words of the reference: what kind of value a key takes.

use serde_json::{Map, Value, json};

/// A schema with its definitions at hand.
pub struct Words<'a> {
    root: &'a Value,
}

/// What kind of value a schema describes; `null` beside something else means that the key may be absent.
pub enum Kind<'a> {
    /// Text of any kind.
    Text,
    /// Text with a unit: `duration`, `size`, `rate`, and an example.
    Unit(&'static str, Value),
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Bool,
    /// One of these words, each with what it means.
    Choice(Vec<(&'a str, &'a str)>),
    /// A list of such values.
    List(&'a Value),
    /// A table with names of the user's choice.
    Map(&'a Value),
    /// A table with these keys.
    Table(&'a Value),
    /// One of several kinds.
    Either(Vec<&'a Value>),
}

impl<'a> Words<'a> {
    /// Over a whole schema, as schemars makes it.
    pub const fn new(root: &'a Value) -> Self {
        Self { root }
    }

    /// The schema behind a reference, and the name it has; a schema without one is its own.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, &'a str) {
        let Some(pointer) = schema.get("$ref").and_then(Value::as_str) else { return (schema, "") };
        let pointer = pointer.trim_start_matches('#');
        let name = pointer.rsplit('/').next().unwrap_or_default();
        (self.root.pointer(pointer).unwrap_or(schema), name)
    }

    /// What kind of value it is.
    pub fn kind(&self, schema: &'a Value) -> Kind<'a> {
        let (target, name) = self.resolve(schema);
        let example = || target.pointer("/examples/0").cloned().unwrap_or_default();
        match name {
            "Time" => return Kind::Unit("duration", example()),
            "Size" => return Kind::Unit("size", example()),
            "Rate" => return Kind::Unit("rate", example()),
            _ => {}
        }
        if let Some(choices) = target.get("oneOf").and_then(Value::as_array) {
            let choice = |one: &'a Value| {
                let word = one.get("const")?.as_str()?;
                Some((word, one.get("description").and_then(Value::as_str).unwrap_or_default()))
            };
            return Kind::Choice(choices.iter().filter_map(choice).collect());
        }
        if let Some(words) = target.get("enum").and_then(Value::as_array) {
            return Kind::Choice(words.iter().filter_map(|word| Some((word.as_str()?, ""))).collect());
        }
        if let Some(kinds) = target.get("anyOf").and_then(Value::as_array) {
            let is_null = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
            let kinds: Vec<_> = kinds.iter().filter(|one| !is_null(one)).collect();
            return match kinds.as_slice() {
                [one] => self.kind(one),
                _ => Kind::Either(kinds),
            };
        }
        let named = match target.get("type") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            Some(name) => name.as_str(),
            None => None,
        };
        match (named, target.get("items"), target.get("additionalProperties")) {
            (Some("array"), Some(items), _) => Kind::List(items),
            (Some("object"), _, _) if target.get("properties").is_some() => Kind::Table(target),
            (Some("object"), _, Some(items)) => Kind::Map(items),
            (Some("integer"), _, _) => Kind::Integer,
            (Some("number"), _, _) => Kind::Number,
            (Some("boolean"), _, _) => Kind::Bool,
            _ => Kind::Text,
        }
    }

    /// The keys of a table.
    pub fn properties(&self, table: &'a Value) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let properties = table.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, property)| (key.as_str(), property))
    }

    /// Whether a table must have this key.
    pub fn required(&self, table: &Value, key: &str) -> bool {
        let required = table.get("required").and_then(Value::as_array);
        required.is_some_and(|keys| keys.iter().any(|required| required.as_str() == Some(key)))
    }

    /// The doc comment of a key, or of its type, on one line.
    pub fn about(&self, schema: &'a Value) -> Option<String> {
        let text = schema.get("description").or_else(|| self.resolve(schema).0.get("description"));
        text.and_then(Value::as_str).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The table that a key holds, if it does, with its path and how that is written in TOML.
    pub fn section(&self, property: &'a Value, path: &str) -> Option<(String, String, &'a Value)> {
        match self.kind(property) {
            Kind::Table(table) => Some((path.to_owned(), format!("[{path}]"), table)),
            Kind::List(items) => match self.kind(items) {
                Kind::Table(table) => Some((path.to_owned(), format!("[[{path}]]"), table)),
                _ => self.section(items, path),
            },
            Kind::Map(items) => match self.kind(items) {
                Kind::Table(table) => {
                    let path = format!("{path}.NAME");
                    Some((path.clone(), format!("[{path}]"), table))
                }
                _ => None,
            },
            Kind::Either(kinds) => kinds.iter().find_map(|kind| self.section(kind, path)),
            _ => None,
        }
    }

    /// What kind of value it is, in a word or two; tables link to their section.
    pub fn kind_text(&self, schema: &'a Value, path: &str) -> String {
        match self.kind(schema) {
            Kind::Text => "string".to_owned(),
            Kind::Unit(name, _) => name.to_owned(),
            Kind::Integer => "whole number".to_owned(),
            Kind::Number => "number".to_owned(),
            Kind::Bool => "boolean".to_owned(),
            Kind::Choice(choices) => {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
                words.join(", ")
            }
            Kind::List(items) => format!("list of {}", self.kind_text(items, path)),
            Kind::Map(items) => format!("table of {}", self.kind_text(items, path)),
            Kind::Table(_) => {
                let anchor = path.to_lowercase().replace('.', "");
                format!("[table](#{anchor})")
            }
            Kind::Either(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| self.kind_text(kind, path)).collect();
                kinds.join(" or ")
            }
        }
    }

    /// Whether TOML writes this value as a table of its own below the other keys.
    pub fn is_written_below(&self, property: &'a Value, value: &Value) -> bool {
        match (self.kind(property), value) {
            (Kind::Table(_), Value::Object(_)) => true,
            (Kind::List(items), Value::Array(list)) => {
                !list.is_empty() && matches!(self.kind(items), Kind::Table(_))
            }
            (Kind::Map(items), Value::Object(map)) => {
                !map.is_empty() && matches!(self.kind(items), Kind::Table(_))
            }
            _ => false,
        }
    }

    /// Whether its values are tables, or can be.
    pub fn holds_tables(&self, property: &'a Value) -> bool {
        self.section(property, "").is_some()
    }

    /// A value that has the right type, for keys without a default.
    pub fn sample(&self, schema: &'a Value) -> Value {
        match self.kind(schema) {
            Kind::Text => json!("..."),
            Kind::Unit(_, example) => example,
            Kind::Integer => json!(1),
            Kind::Number => json!(0.5),
            Kind::Bool => json!(true),
            Kind::Choice(choices) => json!(choices.first().map(|(word, _)| *word)),
            Kind::List(items) => json!([self.sample(items)]),
            Kind::Map(_) => json!({}),
            Kind::Table(table) => {
                let sample = |property: &'a Value| match property.get("default") {
                    Some(default) => default.clone(),
                    None => self.sample(property),
                };
                let entries =
                    self.properties(table).map(|(key, property)| (key.to_owned(), sample(property)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Kind::Either(kinds) => kinds.first().map_or(Value::Null, |kind| self.sample(kind)),
        }
    }
}
