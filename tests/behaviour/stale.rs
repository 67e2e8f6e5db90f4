//! Stale answers: while they are revalidated, and in place of an origin in trouble of any kind (RFC 9111
//! §4.2.4, §4.3, RFC 5861).

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

/// The next answer comes on a connection of its own, so that no fault looks like an idle connection's end.
const CLOSE: (&str, &str) = ("connection", "close");

fn status(answer: &Message) -> &str {
    answer.field("cache-status").unwrap_or_else(|| panic!("no Cache-Status: {answer:?}"))
}

/// RFC 5861 §3: nobody waits for a refresh, neither who is served stale nor who asks next on its connection.
#[tokio::test]
async fn hits_go_on_beside_a_refresh_on_one_connection() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |request, count| match (request.target(), count) {
            ("/fresh", _) => Reply::new(200, &[("cache-control", "max-age=60")], "fresh"),
            (_, count) => {
                let fields = [("cache-control", "max-age=0, stale-while-revalidate=60")];
                let reply = Reply::new(200, &fields, format!("answer {count}"));
                if count == 0 { reply } else { reply.after(&gate) }
            }
        }
    })
    .await;
    let gateway = Gateway::before(origin.address, "").await;
    let mut client = Client::connect(gateway.address).await;
    let mut ask = async |target: &str| {
        client.write(format!("GET {target} HTTP/1.1\r\nhost: test.example\r\n\r\n")).await;
        client.response().await
    };
    assert_eq!(ask("/stale").await.text(), "answer 0");
    assert_eq!(ask("/fresh").await.text(), "fresh");
    for _ in 0..3 {
        let stale = ask("/stale").await;
        assert_eq!(stale.text(), "answer 0");
        assert!(status(&stale).ends_with("detail=stale-while-revalidate"), "{}", status(&stale));
        assert!(status(&ask("/fresh").await).starts_with("forebay; hit; ttl="));
    }
    // All of that while the one refresh was on its way.
    assert_eq!(origin.wait_for(3).await.len(), 3);
    assert_eq!(gateway.metrics().await.sum("forebay_cache_fills", &[]), 1.0);
    gate.open();
    gateway.wait_for("forebay_cache_stored_total", &[], |count| count == 3.0).await;
    assert_eq!(ask("/stale").await.text(), "answer 2");
    gateway.at_rest().await;
}

/// RFC 5861 §4, RFC 9111 §4.2.4: whatever befalls the origin, what may stand in for it does, and nothing
/// else.
#[tokio::test]
async fn stale_answers_stand_in_for_trouble_of_every_kind() {
    type Trouble = fn() -> Reply;
    let troubles: [(&str, Trouble, u16); 8] = [
        ("closed at once", || Reply::raw("x").cut_after(0), 502),
        ("reset at once", || Reply::raw("x").reset_after(0), 502),
        ("closed in its head", || Reply::ok("lost").cut_after(20), 502),
        ("reset in its head", || Reply::ok("lost").reset_after(20), 502),
        ("no HTTP", || Reply::raw("EVIL\r\n\r\n").then_close(), 502),
        ("silent", || Reply::ok("late").stall_after(0), 504),
        ("silent in its head", || Reply::ok("late").stall_after(20), 504),
        ("a configured status", || Reply::new(503, &[], "").then_close(), 503),
    ];
    for (name, trouble, without) in troubles {
        for (control, stands_in) in [
            ("max-age=0, stale-if-error=60", true),
            ("max-age=0, stale-if-error=0", false),
            ("max-age=0, stale-if-error=60, must-revalidate", false),
            ("max-age=60, stale-if-error=60, no-cache", false),
        ] {
            let origin = Origin::start(move |_, count| match count {
                0 => {
                    let fields = [("cache-control", control), ("etag", "\"1\""), CLOSE];
                    Reply::new(200, &fields, "stored").then_close()
                }
                _ => trouble(),
            })
            .await;
            let upstream = "read_timeout = \"300ms\"\nejection = { consecutive_errors = 0, error_rate = 0 }";
            let route = "[route.retry]\nattempts = 1\n";
            let gateway = Gateway::start(&Gateway::config(origin.address, upstream, route));
            get(gateway.address, "/").await;
            let answer = get(gateway.address, "/").await;
            assert_eq!(origin.asked().len(), 2, "{name} {control}: it was asked");
            let labels = [("result", "stale"), ("reason", "stale-if-error")];
            let counted = gateway.metrics().await.sum("forebay_cache_requests_total", &labels);
            if stands_in {
                assert_eq!((answer.status(), answer.text()), (200, "stored"), "{name} {control}");
                assert!(status(&answer).ends_with("detail=stale-if-error"), "{name}: {}", status(&answer));
            } else {
                assert_eq!(answer.status(), without, "{name} {control}");
            }
            assert_eq!(counted, f64::from(u8::from(stands_in)), "{name} {control}");
            gateway.at_rest().await;
        }
    }
}

/// RFC 9111 §4.3: those who ask for what has to be validated first have one question asked for all.
#[tokio::test]
async fn a_revalidation_is_shared() {
    const CLIENTS: usize = 30;
    for (name, confirmed, body) in [("confirmed", true, "old"), ("replaced", false, "new")] {
        let gate = Gate::new();
        let origin = Origin::start({
            let gate = gate.clone();
            move |request, count| {
                let fields = [("cache-control", "max-age=0, must-revalidate"), ("etag", "\"1\"")];
                match count {
                    0 => Reply::new(200, &fields, "old"),
                    _ if request.field("if-none-match") != Some("\"1\"") => Reply::new(500, &[], "unasked"),
                    _ if confirmed => Reply::new(304, &fields, "").after(&gate),
                    _ => Reply::new(200, &[fields[0], ("etag", "\"2\"")], "new").after(&gate),
                }
            }
        })
        .await;
        let gateway = Gateway::before(origin.address, "").await;
        get(gateway.address, "/").await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = Client::connect(gateway.address).await;
            client.write("GET / HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
            clients.push(client);
        }
        let decided = [("decision", "yes")];
        let all = (CLIENTS + 1) as f64;
        gateway.wait_for("forebay_cache_collapse_decisions_total", &decided, |count| count == all).await;
        origin.wait_for(2).await;
        gate.open();
        let mut collapsed = 0;
        for client in &mut clients {
            let answer = client.response().await;
            assert_eq!((answer.status(), answer.text()), (200, body), "{name}");
            assert!(status(&answer).contains("fwd=stale"), "{name}: {}", status(&answer));
            collapsed += usize::from(status(&answer).contains("; collapsed"));
        }
        assert_eq!((origin.asked().len(), collapsed), (2, CLIENTS - 1), "{name}");
        gateway.at_rest().await;
    }
}

/// RFC 9110 §12.5.4: with `match_language`, the language that a client likes best chooses among what is
/// stored.
#[tokio::test]
async fn stored_languages_are_chosen_by_weight() {
    let origin = Origin::start(|request, _| {
        let language = if request.field("accept-language").unwrap().starts_with("de") { "de" } else { "en" };
        let fields =
            [("cache-control", "max-age=60"), ("vary", "accept-language"), ("content-language", language)];
        Reply::new(200, &fields, language)
    })
    .await;
    for on in [true, false] {
        let before = origin.asked().len();
        let gateway =
            Gateway::before(origin.address, &format!("[route.cache]\nmatch_language = {on}\n")).await;
        for (asked, body) in [("de", "de"), ("en-GB, en;q=0.9", "en")] {
            let answer = ask(gateway.address, "GET", "/", &[("accept-language", asked)]).await;
            assert_eq!(answer.text(), body, "{asked}");
        }
        for (asked, body, hit) in [
            ("de;q=0.9, en;q=0.5", "de", true),
            ("EN ; q=1.0 ,de;q=0.8", "en", true),
            ("fr;q=0.1, de;q=0.2", "de", true),
            ("en;q=0.9,en-GB", "en", true),
            ("de;q=0.5, en;q=0.5", "de", false),
            ("de;q=0, fr", "de", false),
        ] {
            let answer = ask(gateway.address, "GET", "/", &[("accept-language", asked)]).await;
            assert_eq!(
                status(&answer).starts_with("forebay; hit"),
                hit && on,
                "{asked}: {}",
                status(&answer)
            );
            assert!(!on || !hit || answer.text() == body, "{asked}: {answer:?}");
        }
        assert_eq!(origin.asked().len() - before, if on { 4 } else { 8 }, "{on}");
    }
}
