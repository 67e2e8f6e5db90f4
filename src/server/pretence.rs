//! Fields by which a client could pretend to be a proxy that is trusted, or somebody with a certificate.

use http::{HeaderMap, HeaderName, Method};

use crate::http::{ClientCertificate, fields};

/// Removes what only a trusted proxy may say.
pub(super) fn strip(headers: &mut HeaderMap, method: &Method) {
    let pretended: smallvec::SmallVec<[HeaderName; 4]> =
        headers.keys().filter(|name| is_pretence(name, method)).cloned().collect();
    for name in pretended {
        headers.remove(name);
    }
}

fn is_pretence(name: &HeaderName, method: &Method) -> bool {
    fields::is_of_proxies(name)
        // Its answer would be stored under the method that was sent.
        || (matches!(name.as_str(), "x-http-method-override" | "x-http-method" | "x-method-override")
            && matches!(*method, Method::GET | Method::HEAD))
}

/// Says whose certificate was shown, and nothing else.
pub(super) fn tell_of_certificate(headers: &mut HeaderMap, certificate: &ClientCertificate) {
    let told = [
        (&fields::X_CLIENT_CERT_SUBJECT, &certificate.subject),
        (&fields::X_CLIENT_CERT_SAN, &certificate.names),
    ];
    for (name, value) in told {
        match value {
            Some(value) => drop(headers.insert(name, value.clone())),
            None => drop(headers.remove(name)),
        }
    }
    if let Some(whole) = &certificate.whole {
        headers.insert(fields::CLIENT_CERT.clone(), whole.clone());
    }
}

/// Removes fields that some origins read as one of those, or as one that frames or routes a request.
pub(super) fn strip_twins(headers: &mut HeaderMap) {
    fields::strip_twins(headers, |dashed| {
        is_pretence(dashed, &Method::GET)
            || matches!(
                dashed.as_str(),
                "content-length" | "transfer-encoding" | "host" | "via" | "connection"
            )
    });
}
