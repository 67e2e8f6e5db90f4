//! Routes that know whom a request is from: whose answer may be whose.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::config::AuthorizationUse;
use super::plan::CachePlan;

impl CachePlan {
    /// Takes the requests for those of consumers, of whom the upstream is told in the fields `told`: names,
    /// claims, roles. They share answers where these are `public`, or else have entries of their own, as many
    /// as there are values. `authorized` says whether they proved who they are in `Authorization`, which was
    /// taken out.
    pub fn serve_consumers(&mut self, told: &[HeaderName], public: bool, authorized: bool) {
        if public {
            if self.authorization == AuthorizationUse::Explicit {
                self.authorization = AuthorizationUse::Shared;
            }
        } else {
            let mut headers = self.key.headers.to_vec();
            for name in told {
                if !headers.contains(name) {
                    headers.push(name.clone());
                }
            }
            self.key.headers = headers.into();
        }
        self.authorized = authorized;
    }

    /// Whether a request came with `Authorization` (RFC 9111 §3.5).
    pub fn came_authorized(&self, request: &HeaderMap) -> bool {
        self.authorized || request.contains_key(AUTHORIZATION)
    }
}
