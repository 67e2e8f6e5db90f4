//! `Accept-Encoding` and `Accept-Language` in one form each, so that a response that varies on them is stored
//! once for all who want the same.
//!
//! A request is changed before anything else looks at it: what selects a variant is what the origin gets.
//!
//! Choices (RFC 9110 §12.5.3, §12.5.4, RFC 4647 §3.4):
//!
//! - Codings: those of `zstd`, `br` and `gzip` that the client takes, in this order, without weights; what it
//!   takes at all the origin may send. `*` stands for `gzip`. A request that takes none of them, or has no
//!   such field, asks for `identity`. One that takes nothing that we know, `identity` included, is left
//!   alone.
//! - Languages: the one of the route's list that the client likes best; of those it likes equally, the first
//!   in the list. `en-GB` asks for `en`, and `en` for `en-GB`, where the list has no closer one. A request
//!   that likes none of them loses the field, and gets what the origin sends by default.

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderMap, HeaderValue};

use crate::report::{Path, Report};

use super::config::NormalizeConfig;
use super::vary::{languages, members, thousandths, weight_of};

/// More languages than this make every request slow.
const LANGUAGES_MAX: usize = 64;

/// What is normalised, compiled from the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Normalize {
    /// `Accept-Encoding`.
    pub encoding: bool,
    /// The languages `Accept-Language` is reduced to, in lower case; empty to leave it alone.
    pub languages: Box<[Language]>,
}

/// A language the origin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    tag: Box<str>,
    value: HeaderValue,
}

impl Language {
    /// Reads a language tag (RFC 5646 §2.1, in outline); none if it is none.
    pub fn parse(tag: &str) -> Option<Self> {
        let well_formed = tag.split('-').enumerate().all(|(at, part)| {
            let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
            (1..=8).contains(&part.len())
                && letters(part)
                && (at > 0 || part.bytes().all(|byte| byte.is_ascii_alphabetic()))
        });
        if !well_formed {
            return None;
        }
        Some(Self { tag: tag.to_ascii_lowercase().into(), value: HeaderValue::from_str(tag).ok()? })
    }

    /// Whether it is the same language, whatever the case.
    pub fn is(&self, other: &Self) -> bool {
        self.tag == other.tag
    }

    /// How much a client likes it, in thousandths: by the range that is closest to it.
    fn liked(&self, asked: &[(Box<[u8]>, u16)]) -> u16 {
        let tag = self.tag.as_bytes();
        let closest = asked.iter().filter_map(|(range, liked)| Some((closeness(range, tag)?, *liked)));
        // Of two equal ranges the first is the better liked one.
        closest.fold((0, 0), |best, next| if next.0 > best.0 { next } else { best }).1
    }
}

/// How close a range is to a tag, both in lower case: the number of subtags they share, doubled, and one more
/// where they are equal; 1 for `*`.
fn closeness(range: &[u8], tag: &[u8]) -> Option<usize> {
    if range == b"*" {
        return Some(1);
    }
    let parts = |text: &[u8]| text.split(|byte| *byte == b'-').count();
    if range == tag {
        return Some(2 * parts(tag) + 1);
    }
    let (short, long) = if range.len() < tag.len() { (range, tag) } else { (tag, range) };
    let begins = long.strip_prefix(short).is_some_and(|rest| rest.starts_with(b"-"));
    (begins && !short.is_empty()).then(|| 2 * parts(short))
}

impl Normalize {
    /// Validates the config at `at`; none where nothing is normalised.
    pub fn plan(config: &NormalizeConfig, at: &Path, report: &mut Report) -> Option<Box<Self>> {
        let at = at.key("accept_language");
        let mut languages = Vec::with_capacity(config.accept_language.len());
        for (index, tag) in config.accept_language.iter().enumerate() {
            match Language::parse(tag) {
                Some(language) if languages.iter().any(|other: &Language| other.is(&language)) => {
                    report.warn(&at.index(index), format!("`{tag}` is there twice"), "take it out");
                }
                Some(language) => languages.push(language),
                None => report.error_with_hint(
                    &at.index(index),
                    format!("`{tag}` is no language"),
                    "write a language tag, like \"en\" or \"pt-BR\"",
                ),
            }
        }
        if languages.len() > LANGUAGES_MAX {
            report.error(&at, format!("{} languages: at most {LANGUAGES_MAX}", languages.len()));
        }
        let normalize = Self { encoding: config.accept_encoding, languages: languages.into() };
        (!normalize.is_off()).then(|| Box::new(normalize))
    }

    /// Whether nothing is.
    pub const fn is_off(&self) -> bool {
        !self.encoding && self.languages.is_empty()
    }

    /// Brings the fields of a request into their one form.
    pub fn apply(&self, request: &mut HeaderMap) {
        if self.encoding
            && let Some(one) = encoding(request)
        {
            request.insert(ACCEPT_ENCODING, HeaderValue::from_static(one));
        }
        if !self.languages.is_empty() && request.contains_key(ACCEPT_LANGUAGE) {
            match self.language(request).cloned() {
                Some(one) => drop(request.insert(ACCEPT_LANGUAGE, one)),
                None => drop(request.remove(ACCEPT_LANGUAGE)),
            }
        }
    }

    /// The language of the list that a request likes best.
    fn language(&self, request: &HeaderMap) -> Option<&HeaderValue> {
        let asked = languages(request);
        let mut best: (u16, Option<&HeaderValue>) = (0, None);
        for language in &self.languages {
            let liked = language.liked(&asked);
            if liked > best.0 {
                best = (liked, Some(&language.value));
            }
        }
        best.1
    }
}

/// The one form of a request's `Accept-Encoding`; none to leave it as it is.
fn encoding(request: &HeaderMap) -> Option<&'static str> {
    let (mut zstd, mut br, mut gzip, mut identity, mut any) = (None, None, None, None, None);
    for member in members(request, &ACCEPT_ENCODING) {
        let name = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let taken = weight_of(member).is_none_or(|weight| thousandths(weight) > 0);
        let is = |coding: &[u8]| name.eq_ignore_ascii_case(coding);
        let place = match () {
            () if is(b"zstd") => &mut zstd,
            () if is(b"br") => &mut br,
            () if is(b"gzip") || is(b"x-gzip") => &mut gzip,
            () if is(b"identity") => &mut identity,
            () if name == b"*" => &mut any,
            () => continue,
        };
        // Said twice, what forbids counts.
        *place = Some(taken && place.unwrap_or(true));
    }
    let takes = |coding: Option<bool>| coding.unwrap_or(false);
    let takes_gzip = gzip.or(any).unwrap_or(false);
    Some(match (takes(zstd), takes(br), takes_gzip, identity.or(any) == Some(false)) {
        (false, false, false, false) => "identity",
        (false, false, true, false) => "gzip",
        (false, true, false, false) => "br",
        (false, true, true, false) => "br, gzip",
        (true, false, false, false) => "zstd",
        (true, false, true, false) => "zstd, gzip",
        (true, true, false, false) => "zstd, br",
        (true, true, true, false) => "zstd, br, gzip",
        (false, false, false, true) => return None,
        (false, false, true, true) => "gzip, identity;q=0",
        (false, true, false, true) => "br, identity;q=0",
        (false, true, true, true) => "br, gzip, identity;q=0",
        (true, false, false, true) => "zstd, identity;q=0",
        (true, false, true, true) => "zstd, gzip, identity;q=0",
        (true, true, false, true) => "zstd, br, identity;q=0",
        (true, true, true, true) => "zstd, br, gzip, identity;q=0",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::headers;
    use super::*;

    fn normalized(rules: &Normalize, name: &str, lines: &[&str]) -> Option<String> {
        let mut request = headers(&lines.iter().map(|line| (name, *line)).collect::<Vec<_>>());
        rules.apply(&mut request);
        assert!(request.get_all(name).iter().count() <= lines.len().max(1));
        request.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    fn languages_of(tags: &[&str]) -> Normalize {
        let languages = tags.iter().map(|tag| Language::parse(tag).unwrap()).collect();
        Normalize { encoding: false, languages }
    }

    /// RFC 9110 §12.5.3: its rules and its examples.
    #[test]
    fn encodings() {
        let rules = Normalize { encoding: true, ..Normalize::default() };
        for (lines, one) in [
            (&["gzip, deflate, br"][..], "br, gzip"),
            (&["br, gzip"], "br, gzip"),
            (&["gzip", "br"], "br, gzip"),
            (&["GZip;q=0.5 ,  BR ; q=1.0"], "br, gzip"),
            (&["gzip, deflate, br, zstd"], "zstd, br, gzip"),
            (&["x-gzip"], "gzip"),
            (&["compress, gzip"], "gzip"),
            (&[""], "identity"),
            (&[], "identity"),
            (&["identity"], "identity"),
            (&["dcb"], "identity"),
            (&["*"], "gzip"),
            (&["compress;q=0.5, gzip;q=1.0"], "gzip"),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], "gzip"),
            (&["gzip;q=0, br"], "br"),
            (&["gzip;q=0, *"], "identity"),
            (&["gzip;q=0.000"], "identity"),
            (&["gzip;q=2"], "identity"),
            (&["gzip, gzip;q=0"], "identity"),
            (&["br, identity;q=0"], "br, identity;q=0"),
            (&["br, *;q=0"], "br, identity;q=0"),
            // Nothing that we know is taken: the origin's to say so.
            (&["compress, identity;q=0"], "compress, identity;q=0"),
            (&["*;q=0"], "*;q=0"),
        ] {
            assert_eq!(normalized(&rules, "accept-encoding", lines).as_deref(), Some(one), "{lines:?}");
        }
        assert_eq!(normalized(&languages_of(&["en"]), "accept-encoding", &["x"]).as_deref(), Some("x"));
    }

    /// RFC 9110 §12.5.4, RFC 4647 §3.3.1, §3.4.
    #[test]
    fn one_language_of_the_list() {
        let rules = languages_of(&["en", "fr", "de-CH", "pt-BR"]);
        for (asked, one) in [
            ("en", Some("en")),
            ("fr;q=0.5, en", Some("en")),
            ("en;q=0.5, fr", Some("fr")),
            ("fr, en", Some("en")),
            ("FR", Some("fr")),
            ("da, en-gb;q=0.8, en;q=0.7", Some("en")),
            ("en-GB", Some("en")),
            ("de", Some("de-CH")),
            ("pt-BR, pt;q=0.5, en;q=0.4", Some("pt-BR")),
            ("de-CH;q=0.1, de;q=0.9, fr;q=0.5", Some("fr")),
            ("da", None),
            ("", None),
            ("*", Some("en")),
            ("en;q=0, *;q=0.5", Some("fr")),
            ("fr, *;q=0.1", Some("fr")),
            ("en;q=0", None),
            ("eng", None),
            ("en;q=x, fr;q=0.001", Some("fr")),
        ] {
            assert_eq!(normalized(&rules, "accept-language", &[asked]).as_deref(), one, "{asked}");
        }
        assert_eq!(normalized(&rules, "accept-language", &["da", "fr"]).as_deref(), Some("fr"));
        assert_eq!(normalized(&rules, "accept-language", &[]), None);
        assert_eq!(normalized(&Normalize::default(), "accept-language", &["x, y"]).as_deref(), Some("x, y"));
    }

    #[test]
    fn language_tags() {
        for (tag, is_one) in [
            ("en", true),
            ("zh-Hant-TW", true),
            ("de-1996", true),
            ("", false),
            ("*", false),
            ("en-", false),
            ("en_GB", false),
            ("1996", false),
            ("abcdefghi", false),
            ("en, fr", false),
        ] {
            assert_eq!(Language::parse(tag).is_some(), is_one, "{tag}");
        }
    }

    proptest! {
        /// What was normalised stays as it is.
        #[test]
        fn once_is_enough(
            encodings in "(gzip|br|zstd|identity|deflate|\\*)(;q=[01](\\.[0-9]{1,3})?)?(, ?(gzip|br|\\*)(;q=0)?){0,3}",
            languages in "(en|fr|de|en-GB|\\*)(;q=0\\.[0-9])?(, ?(fr-CA|de-CH|\\*)(;q=0)?){0,3}",
        ) {
            let rules = Normalize { encoding: true, ..languages_of(&["en", "fr", "de-CH"]) };
            let mut once = headers(&[("accept-encoding", &encodings), ("accept-language", &languages)]);
            rules.apply(&mut once);
            let mut twice = once.clone();
            rules.apply(&mut twice);
            prop_assert_eq!(once, twice);
        }
    }
}
