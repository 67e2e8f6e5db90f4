//! HTTP/2: shared connections, by prior knowledge.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Notify;

use super::*;
use crate::upstream::config::Protocol;

/// A server that says what it was asked for; on `/slow` it waits until told.
#[derive(Clone)]
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    canceled: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

/// Counts a handler that was dropped before its end: its stream was reset.
struct Canceled(Arc<AtomicUsize>, bool);

impl Drop for Canceled {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Server {
    async fn start(max_streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            connections: Arc::default(),
            asked: Arc::default(),
            canceled: Arc::default(),
            go: Arc::default(),
        };
        let this = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                this.connections.fetch_add(1, Ordering::SeqCst);
                let handler = this.clone();
                let service = service_fn(move |request| handler.clone().handle(request));
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(max_streams)
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    async fn handle(
        self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Full<Bytes>>, Infallible> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut guard = Canceled(self.canceled.clone(), false);
        if request.uri().path() == "/slow" {
            self.go.notified().await;
        }
        let te = request.headers().get("te").map_or("none", |te| te.to_str().unwrap());
        let text = format!("{} {} te={te}", request.method(), request.uri());
        let has_host = request.headers().contains_key("host");
        let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
        guard.1 = true;
        let text = format!("{text} host={has_host} body={:?}", body.ok());
        Ok(http::Response::new(Full::from(text)))
    }

    fn balance(&self) -> Balance {
        build(&EndpointsConfig { protocol: Protocol::Http2, ..config(std::slice::from_ref(&self.url)) })
    }
}

fn slow() -> Request {
    let mut request = get();
    request.target.path_and_query = "/slow".parse().unwrap();
    request
}

async fn until(condition: impl Fn() -> bool) {
    timeout(HUNG, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("never");
}

#[tokio::test]
async fn prior_knowledge_and_one_connection_for_all() {
    let server = Server::start(100).await;
    let balance = server.balance();
    let answers = futures_join(20, || text(&balance, post("hello"))).await;
    for answer in answers {
        let expected = "POST http://test.example/ te=none host=false body=Some(5)";
        assert_eq!(answer.unwrap(), (200, expected.to_owned()));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(settled(&balance).await, 1);

    let mut grpc = get();
    grpc.headers.insert("content-type", "application/grpc+proto".parse().unwrap());
    let (_, answer) = text(&balance, grpc).await.unwrap();
    assert!(answer.contains("te=trailers"), "{answer}");
}

#[tokio::test]
async fn more_streams_than_the_peer_allows_make_another_connection() {
    let server = Server::start(2).await;
    let balance = server.balance();
    // After some answers its settings are known.
    for _ in 0..3 {
        text(&balance, get()).await.unwrap();
    }
    let all = futures_join(6, || text(&balance, slow()));
    let release = async {
        until(|| server.asked.load(Ordering::SeqCst) == 9).await;
        for _ in 0..6 {
            server.go.notify_one();
            tokio::task::yield_now().await;
        }
        server.go.notify_waiters();
    };
    let (answers, ()) = tokio::join!(all, release);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert!(server.connections.load(Ordering::SeqCst) >= 3);
    settled(&balance).await;
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_only() {
    let server = Server::start(100).await;
    let balance = server.balance();
    let mut service = &balance;
    let mut call = service.call(slow());
    tokio::select! {
        _ = &mut call => panic!("an answer"),
        () = until(|| server.asked.load(Ordering::SeqCst) == 1) => {}
    }
    drop(call);
    until(|| server.canceled.load(Ordering::SeqCst) == 1).await;
    text(&balance, get()).await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(settled(&balance).await, 1);
}

#[tokio::test]
async fn something_else_than_http2() {
    let origin = Origin::new().await;
    let balance = build(&EndpointsConfig { protocol: Protocol::Http2, ..config(&[origin.url()]) });
    let (answer, _peer) = tokio::join!(text(&balance, get()), async {
        let mut peer = origin.accept().await;
        peer.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        peer
    });
    let error = failure(answer);
    assert!(matches!(error.kind, Kind::BadResponse | Kind::Reset), "{error:?}");
    assert_eq!(settled(&balance).await, 0);

    // Upgrades need HTTP/1.1, which is not spoken here.
    let mut request = get();
    request.upgrade = Some(Box::new(hyper::upgrade::on(http::Request::new(()))));
    let error = failure(send(&balance, request).await);
    assert_eq!((error.kind, error.sent), (Kind::BadUpgrade, false));
}

/// Runs a number of futures at once and collects what they return.
async fn futures_join<F: Future>(count: usize, make: impl Fn() -> F) -> Vec<F::Output> {
    let mut futures: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// A probe speaks what requests speak.
#[tokio::test]
async fn probes_by_prior_knowledge() {
    let server = Server::start(100).await;
    let (metrics, plain) = (Metrics::default(), config(std::slice::from_ref(&server.url)));
    let health = Some(probing());
    let config = EndpointsConfig { protocol: Protocol::Http2, health, ..plain };
    let balance = build_with(&config, &metrics);
    let good = "forebay_upstream_probes_total{result=\"ok\",upstream=\"test\"}";
    until(|| metric(&metrics, good) >= Some(2.0)).await;
    assert!(server.asked.load(Ordering::SeqCst) <= server.connections.load(Ordering::SeqCst));
    assert_eq!(balance.0.endpoints_status()[0].connections, 0, "the pool counts none of them");
    // The tasks, which hold it too, end with the upstream.
    let fleet = Arc::downgrade(&balance.0.fleet);
    drop(balance);
    until(|| fleet.strong_count() == 0).await;
}
