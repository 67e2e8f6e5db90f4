//! Routes that know whom a request is from: whose answer may be whose.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::config::AuthorizationUse;
use super::plan::CachePlan;

impl CachePlan {
    /// Takes the requests for those of consumers, whose names are in `header`. They share answers where these
    /// are `public`, or else have entries of their own. `authorized` says whether they proved who they are in
    /// `Authorization`, which was taken out.
    pub fn serve_consumers(&mut self, header: &HeaderName, public: bool, authorized: bool) {
        if public {
            if self.authorization == AuthorizationUse::Explicit {
                self.authorization = AuthorizationUse::Shared;
            }
        } else if !self.key.headers.contains(header) {
            let headers = self.key.headers.iter().chain([header]).cloned();
            self.key.headers = headers.collect();
        }
        self.authorized = authorized;
    }

    /// Whether a request came with `Authorization` (RFC 9111 §3.5).
    pub fn came_authorized(&self, request: &HeaderMap) -> bool {
        self.authorized || request.contains_key(AUTHORIZATION)
    }
}
