//! Clients by HTTP/1.1, in clear text and over TLS: in turn, pipelined, slow, impatient, uploading, talking.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::Soak;
use super::asks::{Answer, Ask};
use super::things::{hash, pattern};
use crate::support::message::{Kind, Message, Reader};

/// What a session comes to: what was wrong, if anything.
pub type Found = Result<(), String>;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Anything to speak on.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Awaits what must come.
pub async fn bounded<F: Future>(what: &str, future: F) -> Result<F::Output, String> {
    timeout(PATIENCE, future).await.map_err(|_| format!("it hangs: {what}"))
}

/// A connection.
pub struct Connection {
    from: ReadHalf<Box<dyn Io>>,
    to: WriteHalf<Box<dyn Io>>,
    reader: Reader,
}

impl Connection {
    /// On something that is connected.
    pub fn over(io: Box<dyn Io>) -> Self {
        let (from, to) = tokio::io::split(io);
        Self { from, to, reader: Reader::default() }
    }

    async fn write(&mut self, bytes: &[u8]) -> Found {
        // What the other side no longer takes is lost, as the answer will tell.
        let _ = bounded("writing", self.to.write_all(bytes)).await?;
        bounded("writing", self.to.flush()).await.map(|_| ())
    }

    async fn read(&mut self, method: &str) -> Result<Option<Answer>, String> {
        read(&mut self.from, &mut self.reader, method).await
    }
}

/// The next final answer; none where the connection ends instead.
async fn read(
    from: &mut ReadHalf<Box<dyn Io>>,
    reader: &mut Reader,
    method: &str,
) -> Result<Option<Answer>, String> {
    let kind = if method == "HEAD" { Kind::HeadResponse } else { Kind::Response };
    loop {
        let Some(message) = bounded("an answer", reader.message(from, kind)).await? else { return Ok(None) };
        if !matches!(message.status(), 100 | 102..=199) {
            return Ok(Some(answer(message)));
        }
    }
}

fn answer(message: Message) -> Answer {
    let status = message.status();
    let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
    let fields = message.fields.into_iter().map(lower).collect();
    Answer { status, fields, body: message.body, complete: message.complete }
}

fn closes(answer: &Answer) -> bool {
    answer.field("connection").is_some_and(|value| value.contains("close"))
}

/// Asks a number of times, several at once.
pub async fn in_turn(soak: &Soak, rng: &mut Rng, io: Box<dyn Io>, user: u32, at_once: usize) -> Found {
    let mut connection = Connection::over(io);
    let mut tags = HashMap::new();
    for _ in 0..rng.usize(1..20) {
        let asks: Vec<_> = (0..at_once).map(|_| Ask::random(rng, user, &soak.purges, &mut tags)).collect();
        let heads: String = asks.iter().map(Ask::head).collect();
        connection.write(heads.as_bytes()).await?;
        for (number, ask) in asks.iter().enumerate() {
            let Some(answer) = connection.read(ask.method).await? else {
                // What was cut so early that not even a head has come.
                if ask.thing.area.fails() {
                    return Ok(());
                }
                return Err(format!("no answer, {number} of {at_once}: {ask:?}"));
            };
            soak.answered(answer.status);
            ask.judge(&answer, &mut tags)?;
            if closes(&answer) || !answer.complete {
                return Ok(());
            }
        }
        if rng.u8(..4) == 0 {
            sleep(Duration::from_millis(rng.u64(..50))).await;
        }
    }
    Ok(())
}

/// Asks, and leaves before it is answered, or while it is.
pub async fn leave(soak: &Soak, rng: &mut Rng, mut io: Box<dyn Io>, user: u32) -> Found {
    let ask = Ask::random(rng, user, &soak.purges, &mut HashMap::new());
    let head = ask.head();
    let written = if rng.u8(..4) == 0 { rng.usize(..head.len()) } else { head.len() };
    let _ = bounded("writing", io.write_all(&head.as_bytes()[..written])).await?;
    let _ = bounded("writing", io.flush()).await?;
    let mut buffer = vec![0; rng.usize(1..100_000)];
    let wait = Duration::from_millis(rng.u64(..200));
    let _ = timeout(wait, io.read_exact(&mut buffer)).await;
    Ok(())
}

/// Asks, and takes the answer in small pieces.
pub async fn slowly(soak: &Soak, rng: &mut Rng, io: Box<dyn Io>, user: u32) -> Found {
    let mut tags = HashMap::new();
    let mut ask = Ask::random(rng, user, &soak.purges, &mut tags);
    ask.fields.push(("connection", "close".to_owned()));
    let mut connection = Connection::over(io);
    connection.write(ask.head().as_bytes()).await?;
    let (ours, theirs) = tokio::io::duplex(4096);
    let mut slow = tokio::io::split(Box::new(ours) as Box<dyn Io>).0;
    let (trickling, reading) = (trickle(connection.from, theirs, rng.u64(1..20)), async {
        read(&mut slow, &mut connection.reader, ask.method).await
    });
    let ((), answer) = tokio::join!(trickling, reading);
    let Some(answer) = answer? else {
        return if ask.thing.area.fails() { Ok(()) } else { Err(format!("no answer: {ask:?}")) };
    };
    soak.answered(answer.status);
    ask.judge(&answer, &mut tags)
}

/// Passes on what comes, with a few seconds of pauses in all.
async fn trickle(mut from: ReadHalf<Box<dyn Io>>, mut to: DuplexStream, pause: u64) {
    let mut buffer = vec![0; 4096];
    let mut pauses = 0;
    while let Ok(Ok(count @ 1..)) = bounded("more", from.read(&mut buffer)).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        pauses += 1;
        if pauses < 2000 / pause {
            sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// What may be uploaded.
pub fn upload_of(rng: &mut Rng) -> Vec<u8> {
    let length = *rng.choice(&[0, 1, 1000, 20_000, 20_000, 300_000, 1_500_000]).unwrap();
    pattern(rng.u64(..), length)
}

/// Whether what the origin says that it took is what was sent.
pub fn judge_upload(answer: &Answer, body: &[u8], refused: bool) -> Found {
    let told = String::from_utf8_lossy(&answer.body);
    let wanted = format!("{} {:x} ", body.len(), hash(body));
    match answer.status {
        200 if !refused && told.starts_with(&wanted) && answer.complete => Ok(()),
        403 if refused && told == "not this" && answer.complete => Ok(()),
        // The origin resets what it refuses, and the refusal may be lost.
        502 if refused => Ok(()),
        status => Err(format!("{} bytes uploaded: {status} {:?} {told}", body.len(), answer.fields)),
    }
}

/// Uploads, in pieces, while it reads.
pub async fn upload(soak: &Soak, rng: &mut Rng, io: Box<dyn Io>) -> Found {
    let Connection { mut from, mut to, mut reader } = Connection::over(io);
    let mut before = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let body = upload_of(rng);
        let refused = rng.u8(..4) == 0;
        let (chunked, expects) = (rng.bool(), rng.u8(..4) == 0);
        let path = format!("/{}/{}", if refused { "early" } else { "up" }, rng.u32(..8));
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: soak.example\r\n");
        head.push_str(&if chunked {
            "transfer-encoding: chunked\r\n".to_owned()
        } else {
            format!("content-length: {}\r\n", body.len())
        });
        if expects {
            head.push_str("expect: 100-continue\r\n");
        }
        let _ = bounded("writing", to.write_all((head + "\r\n").as_bytes())).await?;
        let _ = bounded("writing", to.flush()).await?;
        if expects {
            let first = bounded("100 or an answer", reader.message(&mut from, Kind::Response)).await?;
            let first =
                first.ok_or_else(|| format!("no answer to an expectation: {path}, after {before:?}"))?;
            if first.status() != 100 {
                return judge_upload(&answer(first), &body, refused);
            }
        }
        let size = rng.usize(500..50_000);
        let leaves = rng.u8(..10) == 0;
        let writing = async {
            for piece in body.chunks(size) {
                let piece = if chunked {
                    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
                } else {
                    piece.to_vec()
                };
                if leaves && fastrand::u8(..8) == 0 {
                    return false;
                }
                if to.write_all(&piece).await.is_err() {
                    return true;
                }
            }
            if chunked {
                let _ = to.write_all(b"0\r\n\r\n").await;
            }
            // TLS keeps what the socket did not take at once.
            let _ = to.flush().await;
            true
        };
        let reading = read(&mut from, &mut reader, "POST");
        tokio::pin!(reading);
        let mut written = false;
        let answer = {
            let writing = bounded("uploading", writing);
            tokio::pin!(writing);
            tokio::select! {
                answer = &mut reading => answer?,
                stays = &mut writing => {
                    if !stays? {
                        return Ok(());
                    }
                    written = true;
                    reading.await?
                }
            }
        };
        let answer = answer.ok_or_else(|| {
            format!(
                "no answer to an upload of {} to {path}, chunked: {chunked}, after {before:?}",
                body.len()
            )
        })?;
        soak.answered(answer.status);
        judge_upload(&answer, &body, refused).map_err(|what| format!("{path}: {what}"))?;
        if closes(&answer) || !written || refused {
            return Ok(());
        }
        before.push((path, body.len(), chunked, expects, answer));
    }
    Ok(())
}

/// Sends the same order twice: it takes effect once.
pub async fn twice(soak: &Soak, rng: &mut Rng, io: Box<dyn Io>) -> Found {
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let mut connection = Connection::over(io);
    let key = KEYS.fetch_add(1, Ordering::Relaxed);
    let mut effects = Vec::new();
    for _ in 0..2 {
        let body = pattern(key, 100);
        let head = format!(
            "POST /once/{key} HTTP/1.1\r\nhost: soak.example\r\nidempotency-key: \"{key}\"\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write(&[head.as_bytes(), &body].concat()).await?;
        let answer = connection.read("POST").await?.ok_or("no answer to an order")?;
        soak.answered(answer.status);
        judge_upload(&answer, &body, false)?;
        effects.push(answer.body.clone());
        if closes(&answer) {
            return Ok(());
        }
        sleep(Duration::from_millis(rng.u64(..20))).await;
    }
    if effects[0] == effects[1] { Ok(()) } else { Err(format!("two effects of the order {key}")) }
}

async fn all(to: &mut WriteHalf<Box<dyn Io>>, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Talks on a tunnel.
pub async fn talk(rng: &mut Rng, io: Box<dyn Io>) -> Found {
    let mut connection = Connection::over(io);
    let handshake = "GET /chat HTTP/1.1\r\nhost: soak.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    connection.write(handshake.as_bytes()).await?;
    let switched =
        bounded("a tunnel", connection.reader.message(&mut connection.from, Kind::HeadResponse)).await?;
    let switched = switched.map_or(0, |message| message.status());
    if switched != 101 {
        return Err(format!("no tunnel but {switched}"));
    }
    for _ in 0..rng.usize(..20) {
        let said = pattern(rng.u64(..), rng.usize(1..30_000));
        let Connection { from, to, reader } = &mut connection;
        let talking = async { tokio::join!(all(to, &said), reader.take(from, said.len())) };
        let (_, heard) = bounded("an echo", talking).await?;
        if heard.as_ref() != Some(&said) {
            return Err(format!("an echo of {} bytes: {:?}", said.len(), heard.map(|heard| heard.len())));
        }
        sleep(Duration::from_millis(rng.u64(..100))).await;
    }
    Ok(())
}

/// Listens to events.
pub async fn listen(rng: &mut Rng, io: Box<dyn Io>) -> Found {
    let mut connection = Connection::over(io);
    let id = rng.u32(..1000);
    connection.write(format!("GET /events/{id} HTTP/1.1\r\nhost: soak.example\r\n\r\n").as_bytes()).await?;
    let answer = connection.read("GET").await?.ok_or("no events")?;
    let wanted: String = (0..10).map(|number| format!("data: {id} {number}\n\n")).collect();
    if answer.complete && answer.body == wanted.as_bytes() {
        Ok(())
    } else {
        Err(format!("other events: {answer:?}"))
    }
}
