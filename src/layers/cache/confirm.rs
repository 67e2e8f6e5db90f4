//! What a 304 to a fill does: the entry that it speaks of lives on (RFC 9111 §4.3.3, §4.3.4).

use std::sync::Arc;

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};

use crate::clock::{self, Now};
use crate::http::{Response, ResponseParts};

use super::core::Verdict;
use super::entry::Entry;
use super::fill::Fill;
use super::flight::Landing;
use super::storable;
use super::validate;

impl Fill {
    /// The entry that the origin can be asked about: none for a POST, which has no conditional form.
    pub(super) fn confirmable(&self) -> Option<&Arc<Entry>> {
        self.stale().filter(|_| self.request.method == Method::GET)
    }

    /// Whether the origin is asked with conditions of ours.
    pub(super) fn is_conditional(&self) -> bool {
        self.confirmable().is_some() || !self.others.is_empty()
    }

    /// The entry that a 304 speaks of, if we have it.
    pub(super) fn confirmed_by(&self, update: &HeaderMap) -> Option<Arc<Entry>> {
        match self.confirmable() {
            Some(stale) => validate::confirms(&stale.headers(0), update).then(|| Arc::clone(stale)),
            None => self.others.chosen(update).cloned(),
        }
    }

    /// A 304: the entry lives on with new fields (RFC 9111 §4.3.4).
    pub(super) async fn confirm(mut self, stale: &Arc<Entry>, update: &HeaderMap, sent: Now) {
        let now = clock::now();
        let status = stale.status();
        let mut headers = validate::merge(&stale.all_headers(), update, now.wall);
        match self.judge(status, &headers, sent, now) {
            Ok((verdict, directives)) => {
                storable::prepare(&mut headers, &directives, now.wall);
                let marks = self.core.updated_marks(stale, update, &headers, self.listing.flight.since());
                self.core.plan.tags.strip(&mut headers);
                let Verdict { lifetime, variant } = verdict;
                let entry = Entry::new(status, &headers, lifetime, variant, marks, stale.stored_body())
                    .worth(stale.cost());
                self.rest_if(false);
                let entry = Arc::new(entry);
                self.store(&entry).await;
                self.land(Landing::Confirmed(entry));
            }
            Err(reason) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(stale.length()));
                let body = stale.body(&Method::GET);
                let response = Response::from(ResponseParts { status, headers, body, upgrade: None });
                self.keep_apart(response, reason.as_str()).await;
            }
        }
    }
}
