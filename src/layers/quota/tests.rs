use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use super::config::QuotaConfig;
use super::pace::Turn;
use super::{Pace, QuotaPlan, plan};
use crate::clock::{self, Now};
use crate::metrics::Metrics;
use crate::report::{Path, Report};

const MS: Duration = Duration::from_millis(1);

fn pace(interval: Duration, burst: u32) -> Pace {
    let plan = QuotaPlan { interval, burst, queue: 3, queue_timeout: Duration::from_secs(9) };
    Pace::new("orders", &plan, &Metrics::default())
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

/// When so many requests that come now have their turns, in milliseconds.
fn turns(pace: &Pace, now: Now, count: usize) -> Vec<u128> {
    let latest = now.instant + Duration::from_secs(3600 * 2);
    let turn = |_| {
        let turn = pace.reserve(now.instant, latest).unwrap();
        let due = turn.due().saturating_duration_since(now.instant).as_millis();
        let mut turn = turn;
        turn.pass();
        due
    };
    (0..count).map(turn).collect()
}

#[test]
fn every_problem_is_reported_at_its_value() {
    for (text, path) in [
        ("rate = \"100/s\"", None),
        ("rate = \"2000000/s\"", Some("quota.rate")),
        ("rate = \"1/s\"\nburst = 0", Some("quota.burst")),
        ("rate = \"1/s\"\nburst = 200000", Some("quota.burst")),
        ("rate = \"1/s\"\nqueue = 200000", Some("quota.queue")),
        ("rate = \"1/s\"\nqueue_timeout = \"2h\"", Some("quota.queue_timeout")),
    ] {
        let config: QuotaConfig = toml::from_str(text).unwrap();
        let mut report = Report::new();
        let plan = plan(&config, &Path::root().key("quota"), &mut report);
        let paths: Vec<_> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(paths.first().map(String::as_str), path, "{text}");
        assert!(!plan.interval.is_zero() && plan.burst > 0, "{text}");
    }
}

#[test]
fn turns_are_one_interval_apart_after_the_burst() {
    let now = clock::now();
    assert_eq!(turns(&pace(100 * MS, 1), now, 4), [0, 100, 200, 300]);
    let bursting = pace(100 * MS, 3);
    assert_eq!(turns(&bursting, now, 5), [0, 0, 0, 100, 200]);
    // It is full again after five intervals, and never fuller.
    assert_eq!(turns(&bursting, now.plus(Duration::from_secs(60)), 4), [0, 0, 0, 100]);
    let charged = pace(100 * MS, 1);
    assert_eq!(turns(&charged, now, 1), [0]);
    charged.charge(now.instant);
    assert_eq!(turns(&charged, now, 2), [200, 300], "a retry was sent in between");
}

#[test]
fn a_turn_that_is_too_late_is_not_taken_and_the_last_one_is_given_back() {
    let (pace, now) = (pace(100 * MS, 1), clock::now().instant);
    pace.reserve(now, now).unwrap().pass();
    assert_eq!(pace.reserve(now, now + 99 * MS).unwrap_err(), now + 100 * MS);
    for _ in 0..3 {
        drop(pace.reserve(now, now + 100 * MS).unwrap());
    }
    let early = pace.reserve(now, now + 100 * MS).unwrap();
    let mut late = pace.reserve(now, now + 200 * MS).unwrap();
    // Its place is gone: those behind it keep theirs.
    drop(early);
    assert_eq!(late.due(), now + 200 * MS);
    late.pass();
    assert_eq!(pace.reserve(now, now + 999 * MS).unwrap().due(), now + 300 * MS);
}

#[test]
fn what_the_origin_says_lowers_the_pace_until_its_reset() {
    let now = clock::now();
    let ok = StatusCode::OK;
    for (what, answers, expected) in [
        ("plenty", &[(ok, &[("ratelimit", "\"a\";r=50;t=5")][..])][..], [0, 100, 200]),
        ("one left", &[(ok, &[("ratelimit", "\"a\";r=1;t=5")])], [0, 5000, 5100]),
        ("nothing left", &[(ok, &[("ratelimit", "\"a\";r=0;t=5")])], [5000, 5100, 5200]),
        ("429", &[(StatusCode::TOO_MANY_REQUESTS, &[("retry-after", "3")])], [3000, 3100, 3200]),
        ("429 that says nothing", &[(StatusCode::TOO_MANY_REQUESTS, &[])], [1000, 1100, 1200]),
        ("503", &[(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "3")])], [0, 100, 200]),
        ("a day", &[(ok, &[("ratelimit", "\"a\";r=0;t=86400")])], [3_600_000, 3_600_100, 3_600_200]),
        // An answer to an earlier request says that there was more.
        (
            "out of order",
            &[(ok, &[("ratelimit", "\"a\";r=0;t=5")]), (ok, &[("ratelimit", "\"a\";r=7;t=5")])],
            [5000, 5100, 5200],
        ),
        (
            "refused, and another limit is fine",
            &[
                (StatusCode::TOO_MANY_REQUESTS, &[("retry-after", "9")]),
                (ok, &[("ratelimit", "\"a\";r=7;t=1")]),
            ],
            [9000, 9100, 9200],
        ),
    ] {
        let pace = pace(100 * MS, 1);
        for (status, lines) in answers {
            pace.observe(*status, &headers(lines), now);
        }
        assert_eq!(turns(&pace, now, 3), expected, "{what}");
        // After the reset all is as it was.
        let later = now.plus(Duration::from_secs(2 * 3600));
        assert_eq!(turns(&pace, later, 3), [0, 100, 200], "{what}");
    }
}

#[test]
fn a_turn_before_the_reset_is_none_any_more() {
    let (pace, now) = (pace(100 * MS, 1), clock::now());
    let latest = now.instant + Duration::from_secs(60);
    pace.reserve(now.instant, latest).unwrap().pass();
    let turn = pace.reserve(now.instant, latest).unwrap();
    let then = turn.due();
    assert!(turn.is_good(then));
    pace.observe(StatusCode::TOO_MANY_REQUESTS, &headers(&[("retry-after", "2")]), now);
    assert!(!turn.is_good(then));
    assert!(turn.is_good(now.instant + Duration::from_secs(2)));
    drop(turn);
    assert_eq!(pace.reserve(then, latest).unwrap().due(), now.instant + Duration::from_secs(2));
}

#[test]
fn only_so_many_wait() {
    let pace = pace(MS, 1);
    let mut places: Vec<_> = (0..9).filter_map(|_| pace.enter()).collect();
    assert_eq!(places.len(), 3);
    places.pop();
    assert!(pace.enter().is_some());
}

/// A turn that was not used can be had again, as far as those given away after it leave room; never so that
/// more is sent than the rate and the burst allow.
#[test]
fn a_turn_that_was_not_used_is_given_back() {
    // The burst, which of four turns that were given away at once are given back, and when the next one is.
    for (burst, back, next) in [
        (1, &[][..], 400),
        (1, &[3], 300),
        (1, &[1], 400),
        (1, &[3, 2, 1, 0], 0),
        (2, &[], 300),
        (2, &[1], 200),
        (2, &[1, 2], 200),
        (4, &[0, 1, 2], 0),
    ] {
        let (pace, now) = (pace(100 * MS, burst), clock::now());
        let latest = now.instant + Duration::from_secs(60);
        let mut turns: Vec<_> = (0..4).map(|_| pace.reserve(now.instant, latest).ok()).collect();
        for index in back {
            drop(turns[*index].take());
        }
        turns.iter_mut().flatten().for_each(Turn::pass);
        let due = pace.reserve(now.instant, latest).unwrap().due();
        assert_eq!((due - now.instant).as_millis(), next, "a burst of {burst}, {back:?}");
    }
}
