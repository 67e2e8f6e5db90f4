//! An entry that answers only after a word of the origin, and what it may be used for meanwhile.

use std::sync::Arc;

use crate::http::Request;

use super::answer::now_for;
use super::core::Core;
use super::directives::RequestDirectives;
use super::entry::Entry;
use super::freshness::{Freshness, Revalidate};

/// A stale entry, and what it may be used for.
#[derive(Debug)]
pub struct Stale {
    /// The entry.
    pub entry: Arc<Entry>,
    /// What it may be used for.
    pub rights: Revalidate,
}

impl Stale {
    /// Looks at it again after a wait; says whether it is of any use. One that was purged for good meanwhile
    /// answers nobody, nor is it confirmed; one that has grown older may be past the end of a window.
    pub(super) fn reconsider(&mut self, core: &Core, request: &Request, asked: &RequestDirectives) -> bool {
        match core.freshness(&self.entry, &request.target, asked, now_for(request)) {
            None => false,
            Some(Freshness::Revalidate(left)) => {
                self.rights = left;
                true
            }
            Some(_) => true,
        }
    }
}
