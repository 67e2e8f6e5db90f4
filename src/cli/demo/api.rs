//! The demo's slow API: everything that makes an API worth a gateway, on a loopback port.
//!
//! It is a few lines over a socket and no product code, so that what the tour measures is the gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long a slow call takes.
pub const SLOW: Duration = Duration::from_millis(800);

/// How many calls `/busy` can serve at once; one more and all fail.
pub const CAPACITY: u32 = 4;

/// How long a call of `/busy` takes.
const BUSY: Duration = Duration::from_millis(50);

/// The API, until it is stopped.
#[derive(Debug)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has seen.
    pub seen: Arc<Seen>,
    stop: CancellationToken,
}

/// Counts of what the API has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests in all.
    pub requests: AtomicU32,
    /// The most at once at `/busy`.
    pub busiest: AtomicU32,
    busy: AtomicU32,
    flaky: AtomicU32,
}

impl Seen {
    /// Requests so far.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Api {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (seen, stop) = (Arc::<Seen>::default(), CancellationToken::new());
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(listener, seen.clone(), stop.clone())));
        Ok(Self { address, seen, stop })
    }

    /// Stops it: connections are cut, new ones refused.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, stop: CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, stop) = (seen.clone(), stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let _ = converse(stream, &seen).await;
        }));
    }
}

/// Answers requests on one connection until the client leaves.
async fn converse(stream: TcpStream, seen: &Seen) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let length = skip_fields(&mut stream).await?;
        tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink()).await?;
        seen.requests.fetch_add(1, Ordering::Relaxed);
        let answer = answer(&path, seen).await;
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// Reads to the end of the header section; says how long the body is.
async fn skip_fields(stream: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            return Ok(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

async fn answer(path: &str, seen: &Seen) -> String {
    let path = path.split('?').next().unwrap_or_default();
    match path {
        "/slow" => {
            tokio::time::sleep(SLOW).await;
            reply(200, "cache-control: no-store\r\n", "a slow answer\n")
        }
        "/report" => {
            tokio::time::sleep(SLOW).await;
            reply(200, "cache-control: max-age=60\r\n", "a report that takes long to make\n")
        }
        "/news" => {
            tokio::time::sleep(SLOW / 4).await;
            reply(200, "cache-control: max-age=1, stale-if-error=600\r\n", "news of the last second\n")
        }
        "/flaky" if !seen.flaky.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) => {
            reply(503, "cache-control: no-store\r\n", "not now\n")
        }
        "/flaky" => reply(200, "cache-control: no-store\r\n", "the third time is lucky\n"),
        "/busy" => busy(seen).await,
        _ => reply(200, "cache-control: no-store\r\n", "hello\n"),
    }
}

async fn busy(seen: &Seen) -> String {
    let at_once = seen.busy.fetch_add(1, Ordering::Relaxed) + 1;
    seen.busiest.fetch_max(at_once, Ordering::Relaxed);
    tokio::time::sleep(BUSY).await;
    seen.busy.fetch_sub(1, Ordering::Relaxed);
    if at_once > CAPACITY {
        reply(500, "cache-control: no-store\r\n", "too many at once\n")
    } else {
        reply(200, "cache-control: no-store\r\n", "done\n")
    }
}

fn reply(status: u16, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\n{fields}content-length: {length}\r\n\r\n{body}"
    )
}
