//! The demo's client: a GET over a fresh or kept connection, timed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::clock;

/// An answer, as far as the tour looks at it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status; 0 when there was no answer.
    pub status: u16,
    /// The value of `Cache-Status`.
    pub cache_status: String,
    /// From the request's first byte to the answer's last.
    pub took: Duration,
}

/// A connection to the gateway.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When the gateway is not there.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks for a path and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        let begin = clock::now().instant;
        let request = format!("GET {path} HTTP/1.1\r\nhost: demo\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, cache_status: String::new(), took: Duration::ZERO };
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 || line.trim().is_empty() {
                break;
            }
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().unwrap_or(0),
                Some(("cache-status", value)) => value.trim().clone_into(&mut answer.cache_status),
                _ => {}
            }
        }
        tokio::io::copy(&mut (&mut self.stream).take(length), &mut tokio::io::sink()).await?;
        answer.took = begin.elapsed();
        Ok(answer)
    }
}

/// Asks for a path on a connection of its own.
///
/// # Errors
/// When the connection breaks.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    Client::connect(address).await?.get(path).await
}

/// Asks `times` times at once, each on a connection of its own; all answers, and the time until the last. A
/// `{}` in the path stands for the number of the call.
///
/// # Errors
/// When a connection breaks.
pub async fn at_once(address: SocketAddr, path: &str, times: usize) -> io::Result<(Vec<Answer>, Duration)> {
    let begin = clock::now().instant;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..times {
        let path = path.replace("{}", &number.to_string());
        tasks.spawn(async move { get(address, &path).await });
    }
    let answers = tasks.join_all().await.into_iter().collect::<io::Result<Vec<_>>>()?;
    Ok((answers, begin.elapsed()))
}
