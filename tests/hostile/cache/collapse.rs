//! Many ask for the same at once, and one asks for all: what that one is, or gets, must neither reach the
//! others nor hold them up (RFC 9111 §4, §7.3).

use crate::support::{Client, Gate, Gateway, Origin, Reply, get};

use super::answer;

/// How many wait for the first one.
const FOLLOWERS: usize = 8;

/// Asks, and leaves the answer to be read.
async fn begin(gateway: &Gateway, fields: &str) -> Client {
    let mut client = Client::connect(gateway.address).await;
    client.write(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
    client
}

/// The first one's answer is `first`, theirs are numbered. All of them are at the origin before the first of
/// the others is answered.
async fn released_in_parallel(name: &str, first: Reply) {
    let (head, others) = (Gate::new(), Gate::new());
    let origin = Origin::start({
        let (head, others) = (head.clone(), others.clone());
        move |_, count| match count {
            0 => first.clone().after(&head),
            _ => Reply::ok(format!("own {count}")).after(&others),
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "[route.retry]\nattempts = 1").await;
    let mut leader = begin(&gateway, "").await;
    origin.wait_for(1).await;
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        followers.push(begin(&gateway, "").await);
    }
    let all = (1 + FOLLOWERS) as f64;
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == all).await;
    head.open();
    origin.wait_for(1 + FOLLOWERS).await;
    others.open();
    let mut bodies = Vec::new();
    for follower in &mut followers {
        let got = answer(follower, false).await;
        assert_eq!((got.status(), got.field("set-cookie")), (200, None), "{name}: {got:?}");
        bodies.push(got.text().to_owned());
    }
    bodies.sort();
    let expected: Vec<String> = (1..=FOLLOWERS).map(|count| format!("own {count}")).collect();
    assert_eq!(bodies, expected, "{name}");
    let got = answer(&mut leader, false).await;
    assert!(got.text() == "for one", "{name}: {got:?}");
    assert_eq!(origin.asked().len(), 1 + FOLLOWERS, "{name}");
    drop((leader, followers));
    gateway.at_rest().await;
}

#[tokio::test]
async fn an_answer_for_one_releases_all_others_at_once() {
    for (name, status, fields) in [
        ("private", 200, &[("cache-control", "private, max-age=60")][..]),
        ("no-store", 200, &[("cache-control", "no-store")]),
        ("a cookie", 200, &[("cache-control", "max-age=60"), ("set-cookie", "id=1")]),
        ("Vary: *", 200, &[("cache-control", "max-age=60"), ("vary", "*")]),
        ("no word on freshness", 200, &[]),
        ("an error of the client's", 400, &[]),
        ("a redirect for a cookie", 302, &[("set-cookie", "id=1"), ("location", "/x")]),
    ] {
        released_in_parallel(name, Reply::new(status, fields, "for one")).await;
    }
}

/// An origin in trouble is not trampled by those who waited: one of them asks again, for all.
#[tokio::test]
async fn an_origin_in_trouble_is_asked_once_more() {
    for status in [500, 502, 503, 504] {
        let gate = Gate::new();
        let origin = Origin::start({
            let gate = gate.clone();
            move |_, count| match count {
                0 => Reply::new(status, &[], "trouble").after(&gate),
                _ => Reply::new(200, &[("cache-control", "max-age=60")], "whole"),
            }
        })
        .await;
        let gateway = Gateway::before(origin.address, "[route.retry]\nattempts = 1").await;
        let mut leader = begin(&gateway, "").await;
        origin.wait_for(1).await;
        let mut followers = Vec::new();
        for _ in 0..FOLLOWERS {
            followers.push(begin(&gateway, "").await);
        }
        let all = (1 + FOLLOWERS) as f64;
        gateway.wait_for("forebay_requests_in_flight", &[], |now| now == all).await;
        gate.open();
        for follower in &mut followers {
            assert_eq!(answer(follower, false).await.text(), "whole", "{status}");
        }
        assert_eq!(answer(&mut leader, false).await.status(), status);
        assert_eq!(origin.asked().len(), 2, "{status}");
        drop((leader, followers));
        gateway.at_rest().await;
    }
}

/// RFC 9111 §5.2.1.5: whose request says no-store takes nobody along.
#[tokio::test]
async fn nobody_follows_a_request_that_may_not_be_stored() {
    let fresh = [("cache-control", "max-age=60")];
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |_, count| Reply::new(200, &fresh, format!("{count}")).after(&gate)
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut clients = Vec::new();
    // RFC 9111 §3.5: nor one with Authorization.
    for fields in ["cache-control: no-store\r\n", "authorization: x\r\n", ""] {
        clients.push(begin(&gateway, fields).await);
        origin.wait_for(clients.len()).await;
    }
    gate.open();
    for (count, client) in clients.iter_mut().enumerate() {
        assert_eq!(answer(client, false).await.text(), count.to_string());
    }
    assert_eq!(get(gateway.address, "/").await.status(), 200);
    gateway.at_rest().await;
}

/// RFC 9111 §4.1: who asked for another variant gets that one.
#[tokio::test]
async fn another_variant_is_not_shared() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, count| {
            let language = request.field("accept-language").unwrap_or("none").to_owned();
            let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
            let reply = Reply::new(200, &fields, language);
            if count == 0 { reply.after(&gate) } else { reply }
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut leader = begin(&gateway, "accept-language: en\r\n").await;
    origin.wait_for(1).await;
    let languages = ["fr", "de", "en", "fr", "de", "en"];
    let mut followers = Vec::new();
    for language in languages {
        followers.push(begin(&gateway, &format!("accept-language: {language}\r\n")).await);
    }
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 7.0).await;
    gate.open();
    for (client, language) in followers.iter_mut().zip(languages) {
        assert_eq!(answer(client, false).await.text(), language);
    }
    assert_eq!(answer(&mut leader, false).await.text(), "en");
    assert_eq!(origin.asked().len(), 3, "one for each language");
    drop((leader, followers));
    gateway.at_rest().await;
}

/// What the first one asks for beyond the resource is its own affair.
#[tokio::test]
async fn a_range_or_a_condition_of_the_first_one_shapes_nobody_elses_answer() {
    for (fields, status, body) in [
        ("range: bytes=0-1\r\n", 206, "wh"),
        ("if-none-match: \"1\"\r\n", 304, ""),
        ("range: bytes=0-1\r\nif-range: \"1\"\r\n", 206, "wh"),
    ] {
        let gate = Gate::new();
        let whole = Reply::new(200, &[("cache-control", "max-age=60"), ("etag", "\"1\"")], "whole");
        let origin = Origin::always(whole.after(&gate)).await;
        let gateway = Gateway::before(origin.address, "").await;
        let mut leader = begin(&gateway, fields).await;
        origin.wait_for(1).await;
        let mut follower = begin(&gateway, "").await;
        gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 2.0).await;
        gate.open();
        let got = answer(&mut leader, false).await;
        assert_eq!((got.status(), got.text()), (status, body), "{fields}");
        let got = answer(&mut follower, false).await;
        assert_eq!((got.status(), got.text()), (200, "whole"), "{fields}");
        let asked = origin.asked();
        assert_eq!(asked.len(), 1, "{fields}");
        for name in ["range", "if-none-match", "if-range"] {
            assert_eq!(asked[0].request.field(name), None, "{fields}");
        }
        drop((leader, follower));
        gateway.at_rest().await;
    }
}

/// RFC 9110 §9.3.2: nobody waits for a HEAD, which brings nothing.
#[tokio::test]
async fn nobody_follows_a_head() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, _| match request.method() {
            "HEAD" => Reply::raw("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\n")
                .after(&gate),
            _ => Reply::new(200, &[("cache-control", "max-age=60")], "whole"),
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut head = Client::connect(gateway.address).await;
    head.write("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for(1).await;
    let mut client = begin(&gateway, "").await;
    assert_eq!(answer(&mut client, false).await.text(), "whole");
    gate.open();
    assert_eq!(answer(&mut head, true).await.status(), 200);
    drop((head, client));
    gateway.at_rest().await;
}

/// The first one leaves, before the head or in the middle of the body: the others get all of it.
#[tokio::test]
async fn the_first_one_leaves() {
    let whole = Reply::chunked(200, &[("cache-control", "max-age=60")], &["first ", "second"]);
    for after in [0, 20, whole.len() - 20] {
        let gate = Gate::new();
        let origin = Origin::always(whole.clone().pause_after(after, &gate)).await;
        let gateway = Gateway::before(origin.address, "").await;
        let leader = begin(&gateway, "").await;
        origin.wait_for(1).await;
        let mut followers = Vec::new();
        for _ in 0..FOLLOWERS {
            followers.push(begin(&gateway, "").await);
        }
        let all = (1 + FOLLOWERS) as f64;
        gateway.wait_for("forebay_requests_in_flight", &[], |now| now == all).await;
        drop(leader);
        gateway.wait_for("forebay_requests_in_flight", &[], |now| now == all - 1.0).await;
        gate.open();
        for follower in &mut followers {
            assert_eq!(answer(follower, false).await.text(), "first second", "after {after}");
        }
        assert_eq!(origin.asked().len(), 1, "after {after}");
        drop(followers);
        gateway.at_rest().await;
    }
}

/// The first one's answer breaks off: before its head one of the others asks again, for all of them; in the
/// middle of the body nobody takes what came for the whole, and the next one asks anew.
#[tokio::test]
async fn the_first_ones_answer_breaks_off() {
    let whole = Reply::chunked(200, &[("cache-control", "max-age=60")], &["first ", "second"]);
    for (after, asked) in [(0, 2), (20, 2), (whole.len() - 20, 2)] {
        let gate = Gate::new();
        let origin = Origin::start({
            let (gate, whole) = (gate.clone(), whole.clone());
            move |_, count| match count {
                0 => whole.clone().cut_after(after).after(&gate),
                _ => whole.clone(),
            }
        })
        .await;
        let upstream = "ejection = { consecutive_errors = 0, error_rate = 0.0 }";
        let config = Gateway::config(origin.address, upstream, "[route.retry]\nattempts = 1");
        let gateway = Gateway::start(&config);
        let mut leader = begin(&gateway, "").await;
        origin.wait_for(1).await;
        let mut followers = Vec::new();
        for _ in 0..FOLLOWERS {
            followers.push(begin(&gateway, "").await);
        }
        let all = (1 + FOLLOWERS) as f64;
        gateway.wait_for("forebay_requests_in_flight", &[], |now| now == all).await;
        gate.open();
        let got = answer(&mut leader, false).await;
        assert!(got.status() == 502 || !got.complete, "after {after}: {got:?}");
        for follower in &mut followers {
            let got = answer(follower, false).await;
            let good = got.complete && got.body == b"first second";
            // Those who were reading already are cut like the first one; nobody gets half an answer.
            assert!(good || after > 20 && !got.complete, "after {after}: {got:?}");
        }
        let mut client = begin(&gateway, "").await;
        assert_eq!(answer(&mut client, false).await.text(), "first second", "after {after}");
        assert_eq!(origin.asked().len(), asked, "after {after}");
        drop((leader, followers, client));
        gateway.at_rest().await;
    }
}

/// The first one's answer does not come: the others wait half of their time, and go alone.
#[tokio::test]
async fn nobody_waits_for_ever() {
    let origin = Origin::start(|_, count| match count {
        0 => Reply::ok("never").stall_after(0),
        _ => Reply::ok("own"),
    })
    .await;
    let gateway = Gateway::before(origin.address, "timeout = \"2s\"").await;
    let mut leader = begin(&gateway, "").await;
    origin.wait_for(1).await;
    let mut follower = begin(&gateway, "").await;
    assert_eq!(answer(&mut follower, false).await.text(), "own");
    assert_eq!(answer(&mut leader, false).await.status(), 504);
    assert_eq!(origin.asked().len(), 2);
    drop((leader, follower));
    gateway.at_rest().await;
}
