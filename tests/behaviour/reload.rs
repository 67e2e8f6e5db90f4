//! Reload: what changes, and all that must not notice.

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, get};

/// An upgraded connection through the gateway, to an origin that answers what it gets.
#[derive(Debug)]
pub struct Tunnel {
    /// The client's end.
    pub client: Client,
}

impl Tunnel {
    /// An origin that switches protocols when it is asked to, and then answers `ping` with `pong`.
    pub async fn origin() -> Origin {
        Origin::start(Self::answer).await
    }

    /// What such an origin answers.
    pub fn answer(request: &Message, _: usize) -> Reply {
        match (request.field("upgrade"), request.start.as_str()) {
            // RFC 6455 §4.2.2: the accept belongs to the key that `open` sends.
            (Some("websocket"), _) => Reply::raw(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            ),
            (_, "ping") => Reply::raw("pong\r\n\r\n"),
            _ => Reply::ok("no tunnel"),
        }
    }

    /// Opens one, to whatever origin the gateway has for it.
    pub async fn open(gateway: &Gateway) -> Self {
        let mut client = Client::connect(gateway.address).await;
        let head = "GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write(head).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 101, "{answer:?}");
        Self { client }
    }

    /// There and back.
    pub async fn echo(&mut self) {
        self.client.write("ping\r\n\r\n").await;
        assert_eq!(self.client.head_response().await.start, "pong");
    }
}

/// Waits until so many reloads had this result.
async fn reloaded(gateway: &Gateway, result: &str, times: f64) {
    gateway.wait_for("forebay_reloads_total", &[("result", result)], |count| count == times).await;
}

/// A route that answers by itself.
fn fixed(path: &str) -> String {
    format!(
        "\n[[route]]\nname = \"fixed {path}\"\nmatch = {{ path = \"{path}\" }}\n\
         respond = {{ body = \"fixed\" }}\n"
    )
}

#[tokio::test]
async fn a_new_route_is_live_after_a_signal_and_after_a_change_of_the_file() {
    let origin = Origin::always(Reply::new(404, &[], "not here")).await;
    let config = Gateway::config(origin.address, "", "");
    let gateway = Gateway::start(&config);
    let mut client = Client::connect(gateway.address).await;
    let mut ask = async |path: &str| {
        client.write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        client.response().await.text().to_owned()
    };
    assert_eq!(ask("/first").await, "not here");
    // An atomic rename, and nothing else.
    gateway.rewrite(&format!("{config}{}", fixed("/first")));
    reloaded(&gateway, "applied", 1.0).await;
    assert_eq!(ask("/first").await, "fixed", "on the connection that was there before");
    assert_eq!(ask("/second").await, "not here");
    gateway.rewrite(&format!("{config}{}", fixed("/second")));
    gateway.signal("HUP");
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count >= 2.0).await;
    assert_eq!(ask("/second").await, "fixed");
    assert_eq!(ask("/first").await, "not here", "what is gone from the file is gone");
}

/// State survives where its plan is equal: stored responses, what a client has used of a limit, pooled
/// connections.
#[tokio::test]
async fn state_survives_where_its_plan_is_equal() {
    let fresh = [("cache-control", "max-age=600")];
    let origin = Origin::start(move |request, count| match request.target() {
        "/stored" => Reply::new(200, &fresh, format!("{count}")),
        _ => Reply::ok("x"),
    })
    .await;
    let limited = format!(
        "[route.cache]\nenabled = true\n{}[[route.rate_limit]]\nname = \"few\"\nrate = \"1/h\"\nburst = 2\n",
        fixed("/limited")
    );
    let config = Gateway::config(origin.address, "idle_timeout = \"5m\"", &limited);
    let gateway = Gateway::start(&config);
    assert_eq!(get(gateway.address, "/stored").await.text(), "0");
    assert_eq!(get(gateway.address, "/limited").await.status(), 200);

    gateway.rewrite(&format!("{config}{}", fixed("/more")));
    reloaded(&gateway, "applied", 1.0).await;
    assert_eq!(get(gateway.address, "/more").await.text(), "fixed");
    assert_eq!(get(gateway.address, "/stored").await.text(), "0");
    assert_eq!(get(gateway.address, "/limited").await.status(), 200);
    assert_eq!(get(gateway.address, "/limited").await.status(), 429, "two of two are used");
    get(gateway.address, "/pooled").await;
    let asked = origin.wait_for(2).await;
    assert!(asked.iter().all(|asked| asked.connection == 0), "{asked:?}");

    // Another plan, another state.
    let other = config.replace("burst = 2", "burst = 3").replace("5m", "4m");
    gateway.rewrite(&other.replace("enabled = true", "enabled = true\nheuristic = true"));
    reloaded(&gateway, "applied", 2.0).await;
    assert_eq!(get(gateway.address, "/limited").await.status(), 200);
    assert_eq!(get(gateway.address, "/stored").await.text(), "2");
    assert_eq!(origin.wait_for(3).await[2].connection, 1);
}

#[tokio::test]
async fn what_is_under_way_does_not_notice() {
    let gate = Gate::new();
    let slow = Reply::ok("old").after(&gate);
    let old = Origin::start(move |request, count| match request.target() {
        "/slow" => slow.clone(),
        _ => Tunnel::answer(request, count),
    })
    .await;
    let new = Origin::always(Reply::ok("new")).await;
    let gateway = Gateway::before(old.address, "").await;
    let mut tunnel = Tunnel::open(&gateway).await;
    tunnel.echo().await;
    let slow = tokio::spawn(get(gateway.address, "/slow"));
    old.wait_for(3).await;

    gateway.rewrite(&Gateway::config(new.address, "", ""));
    reloaded(&gateway, "applied", 1.0).await;
    assert_eq!(get(gateway.address, "/").await.text(), "new");
    tunnel.echo().await;
    gate.open();
    assert_eq!(slow.await.unwrap().text(), "old");
}

#[tokio::test]
async fn a_bad_file_is_told_of_and_ignored() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let config = Gateway::config(origin.address, "", "");
    let gateway = Gateway::start(&config);
    gateway.rewrite(&config.replace("upstream = \"origin\"", "upstream = \"orgin\""));
    reloaded(&gateway, "refused", 1.0).await;
    gateway.wait_for_log("did you mean `origin`?").await;
    gateway.wait_for_log("forebay.toml:").await;
    assert_eq!(get(gateway.address, "/").await.text(), "hello");
    // What cannot be had is as bad: an address that is taken.
    let taken = format!("[[listener]]\naddress = \"{}\"\n[[route]]", origin.address);
    gateway.rewrite(&format!("{}{}", config.replace("[[route]]", &taken), fixed("/new")));
    reloaded(&gateway, "failed", 1.0).await;
    gateway.wait_for_log(&format!("cannot listen on {}", origin.address)).await;
    assert_eq!(get(gateway.address, "/new").await.text(), "hello", "all or nothing");
    assert_eq!(gateway.addresses, gateway.said());
    // And the way back is open.
    gateway.rewrite(&format!("{config}{}", fixed("/new")));
    reloaded(&gateway, "applied", 1.0).await;
    assert_eq!(get(gateway.address, "/new").await.text(), "fixed");
}

#[tokio::test]
async fn a_file_that_vanished_is_ignored() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let config = Gateway::config(origin.address, "", "");
    let gateway = Gateway::start(&config);
    std::fs::remove_file(gateway.folder().join("forebay.toml")).unwrap();
    gateway.signal("HUP");
    reloaded(&gateway, "refused", 1.0).await;
    gateway.wait_for_log("cannot read the config file").await;
    assert_eq!(get(gateway.address, "/new").await.text(), "hello");
    gateway.rewrite(&format!("{config}{}", fixed("/new")));
    reloaded(&gateway, "applied", 1.0).await;
    assert_eq!(get(gateway.address, "/new").await.text(), "fixed");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("forebay_reloads_total", &[("result", "refused")]), 1.0, "by the signal alone");
}

#[tokio::test]
async fn listeners_come_and_go() {
    let gate = Gate::new();
    let slow = Reply::ok("slow").after(&gate);
    let origin = Origin::start(move |request, _| match request.target() {
        "/slow" => slow.clone(),
        _ => Reply::ok("hello"),
    })
    .await;
    let one = Gateway::config(origin.address, "", "");
    // Both have the same address in the file; that one of them goes must not depend on it.
    let two = one
        .replace("[[upstream", "")
        .replace("[upstream", "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream");
    let gateway = Gateway::start(&one);
    let mut first = Client::connect(gateway.address).await;
    first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(first.response().await.text(), "hello");

    gateway.rewrite(&two);
    reloaded(&gateway, "applied", 1.0).await;
    let said = gateway.said_all(2).await;
    assert_eq!((said.len(), said[0]), (2, gateway.address));
    let (mut idle, mut busy) = (Client::connect(said[1]).await, Client::connect(said[1]).await);
    idle.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(idle.response().await.text(), "hello");
    busy.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for(3).await;

    gateway.rewrite(&one);
    reloaded(&gateway, "applied", 2.0).await;
    // Its connections drain.
    assert!(idle.rest().await.is_empty());
    gate.open();
    let answer = busy.response().await;
    assert_eq!((answer.text(), answer.field("connection")), ("slow", Some("close")));
    crate::support::within("the socket's end", async {
        while tokio::net::TcpStream::connect(said[1]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(first.response().await.text(), "hello", "the listener that stays keeps its connections");
}
