//! Targeted cache control (RFC 9213): a field that speaks to this cache alone, in place of `Cache-Control`.
//!
//! The target list is `Forebay-CDN-Cache-Control`, then `CDN-Cache-Control`. The first of them that can be
//! read and is not empty decides alone: `Cache-Control` and `Expires` have no say then, not even where it
//! says less than they do (§2.2). One that cannot be read counts as absent (§2.1).
//!
//! What may surprise:
//!
//! - The syntax is that of structured fields (RFC 9651 §3.2), stricter than `Cache-Control`'s: one upper-case
//!   letter or a stray comma, and the field is not there. A member that comes twice counts as it comes last.
//! - `no-store=?0` says that `no-store` is *not* given.
//! - Our own field is kept with the entry, for a 304 need not repeat it, and never reaches a client.
//!   `CDN-Cache-Control` is for the caches behind us as well and is passed on.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::http::fields::{CDN_CACHE_CONTROL, FOREBAY_CDN_CACHE_CONTROL};

use super::directives::{Directive, Name, ResponseDirectives, Value};

/// The directives of the first targeted field that counts, if there is one.
pub fn directives(headers: &HeaderMap) -> Option<ResponseDirectives> {
    [&FOREBAY_CDN_CACHE_CONTROL, &CDN_CACHE_CONTROL].into_iter().find_map(|name| read(headers, name))
}

/// Whether a field of a stored response is kept from clients.
pub fn is_hidden(name: &HeaderName) -> bool {
    *name == FOREBAY_CDN_CACHE_CONTROL
}

/// Removes what is not for clients.
pub fn hide(headers: &mut HeaderMap) {
    headers.remove(&FOREBAY_CDN_CACHE_CONTROL);
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    if !headers.contains_key(name) {
        return None;
    }
    // RFC 9651 §4.2: the lines of a field are one value.
    let mut text = SmallVec::<[u8; 256]>::new();
    for line in headers.get_all(name) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(line.as_bytes());
    }
    let members = Cursor(&text).dictionary()?;
    Some(ResponseDirectives::of_targeted(members))
}

/// Known members, the last of each name.
type Members<'a> = SmallVec<[Directive<'a>; 8]>;

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// A dictionary that is not empty (RFC 9651 §4.2.2).
    fn dictionary(mut self) -> Option<Members<'a>> {
        let mut members = Members::new();
        self.skip(b" ");
        if self.0.is_empty() {
            return None;
        }
        loop {
            let name = self.key()?;
            let value = if self.eat(b'=') { self.member()? } else { Some(Value::None) };
            self.parameters()?;
            members.retain(|other| other.name != name);
            if let Some(value) = value
                && Name::of(name) != Name::Other
            {
                members.push(Directive { name, value });
            }
            self.skip(b" \t");
            if self.0.is_empty() {
                return Some(members);
            }
            if !self.eat(b',') {
                return None;
            }
            self.skip(b" \t");
            if self.0.is_empty() {
                return None;
            }
        }
    }

    /// An item or an inner list; none inside where it is `?0`.
    fn member(&mut self) -> Option<Option<Value<'a>>> {
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

    fn parameters(&mut self) -> Option<()> {
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
    fn bare_item(&mut self) -> Option<Option<Value<'a>>> {
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
    fn string(&mut self) -> Option<&'a [u8]> {
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

    fn boolean(&mut self) -> Option<Option<Value<'a>>> {
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

    fn eat(&mut self, expected: u8) -> bool {
        let found = self.0.first() == Some(&expected);
        if found {
            self.skip_one();
        }
        found
    }

    fn skip_one(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    fn skip(&mut self, bytes: &[u8]) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::headers;
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn cdn(value: &str) -> Option<ResponseDirectives> {
        directives(&headers(&[("cdn-cache-control", value)]))
    }

    /// RFC 9213 §2.2: which field decides.
    #[test]
    fn the_target_list() {
        const OURS: &str = "forebay-cdn-cache-control";
        const CDN: &str = "cdn-cache-control";
        let cases: [(Fields<'_>, Option<u32>, bool); 11] = [
            (&[("cache-control", "max-age=1")], Some(1), false),
            (&[("cache-control", "max-age=1"), (CDN, "max-age=2")], Some(2), true),
            (&[("cache-control", "max-age=1"), (CDN, "max-age=2"), (OURS, "max-age=3")], Some(3), true),
            (&[(OURS, "max-age=3"), ("cache-control", "no-store")], Some(3), true),
            (&[(OURS, "Max-Age=3"), (CDN, "max-age=2")], Some(2), true),
            (&[(OURS, ""), (CDN, "max-age=2")], Some(2), true),
            (&[(OURS, " "), ("cache-control", "max-age=1")], Some(1), false),
            (&[(CDN, "max-age=2,"), ("cache-control", "max-age=1")], Some(1), false),
            (&[(CDN, "max-age=2"), (CDN, "max-age=5"), ("cache-control", "max-age=1")], Some(5), true),
            // It wins entirely, also where it says nothing of freshness.
            (&[(CDN, "foo"), ("cache-control", "max-age=1")], None, true),
            (&[("surrogate-control", "max-age=9"), ("cache-control", "max-age=1")], Some(1), false),
        ];
        for (fields, max_age, targeted) in cases {
            let read = ResponseDirectives::of(&headers(fields));
            assert_eq!((read.max_age, read.targeted), (max_age, targeted), "{fields:?}");
            assert!(!read.no_store, "{fields:?}");
        }
    }

    /// RFC 9213 §2.1: directives are mapped to the types of structured fields.
    #[test]
    fn values() {
        for (value, max_age) in [
            ("max-age=60", Some(60)),
            ("max-age=060", Some(60)),
            ("max-age=60;foo;bar=1", Some(60)),
            ("max-age=60,max-age=30", Some(30)),
            ("max-age=30,max-age=60", Some(60)),
            ("  max-age=60  ", Some(60)),
            ("max-age=999999999999999", Some(1 << 31)),
            ("max-age=-1", Some(0)),
            ("max-age=1.5", Some(0)),
            ("max-age=abc", Some(0)),
            ("max-age", Some(0)),
            ("max-age=(60)", Some(0)),
            ("max-age=?0", None),
            ("x=(1 \"a\";b c), y=:YQ==:, z=@12, d=%\"x\", max-age=5", Some(5)),
        ] {
            assert_eq!(cdn(value).unwrap().max_age, max_age, "{value}");
        }
        let read = cdn("no-store=?0, private, no-cache=\"a, b\", must-revalidate").unwrap();
        assert!(!read.no_store && read.private && !read.no_cache && read.must_revalidate);
        assert_eq!(read.withheld.len(), 2);
        assert!(cdn("private=\"a\"").unwrap().private);
        assert!(cdn("no-cache=(a b)").unwrap().no_cache);
    }

    /// RFC 9651 §4.2: one error and the whole field is not there.
    #[test]
    fn what_cannot_be_read() {
        for value in [
            "",
            "  ",
            ",",
            "max-age=60,",
            "max-age=60,,no-store",
            "max-age=60 no-store",
            "Max-age=60",
            "max-age =60",
            "max-age= 60",
            "max-age=",
            "max-age='60'",
            "max-age=1234567890123456",
            "max-age=1.",
            "max-age=1.2345",
            "max-age=-",
            "no-cache=\"a",
            "no-cache=\"a\\x\"",
            "no-store=?2",
            "x=:a",
            "x=(1,2)",
            "x=(1",
            "x=(1\"a\")",
            "x=@1.5",
            "x;",
            "x;A",
            "1x",
            "x=\u{e9}",
        ] {
            assert_eq!(cdn(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(value in "[ -~]{0,40}") {
            cdn(&value);
        }

        #[test]
        fn nearly_dictionaries_are_survived(value in "[a-z0-9=;,()\"?:@%* .-]{0,40}") {
            cdn(&value);
        }
    }
}
