//! Against real sockets: an origin whose every byte the test writes.

mod faults;
mod http1;
mod http2;
mod secure;
mod stress;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower_service::Service;

use crate::error::{Error, UpstreamError, UpstreamErrorKind as Kind};
use crate::http::{Request, RequestBody, Response, testing};
use crate::metrics::Metrics;
use crate::report::{Path, Report};
use crate::units::Time;

use super::config::{EndpointConfig, EndpointsConfig, HealthConfig};
use super::plan::plan;
use super::{Balance, Upstream};

/// Nothing in these tests takes this long: it ends those that hang.
const HUNG: Duration = Duration::from_secs(20);

/// An origin that does what the test says.
struct Origin(TcpListener);

impl Origin {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = timeout(HUNG, self.0.accept()).await.expect("nobody connects").unwrap();
        Peer { stream, read: Vec::new() }
    }

    /// Accepts a connection, reads a request head, and writes an answer.
    async fn answer(&self, answer: &str) -> Peer {
        let mut peer = self.accept().await;
        peer.head().await;
        peer.write(answer).await;
        peer
    }

    /// Whether nobody has connected.
    async fn is_unasked(&self) -> bool {
        timeout(Duration::from_millis(50), self.0.accept()).await.is_err()
    }
}

/// The origin's end of a connection.
struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    /// Reads up to the end of a request head, and returns it in lower case.
    async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await.to_ascii_lowercase()
    }

    /// Reads up to `end`.
    async fn until(&mut self, end: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some(at) = text.find(end) {
                self.read.drain(..at + end.len());
                return text[..at + end.len()].to_owned();
            }
            let read = timeout(HUNG, self.stream.read_buf(&mut self.read)).await.expect("nothing comes");
            assert_ne!(read.unwrap(), 0, "closed after {text:?}");
        }
    }

    async fn write(&mut self, text: impl AsRef<[u8]>) {
        // A gateway that has seen enough closes while we write: that is its right.
        let _ = self.stream.write_all(text.as_ref()).await;
    }

    /// Waits until the gateway closes the connection, in order or not.
    async fn closed(mut self) {
        let mut rest = Vec::new();
        let _ = timeout(HUNG, self.stream.read_to_end(&mut rest)).await.expect("still open");
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(urls: &[String]) -> EndpointsConfig {
    EndpointsConfig {
        endpoints: urls.iter().cloned().map(EndpointConfig::Url).collect(),
        ..EndpointsConfig::default()
    }
}

/// Probes as often as may be.
fn probing() -> HealthConfig {
    HealthConfig { interval: Time::millis(50), ..HealthConfig::default() }
}

fn build(config: &EndpointsConfig) -> Balance {
    build_with(config, &Metrics::default())
}

fn build_with(config: &EndpointsConfig, metrics: &Metrics) -> Balance {
    let mut report = Report::new();
    let plan = plan(config, &Path::root(), &mut report);
    assert!(report.problems().is_empty(), "{:?}", report.problems());
    Balance(Upstream::build("test", &plan, metrics).unwrap())
}

fn to(origin: &Origin) -> Balance {
    build(&config(&[origin.url()]))
}

fn get() -> Request {
    testing::request(Method::GET, RequestBody::Empty)
}

fn post(body: &'static str) -> Request {
    testing::request(Method::POST, RequestBody::Full(Bytes::from_static(body.as_bytes())))
}

async fn send(balance: &Balance, request: Request) -> Result<Response, Error> {
    let mut service = balance;
    timeout(HUNG, service.call(request)).await.expect("no answer")
}

/// Sends, and reads the whole answer.
async fn text(balance: &Balance, request: Request) -> Result<(u16, String), Error> {
    let response = send(balance, request).await?;
    let status = response.status.as_u16();
    let body = timeout(HUNG, response.into_body().collect()).await.expect("the body does not end")?;
    Ok((status, String::from_utf8(body.to_bytes().to_vec()).unwrap()))
}

fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> UpstreamError {
    match result {
        Err(Error::Upstream(error)) => error,
        other => panic!("no failure of the upstream: {other:?}"),
    }
}

/// Waits until no request is under way and every open connection is idle; returns how many there are.
async fn settled(balance: &Balance) -> usize {
    timeout(HUNG, async {
        loop {
            let status = balance.0.endpoints_status();
            if status.iter().all(|endpoint| endpoint.in_flight == 0 && endpoint.connections == endpoint.idle)
            {
                return status.iter().map(|endpoint| endpoint.idle).sum();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("leaked: {:?}", balance.0.endpoints_status()))
}

/// Waits until so many connections are open, all idle.
async fn settled_at(balance: &Balance, connections: usize) -> usize {
    loop {
        let now = settled(balance).await;
        if now == connections {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The value of a metric's line, by its labels.
fn metric(metrics: &Metrics, line: &str) -> Option<f64> {
    let text = metrics.render();
    let found = text.lines().find_map(|candidate| candidate.strip_prefix(line))?;
    found.trim().parse().ok()
}
