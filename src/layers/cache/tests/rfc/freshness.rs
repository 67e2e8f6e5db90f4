//! RFC 9111 §4.2: fresh or not.

use super::super::super::config::SMaxageStale;
use super::*;

/// §4.2.1, §5.3: the lifetime, by the first of its sources that is there.
#[tokio::test]
async fn lifetimes() {
    let (now, hour, ago, ancient) = (date(0), date(3600), date(-3600), date(-40_000_000));
    let (rfc850, asctime) = ("Friday, 31-Dec-60 23:59:59 GMT", "Fri Dec 31 23:59:59 2060");
    let huge: Fields<'_> = &[("cache-control", "max-age=99999999999999999999")];
    let rows: [(&str, Fields<'_>, u64, bool); 26] = [
        ("§4.2.1 s-maxage first", &[("cache-control", "s-maxage=60, max-age=1")], 30, true),
        ("§4.2.1 s-maxage first", &[("cache-control", "s-maxage=1, max-age=60")], 30, false),
        ("§4.2.1 max-age over Expires", &[("cache-control", "max-age=60"), ("expires", &ago)], 30, true),
        ("§4.2.1 max-age over Expires", &[("cache-control", "max-age=1"), ("expires", &hour)], 30, false),
        ("§4.2.1 Expires less Date", &[("date", &now), ("expires", &hour)], 3500, true),
        ("§4.2.1 Expires less Date", &[("date", &now), ("expires", &hour)], 3700, false),
        ("§5.3 no Date: the time of arrival", &[("expires", &hour)], 3500, true),
        ("§5.3 a Date that is none", &[("date", "today"), ("expires", &hour)], 3500, true),
        ("§5.3 in the past", &[("expires", &ago)], 0, false),
        ("§5.3 the Date itself", &[("date", &now), ("expires", &now)], 0, false),
        ("§5.3 0 is in the past", &[("expires", "0")], 0, false),
        ("§5.3 -1", &[("expires", "-1")], 0, false),
        ("§5.3 invalid is in the past", &[("expires", "soon")], 0, false),
        ("§5.3 empty", &[("expires", "")], 0, false),
        ("9110 §5.6.7 rfc850-date", &[("expires", rfc850)], 30, true),
        ("9110 §5.6.7 asctime-date", &[("expires", asctime)], 30, true),
        ("9110 §5.6.7 no other zone", &[("expires", "Fri, 31 Dec 2060 23:59:59 CET")], 0, false),
        ("§4.2.1 twice: one of both, or stale", &[("expires", &hour), ("expires", &ago)], 0, false),
        ("§4.2.1 twice: one of both, or stale", &[("cache-control", "max-age=60, max-age=1")], 30, false),
        ("§4.2.1 invalid: stale", &[("cache-control", "max-age=a")], 0, false),
        ("§4.2.1 invalid, Expires or not", &[("cache-control", "max-age=a"), ("expires", &hour)], 0, false),
        ("§5.2.2.1 no argument", &[("cache-control", "max-age")], 0, false),
        ("§5.2 quoted", &[("cache-control", "max-age=\"60\"")], 30, true),
        ("§1.2.2 huge", huge, 2_000_000_000, true),
        ("§1.2.2 2^31 and no more", huge, 2_200_000_000, false),
        ("§4.2.3 a Date of long ago", &[("cache-control", "max-age=3600"), ("date", &ancient)], 0, false),
    ];
    for (clause, first, after, fresh) in rows {
        let got = outcome(first, after, &[]).await;
        assert_eq!(got == Got::Hit, fresh, "{clause}: {first:?} after {after}s: {got:?}");
    }
}

/// §4.2.3, §5.1: age at arrival.
#[tokio::test]
async fn ages() {
    let (ago, ahead) = (date(-30), date(600));
    const HUNDRED: (&str, &str) = ("cache-control", "max-age=100");
    let rows: [(&str, Fields<'_>, u64, bool); 14] = [
        ("§4.2.3 Age counts", &[HUNDRED, ("age", "50")], 40, true),
        ("§4.2.3 Age counts", &[HUNDRED, ("age", "50")], 60, false),
        ("§4.2.3 so does Date", &[HUNDRED, ("date", &ago)], 60, true),
        ("§4.2.3 so does Date", &[HUNDRED, ("date", &ago)], 80, false),
        ("§4.2.3 the larger of both", &[HUNDRED, ("date", &ago), ("age", "90")], 20, false),
        ("§4.2.3 the larger of both", &[HUNDRED, ("date", &ago), ("age", "1")], 80, false),
        ("§4.2.3 a Date ahead is none", &[HUNDRED, ("date", &ahead)], 90, true),
        ("§4.2.3 a Date ahead is none", &[HUNDRED, ("date", &ahead)], 110, false),
        ("§5.1 the first of a list", &[HUNDRED, ("age", "10, 90")], 80, true),
        ("§1.2.2 huge", &[HUNDRED, ("age", "99999999999999999999")], 0, false),
        ("§5.1 negative: ours, stale", &[HUNDRED, ("age", "-10")], 0, false),
        ("§5.1 no number: ours, stale", &[HUNDRED, ("age", "old")], 0, false),
        ("§5.1 a fraction: ours, stale", &[HUNDRED, ("age", "1.0")], 0, false),
        ("§5.1 several lines: ours, stale", &[HUNDRED, ("age", "1"), ("age", "2")], 0, false),
    ];
    for (clause, first, after, fresh) in rows {
        let got = outcome(first, after, &[]).await;
        assert_eq!(got == Got::Hit, fresh, "{clause}: {first:?} after {after}s: {got:?}");
    }
}

/// §4.2.2: a tenth of the time since the last change, for statuses that allow it.
#[tokio::test]
async fn heuristics() {
    let modified = date(-10_000);
    let on = |config: &mut CacheConfig| config.heuristic = true;
    let old: Fields<'_> = &[("last-modified", &modified)];
    let public: Fields<'_> = &[("last-modified", &modified), ("cache-control", "public")];
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(outcome_with(on, status, old, 900, &[]).await, Got::Hit, "9110 §15.1: {status}");
        assert_ne!(outcome_with(on, status, old, 1100, &[]).await, Got::Hit, "§4.2.2: {status}");
        assert_ne!(outcome_with(|_| {}, status, old, 900, &[]).await, Got::Hit, "off by default: {status}");
    }
    for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599] {
        assert_ne!(outcome_with(on, status, old, 1, &[]).await, Got::Hit, "9110 §15.1: {status}");
        assert_eq!(outcome_with(on, status, public, 1, &[]).await, Got::Hit, "§4.2.2, public: {status}");
    }
    // §4.2.2: never in place of an explicit lifetime, not even an invalid one.
    for explicit in
        [("cache-control", "max-age=0"), ("expires", "0"), ("expires", "x"), ("cache-control", "no-cache")]
    {
        let first = [("last-modified", modified.as_str()), explicit];
        assert_ne!(outcome_with(on, 200, &first, 1, &[]).await, Got::Hit, "{explicit:?}");
    }
}

/// §4.2.4: stale answers where the origin cannot be asked, and where that is forbidden.
#[tokio::test]
async fn stale_when_the_origin_fails() {
    let modes = [SMaxageStale::Never, SMaxageStale::Explicit, SMaxageStale::Always];
    for (line, expected) in [
        ("max-age=60", [true, true, true]),
        ("max-age=60, must-revalidate", [false, false, false]),
        ("max-age=60, proxy-revalidate", [false, false, false]),
        ("max-age=60, must-revalidate, stale-if-error=100", [false, false, false]),
        ("max-age=60, no-cache", [false, false, false]),
        ("s-maxage=60", [false, false, true]),
        ("s-maxage=60, stale-if-error=100", [false, true, true]),
        ("max-age=60, stale-if-error=5", [false, false, false]),
        ("max-age=60, stale-if-error=0", [false, false, false]),
    ] {
        for (mode, served) in modes.into_iter().zip(expected) {
            for gave_up in [true, false] {
                let first = [("cache-control", line), ("etag", "\"a\"")];
                let mut bench = after_answer(|config| config.s_maxage_stale = mode, 200, &first).await;
                let asking = bench.get_at(70, &[]);
                let trouble = if gave_up { Err(gone()) } else { Ok(response(503, &[], "trouble")) };
                bench.asked().await.answer(trouble);
                let stale = asking.await.unwrap().is_ok_and(|response| response.status == 200);
                assert_eq!(stale, served, "{line} {mode:?}, gone: {gave_up}");
            }
        }
    }
}
