//! Fields that some origin answers by and that are no part of the key (RFC 9111 §2): none may reach the
//! origin from a client that nobody trusts.

use super::{FRESH, PLAIN, PLAIN_SEEN, play, talk};

/// What a client may say, and the origin must not hear.
const PRETENCE: &[&[&str]] = &[
    &["x-forwarded-host: evil"],
    &["x-forwarded-host: a", "x-forwarded-host: evil"],
    &["x-forwarded-proto: nothttps"],
    &["x-forwarded-scheme: nothttps"],
    &["x-forwarded-ssl: on"],
    &["x-forwarded-port: 1"],
    &["x-forwarded-prefix: /evil"],
    &["x-forwarded-path: /evil"],
    &["x-forwarded-server: evil"],
    &["x-forwarded-for: 127.0.0.1"],
    &["x-forwarded: for=127.0.0.1"],
    &["forwarded: host=evil;proto=nothttps;for=127.0.0.1"],
    &["x-original-url: /admin"],
    &["x-rewrite-url: /admin"],
    &["x-host: evil"],
    &["x-original-host: evil"],
    &["x-http-host-override: evil"],
    &["x-real-ip: 127.0.0.1"],
    &["x-http-method-override: DELETE"],
    &["x-http-method: DELETE"],
    &["x-method-override: DELETE"],
    &["x_forwarded_host: evil"],
    &["X_Forwarded-Host: evil"],
    &["x-forwarded_proto: nothttps"],
    &["x_original_url: /admin"],
    &["x_http_method_override: DELETE"],
    // RFC 9110 §7.6.1: what Connection lists goes; nothing else may go or come back by it.
    &["connection: x-forwarded-host", "x-forwarded-host: evil"],
    &["connection: x-evil, host", "x-evil: 1"],
    &["proxy-authorization: x"],
    &["te: trailers"],
    &["upgrade: evil", "connection: upgrade"],
    &["expect: 100-continue"],
];

#[tokio::test]
async fn what_only_a_proxy_may_say_is_not_said_to_the_origin() {
    play(PRETENCE.iter().map(|fields| {
        let first = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n\r\n", fields.join("\r\n"));
        talk(fields.join(", "), "9111 §2")
            .client(first, 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN])
    }))
    .await;
}

/// RFC 9112 §3.2.2, RFC 9110 §4.2.3, §7.2: one host, in one form, for the key and for the origin.
#[tokio::test]
async fn the_host() {
    play([
        talk("the target's authority before Host", "9112 §3.2.2")
            .client("GET http://evil/ HTTP/1.1\r\nhost: a\r\n\r\n", 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["GET /\nhost: evil", PLAIN_SEEN]),
        talk("two hosts", "9112 §3.2")
            .client(ask!("GET" "/", "host: evil"), 400, "")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN]),
        talk("another port", "9110 §7.2")
            .client("GET / HTTP/1.1\r\nhost: a:81\r\n\r\n", 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["GET /\nhost: a:81", PLAIN_SEEN]),
        talk("the default port, a final dot, case", "9110 §4.2.3")
            .client("GET / HTTP/1.1\r\nhost: A:80\r\n\r\n", 200, "first")
            .says(FRESH)
            .client("GET / HTTP/1.1\r\nhost: a.\r\n\r\n", 200, "first")
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN]),
        talk("a port that is none", "9110 §7.2")
            .client("GET / HTTP/1.1\r\nhost: a:evil\r\n\r\n", 400, "")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN]),
    ])
    .await;
}

/// What a trusted proxy says reaches the origin: its scheme is part of the key, other fields are where the
/// route says so.
#[tokio::test]
async fn what_a_trusted_proxy_says() {
    play([
        talk("the scheme its client used", "9111 §2")
            .trusted()
            .client(ask!("GET" "/", "x-forwarded-proto: http"), 301, "first")
            .says(says!("301 Moved Permanently", "location: https://a/", "cache-control: max-age=60"))
            .client(ask!("GET" "/", "x-forwarded-proto: https"), 200, "later")
            .client(ask!("GET" "/", "x-forwarded-proto: http"), 301, "first")
            .seen(&[PLAIN_SEEN, "GET /\nhost: a\nx-forwarded-proto: https"]),
        talk("its host, in the key", "9111 §2")
            .route("[route.cache]\nkey = { headers = [\"x-forwarded-host\"] }\n")
            .trusted()
            .client(ask!("GET" "/", "x-forwarded-host: evil"), 200, "first")
            .says(FRESH)
            .client(ask!("GET" "/", "x-forwarded-host: front"), 200, "later")
            .client(ask!("GET" "/", "x-forwarded-host: evil"), 200, "first")
            .seen(&["GET /\nhost: a\nx-forwarded-host: evil", "GET /\nhost: a\nx-forwarded-host: front"]),
        talk("a field in the key, from anybody", "9111 §2")
            .route("[route.cache]\nkey = { headers = [\"x-tenant\"] }\n")
            .client(ask!("GET" "/", "x-tenant: 1", "x-tenant: 2"), 200, "first")
            .says(FRESH)
            .client(ask!("GET" "/", "x-tenant: 1, 2"), 200, "later")
            .client(ask!("GET" "/", "x-tenant: 1"), 200, "later")
            .seen(&[
                "GET /\nhost: a\nx-tenant: 1\nx-tenant: 2",
                "GET /\nhost: a\nx-tenant: 1, 2",
                "GET /\nhost: a\nx-tenant: 1",
            ]),
    ])
    .await;
}
