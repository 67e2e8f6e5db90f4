//! Second attempts at requests that take long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ejection::config;
use crate::support::{Gateway, Origin, Reply, ask, get, serve, within};

/// No other layer makes good what is slow.
fn gateway(origins: &[SocketAddr], hedge: &str) -> Gateway {
    let upstream = "balance = \"round_robin\"\nslow_start = \"0s\"\n\
                    ejection = { consecutive_errors = 0, error_rate = 0.0 }";
    let route = format!("[route.retry]\nattempts = 1\n[route.hedge]\n{hedge}");
    Gateway::start(&config(origins, upstream, &route))
}

/// The other endpoint answers, and the connection of the attempt that lost is closed.
#[tokio::test]
async fn a_late_request_is_sent_elsewhere_and_the_loser_is_cancelled() {
    let (stuck, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let slow = serve({
        let (stuck, closed) = (stuck.clone(), closed.clone());
        move |mut stream| {
            let (stuck, closed) = (stuck.clone(), closed.clone());
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                if head.starts_with(b"POST") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow").await;
                } else {
                    stuck.fetch_add(1, Ordering::SeqCst);
                }
                // A closed or a reset connection: either is an end.
                let _ = stream.read_to_end(&mut head).await;
                closed.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let good = Origin::always(Reply::ok("good")).await;
    let gateway = gateway(&[slow, good.address], "after = \"20ms\"\nmax_extra = 1.0");
    for _ in 0..6 {
        assert_eq!(get(gateway.address, "/").await.text(), "good");
    }
    let stuck = stuck.load(Ordering::SeqCst);
    assert!(stuck >= 2, "{stuck}");
    within("the end of the losers' connections", async {
        while closed.load(Ordering::SeqCst) < stuck {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let metrics = gateway.metrics().await;
    let hedges = |result| metrics.sum("forebay_hedges_total", &[("route", "all"), ("result", result)]);
    assert!(hedges("won") >= 2.0 && hedges("max_extra") == 0.0, "{metrics:?}");
    let canceled = metrics.sum("forebay_upstream_requests_total", &[("result", "canceled")]);
    assert_eq!(canceled, hedges("won") + hedges("lost"), "each hedge has one loser");
    // What may not be sent twice is not: this one is answered by whoever got it.
    let answers =
        [ask(gateway.address, "POST", "/", &[]).await, ask(gateway.address, "POST", "/", &[]).await];
    let mut texts = answers.map(|answer| answer.text().to_owned());
    texts.sort();
    assert_eq!(texts, ["good", "slow"]);
    gateway.at_rest().await;
}

/// Where everything is slow there is no more load than allowed.
#[tokio::test]
async fn the_extra_load_is_capped() {
    const CLIENTS: usize = 10;
    const REQUESTS: usize = 20;
    let slow = || Reply::ok("x").late(Duration::from_millis(60));
    let (one, two) = (Origin::always(slow()).await, Origin::always(slow()).await);
    let gateway = gateway(&[one.address, two.address], "after = \"10ms\"\nmax_extra = 0.1");
    let address = gateway.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..REQUESTS {
                    assert_eq!(get(address, "/").await.status(), 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let requests = CLIENTS * REQUESTS;
    let asked = one.asked().len() + two.asked().len();
    assert!(asked > requests && asked <= requests + requests / 10, "{asked} for {requests}");
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("forebay_hedges_total", &[("result", "max_extra")]) > 0.0);
    gateway.at_rest().await;
}
