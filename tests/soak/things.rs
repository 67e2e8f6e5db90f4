//! What is behind each path: a function of the path alone, so that the origin and whoever checks its answers
//! need nothing of each other but the clock.

use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use fastrand::Rng;

/// Milliseconds since the first of them was asked for.
pub fn now() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed().as_millis() as u64
}

/// The routes of the gateway, by the first segment of their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// Cached; ranges fetch the whole; compressed, retried, hedged.
    Whole,
    /// Cached; ranges are fetched and put together.
    Parts,
    /// Cached; ranges are passed on.
    Pass,
    /// As `Whole`, at an origin that fails often in every way.
    Rough,
    /// As `Rough`, with a fixed answer to fall back on.
    Fall,
    /// Answers made for one user each.
    Mine,
    /// As `Whole`, behind a rate limit that acts.
    Limited,
}

impl Area {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Whole, Self::Parts, Self::Pass, Self::Rough, Self::Fall, Self::Mine, Self::Limited];

    /// The first segment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Parts => "parts",
            Self::Pass => "pass",
            Self::Rough => "rough",
            Self::Fall => "fall",
            Self::Mine => "mine",
            Self::Limited => "limited",
        }
    }

    /// Whether its origin fails.
    pub const fn fails(self) -> bool {
        matches!(self, Self::Rough | Self::Fall)
    }

    /// Whether its origin knows ranges.
    pub const fn has_ranges(self) -> bool {
        matches!(self, Self::Parts | Self::Pass)
    }
}

/// How a body says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// Chunks.
    Chunked,
    /// The connection's end.
    Close,
}

/// How it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Now,
    /// After so many milliseconds.
    Late(u64),
    /// In pieces.
    Trickle,
}

/// What the answers of a thing depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Varies {
    /// Nothing.
    Never,
    /// `X-Lang`.
    Lang,
    /// `Accept-Encoding`, at the origin.
    Coding,
    /// The cookie `user`.
    User,
}

/// What is behind a path.
#[derive(Clone, Copy, Debug)]
pub struct Thing {
    /// The route.
    pub area: Area,
    /// The last segment.
    pub id: u32,
    /// The body's length, before any coding.
    pub size: usize,
    /// How its end is told.
    pub framing: Framing,
    /// How it comes.
    pub pace: Pace,
    /// What it depends on.
    pub varies: Varies,
    /// The status.
    pub status: u16,
    /// How often it changes, in milliseconds.
    pub period: u64,
    /// `Cache-Control`, if any.
    pub control: Option<&'static str>,
    /// How much older than now an answer may be, in milliseconds, config and haste included.
    pub lag: u64,
    /// Whether it has an entity tag, and whether that is strong.
    pub tag: Option<bool>,
    /// Whether a 103 comes first.
    pub hints: bool,
    /// Whether trailers follow, if there are chunks.
    pub trails: bool,
    /// Whether the origin sets a cookie.
    pub sets_cookie: bool,
}

/// What the gateway's config adds to a lifetime: `stale_if_error` and the like.
const STALE: u64 = 5000;
/// Between a client's asking and the origin's clock: those who share an answer under way.
const HASTE: u64 = 4000;

const CONTROLS: [(Option<&str>, u64); 8] = [
    (None, 1000 + STALE),
    (Some("max-age=1"), 1000 + STALE),
    (Some("public, max-age=4"), 4000 + STALE),
    (Some("max-age=1, stale-while-revalidate=2"), 1000 + STALE),
    (Some("max-age=1, stale-if-error=3"), 1000 + STALE),
    (Some("max-age=2, must-revalidate"), 2000),
    (Some("no-cache"), 0),
    (Some("no-store"), 0),
];

const PRIVATE: [Option<&str>; 4] = [None, Some("private"), Some("private, max-age=9"), Some("no-store")];

impl Thing {
    /// What is at `/AREA/ID`.
    pub fn at(area: Area, id: u32) -> Self {
        let mut rng = Rng::with_seed(hash((area, id)));
        let sizes = [0, 1, 100, 1000, 1000, 5000, 20_000, 20_000, 70_000, 70_000, 300_000, 2 << 20];
        let mine = area == Area::Mine;
        let (control, lag) = CONTROLS[rng.usize(..CONTROLS.len())];
        let sets_cookie = if mine { rng.bool() } else { rng.u8(..20) == 0 };
        let varies = match rng.u8(..6) {
            _ if mine => Varies::User,
            0 => Varies::Lang,
            1 if area.has_ranges() => Varies::Coding,
            _ => Varies::Never,
        };
        let status =
            if mine { 200 } else { *rng.choice(&[200, 200, 200, 200, 200, 200, 404, 301, 204]).unwrap() };
        let mut thing = Self {
            area,
            id,
            size: if status == 204 { 0 } else { *rng.choice(&sizes).unwrap() },
            framing: *rng
                .choice(&[Framing::Length, Framing::Length, Framing::Chunked, Framing::Close])
                .unwrap(),
            pace: *rng
                .choice(&[Pace::Now, Pace::Now, Pace::Late(20), Pace::Late(300), Pace::Trickle])
                .unwrap(),
            varies,
            status,
            period: *rng.choice(&[50, 200, 1000, 5000, 60_000]).unwrap(),
            control: if mine { PRIVATE[rng.usize(..PRIVATE.len())] } else { control },
            lag: lag + HASTE,
            tag: *rng.choice(&[Some(true), Some(true), Some(false), None]).unwrap(),
            hints: rng.u8(..8) == 0,
            trails: rng.u8(..4) == 0,
            sets_cookie,
        };
        // Where it ends cannot be told from where it was cut.
        if area.fails() && thing.framing == Framing::Close {
            thing.framing = Framing::Chunked;
        }
        thing
    }

    /// The version that is current at a time.
    pub fn version(&self, at: u64) -> u64 {
        at / self.period
    }

    /// Until when a version is current.
    pub fn until(&self, version: u64) -> u64 {
        (version + 1) * self.period
    }

    /// The entity tag of a version.
    pub fn etag(&self, version: u64, variant: &str) -> Option<String> {
        let tag = format!("\"v{version}-{variant}\"");
        self.tag.map(|strong| if strong { tag } else { format!("W/{tag}") })
    }

    /// The body of a version, as the origin sends it.
    pub fn body(&self, version: u64, variant: &str) -> Vec<u8> {
        let body = pattern(hash((self.area, self.id, version, variant)), self.size);
        if variant == "gzip" && self.status != 204 { gzip(&body) } else { body }
    }

    /// The path.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.area.as_str(), self.id)
    }
}

/// The version in an entity tag of ours, whatever was made of it.
pub fn version_of(tag: &str) -> Option<u64> {
    let (_, after) = tag.split_once("\"v")?;
    after.split('-').next()?.parse().ok()
}

/// A hash that is the same in every run.
#[allow(deprecated)]
pub fn hash(what: impl Hash) -> u64 {
    let mut hasher = std::hash::SipHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A prime, so that no block of a power of two repeats.
const TABLE: usize = 65_521;

static LETTERS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = Rng::with_seed(7);
    (0..TABLE).map(|_| rng.u8(b'a'..=b'p')).collect()
});

/// So many bytes of text that are different for each seed, at each place.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut from = (seed % TABLE as u64) as usize;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let part = &LETTERS[from..TABLE.min(from + length - bytes.len())];
        bytes.extend_from_slice(part);
        from = 0;
    }
    bytes
}

/// Whose these bytes may be, that are not where they belong: of which things, and from where on.
pub fn whose(bytes: &[u8]) -> Vec<String> {
    let Some(bytes) = bytes.get(..32) else { return Vec::new() };
    let Some(place) = LETTERS.windows(32).position(|letters| letters == bytes) else { return Vec::new() };
    let mut found = Vec::new();
    for area in Area::ALL {
        for thing in (0..60).map(|id| Thing::at(area, id)) {
            let variants: Vec<String> = match thing.varies {
                Varies::Never => vec![String::new()],
                Varies::Lang => ["a", "b", "c"].map(str::to_owned).to_vec(),
                Varies::Coding => vec!["plain".to_owned()],
                Varies::User => (0..200).map(|user| user.to_string()).collect(),
            };
            for (version, variant) in (0..=thing.version(now()))
                .flat_map(|version| variants.iter().map(move |variant| (version, variant)))
            {
                let from = (hash((area, thing.id, version, variant.as_str())) % TABLE as u64) as usize;
                let offset = (place + TABLE - from) % TABLE;
                if offset == 0 || offset.is_multiple_of(4096) && offset < thing.size {
                    found.push(format!("{}/{variant} version {version} from {offset}", thing.path()));
                }
            }
        }
    }
    found
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}
