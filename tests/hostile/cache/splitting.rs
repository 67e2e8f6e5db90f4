//! Responses that do not hold together, or hold more than one: nothing of them is stored, and what comes
//! behind a response answers nobody (RFC 9112 §6.3, §11.1).

use super::{PLAIN, PLAIN_SEEN, Talk, play, talk};

/// What comes behind a response, for whoever asks next.
const EVIL: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nevil";

/// The second client asks for something else, and the third for the same as the first.
fn behind(name: &'static str, clause: &'static str, first: &str, status: u16, body: &'static str) -> Talk {
    talk(name, clause)
        .client(PLAIN, status, body)
        .says(format!("{first}{EVIL}"))
        .client(ask!("GET" "/other"), 200, "later")
        .seen(&[PLAIN_SEEN, "GET /other\nhost: a"])
}

#[tokio::test]
async fn what_comes_behind_a_response() {
    play([
        behind("behind a length", "9112 §6.3", says!("200 OK", "cache-control: max-age=60"), 200, "first")
            .client(PLAIN, 200, "first"),
        behind("behind 204", "9112 §6.3", "HTTP/1.1 204 No Content\r\n\r\n", 204, "")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, "GET /other\nhost: a", PLAIN_SEEN]),
        behind(
            "behind the last chunk",
            "9112 §7.1",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncache-control: max-age=60\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
            200,
            "first",
        )
        .client(PLAIN, 200, "first"),
        behind("behind nothing", "9112 §6.3", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "")
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, "GET /other\nhost: a", PLAIN_SEEN]),
        talk("chunks decide, not the length", "9112 §6.3")
            .client(PLAIN, 200, "first")
            .says(concat!(
                "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n",
                "transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"
            ))
            .client(PLAIN, 200, "first")
            .seen(&[PLAIN_SEEN]),
    ])
    .await;
}

#[tokio::test]
async fn responses_that_do_not_hold_together() {
    let broken = |name: &'static str, clause: &'static str, first: &str| {
        talk(name, clause)
            .client(PLAIN, 502, "")
            .says(first)
            .client(PLAIN, 200, "later")
            .seen(&[PLAIN_SEEN, PLAIN_SEEN])
    };
    play([
        broken("two lengths", "9112 §6.3", says!("200 OK", "cache-control: max-age=60", "content-length: 9")),
        broken("a length that is none", "9112 §6.3", says!("200 OK", "content-length: 0x5")),
        broken("NUL in a value", "9110 §5.5", says!("200 OK", "cache-control: max-age=60", "x: a\0b")),
        broken(
            "CR in a value",
            "9112 §2.2",
            says!("200 OK", "cache-control: max-age=60", "x: a\rset-cookie: b"),
        ),
        broken("no colon", "9112 §5", says!("200 OK", "cache-control: max-age=60", "x")),
        broken("a space in a name", "9112 §5.1", says!("200 OK", "cache-control: max-age=60", "x y: z")),
        broken("no status", "9112 §4", "HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n"),
        broken("another protocol", "9112 §2.3", "EVIL/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        broken("no head at all", "9112 §2.1", "first\r\n\r\n"),
        broken(
            "an unknown coding",
            "9112 §6.1",
            concat!(
                "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: evil, chunked\r\n\r\n",
                "5\r\nfirst\r\n0\r\n\r\n"
            ),
        ),
        broken(
            "an upgrade that nobody asked for",
            "9110 §15.2.2",
            concat!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: evil\r\n",
                "cache-control: max-age=60\r\n\r\nfirst"
            ),
        ),
    ])
    .await;
}
