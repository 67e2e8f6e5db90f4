//! A response on its way to hyper: its body keeps the mark that a request is in flight.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};

use crate::clock::Now;
use crate::error::Error;
use crate::http::{Body, Response, ResponseParts};

use super::connection::Spoken;
use super::exchange::InFlight;
use super::lending::Lending;
use super::streams::{self, Waits};

/// How much of a body an HTTP/2 stream is given at a time. hyper buffers whatever it is given, so that is
/// what a client that reads nothing can make us hold beyond its window.
const PIECE: usize = 64 * 1024;

/// A response body.
pub(super) struct Outgoing {
    body: Body,
    /// Whether the body is not here, but lent: see [`lending`](super::lending).
    is_lent: bool,
    spoken: Spoken,
    /// On HTTP/2, what is left of data that was more than a [`PIECE`].
    rest: Bytes,
    in_flight: Option<InFlight>,
}

impl Outgoing {
    /// hyper's response from ours; with `close`, it says that the connection ends.
    pub(super) fn of(
        response: Response,
        spoken: Spoken,
        close: bool,
        in_flight: Option<InFlight>,
    ) -> http::Response<Self> {
        let ResponseParts { status, mut headers, mut body, .. } = response.into_parts();
        if spoken == Spoken::Http2 && in_flight.as_ref().is_some_and(|in_flight| in_flight.is_head) {
            leave_out(&mut body, &mut headers);
        }
        let is_lent = in_flight.as_ref().is_some_and(|in_flight| in_flight.lend(&mut body, &headers, close));
        let mut outgoing = http::Response::new(Self { body, is_lent, spoken, rest: Bytes::new(), in_flight });
        *outgoing.status_mut() = status;
        *outgoing.headers_mut() = headers;
        if close {
            outgoing.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        outgoing
    }

    /// Who lends the body, where it is not here.
    fn lending(&self) -> Option<&Lending> {
        self.in_flight.as_ref().filter(|_| self.is_lent).map(InFlight::lending)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.spoken {
            Spoken::Http1 => {
                let polled = match self.lending() {
                    Some(lending) => lending.poll_frame(cx),
                    None => Pin::new(&mut self.body).poll_frame(cx),
                };
                if let (Poll::Ready(Some(Err(_))), Some(in_flight)) = (&polled, &self.in_flight) {
                    in_flight.cut();
                }
                polled
            }
            Spoken::Http2 => {
                let polled = self.poll_piece(cx);
                streams::note(if polled.is_ready() { Waits::ForClient } else { Waits::ForUs });
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.lending() {
            Some(lending) => lending.is_end_stream(),
            None => self.rest.is_empty() && self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(lending) = self.lending() {
            return lending.size_hint();
        }
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.is_lent
            && let Some(in_flight) = self.in_flight.take()
        {
            in_flight.lent_all();
        }
    }
}

/// Leaves out the content of a response to HEAD, and says how much it would be: hyper does so on HTTP/1
/// alone, and to HTTP/2 clients content is a stream error (RFC 9113 §8.1.1).
fn leave_out(body: &mut Body, headers: &mut HeaderMap) {
    if let Some(length @ 1..) = std::mem::take(body).size_hint().exact() {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// A response as the bytes of the last message on an HTTP/1 connection, with or without its content, which
/// must be in memory.
pub(super) fn last_words(response: &Response, now: Now, content: bool) -> Bytes {
    let body = response.body.as_full().unwrap_or_default();
    let mut bytes = Vec::with_capacity(512 + body.len());
    let mut put = |part: &[u8]| bytes.extend_from_slice(part);
    put(b"HTTP/1.1 ");
    put(response.status.as_str().as_bytes());
    put(b" ");
    put(response.status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in &response.headers {
        put(b"\r\n");
        put(name.as_str().as_bytes());
        put(b": ");
        put(value.as_bytes());
    }
    put(b"\r\nconnection: close\r\ndate: ");
    put(httpdate::fmt_http_date(SystemTime::from(now.wall)).as_bytes());
    put(b"\r\ncontent-length: ");
    put(itoa::Buffer::new().format(body.len()).as_bytes());
    put(b"\r\n\r\n");
    if content {
        put(body);
    }
    bytes.into()
}
