//! A client that writes bytes as they are, and reads what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::message::{Kind, Message, Reader};
use super::within;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    reader: Reader,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        // The other side may have reset it already.
        let _ = stream.set_nodelay(true);
        Self { stream, reader: Reader::default() }
    }

    /// Connects, with room for little that was not read.
    pub async fn with_little_room(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = within("a connection", socket.connect(address)).await.unwrap();
        Self { stream, reader: Reader::default() }
    }

    /// Sends bytes; what the other side no longer takes is lost, as the answer will tell.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("room to write", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Says that nothing more will come, and goes on reading.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next so many bytes; `None` where the connection ends before.
    pub async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        within("bytes", self.reader.take(&mut self.stream, count)).await
    }

    /// The next response, interim ones included; an empty message where the connection ends instead.
    pub async fn response(&mut self) -> Message {
        self.read(Kind::Response).await
    }

    /// The response to a HEAD request.
    pub async fn head_response(&mut self) -> Message {
        self.read(Kind::HeadResponse).await
    }

    /// Waits until this text has come, and leaves it to be read.
    pub async fn wait_for(&mut self, text: &str) {
        within(text, self.reader.wait_for(&mut self.stream, text.as_bytes())).await;
    }

    /// Whatever comes until the other side closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the connection's end", self.reader.rest(&mut self.stream)).await
    }

    /// Some of the bytes that come next; none at the connection's end.
    pub async fn some(&mut self) -> Vec<u8> {
        within("bytes", self.reader.some(&mut self.stream)).await
    }

    /// Whether nothing has come that was not read.
    pub async fn is_silent(&mut self) -> bool {
        self.reader.is_empty() && timeout(Duration::ZERO, self.stream.peek(&mut [0])).await.is_err()
    }

    async fn read(&mut self, kind: Kind) -> Message {
        within("a response", self.reader.message(&mut self.stream, kind)).await.unwrap_or_default()
    }
}

/// Whether a connection of which these bytes are sent is closed without an answer; perhaps before it is
/// noticed that it was opened.
pub async fn is_turned_away(address: SocketAddr, bytes: impl AsRef<[u8]>) -> bool {
    let Ok(mut stream) = within("a connection", TcpStream::connect(address)).await else { return true };
    let _ = stream.write_all(bytes.as_ref()).await;
    !matches!(within("the connection's end", stream.read(&mut [0])).await, Ok(1..))
}

/// One GET on a connection of its own, for the host `test.example`.
pub async fn get(address: SocketAddr, target: &str) -> Message {
    ask(address, "GET", target, &[]).await
}

/// One request without a body, with these fields, on a connection of its own, for the host `test.example`.
pub async fn ask(address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)]) -> Message {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut client = Client::connect(address).await;
    client.write(head + "\r\n").await;
    if method == "HEAD" { client.head_response().await } else { client.response().await }
}
