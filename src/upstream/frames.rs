//! Bounds the interim responses of an HTTP/2 endpoint: hyper's client skips them (RFC 9110 §15.2) without
//! counting, and offers nobody else to.
//!
//! What is interim is not told from what is final, which would take a decoder of its own: of the heads on one
//! stream that do not end it, only one is final and all others are interim (RFC 9113 §8.1).

use smallvec::SmallVec;

use super::heads::{Flood, MAX_INTERIM};

/// Frame types and a flag (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// How long a frame's header is, in bytes (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Streams that are followed at once. Those that we end leave nothing to be seen; with so many, all counts
/// begin anew.
const MAX_FOLLOWED: usize = 512;

/// Follows the frames of one connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// How much of the header there is.
    filled: usize,
    /// What is left of the frame's payload, in bytes.
    payload: usize,
    /// Streams whose body has not begun, and how many heads they had.
    heads: SmallVec<[(u32, u32); 4]>,
}

impl Frames {
    /// Takes in what was read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let rest = bytes.get(self.payload..).unwrap_or_default();
            self.payload = self.payload.saturating_sub(bytes.len());
            let wanted = self.header.get_mut(self.filled..).unwrap_or_default();
            let length = wanted.len().min(rest.len());
            let (new, after) = rest.split_at(length);
            wanted.iter_mut().zip(new).for_each(|(to, from)| *to = *from);
            self.filled += length;
            bytes = after;
            if self.filled == HEADER {
                self.filled = 0;
                self.begin()?;
            }
        }
        Ok(())
    }

    /// A frame begins.
    fn begin(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        match kind {
            HEADERS if flags & END_STREAM == 0 => self.head(stream),
            HEADERS | DATA | RST_STREAM => {
                self.heads.retain(|(followed, _)| *followed != stream);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn head(&mut self, stream: u32) -> Result<(), Flood> {
        if let Some((_, heads)) = self.heads.iter_mut().find(|(followed, _)| *followed == stream) {
            *heads += 1;
            return if *heads > MAX_INTERIM + 1 { Err(Flood::Interim) } else { Ok(()) };
        }
        if self.heads.len() == MAX_FOLLOWED {
            self.heads.clear();
        }
        self.heads.push((stream, 1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn feed(bytes: &[u8], chunk: usize) -> Result<Frames, Flood> {
        let mut frames = Frames::default();
        bytes.chunks(chunk).try_for_each(|bytes| frames.read(bytes))?;
        Ok(frames)
    }

    #[test]
    fn heads_are_counted_stream_by_stream_however_they_are_cut() {
        let head = |stream| frame(HEADERS, 4, stream, b"a head, which nobody reads");
        let (data, trailers) = (frame(DATA, 0, 1, b"\0\0\0\x01\0"), frame(HEADERS, END_STREAM | 4, 1, b"x"));
        let settings = frame(4, 0, 0, b"");
        let allowed = MAX_INTERIM as usize + 1;
        for chunk in [1, 2, 8, 9, 10, 35, 100_000] {
            let both = [head(1), settings.clone(), head(3)].concat().repeat(allowed);
            assert!(feed(&both, chunk).is_ok(), "{chunk}");
            assert_eq!(
                feed(&[both.clone(), head(1)].concat(), chunk).unwrap_err(),
                Flood::Interim,
                "{chunk}"
            );
            let ended = [both, data.clone(), head(1), trailers.clone(), head(1)].concat();
            assert_eq!(feed(&ended, chunk).unwrap().heads.as_slice(), [(3, 65), (1, 1)], "{chunk}");
        }
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut frames = Frames::default();
        for stream in 0..10_000u32 {
            let mut head = frame(HEADERS, 4, 0, b"");
            head[5..].copy_from_slice(&stream.to_be_bytes());
            frames.read(&head).unwrap();
            assert!(frames.heads.len() <= MAX_FOLLOWED);
        }
    }
}
