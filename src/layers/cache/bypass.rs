//! Requests that the operator wants the cache to leave alone: by field, by cookie, by path.
//!
//! Such a request is neither answered from the store nor is its answer stored, and it waits for nobody; what
//! is stored for others stays. A pattern may have `*` anywhere, for any run of characters. Paths are matched
//! as they are after normalisation, and before a `rewrite`, without the query.

use http::header::HeaderName;

use crate::http::{Request, fields};
use crate::report::{Path, Report};

use super::config::BypassConfig;
use super::storable::Bypass;

/// The rules of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BypassRules {
    headers: Box<[HeaderName]>,
    cookies: Box<[Glob]>,
    paths: Box<[Glob]>,
}

impl BypassRules {
    /// Validates the config at `at`; none where there are no rules.
    pub fn plan(config: &BypassConfig, at: &Path, report: &mut Report) -> Option<Box<Self>> {
        let mut headers = Vec::with_capacity(config.headers.len());
        for (index, text) in config.headers.iter().enumerate() {
            match text.parse::<HeaderName>() {
                Ok(name) => headers.push(name),
                Err(_) => report.error(&at.key("headers").index(index), format!("`{text}` is no field name")),
            }
        }
        let mut paths = Vec::with_capacity(config.paths.len());
        for (index, text) in config.paths.iter().enumerate() {
            if text.starts_with(['/', '*']) {
                paths.push(Glob::new(text));
            } else {
                report.error_with_hint(
                    &at.key("paths").index(index),
                    format!("no path begins like `{text}`"),
                    format!("write \"/{text}\" or \"*{text}\""),
                );
            }
        }
        let mut cookies = Vec::with_capacity(config.cookies.len());
        for (index, text) in config.cookies.iter().enumerate() {
            if text.is_empty()
                || text.bytes().any(|byte| !byte.is_ascii_graphic() || b"=;,\"".contains(&byte))
            {
                report.error(&at.key("cookies").index(index), format!("`{text}` is no cookie name"));
            } else {
                cookies.push(Glob::new(text));
            }
        }
        let rules = Self { headers: headers.into(), cookies: cookies.into(), paths: paths.into() };
        let some = !(rules.headers.is_empty() && rules.cookies.is_empty() && rules.paths.is_empty());
        some.then(|| Box::new(rules))
    }

    /// The first kind of rule that a request falls under.
    pub fn check(&self, request: &Request) -> Option<Bypass> {
        if self.headers.iter().any(|name| request.headers.contains_key(name)) {
            return Some(Bypass::Header);
        }
        if !self.cookies.is_empty() && self.has_cookie(request) {
            return Some(Bypass::Cookie);
        }
        let path = request.target.path().as_bytes();
        self.paths.iter().any(|glob| glob.matches(path)).then_some(Bypass::Path)
    }

    fn has_cookie(&self, request: &Request) -> bool {
        fields::cookies(&request.headers)
            .filter_map(|pair| pair.split(|byte| *byte == b'=').next())
            .map(<[u8]>::trim_ascii)
            .any(|name| self.cookies.iter().any(|glob| glob.matches(name)))
    }
}

/// A text in which every `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob(Box<[u8]>);

impl Glob {
    fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }

    /// Without recursion: where it fails, the last `*` takes one character more.
    fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut here) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(at), text.get(here)) {
                (Some(b'*'), _) => {
                    star = Some((at, here));
                    at += 1;
                }
                (Some(wanted), Some(found)) if wanted == found => (at, here) = (at + 1, here + 1),
                (None, None) => return true,
                _ => match star {
                    Some((star_at, taken)) if taken < text.len() => {
                        star = Some((star_at, taken + 1));
                        (at, here) = (star_at + 1, taken + 1);
                    }
                    _ => return false,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn globs() {
        for (glob, text, matches) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a", "/", false),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("*.php", "/x/y.php", true),
            ("*.php", "/x/y.php5", false),
            ("/*/live", "/a/b/live", true),
            ("/*/live", "/live", false),
            ("/a*b*c", "/a-b-b-c", true),
            ("/a*b*c", "/a-c-b", false),
            ("*", "", true),
            ("session*", "session_id", true),
            ("session*", "Session", false),
        ] {
            assert_eq!(Glob::new(glob).matches(text.as_bytes()), matches, "{glob} {text}");
        }
    }

    #[test]
    fn what_cannot_be_a_rule() {
        let config = BypassConfig {
            headers: vec!["x y".to_owned()],
            cookies: vec!["a=b".to_owned(), String::new()],
            paths: vec!["admin".to_owned()],
        };
        let mut report = Report::new();
        assert_eq!(BypassRules::plan(&config, &Path::root(), &mut report), None);
        assert_eq!(report.problems().len(), 4);
        assert_eq!(BypassRules::plan(&BypassConfig::default(), &Path::root(), &mut Report::new()), None);
    }

    proptest! {
        #[test]
        fn a_glob_matches_as_its_pieces_do(glob in "[ab*]{0,6}", text in "[ab]{0,8}") {
            // The definition: the pieces between the stars, in order, the first and last at the ends.
            fn naive(glob: &[u8], text: &[u8]) -> bool {
                match glob.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
                    Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
                }
            }
            let expected = naive(glob.as_bytes(), text.as_bytes());
            prop_assert_eq!(Glob::new(&glob).matches(text.as_bytes()), expected);
        }
    }
}
