//! `Vary`: which stored variant a request selects (RFC 9111 §4.1).
//!
//! A field's lines are combined, and compared member by member: white space around commas and empty members
//! do not count, nor does case in the `Accept` fields, whose values are case-insensitive. The order of
//! members counts.
//!
//! With `match_language` on, `Accept-Language` is compared by meaning: languages that are liked equally may
//! stand in any order, and a stored response in the language that a request likes best matches it, whatever
//! was asked for when it was stored. It is off by default because many origins take the order for a
//! preference (RFC 9110 §12.5.4).

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, HeaderMap, HeaderName, VARY,
};
use smallvec::SmallVec;

use super::directives::element_end;

/// The secondary key of a variant: the request fields that selected it, normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variant(Box<[Selector]>);

/// One field that selects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Selector {
    name: HeaderName,
    wanted: Wanted,
}

/// What a request must have in that field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    /// No such field.
    Absent,
    /// These members, joined by commas.
    Members(Box<[u8]>),
    /// These members but for case; stored in lower case.
    MembersAnyCase(Box<[u8]>),
    /// These languages with these weights, or first of all the language that the response is in.
    Languages { asked: Box<[Language]>, content: Option<Box<[u8]>> },
}

/// A language range and its weight in thousandths.
pub(super) type Language = (Box<[u8]>, u16);

/// Whether `Vary` contains `*`, or something that is no field name: no later request selects the response.
pub fn is_star(response: &HeaderMap) -> bool {
    members(response, &VARY).any(|member| member == b"*" || HeaderName::from_bytes(member).is_err())
}

impl Variant {
    /// The variant that a response is, by what its `Vary` names; none where [`is_star`]. `match_language`:
    /// see the module.
    pub fn of(response: &HeaderMap, request: &HeaderMap, match_language: bool) -> Option<Self> {
        if !response.contains_key(VARY) {
            return Some(Self::default());
        }
        if is_star(response) {
            return None;
        }
        let mut names: SmallVec<[HeaderName; 4]> =
            members(response, &VARY).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let selectors = names.into_iter().map(|name| {
            let wanted = Wanted::of(&name, response, request, match_language);
            Selector { name, wanted }
        });
        Some(Self(selectors.collect()))
    }

    /// Whether a request selects it.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|selector| selector.wanted.matches(&selector.name, request))
    }

    /// Whether the response does not vary at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes it takes on the heap, for weighing.
    pub fn weight(&self) -> usize {
        let values = self.0.iter().map(|selector| match &selector.wanted {
            Wanted::Absent => 0,
            Wanted::Members(bytes) | Wanted::MembersAnyCase(bytes) => bytes.len(),
            Wanted::Languages { asked, content } => {
                asked.iter().map(|(range, _)| size_of::<Language>() + range.len()).sum::<usize>()
                    + content.as_ref().map_or(0, |language| language.len())
            }
        });
        self.0.len() * size_of::<Selector>() + values.sum::<usize>()
    }
}

impl Wanted {
    fn of(name: &HeaderName, response: &HeaderMap, request: &HeaderMap, match_language: bool) -> Self {
        if *name == ACCEPT_LANGUAGE && match_language {
            return Self::Languages {
                asked: languages(request).into_boxed_slice(),
                content: content_language(response),
            };
        }
        if !request.contains_key(name) {
            return Self::Absent;
        }
        let mut joined = Vec::new();
        for member in members(request, name) {
            if !joined.is_empty() {
                joined.push(b',');
            }
            joined.extend_from_slice(member);
        }
        if is_any_case(name) {
            joined.make_ascii_lowercase();
            return Self::MembersAnyCase(joined.into());
        }
        Self::Members(joined.into())
    }

    fn matches(&self, name: &HeaderName, request: &HeaderMap) -> bool {
        match self {
            Self::Absent => !request.contains_key(name),
            Self::Members(wanted) => request.contains_key(name) && same(wanted, request, name, <[u8]>::eq),
            Self::MembersAnyCase(wanted) => {
                request.contains_key(name) && same(wanted, request, name, <[u8]>::eq_ignore_ascii_case)
            }
            Self::Languages { asked, content } => {
                let presented = languages(request);
                presented.as_slice() == &**asked
                    || content.as_deref().is_some_and(|it| is_favourite(it, &presented))
            }
        }
    }
}

/// Whether the members of a request's field, joined by commas, are `wanted`.
fn same(wanted: &[u8], request: &HeaderMap, name: &HeaderName, equal: fn(&[u8], &[u8]) -> bool) -> bool {
    let mut rest = Some(wanted);
    for member in members(request, name) {
        let Some((head, tail)) = rest.and_then(|rest| rest.split_at_checked(member.len())) else {
            return false;
        };
        if !equal(head, member) {
            return false;
        }
        rest = match tail.split_first() {
            None => None,
            Some((b',', tail)) => Some(tail),
            Some(_) => return false,
        };
    }
    rest.is_none_or(<[u8]>::is_empty)
}

/// Fields whose values are case-insensitive as a whole (RFC 9110 §8.3.2, §8.4.1, §12.5); parameters of media
/// types that are not are unheard of in `Accept`.
fn is_any_case(name: &HeaderName) -> bool {
    matches!(*name, ACCEPT | ACCEPT_CHARSET | ACCEPT_ENCODING | ACCEPT_LANGUAGE)
}

/// The members of a list-based field, over all its lines, without empty ones.
pub(super) fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| Members(line.as_bytes()))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// The members of one line, as they stand there.
struct Members<'a>(&'a [u8]);

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (member, rest) = self.0.split_at_checked(element_end(self.0)).unwrap_or((self.0, &[]));
        self.0 = rest.strip_prefix(b",").unwrap_or(rest);
        Some(member)
    }
}

/// What `Accept-Language` asks for, the best liked first, in lower case.
pub(super) fn languages(request: &HeaderMap) -> Vec<Language> {
    let mut languages: Vec<Language> = members(request, &ACCEPT_LANGUAGE)
        .map(|member| {
            let range = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            (range.to_ascii_lowercase().into(), weight_of(member).map_or(1000, thousandths))
        })
        .collect();
    languages.sort_unstable_by(|(a, liked_a), (b, liked_b)| liked_b.cmp(liked_a).then_with(|| a.cmp(b)));
    languages.dedup();
    languages
}

/// The weight of a member, as it stands there.
pub(super) fn weight_of(member: &[u8]) -> Option<&[u8]> {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).skip(1);
    parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")))
}

/// A weight, `0` to `1` with up to three decimals (RFC 9110 §12.4.2), in thousandths; 0 if it is none.
pub(super) fn thousandths(weight: &[u8]) -> u16 {
    let (whole, decimals) = match weight {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return 0,
    };
    if !decimals.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let mut sum = u16::from(whole - b'0') * 1000;
    for (digit, place) in decimals.iter().zip([100, 10, 1]) {
        sum += u16::from(digit - b'0') * place;
    }
    sum.min(1000)
}

/// The one language a response is in, in lower case.
fn content_language(response: &HeaderMap) -> Option<Box<[u8]>> {
    let mut all = members(response, &CONTENT_LANGUAGE);
    let only = all.next()?.to_ascii_lowercase().into();
    all.next().is_none().then_some(only)
}

/// Whether a language is liked, and better than any other.
fn is_favourite(language: &[u8], presented: &[Language]) -> bool {
    match presented {
        [(best, liked), rest @ ..] => {
            **best == *language && *liked > 0 && rest.first().is_none_or(|(_, second)| second < liked)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::headers;
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn matches(response: Fields<'_>, first: Fields<'_>, second: Fields<'_>, languages: bool) -> bool {
        Variant::of(&headers(response), &headers(first), languages).unwrap().matches(&headers(second))
    }

    /// RFC 9111 §4.1.
    #[test]
    fn selecting_fields() {
        let foo: Fields<'_> = &[("vary", "Foo")];
        let two: Fields<'_> = &[("vary", "Foo, Bar"), ("vary", ",foo")];
        let cases: [(Fields<'_>, Fields<'_>, Fields<'_>, bool); 20] = [
            (&[], &[("foo", "1")], &[], true),
            (foo, &[("foo", "1")], &[("foo", "1")], true),
            (foo, &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")], true),
            (foo, &[("foo", "1")], &[("foo", "2")], false),
            (foo, &[("foo", "1")], &[("foo", "11")], false),
            (foo, &[("foo", "11")], &[("foo", "1")], false),
            (foo, &[("foo", "a")], &[("foo", "A")], false),
            (foo, &[("foo", "1")], &[], false),
            (foo, &[], &[("foo", "1")], false),
            (foo, &[], &[("foo", "")], false),
            (foo, &[], &[], true),
            (foo, &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            (foo, &[("foo", "1,2")], &[("foo", " 1, 2 ,")], true),
            (foo, &[("foo", "1,2")], &[("foo", "2,1")], false),
            (foo, &[("foo", "\"1, 2\"")], &[("foo", "\"1,2\"")], false),
            (foo, &[("foo", "1,2,3")], &[("foo", "1,2")], false),
            (two, &[("foo", "1"), ("bar", "a")], &[("bar", "a"), ("foo", "1")], true),
            (two, &[("foo", "1"), ("bar", "a")], &[("foo", "1"), ("bar", "b")], false),
            (two, &[("foo", "1")], &[("foo", "1")], true),
            (
                &[("vary", "accept-encoding")],
                &[("accept-encoding", "GZIP, br")],
                &[("accept-encoding", "gzip,BR")],
                true,
            ),
        ];
        for (response, first, second, expected) in cases {
            assert_eq!(
                matches(response, first, second, false),
                expected,
                "{response:?} {first:?} {second:?}"
            );
        }
    }

    #[test]
    fn star_matches_nothing() {
        for lines in
            [&["*"][..], &["*, *"], &["*", "*"], &[", *"], &["", "*"], &["*, Foo"], &["Foo, *"], &["a b"]]
        {
            let fields: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            assert!(is_star(&headers(&fields)), "{lines:?}");
            assert_eq!(Variant::of(&headers(&fields), &headers(&[]), false), None, "{lines:?}");
        }
        assert!(!is_star(&headers(&[("vary", "")])));
    }

    #[test]
    fn languages_by_meaning() {
        for (first, content, second, by_meaning) in [
            ("en, de", "", "de, en", true),
            ("en, de", "", "eN, De", true),
            ("en, de;q=0.5", "", "de, en;q=0.5", false),
            ("en;q=0.50", "", "en;q=0.5", true),
            ("en, de", "de", "fr;q=0.5, de;q=1.0", true),
            ("en, de", "de", "fr;q=0.5, DE", true),
            ("en, de", "de", "fr, de", false),
            ("en, de", "de", "fr, de;q=0.5", false),
            ("en, de", "de", "de;q=0", false),
            ("en, de", "de, en", "de;q=1, fr;q=0.1", false),
            ("en, de", "de", "de;q=x", false),
        ] {
            let response: Fields<'_> = &[("vary", "accept-language"), ("content-language", content)];
            let asks = |language| [("accept-language", language)];
            assert_eq!(matches(response, &asks(first), &asks(second), true), by_meaning, "{first} {second}");
        }
        let response: Fields<'_> = &[("vary", "accept-language")];
        assert!(!matches(response, &[("accept-language", "en,de")], &[("accept-language", "de,en")], false));
        assert!(matches(response, &[("accept-language", "en, de")], &[("accept-language", "EN ,De")], false));
    }

    proptest! {
        #[test]
        fn a_request_selects_what_answered_it(
            values in proptest::collection::vec("[ -~]{0,20}", 0..4),
            languages: bool,
            name in prop_oneof!["foo", "accept", "accept-language"],
        ) {
            let fields: Vec<_> = values.iter().map(|value| (name.as_str(), value.as_str())).collect();
            let request = headers(&fields);
            let variant = Variant::of(&headers(&[("vary", &name)]), &request, languages).unwrap();
            prop_assert!(variant.matches(&request));
        }

        #[test]
        fn other_values_do_not(first in "[a-z]{1,8}", second in "[a-z]{1,8}") {
            let response: Fields<'_> = &[("vary", "foo")];
            let selected = matches(response, &[("foo", &first)], &[("foo", &second)], false);
            prop_assert_eq!(selected, first == second);
        }
    }
}
