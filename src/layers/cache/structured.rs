//! Structured fields (RFC 9651): what is read of them here is dictionaries.
//!
//! A reader says what it makes of each member; one error, and the whole field is not there (§4.2).

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::directives::Value;

/// A field as one value: its lines, with commas between them (RFC 9651 §4.2).
pub(super) fn lines(headers: &HeaderMap, name: &HeaderName) -> SmallVec<[u8; 256]> {
    let mut text = SmallVec::new();
    for line in headers.get_all(name) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(line.as_bytes());
    }
    text
}

/// Reads a dictionary that is not empty (RFC 9651 §4.2.2). `member` takes the value of each member, its name
/// at hand, if one is given; a member that comes twice counts as it comes last. None where anything cannot be
/// read.
pub(super) fn dictionary<'a>(
    text: &'a [u8],
    mut member: impl FnMut(&mut Cursor<'a>, &'a [u8], bool) -> Option<()>,
) -> Option<()> {
    let mut cursor = Cursor(text);
    cursor.skip(b" ");
    if cursor.0.is_empty() {
        return None;
    }
    loop {
        let name = cursor.key()?;
        let given = cursor.eat(b'=');
        member(&mut cursor, name, given)?;
        cursor.parameters()?;
        cursor.skip(b" \t");
        if cursor.0.is_empty() {
            return Some(());
        }
        if !cursor.eat(b',') {
            return None;
        }
        cursor.skip(b" \t");
        if cursor.0.is_empty() {
            return None;
        }
    }
}

/// What is left to read.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte.
    pub(super) fn next(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// An item or an inner list; none inside where it is `?0`.
    pub(super) fn member(&mut self) -> Option<Option<Value<'a>>> {
        if !self.eat(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Some(Value::Invalid));
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0.first()?, b' ' | b')') {
                return None;
            }
        }
    }

    /// The parameters of an item, which nobody here heeds.
    pub(super) fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(b" ");
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// RFC 9651 §4.2.3.3.
    fn key(&mut self) -> Option<&'a [u8]> {
        let is_key = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        };
        matches!(self.0.first()?, b'a'..=b'z' | b'*').then(|| self.take(is_key))
    }

    /// RFC 9651 §4.2.3.1; none inside where it is `?0`.
    pub(super) fn bare_item(&mut self) -> Option<Option<Value<'a>>> {
        match self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(|text| Some(Value::Some(text))),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => Some(Some(Value::Some(self.take(is_token)))),
            b'?' => self.boolean(),
            b':' => self.bytes(),
            b'@' => {
                self.skip_one();
                // A date is a number that is an integer.
                let start = self.0;
                self.number()?;
                let read = start.len() - self.0.len();
                start.iter().take(read).all(|byte| *byte != b'.').then_some(Some(Value::Invalid))
            }
            b'%' => {
                self.skip_one();
                self.string().map(|_| Some(Value::Invalid))
            }
            _ => None,
        }
    }

    /// An integer of at most 15 digits, or a decimal of at most 12 and 3 (RFC 9651 §4.2.4).
    fn number(&mut self) -> Option<Option<Value<'a>>> {
        let start = self.0;
        let negative = self.eat(b'-');
        let whole = self.take(|byte| byte.is_ascii_digit()).len();
        if whole == 0 {
            return None;
        }
        if self.eat(b'.') {
            let decimals = self.take(|byte| byte.is_ascii_digit()).len();
            return (whole <= 12 && (1..=3).contains(&decimals)).then_some(Some(Value::Invalid));
        }
        let digits = start.get(..whole).filter(|_| !negative);
        (whole <= 15).then_some(Some(digits.map_or(Value::Invalid, Value::Some)))
    }

    /// What stands between the quotes, its escapes as they are (RFC 9651 §4.2.5).
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.0;
        loop {
            match self.0 {
                [b'"', rest @ ..] => {
                    let length = start.len() - self.0.len();
                    self.0 = rest;
                    return start.get(..length);
                }
                [b'\\', b'"' | b'\\', rest @ ..] => self.0 = rest,
                [b'\\', ..] => return None,
                [b' '..=b'~', rest @ ..] => self.0 = rest,
                _ => return None,
            }
        }
    }

    /// `?0` or `?1`; none inside where it is `?0`.
    pub(super) fn boolean(&mut self) -> Option<Option<Value<'a>>> {
        let (value, rest) = match self.0 {
            [b'?', b'1', rest @ ..] => (Some(Value::None), rest),
            [b'?', b'0', rest @ ..] => (None, rest),
            _ => return None,
        };
        self.0 = rest;
        Some(value)
    }

    fn bytes(&mut self) -> Option<Option<Value<'a>>> {
        self.skip_one();
        self.take(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.eat(b':').then_some(Some(Value::Invalid))
    }

    /// Takes this byte, if it is the next one.
    pub(super) fn eat(&mut self, expected: u8) -> bool {
        let found = self.0.first() == Some(&expected);
        if found {
            self.skip_one();
        }
        found
    }

    fn skip_one(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    /// Takes all of these bytes.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        self.take(|byte| bytes.contains(&byte));
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !belongs(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}
