//! Which responses are encoded, and why the others are not.

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName,
    IF_NONE_MATCH, RANGE,
};
use http::{HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use crate::http::coding::Level;
use crate::http::{Request, Response, fields};

use super::accept::Accept;
use super::plan::CompressPlan;

/// What became of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is encoded.
    Encoded,
    /// Its encoded form was there already.
    Kept,
    /// The client wants none of the route's codings.
    NotAccepted,
    /// The client wants a part of it.
    Range,
    /// It has a coding.
    HasCoding,
    /// It, or the request, says `no-transform` (RFC 9111 §5.2.1.6, §5.2.2.6).
    NoTransform,
    /// It carries a digest of its bytes.
    Digest,
    /// Its status has no whole body.
    Status,
    /// Its type is none of the route's, or a stream of messages.
    Type,
    /// It is small.
    Size,
    /// An encoder did not make it smaller.
    NotSmaller,
    /// There is no memory for an encoder.
    Memory,
}

impl Verdict {
    /// All, in the order of their discriminants.
    pub const ALL: [Self; 12] = [
        Self::Encoded,
        Self::Kept,
        Self::NotAccepted,
        Self::Range,
        Self::HasCoding,
        Self::NoTransform,
        Self::Digest,
        Self::Status,
        Self::Type,
        Self::Size,
        Self::NotSmaller,
        Self::Memory,
    ];

    /// The word for log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encoded => "encoded",
            Self::Kept => "kept",
            Self::NotAccepted => "not-accepted",
            Self::Range => "range",
            Self::HasCoding => "has-coding",
            Self::NoTransform => "no-transform",
            Self::Digest => "digest",
            Self::Status => "status",
            Self::Type => "type",
            Self::Size => "size",
            Self::NotSmaller => "not-smaller",
            Self::Memory => "memory",
        }
    }
}

/// What a request asks for, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The coding it gets, or why none.
    pub coding: Result<Level, Verdict>,
    /// Whether it refuses what has no coding.
    pub must: bool,
    /// Whether only the head of the answer is wanted.
    pub head: bool,
    /// The entity tags that it has the bytes of.
    pub known: SmallVec<[HeaderValue; 0]>,
}

impl Asked {
    /// Reads a request.
    pub fn of(request: &Request, plan: &CompressPlan) -> Self {
        let accept = Accept::of(&request.headers);
        let coding = if no_transform(&request.headers) {
            Err(Verdict::NoTransform)
        } else if request.headers.contains_key(RANGE) {
            Err(Verdict::Range)
        } else {
            accept.best(&plan.codings).ok_or(Verdict::NotAccepted)
        };
        Self {
            must: accept.refuses_identity(),
            coding,
            head: request.method == Method::HEAD,
            known: request.headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
        }
    }

    /// Whether the origin may be asked for the plain form: the client takes it, or will not see it.
    pub const fn may_ask_for_identity(&self) -> bool {
        !self.must || self.coding.is_ok()
    }
}

/// Whether some request gets this response encoded, and if not, why.
pub fn can_be(plan: &CompressPlan, response: &Response, asked: &Asked) -> Result<(), Verdict> {
    let headers = &response.headers;
    if !has_whole_body(response.status) || headers.contains_key(CONTENT_RANGE) {
        return Err(Verdict::Status);
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Verdict::HasCoding);
    }
    if no_transform(headers) {
        return Err(Verdict::NoTransform);
    }
    if DIGESTS.iter().any(|name| headers.contains_key(name)) {
        return Err(Verdict::Digest);
    }
    type_is_right(plan, headers, asked.must)?;
    let at_least = if asked.must { 1 } else { plan.min_size.max(1) };
    let length = match headers.get(CONTENT_LENGTH) {
        Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()),
        None if asked.head => None,
        None => http_body::Body::size_hint(&response.body).exact(),
    };
    if length.is_some_and(|length| length < at_least) { Err(Verdict::Size) } else { Ok(()) }
}

/// Whether answers of this type are encoded: none that are one message after another.
pub fn type_is_right(plan: &CompressPlan, headers: &HeaderMap, must: bool) -> Result<(), Verdict> {
    let field = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = field.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(b"text/event-stream") || fields::is_grpc(headers) {
        return Err(Verdict::Type);
    }
    let listed = plan.types.iter().any(|pattern| pattern.matches(media_type));
    if listed || must { Ok(()) } else { Err(Verdict::Type) }
}

/// Fields that speak of the very bytes (RFC 9530; `Content-MD5` and `Digest` are their forerunners).
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether a response of this status has all of a representation.
fn has_whole_body(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
                | StatusCode::RANGE_NOT_SATISFIABLE
        )
}

fn no_transform(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| {
        // With an argument, which it has none of, it is taken for what it most likely means.
        let name = member.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"no-transform")
    })
}
