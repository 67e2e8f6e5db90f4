//! An origin that does what a test tells it, and remembers what it was asked.
//!
//! A script is a function from a request to a [`Reply`]: bytes to write, with points in between where it
//! waits for a [`Gate`], stalls for good, or cuts the connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::message::{Kind, Message, Reader};
use super::within;

/// A request and the connection it came on.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request.
    pub request: Message,
    /// Connections are counted from 0, in the order they were accepted.
    pub connection: usize,
}

/// The origin; it stops when dropped, connections and all.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Origin {
    /// Listens on a free port and answers as the script says; the number is how many requests came before.
    pub async fn start(script: impl Fn(&Message, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// The same, on a listener that is there.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&Message, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let changed = Arc::new(Notify::new());
        let script = Arc::new(script);
        let task = tokio::spawn({
            let (asked, changed) = (asked.clone(), changed.clone());
            async move {
                // Aborted with this task when the origin is dropped.
                let mut connections = tokio::task::JoinSet::new();
                for connection in 0.. {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    let (asked, changed, script) = (asked.clone(), changed.clone(), script.clone());
                    let script = move |message: &Message, before| script(message, before);
                    connections.spawn(converse(stream, connection, asked, changed, script));
                }
            }
        });
        Self { address, asked, changed, task }
    }

    /// An origin that answers everything the same.
    pub async fn always(reply: Reply) -> Self {
        Self::start(move |_, _| reply.clone()).await
    }

    /// What it was asked so far, requests that ended before their end included.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until it was asked `count` times.
    pub async fn wait_for(&self, count: usize) -> Vec<Asked> {
        within(&format!("{count} requests at the origin"), async {
            loop {
                let changed = self.changed.notified();
                let asked = self.asked();
                if asked.len() >= count {
                    return asked;
                }
                changed.await;
            }
        })
        .await
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on a free port and serves each connection as the test does it, for as long as the test runs.
pub async fn serve<F: Future<Output = ()> + Send + 'static>(
    connection: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream));
        }
    });
    address
}

async fn converse(
    mut stream: TcpStream,
    connection: usize,
    asked: Arc<Mutex<Vec<Asked>>>,
    changed: Arc<Notify>,
    script: impl Fn(&Message, usize) -> Reply,
) {
    stream.set_nodelay(true).unwrap();
    let mut reader = Reader::default();
    while let Some(request) = reader.message(&mut stream, Kind::Request).await {
        let complete = request.complete;
        let before = {
            let mut asked = asked.lock().unwrap();
            asked.push(Asked { request: request.clone(), connection });
            asked.len() - 1
        };
        changed.notify_waiters();
        if !complete || !script(&request, before).play(&mut stream).await {
            return;
        }
    }
}

/// Something a reply waits for, opened by the test.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn pass(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// What the origin does about a request.
#[derive(Clone, Debug, Default)]
pub struct Reply(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Trickle(Vec<u8>, Duration),
    Wait(Gate),
    Think(Duration),
    Stall,
    Close,
    Reset,
}

impl Reply {
    /// Exactly these bytes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self(vec![Step::Write(bytes.into())])
    }

    /// A response with fields and a body whose length is given.
    pub fn new(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = head(status, fields, &format!("content-length: {}\r\n", body.len()));
        bytes.extend_from_slice(body);
        Self::raw(bytes)
    }

    /// 200 and a body.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new(200, &[], body)
    }

    /// A response in chunks.
    pub fn chunked(status: u16, fields: &[(&str, &str)], chunks: &[&str]) -> Self {
        let mut bytes = head(status, fields, "transfer-encoding: chunked\r\n");
        for chunk in chunks {
            bytes.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        Self::raw(bytes)
    }

    /// Waits for a gate before anything else.
    pub fn after(mut self, gate: &Gate) -> Self {
        self.0.insert(0, Step::Wait(gate.clone()));
        self
    }

    /// Thinks for so long before anything else.
    pub fn late(mut self, by: Duration) -> Self {
        self.0.insert(0, Step::Think(by));
        self
    }

    /// Waits for a gate after `bytes` bytes.
    pub fn pause_after(self, bytes: usize, gate: &Gate) -> Self {
        self.split(bytes, vec![Step::Wait(gate.clone())], true)
    }

    /// Writes `bytes` bytes, then closes the connection in good order (FIN).
    pub fn cut_after(self, bytes: usize) -> Self {
        self.split(bytes, vec![Step::Close], false)
    }

    /// Writes `bytes` bytes, then resets the connection (RST).
    pub fn reset_after(self, bytes: usize) -> Self {
        self.split(bytes, vec![Step::Reset], false)
    }

    /// Writes `bytes` bytes, then nothing more, for good.
    pub fn stall_after(self, bytes: usize) -> Self {
        self.split(bytes, vec![Step::Stall], false)
    }

    /// Writes `bytes` bytes, and the rest byte by byte with a pause before each.
    pub fn trickle_after(self, bytes: usize, pause: Duration) -> Self {
        let Self(mut steps) = self;
        if let Some(Step::Write(all)) = steps.first_mut() {
            let rest = all.split_off(bytes.min(all.len()));
            steps.insert(1, Step::Trickle(rest, pause));
        }
        Self(steps)
    }

    /// Resets the connection after all of it.
    pub fn then_reset(mut self) -> Self {
        self.0.push(Step::Reset);
        self
    }

    /// Closes the connection after all of it.
    pub fn then_close(mut self) -> Self {
        self.0.push(Step::Close);
        self
    }

    /// How many bytes it writes.
    pub fn len(&self) -> usize {
        self.0.iter().map(|step| if let Step::Write(bytes) = step { bytes.len() } else { 0 }).sum()
    }

    /// Puts `steps` after `bytes` bytes, and what was there behind them if it is `kept`.
    fn split(self, mut bytes: usize, steps: Vec<Step>, kept: bool) -> Self {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for step in self.0 {
            match step {
                Step::Write(mut part) if after.is_empty() => {
                    let rest = part.split_off(bytes.min(part.len()));
                    bytes -= part.len();
                    before.push(Step::Write(part));
                    if !rest.is_empty() {
                        after.push(Step::Write(rest));
                    }
                }
                step if after.is_empty() => before.push(step),
                step => after.push(step),
            }
        }
        before.extend(steps);
        if kept {
            before.append(&mut after);
        }
        Self(before)
    }

    /// Does it; false where the connection is over.
    async fn play(self, stream: &mut TcpStream) -> bool {
        for step in self.0 {
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return false;
                    }
                }
                Step::Trickle(bytes, pause) => {
                    for byte in bytes {
                        tokio::time::sleep(pause).await;
                        if stream.write_all(&[byte]).await.is_err() {
                            return false;
                        }
                    }
                }
                Step::Wait(gate) => gate.pass().await,
                Step::Think(time) => tokio::time::sleep(time).await,
                Step::Stall => {
                    // Until the other side goes.
                    Reader::default().rest(stream).await;
                    return false;
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                    // Reading on to the end keeps this an orderly close: unread data would make it a reset.
                    Reader::default().rest(stream).await;
                    return false;
                }
                Step::Reset => {
                    stream.set_zero_linger().unwrap();
                    return false;
                }
            }
        }
        true
    }
}

fn head(status: u16, fields: &[(&str, &str)], framing: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Some Reason\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(framing);
    head.push_str("\r\n");
    head.into_bytes()
}

#[tokio::test]
async fn the_origin_does_as_it_is_told() {
    use super::Client;

    let gate = Gate::new();
    let script = {
        let gate = gate.clone();
        move |request: &Message, before: usize| match (request.target(), before) {
            ("/gate", _) => Reply::ok("passed").after(&gate),
            ("/cut", _) => Reply::ok("0123456789").cut_after(Reply::ok("0123456789").len() - 5),
            ("/reset", _) => Reply::ok("never").reset_after(0),
            (_, count) => Reply::new(201, &[("x-count", &count.to_string())], &request.body),
        }
    };
    let origin = Origin::start(script).await;
    let mut client = Client::connect(origin.address).await;
    client.write("POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text(), response.field("x-count")), (201, "abc", Some("0")));

    client.write("GET /gate HTTP/1.1\r\n\r\n").await;
    assert_eq!(origin.wait_for(2).await[1].connection, 0);
    gate.open();
    assert_eq!(client.response().await.text(), "passed");

    client.write("GET /cut HTTP/1.1\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.text(), response.complete), ("01234", false));

    let mut other = Client::connect(origin.address).await;
    other.write("GET /reset HTTP/1.1\r\n\r\n").await;
    assert!(other.rest().await.is_empty());
    assert_eq!(origin.asked()[3].connection, 1);
}
