//! Shorthands for the tests of the cache's decisions.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Wall;
use crate::http::{Scheme, Target};

/// 2025-01-02 03:04:05 GMT, a Thursday.
pub const NOW: Wall = Wall::from_secs(1_735_787_045);

/// Fields, one line each.
pub fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers
            .append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// The target of an absolute URI.
pub fn target(uri: &str) -> Target {
    let uri: http::Uri = uri.parse().unwrap();
    Target {
        scheme: if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http },
        authority: HeaderValue::from_str(uri.authority().map_or("", |authority| authority.as_str())).unwrap(),
        path_and_query: uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
    }
}
