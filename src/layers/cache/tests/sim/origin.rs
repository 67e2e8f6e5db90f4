//! The origin of the simulation: slow, often broken, and not always of the same mind.

use super::model::{Made, Said};
use super::*;

/// What a path's answers can be purged by.
pub fn tag_of(path: usize) -> &'static str {
    if path.is_multiple_of(2) { "even" } else { "odd" }
}

pub struct Moody {
    world: Shared,
    alive: Arc<AtomicUsize>,
    rng: Mutex<fastrand::Rng>,
}

impl Moody {
    pub fn new(world: Shared, alive: Arc<AtomicUsize>, rng: fastrand::Rng) -> Self {
        Self { world, alive, rng: Mutex::new(rng) }
    }
}

crate::layers::inner!(impl for Moody);

impl<'a> Service<Request> for &'a Moody {
    type Response = Response;
    type Error = Error;
    type Future = Boxed<'a>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Boxed<'a> {
        let origin: &'a Moody = self;
        let rng = origin.rng.lock().unwrap().fork();
        origin.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(origin.alive.clone());
        Box::pin(async move {
            let _alive = alive;
            origin.answer(request, rng).await
        })
    }
}

impl Moody {
    async fn answer(&self, request: Request, mut rng: fastrand::Rng) -> Result<Response, Error> {
        let path: usize = request.target.path()[1..].parse().unwrap();
        let number: usize = request.headers["x-request"].to_str().unwrap().parse().unwrap();
        let sent = clock::now().wall;
        let (called, mut version) = {
            let mut world = lock(&self.world);
            (world.next(), world.versions[path])
        };
        let delay = pick(&mut rng, &[0, 0, 250, 500, 500, 1000, 3000, 12_000]);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let mut world = lock(&self.world);
        let dice = rng.u32(..100);
        if !matches!(request.method, Method::GET | Method::HEAD) {
            if dice < 20 {
                return Err(gone());
            }
            if dice < 40 {
                return Ok(response(400, &[], "no"));
            }
            world.versions[path] += 1;
            let at = world.next();
            world.changes.push((at, number));
            return Ok(response(200, &[], "done"));
        }
        // It looked before it took its time, or after.
        if rng.bool() {
            version = world.versions[path];
        }
        let at = world.next();
        match dice {
            0..7 => {
                world.failed.push((at, path));
                return Err(gone());
            }
            7..11 => {
                world.busy.push((at, path));
                return Err(Refusal::QueueFull { retry_after: Duration::from_secs(1) }.into());
            }
            11..17 => {
                world.failed.push((at, path));
                return Ok(response(503, &[], "broken"));
            }
            17..21 => world.versions[path] += 1,
            _ => {}
        }
        let said = said(&mut rng);
        let made = make(&mut rng, path, version, &request, said);
        let id = world.made.len();
        let made = Made { request: number, called, sent, arrived: Some(clock::now().instant), ..made };
        world.made.push(made.clone());
        drop(world);
        Ok(write(&mut rng, &request, &made, id))
    }
}

fn said(rng: &mut fastrand::Rng) -> Said {
    let some = |rng: &mut fastrand::Rng, percent, of: &[u64]| chance(rng, percent).then(|| pick(rng, of));
    Said {
        max_age: some(rng, 85, &[0, 1, 2, 5, 20, 20]),
        s_maxage: some(rng, 10, &[0, 5, 20]),
        while_revalidate: some(rng, 25, &[3, 30]),
        if_error: some(rng, 25, &[1, 3, 30]),
        no_cache: chance(rng, 6),
        no_store: chance(rng, 4),
        private: chance(rng, 4),
        must_revalidate: chance(rng, 10),
        public: chance(rng, 12),
        set_cookie: chance(rng, 4),
        age: some(rng, 10, &[2]).unwrap_or(0),
    }
}

fn make(rng: &mut fastrand::Rng, path: usize, version: u64, request: &Request, said: Said) -> Made {
    // What a version is like does not change.
    let mut of_version = fastrand::Rng::with_seed(version * 31 + path as u64);
    let vary = match of_version.u32(..10) {
        0..4 => vec![],
        4..6 => vec!["x-v"],
        6..8 => vec!["accept-language"],
        8 => vec!["accept-language", "x-v"],
        _ => {
            if chance(rng, 50) {
                vec!["*"]
            } else {
                vec!["x-v"]
            }
        }
    };
    let value = |name: &str| request.headers.get(name).map_or("-", |value| value.to_str().unwrap());
    let mut text = format!("{path}|{version}");
    for name in ["accept-language", "x-v"] {
        if vary.contains(&name) || vary.contains(&"*") {
            text = format!("{text}|{name}={}", value(name));
        }
    }
    let etag = match of_version.u32(..10) {
        0..7 => Some(format!("\"{text}\"")),
        7 => Some(format!("W/\"{text}\"")),
        _ => None,
    };
    let length = pick(&mut of_version, &[0, 8, 40, 150, 400]);
    let body = format!("{text};").repeat(length / (text.len() + 1) + 1)[..length].to_owned();
    let (headers, method) = (request.headers.clone(), request.method.clone());
    let (request, called, sent, arrived) = (0, 0, Wall::default(), None);
    Made { path, version, request, headers, method, said, etag, vary, body, called, sent, arrived }
}

fn fields(made: &Made, id: usize) -> Vec<(&'static str, String)> {
    let said = made.said;
    let mut line = String::new();
    for (name, on) in [
        ("no-cache", said.no_cache),
        ("no-store", said.no_store),
        ("private", said.private),
        ("must-revalidate", said.must_revalidate),
        ("public", said.public),
    ] {
        if on {
            line += &format!("{name}, ");
        }
    }
    for (name, value) in [
        ("max-age", said.max_age),
        ("s-maxage", said.s_maxage),
        ("stale-while-revalidate", said.while_revalidate),
        ("stale-if-error", said.if_error),
    ] {
        if let Some(value) = value {
            line += &format!("{name}={value}, ");
        }
    }
    let mut fields = vec![("cache-control", format!("{line}x-id={id}"))];
    fields.push(("surrogate-key", tag_of(made.path).to_owned()));
    fields.extend(made.etag.clone().map(|etag| ("etag", etag)));
    if !made.vary.is_empty() {
        fields.push(("vary", made.vary.join(", ")));
    }
    if said.set_cookie {
        fields.push(("set-cookie", format!("of={}", made.request)));
    }
    // Always there: one that a 304 leaves out would stay.
    fields.push(("age", said.age.to_string()));
    fields
}

/// The answer on the wire, as the request's conditions and range have it.
fn write(rng: &mut fastrand::Rng, request: &Request, made: &Made, id: usize) -> Response {
    let mut fields = fields(made, id);
    let text = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let told = |fields: &[(&'static str, String)], status, body| {
        let plain: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        response_with(status, &plain, body)
    };
    if let (Some(known), Some(etag)) = (text("if-none-match"), &made.etag)
        && known.split(", ").any(|known| known.trim_start_matches("W/") == etag.trim_start_matches("W/"))
        && chance(rng, 90)
    {
        return told(&fields, 304, Body::empty());
    }
    let length = made.body.len();
    if request.method == Method::HEAD {
        fields.push(("content-length", length.to_string()));
        return told(&fields, 200, Body::empty());
    }
    let same =
        text("if-range").is_none_or(|known| made.etag.as_ref() == Some(&known) && !known.starts_with("W/"));
    let (mut status, mut part) = (200, 0..length);
    if let Some(range) = text("range").filter(|_| same && chance(rng, 85)) {
        match spec(&range, length) {
            // Now and then less than was asked for, or of a whole whose length it does not know.
            Some(wanted) if wanted.len() > 1 && chance(rng, 20) => {
                (status, part) = (206, wanted.start..wanted.end - wanted.len() / 2);
            }
            Some(wanted) => (status, part) = (206, wanted),
            None => {
                fields.push(("content-range", format!("bytes */{length}")));
                return told(&fields, 416, Body::empty());
            }
        }
        let length = if chance(rng, 10) { "*".to_owned() } else { length.to_string() };
        fields.push(("content-range", format!("bytes {}-{}/{length}", part.start, part.end - 1)));
    }
    let bytes = Bytes::from(made.body[part].to_owned());
    let sized = rng.bool();
    if sized {
        fields.push(("content-length", bytes.len().to_string()));
    }
    told(&fields, status, trickle(rng, bytes, sized))
}

/// What of `length` bytes a range is.
pub fn spec(range: &str, length: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let part = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..(last + 1).min(length),
        (Ok(first), Err(_)) => first..length,
        (Err(_), Ok(last)) => length.saturating_sub(last)..length,
        (Err(_), Err(_)) => 0..length,
    };
    (part.start < part.end).then_some(part)
}

/// A body in pieces, now and then, that sometimes breaks off.
fn trickle(rng: &mut fastrand::Rng, bytes: Bytes, sized: bool) -> Body {
    let breaks = chance(rng, 12).then(|| rng.usize(..=bytes.len()));
    if breaks.is_none() && rng.bool() {
        return Body::full(bytes);
    }
    let pause = pick(rng, &[0, 0, 250, 1000]);
    let (mut writer, body) = stream(sized.then_some(bytes.len() as u64));
    let piece = (bytes.len() / rng.usize(1..4)).max(1);
    tokio::spawn(async move {
        let all = &bytes[..breaks.unwrap_or(bytes.len())];
        for chunk in all.chunks(piece) {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            writer.push(Bytes::copy_from_slice(chunk));
        }
        if breaks.is_none() {
            writer.finish(None, None);
        }
    });
    body
}
