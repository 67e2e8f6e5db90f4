//! Seeded simulation: many clients, a moody origin, purges and time, against a [`model`] that knows nothing
//! of how the cache works.
//!
//! Every answer of the origin bears a number in its `Cache-Control`, which 304s hand on and are handed on by;
//! so an answer that a client gets names the answer that it was made of, and the model says whether that may
//! be. `FOREBAY_SIM_SEEDS=from..to` runs other seeds than the usual ones; one seed is one run, but for the
//! hashers' and the scheduler's own dice.

mod model;
mod origin;

use std::sync::{Mutex, MutexGuard};

use self::model::{Asked, Purge, World};
use self::origin::Moody;
use super::super::config::{AuthorizationUse, Ranges};
use super::super::purge::{Mode, Name};
use super::*;
use crate::clock::Wall;

/// The paths there are; each with a tag of its own.
const PATHS: usize = 2;
const CLIENTS: usize = 3;

type Shared = Arc<Mutex<World>>;

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn pick<T: Copy>(rng: &mut fastrand::Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// So many times in a hundred.
fn chance(rng: &mut fastrand::Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

struct Sim {
    cache: Arc<Cache<Moody>>,
    store: Arc<Store>,
    metrics: Metrics,
    world: Shared,
    alive: Arc<AtomicUsize>,
}

impl Sim {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let ranges = pick(rng, &[Ranges::Whole, Ranges::Whole, Ranges::Parts, Ranges::Parts, Ranges::Pass]);
        let config = CacheConfig {
            ranges,
            repeat_parts: ranges == Ranges::Parts && rng.bool(),
            authorization: pick(rng, &[AuthorizationUse::Explicit, AuthorizationUse::Keyed]),
            collapse: !chance(rng, 10),
            refresh_ahead: chance(rng, 30),
            max_variants: pick(rng, &[1, 2, 32]),
            stale_while_revalidate: crate::units::Time::secs(pick(rng, &[0, 0, 4])),
            ..CacheConfig::default()
        };
        let mut report = Report::new();
        let plan = plan::plan(&config, &Path::default(), &mut report);
        assert!(!report.has_errors());
        let metrics = Metrics::default();
        let (memory, limit) = pick(rng, &[(64 << 20, u64::MAX), (3_000, u64::MAX), (64 << 20, 4_000)]);
        let max_object = pick(rng, &[1 << 20, 300]);
        let store = Arc::new(Store::new(&room_of(memory, max_object), Memory::new(limit), &metrics));
        let world = World {
            keyed: config.authorization == AuthorizationUse::Keyed,
            while_revalidate: config.stale_while_revalidate.get(),
            if_error: config.stale_if_error.get(),
            on_overload: config.stale_on_overload.get(),
            versions: [0; PATHS],
            ..World::default()
        };
        let world = Arc::new(Mutex::new(world));
        let alive = Arc::new(AtomicUsize::new(0));
        let origin = Moody::new(world.clone(), alive.clone(), rng.fork());
        let cache =
            Cache::new(Some(Arc::new(plan)), 1, store.clone(), Budget::unlimited(), &metrics, "test", origin);
        Self { cache: Arc::new(cache), store, metrics, world, alive }
    }

    /// A client that asks once, at some moment.
    fn client(&self, mut rng: fastrand::Rng) -> tokio::task::JoinHandle<()> {
        let (cache, world) = (self.cache.clone(), self.world.clone());
        tokio::spawn(async move {
            // Few different moments, so that much happens at the same one.
            tokio::time::sleep(Duration::from_millis(500 * rng.u64(..60))).await;
            let leaves = chance(&mut rng, 12).then(|| Duration::from_millis(250 * rng.u64(..12)));
            let whole = ask(&cache, &world, &mut rng);
            match leaves {
                Some(after) => drop(tokio::time::timeout(after, whole).await),
                None => whole.await,
            }
        })
    }

    /// An operator who purges something at some moment.
    fn operator(&self, mut rng: fastrand::Rng) -> tokio::task::JoinHandle<()> {
        let (cache, store, world) = (self.cache.clone(), self.store.clone(), self.world.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500 * rng.u64(..60))).await;
            let path = rng.usize(..PATHS);
            let mode = if rng.bool() { Mode::Hard } else { Mode::Soft };
            let control = cache.control().unwrap();
            let target = request_of(Method::GET, &format!("/{path}"), clock::now(), &[]).into_parts().target;
            let (names, paths): (Vec<Name>, Vec<usize>) = match rng.u8(..4) {
                0 => (store.purges().tag(None, origin::tag_of(path).as_bytes()).into(), vec![path]),
                1 => (vec![control.everything()], (0..PATHS).collect()),
                2 => (vec![control.prefix(&target)], vec![path]),
                _ => (vec![control.url(&target)], vec![path]),
            };
            let mut world = lock(&world);
            let at = world.next();
            control.purge(&names, mode);
            for path in paths {
                // What is purged for good was replaced.
                world.versions[path] += u64::from(mode == Mode::Hard);
                let version = world.versions[path];
                world.purges.push(Purge { path, hard: mode == Mode::Hard, made: at, asked: at, version });
            }
        })
    }

    /// All is done: nothing is held any more but what is stored.
    async fn ends(self) -> Shared {
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(self.store.flights().len(), 0, "flights");
        assert_eq!(self.alive.load(Ordering::SeqCst), 0, "requests to the origin");
        assert_eq!(self.store.memory().used_for(Use::Filling), 0, "memory of fills");
        assert_eq!(self.cache.core().unwrap().permits.taken(), 0, "permits");
        assert_eq!(gauge(&self.metrics, "forebay_cache_fills{route=\"test\"}"), 0);
        assert_eq!(gauge(&self.metrics, "forebay_cache_fill_bytes"), 0);
        self.agrees();
        // Nothing else holds what is stored: with the store it goes.
        let (metrics, memory) = (self.metrics, self.store.memory().clone());
        drop((self.cache, self.store));
        drained(&metrics, &memory).await;
        self.world
    }

    /// The gauge and the budget count the same bytes. What moka has let go of may be freed by another test's
    /// thread, and so between the two looks; but not without end.
    fn agrees(&self) {
        for _ in 0..2_000 {
            if gauge(&self.metrics, "forebay_cache_bytes") == self.store.memory().used() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{} bytes are held: {}", self.store.memory().used(), self.metrics.render());
    }
}

/// What a gauge says.
fn gauge(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Waits until what moka has let go of is really gone: it is freed when the threads that might still look at
/// it have moved on, and those of other tests might.
async fn drained(metrics: &Metrics, memory: &Memory) {
    let other = Store::new(&room_of(1 << 20, 1), Memory::unlimited(), &Metrics::default());
    for _ in 0..2_000 {
        let text = metrics.render();
        let zero = |name: &str| text.lines().any(|line| line.strip_prefix(name) == Some(" 0"));
        if zero("forebay_cache_bytes") && zero("forebay_cache_entries") && memory.used() == 0 {
            return;
        }
        for n in 0..200 {
            other.mark_pass(b"key", Wall::from_secs(n + 1)).await;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{} bytes are held: {}", memory.used(), metrics.render());
}

/// The fields of a request.
fn fields_of(
    rng: &mut fastrand::Rng,
    world: &World,
    number: usize,
    path: usize,
) -> Vec<(&'static str, String)> {
    let mut fields = vec![("x-request", number.to_string())];
    let mut add = |rng: &mut fastrand::Rng, percent, name, values: &[&str]| {
        if chance(rng, percent) {
            fields.push((name, pick(rng, values).to_owned()));
        }
    };
    add(rng, 35, "x-v", &["1", "2"]);
    add(rng, 30, "accept-language", &["en", "fr"]);
    add(rng, 15, "authorization", &["alice", "bob", "carol"][..CLIENTS]);
    add(rng, 10, "cookie", &["a=1", "a=2"]);
    add(rng, 12, "range", &["bytes=0-4", "bytes=5-", "bytes=-3", "bytes=100-200", "bytes=5-9"]);
    let directives = [
        "no-cache",
        "no-store",
        "max-age=0",
        "max-age=3",
        "max-stale",
        "max-stale=5",
        "min-fresh=3",
        "only-if-cached",
        "stale-if-error=5",
    ];
    add(rng, 25, "cache-control", &directives);
    if chance(rng, 10)
        && let Some(etag) =
            world.made.iter().rev().filter(|made| made.path == path).find_map(|made| made.etag.clone())
    {
        fields.push(("if-none-match", etag));
    }
    fields
}

/// Asks, reads what comes, and has the model judge it.
async fn ask(cache: &Cache<Moody>, world: &Shared, rng: &mut fastrand::Rng) {
    let path = rng.usize(..PATHS);
    let dice = rng.u32(..100);
    let method = match dice {
        0..82 => Method::GET,
        82..92 => Method::HEAD,
        92..95 => Method::POST,
        95..98 => Method::PUT,
        _ => Method::DELETE,
    };
    let (number, request) = {
        let mut world = lock(world);
        let (number, start) = (world.asked.len(), world.next());
        let fields = fields_of(rng, &world, number, path);
        let plain: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = request_of(method.clone(), &format!("/{path}"), clock::now(), &plain);
        world.asked.push(Asked::new(number, path, &request, start));
        (number, request)
    };
    let result = cache.send(request).await;
    let Ok(response) = result else { return };
    if !matches!(method, Method::GET | Method::HEAD) {
        if response.status.is_success() {
            lock(world).changed(number);
        }
        return;
    }
    let made = lock(world).judge(number, &response);
    let expected = made.map(|made| lock(world).expected(number, made, &method, &response));
    let (mut body, mut got) = (response.into_body(), Vec::new());
    if chance(rng, 8) {
        return;
    }
    let pace = pick(rng, &[0, 0, 0, 700]);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => got.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => return,
        }
        if chance(rng, 5) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(pace)).await;
    }
    if let (Some(expected), Some(made)) = (expected, made) {
        lock(world).same(number, made, &expected, &String::from_utf8(got).unwrap());
    }
}

fn run(seed: u64) -> [u64; 6] {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        clock::simulate(Wall::from_secs(1_735_787_045));
        fastrand::seed(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let sim = Sim::new(&mut rng);
        let requests = rng.usize(4..32);
        let mut tasks: Vec<_> = (0..requests).map(|_| sim.client(rng.fork())).collect();
        for _ in 0..pick(&mut rng, &[0, 0, 1, 3]) {
            tasks.push(sim.operator(rng.fork()));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let world = sim.ends().await;
        lock(&world).counts
    })
}

#[test]
fn no_sequence_breaks_a_promise() {
    let seeds = std::env::var("FOREBAY_SIM_SEEDS").unwrap_or_else(|_| "0..2000".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    let mut counts = [0; 6];
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        let run = std::panic::catch_unwind(|| run(seed));
        let run = run.unwrap_or_else(|_| panic!("seed {seed}"));
        for (count, more) in counts.iter_mut().zip(run) {
            *count += more;
        }
    }
    // A simulation that never comes to what it is about proves nothing.
    println!("{:?} {counts:?}", model::Way::ALL);
    for (way, count) in model::Way::ALL.into_iter().zip(counts) {
        assert!(count > 100, "{way:?}: {count}");
    }
}
