use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::clock;
use crate::error::{Error, UpstreamError, UpstreamErrorKind as Kind};
use crate::http::testing::request;
use crate::http::{Body, Request, RequestBody, Response};
use crate::layers::budget::{Budget, BudgetPlan};
use crate::layers::{Boxed, Inner};
use crate::metrics::Metrics;
use crate::report::{Path, Report};

use super::config::HedgeConfig;
use super::latency::{Latencies, SAMPLES_MIN};
use super::plan::After;
use super::tally::{SAVED_MAX, Tally, Waited};
use super::{Hedge, HedgePlan, plan};

const MS: Duration = Duration::from_millis(1);

mod plans {
    use super::*;

    #[test]
    fn percentiles_and_durations() {
        for (text, expected) in [
            ("p95", Some(After::Percentile(0.95))),
            ("p50", Some(After::Percentile(0.5))),
            ("p97.5", Some(After::Percentile(0.975))),
            ("50ms", Some(After::Time(50 * MS))),
            ("p49", None),
            ("p100", None),
            ("p", None),
            ("pinf", None),
            ("p-95", None),
            ("0s", None),
            ("95", None),
            ("", None),
        ] {
            let mut report = Report::new();
            let config = HedgeConfig { after: text.to_owned(), ..HedgeConfig::default() };
            let plan = plan(&config, &Path::root(), &mut report);
            assert_eq!(Some(plan.after).filter(|_| !report.has_errors()), expected, "{text}");
        }
    }

    #[test]
    fn the_extra_load_is_a_share() {
        for (max_extra, good) in
            [(0.02, true), (1.0, true), (0.0, false), (1.1, false), (-0.1, false), (f64::NAN, false)]
        {
            let mut report = Report::new();
            let config = HedgeConfig { max_extra, ..HedgeConfig::default() };
            plan(&config, &Path::root(), &mut report);
            let paths: Vec<_> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
            assert_eq!(paths.is_empty(), good, "{max_extra}: {paths:?}");
        }
    }
}

mod latency {
    use super::*;

    fn of(latencies: impl IntoIterator<Item = Duration>) -> Latencies {
        let mut known = Latencies::default();
        let now = clock::now().instant;
        latencies.into_iter().for_each(|latency| known.record(now, latency));
        known
    }

    /// Never below the true one, and at most a bucket above.
    #[test]
    fn percentiles_are_right_within_a_bucket() {
        for scale in [Duration::from_micros(150), MS, 37 * MS, Duration::from_millis(900)] {
            let known = of((1..=100).map(|at| scale * at / 100 + scale));
            for (share, exact) in [(0.5, 1.5), (0.95, 1.95), (0.99, 1.99)] {
                let exact = scale.mul_f64(exact);
                let found = known.percentile(share).unwrap();
                let fits = exact.mul_f64(0.999)..exact.mul_f64(1.1);
                assert!(fits.contains(&found), "{scale:?} {share}: {found:?} for {exact:?}");
            }
        }
    }

    #[test]
    fn few_answers_make_none() {
        let few = usize::try_from(SAMPLES_MIN).unwrap() - 1;
        assert_eq!(of(std::iter::repeat_n(MS, few)).percentile(0.95), None);
        assert!(of(std::iter::repeat_n(MS, few + 1)).percentile(0.95).is_some());
    }

    #[test]
    fn extremes_have_buckets_too() {
        let day = Duration::from_secs(86_400);
        assert!(of(std::iter::repeat_n(Duration::ZERO, 99)).percentile(0.95).unwrap() <= MS);
        assert!(of(std::iter::repeat_n(day, 99)).percentile(0.5).unwrap() > 60_000 * MS);
    }

    #[test]
    fn what_is_old_is_forgotten_by_count_and_by_time() {
        let now = clock::now().instant;
        let mut by_count = of(std::iter::repeat_n(1000 * MS, 2000));
        (0..20_000).for_each(|_| by_count.record(now, MS));
        assert!(by_count.percentile(0.99).unwrap() < 2 * MS);
        let mut by_time = of(std::iter::repeat_n(1000 * MS, 1000));
        let later = now + Duration::from_secs(600);
        (0..60).for_each(|_| by_time.record(later, MS));
        assert!(by_time.percentile(0.99).unwrap() < 2 * MS);
    }
}

mod tally {
    use super::*;

    fn tally(max_extra: f64) -> Tally {
        Tally::new(HedgePlan { after: After::Time(MS), max_extra })
    }

    fn taken(tally: &Tally, waited: Waited) -> usize {
        (0..100).filter(|_| tally.try_take(waited)).count()
    }

    #[test]
    fn requests_earn_hedges_and_half_of_them_are_for_those_who_waited_longer() {
        for (max_extra, requests, long, longer) in
            [(0.5, 0, 0, 0), (0.5, 1, 0, 0), (0.5, 2, 0, 1), (0.5, 12, 1, 5), (1.0, 999, 5, 5)]
        {
            let tally = tally(max_extra);
            (0..requests).for_each(|_| assert_eq!(tally.begins(), Some(MS)));
            assert_eq!(taken(&tally, Waited::Long), long, "{max_extra} {requests}");
            assert_eq!(taken(&tally, Waited::Longer), longer, "{max_extra} {requests}");
        }
        assert_eq!(SAVED_MAX, 10.0);
    }

    #[test]
    fn a_percentile_is_known_after_some_answers() {
        let tally = Tally::new(HedgePlan { after: After::Percentile(0.95), max_extra: 0.1 });
        let now = clock::now().instant;
        assert_eq!(tally.begins(), None);
        (0..64).for_each(|_| tally.took(now, 10 * MS));
        let after = tally.begins().unwrap();
        assert!((10 * MS..11 * MS).contains(&after), "{after:?}");
    }
}

/// What an endpoint does about a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(u64),
    Fail(u64),
    Status(u64, u16),
}

/// Endpoints that do as they are told, one act a request, in the order of their arrival.
struct Endpoints {
    acts: Mutex<Box<dyn FnMut() -> Act + Send>>,
    asked: Mutex<Vec<Request>>,
    dropped: AtomicUsize,
}

struct Canceled<'a>(&'a AtomicUsize, bool);

impl Drop for Canceled<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(usize::from(!self.1), Ordering::SeqCst);
    }
}

impl Inner for Endpoints {
    type Future<'a> = Boxed<'a>;

    fn send<'a>(&'a self, request: Request) -> Boxed<'a> {
        let number = self.asked.lock().unwrap().len();
        let act = self.acts.lock().unwrap()();
        request.trail.note(|notes| notes.endpoint = Some(format!("e{number}").into()));
        let trail = request.trail.clone();
        self.asked.lock().unwrap().push(request);
        Box::pin(async move {
            let mut guard = Canceled(&self.dropped, false);
            let (Act::Answer(millis) | Act::Fail(millis) | Act::Status(millis, _)) = act;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            guard.1 = true;
            let status = match act {
                Act::Answer(_) => 200,
                Act::Status(_, status) => status,
                Act::Fail(_) => return Err(UpstreamError::sent(Kind::Reset).into()),
            };
            trail.note(|notes| notes.upstream_status = Some(status));
            let mut response = Response::new(StatusCode::from_u16(status).unwrap(), Body::empty());
            response.headers.insert("x-number", number.into());
            Ok(response)
        })
    }
}

fn hedge(plan: Option<HedgePlan>, acts: impl FnMut() -> Act + Send + 'static) -> Hedge<Endpoints> {
    hedge_within(Budget::unlimited(), plan, acts)
}

fn hedge_within(
    budget: Budget,
    plan: Option<HedgePlan>,
    acts: impl FnMut() -> Act + Send + 'static,
) -> Hedge<Endpoints> {
    let tally = plan.map(|plan| Tally::new(plan).into());
    let endpoints =
        Endpoints { acts: Mutex::new(Box::new(acts)), asked: Mutex::default(), dropped: AtomicUsize::new(0) };
    Hedge::new(tally, budget, &Metrics::default(), "test", endpoints)
}

/// Hedges everything that takes longer than 10 ms: what is needed for that is earned first.
async fn eager(acts: Vec<Act>) -> Hedge<Endpoints> {
    let plan = HedgePlan { after: After::Time(10 * MS), max_extra: 1.0 };
    let mut acts = vec![Act::Answer(0); 20].into_iter().chain(acts);
    let layer = hedge(Some(plan), move || acts.next().unwrap());
    for _ in 0..20 {
        layer.send(get()).await.unwrap();
    }
    layer
}

fn get() -> Request {
    request(Method::GET, RequestBody::Empty)
}

/// Status and endpoint of an answer, or that there is none.
fn told(outcome: &Result<Response, Error>) -> (u16, &str) {
    match outcome {
        Ok(response) => (response.status.as_u16(), response.headers["x-number"].to_str().unwrap()),
        Err(_) => (0, ""),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_wins_and_the_other_attempt_is_dropped() {
    use Act::{Answer, Fail, Status};
    for (acts, expected, millis, asked, dropped, note) in [
        (vec![Answer(9)], (200, "20"), 9, 1, 0, None),
        (vec![Fail(9)], (0, ""), 9, 1, 0, None),
        (vec![Answer(100), Answer(5)], (200, "21"), 15, 2, 1, Some("won")),
        (vec![Answer(12), Answer(50)], (200, "20"), 12, 2, 1, Some("lost")),
        // A failure does not win while the other attempt may still succeed.
        (vec![Answer(40), Fail(1)], (200, "20"), 40, 2, 0, Some("lost")),
        (vec![Answer(40), Status(1, 503)], (200, "20"), 40, 2, 0, Some("lost")),
        (vec![Fail(12), Answer(40)], (200, "21"), 50, 2, 0, Some("won")),
        (vec![Status(12, 502), Answer(40)], (200, "21"), 50, 2, 0, Some("won")),
        // What the client did wrong, every endpoint says.
        (vec![Answer(40), Status(1, 404)], (404, "21"), 11, 2, 1, Some("won")),
        (vec![Fail(12), Fail(40)], (0, ""), 50, 2, 0, Some("lost")),
        (vec![Status(60, 503), Status(1, 500)], (503, "20"), 60, 2, 0, Some("lost")),
    ] {
        let what = format!("{acts:?}");
        let layer = eager(acts).await;
        let request = get();
        let (trail, begun) = (request.trail.clone(), clock::now().instant);
        let outcome = layer.send(request).await;
        assert_eq!(told(&outcome), expected, "{what}");
        let took = begun.elapsed();
        assert!((millis * MS..(millis + 3) * MS).contains(&took), "{what}: {took:?}");
        let requests = layer.inner.asked.lock().unwrap();
        assert_eq!(requests.len() - 20, asked, "{what}");
        assert_eq!(layer.inner.dropped.load(Ordering::SeqCst), dropped, "{what}");
        let notes = trail.read();
        assert_eq!(notes.hedge, note, "{what}");
        if note == Some("won") {
            assert_eq!(notes.endpoint.as_deref(), Some("e21"), "{what}: what is logged is who answered");
            assert_eq!(notes.upstream_status, Some(expected.0));
        }
        if let Some(second) = requests.get(21) {
            assert_eq!(second.attempt.avoid.as_slice(), [std::sync::Arc::from("e20")], "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_sent_twice_is_not() {
    for (method, number, hedged) in [
        (Method::GET, 0, true),
        (Method::HEAD, 0, true),
        (Method::DELETE, 0, true),
        (Method::POST, 0, false),
        (Method::PATCH, 0, false),
        (Method::GET, 1, false),
    ] {
        let layer = eager(vec![Act::Answer(100), Act::Answer(0)]).await;
        let mut request = request(method.clone(), RequestBody::Empty);
        request.attempt.number = number;
        layer.send(request).await.unwrap();
        assert_eq!(layer.inner.asked.lock().unwrap().len(), 21 + usize::from(hedged), "{method} {number}");
    }
    let layer = eager(vec![Act::Answer(100), Act::Answer(0)]).await;
    layer.send(super::tests::request(Method::PUT, RequestBody::Full("x".into()))).await.unwrap();
    assert_eq!(layer.inner.asked.lock().unwrap().len(), 21, "a body");
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_takes_both_attempts_with_them() {
    let layer = eager(vec![Act::Answer(1000), Act::Answer(1000)]).await;
    assert!(tokio::time::timeout(20 * MS, layer.send(get())).await.is_err());
    assert_eq!(layer.inner.asked.lock().unwrap().len(), 22);
    assert_eq!(layer.inner.dropped.load(Ordering::SeqCst), 2);
}

/// Requests one after the other, at endpoints that need 10 to 12 ms, and in 15 of 1000 cases a second.
/// Returns the 99th percentile and how often the endpoints were asked.
async fn bimodal(plan: Option<HedgePlan>) -> (Duration, usize) {
    let mut random = fastrand::Rng::with_seed(7);
    let layer = hedge(plan, move || match random.u32(..1000) {
        ..15 => Act::Answer(1000),
        _ => Act::Answer(random.u64(10..=12)),
    });
    let mut latencies = Vec::new();
    for _ in 0..REQUESTS {
        let begun = clock::now().instant;
        layer.send(get()).await.unwrap();
        latencies.push(begun.elapsed());
    }
    latencies.sort();
    let asked = layer.inner.asked.lock().unwrap().len();
    (latencies[latencies.len() * 99 / 100], asked)
}

const REQUESTS: usize = 4000;

#[tokio::test(start_paused = true)]
async fn hedging_takes_the_tail_off_for_little_extra_load() {
    let (plain, asked) = bimodal(None).await;
    assert!(plain >= 1000 * MS && asked == REQUESTS, "{plain:?} {asked}");
    for after in [After::Percentile(0.95), After::Time(30 * MS)] {
        let (hedged, asked) = bimodal(Some(HedgePlan { after, max_extra: 0.02 })).await;
        assert!(hedged * 2 <= plain, "{after:?}: {hedged:?} after {plain:?}");
        let extra = (asked - REQUESTS) as f64 / REQUESTS as f64;
        assert!(extra > 0.005 && extra <= 0.02, "{after:?}: {extra}");
    }
}

/// Where everything is slow, hedging is no help, and no harm.
#[tokio::test(start_paused = true)]
async fn a_slow_upstream_gets_no_more_than_max_extra() {
    let plan = HedgePlan { after: After::Time(10 * MS), max_extra: 0.02 };
    let layer = hedge(Some(plan), || Act::Answer(500));
    for _ in 0..500 {
        layer.send(get()).await.unwrap();
    }
    assert_eq!(layer.inner.asked.lock().unwrap().len(), 510);
}

/// What retries have spent there is none of for hedges; the route's own share is kept for later.
#[tokio::test(start_paused = true)]
async fn the_upstreams_budget_bounds_hedges_too() {
    let budget = Budget::new(BudgetPlan { ratio: 0.0, min_per_second: 3 }, std::sync::Arc::default());
    let plan = HedgePlan { after: After::Time(10 * MS), max_extra: 1.0 };
    let layer = hedge_within(budget.clone(), Some(plan), || Act::Answer(50));
    // No more than a second in all, so that there is one floor.
    assert!(budget.try_withdraw(clock::now().instant), "a retry");
    let mut noted = Vec::new();
    for _ in 0..10 {
        let request = get();
        let trail = request.trail.clone();
        layer.send(request).await.unwrap();
        noted.extend(trail.read().hedge);
    }
    assert_eq!(layer.inner.asked.lock().unwrap().len(), 12, "{noted:?}");
    assert!(noted.contains(&"budget"), "{noted:?}");
}
