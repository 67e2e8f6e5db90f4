//! Methods: content where none belongs, methods in disguise, HEAD for GET, and what makes stored responses
//! invalid (RFC 9110 §9.3, RFC 9111 §4.4).

use super::{FRESH, LATER, PLAIN, PLAIN_SEEN, play, talk};

const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// RFC 9110 §9.3.1: an origin may answer by the content of a GET, which is no part of the key.
#[tokio::test]
async fn content_on_a_get() {
    play([
        talk("is passed and not stored", "9110 §9.3.1")
            .client(concat!("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n", "evil"), 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["GET /\ncontent-length: 4\nhost: a\n\nevil", PLAIN_SEEN]),
        talk("in chunks is passed and not stored", "9110 §9.3.1")
            .client(
                "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
                200,
                "first",
            )
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["GET /\nhost: a\ntransfer-encoding: chunked\n\nevil", PLAIN_SEEN]),
        talk("is not answered from the store", "9110 §9.3.1")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nmore", 200, "later")
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN, "GET /\ncontent-length: 4\nhost: a\n\nmore"]),
        talk("on a HEAD changes nothing stored", "9110 §9.3.2")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client("HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nevil", 200, "")
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN, "HEAD /\ncontent-length: 4\nhost: a\n\nevil"]),
    ])
    .await;
}

/// RFC 9110 §9.1: methods are case-sensitive, and what is unknown is no GET.
#[tokio::test]
async fn methods_in_disguise() {
    play([
        talk("small letters are another method", "9110 §9.1")
            .client("get / HTTP/1.1\r\nhost: a\r\n\r\n", 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["get /\nhost: a", PLAIN_SEEN]),
        talk("an unknown method is not stored", "9111 §3")
            .client(ask!("EVIL" "/"), 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["EVIL /\nhost: a", PLAIN_SEEN]),
        talk("an unknown method is not answered from the store", "9111 §4")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client(ask!("REPORT" "/"), 200, "later")
            .seen(&[PLAIN_SEEN, "REPORT /\nhost: a"]),
        talk("OPTIONS is not stored", "9110 §9.3.7")
            .client(ask!("OPTIONS" "/"), 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["OPTIONS /\nhost: a", PLAIN_SEEN]),
        talk("POST is not stored", "9110 §9.3.3")
            .client(ask!("POST" "/", "content-length: 0"), 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["POST /\ncontent-length: 0\nhost: a", PLAIN_SEEN]),
        talk("POST that claims to be a GET is not stored", "9111 §2")
            .client(ask!("POST" "/", "content-length: 0", "x-http-method-override: GET"), 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["POST /\ncontent-length: 0\nhost: a\nx-http-method-override: GET", PLAIN_SEEN]),
        talk("POST that claims to be elsewhere is stored nowhere", "9110 §9.3.3")
            .client(ask!("POST" "/evil", "content-length: 0"), 200, "first")
            .says(says!("200 OK", "cache-control: max-age=60", "content-location: /"))
            .client(PLAIN, 200, "later")
            .seen(&["POST /evil\ncontent-length: 0\nhost: a", PLAIN_SEEN]),
        talk("a method in the query is part of the key", "9111 §2")
            .client(ask!("GET" "/?_method=DELETE"), 200, "first")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["GET /?_method=DELETE\nhost: a", PLAIN_SEEN]),
        talk("PURGE is for nobody unless the config says so", "9110 §15.5.6")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client(ask!("PURGE" "/"), 405, "")
            .client(ask!("PURGE" "/", "purge-mode: soft", "surrogate-key: x"), 405, "")
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN]),
        talk("TRACE is for nobody", "9110 §9.3.8")
            .client(ask!("TRACE" "/", "cookie: secret"), 405, "")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN]),
    ])
    .await;
}

/// RFC 9110 §9.3.2, RFC 9111 §4.3.5.
#[tokio::test]
async fn head_is_no_get() {
    play([
        talk("what answers a HEAD answers no GET", "9110 §9.3.2")
            .client(ask!("HEAD" "/"), 200, "")
            .says(FRESH)
            .client(PLAIN, 200, "later")
            .seen(&["HEAD /\nhost: a", PLAIN_SEEN]),
        talk("an error to a HEAD answers no GET", "9110 §9.3.2")
            .client(ask!("HEAD" "/"), 404, "")
            .says(says!("404 Not Found", "cache-control: max-age=60"))
            .client(PLAIN, 200, "later")
            .seen(&["HEAD /\nhost: a", PLAIN_SEEN]),
        talk("a HEAD gets no body from the store", "9110 §9.3.2")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client(ask!("HEAD" "/"), 200, "")
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN]),
        talk("a HEAD of another one's length makes invalid", "9111 §4.3.5")
            .client(PLAIN, 200, "first")
            .says(says!("200 OK", "cache-control: max-age=60", "etag: \"1\""))
            .client(ask!("HEAD" "/", "cache-control: no-cache"), 200, "")
            .says("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\netag: \"2\"\r\ncontent-length: 9\r\n\r\n")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, "HEAD /\ncache-control: no-cache\nhost: a", PLAIN_SEEN]),
    ])
    .await;
}

/// RFC 9111 §4.4: a change that was made is seen at once; one that failed makes nothing invalid; and nobody
/// makes invalid what is another host's.
#[tokio::test]
async fn invalidation() {
    let changing = ["PUT", "DELETE", "PATCH", "POST", "EVIL", "purge"].map(|method| {
        let length = if method.starts_with('P') { "content-length: 0" } else { "x: y" };
        let change = format!("{method} / HTTP/1.1\r\nhost: a\r\n{length}\r\n\r\n");
        let mut fields = ["host: a", length];
        fields.sort_unstable();
        talk(method, "9111 §4.4")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client(change, 204, "")
            .says(DONE)
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, &format!("{method} /\n{}", fields.join("\n")), PLAIN_SEEN])
    });
    let refused = ["409 Conflict", "403 Forbidden", "500 Internal Server Error"].map(|status| {
        talk(status, "9111 §4.4")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client(ask!("DELETE" "/"), status[..3].parse().unwrap(), "first")
            .says(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nfirst"))
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN, "DELETE /\nhost: a"])
    });
    let elsewhere = [
        ("location: /", "later"),
        ("content-location: /", "later"),
        ("location: http://a/", "later"),
        ("location: http://b/", "first"),
        ("location: http://a:81/", "first"),
        ("location: //b/", "first"),
        ("location: /other", "first"),
    ]
    .map(|(field, body)| {
        let third: &[&str] = if body == "later" { &[PLAIN_SEEN] } else { &[] };
        talk(field, "9111 §4.4")
            .client(PLAIN, 200, "first")
            .says(FRESH)
            .client(ask!("POST" "/x", "content-length: 0"), 201, "")
            .says(format!("HTTP/1.1 201 Created\r\n{field}\r\ncontent-length: 0\r\n\r\n"))
            .client(PLAIN, 200, body)
            .seen(&[&[PLAIN_SEEN, "POST /x\ncontent-length: 0\nhost: a"], third].concat())
    });
    let safe = [talk("OPTIONS changes nothing", "9110 §9.2.1")
        .client(PLAIN, 200, "first")
        .says(FRESH)
        .client(ask!("OPTIONS" "/"), 200, "later")
        .says(LATER)
        .client(PLAIN, 200, "first")
        .seen(&[PLAIN_SEEN, "OPTIONS /\nhost: a"])];
    play(changing.into_iter().chain(refused).chain(elsewhere).chain(safe)).await;
}
