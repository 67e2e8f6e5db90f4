//! The Huffman code of HPACK (RFC 7541 §5.2, Appendix B), a byte at a time.
//!
//! The code is canonical: among codes of one length, and from one length to the next, they count up in the
//! order of their symbols. So what is needed of Appendix B is the order of the symbols, and where each length
//! begins.

use super::hpack::Broken;

/// The codes of one length.
struct Class {
    /// Their length, in bits.
    length: u32,
    /// The first one.
    first: u32,
    /// The place of its symbol among [`SYMBOLS`].
    start: u32,
    /// How many there are.
    count: u32,
}

const fn class(length: u32, first: u32, start: u32, count: u32) -> Class {
    Class { length, first, start, count }
}

/// All lengths there are. EOS, the last of those of 30 bits, is left out: whoever sends it is in error.
const CLASSES: [Class; 21] = [
    class(5, 0x0, 0, 10),
    class(6, 0x14, 10, 26),
    class(7, 0x5c, 36, 32),
    class(8, 0xf8, 68, 6),
    class(10, 0x3f8, 74, 5),
    class(11, 0x7fa, 79, 3),
    class(12, 0xffa, 82, 2),
    class(13, 0x1ff8, 84, 6),
    class(14, 0x3ffc, 90, 2),
    class(15, 0x7ffc, 92, 3),
    class(19, 0x7fff0, 95, 3),
    class(20, 0xfffe6, 98, 8),
    class(21, 0x1fffdc, 106, 13),
    class(22, 0x3fffd2, 119, 26),
    class(23, 0x7fffd8, 145, 29),
    class(24, 0xffffea, 174, 12),
    class(25, 0x1ffffec, 186, 4),
    class(26, 0x3ffffe0, 190, 15),
    class(27, 0x7ffffde, 205, 19),
    class(28, 0xfffffe2, 224, 29),
    class(30, 0x3ffffffc, 253, 3),
];

/// The symbols in the order of their codes.
#[rustfmt::skip]
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51,
    52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109,
    110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76,
    77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118,
    119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39,
    43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92,
    195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177,
    179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160,
    163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232,
    233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157,
    158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142,
    144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193,
    200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255, 203, 204, 211,
    212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20,
    21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22,
];

/// The longest code.
const LENGTH_MAX: u32 = 30;

/// A string that is being decoded.
#[derive(Clone, Copy, Debug)]
pub struct Huffman {
    /// Bits that are not a whole code yet.
    bits: u64,
    /// How many.
    count: u32,
}

impl Huffman {
    /// A string of which nothing has come.
    pub const fn new() -> Self {
        Self { bits: 0, count: 0 }
    }

    /// Takes the string's next byte, and hands on the symbols that end in it.
    ///
    /// # Errors
    /// When there is no such code.
    pub fn read(&mut self, byte: u8, mut symbol: impl FnMut(u8)) -> Result<(), Broken> {
        self.bits = self.bits << 8 | u64::from(byte);
        self.count += 8;
        while let Some((found, length)) = self.first() {
            self.count -= length;
            self.bits &= (1 << self.count) - 1;
            symbol(found);
        }
        if self.count < LENGTH_MAX { Ok(()) } else { Err(Broken) }
    }

    /// The first symbol, and how many bits it takes, if they are all there.
    fn first(&self) -> Option<(u8, u32)> {
        for class in &CLASSES {
            let code = (self.bits >> self.count.checked_sub(class.length)?) as u32;
            // It is no less than the first one: it would be one of the shorter codes.
            let nth = code.wrapping_sub(class.first);
            if nth < class.count {
                return Some((*SYMBOLS.get((class.start + nth) as usize)?, class.length));
            }
        }
        None
    }

    /// The string has ended: what is left must be padding, with the most significant bits of EOS.
    ///
    /// # Errors
    /// When it is something else.
    pub const fn end(self) -> Result<(), Broken> {
        if self.count < 8 && self.bits == (1 << self.count) - 1 { Ok(()) } else { Err(Broken) }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The code of a symbol, and its length.
    fn code(symbol: u8) -> (u64, u32) {
        let place = SYMBOLS.iter().position(|other| *other == symbol).unwrap() as u32;
        let class = CLASSES.iter().rfind(|class| class.start <= place).unwrap();
        (u64::from(class.first + place - class.start), class.length)
    }

    /// The coded form of a text.
    pub fn encode(text: &[u8]) -> Vec<u8> {
        let (mut bits, mut count, mut coded) = (0, 0, Vec::new());
        for symbol in text {
            let (code, length) = code(*symbol);
            (bits, count) = (bits << length | code, count + length);
            while count >= 8 {
                count -= 8;
                coded.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        if count > 0 {
            coded.push((bits << (8 - count) | ((1 << (8 - count)) - 1)) as u8);
        }
        coded
    }

    fn decode(coded: &[u8]) -> Result<Vec<u8>, Broken> {
        let (mut huffman, mut text) = (Huffman::new(), Vec::new());
        for byte in coded {
            huffman.read(*byte, |symbol| text.push(symbol))?;
        }
        huffman.end().map(|()| text)
    }

    /// Some of Appendix B.
    #[test]
    fn codes_are_those_of_the_appendix() {
        for (symbol, expected) in [
            (b'0', (0x0, 5)),
            (b't', (0x9, 5)),
            (b' ', (0x14, 6)),
            (b'u', (0x2d, 6)),
            (b':', (0x5c, 7)),
            (b'z', (0x7b, 7)),
            (b'&', (0xf8, 8)),
            (b'Z', (0xfd, 8)),
            (b'!', (0x3f8, 10)),
            (b'#', (0xffa, 12)),
            (b'~', (0x1ffd, 13)),
            (b'<', (0x7ffc, 15)),
            (b'\\', (0x7fff0, 19)),
            (208, (0x7fff2, 19)),
            (9, (0xff_ffea, 24)),
            (255, (0x3ff_ffee, 26)),
            (249, (0xfff_fffe, 28)),
            (22, (0x3fff_fffe, 30)),
        ] {
            assert_eq!(code(symbol), expected, "{symbol}");
        }
        let kraft: u64 = CLASSES.iter().map(|class| u64::from(class.count) << (30 - class.length)).sum();
        assert_eq!(kraft, (1 << 30) - 1, "all but EOS");
    }

    #[test]
    fn what_was_coded_is_decoded() {
        let all: Vec<u8> = (0..=255).collect();
        for text in [&b""[..], b"0", b"www.example.com", b"no-cache", &all, &[22; 9], &[b'#'; 30]] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
        // RFC 7541 §C.4.1, §C.4.3.
        assert_eq!(encode(b"www.example.com"), b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
        assert_eq!(encode(b"custom-value"), b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf");
    }

    /// RFC 7541 §5.2.
    #[test]
    fn what_is_no_code_is_refused() {
        for coded in [
            &b"\x00"[..], // padding of zeros
            b"\x1f\xff",  // padding of more than seven bits
            b"\xff",
            b"\xff\xff\xff\xff", // EOS
            b"\xff\xff\xff\xfc",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(decode(coded).is_err(), "{coded:x?}");
        }
    }
}
