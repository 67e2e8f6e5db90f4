//! Asking the origin with what is stored for other requests: where none of a key's variants answers a
//! request, one of them may still be what the origin would send (RFC 9111 §4.1, §4.3.1).
//!
//! `Vary` says what an answer may depend on, not that it does: pages in two languages are asked for with a
//! hundred different `Accept-Language`. So the request goes out with `If-None-Match` and the entity tags that
//! are stored, and a 304 says which of them it is: its body is not sent again, and becomes a variant of its
//! own, with the fields of the 304 (§4.3.3). The entry that it was taken from stays as it is: it could not
//! have been chosen for this request, so the 304 is not about it (§4.3.4).
//!
//! What keeps this honest:
//!
//! - Only strong entity tags are sent, and the 304 must bring one of them back: a strong tag is unique among
//!   all representations of a resource (RFC 9110 §8.8.1), a weak one may be of another coding or language.
//! - Even so, nothing is offered in a content coding that the request does not name: there are origins that
//!   compress after they have made the tag.
//! - Nothing is offered that varies on `Origin`: that is about fields (`Access-Control-Allow-Origin`), which
//!   a 304 need not have.
//! - Only what came with 200 and was not purged is offered: a 304 is in place of a 200 (RFC 9110 §15.4.5).
//! - A 304 for something that was not offered is asked again, without conditions.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Method, StatusCode};

use crate::http::{Request, Target};

use super::core::Core;
use super::entry::Entry;
use super::purge::Mode;
use super::store::Slot;
use super::validate::{strip_conditions, strong_match};
use super::vary::{members, thousandths, weight_of};

/// How many entity tags go out at most: the newest.
const TAGS_MAX: usize = 8;

/// How many bytes they take at most, in all.
const BYTES_MAX: usize = 1024;

/// Entries of other variants that may be what a request wants, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Others(Box<[(HeaderValue, Arc<Entry>)]>);

impl Others {
    /// What of a key's entries may be offered to the origin for a request that none of them answers.
    pub fn of(core: &Core, request: &Request, slot: &Slot) -> Self {
        if !core.plan.validate_variants || request.method != Method::GET {
            return Self::default();
        }
        let mut bytes = 0;
        let mut offered: Vec<(HeaderValue, Arc<Entry>)> = Vec::new();
        for entry in slot.entries().filter(|entry| entry.status() == StatusCode::OK) {
            let headers = entry.headers(0);
            let fits = is_taken(&headers, &request.headers) && !varies_on_origin(&headers);
            let Some(tag) = strong_tag(&headers).filter(|_| fits) else { continue };
            let known = offered.iter().any(|(other, _)| other == tag);
            if known || core.purged(entry, &request.target) == Some(Mode::Hard) {
                continue;
            }
            bytes += tag.len() + b", ".len();
            if offered.len() == TAGS_MAX || bytes > BYTES_MAX {
                break;
            }
            offered.push((tag.clone(), Arc::clone(entry)));
        }
        Self(offered.into())
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a request ask about them.
    pub fn condition(&self, request: &mut HeaderMap) {
        strip_conditions(request);
        let tags: Vec<&[u8]> = self.0.iter().map(|(tag, _)| tag.as_bytes()).collect();
        if let Ok(list) = HeaderValue::from_bytes(&tags.join(&b", "[..])) {
            request.insert(IF_NONE_MATCH, list);
        }
    }

    /// The one that a 304 is about.
    pub fn chosen(&self, update: &HeaderMap) -> Option<&Arc<Entry>> {
        let named = strong_tag(update)?;
        let same = |tag: &HeaderValue| strong_match(tag.as_bytes(), named.as_bytes());
        self.0.iter().find(|(tag, _)| same(tag)).map(|(_, entry)| entry)
    }

    /// Forgets those that were purged meanwhile.
    pub(super) fn reconsider(&mut self, core: &Core, target: &Target) {
        if self.0.iter().any(|(_, entry)| core.purged(entry, target) == Some(Mode::Hard)) {
            *self = Self::default();
        }
    }
}

/// The entity tag of a response, where it is a strong one that a list can hold, and the only one.
fn strong_tag(response: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = response.get_all(ETAG).iter();
    let (Some(tag), None) = (lines.next(), lines.next()) else { return None };
    let inner = tag.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!inner.contains(&b'"')).then_some(tag)
}

/// Whether a request names the content coding of a response, or it has none.
fn is_taken(response: &HeaderMap, request: &HeaderMap) -> bool {
    let names = |coding: &[u8]| {
        members(request, &ACCEPT_ENCODING).any(|member| {
            let name = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            name.eq_ignore_ascii_case(coding)
                && weight_of(member).is_none_or(|weight| thousandths(weight) > 0)
        })
    };
    members(response, &CONTENT_ENCODING).all(names)
}

/// Whether a response is for pages of some origins: then its fields say so, and a 304 need not have those.
fn varies_on_origin(response: &HeaderMap) -> bool {
    members(response, &VARY).any(|member| member.eq_ignore_ascii_case(b"origin"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::headers;
    use super::*;

    #[test]
    fn only_one_strong_tag_that_a_list_can_hold() {
        for (lines, strong) in [
            (&["\"a\""][..], true),
            (&["\"\""], true),
            (&["\"a,b\""], true),
            (&["W/\"a\""], false),
            (&["a"], false),
            (&["\"a"], false),
            (&["\""], false),
            (&["\"a\", \"b\""], false),
            (&["\"a\"", "\"a\""], false),
            (&[], false),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("etag", *line)).collect();
            assert_eq!(strong_tag(&headers(&fields)).is_some(), strong, "{lines:?}");
        }
    }

    #[test]
    fn nothing_is_offered_in_a_coding_that_is_not_named() {
        for (coding, accepted, taken) in [
            (None, None, true),
            (None, Some("gzip"), true),
            (Some("gzip"), Some("br, GZIP;q=0.5"), true),
            (Some("gzip"), Some("gzip;q=0"), false),
            (Some("gzip"), Some("*"), false),
            (Some("gzip"), Some("br"), false),
            (Some("gzip"), None, false),
            (Some("gzip, br"), Some("gzip"), false),
            (Some("gzip, br"), Some("gzip, br"), true),
        ] {
            let response: Vec<_> = coding.iter().map(|coding| ("content-encoding", *coding)).collect();
            let request: Vec<_> = accepted.iter().map(|accepted| ("accept-encoding", *accepted)).collect();
            assert_eq!(is_taken(&headers(&response), &headers(&request)), taken, "{coding:?} {accepted:?}");
        }
    }
}
