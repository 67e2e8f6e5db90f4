//! `Cache-Control` of requests and responses, read into plain values (RFC 9111 §5.2, RFC 5861, RFC 8246).
//!
//! Choices where the RFCs leave one:
//!
//! - A directive that is given twice counts as its more restrictive value. For `max-age` that is, at any time, one of
//!   the two behaviours that RFC 9111 §4.2.1 allows: the first value, or stale.
//! - An invalid `max-age` or `s-maxage` counts as 0 (stale, §4.2.1); one that overflows as 2^31 (§1.2.2). White space
//!   around `=` makes a value invalid. A quoted number is accepted.
//! - `no-cache="a, b"` withholds the named fields from the store and leaves the rest reusable; `private="a"` is taken
//!   for plain `private`, which §5.2.2.7 allows.
//! - `Pragma: no-cache` counts in requests without `Cache-Control` (§5.4) and never in responses.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, PRAGMA};
use smallvec::SmallVec;

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
}

impl ResponseDirectives {
    /// Reads `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::of_lines(headers.get_all(CACHE_CONTROL))
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

/// Keeps the lower of what was there and what comes.
fn lower(slot: &mut Option<u32>, seconds: u32) {
    *slot = Some(slot.map_or(seconds, |other| other.min(seconds)));
}

/// The directives that mean something to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
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
    fn of(name: &[u8]) -> Self {
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
struct Directive<'a> {
    name: &'a [u8],
    value: Value<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
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

/// A non-negative number of seconds, [`DELTA_MAX`] where it is larger (RFC 9111 §1.2.2); none if it is no number.
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

/// Where the first list element ends: at a comma outside of quotes, or at the end. A quote that is never closed
/// takes the rest of the line with it.
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
