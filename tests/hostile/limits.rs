//! Too much, and too slow.

use std::time::{Duration, Instant};

use super::{Case, End, SOON, Seen, answered, cut, passed, run, start};
use crate::support::{Client, Gateway, H2, Origin, Reply, get};

fn head(line: &str, fields: impl IntoIterator<Item = String>) -> Vec<u8> {
    let fields: Vec<String> = fields.into_iter().collect();
    format!("{line} HTTP/1.1\r\nhost: a\r\n{}\r\n", fields.concat()).into_bytes()
}

#[tokio::test]
async fn too_large_heads() {
    let many = |count: usize| head("GET /", (0..count).map(|index| format!("x-{index}: y\r\n")));
    let large = |bytes: usize| head("GET /", [format!("x: {}\r\n", "y".repeat(bytes))]);
    let long = |bytes: usize| head(&format!("GET /{}", "a".repeat(bytes)), []);
    let query = |bytes: usize| head(&format!("GET /?{}", "a".repeat(bytes)), []);
    let cases: [(&str, &str, Vec<u8>, &[u16]); 10] = [
        ("too many fields", "6585 §5", many(100), &[431]),
        ("far too many fields", "6585 §5", many(2000), &[431]),
        ("a large field", "6585 §5", large(33 * 1024), &[431]),
        ("an endless field", "6585 §5", large(300 * 1024), &[431]),
        (
            "many large fields",
            "6585 §5",
            head("GET /", (0..50).map(|_| format!("x: {}\r\n", "y".repeat(1000)))),
            &[431],
        ),
        ("a long name", "6585 §5", head("GET /", [format!("{}: y\r\n", "x".repeat(40_000))]), &[400, 431]),
        ("a long path", "9110 §15.5.15", long(9000), &[414]),
        ("a long query", "9110 §15.5.15", query(9000), &[414]),
        ("an endless path", "9110 §15.5.15", long(100_000), &[414, 431]),
        ("empty lines without end", "9112 §2.2", b"\r\n".repeat(50_000), &[400, 408, 431]),
    ];
    let cases = cases.map(|(name, clause, send, last)| answered(name, clause, send.leak(), last));
    run(&cases, 0).await;
}

#[tokio::test]
async fn heads_just_small_enough() {
    let (origin, gateway) = start().await;
    let target = format!("/{}", "a".repeat(8000));
    let mut client = Client::connect(gateway.address).await;
    client
        .write(head(
            &format!("GET {target}"),
            (0..99).map(|index| format!("x-{index}: {}\r\n", "y".repeat(200))),
        ))
        .await;
    assert_eq!(client.response().await.status(), 200, "RFC 9112 §3, RFC 9110 §5.4");
    let asked = &origin.asked()[0].request;
    assert_eq!((asked.target(), asked.field("x-98").map(str::len)), (target.as_str(), Some(200)));
}

#[tokio::test]
async fn too_large_bodies() {
    let counted = |fields: &str, sent: usize| {
        let mut send = format!("POST /never HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n").into_bytes();
        send.extend(std::iter::repeat_n(b'x', sent));
        &*send.leak()
    };
    let mut chunked = b"POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(65).as_bytes());
    chunked.extend_from_slice(b"0\r\n\r\n");
    let largest = "x".repeat(64 * 1024);
    let seen = format!("POST /never\ncontent-length: 65536\nhost: a\n\n{largest}").leak();
    let cases = [
        answered(
            "a length too large, and nothing more",
            "9110 §15.5.14",
            counted("content-length: 65537", 0),
            &[413],
        ),
        answered(
            "a body too large, sent to its end",
            "9112 §9.6",
            counted("content-length: 3000000", 3_000_000),
            &[413],
        ),
        answered(
            "a length too large is not asked for",
            "9110 §10.1.1",
            counted("content-length: 65537\r\nexpect: 100-continue", 0),
            &[413],
        ),
        answered("a chunked body too large", "9110 §15.5.14", chunked.leak(), &[413]),
        passed(
            "a body as large as may be",
            "9110 §15.5.14",
            counted("content-length: 65536", 65_536),
            Vec::leak(vec![&*seen]),
        ),
    ];
    let cases = cases.map(|case| match case.name {
        // It may be read to its end.
        "a chunked body too large" => Case { seen: Seen::Cut, end: End::Either, ..case },
        _ => case,
    });
    run(&cases, 0).await;
}

/// What a client sends before it falls silent and the answer it gets (0: none). The connection ends, though
/// the client does not end it.
#[tokio::test]
async fn silence() {
    let (origin, gateway) = start().await;
    let cases: [(&str, &[u8], u16); 7] = [
        ("nothing at all", b"", 0),
        ("the beginning of a preface", b"PRI * HTTP/2.0\r\n", 0),
        ("the beginning of a request line", b"GE", 408),
        ("half a head", b"GET / HTTP/1.1\r\nhost: a\r\n", 408),
        ("half a counted body", b"POST /cut HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe", 408),
        (
            "half a chunked body",
            b"POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
            408,
        ),
        ("half a chunk's size", b"POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5", 408),
    ];
    let mut silent = tokio::task::JoinSet::new();
    for (name, send, status) in cases {
        let address = gateway.address;
        silent.spawn(async move {
            let begun = Instant::now();
            let mut client = Client::connect(address).await;
            client.write(send).await;
            let answer = client.response().await;
            assert_eq!(answer.status(), status, "{name}: {answer:?}");
            assert!(client.rest().await.is_empty(), "{name}");
            let passed = begun.elapsed();
            assert!((Duration::from_millis(900)..SOON).contains(&passed), "{name}: after {passed:?}");
        });
    }
    while let Some(ended) = silent.join_next().await {
        ended.unwrap();
    }
    assert!(origin.asked().iter().all(|asked| !asked.request.complete), "{:?}", origin.asked());
    assert_eq!(get(gateway.address, "/alive").await.status(), 200);
}

/// The time for a head is for all of it: a byte now and then does not prolong it.
#[tokio::test]
async fn a_head_byte_by_byte() {
    let (origin, gateway) = start().await;
    let mut client = Client::connect(gateway.address).await;
    let begun = Instant::now();
    client.write("GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
    let mut trickle = tokio::time::interval(Duration::from_millis(50));
    let answer = loop {
        tokio::select! {
            biased;
            answer = client.head_response() => break answer,
            _ = trickle.tick() => {}
        }
        client.write("y").await;
        assert!(begun.elapsed() < SOON, "it goes on and on");
    };
    assert_eq!(answer.status(), 408);
    assert!(origin.asked().is_empty());
}

/// RFC 9112 §8: what the client did not finish is not finished towards the origin.
#[tokio::test]
async fn bodies_that_end_early() {
    let (origin, gateway) = start().await;
    for send in [
        "POST /cut HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe",
        "POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    ] {
        let mut client = Client::connect(gateway.address).await;
        client.write(send).await;
        client.finish().await;
        let answer = client.response().await;
        assert!([0, 400].contains(&answer.status()), "{send:?}: {answer:?}");
        assert!(client.rest().await.is_empty(), "{send:?}");
        assert_eq!(get(gateway.address, "/alive").await.status(), 200);
    }
    let whole = origin.asked().into_iter().filter(|asked| asked.request.complete);
    assert!(whole.into_iter().all(|asked| asked.request.target() == "/alive"));
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 0.0).await;
}

/// A request that is cut by the client is no failure of the origin: it stays in use.
#[tokio::test]
async fn broken_bodies_do_not_eject_the_origin() {
    let broken = cut("a broken body", "9112 §8", chunked!("z\r\n"));
    let many: Vec<Case> = std::iter::repeat_with(|| Case { end: End::Closed, ..broken }).take(30).collect();
    run(&many, 0).await;
}

/// Whatever else a client says of itself, its limit is one: by the host's spelling or the path's, by fields
/// that only a proxy may send, by streams of one connection. Refusals cost the origin nothing.
#[tokio::test]
async fn a_rate_limit_is_not_got_round() {
    let heads = [
        "GET / HTTP/1.1\r\nhost: a.example\r\n",
        "GET / HTTP/1.1\r\nhost: A.EXAMPLE\r\n",
        "GET / HTTP/1.1\r\nhost: a.example.:80\r\n",
        "GET http://a.example/ HTTP/1.1\r\nhost: b.example\r\n",
        "GET //%61 HTTP/1.1\r\nhost: a.example\r\n",
        "GET /?b HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 192.0.2.7\r\n",
        "GET / HTTP/1.1\r\nhost: a.example\r\nforwarded: for=192.0.2.8\r\nx-real-ip: 192.0.2.8\r\n",
        "GET / HTTP/1.1\r\nhost: a.example\r\nX_Forwarded_For: 192.0.2.9\r\nx-client-ip: 192.0.2.9\r\n",
        "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n",
        "GET / HTTP/1.0\r\nhost: a.example\r\n",
    ];
    let streams = 4;
    let all = heads.len() + streams;
    let origin = Origin::always(Reply::ok("ok")).await;
    let limit = format!(
        "[[route.rate_limit]]\nname = \"each\"\nkey = \"client_ip\"\nrate = \"1/h\"\nburst = {all}\n"
    );
    let gateway = Gateway::before(origin.address, &limit).await;
    for status in [200, 429] {
        for head in heads {
            let mut client = Client::connect(gateway.address).await;
            client.write(format!("{head}\r\n")).await;
            assert_eq!(client.response().await.status(), status, "{head}");
        }
        let mut client = H2::connect(gateway.address).await;
        for stream in 0..streams {
            let answer = client.get(&format!("http://host-{stream}.example/{stream}")).await;
            assert_eq!(answer.status, status, "stream {stream}");
        }
    }
    assert_eq!(origin.asked().len(), all);
}
