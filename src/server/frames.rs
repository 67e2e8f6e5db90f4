//! Counts the HTTP/2 frames that cost a client a few bytes and us some work, and says when there are too many
//! (RFC 9113 §10.5).
//!
//! `PING`, `SETTINGS`, `PRIORITY`, `WINDOW_UPDATE`, `RST_STREAM`, empty `DATA`, `CONTINUATION` and frames of
//! unknown types are all legitimate in themselves, so what counts is their rate. A connection has a budget
//! that grows with time (`server.max_http2_control_frames`) and with what it is sent: a client that reads a
//! large response has many windows to update. For this, only headers of frames are looked at.
//!
//! Field blocks are followed beside the library ([`hpack`]), for what it drops without a word although it
//! makes a message malformed (RFC 9113 §8.1.1). Only the library can refuse one stream. So it gets one field
//! more: a `CONTINUATION` with a field that it, or the border, refuses, for which the block is left open. A
//! block whose last frame comes in pieces is always left open, for it is known only at its end whether it is
//! malformed. So of such a block the library takes one `CONTINUATION` of the client's less: five, not six,
//! with the limits as they are.

mod field;
mod fragment;
pub mod hpack;
mod huffman;
mod table;

use bytes::Bytes;

use crate::units::Rate;

use self::fragment::Fragment;
use self::hpack::{Broken, Follower, Wrong};

/// What a frame costs, so that what it earns can be counted in bytes.
const COST: u64 = 64;

/// A cancelled stream may have begun some work, so it costs as much as so many other frames.
const RESET_COST: u64 = 4 * COST;

/// How many seconds' worth of frames may come at once.
const BURST_SECS: f64 = 4.0;

/// At least so many may come at once.
const BURST_MIN: u64 = 100;

/// How long the preface is, and a frame's header (RFC 9113 §3.4, §4.1).
const PREFACE_LEN: usize = 24;
const HEADER_LEN: usize = 9;

/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// Where the flags are in a frame's header, and how much comes behind them.
const FLAGS_AT: usize = 4;
const BEHIND_FLAGS: usize = 4;

/// A field that makes the library reset its stream: `transfer-encoding`, by its index, without a value.
const MALFORMED: &[u8] = &[0x0f, 57 - 15, 0];

/// The name of a field that makes the border refuse its request for the `#` in the path, for its value is a
/// space (RFC 9113 §8.2.1).
pub const FRAGMENT: &str = "fragment";

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many frames of the kind that costs.
    Flood,
    /// The first frame is no `SETTINGS` (RFC 9113 §3.4).
    NoSettings,
    /// A frame that a field block cannot begin or go on with (RFC 9113 §6.2, §6.10).
    BadFrame,
    /// A field block that cannot be decoded (RFC 9113 §4.3).
    BadBlock,
}

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::BadBlock
    }
}

impl Fault {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flood => "http2_flood",
            Self::NoSettings => "http2_no_settings",
            Self::BadFrame => "http2_bad_frame",
            Self::BadBlock => "http2_bad_field_block",
        }
    }

    /// The `GOAWAY` frame that says so (RFC 9113 §6.8, §7).
    pub const fn goaway(self, last_stream: u32) -> [u8; HEADER_LEN + 8] {
        let code = match self {
            Self::Flood => 0xb,
            Self::NoSettings | Self::BadFrame => 1,
            Self::BadBlock => 9,
        };
        let [a, b, c, d] = last_stream.to_be_bytes();
        [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, code]
    }
}

/// How much a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBudget {
    /// Earned a second.
    per_second: u64,
    /// At most kept.
    most: u64,
}

impl FrameBudget {
    /// So many frames, on the average.
    pub fn new(frames: Rate) -> Self {
        let burst = (frames.per_second() * BURST_SECS).max(BURST_MIN as f64);
        let cost = COST as f64;
        Self { per_second: (frames.per_second() * cost) as u64, most: (burst * cost) as u64 }
    }
}

/// A frame of ours among the client's.
#[derive(Debug, PartialEq, Eq)]
pub struct Insertion {
    /// Behind how many of the bytes that were read.
    pub at: usize,
    /// The frame.
    pub frame: Bytes,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Frames {
    budget: FrameBudget,
    credit: u64,
    /// When the credit last grew, in tenths of a second.
    grown: u32,
    /// How much of the preface is left, then of a frame's payload.
    skip: usize,
    header: [u8; HEADER_LEN],
    header_len: usize,
    /// Whether the client's settings have come.
    settings: bool,
    /// The type of the frame whose payload is being read.
    kind: u8,
    /// Whether a field block has begun whose last frame has not.
    block: bool,
    /// Whether the frame that is being read is the last of a block.
    ends_block: bool,
    /// Whether the library does not know that it is.
    left_open: bool,
    /// Where the flags of that frame are among the bytes that are being read.
    flags_at: usize,
    /// The stream of the last block.
    stream: u32,
    last_stream: u32,
    fragment: Fragment,
    follower: Follower,
}

impl Frames {
    /// A new connection, whose preface has not been read, and whose lists of fields may be as large as
    /// `list_max`; `now` in tenths of a second.
    pub const fn new(budget: FrameBudget, list_max: u32, now: u32) -> Self {
        Self {
            budget,
            credit: budget.most,
            grown: now,
            skip: PREFACE_LEN,
            header: [0; HEADER_LEN],
            header_len: 0,
            settings: false,
            kind: 0,
            block: false,
            ends_block: false,
            left_open: false,
            flags_at: 0,
            stream: 0,
            last_stream: 0,
            fragment: Fragment::none(),
            follower: Follower::new(list_max),
        }
    }

    /// The client was sent so many bytes.
    pub fn earns(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_add(bytes as u64).min(self.budget.most);
    }

    /// Whether a field block has begun and not ended.
    pub const fn is_in_head(&self) -> bool {
        self.block || self.ends_block
    }

    /// The highest stream the client has opened.
    pub const fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Reads what came next, at `now` in tenths of a second. It ends where a frame is to be inserted: what
    /// comes behind has yet to be read. Flags may be changed.
    ///
    /// # Errors
    /// When the connection has to end.
    pub fn read(&mut self, bytes: &mut [u8], now: u32) -> Result<Option<Insertion>, Fault> {
        let passed = u64::from(now.wrapping_sub(self.grown));
        self.grown = now;
        let grown = self.credit.saturating_add(passed.saturating_mul(self.budget.per_second) / 10);
        self.credit = grown.min(self.budget.most);
        let mut at = 0;
        loop {
            let payload = bytes.get(at..).unwrap_or_default();
            let payload = payload.get(..self.skip).unwrap_or(payload);
            if matches!(self.kind, HEADERS | CONTINUATION) {
                self.fragment.read(payload, self.stream, &mut self.follower)?;
            }
            self.skip -= payload.len();
            at += payload.len();
            if self.skip == 0 && self.ends_block {
                let frame = self.block_ends(bytes)?;
                if frame.is_some() {
                    return Ok(frame.map(|frame| Insertion { at, frame }));
                }
            }
            let room = self.header.get_mut(self.header_len..).unwrap_or_default();
            let length = room.len().min(bytes.len() - at);
            if length == 0 {
                return Ok(None);
            }
            let header = bytes.get(at..at + length).unwrap_or_default();
            room.get_mut(..length).unwrap_or_default().copy_from_slice(header);
            let before = self.header_len;
            self.header_len += length;
            if (before..self.header_len).contains(&FLAGS_AT) {
                self.flags(bytes, at + FLAGS_AT - before);
            }
            at += length;
            if self.header_len == HEADER_LEN {
                self.header_len = 0;
                self.frame()?;
            }
        }
    }

    /// A frame's header has come as far as its flags, which are at `at`. A block is left open where not all
    /// of its last frame is there.
    fn flags(&mut self, bytes: &mut [u8], at: usize) {
        let [a, b, c, kind, flags, ..] = self.header;
        if !matches!(kind, HEADERS | CONTINUATION) || flags & END_HEADERS == 0 {
            return;
        }
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.flags_at = at;
        self.left_open = bytes.len() <= at + BEHIND_FLAGS + length;
        if let (Some(flags), true) = (bytes.get_mut(at), self.left_open) {
            *flags &= !END_HEADERS;
        }
    }

    /// A block is complete. Returns the frame that ends it for the library, if it has yet to.
    fn block_ends(&mut self, bytes: &mut [u8]) -> Result<Option<Bytes>, Fault> {
        self.ends_block = false;
        let verdict = self.follower.end()?;
        if verdict.wrong.is_some() {
            self.pays(RESET_COST)?;
        }
        let field = match verdict.wrong {
            None if !self.left_open => return Ok(None),
            None => Vec::new(),
            // The library has ended the block by itself.
            Some(_) if verdict.is_found => return Ok(None),
            Some(Wrong::Malformed) => MALFORMED.to_vec(),
            Some(Wrong::Fragment) => [&[0, FRAGMENT.len() as u8], FRAGMENT.as_bytes(), &[1, b' ']].concat(),
        };
        let [a, b, c, d] = self.stream.to_be_bytes();
        let header = [0, 0, field.len() as u8, CONTINUATION, END_HEADERS, a, b, c, d];
        if let (Some(flags), false) = (bytes.get_mut(self.flags_at), self.left_open) {
            *flags &= !END_HEADERS;
        }
        Ok(Some([&header[..], &field].concat().into()))
    }

    fn pays(&mut self, cost: u64) -> Result<(), Fault> {
        self.credit = self.credit.checked_sub(cost).ok_or(Fault::Flood)?;
        Ok(())
    }

    /// Takes a frame whose header has come.
    fn frame(&mut self) -> Result<(), Fault> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.skip = length as usize;
        self.kind = kind;
        if !self.settings && kind != SETTINGS {
            return Err(Fault::NoSettings);
        }
        self.settings = true;
        let cost = match kind {
            DATA if flags & END_STREAM != 0 => 0,
            DATA if length == 0 => COST,
            // It may be nothing but padding.
            DATA if flags & PADDED != 0 && length <= 256 => COST,
            DATA | HEADERS => 0,
            RST_STREAM => RESET_COST,
            _ => COST,
        };
        self.pays(cost)?;
        match kind {
            HEADERS if !self.block => {
                self.follower.begin(stream <= self.last_stream);
                self.fragment = Fragment::first(flags & PADDED != 0, flags & PRIORITY != 0, self.skip)?;
                self.stream = stream;
                self.last_stream = self.last_stream.max(stream);
            }
            CONTINUATION if self.block && stream == self.stream => self.fragment = Fragment::next(self.skip),
            // No client pushes (RFC 9113 §8.4), and nothing else may be within a block.
            HEADERS | CONTINUATION | PUSH_PROMISE => return Err(Fault::BadFrame),
            _ if self.block => return Err(Fault::BadFrame),
            _ => return Ok(()),
        }
        self.follower.frame();
        self.ends_block = flags & END_HEADERS != 0;
        self.block = !self.ends_block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(per_second: u32) -> FrameBudget {
        FrameBudget::new(Rate::new(per_second, Duration::from_secs(1)))
    }

    /// A frame whose payload is `accept-encoding` over and over, for blocks.
    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        of(kind, flags, 5, &vec![0x90; usize::from(length)])
    }

    fn of(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let header = [0, 0, payload.len() as u8, kind, flags, 0x80, 0, 0, stream];
        [&header, payload].concat()
    }

    fn begun(frames: &[u8]) -> Vec<u8> {
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 6), frames].concat()
    }

    fn follow(per_second: u32) -> Frames {
        Frames::new(budget(per_second), 32 * 1024, 0)
    }

    /// Reads all of it, and returns what the library gets.
    fn read(frames: &mut Frames, bytes: &[u8], now: u32) -> Result<Vec<u8>, Fault> {
        let (mut bytes, mut got) = (bytes.to_vec(), Vec::new());
        while let Some(Insertion { at, frame }) = frames.read(&mut bytes, now)? {
            got.extend(bytes.drain(..at));
            got.extend(frame);
        }
        got.extend(bytes);
        Ok(got)
    }

    /// How many of a frame may come after the settings and `first`, up to a thousand; however they are cut.
    fn count(per_second: u32, first: &[u8], one: &[u8]) -> usize {
        let bytes = begun(&[first, &one.repeat(1000)].concat());
        let counts: Vec<usize> = [1, 7, 9, 10, 100, bytes.len()]
            .into_iter()
            .map(|piece| {
                let mut frames = follow(per_second);
                let fault = bytes.chunks(piece).position(|piece| read(&mut frames, piece, 0).is_err());
                // Which frame that was in.
                let begin = 24 + 15 + first.len();
                let at = |fault: usize| (fault * piece + piece.min(9)).saturating_sub(begin) / one.len();
                match fault {
                    Some(fault) if piece <= 9 => at(fault),
                    Some(_) => usize::MAX,
                    None => 1000,
                }
            })
            .collect();
        let near = |count: usize| count == usize::MAX || count.abs_diff(counts[0]) <= 1;
        assert!(counts.iter().all(|count| near(*count)), "{counts:?}");
        counts[0]
    }

    #[test]
    fn frames_that_cost_are_counted() {
        for (name, one, most) in [
            ("a ping", frame(6, 0, 8), 99),
            ("settings", frame(SETTINGS, 0, 0), 99),
            ("an acknowledgement", frame(SETTINGS, 1, 0), 99),
            ("a priority", frame(2, 0, 5), 99),
            ("a window update", frame(8, 0, 4), 99),
            ("a continuation", frame(CONTINUATION, 0, 3), 99),
            ("trailers that are none", of(HEADERS, END_HEADERS, 5, b"\x82"), 24),
            ("an unknown type", frame(0x42, 0, 3), 99),
            ("empty data", frame(DATA, 0, 0), 99),
            ("data of padding", frame(DATA, PADDED, 9), 99),
            ("a reset", frame(RST_STREAM, 0, 4), 24),
            ("data", frame(DATA, 0, 3), 1000),
            ("the end of data", frame(DATA, END_STREAM, 0), 1000),
            ("a head", frame(HEADERS, END_HEADERS, 20), 1000),
        ] {
            let first = match name {
                "a continuation" => frame(HEADERS, 0, 1),
                "trailers that are none" => frame(HEADERS, END_HEADERS, 1),
                _ => Vec::new(),
            };
            let count = count(1, &first, &one);
            // The settings at the beginning have cost one.
            assert!(count == most || most < 1000 && count == most + 1, "{name}: {count}, not {most}");
        }
    }

    #[test]
    fn time_and_what_is_sent_earn_more() {
        let ping = frame(6, 0, 8);
        let mut frames = follow(10);
        read(&mut frames, &begun(&ping.repeat(99)), 0).unwrap();
        assert_eq!(read(&mut frames, &ping, 0), Err(Fault::Flood));
        let mut frames = follow(10);
        read(&mut frames, &begun(&ping.repeat(99)), 0).unwrap();
        read(&mut frames, &ping.repeat(5), 5).unwrap();
        frames.earns(64);
        read(&mut frames, &ping, 5).unwrap();
        assert_eq!(read(&mut frames, &ping, 5), Err(Fault::Flood));
        // Nothing is kept beyond the burst.
        let mut frames = follow(10);
        read(&mut frames, &begun(b""), 0).unwrap();
        frames.earns(1 << 40);
        read(&mut frames, &ping.repeat(100), 100_000).unwrap();
        assert_eq!(read(&mut frames, &ping, 100_000), Err(Fault::Flood));
    }

    #[test]
    fn settings_come_first() {
        let mut frames = follow(1);
        let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(6, 0, 8)].concat();
        assert_eq!(read(&mut frames, &bytes, 0), Err(Fault::NoSettings));
    }

    #[test]
    fn a_head_is_known_to_be_incomplete() {
        for (bytes, within) in [
            (&frame(HEADERS, END_HEADERS, 4)[..], false),
            (&frame(HEADERS, END_HEADERS, 4)[..12], true),
            (&frame(HEADERS, 0, 4)[..], true),
            (&[frame(HEADERS, 0, 4), frame(CONTINUATION, 0, 1)].concat(), true),
            (&[frame(HEADERS, 0, 4), frame(CONTINUATION, END_HEADERS, 1)].concat(), false),
            (&frame(DATA, 0, 4)[..12], false),
        ] {
            let mut frames = follow(1);
            read(&mut frames, &begun(bytes), 0).unwrap();
            assert_eq!(frames.is_in_head(), within, "{bytes:?}");
        }
        let mut frames = follow(1);
        read(&mut frames, &begun(&frame(HEADERS, 0, 4)), 0).unwrap();
        assert_eq!(frames.last_stream(), 5);
        assert_eq!(Fault::Flood.goaway(5), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]);
    }

    /// What the library gets of a connection that begins with these frames, in pieces of this length.
    fn gets(frames: &[u8], piece: usize) -> Result<Vec<u8>, Fault> {
        let mut follower = follow(1000);
        let before = begun(b"").len();
        let bytes = begun(frames);
        let (first, rest) = bytes.split_at(before);
        read(&mut follower, first, 0)?;
        let got: Result<Vec<_>, _> = rest.chunks(piece).map(|piece| read(&mut follower, piece, 0)).collect();
        got.map(|got| got.concat())
    }

    /// The path `/#`, not indexed.
    const HASH: &[u8] = b"\x04\x02/#";
    const LAST: u8 = END_HEADERS | END_STREAM;

    #[test]
    fn blocks_that_are_whole_pass_as_they_are() {
        for frames in [
            frame(HEADERS, LAST, 3),
            frame(HEADERS, LAST, 0),
            [frame(HEADERS, END_STREAM, 3), frame(CONTINUATION, END_HEADERS, 3)].concat(),
            [frame(HEADERS, END_HEADERS, 3), frame(DATA, 0, 3), frame(HEADERS, LAST, 3)].concat(),
            // Padding and priority (RFC 9113 §6.2).
            of(HEADERS, LAST | PADDED, 5, b"\x02\x82\x00\x00"),
            of(HEADERS, LAST | PRIORITY, 5, b"\x00\x00\x00\x03\x10\x82"),
            of(HEADERS, LAST | PADDED | PRIORITY, 5, b"\x01\x80\x00\x00\x03\x10\x82\x04"),
        ] {
            assert_eq!(gets(&frames, 1000).unwrap(), frames);
        }
    }

    /// The block is left open, and ends with a frame of ours.
    #[test]
    fn blocks_in_pieces_pass_with_another_end() {
        let whole = of(HEADERS, LAST | PADDED, 5, b"\x02\x82\x84\x00\x00");
        let open = of(HEADERS, END_STREAM | PADDED, 5, b"\x02\x82\x84\x00\x00");
        let mut end = of(CONTINUATION, END_HEADERS, 5, b"");
        end[5] = 0;
        for piece in 1..whole.len() {
            assert_eq!(gets(&whole, piece).unwrap(), [&open[..], &end].concat(), "{piece}");
        }
        // Only where its own last frame does.
        let (first, last) = (frame(HEADERS, END_STREAM, 4), frame(CONTINUATION, END_HEADERS, 4));
        let frames = [&first[..], &last].concat();
        let mut follower = follow(1000);
        read(&mut follower, &begun(b""), 0).unwrap();
        assert_eq!(read(&mut follower, &frames[..7], 0).unwrap(), frames[..7]);
        assert_eq!(read(&mut follower, &frames[7..], 0).unwrap(), frames[7..]);
    }

    #[test]
    fn malformed_blocks_get_a_field_that_is_refused() {
        let refused = |stream: u8, field: &[u8]| {
            let mut frame = of(CONTINUATION, END_HEADERS, stream, field);
            frame[5] = 0;
            frame
        };
        let hash = [&[0, 8][..], FRAGMENT.as_bytes(), b"\x01 "].concat();
        let head = frame(HEADERS, END_HEADERS, 1);
        for (name, before, last, open, field) in [
            ("a fragment", vec![], of(HEADERS, LAST, 5, HASH), of(HEADERS, END_STREAM, 5, HASH), &hash[..]),
            (
                "a pseudo-header field in trailers",
                head.clone(),
                of(HEADERS, LAST, 5, b"\x84"),
                of(HEADERS, END_STREAM, 5, b"\x84"),
                MALFORMED,
            ),
            (
                "the same in a continuation",
                [&head[..], &of(HEADERS, END_STREAM, 5, b"\x84")].concat(),
                of(CONTINUATION, END_HEADERS, 5, b"\x90"),
                of(CONTINUATION, 0, 5, b"\x90"),
                MALFORMED,
            ),
        ] {
            let whole = [&before[..], &last].concat();
            let expected = [&before[..], &open, &refused(5, field)].concat();
            assert_eq!(gets(&whole, whole.len()).unwrap(), expected, "{name}");
            // What comes behind it is untouched.
            let ping = frame(6, 0, 8);
            let more = [&whole[..], &ping].concat();
            assert_eq!(gets(&more, more.len()).unwrap(), [&expected[..], &ping].concat(), "{name}");
        }
        // What the library finds in the block's last frame.
        let found = of(HEADERS, LAST, 5, b"\x82\x82");
        assert_eq!(gets(&found, 100).unwrap(), found);
        assert_eq!(gets(&found, 9).unwrap(), of(HEADERS, END_STREAM, 5, b"\x82\x82"));
    }

    /// What the library could be brought out of step with, and what ends its connection too.
    #[test]
    fn what_breaks_a_block_ends_the_connection() {
        for (name, frames, fault) in [
            ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1), Fault::BadFrame),
            (
                "of another stream",
                [frame(HEADERS, 0, 1), of(CONTINUATION, END_HEADERS, 7, b"")].concat(),
                Fault::BadFrame,
            ),
            ("data in a block", [frame(HEADERS, 0, 1), frame(DATA, 0, 1)].concat(), Fault::BadFrame),
            ("a block in a block", [frame(HEADERS, 0, 1), frame(HEADERS, 0, 1)].concat(), Fault::BadFrame),
            ("a push", frame(PUSH_PROMISE, END_HEADERS, 5), Fault::BadFrame),
            ("too much padding", of(HEADERS, LAST | PADDED, 5, b"\x02\x82"), Fault::BadFrame),
            ("no place for its length", of(HEADERS, LAST | PADDED, 5, b""), Fault::BadFrame),
            ("no place for a priority", of(HEADERS, LAST | PRIORITY, 5, b"\0\0\0\0"), Fault::BadFrame),
            (
                "a stream that depends on itself",
                of(HEADERS, LAST | PRIORITY, 5, b"\x80\0\0\x05\x10\x82"),
                Fault::BadFrame,
            ),
            ("half a field", of(HEADERS, LAST, 5, b"\x00\x01x"), Fault::BadBlock),
            ("no such entry", of(HEADERS, LAST, 5, b"\xbe"), Fault::BadBlock),
        ] {
            for piece in [1, 5, 9, 1000] {
                assert_eq!(gets(&frames, piece), Err(fault), "{name} {piece}");
            }
        }
    }
}
