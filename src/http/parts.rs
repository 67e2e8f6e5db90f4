//! Several parts of a shared body, each behind a few bytes of its own, in one go: what a
//! `multipart/byteranges` answer needs of a body that is on its way.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

use crate::error::{Error, UpstreamError, UpstreamErrorKind};

use super::shared::{SharedBody, SharedReader};

/// A part of a body, and what is written before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What is written before it.
    pub before: Bytes,
    /// Its first byte.
    pub start: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// A reader of several parts of a shared body. It holds one chunk at most.
#[derive(Debug)]
pub struct PartsReader {
    reader: SharedReader,
    /// Where in the shared body `chunk` begins.
    at: u64,
    chunk: Bytes,
    pieces: VecDeque<Piece>,
    end: Option<Bytes>,
    left: u64,
}

impl PartsReader {
    /// Reads the parts, which lie in ascending order and apart from one another, and then writes `end`; none
    /// where they do not, or where the first bytes of the body are gone.
    pub fn new(body: &SharedBody, pieces: VecDeque<Piece>, end: Bytes) -> Option<Self> {
        let mut left = end.len() as u64;
        let mut free = 0;
        for piece in &pieces {
            if piece.start < free {
                return None;
            }
            free = piece.start.checked_add(piece.length)?;
            left += piece.before.len() as u64 + piece.length;
        }
        let at = pieces.front()?.start;
        let reader = body.reader_of(at, free - at)?;
        Some(Self { reader, at, chunk: Bytes::new(), pieces, end: Some(end), left })
    }

    /// As [`http_body::Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let Some(piece) = self.pieces.front_mut() else {
                self.left = 0;
                return Poll::Ready(self.end.take().map(|end| Ok(Frame::data(end))));
            };
            let data = if !piece.before.is_empty() {
                std::mem::take(&mut piece.before)
            } else if piece.length == 0 {
                self.pieces.pop_front();
                continue;
            } else if self.chunk.is_empty() {
                match ready!(self.reader.poll_frame(cx)) {
                    Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => {
                        let error = UpstreamError::sent(UpstreamErrorKind::BodyIncomplete);
                        return Poll::Ready(Some(Err(error.into())));
                    }
                }
                continue;
            } else {
                let between = clamp(piece.start - self.at, &self.chunk);
                self.chunk.advance(between);
                let data = self.chunk.split_to(clamp(piece.length, &self.chunk));
                self.at += (between + data.len()) as u64;
                if data.is_empty() {
                    continue;
                }
                piece.start += data.len() as u64;
                piece.length -= data.len() as u64;
                data
            };
            self.left -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    /// As [`http_body::Body::is_end_stream`].
    pub const fn is_end_stream(&self) -> bool {
        self.end.is_none()
    }

    /// As [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// So many bytes, or as many as the chunk has.
fn clamp(bytes: u64, chunk: &Bytes) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(chunk.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::super::Body;
    use super::super::shared::{Limits, SharedWriter};
    use super::*;
    use crate::memory::{Memory, Use};

    fn writer() -> SharedWriter {
        let limits = Limits { keep: 1024, window: 64, patience: Duration::from_secs(5) };
        SharedWriter::new(limits, Some(10), Memory::unlimited().hold(Use::Filling))
    }

    fn pieces(all: &[(&'static str, u64, u64)]) -> VecDeque<Piece> {
        all.iter()
            .map(|(before, start, length)| Piece {
                before: Bytes::from_static(before.as_bytes()),
                start: *start,
                length: *length,
            })
            .collect()
    }

    /// Whatever the body's chunks are like.
    #[tokio::test]
    async fn parts_come_out_in_one_go() {
        for size in 1..=10 {
            let mut writer = writer();
            let asked = pieces(&[("<", 1, 2), (",", 3, 1), ("|", 6, 3)]);
            let reader = PartsReader::new(&writer.body(), asked, Bytes::from_static(b">")).unwrap();
            assert_eq!(reader.size_hint().exact(), Some(10));
            for chunk in b"0123456789".chunks(size) {
                writer.push(Bytes::copy_from_slice(chunk));
            }
            writer.finish(None, None);
            let body = Body::parts(reader);
            assert_eq!(body.collect().await.unwrap().to_bytes(), "<12,3|678>", "{size} a chunk");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_breaks_the_parts_off() {
        let mut writer = writer();
        let asked = pieces(&[("<", 1, 2), ("|", 6, 3)]);
        let reader = PartsReader::new(&writer.body(), asked, Bytes::from_static(b">")).unwrap();
        writer.push(Bytes::from_static(b"01234567"));
        drop(writer);
        assert!(Body::parts(reader).collect().await.is_err());
    }

    #[test]
    fn only_parts_in_order_are_read() {
        for asked in [&[("", 6, 3), ("", 1, 2)][..], &[("", 1, 3), ("", 3, 2)], &[]] {
            assert!(PartsReader::new(&writer().body(), pieces(asked), Bytes::new()).is_none(), "{asked:?}");
        }
    }
}
