use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::clock;
use crate::error::{ClientError, Error, InternalError};
use crate::http::RequestBody;
use crate::http::testing::request;
use crate::memory::{Memory, Use};
use crate::report::{Path, Report};
use crate::units::{Size, Time};

use super::answers::{Answer, Answers, Begun, Landing};
use super::config::IdempotencyConfig;
use super::key::{self, Digest};
use super::{IdempotencyPlan, plan};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SECOND: Duration = Duration::from_secs(1);

fn planned(config: &IdempotencyConfig) -> (IdempotencyPlan, Vec<String>) {
    let mut report = Report::new();
    let plan = plan(config, None, &Path::root(), &mut report);
    (plan, report.problems().iter().map(|problem| problem.path.to_string()).collect())
}

#[test]
fn what_is_wrong_is_told() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let usual = IdempotencyConfig::default();
    for (config, problem) in [
        (usual.clone(), None),
        (IdempotencyConfig { header: "a b".to_owned(), ..usual.clone() }, Some("header")),
        (IdempotencyConfig { methods: words(&["PUT", "GET"]), ..usual.clone() }, Some("methods[1]")),
        (IdempotencyConfig { methods: words(&["a b"]), ..usual.clone() }, Some("methods[0]")),
        (IdempotencyConfig { scope: words(&["authorization", "a b"]), ..usual.clone() }, Some("scope[1]")),
        (IdempotencyConfig { scope: Vec::new(), ..usual.clone() }, Some("scope")),
        (IdempotencyConfig { ttl: Time::secs(0), ..usual.clone() }, Some("ttl")),
        (IdempotencyConfig { max_entries: 0, ..usual.clone() }, Some("max_entries")),
        (IdempotencyConfig { max_request: Size::mib(17), ..usual.clone() }, Some("max_request")),
        (IdempotencyConfig { max_bytes: Size::kib(1), ..usual }, Some("max_response")),
    ] {
        assert_eq!(planned(&config).1, problem.as_slice(), "{config:?}");
    }
}

/// draft-ietf-httpapi-idempotency-key-header §2.1: the field is an Item that is a String (RFC 9651 §3.3.3).
#[test]
fn keys_are_strings_or_bare() {
    let long = "x".repeat(key::LONGEST + 1);
    for (lines, expected) in [
        (&[][..], Ok(None)),
        (&["\"8e03978e-40d5\""][..], Ok(Some("8e03978e-40d5"))),
        (&["8e03978e-40d5"], Ok(Some("8e03978e-40d5"))),
        (&["  \"a b\"  "], Ok(Some("a b"))),
        (&[r#""a\"b\\c""#], Ok(Some(r#"a"b\c"#))),
        (&[""], Err(())),
        (&["\"\""], Err(())),
        (&["\"a"], Err(())),
        (&["\""], Err(())),
        (&[r#""a\n""#], Err(())),
        (&["\"a\";b"], Err(())),
        (&["a, b"], Err(())),
        (&["a b"], Err(())),
        (&["a", "a"], Err(())),
        (&[&*long], Err(())),
        (&[&long[1..]], Ok(Some(&long[1..]))),
    ] {
        let headers = lines.iter().map(|line| (KEY, HeaderValue::from_str(line).unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        let found = key::given(&map, &KEY).map_err(|error| assert_eq!(error, ClientError::BadIdempotencyKey));
        assert_eq!(
            found.map(|key| key.map(|key| String::from_utf8(key.into()).unwrap())),
            expected.map(|key| key.map(str::to_owned)),
            "{lines:?}"
        );
    }
}

#[test]
fn keys_of_different_clients_never_meet() {
    let scope = [HeaderName::from_static("authorization"), HeaderName::from_static("cookie")];
    let headers = |pairs: &[(&str, &str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    };
    let sets: [&[(&str, &str)]; 6] = [
        &[],
        &[("authorization", "a")],
        &[("authorization", "b")],
        &[("cookie", "a")],
        &[("authorization", "a"), ("cookie", "b")],
        &[("cookie", "a"), ("cookie", "b")],
    ];
    let digests: Vec<Digest> = sets.iter().map(|set| key::scoped(b"k", &headers(set), &scope)).collect();
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "{index}");
    }
    let same = key::scoped(b"k", &headers(&[("authorization", "a"), ("x-trace", "1")]), &scope);
    assert_eq!(same, digests[1], "what is not in the scope does not matter");
    assert_ne!(key::scoped(b"l", &headers(&[]), &scope), digests[0]);
}

#[test]
fn requests_differ_by_what_they_ask_for() {
    let print = |method: Method, kind: Option<&'static str>, trace: &'static str, content: &[u8]| {
        let mut request = request(method, RequestBody::Empty);
        request.headers.extend(kind.map(|kind| (http::header::CONTENT_TYPE, HeaderValue::from_static(kind))));
        request.headers.insert("x-trace", HeaderValue::from_static(trace));
        key::fingerprint(&request, content)
    };
    let first = print(Method::POST, Some("a/b"), "1", b"x");
    assert_eq!(first, print(Method::POST, Some("a/b"), "2", b"x"));
    for other in [
        print(Method::PATCH, Some("a/b"), "1", b"x"),
        print(Method::POST, Some("a/c"), "1", b"x"),
        print(Method::POST, None, "1", b"x"),
        print(Method::POST, Some("a/b"), "1", b"y"),
    ] {
        assert_ne!(first, other);
    }
}

const fn digest(byte: u8) -> Digest {
    [byte; 32]
}

fn answers(max_entries: usize, max_bytes: u64) -> Arc<Answers> {
    let (plan, _) = planned(&IdempotencyConfig::default());
    Arc::new(Answers::new(IdempotencyPlan { max_entries, max_bytes, ttl: SECOND, ..plan }))
}

fn answer(bytes: usize, memory: &Memory) -> Landing {
    let body = Bytes::from(vec![b'x'; bytes]);
    Landing::Answer(Answer::new(StatusCode::OK, HeaderMap::new(), body, memory).unwrap().into())
}

fn word(begun: &Begun) -> &'static str {
    match begun {
        Begun::Lead(_) => "lead",
        Begun::Follow(_) => "follow",
        Begun::Replay(_) => "replay",
        Begun::Lost => "lost",
        Begun::Reused => "reused",
        Begun::Full => "full",
    }
}

#[test]
fn a_key_is_carried_out_once_and_kept_for_its_time() {
    let (answers, memory, now) = (answers(10, 10_000), Memory::unlimited(), clock::now().instant);
    let ask = |print, now| answers.begin(digest(1), digest(print), now);
    let Begun::Lead(flight) = ask(1, now) else { panic!() };
    assert_eq!((word(&ask(1, now)), word(&ask(2, now))), ("follow", "reused"));
    flight.land(answer(5, &memory), true, now);
    assert_eq!((word(&ask(1, now)), word(&ask(2, now))), ("replay", "reused"));
    assert_eq!(word(&ask(1, now + SECOND / 2)), "replay");
    assert_eq!(memory.used_for(Use::Answers), answers.size().1);
    let Begun::Lead(flight) = ask(2, now + SECOND) else { panic!("its time is over") };
    assert_eq!((answers.size(), memory.used()), ((1, 0), 0));
    flight.land(Landing::Lost, true, now + SECOND);
    assert_eq!(word(&ask(2, now + SECOND)), "lost");
}

#[tokio::test]
async fn whoever_waits_hears_what_became_of_it() {
    let (answers, memory, now) = (answers(10, 10_000), Memory::unlimited(), clock::now().instant);
    let failed = || Landing::Failed(Error::from(ClientError::BodyAborted));
    for (landing, keep, later) in [
        (answer(1, &memory), true, "replay"),
        (answer(1, &memory), false, "lead"),
        (failed(), false, "lead"),
        (Landing::Lost, true, "lost"),
    ] {
        let key = digest(answers.size().0 as u8 + 10);
        let Begun::Lead(flight) = answers.begin(key, digest(0), now) else { panic!() };
        let Begun::Follow(mut waits) = answers.begin(key, digest(0), now) else { panic!() };
        let expected = format!("{landing:?}");
        flight.land(landing, keep, now);
        let told = waits.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(format!("{told:?}"), expected);
        assert_eq!(word(&answers.begin(key, digest(0), now)), later, "{expected}");
    }
    let Begun::Lead(flight) = answers.begin(digest(1), digest(0), now) else { panic!() };
    let Begun::Follow(mut waits) = answers.begin(digest(1), digest(0), now) else { panic!() };
    drop(flight);
    let told = waits.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(matches!(told, Landing::Failed(Error::Internal(InternalError::Panicked))));
    assert_eq!(word(&answers.begin(digest(1), digest(0), now)), "lead", "its key is free again");
}

#[test]
fn what_is_kept_is_bounded() {
    let (memory, now) = (Memory::unlimited(), clock::now().instant);
    let begin = |answers: &Arc<Answers>, key| answers.begin(digest(key), digest(0), now);
    let few = answers(3, u64::MAX);
    let flights: Vec<_> = (0..3).map(|key| begin(&few, key)).collect();
    assert_eq!(word(&begin(&few, 3)), "full", "nothing under way is forgotten");
    for flight in flights {
        let Begun::Lead(flight) = flight else { panic!() };
        flight.land(answer(1, &memory), true, now);
    }
    let Begun::Lead(_flight) = begin(&few, 3) else { panic!("the oldest goes") };
    assert_eq!(few.size().0, 3);
    assert_eq!((word(&begin(&few, 1)), word(&begin(&few, 2))), ("replay", "replay"));
    let small = answers(100, 2000);
    for key in 0..50 {
        let Begun::Lead(flight) = begin(&small, key) else { panic!() };
        flight.land(answer(400, &memory), true, now);
        assert!(small.size().1 <= 2000);
    }
    assert_eq!(small.size().0, 2);
    assert_eq!((word(&begin(&small, 49)), word(&begin(&small, 48))), ("replay", "replay"));
    drop((few, small, _flight));
    assert_eq!(memory.used(), 0);
    assert!(Answer::new(StatusCode::OK, HeaderMap::new(), Bytes::new(), &Memory::new(10)).is_none());
}
