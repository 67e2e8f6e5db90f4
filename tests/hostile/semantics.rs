//! Fields that concern one connection, that pretend to come from a proxy, or that ask for another protocol;
//! and what follows a request on its connection.

use std::time::Duration;

use super::config;
use super::{Case, End, Seen, answered, passed, passed_and_closed, run};
use crate::support::{Client, Gate, Gateway, Origin, Reply};

const EXPECTATIONS: &[Case] = &[
    Case {
        first: &[100],
        ..passed(
            "an expectation that is met",
            "9110 §10.1.1",
            post!("expect: 100-Continue\r\ncontent-length: 5", "hello"),
            &["POST /\ncontent-length: 5\nhost: a\n\nhello"],
        )
    },
    passed("without a body", "9110 §10.1.1", get!("expect: 100-continue"), &["GET /\nhost: a"]),
    passed_and_closed(
        "in HTTP/1.0",
        "9110 §10.1.1",
        b"POST / HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        &["POST /\ncontent-length: 5\nhost: a\n\nhello"],
    ),
    answered(
        "an unknown expectation",
        "9110 §10.1.1",
        post!("expect: 200-ok\r\ncontent-length: 5", "hello"),
        &[417],
    ),
    answered(
        "one more",
        "9110 §10.1.1",
        post!("expect: 100-continue, x\r\ncontent-length: 5", "hello"),
        &[417],
    ),
    answered(
        "twice",
        "9110 §10.1.1",
        post!("expect: 100-continue\r\nexpect: 100-continue\r\ncontent-length: 5", "hello"),
        &[417],
    ),
    answered(
        "hidden behind another",
        "9110 §10.1.1",
        post!("expect: y\r\nexpect: 100-continue\r\ncontent-length: 5", "hello"),
        &[417],
    ),
    answered(
        "almost",
        "9110 §10.1.1",
        post!(
            "expect: y 100-continue\r\ncontent-length: 39",
            "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n\r\n\r\n\r\n"
        ),
        &[417],
    ),
    // CVE-2025-32094: OPTIONS, an expectation and a fold.
    Case {
        first: &[100],
        ..passed(
            "with OPTIONS",
            "9110 §10.1.1",
            b"OPTIONS /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
            &["OPTIONS /x\ncontent-length: 5\nhost: a\n\nhello"],
        )
    },
    answered(
        "folded",
        "9112 §5.2",
        b"OPTIONS /x HTTP/1.1\r\nhost: a\r\nexpect:\r\n 100-continue\r\ncontent-length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        &[400],
    ),
    answered(
        "with an underscore",
        "9110 §10.1.1",
        post!("expect: 100_continue\r\ncontent-length: 5", "hello"),
        &[417],
    ),
];

const UPGRADES: &[Case] = &[
    passed("h2c", "9113 §3.1", get!("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA"), &["GET /\nhost: a"]),
    passed("h2c, and settings that are not listed", "9113 §3.1", get!("connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk"), &["GET /\nhost: a"]),
    Case { first: &[200], ..passed("a request behind an upgrade that is not made", "9110 §7.8",
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nGET /next HTTP/1.1\r\nhost: a\r\n\r\n", &["GET /\nhost: a", "GET /next\nhost: a"]) },
    Case { first: &[200], ..passed("a WebSocket the origin does not want", "6455 §4.2.2",
        b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nGET /next HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET /ws\nconnection: upgrade\nhost: a\nupgrade: websocket", "GET /next\nhost: a"]) },
    passed("a WebSocket with content", "9110 §7.8", b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhello",
        &["GET /ws\ncontent-length: 5\nhost: a\n\nhello"]),
    passed("a WebSocket that Connection does not list", "9110 §7.8", b"GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n", &["GET /ws\nhost: a"]),
    passed("a WebSocket and more", "9110 §7.8", b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket, h2c\r\n\r\n", &["GET /ws\nhost: a"]),
    passed_and_closed("a WebSocket in HTTP/1.0", "9110 §7.8", b"GET /ws HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", &["GET /ws\nhost: a"]),
];

const SEQUENCES: &[Case] = &[
    Case { first: &[200, 200], ..passed("in order", "9112 §9.3.2",
        b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET /1\nhost: a", "POST /2\ncontent-length: 5\nhost: a\n\nhello", "GET /3\nhost: a"]) },
    passed_and_closed("nothing after close", "9112 §9.6",
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", &["GET /\nhost: a"]),
    answered("nothing after a refusal", "9112 §9.6", b"GET /%00 HTTP/1.1\r\nhost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
    Case { first: &[200], ..answered("a refusal after an answer", "9112 §9.3.2", b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", &[400]) }
        .seeing(&["GET /1\nhost: a"]),
    passed("a body on GET", "9112 §9.3", b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", &["GET /\ncontent-length: 5\nhost: a\n\nhello"]),
    passed("a body on HEAD", "9112 §9.3", b"HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", &["HEAD /\ncontent-length: 5\nhost: a\n\nhello"]),
    passed("a body on DELETE", "9112 §9.3", b"DELETE / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", &["DELETE /\ncontent-length: 5\nhost: a\n\nhello"]),
    passed("a body on OPTIONS", "9112 §9.3", b"OPTIONS /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", &["OPTIONS /x\ncontent-length: 5\nhost: a\n\nhello"]),
    passed("a chunked body on HEAD", "9112 §9.3", b"HEAD / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &["HEAD /\nhost: a\ntransfer-encoding: chunked\n\nhello"]),
    passed("a body like a request", "9112 §9.3", b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 36\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: ab\r\n\r\n",
        &["GET /\ncontent-length: 36\nhost: a\n\nGET /smuggled HTTP/1.1\r\nhost: ab\r\n\r\n"]),
    Case { end: End::Either, ..answered("a body that nobody reads", "9112 §9.3", b"OPTIONS * HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", &[204]) },
    answered("a body on TRACE", "9110 §9.3.8", b"TRACE / HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", &[405]),
];

const HOPS: &[Case] = &[
    passed(
        "fields of one hop",
        "9110 §7.6.1",
        get!(
            "connection: keep-alive, X-One\r\nconnection: x-two\r\nx-one: 1\r\nx-two: 2\r\nx-three: 3\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: trailers\r\nproxy-authorization: x"
        ),
        &["GET /\nhost: a\nx-three: 3"],
    ),
    passed(
        "a Connection that lists what must arrive",
        "9110 §7.6.1",
        post!(
            "connection: host, content-length, authorization, x-forwarded-for, via\r\nauthorization: x\r\ncontent-length: 5",
            "hello"
        ),
        &["POST /\nauthorization: x\ncontent-length: 5\nhost: a\n\nhello"],
    ),
    passed(
        "forged forwarding fields",
        "7239 §8.1",
        get!(
            "x-forwarded-for: 6.6.6.6\r\nx-forwarded-host: evil\r\nx-forwarded-proto: https\r\nx-forwarded-port: 1\r\nx-forwarded-prefix: /x\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nx-request-id: forged"
        ),
        &["GET /\nhost: a"],
    ),
    passed(
        "another target in a field",
        "9112 §3.3",
        get!(
            "x-original-url: /admin\r\nx-rewrite-url: /admin\r\nx-host: evil\r\nx-original-host: evil\r\nx-http-method-override: DELETE"
        ),
        &["GET /\nhost: a"],
    ),
    passed(
        "a Connection that lists what the gateway adds",
        "9110 §7.6.1",
        get!(
            "connection: x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-request-id, traceparent, via, x-real-ip\r\nx-forwarded-for: 6.6.6.6"
        ),
        &["GET /\nhost: a"],
    ),
    passed(
        "a Connection that lists what decides about an answer",
        "9110 §7.6.1",
        get!(
            "connection: cookie, cache-control, content-type, accept\r\ncookie: a=b\r\ncache-control: no-store\r\naccept: x/y"
        ),
        &["GET /\ncache-control: no-store\ncookie: a=b\nhost: a"],
    ),
    passed(
        "a Connection that lists a fold of names and nonsense",
        "9110 §7.6.1",
        get!("connection: ,, close-not , x-a;x-b, \"x-c\", X-D\r\nx-a: 1\r\nx-c: 1\r\nx-d: 1"),
        &["GET /\nhost: a\nx-a: 1\nx-c: 1"],
    ),
    passed(
        "a client that says whose certificate it has",
        "9440 §4",
        get!(
            "client-cert: :AAAA:\r\nclient-cert-chain: :AAAA:\r\nx-client-cert-subject: CN=root\r\nX-Client-Cert-San: DNS:a\r\nclient_cert: x\r\nx_client_cert_subject: CN=root"
        ),
        &["GET /\nhost: a"],
    ),
    Case {
        end: End::Closed,
        ..answered(
            "a request that goes in a circle",
            "9110 §7.6.3",
            get!(
                "via: 1.1 forebay, 1.1 forebay, 1.1 a, 1.1 forebay, 1.1 forebay, 1.1 forebay, 2 forebay\r\nVia: 1.1 forebay, 1.1 forebay, 1.1 forebay, 1.1 FOREBAY (x), 1.0 forebay"
            ),
            &[508],
        )
    },
    passed(
        "a request that has come far",
        "9110 §7.6.3",
        get!("via: 1.1 forebay, 1.1 a, 1.1 forebayed, 1.1 b"),
        &["GET /\nhost: a\nvia: 1.1 forebay, 1.1 a, 1.1 forebayed, 1.1 b"],
    ),
    passed(
        "underscore twins",
        "9110 §5.1",
        get!(
            "x_forwarded_for: 6.6.6.6\r\nX_Forwarded-Host: evil\r\nx-real_ip: 6.6.6.6\r\nx_request_id: forged\r\nx_original_url: /admin"
        ),
        &["GET /\nhost: a"],
    ),
];

const TRUSTED: &[Case] = &[
    passed(
        "what a trusted proxy says",
        "7239 §5.2",
        get!(
            "x-forwarded-for: 6.6.6.6\r\nx-forwarded-host: front\r\nx-forwarded-proto: https\r\nx-request-id: mine"
        ),
        &[
            "GET /\nhost: a\nx-forwarded-for: 6.6.6.6, 127.0.0.1\nx-forwarded-host: front\nx-forwarded-proto: https\nx-request-id: mine",
        ],
    ),
    passed(
        "which Connection cannot take away",
        "9110 §7.6.1",
        get!("connection: x-forwarded-for\r\nx-forwarded-for: 6.6.6.6"),
        &["GET /\nhost: a\nx-forwarded-for: 6.6.6.6, 127.0.0.1"],
    ),
    passed(
        "nor is it doubted that its client came by https",
        "9110 §7.4",
        b"GET https://a/x HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET /x\nhost: a"],
    ),
    passed(
        "nor twins contradict",
        "9110 §5.1",
        get!("x_forwarded_for: 7.7.7.7\r\nx-forwarded-for: 6.6.6.6"),
        &["GET /\nhost: a\nx-forwarded-for: 6.6.6.6, 127.0.0.1"],
    ),
];

impl Case {
    /// The same, but the origin sees these requests.
    const fn seeing(self, seen: &'static [&'static str]) -> Self {
        Self { seen: Seen::Exactly(seen), ..self }
    }
}

#[tokio::test]
async fn expectations() {
    run(EXPECTATIONS, 0).await;
}

#[tokio::test]
async fn upgrades() {
    run(UPGRADES, 0).await;
}

#[tokio::test]
async fn what_follows_on_the_connection() {
    run(SEQUENCES, 0).await;
}

#[tokio::test]
async fn fields_of_one_hop_and_of_a_pretended_proxy() {
    run(HOPS, 0).await;
}

#[tokio::test]
async fn fields_of_a_trusted_proxy() {
    run(TRUSTED, 1).await;
}

/// Once both sides have switched, what the client sends is no head: it is not timed as one, let alone
/// answered.
#[tokio::test]
async fn a_tunnel_is_left_alone() {
    let gate = Gate::new();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let reply = Reply::raw(format!("{switch}later")).pause_after(switch.len(), &gate);
    let origin = Origin::always(reply).await;
    let gateway = Gateway::start(&config(origin.address));
    let mut client = Client::connect(gateway.address).await;
    client
        .write(
            "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.status(), 101);
    client.write("frame").await;
    // Longer than the time for a head.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    gate.open();
    assert_eq!(client.take(5).await.as_deref(), Some(&b"later"[..]), "RFC 9110 \u{a7}7.8");
}
