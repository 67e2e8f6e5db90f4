//! The engine against a scripted origin, without sockets.

mod cost;
mod flights;
mod others;
mod parts;
mod post;
mod purge;
mod rfc;
mod room;
mod rules;
mod sim;
mod stale;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower_service::Service;

use super::config::{CacheConfig, EvictionPolicy};
use super::flight::{Flights, Join};
use super::layer::Cache;
use super::plan::{self, StorePlan};
use super::store::Store;
use crate::clock::{self, Now};
use crate::error::{Error, Refusal, UpstreamError, UpstreamErrorKind};
use crate::http::shared::{Limits, SharedWriter};
use crate::http::{Body, Request, RequestBody, Response, Trail, testing};
use crate::layers::budget::Budget;
use crate::layers::{Boxed, Inner};
use crate::memory::{Memory, Use};
use crate::metrics::Metrics;
use crate::report::{Path, Report};

/// One request as the origin sees it; dropped without an answer, the origin never answers.
struct Asked {
    method: Method,
    headers: HeaderMap,
    answer: oneshot::Sender<Result<Response, Error>>,
    alive: Arc<AtomicUsize>,
}

impl Asked {
    fn answer(self, result: Result<Response, Error>) {
        let _ = self.answer.send(result);
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The origin: hands every request to the test, which answers it when it likes.
struct Origin {
    asked: mpsc::UnboundedSender<Asked>,
    calls: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

crate::layers::inner!(impl for Origin);

impl<'a> Service<Request> for &'a Origin {
    type Response = Response;
    type Error = Error;
    type Future = Boxed<'a>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Boxed<'a> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(self.alive.clone());
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            method: request.method.clone(),
            headers: request.headers.clone(),
            answer,
            alive: self.alive.clone(),
        };
        self.asked.send(asked).ok().unwrap();
        Box::pin(async move {
            let _alive = alive;
            match answered.await {
                Ok(result) => result,
                Err(_) => std::future::pending().await,
            }
        })
    }
}

struct Bench {
    cache: Arc<Cache<Origin>>,
    asked: mpsc::UnboundedReceiver<Asked>,
    calls: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
    store: Arc<Store>,
    metrics: Metrics,
    start: Now,
}

/// A store of so many bytes.
const fn room_of(memory: u64, max_object: u64) -> StorePlan {
    StorePlan { memory, max_object, eviction: EvictionPolicy::Cost }
}

fn bench() -> Bench {
    bench_with(|_| {}, room_of(64 << 20, 1 << 20))
}

fn bench_with(change: impl FnOnce(&mut CacheConfig), store: StorePlan) -> Bench {
    bench_within(change, store, u64::MAX)
}

/// The same within so many bytes of memory in all.
fn bench_within(change: impl FnOnce(&mut CacheConfig), store: StorePlan, limit: u64) -> Bench {
    let mut config = CacheConfig::default();
    change(&mut config);
    let mut report = Report::new();
    let plan = plan::plan(&config, &Path::default(), &mut report);
    assert!(!report.has_errors());
    let metrics = Metrics::default();
    let memory = Memory::new(limit);
    let store = Arc::new(Store::new(&store, memory.clone(), &metrics));
    let (sender, asked) = mpsc::unbounded_channel();
    let (calls, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let origin = Origin { asked: sender, calls: calls.clone(), alive: alive.clone() };
    let cache =
        Cache::new(Some(Arc::new(plan)), 1, store.clone(), Budget::unlimited(), &metrics, "test", origin);
    Bench { cache: Arc::new(cache), asked, calls, alive, store, metrics, start: clock::now() }
}

type Asking = tokio::task::JoinHandle<Result<Response, Error>>;

impl Bench {
    /// A request to `path`, `seconds` after the start.
    fn request(&self, method: Method, path: &str, seconds: u64, fields: &[(&str, &str)]) -> Request {
        let received = self.start.plus(Duration::from_secs(seconds));
        request_of(method, path, received, fields)
    }

    fn send(&self, request: Request) -> Asking {
        let cache = self.cache.clone();
        tokio::spawn(async move { cache.send(request).await })
    }

    fn get_at(&self, seconds: u64, fields: &[(&str, &str)]) -> Asking {
        self.send(self.request(Method::GET, "/a", seconds, fields))
    }

    fn get(&self) -> Asking {
        self.get_at(0, &[])
    }

    async fn asked(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }

    /// Fills `/a` with a response of these fields.
    async fn fill(&mut self, fields: &[(&str, &str)], body: &'static str) {
        let got = self.get();
        self.asked().await.answer(Ok(response(200, fields, body)));
        assert_eq!(text(got.await.unwrap().unwrap()).await, body);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The value of a series, as the metrics show it.
    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// How many refreshes are under way.
    fn permits(&self) -> usize {
        self.cache.core().map_or(0, |core| core.permits.taken())
    }

    /// Lets everything that can run do so.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// No flight is under way, and no request to the origin.
    async fn is_idle(&self) {
        self.settle().await;
        assert_eq!(self.store.flights().len(), 0);
        assert_eq!(self.alive.load(Ordering::SeqCst), 0);
    }
}

/// A request to `path` that was received then.
fn request_of(method: Method, path: &str, received: Now, fields: &[(&str, &str)]) -> Request {
    let mut request = testing::request(method, RequestBody::Empty);
    request.target.authority = HeaderValue::from_static("example.com");
    request.target.path_and_query = path.parse().unwrap();
    for (name, value) in fields {
        request.headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    (request.received, request.trail) = (received, Trail::off());
    request
}

fn response(status: u16, fields: &[(&str, &str)], body: &'static str) -> Response {
    response_with(status, fields, Body::full(body))
}

fn response_with(status: u16, fields: &[(&str, &str)], body: Body) -> Response {
    let mut response = Response::new(StatusCode::from_u16(status).unwrap(), body);
    for (name, value) in fields {
        response.headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    response
}

/// A body that the test writes.
fn stream(length: Option<u64>) -> (SharedWriter, Body) {
    let limits = Limits { keep: u64::MAX, window: 1, patience: Duration::from_secs(1) };
    let writer = SharedWriter::new(limits, length, Memory::unlimited().hold(Use::Filling));
    let body = Body::shared(writer.body().reader().unwrap());
    (writer, body)
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn chunk(body: &mut Body) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.get(name).map(|value| value.to_str().unwrap())
}

fn status_of(response: &Response) -> &str {
    field(response, "cache-status").unwrap()
}

fn gone() -> Error {
    UpstreamError::unsent(UpstreamErrorKind::ConnectFailed).into()
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn a_hit_is_the_stored_answer_with_its_age() {
    let mut bench = bench();
    let got = bench.get();
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let fields = [
        ("cache-control", "max-age=2000000000"),
        ("date", date),
        ("link", "</a>"),
        ("link", "</b>"),
        ("connection", "close, x-secret"),
        ("x-secret", "1"),
    ];
    bench.asked().await.answer(Ok(response(200, &fields, "hello")));
    let first = got.await.unwrap().unwrap();
    assert!(
        status_of(&first).starts_with("forebay; fwd=uri-miss; fwd-status=200; ttl="),
        "{}",
        status_of(&first)
    );
    assert!(status_of(&first).contains("; stored"));
    assert_eq!(text(first).await, "hello");
    // The first two make the thread's ready map, the third uses it, the last is a second later.
    for seconds in [5, 5, 5, 6] {
        let hit = bench.get_at(seconds, &[]).await.unwrap().unwrap();
        assert_eq!(hit.status, 200);
        assert!(status_of(&hit).starts_with("forebay; hit; ttl="), "{}", status_of(&hit));
        assert_eq!(hit.headers.get_all("cache-status").iter().count(), 1);
        assert_eq!(field(&hit, "date"), Some(date));
        assert_eq!(field(&hit, "content-length"), Some("5"));
        assert_eq!(hit.headers.get_all("link").iter().count(), 2);
        // RFC 9110 §7.6.1
        assert!(field(&hit, "connection").is_none() && field(&hit, "x-secret").is_none());
        // RFC 9111 §4.2.3: the Date counts, so the age is that of 1994.
        let age: u64 = field(&hit, "age").unwrap().parse().unwrap();
        let apparent = bench.start.wall.secs() - 784_111_777;
        assert!((apparent + seconds..=apparent + seconds + 1).contains(&age), "{age}");
        assert_eq!(text(hit).await, "hello");
    }
    assert_eq!(bench.calls(), 1);
    bench.is_idle().await;
}

#[tokio::test]
async fn entries_in_one_place_of_the_ready_maps_do_not_mix() {
    let mut bench = bench();
    for path in (0..300).map(|n| format!("/{n}")) {
        let got = bench.send(bench.request(Method::GET, &path, 0, &[]));
        let fields = [("cache-control", "max-age=60"), ("x-path", path.as_str())];
        bench.asked().await.answer(Ok(response(200, &fields, "x")));
        text(got.await.unwrap().unwrap()).await;
    }
    for round in 0..4 {
        for path in (0..300).map(|n| format!("/{n}")) {
            let hit = bench.send(bench.request(Method::GET, &path, round, &[])).await.unwrap().unwrap();
            assert_eq!(field(&hit, "x-path"), Some(path.as_str()));
            assert!(field(&hit, "age").unwrap().parse::<u64>().unwrap().abs_diff(round) <= 1);
        }
    }
    assert_eq!(bench.calls(), 300);
}

#[tokio::test]
async fn two_hundred_share_one_flight_and_its_first_byte() {
    let mut bench = bench();
    let first_bytes = Arc::new(Semaphore::new(0));
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let (asking, first_bytes) = (bench.get(), first_bytes.clone());
            tokio::spawn(async move {
                let mut response = asking.await.unwrap().unwrap();
                let first = chunk(&mut response.body).await;
                first_bytes.add_permits(1);
                (field(&response, "cache-status").unwrap().to_owned(), first, text(response).await)
            })
        })
        .collect();
    let asked = bench.asked().await;
    bench.settle().await;
    let (mut writer, body) = stream(None);
    asked.answer(Ok(response_with(200, FRESH, body)));
    writer.push("one ".into());
    // All have the first byte while the origin still writes.
    drop(first_bytes.acquire_many(200).await.unwrap());
    writer.push("two".into());
    writer.finish(None, None);
    let mut collapsed = 0;
    for client in clients {
        let (status, first, rest) = client.await.unwrap();
        collapsed += usize::from(status.ends_with("; stored; collapsed"));
        assert_eq!((&first[..], rest.as_str()), (&b"one "[..], "two"));
    }
    assert_eq!((bench.calls(), collapsed), (1, 199));
    assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "one two");
    assert_eq!(bench.calls(), 1);
    bench.is_idle().await;
}

#[tokio::test]
async fn without_collapse_everybody_asks() {
    let mut bench = bench_with(|config| config.collapse = false, room_of(1 << 20, 1024));
    let clients = [bench.get(), bench.get()];
    for _ in 0..2 {
        bench.asked().await.answer(Ok(response(200, FRESH, "x")));
    }
    for client in clients {
        assert_eq!(text(client.await.unwrap().unwrap()).await, "x");
    }
    assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "x");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_leader_that_leaves_before_the_head_ends_its_flight_unless_it_is_followed() {
    for followed in [false, true] {
        let mut bench = bench();
        let leader = bench.get();
        let asked = bench.asked().await;
        let follower = followed.then(|| bench.get());
        bench.settle().await;
        leader.abort();
        bench.settle().await;
        assert_eq!(asked.alive.load(Ordering::SeqCst), usize::from(followed));
        if let Some(follower) = follower {
            asked.answer(Ok(response(200, FRESH, "x")));
            assert_eq!(text(follower.await.unwrap().unwrap()).await, "x");
        }
        assert_eq!(bench.calls(), 1);
        bench.is_idle().await;
    }
}

/// Whoever comes after the last one has left does not hold on to what is about to end, though its task may
/// not have noticed yet.
#[test]
fn a_deserted_flight_takes_no_followers_unless_it_goes_on() {
    for goes_on in [false, true] {
        let (flights, headers, now) = (Flights::new(Arc::default()), HeaderMap::new(), clock::now().instant);
        let Join::Lead(leader) = flights.join(b"key", &headers, None, None, now) else {
            panic!("nobody else flies")
        };
        let Join::Follow(follower) = flights.join(b"key", &headers, None, None, now) else {
            panic!("one flies")
        };
        if goes_on {
            leader.flight().go_on();
        }
        drop(leader);
        assert!(
            matches!(flights.join(b"key", &headers, None, None, now), Join::Follow(_)),
            "one still waits"
        );
        drop(follower);
        assert_eq!(matches!(flights.join(b"key", &headers, None, None, now), Join::Follow(_)), goes_on);
    }
}

/// RFC 9111 §4 lets a cache collapse requests; where a route's answers can never be shared, it does not.
#[tokio::test]
async fn unknown_keys_are_not_collapsed_where_nothing_is_ever_shared() {
    let mut bench = bench();
    let ask = |bench: &Bench, path: &str| bench.send(bench.request(Method::GET, path, 0, &[]));
    let got = ask(&bench, "/1");
    bench.asked().await.answer(Ok(response(200, &[("cache-control", "no-store")], "x")));
    assert!(status_of(&got.await.unwrap().unwrap()).ends_with("; detail=no-store"));
    // All three are asked before one is answered.
    let clients = [(); 3].map(|()| ask(&bench, "/2"));
    let asked = [bench.asked().await, bench.asked().await, bench.asked().await];
    for (asked, body) in asked.into_iter().zip(["a", "b", "c"]) {
        asked.answer(Ok(response(200, FRESH, body)));
    }
    for client in clients {
        let response = client.await.unwrap().unwrap();
        assert!(status_of(&response).ends_with("; stored; detail=never-shared"), "{response:?}");
    }
    // One answer that can be shared, and they are again.
    let clients = [(); 3].map(|()| ask(&bench, "/3"));
    bench.asked().await.answer(Ok(response(200, FRESH, "x")));
    for client in clients {
        assert_eq!(text(client.await.unwrap().unwrap()).await, "x");
    }
    assert_eq!(bench.calls(), 5);
    bench.is_idle().await;
}

/// An origin in trouble tells nothing of what it answers when it is well, and must not meet a crowd.
#[tokio::test]
async fn failures_do_not_turn_collapsing_off() {
    let mut bench = bench();
    for result in [Ok(response(503, &[], "")), Err(gone())] {
        let got = bench.send(bench.request(Method::GET, "/1", 0, &[]));
        bench.asked().await.answer(result);
        let _ = got.await.unwrap();
    }
    let clients = [(); 3].map(|()| bench.send(bench.request(Method::GET, "/2", 0, &[])));
    bench.asked().await.answer(Ok(response(200, FRESH, "x")));
    for client in clients {
        assert_eq!(text(client.await.unwrap().unwrap()).await, "x");
    }
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_fill_nobody_reads_is_finished_if_it_is_worth_it() {
    const NEAR: u64 = 256 * 1024;
    // (length, how much of it came, whether a follower reads on, whether it is finished)
    for (length, here, followed, finished) in [
        (Some(1_000_000), 100_000, false, false),
        (Some(1_000_000), 100_000, true, true),
        (Some(1_000_000), 500_000, false, true),
        (Some(1_000_000), 1_000_000 - NEAR, false, true),
        (Some(NEAR), 1, false, true),
        (None, 500_000, false, false),
        (None, 500_000, true, true),
    ] {
        let mut bench = bench();
        let case = format!("{length:?} {here} {followed}");
        let leader = bench.get();
        let asked = bench.asked().await;
        let follower = followed.then(|| bench.get());
        bench.settle().await;
        let (mut writer, body) = stream(length);
        asked.answer(Ok(response_with(200, FRESH, body)));
        writer.push(Bytes::from(vec![b'x'; here as usize]));
        let mut got = leader.await.unwrap().unwrap();
        chunk(&mut got.body).await;
        bench.settle().await;
        drop(got);
        bench.settle().await;
        let total = length.unwrap_or(1_000_000);
        writer.push(Bytes::from(vec![b'x'; (total - here) as usize]));
        writer.finish(None, None);
        if let Some(follower) = follower {
            assert_eq!(text(follower.await.unwrap().unwrap()).await.len() as u64, total, "{case}");
        }
        bench.is_idle().await;
        let again = bench.get();
        bench.settle().await;
        assert_eq!(bench.calls(), if finished { 1 } else { 2 }, "{case}");
        again.abort();
    }
}

#[tokio::test]
async fn nothing_partial_is_stored() {
    // (length said, chunks, whether the body ends well)
    for (said, sent, clean) in [(Some("6"), "abc", true), (Some("6"), "abcdefg", true), (None, "abc", false)]
    {
        let mut bench = bench();
        let got = bench.get();
        let (mut writer, body) = stream(None);
        let mut fields = FRESH.to_vec();
        fields.extend(said.map(|said| ("content-length", said)));
        bench.asked().await.answer(Ok(response_with(200, &fields, body)));
        writer.push(Bytes::from_static(sent.as_bytes()));
        if clean {
            writer.finish(None, None)
        } else {
            drop(writer)
        }
        let got = got.await.unwrap().unwrap();
        let end = got.into_body().collect().await;
        // Whoever reads it learns that it is not what was said.
        assert!(end.is_err(), "{said:?} {sent}");
        bench.is_idle().await;
        let again = bench.get();
        bench.asked().await.answer(Ok(response(200, FRESH, "abcdef")));
        assert_eq!(text(again.await.unwrap().unwrap()).await, "abcdef");
        assert_eq!(bench.calls(), 2);
    }
}

#[tokio::test]
async fn an_answer_not_to_be_shared_releases_the_followers_in_parallel() {
    for fields in [
        &[("cache-control", "private, max-age=60")][..],
        &[("cache-control", "no-store")],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=1")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[],
    ] {
        let mut bench = bench();
        let clients: Vec<_> = (0..20).map(|_| bench.get()).collect();
        let leader = bench.asked().await;
        bench.settle().await;
        assert_eq!(bench.calls(), 1);
        leader.answer(Ok(response(200, fields, "mine")));
        // All of them are at the origin at once: none is answered before all have come.
        let mut others = Vec::new();
        for _ in 0..19 {
            others.push(bench.asked().await);
        }
        for other in others {
            other.answer(Ok(response(200, fields, "mine")));
        }
        for client in clients {
            assert_eq!(text(client.await.unwrap().unwrap()).await, "mine");
        }
        // The key is remembered: nobody waits for anybody.
        let next = [bench.get(), bench.get()];
        for _ in 0..2 {
            drop(bench.asked().await);
        }
        for asking in next {
            asking.abort();
        }
        bench.is_idle().await;
    }
}

#[tokio::test]
async fn what_was_not_shareable_is_forgotten_in_time() {
    let mut bench = bench();
    bench.fill(&[("cache-control", "private")], "mine").await;
    let soon = bench.get_at(5, &[("x-n", "1")]);
    let asked = bench.asked().await;
    assert_eq!(asked.header("x-n"), Some("1"));
    asked.answer(Ok(response(200, FRESH, "x")));
    let soon = soon.await.unwrap().unwrap();
    assert!(status_of(&soon).contains("detail=known-not-stored"), "{}", status_of(&soon));
    // When the route's answers of then tell nothing any more, either.
    let later = [bench.get_at(90, &[]), bench.get_at(90, &[])];
    bench.asked().await.answer(Ok(response(200, FRESH, "shared")));
    for asking in later {
        assert_eq!(text(asking.await.unwrap().unwrap()).await, "shared");
    }
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_flight_that_fails_is_followed_by_one_more_and_no_herd() {
    for recovers in [true, false] {
        let mut bench = bench();
        let clients: Vec<_> = (0..50).map(|_| bench.get()).collect();
        let first = bench.asked().await;
        bench.settle().await;
        first.answer(Err(gone()));
        let second = bench.asked().await;
        bench.settle().await;
        second.answer(if recovers { Ok(response(200, FRESH, "x")) } else { Err(gone()) });
        let mut failed = 0;
        for client in clients {
            match client.await.unwrap() {
                Ok(response) => assert_eq!(text(response).await, "x"),
                Err(error) => {
                    assert_eq!(error.as_str(), "connect_failed");
                    failed += 1;
                }
            }
        }
        assert_eq!((bench.calls(), failed), (2, if recovers { 1 } else { 50 }));
        bench.is_idle().await;
    }
}

#[tokio::test]
async fn a_slow_reader_slows_nobody() {
    let mut bench = bench();
    let (slow, fast) = (bench.get(), bench.get());
    let asked = bench.asked().await;
    bench.settle().await;
    let (mut writer, body) = stream(None);
    asked.answer(Ok(response_with(200, FRESH, body)));
    let slow = slow.await.unwrap().unwrap();
    let fast = fast.await.unwrap().unwrap();
    for _ in 0..100 {
        writer.push(Bytes::from(vec![b'x'; 10_000]));
    }
    writer.finish(None, None);
    assert_eq!(text(fast).await.len(), 1_000_000);
    // It is stored although one has not read a byte, who then still gets them all.
    assert_eq!(text(bench.get().await.unwrap().unwrap()).await.len(), 1_000_000);
    assert_eq!(bench.calls(), 1);
    assert_eq!(text(slow).await.len(), 1_000_000);
}

#[tokio::test]
async fn a_body_too_large_is_streamed_and_not_stored() {
    // (memory, max_object, length)
    for (memory, max_object, length) in
        [(64 << 20, 100_000, None), (64 << 20, 100_000, Some(1_000_000)), (400_000, 400_000, None)]
    {
        let mut bench = bench_with(|_| {}, room_of(memory, max_object));
        let got = bench.get();
        let asked = bench.asked().await;
        bench.settle().await;
        let (mut writer, body) = stream(length);
        asked.answer(Ok(response_with(200, FRESH, body)));
        let reading = tokio::spawn(async move { text(got.await.unwrap().unwrap()).await.len() });
        for _ in 0..100 {
            writer.push(Bytes::from(vec![b'x'; 10_000]));
            tokio::task::yield_now().await;
        }
        writer.finish(None, None);
        assert_eq!(reading.await.unwrap(), 1_000_000);
        bench.is_idle().await;
        bench.store.settle().await;
        let again = bench.get();
        drop(bench.asked().await);
        again.abort();
    }
}

#[tokio::test]
async fn the_store_keeps_to_its_memory() {
    let mut bench = bench_with(|_| {}, room_of(100_000, 10_000));
    for n in 0..200 {
        let got = bench.send(bench.request(Method::GET, &format!("/{n}"), 0, &[]));
        let body = Body::full(vec![b'x'; 5000]);
        bench.asked().await.answer(Ok(response_with(200, FRESH, body)));
        text(got.await.unwrap().unwrap()).await;
    }
    bench.store.settle().await;
    let mut hits = 0;
    for n in 0..200 {
        let got = bench.send(bench.request(Method::GET, &format!("/{n}"), 0, &[]));
        bench.settle().await;
        hits += usize::from(got.is_finished());
        got.abort();
    }
    assert!((1..=20).contains(&hits), "{hits} of 5,000 bytes each in 100,000");
}

#[tokio::test]
async fn a_stale_entry_is_confirmed_with_its_validators() {
    let mut bench = bench();
    let stored = [("cache-control", "max-age=10"), ("etag", "\"1\""), ("x-old", "1"), ("x-kept", "1")];
    bench.fill(&stored, "body").await;
    // The client's own condition must not reach the origin in place of ours.
    let got =
        bench.get_at(60, &[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), ("range", "bytes=0-0")]);
    let follower = bench.get_at(60, &[]);
    let asked = bench.asked().await;
    assert_eq!(asked.header("if-none-match"), Some("\"1\""));
    assert!(asked.header("if-modified-since").is_none() && asked.header("range").is_none());
    bench.settle().await;
    let update = [("cache-control", "max-age=1000"), ("etag", "\"1\""), ("x-old", "2")];
    asked.answer(Ok(response(304, &update, "")));
    let got = got.await.unwrap().unwrap();
    assert!(status_of(&got).starts_with("forebay; fwd=stale; fwd-status=304; ttl="), "{}", status_of(&got));
    assert_eq!((got.status.as_u16(), field(&got, "x-old")), (206, Some("2")));
    assert_eq!(text(got).await, "b");
    let follower = follower.await.unwrap().unwrap();
    assert!(status_of(&follower).ends_with("; collapsed"));
    assert_eq!((field(&follower, "x-old"), field(&follower, "x-kept")), (Some("2"), Some("1")));
    assert_eq!(text(follower).await, "body");
    let hit = bench.get_at(70, &[]).await.unwrap().unwrap();
    assert!(status_of(&hit).contains("; hit"));
    assert_eq!(text(hit).await, "body");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_304_for_something_else_is_asked_again_without_conditions() {
    let mut bench = bench();
    bench
        .fill(&[("cache-control", "max-age=10"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], "old")
        .await;
    let got = bench.get_at(60, &[]);
    let asked = bench.asked().await;
    assert!(asked.header("if-modified-since").is_some());
    asked.answer(Ok(response(304, &[("last-modified", "Mon, 07 Nov 1994 08:49:37 GMT")], "")));
    let asked = bench.asked().await;
    assert!(asked.header("if-modified-since").is_none());
    asked.answer(Ok(response(200, FRESH, "new")));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "new");
    bench.is_idle().await;
}

#[tokio::test]
async fn stale_while_revalidate_serves_at_once_and_asks_once() {
    let mut bench = bench();
    bench.fill(&[("cache-control", "max-age=10, stale-while-revalidate=100")], "old").await;
    for _ in 0..20 {
        let got = bench.get_at(60, &[]).await.unwrap().unwrap();
        assert!(status_of(&got).ends_with("detail=stale-while-revalidate"), "{}", status_of(&got));
        assert_eq!(text(got).await, "old");
    }
    bench.settle().await;
    assert_eq!(bench.calls(), 2);
    let (mut writer, body) = stream(None);
    bench.asked().await.answer(Ok(response_with(200, &[("cache-control", "max-age=1000")], body)));
    bench.settle().await;
    // Nobody reads it, and it goes on: it is for the store.
    writer.push("ne".into());
    bench.settle().await;
    writer.push("w".into());
    writer.finish(None, None);
    bench.is_idle().await;
    let hit = bench.get_at(60, &[]).await.unwrap().unwrap();
    assert!(status_of(&hit).contains("; hit; ttl="));
    assert_eq!(text(hit).await, "new");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_stale_entry_stands_in_for_an_origin_in_trouble() {
    type Answer = fn() -> Result<Response, Error>;
    let cases: [(&str, Answer, Option<&str>); 6] = [
        ("max-age=10", || Err(gone()), Some("stale-if-error")),
        (
            "max-age=10",
            || Ok(response(503, &[("cache-control", "max-age=60")], "sorry")),
            Some("stale-if-error"),
        ),
        ("max-age=10", || Ok(response(404, &[], "no")), None),
        (
            "max-age=10",
            || Err(Error::Refused(Refusal::QueueFull { retry_after: Duration::ZERO })),
            Some("stale-on-overload"),
        ),
        ("max-age=10, must-revalidate", || Err(gone()), None),
        ("max-age=10, stale-if-error=5", || Err(gone()), None),
    ];
    for (control, answer, detail) in cases {
        let mut bench = bench();
        bench.fill(&[("cache-control", control)], "old").await;
        let clients = [bench.get_at(60, &[]), bench.get_at(60, &[])];
        let asked = bench.asked().await;
        bench.settle().await;
        asked.answer(answer());
        if detail.is_none() {
            // The follower gets a second try.
            bench.asked().await.answer(answer());
        }
        for client in clients {
            match (client.await.unwrap(), detail) {
                (Ok(response), Some(detail)) => {
                    assert!(status_of(&response).ends_with(detail), "{control} {}", status_of(&response));
                    assert!(field(&response, "age").unwrap().parse::<u64>().unwrap() >= 59);
                    assert_eq!(text(response).await, "old");
                }
                (Ok(response), None) => assert_eq!(response.status, 404),
                (Err(error), None) => assert_eq!(error.as_str(), "connect_failed"),
                (Err(error), Some(_)) => panic!("{control}: {error}"),
            }
        }
        assert_eq!(bench.calls(), if detail.is_some() { 2 } else { 3 }, "{control}");
        bench.is_idle().await;
    }
}

#[tokio::test]
async fn variants_are_told_apart() {
    let mut bench = bench();
    let fields = [("cache-control", "max-age=60"), ("vary", "x-kind")];
    // The key's Vary is not known yet: all join one flight, and those it does not suit fly again, together.
    let clients: Vec<_> =
        (0..30).map(|n| (n % 3, bench.get_at(0, &[("x-kind", ["a", "b", "c"][n % 3])]))).collect();
    for _ in 0..3 {
        let asked = bench.asked().await;
        bench.settle().await;
        let body = match asked.header("x-kind") {
            Some("a") => "A",
            Some("b") => "B",
            _ => "C",
        };
        asked.answer(Ok(response(200, &fields, body)));
    }
    for (kind, client) in clients {
        assert_eq!(text(client.await.unwrap().unwrap()).await, ["A", "B", "C"][kind]);
    }
    assert_eq!(bench.calls(), 3);
    for (kind, body) in [("a", "A"), ("b", "B"), ("c", "C")] {
        let hit = bench.get_at(1, &[("x-kind", kind)]).await.unwrap().unwrap();
        assert!(status_of(&hit).contains("; hit"));
        assert_eq!(text(hit).await, body);
    }
    let other = bench.get_at(1, &[("x-kind", "d")]);
    bench.asked().await.answer(Ok(response(200, &fields, "D")));
    let other = other.await.unwrap().unwrap();
    assert!(status_of(&other).contains("fwd=vary-miss"), "{}", status_of(&other));
    bench.is_idle().await;
}

#[tokio::test]
async fn no_more_variants_than_allowed() {
    let mut bench = bench_with(|config| config.max_variants = 2, room_of(1 << 20, 1024));
    for kind in ["a", "b", "c"] {
        let got = bench.get_at(0, &[("x-kind", kind)]);
        let fields = [("cache-control", "max-age=60"), ("vary", "x-kind")];
        bench.asked().await.answer(Ok(response(200, &fields, "x")));
        text(got.await.unwrap().unwrap()).await;
    }
    for (kind, hit) in [("c", true), ("b", true), ("a", false)] {
        let got = bench.get_at(0, &[("x-kind", kind)]);
        bench.settle().await;
        assert_eq!(got.is_finished(), hit, "{kind}");
        got.abort();
    }
}

// RFC 9111 §4.4
#[tokio::test]
async fn unsafe_methods_invalidate_when_they_succeed() {
    for (method, status, gone) in [
        (Method::POST, 201, true),
        (Method::DELETE, 204, true),
        (Method::PUT, 303, true),
        (Method::POST, 500, false),
        (Method::OPTIONS, 200, false),
    ] {
        let mut bench = bench();
        bench.fill(FRESH, "old").await;
        let posted = bench.send(bench.request(method.clone(), "/a", 0, &[]));
        let asked = bench.asked().await;
        assert_eq!(asked.method, method);
        asked.answer(Ok(response(status, &[], "")));
        let posted = posted.await.unwrap().unwrap();
        assert!(status_of(&posted).starts_with("forebay; fwd=method"), "{}", status_of(&posted));
        let got = bench.get();
        bench.settle().await;
        assert_eq!(got.is_finished(), !gone, "{method} {status}");
        got.abort();
    }
}

#[tokio::test]
async fn a_fill_under_way_while_its_key_is_invalidated_is_not_stored() {
    let mut bench = bench();
    let got = bench.get();
    let filling = bench.asked().await;
    let posted = bench.send(bench.request(Method::POST, "/a", 0, &[]));
    bench.asked().await.answer(Ok(response(200, &[], "")));
    posted.await.unwrap().unwrap();
    // Who comes now does not get what may have been read before the change.
    let late = bench.get();
    let refilling = bench.asked().await;
    filling.answer(Ok(response(200, FRESH, "old")));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "old");
    refilling.answer(Ok(response(200, FRESH, "new")));
    assert_eq!(text(late.await.unwrap().unwrap()).await, "new");
    assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "new");
    bench.is_idle().await;
}

#[tokio::test]
async fn one_entry_answers_head_conditions_and_ranges() {
    let mut bench = bench();
    let stored = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("content-type", "text/plain")];
    bench.fill(&stored, "0123456789").await;
    type Case<'a> = (Method, &'a [(&'a str, &'a str)], u16, &'a str, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 8] = [
        (Method::HEAD, &[], 200, "", Some("10"), None),
        (Method::GET, &[("if-none-match", "\"1\"")], 304, "", None, None),
        (Method::GET, &[("if-none-match", "\"2\"")], 200, "0123456789", Some("10"), None),
        (Method::GET, &[("range", "bytes=2-4")], 206, "234", Some("3"), Some("bytes 2-4/10")),
        (Method::GET, &[("range", "bytes=-3")], 206, "789", Some("3"), Some("bytes 7-9/10")),
        (Method::GET, &[("range", "bytes=10-")], 416, "", Some("0"), Some("bytes */10")),
        // RFC 9110 §14.2: Range has no meaning but for GET.
        (Method::HEAD, &[("range", "bytes=2-4")], 200, "", Some("10"), None),
        (Method::GET, &[("range", "bytes=2-4"), ("if-range", "\"0\"")], 200, "0123456789", Some("10"), None),
    ];
    for (method, fields, status, body, length, range) in cases {
        let got = bench.send(bench.request(method, "/a", 3, fields)).await.unwrap().unwrap();
        assert_eq!(got.status.as_u16(), status, "{fields:?}");
        assert_eq!(field(&got, "content-length"), length, "{fields:?}");
        assert_eq!(field(&got, "content-range"), range, "{fields:?}");
        assert!(field(&got, "age").is_some() && status_of(&got).starts_with("forebay; hit"), "{fields:?}");
        assert_eq!(text(got).await, body, "{fields:?}");
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_range_of_something_not_stored_fills_the_whole() {
    let mut bench = bench();
    let part = bench.get_at(0, &[("range", "bytes=2-4")]);
    let asked = bench.asked().await;
    let conditional = bench.get_at(0, &[("if-none-match", "\"1\"")]);
    bench.settle().await;
    assert!(asked.header("range").is_none());
    let (mut writer, body) = stream(Some(10));
    asked.answer(Ok(response_with(200, &[("cache-control", "max-age=60"), ("etag", "\"1\"")], body)));
    writer.push("01234".into());
    let part = part.await.unwrap().unwrap();
    assert_eq!((part.status.as_u16(), field(&part, "content-range")), (206, Some("bytes 2-4/10")));
    assert_eq!(text(part).await, "234");
    assert_eq!(conditional.await.unwrap().unwrap().status, 304);
    writer.finish(Some("56789".into()), None);
    bench.is_idle().await;
    assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "0123456789");
    assert_eq!(bench.calls(), 1);
}

/// RFC 9110 §14.2, §15.3.7.2: in the order the body arrives in they are sent while it does; in another order
/// they would have to wait for one another, and the whole is the answer.
#[tokio::test]
async fn several_ranges_of_what_is_on_its_way() {
    let mut bench = bench();
    let forward = bench.get_at(0, &[("range", "bytes=1-2, 900-")]);
    let asked = bench.asked().await;
    let backward = bench.get_at(0, &[("range", "bytes=900-, 1-2")]);
    bench.settle().await;
    let (mut writer, body) = stream(Some(1000));
    asked.answer(Ok(response_with(200, FRESH, body)));
    writer.push("abcdefghij".into());
    let mut forward = forward.await.unwrap().unwrap();
    assert_eq!((forward.status.as_u16(), field(&forward, "content-range")), (206, None));
    let length: usize = field(&forward, "content-length").unwrap().parse().unwrap();
    let boundary = field(&forward, "content-type").unwrap().split_once("boundary=").unwrap().1.to_owned();
    for expected in [format!("--{boundary}\r\nContent-Range: bytes 1-2/1000\r\n\r\n"), "bc".to_owned()] {
        let frame = forward.body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), expected, "before the rest is here");
    }
    let backward = backward.await.unwrap().unwrap();
    assert_eq!(backward.status, 200);
    writer.finish(Some(Bytes::from(vec![b'x'; 990])), None);
    let rest = text(forward).await;
    let end = format!("bytes 900-999/1000\r\n\r\n{}\r\n--{boundary}--\r\n", "x".repeat(100));
    assert!(rest.ends_with(&end), "{rest}");
    let first = format!("--{boundary}\r\nContent-Range: bytes 1-2/1000\r\n\r\nbc");
    assert_eq!(first.len() + rest.len(), length);
    assert_eq!(text(backward).await.len(), 1000);
    bench.is_idle().await;
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_head_that_is_not_stored_goes_alone() {
    let mut bench = bench();
    let got = bench.send(bench.request(Method::HEAD, "/a", 0, &[]));
    let asked = bench.asked().await;
    assert_eq!(asked.method, Method::HEAD);
    asked.answer(Ok(response(200, FRESH, "")));
    got.await.unwrap().unwrap();
    let got = bench.get();
    bench.asked().await.answer(Ok(response(200, FRESH, "body")));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "body");
}

// RFC 9111 §4.3.5
#[tokio::test]
async fn a_head_freshens_or_removes_a_stale_entry() {
    for (etag, stays) in [("\"1\"", true), ("\"2\"", false)] {
        let mut bench = bench();
        bench.fill(&[("cache-control", "max-age=10"), ("etag", "\"1\"")], "body").await;
        let got = bench.send(bench.request(Method::HEAD, "/a", 60, &[]));
        let fields = [("cache-control", "max-age=1000"), ("etag", etag), ("content-length", "4")];
        bench.asked().await.answer(Ok(response(200, &fields, "")));
        got.await.unwrap().unwrap();
        let got = bench.get_at(61, &[]);
        bench.settle().await;
        assert_eq!(got.is_finished(), stays);
        got.abort();
    }
}

#[tokio::test]
async fn a_client_has_its_say() {
    let mut bench = bench();
    // RFC 9111 §5.2.1.7
    let refused = bench.get_at(0, &[("cache-control", "only-if-cached")]).await.unwrap();
    assert_eq!(refused.unwrap_err().as_str(), "only_if_cached");
    // §5.2.1.5: nothing of it is stored.
    let got = bench.get_at(0, &[("cache-control", "no-store")]);
    bench.asked().await.answer(Ok(response(200, FRESH, "a")));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "a");
    bench.fill(FRESH, "b").await;
    let cached = bench.get_at(1, &[("cache-control", "only-if-cached")]).await.unwrap().unwrap();
    assert_eq!(text(cached).await, "b");
    // §5.2.1.4: two that want the origin's own word do not share it.
    let clients = [
        bench.get_at(1, &[("cache-control", "no-cache")]),
        bench.get_at(1, &[("cache-control", "no-cache")]),
    ];
    let both = [bench.asked().await, bench.asked().await];
    for asked in both {
        asked.answer(Ok(response(200, FRESH, "c")));
    }
    for client in clients {
        let got = client.await.unwrap().unwrap();
        assert!(status_of(&got).contains("fwd=request"), "{}", status_of(&got));
        assert_eq!(text(got).await, "c");
    }
    assert_eq!(text(bench.get_at(1, &[]).await.unwrap().unwrap()).await, "c");
}

// RFC 9111 §3.5
#[tokio::test]
async fn answers_to_authorized_requests_are_shared_only_where_allowed() {
    let auth = [("authorization", "Basic YTpi")];
    let mut bench = bench();
    let got = bench.get_at(0, &auth);
    bench.asked().await.answer(Ok(response(200, FRESH, "mine")));
    let got = got.await.unwrap().unwrap();
    assert!(status_of(&got).ends_with("detail=authorization"), "{}", status_of(&got));
    // What was learnt from it does not make others pass by the cache.
    let clients = [bench.get(), bench.get()];
    bench.asked().await.answer(Ok(response(200, &[("cache-control", "public, max-age=60")], "all")));
    for client in clients {
        assert_eq!(text(client.await.unwrap().unwrap()).await, "all");
    }
    assert_eq!(bench.calls(), 2);
    assert_eq!(text(bench.get_at(0, &auth).await.unwrap().unwrap()).await, "all");
}

#[tokio::test]
async fn requests_with_content_pass() {
    let mut bench = bench();
    bench.fill(FRESH, "stored").await;
    let mut request = bench.request(Method::GET, "/a", 0, &[]);
    request.body = RequestBody::Full("x".into());
    let got = bench.send(request);
    bench.asked().await.answer(Ok(response(200, FRESH, "own")));
    let got = got.await.unwrap().unwrap();
    assert!(status_of(&got).starts_with("forebay; fwd=bypass"), "{}", status_of(&got));
    assert_eq!(text(got).await, "own");
    assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "stored");
}

#[tokio::test]
async fn a_cache_that_is_off_leaves_answers_alone() {
    let mut bench = bench_with(|config| config.enabled = false, room_of(1 << 20, 1024));
    for _ in 0..2 {
        let got = bench.get();
        bench.asked().await.answer(Ok(response(200, FRESH, "x")));
        assert!(field(&got.await.unwrap().unwrap(), "cache-status").is_none());
    }
}

#[tokio::test]
async fn a_fresh_hit_is_ready_at_once() {
    let mut bench = bench();
    bench.fill(FRESH, "x").await;
    let cache = bench.cache.clone();
    let mut answer = std::pin::pin!(cache.send(bench.request(Method::GET, "/a", 1, &[])));
    let answer: Pin<&mut _> = answer.as_mut();
    let Poll::Ready(Ok(response)) = answer.poll(&mut Context::from_waker(std::task::Waker::noop())) else {
        panic!("a fresh hit waits for nothing")
    };
    assert_eq!(text(response).await, "x");
}

#[tokio::test(start_paused = true)]
async fn a_follower_does_not_wait_for_ever() {
    let mut bench = bench();
    let _leader = bench.get();
    let _stuck = bench.asked().await;
    let follower = bench.get();
    // Paused time jumps to the end of the follower's patience.
    bench.asked().await.answer(Ok(response(200, FRESH, "x")));
    let got = follower.await.unwrap().unwrap();
    assert!(status_of(&got).ends_with("detail=waited-too-long"), "{}", status_of(&got));
}

#[tokio::test]
async fn only_what_may_not_be_shared_is_withheld_from_others() {
    let mut bench = bench();
    let clients = [bench.get(), bench.get()];
    let asked = bench.asked().await;
    bench.settle().await;
    let fields = [("cache-control", "max-age=60, no-cache=\"set-cookie\""), ("set-cookie", "a=1")];
    asked.answer(Ok(response(200, &fields, "x")));
    let mut cookies = Vec::new();
    for client in clients {
        cookies.push(field(&client.await.unwrap().unwrap(), "set-cookie").map(str::to_owned));
    }
    assert_eq!(cookies, [Some("a=1".to_owned()), None]);
}

#[tokio::test]
async fn what_is_no_longer_shared_replaces_what_was_and_holds_nobody_up() {
    let mut bench = bench();
    bench.fill(&[("cache-control", "max-age=10"), ("etag", "\"1\"")], "public").await;
    let first = bench.get_at(60, &[]);
    bench.asked().await.answer(Ok(response(200, &[("cache-control", "private")], "mine")));
    assert_eq!(text(first.await.unwrap().unwrap()).await, "mine");
    // Nothing stands in for it: what was public is a thing of the past.
    let broken = bench.get_at(60, &[]);
    bench.asked().await.answer(Err(gone()));
    assert_eq!(broken.await.unwrap().unwrap_err().as_str(), "connect_failed");
}

#[tokio::test]
async fn a_stale_entry_of_a_key_that_passes_still_stands_in() {
    let mut bench = bench();
    bench.fill(&[("cache-control", "max-age=5")], "old").await;
    let first = bench.get_at(60, &[]);
    // 403 says nothing about what is stored.
    bench.asked().await.answer(Ok(response(403, &[("cache-control", "private")], "no")));
    assert_eq!(first.await.unwrap().unwrap().status, 403);
    let both = [bench.get_at(7, &[]), bench.get_at(7, &[])];
    let asked = [bench.asked().await, bench.asked().await];
    for asked in asked {
        asked.answer(Err(gone()));
    }
    for got in both {
        let got = got.await.unwrap().unwrap();
        assert!(status_of(&got).ends_with("detail=stale-if-error"), "{}", status_of(&got));
    }
}

#[tokio::test]
async fn an_invalidation_reaches_flights_that_nobody_follows() {
    let mut bench = bench();
    let solo = bench.get_at(0, &[("cache-control", "no-cache")]);
    let filling = bench.asked().await;
    let posted = bench.send(bench.request(Method::POST, "/a", 0, &[]));
    bench.asked().await.answer(Ok(response(200, &[], "")));
    posted.await.unwrap().unwrap();
    filling.answer(Ok(response(200, FRESH, "old")));
    assert_eq!(text(solo.await.unwrap().unwrap()).await, "old");
    let got = bench.get();
    bench.asked().await.answer(Ok(response(200, FRESH, "new")));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "new");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_at_any_moment_leaves_nothing_behind() {
    for moment in 0..12 {
        let mut bench = bench();
        let (cache, request) = (bench.cache.clone(), bench.request(Method::GET, "/a", 0, &[]));
        let mut client: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            let mut got = cache.send(request).await.unwrap();
            while let Some(frame) = got.body.frame().await {
                frame.unwrap();
            }
        });
        let origin = tokio::spawn({
            let mut asked = std::mem::replace(&mut bench.asked, mpsc::unbounded_channel().1);
            async move {
                let Some(asked) = asked.recv().await else { return };
                tokio::time::sleep(Duration::from_millis(3)).await;
                let (mut writer, body) = stream(None);
                asked.answer(Ok(response_with(200, FRESH, body)));
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    writer.push("x".into());
                }
                writer.finish(None, None);
            }
        });
        // One poll, then a millisecond for the others, as often as `moment` says.
        for _ in 0..moment {
            let done = std::future::poll_fn(|cx| Poll::Ready(client.as_mut().poll(cx).is_ready())).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            if done {
                break;
            }
        }
        drop(client);
        tokio::time::sleep(Duration::from_millis(20)).await;
        bench.is_idle().await;
        origin.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_that_come_and_go_leave_nothing_behind() {
    let mut bench = bench();
    let mut asked = std::mem::replace(&mut bench.asked, mpsc::unbounded_channel().1);
    tokio::spawn(async move {
        let mut number = 0;
        while let Some(asked) = asked.recv().await {
            number += 1;
            tokio::spawn(async move {
                let (mut writer, body) = stream(None);
                let fields: &[_] = if number % 5 == 0 {
                    &[("cache-control", "private")]
                } else {
                    &[("cache-control", "max-age=0, stale-while-revalidate=1"), ("vary", "x-kind")]
                };
                match number % 7 {
                    0 => return asked.answer(Err(gone())),
                    1 => tokio::task::yield_now().await,
                    _ => {}
                }
                asked.answer(Ok(response_with(200, fields, body)));
                for _ in 0..number % 3 {
                    tokio::task::yield_now().await;
                    writer.push("chunk".into());
                }
                if number % 11 != 0 {
                    writer.finish(None, None);
                }
            });
        }
    });
    let mut clients = Vec::new();
    for n in 0..3000_u64 {
        let request = bench.request(
            Method::GET,
            ["/a", "/b", "/c"][n as usize % 3],
            0,
            &[("x-kind", ["1", "2"][n as usize % 2])],
        );
        let cache = bench.cache.clone();
        clients.push(tokio::spawn(async move {
            let client = async {
                if let Ok(got) = cache.send(request).await {
                    let _ = got.into_body().collect().await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_micros(n * 7919 % 3000), client).await;
        }));
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(30), async {
        while !bench.store.flights().is_empty() || bench.alive.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("flights and requests to the origin end when their clients have gone");
}
