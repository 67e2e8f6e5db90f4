//! Endpoints that are found by name: the records of a service, and the addresses of its hosts, at a name
//! server that says what the test tells it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::dns::{NameServer, Record, Said};
use crate::support::{Client, Gate, Gateway, Origin, Reply, get};

const SERVICE: &str = "_api._tcp.test";

async fn named(name: &'static str) -> Origin {
    Origin::always(Reply::ok(name)).await
}

/// Places of a service: priority, weight, and who is there.
fn places(places: &[(u16, u16, &Origin)]) -> Vec<Record> {
    let place = |(priority, weight, origin): &(u16, u16, &Origin)| {
        Record::Srv(*priority, *weight, origin.address.port(), "host.test".to_owned())
    };
    places.iter().map(place).collect()
}

/// A name server that knows where the service is, and its host.
async fn name_server(said: Said) -> NameServer {
    let server = NameServer::start().await;
    server.says("host.test", Said::records(vec![Record::A(Ipv4Addr::LOCALHOST)], 300));
    server.says(SERVICE, said);
    server
}

fn config(server: &NameServer, endpoint: &str, upstream: &str) -> String {
    let config = Gateway::config(([127, 0, 0, 1], 1).into(), upstream, "cache.enabled = false")
        .replace("http://127.0.0.1:1", endpoint);
    format!("{config}[dns]\nservers = [\"{}\"]\n", server.address)
}

fn service(server: &NameServer, upstream: &str) -> String {
    config(server, &format!("srv+http://{SERVICE}"), upstream)
}

/// RFC 2782: the weight is the share in a priority, and higher numbers wait until nobody else is left.
#[tokio::test]
async fn priorities_and_weights_of_a_service_are_honoured() {
    let (much, little, spare) = (named("much").await, named("little").await, named("spare").await);
    let said = Said::records(places(&[(10, 30, &much), (10, 10, &little), (20, 100, &spare)]), 300);
    let server = name_server(said).await;
    let gateway = Gateway::start(&service(&server, "balance = \"round_robin\""));
    for _ in 0..20 {
        assert_eq!(get(gateway.address, "/").await.status(), 200);
    }
    let asked = [&much, &little, &spare].map(|origin| origin.asked().len());
    assert_eq!(asked, [15, 5, 0]);
    gateway.at_rest().await;
}

#[tokio::test]
async fn a_higher_number_serves_while_the_lower_ones_are_gone() {
    let (first, spare) = (named("first").await, named("spare").await);
    let said = Said::records(places(&[(0, 0, &first), (1, 0, &spare)]), 300);
    let server = name_server(said).await;
    let gateway = Gateway::start(&service(&server, ""));
    for _ in 0..5 {
        assert_eq!(get(gateway.address, "/").await.text(), "first");
    }
    drop(first);
    for _ in 0..5 {
        let answer = get(gateway.address, "/").await;
        assert!(matches!(answer.text(), "first" | "spare"), "{answer:?}");
    }
    assert_eq!(get(gateway.address, "/").await.text(), "spare");
    gateway.at_rest().await;
}

/// Endpoints change while requests run: none fails, and who goes ends with its last request.
#[tokio::test]
async fn endpoints_change_while_requests_run() {
    let gate = Gate::new();
    let slow = Reply::ok("old, late").after(&gate);
    let old = Origin::start(move |request, _| match request.target() {
        "/slow" => slow.clone(),
        _ => Reply::ok("old"),
    })
    .await;
    let (stays, new) = (named("stays").await, named("new").await);
    let server = name_server(Said::records(places(&[(0, 0, &old)]), 1)).await;
    let gateway = Gateway::start(&service(&server, "balance = \"round_robin\""));
    let mut slow = Client::connect(gateway.address).await;
    slow.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    old.wait_for(1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn({
        let (stop, address) = (stop.clone(), gateway.address);
        async move {
            let mut wrong = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let answer = get(address, "/").await;
                if answer.status() != 200 {
                    wrong.push(answer);
                }
            }
            wrong
        }
    });
    server.says(SERVICE, Said::records(places(&[(0, 0, &old), (0, 0, &stays)]), 1));
    stays.wait_for(5).await;
    server.says(SERVICE, Said::records(places(&[(0, 0, &stays), (0, 0, &new)]), 1));
    new.wait_for(5).await;
    // Who stayed was asked on the connections it had.
    assert!(stays.asked().iter().all(|asked| asked.connection < 3), "{:?}", stays.asked().last());
    let before = old.asked().len();
    let more = new.asked().len() + 10;
    new.wait_for(more).await;
    assert_eq!(old.asked().len(), before, "who is gone is asked nothing");
    gate.open();
    assert_eq!(slow.response().await.text(), "old, late");
    stop.store(true, Ordering::SeqCst);
    let wrong = busy.await.unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    // Metrics and status know of those that there are.
    let gone = old.address.port().to_string();
    let status = gateway.page("/api/v1/status").await;
    assert!(!status.text().contains(&gone) && status.text().contains("host.test"), "{}", status.text());
    let page = gateway.page("/metrics").await;
    assert!(!page.text().contains(&format!("endpoint=\"host.test:{gone}\"")));
    assert!(page.text().contains(&format!("endpoint=\"host.test:{}\"", new.address.port())));
    gateway.at_rest().await;
}

/// A service that vanishes, a server that fails and one that is silent: the last answer stays.
#[tokio::test]
async fn a_service_that_vanishes_keeps_its_last_endpoints() {
    let origin = named("x").await;
    let server = name_server(Said::records(places(&[(0, 0, &origin)]), 1)).await;
    let gateway = Gateway::start(&service(&server, ""));
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    for said in [Said::failed(3), Said::failed(2), Said::records(vec![], 1)] {
        server.says(SERVICE, said);
        let asked = server.count(SERVICE);
        // The second question shows that the first one's answer was taken in.
        server.wait_for(SERVICE, asked + 3).await;
        assert_eq!(get(gateway.address, "/").await.text(), "x");
    }
    gateway.at_rest().await;
}

/// There is no endpoint before the first answer: requests wait for it, and it takes one question, however
/// many wait.
#[tokio::test]
async fn a_flood_before_the_first_answer_is_one_question() {
    let origin = named("x").await;
    let gate = Gate::new();
    let server = name_server(Said::records(places(&[(0, 0, &origin)]), 300).after(&gate)).await;
    let gateway = Gateway::start(&service(&server, "connect_timeout = \"30s\""));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        clients.spawn(get(gateway.address, "/"));
    }
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 20.0).await;
    server.wait_for(SERVICE, 1).await;
    gate.open();
    for answer in clients.join_all().await {
        assert_eq!(answer.text(), "x");
    }
    // A server is asked a second time after a second without an answer, never once a request.
    assert!(server.count(SERVICE) <= 3, "{}", server.count(SERVICE));
    assert_eq!(server.asked().iter().filter(|(name, kind, _)| name == "host.test" && *kind == 1).count(), 1);
    gateway.at_rest().await;
}

/// A service that nobody knows is a 502, and is there as soon as somebody does.
#[tokio::test]
async fn a_service_that_was_never_found_is_looked_for_again() {
    let origin = named("x").await;
    let server = name_server(Said::failed(3)).await;
    let gateway = Gateway::start(&service(&server, ""));
    let answer = get(gateway.address, "/").await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("dns_error"), "{}", answer.text());
    server.says(SERVICE, Said::records(places(&[(0, 0, &origin)]), 300));
    let asked = server.count(SERVICE);
    server.wait_for(SERVICE, asked + 1).await;
    gateway.wait_for("forebay_upstream_healthy", &[], |healthy| healthy == 1.0).await;
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    gateway.at_rest().await;
}

/// RFC 1035 §4.2: what does not fit into a datagram is asked for by TCP.
#[tokio::test]
async fn an_answer_that_was_cut_comes_by_tcp() {
    let origin = named("x").await;
    let server = name_server(Said::records(places(&[(0, 0, &origin)]), 300).by_tcp()).await;
    let gateway = Gateway::start(&service(&server, ""));
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    assert!(server.asked().contains(&(SERVICE.to_owned(), 33, true)), "{:?}", server.asked());
    gateway.at_rest().await;
}

/// Hosts are looked up at the name servers too, and as often as their answers say.
#[tokio::test]
async fn the_address_of_a_host_is_asked_for_again_when_it_is_old() {
    let origin = named("x").await;
    let server = NameServer::start().await;
    // Nobody is there.
    let nowhere = Said::records(vec![Record::A(Ipv4Addr::new(127, 0, 0, 2))], 1);
    server.says("moves.test", nowhere);
    server.says("stays.test", Said::records(vec![Record::A(Ipv4Addr::LOCALHOST)], 3600));
    let port = origin.address.port();
    let other = format!("[upstream.other]\nendpoints = [\"http://stays.test:{port}\"]\n");
    let route = "[[route]]\nname = \"other\"\nmatch = { path = \"/other\" }\nupstream = \"other\"\n";
    let config = config(&server, &format!("http://moves.test:{port}"), "") + &other + route;
    let gateway = Gateway::start(&config);
    assert_eq!(get(gateway.address, "/other").await.text(), "x");
    assert_eq!(get(gateway.address, "/").await.status(), 502);
    server.says("moves.test", Said::records(vec![Record::A(Ipv4Addr::LOCALHOST)], 1));
    let asked = server.count("moves.test");
    // Two types at a time.
    server.wait_for("moves.test", asked + 6).await;
    assert_eq!(get(gateway.address, "/").await.text(), "x");
    assert_eq!(server.count("stays.test"), 2, "that one is good for an hour");
    gateway.at_rest().await;
}

/// A host may have addresses of either kind, or of both; one of the two that does not answer does not matter.
#[tokio::test]
async fn a_host_may_have_addresses_of_both_kinds() {
    let listener = tokio::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    let origin = Origin::on(listener, |_, _| Reply::ok("six"));
    let six = Record::Aaaa(Ipv6Addr::LOCALHOST);
    for records in [vec![six.clone()], vec![Record::A(Ipv4Addr::new(127, 0, 0, 2)), six]] {
        let server = NameServer::start().await;
        let both = records.len() > 1;
        server.says("host.test", Said::records(records, 300));
        let endpoint = format!("http://host.test:{}", origin.address.port());
        let gateway = Gateway::start(&config(&server, &endpoint, ""));
        for _ in 0..4 {
            assert_eq!(get(gateway.address, "/").await.text(), "six", "both: {both}");
        }
        gateway.at_rest().await;
    }
}

/// Endpoints of a service are probed, and a change of the others does not start that anew.
#[tokio::test]
async fn endpoints_of_a_service_are_probed() {
    let bad = Origin::always(Reply::new(500, &[], "bad")).await;
    let (good, more) = (named("good").await, named("more").await);
    let server = name_server(Said::records(places(&[(0, 0, &bad), (0, 0, &good)]), 1)).await;
    let health = "[upstream.origin.health]\npath = \"/healthz\"\ninterval = \"100ms\"\n";
    let gateway = Gateway::start(&service(&server, health));
    let healthy = async |count| {
        gateway.wait_for("forebay_upstream_healthy", &[], |healthy| healthy == count).await;
    };
    healthy(1.0).await;
    for _ in 0..5 {
        assert_eq!(get(gateway.address, "/").await.text(), "good");
    }
    server.says(SERVICE, Said::records(places(&[(0, 0, &bad), (0, 0, &good), (0, 0, &more)]), 1));
    healthy(2.0).await;
    for _ in 0..10 {
        assert_ne!(get(gateway.address, "/").await.text(), "bad");
    }
    tokio::time::timeout(Duration::from_secs(20), more.wait_for(3)).await.unwrap();
    gateway.at_rest().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.toml");
    let server = NameServer::start().await;
    for (config, complaint) in [
        (config(&server, "srv+http://a.test:80", ""), "has a port"),
        (config(&server, "srv+http://127.0.0.1", ""), "has an address"),
        (
            config(&server, "http://a", "").replace(&server.address.to_string(), "dns.test"),
            "no address of a name",
        ),
    ] {
        std::fs::write(&file, config).unwrap();
        let check = crate::support::gateway::program().args(["check", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.code() == Some(2) && said.contains(complaint), "{said}");
    }
}
