//! Numbers and addresses as text, appended to bytes.
//!
//! ```
//! use forebay::http::text;
//! let mut out = Vec::new();
//! text::address(&mut out, [192, 0, 2, 1].into());
//! text::hex(&mut out, &[0x0a, 0xff]);
//! assert_eq!(out, b"192.0.2.10aff");
//! ```
//!
//! What surprises: nothing here goes through `fmt`, as far as it can be avoided. For an id or an address, its
//! machinery costs several times what the digits do, and every request has some.

use std::io::Write as _;
use std::net::IpAddr;

/// Appends two lower-case hex digits a byte.
pub fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// Appends a decimal number.
pub fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an address.
pub fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, d] = four.octets();
            number(out, a.into());
            for octet in [b, c, d] {
                out.push(b'.');
                number(out, octet.into());
            }
        }
        // Writing to a `Vec` cannot fail.
        IpAddr::V6(six) => drop(write!(out, "{six}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_fmt_would_write_it() {
        for text in ["0.0.0.0", "192.0.2.1", "255.255.255.255", "2001:db8::1", "::ffff:192.0.2.1"] {
            let mut out = Vec::new();
            address(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
        for bits in [0, 0xabc, 0x0123_4567_89ab_cdef, u64::MAX] {
            let (mut digits, mut decimal) = (Vec::new(), Vec::new());
            hex(&mut digits, &bits.to_be_bytes());
            number(&mut decimal, bits);
            assert_eq!((digits, decimal), (format!("{bits:016x}").into(), bits.to_string().into()));
        }
    }
}
