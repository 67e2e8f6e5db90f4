//! How long a request may take: by the route, and by what its client asks for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::message::{Kind, Reader};
use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, ask, get, serve, within};

const DEADLINE: &str = "[route.deadline]\nrequest_header = \"x-request-timeout\"\n\
                        upstream_header = \"x-deadline-ms\"\n";
const NO_CACHE: &str = "[route.cache]\nenabled = false\n";

/// Longer than any answer takes that does come.
const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_a_client_asks_for_only_ever_shortens() {
    let origin = Origin::start(|request, _| match request.target() {
        "/never" => Reply::ok("never").stall_after(0),
        _ => Reply::ok("x"),
    })
    .await;
    let route = |timeout: &str| format!("timeout = \"{timeout}\"\n{DEADLINE}{NO_CACHE}");
    let patient = Gateway::before(origin.address, &route("1m")).await;
    for (name, value) in
        [("x-request-timeout", "200ms"), ("x-request-timeout", "200"), ("grpc-timeout", "200m")]
    {
        let begun = Instant::now();
        let answer = ask(patient.address, "GET", "/never", &[(name, value)]).await;
        assert_eq!(answer.status(), 504, "{name}: {value}");
        assert!(answer.text().contains("\"deadline\""), "{}", answer.text());
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(200) && took < LONG, "{name}: {value}: {took:?}");
    }
    for ignored in ["soon", "", "-5"] {
        assert_eq!(ask(patient.address, "GET", "/", &[("x-request-timeout", ignored)]).await.status(), 200);
    }
    patient.at_rest().await;
    let hasty = Gateway::before(origin.address, &route("300ms")).await;
    for (name, value) in [("x-request-timeout", "1m"), ("grpc-timeout", "1H")] {
        let begun = Instant::now();
        assert_eq!(ask(hasty.address, "GET", "/never", &[(name, value)]).await.status(), 504);
        assert!(begun.elapsed() < LONG, "{name}: {:?}", begun.elapsed());
    }
    hasty.at_rest().await;
}

/// Without the table nobody listens to clients.
#[tokio::test]
async fn it_is_opt_in() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("x").after(&gate)).await;
    let gateway = Gateway::before(origin.address, "").await;
    let fields = [("grpc-timeout", "1n"), ("x-request-timeout", "0")];
    let asking = tokio::spawn(async move { ask(gateway.address, "GET", "/", &fields).await });
    let asked = origin.wait_for(1).await;
    assert_eq!(asked[0].request.field("grpc-timeout"), Some("1n"), "it is forwarded as it is");
    gate.open();
    assert_eq!(asking.await.unwrap().status(), 200);
}

/// Each attempt is told what is left then.
#[tokio::test]
async fn the_upstream_is_told_what_is_left() {
    let origin = Origin::start(|_, count| match count {
        0 => Reply::new(503, &[], "").late(Duration::from_millis(100)),
        _ => Reply::ok("x"),
    })
    .await;
    let route = format!("timeout = \"30s\"\n{DEADLINE}{NO_CACHE}");
    let gateway = Gateway::before(origin.address, &route).await;
    let fields = [("grpc-timeout", "20S"), ("x-deadline-ms", "1000000")];
    assert_eq!(ask(gateway.address, "GET", "/", &fields).await.status(), 200);
    let told = origin.asked().into_iter().map(|asked| {
        let left: u64 = asked.request.field("x-deadline-ms").unwrap().parse().unwrap();
        let grpc = asked.request.field("grpc-timeout").unwrap();
        (left, grpc.strip_suffix('u').unwrap().parse::<u64>().unwrap() / 1000)
    });
    let told: Vec<_> = told.collect();
    assert!(told[0].0 <= 20_000 && told[0].0 > 10_000, "{told:?}");
    assert!(told[1].0 + 100 <= told[0].0, "{told:?}");
    assert!(told.iter().all(|(left, grpc)| left == grpc), "{told:?}");
    // The route's own time is told too, and nobody is sent a grpc-timeout who sent none.
    assert_eq!(get(gateway.address, "/").await.status(), 200);
    let last = &origin.asked()[2].request;
    let left: u64 = last.field("x-deadline-ms").unwrap().parse().unwrap();
    assert!(left <= 30_000 && left > 20_000, "{left}");
    assert_eq!(last.field("grpc-timeout"), None);
    gateway.at_rest().await;
}

/// An origin whose answers never end: a byte every few milliseconds.
async fn trickle() -> SocketAddr {
    serve(|mut stream: TcpStream| async move {
        let mut reader = Reader::default();
        while let Some(request) = reader.message(&mut stream, Kind::Request).await {
            let (framing, piece): (_, &[u8]) = match request.target() {
                "/chunked" => ("transfer-encoding: chunked", b"1\r\nx\r\n"),
                _ => ("content-length: 1000000000", b"x"),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{framing}\r\n\r\n");
            if stream.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            while stream.write_all(piece).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await
}

/// A body that trickles ends at the deadline, and never as if it were whole.
#[tokio::test]
async fn a_trickling_body_is_aborted() {
    let origin = trickle().await;
    for (what, route, field) in [
        ("the route's time, from the store", "timeout = \"500ms\"".to_owned(), ("x-a", "b")),
        ("the route's time, passed through", format!("timeout = \"500ms\"\n{NO_CACHE}"), ("x-a", "b")),
        ("the client's time", format!("{DEADLINE}{NO_CACHE}"), ("x-request-timeout", "500ms")),
    ] {
        let gateway = Gateway::before(origin, &route).await;
        for target in ["/chunked", "/counted"] {
            let begun = Instant::now();
            let answer = ask(gateway.address, "GET", target, &[field]).await;
            assert_eq!((answer.status(), answer.complete), (200, false), "{what} {target}");
            assert!(!answer.body.is_empty() && !answer.raw.ends_with(b"0\r\n\r\n"), "{what} {target}");
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(500) && took < LONG, "{what} {target}: {took:?}");
        }
        gateway.at_rest().await;
        assert_eq!(gateway.metrics().await.sum("forebay_cache_stored_total", &[]), 0.0, "{what}");
    }
}

/// The same over HTTP/2: the stream is reset, and the connection lives on.
#[tokio::test]
async fn a_trickling_stream_is_reset() {
    let origin = trickle().await;
    let gateway = Gateway::before(origin, &format!("timeout = \"500ms\"\n{NO_CACHE}")).await;
    let mut client = H2::connect(gateway.address).await;
    for target in ["/chunked", "/counted"] {
        let url = format!("http://test.example{target}");
        let response = client.begin(&url).await;
        let mut body = within("a response", response).await.unwrap().into_body();
        let mut bytes = 0;
        let end = loop {
            match within("the body's end", body.data()).await {
                Some(Ok(data)) => {
                    bytes += data.len();
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                end => break end,
            }
        };
        let error = end.expect("no clean end").unwrap_err();
        assert!(error.is_reset() && bytes > 0, "{target}: {error:?} after {bytes}");
    }
    gateway.at_rest().await;
}

/// What clients ask for is no endpoint's failure, or any of them could have it ejected.
#[tokio::test]
async fn a_hasty_client_harms_nobody() {
    let origin = Origin::start(|request, _| match request.target() {
        "/slow" => Reply::ok("slow").stall_after(0),
        _ => Reply::ok("x"),
    })
    .await;
    let ejection = "ejection = { consecutive_errors = 2, max_ejected = 1.0 }";
    let config = Gateway::config(origin.address, ejection, &format!("{DEADLINE}{NO_CACHE}"));
    let gateway = Gateway::start(&config);
    for _ in 0..8 {
        let answer = ask(gateway.address, "GET", "/slow", &[("x-request-timeout", "50ms")]).await;
        assert_eq!(answer.status(), 504);
    }
    assert_eq!(gateway.metrics().await.sum("forebay_upstream_ejections_total", &[]), 0.0);
    assert_eq!(get(gateway.address, "/").await.status(), 200);
    gateway.at_rest().await;
}

/// Who began to fill an entry does not decide how long others wait for it.
#[tokio::test]
async fn others_get_what_a_hasty_client_began() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::new(200, &[("cache-control", "max-age=60")], "x").after(&gate)).await;
    let gateway = Gateway::before(origin.address, DEADLINE).await;
    let address = gateway.address;
    let mut hasty = Client::connect(address).await;
    hasty.write("GET / HTTP/1.1\r\nhost: test.example\r\nx-request-timeout: 300ms\r\n\r\n").await;
    let asked = origin.wait_for(1).await;
    let told: u64 = asked[0].request.field("x-deadline-ms").unwrap().parse().unwrap();
    assert!(told > 300, "the origin is told how long the route waits: {told}");
    let other = tokio::spawn(get(address, "/"));
    assert_eq!(hasty.response().await.status(), 504);
    gate.open();
    assert_eq!(other.await.unwrap().text(), "x");
    assert_eq!(get(address, "/").await.text(), "x");
    assert_eq!(origin.asked().len(), 1);
    gateway.at_rest().await;
}
