//! Reads along with hyper where an HTTP/1 request ends, and finds what hyper lets pass although another
//! server could read it differently.
//!
//! hyper shows neither the bytes of a head nor those of a chunk's size line, so [`Framing`] sees what a
//! client sends before hyper does. It refuses:
//!
//! - **A line of a head or a trailer section that ends in LF alone.** RFC 9112 §2.2 lets a server accept it;
//!   we do not, for what one server takes for a line's end is part of a value to another.
//! - **A `#` in a request line.** No target has a fragment (RFC 9112 §3.2); hyper cuts it off, another server
//!   may take it for a part of the path.
//! - **`Content-Length` beside `Transfer-Encoding`** (RFC 9112 §6.1, §6.3), where hyper would go by the
//!   latter; a coding that is not exactly `chunked`; a length that is no number, or another one than before.
//! - **A control octet in a chunk extension** (RFC 9112 §7.1.1), which hyper skips unread.
//!
//! It refuses by a detour: what is wrong is replaced by bytes hyper refuses at that place. So requests that
//! came before are answered first, a body that was being forwarded is broken off, and no second way of
//! saying no is needed.
//!
//! What both accept they read alike, because nothing is left that could be read in two ways: lines end in
//! CRLF, and a body is absent, counted once, or chunked. What hyper refuses ends the connection, so it does
//! not matter what this module makes of it.
//!
//! It costs some tens of nanoseconds a head, and nothing a byte of a body.

use memchr::memchr;

/// As much of a line is looked at. A framing field that is longer is refused: nobody pads them so far.
const LINE_MAX: usize = 64;

/// What hyper refuses in a head, in a trailer section, and in a chunk's size: NUL, and then what makes it
/// look at once (RFC 9110 §5.5).
const BAD_LINE: &[u8] = b"\0\r\n\r\n";

/// What hyper refuses in a chunk extension.
const BAD_EXTENSION: &[u8] = b"\n";

/// What was found in bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: hyper may have them all.
    Nothing,
    /// A WebSocket handshake ends before this byte. What comes then is no request if it succeeds, so it is
    /// to be withheld until that is known.
    Handshake(usize),
    /// From this byte on hyper is to read something else.
    Fault {
        /// How many bytes are good.
        at: usize,
        /// What to read in place of the others.
        instead: &'static [u8],
        /// What is wrong.
        reason: &'static str,
    },
}

/// Where in a message the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a request line, or in it.
    Start,
    /// In the fields of a head.
    Fields,
    /// In a body, which has so many bytes left.
    Counted(u64),
    /// In a chunk's size; `true` after the first digit.
    Size(bool),
    /// In blanks after it.
    SizeBlank,
    /// In its extension.
    Extension,
    /// After the CR that ends it.
    SizeLf,
    /// In a chunk, which has so many bytes left.
    Chunk(u64),
    /// After a chunk's data.
    ChunkCr,
    /// After the CR that follows it.
    ChunkLf,
    /// In the trailer section.
    Trailers,
    /// Behind a WebSocket handshake whose outcome is open.
    Handshake,
    /// Nothing more is to be read.
    Over,
}

/// How a head says its body is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Framing {
    state: State,
    head: Head,
    /// The beginning of a line that came in several reads.
    line: [u8; LINE_MAX],
    /// How long that line is so far.
    line_len: usize,
    /// Its last byte.
    last: u8,
    /// Whether it is a request line, and has a `#`.
    fragment: bool,
    /// The size of the current chunk.
    size: u64,
    /// Heads that are complete.
    heads: u32,
    /// Whether the current request's method is HEAD.
    method_is_head: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            state: State::Start,
            head: Head::default(),
            line: [0; LINE_MAX],
            line_len: 0,
            last: 0,
            fragment: false,
            size: 0,
            heads: 0,
            method_is_head: false,
        }
    }
}

impl Framing {
    /// Reads what came next.
    pub fn read(&mut self, bytes: &[u8]) -> Found {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let step = match self.state {
                State::Start | State::Fields | State::Trailers => self.line(rest),
                State::Counted(left) => {
                    let (taken, left) = skip(rest, left);
                    self.state = if left == 0 { State::Start } else { State::Counted(left) };
                    Ok(taken)
                }
                State::Chunk(left) => {
                    let (taken, left) = skip(rest, left);
                    self.state = if left == 0 { State::ChunkCr } else { State::Chunk(left) };
                    Ok(taken)
                }
                State::Handshake => return Found::Handshake(at),
                State::Over => return Found::Nothing,
                _ => rest.first().map_or(Ok(1), |byte| self.between_chunks(*byte).map(|()| 1)),
            };
            match step {
                Ok(taken) => at += taken,
                Err((good, instead, reason)) => {
                    self.state = State::Over;
                    return Found::Fault { at: at + good, instead, reason };
                }
            }
        }
        if self.state == State::Handshake { Found::Handshake(at) } else { Found::Nothing }
    }

    /// How many heads were complete.
    pub const fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether what comes next is of a head.
    pub const fn is_within_head(&self) -> bool {
        matches!(self.state, State::Start | State::Fields)
    }

    /// Whether what comes next is of a body.
    pub const fn is_within_body(&self) -> bool {
        !matches!(self.state, State::Start | State::Fields | State::Handshake | State::Over)
    }

    /// Whether the outcome of a WebSocket handshake is awaited.
    pub fn is_handshake(&self) -> bool {
        self.state == State::Handshake
    }

    /// There was no upgrade: another request follows.
    pub fn handshake_failed(&mut self) {
        self.state = State::Start;
    }

    /// Whether the last request line that was read begins with `HEAD`.
    pub const fn method_is_head(&self) -> bool {
        self.method_is_head
    }

    /// Reads up to a line's end; `Ok` with how much of `rest` that was.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        let Some(end) = memchr(b'\n', rest) else {
            self.keep(rest);
            return Ok(rest.len());
        };
        let piece = rest.get(..end).unwrap_or_default();
        let ends_in_cr = piece.last().map_or(self.line_len > 0 && self.last == b'\r', |last| *last == b'\r');
        if !ends_in_cr {
            return Err((end, BAD_LINE, "bare_lf"));
        }
        let fault = if self.line_len == 0 {
            self.whole_line(piece, piece.len() - 1)
        } else {
            self.keep(piece);
            let (line, len) = (self.line, self.line_len - 1);
            self.line_len = 0;
            self.whole_line(&line, len)
        };
        fault.map_or(Ok(end + 1), |reason| Err((end, BAD_LINE, reason)))
    }

    /// Keeps the beginning of a line whose end has not come.
    fn keep(&mut self, piece: &[u8]) {
        self.fragment |= self.state == State::Start && memchr(b'#', piece).is_some();
        if let Some(room) = self.line.get_mut(self.line_len.min(LINE_MAX)..) {
            let len = room.len().min(piece.len());
            if let (Some(room), Some(piece)) = (room.get_mut(..len), piece.get(..len)) {
                room.copy_from_slice(piece);
            }
        }
        self.line_len = self.line_len.saturating_add(piece.len());
        self.last = piece.last().copied().unwrap_or(self.last);
    }

    /// A line of `len` bytes, of which `line` has the first ones at least up to [`LINE_MAX`]. Says what is
    /// wrong with it.
    fn whole_line(&mut self, line: &[u8], len: usize) -> Option<&'static str> {
        let line = line.get(..len.min(line.len())).unwrap_or_default();
        match self.state {
            // Empty lines before a request are read over (RFC 9112 §2.2).
            State::Start if len == 0 => None,
            State::Start => {
                self.method_is_head = line.starts_with(b"HEAD ");
                self.state = State::Fields;
                let fragment = std::mem::take(&mut self.fragment) || memchr(b'#', line).is_some();
                fragment.then_some("fragment")
            }
            State::Trailers => {
                if len == 0 {
                    self.state = State::Start;
                }
                None
            }
            _ if len == 0 => {
                self.end_of_head();
                None
            }
            _ => self.head.field(line, len).err(),
        }
    }

    fn end_of_head(&mut self) {
        self.heads = self.heads.wrapping_add(1);
        let head = std::mem::take(&mut self.head);
        self.state = match head.length.unwrap_or_default() {
            _ if head.chunked => State::Size(false),
            0 if head.websocket => State::Handshake,
            0 => State::Start,
            length => State::Counted(length),
        };
    }

    /// A byte of what is around a chunk's data (RFC 9112 §7.1). As hyper reads it, but for the extension.
    fn between_chunks(&mut self, byte: u8) -> Result<(), Fault> {
        let bad = Err((0, BAD_LINE, "chunk"));
        self.state = match (self.state, byte) {
            (State::Size(begun), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                let size = if begun { self.size } else { 0 };
                match size.checked_mul(16) {
                    Some(size) => self.size = size | u64::from(digit),
                    None => return bad,
                }
                State::Size(true)
            }
            (State::Size(true) | State::SizeBlank, b' ' | b'\t') => State::SizeBlank,
            (State::Size(true) | State::SizeBlank, b';') => State::Extension,
            (State::Size(true) | State::SizeBlank | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => State::Extension,
            (State::Extension, _) => return Err((0, BAD_EXTENSION, "chunk_extension")),
            (State::SizeLf, b'\n') if self.size == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Chunk(self.size),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size(false),
            _ => return bad,
        };
        Ok(())
    }
}

/// How many of the bytes are good, what to read in place of the others, what is wrong.
type Fault = (usize, &'static [u8], &'static str);

/// Skips up to `left` bytes: how many those were, and how many are left now.
fn skip(rest: &[u8], left: u64) -> (usize, u64) {
    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (taken, left - taken as u64)
}

impl Head {
    /// Takes a field line of `len` bytes; `line` has at least the first [`LINE_MAX`] of them. Says what is
    /// wrong with it.
    fn field(&mut self, line: &[u8], len: usize) -> Result<(), &'static str> {
        // As few comparisons as may be: most names begin with another letter.
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') => match value(line, b"content-length:") {
                Some(value) => self.content_length(value, len),
                None => Ok(()),
            },
            Some(b't') => match value(line, b"transfer-encoding:") {
                Some(value) => self.transfer_encoding(value, len),
                None => Ok(()),
            },
            Some(b'u') => {
                let websocket = |value: &[u8]| value.eq_ignore_ascii_case(b"websocket") || len > LINE_MAX;
                self.websocket |= value(line, b"upgrade:").is_some_and(websocket);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// RFC 9110 §8.6: digits, and the same ones where it comes twice.
    fn content_length(&mut self, value: &[u8], len: usize) -> Result<(), &'static str> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit) && len <= LINE_MAX;
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|value| value.parse().ok());
        let Some(length) = length else { return Err("content_length") };
        if self.length.is_some_and(|before| before != length) {
            return Err("content_length");
        }
        self.length = Some(length);
        self.one_framing()
    }

    /// RFC 9112 §6.1, §7: `chunked`, once, and nothing else.
    fn transfer_encoding(&mut self, value: &[u8], len: usize) -> Result<(), &'static str> {
        if self.chunked || len > LINE_MAX || !value.eq_ignore_ascii_case(b"chunked") {
            return Err("transfer_coding");
        }
        self.chunked = true;
        self.one_framing()
    }

    fn one_framing(self) -> Result<(), &'static str> {
        if self.chunked && self.length.is_some() { Err("both_framings") } else { Ok(()) }
    }
}

/// The value of a field line with this name and colon, without the blanks around it.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (given, mut value) = line.split_at_checked(name.len())?;
    if !given.eq_ignore_ascii_case(name) {
        return None;
    }
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found when the bytes come at once; it must be the same however they come.
    fn read(bytes: &[u8]) -> (Found, State, u32) {
        let mut whole = Framing::default();
        let found = whole.read(bytes);
        for piece in 1..bytes.len().min(40) {
            let mut framing = Framing::default();
            let mut at = 0;
            let mut last = Found::Nothing;
            for part in bytes.chunks(piece) {
                last = match framing.read(part) {
                    Found::Nothing => Found::Nothing,
                    Found::Handshake(good) => Found::Handshake(at + good),
                    Found::Fault { at: good, instead, reason } => {
                        Found::Fault { at: at + good, instead, reason }
                    }
                };
                if last != Found::Nothing {
                    break;
                }
                at += part.len();
            }
            let text = String::from_utf8_lossy(bytes);
            assert_eq!((last, framing.heads), (found, whole.heads), "in pieces of {piece}: {text:?}");
        }
        (found, whole.state, whole.heads)
    }

    #[test]
    fn messages_end_where_they_end() {
        for (bytes, state, heads) in [
            (&b""[..], State::Start, 0),
            (b"\r\n\r\n", State::Start, 0),
            (b"GET / HTTP/1.1\r\nhost: a\r\n", State::Fields, 0),
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", State::Start, 1),
            (b"\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", State::Start, 2),
            (b"POST / HTTP/1.1\r\nCONTENT-LENGTH:\t5 \r\n\r\nhe", State::Counted(3), 1),
            (b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n\n\n\n\n\n", State::Start, 1),
            (b"POST / HTTP/1.1\r\ncontent-length: 005\r\ncontent-length: 5\r\n\r\nhello", State::Start, 1),
            (b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\nG", State::Start, 1),
            (b"POST / HTTP/1.1\r\ncontent-lengths: 5\r\n\r\n", State::Start, 1),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", State::Size(false), 1),
            (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1F", State::Size(true), 1),
            (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\na\r\n\n\n\n", State::Chunk(7), 1),
            (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r", State::ChunkLf, 1),
            (
                b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1 ;a=\"b\xff\"\r\n\n\r\n0\r\nx: ",
                State::Trailers,
                1,
            ),
            (
                b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                State::Start,
                2,
            ),
            (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n00;x\r\nx: y\r\n\r\n", State::Start, 1),
        ] {
            assert_eq!(read(bytes), (Found::Nothing, state, heads), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let chunks = |rest: &str| format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{rest}");
        let fields = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n");
        let wide = " ".repeat(LINE_MAX);
        for (bytes, good, reason) in [
            ("GET / HTTP/1.1\nhost: a\r\n\r\n".to_owned(), "GET / HTTP/1.1", "bare_lf"),
            ("\nGET / HTTP/1.1\r\n\r\n".to_owned(), "", "bare_lf"),
            ("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "GET /a#b HTTP/1.1\r", "fragment"),
            (format!("GET /{wide}# HTTP/1.1\r\n\r\n"), &format!("GET /{wide}# HTTP/1.1\r"), "fragment"),
            (fields("host: a\nx: y\r\n"), "POST / HTTP/1.1\r\nhost: a", "bare_lf"),
            ("GET / HTTP/1.1\r\nx: y\r\n\n".to_owned(), "GET / HTTP/1.1\r\nx: y\r\n", "bare_lf"),
            (
                fields("content-length: 1\r\ntransfer-encoding: chunked\r\n"),
                "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r",
                "both_framings",
            ),
            (
                fields("transfer-encoding: chunked\r\ncontent-length: 1\r\n"),
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r",
                "both_framings",
            ),
            (
                fields("content-length: 1\r\ncontent-length: 2\r\n"),
                "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r",
                "content_length",
            ),
            (fields("content-length: +1\r\n"), "POST / HTTP/1.1\r\ncontent-length: +1\r", "content_length"),
            (fields("content-length:\r\n"), "POST / HTTP/1.1\r\ncontent-length:\r", "content_length"),
            (
                fields(&format!("content-length: {wide}1\r\n")),
                &format!("POST / HTTP/1.1\r\ncontent-length: {wide}1\r"),
                "content_length",
            ),
            (
                fields("transfer-encoding: gzip, chunked\r\n"),
                "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r",
                "transfer_coding",
            ),
            (
                fields("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r",
                "transfer_coding",
            ),
            (chunks("5;a\nhello"), &chunks("5;a"), "chunk_extension"),
            (chunks("5;\0\r\nhello"), &chunks("5;"), "chunk_extension"),
            (chunks("5;a=\"\x7f\"\r\nhello"), &chunks("5;a=\""), "chunk_extension"),
            (chunks("5;a\rb"), &chunks("5;a\r"), "chunk"),
            (chunks("5\nhello"), &chunks("5"), "chunk"),
            (chunks(";a"), &chunks(""), "chunk"),
            (chunks("11111111111111111"), &chunks("1111111111111111"), "chunk"),
            (chunks("1\r\nab"), &chunks("1\r\na"), "chunk"),
            (chunks("1\r\na\r\r"), &chunks("1\r\na\r"), "chunk"),
            (chunks("0\r\nx: y\n\r\n"), &chunks("0\r\nx: y"), "bare_lf"),
            (chunks("0\r\n\n"), &chunks("0\r\n"), "bare_lf"),
        ] {
            let (found, state, _) = read(bytes.as_bytes());
            let Found::Fault { at, reason: said, .. } = found else { panic!("{bytes:?}: {found:?}") };
            assert_eq!((&bytes[..at], said, state), (good, reason, State::Over), "{bytes:?}");
        }
    }

    #[test]
    fn what_follows_a_handshake_is_not_read() {
        let handshake = b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n";
        let framed = [&handshake[..], b"\n\x00"].concat();
        assert_eq!(read(&framed), (Found::Handshake(handshake.len()), State::Handshake, 1));
        assert_eq!(read(handshake), (Found::Handshake(handshake.len()), State::Handshake, 1));
        let (found, state, _) = read(b"GET / HTTP/1.1\r\nupgrade: h2c\r\n\r\n");
        assert_eq!((found, state), (Found::Nothing, State::Start));
        let (found, state, _) = read(b"GET / HTTP/1.1\r\nupgrade: websocket\r\ncontent-length: 1\r\n\r\nx");
        assert_eq!((found, state), (Found::Nothing, State::Start));
        let mut framing = Framing::default();
        framing.read(handshake);
        framing.handshake_failed();
        assert!(matches!(framing.read(b"\n"), Found::Fault { .. }));
    }

    #[test]
    fn a_head_request_is_known() {
        let mut framing = Framing::default();
        framing.read(b"HEAD / HTTP/1.1\r\n");
        assert!(framing.method_is_head());
        framing.read(b"\r\nHEADER / HTTP/1.1\r\n\r\n");
        assert!(!framing.method_is_head());
    }

    /// `cargo test --release --lib framing -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn the_cost_of_a_head() {
        let head = b"GET /products/12345?fields=name HTTP/1.1\r\nhost: api.example.com\r\n\
                     user-agent: wrk/4.2\r\naccept: */*\r\naccept-encoding: gzip\r\n\r\n";
        let mut framing = Framing::default();
        const TIMES: u32 = 200_000;
        let mut batch = || {
            let begun = std::time::Instant::now();
            for _ in 0..TIMES {
                assert_eq!(framing.read(std::hint::black_box(head)), Found::Nothing);
            }
            begun.elapsed() / TIMES
        };
        // The machine may be doing something else meanwhile.
        let least = (0..50).map(|_| batch()).min().unwrap_or_default();
        println!("{} bytes: {least:?}", head.len());
    }
}
