//! Parameters of queries whose values are secrets, and are not written.

use crate::http::query;
use std::borrow::Cow;

/// What stands in the place of a secret.
const MASK: &[u8] = b"***";

/// Names of parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Hidden(Box<[Box<[u8]>]>);

impl Hidden {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(|name| name.as_bytes().into()).collect())
    }

    /// A target or a URL without what is hidden in its query, however that is split or written.
    pub(super) fn of<'t>(&self, target: &'t [u8]) -> Cow<'t, [u8]> {
        let query = memchr::memchr(b'?', target).filter(|_| !self.0.is_empty());
        let Some((before, query)) = query.and_then(|at| target.split_at_checked(at + 1)) else {
            return Cow::Borrowed(target);
        };
        let mut out = before.to_vec();
        for parameter in query.split_inclusive(|byte| matches!(byte, b'&' | b';' | b'?' | b'#')) {
            let name = parameter.split(|byte| matches!(byte, b'=' | b'&' | b';' | b'#')).next();
            let name = name.unwrap_or_default();
            let is_secret = self.0.iter().any(|hidden| is_same(name, hidden));
            match parameter.split_at_checked(name.len()) {
                Some((name, rest)) if is_secret && rest.first() == Some(&b'=') => {
                    out.extend_from_slice(name);
                    out.push(b'=');
                    out.extend_from_slice(MASK);
                    out.extend(rest.last().filter(|last| matches!(last, b'&' | b';' | b'?' | b'#')));
                }
                _ => out.extend_from_slice(parameter),
            }
        }
        Cow::Owned(out)
    }
}

/// Whether a name may be read as the other one: decoded, and whatever its case.
fn is_same(written: &[u8], name: &[u8]) -> bool {
    query::decoded(written).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_nothing_else_is() {
        let hidden = Hidden::new(["key", "api key"]);
        for (target, shown) in [
            ("/a", "/a"),
            ("/key=1", "/key=1"),
            ("/a?b=1&c", "/a?b=1&c"),
            ("/a?key=secret", "/a?key=***"),
            ("/a?b=1&key=secret&c=2", "/a?b=1&key=***&c=2"),
            ("/a?b=1;key=secret;c=2", "/a?b=1;key=***;c=2"),
            ("/a?KEY=secret", "/a?KEY=***"),
            ("/a?%6bey=secret&key=other", "/a?%6bey=***&key=***"),
            ("/a?api+key=secret&api%20key=s", "/a?api+key=***&api%20key=***"),
            ("/a?key=a=b", "/a?key=***"),
            ("/a?key", "/a?key"),
            ("/a?key&b", "/a?key&b"),
            ("/a??key=secret", "/a??key=***"),
            ("https://a.example/?key=secret#f", "https://a.example/?key=***#f"),
            ("/a?keys=1&xkey=2", "/a?keys=1&xkey=2"),
        ] {
            assert_eq!(String::from_utf8_lossy(&hidden.of(target.as_bytes())), shown, "{target}");
        }
        assert!(matches!(Hidden::default().of(b"/a?key=1"), Cow::Borrowed(_)));
    }
}
