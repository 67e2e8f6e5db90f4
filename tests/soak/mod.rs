//! Everything at once, at random: clients of every kind, an origin of every kind, reloads and purges.
//!
//! What must hold whatever happens: no wrong byte; nothing cut that looks whole; nobody gets another's
//! answer; nothing older than its lifetime and the last purge allow; an origin that works is never hidden
//! behind an error; nothing hangs; and once the clients are gone, so is all that was held for them.
//!
//! `FOREBAY_TEST_SOAK=600` runs it for that many seconds instead of a few, in rounds between which everybody
//! goes; `FOREBAY_TEST_SEED` repeats the choices of another run, `FOREBAY_TEST_CLIENTS` says how many clients
//! there are, and `FOREBAY_TEST_PROGRAM` which build of the gateway serves them.

mod asks;
mod clients;
mod multiplexed;
mod origin;
mod things;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::asks::Purges;
use self::clients::{Found, Io};
use self::things::{Area, now};
use crate::behaviour::tls::{certify, connect, tls};
use crate::support::{Client, Gateway};

const ROUND: Duration = Duration::from_secs(60);

/// By how much the resident set may grow between rounds that are alike, after the first.
const GROWTH: f64 = 48.0 * 1024.0 * 1024.0;

/// What all clients share.
#[derive(Debug)]
pub struct Soak {
    clear: SocketAddr,
    secure: SocketAddr,
    authority: CertificateDer<'static>,
    /// Purges that were carried out.
    pub purges: Purges,
    statuses: Mutex<BTreeMap<u16, u64>>,
    found: Mutex<Vec<String>>,
}

impl Soak {
    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        *self.statuses.lock().unwrap().entry(status).or_default() += 1;
    }

    fn found(&self, what: String) {
        let mut found = self.found.lock().unwrap();
        // The first ones tell most.
        if found.len() < 10 {
            eprintln!("soak: {what}");
            found.push(what);
        }
    }
}

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |value| value.parse().unwrap())
}

/// The config, some numbers of which a reload changes.
fn config(origin: SocketAddr, tls: &str, rng: &mut Rng) -> String {
    let mut config = format!(
        "[server]\nworkers = 2\nmax_requests_per_connection = {}\nmemory_limit = \"96MiB\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\nformat = \"text\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{tls}\n\
         [cache]\nmemory = \"24MiB\"\nmax_object = \"1MiB\"\n",
        rng.u32(100..200)
    );
    for name in ["good", "bad", "uploads"] {
        let connections = rng.u32(200..210);
        let _ = write!(
            config,
            "[upstream.{name}]\nendpoints = [\"http://{origin}\"]\nmax_connections = {connections}\n\
             [upstream.{name}.concurrency]\nlimit = 60\nmin = 40\nqueue = 2000\nqueue_timeout = \"30s\"\n\
             [upstream.{name}.ejection]\nconsecutive_errors = 0\nerror_rate = 0\n"
        );
    }
    for area in Area::ALL {
        let name = area.as_str();
        let upstream = if area.fails() { "bad" } else { "good" };
        let _ = write!(
            config,
            "[[route]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}/{{*rest}}\" }}\nupstream = \"{upstream}\"\n\
             timeout = \"{}s\"\n",
            rng.u32(50..55)
        );
        if matches!(area, Area::Whole | Area::Rough | Area::Limited) {
            config.push_str(
                "compress = { min_size = \"100B\" }\nhedge = { after = \"100ms\", max_extra = 0.2 }\n",
            );
        }
        if area == Area::Fall {
            config.push_str("[[route.fallback]]\nrespond = { status = 418, body = \"tea\" }\n");
        }
        if area == Area::Limited {
            let rate = rng.u32(20..40);
            let _ = write!(config, "[[route.rate_limit]]\nname = \"few\"\nrate = \"{rate}/s\"\nburst = 50\n");
        }
        let ranges = if area.has_ranges() { name } else { "whole" };
        let ahead = rng.bool();
        let _ = write!(
            config,
            "[route.cache]\nranges = \"{ranges}\"\nstale_while_revalidate = \"1s\"\nstale_if_error = \"5s\"\n\
             stale_on_overload = \"5s\"\nrefresh_ahead = {ahead}\nttl = {{ default = \"1s\" }}\n\
             [route.retry]\nattempts = 3\nper_try_timeout = \"20s\"\n"
        );
    }
    config.push_str(
        "[[route]]\nname = \"once\"\nmatch = { path = \"/once/{*rest}\" }\nupstream = \"uploads\"\n\
         [route.idempotency]\nttl = \"2s\"\n\
         [[route]]\nname = \"else\"\nmatch = { path = \"/{*rest}\" }\nupstream = \"uploads\"\n",
    );
    config
}

async fn session(soak: &Arc<Soak>, rng: &mut Rng, user: u32) -> Found {
    let multiplexed = rng.u8(..4) == 0;
    let secure = rng.u8(..4) == 0;
    let address = if secure { soak.secure } else { soak.clear };
    let io: Box<dyn Io> = if secure {
        let protocol = if multiplexed { "h2" } else { "http/1.1" };
        let shaken = connect(address, "soak.example", &soak.authority, &[protocol]).await;
        Box::new(shaken.map_err(|error| format!("no handshake: {error}"))?)
    } else {
        let connected = clients::bounded("connecting", TcpStream::connect(address)).await?;
        Box::new(connected.map_err(|error| format!("no connection: {error}"))?)
    };
    let secure = if secure { " over TLS" } else { "" };
    if multiplexed {
        let found = multiplexed::streams(Arc::clone(soak), rng, io, user).await;
        return found.map_err(|what| format!("HTTP/2{secure}: {what}"));
    }
    let (how, found) = match rng.u8(..16) {
        0..6 => ("in turn", clients::in_turn(soak, rng, io, user, 1).await),
        6 | 7 => ("pipelined", clients::in_turn(soak, rng, io, user, 5).await),
        8 | 9 => ("leaving", clients::leave(soak, rng, io, user).await),
        10 => ("slowly", clients::slowly(soak, rng, io, user).await),
        11 | 12 => ("uploading", clients::upload(soak, rng, io).await),
        13 => ("twice", clients::twice(soak, rng, io).await),
        14 => ("talking", clients::talk(rng, io).await),
        _ => ("listening", clients::listen(rng, io).await),
    };
    found.map_err(|what| format!("{how}{secure}: {what}"))
}

/// A client: one session after the other.
async fn client(soak: Arc<Soak>, mut rng: Rng, user: u32, end: Instant) {
    while Instant::now() < end {
        if let Err(what) = session(&soak, &mut rng, user).await {
            soak.found(what);
        }
    }
}

/// Purges and reloads until the end.
async fn disturb(soak: &Soak, gateway: &Gateway, origin: SocketAddr, tls: &str, rng: &mut Rng, end: Instant) {
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.u64(50..800))).await;
        match rng.u8(..6) {
            0 => {
                gateway.rewrite(&config(origin, tls, rng));
                gateway.signal("HUP");
            }
            1 => {
                gateway.rewrite("[server]\nworkers = \"many\"\n");
                gateway.signal("HUP");
            }
            _ => purge(soak, gateway, rng).await,
        }
    }
    gateway.rewrite(&config(origin, tls, rng));
    gateway.signal("HUP");
}

async fn purge(soak: &Soak, gateway: &Gateway, rng: &mut Rng) {
    let area = rng.choice(Area::ALL).unwrap().as_str();
    let id = rng.u32(..8);
    let soft = rng.u8(..4) == 0;
    let (what, mut order) = match rng.u8(..8) {
        0 => ("all".to_owned(), json!({ "all": true })),
        1 | 2 => (format!("{area}-{}", id % 4), json!({ "tag": format!("{area}-{}", id % 4) })),
        3 => (area.to_owned(), json!({ "tag": area })),
        4 => (area.to_owned(), json!({ "prefix": format!("http://soak.example/{area}/") })),
        _ => (format!("/{area}/{id}"), json!({ "url": format!("http://soak.example/{area}/{id}") })),
    };
    if soft {
        order["soft"] = true.into();
    }
    let body = order.to_string();
    let begun = now();
    let mut client = Client::connect(gateway.admin).await;
    client
        .write(format!(
            "POST /api/v1/cache/purge HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            gateway.admin,
            body.len()
        ))
        .await;
    let answer = client.response().await;
    if answer.status() != 200 {
        soak.found(format!("{body}: {answer:?}"));
    } else if !soft {
        soak.purges.note(&what, begun);
    }
}

/// What must not be in the log.
fn complaints(log: &str) -> Vec<&str> {
    let bad = |line: &&str| {
        (line.contains("ERROR") || line.contains("WARN") || line.contains("panic"))
            && !line.contains("reload")
    };
    log.lines().filter(bad).take(20).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once() {
    let time = Duration::from_secs(setting("FOREBAY_TEST_SOAK", 10));
    let seed = setting("FOREBAY_TEST_SEED", fastrand::u64(..1_000_000));
    let clients = setting("FOREBAY_TEST_CLIENTS", 20) as u32;
    eprintln!("soak: seed {seed}, {clients} clients, {time:?}");
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let authority = certify(folder.path(), "soak", &["soak.example"]);
    let tls = tls(&folder, &["soak"]);
    let origin = origin::start().await;
    let gateway = Gateway::start(&config(origin, &tls, &mut rng));
    let soak = Arc::new(Soak {
        clear: gateway.addresses[0],
        secure: gateway.addresses[1],
        authority,
        purges: Purges::default(),
        statuses: Mutex::default(),
        found: Mutex::default(),
    });
    gateway.metrics().await;
    let before = gateway.holds().await;
    let mut resident = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end && soak.found.lock().unwrap().is_empty() {
        let round = (Instant::now() + ROUND).min(end);
        let mut tasks = JoinSet::new();
        for user in 0..clients {
            tasks.spawn(client(Arc::clone(&soak), Rng::with_seed(rng.u64(..)), user, round));
        }
        disturb(&soak, &gateway, origin, &tls, &mut rng, round).await;
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        gateway.back_to([before[0], before[1], before[2], f64::MAX], 0, "after a round").await;
        let metrics = gateway.metrics().await;
        resident.push(gateway.holds().await[3]);
        let used = |what| metrics.sum("forebay_memory_bytes", &[("use", what)]);
        for what in ["filling", "replay", "encoding"] {
            assert_eq!(used(what), 0.0, "{what}");
        }
        let (statuses, stored) = (soak.statuses.lock().unwrap().clone(), used("stored"));
        eprintln!("soak: {statuses:?}, {stored} bytes stored, resident {resident:?}");
    }
    let found = soak.found.lock().unwrap().clone();
    assert!(found.is_empty(), "seed {seed}: {}", found.join("\n"));
    assert_eq!(complaints(&gateway.log()), Vec::<&str>::new(), "seed {seed}");
    if let [_, second, .., last] = resident[..] {
        assert!(last - second < GROWTH, "seed {seed}: {resident:?}");
    }
}
