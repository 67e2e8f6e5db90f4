//! How long a connection may live, how much it may carry, and how slow its client may be.

use std::time::Duration;

use crate::support::{Client, Gateway, Origin, PATIENCE, Reply, get, is_turned_away};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn config(origin: &Origin, server: &str) -> String {
    Gateway::config(origin.address, "", "").replace("[server]\n", &format!("[server]\n{server}\n"))
}

#[tokio::test]
async fn a_connection_carries_so_many_requests() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = Gateway::start(&config(&origin, "max_requests_per_connection = 3"));
    let mut client = Client::connect(gateway.address).await;
    // More than it takes, at once: what is too much is left to another connection (RFC 9112 §9.6).
    client.write(GET.repeat(4)).await;
    for closes in [None, None, Some("close")] {
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("connection")), (200, closes));
    }
    assert!(client.rest().await.is_empty());
    assert_eq!(origin.asked().len(), 3);
}

#[tokio::test]
async fn an_old_connection_ends_between_two_requests() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = Gateway::start(&config(&origin, "max_connection_age = \"500ms\""));
    let mut client = Client::connect(gateway.address).await;
    let begun = std::time::Instant::now();
    let mut answered = 0;
    loop {
        client.write(GET).await;
        let answer = client.response().await;
        if answer.status() == 0 {
            break;
        }
        assert_eq!((answer.status(), answer.complete), (200, true));
        answered += 1;
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answered > 2 && begun.elapsed() >= Duration::from_millis(500), "{answered}");
    assert_eq!(get(gateway.address, "/").await.status(), 200);
}

/// Each byte comes soon enough after the one before, and all of them too slowly.
#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = Gateway::start(&config(&origin, "min_rate = \"1KiB\""));
    let mut client = Client::connect(gateway.address).await;
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
    let mut trickle = tokio::time::interval(Duration::from_millis(100));
    let begun = std::time::Instant::now();
    let answer = loop {
        tokio::select! {
            biased;
            answer = client.head_response() => break answer,
            _ = trickle.tick() => {}
        }
        client.write("y").await;
        assert!(begun.elapsed() < PATIENCE, "it goes on and on");
    };
    assert_eq!(answer.status(), 408);
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    gateway.at_rest().await;
}

/// Each read comes soon enough after the one before, and all of them take too little.
#[tokio::test]
async fn a_reader_that_trickles_is_given_up() {
    let body = "x".repeat(40 << 20);
    let origin = Origin::always(Reply::ok(body)).await;
    let gateway = Gateway::start(&config(&origin, "min_rate = \"1MiB\""));
    let mut client = Client::connect(gateway.address).await;
    client.write(GET).await;
    let begun = std::time::Instant::now();
    while gateway.metrics().await.sum("forebay_requests_in_flight", &[]) > 0.0
        || begun.elapsed().as_secs() < 1
    {
        client.take(16 * 1024).await.expect("more of the body");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < PATIENCE, "it goes on and on");
    }
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    assert!(client.rest().await.len() < 39 << 20, "it was not sent to its end");
    gateway.at_rest().await;
    assert_eq!(get(gateway.admin, "/livez").await.status(), 200);
}

/// One address cannot take every place; those of a trusted proxy are its clients'.
#[tokio::test]
async fn an_address_has_so_many_connections() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let trusting = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let gateway = Gateway::start(&(config(&origin, "max_connections_per_address = 3") + trusting));
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(gateway.address).await;
        client.write(GET).await;
        assert_eq!(client.response().await.status(), 200);
        held.push(client);
    }
    let refused = [("reason", "too_many_of_address")];
    for more in 1..3 {
        assert!(is_turned_away(gateway.address, GET).await);
        gateway.wait_for("forebay_refused_connections_total", &refused, |now| now == f64::from(more)).await;
    }
    // Those that are there go on, and each that ends makes room for another.
    held[0].write(GET).await;
    assert_eq!(held[0].response().await.status(), 200);
    held.pop();
    gateway.wait_for("forebay_connections_open", &[], |now| now == 2.0).await;
    assert_eq!(get(gateway.address, "/").await.status(), 200);
    let mut proxied = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(gateway.addresses[1]).await;
        client.write(GET).await;
        assert_eq!(client.response().await.status(), 200);
        proxied.push(client);
    }
}

/// The soft limit is the shell's, not what the system allows.
#[tokio::test]
async fn the_limit_of_open_files_is_raised() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = Gateway::start_in_shell(&config(&origin, ""), "ulimit -Sn 40; ulimit -Hn 900; exec \"$@\"");
    gateway.wait_for_log("raised the limit of open files").await;
    gateway.wait_for_log("may need more open files").await;
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut client = Client::connect(gateway.address).await;
        client.write(GET).await;
        assert_eq!(client.response().await.status(), 200);
        held.push(client);
    }
    assert_eq!(gateway.metrics().await.sum("forebay_accept_errors_total", &[]), 0.0);
}
