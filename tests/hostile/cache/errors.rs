//! Denial of service by the cache (CPDoS): an error that one client provokes must not answer others; and
//! conditions and ranges, whose answers are for one request (RFC 9111 §3.3, §3.4, §4.3).

use super::{FRESH, PLAIN, PLAIN_SEEN, play, talk};

/// RFC 9110 §15.1, RFC 9111 §4.2.2: an error without explicit freshness is nobody else's.
#[tokio::test]
async fn errors_that_say_nothing_of_freshness() {
    let routes = [
        "",
        "[route.cache]\nttl = { default = \"60s\" }\n",
        "[route.cache]\nttl = { override = \"60s\" }\n",
        "[route.cache]\ncache_control = \"max-age=60\"\n",
    ];
    let statuses = [
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "405 Method Not Allowed",
        "406 Not Acceptable",
        "408 Request Timeout",
        "410 Gone",
        "413 Content Too Large",
        "414 URI Too Long",
        "415 Unsupported Media Type",
        "421 Misdirected Request",
        "429 Too Many Requests",
        "431 Request Header Fields Too Large",
        "500 Internal Server Error",
        "501 Not Implemented",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ];
    let rows = statuses.into_iter().zip(routes.into_iter().cycle());
    play(rows.map(|(status, route)| {
        talk(format!("{status} {route}"), "9111 §4.2.2")
            .route(route)
            .client(ask!("GET" "/", "x-evil: {8KiB}"), status[..3].parse().unwrap(), "first")
            .says(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nfirst"))
            .client(PLAIN, 200, "later")
            .seen(&["GET /\nhost: a\nx-evil: {8KiB}", PLAIN_SEEN])
    }))
    .await;
}

/// What the origin would choke on does not reach it, or does not count.
#[tokio::test]
async fn what_provokes_errors() {
    let refused = |name: &'static str, field: &str, status| {
        talk(name, "9110 §5.5")
            .client(format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n"), status, "")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN])
    };
    let many = (0..101).map(|number| format!("x-{number}: 1")).collect::<Vec<_>>().join("\r\n");
    let long = ["x: {8KiB}"; 5].join("\r\n");
    play([
        refused("oversize fields (HHO)", &long, 431),
        refused("too many fields (HHO)", &many, 431),
        refused("a control character (HMC)", "x: \u{1}", 400),
        refused("a bell (HMC)", "x: \u{7}", 400),
        refused("NUL (HMC)", "x: \0", 400),
        refused("DEL (HMC)", "x: \u{7f}", 400),
        refused("CR (HMC)", "x: a\rb", 400),
        refused("an unknown coding", "transfer-encoding: evil", 400),
        refused("an unknown expectation", "expect: evil", 417),
        talk("a method override (HMO)", "9111 §2")
            .client(ask!("GET" "/", "x-http-method-override: EVIL"), 405, "first")
            .says(says!("405 Method Not Allowed"))
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN]),
        talk("an explicit lifetime is the origin's own wish", "9111 §3")
            .client(PLAIN, 404, "first")
            .says(says!("404 Not Found", "cache-control: max-age=60"))
            .client(PLAIN, 404, "first")
            .seen(&[PLAIN_SEEN]),
        talk("an error does not replace what is stored", "9111 §4.3.3")
            .client(PLAIN, 200, "first")
            .says(says!("200 OK", "cache-control: max-age=60"))
            .client(ask!("GET" "/", "cache-control: no-cache", "x-evil: 1"), 400, "")
            .says("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN, "GET /\ncache-control: no-cache\nhost: a\nx-evil: 1"]),
        talk("the cache's own refusal is not stored", "9111 §5.2.1.7")
            .client(ask!("GET" "/", "cache-control: only-if-cached"), 504, "")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN]),
    ])
    .await;
}

/// RFC 9111 §4.2.2: guesses are off by default, and where they are on, only for what says when it changed.
#[tokio::test]
async fn guesses_about_errors() {
    let statuses =
        ["404 Not Found", "405 Method Not Allowed", "410 Gone", "414 URI Too Long", "501 Not Implemented"];
    let ways = [
        ("", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"),
        ("[route.cache]\nheuristic = true\n", "x: y"),
        ("[route.cache]\nheuristic = true\n", "last-modified: evil"),
    ];
    play(statuses.into_iter().zip(ways.into_iter().cycle()).map(|(status, (route, field))| {
        talk(format!("{status} {route} {field}"), "9111 §4.2.2")
            .route(route)
            .client(PLAIN, status[..3].parse().unwrap(), "first")
            .says(format!("HTTP/1.1 {status}\r\n{field}\r\ncontent-length: 5\r\n\r\nfirst"))
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN])
    }))
    .await;
}

/// RFC 9110 §13, §14: what a client asks for shapes its own answer, never what is stored.
#[tokio::test]
async fn ranges_and_conditions_do_not_shape_a_fill() {
    let tagged = says!("200 OK", "cache-control: max-age=60", "etag: \"1\"");
    let asking = [
        ("range: bytes=0-1", 206, "fi"),
        ("range: bytes=-2", 206, "st"),
        ("range: bytes=9-", 416, ""),
        ("range: cows=0-1", 200, "first"),
        ("range: bytes=1-0", 200, "first"),
        ("range: bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 200, "first"),
        ("range: bytes=0-1\r\nif-range: \"0\"", 200, "first"),
        ("if-none-match: \"1\"", 304, ""),
        ("if-none-match: *", 304, ""),
        ("if-none-match: \"0\"", 200, "first"),
        ("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT", 200, "first"),
    ]
    .map(|(field, status, body)| {
        talk(field, "9111 §3.3")
            .client(format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n"), status, body)
            .says(tagged)
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN])
    });
    let asked = [
        ("if-match: \"0\"", "412 Precondition Failed"),
        ("if-unmodified-since: Sun, 06 Nov 1994 08:49:37 GMT", "412 Precondition Failed"),
    ]
    .map(|(field, status)| {
        talk(field, "9111 §4.3.2")
            .client(format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n"), 412, "first")
            .says(format!("HTTP/1.1 {status}\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nfirst"))
            .client(PLAIN, 200, "later")
            .seen(&[&format!("GET /\nhost: a\n{field}"), PLAIN_SEEN])
    });
    play(asking.into_iter().chain(asked)).await;
}

/// What an origin answers to a question that nobody asked.
#[tokio::test]
async fn answers_to_other_questions_are_not_stored() {
    let part = says!("206 Partial Content", "cache-control: max-age=60", "content-range: bytes 0-4/9");
    let unmodified = "HTTP/1.1 304 Not Modified\r\ncache-control: max-age=60\r\netag: \"1\"\r\n\r\n";
    play([
        talk("a part of what was asked for as a whole", "9111 §3.3")
            .client(PLAIN, 502, "")
            .says(part)
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN]),
        talk("a part that was asked for is not the whole", "9111 §3.3")
            .route("[route.cache]\nranges = \"pass\"\n")
            .client(ask!("GET" "/", "range: bytes=0-4"), 206, "first")
            .says(part)
            .client(PLAIN, 200, "later")
            .seen(&["GET /\nhost: a\nrange: bytes=0-4", PLAIN_SEEN]),
        talk("a stored part is not the whole", "9111 §3.3")
            .route("[route.cache]\nranges = \"parts\"\n")
            .client(ask!("GET" "/", "range: bytes=0-4"), 206, "first")
            .says(says!(
                "206 Partial Content",
                "cache-control: max-age=60",
                "content-range: bytes 0-4/9",
                "etag: \"1\""
            ))
            .client(PLAIN, 200, "later")
            .seen(&["GET /\nhost: a\nrange: bytes=0-4", "GET /\nhost: a\nif-range: \"1\"\nrange: bytes=5-"]),
        talk("another part than the one asked for", "9111 §3.3")
            .route("[route.cache]\nranges = \"parts\"\n")
            .client(ask!("GET" "/", "range: bytes=5-9"), 206, "first")
            .says(says!(
                "206 Partial Content",
                "cache-control: max-age=60",
                "content-range: bytes 0-4/9",
                "etag: \"1\""
            ))
            .client(ask!("GET" "/", "range: bytes=5-9"), 200, "later")
            .seen(&["GET /\nhost: a\nrange: bytes=5-9", "GET /\nhost: a\nrange: bytes=5-9"]),
        talk("412 without a condition", "9111 §3")
            .client(PLAIN, 412, "first")
            .says(says!("412 Precondition Failed", "cache-control: max-age=60"))
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN]),
        talk("416 without a range", "9111 §3")
            .client(PLAIN, 416, "first")
            .says(says!("416 Range Not Satisfiable", "cache-control: max-age=60"))
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN]),
        talk("304 without a condition", "9111 §4.3.3")
            .client(PLAIN, 304, "")
            .says(unmodified)
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN]),
        talk("304 about something else", "9111 §4.3.4")
            .client(PLAIN, 200, "first")
            .says(says!("200 OK", "cache-control: max-age=0", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"))
            .client(PLAIN, 200, "later")
            .says(concat!(
                "HTTP/1.1 304 Not Modified\r\ncache-control: max-age=60\r\n",
                "last-modified: Mon, 07 Nov 1994 08:49:37 GMT\r\n\r\n"
            ))
            .seen(&[
                PLAIN_SEEN,
                "GET /\nhost: a\nif-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
                PLAIN_SEEN,
            ]),
        talk("an interim response is not stored", "9111 §3")
            .client(PLAIN, 200, "first")
            .says(concat!(
                "HTTP/1.1 103 Early Hints\r\ncache-control: max-age=60\r\nset-cookie: a=b\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst"
            ))
            .client(PLAIN, 200, "later")
            .never("set-cookie")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN]),
        talk("what is stored stays while a range is passed", "9111 §4")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client(ask!("GET" "/", "range: bytes=1-2"), 206, "ir")
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN]),
    ])
    .await;
}
