//! Faults of the origin as a whole: it refuses, it comes and goes, it is gone, or it stands still.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::places::at_start;
use crate::support::{Gateway, Origin, Reply, ask, get, within};

const NO_CACHE: &str = "[route.cache]\nenabled = false";

/// The gateway's config with these endpoints.
fn before_all(origins: &[SocketAddr], upstream: &str, route: &str) -> String {
    let endpoints: Vec<_> = origins.iter().map(|origin| format!("\"http://{origin}\"")).collect();
    let config = Gateway::config(origins[0], upstream, route);
    config.replace(&format!("[{}]", endpoints[0]), &format!("[{}]", endpoints.join(", ")))
}

/// Asks until the answer is good, and says how long that took and what came before.
async fn recovery(gateway: &Gateway) -> (Duration, Vec<u16>) {
    let begun = Instant::now();
    let mut before = Vec::new();
    within("a good answer", async {
        loop {
            match get(gateway.address, "/").await.status() {
                200 => return,
                other => before.push(other),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    (begun.elapsed(), before)
}

/// RFC 9110 §10.2.3, §15.6.4: its word is passed on, field and all, and it is not asked twice; what is stored
/// stands in where it may (RFC 5861 §4). When it is well again, so is the route.
#[tokio::test]
async fn it_refuses_for_now() {
    let well = Arc::new(AtomicBool::new(true));
    let origin = Origin::start({
        let well = well.clone();
        move |request, _| match (well.load(Ordering::SeqCst), request.target()) {
            (false, _) => Reply::new(503, &[("retry-after", "120")], "later"),
            (true, "/stored") => {
                Reply::new(200, &[("cache-control", "max-age=0, stale-if-error=600")], "stored")
            }
            (true, _) => Reply::ok("well"),
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let before = at_start(&gateway).await;
    assert_eq!(get(gateway.address, "/stored").await.text(), "stored");
    well.store(false, Ordering::SeqCst);
    const REQUESTS: usize = 40;
    for _ in 0..REQUESTS {
        let answer = get(gateway.address, "/").await;
        let got = (answer.status(), answer.field("retry-after"), answer.text());
        assert_eq!(got, (503, Some("120"), "later"));
    }
    assert_eq!(origin.asked().len(), 1 + REQUESTS, "nothing was tried again");
    let stale = get(gateway.address, "/stored").await;
    assert_eq!((stale.status(), stale.text()), (200, "stored"));
    well.store(true, Ordering::SeqCst);
    let (took, failed) = recovery(&gateway).await;
    assert!(took < Duration::from_secs(2), "{took:?}: {failed:?}");
    before.is_back(&gateway).await;
}

/// Up and down all the time: it is asked a bounded number of times, clients see less of it than there is, and
/// it is not given up.
#[tokio::test]
async fn it_comes_and_goes() {
    const REQUESTS: usize = 200;
    let fail: [fn() -> Reply; 3] =
        [|| Reply::new(503, &[], ""), || Reply::raw("x").reset_after(0), || Reply::ok("lost").cut_after(20)];
    for fail in fail {
        // Three good answers, then a bad one.
        let (down, good) = (move |count: usize| count % 4 == 3, || Reply::ok("good"));
        let count = Arc::new(AtomicUsize::new(0));
        let script = {
            let count = count.clone();
            move |_: &_, _| if down(count.fetch_add(1, Ordering::SeqCst)) { fail() } else { good() }
        };
        let (one, two) = (Origin::start(script.clone()).await, Origin::start(script).await);
        let route = format!("{NO_CACHE}\n[route.retry]\nattempts = 3\nbackoff = {{ base = \"1ms\" }}");
        let config = before_all(&[one.address, two.address], "", &route);
        let gateway =
            Gateway::start(&config.replace("attempts = 3", "attempts = 3\nbudget = { ratio = 0.5 }"));
        let before = at_start(&gateway).await;
        let mut failed = 0;
        for _ in 0..REQUESTS {
            failed += usize::from(get(gateway.address, "/").await.status() != 200);
        }
        assert!(failed <= REQUESTS / 100, "{failed} of {REQUESTS}");
        let asked = one.asked().len() + two.asked().len();
        assert!(asked <= REQUESTS * 3 / 2, "{asked} for {REQUESTS}");
        before.is_back(&gateway).await;
    }
}

/// All endpoints are down: a quick word for it, and no longer than it is so. Nobody is left out for the time
/// of an ejection when there is nobody else.
#[tokio::test]
async fn all_endpoints_are_down() {
    type Fault = fn() -> Reply;
    let faults: [Fault; 3] =
        [|| Reply::new(503, &[], ""), || Reply::new(500, &[], ""), || Reply::raw("x").reset_after(0)];
    for fault in faults {
        let well = Arc::new(AtomicBool::new(true));
        let mut origins = Vec::new();
        for _ in 0..3 {
            let well = well.clone();
            let script =
                move |_: &_, _| if well.load(Ordering::SeqCst) { Reply::ok("well") } else { fault() };
            origins.push(Origin::start(script).await);
        }
        let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
        let gateway = Gateway::start(&before_all(&addresses, "", NO_CACHE));
        let before = at_start(&gateway).await;
        assert_eq!(get(gateway.address, "/").await.text(), "well");
        well.store(false, Ordering::SeqCst);
        let begun = Instant::now();
        const REQUESTS: usize = 60;
        for _ in 0..REQUESTS {
            assert!(get(gateway.address, "/").await.status() >= 500);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let asked: usize = origins.iter().map(|origin| origin.asked().len()).sum();
        // What the budget gives on trust, once; and a connection each that breaks as it is used again.
        assert!(asked <= 1 + REQUESTS + 10 + origins.len(), "{asked} for {REQUESTS}");
        well.store(true, Ordering::SeqCst);
        let (took, failed) = recovery(&gateway).await;
        assert!(took < Duration::from_secs(3), "{took:?}: {failed:?}");
        before.is_back(&gateway).await;
    }
}

/// A process that answers, to be stopped: a gateway of its own.
fn process() -> Gateway {
    Gateway::start(
        "[server]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"x\"\nmatch = { path = \"/{*rest}\" }\nrespond = { status = 200, body = \"alive\" }\n",
    )
}

/// Stops a process, and waits until each of its threads stands: that takes a moment.
async fn stop(process: &Gateway) {
    process.signal("STOP");
    let running = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
        threads.flatten().any(|thread| {
            // The state comes after the name, which is in parentheses (proc(5)).
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('T')
        })
    };
    within("all threads to stop", async {
        while running() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A stopped process (SIGSTOP) keeps its connections and takes new ones, as its kernel does that; it just
/// never answers. 504 in time, and when it goes on, so do we.
#[tokio::test]
async fn it_stands_still() {
    for (protocol, retry) in [("http1", "attempts = 1"), ("http2", "attempts = 1"), ("http1", "attempts = 2")]
    {
        let origin = process();
        let upstream = format!("protocol = \"{protocol}\"\nread_timeout = \"700ms\"");
        let route = format!("{NO_CACHE}\n[route.retry]\n{retry}");
        let gateway = Gateway::start(&Gateway::config(origin.address, &upstream, &route));
        let before = at_start(&gateway).await;
        for round in 0..2 {
            assert_eq!(get(gateway.address, "/").await.text(), "alive", "{protocol}");
            stop(&origin).await;
            let mut clients = tokio::task::JoinSet::new();
            for method in ["GET", "GET", "GET", "POST", "POST"] {
                let address = gateway.address;
                clients.spawn(async move { (method, ask(address, method, "/", &[]).await) });
            }
            for (method, answer) in clients.join_all().await {
                assert_eq!(answer.status(), 504, "{protocol} {method}: {answer:?}");
                assert!(answer.text().contains("response_timeout"), "{protocol} {method}: {answer:?}");
            }
            gateway.at_rest().await;
            origin.signal("CONT");
            let (took, failed) = recovery(&gateway).await;
            assert!(took < Duration::from_secs(5), "{protocol}, round {round}: {took:?}: {failed:?}");
        }
        before.is_back(&gateway).await;
    }
}

/// A process that ends takes its connections with it: 502 at once, and nothing waits for anything.
#[tokio::test]
async fn it_is_killed() {
    let origin = process();
    let gateway = Gateway::start(&Gateway::config(origin.address, "", NO_CACHE));
    let before = at_start(&gateway).await;
    assert_eq!(get(gateway.address, "/").await.text(), "alive");
    stop(&origin).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let address = gateway.address;
        waiting.spawn(async move { get(address, "/").await });
    }
    gateway.wait_for("forebay_upstream_connections", &[("state", "active")], |now| now >= 5.0).await;
    drop(origin);
    for answer in waiting.join_all().await {
        assert!([502, 503].contains(&answer.status()), "{answer:?}");
    }
    assert!([502, 503].contains(&get(gateway.address, "/").await.status()));
    before.is_back(&gateway).await;
}
