//! `multipart/byteranges`: the framing around several parts of a representation (RFC 9110 §14.6).
//!
//! The parts themselves are slices of what is stored, or of what is on its way: no byte of them is copied.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderValue;

use crate::http::Piece;

use super::range::{self, Part};

/// What surrounds the parts of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// The answer's `Content-Type`, which names the boundary.
    pub content_type: HeaderValue,
    /// The parts, each with its header section in front.
    pub pieces: VecDeque<Piece>,
    /// What comes after the last one.
    pub end: Bytes,
    /// How many bytes all of it has.
    pub length: u64,
}

impl Multipart {
    /// Frames parts of a representation of `length` bytes that has this `Content-Type`. The boundary is 128
    /// random bits: that it occurs in a part is as good as impossible, for an author who cannot know it as
    /// well.
    pub fn new(parts: &[Part], length: u64, content_type: Option<&HeaderValue>) -> Self {
        let boundary = format!("{:032x}", fastrand::u128(..));
        let mut framing = Vec::with_capacity(parts.len() * range::PART_OVERHEAD);
        let mut ends = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            framing.extend_from_slice(if index == 0 { b"--" } else { b"\r\n--" });
            framing.extend_from_slice(boundary.as_bytes());
            if let Some(content_type) = content_type {
                framing.extend_from_slice(b"\r\nContent-Type: ");
                framing.extend_from_slice(content_type.as_bytes());
            }
            framing.extend_from_slice(b"\r\nContent-Range: ");
            framing.extend_from_slice(range::content_range(*part, length).as_bytes());
            framing.extend_from_slice(b"\r\n\r\n");
            ends.push(framing.len());
        }
        framing.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let total = framing.len() as u64 + parts.iter().map(|part| part.length).sum::<u64>();
        let mut framing = Bytes::from(framing);
        let mut taken = 0;
        let pieces = parts.iter().zip(ends).map(|(part, end)| {
            let before = framing.split_to(end - taken);
            taken = end;
            Piece { before, start: part.start, length: part.length }
        });
        let pieces = pieces.collect();
        let content_type = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"))
            .unwrap_or(HeaderValue::from_static("multipart/byteranges"));
        Self { content_type, pieces, end: framing, length: total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 §14.6.
    #[test]
    fn framing() {
        let parts = [Part { start: 0, length: 2 }, Part { start: 500, length: 10 }];
        let plain = HeaderValue::from_static("text/plain");
        let multipart = Multipart::new(&parts, 1000, Some(&plain));
        let text = multipart.content_type.to_str().unwrap();
        let boundary = text.strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert!(boundary.len() <= 70, "RFC 2046 §5.1.1");
        let mut all = Vec::new();
        for piece in &multipart.pieces {
            all.extend_from_slice(&piece.before);
            all.extend(std::iter::repeat_n(b'x', usize::try_from(piece.length).unwrap()));
        }
        all.extend_from_slice(&multipart.end);
        assert_eq!(all.len() as u64, multipart.length);
        assert_eq!(
            String::from_utf8(all).unwrap(),
            format!(
                "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/1000\r\n\r\nxx\r\n\
                 --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 500-509/1000\r\n\r\n\
                 xxxxxxxxxx\r\n--{boundary}--\r\n"
            )
        );
        let other = Multipart::new(&parts, 1000, None);
        assert_ne!(other.content_type, multipart.content_type, "the boundary is random");
        assert!(!other.pieces[0].before.windows(13).any(|window| window == b"Content-Type:"));
    }
}
