//! The origin: it serves [`Thing`]s, takes uploads, talks on tunnels, and fails where it is to.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::things::{Area, Framing, Pace, Thing, Varies, hash, now};
use crate::support::message::{Kind, Message, Reader};
use crate::support::serve;

/// Serves for as long as the test runs.
pub async fn start() -> SocketAddr {
    serve(|stream| async move {
        // A connection that is cut is the gateway's to judge.
        let _ = converse(stream).await;
    })
    .await
}

type Io<T> = std::io::Result<T>;

async fn converse(mut stream: TcpStream) -> Io<()> {
    let mut reader = Reader::default();
    // The head alone, whatever its framing says: some are answered before their bodies come.
    while let Some(request) = reader.message(&mut stream, Kind::HeadResponse).await {
        let path = request.target().split('?').next().unwrap_or_default().to_owned();
        let mut segments = path.trim_start_matches('/').split('/');
        let (first, id) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        let id = id.parse().unwrap_or_default();
        let goes_on = match first {
            "up" | "once" => upload(&mut stream, &mut reader, &request, first == "once").await?,
            "early" => early(&mut stream, &mut reader, &request, id).await?,
            "chat" => return chat(stream, reader).await,
            "events" => events(&mut stream, id).await?,
            _ => match Area::ALL.into_iter().find(|area| area.as_str() == first) {
                Some(area) => thing(&mut stream, &Thing::at(area, id), &request).await?,
                None => return stream.write_all(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").await,
            },
        };
        if !goes_on {
            // What was not read would make the end a reset, and lose the answer.
            let _ = stream.shutdown().await;
            let _ = tokio::time::timeout(Duration::from_secs(1), reader.rest(&mut stream)).await;
            return Ok(());
        }
    }
    Ok(())
}

/// A cookie's value.
pub fn user(request: &Message) -> String {
    let cookie = request.field("cookie").unwrap_or_default();
    cookie.strip_prefix("user=").unwrap_or("nobody").to_owned()
}

fn variant(thing: &Thing, request: &Message) -> String {
    match thing.varies {
        Varies::Never => String::new(),
        Varies::Lang => request.field("x-lang").unwrap_or("none").to_owned(),
        Varies::User => user(request),
        Varies::Coding => {
            let taken = request.field("accept-encoding").unwrap_or_default();
            if taken.contains("gzip") { "gzip".to_owned() } else { "plain".to_owned() }
        }
    }
}

/// The part of a body that is asked for, if one is and it has it.
fn part(thing: &Thing, request: &Message, tag: Option<&str>, length: usize) -> Option<(usize, usize)> {
    if !thing.area.has_ranges() || thing.status != 200 {
        return None;
    }
    if request.field("if-range").is_some_and(|wanted| Some(wanted) != tag || wanted.starts_with("W/")) {
        return None;
    }
    let (first, last) = request.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.min(length.checked_sub(1)?)),
        (Ok(first), Err(_)) if last.is_empty() => (first, length.checked_sub(1)?),
        (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length.checked_sub(1)?),
        _ => return None,
    };
    (first <= last && last < length).then_some((first, last))
}

/// How an answer goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Reset,
    Cut,
    Status(u16),
    Stall,
    Garbage,
}

fn fault(area: Area) -> Option<Fault> {
    let faults = [
        Fault::Reset,
        Fault::Cut,
        Fault::Cut,
        Fault::Status(503),
        Fault::Status(500),
        Fault::Stall,
        Fault::Garbage,
    ];
    (area.fails() && fastrand::u8(..4) == 0).then(|| *fastrand::choice(&faults).unwrap())
}

/// Answers; false where the connection is over.
async fn thing(stream: &mut TcpStream, thing: &Thing, request: &Message) -> Io<bool> {
    let fault = fault(thing.area);
    match fault {
        Some(Fault::Reset) => return stream.set_zero_linger().map(|()| false),
        Some(Fault::Stall) => {
            sleep(Duration::from_millis(1500)).await;
            return Ok(false);
        }
        Some(Fault::Garbage) => {
            return stream.write_all(b"HTTP/1.1 2x0 ?\r\n\0: \r\n\r\n").await.map(|()| false);
        }
        Some(Fault::Status(status)) => {
            let answer = format!("HTTP/1.1 {status} Oh\r\nx-failed: yes\r\ncontent-length: 2\r\n\r\nno");
            let length = if request.method() == "HEAD" { answer.len() - 2 } else { answer.len() };
            return stream.write_all(&answer.as_bytes()[..length]).await.map(|()| true);
        }
        Some(Fault::Cut) | None => {}
    }
    if let Pace::Late(by) = thing.pace {
        sleep(Duration::from_millis(by)).await;
    }
    let (version, variant) = (thing.version(now()), variant(thing, request));
    let tag = thing.etag(version, &variant);
    let mut body = thing.body(version, &variant);
    let bare = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let matches = request
        .field("if-none-match")
        .zip(tag.as_deref())
        .is_some_and(|(wanted, tag)| wanted.split(',').any(|wanted| bare(wanted.trim()) == bare(tag)));
    let mut status = if matches && thing.status == 200 { 304 } else { thing.status };
    let mut head = String::new();
    if status == 200
        && let Some((first, last)) = part(thing, request, tag.as_deref(), body.len())
    {
        status = 206;
        head.push_str(&format!("content-range: bytes {first}-{last}/{}\r\n", body.len()));
        body = body[first..=last].to_vec();
    }
    head.push_str(&fields(thing, version, &variant, tag.as_deref()));
    if thing.hints {
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </style>; rel=preload\r\n\r\n").await?;
    }
    let bodiless = request.method() == "HEAD" || matches!(status, 204 | 304);
    let framing = match thing.framing {
        // RFC 9112 §6.3: neither has a body to be framed.
        _ if matches!(status, 204 | 304) => String::new(),
        Framing::Length => format!("content-length: {}\r\n", body.len()),
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::Close => "connection: close\r\n".to_owned(),
    };
    stream.write_all(format!("HTTP/1.1 {status} Whatever\r\n{head}{framing}\r\n").as_bytes()).await?;
    if bodiless {
        return Ok(framing != "connection: close\r\n");
    }
    send(stream, thing, &body, fault.is_some()).await
}

fn fields(thing: &Thing, version: u64, variant: &str, tag: Option<&str>) -> String {
    let (area, id) = (thing.area.as_str(), thing.id);
    let mut head = format!("x-version: {version}\r\nx-of: {area}/{id}/{variant}\r\n");
    head.push_str(&format!("surrogate-key: {area}-{} {area}\r\ncontent-type: text/plain\r\n", id % 4));
    if let Some(control) = thing.control {
        head.push_str(&format!("cache-control: {control}\r\n"));
    }
    if let Some(tag) = tag {
        head.push_str(&format!("etag: {tag}\r\n"));
    }
    match thing.varies {
        Varies::Lang => head.push_str("vary: X-Lang\r\n"),
        Varies::Coding => head.push_str("vary: Accept-Encoding\r\n"),
        Varies::Never | Varies::User => {}
    }
    if variant == "gzip" {
        head.push_str("content-encoding: gzip\r\n");
    }
    if thing.area.has_ranges() {
        head.push_str("accept-ranges: bytes\r\n");
    }
    if thing.sets_cookie {
        head.push_str(&format!("set-cookie: seen={variant}\r\n"));
    }
    if thing.status == 301 {
        head.push_str("location: /elsewhere\r\n");
    }
    head
}

async fn send(stream: &mut TcpStream, thing: &Thing, body: &[u8], is_cut: bool) -> Io<bool> {
    let pieces = match thing.pace {
        Pace::Trickle => 10,
        Pace::Now | Pace::Late(_) => 1 + body.len() / 65_536,
    };
    let size = body.len().div_ceil(pieces).max(1);
    let cut_at = if is_cut { body.len() / 2 } else { usize::MAX };
    let mut sent = 0;
    for piece in body.chunks(size) {
        if sent >= cut_at {
            return if fastrand::bool() { stream.set_zero_linger().map(|()| false) } else { Ok(false) };
        }
        if thing.framing == Framing::Chunked {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&chunk).await?;
        } else {
            stream.write_all(piece).await?;
        }
        sent += piece.len();
        if thing.pace == Pace::Trickle {
            sleep(Duration::from_millis(60)).await;
        }
    }
    if thing.framing == Framing::Chunked {
        if is_cut {
            return Ok(false);
        }
        let end: &[u8] = if thing.trails { b"0\r\nx-end: yes\r\n\r\n" } else { b"0\r\n\r\n" };
        stream.write_all(end).await?;
    }
    Ok(thing.framing != Framing::Close)
}

/// A request's body.
async fn content(stream: &mut TcpStream, reader: &mut Reader, request: &Message) -> Option<Vec<u8>> {
    if let Some(length) = request.field("content-length") {
        return reader.take(stream, length.parse().ok()?).await;
    }
    request.field("transfer-encoding")?;
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(reader.take(stream, 1).await?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        body.extend(reader.take(stream, size).await?);
        reader.take(stream, 2).await?;
        if size == 0 {
            return Some(body);
        }
    }
}

/// Says what came, and counts how often what may come once did.
async fn upload(stream: &mut TcpStream, reader: &mut Reader, request: &Message, once: bool) -> Io<bool> {
    if request.field("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let Some(body) = content(stream, reader, request).await else { return Ok(false) };
    let effect = if once { Rng::new().u64(..) } else { 0 };
    let answer = format!("{} {:x} {effect}", body.len(), hash(&body));
    let head = format!("HTTP/1.1 200 Taken\r\nx-taken: yes\r\ncontent-length: {}\r\n\r\n", answer.len());
    stream.write_all((head + &answer).as_bytes()).await.map(|()| true)
}

/// Refuses an upload before it has come: and closes, or takes all of it.
async fn early(stream: &mut TcpStream, reader: &mut Reader, request: &Message, id: u32) -> Io<bool> {
    let (body, stays) = ("not this", id.is_multiple_of(2));
    let close = if stays { "" } else { "connection: close\r\n" };
    let head =
        format!("HTTP/1.1 403 No\r\nx-taken: no\r\n{close}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await?;
    Ok(stays && content(stream, reader, request).await.is_some())
}

/// Echoes what comes on a tunnel.
async fn chat(mut stream: TcpStream, mut reader: Reader) -> Io<()> {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(switched.as_bytes()).await?;
    if !reader.is_empty() {
        let first = reader.some(&mut stream).await;
        stream.write_all(&first).await?;
    }
    let mut buffer = vec![0; 16_384];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

/// An event stream of half a second.
async fn events(stream: &mut TcpStream, id: u32) -> Io<bool> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for number in 0..10 {
        let event = format!("data: {id} {number}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        sleep(Duration::from_millis(50)).await;
    }
    stream.write_all(b"0\r\n\r\n").await.map(|()| true)
}
