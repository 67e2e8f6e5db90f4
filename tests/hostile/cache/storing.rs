//! What was made for one client, or is fresh no more (RFC 9111 §3, §3.5, §4.2, §5.2).

use super::{FRESH, PLAIN, PLAIN_SEEN, Talk, play, talk};

/// Both clients ask for the same; the origin's first answer has these fields.
fn not_stored(clause: &'static str, fields: &[&str]) -> Talk {
    talk(fields.join(" | "), clause)
        .client(PLAIN, 200, "first")
        .says(format!("HTTP/1.1 200 OK\r\n{}\r\ncontent-length: 5\r\n\r\nfirst", fields.join("\r\n")))
        .client(PLAIN, 200, "later")
        .seen(&[PLAIN_SEEN, PLAIN_SEEN])
}

#[tokio::test]
async fn responses_for_one_client() {
    play([
        not_stored("9111 §7.3", &["cache-control: max-age=60", "set-cookie: id=1"]),
        not_stored("9111 §7.3", &["cache-control: public, max-age=60", "Set-Cookie: id=1"]),
        not_stored("9111 §5.2.2.7", &["cache-control: private, max-age=60"]),
        not_stored("9111 §5.2.2.7", &["cache-control: max-age=60, PRIVATE"]),
        not_stored("9111 §5.2.2.7", &["cache-control: max-age=60", "cache-control: private"]),
        not_stored("9111 §5.2.2.7", &["cache-control: private=\"set-cookie\", max-age=60"]),
        not_stored("9111 §5.2.2.7", &["cache-control: private=x, max-age=60"]),
        not_stored("9111 §5.2.2.5", &["cache-control: no-store, max-age=60"]),
        not_stored("9111 §5.2.2.5", &["cache-control: max-age=60,No-Store"]),
        not_stored("9111 §5.2.2.5", &["cache-control: max-age=60", "cache-control: x=\"y\", no-store"]),
        not_stored("9111 §5.2.2.5", &["cache-control: public, max-age=60, no-store"]),
        not_stored("9111 §4.1", &["cache-control: max-age=60", "vary: *"]),
        not_stored("9111 §4.1", &["cache-control: max-age=60", "vary: accept, *"]),
        not_stored("9111 §4.1", &["cache-control: max-age=60", "vary: accept", "vary: *"]),
        not_stored("9111 §4.1", &["cache-control: max-age=60", "vary: a b"]),
        not_stored("9213 §2.1", &["cache-control: max-age=60", "cdn-cache-control: no-store"]),
        not_stored("9213 §2.1", &["cache-control: max-age=60", "forebay-cdn-cache-control: private"]),
    ])
    .await;
}

#[tokio::test]
async fn responses_that_are_fresh_no_more() {
    play([
        not_stored("9111 §5.2.2.10", &["cache-control: max-age=60, s-maxage=0"]),
        not_stored("9111 §5.2.2.10", &["cache-control: s-maxage=0", "cache-control: max-age=60"]),
        not_stored("9111 §5.2.2.10", &["cache-control: max-age=60, s-maxage=evil"]),
        not_stored("9111 §4.2.3", &["cache-control: max-age=60", "age: 61"]),
        not_stored("9111 §4.2.3", &["cache-control: max-age=60", "age: 99999999999999999999"]),
        not_stored("9111 §4.2.3", &["cache-control: max-age=60", "date: Sun, 06 Nov 1994 08:49:37 GMT"]),
        not_stored("9111 §4.2.1", &["cache-control: max-age=-60"]),
        not_stored("9111 §4.2.1", &["cache-control: max-age=evil"]),
        not_stored("9111 §4.2.1", &["cache-control: max-age=6 0"]),
        not_stored("9111 §4.2.1", &["cache-control: max-age"]),
        not_stored("9111 §4.2.1", &["cache-control: max-age="]),
        not_stored("9111 §4.2.1", &["cache-control: max-age=60, max-age=0"]),
        not_stored("9111 §4.2.1", &["cache-control: max-age=0", "cache-control: max-age=60"]),
        not_stored("9111 §5.3", &["expires: 0"]),
        not_stored("9111 §5.3", &["expires: Sun, 06 Nov 1994 08:49:37 GMT"]),
        not_stored("9111 §5.3", &["expires: Sun, 06 Nov 2094 08:49:37 GMT", "expires: 0"]),
        not_stored("9111 §5.3", &["cache-control: max-age=0", "expires: Sun, 06 Nov 2094 08:49:37 GMT"]),
        not_stored("9111 §5.2.2.4", &["cache-control: no-cache, max-age=60"]),
        not_stored("9111 §5.4", &["pragma: no-cache"]),
        not_stored("9111 §3", &["x: nothing"]),
    ])
    .await;
}

#[tokio::test]
async fn requests_of_one_client() {
    let own = |name: &'static str, clause, first: &'static str, seen: &'static str, control: &'static str| {
        talk(name, clause)
            .client(first, 200, "first")
            .says(format!("HTTP/1.1 200 OK\r\n{control}\r\ncontent-length: 5\r\n\r\nfirst"))
            .client(PLAIN, 200, "later")
            .seen(&[seen, PLAIN_SEEN])
    };
    let authorized = ask!("GET" "/", "authorization: Basic x");
    let authorized_seen = "GET /\nauthorization: Basic x\nhost: a";
    let cookie = ask!("GET" "/", "cookie: id=1");
    let cookie_seen = "GET /\ncookie: id=1\nhost: a";
    play([
        own("Authorization", "9111 §3.5", authorized, authorized_seen, "cache-control: max-age=60"),
        own(
            "Authorization",
            "9111 §3.5",
            authorized,
            authorized_seen,
            "cache-control: max-age=60, no-cache=\"x\"",
        ),
        own(
            "Authorization",
            "9111 §3.5",
            authorized,
            authorized_seen,
            "expires: Sun, 06 Nov 2094 08:49:37 GMT",
        ),
        own("Cookie, and a lifetime of the operator's", "9111 §7.3", cookie, cookie_seen, "x: y")
            .route("[route.cache]\nttl = { default = \"60s\" }\n"),
        own(
            "no-store in the request",
            "9111 §5.2.1.5",
            ask!("GET" "/", "cache-control: no-store"),
            "GET /\ncache-control: no-store\nhost: a",
            "cache-control: max-age=60",
        ),
        talk("Authorization that counts in the key", "9111 §3.5")
            .route("[route.cache]\nauthorization = \"keyed\"\n")
            .client(authorized, 200, "first")
            .says(FRESH)
            .client(ask!("GET" "/", "authorization: Basic y"), 200, "later")
            .client(PLAIN, 200, "later")
            .client(authorized, 200, "first")
            .seen(&[authorized_seen, "GET /\nauthorization: Basic y\nhost: a", PLAIN_SEEN]),
        talk("a second line of Vary", "9111 §4.1")
            .client(ask!("GET" "/", "x-user: 1"), 200, "first")
            .says(says!("200 OK", "cache-control: max-age=60", "vary: accept", "vary: x-user"))
            .client(ask!("GET" "/", "x-user: 2"), 200, "later")
            .client(PLAIN, 200, "later")
            .seen(&["GET /\nhost: a\nx-user: 1", "GET /\nhost: a\nx-user: 2", PLAIN_SEEN]),
        talk("a field that only its client may see", "9111 §5.2.2.4")
            .client(PLAIN, 200, "first")
            .says(says!(
                "200 OK",
                "cache-control: max-age=60, no-cache=\"Set-Cookie, x-mine\"",
                "set-cookie: id=1",
                "x-mine: 1"
            ))
            .client(PLAIN, 200, "first")
            .never("set-cookie: ")
            .seen(&[PLAIN_SEEN]),
        talk("fields of a connection", "9111 §3.1")
            .client(PLAIN, 200, "first")
            .says(says!(
                "200 OK",
                "cache-control: max-age=60",
                "connection: x-hop",
                "x-hop: evil",
                "proxy-authenticate: evil"
            ))
            .client(PLAIN, 200, "first")
            .never("evil")
            .seen(&[PLAIN_SEEN]),
    ])
    .await;
}
