use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use http::{HeaderValue, Method};
use http_body_util::BodyExt;

use super::*;
use crate::clock;
use crate::http::RequestParts;
use crate::http::incoming::Incoming;
use crate::http::testing::{Client, incoming, request};
use crate::http::{Body, RequestBody};
use crate::layers::Boxed;

/// Answers with what it is told, after a while.
struct Origin {
    after: Duration,
    answer: std::sync::Mutex<Option<Response>>,
    dropped: Arc<AtomicBool>,
    asked: std::sync::Mutex<Option<Instant>>,
}

impl Origin {
    fn new(after: Duration, answer: Response) -> Self {
        Self { after, answer: Some(answer).into(), dropped: Arc::default(), asked: None.into() }
    }
}

struct NoteDrop(Arc<AtomicBool>);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

crate::layers::inner!(impl for Origin);

impl<'a> Service<Request> for &'a Origin {
    type Response = Response;
    type Error = Error;
    type Future = Boxed<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Boxed<'a> {
        *self.asked.lock().unwrap() = request.deadline;
        let origin: &'a Origin = self;
        let note = NoteDrop(origin.dropped.clone());
        Box::pin(async move {
            let _note = note;
            if !origin.after.is_zero() {
                tokio::time::sleep(origin.after).await;
            }
            Ok(origin.answer.lock().unwrap().take().unwrap())
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn get() -> Request {
    request(Method::GET, RequestBody::Empty)
}

fn is_deadline(error: &Error) -> bool {
    matches!(error, Error::Upstream(error) if error.kind == UpstreamErrorKind::Deadline)
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_dropped() {
    let layer = Deadline::new(SECOND, Origin::new(SECOND * 2, Response::new(StatusCode::OK, Body::empty())));
    let mut answer = Box::pin(layer.send(get()));
    let begin = Instant::now();
    let error = (&mut answer).await.unwrap_err();
    assert!(is_deadline(&error), "{error}");
    assert!(begin.elapsed() < SECOND + Duration::from_millis(10));
    // Even while the future that timed out still exists.
    assert!(layer.inner.dropped.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn the_time_begins_when_the_head_arrived_and_an_earlier_deadline_stays() {
    let origin = || Origin::new(Duration::ZERO, Response::new(StatusCode::OK, Body::empty()));
    let layer = Deadline::new(SECOND, origin());
    let (received, late) = (clock::now(), get());
    tokio::time::advance(SECOND / 2).await;
    layer.send(Request::from(RequestParts { received, ..late.into_parts() })).await.unwrap();
    assert_eq!(*layer.inner.asked.lock().unwrap(), Some(received.instant + SECOND));

    let layer = Deadline::new(SECOND, origin());
    let earlier = Some(Instant::now() + SECOND / 10);
    layer.send(Request::from(RequestParts { deadline: earlier, ..get().into_parts() })).await.unwrap();
    assert_eq!(*layer.inner.asked.lock().unwrap(), earlier);
}

#[test]
fn a_ready_answer_needs_no_timer() {
    // Without a runtime, a timer would panic.
    let layer =
        Deadline::new(SECOND, Origin::new(Duration::ZERO, Response::new(StatusCode::OK, Body::full("hit"))));
    let mut answer = Box::pin(layer.send(get()));
    let polled = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))));
}

/// A response whose body comes from a connection.
async fn streaming(content_type: &'static str) -> (Response, Client) {
    let (body, client): (Incoming, Client) = incoming().await;
    let mut response = Response::new(StatusCode::OK, Body::incoming(body));
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    (response, client)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_takes_too_long_is_cut() {
    let (response, mut client) = streaming("text/plain").await;
    let layer = Deadline::new(SECOND, Origin::new(Duration::ZERO, response));
    let mut body = layer.send(get()).await.unwrap().body;
    let begin = Instant::now();
    client.send("first").await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(is_deadline(&error), "{error}");
    assert!(begin.elapsed() <= SECOND + Duration::from_millis(10), "{:?}", begin.elapsed());
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn streams_that_may_go_on_are_not_cut() {
    for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/grpc+proto"] {
        let (response, mut client) = streaming(kind).await;
        let layer = Deadline::new(SECOND, Origin::new(Duration::ZERO, response));
        let mut body = layer.send(get()).await.unwrap().body;
        let (frame, ()) = tokio::join!(body.frame(), async {
            tokio::time::sleep(SECOND * 10).await;
            client.send("late").await;
        });
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "late", "{kind}");
    }
}

#[test]
fn a_timeout_of_nothing_is_an_error() {
    let mut report = Report::new();
    assert!(!plan(Time::secs(0), &Path::root().key("timeout"), &mut report).is_zero());
    assert!(report.has_errors());
}
