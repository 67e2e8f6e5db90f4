//! The fields that blocks name by an index (RFC 7541 §2.3), as far as they matter.

use std::collections::VecDeque;

use super::field::{Field, Kind, Wrong};
use super::hpack::Broken;

/// How large the dynamic table may be: we announce no other size (RFC 9113 §6.5.2).
pub(super) const TABLE_MAX_BYTES: u32 = 4096;

/// The names of the static table (RFC 7541 Appendix A).
#[rustfmt::skip]
pub(super) const STATIC: [&str; 61] = [
    ":authority", ":method", ":method", ":path", ":path", ":scheme", ":scheme", ":status", ":status",
    ":status", ":status", ":status", ":status", ":status", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow",
    "authorization", "cache-control", "content-disposition", "content-encoding", "content-language",
    "content-length", "content-location", "content-range", "content-type", "cookie", "date", "etag",
    "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate",
    "proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie",
    "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate",
];

/// The length of its longest value, `gzip, deflate`. All of its values count for as much: of a list's size it
/// only matters that it is not less than the library's.
const STATIC_VALUE_BYTES: u32 = 13;

/// What is kept of a field in the dynamic table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// At most the table's.
    size: u16,
    name_len: u16,
    kind: Kind,
    wrong: Option<Wrong>,
}

/// The dynamic table (RFC 7541 §2.3.2): the newest entry first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: u32,
    max: u32,
}

impl Table {
    /// A table that is empty.
    pub(super) const fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, max: TABLE_MAX_BYTES }
    }

    /// The field with an index: what matters of its name, what is wrong with it, and its size.
    pub(super) fn field(&self, index: u32) -> Result<(Kind, Option<Wrong>, u32), Broken> {
        if let Some(entry) = self.entry(index) {
            return Ok((entry.kind, entry.wrong, u32::from(entry.size)));
        }
        let (kind, name_len) = self.name(index)?;
        let field = Field::new(kind, name_len, false);
        Ok((kind, field.wrong(), field.size() + STATIC_VALUE_BYTES))
    }

    /// What matters of the name with an index, and its length.
    pub(super) fn name(&self, index: u32) -> Result<(Kind, u32), Broken> {
        if let Some(entry) = self.entry(index) {
            return Ok((entry.kind, u32::from(entry.name_len)));
        }
        let name = (index as usize).checked_sub(1).and_then(|at| STATIC.get(at)).ok_or(Broken)?;
        Ok((Kind::of(name.as_bytes()), name.len() as u32))
    }

    /// An entry: the indices of the dynamic table begin behind those of the static one.
    fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get((index as usize).checked_sub(STATIC.len() + 1)?)
    }

    /// The sizes of the dynamic table's entries, the newest first.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> Vec<u16> {
        assert_eq!(self.size, self.entries.iter().map(|entry| u32::from(entry.size)).sum::<u32>());
        self.entries.iter().map(|entry| entry.size).collect()
    }

    /// RFC 7541 §4.4. What is too large for the table empties it.
    pub(super) fn insert(&mut self, field: &Field) {
        let size = field.size();
        self.shrink(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.entries.push_front(Entry {
                size: u16::try_from(size).unwrap_or(u16::MAX),
                name_len: u16::try_from(field.name_len).unwrap_or(u16::MAX),
                kind: field.kind,
                wrong: field.wrong(),
            });
        }
    }

    /// RFC 7541 §4.3.
    pub(super) fn resize(&mut self, max: u32) {
        self.max = max;
        self.shrink(max);
    }

    fn shrink(&mut self, max: u32) {
        while self.size > max
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= u32::from(oldest.size);
        }
    }
}
