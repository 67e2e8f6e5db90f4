//! What may be: RFC 9111 and the config's rights, told as naively as possible.

use super::*;
use crate::clock::Instant;

/// What an origin's answer says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    pub max_age: Option<u64>,
    pub s_maxage: Option<u64>,
    pub while_revalidate: Option<u64>,
    pub if_error: Option<u64>,
    pub no_cache: bool,
    pub no_store: bool,
    pub private: bool,
    pub must_revalidate: bool,
    pub public: bool,
    pub set_cookie: bool,
    /// What `Age` says.
    pub age: u64,
}

/// An answer of the origin to a GET or HEAD.
#[derive(Clone, Debug)]
pub struct Made {
    pub path: usize,
    pub version: u64,
    /// The request that it was made for, and that one's fields.
    pub request: usize,
    pub headers: HeaderMap,
    pub method: Method,
    pub said: Said,
    pub etag: Option<String>,
    pub vary: Vec<&'static str>,
    pub body: String,
    /// When the origin was asked.
    pub called: u64,
    pub sent: Wall,
    /// When its head came.
    pub arrived: Option<Instant>,
}

/// A request of a client.
#[derive(Clone, Debug)]
pub struct Asked {
    pub number: usize,
    pub path: usize,
    pub headers: HeaderMap,
    pub method: Method,
    /// When it was asked.
    pub start: u64,
    pub at: Instant,
    pub wall: Wall,
}

impl Asked {
    pub fn new(number: usize, path: usize, request: &Request, start: u64) -> Self {
        let now = request.received;
        let (headers, method) = (request.headers.clone(), request.method.clone());
        Self { number, path, headers, method, start, at: now.instant, wall: now.wall }
    }

    fn directive(&self, name: &str) -> Option<u64> {
        let line = self.headers.get("cache-control")?.to_str().unwrap();
        let (key, value) = line.split_once('=').unwrap_or((line, "4294967295"));
        (key == name).then(|| value.parse().unwrap())
    }
}

/// Whoever asks after `asked` must not get what the origin was asked for before `made`, nor an older version.
#[derive(Clone, Copy, Debug)]
pub struct Purge {
    pub path: usize,
    pub hard: bool,
    pub made: u64,
    pub asked: u64,
    pub version: u64,
}

/// How an answer came to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Own,
    Collapsed,
    Fresh,
    Stale,
    StandIn,
    Confirmed,
}

impl Way {
    pub const ALL: [Self; 6] =
        [Self::Own, Self::Collapsed, Self::Fresh, Self::Stale, Self::StandIn, Self::Confirmed];
}

#[derive(Debug, Default)]
pub struct World {
    pub keyed: bool,
    pub while_revalidate: Duration,
    pub if_error: Duration,
    pub on_overload: Duration,
    pub versions: [u64; PATHS],
    pub made: Vec<Made>,
    pub asked: Vec<Asked>,
    pub purges: Vec<Purge>,
    /// When the origin failed, or was too busy, with which path.
    pub failed: Vec<(u64, usize)>,
    pub busy: Vec<(u64, usize)>,
    /// Successful changes: when the origin made them, for which request.
    pub changes: Vec<(u64, usize)>,
    pub counts: [u64; 6],
    pub clock: u64,
}

impl World {
    /// The number of the next event.
    pub fn next(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The client of this request knows that it changed something: RFC 9111 §4.4.
    pub fn changed(&mut self, number: usize) {
        let asked = self.next();
        let path = self.asked[number].path;
        let Some((made, _)) = self.changes.iter().rev().find(|(_, request)| *request == number) else {
            return;
        };
        self.purges.push(Purge { path, hard: true, made: *made, asked, version: 0 });
    }

    /// Judges an answer; returns which of the origin's it was made of, if that can be told.
    pub fn judge(&mut self, number: usize, response: &Response) -> Option<usize> {
        let line = response.headers.get("cache-control")?.to_str().unwrap();
        let made: usize = line.rsplit_once("x-id=").unwrap().1.parse().unwrap();
        let status = response.headers.get("cache-status").unwrap().to_str().unwrap();
        let hit = status.starts_with("forebay; hit");
        let (told, asked) = (&self.made[made], &self.asked[number]);
        match self.may(asked, told, hit, clock::now().wall) {
            Ok(way) => {
                let way = if status.contains("fwd-status=304") { Way::Confirmed } else { way };
                self.counts[way as usize] += 1;
            }
            Err(why) => {
                let (now, events) = (clock::now().wall, (&self.purges, &self.failed, &self.busy));
                panic!("{why}: {status} at {now:?}\n{asked:#?}\n{told:#?}\n{events:?}")
            }
        }
        Some(made)
    }

    /// Whether an answer of the origin may answer this request now, and in what way; where the cache says
    /// that it is a `hit`, it has to be good for one.
    fn may(&self, asked: &Asked, made: &Made, hit: bool, now: Wall) -> Result<Way, &'static str> {
        let said = made.said;
        if made.path != asked.path {
            return Err("another path");
        }
        let purges =
            || self.purges.iter().filter(|purge| purge.path == asked.path && purge.asked < asked.start);
        if purges().any(|purge| purge.hard && (made.called < purge.made || made.version < purge.version)) {
            return Err("purged");
        }
        if made.request == asked.number && !hit {
            return Ok(Way::Own);
        }
        self.is_shared(asked, made)?;
        if made.vary.iter().any(|name| asked.headers.get(*name) != made.headers.get(*name)) {
            return Err("another variant");
        }
        if asked.directive("no-store").is_some() && asked.directive("max-stale").is_none() {
            // It may be answered from the store (RFC 9111 §5.2.1.5), but its own flight is for it alone.
            if made.called > asked.start {
                return Err("a collapsed no-store");
            }
        }
        if !hit && made.arrived.is_some_and(|arrived| arrived >= asked.at) {
            let own_word = asked.directive("no-cache").is_some() && made.called < asked.start;
            return if own_word { Err("not the origin's own word") } else { Ok(Way::Collapsed) };
        }
        let softly = purges().any(|purge| made.called < purge.made);
        self.may_be_reused(asked, made, said, softly, now)
    }

    /// Whether others than who asked may have it (RFC 9111 §3).
    fn is_shared(&self, asked: &Asked, made: &Made) -> Result<(), &'static str> {
        let said = made.said;
        let spoken = said.max_age.or(said.s_maxage).is_some() || said.no_cache || said.public;
        let permitted = said.public || said.must_revalidate || said.s_maxage.is_some();
        let authorization = made.headers.get("authorization");
        let keyed = self.keyed && authorization == asked.headers.get("authorization");
        let no_store = made.headers.get("cache-control").is_some_and(|line| line == "no-store");
        if said.no_store || no_store || !spoken {
            return Err("not to be stored");
        }
        if said.private || said.set_cookie {
            return Err("for another client");
        }
        if self.keyed && !keyed || authorization.is_some() && !permitted && !keyed {
            return Err("authorized by another");
        }
        if made.vary.contains(&"*") {
            return Err("varies on everything");
        }
        Ok(())
    }

    fn may_be_reused(
        &self,
        asked: &Asked,
        made: &Made,
        said: Said,
        softly: bool,
        now: Wall,
    ) -> Result<Way, &'static str> {
        let secs = Duration::from_secs;
        let age = secs(said.age) + now.since(made.sent);
        let lifetime = secs(said.s_maxage.or(said.max_age).unwrap_or(0));
        let fresh = age < lifetime && !said.no_cache;
        let refused = asked.directive("no-cache").is_some()
            || asked.directive("max-age").is_some_and(|max| age >= secs(max))
            || asked.directive("min-fresh").is_some_and(|min| age + secs(min) > lifetime);
        if fresh && !refused && !softly {
            return Ok(Way::Fresh);
        }
        if said.no_cache {
            return Err("no-cache");
        }
        let staleness = age.saturating_sub(lifetime);
        let strict = said.must_revalidate || said.s_maxage.is_some() || lifetime.is_zero();
        let window = |said: Option<u64>, configured: Duration| match said {
            _ if strict_always(&made.said) => Duration::ZERO,
            Some(window) => secs(window),
            None if strict => Duration::ZERO,
            None => configured,
        };
        if !refused && !softly {
            let accepted = asked.directive("max-stale").is_some_and(|max| staleness <= secs(max));
            if accepted && !strict || staleness < window(said.while_revalidate, self.while_revalidate) {
                return Ok(Way::Stale);
            }
        }
        if asked.directive("no-cache").is_some() {
            return Err("stale, and the client wants the origin's own word");
        }
        let if_error = match asked.directive("stale-if-error") {
            Some(accepted) if !strict => secs(accepted),
            _ => window(said.if_error, self.if_error),
        };
        let since = |events: &[(u64, usize)]| {
            events.iter().any(|(at, path)| *path == asked.path && *at > asked.start)
        };
        if since(&self.failed) && (fresh || staleness < if_error)
            || since(&self.busy) && (fresh || staleness < window(None, self.on_overload))
        {
            return Ok(Way::StandIn);
        }
        Err("stale")
    }

    /// The bytes that an answer has to have.
    pub fn expected(&self, number: usize, made: usize, method: &Method, response: &Response) -> String {
        let whole = &self.made[made].body;
        match response.status.as_u16() {
            _ if *method == Method::HEAD => String::new(),
            304 | 416 => String::new(),
            206 => {
                let range = response.headers.get("content-range").unwrap().to_str().unwrap();
                let (range, length) = range.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
                let (first, last) = range.split_once('-').unwrap();
                assert!(length == "*" || length == whole.len().to_string(), "{length}");
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                let asked = self.asked[number].headers["range"].to_str().unwrap();
                let wanted = origin::spec(asked, whole.len()).unwrap();
                assert!(wanted.start <= first && last < wanted.end, "{asked}: {first}-{last}");
                whole[first..=last].to_owned()
            }
            _ => whole.clone(),
        }
    }

    /// A complete answer is all of what it is made of.
    pub fn same(&self, number: usize, made: usize, expected: &str, got: &str) {
        assert!(
            expected == got,
            "expected {expected:?}, got {got:?}\n{:#?}\n{:#?}",
            self.asked[number],
            self.made[made]
        );
    }
}

/// Whether no window holds, not even its own.
const fn strict_always(said: &Said) -> bool {
    said.must_revalidate
}
