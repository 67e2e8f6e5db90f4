//! The cache under faults: the origin's answer ends after every byte in turn, or the client that brought it
//! about leaves at every step of it. Nothing partial is stored, whoever asks next gets a whole answer, and
//! nothing is left held.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

use super::FRESH;

const TAG: (&str, &str) = ("etag", "\"1\"");
const STALE: (&str, &str) = ("cache-control", "max-age=0");
/// Whatever comes next is not on a connection that was used before, where an end before the first byte would
/// only mean that it had been idle for too long.
const CLOSE: (&str, &str) = ("connection", "close");
const BODY: &str = "0123456789";

/// The end of an answer.
type Fault = fn(Reply, usize) -> Reply;

const FAULTS: [(&str, Fault); 2] = [("closed", Reply::cut_after), ("reset", Reply::reset_after)];

/// An origin where every path is a place of its own: the script gets the request, the number at the path's
/// end, and how many requests came for it before.
async fn places(script: impl Fn(&Message, usize, usize) -> Reply + Send + Sync + 'static) -> Origin {
    let seen: Mutex<HashMap<String, usize>> = Mutex::default();
    Origin::start(move |request, _| {
        let path = request.target().to_owned();
        let number = path.rsplit('/').next().unwrap().parse().unwrap();
        let count = {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry(path).or_default();
            *count += 1;
            *count - 1
        };
        script(request, number, count)
    })
    .await
}

/// A gateway in which a fault is seen and not made good, and the origin is asked every time.
fn gateway(origin: &Origin, cache: &str) -> Gateway {
    let upstream = "ejection = { consecutive_errors = 0, error_rate = 0.0 }";
    let route = format!("[route.retry]\nattempts = 1\n[route.cache]\n{cache}\n");
    Gateway::start(&Gateway::config(origin.address, upstream, &route))
}

/// How often the origin was asked for a path.
fn asked_for(origin: &Origin, path: &str) -> usize {
    origin.asked().iter().filter(|asked| asked.request.target() == path).count()
}

/// RFC 9112 §8: what the origin did not finish does not look finished.
fn is_clean_failure(answer: &Message) -> bool {
    answer.status() == 502 || !answer.complete
}

/// RFC 9111 §3.3: an answer in chunks, with a trailer.
#[tokio::test]
async fn an_answer_in_chunks_ends_early() {
    for (name, fault) in FAULTS {
        let text = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n\
                    3\r\n012\r\n7\r\n3456789\r\n0\r\nx-end: 1\r\n\r\n";
        let whole = Reply::raw(text);
        let length = whole.len();
        let origin = places(move |_, number, count| match count {
            0 => fault(whole.clone(), number),
            _ => whole.clone(),
        })
        .await;
        let gateway = gateway(&origin, "");
        for after in 0..length {
            let path = format!("/{after}");
            let broken = get(gateway.address, &path).await;
            assert!(is_clean_failure(&broken), "{name} after {after}: {broken:?}");
            for _ in 0..2 {
                let whole = get(gateway.address, &path).await;
                assert!(whole.complete && whole.text() == BODY, "{name} after {after}: {whole:?}");
            }
            assert_eq!(asked_for(&origin, &path), 2, "{name} after {after}");
        }
        gateway.at_rest().await;
    }
}

/// RFC 9111 §3.3, §3.4: a part that did not arrive as a whole is no part.
#[tokio::test]
async fn a_part_ends_early() {
    fn part(first: usize, last: usize) -> Reply {
        let range = format!("bytes {first}-{last}/10");
        Reply::new(206, &[FRESH[0], TAG, CLOSE, ("content-range", &range)], &BODY[first..=last]).then_close()
    }
    for (name, fault) in FAULTS {
        let length = part(2, 5).len();
        // First a part of nothing else, then one that is put behind the first.
        let origin = places(move |request, number, count| {
            let range = request.field("range").unwrap_or_default();
            let reply = match range {
                "bytes=2-5" => part(2, 5),
                "bytes=6-9" | "bytes=6-" => part(6, 9),
                other => panic!("asked for {other:?}"),
            };
            if count % 2 == 0 { fault(reply, number) } else { reply }
        })
        .await;
        let gateway = gateway(&origin, "ranges = \"parts\"");
        for after in 0..length {
            let path = format!("/{after}");
            for (count, (range, body)) in
                [("bytes=2-5", "2345"), ("bytes=2-9", "23456789")].iter().enumerate()
            {
                let broken = ask(gateway.address, "GET", &path, &[("range", range)]).await;
                assert!(is_clean_failure(&broken), "{name} {range} after {after}: {broken:?}");
                for _ in 0..2 {
                    let whole = ask(gateway.address, "GET", &path, &[("range", range)]).await;
                    let good = whole.complete && (whole.status(), whole.text()) == (206, *body);
                    assert!(good, "{name} {range} after {after}: {whole:?}");
                }
                assert_eq!(asked_for(&origin, &path), 2 * (count + 1), "{name} {range} after {after}");
            }
        }
        gateway.at_rest().await;
    }
}

/// RFC 9111 §4.3: a word about what is stored that breaks off says nothing.
#[tokio::test]
async fn a_confirmation_ends_early() {
    for (name, fault) in FAULTS {
        // RFC 5861 §4: what is stored may stand in for it, or not.
        for (stale, stands_in) in [("max-age=0", false), ("max-age=0, stale-if-error=60", true)] {
            let confirmation = "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\
                                cache-control: max-age=60\r\netag: \"1\"\r\n\r\n";
            let confirmation = Reply::raw(confirmation).then_close();
            let length = confirmation.len();
            let origin = places(move |request, number, count| match count {
                0 => Reply::new(200, &[("cache-control", stale), TAG, CLOSE], BODY).then_close(),
                _ if request.field("if-none-match") != Some("\"1\"") => Reply::new(500, &[], "no condition"),
                1 => fault(confirmation.clone(), number),
                _ => confirmation.clone(),
            })
            .await;
            let gateway = gateway(&origin, "");
            for after in 0..length {
                let path = format!("/{after}");
                get(gateway.address, &path).await;
                let broken = get(gateway.address, &path).await;
                let good = match stands_in {
                    true => broken.complete && (broken.status(), broken.text()) == (200, BODY),
                    false => is_clean_failure(&broken),
                };
                assert!(good, "{name} after {after}: {broken:?}");
                for _ in 0..2 {
                    let confirmed = get(gateway.address, &path).await;
                    let good = confirmed.complete && (confirmed.status(), confirmed.text()) == (200, BODY);
                    assert!(good, "{name} after {after}: {confirmed:?}");
                }
                assert_eq!(asked_for(&origin, &path), 3, "{name} after {after}");
            }
            gateway.at_rest().await;
        }
    }
}

/// RFC 9111 §4.3.3: what was to take the place of something stored, and broke off.
#[tokio::test]
async fn a_replacement_ends_early() {
    for (name, fault) in FAULTS {
        let whole = Reply::new(200, &[FRESH[0], CLOSE, ("etag", "\"2\"")], "abcdefghij").then_close();
        let length = whole.len();
        let origin = places(move |_, number, count| match count {
            0 => Reply::new(200, &[STALE, TAG, CLOSE], BODY).then_close(),
            1 => fault(whole.clone(), number),
            _ => whole.clone(),
        })
        .await;
        let gateway = gateway(&origin, "");
        for after in 0..length {
            let path = format!("/{after}");
            get(gateway.address, &path).await;
            let broken = get(gateway.address, &path).await;
            assert!(is_clean_failure(&broken), "{name} after {after}: {broken:?}");
            for _ in 0..2 {
                let new = get(gateway.address, &path).await;
                assert!(new.complete && new.text() == "abcdefghij", "{name} after {after}: {new:?}");
                assert_eq!(new.field("etag"), Some("\"2\""), "{name} after {after}");
            }
            assert_eq!(asked_for(&origin, &path), 3, "{name} after {after}");
        }
        gateway.at_rest().await;
    }
}

/// A script whose first answer for a path waits after so many bytes for a gate of its own.
fn halting(whole: &Reply) -> (Vec<Gate>, impl Fn(&Message, usize, usize) -> Reply + Send + Sync + 'static) {
    let gates: Vec<Gate> = (0..whole.len()).map(|_| Gate::new()).collect();
    let script = {
        let (gates, whole) = (gates.clone(), whole.clone());
        move |_: &Message, number: usize, count: usize| match count {
            0 => whole.clone().pause_after(number, &gates[number]),
            _ => whole.clone(),
        }
    };
    (gates, script)
}

async fn begin(gateway: &Gateway, after: usize) -> Client {
    let mut client = Client::connect(gateway.address).await;
    client.write(format!("GET /{after} HTTP/1.1\r\nhost: test.example\r\n\r\n")).await;
    client
}

fn answers() -> [(Reply, usize); 2] {
    let counted = Reply::new(200, &FRESH, BODY);
    let chunked = Reply::chunked(200, &FRESH, &["012", "3456789"]);
    let (of_counted, of_chunked) = (BODY.len(), "3\r\n012\r\n7\r\n3456789\r\n0\r\n\r\n".len());
    let heads = [counted.len() - of_counted, chunked.len() - of_chunked];
    [(counted, heads[0]), (chunked, heads[1])]
}

/// The only client leaves after every byte of the origin's answer.
#[tokio::test]
async fn the_client_leaves_at_every_step() {
    for (whole, head) in answers() {
        let (gates, script) = halting(&whole);
        let origin = places(script).await;
        let gateway = gateway(&origin, "");
        for (after, gate) in gates.iter().enumerate() {
            let path = format!("/{after}");
            let before = origin.asked().len();
            let mut client = begin(&gateway, after).await;
            origin.wait_for(before + 1).await;
            if after >= head {
                client.wait_for("\r\n\r\n").await;
            }
            drop(client);
            if after < head {
                // Nothing speaks for going on: all is released while the origin still waits.
                gateway.at_rest().await;
            }
            gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 0.0).await;
            gate.open();
            gateway.at_rest().await;
            for _ in 0..2 {
                let next = get(gateway.address, &path).await;
                assert!(next.complete && next.text() == BODY, "after {after}: {next:?}");
            }
            assert!(asked_for(&origin, &path) <= 2, "after {after}");
        }
        gateway.at_rest().await;
    }
}

/// The first of two leaves: the other one has all of it, and the origin is not asked again.
#[tokio::test]
async fn the_leader_leaves_at_every_step() {
    for (whole, head) in answers() {
        let (gates, script) = halting(&whole);
        let origin = places(script).await;
        let gateway = gateway(&origin, "");
        for (after, gate) in gates.iter().enumerate() {
            let path = format!("/{after}");
            let before = origin.asked().len();
            let mut leader = begin(&gateway, after).await;
            origin.wait_for(before + 1).await;
            let mut follower = begin(&gateway, after).await;
            gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 2.0).await;
            if after >= head {
                leader.wait_for("\r\n\r\n").await;
                follower.wait_for("\r\n\r\n").await;
            }
            drop(leader);
            gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 1.0).await;
            gate.open();
            let got = follower.response().await;
            assert!(got.complete && got.text() == BODY, "after {after}: {got:?}");
            let next = get(gateway.address, &path).await;
            assert!(next.complete && next.text() == BODY, "after {after}: {next:?}");
            assert_eq!(asked_for(&origin, &path), 1, "after {after}");
            drop(follower);
        }
        gateway.at_rest().await;
    }
}

/// The client's request breaks off after every byte, or it leaves after every byte of a whole answer.
#[tokio::test]
async fn the_client_breaks_off_after_every_byte() {
    let whole = Reply::new(200, &FRESH, BODY);
    let origin = places(move |_, _, _| whole.clone()).await;
    let gateway = gateway(&origin, "");
    let request = "GET /0 HTTP/1.1\r\nhost: test.example\r\n\r\n";
    for after in 0..request.len() {
        let mut client = Client::connect(gateway.address).await;
        client.write(&request[..after]).await;
        drop(client);
    }
    gateway.at_rest().await;
    assert!(origin.asked().is_empty(), "half a request is none");
    let length = {
        let mut client = begin(&gateway, 0).await;
        client.response().await.raw.len()
    };
    for after in 0..length {
        let number = after + 1;
        let mut client = begin(&gateway, number).await;
        assert!(client.take(after).await.is_some());
        drop(client);
        gateway.at_rest().await;
        let next = get(gateway.address, &format!("/{number}")).await;
        assert!(next.complete && next.text() == BODY, "after {after}: {next:?}");
    }
    gateway.at_rest().await;
}
