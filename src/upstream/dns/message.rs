//! The messages that ask a name server for addresses and services, and what is read of its answers (RFC 1035
//! §4, RFC 3596 for IPv6, RFC 2782 for services): pure.
//!
//! ```text
//! id 2 | flags 2 | questions 2 | answers 2 | authorities 2 | additionals 2 | question | answers ...
//! ```
//!
//! An answer is read up to the end of its answer section. Whatever is wrong with it makes the whole of it
//! unusable; a record whose name no host can have is left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name, in the form it has in a message (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;
/// Records of one answer that are looked at.
const RECORDS_MAX: u16 = 1024;
/// The class of the Internet.
const IN: u16 = 1;
/// Recursion is desired.
const RECURSE: u16 = 0x0100;
/// It is an answer.
const IS_ANSWER: u16 = 0x8000;
/// It was cut to fit into a datagram.
const IS_TRUNCATED: u16 = 0x0200;
/// The operation, which is 0 for a plain question.
const OPERATION: u16 = 0x7800;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// IPv4 addresses.
    A = 1,
    /// IPv6 addresses.
    Aaaa = 28,
    /// Services.
    Srv = 33,
}

/// One piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An address.
    Address(IpAddr),
    /// A place where a service is.
    Service(Target),
}

/// A place where a service is (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Those of the lowest number that can be reached are to be used.
    pub priority: u16,
    /// The share among those of the same priority; 0: hardly any.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host's name, in lower case and without a dot at its end.
    pub host: Box<str>,
}

/// What a name server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// These; none where there is no such name, or nothing of that kind.
    Records {
        /// In the answer's order.
        records: Vec<Record>,
        /// For how many seconds it may be believed: the least of all.
        ttl: u32,
    },
    /// More than fits into a datagram: to be asked by TCP.
    Truncated,
    /// It could not find out, or does not want to tell (RFC 1035 §4.1.1: `RCODE`).
    Failed(u8),
}

/// Bytes that are no answer to the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// The question for a name, as a message; `None` for a name that cannot be in one.
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(18 + name.len());
    for part in [id, RECURSE, 1, 0, 0, 0] {
        message.extend_from_slice(&part.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len() - 12 > NAME_MAX {
        return None;
    }
    for part in [kind as u16, IN] {
        message.extend_from_slice(&part.to_be_bytes());
    }
    Some(message)
}

/// What a message answers to a question that was asked with [`question`].
pub fn answer(message: &[u8], asked: &[u8], kind: Kind) -> Result<Reply, NoAnswer> {
    let mut reader = Reader { message, at: 0 };
    let (id, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    let same_id = asked.get(..2) == Some(id.to_be_bytes().as_slice());
    if !same_id || flags & (IS_ANSWER | OPERATION) != IS_ANSWER || questions != 1 {
        return Err(NoAnswer);
    }
    // The name may come back in another case, and nothing else may differ.
    let mine = asked.get(12..).ok_or(NoAnswer)?;
    if !reader.take(mine.len())?.eq_ignore_ascii_case(mine) {
        return Err(NoAnswer);
    }
    if flags & IS_TRUNCATED != 0 {
        return Ok(Reply::Truncated);
    }
    match (flags & 0x0f) as u8 {
        0 => {}
        // There is no such name.
        3 => return Ok(Reply::Records { records: Vec::new(), ttl: 0 }),
        code => return Ok(Reply::Failed(code)),
    }
    let (mut records, mut ttl) = (Vec::new(), u32::MAX);
    for _ in 0..answers.min(RECORDS_MAX) {
        reader.name()?;
        let (found, class, lives) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let length = usize::from(reader.u16()?);
        let end = reader.at.checked_add(length).ok_or(NoAnswer)?;
        // RFC 2181 §8: the highest bit makes it none.
        ttl = ttl.min(if lives > i32::MAX as u32 { 0 } else { lives });
        if (found, class) == (kind as u16, IN) {
            records.extend(reader.record(kind)?);
            if reader.at != end {
                return Err(NoAnswer);
            }
        }
        reader.at = end;
    }
    Ok(Reply::Records { records, ttl })
}

/// Reads a message, and nothing beyond it.
#[derive(Clone, Copy)]
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NoAnswer> {
        let end = self.at.checked_add(count).ok_or(NoAnswer)?;
        let taken = self.message.get(self.at..end).ok_or(NoAnswer)?;
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<(), NoAnswer> {
        self.take(count).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoAnswer> {
        self.take(N)?.try_into().map_err(|_| NoAnswer)
    }

    fn u16(&mut self) -> Result<u16, NoAnswer> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, NoAnswer> {
        self.array().map(u32::from_be_bytes)
    }

    /// A name, as text in lower case without a dot at its end; `None` for one that no host can have.
    ///
    /// A name may go on at an earlier place of the message (RFC 1035 §4.1.4); each such jump goes further
    /// back, so there is an end.
    fn name(&mut self) -> Result<Option<Box<str>>, NoAnswer> {
        let mut text = String::new();
        let mut usable = true;
        let (mut reader, mut lowest, mut after) = (*self, self.at, None);
        loop {
            let [length] = reader.array()?;
            match length {
                0 => break,
                1..=63 => {
                    let label = reader.take(usize::from(length))?;
                    usable &= label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
                    if text.len() + label.len() + 2 > NAME_MAX {
                        return Err(NoAnswer);
                    }
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                }
                0xc0.. => {
                    let [low] = reader.array()?;
                    after.get_or_insert(reader.at);
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if to >= lowest {
                        return Err(NoAnswer);
                    }
                    (lowest, reader.at) = (to, to);
                }
                64..0xc0 => return Err(NoAnswer),
            }
        }
        self.at = after.unwrap_or(reader.at);
        Ok((usable && !text.is_empty()).then(|| text.into()))
    }

    /// The data of a record.
    fn record(&mut self, kind: Kind) -> Result<Option<Record>, NoAnswer> {
        Ok(match kind {
            Kind::A => Some(Record::Address(Ipv4Addr::from(self.array::<4>()?).into())),
            Kind::Aaaa => Some(Record::Address(Ipv6Addr::from(self.array::<16>()?).into())),
            Kind::Srv => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                // A dot alone says that the service is not there (RFC 2782).
                let host = self.name()?.filter(|_| port != 0);
                host.map(|host| Record::Service(Target { priority, weight, port, host }))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "_api._tcp.example";

    /// An answer to a question: these flags, and records of these types, lives and data, for the name asked.
    fn message(asked: &[u8], flags: u16, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
        let mut message = asked.to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, ttl, data) in records {
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&IN.to_be_bytes());
            message.extend_from_slice(&ttl.to_be_bytes());
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    fn target(priority: u16, weight: u16, port: u16, host: &str) -> Record {
        Record::Service(Target { priority, weight, port, host: host.into() })
    }

    /// RFC 1035 §4.1.
    #[test]
    fn a_question() {
        let asked = question(0x1234, "a.bc.", Kind::Srv).unwrap();
        assert_eq!(asked, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x21\0\x01");
        for name in ["", ".", "a..b", &"a".repeat(64), &"ab.".repeat(90)] {
            assert_eq!(question(1, name, Kind::A), None, "{name}");
        }
    }

    /// RFC 2782, and RFC 1035 §4.1.4: the second target's name goes on in the question.
    #[test]
    fn services() {
        let asked = question(7, NAME, Kind::Srv).unwrap();
        let pointed = [b"\0\x02\0\0\x1f\x41\x01B\xc0".as_slice(), &[12 + 10]].concat();
        let gone = b"\0\0\0\0\0\x01\0";
        let strange = b"\0\0\0\0\0\x01\x03a b\0";
        let records: [(u16, u32, &[u8]); 5] = [
            (33, 300, b"\0\x01\0\x0a\x1f\x40\x01A\x04test\0"),
            (33, 60, &pointed),
            (33, 600, gone),
            (33, 600, strange),
            (5, 900, b"\x01c\0"),
        ];
        let found = answer(&message(&asked, 0x8180, &records), &asked, Kind::Srv);
        let records = vec![target(1, 10, 8000, "a.test"), target(2, 0, 8001, "b.example")];
        assert_eq!(found, Ok(Reply::Records { records, ttl: 60 }));
    }

    #[test]
    fn addresses() {
        for (kind, data, address) in [
            (Kind::A, [10, 0, 0, 1].as_slice(), "10.0.0.1"),
            (Kind::Aaaa, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "2001:db8::1"),
        ] {
            let asked = question(7, "a.test", kind).unwrap();
            let found = answer(&message(&asked, 0x8180, &[(kind as u16, 1 << 31, data)]), &asked, kind);
            let records = vec![Record::Address(address.parse().unwrap())];
            assert_eq!(found, Ok(Reply::Records { records, ttl: 0 }), "RFC 2181 §8");
        }
    }

    #[test]
    fn what_is_no_answer_and_what_says_no() {
        let asked = question(7, NAME, Kind::Srv).unwrap();
        let said = |flags| answer(&message(&asked, flags, &[]), &asked, Kind::Srv);
        assert_eq!(said(0x8183), Ok(Reply::Records { records: vec![], ttl: 0 }));
        assert_eq!(said(0x8380), Ok(Reply::Truncated));
        assert_eq!(said(0x8182), Ok(Reply::Failed(2)));
        assert_eq!(said(0x0180), Err(NoAnswer), "a question");
        let other = question(8, NAME, Kind::Srv).unwrap();
        assert_eq!(answer(&message(&other, 0x8180, &[]), &asked, Kind::Srv), Err(NoAnswer), "another id");
        let other = question(7, "_xpi._tcp.example", Kind::Srv).unwrap();
        assert_eq!(answer(&message(&other, 0x8180, &[]), &asked, Kind::Srv), Err(NoAnswer), "another name");
        let same = question(7, "_API._TCP.Example", Kind::Srv).unwrap();
        assert!(answer(&message(&same, 0x8180, &[]), &asked, Kind::Srv).is_ok(), "case is of no account");
    }

    /// A pointer to itself, forward, and a length that is none.
    #[test]
    fn names_have_an_end() {
        let asked = question(7, NAME, Kind::Srv).unwrap();
        let place = asked.len() as u8 + 12 + 6;
        for name in [[0xc0, place], [0xc0, 0xff], [0x40, 0], [63, b'a']] {
            let data = [b"\0\0\0\0\0\x01".as_slice(), &name].concat();
            let message = message(&asked, 0x8180, &[(33, 1, &data)]);
            assert_eq!(answer(&message, &asked, Kind::Srv), Err(NoAnswer), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(mut noise in proptest::collection::vec(any::<u8>(), 0..200), count in 0u16..9) {
            let asked = question(7, NAME, Kind::Srv).unwrap();
            let mut answered = message(&asked, 0x8180, &[]);
            answered[6..8].copy_from_slice(&count.to_be_bytes());
            answered.append(&mut noise);
            let _ = answer(&answered, &asked, Kind::Srv);
            let _ = answer(&answered[asked.len()..], &asked, Kind::A);
        }
    }
}
