//! Tests of the layer and the writer together: what is in the file after a request has ended, however it did.

use std::collections::BTreeMap;
use std::fs;
use std::future::{Pending as Never, Ready, pending, ready};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Version};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::Value;
use tower_service::Service;

use crate::clock::Wall;
use crate::error::{Error, InternalError, UpstreamError, UpstreamErrorKind};
use crate::http::trail::Notes;
use crate::http::{Body, Chunks, End, Request, RequestBody, RequestId, Response, Scheme, Trail, testing};
use crate::layers::{Either, Inner};
use crate::metrics::Metrics;

use super::config::Format;
use super::plan::{Destination, LogPlan};
use super::sink::Sink;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn request(method: Method, path: &str) -> Request {
    let mut request = testing::request(method, RequestBody::Empty);
    request.target.scheme = Scheme::Https;
    request.target.path_and_query = path.parse().unwrap();
    request.headers.insert("user-agent", HeaderValue::from_static("test/1"));
    request.trail = Trail::off();
    request
}

/// Answers with what it makes of a request, or never.
struct Stub<F>(F);

impl<F> Inner for Stub<F>
where
    F: Fn(Request) -> Option<Result<Response, Error>> + Send + Sync + 'static,
{
    type Future<'a> = <&'a Self as Service<Request>>::Future;

    fn send(&self, request: Request) -> Self::Future<'_> {
        let mut service = self;
        service.call(request)
    }
}

impl<F> Service<Request> for &Stub<F>
where
    F: Fn(Request) -> Option<Result<Response, Error>>,
{
    type Response = Response;
    type Error = Error;
    type Future = Either<Ready<Result<Response, Error>>, Never<Result<Response, Error>>>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        match (self.0)(request) {
            Some(answer) => Either::Left { future: ready(answer) },
            None => Either::Right { future: pending() },
        }
    }
}

/// A log in a folder of its own.
struct Fixture {
    folder: tempfile::TempDir,
    metrics: Metrics,
    writer: LogWriter,
}

impl Fixture {
    fn new(format: Format, queue: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::default();
        let path = folder.path().join("access.log");
        let writer = LogWriter::start(&file_plan(path, format, queue), &metrics).unwrap().unwrap();
        Self { folder, metrics, writer }
    }

    fn json() -> Self {
        Self::new(Format::Json, 1000)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn layer<F>(&self, inner: F) -> AccessLog<Stub<F>>
    where
        F: Fn(Request) -> Option<Result<Response, Error>>,
    {
        AccessLog::new("r", Some("u"), Some(self.writer.clone()), &self.metrics, Stub(inner))
    }

    /// All lines, once the writer has finished.
    fn lines(&self) -> Vec<String> {
        assert!(self.writer.shutdown(PATIENCE), "the writer did not finish");
        lines_of(&self.path())
    }

    /// The one line there is, as JSON.
    fn line(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        serde_json::from_str(&lines[0]).unwrap()
    }

    fn counted(&self, sample: &str) -> String {
        let text = self.metrics.render();
        let found = text.lines().find_map(|line| line.strip_prefix(sample)).map(str::trim);
        found.unwrap_or_else(|| panic!("no {sample} in\n{text}")).to_owned()
    }

    fn dropped(&self) -> u64 {
        self.counted("forebay_access_log_dropped_total ").parse().unwrap()
    }
}

fn file_plan(path: PathBuf, format: Format, queue: u32) -> LogPlan {
    LogPlan { destination: Destination::File(path), format, queue }
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn streaming() -> Body {
    let chunks: Arc<[Bytes]> = ["ab", "cde"].map(Bytes::from).into();
    Body::chunks(Chunks::new(chunks, 0, 5))
}

fn ok(body: Body) -> Option<Result<Response, Error>> {
    Some(Ok(Response::new(StatusCode::OK, body)))
}

#[tokio::test]
async fn a_response_in_memory_is_recorded_at_once() {
    let log = Fixture::json();
    let layer = log.layer(|_| ok(Body::full("hello")));
    let response = layer.send(request(Method::GET, "/a?b=c")).await.unwrap();
    let line = log.line();
    drop(response);
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("scheme", "https"),
        ("host", "test.example"),
        ("path", "/a?b=c"),
        ("protocol", "HTTP/1.1"),
        ("route", "r"),
        ("upstream", "u"),
        ("id", "00000000000000000000000000000001"),
        ("user_agent", "test/1"),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &5.into()));
    assert!(line["duration_ms"].as_f64().unwrap() >= line["ttfb_ms"].as_f64().unwrap());
    for name in ["referer", "cache", "attempts", "queue_ms", "error", "outcome", "bytes_received"] {
        assert!(line.get(name).is_none(), "{name} says nothing");
    }
    assert_eq!(log.counted("forebay_requests_total{code=\"200\",method=\"GET\",route=\"r\"}"), "1");
    assert_eq!(log.counted("forebay_request_seconds_count{route=\"r\"}"), "1");
    assert_eq!(log.counted("forebay_response_bytes_total{route=\"r\"}"), "5");
    assert_eq!(log.counted("forebay_requests_in_flight{route=\"r\"}"), "0");
    assert_eq!(log.counted("forebay_access_log_lines_total"), "1");
}

#[tokio::test]
async fn a_streaming_response_is_recorded_at_its_end() {
    let log = Fixture::json();
    let layer = log.layer(|_| ok(streaming()));
    let response = layer.send(request(Method::GET, "/")).await.unwrap();
    assert_eq!(log.counted("forebay_requests_in_flight{route=\"r\"}"), "1");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "abcde");
    let line = log.line();
    assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &5.into()));
    assert!(line.get("outcome").is_none());
    assert_eq!(log.counted("forebay_requests_in_flight{route=\"r\"}"), "0");
}

#[tokio::test]
async fn a_client_that_leaves_while_the_body_streams_is_aborted() {
    for frames in 0..2 {
        let log = Fixture::json();
        let layer = log.layer(|_| ok(streaming()));
        let mut response = layer.send(request(Method::GET, "/")).await.unwrap();
        for _ in 0..frames {
            response.body.frame().await.unwrap().unwrap();
        }
        drop(response);
        let line = log.line();
        assert_eq!(line["outcome"], "aborted");
        assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &(2 * frames).into()));
        assert_eq!(log.counted("forebay_responses_incomplete_total{reason=\"aborted\",route=\"r\"}"), "1");
        assert_eq!(log.counted("forebay_requests_in_flight{route=\"r\"}"), "0");
    }
}

#[tokio::test]
async fn a_body_that_fails_is_recorded_with_the_error() {
    let log = Fixture::json();
    let layer = log.layer(|_| ok(streaming()));
    let mut response = layer.send(request(Method::GET, "/")).await.unwrap();
    let error = Error::Upstream(UpstreamError::sent(UpstreamErrorKind::BodyIncomplete));
    for mut held in response.body.take_held() {
        held.data(3);
        held.ended(End::Failed(&error));
    }
    drop(response);
    let line = log.line();
    assert_eq!((&line["outcome"], &line["error"]), (&"failed".into(), &"response_incomplete".into()));
    assert_eq!(line["bytes"], 3);
    assert_eq!(log.counted("forebay_responses_incomplete_total{reason=\"failed\",route=\"r\"}"), "1");
}

#[tokio::test]
async fn a_record_that_is_let_fall_is_still_made() {
    let log = Fixture::json();
    let layer = log.layer(|_| ok(streaming()));
    let mut response = layer.send(request(Method::GET, "/")).await.unwrap();
    drop(response.body.take_held());
    drop(response);
    assert_eq!(log.line()["outcome"], "aborted");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_499_with_the_notes_so_far() {
    let log = Fixture::json();
    let layer = log.layer(|request| {
        request.trail.note(|notes| notes.cache = Some("miss"));
        None
    });
    let mut future = Box::pin(layer.send(request(Method::POST, "/")));
    assert!(future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    assert_eq!(log.counted("forebay_requests_in_flight{route=\"r\"}"), "1");
    drop(future);
    let line = log.line();
    assert_eq!((&line["status"], &line["outcome"]), (&499.into(), &"aborted".into()));
    assert_eq!(line["cache"], "miss");
    assert!(line.get("ttfb_ms").is_none());
    assert_eq!(log.counted("forebay_requests_total{code=\"499\",method=\"POST\",route=\"r\"}"), "1");
    assert_eq!(log.counted("forebay_requests_in_flight{route=\"r\"}"), "0");
}

#[tokio::test]
async fn an_error_that_nobody_made_a_response_of_is_500() {
    let log = Fixture::json();
    let layer = log.layer(|_| Some(Err(Error::Internal(InternalError::Panicked))));
    assert!(layer.send(request(Method::GET, "/")).await.is_err());
    let line = log.line();
    assert_eq!((&line["status"], &line["error"]), (&500.into(), &"panicked".into()));
    assert_eq!(log.counted("forebay_requests_total{code=\"500\",method=\"GET\",route=\"r\"}"), "1");
}

/// RFC 9110 §9.3.2: the answer to HEAD has no content, so no byte of it is sent and none is missing.
#[tokio::test]
async fn head_is_complete_without_a_byte() {
    for body in [|| Body::full("hello"), streaming] {
        let log = Fixture::json();
        let layer = log.layer(move |_| ok(body()));
        drop(layer.send(request(Method::HEAD, "/")).await.unwrap());
        let line = log.line();
        assert_eq!(line["bytes"], 0);
        assert!(line.get("outcome").is_none(), "{line}");
    }
}

#[tokio::test]
async fn a_request_body_in_memory_is_counted() {
    let log = Fixture::json();
    let layer = log.layer(|_| ok(Body::empty()));
    let mut request = request(Method::POST, "/");
    request.body = RequestBody::Full(Bytes::from_static(b"1234"));
    drop(layer.send(request).await.unwrap());
    assert_eq!(log.line()["bytes_received"], 4);
    assert_eq!(log.counted("forebay_request_bytes_total{route=\"r\"}"), "4");
}

#[tokio::test]
async fn a_request_body_that_streams_is_counted_as_far_as_it_was_read() {
    let log = Fixture::json();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = bodies.clone();
    let layer = log.layer(move |request| {
        kept.lock().unwrap().push(request.into_parts().body);
        None
    });
    let (incoming, mut client) = testing::incoming().await;
    let mut request = request(Method::POST, "/");
    request.body = RequestBody::Incoming(Box::new(incoming));
    let future = layer.send(request);
    let mut body = bodies.lock().unwrap().pop().unwrap();
    for data in ["abc", "de"] {
        client.send(data).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), data);
    }
    drop(future);
    assert_eq!(log.line()["bytes_received"], 5);
    assert_eq!(log.counted("forebay_request_bytes_total{route=\"r\"}"), "5");
}

#[tokio::test]
async fn without_a_log_nothing_is_noted_and_everything_counted() {
    let metrics = Metrics::default();
    let inner = Stub(|request: Request| {
        request.trail.note(|_| panic!("nobody will read it"));
        ok(Body::full("hello"))
    });
    let layer = AccessLog::new("r", None, None, &metrics, inner);
    drop(layer.send(request(Method::GET, "/")).await.unwrap());
    assert!(metrics.render().contains("forebay_requests_total{code=\"200\",method=\"GET\",route=\"r\"} 1\n"));
}

#[tokio::test]
async fn a_text_line_reads_from_left_to_right() {
    let log = Fixture::new(Format::Text, 10);
    let layer = log.layer(|request| {
        request.trail.note(|notes| notes.attempts = 2);
        ok(Body::full("hello"))
    });
    drop(layer.send(request(Method::GET, "/a")).await.unwrap());
    let lines = log.lines();
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert_eq!(time.len(), "2026-03-01T12:00:00.123Z".len());
    let start = "127.0.0.1 \"GET https://test.example/a HTTP/1.1\" 200 5B ";
    assert!(rest.starts_with(start), "{rest}");
    let (duration, rest) = rest[start.len()..].split_once(' ').unwrap();
    assert!(duration.strip_suffix("ms").unwrap().parse::<f64>().is_ok(), "{duration}");
    assert!(rest.starts_with("route=\"r\" upstream=\"u\" id=\"00"), "{rest}");
    assert!(rest.ends_with(" attempts=2"), "{rest}");
}

fn notes() -> impl Strategy<Value = Notes> {
    (any::<[u32; 4]>(), proptest::option::of(any::<String>()), any::<Option<u16>>()).prop_map(
        |([attempts, queue, delayed, upstream], endpoint, upstream_status)| Notes {
            consumer: None,
            cache: Some("hit"),
            cache_reason: Some("fresh"),
            attempts,
            queue_wait: Duration::from_micros(queue.into()),
            priority: Some("normal"),
            delayed: Duration::from_micros(delayed.into()),
            hedge: Some("won"),
            idempotency: Some("first"),
            fallback: Some(("upstream", "status")),
            compress: Some("kept"),
            endpoint: endpoint.map(Arc::from),
            upstream_time: Duration::from_micros(upstream.into()),
            upstream_status,
            error: Some("queue_full"),
            turn_used: false,
        },
    )
}

proptest! {
    #[test]
    fn a_line_is_one_line_and_its_json_says_what_it_was_given(
        [route, method, path] in any::<[String; 3]>(),
        [host, agent] in any::<[Vec<u8>; 2]>(),
        notes in notes(),
        status in any::<u16>(),
        bytes in any::<u64>(),
    ) {
        let asked = Asked {
            time: Wall::from_millis(bytes),
            id: &RequestId::Random(bytes.into()),
            client: "2001:db8::1".parse().unwrap(),
            method: &method,
            scheme: Scheme::Http,
            host: &host,
            path: path.as_bytes(),
            version: Version::HTTP_2,
            route: &route,
            upstream: None,
            user_agent: Some(&agent),
            referer: None,
        };
        let answered = Answered {
            status,
            bytes,
            bytes_received: 0,
            duration: notes.queue_wait,
            ttfb: None,
            outcome: Outcome::Complete,
            notes: &notes,
        };
        for format in [Format::Json, Format::Text] {
            let mut out = Vec::new();
            Line::begin(format, &asked).end(&answered, &mut out);
            let text = String::from_utf8(out).unwrap();
            let line = text.strip_suffix('\n').unwrap();
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            if format == Format::Text {
                continue;
            }
            let json: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
            prop_assert_eq!(&json["route"], &route);
            prop_assert_eq!(&json["method"], &method);
            prop_assert_eq!(&json["path"], &path);
            prop_assert_eq!(&json["host"], &*String::from_utf8_lossy(&host));
            prop_assert_eq!(&json["user_agent"], &*String::from_utf8_lossy(&agent));
            prop_assert_eq!(&json["status"], status);
            prop_assert_eq!(&json["bytes"], bytes);
            prop_assert_eq!(&json["error"], "queue_full");
            prop_assert_eq!(json.get("endpoint").and_then(Value::as_str), notes.endpoint.as_deref());
            let millis = notes.queue_wait.as_micros() as f64 / 1000.0;
            prop_assert_eq!(json["duration_ms"].as_f64(), Some(millis));
        }
    }
}

#[test]
fn the_path_of_a_line_is_bounded() {
    let mut long = request(Method::GET, "/");
    long.target.path_and_query = format!("/{}", "x".repeat(20_000)).parse().unwrap();
    let log = Fixture::json();
    let layer = log.layer(|_| None);
    drop(layer.send(long));
    let path = log.line()["path"].as_str().unwrap().to_owned();
    assert!(path.len() < 4200 && path.ends_with("x…"), "{}", path.len());
}

/// Appends one line to the writer's queue.
fn append(writer: &LogWriter, text: &str) {
    writer.append(|out| {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    });
}

/// Waits for what another thread will make true.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let mut waits = 0..20_000;
    while !is_so() {
        assert!(waits.next().is_some(), "it never came true");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lines_are_written_without_a_shutdown() {
    let log = Fixture::json();
    append(&log.writer, "first");
    wait_until(|| lines_of(&log.path()) == ["first"]);
    append(&log.writer, "second");
    append(&log.writer, "third");
    wait_until(|| lines_of(&log.path()) == ["first", "second", "third"]);
}

#[test]
fn a_shutdown_writes_what_waits_and_later_lines_are_counted_as_dropped() {
    let log = Fixture::json();
    for number in 0..500 {
        append(&log.writer, &number.to_string());
    }
    assert_eq!(log.lines().len(), 500);
    append(&log.writer, "late");
    assert!(log.writer.shutdown(PATIENCE), "a second one is harmless");
    assert_eq!(log.lines().len(), 500);
    assert_eq!(log.dropped(), 1);
}

#[test]
fn the_last_handle_lets_the_writer_finish() {
    let log = Fixture::json();
    append(&log.writer, "line");
    let Fixture { folder, writer, .. } = log;
    drop(writer);
    wait_until(|| lines_of(&folder.path().join("access.log")) == ["line"]);
}

#[test]
fn a_pipe_that_nobody_reads_blocks_nobody_and_lines_beyond_the_queue_are_dropped() {
    const QUEUE: u64 = 100;
    const LINES: u64 = 2000;
    let (reader, pipe) = std::io::pipe().unwrap();
    let file = std::os::fd::OwnedFd::from(pipe).into();
    let metrics = Metrics::default();
    let writer = LogWriter::spawn(Sink::new(file), Format::Json, QUEUE as u32, &metrics).unwrap();
    let dropped = metrics.counter("forebay_access_log_dropped_total", "", &[]);

    // More than a pipe holds (64 KiB by default), in lines that cannot all wait.
    let line = "x".repeat(1023);
    for _ in 0..LINES {
        append(&writer, &line);
    }
    wait_until(|| {
        append(&writer, &line);
        dropped.get() > LINES / 2
    });
    assert!(!writer.shutdown(Duration::from_millis(1)), "it cannot have finished");

    let received =
        thread::spawn(move || BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>());
    assert!(writer.shutdown(PATIENCE));
    let written = metrics.counter("forebay_access_log_lines_total", "", &[]).get();
    drop(writer);
    let received = received.join().unwrap();
    assert_eq!(received.len() as u64, written);
    assert!(received.iter().all(|received| *received == line), "every line is whole");
}

#[test]
fn no_more_lines_wait_than_the_queue_holds() {
    for queue in [1, 7, 64, 1000] {
        let (mut reader, mut pipe) = std::io::pipe().unwrap();
        // The pipe is full before the writer starts, so that nothing leaves the queue.
        let full = std::io::Write::write(&mut pipe, &[b'\n'; 65_536]).unwrap();
        let metrics = Metrics::default();
        let sink = Sink::new(std::os::fd::OwnedFd::from(pipe).into());
        let writer = LogWriter::spawn(sink, Format::Json, queue, &metrics).unwrap();
        // Places that were taken with this line's and not used are free again while it waits to be written.
        append(&writer, "0");
        wait_until(|| writer.has_taken_all());
        for number in 1..3 * queue {
            append(&writer, &number.to_string());
        }
        let dropped = metrics.counter("forebay_access_log_dropped_total", "", &[]).get();
        assert_eq!(dropped, u64::from(2 * queue));
        let reader = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert!(writer.shutdown(PATIENCE));
        drop(writer);
        let text = reader.join().unwrap();
        let expected: String = (0..queue).map(|number| format!("{number}\n")).collect();
        assert_eq!(text[full..], expected);
    }
}

#[test]
fn places_of_the_queue_come_back() {
    let log = Fixture::new(Format::Json, 4);
    let written = log.metrics.counter("forebay_access_log_lines_total", "", &[]);
    for number in 1..=12 {
        append(&log.writer, "line");
        wait_until(|| written.get() == number);
    }
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_full_disk_and_a_closed_pipe_lose_lines_and_nothing_else() {
    let metrics = Metrics::default();
    let plan = file_plan("/dev/full".into(), Format::Json, 100);
    let writer = LogWriter::start(&plan, &metrics).unwrap().unwrap();
    append(&writer, "line");
    assert!(writer.shutdown(PATIENCE));

    let (reader, pipe) = std::io::pipe().unwrap();
    drop(reader);
    let sink = Sink::new(std::os::fd::OwnedFd::from(pipe).into());
    let writer = LogWriter::spawn(sink, Format::Json, 100, &metrics).unwrap();
    append(&writer, "line");
    append(&writer, "line");
    assert!(writer.shutdown(PATIENCE));
    assert_eq!(metrics.counter("forebay_access_log_dropped_total", "", &[]).get(), 3);
    assert_eq!(metrics.counter("forebay_access_log_lines_total", "", &[]).get(), 0);
}

#[test]
fn after_a_rename_and_a_reopen_lines_go_to_the_new_file() {
    let log = Fixture::json();
    let old = log.folder.path().join("access.log.1");
    append(&log.writer, "before");
    wait_until(|| lines_of(&log.path()) == ["before"]);
    fs::rename(log.path(), &old).unwrap();
    append(&log.writer, "between");
    wait_until(|| lines_of(&old) == ["before", "between"]);
    log.writer.reopen();
    append(&log.writer, "after");
    assert_eq!(log.lines(), ["after"]);
    assert_eq!(lines_of(&old), ["before", "between"]);
}

#[test]
fn a_path_that_cannot_be_reopened_keeps_the_old_file() {
    let log = Fixture::json();
    let moved = log.folder.path().join("moved");
    fs::rename(log.path(), &moved).unwrap();
    fs::create_dir(log.path()).unwrap();
    log.writer.reopen();
    append(&log.writer, "line");
    assert!(log.writer.shutdown(PATIENCE));
    assert_eq!(lines_of(&moved), ["line"]);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_and_off_is_none() {
    let metrics = Metrics::default();
    let plan = file_plan("/nowhere/at/all".into(), Format::Json, 1);
    assert!(LogWriter::start(&plan, &metrics).is_err());
    let plan = LogPlan { destination: Destination::Off, ..plan };
    assert!(LogWriter::start(&plan, &metrics).unwrap().is_none());
}

#[test]
fn lines_of_many_threads_are_all_there_whole_and_in_each_threads_order() {
    const THREADS: usize = 8;
    const EACH: usize = 3000;
    let log = Fixture::new(Format::Json, 1 << 20);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let writer = log.writer.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    append(&writer, &format!("{thread} {number}"));
                }
            });
        }
    });
    let mut next = [0; THREADS];
    for line in log.lines() {
        let (thread, number) = line.split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!(next, [EACH; THREADS]);
    assert_eq!(log.dropped(), 0);
}
