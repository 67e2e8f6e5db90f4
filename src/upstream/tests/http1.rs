//! What goes over an HTTP/1.1 connection, and when it is used again.

use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn a_request_as_the_origin_gets_it() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let mut request = get();
    request.target.path_and_query = "/a/b?c=d".parse().unwrap();
    for (name, value) in [("cookie", "a=1"), ("cookie", "b=2"), ("accept", "*/*")] {
        request.headers.append(name, value.parse().unwrap());
    }
    let trail = request.trail.clone();
    let (answer, mut peer) = tokio::join!(text(&balance, request), async {
        let mut peer = origin.accept().await;
        let head = peer.head().await;
        assert!(head.starts_with("get /a/b?c=d http/1.1\r\n"), "{head}");
        for line in [
            "host: test.example",
            "via: 1.1 forebay",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: test.example",
            "x-request-id: 00000000000000000000000000000001",
            "cookie: a=1; b=2",
            "accept: */*",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is not in {head}");
        }
        assert!(head.contains("\r\ntraceparent: 00-00000000000000000000000000000001-"), "{head}");
        for name in ["transfer-encoding", "content-length", "connection", "forwarded"] {
            assert!(!head.contains(&format!("\r\n{name}:")), "{name} is in {head}");
        }
        peer.write(OK).await;
        peer
    });
    assert_eq!(answer.unwrap(), (200, "ok".to_owned()));
    assert_eq!(settled(&balance).await, 1);
    let notes = trail.read();
    assert_eq!(notes.endpoint.as_deref(), Some(origin.address().to_string().as_str()));
    assert_eq!(notes.upstream_status, Some(200));
    peer.stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn connections_are_used_again_the_last_one_first() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let (first, mut peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    first.unwrap();
    for _ in 0..3 {
        let (again, ()) = tokio::join!(text(&balance, post("x")), async {
            let head = peer.head().await;
            assert!(head.contains("content-length: 1\r\n"));
            peer.until("x").await;
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
        });
        assert_eq!(again.unwrap().1, "ok");
    }
    assert_eq!(settled(&balance).await, 1);
    assert!(origin.is_unasked().await);
}

#[tokio::test]
async fn a_dead_idle_connection_costs_nothing() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    for _ in 0..3 {
        // Closed in order by the origin after a whole answer, which POST must not suffer from either.
        let (answer, peer) = tokio::join!(text(&balance, post("x")), origin.answer(OK));
        assert_eq!(answer.unwrap().0, 200);
        drop(peer);
        assert_eq!(settled_at(&balance, 0).await, 0);
    }
    // RFC 9112 §9.5: 408 on an idle connection answers no request.
    let (_, mut peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    peer.write("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").await;
    peer.closed().await;
    let (answer, _peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    assert_eq!(answer.unwrap().0, 200);
}

#[tokio::test]
async fn a_used_connection_that_breaks_is_replaced_once_for_what_may_be_sent_twice() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let (_, mut peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    let (answer, mut peer) = tokio::join!(text(&balance, get()), async {
        peer.head().await;
        drop(peer);
        origin.answer(OK).await
    });
    assert_eq!(answer.unwrap().0, 200);

    // RFC 9110 §9.2.2: a proxy must not send a POST twice.
    let (answer, ()) = tokio::join!(text(&balance, post("x")), async {
        peer.until("x").await;
        drop(peer);
    });
    let error = failure(answer);
    assert_eq!((error.kind, error.sent), (Kind::Reset, true));
    assert_eq!(error.endpoint.as_deref(), Some(origin.address().to_string().as_str()));
    assert_eq!(settled(&balance).await, 0);
    assert!(origin.is_unasked().await);

    // The second connection is new: if that breaks too, it is for the retry layer to say.
    let (_, mut peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    let (answer, ()) = tokio::join!(text(&balance, get()), async {
        peer.head().await;
        drop(peer);
        drop(origin.answer("").await);
    });
    assert_eq!(failure(answer).kind, Kind::Reset);
    assert!(origin.is_unasked().await);

    // Half an answer is an answer begun: not again.
    let (_, mut peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    let (answer, ()) = tokio::join!(text(&balance, get()), async {
        peer.head().await;
        peer.write("HTTP/1.1 200").await;
        drop(peer);
    });
    assert_eq!(failure(answer).kind, Kind::Reset);
    assert!(origin.is_unasked().await);
}

#[tokio::test]
async fn doubtful_connections_are_not_used_again() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", "ok"),
        // RFC 9112 §6.3: Transfer-Encoding wins, Content-Length goes, and the connection after it.
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "ok",
        ),
        // Bytes after the message belong to nobody.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            "ok",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\nevil", ""),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil", ""),
    ] {
        let (response, peer) = tokio::join!(send(&balance, get()), origin.answer(answer));
        let response = response.unwrap();
        assert!(!response.headers.contains_key("transfer-encoding"));
        assert!(!response.headers.contains_key("connection"));
        assert!(response.headers.get("content-length").is_none_or(|length| length != "9"), "{answer}");
        assert_eq!(response.headers["via"].to_str().unwrap().split(' ').nth(1), Some("forebay"));
        let got = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(got, body, "{answer}");
        peer.closed().await;
        assert_eq!(settled(&balance).await, 0, "{answer}");
    }
}

#[tokio::test]
async fn close_delimited_bodies_end_with_the_connection() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let (answer, _) = tokio::join!(text(&balance, get()), async {
        drop(origin.answer("HTTP/1.1 200 OK\r\n\r\nall of it").await);
    });
    assert_eq!(answer.unwrap().1, "all of it");
    assert_eq!(settled(&balance).await, 0);
}

#[tokio::test]
async fn those_beyond_the_cap_wait_in_line() {
    let origin = Origin::new().await;
    let balance = build(&EndpointsConfig {
        max_connections: 1,
        connect_timeout: Time::millis(200),
        ..config(&[origin.url()])
    });
    let (first, mut peer) = tokio::join!(send(&balance, get()), async {
        origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await
    });
    let first = first.unwrap();
    // The body is not over: the connection is not free, and in time somebody tires of waiting.
    assert_eq!(failure(send(&balance, get()).await).kind, Kind::ConnectionLimit);
    let mut hurried = get();
    hurried.deadline = Some(crate::clock::instant() + Duration::from_millis(20));
    assert_eq!(failure(send(&balance, hurried).await).kind, Kind::Deadline);
    assert!(origin.is_unasked().await);

    let (second, body, ()) = tokio::join!(text(&balance, get()), first.into_body().collect(), async {
        peer.write("ok").await;
        peer.head().await;
        peer.write(OK).await;
    });
    assert_eq!(body.unwrap().to_bytes(), "ok");
    assert_eq!(second.unwrap().1, "ok");
    assert_eq!(settled(&balance).await, 1);
}

#[tokio::test]
async fn a_closed_connection_lets_the_next_in_line_connect() {
    let origin = Origin::new().await;
    let balance = build(&EndpointsConfig { max_connections: 1, ..config(&[origin.url()]) });
    let (first, second, ()) = tokio::join!(send(&balance, get()), text(&balance, get()), async {
        drop(origin.answer("HTTP/1.1 2").await);
        origin.answer(OK).await;
    });
    assert_eq!(failure(first).kind, Kind::Reset);
    assert_eq!(second.unwrap().1, "ok");
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let origin = Origin::new().await;
    let balance = build(&EndpointsConfig { idle_timeout: Time::millis(200), ..config(&[origin.url()]) });
    let (_, peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    assert_eq!(settled(&balance).await, 1);
    peer.closed().await;
    assert_eq!(settled(&balance).await, 0);
}

#[tokio::test]
async fn a_dropped_upstream_closes_its_idle_connections() {
    let origin = Origin::new().await;
    let balance = to(&origin);
    let (_, peer) = tokio::join!(text(&balance, get()), origin.answer(OK));
    drop(balance);
    peer.closed().await;
}

#[tokio::test]
async fn websockets_become_tunnels() {
    use hyper_util::rt::TokioIo;
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
    let origin = Origin::new().await;
    let balance = to(&origin);
    let upgrade = || {
        let mut request = get();
        request.upgrade = Some(Box::new(hyper::upgrade::on(http::Request::new(()))));
        request.headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        request
    };
    let (answer, mut peer) = tokio::join!(send(&balance, upgrade()), async {
        let mut peer = origin.accept().await;
        let head = peer.head().await;
        assert!(head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nconnection: upgrade\r\n"));
        peer.write(switched).await;
        peer
    });
    let answer = answer.unwrap();
    assert_eq!(answer.status.as_u16(), 101);
    let mut tunnel = TokioIo::new(answer.into_parts().upgrade.unwrap().await.unwrap());
    let mut greeting = [0; 5];
    tunnel.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
    tunnel.write_all(b"there").await.unwrap();
    peer.until("there").await;
    let status = &balance.0.endpoints_status()[0];
    assert_eq!((status.connections, status.idle), (1, 0), "a tunnel takes a place");
    drop(tunnel);
    peer.closed().await;
    assert_eq!(settled(&balance).await, 0);

    // Refused in order: an answer like any other.
    let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    let (answer, _peer) = tokio::join!(text(&balance, upgrade()), origin.answer(refusal));
    assert_eq!(answer.unwrap().0, 403);
    assert_eq!(settled(&balance).await, 1);

    // RFC 6455 §4.1: without the accept it is no websocket.
    let balance = to(&origin);
    let bad = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let (answer, peer) = tokio::join!(send(&balance, upgrade()), origin.answer(bad));
    assert_eq!(failure(answer).kind, Kind::BadUpgrade);
    peer.closed().await;
}
