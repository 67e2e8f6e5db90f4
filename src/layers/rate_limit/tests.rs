use std::future::{Future, Ready, ready};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use tower_service::Service;

use super::config::{RateLimitConfig, Scope};
use super::delay::{MAX_DELAY, Verdict};
use super::key::Keyer;
use super::plan::{Excess, KeyPlan, Quota, Told};
use super::{Key, LimitPlan, Limiter, RateLimit};
use crate::clock::{self, Instant};
use crate::error::{Error, Refusal};
use crate::http::{Body, Request, RequestBody, RequestParts, Response, Trail, testing};
use crate::layers::Inner;
use crate::metrics::Metrics;
use crate::report::{Path, Report};
use crate::units::Rate;

const CLIENT: Key = Key::V4(1);

fn limit(rate: &str, burst: u32) -> LimitPlan {
    LimitPlan {
        name: "per-client".to_owned(),
        key: KeyPlan::ClientIp,
        quota: Quota::new(rate.parse().unwrap(), NonZeroU32::new(burst).unwrap()).unwrap(),
        excess: Excess::Reject,
        scope: Scope::All,
        max_keys: 1000,
    }
}

fn delayed(rate: &str, burst: u32, queue: u32) -> LimitPlan {
    LimitPlan { excess: Excess::Delay { queue }, ..limit(rate, burst) }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request() -> Request {
    let client = [192, 0, 2, 1].into();
    Request::from(RequestParts { client, ..testing::request(Method::GET, RequestBody::Empty).into_parts() })
}

mod plans {
    use super::*;

    fn plan(texts: &[&str]) -> (Vec<LimitPlan>, Report) {
        let configs: Vec<RateLimitConfig> = texts.iter().map(|text| toml::from_str(text).unwrap()).collect();
        let mut report = Report::new();
        let claims = [(HeaderName::from_static("x-plan"), "plan".to_owned())];
        let told = Told { consumer: None, claims: &claims };
        let plans = super::super::plan(&configs, told, &Path::root().key("rate_limit"), &mut report);
        assert_eq!(plans.len(), configs.len());
        (plans, report)
    }

    #[test]
    fn every_problem_is_reported_at_its_value() {
        for (text, path, needle) in [
            ("name = ''\nrate = '1/s'", "name", "needs a name"),
            ("name = 'a\"b'\nrate = '1/s'", "name", "ASCII"),
            ("name = 'a b'\nrate = '1/s'", "name", "ASCII"),
            ("name = 'x'\nrate = '1/s'\nkey = 'consumer'", "key", "no authentication"),
            ("name = 'x'\nrate = '1/s'\nkey = 'clientip'", "key", "did you mean `client_ip`"),
            ("name = 'x'\nrate = '1/s'\nkey = 'header'", "key", "header:NAME"),
            ("name = 'x'\nrate = '1/s'\nkey = 'header:'", "key", "no valid name"),
            ("name = 'x'\nrate = '1/s'\nkey = 'header:a b'", "key", "no valid name"),
            ("name = 'x'\nrate = '1/s'\nkey = 'query:'", "key", "no valid name"),
            ("name = 'x'\nrate = '1/s'\nkey = 'cookie:a;b'", "key", "no valid name"),
            ("name = 'x'\nrate = '1/s'\nkey = 'global:x'", "key", "possible are"),
            ("name = 'x'\nrate = '1/s'\nkey = 'claim'", "key", "claim:NAME"),
            ("name = 'x'\nrate = '1/s'\nkey = 'claim:'", "key", "no valid name"),
            ("name = 'x'\nrate = '1/s'\nkey = 'claim:plam'", "key", "did you mean `claim:plan`"),
            (
                "name = 'x'\nrate = '1/s'\nkey = 'claim:tenant'",
                "key",
                "headers = { \"x-tenant\" = \"tenant\" }",
            ),
            ("name = 'x'\nrate = '100000001/s'", "rate", "at most 100000000"),
            ("name = 'x'\nrate = '1/s'\nburst = 0", "burst", "allows nothing"),
            ("name = 'x'\nrate = '1/d'\nburst = 400", "burst", "more than a year"),
            ("name = 'x'\nrate = '1/d'\nburst = 4294967295", "burst", "more than a year"),
            ("name = 'x'\nrate = '1/s'\nmode = 'delay'\nqueue = 0", "queue", "reject"),
            ("name = 'x'\nrate = '1/s'\nmode = 'delay'\nqueue = 4000000000", "queue", "out of range"),
            ("name = 'x'\nrate = '1/s'\nmax_keys = 0", "max_keys", "out of range"),
        ] {
            let (_, report) = plan(&[text]);
            let [problem] = report.problems() else { panic!("{text}: {:?}", report.problems()) };
            assert_eq!(problem.path.to_string(), format!("rate_limit[0].{path}"), "{text}");
            let words = format!("{} {}", problem.message, problem.hint.as_deref().unwrap_or_default());
            assert!(words.contains(needle), "{text}: {words}");
        }
        let (_, report) = plan(&["name = ''\nrate = '1/s'\nkey = '?'\nburst = 0\nmax_keys = 0"]);
        assert_eq!(report.problems().len(), 4);
    }

    #[test]
    fn names_are_unique_in_a_route() {
        let (_, report) =
            plan(&["name = 'a'\nrate = '1/s'", "name = 'b'\nrate = '1/s'", "name = 'a'\nrate = '2/s'"]);
        let [problem] = report.problems() else { panic!("{:?}", report.problems()) };
        assert_eq!(problem.path.to_string(), "rate_limit[2].name");
    }

    #[test]
    fn keys_and_defaults() {
        for (key, expected) in [
            ("client_ip", KeyPlan::ClientIp),
            ("global", KeyPlan::Global),
            ("header:X-Api-Key", KeyPlan::Header(HeaderName::from_static("x-api-key"))),
            ("query:api:key", KeyPlan::Query("api:key".to_owned())),
            ("cookie:session", KeyPlan::Cookie("session".to_owned())),
            ("claim:plan", KeyPlan::Header(HeaderName::from_static("x-plan"))),
        ] {
            let (plans, report) = plan(&[&format!("name = 'x'\nrate = '60/m'\nkey = '{key}'")]);
            assert!(report.problems().is_empty(), "{key}: {:?}", report.problems());
            assert_eq!(plans[0].key, expected);
            assert_eq!(plans[0].quota.burst().get(), 60, "the rate's count");
            assert_eq!(plans[0].excess, Excess::Reject);
            assert_eq!(plans[0].scope, Scope::All);
        }
    }

    #[test]
    fn quotas() {
        for (rate, burst, interval_nanos, window) in [
            ("100/s", 200, 10_000_000, 2),
            ("100/s", 1, 10_000_000, 1),
            ("3/s", 3, 333_333_334, 1),
            ("3/s", 4, 333_333_334, 2),
            ("60/m", 60, 1_000_000_000, 60),
            ("1/d", 366, 86_400_000_000_000, 366 * 86_400),
            ("1000000/s", 1, 1000, 1),
        ] {
            let quota = limit(rate, burst).quota;
            assert_eq!(quota.interval(), Duration::from_nanos(interval_nanos), "{rate}");
            assert_eq!(quota.window_secs(), window, "{rate} {burst}");
        }
        let nothing = Rate::new(1, Duration::ZERO);
        assert_eq!(Quota::new(nothing, NonZeroU32::MIN), None);
    }
}

mod buckets {
    use super::*;

    fn all_kinds(plan: LimitPlan) -> [Limiter; 2] {
        [Limiter::new(LimitPlan { key: KeyPlan::Global, ..plan.clone() }), Limiter::new(plan)]
    }

    #[test]
    fn a_bucket_over_time() {
        // 10/s, burst 3: at this many milliseconds, so many remain and the next comes then, or the wait.
        let steps = [
            (0, Ok((2u32, 100u64))),
            (0, Ok((1, 100))),
            (0, Ok((0, 100))),
            (0, Err(100)),
            (40, Err(60)),
            (99, Err(1)),
            (100, Ok((0, 100))),
            (150, Err(50)),
            (250, Ok((0, 50))),
            (1000, Ok((2, 100))),
            (1050, Ok((1, 50))),
            (1100, Ok((1, 100))),
        ];
        for limiter in all_kinds(limit("10/s", 3)) {
            let start = clock::now().instant;
            for (step, (at, expected)) in steps.into_iter().enumerate() {
                let now = start + millis(at);
                let got = limiter.take(&CLIENT, now);
                let got = got.map(|s| (s.remaining, s.next)).map_err(|due| due - now);
                let expected = expected.map(|(left, next)| (left, millis(next))).map_err(millis);
                assert_eq!(got, expected, "step {step} of {:?}", limiter.plan().key);
            }
        }
    }

    #[test]
    fn a_burst_and_then_the_steady_rate() {
        for limiter in all_kinds(limit("100/s", 50)) {
            let start = clock::now().instant;
            let admitted =
                (0..5000u64).filter(|at| limiter.take(&CLIENT, start + millis(*at)).is_ok()).count();
            // 50 at once, and 100/s over the 4.999 s since.
            assert_eq!(admitted, 50 + 499);
        }
    }

    #[test]
    fn keys_have_buckets_of_their_own() {
        let limiter = Limiter::new(limit("1/s", 1));
        let now = clock::now().instant;
        for key in [CLIENT, Key::V4(2), Key::V6(1), Key::Missing, Key::Text([1, 2]), Key::Text([1, 3])] {
            assert!(limiter.take(&key, now).is_ok(), "{key:?}");
            assert!(limiter.take(&key, now).is_err(), "{key:?}");
        }
    }

    #[test]
    fn an_older_reading_wins_nothing() {
        let limiter = Limiter::new(limit("10/s", 1));
        let now = clock::now().instant + millis(1000);
        assert!(limiter.take(&CLIENT, now).is_ok());
        assert_eq!(limiter.take(&CLIENT, now - millis(500)), Err(now + millis(100)));
        // Before the limiter was built: as if at that time.
        let before = Limiter::new(limit("10/s", 1));
        assert!(before.take(&CLIENT, now - millis(5000)).is_ok());
        assert!(before.take(&CLIENT, now - millis(5000)).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_spares_the_busy() {
        let plan = LimitPlan { max_keys: 10_000, ..limit("1/d", 1) };
        let limiter = Limiter::new(plan);
        let now = clock::now().instant;
        let busy = Key::Text([7, 7]);
        assert!(limiter.take(&busy, now).is_ok());
        for number in 0..1_000_000u32 {
            let _ = limiter.take(&Key::V4(number), now);
            if number % 1000 == 0 {
                assert!(limiter.take(&busy, now).is_err(), "forgotten after {number} other keys");
            }
        }
        // Rounded up to whole shards: four a core.
        assert!(limiter.remembered() <= 11_000, "{}", limiter.remembered());
        assert!(limiter.remembered() >= 9_000, "{}", limiter.remembered());
    }

    #[test]
    fn threads_together_get_the_burst_and_no_more() {
        for limiter in all_kinds(limit("1/d", 100)) {
            let now = clock::now().instant;
            let keys: u32 = if limiter.plan().key == KeyPlan::Global { 1 } else { 16 };
            let admitted = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for turn in 0..16 * 200 {
                            if limiter.take(&Key::V4(turn % keys), now).is_ok() {
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(admitted.into_inner(), keys * 100);
        }
    }

    #[test]
    fn only_the_last_token_can_be_given_back() {
        for limiter in all_kinds(limit("1/s", 3)) {
            let now = clock::now().instant;
            let first = limiter.take(&CLIENT, now).unwrap();
            let second = limiter.take(&CLIENT, now).unwrap();
            assert!(!limiter.give_back(&CLIENT, &first), "the second came after it");
            assert!(limiter.give_back(&CLIENT, &second));
            assert!(limiter.give_back(&CLIENT, &first), "now it is the last");
            assert!(!limiter.give_back(&CLIENT, &first), "it is back already");
            let left = (0..9).filter(|_| limiter.take(&CLIENT, now).is_ok()).count();
            assert_eq!(left, 3);
        }
    }

    /// In every span of time, at most `burst` and what the rate makes of the span.
    fn check_windows(passed: &[Duration], quota: Quota) -> Result<(), TestCaseError> {
        for (first, from) in passed.iter().enumerate() {
            for (last, to) in passed.iter().enumerate().skip(first) {
                let span = (*to - *from).as_secs_f64();
                let most = f64::from(quota.burst().get()) + quota.rate().per_second() * span;
                prop_assert!((last - first + 1) as f64 <= most + 1e-6, "{first}..={last}: {span} s");
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_window_exceeds_burst_and_rate(
            count in 1..2000u32, per in prop::sample::select(vec![1u64, 60]), burst in 1..20u32,
            queue in 0..20u32, gaps in prop::collection::vec(0..50_000_000u64, 1..200),
        ) {
            let rate = Rate::new(count, Duration::from_secs(per));
            let quota = Quota::new(rate, NonZeroU32::new(burst).unwrap()).unwrap();
            let excess = if queue == 0 { Excess::Reject } else { Excess::Delay { queue } };
            let limiter = Limiter::new(LimitPlan { quota, excess, ..limit("1/s", 1) });
            let start = clock::now().instant;
            let (mut now, mut passed, mut turns) = (start, Vec::new(), Vec::new());
            for gap in gaps {
                now += Duration::from_nanos(gap);
                match limiter.decide(&CLIENT, now, None) {
                    Verdict::Allowed(_) => passed.push(now - start),
                    Verdict::Delayed(turn) => {
                        prop_assert!(turn.due() > now);
                        passed.push(turn.due() - start);
                        turns.push(turn);
                    }
                    Verdict::Limited { retry_after } | Verdict::QueueFull { retry_after } => {
                        prop_assert!(retry_after <= quota.interval() * (queue + 1));
                    }
                }
            }
            prop_assert!(passed.is_sorted(), "nobody overtakes");
            check_windows(&passed, quota)?;
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(count in 1..2000u32, burst in 1..5u32, n in 1..300u32) {
            let rate = Rate::new(count, Duration::from_secs(1));
            let quota = Quota::new(rate, NonZeroU32::new(burst).unwrap()).unwrap();
            let limiter = Limiter::new(LimitPlan { quota, ..limit("1/s", 1) });
            let start = clock::now().instant;
            for turn in 0..n {
                prop_assert!(limiter.take(&CLIENT, start + quota.interval() * turn).is_ok(), "{turn}");
            }
        }
    }
}

mod keys {
    use super::*;

    fn keyer(text: &str) -> Keyer {
        let config = format!("name = 'x'\nrate = '1/s'\nkey = '{text}'");
        let mut report = Report::new();
        let plans = super::super::plan(
            &[toml::from_str(&config).unwrap()],
            Told::default(),
            &Path::root(),
            &mut report,
        );
        assert!(!report.has_errors());
        Keyer::new(plans[0].key.clone())
    }

    fn with(headers: &[(&'static str, &'static str)], path: &str) -> Request {
        let mut request = request();
        for (name, value) in headers {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        request.target.path_and_query = path.parse().unwrap();
        request
    }

    #[test]
    fn addresses() {
        let keyer = keyer("client_ip");
        let key = |address: &str| {
            keyer.key(&Request::from(RequestParts {
                client: address.parse::<IpAddr>().unwrap(),
                ..request().into_parts()
            }))
        };
        // RFC 6177: an IPv6 client owns its /64.
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_ne!(key("::"), key("0.0.0.0"));
    }

    #[test]
    fn texts() {
        const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";
        // What counts by, two requests, and whether they share a bucket.
        let long = [("x-key", LONG)];
        let longer = [("x-key", "01234567890123456789012345678901234567890123456789012345678901234567891")];
        for (by, left, right, same) in [
            ("header:x-key", with(&[("x-key", "a")], "/"), with(&[("x-key", "a")], "/?x"), true),
            ("header:x-key", with(&[("x-key", "a")], "/"), with(&[("x-key", "b")], "/"), false),
            (
                "header:x-key",
                with(&[("x-key", "a")], "/"),
                with(&[("x-key", "a"), ("x-key", "b")], "/"),
                true,
            ),
            ("header:x-key", with(&long, "/"), with(&long, "/"), true),
            ("header:x-key", with(&long, "/"), with(&longer, "/"), false),
            ("header:x-key", with(&[("x-key", "")], "/"), with(&[], "/"), false),
            ("header:x-key", with(&[], "/a"), with(&[], "/b"), true),
            ("header:host", with(&[], "/a"), with(&[], "/b"), true),
            ("query:k", with(&[], "/?k=a"), with(&[], "/?x=1&k=a&y"), true),
            ("query:k", with(&[], "/?k=a"), with(&[], "/?k=b"), false),
            ("query:k", with(&[], "/?k=abc"), with(&[], "/?%6b=a%62%63"), true),
            ("query:k", with(&[], "/?k=a+b"), with(&[], "/?k=a%20b"), true),
            ("query:k", with(&[], "/?k=%zz%2"), with(&[], "/?k=%25zz%252"), true),
            ("query:k", with(&[], "/?k=a&k=b"), with(&[], "/?k=a&k=c"), true),
            ("query:k", with(&[], "/?kk=a"), with(&[], "/"), true),
            ("query:k", with(&[], "/?k"), with(&[], "/?k="), true),
            ("query:k", with(&[], "/?k"), with(&[], "/"), false),
            ("cookie:id", with(&[("cookie", "a=1; id=7")], "/"), with(&[("cookie", "id=7; a=2")], "/"), true),
            ("cookie:id", with(&[("cookie", "id=\"7\"")], "/"), with(&[("cookie", "id=7")], "/"), true),
            ("cookie:id", with(&[("cookie", "id=7")], "/"), with(&[("cookie", "id=8")], "/"), false),
            ("cookie:id", with(&[("cookie", "xid=7")], "/"), with(&[], "/"), true),
            (
                "cookie:id",
                with(&[("cookie", "a=1"), ("cookie", "id=7")], "/"),
                with(&[("cookie", "id=7")], "/"),
                true,
            ),
            ("global", with(&[], "/a"), with(&[("x", "y")], "/b"), true),
        ] {
            let keyer = keyer(by);
            assert_eq!(keyer.key(&left) == keyer.key(&right), same, "{by}: {left:?} {right:?}");
        }
    }

    #[test]
    fn who_says_nothing_shares_a_bucket_of_its_own() {
        for by in ["header:x-key", "query:k", "cookie:id"] {
            assert_eq!(keyer(by).key(&request()), Key::Missing, "{by}");
        }
        assert_ne!(keyer("header:host").key(&request()), Key::Missing);
    }

    #[test]
    fn nobody_can_tell_the_hash_in_advance() {
        let request = with(&[("x-key", "a")], "/");
        assert_ne!(keyer("header:x-key").key(&request), keyer("header:x-key").key(&request));
    }
}

mod delays {
    use super::*;

    fn due(verdict: &Verdict<'_>, start: Instant) -> Option<Duration> {
        match verdict {
            Verdict::Delayed(turn) => Some(turn.due() - start),
            Verdict::Allowed(_) | Verdict::Limited { .. } | Verdict::QueueFull { .. } => None,
        }
    }

    #[test]
    fn turns_come_one_interval_apart_and_the_queue_is_bounded() {
        let limiter = Limiter::new(delayed("10/s", 1, 3));
        let start = clock::now().instant;
        assert!(matches!(limiter.decide(&CLIENT, start, None), Verdict::Allowed(_)));
        let turns: Vec<_> = (0..3).map(|_| limiter.decide(&CLIENT, start, None)).collect();
        let dues: Vec<_> = turns.iter().map(|turn| due(turn, start).unwrap()).collect();
        assert_eq!(dues, [millis(100), millis(200), millis(300)]);
        assert_eq!(limiter.waiting(), 3);
        let full = limiter.decide(&CLIENT, start, None);
        assert!(matches!(full, Verdict::QueueFull { retry_after } if retry_after == millis(400)), "{full:?}");
        // Another key has tokens, and no use for the queue.
        assert!(matches!(limiter.decide(&Key::V4(2), start, None), Verdict::Allowed(_)));
        drop(turns);
        assert_eq!(limiter.waiting(), 0);
    }

    #[test]
    fn who_cannot_pass_in_time_takes_nothing() {
        let limiter = Limiter::new(delayed("10/s", 1, 9));
        let now = clock::now().instant;
        assert!(matches!(limiter.decide(&CLIENT, now, None), Verdict::Allowed(_)));
        for _ in 0..3 {
            let verdict = limiter.decide(&CLIENT, now, Some(now + millis(99)));
            assert!(matches!(verdict, Verdict::Limited { retry_after } if retry_after == millis(100)));
        }
        assert_eq!(limiter.waiting(), 0);
        assert_eq!(due(&limiter.decide(&CLIENT, now, Some(now + millis(100))), now), Some(millis(100)));
        // Without a deadline there is still a longest delay.
        let slow = Limiter::new(delayed("1/h", 1, 9));
        assert!(matches!(slow.decide(&CLIENT, now, None), Verdict::Allowed(_)));
        let verdict = slow.decide(&CLIENT, now, None);
        assert!(matches!(verdict, Verdict::Limited { retry_after } if retry_after > MAX_DELAY));
    }

    #[test]
    fn who_leaves_gives_the_turn_back_if_it_was_the_last() {
        let limiter = Limiter::new(delayed("10/s", 1, 9));
        let now = clock::now().instant;
        let mut turns: Vec<_> = (0..4).map(|_| limiter.decide(&CLIENT, now, None)).collect();
        // The last: its turn is free again.
        drop(turns.pop());
        turns.push(limiter.decide(&CLIENT, now, None));
        assert_eq!(due(turns.last().unwrap(), now), Some(millis(300)));
        // One in the middle: the others keep theirs, and a newcomer does not share one of them.
        drop(turns.remove(1));
        turns.push(limiter.decide(&CLIENT, now, None));
        let dues: Vec<_> = turns.iter().filter_map(|turn| due(turn, now)).collect();
        assert_eq!(dues, [millis(200), millis(300), millis(400)]);
        // A turn that was used is not given back.
        let Some(Verdict::Delayed(last)) = turns.pop() else { panic!("it was delayed") };
        last.pass();
        assert_eq!(due(&limiter.decide(&CLIENT, now, None), now), Some(millis(500)));
    }

    #[test]
    fn threads_get_turns_of_their_own() {
        let limiter = Limiter::new(delayed("1000/s", 1, 400));
        let now = clock::now().instant;
        assert!(limiter.take(&CLIENT, now).is_ok());
        let mut dues: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let turn = |_| match limiter.decide(&CLIENT, now, None) {
                            Verdict::Delayed(turn) => {
                                let due = turn.due() - now;
                                turn.pass();
                                Some(due)
                            }
                            Verdict::Allowed(_) => panic!("the bucket is empty"),
                            Verdict::Limited { .. } | Verdict::QueueFull { .. } => None,
                        };
                        (0..100).filter_map(turn).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let all = dues.len() as u64;
        dues.sort_unstable();
        assert_eq!(dues, (1..=all).map(millis).collect::<Vec<_>>());
        assert_eq!(limiter.waiting(), 0);
    }
}

mod layer {
    use super::*;

    #[derive(Debug, Default)]
    struct Origin {
        calls: AtomicU32,
        own: Option<&'static str>,
    }

    crate::layers::inner!(impl for Origin);

    impl Service<Request> for &Origin {
        type Response = Response;
        type Error = Error;
        type Future = Ready<Result<Response, Error>>;

        crate::layers::always_ready!();

        fn call(&mut self, _: Request) -> Self::Future {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let mut response = Response::new(StatusCode::OK, Body::empty());
            if let Some(own) = self.own {
                response.headers.insert("ratelimit", HeaderValue::from_static(own));
            }
            ready(Ok(response))
        }
    }

    /// The origin behind a layer is the test's to look at.
    #[derive(Clone, Debug)]
    struct Shared(Arc<Origin>);

    crate::layers::inner!(impl for Shared);

    impl<'a> Service<Request> for &'a Shared {
        type Response = Response;
        type Error = Error;
        type Future = <&'a Origin as Service<Request>>::Future;

        crate::layers::always_ready!();

        fn call(&mut self, request: Request) -> Self::Future {
            let mut origin: &Origin = &self.0;
            origin.call(request)
        }
    }

    struct Bench {
        layer: RateLimit<Shared>,
        origin: Arc<Origin>,
        metrics: Metrics,
        limiters: Vec<Arc<Limiter>>,
    }

    impl Bench {
        fn new(plans: Vec<LimitPlan>) -> Self {
            Self::around(plans, Origin::default())
        }

        fn around(plans: Vec<LimitPlan>, origin: Origin) -> Self {
            let (origin, metrics) = (Arc::new(origin), Metrics::default());
            let limiters: Vec<_> = plans.into_iter().map(|plan| Arc::new(Limiter::new(plan))).collect();
            let layer = RateLimit::new(limiters.clone(), &metrics, "orders", Shared(origin.clone()));
            Self { layer, origin, metrics, limiters }
        }

        fn calls(&self) -> u32 {
            self.origin.calls.load(Ordering::Relaxed)
        }

        fn counted(&self, limit: &str, result: &str) -> u64 {
            let labels = [("route", "orders"), ("limit", limit), ("result", result)];
            self.metrics
                .counter("forebay_rate_limit_total", "Requests by the verdict of a rate limit.", &labels)
                .get()
        }
    }

    fn named(name: &str, plan: LimitPlan) -> LimitPlan {
        LimitPlan { name: name.to_owned(), ..plan }
    }

    fn fields(response: &Response, name: &str) -> Vec<String> {
        response.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_success_tells_how_the_client_stands() {
        let bench = Bench::new(vec![
            named("per-client", limit("100/s", 200)),
            named("everybody", LimitPlan { key: KeyPlan::Global, ..limit("1/m", 5) }),
        ]);
        let response = bench.layer.send(request()).await.unwrap();
        let policy = "\"per-client\";q=200;w=2, \"everybody\";q=5;w=300";
        assert_eq!(fields(&response, "ratelimit-policy"), [policy]);
        assert_eq!(fields(&response, "ratelimit"), ["\"per-client\";r=199;t=1, \"everybody\";r=4;t=60"]);
        assert_eq!(bench.counted("per-client", "allowed"), 1);
        assert_eq!(bench.counted("everybody", "allowed"), 1);
    }

    #[tokio::test]
    async fn a_refusal_tells_when_to_come_back() {
        let bench = Bench::new(vec![named("wide", limit("9/s", 9)), named("narrow", limit("1/m", 1))]);
        let first = request();
        let mut second = request();
        second.received = first.received.plus(millis(500));
        assert!(bench.layer.send(first).await.is_ok());
        let error = bench.layer.send(second).await.unwrap_err();
        let Error::Refused(Refusal::RateLimited { retry_after, fields }) = error else { panic!("{error:?}") };
        assert_eq!(retry_after, millis(59_500));
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            fields,
            [
                ("ratelimit-policy", "\"wide\";q=9;w=1, \"narrow\";q=1;w=60"),
                ("ratelimit", "\"wide\";r=8;t=1, \"narrow\";r=0;t=60"),
            ]
        );
        assert_eq!(bench.calls(), 1);
        assert_eq!((bench.counted("wide", "allowed"), bench.counted("narrow", "limited")), (2, 1));
    }

    #[tokio::test]
    async fn fields_stay_out_of_the_cache_and_beside_the_origins() {
        let inside = LimitPlan { scope: Scope::Origin, ..limit("1/s", 1) };
        let response = Bench::new(vec![inside]).layer.send(request()).await.unwrap();
        assert!(fields(&response, "ratelimit").is_empty());
        assert!(fields(&response, "ratelimit-policy").is_empty());

        let origin = Origin { own: Some("\"daily\";r=7"), ..Origin::default() };
        let response = Bench::around(vec![limit("1/s", 1)], origin).layer.send(request()).await.unwrap();
        assert_eq!(fields(&response, "ratelimit"), ["\"daily\";r=7", "\"per-client\";r=0;t=1"]);

        let response = Bench::new(Vec::new()).layer.send(request()).await.unwrap();
        assert!(response.headers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_request_passes_when_its_turn_comes() {
        let bench = Bench::new(vec![delayed("10/s", 1, 9)]);
        let start = clock::now().instant;
        let requests: Vec<Request> = (0..4).map(|_| request()).collect();
        let trails: Vec<Trail> = requests.iter().map(|request| request.trail.clone()).collect();
        let mut answers: Vec<_> =
            requests.into_iter().map(|request| Box::pin(bench.layer.send(request))).collect();
        // The last in the queue is awaited first: turns were given when the requests came.
        for (number, answer) in answers.iter_mut().enumerate().rev() {
            let response = answer.await.unwrap();
            assert_eq!(fields(&response, "ratelimit"), ["\"per-client\";r=0;t=1"]);
            assert!(clock::now().instant - start >= millis(100 * number as u64));
        }
        let passed = clock::now().instant - start;
        assert!(passed < millis(305), "{passed:?}");
        let noted: Vec<Duration> = trails.iter().map(|trail| trail.read().delayed).collect();
        assert_eq!(noted, [0, 100, 200, 300].map(millis));
        let next = bench.limiters[0].take(&Key::V4(0xc000_0201), start + millis(300));
        assert_eq!(next, Err(start + millis(400)), "who has passed has spent the token");
        assert_eq!((bench.counted("per-client", "allowed"), bench.counted("per-client", "delayed")), (1, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_gives_everything_back() {
        let bench = Bench::new(vec![delayed("10/s", 1, 1)]);
        let limiter = &bench.limiters[0];
        assert!(bench.layer.send(request()).await.is_ok());
        for polls in 0..3 {
            let mut waiting = Box::pin(bench.layer.send(request()));
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                assert!(waiting.as_mut().poll(&mut cx).is_pending());
            }
            assert_eq!(limiter.waiting(), 1);
            let full = bench.layer.send(request()).await.unwrap_err();
            assert_eq!(full.as_str(), "rate_queue_full");
            drop(waiting);
            assert_eq!(limiter.waiting(), 0, "after {polls} polls");
        }
        let next = request();
        let trail = next.trail.clone();
        assert!(bench.layer.send(next).await.is_ok());
        assert_eq!(trail.read().delayed, millis(100), "no turn was lost");
        assert_eq!(bench.calls(), 2);
        assert_eq!(bench.counted("per-client", "queue_full"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_refusal_gives_a_turn_back_but_not_a_token() {
        let bench = Bench::new(vec![
            named("tokens", limit("1/m", 9)),
            named("turns", delayed("1/s", 1, 9)),
            named("narrow", limit("1/h", 1)),
        ]);
        assert!(bench.layer.send(request()).await.is_ok());
        for _ in 0..3 {
            let error = bench.layer.send(request()).await.unwrap_err();
            assert_eq!(error.as_str(), "rate_limited");
        }
        let now = clock::now().instant;
        let key = Key::V4(0xc000_0201);
        assert_eq!(bench.limiters[1].waiting(), 0);
        assert_eq!(bench.limiters[1].take(&key, now), Err(now + millis(1000)));
        assert_eq!(bench.limiters[0].take(&key, now).unwrap().remaining, 4);
    }
}
