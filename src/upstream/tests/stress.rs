//! Many requests at once on several threads, against an origin that closes connections as it likes.

use super::*;

/// Serves everybody; each connection ends after some answers, without notice.
async fn moody(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(Peer { stream, read: Vec::new() }));
    }
}

async fn serve(mut peer: Peer) {
    for _ in 0..fastrand::usize(1..12) {
        while !peer.read.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            match peer.stream.read_buf(&mut peer.read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        peer.read.clear();
        if fastrand::u8(..) < 60 {
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n").await;
            tokio::task::yield_now().await;
            peer.write("1\r\nk\r\n0\r\n\r\n").await;
            continue;
        }
        peer.write(OK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nothing_leaks_and_nothing_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(moody(listener));
    let balance = build(&EndpointsConfig {
        max_connections: 6,
        connect_timeout: Time::secs(10),
        read_timeout: Time::secs(15),
        ..config(&[url])
    });
    let clients: Vec<_> = (0..24)
        .map(|_| {
            let balance = balance.clone();
            tokio::spawn(async move {
                let mut lost = 0;
                for _ in 0..60 {
                    if fastrand::u8(..) < 40 {
                        // A client that leaves at some point.
                        let patience = Duration::from_micros(fastrand::u64(..800));
                        let _ = timeout(patience, text(&balance, get())).await;
                    } else {
                        match text(&balance, get()).await {
                            Ok(answer) => assert_eq!(answer, (200, "ok".to_owned())),
                            // Its second, new connection was closed as well before an answer.
                            Err(Error::Upstream(error)) if error.kind == Kind::Reset => lost += 1,
                            Err(error) => panic!("{error:?}: {:?}", balance.0.endpoints_status()),
                        }
                    }
                }
                lost
            })
        })
        .collect();
    let mut lost = 0;
    for client in clients {
        lost += client.await.unwrap();
    }
    assert_eq!(lost, 0, "a used connection that breaks is replaced by a new one, which answers once");
    assert!(settled(&balance).await <= 6);
}
