//! Content codings (RFC 9110 §8.4.1): their names, and encoders that data is pushed into.
//!
//! ```
//! use forebay::http::coding::{Coding, Encoder, Level, Then};
//! use forebay::memory::{Memory, Use};
//!
//! let memory = Memory::unlimited();
//! let mut encoder = Encoder::new(Level::new(Coding::Gzip, 5), None, memory.hold(Use::Encoding)).ok_or("full")?;
//! encoder.encode(b"forebay", Then::Finish)?;
//! assert!(encoder.take().starts_with(&[0x1f, 0x8b]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Windows are small on purpose, [`WINDOW_LOG`]: the default ones would take megabytes for every response on
//! its way, for a per cent or two.

use std::fmt;
use std::io;

use bytes::Bytes;
use http::HeaderValue;

use crate::memory::Hold;

/// A content coding that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br` (RFC 7932).
    Br,
    /// `gzip` (RFC 1952).
    Gzip,
}

impl Coding {
    /// All, in the order of their discriminants: what is best for the money first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The same as a field value.
    pub const fn to_value(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// The one of this name, in any case; `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub fn parse(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }

    /// The lowest and the highest level worth their time while a client waits.
    pub const fn levels(self) -> (u32, u32) {
        match self {
            Self::Zstd => (1, 15),
            Self::Br | Self::Gzip => (1, 9),
        }
    }
}

/// The window of `zstd` and `br`, as a power of two in bytes; deflate's is 32 KiB.
pub const WINDOW_LOG: u32 = 18;

/// A coding, and how hard it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The coding.
    pub coding: Coding,
    level: u32,
}

impl Level {
    /// A level within [`Coding::levels`]; what is beyond is brought into them.
    pub const fn new(coding: Coding, level: u32) -> Self {
        let (low, high) = coding.levels();
        let level = if level < low { low } else { level };
        Self { coding, level: if level > high { high } else { level } }
    }

    /// What an encoder takes while it works, in bytes, rounded up.
    pub const fn footprint(self) -> u64 {
        const KIB: u64 = 1024;
        match (self.coding, self.level) {
            (Coding::Gzip, _) => 320 * KIB,
            (Coding::Zstd, 0..=6) => 1_536 * KIB,
            (Coding::Zstd, _) => 4_096 * KIB,
            (Coding::Br, 0..=4) => 1_536 * KIB,
            (Coding::Br, 5..=6) => 3_072 * KIB,
            // Its hash table has 2^(15 + level - 1) places of four bytes.
            (Coding::Br, level) => 2_048 * KIB + (4 << (14 + level)),
        }
    }

    /// How much may be encoded at a time where other tasks wait, in bytes: what takes about half a
    /// millisecond. None where one block of the coding takes longer than that, however little is new in it.
    pub const fn at_once(self) -> Option<usize> {
        match (self.coding, self.level) {
            (Coding::Zstd, 0..=3) => Some(64 * 1024),
            (Coding::Zstd, 4..=6) | (Coding::Gzip, 0..=5) => Some(32 * 1024),
            (Coding::Br, 0..=4) => Some(24 * 1024),
            (Coding::Gzip, 6..=9) => Some(8 * 1024),
            (Coding::Zstd | Coding::Br | Coding::Gzip, _) => None,
        }
    }
}

/// What to do after some data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Wait for more.
    More,
    /// Bring all that was given so far out: nothing may come for a while.
    Flush,
    /// Come to the end.
    Finish,
}

/// An encoder at work; its memory is part of the process's budget.
pub struct Encoder {
    coder: Coder,
    /// Whether data was given that may not have come out yet.
    dirty: bool,
    _memory: Hold,
}

enum Coder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Done(Vec<u8>),
}

impl Encoder {
    /// An encoder for a body of this `length`, where it is known for sure; none where `memory` has no room
    /// for it.
    pub fn new(level: Level, length: Option<u64>, mut memory: Hold) -> Option<Self> {
        if !memory.try_grow(level.footprint()) {
            return None;
        }
        let coder = match level.coding {
            Coding::Zstd => Coder::Zstd(zstd_encoder(level.level, length).ok()?),
            Coding::Br => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: i32::try_from(level.level).ok()?,
                    lgwin: i32::try_from(WINDOW_LOG).ok()?,
                    size_hint: length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0),
                    ..Default::default()
                };
                Coder::Br(Box::new(brotli::CompressorWriter::with_params(Vec::new(), 4096, &params)))
            }
            Coding::Gzip => {
                let level = flate2::Compression::new(level.level);
                Coder::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
        };
        Some(Self { coder, dirty: false, _memory: memory })
    }

    /// Takes data in.
    ///
    /// # Errors
    /// Not with data alone: only where the encoder itself is wrong, or a length that was known for sure.
    pub fn encode(&mut self, data: &[u8], then: Then) -> io::Result<()> {
        let writer: &mut dyn io::Write = match &mut self.coder {
            Coder::Zstd(encoder) => encoder,
            Coder::Br(encoder) => encoder,
            Coder::Gzip(encoder) => encoder,
            Coder::Done(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        writer.write_all(data)?;
        match then {
            Then::More => self.dirty |= !data.is_empty(),
            Then::Flush => {
                writer.flush()?;
                self.dirty = false;
            }
            Then::Finish => {
                self.dirty = false;
                let coder = std::mem::replace(&mut self.coder, Coder::Done(Vec::new()));
                self.coder = Coder::Done(match coder {
                    Coder::Zstd(encoder) => encoder.finish()?,
                    Coder::Br(encoder) => encoder.into_inner(),
                    Coder::Gzip(encoder) => encoder.finish()?,
                    Coder::Done(output) => output,
                });
            }
        }
        Ok(())
    }

    /// Whether a [flush](Then::Flush) would bring something out.
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// How many bytes have come out and were not taken.
    pub fn ready(&self) -> usize {
        match &self.coder {
            Coder::Zstd(encoder) => encoder.get_ref().len(),
            Coder::Br(encoder) => encoder.get_ref().len(),
            Coder::Gzip(encoder) => encoder.get_ref().len(),
            Coder::Done(output) => output.len(),
        }
    }

    /// What has come out.
    pub fn take(&mut self) -> Bytes {
        let output = match &mut self.coder {
            Coder::Zstd(encoder) => encoder.get_mut(),
            Coder::Br(encoder) => encoder.get_mut(),
            Coder::Gzip(encoder) => encoder.get_mut(),
            Coder::Done(output) => output,
        };
        std::mem::take(output).into()
    }
}

fn zstd_encoder(
    level: u32,
    length: Option<u64>,
) -> io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), i32::try_from(level).unwrap_or(3))?;
    encoder.window_log(WINDOW_LOG)?;
    // With it, small bodies take small tables.
    encoder.set_pledged_src_size(length)?;
    Ok(encoder)
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("dirty", &self.dirty).field("ready", &self.ready()).finish()
    }
}
