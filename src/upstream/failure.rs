//! What hyper's errors mean: whose fault, and whether the endpoint may have acted on the request.

use std::error::Error as StdError;

use crate::error::UpstreamErrorKind as Kind;

use super::heads::Flood;

/// A failure on a shared connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// Whether the endpoint may have acted on the request.
    pub(super) processed: bool,
}

/// Why there is no response head on an HTTP/1.1 connection.
pub(super) fn classify_http1(error: &hyper::Error, flood: Option<Flood>) -> Kind {
    match flood {
        Some(Flood::Interim) => Kind::BadResponse,
        Some(Flood::Bytes) => Kind::HeadTooLarge,
        None if error.is_parse_too_large() => Kind::HeadTooLarge,
        None if error.is_parse() => Kind::BadResponse,
        None => Kind::Reset,
    }
}

/// Why there is no response head on an HTTP/2 stream.
pub(super) fn classify_http2(error: &hyper::Error, flood: Option<Flood>) -> Failure {
    if flood.is_some() {
        return Failure { kind: Kind::BadResponse, processed: true };
    }
    let Some(h2) = find::<h2::Error>(error) else {
        return Failure { kind: Kind::Reset, processed: true };
    };
    // REFUSED_STREAM promises that nothing was done, as does a GOAWAY for the streams it leaves out
    // (RFC 9113 §8.7, §6.8); h2 fails only those with it.
    let refused = h2.is_remote()
        && (h2.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR)));
    let malformed = h2.is_library() && !h2.is_io();
    Failure { kind: if malformed { Kind::BadResponse } else { Kind::Reset }, processed: !refused }
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
