//! An HTTP/2 client that a test drives stream by stream, flow control included.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::within;

/// One connection.
#[derive(Debug)]
pub struct H2 {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl H2 {
    /// Connects in clear text, by prior knowledge (RFC 9113 §3.3).
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(within("a connection", TcpStream::connect(address)).await.unwrap()).await
    }

    /// Begins on a connection that is there.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (send, connection) = within("a handshake", h2::client::handshake(io)).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Sends a request without content; the response may wait.
    pub async fn begin(&mut self, url: &str) -> ResponseFuture {
        let request = Request::get(url).body(()).unwrap();
        let mut ready = within("a stream", self.send.clone().ready()).await.unwrap();
        ready.send_request(request, true).unwrap().0
    }

    /// One GET.
    pub async fn get(&mut self, url: &str) -> Answer {
        let response = self.begin(url).await;
        Self::finish(response).await
    }

    /// One HEAD: what is answered, and whether its head was the end of it.
    pub async fn head(&mut self, url: &str) -> (Response<()>, bool) {
        let request = Request::head(url).body(()).unwrap();
        let mut ready = within("a stream", self.send.clone().ready()).await.unwrap();
        let response = within("a response", ready.send_request(request, true).unwrap().0).await.unwrap();
        let (head, mut body) = response.into_parts();
        let ended = body.is_end_stream() && body.data().await.is_none();
        (Response::from_parts(head, ()), ended)
    }

    /// Reads a response to its end.
    pub async fn finish(response: ResponseFuture) -> Answer {
        let response = within("a response", response).await.unwrap();
        let (head, mut stream) = response.into_parts();
        let mut body = Vec::new();
        while let Some(data) = within("a body", stream.data()).await {
            let data = data.unwrap();
            stream.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
        }
        Answer { status: head.status.as_u16(), body }
    }

    /// One GET, whose response may end before its end: `Err` is what had come of it by then, where at least
    /// its head had.
    pub async fn try_get(&mut self, url: &str) -> Result<Answer, Option<Answer>> {
        let response = self.begin(url).await;
        let response = within("a response", response).await.map_err(|_| None)?;
        let (head, mut stream) = response.into_parts();
        let mut answer = Answer { status: head.status.as_u16(), body: Vec::new() };
        while let Some(data) = within("a body", stream.data()).await {
            let Ok(data) = data else { return Err(Some(answer)) };
            let _ = stream.flow_control().release_capacity(data.len());
            answer.body.extend_from_slice(&data);
        }
        Ok(answer)
    }

    /// Ends the connection at once, as a process that dies does.
    pub fn cut(self) {
        self.connection.abort();
    }

    /// Waits until the other side has ended the connection, and says whether it did so in good order.
    pub async fn ended(self) -> Result<(), h2::Error> {
        drop(self.send);
        within("the connection's end", self.connection).await.unwrap()
    }
}
