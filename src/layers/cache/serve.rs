//! From a representation, stored or arriving, to the answer of one request: whole, part, 304 or 416.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use crate::clock::Wall;
use crate::http::held::DropAtEnd;
use crate::http::{Body, PartsReader, Request, Response, ResponseParts};

use super::entry::Entry;
use super::flight::{Interest, Lead};
use super::multipart::Multipart;
use super::partial::Partial;
use super::range::{self, Part, Selection};
use super::targeted;
use super::validate::{self, Validators};

/// What of a representation answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Whole,
    NotModified,
    Part(Part, u64),
    Parts(Multipart),
    Unsatisfiable(u64),
}

/// Evaluates the request's conditions and range (RFC 9110 §13.2.2, §14.2).
fn choose(
    request: &Request,
    (status, headers): (StatusCode, &HeaderMap),
    validators: impl FnOnce() -> Validators,
    length: Option<u64>,
    now: Wall,
) -> Answer {
    // RFC 9110 §13.2.1: conditions count only where the answer without them would be a success.
    // §13.1: those of a POST are not about what is stored.
    let of_a_get = matches!(request.method, Method::GET | Method::HEAD);
    if !of_a_get || !status.is_success() || !validate::is_conditional(&request.headers) {
        return Answer::Whole;
    }
    let validators = &validators();
    if validate::not_modified(&request.headers, validators, now) {
        return Answer::NotModified;
    }
    let Some(length) = length.filter(|_| status == StatusCode::OK && request.method == Method::GET) else {
        return Answer::Whole;
    };
    match range::select(&request.headers, validators, length) {
        Selection::Whole => Answer::Whole,
        Selection::Part(part) => Answer::Part(part, length),
        Selection::Parts(parts) => {
            let multipart = Multipart::new(&parts, length, headers.get(header::CONTENT_TYPE));
            // A long Content-Type makes parts long.
            if multipart.length < length { Answer::Parts(multipart) } else { Answer::Whole }
        }
        Selection::Unsatisfiable => Answer::Unsatisfiable(length),
    }
}

/// The head of an answer: the fields are those of the whole.
fn head(answer: &Answer, status: StatusCode, mut headers: HeaderMap) -> (StatusCode, HeaderMap) {
    match *answer {
        Answer::Whole => (status, headers),
        Answer::NotModified => (StatusCode::NOT_MODIFIED, validate::not_modified_fields(&headers)),
        Answer::Part(part, length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.length));
            headers.insert(header::CONTENT_RANGE, range::content_range(part, length));
            (StatusCode::PARTIAL_CONTENT, headers)
        }
        Answer::Parts(ref multipart) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(multipart.length));
            headers.insert(header::CONTENT_TYPE, multipart.content_type.clone());
            (StatusCode::PARTIAL_CONTENT, headers)
        }
        Answer::Unsatisfiable(length) => {
            let mut own = HeaderMap::with_capacity(4);
            if let Some(date) = headers.remove(header::DATE) {
                own.insert(header::DATE, date);
            }
            own.insert(header::CONTENT_RANGE, range::unsatisfied_range(length));
            own.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            (StatusCode::RANGE_NOT_SATISFIABLE, own)
        }
    }
}

/// The answer of an entry, with its `Age`.
pub fn entry(request: &Request, entry: &Entry, now: Wall) -> Response {
    let length = Some(entry.length());
    let headers = entry.headers(2);
    let validators = || Validators::of(entry.status(), &headers, entry.lifetime().received());
    let answer = choose(request, (entry.status(), &headers), validators, length, now);
    let (status, mut headers) = head(&answer, entry.status(), headers);
    headers.insert(header::AGE, HeaderValue::from(entry.lifetime().age(now).as_secs()));
    let body = match answer {
        Answer::Whole => entry.body(&request.method),
        Answer::Part(part, _) => entry.part(part),
        Answer::Parts(multipart) => entry.parts(multipart),
        Answer::NotModified | Answer::Unsatisfiable(_) => Body::empty(),
    };
    Response::from(ResponseParts { status, headers, body, upgrade: None })
}

/// The answer of parts that are stored; without one, of a range that is not satisfiable.
pub fn partial(request: &Request, partial: &Partial, part: Option<Part>, now: Wall) -> Response {
    let headers = partial.headers(3);
    let lifetime = partial.head().lifetime();
    let validators = Validators::of(StatusCode::OK, &headers, lifetime.received());
    let answer = match part {
        _ if validate::not_modified(&request.headers, &validators, now) => Answer::NotModified,
        Some(part) => Answer::Part(part, partial.length()),
        None => Answer::Unsatisfiable(partial.length()),
    };
    let (status, mut headers) = head(&answer, StatusCode::OK, headers);
    headers.insert(header::AGE, HeaderValue::from(lifetime.age(now).as_secs()));
    let body = match answer {
        Answer::Part(part, _) => partial.body(part),
        _ => Body::empty(),
    };
    Response::from(ResponseParts { status, headers, body, upgrade: None })
}

/// The answer of a response that is on its way; none where its first bytes are gone. `interest` is held until
/// the answer's body has ended.
pub fn lead(request: &Request, lead: &Lead, mut interest: Interest, now: Wall) -> Option<Response> {
    let validators = || Validators::of(lead.status, &lead.headers, lead.lifetime.received());
    if let Some((part, length)) = lead.part {
        return part_lead(request, lead, (part, length), interest, now);
    }
    let mut answer = choose(request, (lead.status, &lead.headers), validators, lead.body.length(), now);
    let parts = match &answer {
        Answer::Parts(Multipart { pieces, end, .. }) => {
            let reader = PartsReader::new(&lead.body, pieces.clone(), end.clone());
            // Parts in another order than they arrive in would have to wait for one another.
            if reader.is_none() {
                answer = Answer::Whole;
            }
            reader
        }
        _ => None,
    };
    let (status, mut headers) = head(&answer, lead.status, lead.headers.clone());
    targeted::hide(&mut headers);
    // What other caches had it for.
    let age = lead.lifetime.age(now).as_secs();
    if age > 0 {
        headers.insert(header::AGE, HeaderValue::from(age));
    }
    let mut body = match answer {
        Answer::Whole if request.method != Method::HEAD => Body::shared(lead.body.reader()?),
        Answer::Part(part, _) => Body::shared(lead.body.reader_of(part.start, part.length)?),
        Answer::Parts(_) => Body::parts(parts?),
        Answer::Whole | Answer::NotModified | Answer::Unsatisfiable(_) => Body::empty(),
    };
    interest.seated();
    body.hold(DropAtEnd(interest));
    Some(Response::from(ResponseParts { status, headers, body, upgrade: None }))
}

/// The same of a part, for those who asked for just that one.
fn part_lead(
    request: &Request,
    lead: &Lead,
    (part, length): (Part, u64),
    interest: Interest,
    now: Wall,
) -> Option<Response> {
    let validators = Validators::of(StatusCode::OK, &lead.headers, lead.lifetime.received());
    let modified = !validate::not_modified(&request.headers, &validators, now);
    let answer = if modified { Answer::Part(part, length) } else { Answer::NotModified };
    let (status, mut headers) = head(&answer, lead.status, lead.headers.clone());
    let age = lead.lifetime.age(now).as_secs();
    if age > 0 {
        headers.insert(header::AGE, HeaderValue::from(age));
    }
    let mut body = if modified { Body::shared(lead.body.reader()?) } else { Body::empty() };
    body.hold(DropAtEnd(interest));
    Some(Response::from(ResponseParts { status, headers, body, upgrade: None }))
}
