//! The tags of a response: what `Surrogate-Key`, `Cache-Tag` and `Cache-Groups` say.
//!
//! Of the operator's fields (`tags_header`), blanks and commas separate tags: `Surrogate-Key: a b` and
//! `Cache-Tag: a, b` say the same. Tags are compared byte by byte. They are for us, and go no further unless
//! `strip_tags` is off. `Cache-Groups` (RFC 9875) is a list of strings, holds within one origin, and is for
//! every cache on the way, so it stays.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName};

use crate::report::{Path, Report};

use super::super::config::CacheConfig;
use super::generation::Purges;
use super::marks::Tag;

/// `Cache-Groups` (RFC 9875 §2).
pub static CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// `Cache-Group-Invalidation` (RFC 9875 §3).
pub static CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// How many tags of a response are kept. One with more is purged with every tag.
const TAGS: usize = 256;

/// Which fields carry tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRules {
    /// The operator's fields.
    pub fields: Box<[HeaderName]>,
    /// Whether clients do not see them.
    pub strip: bool,
}

impl TagRules {
    /// Checks the names of the fields, as the user wrote them at `at`.
    pub fn plan(config: &CacheConfig, at: &Path, report: &mut Report) -> Self {
        let mut fields = Vec::new();
        for text in config.tags_header.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            match text.parse::<HeaderName>() {
                Ok(name) if fields.contains(&name) => {}
                Ok(name) => fields.push(name),
                Err(_) => report.error_with_hint(
                    at,
                    format!("`{text}` is no field name"),
                    "name fields and separate them by commas, like \"surrogate-key, cache-tag\"",
                ),
            }
        }
        Self { fields: fields.into(), strip: config.strip_tags }
    }

    /// The tags of a response with these fields.
    pub fn of(&self, headers: &HeaderMap, purges: &Purges) -> Box<[Tag]> {
        let groups = strings(headers, &CACHE_GROUPS);
        let own = self.own(headers).map(|tag| Tag::own(purges.tag_hash(tag)));
        let groups = groups.iter().map(|group| Tag::group(purges.tag_hash(group.as_bytes())));
        collect(own.chain(groups))
    }

    /// The tags of a stored response with `known` ones after an `update`; `merged` are the fields they make.
    /// An update without the operator's tags leaves them as they are, like any field it does not have (RFC
    /// 9111 §3.2).
    pub fn updated(
        &self,
        known: &[Tag],
        update: &HeaderMap,
        merged: &HeaderMap,
        purges: &Purges,
    ) -> Box<[Tag]> {
        if known.contains(&Tag::ANY) {
            return known.into();
        }
        if self.fields.iter().any(|name| update.contains_key(name)) {
            return self.of(merged, purges);
        }
        let groups = strings(merged, &CACHE_GROUPS);
        let groups = groups.iter().map(|group| Tag::group(purges.tag_hash(group.as_bytes())));
        collect(known.iter().copied().filter(|tag| !tag.is_group()).chain(groups))
    }

    /// Takes the operator's tags out of an answer.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if self.strip {
            for name in &self.fields {
                headers.remove(name);
            }
        }
    }

    /// The operator's tags in a message.
    pub fn own<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .flat_map(|name| headers.get_all(name))
            .flat_map(|line| line.as_bytes().split(|byte| matches!(byte, b' ' | b'\t' | b',')))
            .filter(|tag| !tag.is_empty())
    }
}

fn collect(tags: impl Iterator<Item = Tag>) -> Box<[Tag]> {
    let mut kept: Vec<Tag> = Vec::new();
    for tag in tags {
        if kept.len() == TAGS {
            return Box::new([Tag::ANY]);
        }
        if !kept.contains(&tag) {
            kept.push(tag);
        }
    }
    kept.into()
}

/// The strings in a field that is a structured list of strings (RFC 9651 §3.1). A field that is no such list
/// says nothing, as a whole; parameters say nothing either.
pub fn strings<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Cow<'a, str>> {
    let mut all = Vec::new();
    for line in headers.get_all(name) {
        let Some(mut rest) = line.to_str().ok().map(|text| text.trim_matches(' ')) else { return Vec::new() };
        // An empty line adds no member to the list it is part of.
        while !rest.is_empty() {
            let Some((string, after)) = string(rest) else { return Vec::new() };
            all.push(string);
            let Some(after) = parameters(after) else { return Vec::new() };
            let after = after.trim_start_matches([' ', '\t']);
            rest = match after.strip_prefix(',').map(|next| next.trim_start_matches([' ', '\t'])) {
                None if after.is_empty() => "",
                // RFC 9651 §4.2.1: what follows a comma is a member.
                None | Some("") => return Vec::new(),
                Some(next) => next,
            };
        }
    }
    all
}

/// A string at the beginning (RFC 9651 §4.2.5), and what follows it.
fn string(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = text.strip_prefix('"')?;
    let end = inner.find(['"', '\\'])?;
    let (plain, after) = inner.split_at_checked(end)?;
    if let Some(after) = after.strip_prefix('"') {
        return is_printable(plain).then_some((Cow::Borrowed(plain), after));
    }
    let mut value = plain.to_owned();
    let mut rest = after.chars();
    loop {
        match rest.next()? {
            '"' => return is_printable(&value).then_some((Cow::Owned(value), rest.as_str())),
            '\\' => value.push(rest.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            other => value.push(other),
        }
    }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// What follows the parameters (RFC 9651 §4.2.3.2), whose values are looked at only to find their end.
fn parameters(mut text: &str) -> Option<&str> {
    while let Some(parameter) = text.strip_prefix(';') {
        let parameter = parameter.trim_start_matches(' ');
        let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
        let end = parameter.find(|c| !is_key(c)).unwrap_or(parameter.len());
        let (key, after) = parameter.split_at_checked(end)?;
        if !key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') {
            return None;
        }
        text = match after.strip_prefix('=') {
            None => after,
            Some(value) if value.starts_with('"') => string(value)?.1,
            Some(value) => {
                let end = value.find([';', ',', ' ', '\t']).unwrap_or(value.len());
                value.get(end..).filter(|_| end > 0)?
            }
        };
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::headers;
    use super::*;

    /// RFC 9875 §2, RFC 9651 §4.2.
    #[test]
    fn groups() {
        let cases: [(&[&str], &[&str]); 19] = [
            (&[], &[]),
            (&[""], &[]),
            (&[r#""a""#], &["a"]),
            (&[r#"  "a" , "b""#], &["a", "b"]),
            (&[r#""a","b c""#, r#""d""#], &["a", "b c", "d"]),
            (&[r#""a""#, "", r#""b""#], &["a", "b"]),
            (&[r#""a\"b\\""#], &["a\"b\\"]),
            (&[r#""""#], &[""]),
            (&[r#""a";x;y=1;z="q,";*k=?1, "b""#], &["a", "b"]),
            (&[r#""a";x=1 , "b""#], &["a", "b"]),
            // What is no list of strings says nothing.
            (&["a"], &[]),
            (&[r#""a", b"#], &[]),
            (&[r#""a","#], &[]),
            (&[r#""a" "b""#], &[]),
            (&[r#""a"#], &[]),
            (&[r#""a\n""#], &[]),
            (&[r#""a";X"#], &[]),
            (&[r#""a";x="#], &[]),
            (&[r#""a""#, "1"], &[]),
        ];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("cache-groups", *line)).collect();
            assert_eq!(strings(&headers(&lines), &CACHE_GROUPS), expected, "{lines:?}");
        }
    }

    fn rules() -> TagRules {
        TagRules { fields: ["surrogate-key", "cache-tag"].map(HeaderName::from_static).into(), strip: true }
    }

    #[test]
    fn blanks_and_commas_separate_tags() {
        let rules = rules();
        for (fields, expected) in [
            (&[("surrogate-key", "a b  c")][..], &["a", "b", "c"][..]),
            (&[("cache-tag", "a,b, c ,,d")], &["a", "b", "c", "d"]),
            (&[("surrogate-key", "a"), ("cache-tag", "b"), ("surrogate-key", "c")], &["a", "c", "b"]),
            (&[("surrogate-key", ""), ("x", "a")], &[]),
        ] {
            let headers = headers(fields);
            let tags: Vec<_> = rules.own(&headers).collect();
            let expected: Vec<_> = expected.iter().map(|tag| tag.as_bytes()).collect();
            assert_eq!(tags, expected, "{fields:?}");
        }
    }

    #[test]
    fn too_many_tags_are_any_tag() {
        let purges = Purges::default();
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let tags = |text: &str| rules().of(&headers(&[("surrogate-key", text)]), &purges);
        assert_eq!(tags(&many(TAGS)).len(), TAGS);
        assert_eq!(*tags(&many(TAGS + 1)), [Tag::ANY]);
        assert_eq!(tags("a a a").len(), 1);
    }

    #[test]
    fn an_update_replaces_what_it_names() {
        let purges = Purges::default();
        let stored = [("surrogate-key", "a b"), ("cache-groups", "\"g\"")];
        let known = rules().of(&headers(&stored), &purges);
        let tags = |fields| rules().of(&headers(fields), &purges);
        for (update, merged, expected) in [
            (&[][..], &[("cache-groups", "\"g\"")][..], &stored[..]),
            (
                &[("cache-groups", "\"h\"")],
                &[("cache-groups", "\"h\"")],
                &[("surrogate-key", "a b"), ("cache-groups", "\"h\"")],
            ),
            (
                &[("surrogate-key", "c")],
                &[("surrogate-key", "c"), ("cache-groups", "\"g\"")],
                &[("surrogate-key", "c"), ("cache-groups", "\"g\"")],
            ),
        ] {
            let updated = rules().updated(&known, &headers(update), &headers(merged), &purges);
            assert_eq!(updated, tags(expected), "{update:?}");
        }
        let any = rules().updated(&[Tag::ANY], &headers(&[]), &headers(&[]), &purges);
        assert_eq!(*any, [Tag::ANY]);
    }
}
