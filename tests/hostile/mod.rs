//! Hostile clients: raw bytes in, raw bytes out, one rule of an RFC a case.
//!
//! A [`Case`] says what is sent, which answers are right, whether the connection must end, and what the
//! origin may have seen: exactly these requests and no other. After each one, a new connection is still
//! served. What the gateway adds to a request of its own accord is left out of what was seen if it has the
//! value it must have; so a forged `X-Forwarded-For` that gets through shows.

/// A GET of `/` for the host `a`, with more fields.
macro_rules! get {
    ($fields:literal) => {
        concat!("GET / HTTP/1.1\r\nhost: a\r\n", $fields, "\r\n\r\n").as_bytes()
    };
}

/// A POST to `/` for the host `a`, with fields that frame its body, and the body.
macro_rules! post {
    ($fields:literal, $body:literal) => {
        concat!("POST / HTTP/1.1\r\nhost: a\r\n", $fields, "\r\n\r\n", $body).as_bytes()
    };
}

/// A chunked POST that breaks off.
macro_rules! chunked {
    ($body:literal) => {
        concat!("POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", $body).as_bytes()
    };
}

/// A GET of this target.
macro_rules! target {
    ($target:literal) => {
        concat!("GET ", $target, " HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()
    };
}

/// A GET of `/` for this host.
macro_rules! host {
    ($host:literal) => {
        concat!("GET / HTTP/1.1\r\nhost: ", $host, "\r\n\r\n").as_bytes()
    };
}

mod answers;
mod blocks;
mod bombs;
mod cache;
mod chunks;
mod fields;
mod floods;
pub mod frames;
mod framing;
mod http2;
mod limits;
mod semantics;
mod target;
mod trailers;
mod uploads;

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply, get};

/// How long an answer or the end of a connection may take: more than any timeout of [`config`].
const SOON: Duration = Duration::from_secs(8);

/// One thing a client may try.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Where the rule is, like `9112 §6.3`.
    clause: &'static str,
    send: &'static [u8],
    /// The statuses of answers before the last one, interim ones included.
    first: &'static [u16],
    /// The last answer has one of these; 0 is the connection's end without an answer.
    last: &'static [u16],
    end: End,
    seen: Seen,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It ends, and nothing comes after the answer.
    Closed,
    /// It serves the next request.
    Open,
    /// Either is right.
    Either,
}

/// What the origin may have seen.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// These requests, in the form of [`normal`].
    Exactly(&'static [&'static str]),
    /// At most the beginning of a request, whose path begins with `/cut`.
    Cut,
}

/// Refused for its head: 400, the end, and the origin sees nothing.
const fn refused(name: &'static str, clause: &'static str, send: &'static [u8]) -> Case {
    answered(name, clause, send, &[400])
}

/// Refused for its head with one of these statuses.
const fn answered(
    name: &'static str,
    clause: &'static str,
    send: &'static [u8],
    last: &'static [u16],
) -> Case {
    Case { name, clause, send, first: &[], last, end: End::Closed, seen: Seen::Exactly(&[]) }
}

/// Refused for its body: 400 and the end; the origin may have seen it begin, never end.
const fn cut(name: &'static str, clause: &'static str, send: &'static [u8]) -> Case {
    Case { seen: Seen::Cut, ..refused(name, clause, send) }
}

/// Forwarded as the origin is to see it, and the connection goes on.
const fn passed(
    name: &'static str,
    clause: &'static str,
    send: &'static [u8],
    seen: &'static [&'static str],
) -> Case {
    Case { name, clause, send, first: &[], last: &[200], end: End::Open, seen: Seen::Exactly(seen) }
}

/// Forwarded, and the connection ends.
const fn passed_and_closed(
    name: &'static str,
    clause: &'static str,
    send: &'static [u8],
    seen: &'static [&'static str],
) -> Case {
    Case { end: End::Closed, ..passed(name, clause, send, seen) }
}

/// An origin that answers everything, and a gateway with tight limits before it: its second listener trusts
/// us.
async fn start() -> (Origin, Gateway) {
    let origin = Origin::start(|request, _| match request.method() {
        "HEAD" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        _ => Reply::ok("ok"),
    })
    .await;
    let gateway = Gateway::start(&config(origin.address));
    (origin, gateway)
}

fn config(origin: SocketAddr) -> String {
    let limits = "[server]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\nmax_body = \"64KiB\"\n";
    let trusting = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    Gateway::config(origin, "", "").replace("[server]\n", limits) + trusting
}

/// Tries all cases on one of the gateway's listeners, and says which went wrong.
async fn run(cases: &[Case], listener: usize) {
    let (origin, gateway) = start().await;
    let mut failures = Vec::new();
    for case in cases {
        let result = check(case, gateway.addresses[listener], &origin).await;
        let alive = get(gateway.address, "/alive").await;
        let alive = if alive.text() == "ok" { Ok(()) } else { Err(format!("then not alive: {alive:?}")) };
        if let Err(why) = result.and(alive) {
            let sent = String::from_utf8_lossy(&case.send[..case.send.len().min(200)]);
            failures.push(format!("{} (RFC {}): {why}\n    sent {sent:?}", case.name, case.clause));
        }
    }
    let begun = origin.asked().into_iter().filter(|asked| !asked.request.complete);
    failures.extend(
        begun
            .filter(|asked| !asked.request.target().starts_with("/cut"))
            .map(|asked| format!("began to forward {asked:?}")),
    );
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

async fn check(case: &Case, address: SocketAddr, origin: &Origin) -> Result<(), String> {
    let before = origin.asked().len();
    let mut client = Client::connect(address).await;
    client.write(case.send).await;
    for expected in case.first {
        let status = answer(&mut client, case).await?.status();
        if status != *expected {
            return Err(format!("{status} came before, not {expected}"));
        }
    }
    let last = answer(&mut client, case).await?;
    if !case.last.contains(&last.status()) {
        return Err(format!("answered {:?}, not one of {:?}", last.start, case.last));
    }
    end(&mut client, case).await?;
    let seen: Vec<String> = origin.asked()[before..]
        .iter()
        .filter(|asked| asked.request.complete && asked.request.target() != "/again")
        .map(|asked| normal(&asked.request, origin.address))
        .collect();
    match case.seen {
        Seen::Exactly(expected) if seen == expected => Ok(()),
        Seen::Cut if seen.is_empty() => Ok(()),
        expected => Err(format!("the origin saw {seen:?}, not {expected:?}")),
    }
}

async fn answer(client: &mut Client, case: &Case) -> Result<Message, String> {
    let head = case.send.starts_with(b"HEAD");
    let answer = async { if head { client.head_response().await } else { client.response().await } };
    let answer = tokio::time::timeout(SOON, answer).await;
    answer.map_err(|_| "no answer, and the connection stays open".to_owned())
}

async fn end(client: &mut Client, case: &Case) -> Result<(), String> {
    match case.end {
        End::Either => Ok(()),
        End::Open => {
            client.write("GET /again HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let again = tokio::time::timeout(SOON, client.response()).await.unwrap_or_default();
            if again.status() == 200 { Ok(()) } else { Err(format!("then {again:?} on the connection")) }
        }
        End::Closed => match tokio::time::timeout(SOON, client.rest()).await {
            Ok(rest) if rest.is_empty() => Ok(()),
            Ok(rest) => Err(format!("then {:?}", String::from_utf8_lossy(&rest))),
            Err(_) => Err("the connection stays open".to_owned()),
        },
    }
}

/// A request as a text: method and target, the fields sorted, the body, the trailers; without what the
/// gateway adds.
fn normal(request: &Message, origin: SocketAddr) -> String {
    let host = request.field("host").unwrap_or_default();
    let own = |name: &str, value: &str| match name {
        "via" => ["1.0 forebay", "1.1 forebay", "2 forebay"].contains(&value),
        "x-forwarded-for" => value == "127.0.0.1",
        "x-forwarded-proto" => value == "http",
        "x-forwarded-host" => value == host,
        "x-request-id" => value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "traceparent" => value.len() == 55,
        _ => false,
    };
    let fields = request.fields.iter().filter(|(name, value)| !own(name, value));
    let mut lines: Vec<String> = fields.map(|(name, value)| format!("\n{name}: {value}")).collect();
    lines.sort();
    let start = request.start.strip_suffix(" HTTP/1.1").unwrap_or("not HTTP/1.1");
    let mut text = format!("{start}{}", lines.concat()).replace(&origin.to_string(), "ORIGIN");
    if !request.body.is_empty() {
        text.push_str(&format!("\n\n{}", String::from_utf8_lossy(&request.body)));
    }
    for (name, value) in &request.trailers {
        text.push_str(&format!("\n+{name}: {value}"));
    }
    if request.field("transfer-encoding").is_some() && request.raw.contains(&b';') {
        text.push_str("\nand a chunk extension");
    }
    text
}
