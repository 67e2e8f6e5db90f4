//! The part of a field block that is in one frame, without what is around it (RFC 9113 §6.2, §6.10).

use super::Fault;
use super::hpack::Follower;

/// The length of the padding's length, and of a priority.
const PADDING_LEN: usize = 1;
const PRIORITY_LEN: usize = 5;

/// What is left of a `HEADERS` or `CONTINUATION` frame.
#[derive(Debug)]
pub(super) struct Fragment {
    /// What comes before the fragment.
    before: [u8; PADDING_LEN + PRIORITY_LEN],
    before_len: usize,
    is_padded: bool,
    has_priority: bool,
    /// How much of the fragment has yet to come; with what is before and behind it, until that is known.
    left: usize,
}

impl Fragment {
    /// Nothing.
    pub(super) const fn none() -> Self {
        Self::next(0)
    }

    /// All of a frame's payload.
    pub(super) const fn next(length: usize) -> Self {
        Self { before: [0; 6], before_len: 0, is_padded: false, has_priority: false, left: length }
    }

    /// What is in a `HEADERS` frame.
    ///
    /// # Errors
    /// When it is too short.
    pub(super) const fn first(is_padded: bool, has_priority: bool, length: usize) -> Result<Self, Fault> {
        let fragment = Self { is_padded, has_priority, ..Self::next(length) };
        if length < fragment.ahead() { Err(Fault::BadFrame) } else { Ok(fragment) }
    }

    /// How much comes before the fragment.
    const fn ahead(&self) -> usize {
        (if self.is_padded { PADDING_LEN } else { 0 }) + (if self.has_priority { PRIORITY_LEN } else { 0 })
    }

    /// Reads more of the payload, of a frame on `stream`, and hands on what is of the block.
    ///
    /// # Errors
    /// When there is more padding than there is room for, or the block is broken; and when the stream depends
    /// on itself, for then the library does not look at the block.
    pub(super) fn read(
        &mut self,
        mut payload: &[u8],
        stream: u32,
        follower: &mut Follower,
    ) -> Result<(), Fault> {
        while self.before_len < self.ahead() {
            let Some((byte, rest)) = payload.split_first() else { return Ok(()) };
            if let Some(place) = self.before.get_mut(self.before_len) {
                *place = *byte;
            }
            payload = rest;
            self.before_len += 1;
            if self.before_len == self.ahead() {
                self.begin(stream)?;
            }
        }
        let fragment = payload.get(..self.left).unwrap_or(payload);
        self.left -= fragment.len();
        Ok(follower.read(fragment)?)
    }

    /// What is before the fragment is known, and with it how long it is.
    fn begin(&mut self, stream: u32) -> Result<(), Fault> {
        let [first, ..] = self.before;
        let padding = if self.is_padded { usize::from(first) } else { 0 };
        let left = self.left.checked_sub(self.ahead() + padding);
        self.left = left.ok_or(Fault::BadFrame)?;
        let [a, b, c, d] = match (self.is_padded, self.before) {
            (true, [_, a, b, c, d, _]) | (false, [a, b, c, d, ..]) => [a, b, c, d],
        };
        let depends_on = u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1);
        if self.has_priority && depends_on == stream { Err(Fault::BadFrame) } else { Ok(()) }
    }
}
