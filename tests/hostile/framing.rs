//! Where a body ends: whoever can make two servers disagree about that can smuggle a request.

use super::{Case, Seen, answered, passed, refused, run};

/// What must never reach the origin as a request of its own.
const LENGTHS: &[Case] = &[
    refused("differing lengths", "9112 §6.3", post!("content-length: 5\r\ncontent-length: 6", "hello!")),
    refused("a list of differing lengths", "9112 §6.3", post!("content-length: 5, 6", "hello!")),
    refused("a list of equal lengths", "9110 §8.6", post!("content-length: 5, 5", "hello")),
    refused("a plus sign", "9110 §8.6", post!("content-length: +5", "hello")),
    refused("a minus sign", "9110 §8.6", post!("content-length: -5", "hello")),
    refused("hexadecimal", "9110 §8.6", post!("content-length: 0x5", "hello")),
    refused("an exponent", "9110 §8.6", post!("content-length: 5e0", "hello")),
    refused("an underscore", "9110 §8.6", post!("content-length: 1_0", "hellohello")),
    refused("a space inside", "9110 §8.6", post!("content-length: 5 5", "hello")),
    refused("an empty length", "9110 §8.6", post!("content-length:", "hello")),
    refused(
        "an empty and a good length",
        "9110 §8.6",
        post!("content-length:\r\ncontent-length: 5", "hello"),
    ),
    refused("full-width digits", "9110 §8.6", post!("content-length: \u{ff15}", "hello")),
    refused("more than 64 bits", "9110 §8.6", post!("content-length: 18446744073709551621", "hello")),
    answered(
        "all of 64 bits",
        "9110 §8.6",
        post!("content-length: 18446744073709551615", "hello"),
        &[400, 413, 431],
    ),
    passed(
        "equal lengths on two lines",
        "9110 §8.6",
        post!("content-length: 5\r\ncontent-length: 5", "hello"),
        &["POST /\ncontent-length: 5\nhost: a\n\nhello"],
    ),
    passed(
        "leading zeros",
        "9110 §8.6",
        post!("content-length: 005", "hello"),
        &["POST /\ncontent-length: 5\nhost: a\n\nhello"],
    ),
    passed(
        "a body of no bytes",
        "9110 §8.6",
        post!("content-length: 0", ""),
        &["POST /\ncontent-length: 0\nhost: a"],
    ),
    passed(
        "no framing is no body",
        "9112 §6.3",
        b"POST / HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST /\ncontent-length: 0\nhost: a"],
    ),
];

/// The rest of these messages would be a request to whoever goes by the other field. RFC 9112 §6.3 lets a
/// server go by the coding; refusing leaves nothing to disagree about.
const BOTH: &[Case] = &[
    refused("a length, then chunked", "9112 §6.3",
        post!("content-length: 40\r\ntransfer-encoding: chunked", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")),
    refused("chunked, then a length", "9112 §6.3",
        post!("transfer-encoding: chunked\r\ncontent-length: 5", "1\r\nx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")),
    refused("chunked, then no length", "9112 §6.3",
        b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: abc\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("keep-alive asked for nonetheless", "9112 §6.1",
        post!("connection: keep-alive\r\ntransfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")),
    refused("both, far apart", "9112 §6.3",
        post!("content-length: 5\r\na: b\r\ncookie: c\r\ntrailer: x\r\nupgrade: x\r\nTRANSFER-ENCODING:\tchunked", "0\r\n\r\n")),
    refused("a length of nothing, and chunked", "9112 §6.3",
        post!("content-length: 0\r\ntransfer-encoding: chunked", "1\r\nx\r\n0\r\n\r\n")),
    refused("both on GET", "9112 §6.1", b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    Case { first: &[200], seen: Seen::Exactly(&["POST /1\ncontent-length: 5\nhost: a\n\nhello"]),
        ..refused("both, after a good request", "9112 §6.3",
        b"POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n") },
    Case { first: &[200], seen: Seen::Exactly(&["POST /1\nhost: a\ntransfer-encoding: chunked\n\nhello"]),
        ..refused("both, after a good chunked request", "9112 §6.3",
        b"POST /1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n") },
    passed("what would be both is a body", "9112 §6.3",
        post!("content-length: 75", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"),
        &["POST /\ncontent-length: 75\nhost: a\n\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"]),
    refused("no length, then chunked", "9112 §6.3",
        post!("content-length: abc\r\ntransfer-encoding: chunked", "0\r\n\r\n")),
    passed("a length and its underscore twin", "9112 §6.3",
        post!("content_length: 0\r\ncontent-length: 5", "hello"),
        &["POST /\ncontent-length: 5\nhost: a\n\nhello"]),
    passed("chunked by an underscore twin", "9112 §6.3",
        post!("transfer_encoding: chunked\r\ncontent-length: 5", "hello"),
        &["POST /\ncontent-length: 5\nhost: a\n\nhello"]),
];

const CODINGS: &[Case] = &[
    passed(
        "chunked in capitals",
        "9112 §7",
        post!("TRANSFER-ENCODING: Chunked", "5\r\nhello\r\n0\r\n\r\n"),
        &["POST /\nhost: a\ntransfer-encoding: chunked\n\nhello"],
    ),
    answered("identity", "9112 §7", post!("transfer-encoding: identity", "0\r\n\r\n"), &[400, 501]),
    answered(
        "an unknown coding",
        "9112 §6.1",
        post!("transfer-encoding: xchunked", "0\r\n\r\n"),
        &[400, 501],
    ),
    answered(
        "gzip, chunked",
        "9112 §6.1",
        post!("transfer-encoding: gzip, chunked", "0\r\n\r\n"),
        &[400, 501],
    ),
    answered(
        "gzip and chunked on two lines",
        "9112 §6.1",
        post!("transfer-encoding: gzip\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
        &[400, 501],
    ),
    answered(
        "identity and a length",
        "9112 §7",
        post!("transfer-encoding: identity\r\ncontent-length: 5", "hello"),
        &[400, 501],
    ),
    refused("not last", "9112 §6.3", post!("transfer-encoding: chunked, gzip", "0\r\n\r\n")),
    refused(
        "not last, on two lines",
        "9112 §6.3",
        post!("transfer-encoding: chunked\r\ntransfer-encoding: identity", "0\r\n\r\n"),
    ),
    refused(
        "last but unknown before",
        "9112 §6.3",
        post!("transfer-encoding: x\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
    ),
    refused("chunked twice", "9112 §7.1", post!("transfer-encoding: chunked, chunked", "0\r\n\r\n")),
    refused(
        "chunked twice, on two lines",
        "9112 §7.1",
        post!("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
    ),
    refused("a comma before", "9110 §5.6.1", post!("transfer-encoding: , chunked", "0\r\n\r\n")),
    refused("a comma after", "9110 §5.6.1", post!("transfer-encoding: chunked,", "0\r\n\r\n")),
    refused("a parameter", "9112 §7.1", post!("transfer-encoding: chunked;q=1", "0\r\n\r\n")),
    refused("in quotes", "9112 §7", post!("transfer-encoding: \"chunked\"", "0\r\n\r\n")),
    refused("an empty coding", "9112 §6.1", post!("transfer-encoding:", "0\r\n\r\n")),
    refused("after a vertical tab", "9110 §5.5", post!("transfer-encoding: \x0bchunked", "0\r\n\r\n")),
    refused("before a form feed", "9110 §5.5", post!("transfer-encoding: chunked\x0c", "0\r\n\r\n")),
    refused(
        "after a no-break space",
        "9112 §7",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \xa0chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "after a next-line character",
        "9112 §7",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x85chunked\r\n\r\n0\r\n\r\n",
    ),
    refused("with a Kelvin sign", "9112 §7", post!("transfer-encoding: chun\u{212a}ed", "0\r\n\r\n")),
    refused("a space before the colon", "9112 §5.1", post!("transfer-encoding : chunked", "0\r\n\r\n")),
    refused("a tab before the colon", "9112 §5.1", post!("transfer-encoding\t: chunked", "0\r\n\r\n")),
    refused("folded", "9112 §5.2", post!("transfer-encoding:\r\n chunked", "0\r\n\r\n")),
    refused(
        "in HTTP/1.0",
        "9112 §6.1",
        b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "in HTTP/1.0 with a length",
        "9112 §6.1",
        b"POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
];

#[tokio::test]
async fn lengths() {
    run(LENGTHS, 0).await;
}

#[tokio::test]
async fn a_length_and_chunked() {
    run(BOTH, 0).await;
}

#[tokio::test]
async fn transfer_codings() {
    run(CODINGS, 0).await;
}
