//! The examples of RFC 7541 Appendix C, what is wrong with messages, and random blocks by an encoder of our
//! own, in any pieces.

use proptest::prelude::*;

use super::super::huffman::tests::encode;
use super::super::table::STATIC;
use super::*;

const LIST_MAX: u32 = 32 * 1024;

/// The bytes of a text like `8286 8441`.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Reads a block that is all in one frame.
fn read(follower: &mut Follower, trailers: bool, block: &[u8]) -> Result<Option<Wrong>, Broken> {
    follower.begin(trailers);
    follower.frame();
    follower.read(block)?;
    follower.end().map(|verdict| verdict.wrong)
}

fn sizes(follower: &Follower) -> Vec<u16> {
    follower.table.sizes()
}

/// RFC 7541 §C.2: one field of each kind.
#[test]
fn representations() {
    for (block, table) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &[55][..]),
        ("040c 2f73 616d 706c 652f 7061 7468", &[]),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", &[]),
        ("82", &[]),
    ] {
        let mut follower = Follower::new(LIST_MAX);
        assert_eq!(read(&mut follower, false, &hex(block)), Ok(None), "{block}");
        assert_eq!(sizes(&follower), table, "{block}");
    }
}

/// RFC 7541 §C.3 to §C.6: requests and responses, without and with Huffman coding; the table of responses has
/// 256 bytes.
#[test]
fn messages() {
    let requests: &[&[(&str, &[u16])]] = &[
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", &[57]),
            ("8286 84be 5808 6e6f 2d63 6163 6865", &[53, 57]),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", &[54, 53, 57]),
        ],
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", &[57]),
            ("8286 84be 5886 a8eb 1064 9cbf", &[53, 57]),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", &[54, 53, 57]),
        ],
    ];
    for blocks in requests {
        let mut follower = Follower::new(LIST_MAX);
        for (block, table) in *blocks {
            assert_eq!(read(&mut follower, false, &hex(block)), Ok(None), "{block}");
            assert_eq!(sizes(&follower), *table, "{block}");
        }
    }
    let responses: &[&[(&str, &[u16])]] = &[
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a \
                 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                &[63, 65, 52, 42],
            ),
            ("4803 3330 37c1 c0bf", &[42, 63, 65, 52]),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 \
                 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 \
                 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                &[98, 52, 65],
            ),
        ],
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
                 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                &[63, 65, 52, 42],
            ),
            ("4883 640e ffc1 c0bf", &[42, 63, 65, 52]),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
                 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
                 4ee5 b106 3d50 07",
                &[98, 52, 65],
            ),
        ],
    ];
    for blocks in responses {
        let mut follower = Follower::new(LIST_MAX);
        follower.table.resize(256);
        for (block, table) in *blocks {
            assert_eq!(read(&mut follower, false, &hex(block)), Ok(None), "{block}");
            assert_eq!(sizes(&follower), *table, "{block}");
        }
    }
}

/// RFC 7541 §C.1, and §4.2, §4.4: sizes, and entries that do not fit.
#[test]
fn tables_have_their_size() {
    let literal = |value: usize| {
        let mut block = vec![0x40, 1, b'x'];
        number(&mut block, 0, 0x7f, value);
        block.extend(std::iter::repeat_n(b'y', value));
        block
    };
    let mut follower = Follower::new(LIST_MAX);
    read(&mut follower, false, &[literal(1000), literal(2000), literal(900)].concat()).unwrap();
    assert_eq!(sizes(&follower), [933, 2033, 1033]);
    read(&mut follower, false, &literal(100)).unwrap();
    assert_eq!(sizes(&follower), [133, 933, 2033], "the oldest makes room");
    // RFC 7541 §C.1.2: 1337 in five bits.
    read(&mut follower, false, &[0x3f, 0x9a, 0x0a]).unwrap();
    assert_eq!(sizes(&follower), [133, 933]);
    read(&mut follower, false, &literal(1305)).unwrap();
    assert_eq!(sizes(&follower), [0; 0], "too large by one");
    read(&mut follower, false, &literal(1304)).unwrap();
    assert_eq!(sizes(&follower), [1337]);
    // To nothing and back.
    read(&mut follower, false, &[&[0x20, 0x3f, 0xe1, 0x1f][..], &literal(1)].concat()).unwrap();
    assert_eq!(sizes(&follower), [34]);
    read(&mut follower, false, &[0x20]).unwrap();
    assert_eq!(sizes(&follower), [0; 0]);
}

#[test]
fn what_cannot_be_decoded() {
    for (name, block) in [
        ("index 0", &[0x80][..]),
        ("an index beyond the static table", &[0xbe]),
        ("a name beyond it", &[0x7e, 1, b'x']),
        ("a size after a field", &[0x82, 0x20]),
        ("a size that we do not allow", &[0x3f, 0xe2, 0x1f]),
        ("an empty name", &[0, 0, 1, b'x']),
        ("a number without end", &[0xff, 0x80, 0x80, 0x80, 0x80]),
        ("a code that is none", &[0x04, 0x81, 0x00]),
        ("the end within a number", &[0xff]),
        ("the end before a name", &[0x00]),
        ("the end within a name", &[0x00, 2, b'x']),
        ("the end before a value", &[0x00, 1, b'x']),
        ("the end within a value", &[0x00, 1, b'x', 2, b'y']),
    ] {
        assert_eq!(read(&mut Follower::new(LIST_MAX), false, block), Err(Broken), "{name}");
    }
}

/// Fields as literals that are not indexed.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

#[test]
fn what_is_wrong_with_messages() {
    use Wrong::{Fragment, Malformed};
    let path = |path| (":path", path);
    for (trailers, fields, wrong) in [
        (false, &[(":method", "GET"), path("/a?b"), (":authority", "a"), ("te", "trailers")][..], None),
        (false, &[path("/a#b")], Some(Fragment)),
        (false, &[path("/"), ("x", "a#b"), ("referer", "/#")], None),
        (false, &[path("/#"), ("x", "y"), path("/")], Some(Malformed)),
        (false, &[path("/"), path("/")], Some(Malformed)),
        (false, &[("x", "y"), path("/")], Some(Malformed)),
        (false, &[("te", "trailer")], Some(Malformed)),
        (false, &[("te", "trailersx")], Some(Malformed)),
        (false, &[("te", "xtrailers")], Some(Malformed)),
        (false, &[("te", "")], Some(Malformed)),
        (false, &[("tea", "x"), ("upgrade-insecure-requests", "1"), ("transfer-encodings", "x")], None),
        (false, &[("connection", "x")], Some(Malformed)),
        (false, &[("keep-alive", "x")], Some(Malformed)),
        (false, &[("proxy-connection", "x")], Some(Malformed)),
        (false, &[("transfer-encoding", "x")], Some(Malformed)),
        (false, &[("upgrade", "x")], Some(Malformed)),
        (true, &[("x-sum", "#")], None),
        (true, &[], None),
        (true, &[path("/"), ("x-sum", "7")], Some(Malformed)),
        (true, &[(":status", "200")], Some(Malformed)),
        (true, &[(":unknown", "x")], Some(Malformed)),
        (true, &[(":unknown-and-quite-long", "x")], Some(Malformed)),
        (false, &[(":unknown-and-quite-long", "x")], Some(Malformed)),
        (true, &[(":authority", "a")], Some(Malformed)),
    ] {
        let mut follower = Follower::new(LIST_MAX);
        assert_eq!(read(&mut follower, trailers, &block(fields)), Ok(wrong), "{fields:?}");
    }
    // By the static table: `:method`, `transfer-encoding`.
    for (trailers, block, wrong) in [
        (true, &[0x82][..], Some(Malformed)),
        (false, &[0x82, 0x82], Some(Malformed)),
        (false, &[0x82, 0x84], None),
        (false, &[0xb9], Some(Malformed)),
    ] {
        assert_eq!(read(&mut Follower::new(LIST_MAX), trailers, block), Ok(wrong), "{block:x?}");
    }
}

/// Trailers of which the library would leave some out; heads of which it does it tells the client itself.
#[test]
fn lists_that_are_too_large() {
    let sum = |length| block(&[("x", &"y".repeat(length))]);
    for (length, wrong) in [(66, None), (67, Some(Wrong::Malformed))] {
        assert_eq!(read(&mut Follower::new(100), true, &sum(length)), Ok(wrong), "{length}");
        assert_eq!(read(&mut Follower::new(100), false, &sum(length)), Ok(None), "{length}");
    }
    // `accept-encoding: gzip, deflate` has 60.
    assert_eq!(read(&mut Follower::new(60), true, &[0x90]), Ok(Some(Wrong::Malformed)));
}

/// What the library does not look at again once a frame is over.
#[test]
fn what_the_library_finds_by_itself() {
    for (frames, is_found) in [
        (&[&[("connection", "x")][..]][..], true),
        (&[&[("te", "x")]], true),
        (&[&[(":path", "/"), (":path", "/")]], true),
        (&[&[("x", "y"), (":path", "/")]], true),
        (&[&[("connection", "x")], &[("x", "y")]], false),
        (&[&[("x", "y")], &[(":path", "/")]], false),
        (&[&[(":path", "/")], &[(":path", "/")]], false),
        (&[&[(":path", "/#")]], false),
        (&[&[(":p", "x"), (":q", "x")]], false),
    ] {
        let mut follower = Follower::new(LIST_MAX);
        follower.begin(false);
        for fields in frames {
            follower.frame();
            follower.read(&block(fields)).unwrap();
        }
        let verdict = follower.end().unwrap();
        assert_eq!((verdict.wrong.is_some(), verdict.is_found), (true, is_found), "{frames:?}");
    }
}

/// A number (RFC 7541 §5.1).
fn number(block: &mut Vec<u8>, bits: u8, mask: u8, mut number: usize) {
    if number < usize::from(mask) {
        block.push(bits | number as u8);
        return;
    }
    block.push(bits | mask);
    number -= usize::from(mask);
    while number >= 128 {
        block.push(number as u8 | 128);
        number /= 128;
    }
    block.push(number as u8);
}

fn string(block: &mut Vec<u8>, text: &str, huffman: bool) {
    let coded = if huffman { encode(text.as_bytes()) } else { text.as_bytes().to_vec() };
    number(block, if huffman { 0x80 } else { 0 }, 0x7f, coded.len());
    block.extend(coded);
}

/// An encoder that knows the fields it has in its table.
struct Model {
    /// Names and values, the newest first.
    table: Vec<(String, String)>,
    max: usize,
}

/// How a field is written: which name and value, how many times the value's text, whether it is indexed,
/// never indexed, looked up, and coded.
type Choice = (usize, usize, usize, [bool; 5]);

const NAMES: [&str; 9] = [
    ":path",
    ":method",
    ":status",
    "te",
    "connection",
    "x",
    "cookie",
    "transfer-encoding",
    "accept-encoding",
];
const VALUES: [&str; 6] = ["/", "/a#b", "trailers", "GET", "", "\u{e9}\u{1}"];

impl Model {
    fn size((name, value): &(String, String)) -> usize {
        name.len() + value.len() + 32
    }

    fn shrink(&mut self, max: usize) {
        while self.table.iter().map(Self::size).sum::<usize>() > max {
            self.table.pop();
        }
    }

    fn field(&mut self, choice: &Choice, block: &mut Vec<u8>) -> (String, String) {
        let &(name, value, times, [indexed, never, by_name, by_field, huffman]) = choice;
        let field = (NAMES[name % 9].to_owned(), VALUES[value % 6].repeat(times));
        if by_field && let Some(at) = self.table.iter().position(|known| *known == field) {
            number(block, 0x80, 0x7f, 62 + at);
            return field;
        }
        let (bits, mask) = if indexed { (0x40, 0x3f) } else { (if never { 0x10 } else { 0 }, 0x0f) };
        let known = self.table.iter().position(|(name, _)| *name == field.0).map(|at| at + 62);
        let fixed = STATIC.iter().position(|name| *name == field.0).map(|at| at + 1);
        match known.or(fixed).filter(|_| by_name) {
            Some(index) => number(block, bits, mask, index),
            None => {
                number(block, bits, mask, 0);
                string(block, &field.0, huffman);
            }
        }
        string(block, &field.1, huffman);
        if indexed {
            self.shrink(self.max.saturating_sub(Self::size(&field)));
            if Self::size(&field) <= self.max {
                self.table.insert(0, field.clone());
            }
        }
        field
    }

    /// What is wrong with these fields, said in another way.
    fn wrong(trailers: bool, fields: &[(String, String)]) -> Option<Wrong> {
        let is_pseudo = |name: &str| name.starts_with(':');
        let pseudo: Vec<&String> =
            fields.iter().map(|(name, _)| name).filter(|name| is_pseudo(name)).collect();
        let mut once = pseudo.clone();
        once.sort();
        once.dedup();
        let ordered = fields.iter().take_while(|(name, _)| is_pseudo(name) || name == "connection");
        let ahead = ordered.filter(|(name, _)| is_pseudo(name)).count();
        let bad = |(name, value): &(String, String)| match name.as_str() {
            "te" => value != "trailers",
            "connection" | "transfer-encoding" => true,
            _ => false,
        };
        let misplaced = trailers && !pseudo.is_empty() || ahead < pseudo.len() || once.len() < pseudo.len();
        if misplaced || fields.iter().any(bad) {
            return Some(Wrong::Malformed);
        }
        fields.iter().any(|(name, value)| name == ":path" && value.contains('#')).then_some(Wrong::Fragment)
    }
}

fn blocks() -> impl Strategy<Value = Vec<(bool, Option<usize>, Vec<Choice>)>> {
    let choice = (0usize..9, 0usize..6, prop_oneof![4 => 0usize..3, 1 => 0usize..900], any::<[bool; 5]>());
    let block =
        (any::<bool>(), proptest::option::weighted(0.2, 0usize..4097), prop::collection::vec(choice, 0..9));
    prop::collection::vec(block, 1..12)
}

proptest! {
    #[test]
    fn any_blocks_in_any_pieces(blocks in blocks(), piece in 1usize..40) {
        let mut model = Model { table: Vec::new(), max: 4096 };
        let mut follower = Follower::new(u32::MAX);
        for (trailers, size, choices) in &blocks {
            let mut block = Vec::new();
            if let Some(size) = *size {
                number(&mut block, 0x20, 0x1f, size);
                model.max = size;
                model.shrink(size);
            }
            let fields: Vec<_> = choices.iter().map(|choice| model.field(choice, &mut block)).collect();
            follower.begin(*trailers);
            for piece in block.chunks(piece) {
                follower.frame();
                follower.read(piece).unwrap();
            }
            prop_assert_eq!(follower.end().unwrap().wrong, Model::wrong(*trailers, &fields));
            let expected: Vec<u16> = model.table.iter().map(|field| Model::size(field) as u16).collect();
            prop_assert_eq!(sizes(&follower), expected);
        }
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..40) {
        let mut follower = Follower::new(100);
        follower.begin(false);
        let whole = read(&mut Follower::new(100), false, &noise);
        let pieces = noise.chunks(piece).try_for_each(|piece| follower.read(piece));
        prop_assert_eq!(pieces.and_then(|()| follower.end().map(|verdict| verdict.wrong)), whole);
    }
}
