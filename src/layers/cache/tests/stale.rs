//! Stale answers, and refreshing what nobody waits for.

use super::super::refresh::SAMPLE;
use super::*;

const SWR: &[(&str, &str)] = &[("cache-control", "max-age=10, stale-while-revalidate=100")];

fn refreshes(reason: &str, decision: &str) -> String {
    format!("forebay_cache_refreshes_total{{decision=\"{decision}\",reason=\"{reason}\",route=\"test\"}}")
}

fn requests(result: &str, reason: &str) -> String {
    format!("forebay_cache_requests_total{{reason=\"{reason}\",result=\"{result}\",route=\"test\"}}")
}

#[tokio::test]
async fn the_configured_statuses_are_trouble_and_no_others() {
    for (configured, status, stands_in) in [
        (None, 500, true),
        (None, 503, true),
        (None, 501, false),
        (None, 429, false),
        (Some(vec![429]), 429, true),
        (Some(vec![429]), 503, false),
        (Some(vec![]), 500, false),
    ] {
        let case = format!("{configured:?} {status}");
        let change = |config: &mut CacheConfig| {
            config.stale_on_status = configured.clone().unwrap_or_else(|| config.stale_on_status.clone());
        };
        let mut bench = bench_with(change, room_of(1 << 20, 1024));
        bench.fill(&[("cache-control", "max-age=10, stale-if-error=60")], "old").await;
        let got = bench.get_at(30, &[]);
        bench.asked().await.answer(Ok(response(status, &[], "broken")));
        let got = got.await.unwrap().unwrap();
        assert_eq!(
            status_of(&got).ends_with("detail=stale-if-error"),
            stands_in,
            "{case}: {}",
            status_of(&got)
        );
        assert_eq!(text(got).await, if stands_in { "old" } else { "broken" }, "{case}");
        let counted = bench.metric(&requests("stale", "stale-if-error"));
        assert_eq!(counted, f64::from(u8::from(stands_in)), "{case}");
        // RFC 5861 §4: not beyond its bound.
        let late = bench.get_at(80, &[]);
        bench.asked().await.answer(Ok(response(status, &[], "broken")));
        assert_eq!(text(late.await.unwrap().unwrap()).await, "broken", "{case}");
    }
}

/// RFC 5861 §3, and mercy for an origin in trouble.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_is_not_made_again_at_once() {
    for failure in [Err(gone()), Ok(503)] {
        let mut bench = bench();
        bench.fill(SWR, "old").await;
        let start = clock::now().instant;
        let mut calls = Vec::new();
        // A client every tenth of a second, for eighty seconds.
        for tenth in 0..800 {
            let got = bench.get_at(20 + tenth / 10, &[]).await.unwrap().unwrap();
            assert!(status_of(&got).ends_with("detail=stale-while-revalidate"), "{}", status_of(&got));
            bench.settle().await;
            if let Ok(asked) = bench.asked.try_recv() {
                calls.push(clock::now().instant - start);
                asked.answer(failure.clone().map(|status| response(status, &[], "broken")));
                bench.settle().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Rests of up to 1, 2, 4, 8, 16, 32, 60 seconds, at least half of that each.
        assert!((6..=10).contains(&calls.len()), "{calls:?}");
        let pauses: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            pauses[0] >= Duration::from_millis(500) && pauses[0] <= Duration::from_millis(1200),
            "{pauses:?}"
        );
        assert!(pauses[3] >= Duration::from_secs(4), "{pauses:?}");
        assert_eq!(bench.metric(&refreshes("stale", "started")), calls.len() as f64);
        assert!(bench.metric(&refreshes("stale", "resting")) > 700.0);
        // A client that has to wait is not held back, and what it brings ends the rest.
        let got = bench.get_at(500, &[]);
        bench.asked().await.answer(Ok(response(200, SWR, "new")));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "new");
        let stale = bench.get_at(100, &[]).await.unwrap().unwrap();
        assert_eq!(text(stale).await, "new");
        bench.settle().await;
        assert!(bench.asked.try_recv().is_ok(), "it is refreshed again");
    }
}

#[tokio::test]
async fn refreshes_are_bounded_and_made_once_a_key() {
    let mut bench = bench();
    let ask = |bench: &Bench, n: usize, seconds| {
        bench.send(bench.request(Method::GET, &format!("/{n}"), seconds, &[]))
    };
    for n in 0..80 {
        let got = ask(&bench, n, 0);
        bench.asked().await.answer(Ok(response(200, SWR, "old")));
        text(got.await.unwrap().unwrap()).await;
    }
    for _ in 0..2 {
        for n in 0..80 {
            assert_eq!(text(ask(&bench, n, 20).await.unwrap().unwrap()).await, "old");
        }
    }
    bench.settle().await;
    assert_eq!(bench.calls(), 80 + 64);
    assert_eq!(bench.metric(&refreshes("stale", "too-many")), 2.0 * 16.0 + 64.0);
    // Those that are done make room.
    for _ in 0..64 {
        bench.asked().await.answer(Ok(response(200, SWR, "new")));
    }
    bench.is_idle().await;
    assert_eq!(text(ask(&bench, 79, 20).await.unwrap().unwrap()).await, "old");
    bench.asked().await.answer(Ok(response(200, SWR, "new")));
    bench.is_idle().await;
    assert_eq!(bench.permits(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_busy_and_dear_is_refreshed_ahead() {
    // (on, what the origin takes, hits, at which second of a hundred, whether it is refreshed)
    for (on, millis, hits, second, refreshed) in [
        (true, 500, SAMPLE, 95, true),
        (true, 500, SAMPLE - 1, 95, false),
        (true, 500, SAMPLE, 80, false),
        (true, 20, SAMPLE, 95, false),
        (true, 20, 4 * SAMPLE, 95, true),
        (false, 500, 4 * SAMPLE, 95, false),
    ] {
        // On a thread of its own: hits are sampled a thread.
        let case = format!("{on} {millis} {hits} {second}");
        let change = |config: &mut CacheConfig| config.refresh_ahead = on;
        let mut bench = bench_with(change, room_of(1 << 20, 1024));
        super::super::refresh::begin_sampling();
        let got = bench.get();
        let asked = bench.asked().await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let fields = [("cache-control", "max-age=100"), ("etag", "\"1\"")];
        asked.answer(Ok(response(200, &fields, "old")));
        text(got.await.unwrap().unwrap()).await;
        for _ in 0..hits {
            let hit = bench.get_at(second, &[]).await.unwrap().unwrap();
            assert!(status_of(&hit).starts_with("forebay; hit; ttl="), "{case}: {}", status_of(&hit));
        }
        bench.settle().await;
        assert_eq!(bench.calls(), 1 + usize::from(refreshed), "{case}");
        assert_eq!(bench.metric(&refreshes("ahead", "started")), f64::from(u8::from(refreshed)), "{case}");
        if refreshed {
            let asked = bench.asked().await;
            assert_eq!(asked.header("if-none-match"), Some("\"1\""));
            asked.answer(Ok(response(200, &fields, "new")));
            bench.is_idle().await;
            assert_eq!(text(bench.get_at(96, &[]).await.unwrap().unwrap()).await, "new");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_origin_was_spared_is_counted() {
    let mut bench = bench();
    let got = bench.get();
    let asked = bench.asked().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    asked.answer(Ok(response(200, SWR, "x")));
    text(got.await.unwrap().unwrap()).await;
    for _ in 0..4 {
        bench.get_at(2, &[]).await.unwrap().unwrap();
    }
    let of = |name: &str| bench.metric(&format!("forebay_cache_{name}{{route=\"test\"}}"));
    assert_eq!(of("origin_seconds_saved_total"), 6.0);
    assert_eq!((of("origin_seconds_count"), of("origin_seconds_sum")), (1.0, 1.5));
    assert_eq!((of("fill_seconds_count"), of("fill_seconds_sum")), (1.0, 1.5));
    // A stale answer spares the origin as well, and costs it a refresh.
    bench.get_at(20, &[]).await.unwrap().unwrap();
    assert_eq!(of("origin_seconds_saved_total"), 7.5);
}

/// RFC 5861 §4: what counts is how stale it is when it is served, not when it was asked for.
#[tokio::test(start_paused = true)]
async fn a_window_that_closes_while_the_origin_keeps_us_waiting_is_closed() {
    for (wait, stands_in) in [(2, true), (9, false)] {
        clock::simulate(crate::clock::Wall::from_secs(1_735_787_045));
        let mut bench = bench();
        bench.fill(&[("cache-control", "max-age=10, stale-if-error=10")], "old").await;
        tokio::time::sleep(Duration::from_secs(13)).await;
        let (leader, follower) = (bench.get_at(13, &[]), bench.get_at(13, &[]));
        let asked = bench.asked().await;
        tokio::time::sleep(Duration::from_secs(wait)).await;
        asked.answer(Err(gone()));
        bench.settle().await;
        if let Ok(asked) = bench.asked.try_recv() {
            asked.answer(Err(gone()));
        }
        for got in [leader, follower] {
            assert_eq!(got.await.unwrap().is_ok(), stands_in, "{wait}");
        }
        bench.is_idle().await;
    }
}

/// RFC 9111 §5.2.1.5: nothing that comes of such a request is stored, so it refreshes nothing.
#[tokio::test]
async fn a_request_with_no_store_refreshes_nothing() {
    let mut bench = bench();
    bench.fill(SWR, "old").await;
    let got = bench.get_at(20, &[("cache-control", "no-store")]).await.unwrap().unwrap();
    assert!(status_of(&got).ends_with("detail=stale-while-revalidate"), "{}", status_of(&got));
    bench.settle().await;
    assert_eq!(bench.calls(), 1);
    bench.get_at(20, &[]).await.unwrap().unwrap();
    bench.settle().await;
    assert_eq!(bench.calls(), 2);
}
