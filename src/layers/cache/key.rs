//! The primary key: what makes two requests the same before `Vary` is looked at (RFC 9111 §2).
//!
//! A key is a run of bytes in which every component has its length in front, so that different components
//! always make different keys. It is compared whole: no request is answered by an accident of hashing.
//!
//! Rules for the query shape the key only; the origin gets the query as it came. That makes a parameter that
//! does not count a way to poison the store, if the origin reads it after all (parameter cloaking). So where
//! origins differ in how they read a query, a parameter counts:
//!
//! - The query is split at `&` only, as it is forwarded, and names are compared decoded. A parameter with a
//!   `;`, which some origins take for a separator, always counts.
//! - So does one whose decoded name has characters that origins read in more than one way (`%26`, brackets,
//!   dots, spaces), unless it is ignored by its full name.
//! - `ignore` minds case; `only` does not, for some origins do not either.
//! - Parameters that are sorted keep the order among those of the same name: some origins take the first,
//!   others the last.

use std::borrow::Cow;

use aws_lc_rs::digest;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::http::{Scheme, Target, fields, query};

/// What makes two requests the same, compiled from the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// Whether the host counts.
    pub host: bool,
    /// Which parameters count; none if the query counts as it is.
    pub query: Option<QueryRules>,
    /// Request fields whose values count.
    pub headers: Box<[HeaderName]>,
    /// Cookies whose values count.
    pub cookies: Box<[Box<str>]>,
    /// Whether `Authorization` counts.
    pub authorization: bool,
}

impl Default for KeyRules {
    fn default() -> Self {
        Self {
            host: true,
            query: None,
            headers: Box::default(),
            cookies: Box::default(),
            authorization: false,
        }
    }
}

/// Which parameters of a query count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// Parameters that do not count.
    pub ignore: Box<[Pattern]>,
    /// If not empty: the only ones that count.
    pub only: Box<[Pattern]>,
    /// Whether the order does not count.
    pub sort: bool,
}

/// A parameter's name, or with `*` at its end the names that begin like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    stem: Box<str>,
    open: bool,
}

impl Pattern {
    /// Reads it; none if a `*` is anywhere but at the end, or nothing is given.
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, open) = text.strip_suffix('*').map_or((text, false), |stem| (stem, true));
        (!stem.contains('*') && !text.is_empty()).then(|| Self { stem: stem.into(), open })
    }

    /// Whether it is this name, or, for the beginning of names, one that is read the same everywhere.
    fn ignores(&self, name: &[u8]) -> bool {
        if self.open {
            is_plain(name) && name.starts_with(self.stem.as_bytes())
        } else {
            name == self.stem.as_bytes()
        }
    }

    /// Whether some origin may take the name for this one.
    fn may_be(&self, name: &[u8]) -> bool {
        let stem = self.stem.as_bytes();
        let begins = name.get(..stem.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(stem));
        !is_plain(name) || begins && (self.open || name.len() == stem.len())
    }
}

impl KeyRules {
    /// Writes the key of a request into `buffer`, which is cleared first. GET and HEAD share a key: a HEAD is
    /// answered by the entry of a GET. `namespace` keeps apart what different rules made: the caller chooses
    /// one for each set of entries.
    ///
    /// With the rules of the default config this copies a few slices and, into a buffer that has been used
    /// before, allocates nothing.
    pub fn write(&self, buffer: &mut Vec<u8>, namespace: u64, target: &Target, headers: &HeaderMap) {
        self.write_resource(buffer, namespace, target);
        match (&self.query, target.query()) {
            (_, None) => optional(buffer, None),
            (None, Some(query)) => optional(buffer, Some(query.as_bytes())),
            (Some(rules), Some(query)) => rules.write(buffer, query.as_bytes()),
        }
        self.write_client(buffer, headers);
    }

    /// The beginning of a key, in place of what is in `buffer`: all but the query and what tells clients
    /// apart.
    #[inline]
    pub(super) fn write_resource(&self, buffer: &mut Vec<u8>, namespace: u64, target: &Target) {
        let authority = if self.host { target.authority.as_bytes() } else { &[] };
        let path = target.path();
        buffer.clear();
        buffer.reserve(FIXED + authority.len() + path.len() + target.query().map_or(0, str::len));
        buffer.extend_from_slice(&namespace.to_le_bytes());
        buffer.push(match target.scheme {
            Scheme::Http => 0,
            Scheme::Https => 1,
        });
        component(buffer, authority);
        component(buffer, path.as_bytes());
    }

    /// The end of a key: what tells clients apart.
    #[inline]
    pub(super) fn write_client(&self, buffer: &mut Vec<u8>, headers: &HeaderMap) {
        for name in &self.headers {
            lines(buffer, headers, name);
        }
        for name in &self.cookies {
            optional(buffer, cookie(headers, name.as_bytes()));
        }
        if self.authorization {
            credentials(buffer, headers);
        }
    }

    /// Whether more than the target counts, so that clients have entries of their own.
    pub const fn tells_clients_apart(&self) -> bool {
        !self.headers.is_empty() || !self.cookies.is_empty() || self.authorization
    }
}

/// The lines of a field. A count, then each line: two lines are not the same as one that looks like both.
pub(super) fn lines(buffer: &mut Vec<u8>, headers: &HeaderMap, name: &HeaderName) {
    let lines = headers.get_all(name);
    length(buffer, lines.iter().count());
    lines.iter().for_each(|line| component(buffer, line.as_bytes()));
}

/// `Authorization`, as a digest: credentials do not stay in memory longer than their request.
fn credentials(buffer: &mut Vec<u8>, headers: &HeaderMap) {
    let lines = headers.get_all(AUTHORIZATION);
    length(buffer, lines.iter().count());
    for line in lines {
        buffer.extend_from_slice(digest::digest(&digest::SHA256, line.as_bytes()).as_ref());
    }
}

/// Namespace, scheme, and the lengths of authority, path and query.
const FIXED: usize = 8 + 1 + 3 * 4 + 1;

impl QueryRules {
    /// Writes the parameters that count; if none does, it is as if there were no query.
    fn write(&self, buffer: &mut Vec<u8>, query: &[u8]) {
        let mut parameters: SmallVec<[&[u8]; 16]> = query
            .split(|byte| *byte == b'&')
            .filter(|parameter| !parameter.is_empty() && self.counts(parameter))
            .collect();
        if parameters.is_empty() {
            return optional(buffer, None);
        }
        if self.sort {
            parameters.sort_by(|a, b| name_of(a).cmp(&name_of(b)));
        }
        buffer.push(1);
        length(buffer, parameters.len());
        parameters.iter().for_each(|parameter| component(buffer, parameter));
    }

    pub(super) fn counts(&self, parameter: &[u8]) -> bool {
        if self.ignore.is_empty() && self.only.is_empty() || memchr::memchr(b';', parameter).is_some() {
            return true;
        }
        let name = name_of(parameter);
        (self.only.is_empty() || self.only.iter().any(|pattern| pattern.may_be(&name)))
            && !self.ignore.iter().any(|pattern| pattern.ignores(&name))
    }
}

/// Whether every origin reads a name as it stands there: others fold dots and spaces into `_`, cut at a
/// bracket, or decode twice.
pub(super) fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~'))
}

/// The name of a parameter as an origin reads it: percent-encoding and `+` undone.
fn name_of(parameter: &[u8]) -> Cow<'_, [u8]> {
    let end = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
    query::decoded(parameter.get(..end).unwrap_or(parameter))
}

/// The value of a cookie: the first of its name (RFC 6265 §5.4 puts the most specific one there).
fn cookie<'a>(headers: &'a HeaderMap, wanted: &[u8]) -> Option<&'a [u8]> {
    fields::cookies(headers)
        .filter_map(|pair| pair.split_at_checked(memchr::memchr(b'=', pair)?))
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

/// A length, in four bytes. No request we accept has a component of 4 GiB.
pub(super) fn length(buffer: &mut Vec<u8>, length: usize) {
    buffer.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// Bytes, with their length in front.
pub(super) fn component(buffer: &mut Vec<u8>, bytes: &[u8]) {
    length(buffer, bytes.len());
    buffer.extend_from_slice(bytes);
}

/// Bytes or none, which is not the same as no bytes.
pub(super) fn optional(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => buffer.push(0),
        Some(bytes) => {
            buffer.push(1);
            component(buffer, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{headers, target};
    use super::*;

    fn key(rules: &KeyRules, uri: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut buffer = b"left over".to_vec();
        rules.write(&mut buffer, 7, &target(uri), &headers(fields));
        buffer
    }

    fn rules(ignore: &[&str], only: &[&str], sort: bool) -> KeyRules {
        let compile = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let query = QueryRules { ignore: compile(ignore), only: compile(only), sort };
        KeyRules { query: Some(query), ..KeyRules::default() }
    }

    #[test]
    fn the_default_rules_take_all_of_the_target() {
        let uris = [
            "http://a/",
            "https://a/",
            "http://b/",
            "http://a:8080/",
            "http://a/b",
            "http://a/?",
            "http://a/?b",
            "http://a/?b=1&c=2",
            "http://a/?c=2&b=1",
            "http://a/?%62=1",
        ];
        for (at, uri) in uris.iter().enumerate() {
            for (other_at, other) in uris.iter().enumerate() {
                let same = key(&KeyRules::default(), uri, &[]) == key(&KeyRules::default(), other, &[]);
                assert_eq!(same, at == other_at, "{uri} {other}");
            }
        }
        assert_eq!(
            key(&KeyRules::default(), uris[0], &[("cookie", "a=1")]),
            key(&KeyRules::default(), uris[0], &[])
        );
    }

    #[test]
    fn namespaces_keep_apart() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        KeyRules::default().write(&mut one, 1, &target("http://a/"), &headers(&[]));
        KeyRules::default().write(&mut two, 2, &target("http://a/"), &headers(&[]));
        assert_ne!(one, two);
    }

    #[test]
    fn query_rules() {
        let utm = rules(&["utm_*", "gclid"], &[], false);
        let only = rules(&[], &["v", "page*"], false);
        let sort = rules(&[], &[], true);
        let dotted = rules(&["a.b"], &[], false);
        for (rules, one, other, same) in [
            (&utm, "?a=1&utm_source=x", "?a=1", true),
            (&utm, "?gclid=1", "", true),
            (&utm, "?gclid", "?", true),
            (&utm, "?utm%5Fsource=x&a=1", "?a=1", true),
            (&utm, "?gclids=1", "", false),
            (&utm, "?a=1&b=2", "?b=2&a=1", false),
            (&utm, "?utm_source=x;a=1", "", false),
            (&utm, "?a=1", "?a=2", false),
            (&only, "?v=1&x=2", "?v=1", true),
            (&only, "?v=1", "?v=2", false),
            (&only, "?%76=2&v=1", "?v=1", false),
            (&only, "?page_size=2", "", false),
            (&only, "?V=2&v=1", "?v=1", false),
            (&only, "?v[]=2&v=1", "?v=1", false),
            (&only, "?%20v=2&v=1", "?v=1", false),
            (&only, "?v%00=2&v=1", "?v=1", false),
            (&only, "?x=1&v=1&y=2", "?v=1", true),
            (&utm, "?UTM_source=x", "", false),
            (&utm, "?utm_x%26a=1", "", false),
            (&utm, "?utm_x%3Ba=1", "", false),
            (&utm, "?utm_x%2526a=1", "", false),
            (&utm, "?utm_x[a]=1", "", false),
            (&utm, "?utm_x=1%26a=2", "", true),
            (&utm, "?utm_x=1&a=2", "?a=2", true),
            (&utm, "?a=1&utm_x=2&a=3", "?a=3&a=1", false),
            (&utm, "?a=1&utm_x=2&a=3", "?a=1&a=3", true),
            (&utm, "?gclid%00=1", "", false),
            (&dotted, "?a.b=1", "", true),
            (&dotted, "?a_b=1", "", false),
            (&only, "?x=2;v=1", "", false),
            (&sort, "?a=1&b=2", "?b=2&a=1", true),
            (&sort, "?a=1&a=2", "?a=2&a=1", false),
            (&sort, "?a=1&%61=2", "?%61=2&a=1", false),
            (&sort, "?a=1&b=2", "?a=1&b=2&c=3", false),
            (&sort, "?a=1&&b=2&", "?a=1&b=2", true),
        ] {
            let keys = [one, other].map(|query| key(rules, &format!("http://a/{query}"), &[]));
            assert_eq!(keys[0] == keys[1], same, "{one} {other} {rules:?}");
        }
    }

    #[test]
    fn fields_cookies_and_host() {
        let rules = KeyRules {
            host: false,
            headers: Box::new([HeaderName::from_static("x-tenant")]),
            cookies: Box::new(["plan".into()]),
            query: None,
            authorization: false,
        };
        let uri = "http://a/";
        assert_eq!(key(&rules, uri, &[]), key(&rules, "http://b/", &[]));
        for (one, other, same) in [
            (&[("x-tenant", "1")][..], &[("x-tenant", "1"), ("other", "2")][..], true),
            (&[("x-tenant", "1")], &[("x-tenant", "2")], false),
            (&[("x-tenant", "1")], &[], false),
            (&[("x-tenant", "")], &[], false),
            (&[("x-tenant", "1"), ("x-tenant", "2")], &[("x-tenant", "12")], false),
            (&[("cookie", "id=1; plan=a")], &[("cookie", "id=2"), ("cookie", "plan=a; x=y")], true),
            (&[("cookie", "plan=a")], &[("cookie", "plan=b")], false),
            (&[("cookie", "plan=a")], &[("cookie", "xplan=a")], false),
            (&[("cookie", "plan=")], &[], false),
        ] {
            assert_eq!(key(&rules, uri, one) == key(&rules, uri, other), same, "{one:?} {other:?}");
        }
    }

    #[test]
    fn patterns() {
        for text in ["", "*a", "a*b", "**"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
        assert!(Pattern::parse("*").unwrap().ignores(b"anything"));
        assert!(!Pattern::parse("a").unwrap().ignores(b"ab"));
        assert!(!Pattern::parse("a").unwrap().may_be(b"ab"));
    }

    /// Namespace, https, host, path, query, the lines of two fields, two cookies.
    type Components = (u64, bool, String, String, Option<String>, [Vec<String>; 2], [Option<String>; 2]);

    fn components() -> impl Strategy<Value = Components> {
        (
            0..3u64,
            any::<bool>(),
            "[ab]{0,2}",
            "/[a/]{0,3}",
            proptest::option::of("[a&=1;%]{0,3}"),
            proptest::array::uniform2(proptest::collection::vec("[ab,]{0,2}", 0..3)),
            proptest::array::uniform2(proptest::option::of("[ab=]{0,2}")),
        )
    }

    fn key_of(components: &Components) -> Vec<u8> {
        let (namespace, secure, authority, path, query, [x, y], [c, d]) = components;
        let rules = KeyRules {
            headers: Box::new([HeaderName::from_static("x"), HeaderName::from_static("y")]),
            cookies: Box::new(["c".into(), "d".into()]),
            ..KeyRules::default()
        };
        let query = query.as_ref().map_or(String::new(), |query| format!("?{query}"));
        let target = Target {
            scheme: if *secure { Scheme::Https } else { Scheme::Http },
            authority: authority.parse().unwrap(),
            path_and_query: format!("{path}{query}").parse().unwrap(),
        };
        let cookies = [("c", c), ("d", d)].map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        let fields: Vec<_> = (x.iter().map(|line| ("x", line.as_str())))
            .chain(y.iter().map(|line| ("y", line.as_str())))
            .chain(cookies.iter().flatten().map(|pair| ("cookie", pair.as_str())))
            .collect();
        let mut buffer = Vec::new();
        rules.write(&mut buffer, *namespace, &target, &headers(&fields));
        buffer
    }

    proptest! {
        #[test]
        fn different_components_make_different_keys(one in components(), other in components()) {
            prop_assert_eq!(key_of(&one) == key_of(&other), one == other);
        }

        /// Whatever the rules: requests of one key differ in nothing but parameters that do not count, and
        /// in the order of those with other names where that does not count.
        #[test]
        fn one_key_is_one_meaning(
            one in "[ab]{0,2}(&[abu]=[0-2%;]{0,2}){0,3}",
            other in "[ab]{0,2}(&[abu]=[0-2%;]{0,2}){0,3}",
            ignore: bool,
            sort: bool,
        ) {
            let rules = rules(if ignore { &["u"] } else { &[] }, &[], sort);
            let key_of = |query| key(&rules, &format!("http://a/?{query}"), &[]);
            let same = key_of(&one) == key_of(&other);
            let meaning = |query: &str| {
                let ignored = |it: &str| ignore && it.starts_with('u') && !it.contains(';');
                let counts = |it: &&str| !it.is_empty() && !ignored(it);
                let mut all: Vec<_> = query.split('&').filter(counts).map(str::to_owned).collect();
                if sort {
                    all.sort_by_key(|parameter| parameter.split('=').next().map(str::to_owned));
                }
                all
            };
            prop_assert_eq!(same, meaning(&one) == meaning(&other), "{} {}", one, other);
        }

        #[test]
        fn any_query_is_survived(query in "[a-c%&=;+*0-9]{0,24}", sort: bool) {
            let rules = rules(&["a*"], &[], sort);
            let uri = format!("http://a/?{query}");
            prop_assert_eq!(key(&rules, &uri, &[]), key(&rules, &uri, &[]));
        }
    }
}
