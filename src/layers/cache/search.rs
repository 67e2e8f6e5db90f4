//! `No-Vary-Search` (draft-ietf-httpbis-no-vary-search): a response says which parameters of the query do not
//! matter, and answers requests that differ from its own in nothing else. Routes that opt in heed it.
//!
//! Per path, the last variance that a stored response had is remembered. A look-up writes its key by that:
//! the variance itself, then the parameters that matter. A response is stored under the key that its *own*
//! variance makes, so whatever is found there had that variance, and a target that is equivalent to the
//! request's. A path without one, or a response without one, has the key that it has on every route; a
//! look-up that finds nothing by variance tries that.
//!
//! What may surprise:
//!
//! - More parameters count than the draft says, where origins differ in how they read a query: those with a
//!   `;`, those that only differ in case from one that counts, and, unless they are named, those whose names
//!   some origins read in another way (see [`key`]). That costs hits, never correctness.
//! - Requests wait for one another only if their queries are the same: of a response on its way nothing says
//!   yet which of them it answers.
//! - What invalidates or purges one URL does so for its path, whatever the query.
//! - A field that names more than 64 parameters counts as absent.

use std::borrow::Cow;
use std::sync::Arc;

use ahash::RandomState;
use http::{HeaderMap, HeaderName, Method};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::http::{Request, Target, query};

use super::core::Core;
use super::directives::RequestDirectives;
use super::entry::Entry;
use super::flight::flight_key;
use super::key::{self, KeyRules, QueryRules};
use super::layer::Step;
use super::store::{Peek, Slot};
use super::structured::{self, Cursor};

static NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// How many parameters a field may name.
const NAMES_MAX: usize = 64;

/// How many bytes all their names may have together.
const NAMES_BYTES_MAX: usize = 2048;

/// For how many paths of the process a variance is remembered. Those asked for the least go first.
const PATHS_MAX: usize = 4096;

/// The longest path, with what stands before it in a key, that is remembered, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// How a response's target may differ from a request's: the draft's *URL search variance*, and never its
/// default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variance {
    names: Names,
    /// Whether the order of parameters with different names does not matter.
    any_order: bool,
}

/// Names of parameters, decoded, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    /// These do not matter.
    Ignored(Box<[Box<[u8]>]>),
    /// None but these matter.
    Counting(Box<[Box<[u8]>]>),
}

/// The value of a member, as far as it means anything here.
enum Member {
    Boolean(bool),
    Strings(Vec<Box<[u8]>>),
    Other,
}

impl Variance {
    /// What a response says; none where that is the default variance, or cannot be read.
    pub fn of(response: &HeaderMap) -> Option<Self> {
        if !response.contains_key(&NO_VARY_SEARCH) {
            return None;
        }
        let (mut key_order, mut params, mut except) = (None, None, None);
        let text = structured::lines(response, &NO_VARY_SEARCH);
        structured::dictionary(&text, |cursor, name, given| {
            let value = if given { member(cursor)? } else { Member::Boolean(true) };
            match name {
                b"key-order" => key_order = Some(value),
                b"params" => params = Some(value),
                b"except" => except = Some(value),
                _ => {}
            }
            Some(())
        })?;
        let any_order = match key_order {
            None => false,
            Some(Member::Boolean(any)) => any,
            Some(_) => return None,
        };
        let names = match (params, except) {
            (None | Some(Member::Boolean(false)), None) => Names::Ignored(Box::default()),
            (Some(Member::Strings(names)), None) => Names::Ignored(names_of(names)?),
            (Some(Member::Boolean(true)), None) => Names::Counting(Box::default()),
            (Some(Member::Boolean(true)), Some(Member::Strings(names))) => Names::Counting(names_of(names)?),
            _ => return None,
        };
        let variance = Self { names, any_order };
        (variance != Self { names: Names::Ignored(Box::default()), any_order: false }).then_some(variance)
    }

    /// Writes itself and what matters of a query, of which `rules` already leave some out. No other variance
    /// writes the same, nor does a key without one: those go on with 0 or 1.
    fn write(&self, buffer: &mut Vec<u8>, rules: Option<&QueryRules>, query: &[u8]) {
        let (kind, names) = match &self.names {
            Names::Ignored(names) => (0, names),
            Names::Counting(names) => (1, names),
        };
        buffer.extend_from_slice(&[2, kind, u8::from(self.any_order)]);
        key::length(buffer, names.len());
        names.iter().for_each(|name| key::component(buffer, name));
        let mut parameters: Vec<_> = query
            .split(|byte| *byte == b'&')
            .filter(|text| !text.is_empty() && rules.is_none_or(|rules| rules.counts(text)))
            .filter_map(|text| self.parameter(text))
            .collect();
        if self.any_order || rules.is_some_and(|rules| rules.sort) {
            parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        key::length(buffer, parameters.len());
        for (name, value) in parameters {
            key::component(buffer, &name);
            key::optional(buffer, value.as_deref());
        }
    }

    /// A parameter that matters, as it is compared: name and value. One that origins split in different ways
    /// is compared as it stands there, without a value.
    fn parameter<'a>(&self, text: &'a [u8]) -> Option<Parameter<'a>> {
        if memchr::memchr(b';', text).is_some() {
            return Some((Cow::Borrowed(text), None));
        }
        let end = memchr::memchr(b'=', text).unwrap_or(text.len());
        let (name, value) = text.split_at_checked(end).unwrap_or((text, &[]));
        let name = form_decoded(name);
        let matters = match &self.names {
            Names::Ignored(names) => !names.iter().any(|other| **other == *name),
            Names::Counting(names) => {
                !key::is_plain(&name) || names.iter().any(|other| other.eq_ignore_ascii_case(&name))
            }
        };
        matters.then(|| (name, Some(form_decoded(value.strip_prefix(b"=").unwrap_or(value)))))
    }
}

/// Name and value.
type Parameter<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// A value of a dictionary (RFC 9651 §4.2.1).
fn member(cursor: &mut Cursor<'_>) -> Option<Member> {
    match cursor.next()? {
        b'?' => Some(Member::Boolean(cursor.boolean()?.is_some())),
        b'(' => inner_list(cursor),
        _ => {
            cursor.bare_item()?;
            Some(Member::Other)
        }
    }
}

/// An inner list (RFC 9651 §4.2.1.2), all of whose items must be strings to mean anything.
fn inner_list(cursor: &mut Cursor<'_>) -> Option<Member> {
    let mut names = Some(Vec::new());
    cursor.eat(b'(');
    loop {
        cursor.skip(b" ");
        if cursor.eat(b')') {
            return Some(names.map_or(Member::Other, Member::Strings));
        }
        if cursor.next()? == b'"' {
            let name = unescaped(cursor.string()?);
            names = names.map(|mut names| {
                names.push(form_decoded(&name).into());
                names
            });
        } else {
            cursor.bare_item()?;
            names = None;
        }
        cursor.parameters()?;
        if !matches!(cursor.next()?, b' ' | b')') {
            return None;
        }
    }
}

/// The names of a list, in the one order in which they are compared; none where they are too many.
fn names_of(mut names: Vec<Box<[u8]>>) -> Option<Box<[Box<[u8]>]>> {
    names.sort_unstable();
    names.dedup();
    let bytes: usize = names.iter().map(|name| name.len()).sum();
    (names.len() <= NAMES_MAX && bytes <= NAMES_BYTES_MAX).then(|| names.into())
}

/// A string without its escapes (RFC 9651 §4.2.5).
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut escaped = false;
    let keep = |byte: &&u8| {
        escaped = !escaped && **byte == b'\\';
        !escaped
    };
    text.iter().filter(keep).copied().collect()
}

/// A name or a value as forms are read: decoded, and with U+FFFD for what is no UTF-8.
fn form_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    match query::decoded(text) {
        Cow::Borrowed(bytes) if bytes.is_ascii() => Cow::Borrowed(bytes),
        bytes => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned().into_bytes()),
    }
}

/// The variances that paths had last.
#[derive(Debug)]
pub struct Variances(Cache<Box<[u8]>, Arc<Variance>, UnitWeighter, RandomState>);

impl Default for Variances {
    fn default() -> Self {
        let (hasher, life) = (RandomState::new(), DefaultLifecycle::default());
        Self(Cache::with(PATHS_MAX, PATHS_MAX as u64, UnitWeighter, hasher, life))
    }
}

impl Variances {
    fn get(&self, path: &[u8]) -> Option<Arc<Variance>> {
        self.0.get(path)
    }

    fn learn(&self, path: &[u8], variance: Variance) {
        if path.len() <= PATH_BYTES_MAX && self.get(path).is_none_or(|known| *known != variance) {
            self.0.insert(path.into(), Arc::new(variance));
        }
    }
}

impl KeyRules {
    /// The same as [`write`](Self::write), by a variance. `buffer` has the resource.
    fn write_search(&self, buffer: &mut Vec<u8>, variance: &Variance, target: &Target, headers: &HeaderMap) {
        let query = target.query().unwrap_or_default();
        variance.write(buffer, self.query.as_ref(), query.as_bytes());
        self.write_client(buffer, headers);
    }
}

impl Core {
    /// Writes the key by the variance that is known of the target's path; false where none is.
    pub(super) fn key_by_search(&self, buffer: &mut Vec<u8>, target: &Target, headers: &HeaderMap) -> bool {
        self.plan.key.write_resource(buffer, self.namespace, target);
        let known = self.store.variances().get(buffer);
        if let Some(variance) = &known {
            self.plan.key.write_search(buffer, variance, target, headers);
        }
        known.is_some()
    }

    /// [`look`](Self::look) where responses say what of a query matters.
    pub(super) fn look_by_search(
        &self,
        key: &mut Vec<u8>,
        request: &Request,
        asked: RequestDirectives,
    ) -> Step {
        let now = request.received.wall;
        let selects = |slot: &Slot| slot.select(&request.headers).is_some();
        if self.key_by_search(key, &request.target, &request.headers) {
            match self.store.peek(key) {
                Peek::Now(Some(slot)) if selects(&slot) => {
                    return self.decide(request, key, Some(&slot), asked, now);
                }
                Peek::Now(_) => {}
                Peek::Later => return Step::Look(key.as_slice().into()),
            }
        }
        self.plan.key.write(key, self.namespace, &request.target, &request.headers);
        match self.store.peek(key) {
            Peek::Now(slot) => self.decide(request, key, slot.as_deref(), asked, now),
            Peek::Later => Step::Look(key.as_slice().into()),
        }
    }

    /// Where an entry that answers `request` is stored, given where it was looked for. What its response says
    /// of queries is remembered.
    pub(super) fn place<'a>(&self, key: &'a [u8], request: &Request, headers: &HeaderMap) -> Cow<'a, [u8]> {
        if !self.heeds_search(request) {
            return Cow::Borrowed(key);
        }
        let (rules, mut place) = (&self.plan.key, Vec::new());
        match Variance::of(headers) {
            None => rules.write(&mut place, self.namespace, &request.target, &request.headers),
            Some(variance) => {
                rules.write_resource(&mut place, self.namespace, &request.target);
                let path = place.clone();
                rules.write_search(&mut place, &variance, &request.target, &request.headers);
                self.store.variances().learn(&path, variance);
            }
        }
        Cow::Owned(place)
    }

    /// The same for an entry.
    pub(super) fn place_of<'a>(&self, key: &'a [u8], request: &Request, entry: &Entry) -> Cow<'a, [u8]> {
        if self.plan.no_vary_search {
            self.place(key, request, &entry.headers(0))
        } else {
            Cow::Borrowed(key)
        }
    }

    /// The key of the flight of a request that was looked for under `key`.
    pub(super) fn flight_key(&self, request: &Request, key: &[u8], restricted: bool) -> Box<[u8]> {
        if !self.heeds_search(request) {
            return flight_key(key, restricted);
        }
        let mut key = Vec::new();
        self.plan.key.write(&mut key, self.namespace, &request.target, &request.headers);
        flight_key(&key, restricted)
    }

    fn heeds_search(&self, request: &Request) -> bool {
        self.plan.no_vary_search && request.method != Method::POST
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{headers, target};
    use super::*;

    fn variance(value: &str) -> Option<Variance> {
        Variance::of(&headers(&[("no-vary-search", value)]))
    }

    fn names(names: &[&str]) -> Box<[Box<[u8]>]> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    /// Whether a response to one target, with this field, answers a request for the other.
    fn same(field: &str, one: &str, other: &str) -> bool {
        let Some(variance) = variance(field) else { return one == other };
        let key = |uri: &str| {
            let (rules, target, mut key) = (KeyRules::default(), target(uri), Vec::new());
            rules.write_resource(&mut key, 7, &target);
            rules.write_search(&mut key, &variance, &target, &HeaderMap::new());
            key
        };
        key(&format!("http://a{one}")) == key(&format!("http://a{other}"))
    }

    /// The draft, "Obtain a URL Search Variance" and its examples.
    #[test]
    fn fields() {
        let ignored =
            |list: &[&str], any_order| Some(Variance { names: Names::Ignored(names(list)), any_order });
        let counting =
            |list: &[&str], any_order| Some(Variance { names: Names::Counting(names(list)), any_order });
        for (field, expected) in [
            ("params", counting(&[], false)),
            ("params=?1", counting(&[], false)),
            ("params=(\"a\")", ignored(&["a"], false)),
            ("params=(\"b\" \"a\" \"b\")", ignored(&["a", "b"], false)),
            ("params=(\"a\";x=1 \"b\");y", ignored(&["a", "b"], false)),
            ("params, except=(\"x\")", counting(&["x"], false)),
            ("params, except=()", counting(&[], false)),
            ("key-order", ignored(&[], true)),
            ("key-order=?1", ignored(&[], true)),
            ("params, key-order, except=(\"x\")", counting(&["x"], true)),
            ("key-order, params=(\"a\"), future=1", ignored(&["a"], true)),
            ("params=(\"%C3%A9+%E6%B0%97\")", ignored(&["\u{e9} \u{6c17}"], false)),
            ("params=(\"\\\"\\\\\")", ignored(&["\"\\"], false)),
            // RFC 9651 §4.2.2: the last of the same name counts.
            ("params=(\"a\"), params", counting(&[], false)),
            ("key-order, key-order=?0", None),
        ] {
            assert_eq!(variance(field), expected, "{field}");
        }
    }

    /// The draft: what is invalid, and what says nothing.
    #[test]
    fn fields_that_count_as_absent() {
        for field in [
            "unknown-key",
            "key-order=\"not a boolean\"",
            "params=\"not a boolean or inner list\"",
            "params=(not-a-string)",
            "params=(\"a\"), except=(\"x\")",
            "params=(), except=()",
            "params=?0, except=(\"x\")",
            "params, except=(not-a-string)",
            "params, except=\"not an inner list\"",
            "params, except=?1",
            "except=(\"x\")",
            "except=()",
            "params=?0",
            "params=()",
            "key-order=?0",
            "",
            "params,",
            "params=(\"a\"",
            "params=(\"a\"\"b\")",
            "params=(\"a\", \"b\")",
            "Params",
        ] {
            assert_eq!(variance(field), None, "{field}");
        }
        let many = |count| (0..count).map(|number| format!("\"{number}\"")).collect::<Vec<_>>().join(" ");
        assert!(variance(&format!("params=({})", many(NAMES_MAX))).is_some());
        assert_eq!(variance(&format!("params=({})", many(NAMES_MAX + 1))), None);
        assert_eq!(variance(&format!("params=(\"{}\")", "x".repeat(NAMES_BYTES_MAX + 1))), None);
        let two = headers(&[("no-vary-search", "params"), ("no-vary-search", "except=(\"a\")")]);
        assert_eq!(Variance::of(&two), variance("params, except=(\"a\")"));
    }

    /// The draft, "Comparing" and its examples.
    #[test]
    fn equivalence() {
        for (field, one, other, expected) in [
            ("key-order", "/", "/?", true),
            ("key-order", "/?a=x", "/?%61=%78", true),
            ("key-order", "/?a=%f6", "/?a=%ef%bf%bd", true),
            ("key-order", "/?a=x&&&&", "/?a=x", true),
            ("key-order", "/?a=", "/?a", true),
            ("key-order", "/?a=%20", "/?a=+", true),
            ("key-order", "/?a=%20", "/?a=+&", true),
            ("key-order", "/?a=1&b=2", "/?b=2&a=1", true),
            ("key-order", "/?a=1&a=2", "/?a=2&a=1", false),
            ("key-order", "/?a=1&b=2&a=3", "/?a=1&a=3&b=2", true),
            ("key-order", "/?a=1", "/?a=2", false),
            ("key-order", "/?a=1", "/b?a=1", false),
            ("key-order=?0", "/", "/?", false),
            ("params=(\"a\")", "/?a=1", "/", true),
            ("params=(\"a\")", "/?b=2&a=1", "/?a=3&b=2", true),
            ("params=(\"a\")", "/?b=1&c=2", "/?c=2&b=1", false),
            ("params=(\"a\")", "/?A=1", "/", false),
            ("params=(\"a\")", "/?%61=1", "/", true),
            ("params=(\"%C3%A9+%E6%B0%97\")", "/?%C3%A9%20%E6%B0%97=3", "/?%C3%A9+%E6%B0%97=4", true),
            ("params=(\"a\"), key-order", "/?a=1&b=2&c=3", "/?c=3&b=2", true),
            ("params", "/?a=1&b=2", "/", true),
            ("params", "/?a=1", "/b?a=1", false),
            ("params, except=(\"id\")", "/?id=1&a=2", "/?id=1", true),
            ("params, except=(\"id\")", "/?id=1", "/?id=2", false),
            ("params, except=(\"id\")", "/?id=1&id=2", "/?id=1", false),
            ("params, except=(\"id\")", "/?%69d=1", "/?id=1", true),
            // Beyond the draft: what some origins read in another way.
            ("params=(\"a\")", "/?a=1;b=2", "/", false),
            ("params", "/?a=1;id=2", "/", false),
            ("params, except=(\"id\")", "/?id=1&a=2;id=3", "/?id=1", false),
            ("params, except=(\"id\")", "/?id=1&ID=2", "/?id=1", false),
            ("params, except=(\"id\")", "/?id=1&id[]=2", "/?id=1", false),
            ("params, except=(\"id\")", "/?id=1&a%26id=2", "/?id=1", false),
            ("params, except=(\"id\")", "/?id=1&a%00=2", "/?id=1", false),
            ("params=(\"a\")", "/?b;c", "/?b%3Bc=%3B", false),
            ("params=(\"a\")", "/?b;c", "/?b%3Bc", false),
            ("params=(\"a[]\")", "/?a[]=1", "/", true),
        ] {
            assert_eq!(same(field, one, other), expected, "{field}: {one} {other}");
            assert_eq!(same(field, other, one), expected, "{field}: {other} {one}");
        }
    }

    #[test]
    fn the_rules_of_the_route_hold_as_well() {
        let rules =
            QueryRules { ignore: Box::new([key::Pattern::parse("utm_*").unwrap()]), ..QueryRules::default() };
        let write = |rules: Option<&QueryRules>, query: &str| {
            let mut key = Vec::new();
            variance("params=(\"a\")").unwrap().write(&mut key, rules, query.as_bytes());
            key
        };
        assert_eq!(write(Some(&rules), "utm_x=1&b=2&a=3"), write(None, "b=2"));
        assert_ne!(write(None, "utm_x=1&b=2"), write(None, "b=2"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (variances, one) = (Variances::default(), variance("params").unwrap());
        for number in 0..2 * PATHS_MAX {
            variances.learn(format!("/{number}").as_bytes(), one.clone());
        }
        assert!(variances.0.len() <= PATHS_MAX);
        let long = [b'x'; PATH_BYTES_MAX + 1];
        variances.learn(&long, one.clone());
        assert_eq!(variances.get(&long), None);
        let other = variance("key-order").unwrap();
        variances.learn(b"/x", one);
        variances.learn(b"/x", other.clone());
        assert_eq!(variances.get(b"/x").as_deref(), Some(&other));
    }

    proptest! {
        /// Different variances never make the same key, nor does any make one that a route without makes.
        #[test]
        fn keys_of_different_variances_are_different(
            fields in proptest::array::uniform2(proptest::sample::select(vec![
                "params", "key-order", "params=(\"a\")", "params=(\"b\")", "params=(\"a\" \"b\")",
                "params, except=(\"a\")", "params, except=(\"a\"), key-order", "params=(\"a\"), key-order",
            ])),
            queries in proptest::array::uniform2("[ab=&;%+1]{0,8}"),
        ) {
            let key = |field: &str, query: &str| {
                let mut key = Vec::new();
                variance(field).unwrap().write(&mut key, None, query.as_bytes());
                key
            };
            let keys = [key(fields[0], &queries[0]), key(fields[1], &queries[1])];
            prop_assert!(fields[0] == fields[1] || keys[0] != keys[1]);
            prop_assert_eq!(keys[0][0], 2);
        }

        #[test]
        fn any_field_and_any_query_are_survived(field in "[a-z=?()\", 01;:-]{0,40}", query in "[ -~]{0,20}") {
            if let Some(variance) = variance(&field) {
                variance.write(&mut Vec::new(), None, query.as_bytes());
            }
        }
    }
}
