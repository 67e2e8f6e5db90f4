//! What matters of a field in a message: where it may not stand, and which values it may not have.

use super::hpack::Broken;

/// How much of a name is looked at: `transfer-encoding`, and a byte that shows there is more.
pub(super) const NAME_MAX: usize = 18;

/// What each entry counts for beside its name and value (RFC 7541 §4.1), and each field of a list (RFC 9113
/// §6.5.2).
pub(super) const ENTRY_BYTES: u32 = 32;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// The only thing is a `#` in its path.
    Fragment,
    /// A field that must not be where it is.
    Malformed,
}

/// What matters of a field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// `te`: its value must be `trailers` (RFC 9113 §8.2.2).
    Te,
    /// It is of HTTP/1's connections (RFC 9113 §8.2.2).
    Connection,
    /// `:path`.
    Path,
    /// Another pseudo-header field: one bit for each, and none for those that nobody knows.
    Pseudo(u8),
}

impl Kind {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":path" => Self::Path,
            b":authority" => Self::Pseudo(2),
            b":method" => Self::Pseudo(4),
            b":scheme" => Self::Pseudo(8),
            b":protocol" => Self::Pseudo(16),
            b":status" => Self::Pseudo(32),
            [b':', ..] => Self::Pseudo(0),
            b"te" => Self::Te,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                Self::Connection
            }
            _ => Self::Plain,
        }
    }

    /// The bit of a pseudo-header field.
    pub(super) const fn pseudo(self) -> Option<u8> {
        match self {
            Self::Path => Some(1),
            Self::Pseudo(bit) => Some(bit),
            Self::Plain | Self::Te | Self::Connection => None,
        }
    }
}

/// A field, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) name_len: u32,
    pub(super) value_len: u32,
    /// How the name begins.
    name: [u8; NAME_MAX],
    /// Whether there is a `#` in the value.
    hash: bool,
    /// How much of the value is that of `trailers`, while all of it is.
    trailers: u32,
    /// Whether it goes into the dynamic table.
    pub(super) indexed: bool,
}

/// The one value that `te` may have.
pub(super) const TRAILERS: &[u8] = b"trailers";

impl Field {
    pub(super) const fn new(kind: Kind, name_len: u32, indexed: bool) -> Self {
        Self { kind, name_len, value_len: 0, name: [0; NAME_MAX], hash: false, trailers: 0, indexed }
    }

    pub(super) fn name_has(&mut self, byte: u8) {
        if let Some(place) = self.name.get_mut(self.name_len as usize) {
            *place = byte;
        }
        self.name_len = self.name_len.saturating_add(1);
    }

    pub(super) fn value_has(&mut self, byte: u8) {
        self.hash |= byte == b'#';
        let alike = self.trailers == self.value_len && TRAILERS.get(self.trailers as usize) == Some(&byte);
        self.trailers += u32::from(alike);
        self.value_len = self.value_len.saturating_add(1);
    }

    /// The name is complete.
    pub(super) fn name_ends(&mut self) -> Result<(), Broken> {
        if self.name_len == 0 {
            // The library forgets such a field, and its place in the table, where a fragment ends behind it.
            return Err(Broken);
        }
        self.kind = Kind::of(self.name.get(..self.name_len as usize).unwrap_or(&self.name));
        Ok(())
    }

    /// What is wrong with it, wherever it stands.
    pub(super) fn wrong(&self) -> Option<Wrong> {
        let is_trailers = || self.value_len == self.trailers && self.trailers as usize == TRAILERS.len();
        match self.kind {
            Kind::Path if self.hash => Some(Wrong::Fragment),
            Kind::Te if !is_trailers() => Some(Wrong::Malformed),
            Kind::Connection | Kind::Pseudo(0) => Some(Wrong::Malformed),
            Kind::Plain | Kind::Te | Kind::Path | Kind::Pseudo(_) => None,
        }
    }

    pub(super) const fn size(&self) -> u32 {
        self.name_len.saturating_add(self.value_len).saturating_add(ENTRY_BYTES)
    }
}

/// Which fields there were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Whether there was one that is no pseudo-header field.
    regular: bool,
    /// The bits of pseudo-header fields.
    pseudo: u8,
}

impl Seen {
    pub(super) const NONE: Self = Self { regular: false, pseudo: 0 };

    /// RFC 9113 §8.3: pseudo-header fields come before all others, and each but once.
    pub(super) fn admits(&mut self, kind: Kind) -> bool {
        let Some(bit) = kind.pseudo() else {
            // The library does not count those that it refuses.
            self.regular |= kind != Kind::Connection;
            return true;
        };
        let admitted = !self.regular && self.pseudo & bit == 0;
        self.pseudo |= bit;
        admitted
    }
}
