use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tower_service::Service;

use crate::clock::{self, Instant};
use crate::error::{Error, UpstreamErrorKind};
use crate::http::incoming::Incoming;
use crate::http::testing::{Client, incoming, request};
use crate::http::{Body, Request, RequestBody, RequestParts, Response};
use crate::layers::{Boxed, Inner};
use crate::report::{Path, Report};
use crate::units::Time;

use super::config::DeadlineConfig;
use super::signals::Signals;
use super::{Deadline, DeadlinePlan, Tell, plan};

fn of(timeout: Duration) -> DeadlinePlan {
    DeadlinePlan { timeout, signals: None }
}

fn signals() -> Signals {
    let name = |name| Some(HeaderName::from_static(name));
    Signals { grpc: true, request: name("x-timeout"), upstream: name("x-left") }
}

/// Answers with what it is told, after a while.
struct Origin {
    after: Duration,
    answer: std::sync::Mutex<Option<Response>>,
    dropped: Arc<AtomicBool>,
    asked: std::sync::Mutex<Option<Instant>>,
    wish: std::sync::Mutex<Option<Instant>>,
    headers: std::sync::Mutex<HeaderMap>,
}

impl Origin {
    fn new(after: Duration, answer: Response) -> Self {
        Self {
            after,
            answer: Some(answer).into(),
            dropped: Arc::default(),
            asked: None.into(),
            wish: None.into(),
            headers: HeaderMap::new().into(),
        }
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

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Boxed<'a> {
        *self.asked.lock().unwrap() = request.deadline;
        *self.wish.lock().unwrap() = request.gives_up;
        self.headers.lock().unwrap().clone_from(&request.headers);
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
    let layer =
        Deadline::new(&of(SECOND), Origin::new(SECOND * 2, Response::new(StatusCode::OK, Body::empty())));
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
    let layer = Deadline::new(&of(SECOND), origin());
    let (received, late) = (clock::now(), get());
    tokio::time::advance(SECOND / 2).await;
    layer.send(Request::from(RequestParts { received, ..late.into_parts() })).await.unwrap();
    assert_eq!(*layer.inner.asked.lock().unwrap(), Some(received.instant + SECOND));

    let layer = Deadline::new(&of(SECOND), origin());
    let earlier = Some(Instant::now() + SECOND / 10);
    layer.send(Request::from(RequestParts { deadline: earlier, ..get().into_parts() })).await.unwrap();
    assert_eq!(*layer.inner.asked.lock().unwrap(), earlier);
}

#[test]
fn a_ready_answer_needs_no_timer() {
    // Without a runtime, a timer would panic.
    let layer = Deadline::new(
        &of(SECOND),
        Origin::new(Duration::ZERO, Response::new(StatusCode::OK, Body::full("hit"))),
    );
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
    let layer = Deadline::new(&of(SECOND), Origin::new(Duration::ZERO, response));
    let mut body = layer.send(get()).await.unwrap().into_body();
    let begin = Instant::now();
    client.send("first").await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(is_deadline(&error), "{error}");
    assert!(begin.elapsed() <= SECOND + Duration::from_millis(10), "{:?}", begin.elapsed());
    assert!(body.frame().await.is_none());
}

/// gRPC over HTTP/2: `TimeoutValue` is at most eight digits, `TimeoutUnit` one of `HMSmun`.
#[test]
fn what_clients_ask_for() {
    let micros = |micros| Some(Duration::from_micros(micros));
    for (name, values, expected) in [
        ("x-timeout", &["250ms"][..], micros(250_000)),
        ("x-timeout", &["1.5s"], micros(1_500_000)),
        ("x-timeout", &[" 250 "], micros(250_000)),
        ("x-timeout", &["0"], micros(0)),
        ("x-timeout", &["3", "2", "x"], micros(2000)),
        ("x-timeout", &["99999999999999999999999"], Some(Duration::from_secs(315_360_000))),
        ("x-timeout", &["soon"], None),
        ("x-timeout", &["-1"], None),
        ("x-timeout", &["1e3"], None),
        ("x-timeout", &[""], None),
        ("x-other", &["1s"], None),
        ("grpc-timeout", &["1H"], micros(3_600_000_000)),
        ("grpc-timeout", &["2M"], micros(120_000_000)),
        ("grpc-timeout", &["3S"], micros(3_000_000)),
        ("grpc-timeout", &["4m"], micros(4000)),
        ("grpc-timeout", &["5u"], micros(5)),
        ("grpc-timeout", &["6000n"], micros(6)),
        ("grpc-timeout", &["99999999H"], Some(Duration::from_secs(315_360_000))),
        ("grpc-timeout", &["123456789m"], None),
        ("grpc-timeout", &["m"], None),
        ("grpc-timeout", &["1"], None),
        ("grpc-timeout", &["1s"], None),
        ("grpc-timeout", &["1 S"], None),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(signals().asked(&headers), expected, "{name}: {values:?}");
        let deaf = Signals { grpc: false, request: None, upstream: None };
        assert_eq!(deaf.asked(&headers), None);
    }
}

proptest! {
    /// What we say of the time left is what we would hear: never more than it is, and almost as much.
    #[test]
    fn what_is_told_is_understood(micros in 0u64..4_000_000_000_000) {
        let left = Duration::from_micros(micros);
        let mut headers = HeaderMap::from_iter([(super::signals::GRPC_TIMEOUT.clone(), "1S".parse().unwrap())]);
        signals().tell(&mut headers, left);
        let said = headers["x-left"].to_str().unwrap().parse::<u64>().unwrap();
        prop_assert_eq!(u128::from(said), left.as_millis());
        let heard = signals().asked(&headers).unwrap();
        prop_assert!(heard <= left && left - heard <= left / 10_000, "{:?} of {:?}", heard, left);
    }
}

/// What a client asks for shortens, and is kept apart from the route's own deadline.
#[tokio::test(start_paused = true)]
async fn a_client_may_ask_for_less() {
    for (asked, after, wished) in [
        (Some("300m"), 300, true),
        (Some("1S"), 1000, false),
        (Some("9S"), 1000, false),
        (Some("never"), 1000, false),
        (Some("0m"), 0, true),
        (None, 1000, false),
    ] {
        let plan = DeadlinePlan { timeout: SECOND, signals: Some(signals().into()) };
        let slow = Origin::new(SECOND * 2, Response::new(StatusCode::OK, Body::empty()));
        let layer = Deadline::new(&plan, slow);
        let mut request = get();
        let begun = request.received.instant;
        request.headers.extend(
            asked.map(|asked| (super::signals::GRPC_TIMEOUT.clone(), HeaderValue::from_static(asked))),
        );
        assert!(is_deadline(&layer.send(request).await.unwrap_err()));
        let after = Duration::from_millis(after);
        assert!((after..after + Duration::from_millis(5)).contains(&begun.elapsed()), "{asked:?}");
        assert_eq!(*layer.inner.asked.lock().unwrap(), Some(begun + SECOND), "{asked:?}");
        assert_eq!(*layer.inner.wish.lock().unwrap(), wished.then_some(begun + after), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_upstream_is_told_what_is_left() {
    let plan = DeadlinePlan { timeout: SECOND, signals: Some(signals().into()) };
    let tell = Tell::new(&plan, Origin::new(Duration::ZERO, Response::new(StatusCode::OK, Body::empty())));
    let now = clock::instant();
    let mut request = get();
    request.headers.insert("grpc-timeout", HeaderValue::from_static("9S"));
    request.deadline = Some(now + SECOND);
    request.gives_up = Some(now + SECOND / 2);
    tokio::time::advance(SECOND / 5).await;
    tell.send(request).await.unwrap();
    let headers = tell.inner().headers.lock().unwrap().clone();
    assert_eq!(
        (&headers["x-left"], &headers["grpc-timeout"]),
        (&"300".parse().unwrap(), &"300000u".parse().unwrap())
    );
}

#[test]
fn names_that_are_none_are_told() {
    for (name, good) in [("x-timeout", true), ("a b", false), ("Grpc-Timeout", false), ("connection", false)]
    {
        let config = DeadlineConfig {
            request_header: Some(name.to_owned()),
            upstream_header: Some(name.to_owned()),
            ..DeadlineConfig::default()
        };
        let mut report = Report::new();
        plan(Time::secs(1), Some(&config), &Path::root(), &mut report);
        let paths: Vec<_> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        let wrong = ["deadline.request_header", "deadline.upstream_header"];
        assert_eq!(paths, if good { &[][..] } else { &wrong[..] }, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_may_go_on_are_cut_where_the_client_asks() {
    let (response, _client) = streaming("text/event-stream").await;
    let plan = DeadlinePlan { timeout: SECOND, signals: Some(signals().into()) };
    let layer = Deadline::new(&plan, Origin::new(Duration::ZERO, response));
    let mut request = get();
    request.headers.insert("x-timeout", HeaderValue::from_static("100ms"));
    let mut body = layer.send(request).await.unwrap().into_body();
    assert!(is_deadline(&body.frame().await.unwrap().unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn streams_that_may_go_on_are_not_cut() {
    for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/grpc+proto"] {
        let (response, mut client) = streaming(kind).await;
        let layer = Deadline::new(&of(SECOND), Origin::new(Duration::ZERO, response));
        let mut body = layer.send(get()).await.unwrap().into_body();
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
    assert!(!plan(Time::secs(0), None, &Path::root(), &mut report).timeout.is_zero());
    assert!(report.has_errors());
}
