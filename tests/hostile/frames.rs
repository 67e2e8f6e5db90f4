//! HTTP/2 by hand: frames, a field block without compression, and as much reading as a case needs.

use crate::support::Client;

/// Frame types (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The preface and empty settings (RFC 9113 §3.4).
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, b""));
    bytes
}

/// A frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as literals that are not indexed, with new names (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(name, &mut bytes);
        text(value, &mut bytes);
    }
    bytes
}

/// A string without Huffman coding (RFC 7541 §5.1, §5.2).
fn text(text: &str, bytes: &mut Vec<u8>) {
    match text.len() {
        length @ 0..127 => bytes.push(u8::try_from(length).unwrap()),
        length => {
            bytes.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}

/// A good GET's pseudo-header fields, and these.
pub fn get(fields: &[(&str, &str)]) -> Vec<u8> {
    let good = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    block(&[&good[..], fields].concat())
}

/// The same for a POST to a path that may be seen to begin.
pub fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    let good = [(":method", "POST"), (":scheme", "http"), (":path", "/cut"), (":authority", "a")];
    block(&[&good[..], fields].concat())
}

/// A head on stream 1 that is a whole request.
pub fn whole(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

/// A head on stream 1 that a body follows.
pub fn open(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, block)
}

/// What became of stream 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Status(u16),
    /// It was reset.
    Reset,
    /// The connection ended, with GOAWAY or without.
    Gone,
}

/// Reads until it is clear what became of stream 1.
pub async fn outcome(client: &mut Client) -> Outcome {
    loop {
        let Some(head) = client.take(9).await else { return Outcome::Gone };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let Some(payload) = client.take(length as usize).await else { return Outcome::Gone };
        match (head[3], stream) {
            (HEADERS, 1) => return Outcome::Status(status(&payload)),
            (RST_STREAM, 1) => return Outcome::Reset,
            (GOAWAY, _) => return Outcome::Gone,
            _ => {}
        }
    }
}

/// The status that a response's field block begins with (RFC 7541 Appendix A, entries 8 to 14); 0 for another
/// thing.
pub fn status(block: &[u8]) -> u16 {
    match block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [0x48 | 0x08 | 0x18, length, rest @ ..] if length & 0x80 == 0 => {
            std::str::from_utf8(&rest[..usize::from(*length)]).unwrap().parse().unwrap()
        }
        [0x48 | 0x08 | 0x18, length, rest @ ..] => digits(&rest[..usize::from(length & 0x7f)]),
        _ => 0,
    }
}

/// Three digits in the Huffman code of HPACK (RFC 7541 Appendix B): 0 to 2 have five bits, the others six.
fn digits(coded: &[u8]) -> u16 {
    let bits: String = coded.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&bits[at..at + 5], 2).unwrap();
        if five <= 2 {
            (at, number) = (at + 5, number * 10 + five);
        } else {
            let six = u16::from_str_radix(&bits[at..at + 6], 2).unwrap();
            (at, number) = (at + 6, number * 10 + six - 0b01_1001 + 3);
        }
    }
    number
}

#[test]
fn statuses_are_read() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(status(&[0x8c, 0]), 400);
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302, "RFC 7541 Appendix C.6.1");
    assert_eq!(status(&[0x48, 3, b'4', b'3', b'1']), 431);
}
