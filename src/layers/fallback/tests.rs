use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::clock::{self, Instant};
use crate::error::{ClientError, Error, InternalError, Refusal, UpstreamError, UpstreamErrorKind as Kind};
use crate::http::testing::{incoming, request};
use crate::http::{Body, Request, RequestBody, Response};
use crate::layers::{Boxed, Inner};
use crate::memory::{Memory, Use};
use crate::metrics::Metrics;
use crate::report::{Path, Report};
use crate::units::Time;

use super::cause::Cause;
use super::config::{FallbackConfig, FallbackResponseConfig};
use super::{Fallback, FallbackPlan, Keep, Rule, To, ToPlan, plan};

const SECOND: Duration = Duration::from_secs(1);

fn respond() -> FallbackConfig {
    FallbackConfig { respond: Some(FallbackResponseConfig::default()), ..FallbackConfig::default() }
}

fn planned(config: FallbackConfig) -> (Vec<FallbackPlan>, Vec<String>) {
    let mut report = Report::new();
    let plans = plan(&[config], &Path::root(), &mut report);
    let below = |path: String| path.trim_start_matches("[0]").trim_start_matches('.').to_owned();
    (plans, report.problems().iter().map(|problem| below(problem.path.to_string())).collect())
}

mod plans {
    use super::*;

    #[test]
    fn what_is_wrong_is_told() {
        let answer = |change: &dyn Fn(&mut FallbackResponseConfig)| {
            let mut answer = FallbackResponseConfig::default();
            change(&mut answer);
            FallbackConfig { respond: Some(answer), ..FallbackConfig::default() }
        };
        let on = |words: &[&str]| FallbackConfig {
            on: words.iter().map(|word| (*word).to_owned()).collect(),
            ..respond()
        };
        let header = |name: &str, value: &str| {
            answer(&|answer| {
                answer.headers.insert(name.to_owned(), value.to_owned());
            })
        };
        for (what, config, problem) in [
            ("the default", respond(), None),
            ("nobody answers", FallbackConfig::default(), Some("")),
            ("two do", FallbackConfig { upstream: Some("b".to_owned()), ..respond() }, Some("")),
            ("nothing listed", on(&[]), Some("on")),
            ("a typo", on(&["conect"]), Some("on[0]")),
            ("status is not for the user to write", on(&["status"]), Some("on[0]")),
            ("no failure", on(&["5xx", "200"]), Some("on[1]")),
            ("no time", FallbackConfig { after: Some(Time::secs(0)), ..respond() }, Some("after")),
            (
                "not for timeouts",
                FallbackConfig { after: Some(Time::secs(1)), ..on(&["5xx"]) },
                Some("after"),
            ),
            ("no status", answer(&|answer| answer.status = 103), Some("respond.status")),
            (
                "no content",
                answer(&|answer| (answer.status, answer.body) = (204, "x".to_owned())),
                Some("respond.body"),
            ),
            (
                "no type",
                answer(&|answer| answer.content_type = "\n".to_owned()),
                Some("respond.content_type"),
            ),
            ("no name", header("a b", "c"), Some("respond.headers.a b")),
            ("no value", header("a", "\n"), Some("respond.headers.a")),
            ("framing", header("Content-Length", "1"), Some("respond.headers.Content-Length")),
            ("hop by hop", header("connection", "close"), Some("respond.headers.connection")),
        ] {
            let (_, problems) = planned(config);
            assert_eq!(problems, problem.as_slice(), "{what}");
        }
    }

    #[test]
    fn a_fixed_answer_is_not_for_caches_unless_it_says_so() {
        let mut config = FallbackResponseConfig { body: "later".to_owned(), ..Default::default() };
        for (field, expected) in [(None, "no-store"), (Some("max-age=5"), "max-age=5")] {
            config.headers.extend(field.map(|value| ("Cache-Control".to_owned(), value.to_owned())));
            let (plans, _) = planned(FallbackConfig { respond: Some(config.clone()), ..Default::default() });
            let ToPlan::Respond(answer) = &plans[0].to else { panic!("{plans:?}") };
            let response = answer.response();
            assert_eq!(response.status, 503);
            assert_eq!(response.headers["cache-control"], expected);
            assert_eq!(response.headers["content-type"], "text/plain; charset=utf-8");
            assert_eq!(response.body.as_full(), Some(&b"later"[..]));
        }
    }
}

#[test]
fn failures_have_their_class() {
    let answer = |status: u16| Ok(Response::new(StatusCode::from_u16(status).unwrap(), Body::empty()));
    let failed = |kind| Err(UpstreamError::sent(kind).into());
    let refused = |refusal: Refusal| Err(Error::from(refusal));
    let cases: Vec<(&str, Option<Cause>, Result<Response, Error>)> = vec![
        ("none left", Some(Cause::Connect), failed(Kind::NoEndpoint)),
        ("not resolved", Some(Cause::Connect), failed(Kind::Dns)),
        ("refused", Some(Cause::Connect), failed(Kind::ConnectFailed)),
        ("not accepted", Some(Cause::Connect), failed(Kind::ConnectTimeout)),
        ("not trusted", Some(Cause::Connect), failed(Kind::Tls)),
        ("busy", Some(Cause::Overload), failed(Kind::ConnectionLimit)),
        ("full", Some(Cause::Overload), refused(Refusal::QueueFull { retry_after: SECOND })),
        ("queued", Some(Cause::Overload), refused(Refusal::QueueTimeout { retry_after: SECOND })),
        ("reset", Some(Cause::Reset), failed(Kind::Reset)),
        ("garbage", Some(Cause::BadResponse), failed(Kind::BadResponse)),
        ("too much", Some(Cause::BadResponse), failed(Kind::HeadTooLarge)),
        ("silent", Some(Cause::Timeout), failed(Kind::HeadTimeout)),
        ("late", Some(Cause::Timeout), failed(Kind::Deadline)),
        ("others' failure", Some(Cause::Status), failed(Kind::Trouble)),
        ("listed", Some(Cause::Status), answer(503)),
        ("not listed", None, answer(500)),
        ("fine", None, answer(200)),
        ("a limit", None, refused(Refusal::RateQueueFull { retry_after: SECOND })),
        ("nothing stored", None, refused(Refusal::OnlyIfCached)),
        ("the client's", None, Err(ClientError::BodyTimeout.into())),
        ("ours", None, Err(InternalError::Panicked.into())),
    ];
    let (plans, _) = planned(respond());
    let empty = super::cause::On::default();
    for (what, cause, outcome) in cases {
        assert_eq!(plans[0].on.cause(&outcome), cause, "{what}");
        assert_eq!(empty.cause(&outcome), None, "{what}");
    }
}

/// What an upstream does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(u16),
    Refuse,
    /// Fails before or after the request was sent.
    Fail(bool),
    /// Reads the request's body, then fails.
    Swallow,
    Hang,
}

#[derive(Debug)]
struct Upstream {
    act: Act,
    asked: Mutex<Vec<(Instant, Option<Instant>)>>,
    bodies: Mutex<Vec<Bytes>>,
}

impl Upstream {
    fn new(act: Act) -> Self {
        Self { act, asked: Mutex::default(), bodies: Mutex::default() }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Inner for Upstream {
    type Future<'a> = Boxed<'a>;

    fn send<'a>(&'a self, request: Request) -> Boxed<'a> {
        self.asked.lock().unwrap().push((clock::now().instant, request.deadline));
        Box::pin(async move {
            match self.act {
                Act::Refuse => Err(Refusal::QueueFull { retry_after: SECOND }.into()),
                Act::Fail(false) => Err(UpstreamError::unsent(Kind::ConnectFailed).into()),
                Act::Fail(true) => Err(UpstreamError::sent(Kind::Reset).into()),
                Act::Hang => std::future::pending().await,
                Act::Answer(_) | Act::Swallow => {
                    let body = http_body_util::BodyExt::collect(request.into_parts().body).await?.to_bytes();
                    self.bodies.lock().unwrap().push(body);
                    let Act::Answer(status) = self.act else {
                        return Err(UpstreamError::unsent(Kind::ConnectFailed).into());
                    };
                    Ok(Response::new(StatusCode::from_u16(status).unwrap(), Body::full("x")))
                }
            }
        })
    }
}

fn layer(own: Act, others: Vec<Rule<Upstream>>) -> (Fallback<Upstream, Upstream>, Metrics) {
    let metrics = Metrics::default();
    let keep = Keep { methods: vec![Method::GET], max_body: 8, memory: Memory::unlimited() };
    (Fallback::new(others, keep, &metrics, "test", Upstream::new(own)), metrics)
}

fn to(act: Act) -> Rule<Upstream> {
    let (plans, _) = planned(respond());
    Rule { on: plans[0].on.clone(), after: None, to: To::Upstream(Upstream::new(act)) }
}

fn fixed() -> Rule<Upstream> {
    let (mut plans, _) = planned(respond());
    let FallbackPlan { on, after, to: ToPlan::Respond(answer) } = plans.remove(0) else { panic!() };
    Rule { on, after, to: To::Respond(answer) }
}

fn counted(metrics: &Metrics) -> Vec<String> {
    let text = metrics.render();
    let lines = text.lines().filter(|line| line.starts_with("forebay_fallbacks_total"));
    let some = lines.filter_map(|line| line.strip_suffix("} 1")?.split_once("reason=").map(|(_, rest)| rest));
    some.map(|rest| rest.replace('"', "").replace(",result=", " ").replace(",route=test", "")).collect()
}

/// Who answers, by what the upstreams do and by what is asked.
#[tokio::test(start_paused = true)]
async fn rules_are_tried_in_order() {
    use Act::{Answer, Fail, Hang, Refuse};
    let (get, post) = (Method::GET, Method::POST);
    for (what, method, own, others, status, counts) in [
        ("it answers", &get, Answer(200), vec![to(Answer(201))], 200, vec![]),
        ("a client's mistake", &get, Answer(404), vec![to(Answer(201))], 404, vec![]),
        ("a status", &get, Answer(503), vec![to(Answer(201))], 201, vec!["status upstream"]),
        ("a refusal", &get, Refuse, vec![to(Answer(201))], 201, vec!["overload upstream"]),
        ("a reset", &get, Fail(true), vec![to(Answer(201))], 201, vec!["reset upstream"]),
        ("silence", &get, Hang, vec![to(Answer(201))], 201, vec!["timeout upstream"]),
        ("POST not sent", &post, Fail(false), vec![to(Answer(201))], 201, vec!["connect upstream"]),
        ("POST refused", &post, Refuse, vec![to(Answer(201))], 201, vec!["overload upstream"]),
        ("POST sent", &post, Fail(true), vec![to(Answer(201))], 0, vec!["reset not_idempotent"]),
        ("POST answered", &post, Answer(503), vec![to(Answer(201))], 503, vec!["status not_idempotent"]),
        (
            "POST sent, fixed",
            &post,
            Answer(502),
            vec![to(Answer(201)), fixed()],
            503,
            vec!["status not_idempotent", "status respond"],
        ),
        (
            "both fail",
            &get,
            Fail(false),
            vec![to(Fail(true)), to(Answer(202))],
            202,
            vec!["connect upstream", "reset upstream"],
        ),
        ("the last outcome", &get, Answer(503), vec![to(Answer(504))], 504, vec!["status upstream"]),
        (
            "what is given is final",
            &get,
            Refuse,
            vec![fixed(), to(Answer(201))],
            503,
            vec!["overload respond"],
        ),
        (
            "sent by a fallback",
            &post,
            Fail(false),
            vec![to(Fail(true)), to(Answer(201))],
            0,
            vec!["connect upstream", "reset not_idempotent"],
        ),
    ] {
        let (layer, metrics) = layer(own, others);
        let mut request = request(method.clone(), RequestBody::Empty);
        request.deadline = Some(request.received.instant + SECOND);
        let trail = request.trail.clone();
        let outcome = layer.send(request).await;
        assert_eq!(outcome.as_ref().map_or(0, |response| response.status.as_u16()), status, "{what}");
        assert_eq!(counted(&metrics), counts, "{what}");
        let note = trail.read().fallback.map(|(fell, cause)| format!("{cause} {fell}"));
        assert_eq!(note.as_deref(), counts.last().copied(), "{what}");
    }
}

#[tokio::test]
async fn the_answer_says_whose_it_is() {
    for (rule, name, expected) in [
        (
            to(Act::Answer(201)),
            "cache-status",
            "forebay; fwd=bypass; fwd-status=201; detail=fallback-upstream",
        ),
        (fixed(), "proxy-status", "forebay; details=\"fallback_respond\""),
    ] {
        let (layer, _) = layer(Act::Refuse, vec![rule]);
        let response = layer.send(request(Method::GET, RequestBody::Empty)).await.unwrap();
        assert_eq!(response.headers[name], expected);
        let both = ["cache-status", "proxy-status"].map(|name| response.headers.contains_key(name));
        assert_ne!(both, [true, true]);
    }
}

/// Who is asked first leaves time for who comes after, and everybody knows how much they have.
#[tokio::test(start_paused = true)]
async fn whoever_comes_after_has_time() {
    let after = |rule: Rule<Upstream>, millis| Rule { after: Some(Duration::from_millis(millis)), ..rule };
    for (what, method, rules, own, other) in [
        ("a share", Method::GET, vec![to(Act::Answer(200))], 8000, 10_000),
        ("a time", Method::GET, vec![after(to(Act::Answer(200)), 500)], 500, 10_000),
        ("and a third", Method::GET, vec![to(Act::Answer(200)), after(fixed(), 1000)], 1000, 2000),
        ("nobody who could", Method::POST, vec![to(Act::Answer(200))], 10_000, 0),
    ] {
        let (layer, _) = layer(Act::Hang, rules);
        let mut request = request(method, RequestBody::Empty);
        let begun = request.received.instant;
        request.deadline = Some(begun + SECOND * 10);
        let _ = tokio::time::timeout(SECOND * 10, layer.send(request)).await;
        let at = |deadline: Option<Instant>| (deadline.unwrap() - begun).as_millis();
        assert_eq!(at(layer.inner.asked.lock().unwrap()[0].1), own, "{what}");
        let To::Upstream(upstream) = &layer.rules_for_tests()[0].to else { panic!() };
        let asked = upstream.asked.lock().unwrap().clone();
        assert_eq!(asked.first().map_or(0, |(_, deadline)| at(*deadline)), other, "{what}");
    }
}

/// A body that was read is sent elsewhere as far as it is kept.
#[tokio::test]
async fn a_body_goes_along() {
    for (method, act, text, goes) in [
        (Method::PUT, Act::Swallow, "12345678", true),
        (Method::PUT, Act::Swallow, "123456789", false),
        (Method::POST, Act::Swallow, "1", false),
        (Method::POST, Act::Refuse, "123456789", true),
    ] {
        let (layer, metrics) = layer(act, vec![to(Act::Answer(200))]);
        let (body, mut client) = incoming().await;
        let sending = layer.send(request(method.clone(), RequestBody::Incoming(Box::new(body))));
        let (outcome, ()) = tokio::join!(sending, async {
            client.send(text).await;
            client.end().await;
        });
        assert_eq!(outcome.is_ok(), goes, "{method} {act:?} {text}");
        let To::Upstream(upstream) = &layer.rules_for_tests()[0].to else { panic!() };
        let bodies = upstream.bodies.lock().unwrap().clone();
        assert_eq!(bodies.first().map(|body| &body[..]), goes.then_some(text.as_bytes()), "{method} {act:?}");
        assert_eq!(upstream.asked(), usize::from(goes));
        let expected = match (act, goes) {
            (Act::Refuse, _) => "overload upstream",
            (_, true) => "connect upstream",
            (_, false) => "connect body",
        };
        assert_eq!(counted(&metrics), [expected], "{method} {act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_holds_nothing() {
    let memory = Memory::unlimited();
    let keep = Keep { methods: Vec::new(), max_body: 8, memory: memory.clone() };
    let layer =
        Fallback::new(vec![to(Act::Hang)], keep, &Metrics::default(), "test", Upstream::new(Act::Swallow));
    let (body, mut client) = incoming().await;
    let sending = layer.send(request(Method::PUT, RequestBody::Incoming(Box::new(body))));
    let left = async {
        client.send("abc").await;
        client.end().await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(memory.used_for(Use::Replay), 3);
    };
    tokio::select! { _ = sending => panic!("it answered"), () = left => {} }
    assert_eq!(memory.used(), 0);
}
