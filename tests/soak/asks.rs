//! What clients ask for at random, and whether an answer is one that the origin's behaviour allows.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Mutex;

use fastrand::Rng;

use super::things::{Area, Thing, Varies, now, version_of, whose};

/// Purges that were carried out, and when they began.
#[derive(Debug, Default)]
pub struct Purges(Mutex<HashMap<String, u64>>);

impl Purges {
    /// Notes one, by the path, tag or word it names.
    pub fn note(&self, what: &str, begun: u64) {
        self.0.lock().unwrap().insert(what.to_owned(), begun);
    }

    /// What is asked for from now on must be current then or later.
    fn since(&self, thing: &Thing) -> u64 {
        let purges = self.0.lock().unwrap();
        let area = thing.area.as_str();
        let names = ["all".to_owned(), thing.path(), format!("{area}-{}", thing.id % 4), area.to_owned()];
        names.iter().filter_map(|name| purges.get(name)).copied().max().unwrap_or_default()
    }
}

/// An answer, by whichever protocol it came.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, coded as it came.
    pub body: Vec<u8>,
    /// Whether it ended as it said it would.
    pub complete: bool,
}

impl Answer {
    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A request for a thing.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What it is for.
    pub thing: Thing,
    /// The method, `GET` or `HEAD`.
    pub method: &'static str,
    /// The fields, `Host` aside.
    pub fields: Vec<(&'static str, String)>,
    variant: String,
    range: Option<(usize, usize)>,
    sent: u64,
    since: u64,
}

impl Ask {
    /// One at random, by one of the users.
    pub fn random(rng: &mut Rng, user: u32, purges: &Purges, tags: &mut HashMap<String, String>) -> Self {
        let area = *rng.choice(&Area::ALL).unwrap();
        // A few of them are asked for often.
        let id = if rng.bool() { rng.u32(..8) } else { rng.u32(..60) };
        let thing = Thing::at(area, id);
        let mut fields = Vec::new();
        let coded = rng.u8(..3) == 0;
        if coded {
            fields.push(("accept-encoding", "gzip".to_owned()));
        }
        let variant = match thing.varies {
            Varies::Never => String::new(),
            Varies::Lang => rng.choice(["a", "b", "c"]).unwrap().to_owned(),
            Varies::User => user.to_string(),
            Varies::Coding => if coded { "gzip" } else { "plain" }.to_owned(),
        };
        match thing.varies {
            Varies::Lang => fields.push(("x-lang", variant.clone())),
            Varies::User => fields.push(("cookie", format!("user={user}"))),
            Varies::Never | Varies::Coding => {}
        }
        // RFC 9111 §4.3.5: where there is nothing to tell versions apart, a HEAD freshens whatever is stored.
        let method = if thing.tag.is_some() && rng.u8(..12) == 0 { "HEAD" } else { "GET" };
        if rng.u8(..20) == 0 {
            fields.push(("cache-control", "no-cache".to_owned()));
        }
        let known = tags.get(&format!("{}{variant}", thing.path())).cloned();
        let mut range = None;
        match rng.u8(..8) {
            0 | 1 => {
                let first = rng.usize(..thing.size.max(2));
                let last = first + rng.usize(..100_000);
                range = Some((first, last));
                fields.push(("range", format!("bytes={first}-{last}")));
                if let Some(tag) = known.filter(|_| rng.bool()) {
                    fields.push(("if-range", tag));
                }
            }
            2 | 3 => fields.extend(known.map(|tag| ("if-none-match", tag))),
            _ => {}
        }
        let since = purges.since(&thing);
        Self { thing, method, fields, variant, range, sent: now(), since }
    }

    /// It as HTTP/1.1.
    pub fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: soak.example\r\n", self.method, self.thing.path());
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    /// What is wrong with an answer; and remembers its tag.
    pub fn judge(&self, answer: &Answer, tags: &mut HashMap<String, String>) -> Result<(), String> {
        self.find(answer, tags).map_err(|what| {
            let start: Vec<_> = answer.body.iter().take(200).copied().collect();
            let start = String::from_utf8_lossy(&start);
            let (status, fields, length) = (answer.status, &answer.fields, answer.body.len());
            format!("{what}\n  {self:?}\n  got at {} {status} {fields:?}, {length} bytes: {start}", now())
        })
    }

    fn find(&self, answer: &Answer, tags: &mut HashMap<String, String>) -> Result<(), String> {
        let Some(of) = answer.field("x-of") else { return self.judge_ours(answer) };
        let thing = &self.thing;
        let wanted = format!("{}/{}/{}", thing.area.as_str(), thing.id, self.variant);
        if of != wanted {
            return Err(format!("the answer for {of}, not {wanted}"));
        }
        let version: u64 =
            answer.field("x-version").and_then(|version| version.parse().ok()).ok_or("no version")?;
        let until = thing.until(version);
        let lag = if self.field("cache-control").is_some() { thing.lag.min(6000) } else { thing.lag };
        if until + lag < self.sent {
            return Err(format!("stale: version {version} was current until {until}"));
        }
        if until <= self.since {
            return Err(format!("version {version} was current until {until}, and purged at {}", self.since));
        }
        let tag = answer.field("etag");
        if let Some(tag) = tag {
            if version_of(tag) != Some(version) {
                return Err(format!("the tag {tag} of another version than {version}"));
            }
            tags.insert(format!("{}{}", thing.path(), self.variant), tag.to_owned());
        }
        if answer.field("set-cookie").is_some_and(|cookie| cookie != format!("seen={}", self.variant)) {
            return Err("somebody else's cookie".to_owned());
        }
        if !answer.complete && !thing.area.fails() {
            return Err("it is cut".to_owned());
        }
        match answer.status {
            304 => self.judge_not_modified(tag),
            206 => self.judge_part(answer, version),
            status if status == thing.status => self.judge_whole(answer, version),
            status => Err(format!("status {status}")),
        }
    }

    fn judge_not_modified(&self, tag: Option<&str>) -> Result<(), String> {
        let wanted = self.field("if-none-match").ok_or("304 without a condition")?;
        let same = tag.is_some_and(|tag| version_of(tag) == version_of(wanted));
        if same { Ok(()) } else { Err(format!("304 of {tag:?}")) }
    }

    fn judge_part(&self, answer: &Answer, version: u64) -> Result<(), String> {
        let (first, last) = self.range.ok_or("206 without a range")?;
        let body = self.thing.body(version, &self.variant);
        let last = last.min(body.len().saturating_sub(1));
        let told = answer.field("content-range");
        if told != Some(&format!("bytes {first}-{last}/{}", body.len())) {
            return Err(format!("the part {told:?}, not {first}-{last} of {}", body.len()));
        }
        if let Some(tag) = self.field("if-range")
            && version_of(tag) != Some(version)
        {
            return Err("a part of another version".to_owned());
        }
        self.compare(&answer.body, &body[first..=last], answer.complete)
    }

    fn judge_whole(&self, answer: &Answer, version: u64) -> Result<(), String> {
        let body = self.thing.body(version, &self.variant);
        let coding = answer.field("content-encoding");
        if coding.is_none() || self.variant == "gzip" {
            return self.compare(&answer.body, &body, answer.complete);
        }
        if coding != Some("gzip") || self.field("accept-encoding").is_none() {
            return Err(format!("coded by {coding:?}"));
        }
        let mut plain = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(&answer.body[..]).read_to_end(&mut plain);
        if answer.complete && self.method == "GET" && read.is_err() {
            return Err(format!("the coding is broken: {read:?}"));
        }
        self.compare(&plain, &body, answer.complete)
    }

    fn compare(&self, got: &[u8], wanted: &[u8], complete: bool) -> Result<(), String> {
        if self.method == "HEAD" {
            return if got.is_empty() { Ok(()) } else { Err("a body for HEAD".to_owned()) };
        }
        // Whole first, as that is quick.
        if !wanted.starts_with(got)
            && let Some(at) = got.iter().zip(wanted).position(|(got, wanted)| got != wanted)
        {
            return Err(format!("byte {at} is wrong, perhaps of {:?}", whose(&got[at..])));
        }
        if got.len() > wanted.len() || (complete && got.len() != wanted.len()) {
            return Err(format!("{} bytes, not {}", got.len(), wanted.len()));
        }
        Ok(())
    }

    /// An answer that does not come from a thing.
    fn judge_ours(&self, answer: &Answer) -> Result<(), String> {
        let area = self.thing.area;
        let failed = answer.field("x-failed").is_some();
        let allowed = match answer.status {
            _ if !answer.complete => area.fails(),
            416 => self.range.is_some(),
            429 => area == Area::Limited,
            418 => area == Area::Fall,
            500 | 503 if failed => area.fails(),
            502..=504 => area.fails() && !failed,
            _ => false,
        };
        if allowed { Ok(()) } else { Err("not an answer of the origin".to_owned()) }
    }
}
