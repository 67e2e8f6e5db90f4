//! What a client's `Accept-Encoding` asks for (RFC 9110 §12.5.3).
//!
//! A member that cannot be read counts for nothing. Of a coding named twice the first weight counts.

use http::header::{ACCEPT_ENCODING, HeaderMap};

use crate::http::coding::{Coding, Level};

/// Weights in thousandths; none where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    codings: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Accept {
    /// Reads the field; nothing is asked for where it is missing.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut accept = Self::default();
        for line in headers.get_all(ACCEPT_ENCODING) {
            for member in line.as_bytes().split(|byte| *byte == b',') {
                accept.add(member.trim_ascii());
            }
        }
        accept
    }

    fn add(&mut self, member: &[u8]) {
        let (name, parameter) = match member.iter().position(|byte| *byte == b';') {
            Some(at) => member.split_at(at),
            None => (member, &b""[..]),
        };
        let Some(weight) = weight(parameter) else { return };
        let name = name.trim_ascii_end();
        let place = match Coding::parse(name) {
            Some(coding) => self.codings.get_mut(coding as usize),
            None if name.eq_ignore_ascii_case(b"identity") => Some(&mut self.identity),
            None if name == b"*" => Some(&mut self.any),
            None => None,
        };
        if let Some(place) = place {
            place.get_or_insert(weight);
        }
    }

    /// How much a coding is wanted; `*` stands for `gzip` alone.
    fn of_coding(&self, coding: Coding) -> u16 {
        let stands = if coding == Coding::Gzip { self.any } else { None };
        self.codings.get(coding as usize).copied().flatten().or(stands).unwrap_or(0)
    }

    /// The coding that is liked best, of those liked equally the first that is `offered`; none where none is
    /// accepted, or `identity` is liked better.
    pub fn best(&self, offered: &[Level]) -> Option<Level> {
        let mut best: Option<(u16, Level)> = None;
        for level in offered {
            let weight = self.of_coding(level.coding);
            if weight > 0 && best.is_none_or(|(liked, _)| weight > liked) {
                best = Some((weight, *level));
            }
        }
        best.filter(|(weight, _)| self.identity.is_none_or(|plain| plain <= *weight)).map(|(_, level)| level)
    }

    /// Whether the client refuses what has no coding.
    pub fn refuses_identity(&self) -> bool {
        self.identity.or(self.any) == Some(0)
    }
}

/// The weight in `;q=0.5`, in thousandths; none where it is none (RFC 9110 §12.4.2).
fn weight(parameter: &[u8]) -> Option<u16> {
    let Some(parameter) = parameter.strip_prefix(b";") else { return Some(1000) };
    let parameter = parameter.trim_ascii();
    let digits = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, fraction) = match digits {
        [whole] | [whole, b'.'] => (whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, worth) in fraction.iter().zip([100, 10, 1]) {
        weight +=
            u16::from(char::from(*digit).to_digit(10).and_then(|digit| u8::try_from(digit).ok())?) * worth;
    }
    (weight <= 1000).then_some(weight)
}
