//! Counts the HTTP/2 frames that cost a client a few bytes and us some work, and says when there are too many
//! (RFC 9113 §10.5).
//!
//! `PING`, `SETTINGS`, `PRIORITY`, `WINDOW_UPDATE`, `RST_STREAM`, empty `DATA`, `CONTINUATION` and frames of
//! unknown types are all legitimate in themselves, so what counts is their rate. A connection has a budget
//! that grows with time (`server.max_http2_control_frames`) and with what it is sent: a client that reads a
//! large response has many windows to update. Only headers of frames are looked at.
//!
//! So what is in a field block is for the library alone to judge: HPACK can be read only with all that came
//! before on the connection. It resets the streams that are malformed, with one exception: a pseudo-header
//! field in trailers (RFC 9113 §8.1) is dropped without a word. The request goes on without it, and nothing
//! reads such a field from trailers, here or towards the origin; a test sends one. Fields that trailers may
//! not have are refused where the body is read ([`incoming`](crate::http::incoming)).

use crate::units::Rate;

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
const CONTINUATION: u8 = 9;

/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many frames of the kind that costs.
    Flood,
    /// The first frame is no `SETTINGS` (RFC 9113 §3.4).
    NoSettings,
}

impl Fault {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flood => "http2_flood",
            Self::NoSettings => "http2_no_settings",
        }
    }

    /// The `GOAWAY` frame that says so (RFC 9113 §6.8, §7).
    pub const fn goaway(self, last_stream: u32) -> [u8; HEADER_LEN + 8] {
        let code = match self {
            Self::Flood => 0xb,
            Self::NoSettings => 1,
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
    /// The type of the frame whose payload is being skipped.
    kind: u8,
    /// Whether a field block has begun whose last frame has not.
    block: bool,
    last_stream: u32,
}

impl Frames {
    /// A new connection, whose preface has not been read; `now` in tenths of a second.
    pub const fn new(budget: FrameBudget, now: u32) -> Self {
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
            last_stream: 0,
        }
    }

    /// The client was sent so many bytes.
    pub fn earns(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_add(bytes as u64).min(self.budget.most);
    }

    /// Whether a field block has begun and not ended.
    pub const fn is_in_head(&self) -> bool {
        self.block || self.skip > 0 && matches!(self.kind, HEADERS | CONTINUATION) && self.settings
    }

    /// The highest stream the client has opened.
    pub const fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Reads what came next, at `now` in tenths of a second.
    ///
    /// # Errors
    /// When the connection has to end.
    pub fn read(&mut self, mut bytes: &[u8], now: u32) -> Result<(), Fault> {
        let passed = u64::from(now.wrapping_sub(self.grown));
        self.grown = now;
        let grown = self.credit.saturating_add(passed.saturating_mul(self.budget.per_second) / 10);
        self.credit = grown.min(self.budget.most);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let room = self.header.get_mut(self.header_len..).unwrap_or_default();
            let length = room.len().min(bytes.len());
            let (Some(room), Some((header, rest))) = (room.get_mut(..length), bytes.split_at_checked(length))
            else {
                return Ok(());
            };
            room.copy_from_slice(header);
            bytes = rest;
            self.header_len += length;
            if self.header_len == HEADER_LEN {
                self.header_len = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// Takes a frame whose header has come.
    fn frame(&mut self) -> Result<(), Fault> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
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
            DATA => 0,
            HEADERS => {
                self.last_stream = self.last_stream.max(u32::from_be_bytes(stream) & (u32::MAX >> 1));
                0
            }
            RST_STREAM => RESET_COST,
            _ => COST,
        };
        if matches!(kind, HEADERS | CONTINUATION) {
            self.block = flags & END_HEADERS == 0;
        }
        self.credit = self.credit.checked_sub(cost).ok_or(Fault::Flood)?;
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

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0x80, 0, 0, 5];
        bytes.extend(std::iter::repeat_n(0xff, usize::from(length)));
        bytes
    }

    fn begun(frames: &[u8]) -> Vec<u8> {
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 6), frames].concat()
    }

    /// How many of a frame may come after the settings, up to a thousand; however they are cut.
    fn count(per_second: u32, one: &[u8]) -> usize {
        let bytes = begun(&one.repeat(1000));
        let counts: Vec<usize> = [1, 7, 9, 10, 100, bytes.len()]
            .into_iter()
            .map(|piece| {
                let mut frames = Frames::new(budget(per_second), 0);
                let fault = bytes.chunks(piece).position(|piece| frames.read(piece, 0).is_err());
                // Which frame that was in.
                let at = |fault: usize| (fault * piece + piece.min(9)).saturating_sub(24 + 15) / one.len();
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
            ("an unknown type", frame(0x42, 0, 3), 99),
            ("empty data", frame(DATA, 0, 0), 99),
            ("data of padding", frame(DATA, PADDED, 9), 99),
            ("a reset", frame(RST_STREAM, 0, 4), 24),
            ("data", frame(DATA, 0, 3), 1000),
            ("the end of data", frame(DATA, END_STREAM, 0), 1000),
            ("a head", frame(HEADERS, END_HEADERS, 20), 1000),
        ] {
            let count = count(1, &one);
            // The settings at the beginning have cost one.
            assert!(count == most || most < 1000 && count == most + 1, "{name}: {count}, not {most}");
        }
    }

    #[test]
    fn time_and_what_is_sent_earn_more() {
        let ping = frame(6, 0, 8);
        let mut frames = Frames::new(budget(10), 0);
        frames.read(&begun(&ping.repeat(99)), 0).unwrap();
        assert_eq!(frames.read(&ping, 0), Err(Fault::Flood));
        let mut frames = Frames::new(budget(10), 0);
        frames.read(&begun(&ping.repeat(99)), 0).unwrap();
        frames.read(&ping.repeat(5), 5).unwrap();
        frames.earns(64);
        frames.read(&ping, 5).unwrap();
        assert_eq!(frames.read(&ping, 5), Err(Fault::Flood));
        // Nothing is kept beyond the burst.
        let mut frames = Frames::new(budget(10), 0);
        frames.read(&begun(b""), 0).unwrap();
        frames.earns(1 << 40);
        frames.read(&ping.repeat(100), 100_000).unwrap();
        assert_eq!(frames.read(&ping, 100_000), Err(Fault::Flood));
    }

    #[test]
    fn settings_come_first() {
        let mut frames = Frames::new(budget(1), 0);
        let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(6, 0, 8)].concat();
        assert_eq!(frames.read(&bytes, 0), Err(Fault::NoSettings));
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
            let mut frames = Frames::new(budget(1), 0);
            frames.read(&begun(bytes), 0).unwrap();
            assert_eq!(frames.is_in_head(), within, "{bytes:?}");
        }
        let mut frames = Frames::new(budget(1), 0);
        frames.read(&begun(&frame(HEADERS, 0, 4)), 0).unwrap();
        assert_eq!(frames.last_stream(), 5);
        assert_eq!(Fault::Flood.goaway(5), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]);
    }
}
