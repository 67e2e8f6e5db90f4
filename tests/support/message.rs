//! HTTP/1.1 messages as bytes: a reader that keeps what it read, for origin and client alike.
//!
//! It is lenient where a test may want to see what came, and panics nowhere: a message that does not hold
//! together is delivered with `complete` unset.

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The request line or status line, without its end.
    pub start: String,
    /// The fields in order, names as they came.
    pub fields: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: Vec<(String, String)>,
    /// Whether it ended as its framing says it does.
    pub complete: bool,
    /// The bytes it was read from.
    pub raw: Vec<u8>,
}

impl Message {
    /// The value of a field; the first where there are more.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// A response's status; 0 for what is none.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// A request's target.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// Which side's rules say where the body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Without framing there is no body.
    Request,
    /// Without framing it ends with the connection.
    Response,
    /// An answer to HEAD: no body whatever the framing says.
    HeadResponse,
}

/// Reads messages one after the other from a stream.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// The next message; `None` where the stream ends before its first byte.
    pub async fn message(&mut self, from: &mut (impl AsyncRead + Unpin), kind: Kind) -> Option<Message> {
        let Some(head) = self.until(from, b"\r\n\r\n").await else {
            let raw = std::mem::take(&mut self.buffer);
            return (!raw.is_empty()).then(|| Message { raw, ..Message::default() });
        };
        let mut message = parse_head(&head);
        message.raw = head;
        let chunked = message
            .field("transfer-encoding")
            .is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked"));
        let length = message.field("content-length").and_then(|length| length.parse::<usize>().ok());
        let bodiless = kind == Kind::Response && matches!(message.status(), 100..=199 | 204 | 304);
        message.complete = match (chunked, length) {
            _ if kind == Kind::HeadResponse || bodiless => true,
            (true, _) => self.chunks(from, &mut message).await,
            (false, Some(length)) => self.counted(from, &mut message, length).await,
            (false, None) if kind == Kind::Request => true,
            (false, None) => {
                while self.fill(from).await {}
                let rest = std::mem::take(&mut self.buffer);
                message.raw.extend_from_slice(&rest);
                message.body = rest;
                true
            }
        };
        Some(message)
    }

    /// Some of the bytes that come next; none at the stream's end.
    pub async fn some(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill(from).await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// Whether all that was read has been taken.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whatever comes until the stream ends.
    pub async fn rest(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        while self.fill(from).await {}
        std::mem::take(&mut self.buffer)
    }

    /// Reads until this text is there, without taking it.
    pub async fn wait_for(&mut self, from: &mut (impl AsyncRead + Unpin), text: &[u8]) {
        while !self.buffer.windows(text.len()).any(|window| window == text) {
            assert!(self.fill(from).await, "the stream ended first");
        }
    }

    /// The next so many bytes; `None` where the stream ends before.
    pub async fn take(&mut self, from: &mut (impl AsyncRead + Unpin), count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count && self.fill(from).await {}
        (self.buffer.len() >= count).then(|| self.buffer.drain(..count).collect())
    }

    async fn counted(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        message: &mut Message,
        length: usize,
    ) -> bool {
        while self.buffer.len() < length && self.fill(from).await {}
        let taken: Vec<u8> = self.buffer.drain(..length.min(self.buffer.len())).collect();
        message.raw.extend_from_slice(&taken);
        message.body.extend_from_slice(&taken);
        taken.len() == length
    }

    async fn chunks(&mut self, from: &mut (impl AsyncRead + Unpin), message: &mut Message) -> bool {
        loop {
            let Some(line) = self.until(from, b"\r\n").await else { return self.spoiled(message) };
            message.raw.extend_from_slice(&line);
            let digits = String::from_utf8_lossy(&line);
            let digits = digits.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(digits, 16) else { return self.spoiled(message) };
            if size == 0 {
                return self.trailers(from, message).await;
            }
            if !self.counted(from, message, size).await {
                return self.spoiled(message);
            }
            let Some(end) = self.until(from, b"\r\n").await else { return self.spoiled(message) };
            message.raw.extend_from_slice(&end);
        }
    }

    async fn trailers(&mut self, from: &mut (impl AsyncRead + Unpin), message: &mut Message) -> bool {
        loop {
            let Some(line) = self.until(from, b"\r\n").await else { return self.spoiled(message) };
            message.raw.extend_from_slice(&line);
            if line == b"\r\n" {
                return true;
            }
            message.trailers.extend(parse_field(&String::from_utf8_lossy(&line)));
        }
    }

    /// Hands over what is left of a message that does not hold together.
    fn spoiled(&mut self, message: &mut Message) -> bool {
        message.raw.append(&mut self.buffer);
        false
    }

    /// Takes everything up to and with `end`.
    async fn until(&mut self, from: &mut (impl AsyncRead + Unpin), end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill(from).await {
                return None;
            }
        }
    }

    /// Reads more; false at the stream's end, a reset included.
    async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> bool {
        if !self.ended {
            self.ended = !matches!(from.read_buf(&mut self.buffer).await, Ok(1..));
        }
        !self.ended
    }
}

fn parse_head(head: &[u8]) -> Message {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    Message { start, fields: lines.filter_map(parse_field).collect(), ..Message::default() }
}

fn parse_field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim_end().split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

#[tokio::test]
async fn messages_are_read_as_they_are_framed() {
    let cases: [(&str, Kind, &str, bool); 9] = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabEXTRA", Kind::Response, "ab", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", Kind::Response, "ab", false),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", Kind::Response, "until the end", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", Kind::Response, "", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", Kind::HeadResponse, "", true),
        ("GET / HTTP/1.1\r\n\r\nnext", Kind::Request, "", true),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: 1\r\n\r\n",
            Kind::Request,
            "abc",
            true,
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", Kind::Response, "ab", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Kind::Response, "", false),
    ];
    for (raw, kind, body, complete) in cases {
        let message = Reader::default().message(&mut raw.as_bytes(), kind).await.unwrap();
        assert_eq!((message.text(), message.complete), (body, complete), "{raw:?}");
    }
    assert!(Reader::default().message(&mut &b""[..], Kind::Response).await.is_none());
}
