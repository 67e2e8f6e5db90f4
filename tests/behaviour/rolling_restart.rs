//! One process takes the place of another while clients are at work: none of them notices.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};

use super::lifecycle::config;
use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, H2, Origin, Reply, get, within};

const RESTARTS: usize = 4;

/// How often clients asked, and what was wrong with the answers.
#[derive(Debug, Default)]
struct Tally {
    asked: AtomicUsize,
    stop: AtomicBool,
}

impl Tally {
    fn goes_on(&self) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        !self.stop.load(Ordering::SeqCst)
    }

    /// Waits until so many more requests were sent.
    async fn wait_for(&self, more: usize) {
        let wanted = self.asked.load(Ordering::SeqCst) + more;
        within("more requests", async {
            while self.asked.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

fn is_good(answer: &Message) -> bool {
    answer.status() == 200 && answer.text() == "x" && answer.complete
}

/// A request on a new connection, again and again.
async fn always_new(address: SocketAddr, target: &str, tally: Arc<Tally>) -> Vec<String> {
    let mut wrong = Vec::new();
    while tally.goes_on() {
        let answer = get(address, target).await;
        if !is_good(&answer) {
            wrong.push(format!("new connection: {answer:?}"));
        }
    }
    wrong
}

/// A request that must not be repeated, on a connection that is kept for as long as nobody says that it ends.
async fn keeps(address: SocketAddr, pause: Duration, tally: Arc<Tally>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut client = Client::connect(address).await;
    let mut before = 0;
    while tally.goes_on() {
        client.write("POST /kept HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab").await;
        let answer = client.response().await;
        if !is_good(&answer) {
            wrong.push(format!("kept connection, after {before} requests, pause {pause:?}: {answer:?}"));
        }
        before += 1;
        if answer.field("connection") == Some("close") || !is_good(&answer) {
            (client, before) = (Client::connect(address).await, 0);
        }
        tokio::time::sleep(pause).await;
    }
    wrong
}

/// Whether the other side wants no more requests on this connection, and has not seen this one.
fn is_told_to_leave(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// Requests on an HTTP/2 connection; another one where this one says that it takes no more (RFC 9113 §6.8).
async fn multiplexes(address: SocketAddr, tally: Arc<Tally>) -> Vec<String> {
    let mut wrong = Vec::new();
    'connections: while tally.goes_on() {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let opened = Instant::now();
        let mut is_first = true;
        while tally.goes_on() {
            // A new connection is given time for its first request: twice of this.
            let is_too_early = |is_first| is_first && opened.elapsed() < Duration::from_secs(1);
            if within("room for a request", sender.ready()).await.is_err() {
                if is_too_early(is_first) {
                    wrong.push("HTTP/2: a new connection takes no request".to_owned());
                }
                continue 'connections;
            }
            let request = http::Request::post("http://a/streams").body(Full::new(Bytes::from("ab"))).unwrap();
            match within("a response", sender.try_send_request(request)).await {
                Ok(response) => match within("a body", response.into_body().collect()).await {
                    Ok(body) => {
                        is_first = false;
                        let body = body.to_bytes();
                        if body != "x" {
                            wrong.push(format!("HTTP/2 body: {body:?}"));
                        }
                    }
                    Err(error) => wrong.push(format!("HTTP/2 body: {error:?}")),
                },
                // It was not sent at all: the connection was known to end, or that became known just then.
                Err(error) if error.message().is_some() || is_told_to_leave(error.error()) => {
                    if is_too_early(is_first) {
                        wrong.push(format!("HTTP/2, {:?} after it was opened: {error:?}", opened.elapsed()));
                    }
                    continue 'connections;
                }
                Err(error) => wrong.push(format!("HTTP/2: {error:?}")),
            }
        }
    }
    wrong
}

/// All kinds of clients at once; what was wrong.
fn clients(address: SocketAddr, tally: &Arc<Tally>) -> tokio::task::JoinSet<Vec<String>> {
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(always_new(address, "/new", tally.clone()));
    clients.spawn(always_new(address, "/new", tally.clone()));
    clients.spawn(always_new(address, "/slow", tally.clone()));
    clients.spawn(keeps(address, Duration::ZERO, tally.clone()));
    clients.spawn(keeps(address, Duration::from_millis(300), tally.clone()));
    clients.spawn(multiplexes(address, tally.clone()));
    clients
}

async fn origin() -> Origin {
    Origin::start(|request, _| match request.target() {
        "/slow" => Reply::ok("x").late(Duration::from_millis(200)),
        _ => Reply::ok("x"),
    })
    .await
}

async fn none_failed(tally: &Tally, mut clients: tokio::task::JoinSet<Vec<String>>) {
    tally.wait_for(50).await;
    tally.stop.store(true, Ordering::SeqCst);
    while let Some(wrong) = clients.join_next().await {
        let wrong = wrong.unwrap();
        assert!(
            wrong.is_empty(),
            "{} of {:?}: {:#?}",
            wrong.len(),
            tally.asked,
            &wrong[..wrong.len().min(3)]
        );
    }
}

/// A port of ours that several processes may bind.
fn shared_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // As the gateway does it, so that it does not take this for another process that listens.
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn listens_on(config: &str, address: SocketAddr, more: &str) -> String {
    let ours = format!("[[listener]]\n{more}\naddress = \"{address}\"");
    let config = config.replace("[[listener]]\n\naddress = \"127.0.0.1:0\"", &ours);
    assert!(config.contains(&ours), "{config}");
    config
}

/// `SO_REUSEPORT`: the next process begins beside the last one, and tells it to stop once it is ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_one_process_after_the_other_takes_over() {
    let origin = origin().await;
    let (_reserved, address) = shared_port();
    let config = listens_on(&config(&origin, "", "", ""), address, "reuse_port = true");
    let mut gateway = Gateway::start(&config);
    let tally = Arc::new(Tally::default());
    let clients = clients(address, &tally);
    for _ in 0..RESTARTS {
        tally.wait_for(100).await;
        let replaced = gateway.pid().to_string();
        let next = Gateway::start_with_arguments(&config, &["--replace", &replaced]);
        assert_eq!(gateway.ended().await, Some(0), "{}", gateway.log());
        assert!(gateway.log().contains("Quietly"), "{}", gateway.log());
        assert!(next.log().contains("another process listens here too"), "{}", next.log());
        gateway = next;
    }
    none_failed(&tally, clients).await;
    gateway.at_rest().await;
}

/// A service manager keeps the socket: the next process finds in it who has come meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_over_restarts_on_a_socket_that_is_handed_over() {
    let origin = origin().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // By its address, and by its name whatever its address.
    let by_address = listens_on(&config(&origin, "", "", ""), address, "");
    let by_name = config(&origin, "", "socket = \"web\"", "");
    let mut gateway = Gateway::start_on(&by_address, &socket, "web");
    let tally = Arc::new(Tally::default());
    let clients = clients(address, &tally);
    for restart in 0..RESTARTS {
        assert_eq!(gateway.address, address);
        tally.wait_for(100).await;
        gateway.signal("TERM");
        assert_eq!(gateway.ended().await, Some(0), "{}", gateway.log());
        assert!(gateway.log().contains("Quietly"), "{}", gateway.log());
        gateway = Gateway::start_on(if restart % 2 == 0 { &by_name } else { &by_address }, &socket, "web");
    }
    none_failed(&tally, clients).await;
    gateway.at_rest().await;
}

/// The socket outlives a reload that takes its listener away and one that brings it back.
#[tokio::test]
async fn a_socket_that_was_handed_over_is_there_for_a_later_config() {
    let origin = origin().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let with = config(&origin, "", "socket = \"web\"", "")
        .replace("[[listener]]\n", "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\n");
    let without = config(&origin, "", "", "");
    let gateway = Gateway::start_on(&with, &socket, "web");
    assert_eq!(get(address, "/").await.text(), "x");
    for (times, config) in [(1.0, &without), (2.0, &with)] {
        gateway.rewrite(config);
        let applied = [("result", "applied")];
        gateway.wait_for("forebay_reloads_total", &applied, |count| count == times).await;
    }
    assert_eq!(get(address, "/").await.text(), "x");
}

/// What a config asks for and nobody has handed over is an error, as is what cannot be meant.
#[tokio::test]
async fn a_socket_that_is_not_handed_over_is_missed() {
    let origin = origin().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start_on(&config(&origin, "", "", ""), &socket, "web");
    gateway.wait_for_log("a socket was handed over that no listener uses").await;
    let file = gateway.folder().join("other.toml");
    std::fs::write(&file, config(&origin, "", "socket = \"web\"", "")).unwrap();
    let run = crate::support::gateway::program().args(["run", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("no socket named `web` was handed over"), "{said}");
    for (lines, complaint) in [
        ("reuse_port = true", "nobody could share this address"),
        ("reuse_port = true\nsocket = \"web\"", "this listener does not bind its address"),
    ] {
        std::fs::write(&file, config(&origin, "", lines, "")).unwrap();
        let check = crate::support::gateway::program().args(["check", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.code() == Some(2) && said.contains(complaint), "{said}");
    }
}

/// Without `reuse_port` an address belongs to one process.
#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let origin = origin().await;
    let gateway = Gateway::before(origin.address, "").await;
    for more in ["", "reuse_port = true"] {
        let other = listens_on(&config(&origin, "", "", ""), gateway.address, more);
        let file = gateway.folder().join("other.toml");
        std::fs::write(&file, other).unwrap();
        let run = crate::support::gateway::program().args(["run", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.code() == Some(1) && said.contains("in use"), "{more}: {said}");
    }
}

/// The pages for operators go to the next process when the last one is gone.
#[tokio::test]
async fn the_admin_address_is_waited_for() {
    let gate = Gate::new();
    let origin = Origin::always(Reply::ok("x").after(&gate)).await;
    let (_reserved, address) = shared_port();
    let config = listens_on(&config(&origin, "", "", ""), address, "reuse_port = true");
    let mut old = Gateway::start(&config);
    let mut client = Client::connect(address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for(1).await;
    let config =
        config.replace("[admin]\nlisten = \"127.0.0.1:0\"", &format!("[admin]\nlisten = \"{}\"", old.admin));
    let pid = old.pid().to_string();
    let next =
        tokio::task::spawn_blocking(move || Gateway::start_with_arguments(&config, &["--replace", &pid]));
    old.wait_for_log("draining").await;
    assert_eq!(get(old.admin, "/readyz").await.text(), "draining\n");
    gate.open();
    assert_eq!(client.response().await.text(), "x");
    assert_eq!(old.ended().await, Some(0));
    let next = next.await.unwrap();
    assert_eq!(next.admin, old.admin);
    assert_eq!(get(next.admin, "/readyz").await.status(), 200);
    assert!(next.log().contains("another process has the pages"), "{}", next.log());
}

/// A connection that is new, one that has just been used, and an HTTP/2 one: what each asks next, after the
/// process was told to stop, is answered, and the answer says that it was the last (RFC 9112 §9.6, RFC 9113
/// §6.8).
#[tokio::test]
async fn what_is_on_its_way_when_the_process_is_told_to_stop_is_answered() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| match request.target() {
            "/gate" => Reply::ok("x").after(&gate),
            _ => Reply::ok("x"),
        }
    })
    .await;
    let mut gateway = Gateway::before(origin.address, "").await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut new = Client::connect(gateway.address).await;
    let mut used = Client::connect(gateway.address).await;
    let mut begun = Client::connect(gateway.address).await;
    let mut new_h2 = H2::connect(gateway.address).await;
    begun.write("GET / HTTP/1.1\r\nho").await;
    used.write(request).await;
    assert_eq!(used.response().await.field("connection"), None);
    // All of them are known to the gateway.
    gateway.wait_for("forebay_connections_open", &[], |open| open == 4.0).await;
    let mut busy = Client::connect(gateway.address).await;
    busy.write("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for(2).await;
    gateway.signal("TERM");
    gateway.wait_for_log("draining").await;

    begun.write("st: a\r\n\r\n").await;
    for client in [&mut new, &mut used] {
        client.write(request).await;
    }
    for client in [&mut new, &mut used, &mut begun] {
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
        assert!(client.rest().await.is_empty());
    }
    assert_eq!(new_h2.get("http://a/").await.status, 200);
    new_h2.ended().await.unwrap();
    gate.open();
    assert_eq!(busy.response().await.field("connection"), Some("close"));
    assert_eq!(gateway.ended().await, Some(0));
    assert!(gateway.log().contains("Quietly"), "{}", gateway.log());
}

/// `sd_notify(3)`: the service manager knows when it may go on.
#[tokio::test]
async fn the_service_manager_is_told() {
    let origin = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let script = format!("NOTIFY_SOCKET='{}' exec \"$@\"", path.display());
    let mut gateway = Gateway::start_in_shell(&config(&origin, "", "", ""), &script);
    let read = || {
        let mut message = [0; 100];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    assert_eq!(read(), "READY=1");
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    gateway.signal("TERM");
    assert_eq!(read(), "STOPPING=1");
    assert_eq!(gateway.ended().await, Some(0));
}

/// What the kernel has taken for a listener that nobody has accepted yet is served, not reset.
#[test]
fn what_waits_in_a_closing_listener_is_accepted() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let origin = runtime.block_on(origin());
    let mut gateway = Gateway::start(&config(&origin, "", "", ""));
    // Stopped, it accepts nothing; the signal waits with the connections.
    gateway.signal("STOP");
    let mut waiting: Vec<_> =
        (0..20).map(|_| std::net::TcpStream::connect(gateway.address).unwrap()).collect();
    for client in &mut waiting {
        client.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    }
    gateway.signal("TERM");
    gateway.signal("CONT");
    for client in &mut waiting {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
    assert_eq!(runtime.block_on(gateway.ended()), Some(0));
}
