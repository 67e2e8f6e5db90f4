//! Follows the field blocks of one connection (RFC 7541), for what the library that decodes them lets pass.
//!
//! The library resets the streams of most malformed messages. It drops without a word:
//!
//! - the pseudo-header fields of a trailer section (RFC 9113 §8.1), and its fields beyond the limit,
//! - a `#` in `:path` and what is behind it (RFC 9113 §8.3.1, RFC 9112 §3.2),
//! - what it has found wrong in a fragment of a block that ends within a field, the rest of which comes in a
//!   `CONTINUATION`: a second `:path` or a `transfer-encoding` goes, and the message with it.
//!
//! Nothing is kept of a field but what is needed to say so, and its size: a dynamic table takes 1 KiB at
//! most. What cannot be decoded ends the connection (RFC 9113 §4.3), as it does where the library finds it.
//! So the two tables are never out of step while both are in use.

use super::field::{Field, Kind, Seen};
use super::huffman::Huffman;
use super::table::{TABLE_MAX_BYTES, Table};

pub use super::field::Wrong;

/// A block cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What there is to say of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong with it.
    pub wrong: Option<Wrong>,
    /// Whether the library is sure to find something wrong in the block's last frame: then it has ended the
    /// block.
    pub is_found: bool,
}

/// Which string of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Value,
}

/// What a number counts (RFC 7541 §6).
#[derive(Clone, Copy, Debug)]
enum Counts {
    /// The index of a field.
    Field,
    /// The index of a literal field's name, or 0.
    Name { indexed: bool },
    /// The table's new size.
    TableSize,
    /// The length of a string.
    Text { part: Part, huffman: bool },
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A field or a new size.
    Between,
    /// More of a number.
    Number { counts: Counts, value: u32, shift: u32 },
    /// The length of a string.
    Length(Part),
    /// So many bytes of a string.
    Text { part: Part, left: u32, huffman: bool },
}

/// Follows the field blocks of one connection.
#[derive(Debug)]
pub struct Follower {
    table: Table,
    state: State,
    field: Field,
    huffman: Huffman,
    /// Whether the block is a trailer section.
    trailers: bool,
    /// Whether there was a field.
    begun: bool,
    /// What fields there were, in all of the block and in its last frame.
    seen: Seen,
    seen_here: Seen,
    /// Whether the library is sure to find something wrong in this frame.
    is_found: bool,
    /// The size of the list so far (RFC 9113 §6.5.2).
    size: u32,
    /// From which size on the library leaves fields out.
    size_max: u32,
    wrong: Option<Wrong>,
}

impl Follower {
    /// The beginning of a connection; lists of fields may be as large as `size_max`.
    pub const fn new(size_max: u32) -> Self {
        Self {
            table: Table::new(),
            state: State::Between,
            field: Field::new(Kind::Plain, 0, false),
            huffman: Huffman::new(),
            trailers: false,
            begun: false,
            seen: Seen::NONE,
            seen_here: Seen::NONE,
            is_found: false,
            size: 0,
            size_max,
            wrong: None,
        }
    }

    /// A block begins: a trailer section, or a head.
    pub const fn begin(&mut self, trailers: bool) {
        self.trailers = trailers;
        self.begun = false;
        self.seen = Seen::NONE;
        (self.size, self.wrong) = (0, None);
    }

    /// A frame of the block begins.
    pub const fn frame(&mut self) {
        self.seen_here = Seen::NONE;
        self.is_found = false;
    }

    /// Reads what comes next of the block.
    ///
    /// # Errors
    /// When it cannot be decoded.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Text { part, left, huffman } => {
                    let length = bytes.len().min(left as usize);
                    let Some((text, rest)) = bytes.split_at_checked(length) else { return Err(Broken) };
                    self.text(part, text, huffman)?;
                    bytes = rest;
                    self.await_text(part, left - length as u32, huffman)?;
                    continue;
                }
                State::Between => self.representation(byte)?,
                State::Length(part) => {
                    self.number(Counts::Text { part, huffman: byte & 0x80 != 0 }, byte, 0x7f)?;
                }
                State::Number { counts, value, shift } => {
                    // Neither overflows, with four bytes at most.
                    let value = value + (u32::from(byte & 0x7f) << shift);
                    match (byte & 0x80 != 0, shift + 7) {
                        (false, _) => self.counted(counts, value)?,
                        // The library takes no more either.
                        (true, 28..) => return Err(Broken),
                        (true, shift) => self.state = State::Number { counts, value, shift },
                    }
                }
            }
            bytes = rest;
        }
        Ok(())
    }

    /// The block ends. Says what is wrong with the message.
    ///
    /// # Errors
    /// When it ends within a field.
    pub fn end(&self) -> Result<Verdict, Broken> {
        let State::Between = self.state else { return Err(Broken) };
        // Of a head that is too large the library tells the client.
        let cut = (self.trailers && self.is_too_large()).then_some(Wrong::Malformed);
        Ok(Verdict { wrong: self.wrong.max(cut), is_found: self.is_found })
    }

    /// Whether the library leaves fields out.
    const fn is_too_large(&self) -> bool {
        self.size >= self.size_max
    }

    /// RFC 7541 §6: what the first byte of a representation says.
    fn representation(&mut self, byte: u8) -> Result<(), Broken> {
        match byte {
            0x80.. => self.number(Counts::Field, byte, 0x7f),
            0x40.. => self.number(Counts::Name { indexed: true }, byte, 0x3f),
            0x20.. => self.number(Counts::TableSize, byte, 0x1f),
            _ => self.number(Counts::Name { indexed: false }, byte, 0x0f),
        }
    }

    /// RFC 7541 §5.1: a number whose first byte is `byte`, in the bits of `mask`.
    fn number(&mut self, counts: Counts, byte: u8, mask: u8) -> Result<(), Broken> {
        let value = u32::from(byte & mask);
        if value < u32::from(mask) {
            return self.counted(counts, value);
        }
        self.state = State::Number { counts, value, shift: 0 };
        Ok(())
    }

    fn counted(&mut self, counts: Counts, number: u32) -> Result<(), Broken> {
        match counts {
            Counts::Field => {
                let (kind, wrong, size) = self.table.field(number)?;
                self.take(kind, wrong, size);
            }
            Counts::Name { indexed } => {
                self.begun = true;
                self.field = Field::new(Kind::Plain, 0, indexed);
                self.state = State::Length(if number == 0 { Part::Name } else { Part::Value });
                if number > 0 {
                    (self.field.kind, self.field.name_len) = self.table.name(number)?;
                }
            }
            // RFC 7541 §4.2: only where a block begins, and no more than we allow.
            Counts::TableSize if self.begun || number > TABLE_MAX_BYTES => return Err(Broken),
            Counts::TableSize => {
                self.table.resize(number);
                self.state = State::Between;
            }
            Counts::Text { part, huffman } => {
                self.huffman = Huffman::new();
                self.await_text(part, number, huffman)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, part: Part, text: &[u8], huffman: bool) -> Result<(), Broken> {
        let field = &mut self.field;
        if !huffman && part == Part::Value && field.kind == Kind::Plain {
            field.value_len = field.value_len.saturating_add(text.len() as u32);
            return Ok(());
        }
        let mut has = |byte| match part {
            Part::Name => field.name_has(byte),
            Part::Value => field.value_has(byte),
        };
        if huffman {
            return text.iter().try_for_each(|byte| self.huffman.read(*byte, &mut has));
        }
        text.iter().copied().for_each(has);
        Ok(())
    }

    /// So many bytes of a string are left.
    fn await_text(&mut self, part: Part, left: u32, huffman: bool) -> Result<(), Broken> {
        if left > 0 {
            self.state = State::Text { part, left, huffman };
            return Ok(());
        }
        if huffman {
            self.huffman.end()?;
        }
        match part {
            Part::Name => {
                self.field.name_ends()?;
                self.state = State::Length(Part::Value);
            }
            Part::Value => {
                let field = self.field;
                if field.indexed {
                    self.table.insert(&field);
                }
                self.take(field.kind, field.wrong(), field.size());
            }
        }
        Ok(())
    }

    /// A field is complete.
    fn take(&mut self, kind: Kind, mut wrong: Option<Wrong>, size: u32) {
        self.state = State::Between;
        self.begun = true;
        self.size = self.size.saturating_add(size);
        let admitted = self.seen.admits(kind);
        if !admitted || self.trailers && kind.pseudo().is_some() {
            wrong = Some(Wrong::Malformed);
        }
        // What came in other frames it may not know of, nor what it has left out.
        let refused_here = !self.seen_here.admits(kind) && !self.is_too_large();
        self.is_found |= refused_here || matches!(kind, Kind::Te | Kind::Connection) && wrong.is_some();
        self.wrong = self.wrong.max(wrong);
    }
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
