//! The URL of an endpoint, taken apart.

use http::Uri;
use http::uri::Authority;

use crate::http::Scheme;

use super::{EndpointPlan, host};

/// Parses `scheme://host[:port][/]`; the error is a message and a hint.
pub(super) fn endpoint_url(url: &str) -> Result<EndpointPlan, (String, String)> {
    let wrong = |what: &str, hint: &str| Err((format!("`{url}` {what}"), hint.to_owned()));
    if !url.contains("://") {
        return wrong("has no scheme", &format!("write \"http://{url}\" or \"https://{url}\""));
    }
    let Ok(uri) = url.parse::<Uri>() else {
        return wrong("is no URL", "write one like \"http://10.0.0.1:8000\"");
    };
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return wrong("is neither http nor https", "endpoints speak http or https"),
    };
    let Some(authority) = uri.authority() else {
        return wrong("has no host", "write one like \"http://10.0.0.1:8000\"");
    };
    if authority.as_str().contains('@') {
        return wrong(
            "has a user name",
            "set an Authorization field with request_headers of the route instead",
        );
    }
    if uri.query().is_some() || url.contains('#') || !matches!(uri.path(), "" | "/") {
        return wrong("has a path", "an endpoint is scheme, host and port; a route's `rewrite` adds a path");
    }
    let Some(host) = host(authority.host()) else {
        return wrong(
            "has no valid host",
            "a host is a DNS name, an IPv4 address or an IPv6 address in brackets",
        );
    };
    let port = match (authority.port_u16(), authority.as_str().ends_with(':')) {
        (Some(0), _) | (None, true) => return wrong("has no valid port", "a port is 1 to 65535"),
        (Some(port), _) => port,
        (None, false) if has_port(authority) => return wrong("has no valid port", "a port is 1 to 65535"),
        (None, false) => scheme.default_port(),
    };
    Ok(EndpointPlan { scheme, host, port, weight: 1, priority: 0 })
}

fn has_port(authority: &Authority) -> bool {
    authority.as_str().len() > authority.host().len()
}
