//! Clients by HTTP/2: many streams on a connection, some of which are reset, stalled, or carry uploads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Soak;
use super::asks::{Answer, Ask};
use super::clients::{Found, Io, bounded, judge_upload, upload_of};

/// A number of rounds of streams that go at once.
pub async fn streams(soak: Arc<Soak>, rng: &mut Rng, io: Box<dyn Io>, user: u32) -> Found {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(rng.u32(10_000..500_000));
    let (send, connection) = bounded("a handshake", builder.handshake::<_, Bytes>(io))
        .await?
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let mut found = Ok(());
    for _ in 0..rng.usize(1..6) {
        let mut streams = JoinSet::new();
        for _ in 0..rng.usize(1..30) {
            streams.spawn(stream(Arc::clone(&soak), Rng::with_seed(rng.u64(..)), send.clone(), user));
        }
        while let Some(stream) = streams.join_next().await {
            found = found.and(stream.unwrap());
        }
        if found.is_err() || rng.u8(..10) == 0 {
            // Perhaps with streams that nobody waits for any more.
            break;
        }
    }
    connection.abort();
    found
}

/// Whether the other side ends the connection in good order, so that what was not answered may be sent anew.
fn is_orderly(error: &h2::Error) -> bool {
    (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR))
        || error.reason() == Some(Reason::REFUSED_STREAM)
}

async fn stream(soak: Arc<Soak>, mut rng: Rng, send: SendRequest<Bytes>, user: u32) -> Found {
    let mut send = match bounded("a stream", send.ready()).await? {
        Ok(send) => send,
        Err(error) if is_orderly(&error) => return Ok(()),
        Err(error) => return Err(format!("no stream: {error}")),
    };
    if rng.u8(..6) == 0 {
        return upload(&soak, &mut rng, &mut send).await;
    }
    let mut tags = HashMap::new();
    let ask = Ask::random(&mut rng, user, &soak.purges, &mut tags);
    let uri = format!("http://soak.example{}", ask.thing.path());
    let mut request = Request::builder().method(ask.method).uri(uri);
    for (name, value) in &ask.fields {
        request = request.header(*name, value);
    }
    let (response, mut sending) =
        send.send_request(request.body(()).unwrap(), true).map_err(|error| format!("not sent: {error}"))?;
    drop(send);
    if rng.u8(..12) == 0 {
        sleep(Duration::from_millis(rng.u64(..100))).await;
        sending.send_reset(Reason::CANCEL);
        return Ok(());
    }
    let stalls = rng.u8(..8) == 0;
    match receive(response, stalls, &mut rng).await? {
        Ok(answer) => {
            soak.answered(answer.status);
            ask.judge(&answer, &mut tags)
        }
        Err(error) if is_orderly(&error) || ask.thing.area.fails() => Ok(()),
        Err(error) => Err(format!("{error}: {ask:?}")),
    }
}

type Received = Result<Result<Answer, h2::Error>, String>;

async fn receive(response: ResponseFuture, stalls: bool, rng: &mut Rng) -> Received {
    let response = match bounded("an answer", response).await? {
        Ok(response) => response,
        Err(error) => return Ok(Err(error)),
    };
    let (head, mut body) = response.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut answer = Answer { status: head.status.as_u16(), fields, ..Answer::default() };
    if stalls {
        sleep(Duration::from_millis(rng.u64(..1500))).await;
    }
    match take(&mut body, &mut answer.body).await? {
        Ok(()) => answer.complete = true,
        Err(error) => answer.fields.push(("(error)".to_owned(), error.to_string())),
    }
    Ok(Ok(answer))
}

/// Takes a body.
async fn take(from: &mut RecvStream, body: &mut Vec<u8>) -> Result<Result<(), h2::Error>, String> {
    while let Some(data) = bounded("more of a body", from.data()).await? {
        let data = match data {
            Ok(data) => data,
            Err(error) => return Ok(Err(error)),
        };
        let _ = from.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    Ok(bounded("trailers", from.trailers()).await?.map(|_| ()))
}

async fn upload(soak: &Soak, rng: &mut Rng, send: &mut SendRequest<Bytes>) -> Found {
    let body = upload_of(rng);
    let refused = rng.u8(..4) == 0;
    let path = format!("/{}/{}", if refused { "early" } else { "up" }, rng.u32(..8));
    let mut request = Request::post(format!("http://soak.example{path}"));
    if rng.bool() {
        request = request.header("content-length", body.len());
    }
    let sent = send.send_request(request.body(()).unwrap(), false);
    let (response, sending) = sent.map_err(|error| format!("not sent: {error}"))?;
    let leaves = rng.u8(..10) == 0;
    let writing = tokio::spawn(write(sending, body.clone(), leaves));
    let received = receive(response, false, rng).await?;
    writing.abort();
    match received {
        _ if leaves => Ok(()),
        Ok(answer) => {
            soak.answered(answer.status);
            judge_upload(&answer, &body, refused)
        }
        Err(error) if is_orderly(&error) => Ok(()),
        Err(error) => Err(format!("{error}: an upload of {} to {path}", body.len())),
    }
}

async fn write(mut to: SendStream<Bytes>, body: Vec<u8>, leaves: bool) {
    let mut body = Bytes::from(body);
    while !body.is_empty() {
        to.reserve_capacity(body.len().min(30_000));
        let Some(Ok(room)) = std::future::poll_fn(|cx| to.poll_capacity(cx)).await else { return };
        if leaves && fastrand::u8(..4) == 0 {
            return to.send_reset(Reason::CANCEL);
        }
        if room > 0 && to.send_data(body.split_to(room.min(body.len())), false).is_err() {
            return;
        }
    }
    let _ = to.send_data(Bytes::new(), true);
}
