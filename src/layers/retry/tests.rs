use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use tower_service::Service;

use crate::clock::{self, Instant};
use crate::error::{ClientError, Error, Refusal, UpstreamError, UpstreamErrorKind as Kind};
use crate::http::testing::{incoming, request};
use crate::http::{Body, Request, RequestBody, RequestParts, Response, Trail};
use crate::layers::budget::{Budget, BudgetPlan};
use crate::layers::{Boxed, Inner};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::report::{Path, Report, Severity};
use crate::units::{Size, Time};

use super::backoff::BackoffPlan;
use super::condition::{Cause, Decision, Facts, GiveUp, cause_of_error, cause_of_status, decide};
use super::config::{Jitter, RetryConfig};
use super::{Retry, RetryPlan, plan};

const MS: Duration = Duration::from_millis(1);

mod condition {
    use super::*;

    const FACTS: Facts = Facts {
        attempts_left: 1,
        repeatable: true,
        sent: true,
        replayable: true,
        retry_after: None,
        longest: Duration::from_secs(60),
        backoff: MS,
        left: Some(Duration::from_secs(1)),
    };

    #[test]
    fn decisions() {
        let secs = Duration::from_secs;
        for (facts, expected) in [
            (FACTS, "retry_reset"),
            (Facts { attempts_left: 0, ..FACTS }, "give_up_attempts"),
            // RFC 9110 §9.2.2: a proxy does not repeat what is not idempotent...
            (Facts { repeatable: false, ..FACTS }, "give_up_not_idempotent"),
            // ... but what was never sent is not repeated.
            (Facts { repeatable: false, sent: false, ..FACTS }, "retry_reset"),
            (Facts { replayable: false, ..FACTS }, "give_up_body"),
            (Facts { retry_after: Some(secs(1)), ..FACTS }, "give_up_retry_after"),
            (Facts { retry_after: Some(secs(31)), left: None, ..FACTS }, "give_up_retry_after"),
            (Facts { retry_after: Some(secs(29)), left: None, ..FACTS }, "retry_reset"),
            (Facts { retry_after: Some(3 * MS), longest: 2 * MS, ..FACTS }, "give_up_retry_after"),
            (Facts { retry_after: Some(2 * MS), longest: 2 * MS, ..FACTS }, "retry_reset"),
            (Facts { retry_after: Some(Duration::ZERO), ..FACTS }, "retry_reset"),
            (Facts { backoff: secs(1), ..FACTS }, "give_up_deadline"),
            (Facts { left: Some(Duration::ZERO), backoff: Duration::ZERO, ..FACTS }, "give_up_deadline"),
            (Facts { retry_after: Some(secs(1) - MS), ..FACTS }, "give_up_deadline"),
        ] {
            assert_eq!(decide(Cause::Reset, &facts, || true).as_str(), expected, "{facts:?}");
        }
        assert_eq!(decide(Cause::Reset, &FACTS, || false), Decision::GiveUp(GiveUp::Budget));
    }

    #[test]
    fn the_wait_is_what_the_origin_asks_for_and_backoff_on_top() {
        let facts = Facts { retry_after: Some(5 * MS), ..FACTS };
        let decision = decide(Cause::Status, &facts, || true);
        assert_eq!(decision, Decision::Retry { cause: Cause::Status, wait: 6 * MS });
    }

    #[test]
    fn nothing_is_withdrawn_for_a_retry_that_is_not_made() {
        for facts in [
            Facts { attempts_left: 0, ..FACTS },
            Facts { repeatable: false, ..FACTS },
            Facts { replayable: false, ..FACTS },
            Facts { backoff: Duration::from_secs(2), ..FACTS },
        ] {
            decide(Cause::Connect, &facts, || panic!("withdrawn: {facts:?}"));
        }
    }

    #[test]
    fn causes() {
        let on = RetryPlan::default().on;
        for (kind, expected) in [
            (Kind::Dns, Some(Cause::Connect)),
            (Kind::ConnectFailed, Some(Cause::Connect)),
            (Kind::ConnectTimeout, Some(Cause::Connect)),
            (Kind::Reset, Some(Cause::Reset)),
            (Kind::HeadTimeout, Some(Cause::Timeout)),
            (Kind::Tls, None),
            (Kind::NoEndpoint, None),
            (Kind::ConnectionLimit, None),
            (Kind::BadResponse, None),
            (Kind::Deadline, None),
        ] {
            assert_eq!(cause_of_error(&on, &UpstreamError::sent(kind).into()), expected, "{kind:?}");
        }
        assert_eq!(cause_of_error(&on, &ClientError::BodyAborted.into()), None);
        assert_eq!(cause_of_error(&on, &Refusal::NoRoute.into()), None);
        for (status, expected) in [(200, None), (404, None), (500, None), (503, Some(Cause::Status))] {
            assert_eq!(cause_of_status(&on, StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
        let none = plan(
            &RetryConfig { on: Vec::new(), ..RetryConfig::default() },
            &Path::root(),
            &mut Report::new(),
        );
        assert_eq!(cause_of_error(&none.on, &UpstreamError::unsent(Kind::ConnectFailed).into()), None);
    }
}

mod backoff {
    use super::*;

    const PLAN: BackoffPlan = BackoffPlan {
        base: Duration::from_millis(25),
        factor: 2.0,
        max: Duration::from_secs(1),
        jitter: Jitter::Full,
    };

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let longest: Vec<u128> = (1..=8).map(|made| PLAN.longest(made).as_millis()).collect();
        assert_eq!(longest, [25, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(PLAN.longest(u32::MAX), PLAN.max);
        assert_eq!(BackoffPlan { factor: 1.0, ..PLAN }.longest(9), PLAN.base);
        assert_eq!(BackoffPlan { base: Duration::ZERO, ..PLAN }.longest(u32::MAX), Duration::ZERO);
    }

    #[test]
    fn full_jitter_takes_all_of_the_range() {
        assert_eq!(PLAN.wait(3, 0.0), Duration::ZERO);
        assert_eq!(PLAN.wait(3, 0.5), 50 * MS);
        assert!(PLAN.wait(3, 0.999_999) > 99 * MS);
        assert_eq!(BackoffPlan { jitter: Jitter::None, ..PLAN }.wait(3, 0.1), 100 * MS);
    }
}

mod planning {
    use super::*;

    fn problems(change: impl FnOnce(&mut RetryConfig)) -> (RetryPlan, Vec<String>) {
        let mut config = RetryConfig::default();
        change(&mut config);
        let mut report = Report::new();
        let plan = plan(&config, &Path::root().key("retry"), &mut report);
        let problems = report.problems().iter().map(|problem| {
            let level = if problem.severity == Severity::Error { "error" } else { "warning" };
            format!("{level} {}: {}", problem.path, problem.hint.as_deref().unwrap_or_default())
        });
        (plan, problems.collect())
    }

    #[test]
    fn the_default_is_valid() {
        let (plan, problems) = problems(|_| {});
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(plan, RetryPlan::default());
        assert_eq!(plan.attempts, 2);
        assert!(plan.on.contains(Cause::Connect) && plan.on.contains(Cause::Timeout));
        assert!(plan.on.contains_status(StatusCode::BAD_GATEWAY));
        assert!(!plan.on.contains_status(StatusCode::INTERNAL_SERVER_ERROR));
        assert_eq!(plan.max_body, 65_536);
    }

    #[test]
    fn classes_and_statuses() {
        let (plan, problems) = problems(|config| config.on = ["5xx", "429"].map(str::to_owned).to_vec());
        assert!(problems.is_empty(), "{problems:?}");
        for (status, listed) in
            [(428, false), (429, true), (430, false), (499, false), (500, true), (599, true)]
        {
            assert_eq!(plan.on.contains_status(StatusCode::from_u16(status).unwrap()), listed, "{status}");
        }
        for outside in [100, 200, 399, 600, 655, 999] {
            assert!(!plan.on.contains_status(StatusCode::from_u16(outside).unwrap()), "{outside}");
        }
    }

    #[test]
    fn all_problems_at_once() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (plan, problems) = problems(|config| {
            config.attempts = 0;
            config.on = words(&["conect", "503", "200", "banana"]);
            config.methods = words(&["get", "POST", "G T", "CONNECT"]);
            config.per_try_timeout = Some(Time::millis(0));
            config.backoff.factor = f64::NAN;
            config.backoff.base = Time::secs(5);
            config.budget.ratio = 1.5;
            config.max_body = Size::mib(64);
        });
        assert_eq!(
            problems,
            [
                "error retry.max_body: every request under way may hold one: at most 16MiB",
                "error retry.on[0]: did you mean `connect`?",
                "error retry.on[2]: only error statuses are retried, 400 to 599",
                "error retry.on[3]: write connect, reset, timeout, or a status like 503 or 5xx",
                "error retry.attempts: write 1 to turn retries off",
                "error retry.methods[0]: did you mean `GET`?",
                "warning retry.methods[1]: list it only if the origin recognises repeated requests (RFC 9110 §9.2.2)",
                "error retry.methods[2]: ",
                "error retry.methods[3]: ",
                "error retry.per_try_timeout: leave it out for no limit of its own",
                "error retry.backoff.factor: at least 1.0, which keeps them the same; 2.0 doubles them",
                "error retry.backoff.base: raise `max` or lower `base`",
                "error retry.budget.ratio: write a number from 0.0 to 1.0: 0.2 lets one in five be retried",
            ]
        );
        assert_eq!(plan.attempts, 1);
        assert_eq!(plan.methods, [Method::POST]);
        assert_eq!(plan.budget.ratio, 0.2);
        assert_eq!(plan.backoff.base, Duration::from_secs(1));
    }

    #[test]
    fn retrying_on_nothing_is_a_warning() {
        let (_, problems) = problems(|config| config.on = Vec::new());
        assert_eq!(problems, ["warning retry.on: write `attempts = 1` to turn retries off"]);
    }
}

/// What the inner service does with an attempt.
enum Step {
    Status(u16, Option<&'static str>),
    /// A response with this body.
    Says(u16, Body),
    Fail(Error),
    /// Reads the whole body, then fails or answers.
    ReadThen(Box<Step>),
    /// Notes an endpoint and never answers.
    Hang(&'static str),
}

struct Seen {
    number: u32,
    avoid: Vec<String>,
    headers: HeaderMap,
    body: Option<Bytes>,
    at: Instant,
}

#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<Seen>>,
}

crate::layers::inner!(impl for Script);

impl<'a> Service<Request> for &'a Script {
    type Response = Response;
    type Error = Error;
    type Future = Boxed<'a>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Boxed<'a> {
        let script: &'a Script = self;
        let mut step = script.steps.lock().unwrap().pop_front().expect("an attempt too many");
        let request = request.into_parts();
        Box::pin(async move {
            let mut seen = Seen {
                number: request.attempt.number,
                avoid: request.attempt.avoid.iter().map(|endpoint| (**endpoint).to_owned()).collect(),
                headers: request.headers,
                body: None,
                at: clock::instant(),
            };
            if let Step::ReadThen(then) = step {
                step = *then;
                match request.body.collect().await {
                    Ok(body) => seen.body = Some(body.to_bytes()),
                    // As a connection whose request breaks off: what it reports does not name the culprit.
                    Err(_) => step = Step::Fail(UpstreamError::sent(Kind::Reset).into()),
                }
            }
            script.seen.lock().unwrap().push(seen);
            match step {
                Step::Status(status, after) => {
                    let mut response = Response::new(StatusCode::from_u16(status).unwrap(), Body::empty());
                    if let Some(after) = after {
                        response.headers.insert(header::RETRY_AFTER, after.parse().unwrap());
                    }
                    Ok(response)
                }
                Step::Says(status, body) => Ok(Response::new(StatusCode::from_u16(status).unwrap(), body)),
                Step::Fail(error) => Err(error),
                Step::Hang(endpoint) => {
                    request.trail.note(|notes| notes.endpoint = Some(endpoint.into()));
                    std::future::pending().await
                }
                Step::ReadThen(_) => unreachable!("one read is enough"),
            }
        })
    }
}

fn retry(steps: impl IntoIterator<Item = Step>, change: impl FnOnce(&mut RetryPlan)) -> Retry<Script> {
    let mut plan = RetryPlan { attempts: 3, ..RetryPlan::default() };
    change(&mut plan);
    let budget = Budget::new(plan.budget, Arc::default());
    let script = Script { steps: Mutex::new(steps.into_iter().collect()), ..Script::default() };
    Retry::new(plan, budget, Memory::unlimited(), &Metrics::default(), "test", script)
}

fn get() -> Request {
    request(Method::GET, RequestBody::Empty)
}

fn status(status: u16) -> Step {
    Step::Status(status, None)
}

fn fail(error: UpstreamError) -> Step {
    Step::Fail(error.into())
}

fn read_then(step: Step) -> Step {
    Step::ReadThen(Box::new(step))
}

impl Retry<Script> {
    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        assert!(self.inner().steps.lock().unwrap().is_empty(), "an attempt is missing");
        self.inner().seen.lock().unwrap()
    }

    /// Sends a request and says what came of it: a status or the word of an error.
    async fn outcome(&self, request: Request) -> String {
        match self.send(request).await {
            Ok(response) => response.status.as_str().to_owned(),
            Err(error) => error.as_str().to_owned(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_retried_with_the_same_request() {
    let retry = retry([status(503), status(502), status(200)], |_| {});
    let mut request = get();
    for (name, value) in [("accept", "a"), ("accept", "b"), ("x-one", "1")] {
        request.headers.append(name, value.parse().unwrap());
    }
    let (headers, trail) = (request.headers.clone(), request.trail.clone());
    assert_eq!(retry.outcome(request).await, "200");
    let seen = retry.seen();
    assert_eq!(seen.iter().map(|seen| seen.number).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(seen.iter().all(|seen| seen.headers == headers));
    assert_eq!(trail.read().attempts, 3);
    assert_eq!(retry.counted(), ["status", "status"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_outcome_is_what_the_client_gets() {
    let reset = || fail(UpstreamError::sent(Kind::Reset));
    for (steps, expected) in [
        ([status(503), status(502), status(504)], "504"),
        ([status(503), status(503), reset()], "upstream_reset"),
        ([reset(), reset(), status(503)], "503"),
    ] {
        let retry = retry(steps, |_| {});
        assert_eq!(retry.outcome(get()).await, expected);
        assert_eq!(retry.seen().len(), 3);
        assert_eq!(retry.counted().last(), Some(&"attempts"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_worth_it_is_not_retried() {
    for (step, expected) in [
        (status(200), "200"),
        (status(404), "404"),
        (status(500), "500"),
        (fail(UpstreamError::unsent(Kind::NoEndpoint)), "no_endpoint"),
        (fail(UpstreamError::unsent(Kind::Tls)), "tls_error"),
        (Step::Fail(ClientError::BodyTooLarge.into()), "request_body_too_large"),
        (Step::Fail(Refusal::QueueFull { retry_after: MS }.into()), "queue_full"),
    ] {
        let retry = retry([step], |_| {});
        assert_eq!(retry.outcome(get()).await, expected);
        assert_eq!(retry.seen().len(), 1);
        assert!(retry.counted().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn one_attempt_is_one_attempt() {
    let retry = retry([status(503)], |plan| plan.attempts = 1);
    assert_eq!(retry.outcome(get()).await, "503");
}

/// RFC 9110 §9.2.2: a POST that was not sent has had no effect; one that was sent may have had.
#[tokio::test(start_paused = true)]
async fn a_post_is_retried_only_when_unsent() {
    let post = || request(Method::POST, RequestBody::Full(Bytes::from_static(b"pay")));
    let unsent = UpstreamError::unsent(Kind::ConnectFailed).at("a:1".into());
    let retried = retry([fail(unsent), read_then(status(201))], |_| {});
    assert_eq!(retried.outcome(post()).await, "201");
    assert_eq!(retried.seen()[1].body.as_deref(), Some(&b"pay"[..]));
    assert_eq!(retried.seen()[1].avoid, ["a:1"]);
    assert_eq!(retried.counted(), ["connect"]);

    for (step, expected) in [
        (fail(UpstreamError::sent(Kind::Reset)), "upstream_reset"),
        (fail(UpstreamError::sent(Kind::HeadTimeout)), "response_timeout"),
        (status(503), "503"),
    ] {
        let retry = retry([step], |_| {});
        assert_eq!(retry.outcome(post()).await, expected);
        assert_eq!(retry.counted(), ["not_idempotent"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_from_the_client_is_sent_again_byte_for_byte() {
    let (body, mut client) = incoming().await;
    let reset = || fail(UpstreamError::sent(Kind::Reset));
    let retry = retry([reset(), read_then(reset()), read_then(status(200))], |_| {});
    let request = request(Method::PUT, RequestBody::Incoming(Box::new(body)));
    let sent = async {
        client.send("one").await;
        tokio::task::yield_now().await;
        client.send(" two").await;
        client.end().await;
    };
    let (outcome, ()) = tokio::join!(retry.outcome(request), sent);
    assert_eq!(outcome, "200");
    let bodies: Vec<_> = retry.seen().iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies, [None, Some("one two".into()), Some("one two".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_bound_is_sent_once() {
    let (body, mut client) = incoming().await;
    client.send("more than four").await;
    client.end().await;
    let retry = retry([read_then(status(503))], |plan| plan.max_body = 4);
    assert_eq!(retry.outcome(request(Method::PUT, RequestBody::Incoming(Box::new(body)))).await, "503");
    assert_eq!(retry.counted(), ["body"]);
}

/// The client's own failure: not retried, not the upstream's fault.
#[tokio::test(start_paused = true)]
async fn a_garbled_body_is_the_clients_fault() {
    let (body, mut client) = incoming().await;
    client.send("ok").await;
    client.garble().await;
    let retry = retry([read_then(status(200))], |_| {});
    let request = request(Method::PUT, RequestBody::Incoming(Box::new(body)));
    assert_eq!(retry.outcome(request).await, "bad_request_body");
    assert!(retry.counted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_cut_and_its_endpoint_avoided() {
    for trail in [Trail::kept(), Trail::off()] {
        let retry = retry([Step::Hang("a:1"), Step::Hang("b:1"), status(200)], |plan| {
            plan.per_try_timeout = Some(100 * MS);
            plan.backoff.base = Duration::ZERO;
        });
        let start = clock::instant();
        assert_eq!(retry.outcome(Request::from(RequestParts { trail, ..get().into_parts() })).await, "200");
        let seen = retry.seen();
        assert!(seen[2].at - start < 210 * MS, "two attempts and no pause: {:?}", seen[2].at - start);
        assert!(seen[2].at - start >= 200 * MS);
        assert_eq!(seen[2].avoid, ["a:1", "b:1"]);
        assert_eq!(retry.counted(), ["timeout", "timeout"]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_beyond_the_deadline() {
    let retry = retry([status(503)], |plan| {
        plan.backoff = BackoffPlan { base: 50 * MS, max: 50 * MS, factor: 1.0, jitter: Jitter::None };
    });
    let deadline = Some(clock::instant() + 40 * MS);
    assert_eq!(retry.outcome(Request::from(RequestParts { deadline, ..get().into_parts() })).await, "503");
    assert_eq!(retry.counted(), ["deadline"]);
}

#[tokio::test(start_paused = true)]
async fn waits_grow() {
    let retry = retry([status(503), status(503), status(200)], |plan| {
        plan.backoff = BackoffPlan { base: 40 * MS, max: 70 * MS, factor: 2.0, jitter: Jitter::None };
    });
    let start = clock::instant();
    assert_eq!(retry.outcome(get()).await, "200");
    let waits: Vec<_> = retry.seen().iter().map(|seen| (seen.at - start).as_millis()).collect();
    assert!((40..42).contains(&waits[1]) && (110..114).contains(&waits[2]), "{waits:?}");
}

/// RFC 9110 §10.2.3.
#[tokio::test(start_paused = true)]
async fn retry_after_is_respected() {
    let soon = || [Step::Status(503, Some("2")), status(200)];
    let waited = retry(soon(), |plan| plan.backoff.max = Duration::from_secs(5));
    let start = clock::instant();
    let deadline = Some(start + Duration::from_secs(10));
    assert_eq!(waited.outcome(Request::from(RequestParts { deadline, ..get().into_parts() })).await, "200");
    assert!(waited.seen()[1].at - start >= Duration::from_secs(2));

    let given_up = retry([Step::Status(503, Some("11"))], |_| {});
    let deadline = Some(clock::instant() + Duration::from_secs(10));
    let response =
        given_up.send(Request::from(RequestParts { deadline, ..get().into_parts() })).await.unwrap();
    assert_eq!(response.headers[header::RETRY_AFTER], "11");
    assert_eq!(given_up.counted(), ["retry_after"]);

    let ignored = retry([Step::Status(503, Some("3600")), status(200)], |plan| {
        plan.respect_retry_after = false;
    });
    assert_eq!(ignored.outcome(get()).await, "200");
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_all_requests_together() {
    let failing = (0..30).map(|_| status(503));
    let retry = retry(failing, |plan| {
        plan.attempts = 10;
        plan.budget = BudgetPlan { ratio: 1.0, min_per_second: 5 };
        plan.backoff.base = Duration::ZERO;
        plan.backoff.max = Duration::ZERO;
    });
    // Within one second: 25 requests, and the floor's 5 retries.
    for _ in 0..25 {
        assert_eq!(retry.outcome(get()).await, "503");
    }
    assert_eq!(retry.seen().len(), 30);
    assert_eq!(retry.counted().iter().filter(|word| **word == "status").count(), 5);
}

#[tokio::test(start_paused = true)]
async fn successes_fill_the_budget() {
    let steps = [status(200), status(200), status(503), status(200), status(503)];
    let retry = retry(steps, |plan| plan.budget = BudgetPlan { ratio: 0.34, min_per_second: 0 });
    for expected in ["200", "200", "503"] {
        assert_eq!(retry.outcome(get()).await, expected, "two successes earn no whole retry");
    }
    assert_eq!(retry.outcome(get()).await, "200");
    retry.inner().steps.lock().unwrap().push_back(status(200));
    assert_eq!(retry.outcome(get()).await, "200", "three do");
    assert_eq!(retry.counted(), ["status", "budget"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_response_holds_is_released_before_the_next_attempt() {
    struct Flag(Arc<Mutex<Option<Instant>>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = Some(clock::instant());
        }
    }
    let released = Arc::new(Mutex::new(None));
    let mut body = Body::full("try later");
    body.hold(crate::http::held::DropAtEnd(Flag(released.clone())));
    let retry = retry([Step::Says(503, body), status(200)], |plan| plan.backoff.jitter = Jitter::None);
    let start = clock::instant();
    assert_eq!(retry.outcome(get()).await, "200");
    assert_eq!(released.lock().unwrap().unwrap(), start, "before the pause, not after it");
}

/// Dropping the answer ends the attempt under way, wherever it is.
#[tokio::test(start_paused = true)]
async fn cancellation_ends_everything() {
    let retry = retry([status(503), Step::Hang("a:1")], |plan| plan.backoff.base = Duration::ZERO);
    let request = get();
    let peer = request.peer.clone();
    assert!(tokio::time::timeout(Duration::from_secs(5), retry.send(request)).await.is_err());
    assert_eq!(retry.seen().len(), 2);
    assert_eq!(Arc::strong_count(&peer), 1);
}
