//! `Cache-Control` of requests and responses, read into plain values (RFC 9111 §5.2, RFC 5861, RFC 8246); a
//! [targeted] field takes its place where there is one (RFC 9213).
//!
//! Choices where the RFCs leave one:
//!
//! - A directive that is given twice counts as its more restrictive value. For `max-age` that is, at any
//!   time, one of the two behaviours that RFC 9111 §4.2.1 allows: the first value, or stale.
//! - An invalid `max-age` or `s-maxage` counts as 0 (stale, §4.2.1); one that overflows as 2^31 (§1.2.2).
//!   White space around `=` makes a value invalid. A quoted number is accepted.
//! - `no-cache="a, b"` withholds the named fields from the store and leaves the rest reusable (§5.2.2.4: they
//!   are not sent without validation, and what is not stored cannot be); `private="a"` is taken for plain
//!   `private`, which §5.2.2.7 allows. A list of names that cannot be read counts as no list.
//! - `Pragma: no-cache` counts in requests without `Cache-Control` (§5.4) and never in responses.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, PRAGMA};
use smallvec::SmallVec;

use super::targeted;

/// What a number of seconds that does not fit is read as (RFC 9111 §1.2.2).
pub const DELTA_MAX: u32 = 1 << 31;

/// Directives of a request. The default is that of a request without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Revalidate, whatever is stored.
    pub no_cache: bool,
    /// Store nothing of the answer.
    pub no_store: bool,
    /// Answer from the store or with 504.
    pub only_if_cached: bool,
    /// The oldest answer accepted, in seconds.
    pub max_age: Option<u32>,
    /// How long the answer must stay fresh, in seconds.
    pub min_fresh: Option<u32>,
    /// How stale an answer is accepted, in seconds; `u32::MAX` for any.
    pub max_stale: Option<u32>,
    /// How stale an answer is accepted where the origin fails, in seconds (RFC 5861 §4).
    pub stale_if_error: Option<u32>,
}

impl RequestDirectives {
    /// Reads them; with `honor` false a client has no say.
    pub fn of(headers: &HeaderMap, honor: bool) -> Self {
        let mut directives = Self::default();
        if !honor {
            return directives;
        }
        if headers.contains_key(CACHE_CONTROL) {
            for line in headers.get_all(CACHE_CONTROL) {
                Elements(line.as_bytes()).for_each(|directive| directives.add(directive));
            }
        } else if headers.contains_key(PRAGMA) {
            directives.no_cache = headers
                .get_all(PRAGMA)
                .iter()
                .flat_map(|line| Elements(line.as_bytes()))
                .any(|directive| directive.name.eq_ignore_ascii_case(b"no-cache"));
        }
        directives
    }

    fn add(&mut self, directive: Directive<'_>) {
        match Name::of(directive.name) {
            Name::NoCache => self.no_cache = true,
            Name::NoStore => self.no_store = true,
            Name::OnlyIfCached => self.only_if_cached = true,
            Name::MaxAge => lower(&mut self.max_age, directive.seconds().unwrap_or(0)),
            Name::MinFresh => {
                let seconds = directive.seconds().unwrap_or(0);
                self.min_fresh = Some(self.min_fresh.map_or(seconds, |other| other.max(seconds)));
            }
            Name::MaxStale if directive.value == Value::None => lower(&mut self.max_stale, u32::MAX),
            Name::MaxStale => lower(&mut self.max_stale, directive.seconds().unwrap_or(0)),
            Name::StaleIfError => lower(&mut self.stale_if_error, directive.seconds().unwrap_or(0)),
            _ => {}
        }
    }
}

/// Directives of a response. The default is that of a response without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// Nothing of it may be stored.
    pub no_store: bool,
    /// It may be stored, and used only after successful validation.
    pub no_cache: bool,
    /// It is meant for one user: a shared cache may not store it.
    pub private: bool,
    /// It may be stored even where that would not go without saying.
    pub public: bool,
    /// Once stale it may not be used without successful validation.
    pub must_revalidate: bool,
    /// The same for shared caches, like this one.
    pub proxy_revalidate: bool,
    /// It may be stored only by who understands its status code, and then even with `no_store`.
    pub must_understand: bool,
    /// Its content may not be transformed.
    pub no_transform: bool,
    /// It does not change while fresh (RFC 8246); of use to clients only.
    pub immutable: bool,
    /// The freshness lifetime, in seconds.
    pub max_age: Option<u32>,
    /// The same for shared caches, where it wins over `max_age`.
    pub s_maxage: Option<u32>,
    /// How long it may be served stale while it is revalidated, in seconds (RFC 5861 §3).
    pub stale_while_revalidate: Option<u32>,
    /// How long it may be served stale when the origin fails, in seconds (RFC 5861 §4).
    pub stale_if_error: Option<u32>,
    /// Fields that are not to be stored: the argument of `no-cache`.
    pub withheld: SmallVec<[HeaderName; 0]>,
    /// They come from a targeted field, so that `Expires` does not count (RFC 9213 §2.2).
    pub targeted: bool,
}

impl ResponseDirectives {
    /// Reads the targeted field that counts, or `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        targeted::directives(headers).unwrap_or_else(|| Self::of_lines(headers.get_all(CACHE_CONTROL)))
    }

    /// Those of a targeted field.
    pub(super) fn of_targeted<'a>(members: impl IntoIterator<Item = Directive<'a>>) -> Self {
        let mut directives = Self { targeted: true, ..Self::default() };
        members.into_iter().for_each(|directive| directives.add(directive));
        directives
    }

    /// Reads the lines of a field with the syntax of `Cache-Control`.
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut directives = Self::default();
        for line in lines {
            Elements(line.as_bytes()).for_each(|directive| directives.add(directive));
        }
        directives
    }

    fn add(&mut self, directive: Directive<'_>) {
        match Name::of(directive.name) {
            Name::NoCache => match directive.field_names() {
                Some(names) => self.withheld.extend(names),
                None => self.no_cache = true,
            },
            Name::NoStore => self.no_store = true,
            Name::Private => self.private = true,
            Name::Public => self.public = true,
            Name::MustRevalidate => self.must_revalidate = true,
            Name::ProxyRevalidate => self.proxy_revalidate = true,
            Name::MustUnderstand => self.must_understand = true,
            Name::NoTransform => self.no_transform = true,
            Name::Immutable => self.immutable = true,
            Name::MaxAge => lower(&mut self.max_age, directive.seconds().unwrap_or(0)),
            Name::SMaxage => lower(&mut self.s_maxage, directive.seconds().unwrap_or(0)),
            Name::StaleWhileRevalidate => {
                lower(&mut self.stale_while_revalidate, directive.seconds().unwrap_or(0));
            }
            Name::StaleIfError => lower(&mut self.stale_if_error, directive.seconds().unwrap_or(0)),
            Name::OnlyIfCached | Name::MinFresh | Name::MaxStale | Name::Other => {}
        }
    }
}

/// Checks a `Cache-Control` that an operator writes, more strictly than what comes from an origin.
///
/// # Errors
///
/// What is wrong with it: a directive that is unknown or one of requests, or no number where one belongs.
pub fn check(value: &HeaderValue) -> Result<(), String> {
    for directive in Elements(value.as_bytes()) {
        let name = String::from_utf8_lossy(directive.name);
        match Name::of(directive.name) {
            Name::Other | Name::OnlyIfCached | Name::MinFresh | Name::MaxStale => {
                return Err(format!("`{name}` is no directive of a response"));
            }
            Name::MaxAge | Name::SMaxage | Name::StaleWhileRevalidate | Name::StaleIfError
                if directive.seconds().is_none() =>
            {
                return Err(format!("`{name}` takes a number of seconds"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Keeps the lower of what was there and what comes.
fn lower(slot: &mut Option<u32>, seconds: u32) {
    *slot = Some(slot.map_or(seconds, |other| other.min(seconds)));
}

/// The directives that mean something to us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    NoCache,
    NoStore,
    OnlyIfCached,
    Private,
    Public,
    MustRevalidate,
    ProxyRevalidate,
    MustUnderstand,
    NoTransform,
    Immutable,
    MaxAge,
    SMaxage,
    MinFresh,
    MaxStale,
    StaleWhileRevalidate,
    StaleIfError,
    Other,
}

impl Name {
    pub(super) fn of(name: &[u8]) -> Self {
        const NAMES: [(&[u8], Name); 16] = [
            (b"max-age", Name::MaxAge),
            (b"no-cache", Name::NoCache),
            (b"no-store", Name::NoStore),
            (b"private", Name::Private),
            (b"public", Name::Public),
            (b"s-maxage", Name::SMaxage),
            (b"must-revalidate", Name::MustRevalidate),
            (b"proxy-revalidate", Name::ProxyRevalidate),
            (b"stale-while-revalidate", Name::StaleWhileRevalidate),
            (b"stale-if-error", Name::StaleIfError),
            (b"no-transform", Name::NoTransform),
            (b"must-understand", Name::MustUnderstand),
            (b"immutable", Name::Immutable),
            (b"only-if-cached", Name::OnlyIfCached),
            (b"min-fresh", Name::MinFresh),
            (b"max-stale", Name::MaxStale),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, directive)| *directive)
    }
}

/// One directive as it stands in the field.
pub(super) struct Directive<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Value<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    None,
    /// What stands behind `=`, without its quotes; escapes are left as they are.
    Some(&'a [u8]),
    Invalid,
}

impl Directive<'_> {
    /// The value as delta-seconds, if it is one.
    fn seconds(&self) -> Option<u32> {
        let Value::Some(digits) = self.value else { return None };
        delta_seconds(digits)
    }

    /// The value as a list of field names, if it is one that is not empty.
    fn field_names(&self) -> Option<SmallVec<[HeaderName; 0]>> {
        let Value::Some(list) = self.value else { return None };
        let names: Option<SmallVec<[HeaderName; 0]>> = list
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
            .map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        names.filter(|names| !names.is_empty())
    }
}

/// A non-negative number of seconds, [`DELTA_MAX`] where it is larger (RFC 9111 §1.2.2); none if it is no
/// number.
pub fn delta_seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = digits
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
        .min(u64::from(DELTA_MAX));
    u32::try_from(seconds).ok()
}

/// The directives of one field line.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let (element, rest) = self.0.split_at_checked(element_end(self.0)).unwrap_or((self.0, &[]));
            self.0 = rest.strip_prefix(b",").unwrap_or(rest);
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(directive(element));
            }
        }
    }
}

/// Where the first list element ends: at a comma outside of quotes, or at the end. A quote that is never
/// closed takes the rest of the line with it.
pub(super) fn element_end(list: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}

fn directive(element: &[u8]) -> Directive<'_> {
    let Some(equals) = memchr::memchr(b'=', element) else {
        return Directive { name: element, value: Value::None };
    };
    let (name, value) = element.split_at_checked(equals).unwrap_or((element, &[]));
    let value = value.strip_prefix(b"=").unwrap_or(value);
    if name.trim_ascii().len() != name.len() || value.trim_ascii().len() != value.len() {
        return Directive { name: name.trim_ascii(), value: Value::Invalid };
    }
    let value = match value.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\"").map_or(Value::Invalid, Value::Some),
        None => Value::Some(value),
    };
    Directive { name, value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::headers;
    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let fields: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        ResponseDirectives::of(&headers(&fields))
    }

    fn request(lines: &[&str]) -> RequestDirectives {
        let fields: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        RequestDirectives::of(&headers(&fields), true)
    }

    /// RFC 9111 §1.2.2, §4.2.1, §5.2.
    #[test]
    fn max_age_is_read_conservatively() {
        for (lines, expected) in [
            (&["max-age=3600"][..], Some(3600)),
            (&["MaX-aGe=3600"], Some(3600)),
            (&["foobar, max-age=3600"], Some(3600)),
            (&[" , ,max-age=3600 ,, "], Some(3600)),
            (&["max-age=\"3600\""], Some(3600)),
            (&["max-age=003600"], Some(3600)),
            (&["max-age=2147483648"], Some(DELTA_MAX)),
            (&["max-age=99999999999999999999999"], Some(DELTA_MAX)),
            (&["max-age='3600'"], Some(0)),
            (&["max-age=-3600"], Some(0)),
            (&["max-age=3600.0"], Some(0)),
            (&["max-age=3600a"], Some(0)),
            (&["max-age=a3600"], Some(0)),
            (&["max-age =3600"], Some(0)),
            (&["max-age= 3600"], Some(0)),
            (&["max-age=\"3600"], Some(0)),
            (&["max-age="], Some(0)),
            (&["max-age"], Some(0)),
            (&["extension=\"max-age=3600\", max-age=1"], Some(1)),
            (&["max-age=1, extension=\"max-age=3600\""], Some(1)),
            (&["extension=\"a\\\", max-age=3600\", max-age=1"], Some(1)),
            (&["extension=\"never closed, max-age=3600"], None),
            (&["extension=\"never closed", "max-age=3600"], Some(3600)),
            (&["max-age=3600, max-age=1800"], Some(1800)),
            (&["max-age=1", "max-age=1800"], Some(1)),
            (&["max-age=x, max-age=1800"], Some(0)),
            (&["xmax-age=1, max-ages=1"], None),
            (&[""], None),
        ] {
            assert_eq!(response(lines).max_age, expected, "{lines:?}");
        }
    }

    #[test]
    fn every_directive_of_a_response() {
        let all = response(&[
            "no-store, no-cache, private, public, must-revalidate, proxy-revalidate, must-understand",
            "no-transform, immutable, max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4",
        ]);
        let expected = ResponseDirectives {
            no_store: true,
            no_cache: true,
            private: true,
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            must_understand: true,
            no_transform: true,
            immutable: true,
            max_age: Some(1),
            s_maxage: Some(2),
            stale_while_revalidate: Some(3),
            stale_if_error: Some(4),
            withheld: SmallVec::new(),
            targeted: false,
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn what_operators_write_is_checked() {
        for (line, fine) in [
            ("public, max-age=60, stale-while-revalidate=5, no-cache=\"x\"", true),
            ("", true),
            ("max-age", false),
            ("max-age=1m", false),
            ("max-age = 60", false),
            ("maxage=60", false),
            ("min-fresh=5", false),
        ] {
            assert_eq!(check(&HeaderValue::from_static(line)).is_ok(), fine, "{line}");
        }
    }

    /// RFC 9111 §5.2.2.4 and §5.2.2.7.
    #[test]
    fn qualified_forms() {
        let names = |lines: &[&str]| -> Vec<String> {
            response(lines).withheld.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&["no-cache=\"a\", max-age=5"]), ["a"]);
        assert_eq!(names(&["no-cache=\"A, set-cookie\""]), ["a", "set-cookie"]);
        assert!(!response(&["no-cache=\"a\""]).no_cache);
        for line in [
            "no-cache",
            "no-cache=\"\"",
            "no-cache=\"a b\"",
            "no-cache=\"a",
            "no-cache= \"a\"",
            "no-cache=\",\"",
        ] {
            assert!(response(&[line]).no_cache, "{line}");
            assert!(names(&[line]).is_empty(), "{line}");
        }
        assert!(response(&["private=\"a\""]).private);
    }

    #[test]
    fn every_directive_of_a_request() {
        let all = request(&[
            "no-cache, no-store, only-if-cached, max-age=1, min-fresh=2, max-stale=3, stale-if-error=4",
        ]);
        let expected = RequestDirectives {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            max_age: Some(1),
            min_fresh: Some(2),
            max_stale: Some(3),
            stale_if_error: Some(4),
        };
        assert_eq!(all, expected);
        assert_eq!(request(&["max-stale"]).max_stale, Some(u32::MAX));
        assert_eq!(request(&["max-stale, max-stale=5"]).max_stale, Some(5));
        assert_eq!(request(&["max-stale=x"]).max_stale, Some(0));
        assert_eq!(request(&["min-fresh=5, min-fresh=7"]).min_fresh, Some(7));
        assert_eq!(request(&["max-age=x"]).max_age, Some(0));
        assert_eq!(request(&["unheard-of"]), RequestDirectives::default());
    }

    /// RFC 9111 §5.4.
    #[test]
    fn pragma_counts_without_cache_control_only() {
        for (fields, expected) in [
            (&[("pragma", "no-cache")][..], true),
            (&[("pragma", "foo, No-Cache")], true),
            (&[("pragma", "foo")], false),
            (&[("pragma", "no-cache"), ("cache-control", "max-stale")], false),
        ] {
            assert_eq!(RequestDirectives::of(&headers(fields), true).no_cache, expected, "{fields:?}");
        }
        assert_eq!(
            ResponseDirectives::of(&headers(&[("pragma", "no-cache")])),
            ResponseDirectives::default()
        );
    }

    #[test]
    fn a_client_without_a_say_has_none() {
        let fields = headers(&[("cache-control", "no-cache, max-age=0, only-if-cached, no-store")]);
        assert_eq!(RequestDirectives::of(&fields, false), RequestDirectives::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(prop_oneof![0x20..=0x7eu8, 0x80..=0xffu8], 0..80),
        ) {
            let value = HeaderValue::from_bytes(&bytes).unwrap();
            ResponseDirectives::of_lines([&value]);
            let mut fields = HeaderMap::new();
            fields.insert(CACHE_CONTROL, value);
            RequestDirectives::of(&fields, true);
        }

        #[test]
        fn junk_never_makes_a_response_fresher(junk in "[a-z\",= \\\\]{0,12}", seconds in 0..100_000u32) {
            let line = format!("max-age={seconds},{junk}");
            let read = response(&[&line]).max_age;
            prop_assert!(read.is_some_and(|read| read <= seconds), "{line}: {read:?}");
        }
    }
}
