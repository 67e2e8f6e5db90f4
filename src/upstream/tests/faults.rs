//! What an origin does wrong, and what becomes of the client's request, the connection and the counts.

use super::*;
use crate::error::ClientError;
use crate::upstream::config::{Balance as Policy, EjectionConfig};

/// An answer that is none: the kind of failure, and the connection is gone.
#[tokio::test]
async fn broken_heads() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(80 * 1024));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(65) + OK;
    for (answer, kind) in [
        ("", Kind::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-le", Kind::Reset),
        ("\x16\x03\x01garbage\r\n\r\n", Kind::BadResponse),
        ("hello, this is HTTP/0.9\n", Kind::BadResponse),
        ("HTTP/3.0 200 OK\r\n\r\n", Kind::BadResponse),
        ("HTTP/1.1 99999 No\r\n\r\n", Kind::BadResponse),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Kind::BadResponse),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", Kind::BadResponse),
        ("HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n", Kind::BadResponse),
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", Kind::BadResponse),
        ("HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n", Kind::BadResponse),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nxx", Kind::BadResponse),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Kind::BadResponse),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n", Kind::BadResponse),
        (&long, Kind::HeadTooLarge),
        (&endless, Kind::HeadTooLarge),
        (&many, Kind::HeadTooLarge),
        (&flood, Kind::BadResponse),
    ] {
        let origin = Origin::new().await;
        let balance = to(&origin);
        let (result, ()) = tokio::join!(text(&balance, get()), async {
            drop(origin.answer(answer).await);
        });
        let start = &answer[..answer.len().min(60)];
        let error = failure(result);
        assert_eq!((error.kind, error.sent), (kind, true), "{start:?}");
        assert_eq!(settled(&balance).await, 0, "{start:?}");
        assert!(origin.is_unasked().await, "a fresh connection is not tried again");
    }
}

#[tokio::test]
async fn some_interim_responses_are_fine() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(64) + OK;
    let (result, _peer) = tokio::join!(text(&balance, get()), origin.answer(&answer));
    assert_eq!(result.unwrap(), (200, "ok".to_owned()));
    assert_eq!(settled(&balance).await, 1);
}

#[tokio::test]
async fn truncated_bodies_never_end_cleanly() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshortXX",
    ] {
        let origin = Origin::new().await;
        let balance = to(&origin);
        let (result, ()) = tokio::join!(text(&balance, get()), async {
            drop(origin.answer(answer).await);
        });
        assert_eq!(failure(result).kind, Kind::BodyIncomplete, "{answer}");
        assert_eq!(settled(&balance).await, 0, "{answer}");
    }
}

#[tokio::test]
async fn silence_is_bounded() {
    let origin = Origin::new().await;
    let balance = build(&EndpointsConfig { read_timeout: Time::millis(100), ..config(&[origin.url()]) });
    let (result, peer) = tokio::join!(text(&balance, get()), origin.answer("HTTP/1.1 2"));
    let error = failure(result);
    assert_eq!((error.kind, error.sent), (Kind::HeadTimeout, true));
    peer.closed().await;

    let stalled = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nstall";
    let (result, peer) = tokio::join!(text(&balance, get()), origin.answer(stalled));
    assert_eq!(failure(result).kind, Kind::BodyTimeout);
    peer.closed().await;

    let mut hurried = get();
    hurried.deadline = Some(crate::clock::instant() + Duration::from_millis(30));
    let (result, peer) = tokio::join!(text(&balance, hurried), origin.answer(""));
    assert_eq!(failure(result).kind, Kind::Deadline);
    peer.closed().await;
    assert_eq!(settled(&balance).await, 0);
}

#[tokio::test]
async fn a_slow_upload_is_not_the_origins_silence() {
    let origin = Origin::new().await;
    let balance = build(&EndpointsConfig { read_timeout: Time::millis(100), ..config(&[origin.url()]) });
    let (body, mut client) = testing::incoming().await;
    let request = testing::request(Method::POST, RequestBody::Incoming(Box::new(body)));
    let (result, ()) = tokio::join!(text(&balance, request), async {
        let mut peer = origin.accept().await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            client.send("part").await;
            peer.until("part").await;
        }
        client.end().await;
        peer.until("0\r\n\r\n").await;
        peer.write(OK).await;
        assert_eq!(settled(&balance).await, 1);
    });
    assert_eq!(result.unwrap().0, 200);
}

#[tokio::test]
async fn an_early_answer_ends_the_upload_and_the_connection() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let (body, mut client) = testing::incoming().await;
    let request = testing::request(Method::POST, RequestBody::Incoming(Box::new(body)));
    let (result, peer) = tokio::join!(text(&balance, request), async {
        let mut peer = origin.accept().await;
        client.send("first").await;
        peer.until("first").await;
        peer.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        peer
    });
    assert_eq!(result.unwrap(), (413, "big".to_owned()));
    // RFC 9112 §9.3: a connection with half a request on it is of no use.
    peer.closed().await;
    assert_eq!(settled(&balance).await, 0);
}

#[tokio::test]
async fn a_broken_request_body_is_the_clients_fault() {
    let origin = Origin::new().await;
    let metrics = Metrics::default();
    let balance = build_with(&config(&[origin.url()]), &metrics);
    let (body, mut client) = testing::incoming().await;
    let request = testing::request(Method::POST, RequestBody::Incoming(Box::new(body)));
    let (result, peer) = tokio::join!(send(&balance, request), async {
        let mut peer = origin.accept().await;
        client.send("first").await;
        peer.until("first").await;
        client.garble().await;
        peer
    });
    assert!(matches!(result, Err(Error::Client(ClientError::BadBody))), "{result:?}");
    // Never finished towards the origin: it sees a connection that ends without the last chunk.
    let mut rest = peer;
    let mut seen = Vec::new();
    let _ = rest.stream.read_to_end(&mut seen).await;
    seen.extend(rest.read);
    assert!(!String::from_utf8_lossy(&seen).contains("0\r\n\r\n"));
    assert_eq!(settled(&balance).await, 0);
    let line = "forebay_upstream_requests_total{code=\"none\",result=\"client_error\",upstream=\"test\"}";
    let other = "forebay_upstream_requests_total{upstream=\"test\",code=\"none\",result=\"client_error\"}";
    assert_eq!(metric(&metrics, line).or(metric(&metrics, other)), Some(1.0));
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_connection_with_it() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let mut service = &balance;
    let call = service.call(get());
    let peer = tokio::select! {
        _ = call => panic!("an answer"),
        peer = origin.answer("HTTP/1.1 200") => peer,
    };
    peer.closed().await;
    assert_eq!(settled(&balance).await, 0);

    // In the middle of the body.
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let (response, peer) = tokio::join!(send(&balance, get()), origin.answer(half));
    assert_eq!(balance.0.endpoints_status()[0].in_flight, 1);
    drop(response);
    peer.closed().await;
    assert_eq!(settled(&balance).await, 0);

    // While connecting and in line there is nothing to close, and nothing stays behind.
    let mut service = &balance;
    drop(service.call(get()));
    assert_eq!(settled(&balance).await, 0);
}

/// An address where nobody listens.
async fn nobody() -> String {
    Origin::new().await.url()
}

#[tokio::test]
async fn refused_connections_are_another_endpoints_chance() {
    let balance = build(&config(&[nobody().await]));
    let error = failure(send(&balance, post("x")).await);
    assert_eq!((error.kind, error.sent), (Kind::ConnectFailed, false));

    let origin = Origin::new().await;
    let balance =
        build(&EndpointsConfig { balance: Policy::RoundRobin, ..config(&[nobody().await, origin.url()]) });
    let (first, mut peer) = tokio::join!(text(&balance, post("x")), origin.answer(OK));
    assert_eq!(first.unwrap().0, 200);
    for _ in 0..4 {
        let (answer, ()) = tokio::join!(text(&balance, post("x")), async {
            peer.until("x").await;
            peer.until("x").await;
            peer.write(OK).await;
        });
        assert_eq!(answer.unwrap().0, 200);
    }
    assert_eq!(settled(&balance).await, 1);
}

#[tokio::test]
async fn names_that_do_not_resolve() {
    let balance = build(&config(&["http://does-not-exist.invalid:80".to_owned()]));
    let error = failure(send(&balance, get()).await);
    assert!(matches!(error.kind, Kind::Dns | Kind::ConnectTimeout) && !error.sent, "{error:?}");
    let origin = Origin::new().await;
    let balance = build(&config(&[format!("http://localhost:{}", origin.address().port())]));
    let (answer, _peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    assert_eq!(answer.unwrap().0, 200);
}

#[tokio::test]
async fn failing_endpoints_are_avoided_and_ejected() {
    let (bad, good) = (Origin::new().await, Origin::new().await);
    let config = EndpointsConfig {
        balance: Policy::RoundRobin,
        ejection: EjectionConfig { consecutive_errors: 2, ..EjectionConfig::default() },
        ..config(&[bad.url(), good.url()])
    };
    let balance = build(&config);
    let avoid_good = || {
        let mut request = get();
        request.attempt.avoid.push(good.address().to_string().into());
        request
    };
    let unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(balance.0.healthy(), 2);
    for _ in 0..2 {
        let (answer, _) = tokio::join!(text(&balance, avoid_good()), bad.answer(unavailable));
        assert_eq!(answer.unwrap().0, 503);
    }
    assert_eq!(balance.0.healthy(), 1);
    let status = balance.0.endpoints_status();
    assert_eq!([status[0].ejected, status[1].ejected], [true, false]);
    // Even who would rather avoid the other one is not sent to an endpoint that is out.
    let (answer, _peer) = tokio::join!(text(&balance, avoid_good()), good.answer(OK));
    assert_eq!(answer.unwrap().0, 200);
    assert!(bad.is_unasked().await);
}
