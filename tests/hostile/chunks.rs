//! Inside a chunked body. It was being forwarded as it came, so what breaks it must also break it off for the
//! origin.

use super::{Case, Seen, cut, passed, run};

const GOOD: &[Case] = &[
    passed(
        "extensions are read over and not sent on",
        "9112 §7.1.1",
        post!("transfer-encoding: chunked", "2;a\r\nhe\r\n3 ; b=c\t;d=\"e \u{e9}\"\r\nllo\r\n0;f\r\n\r\n"),
        &["POST /\nhost: a\ntransfer-encoding: chunked\n\nhello"],
    ),
    passed(
        "capitals and leading zeros",
        "9112 §7.1",
        post!("transfer-encoding: chunked", "0000A\r\n0123456789\r\n000\r\n\r\n"),
        &["POST /\nhost: a\ntransfer-encoding: chunked\n\n0123456789"],
    ),
    passed(
        "a body inside a body",
        "9112 §7.1",
        post!("transfer-encoding: chunked", "5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
        &["POST /\nhost: a\ntransfer-encoding: chunked\n\n0\r\n\r\n"],
    ),
    passed(
        "on GET",
        "9112 §6.3",
        b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        &["GET /\nhost: a\ntransfer-encoding: chunked\n\nhello"],
    ),
];

const BAD: &[Case] = &[
    cut("a size with 0x", "9112 §7.1", chunked!("0x5\r\nhello\r\n0\r\n\r\n")),
    cut("a size with a plus sign", "9112 §7.1", chunked!("+5\r\nhello\r\n0\r\n\r\n")),
    cut("a size with a minus sign", "9112 §7.1", chunked!("-5\r\nhello\r\n0\r\n\r\n")),
    cut("a size with an underscore", "9112 §7.1", chunked!("0_5\r\nhello\r\n0\r\n\r\n")),
    cut("a space before the size", "9112 §7.1", chunked!(" 5\r\nhello\r\n0\r\n\r\n")),
    cut("two sizes", "9112 §7.1", chunked!("5 6\r\nhello\r\n0\r\n\r\n")),
    cut("no size", "9112 §7.1", chunked!("\r\nhello\r\n0\r\n\r\n")),
    cut("a size that is no number", "9112 §7.1", chunked!("5g\r\nhello\r\n0\r\n\r\n")),
    cut("a size of more than 64 bits", "9112 §7.1", chunked!("10000000000000005\r\nhello\r\n0\r\n\r\n")),
    cut("LF after the size", "9112 §2.2", chunked!("5\nhello\r\n0\r\n\r\n")),
    cut("CR and no LF after the size", "9112 §2.2", chunked!("5\rhello\r\n0\r\n\r\n")),
    cut("two other bytes after the data", "9112 §7.1", chunked!("5\r\nhelloXX0\r\n\r\n")),
    cut("LF after the data", "9112 §7.1", chunked!("5\r\nhello\n0\r\n\r\n")),
    cut("more data than the size says", "9112 §7.1", chunked!("4\r\nhello\r\n0\r\n\r\n")),
    cut("LF in an extension", "9112 §7.1.1", chunked!("5;a\nhello\r\n0\r\n\r\n")),
    cut("CR in an extension", "9112 §7.1.1", chunked!("5;a\rb\r\nhello\r\n0\r\n\r\n")),
    cut("NUL in an extension", "9112 §7.1.1", chunked!("5;a\0b\r\nhello\r\n0\r\n\r\n")),
    cut("a control character in an extension", "9112 §7.1.1", chunked!("5;a=\x01\r\nhello\r\n0\r\n\r\n")),
    cut("DEL in an extension", "9112 §7.1.1", chunked!("5;a=\"\x7f\"\r\nhello\r\n0\r\n\r\n")),
    cut("a vertical tab before an extension", "9112 §7.1.1", chunked!("5\x0b;a\r\nhello\r\n0\r\n\r\n")),
    cut("LF in the extension of the last chunk", "9112 §7.1.1", chunked!("5\r\nhello\r\n0;a\n\r\n")),
    cut("LF at the end of an extension", "9112 §7.1.1", chunked!("5;a\nhello\r\n0\r\n\r\n")),
    cut(
        "LF at the end of an extension, and what would be a request",
        "9112 §7.1.1",
        chunked!("2;\nxx\r\n2a\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n\r\n0\r\n\r\n"),
    ),
    cut("LF alone at a trailer's end", "9112 §2.2", chunked!("5\r\nhello\r\n0\r\nx: y\n\r\n")),
    cut("LF alone before a trailer", "9112 §2.2", chunked!("5\r\nhello\r\n0\r\n\nx: y\r\n\r\n")),
    cut(
        "a quoted line end in an extension",
        "9112 §7.1.1",
        chunked!("5;a=\"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n\"\r\nhello\r\n0\r\n\r\n"),
    ),
    cut("LF after the last chunk", "9112 §7.1", chunked!("5\r\nhello\r\n0\n\n")),
    cut("a trailer without a colon", "9112 §7.1.2", chunked!("5\r\nhello\r\n0\r\nbad\r\n\r\n")),
    cut("a trailer with a space before its colon", "9112 §5.1", chunked!("5\r\nhello\r\n0\r\nx : y\r\n\r\n")),
    cut("a trailer with NUL", "9110 §5.5", chunked!("5\r\nhello\r\n0\r\nx: \0\r\n\r\n")),
    cut(
        "a request follows a broken body",
        "9112 §9.6",
        chunked!("z\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
    ),
];

#[tokio::test]
async fn chunks_as_they_should_be() {
    run(GOOD, 0).await;
}

/// What is wrong with the client's body is not the origin's fault: however many there are, it is not ejected.
#[tokio::test]
async fn chunks_as_they_should_not_be() {
    run(BAD, 0).await;
}

/// The bound is on a whole message: an extension costs its sender more than us.
#[tokio::test]
async fn chunk_extensions_without_end() {
    let mut long = chunked!("5;").to_vec();
    long.extend_from_slice(&[b'x'; 20_000]);
    long.extend_from_slice(b"\r\nhello\r\n0\r\n\r\n");
    let mut many = chunked!("").to_vec();
    many.extend_from_slice(&b"1;xxxxxxxxxxxxxxxx\r\nx\r\n".repeat(1500));
    many.extend_from_slice(b"0\r\n\r\n");
    let cases = [("one long extension", long), ("many short extensions", many)]
        .map(|(name, send)| Case { seen: Seen::Cut, ..cut(name, "9112 §7.1.1", send.leak()) });
    run(&cases, 0).await;
}
