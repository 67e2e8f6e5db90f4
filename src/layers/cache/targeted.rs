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
use super::structured;

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
    let text = structured::lines(headers, name);
    Some(ResponseDirectives::of_targeted(members(&text)?))
}

/// Known members, the last of each name.
type Members<'a> = SmallVec<[Directive<'a>; 8]>;

fn members(text: &[u8]) -> Option<Members<'_>> {
    let mut members = Members::new();
    structured::dictionary(text, |cursor, name, given| {
        let value = if given { cursor.member()? } else { Some(Value::None) };
        members.retain(|other| other.name != name);
        if let Some(value) = value
            && Name::of(name) != Name::Other
        {
            members.push(Directive { name, value });
        }
        Some(())
    })?;
    Some(members)
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
