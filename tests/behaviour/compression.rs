//! Compression: what clients get, decoded and compared byte for byte (RFC 9110 §8.4, §12.5.3).

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::message::{Message, Reader};
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get, serve, within};

type Fields<'a> = &'a [(&'a str, &'a str)];

const ON: &str = "compress = {}";
const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Text that gets smaller.
fn text(length: usize) -> String {
    let words = ["forebay", "turbine", "river", "pool", "gate"];
    let mut text = String::with_capacity(length + 8);
    let mut at: usize = 0;
    while text.len() < length {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(at >> 33) % words.len()]);
        text.push(' ');
    }
    text.truncate(length);
    text
}

fn decode(coding: Option<&str>, data: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        None => return data.to_vec(),
        Some("gzip") => flate2::read::GzDecoder::new(data).read_to_end(&mut plain).unwrap(),
        Some("br") => brotli::Decompressor::new(data, 4096).read_to_end(&mut plain).unwrap(),
        Some("zstd") => zstd::stream::read::Decoder::new(data).unwrap().read_to_end(&mut plain).unwrap(),
        Some(other) => panic!("{other}"),
    };
    plain
}

fn plain(answer: &Message) -> String {
    assert!(answer.complete, "{answer:?}");
    String::from_utf8(decode(answer.field("content-encoding"), &answer.body)).unwrap()
}

fn varies(answer: &Message) -> bool {
    answer.all("vary").iter().any(|line| line.contains("accept-encoding"))
}

async fn verdicts(gateway: &Gateway, verdict: &str) -> f64 {
    gateway.metrics().await.sum("forebay_compress_responses_total", &[("result", verdict)])
}

#[tokio::test]
async fn each_client_gets_what_it_accepts_and_the_origin_is_asked_for_the_plain_form() {
    let body = text(50_000);
    let origin = Origin::always(Reply::new(200, &[JSON, ("etag", "\"v1\"")], &body)).await;
    let gateway = Gateway::before(origin.address, ON).await;
    for (accepted, coding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip;q=1, br;q=0.5", Some("gzip")),
        ("identity;q=0, *", Some("gzip")),
        ("deflate", None),
        ("identity, gzip;q=0.5", None),
        ("", None),
    ] {
        let answer = ask(gateway.address, "GET", "/", &[("accept-encoding", accepted)]).await;
        assert_eq!((answer.status(), answer.field("content-encoding")), (200, coding), "{accepted}");
        assert_eq!(plain(&answer), body);
        assert!(varies(&answer), "{accepted}");
        let (tag, length) = match coding {
            Some(_) => ("W/\"v1\"", None),
            None => ("\"v1\"", Some("50000")),
        };
        assert_eq!((answer.field("etag"), answer.field("content-length")), (Some(tag), length), "{accepted}");
        assert!(coding.is_none() || answer.body.len() < body.len() / 2);
    }
    let answer = get(gateway.address, "/").await;
    assert!(varies(&answer) && answer.field("content-encoding").is_none());
    assert!(origin.asked().iter().all(|asked| asked.request.all("accept-encoding") == ["identity"]));
    assert_eq!(verdicts(&gateway, "encoded").await, 6.0);
    assert_eq!(verdicts(&gateway, "not-accepted").await, 4.0);
    gateway.at_rest().await;
}

/// What must not be touched arrives as it was sent.
#[tokio::test]
async fn some_answers_are_never_encoded() {
    let body = text(5_000);
    let cases: [(u16, Fields<'_>, &str); 8] = [
        (200, &[JSON, ("content-encoding", "gzip")], "has-coding"),
        (200, &[JSON, ("cache-control", "no-transform")], "no-transform"),
        (200, &[("content-type", "text/event-stream")], "type"),
        (200, &[("content-type", "application/grpc+proto")], "type"),
        (200, &[("content-type", "image/png")], "type"),
        (200, &[], "type"),
        (200, &[JSON, ("content-digest", "sha-256=:eA==:")], "digest"),
        (206, &[JSON, ("content-range", "bytes 0-4999/10000")], "status"),
    ];
    let reply = body.clone();
    let origin = Origin::start(move |request, _| {
        let number: usize = request.target()[1..].parse().unwrap();
        let (status, fields, _) = cases[number];
        Reply::new(status, fields, &reply)
    })
    .await;
    let gateway = Gateway::before(origin.address, "compress = {}\ncache = { enabled = false }").await;
    for (number, (status, fields, verdict)) in cases.into_iter().enumerate() {
        let mut asked = vec![("accept-encoding", "br, gzip")];
        if status == 206 {
            asked.push(("range", "bytes=0-4999"));
        }
        let before = verdicts(&gateway, verdict).await;
        let answer = ask(gateway.address, "GET", &format!("/{number}"), &asked).await;
        assert_eq!((answer.status(), answer.text()), (status, body.as_str()), "{fields:?}");
        let sent = fields.iter().find(|(name, _)| *name == "content-encoding").map(|(_, value)| *value);
        assert_eq!(answer.field("content-encoding"), sent);
        assert_eq!(answer.field("content-length"), Some("5000"));
        assert_eq!(varies(&answer), status == 206, "{fields:?}");
        assert_eq!(verdicts(&gateway, verdict).await, before + 1.0, "{verdict}");
    }
}

/// A hit is encoded once; then its bytes are there, with their length.
#[tokio::test]
async fn a_stored_response_is_encoded_once() {
    // In one piece, and in several, which are encoded off the event loop.
    for length in [20_000, 1_500_000] {
        let body = text(length);
        let origin = Origin::always(Reply::new(200, &[JSON, FRESH, ("etag", "\"v1\"")], &body)).await;
        let gateway = Gateway::before(origin.address, ON).await;
        let accepts = [("accept-encoding", "gzip")];
        let first = ask(gateway.address, "GET", "/", &accepts).await;
        assert_eq!((plain(&first), first.field("content-length")), (body.clone(), None));
        let mut sizes = Vec::new();
        for _ in 0..5 {
            let hit = ask(gateway.address, "GET", "/", &accepts).await;
            assert!(hit.field("cache-status").unwrap().starts_with("forebay; hit"), "{hit:?}");
            assert_eq!((plain(&hit), hit.field("content-encoding")), (body.clone(), Some("gzip")));
            assert_eq!(hit.field("etag"), Some("W/\"v1\""));
            sizes.push(hit.field("content-length").unwrap().to_owned());
        }
        let head = ask(gateway.address, "HEAD", "/", &accepts).await;
        for name in ["content-length", "content-encoding", "etag", "vary", "content-type"] {
            let hit = ask(gateway.address, "GET", "/", &accepts).await;
            assert_eq!(head.all(name), hit.all(name), "{name}");
        }
        assert!(sizes.iter().all(|size| *size == sizes[0]));
        let metrics = gateway.metrics().await;
        let bytes = |form| metrics.sum("forebay_compress_bytes_total", &[("form", form)]);
        assert_eq!(bytes("plain"), 2.0 * length as f64, "once as it came, once for all others");
        assert!(metrics.sum("forebay_memory_bytes", &[("use", "encoded")]) >= sizes[0].parse().unwrap());
        assert_eq!(origin.asked().len(), 1);
        // Who wants the plain form, or another, gets it from the same entry.
        assert_eq!(get(gateway.address, "/").await.text(), body);
        assert_eq!(plain(&ask(gateway.address, "GET", "/", &[("accept-encoding", "br")]).await), body);
        assert_eq!(origin.asked().len(), 1);
        gateway.wait_for("forebay_memory_bytes", &[("use", "encoding")], |now| now == 0.0).await;
    }
}

/// Many who ask at once for what is stored wait for one encoder.
#[tokio::test]
async fn many_at_once_have_one_encoder() {
    let body = text(2_000_000);
    let origin = Origin::always(Reply::new(200, &[JSON, FRESH], &body)).await;
    let gateway = Gateway::before(origin.address, ON).await;
    get(gateway.address, "/").await;
    let address = gateway.address;
    let clients: Vec<_> = (0..20)
        .map(|_| tokio::spawn(async move { ask(address, "GET", "/", &[("accept-encoding", "br")]).await }))
        .collect();
    for client in clients {
        assert_eq!(plain(&client.await.unwrap()), body);
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_compress_bytes_total", &[("form", "plain")]), 2_000_000.0);
}

/// What does not get smaller is sent as it is, once that is known.
#[tokio::test]
async fn what_gets_no_smaller_stays_as_it_is() {
    let noise: String = (0..8_000).map(|_| char::from(fastrand::u8(0x21..0x7f))).collect();
    let packed = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, noise.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let origin = Origin::always(Reply::new(200, &[("content-type", "text/plain"), FRESH], &packed)).await;
    let gateway = Gateway::before(origin.address, ON).await;
    let accepts = [("accept-encoding", "gzip")];
    let first = ask(gateway.address, "GET", "/", &accepts).await;
    assert_eq!(decode(first.field("content-encoding"), &first.body), packed);
    for method in ["GET", "HEAD", "GET"] {
        let hit = ask(gateway.address, method, "/", &accepts).await;
        if method == "GET" {
            assert_eq!(hit.body, packed);
        }
        let length = packed.len().to_string();
        assert_eq!((hit.field("content-encoding"), hit.field("content-length")), (None, Some(&*length)));
        assert!(varies(&hit));
    }
    assert_eq!(verdicts(&gateway, "not-smaller").await, 3.0);
}

/// RFC 9110 §8.8.3.3, §13.1.2, §14.2: tags are weak, and ranges are of the plain form.
#[tokio::test]
async fn conditions_and_ranges() {
    let body = text(10_000);
    let fields = [JSON, FRESH, ("etag", "\"v1\""), ("accept-ranges", "bytes")];
    let origin = Origin::always(Reply::new(200, &fields, &body)).await;
    let gateway = Gateway::before(origin.address, ON).await;
    let with = |more: &[(&'static str, &'static str)]| {
        let fields = [&[("accept-encoding", "gzip")], more].concat();
        let address = gateway.address;
        async move { ask(address, "GET", "/", &fields).await }
    };
    let whole = with(&[]).await;
    assert_eq!((whole.field("etag"), whole.field("accept-ranges")), (Some("W/\"v1\""), None));
    for (tag, answered) in [("W/\"v1\"", "W/\"v1\""), ("\"v1\"", "\"v1\""), ("\"v0\", W/\"v1\"", "W/\"v1\"")]
    {
        let answer = with(&[("if-none-match", tag)]).await;
        assert_eq!((answer.status(), answer.field("etag")), (304, Some(answered)), "{tag}");
        assert!(varies(&answer) && answer.field("content-encoding").is_none());
    }
    assert_eq!(with(&[("if-none-match", "\"v2\"")]).await.status(), 200);
    let part = with(&[("range", "bytes=10-19")]).await;
    assert_eq!((part.status(), part.text(), part.field("etag")), (206, &body[10..20], Some("\"v1\"")));
    assert!(varies(&part) && part.field("content-encoding").is_none());
    // The tag of the encoded form names no bytes to continue.
    let again = with(&[("range", "bytes=10-19"), ("if-range", "W/\"v1\"")]).await;
    assert_eq!((again.status(), again.text()), (200, body.as_str()));
    assert_eq!(origin.asked().len(), 1);
}

/// The bytes of a chunked body so far.
fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = raw.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap(), 16).unwrap();
        let Some(chunk) = raw.get(end + 2..end + 2 + size).filter(|chunk| !chunk.is_empty()) else { break };
        data.extend_from_slice(chunk);
        raw = &raw[(end + 4 + size).min(raw.len())..];
    }
    data
}

/// Reads until what has come can be decoded to `wanted`.
async fn decoded_to(client: &mut Client, raw: &mut Vec<u8>, wanted: &str) {
    within(wanted, async {
        loop {
            let (data, mut plain, mut byte) = (unchunked(raw), Vec::new(), [0]);
            let mut decoder = flate2::read::GzDecoder::new(&data[..]);
            while let Ok(1) = decoder.read(&mut byte) {
                plain.push(byte[0]);
            }
            if plain == wanted.as_bytes() {
                return;
            }
            let more = client.some().await;
            assert!(!more.is_empty(), "it ended after {:?}", String::from_utf8_lossy(&plain));
            raw.extend_from_slice(&more);
        }
    })
    .await;
}

/// A slow body reaches its client as it comes, its trailers too; who leaves frees the encoder.
#[tokio::test]
async fn a_slow_body_is_flushed_and_its_trailers_pass() {
    for leaves in [false, true] {
        let gate = Gate::new();
        let fields = "content-type: text/plain\r\ntrailer: x-sum\r\ntransfer-encoding: chunked";
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let first = format!("{head}5\r\nfirst\r\n");
        let reply = Reply::raw(format!("{first}6\r\nsecond\r\n0\r\nx-sum: 11\r\n\r\n"));
        let origin = Origin::always(reply.pause_after(first.len(), &gate)).await;
        let gateway = Gateway::before(origin.address, ON).await;
        let mut client = Client::connect(gateway.address).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\naccept-encoding: gzip\r\n\r\n").await;
        client.wait_for("\r\n\r\n").await;
        let mut raw = Vec::new();
        while !raw.ends_with(b"\r\n\r\n") {
            raw.extend(client.take(1).await.unwrap());
        }
        assert!(String::from_utf8_lossy(&raw).contains("content-encoding: gzip"));
        raw.clear();
        decoded_to(&mut client, &mut raw, "first").await;
        let held = gateway.metrics().await.sum("forebay_memory_bytes", &[("use", "encoding")]);
        assert!(held > 0.0);
        if leaves {
            drop(client);
        } else {
            gate.open();
            decoded_to(&mut client, &mut raw, "firstsecond").await;
            while !raw.ends_with(b"\r\n\r\n") {
                raw.extend(client.some().await);
            }
            assert!(raw.ends_with(b"0\r\nx-sum: 11\r\n\r\n"), "{:?}", String::from_utf8_lossy(&raw));
        }
        gateway.wait_for("forebay_memory_bytes", &[("use", "encoding")], |now| now == 0.0).await;
        gate.open();
        gateway.at_rest().await;
    }
}

/// A body that breaks off does not look complete.
#[tokio::test]
async fn a_body_that_breaks_off_stays_broken() {
    let body = text(200_000);
    let reply = Reply::new(200, &[JSON], &body);
    let origin = Origin::always(reply.clone().cut_after(reply.len() / 2)).await;
    let gateway = Gateway::before(origin.address, ON).await;
    for coding in ["gzip", "br", "zstd"] {
        let answer = ask(gateway.address, "GET", "/", &[("accept-encoding", coding)]).await;
        assert!(!answer.complete, "{coding}");
    }
    gateway.wait_for("forebay_memory_bytes", &[("use", "encoding")], |now| now == 0.0).await;
    gateway.at_rest().await;
}

/// One that is large takes long; one that is small is answered meanwhile, by the same single worker.
#[tokio::test]
async fn a_large_body_holds_nobody_up() {
    let large = text(6_000_000);
    let (whole, fields) = (large.clone(), [JSON, FRESH]);
    let origin = Origin::start(move |request, _| match request.target() {
        "/large" => Reply::new(200, &fields, &whole),
        _ => Reply::new(200, &fields, "small"),
    })
    .await;
    let gateway = Gateway::before(origin.address, "compress = { levels = { br = 9 } }").await;
    get(gateway.address, "/large").await;
    get(gateway.address, "/small").await;
    let address = gateway.address;
    let done = Arc::new(AtomicBool::new(false));
    let encoding = tokio::spawn({
        let done = done.clone();
        async move {
            let answer = ask(address, "GET", "/large", &[("accept-encoding", "br")]).await;
            done.store(true, Ordering::SeqCst);
            answer
        }
    });
    gateway.wait_for("forebay_memory_bytes", &[("use", "encoding")], |now| now > 0.0).await;
    let mut meanwhile = 0;
    while !done.load(Ordering::SeqCst) {
        assert_eq!(get(gateway.address, "/small").await.text(), "small");
        meanwhile += 1;
    }
    assert!(meanwhile >= 5, "only {meanwhile} answers while one was encoded");
    assert_eq!(plain(&encoding.await.unwrap()), large);
}

/// Without memory for an encoder answers go out as they are.
#[tokio::test]
async fn without_memory_nothing_is_encoded() {
    let body = text(5_000);
    let origin = Origin::always(Reply::new(200, &[JSON], &body)).await;
    let config = Gateway::config(origin.address, "", "compress = {}\ncache = { enabled = false }")
        .replace("workers = 1\n", "workers = 1\nmemory_limit = \"256KiB\"\n[cache]\nmemory = \"64KiB\"\nmax_object = \"16KiB\"\n[compress]\nmemory = \"0B\"\n");
    let gateway = Gateway::start(&config);
    let answer = ask(gateway.address, "GET", "/", &[("accept-encoding", "gzip")]).await;
    assert_eq!((answer.text(), answer.field("content-encoding")), (body.as_str(), None));
    assert!(varies(&answer));
    assert_eq!(verdicts(&gateway, "memory").await, 1.0);
}

#[tokio::test]
async fn the_keys_of_the_config_act() {
    let body = text(600);
    let origin = Origin::start(move |request, _| {
        let kind = if request.target() == "/x" { "application/x-ours" } else { "text/plain" };
        Reply::new(200, &[("content-type", kind), FRESH], &body)
    })
    .await;
    let all = ("accept-encoding", "gzip, br, zstd");
    for (keys, x, other) in [
        ("", None, None),
        ("min_size = \"600B\"", None, Some("zstd")),
        ("min_size = \"100B\", codings = [\"gzip\", \"br\"]", None, Some("gzip")),
        ("min_size = \"100B\", codings = [\"br\"], types = [\"application/x-ours\"]", Some("br"), None),
    ] {
        let gateway = Gateway::before(origin.address, &format!("compress = {{ {keys} }}")).await;
        for (target, expected) in [("/x", x), ("/y", other)] {
            let answer = ask(gateway.address, "GET", target, &[all]).await;
            assert_eq!(answer.field("content-encoding"), expected, "{keys} {target}");
        }
    }
    // Higher levels are smaller.
    let large = text(100_000);
    let origin = Origin::always(Reply::new(200, &[JSON, FRESH], &large)).await;
    for coding in ["gzip", "br", "zstd"] {
        let mut sizes = Vec::new();
        for level in [1, 9] {
            let keys = format!("compress = {{ levels = {{ {coding} = {level} }} }}");
            let gateway = Gateway::before(origin.address, &keys).await;
            let answer = ask(gateway.address, "GET", "/", &[("accept-encoding", coding)]).await;
            assert_eq!(plain(&answer), large);
            sizes.push(answer.body.len());
        }
        assert!(sizes[0] > sizes[1], "{coding} {sizes:?}");
    }
    let origin = Origin::always(Reply::new(200, &[JSON], &large)).await;
    let gateway = Gateway::before(origin.address, "compress = { origin = \"as_asked\" }").await;
    assert_eq!(plain(&ask(gateway.address, "GET", "/", &[all]).await), large);
    assert_eq!(origin.asked()[0].request.all("accept-encoding"), ["gzip, br, zstd"]);
}

/// A client that takes nothing that we have is the origin's to please; without the layer everything is.
#[tokio::test]
async fn what_is_not_ours_to_decide_passes() {
    let origin = Origin::always(Reply::new(200, &[JSON], text(5_000))).await;
    let gateway = Gateway::before(origin.address, ON).await;
    ask(gateway.address, "GET", "/", &[("accept-encoding", "compress, identity;q=0")]).await;
    let plain = Gateway::before(origin.address, "").await;
    let answer = ask(plain.address, "GET", "/", &[("accept-encoding", "gzip")]).await;
    assert!(!varies(&answer) && answer.field("content-encoding").is_none());
    let asked: Vec<_> = origin
        .asked()
        .iter()
        .map(|asked| asked.request.field("accept-encoding").unwrap().to_owned())
        .collect();
    assert_eq!(asked, ["compress, identity;q=0", "gzip"]);
    assert_eq!(verdicts(&plain, "encoded").await, 0.0);
}

#[tokio::test]
async fn a_fixed_answer_is_encoded_too() {
    let body = text(3_000);
    let route = format!(
        "[[route]]\nname = \"fixed\"\nmatch = {{ path = \"/fixed\" }}\ncompress = {{}}\nrespond = {{ body = \"{body}\" }}\n"
    );
    let origin = Origin::always(Reply::ok("")).await;
    let gateway = Gateway::start(&(Gateway::config(origin.address, "", "") + &route));
    let answer = ask(gateway.address, "GET", "/fixed", &[("accept-encoding", "br")]).await;
    assert_eq!((plain(&answer), answer.field("content-encoding")), (body, Some("br")));
}

/// Back-pressure passes through the encoder.
#[tokio::test]
async fn a_client_that_reads_nothing_stops_the_encoder() {
    let chunk = text(64 * 1024);
    let sent = Arc::new(AtomicUsize::new(0));
    let origin = serve({
        let sent = sent.clone();
        move |mut stream| {
            let (sent, chunk) = (sent.clone(), chunk.clone());
            async move {
                Reader::default().message(&mut stream, crate::support::message::Kind::Request).await;
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                let framed = format!("{:x}\r\n{chunk}\r\n", chunk.len());
                while stream.write_all(framed.as_bytes()).await.is_ok() {
                    sent.fetch_add(chunk.len(), Ordering::SeqCst);
                }
            }
        }
    })
    .await;
    let gateway = Gateway::before(origin, "compress = {}\ncache = { enabled = false }").await;
    let mut client = Client::connect(gateway.address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n").await;
    client.wait_for("\r\n\r\n").await;
    // It stops: no more is taken from the origin in a while than fits into buffers.
    let stopped = within("the origin is held back", async {
        loop {
            let before = sent.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(700)).await;
            if before > 0 && sent.load(Ordering::SeqCst) == before {
                return before;
            }
        }
    })
    .await;
    assert!(stopped < 200 << 20, "{stopped}");
    drop(client);
    gateway.wait_for("forebay_memory_bytes", &[("use", "encoding")], |now| now == 0.0).await;
    gateway.at_rest().await;
}
