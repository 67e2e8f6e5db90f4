//! Bounds what an HTTP/1 endpoint may send before its final response head: hyper skips interim responses (RFC
//! 9110 §15.2) without counting them, and a request would have to carry a callback to count them there.

/// Interim responses accepted before a final one.
pub(super) const MAX_INTERIM: u32 = 64;
/// The largest response head accepted, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Bytes accepted before the final head is complete: all interim heads and itself.
const MAX_BYTES: usize = 2 * MAX_HEAD;

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// More than [`MAX_INTERIM`] interim responses.
    Interim,
    /// More than two heads' worth of bytes and still no head.
    Bytes,
}

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interim => "too many interim responses",
            Self::Bytes => "response head too large",
        })
    }
}

impl std::error::Error for Flood {}

/// Follows the bytes of one exchange up to its final head.
#[derive(Debug, Default)]
pub(super) struct Heads {
    at: At,
    interim: u32,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// So many bytes into a status line; the tenth, after `HTTP/1.1 `, tells the class of the status.
    StatusLine(u8),
    /// Inside an interim head; whether the line so far is empty.
    Interim { line_empty: bool },
    /// The final head, or something that is no head: hyper's to judge.
    Final,
}

impl Default for At {
    fn default() -> Self {
        Self::StatusLine(0)
    }
}

impl Heads {
    /// Whether another read may be made at all.
    pub(super) const fn may_read(&self) -> Result<(), Flood> {
        if self.bytes > MAX_BYTES { Err(Flood::Bytes) } else { Ok(()) }
    }

    /// Takes in what was read.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        for byte in bytes {
            self.at = match (self.at, byte) {
                (At::StatusLine(0), b'\r' | b'\n') => At::StatusLine(0),
                (At::StatusLine(9), b'1') => At::Interim { line_empty: false },
                (At::StatusLine(9), _) => At::Final,
                (At::StatusLine(before), _) => At::StatusLine(before + 1),
                (At::Interim { line_empty: true }, b'\n') => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Err(Flood::Interim);
                    }
                    At::StatusLine(0)
                }
                (At::Interim { .. }, b'\n') => At::Interim { line_empty: true },
                (At::Interim { line_empty }, b'\r') => At::Interim { line_empty },
                (At::Interim { .. }, _) => At::Interim { line_empty: false },
                (At::Final, _) => return Ok(()),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(text: &[u8], chunk: usize) -> (Heads, Result<(), Flood>) {
        let mut heads = Heads::default();
        for bytes in text.chunks(chunk) {
            if let Err(flood) = heads.read(bytes) {
                return (heads, Err(flood));
            }
        }
        let last = heads.may_read();
        (heads, last)
    }

    #[test]
    fn interim_responses_are_counted_however_they_are_cut() {
        let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        let last = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 100 \r\n\r\n";
        for chunk in [1, 2, 7, 40, 100_000] {
            let allowed = [interim.repeat(64), last.to_vec()].concat();
            let (heads, result) = feed(&allowed, chunk);
            assert_eq!((heads.interim, result), (64, Ok(())), "{chunk}");
            assert_eq!(feed(&interim.repeat(65), chunk).1, Err(Flood::Interim), "{chunk}");
            assert_eq!(feed(&b"HTTP/1.1 100 \n\n".repeat(65), chunk).1, Err(Flood::Interim), "{chunk}");
        }
    }

    #[test]
    fn endless_heads_end() {
        assert_eq!(feed(&b"HTTP/1.1 200 OK\r\na: b\r\n".repeat(20_000), 4096).1, Err(Flood::Bytes));
        assert_eq!(feed(&[b'x'; 2 * MAX_HEAD], 4096).1, Ok(()));
        assert_eq!(feed(&vec![b'\n'; 2 * MAX_HEAD + 1], 4096).1, Err(Flood::Bytes));
    }
}
