//! Reloads while clients are at work: none of them notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply, get};

const RELOADS: usize = 20;
const CLIENTS: usize = 4;

/// Asks until told to stop, on a connection that stays, and on new ones in between; how often, and what was
/// wrong.
async fn busy(address: SocketAddr, stop: Arc<AtomicBool>) -> (usize, Vec<Message>) {
    let (mut asked, mut wrong) = (0, Vec::new());
    let mut client = Client::connect(address).await;
    while !stop.load(Ordering::SeqCst) {
        client.write("GET / HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
        for answer in [client.response().await, get(address, "/new").await] {
            asked += 1;
            if answer.status() != 200 || answer.text() != "x" {
                wrong.push(answer);
            }
        }
    }
    (asked, wrong)
}

/// Each reload changes the upstream, so that its pool is built anew, and a route.
#[tokio::test]
async fn no_request_fails_over_many_reloads() {
    let origin = Origin::always(Reply::ok("x")).await;
    let config = |number: usize| {
        let upstream = format!("max_connections = {}", 100 + number);
        Gateway::config(origin.address, &upstream, &format!("timeout = \"{}s\"", 60 + number))
    };
    let gateway = Gateway::start(&config(0));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(busy(gateway.address, Arc::clone(&stop)))).collect();
    for number in 1..=RELOADS {
        let before = origin.asked().len();
        gateway.rewrite(&config(number));
        gateway.signal("HUP");
        let applied = [("result", "applied")];
        gateway.wait_for("forebay_reloads_total", &applied, |count| count >= number as f64).await;
        // Some were answered since, by the new table.
        origin.wait_for(before + CLIENTS).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let (asked, wrong) = client.await.unwrap();
        assert!(asked >= RELOADS && wrong.is_empty(), "{} of {asked}: {:?}", wrong.len(), wrong.first());
    }
    gateway.at_rest().await;
}
