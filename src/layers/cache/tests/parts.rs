//! Parts and purges: bytes that were purged come back in no way, whenever the purge comes.

use super::super::config::Ranges;
use super::super::purge::Mode;
use super::*;

const FIELDS: [(&str, &str); 2] = [("cache-control", "max-age=60"), ("etag", "\"a\"")];

fn parts() -> Bench {
    bench_with(|config| config.ranges = Ranges::Parts, room_of(64 << 20, 1 << 20))
}

fn part(range: &'static str, body: &'static str) -> Result<Response, Error> {
    let fields = [FIELDS[0], FIELDS[1], ("content-range", range)];
    Ok(response(206, &fields, body))
}

impl Bench {
    fn range(&self, range: &'static str) -> Asking {
        self.get_at(0, &[("range", range)])
    }
}

#[tokio::test]
async fn purged_parts_are_gone() {
    for mode in [Mode::Soft, Mode::Hard] {
        let mut bench = parts();
        let got = bench.range("bytes=0-4");
        bench.asked().await.answer(part("bytes 0-4/10", "01234"));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "01234");
        bench.store.purges().purge(&[bench.store.purges().everything(None)], mode);
        // A part of the same bytes does not bring them back.
        let got = bench.range("bytes=3-9");
        let asked = bench.asked().await;
        assert_eq!((asked.header("range"), asked.header("if-range")), (Some("bytes=3-9"), None), "{mode:?}");
        asked.answer(part("bytes 3-9/10", "3456789"));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "3456789");
        let got = bench.range("bytes=0-2");
        let asked = bench.asked().await;
        assert_eq!(asked.header("range"), Some("bytes=0-2"), "{mode:?}");
        asked.answer(part("bytes 0-2/10", "012"));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "012");
        // Now all of it is here, and new.
        assert_eq!(text(bench.get().await.unwrap().unwrap()).await, "0123456789");
        bench.is_idle().await;
        assert_eq!(bench.calls(), 3);
    }
}

/// The purge comes while the rest is on its way: what is put together is as good as purged.
#[tokio::test]
async fn a_purge_overtakes_the_rest() {
    for before_head in [true, false] {
        let mut bench = parts();
        let got = bench.range("bytes=0-4");
        bench.asked().await.answer(part("bytes 0-4/10", "01234"));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "01234");
        let got = bench.get();
        let asked = bench.asked().await;
        assert_eq!((asked.header("range"), asked.header("if-range")), (Some("bytes=5-"), Some("\"a\"")));
        if before_head {
            bench.store.purges().purge(&[bench.store.purges().everything(None)], Mode::Hard);
            asked.answer(part("bytes 5-9/10", "56789"));
            let again = bench.asked().await;
            assert_eq!((again.header("range"), again.header("if-range")), (None, None));
            again.answer(Ok(response(200, &FIELDS, "abcdefghij")));
            assert_eq!(text(got.await.unwrap().unwrap()).await, "abcdefghij");
        } else {
            let (writer, body) = stream(Some(5));
            let fields = [FIELDS[0], FIELDS[1], ("content-range", "bytes 5-9/10")];
            asked.answer(Ok(response_with(206, &fields, body)));
            let got = got.await.unwrap().unwrap();
            bench.store.purges().purge(&[bench.store.purges().everything(None)], Mode::Hard);
            writer.finish(Some("56789".into()), None);
            assert_eq!(text(got).await, "0123456789");
            bench.is_idle().await;
            let got = bench.get();
            let again = bench.asked().await;
            assert_eq!((again.header("range"), again.header("if-range")), (None, None));
            again.answer(Ok(response(200, &FIELDS, "abcdefghij")));
            assert_eq!(text(got.await.unwrap().unwrap()).await, "abcdefghij");
        }
        bench.is_idle().await;
    }
}

/// The client leaves while its part is on its way: nothing is stored, and nothing stays.
#[tokio::test]
async fn a_client_that_leaves_takes_its_part_along() {
    let mut bench = parts();
    let got = bench.range("bytes=0-4");
    bench.asked().await;
    got.abort();
    bench.is_idle().await;
    let got = bench.range("bytes=0-4");
    let asked = bench.asked().await;
    assert_eq!(asked.header("range"), Some("bytes=0-4"));
    asked.answer(part("bytes 0-4/10", "01234"));
    assert_eq!(text(got.await.unwrap().unwrap()).await, "01234");
}

/// `repeat_parts`: what answers one range only is purged like everything else, and the oldest go.
#[tokio::test]
async fn repeated_parts_are_purged_and_few() {
    let mut bench = bench_with(
        |config| (config.ranges, config.repeat_parts) = (Ranges::Parts, true),
        room_of(64 << 20, 1 << 20),
    );
    let ranges: Vec<String> = (0..20).map(|last| format!("bytes=0-{last}")).collect();
    for range in &ranges {
        let got = bench.get_at(0, &[("range", range.as_str())]);
        bench.asked().await.answer(part("bytes 0-4/*", "01234"));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "01234");
    }
    bench.is_idle().await;
    assert_eq!(bench.metric("forebay_cache_entries"), 16.0);
    let got = bench.get_at(0, &[("range", ranges[19].as_str())]).await.unwrap().unwrap();
    assert_eq!(text(got).await, "01234");
    bench.store.purges().purge(&[bench.store.purges().everything(None)], Mode::Soft);
    for range in [&ranges[0], &ranges[19]] {
        let got = bench.get_at(0, &[("range", range.as_str())]);
        let asked = bench.asked().await;
        assert_eq!((asked.header("range"), asked.header("if-range")), (Some(range.as_str()), None));
        asked.answer(part("bytes 0-4/*", "abcde"));
        assert_eq!(text(got.await.unwrap().unwrap()).await, "abcde");
    }
}
