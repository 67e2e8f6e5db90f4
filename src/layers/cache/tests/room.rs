//! What becomes of responses for which there is no room.

use super::*;

const STORE: StorePlan = room_of(20_000, 20_000);

fn not_stored(reason: &str) -> String {
    format!("forebay_cache_not_stored_total{{reason=\"{reason}\",route=\"test\"}}")
}

/// What an answer says of itself, and its body.
async fn told(asking: Asking) -> (String, String) {
    let response = asking.await.unwrap().unwrap();
    (status_of(&response).to_owned(), text(response).await)
}

/// A body that is written as it is read: chunks of a hundred bytes.
fn trickle(length: usize, sized: bool) -> Body {
    let (mut writer, body) = stream(sized.then_some(length as u64));
    tokio::spawn(async move {
        for _ in 0..length / 100 {
            writer.push(Bytes::from_static(&[b'x'; 100]));
            tokio::task::yield_now().await;
        }
        writer.finish(None, None);
    });
    body
}

#[tokio::test]
async fn those_who_wait_for_one_head_share_what_cannot_be_stored() {
    // (length, whether it is announced, limit of all memory, the word for it, whether the head can tell)
    for (length, sized, limit, word, told_by_head) in [
        (10_000, true, 9_000, "memory-limit", true),
        (10_000, false, 9_000, "memory-limit", false),
        (30_000, true, 1 << 20, "too-large", true),
        (30_000, false, 1 << 20, "too-large", false),
    ] {
        let case = format!("{length} {sized} {limit}");
        let mut bench = bench_within(|_| {}, STORE, limit);
        let clients: Vec<_> = (0..20).map(|_| tokio::spawn(told(bench.get()))).collect();
        let asked = bench.asked().await;
        bench.settle().await;
        asked.answer(Ok(response_with(200, FRESH, trickle(length, sized))));
        for client in clients {
            let (status, body) = client.await.unwrap();
            assert_eq!(body.len(), length, "{case}");
            assert_eq!(status.contains(&format!("detail={word}")), told_by_head, "{case}: {status}");
            assert_eq!(status.contains("; stored"), !told_by_head, "{case}: {status}");
        }
        assert_eq!(bench.calls(), 1, "{case}");
        assert_eq!(bench.metric(&not_stored(word)), 1.0, "{case}");
        bench.is_idle().await;
        assert_eq!(bench.store.memory().used_for(Use::Filling), 0);
        assert_eq!(bench.metric("forebay_cache_entries"), 0.0, "{case}");
        assert!(bench.store.memory().used() < 2_000, "{case}");
    }
}

#[tokio::test]
async fn who_waits_alone_gets_what_cannot_be_stored_as_it_comes() {
    let mut bench = bench_within(|_| {}, STORE, 9_000);
    for round in 1..=2 {
        // Nothing is remembered: there may be room the next time.
        let (first, second) = (bench.get(), bench.get());
        let asked = bench.asked().await;
        bench.settle().await;
        second.abort();
        bench.settle().await;
        asked.answer(Ok(response_with(200, FRESH, trickle(10_000, true))));
        let (status, body) = told(first).await;
        assert!(status.ends_with("detail=memory-limit"), "{status}");
        assert_eq!((body.len(), bench.calls()), (10_000, round));
        bench.is_idle().await;
        assert_eq!(bench.store.memory().used_for(Use::Filling), 0);
    }
}

#[tokio::test]
async fn many_large_bodies_at_once_keep_to_the_limit() {
    const LIMIT: u64 = 100_000;
    let mut bench = bench_within(|_| {}, room_of(40_000, 20_000), LIMIT);
    let clients: Vec<_> = (0..50)
        .map(|n| bench.send(bench.request(Method::GET, &format!("/{n}"), 0, &[])))
        .map(|asking| tokio::spawn(told(asking)))
        .collect();
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(bench.asked().await);
    }
    for (n, asked) in all.into_iter().enumerate() {
        asked.answer(Ok(response_with(200, FRESH, trickle(10_000, n % 2 == 0))));
    }
    let memory = bench.store.memory().clone();
    let mut peak = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        tokio::task::yield_now().await;
        peak = peak.max(memory.used());
    }
    for client in clients {
        assert_eq!(client.await.unwrap().1.len(), 10_000);
    }
    // What is streamed may be there without room: one chunk each.
    assert!((LIMIT / 2..LIMIT + 50 * 300).contains(&peak), "{peak}");
    assert!(bench.metric(&not_stored("memory-limit")) > 0.0);
    bench.is_idle().await;
    bench.store.settle().await;
    assert!(memory.used() <= 40_000, "{memory:?}");
    assert!(bench.metric("forebay_cache_entries") >= 1.0, "what there was room for is stored");
}

/// What goes is told apart: what could still have answered, and what was of no more use.
#[tokio::test(start_paused = true)]
async fn what_goes_was_expired_or_a_loss() {
    for (wait, size, expired) in [(0, 1.0, 0.0), (1000, 0.0, 1.0)] {
        clock::simulate(crate::clock::Wall::from_secs(1_735_787_045));
        let mut bench = bench_within(|_| {}, STORE, u64::MAX);
        bench.fill(FRESH, "x").await;
        bench.is_idle().await;
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let Bench { cache, store, metrics, .. } = bench;
        drop((cache, store));
        let text = metrics.render();
        let left = |reason: &str| {
            let series = format!("forebay_cache_evictions_total{{reason=\"{reason}\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&series));
            value.unwrap().parse::<f64>().unwrap()
        };
        assert_eq!((left("size"), left("expired")), (size, expired), "after {wait} s");
    }
}
