//! What is done with the frames of an HTTP/2 client before the library has them, against a decoder of field
//! blocks that keeps all it reads.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use forebay::server::frames::{FRAGMENT, Fault, FrameBudget, Frames, Insertion};
use forebay::units::Rate;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// The largest list of fields.
const LIST_MAX: u32 = 1024;

type Field = (Vec<u8>, Vec<u8>);

/// A frame: its type, flags, stream and payload.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u8,
    payload: Vec<u8>,
}

/// Frames that are often blocks: three bytes say which and how long, and the payload follows.
fn client(mut data: &[u8]) -> Vec<u8> {
    let mut bytes = [PREFACE, &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]].concat();
    while let [which, flags, length, rest @ ..] = data {
        let kind =
            [HEADERS, HEADERS, CONTINUATION, 0, 6, HEADERS, CONTINUATION, *which][usize::from(which % 8)];
        let payload = &rest[..rest.len().min(usize::from(*length))];
        bytes.extend([0, 0, payload.len() as u8, kind, *flags, 0, 0, 0, which >> 4 | 1]);
        bytes.extend_from_slice(payload);
        data = &rest[payload.len()..];
    }
    bytes
}

/// What the library gets, with all that came before a fault.
fn follow(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<Fault>) {
    let budget = FrameBudget::new(Rate::new(1_000_000, Duration::from_secs(1)));
    let mut follower = Frames::new(budget, LIST_MAX, 0);
    let mut got = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        loop {
            match follower.read(&mut piece, 0) {
                Ok(None) => break got.append(&mut piece),
                Ok(Some(Insertion { at, frame })) => {
                    got.extend(piece.drain(..at));
                    got.extend(frame);
                }
                Err(fault) => return (got, Some(fault)),
            }
        }
    }
    (got, None)
}

/// The frames that are complete.
fn parse(bytes: &[u8]) -> Vec<Frame> {
    let mut rest = bytes.get(PREFACE.len()..).unwrap_or_default();
    let mut frames = Vec::new();
    while let [_, _, length, kind, flags, _, _, _, stream, behind @ ..] = rest {
        let length = usize::from(*length);
        if behind.len() < length {
            break;
        }
        frames.push(Frame {
            kind: *kind,
            flags: *flags,
            stream: *stream,
            payload: behind[..length].to_vec(),
        });
        rest = &behind[length..];
    }
    frames
}

/// The fragments of a block, and whether it has ended.
struct Block {
    stream: u8,
    fragments: Vec<Vec<u8>>,
    ended: bool,
}

fn blocks(frames: &[Frame]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for frame in frames {
        let fragment = match frame.kind {
            HEADERS => fragment(frame),
            CONTINUATION => &frame.payload,
            _ => continue,
        };
        if frame.kind == HEADERS {
            blocks.push(Block { stream: frame.stream, fragments: Vec::new(), ended: false });
        }
        let block = blocks.last_mut().expect("a continuation of something");
        assert!(!block.ended && block.stream == frame.stream);
        block.fragments.push(fragment.to_vec());
        block.ended = frame.flags & END_HEADERS != 0;
    }
    blocks
}

fn fragment(frame: &Frame) -> &[u8] {
    let (mut fragment, mut padding) = (&frame.payload[..], 0);
    if frame.flags & PADDED != 0 {
        (padding, fragment) = (usize::from(fragment[0]), &fragment[1..]);
    }
    if frame.flags & PRIORITY != 0 {
        fragment = &fragment[5..];
    }
    &fragment[..fragment.len() - padding]
}

/// Decodes as RFC 7541 says, with all fields in memory.
#[derive(Clone)]
struct Decoder {
    table: Vec<Field>,
    max: usize,
}

impl Decoder {
    /// The fields that are complete, and whether there is nothing behind them.
    fn decode(&mut self, mut block: &[u8]) -> (Vec<Field>, bool) {
        let mut fields = Vec::new();
        while !block.is_empty() {
            match self.representation(&mut block) {
                Some(field) => fields.extend(field),
                None => return (fields, false),
            }
        }
        (fields, true)
    }

    /// The next field; `Some(None)` for a new size of the table.
    fn representation(&mut self, block: &mut &[u8]) -> Option<Option<Field>> {
        let first = *block.first()?;
        if first >= 0x80 {
            return number(block, 7).and_then(|index| self.field(index)).map(Some);
        }
        if first >> 5 == 1 {
            self.max = number(block, 5)?;
            self.shrink(self.max);
            return Some(None);
        }
        let indexed = first >= 0x40;
        let name = match number(block, if indexed { 6 } else { 4 })? {
            0 => text(block)?,
            index => self.field(index)?.0,
        };
        let field = (name, text(block)?);
        if indexed {
            self.shrink(self.max.saturating_sub(size(&field)));
            if size(&field) <= self.max {
                self.table.insert(0, field.clone());
            }
        }
        Some(Some(field))
    }

    fn shrink(&mut self, max: usize) {
        while self.table.iter().map(size).sum::<usize>() > max {
            self.table.pop();
        }
    }

    fn field(&self, index: usize) -> Option<Field> {
        // Those of the static table that matter; the others have a name of the right length.
        #[rustfmt::skip]
        let lengths = [
            14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17,
            13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
        ];
        let name = match index {
            0 => return None,
            1 => b":authority".to_vec(),
            2 | 3 => b":method".to_vec(),
            4 | 5 => b":path".to_vec(),
            6 | 7 => b":scheme".to_vec(),
            8..=14 => b":status".to_vec(),
            57 => b"transfer-encoding".to_vec(),
            15..=61 => vec![b'?'; lengths[index - 15]],
            _ => return self.table.get(index - 62).cloned(),
        };
        Some((name, Vec::new()))
    }
}

fn size((name, value): &Field) -> usize {
    name.len() + value.len() + 32
}

fn number(block: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, mut rest) = block.split_first()?;
    let mask = (1 << bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        for shift in [0, 7, 14, 21, 28] {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            value += usize::from(byte & 127) << shift;
            if *byte < 128 {
                break;
            }
        }
    }
    *block = rest;
    Some(value)
}

fn text(block: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = *block.first()? >= 0x80;
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if coded { plain(text) } else { Some(text.to_vec()) }
}

/// The lengths of the codes of RFC 7541 Appendix B.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Bit by bit, by a map of all codes.
fn plain(coded: &[u8]) -> Option<Vec<u8>> {
    static CODES: OnceLock<HashMap<(u8, u32), u8>> = OnceLock::new();
    let codes = CODES.get_or_init(|| {
        let mut symbols: Vec<u8> = (0..=255).collect();
        symbols.sort_by_key(|symbol| (LENGTHS[usize::from(*symbol)], *symbol));
        let (mut code, mut before, mut codes) = (0, 5, HashMap::new());
        for symbol in symbols {
            let length = LENGTHS[usize::from(symbol)];
            code <<= length - before;
            codes.insert((length, code), symbol);
            (code, before) = (code + 1, length);
        }
        codes
    });
    let (mut text, mut length, mut code) = (Vec::new(), 0, 0);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        (length, code) = (length + 1, code << 1 | u32::from(bit));
        if let Some(symbol) = codes.get(&(length, code)) {
            text.push(*symbol);
            (length, code) = (0, 0);
        } else if length == 30 {
            return None;
        }
    }
    (length < 8 && code == (1 << length) - 1).then_some(text)
}

/// Whether the library resets the stream for what is in this fragment.
fn is_found(fields: &[Field]) -> bool {
    let (mut regular, mut pseudo) = (false, Vec::new());
    fields.iter().any(|(name, value)| match &name[..] {
        [b':', ..] => {
            let wrong = regular || pseudo.contains(name);
            pseudo.push(name.clone());
            wrong
        }
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => true,
        b"te" => value != b"trailers",
        _ => {
            regular = true;
            false
        }
    })
}

/// Frames that are followed: the same in however many pieces, decoded as they should be, and no message that
/// is malformed gets to the library without a field that it refuses.
pub fn frames(data: &[u8]) {
    let (piece, data) = data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest));
    let bytes = client(data);
    let (whole, fault) = follow(&bytes, bytes.len());
    let (pieces, other) = follow(&bytes, 1 + piece);
    assert_eq!(fault, other);
    let (whole, pieces) = (blocks(&parse(&whole)), blocks(&parse(&pieces)));
    let joined = |blocks: &[Block]| -> Vec<_> {
        // What came before a fault is more or less, by the pieces.
        let count = if fault.is_some() { 0 } else { blocks.len() };
        blocks[..count].iter().map(|block| (block.stream, block.fragments.concat())).collect()
    };
    assert_eq!(joined(&whole), joined(&pieces));
    let mut decoder = Decoder { table: Vec::new(), max: 4096 };
    let mut last_stream = 0;
    for block in &whole {
        let trailers = block.stream <= last_stream;
        last_stream = last_stream.max(block.stream);
        if !block.ended {
            continue;
        }
        let (_, others) = block.fragments.split_last().expect("at least one");
        let before = decoder.clone().decode(&others.concat()).0.len();
        let (fields, is_whole) = decoder.decode(&block.fragments.concat());
        assert!(is_whole, "what is passed on can be decoded");
        let path = fields.iter().any(|(name, value)| name == b":path" && value.contains(&b'#'));
        let marked = fields.contains(&(FRAGMENT.into(), b" ".to_vec())) || is_found(&fields);
        assert!(!path || marked, "{fields:?}");
        let pseudo = fields.iter().any(|(name, _)| name.starts_with(b":"));
        let large = fields.iter().map(size).sum::<usize>() >= LIST_MAX as usize;
        assert!(!(trailers && (pseudo || large)) || is_found(&fields), "{fields:?}");
        // What is wrong in an earlier fragment may have been forgotten.
        let here = fields.get(before..).unwrap_or_default();
        assert!(!is_found(&fields) || is_found(here), "{fields:?}");
    }
}
