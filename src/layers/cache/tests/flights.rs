//! Who follows whom, for how long, and what becomes of them when it goes wrong.

use super::super::flight::MAX_AGE;
use super::*;

/// Everybody asks; the origin answers each request in turn with what it is told.
async fn ask_together(bench: &mut Bench, clients: usize, statuses: &[u16]) -> Vec<Result<Response, Error>> {
    let asking: Vec<_> = (0..clients).map(|_| bench.get()).collect();
    for status in statuses {
        let asked = bench.asked().await;
        bench.settle().await;
        asked.answer(Ok(response(*status, if *status == 200 { FRESH } else { &[] }, "x")));
    }
    let mut answers = Vec::new();
    for asking in asking {
        answers.push(asking.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn an_origin_in_trouble_meets_no_herd() {
    // (what it answers, how many clients get which status)
    for (statuses, good, own, told) in [(&[503, 200][..], 49, 1, 0), (&[503, 502], 0, 2, 48)] {
        let mut bench = bench();
        let answers = ask_together(&mut bench, 50, statuses).await;
        let of =
            |wanted: fn(&Result<Response, Error>) -> bool| answers.iter().filter(|it| wanted(it)).count();
        assert_eq!(of(|answer| answer.as_ref().is_ok_and(|response| response.status == 200)), good);
        assert_eq!(of(|answer| answer.as_ref().is_ok_and(|response| response.status != 200)), own);
        assert_eq!(of(|answer| answer.as_ref().is_err_and(|error| error.as_str() == "origin_trouble")), told);
        assert_eq!(bench.calls(), 2);
        bench.is_idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_does_not_hold_up_its_key() {
    let mut bench = bench();
    let first = bench.get();
    let hangs = bench.asked().await;
    tokio::time::sleep(MAX_AGE).await;
    let follower = bench.get();
    bench.settle().await;
    assert_eq!(bench.calls(), 1, "not too old yet");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let late: Vec<_> = (0..5).map(|_| bench.get()).collect();
    bench.asked().await.answer(Ok(response(200, FRESH, "x")));
    for asking in late {
        assert_eq!(text(asking.await.unwrap().unwrap()).await, "x");
    }
    assert_eq!(bench.calls(), 2, "one more, and the others follow that one");
    hangs.answer(Ok(response(200, FRESH, "y")));
    assert_eq!(text(first.await.unwrap().unwrap()).await, "y");
    assert_eq!(text(follower.await.unwrap().unwrap()).await, "y");
    bench.is_idle().await;
}

/// RFC 9111 §4: who comes when a response is on its way may use it only if it is fresh.
#[tokio::test(start_paused = true)]
async fn nobody_joins_a_response_that_has_gone_stale_on_its_way() {
    for (max_age, wait, fields, joins) in [
        (10, 5, &[][..], true),
        (10, 11, &[], false),
        (0, 0, &[], false),
        (60, 30, &[("cache-control", "max-age=20")], false),
        (10, 15, &[("cache-control", "max-stale=20")], true),
    ] {
        let case = format!("{max_age} {wait} {fields:?}");
        let mut bench = bench();
        let leader = bench.get();
        let follower = bench.get();
        let asked = bench.asked().await;
        bench.settle().await;
        let (mut writer, body) = stream(None);
        let lifetime = format!("max-age={max_age}, stale-if-error=9");
        asked.answer(Ok(response_with(200, &[("cache-control", &lifetime)], body)));
        writer.push("one ".into());
        let leader = leader.await.unwrap().unwrap();
        let follower = follower.await.unwrap().unwrap();
        assert!(status_of(&follower).ends_with("; collapsed"), "{case}: it waited for the head");
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let late = bench.get_at(wait, fields);
        bench.settle().await;
        assert_eq!(bench.calls(), if joins { 1 } else { 2 }, "{case}");
        if !joins {
            bench.asked().await.answer(Ok(response(200, FRESH, "one two")));
        }
        writer.finish(Some("two".into()), None);
        for answer in [leader, follower, late.await.unwrap().unwrap()] {
            assert_eq!(text(answer).await, "one two", "{case}");
        }
        bench.is_idle().await;
    }
}

/// A slow reader of what is kept holds nobody up, and the connection to the origin is free before it is done.
#[tokio::test]
async fn a_slow_reader_does_not_hold_the_origin() {
    let mut bench = bench();
    let (slow, fast) = (bench.get(), bench.get());
    let asked = bench.asked().await;
    bench.settle().await;
    let (mut writer, body) = stream(None);
    asked.answer(Ok(response_with(200, FRESH, body)));
    let (slow, fast) = (slow.await.unwrap().unwrap(), fast.await.unwrap().unwrap());
    for _ in 0..50 {
        writer.push(Bytes::from(vec![b'x'; 10_000]));
        bench.settle().await;
    }
    writer.finish(None, None);
    assert_eq!(text(fast).await.len(), 500_000);
    bench.settle().await;
    assert!(bench.store.flights().is_empty(), "the fill is done");
    assert_eq!(bench.metric("forebay_cache_fills{route=\"test\"}"), 0.0);
    assert_eq!(text(slow).await.len(), 500_000);
    assert_eq!(bench.store.memory().used_for(Use::Filling), 0);
}
