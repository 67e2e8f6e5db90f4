//! Uploads that do not come. A client can send a head, or a byte of a body now and then, at no cost to
//! itself; its request holds a place at the upstream all the same. It has to make way for those that wait.

use std::net::SocketAddr;
use std::time::Duration;

use super::frames::{DATA, END_STREAM, Outcome, frame, open, outcome, post, preface};
use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply, get, within};

/// A gateway whose upstream takes so many at once, with these rules beside; nothing is stored.
fn gateway(origin: SocketAddr, limit: u32, concurrency: &str, server: &str) -> Gateway {
    let upstream = format!("concurrency = {{ mode = \"fixed\", limit = {limit}, {concurrency} }}");
    let config = Gateway::config(origin, &upstream, "cache = { enabled = false }");
    Gateway::start(&config.replace("[server]\n", &format!("[server]\n{server}\n")))
}

const COUNTED: &str = "POST /cut HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";
const CHUNKED: &str = "POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// Clients that have sent this, all at the upstream.
async fn stalled(gateway: &Gateway, send: &[&str]) -> Vec<Client> {
    let mut clients = Vec::new();
    for (count, send) in send.iter().enumerate() {
        let mut client = Client::connect(gateway.address).await;
        client.write(send).await;
        gateway.wait_for("forebay_admission_in_flight", &[], |now| now == count as f64 + 1.0).await;
        clients.push(client);
    }
    clients
}

fn reason(answer: &Message) -> String {
    let body: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    body["reason"].as_str().unwrap().to_owned()
}

/// One place goes for one request that waits, and who has to go is told why.
#[tokio::test]
async fn a_stalled_upload_makes_way_for_one_that_waits() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = gateway(origin.address, 3, "upload_grace = \"300ms\"", "");
    let trickled = format!("{CHUNKED}5\r\nhe");
    let clients = stalled(&gateway, &[COUNTED, CHUNKED, &trickled]).await;
    for count in 1..=5 {
        assert_eq!(get(gateway.address, "/").await.status(), 200, "request {count}");
    }
    let made_way = gateway.metrics().await.sum("forebay_admission_made_way_total", &[]);
    assert_eq!(made_way, 1.0, "those that come later find that place free");
    let mut answers = tokio::task::JoinSet::new();
    for mut client in clients {
        answers.spawn(async move {
            let answer = tokio::time::timeout(Duration::from_millis(500), client.response()).await.ok()?;
            assert!(client.rest().await.is_empty(), "the connection ends");
            Some((answer.status(), reason(&answer)))
        });
    }
    let answers: Vec<_> = answers.join_all().await.into_iter().flatten().collect();
    let made_way = (408, "request_body_made_way".to_owned());
    assert_eq!(answers, [made_way], "and the others are left alone");
    gateway.at_rest().await;
    assert!(origin.asked().iter().all(|asked| asked.request.target() != "/cut" || !asked.request.complete));
}

/// RFC 9113: the same on HTTP/2, of a known length and of an unknown one.
#[tokio::test]
async fn a_stalled_stream_makes_way() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = gateway(origin.address, 1, "upload_grace = \"200ms\"", "");
    let fields: [&[(&str, &str)]; 2] = [&[("content-length", "9")], &[]];
    for fields in fields {
        let mut client = Client::connect(gateway.address).await;
        client.write([preface(), open(&post(fields)), frame(DATA, 0, 1, b"x")].concat()).await;
        gateway.wait_for("forebay_admission_in_flight", &[], |now| now == 1.0).await;
        assert_eq!(get(gateway.address, "/").await.status(), 200, "{fields:?}");
        assert_eq!(outcome(&mut client).await, Outcome::Status(408), "{fields:?}");
        gateway.at_rest().await;
    }
}

/// A byte now and then is no progress.
#[tokio::test]
async fn a_trickled_upload_makes_way() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = gateway(origin.address, 1, "upload_grace = \"500ms\"", "");
    let mut client = stalled(&gateway, &[COUNTED]).await.remove(0);
    let trickle = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                biased;
                answer = client.response() => return answer,
                _ = every.tick() => {}
            }
            client.write("x").await;
        }
    });
    assert_eq!(get(gateway.address, "/").await.status(), 200);
    let answer = within("an answer", trickle).await.unwrap();
    assert_eq!((answer.status(), reason(&answer)), (408, "request_body_made_way".to_owned()));
    gateway.at_rest().await;
}

/// Where nobody waits, or `upload_grace` is nought, a body has all of `body_timeout`.
#[tokio::test]
async fn without_need_an_upload_takes_its_time() {
    let origin = Origin::start(|request, _| Reply::ok(&request.body)).await;
    let patient = "body_timeout = \"1s\"\nmin_rate = \"0B\"";
    let alone = gateway(origin.address, 1, "upload_grace = \"50ms\"", patient);
    let mut client =
        stalled(&alone, &["POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n"]).await.remove(0);
    for byte in ["a", "b", "c"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.write(byte).await;
    }
    assert_eq!(client.response().await.text(), "abc");
    let mut client = stalled(&alone, &[COUNTED]).await.remove(0);
    assert_eq!(reason(&client.response().await), "request_body_timeout");

    let off = gateway(origin.address, 1, "upload_grace = \"0s\", queue_timeout = \"10s\"", patient);
    let mut client = stalled(&off, &[COUNTED]).await.remove(0);
    assert_eq!(get(off.address, "/").await.status(), 200);
    assert_eq!(reason(&client.response().await), "request_body_timeout");
}

/// An upload that keeps coming stays, however many wait.
#[tokio::test]
async fn an_upload_that_comes_is_left_alone() {
    let origin = Origin::start(|request, _| Reply::ok(request.body.len().to_string())).await;
    let gateway = gateway(origin.address, 1, "upload_grace = \"1s\", queue_timeout = \"20s\"", "");
    let mut client = Client::connect(gateway.address).await;
    client.write(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 30 * 8192)).await;
    gateway.wait_for("forebay_admission_in_flight", &[], |now| now == 1.0).await;
    let waiting = tokio::spawn(get(gateway.address, "/waiting"));
    gateway.wait_for("forebay_admission_queued", &[], |now| now == 1.0).await;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(70)).await;
        client.write([b'x'; 8192]).await;
    }
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (200, "245760"));
    assert_eq!(waiting.await.unwrap().status(), 200);
    gateway.at_rest().await;
}

/// Some hundred clients that send nothing do not keep others from the upstream until their time is up, which
/// is half a minute.
#[tokio::test]
async fn a_crowd_of_stalled_uploads_does_not_close_the_upstream() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let config = Gateway::config(origin.address, "", "cache = { enabled = false }");
    let gateway = Gateway::start(&config.replace("[server]\n", "[server]\nmin_rate = \"0B\"\n"));
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(gateway.address).await;
        client.write(COUNTED).await;
        crowd.push(client);
    }
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now >= 200.0).await;
    let begun = tokio::time::Instant::now();
    within("an answer of the upstream", async {
        while get(gateway.address, "/first").await.status() != 200 {}
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(15), "after {:?}", begun.elapsed());
    for count in 0..20 {
        assert_eq!(get(gateway.address, "/").await.status(), 200, "request {count}");
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("forebay_admission_made_way_total", &[]) >= 20.0);
    drop(crowd);
    gateway.at_rest().await;
}

/// Where the end of a body and the loss of its place come together, there is one answer, and no permit is
/// lost or given twice.
#[tokio::test]
async fn late_ends_lose_no_permit() {
    let origin = Origin::always(Reply::ok("ok")).await;
    let gateway = gateway(origin.address, 2, "upload_grace = \"100ms\", queue = 100", "");
    let mut all = tokio::task::JoinSet::new();
    for index in 0..40_u64 {
        let address = gateway.address;
        all.spawn(async move {
            let mut client = Client::connect(address).await;
            client.write([preface(), open(&post(&[]))].concat()).await;
            tokio::time::sleep(Duration::from_millis(80 + index)).await;
            client.write(frame(DATA, END_STREAM, 1, b"x")).await;
            outcome(&mut client).await
        });
    }
    while let Some(outcome) = all.join_next().await {
        assert!(matches!(outcome.unwrap(), Outcome::Status(200 | 408 | 503)));
    }
    gateway.at_rest().await;
    assert_eq!(get(gateway.address, "/").await.status(), 200);
}

/// An upstream that is full is asked nothing more; what is stored and the admin's pages are served all the
/// same, and who is refused keeps the connection and is told when to come again.
#[tokio::test]
async fn a_full_upstream_refuses_and_all_else_goes_on() {
    let origin = Origin::always(Reply::new(200, &[("cache-control", "max-age=60")], "ok")).await;
    let upstream = "concurrency = { mode = \"fixed\", limit = 2, queue = 0, queue_timeout = \"1s\" }";
    let gateway = Gateway::start(&Gateway::config(origin.address, upstream, ""));
    assert_eq!(get(gateway.address, "/stored").await.status(), 200);
    let held = stalled(&gateway, &[COUNTED, CHUNKED]).await;
    let asked = origin.asked().len();
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        client.write("GET /other HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
        let refused = client.response().await;
        assert_eq!((refused.status(), reason(&refused)), (503, "queue_full".to_owned()));
        assert!(refused.field("retry-after").is_some() && refused.field("connection").is_none());
        client.write("GET /stored HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
        let hit = client.response().await;
        assert!(hit.field("cache-status").unwrap().starts_with("forebay; hit"), "{hit:?}");
    }
    for page in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gateway.page(page).await.status(), 200, "{page}");
    }
    assert_eq!(origin.asked().len(), asked);
    drop(held);
    gateway.at_rest().await;
}
