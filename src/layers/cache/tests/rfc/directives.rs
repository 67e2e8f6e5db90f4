//! RFC 9111 §5.2, §5.4, RFC 5861, RFC 8246: every directive, of requests and responses.

use super::*;

/// RFC 9111 §5.2.1. The entry is stored with `max-age=60` and an entity tag.
#[tokio::test]
async fn of_requests() {
    for (clause, line, after, expected) in [
        ("§5.2.1.1", "max-age=30", 20, Got::Hit),
        ("§5.2.1.1", "max-age=30", 40, Got::Validated),
        ("§5.2.1.1: a reload", "max-age=0", 1, Got::Validated),
        ("§5.2.1.1: no number, none accepted", "max-age=x", 1, Got::Validated),
        ("§5.2.1.1: quoted", "max-age=\"30\"", 20, Got::Hit),
        ("§5.2.1.1: huge", "max-age=99999999999", 20, Got::Hit),
        ("§5.2.1.1: the lower of two", "max-age=50, max-age=10", 20, Got::Validated),
        ("§5.2.1.2: any", "max-stale", 5000, Got::Hit),
        ("§5.2.1.2: so much", "max-stale=30", 80, Got::Hit),
        ("§5.2.1.2: no more", "max-stale=30", 95, Got::Validated),
        ("§5.2.1.2: no number, none accepted", "max-stale=x", 65, Got::Validated),
        ("§5.2.1.2: not beyond max-age", "max-stale, max-age=62", 65, Got::Validated),
        ("§5.2.1.3", "min-fresh=30", 20, Got::Hit),
        ("§5.2.1.3", "min-fresh=30", 40, Got::Validated),
        ("§5.2.1.3: huge", "min-fresh=99999999999", 1, Got::Validated),
        ("§5.2.1.4", "no-cache", 1, Got::Validated),
        ("§5.2.1.4: case", "No-Cache", 1, Got::Validated),
        ("§5.2.1.4: over max-stale", "max-stale, no-cache", 65, Got::Validated),
        ("§5.2.1.5: what is stored may answer", "no-store", 1, Got::Hit),
        ("§5.2.1.6", "no-transform", 1, Got::Hit),
        ("§5.2.1.7: fresh", "only-if-cached", 1, Got::Hit),
        ("§5.2.1.7: stale", "only-if-cached", 65, Got::Refused),
        ("§5.2.1.7: stale and accepted", "only-if-cached, max-stale", 65, Got::Hit),
        ("§5.2.1.7: too old", "only-if-cached, max-age=1", 5, Got::Refused),
        ("§5.2.1.7: both", "only-if-cached, no-cache", 5, Got::Refused),
        ("§5.2.3: unknown", "x-unknown", 1, Got::Hit),
        ("§5.2: empty", "", 1, Got::Hit),
    ] {
        let (first, request) =
            ([("cache-control", "max-age=60"), ("etag", "\"a\"")], [("cache-control", line)]);
        assert_eq!(outcome(&first, after, &request).await, expected, "{clause}: {line} after {after}s");
        let deaf = |config: &mut CacheConfig| config.honor_client_no_cache = false;
        let plain = if after < 60 { Got::Hit } else { Got::Validated };
        let ignored = outcome_with(deaf, 200, &first, after, &request).await;
        assert_eq!(ignored, plain, "a client without a say: {line}");
    }
    let refused = bench().get_at(0, &[("cache-control", "only-if-cached")]).await.unwrap();
    assert!(matches!(refused, Err(Error::Refused(Refusal::OnlyIfCached))), "§5.2.1.7: nothing stored");
}

/// RFC 9111 §5.4.
#[tokio::test]
async fn pragma() {
    let rows: [(&str, Fields<'_>, Got); 5] = [
        ("alone", &[("pragma", "no-cache")], Got::Validated),
        ("case, in a list", &[("pragma", "x, NO-CACHE")], Got::Validated),
        ("not beside Cache-Control", &[("pragma", "no-cache"), ("cache-control", "max-age=30")], Got::Hit),
        ("not beside an empty one", &[("pragma", "no-cache"), ("cache-control", "")], Got::Hit),
        ("something else", &[("pragma", "x")], Got::Hit),
    ];
    for (what, request, expected) in rows {
        let first = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        assert_eq!(outcome(&first, 1, request).await, expected, "{what}");
    }
}

/// RFC 9111 §5.2.2; RFC 5861. Every entry has an entity tag.
#[tokio::test]
async fn of_responses() {
    for (clause, line, after, request, expected) in [
        ("9111 §5.2.2.1", "max-age=60", 59, "", Got::Hit),
        ("9111 §5.2.2.1", "max-age=60", 60, "", Got::Validated),
        ("9111 §5.2.2.2", "max-age=60, must-revalidate", 30, "", Got::Hit),
        ("9111 §5.2.2.2", "max-age=60, must-revalidate", 70, "max-stale", Got::Validated),
        ("9111 §5.2.2.4", "max-age=60, no-cache", 1, "", Got::Validated),
        ("9111 §5.2.2.4", "no-cache", 1, "max-stale", Got::Validated),
        ("9111 §5.2.2.4: qualified", "max-age=60, no-cache=\"x\"", 1, "", Got::Hit),
        ("9111 §5.2.2.4: as a token", "max-age=60, no-cache=x", 1, "", Got::Hit),
        ("9111 §5.2.2.4: an empty list is none", "max-age=60, no-cache=\"\"", 1, "", Got::Validated),
        ("9111 §5.2.2.4: both forms", "max-age=60, no-cache=\"x\", no-cache", 1, "", Got::Validated),
        ("9111 §5.2.2.6", "max-age=60, no-transform", 1, "", Got::Hit),
        ("9111 §5.2.2.8", "max-age=60, proxy-revalidate", 70, "max-stale", Got::Validated),
        ("9111 §5.2.2.9", "max-age=60, public", 1, "", Got::Hit),
        ("9111 §5.2.2.10", "s-maxage=60", 70, "max-stale", Got::Validated),
        ("9111 §5.2.2.10", "s-maxage=0, max-age=60", 1, "", Got::Validated),
        ("5861 §3", "max-age=60, stale-while-revalidate=30", 80, "", Got::Hit),
        ("5861 §3", "max-age=60, stale-while-revalidate=30", 95, "", Got::Validated),
        ("5861 §3: no number", "max-age=60, stale-while-revalidate=x", 61, "", Got::Validated),
        ("5861 §3: from stale on", "max-age=0, stale-while-revalidate=30", 10, "", Got::Hit),
        ("5861 §3", "max-age=60, must-revalidate, stale-while-revalidate=30", 70, "", Got::Validated),
        ("5861 §3", "max-age=60, stale-while-revalidate=30", 70, "no-cache", Got::Validated),
        ("5861 §3", "no-cache, max-age=60, stale-while-revalidate=30", 70, "", Got::Validated),
    ] {
        let first = [("cache-control", line), ("etag", "\"a\"")];
        let got = outcome(&first, after, &[("cache-control", request)]).await;
        assert_eq!(got, expected, "{clause}: {line} after {after}s, {request}");
    }
}

/// RFC 8246 §2: a reload does not revalidate what does not change; a forced one does.
#[tokio::test]
async fn immutable() {
    for (line, request, after, expected) in [
        ("max-age=60, immutable", "max-age=0", 30, Got::Hit),
        ("max-age=60, immutable", "max-age=10", 30, Got::Hit),
        ("max-age=60, immutable", "no-cache", 30, Got::Validated),
        ("max-age=60, immutable", "min-fresh=40", 30, Got::Validated),
        ("max-age=60, immutable", "max-age=0", 70, Got::Validated),
        ("max-age=60, immutable, no-cache", "max-age=0", 30, Got::Validated),
        ("max-age=60", "max-age=0", 30, Got::Validated),
    ] {
        let first = [("cache-control", line), ("etag", "\"a\"")];
        let got = outcome(&first, after, &[("cache-control", request)]).await;
        assert_eq!(got, expected, "{line}, {request} after {after}s");
    }
}
