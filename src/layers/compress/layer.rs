//! The tower glue: a route without compression hands on its inner service's answer in place.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::Error;
use crate::http::coding::Level;
use crate::http::{End, Held, Request, Response, Trail};
use crate::layers::{Boxed, Either, Inner, always_ready, inner};
use crate::metrics::{Counter, Metrics};

use super::judge::{self, Asked, Verdict};
use super::kept::{Form, Kept};
use super::plan::CompressPlan;
use super::rewrite;

/// Encodes the responses of `S`.
#[derive(Debug)]
pub struct Compress<S> {
    route: Option<Box<Compressing>>,
    inner: S,
}

/// How one route compresses.
#[derive(Debug)]
pub struct Compressing {
    plan: CompressPlan,
    kept: Arc<Kept>,
    verdicts: [Counter; Verdict::ALL.len()],
    plain_bytes: Counter,
    encoded_bytes: Counter,
}

impl<S> Compress<S> {
    /// A layer of one route; without a plan it does nothing.
    pub fn new(
        plan: Option<CompressPlan>,
        kept: &Arc<Kept>,
        metrics: &Metrics,
        route: &str,
        inner: S,
    ) -> Self {
        let bytes = |form| {
            let labels = [("route", route), ("form", form)];
            let help = "Bytes of bodies that were encoded, before and after; kept forms do not count.";
            metrics.counter("forebay_compress_bytes_total", help, &labels)
        };
        let route = plan.map(|plan| {
            Box::new(Compressing {
                plan,
                kept: Arc::clone(kept),
                verdicts: Verdict::ALL.map(|verdict| {
                    let labels = [("route", route), ("result", verdict.as_str())];
                    let help = "Responses of routes that compress, by what was done and why.";
                    metrics.counter("forebay_compress_responses_total", help, &labels)
                }),
                plain_bytes: bytes("plain"),
                encoded_bytes: bytes("encoded"),
            })
        });
        Self { route, inner }
    }
}

inner!(impl<S: Inner> for Compress<S>);

impl<'a, S: Inner> Service<Request> for &'a Compress<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Compressed<'a, S::Future<'a>>, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        let layer: &'a Compress<S> = self;
        match &layer.route {
            Some(route) if request.upgrade.is_none() => {
                let asked = Asked::of(&request, &route.plan);
                if route.plan.plain_origin && asked.may_ask_for_identity() {
                    request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
                }
                let trail = request.trail.clone();
                let state = State::Asking { future: layer.inner.send(request), trail, asked, route };
                Either::Left { future: Compressed { state } }
            }
            _ => Either::Right { future: layer.inner.send(request) },
        }
    }
}

pin_project! {
    /// An answer that gets a coding on its way out.
    pub struct Compressed<'a, F> {
        #[pin]
        state: State<'a, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<'a, F> {
        Asking { #[pin] future: F, trail: Trail, asked: Asked, route: &'a Compressing },
        /// The encoded form of what is stored is made, by us or another request.
        Making { future: Boxed<'a> },
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Compressed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let making = match self.as_mut().project().state.project() {
                StateProj::Making { future } => return future.as_mut().poll(cx),
                StateProj::Asking { future, trail, asked, route } => {
                    let route: &Compressing = route;
                    let response = ready!(future.poll(cx))?;
                    match route.answer(asked, trail, response) {
                        Answer::Ready(response) => return Poll::Ready(Ok(response)),
                        Answer::Make(response, number, level) => {
                            Box::pin(route.make(response, number, level, trail.clone()))
                        }
                    }
                }
            };
            self.as_mut().project().state.set(State::Making { future: making });
        }
    }
}

/// What comes of a response.
enum Answer {
    /// This.
    Ready(Response),
    /// The encoded form of what is stored under this number.
    Make(Response, NonZeroU64, Level),
}

impl Compressing {
    /// Decides, and does what can be done at once.
    fn answer(&self, asked: &Asked, trail: &Trail, mut response: Response) -> Answer {
        if response.status == StatusCode::NOT_MODIFIED {
            rewrite::not_modified(&mut response.headers, &asked.known);
        }
        if let Err(verdict) = judge::can_be(&self.plan, &response, asked) {
            if response.status == StatusCode::PARTIAL_CONTENT
                && judge::type_is_right(&self.plan, &response.headers, false).is_ok()
            {
                rewrite::varies(&mut response.headers);
            }
            self.note(verdict, trail);
            return Answer::Ready(response);
        }
        let level = match asked.coding {
            Ok(level) => level,
            Err(verdict) => {
                rewrite::varies(&mut response.headers);
                self.note(verdict, trail);
                return Answer::Ready(response);
            }
        };
        if let Some(number) = response.body.stored() {
            if let Some(form) = self.kept.find(number, level.coding) {
                return Answer::Ready(self.with_form(asked.head, trail, response, level, form));
            }
            let length = http_body::Body::size_hint(&response.body).exact();
            if !asked.head && length.is_some_and(|length| self.kept.wants(length)) {
                return Answer::Make(response, number, level);
            }
        }
        if asked.head {
            rewrite::encoded(&mut response.headers, level.coding, None);
            self.note(Verdict::Encoded, trail);
            return Answer::Ready(response);
        }
        Answer::Ready(self.stream(trail, response, level))
    }

    /// Encodes a body while it is sent.
    fn stream(&self, trail: &Trail, mut response: Response, level: Level) -> Response {
        let mut plain = std::mem::take(&mut response.body);
        plain.hold(Counted(self.plain_bytes.clone()));
        let verdict = match self.kept.encode(level, plain) {
            Ok(mut encoded) => {
                encoded.hold(Counted(self.encoded_bytes.clone()));
                response.body = encoded;
                rewrite::encoded(&mut response.headers, level.coding, None);
                Verdict::Encoded
            }
            Err(plain) => {
                response.body = plain;
                rewrite::varies(&mut response.headers);
                Verdict::Memory
            }
        };
        self.note(verdict, trail);
        response
    }

    /// Answers with the encoded form of what is stored, which is made where it is not there.
    async fn make(
        &self,
        mut response: Response,
        number: NonZeroU64,
        level: Level,
        trail: Trail,
    ) -> Result<Response, Error> {
        let Some(copy) = response.body.again() else { return Ok(self.stream(&trail, response, level)) };
        let plain_length = http_body::Body::size_hint(&copy).lower();
        let Some((form, made)) = self.kept.make(number, level, copy).await? else {
            rewrite::varies(&mut response.headers);
            self.note(Verdict::Memory, &trail);
            return Ok(response);
        };
        if let Form::Encoded(form) = &form
            && made
        {
            self.plain_bytes.add(plain_length);
            self.encoded_bytes.add(form.length());
        }
        Ok(self.with_form(false, &trail, response, level, form))
    }

    fn with_form(
        &self,
        head: bool,
        trail: &Trail,
        mut response: Response,
        level: Level,
        form: Form,
    ) -> Response {
        let verdict = match form {
            Form::NotSmaller => {
                rewrite::varies(&mut response.headers);
                Verdict::NotSmaller
            }
            Form::Encoded(form) => {
                rewrite::encoded(&mut response.headers, level.coding, Some(form.length()));
                if !head {
                    let mut body = form.body();
                    body.hold_all(response.body.take_held());
                    response.body = body;
                }
                Verdict::Kept
            }
        };
        self.note(verdict, trail);
        response
    }

    fn note(&self, verdict: Verdict, trail: &Trail) {
        if let Some(counter) = self.verdicts.get(verdict as usize) {
            counter.increment();
        }
        trail.note(|notes| notes.compress = Some(verdict.as_str()));
    }
}

/// Counts a body's bytes as they pass.
struct Counted(Counter);

impl Held for Counted {
    fn data(&mut self, bytes: usize) {
        self.0.add(bytes as u64);
    }

    fn ended(self: Box<Self>, _: End<'_>) {}
}
