use http_body_util::BodyExt;

use super::*;
use crate::http::Body;
use crate::memory::{Memory, Use};

const SMALL: Limits = Limits { keep: 8, window: 4, patience: Duration::from_secs(10) };

fn writer(limits: Limits, length: Option<u64>) -> SharedWriter {
    SharedWriter::new(limits, length, Memory::unlimited().hold(Use::Filling))
}

async fn frame(reader: &mut SharedReader) -> Option<Result<Frame<Bytes>, Error>> {
    std::future::poll_fn(|cx| reader.poll_frame(cx)).await
}

async fn data(reader: &mut SharedReader) -> Bytes {
    frame(reader).await.unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn readers_read_at_their_own_pace_and_join_late() {
    let mut writer = writer(SMALL, None);
    let body = writer.body();
    let (mut eager, mut lazy) = (body.reader().unwrap(), body.reader().unwrap());
    assert!(writer.push("abc".into()));
    assert_eq!(data(&mut eager).await, "abc");
    let waiting = tokio::spawn(async move { (data(&mut eager).await, eager) });
    tokio::task::yield_now().await;
    writer.ready().await; // kept: nobody waits for the lazy one
    assert!(writer.push("def".into()));
    let (second, mut eager) = waiting.await.unwrap();
    assert_eq!(second, "def");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    writer.finish(Some("g".into()), Some(trailers));
    assert_eq!(data(&mut eager).await, "g");
    assert_eq!(frame(&mut eager).await.unwrap().unwrap().into_trailers().unwrap()["x-sum"], "1");
    assert!(frame(&mut eager).await.is_none());
    assert_eq!(data(&mut lazy).await, "abc");
    let late = Body::shared(body.reader().unwrap()).collect().await.unwrap();
    assert_eq!(late.trailers().unwrap()["x-sum"], "1");
    assert_eq!(late.to_bytes(), "abcdefg");
}

#[tokio::test]
async fn the_last_chunk_ends_the_stream() {
    for length in [None, Some(3)] {
        let mut writer = writer(SMALL, length);
        let mut reader = writer.body().reader().unwrap();
        assert_eq!(reader.size_hint().exact(), length);
        writer.push("ab".into());
        writer.finish(Some("c".into()), None);
        assert_eq!(data(&mut reader).await, "ab");
        assert!(!reader.is_end_stream());
        assert_eq!(data(&mut reader).await, "c");
        // hyper does not poll a body again that says it is over.
        assert!(reader.is_end_stream());
        assert_eq!(reader.size_hint().exact(), Some(0));
    }
}

#[tokio::test]
async fn parts_of_every_place_and_size() {
    let mut writer = writer(SMALL, Some(6));
    let body = writer.body();
    for chunk in ["ab", "", "cde"] {
        writer.push(chunk.into());
    }
    writer.finish(Some("f".into()), None);
    for start in 0..6usize {
        for end in start..=6 {
            let part = body.reader_of(start as u64, (end - start) as u64).unwrap();
            let part = Body::shared(part).collect().await.unwrap().to_bytes();
            assert_eq!(part, "abcdef".as_bytes()[start..end], "{start}..{end}");
        }
    }
}

#[tokio::test]
async fn a_failure_and_a_lost_writer_reach_every_reader() {
    for lost in [false, true] {
        let mut writer = writer(SMALL, None);
        let body = writer.body();
        let early = body.reader().unwrap();
        writer.push("ab".into());
        if lost {
            drop(writer)
        } else {
            writer.fail(UpstreamError::sent(UpstreamErrorKind::Reset).into())
        }
        let word = if lost { "response_incomplete" } else { "upstream_reset" };
        for reader in &mut [early, body.reader().unwrap()] {
            assert_eq!(data(reader).await, "ab");
            assert_eq!(frame(reader).await.unwrap().unwrap_err().as_str(), word);
            assert!(frame(reader).await.is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_too_large_is_streamed_within_a_window() {
    let mut writer = writer(SMALL, None);
    let body = writer.body();
    let (mut fast, mut slow) = (body.reader().unwrap(), body.reader().unwrap());
    assert!(writer.push("12345678".into()));
    assert!(!writer.push("9".into()), "beyond `keep`");
    assert!(writer.chunks().is_none());
    let late = body.reader().expect("nothing is freed yet");
    drop(late);
    assert_eq!((data(&mut fast).await, data(&mut fast).await), ("12345678".into(), "9".into()));
    // The slow one stands at the first chunk, and holds the writer back.
    let blocked = tokio::time::timeout(Duration::from_secs(1), writer.ready()).await;
    assert!(blocked.is_err());
    assert_eq!(data(&mut slow).await, "12345678");
    writer.ready().await;
    assert!(body.reader().is_none(), "the first bytes are gone");
    writer.push("abcd".into());
    writer.finish(None, None);
    assert_eq!(Body::shared(fast).collect().await.unwrap().to_bytes(), "abcd");
    assert_eq!(Body::shared(slow).collect().await.unwrap().to_bytes(), "9abcd");
}

#[tokio::test(start_paused = true)]
async fn a_reader_too_slow_for_the_others_is_cut_and_one_alone_is_not() {
    for alone in [false, true] {
        let mut writer = writer(SMALL, None);
        let body = writer.body();
        let mut slow = body.reader().unwrap();
        let mut fast = (!alone).then(|| body.reader().unwrap());
        writer.push("123456789".into());
        if let Some(fast) = &mut fast {
            data(fast).await;
        }
        let ready = tokio::time::timeout(Duration::from_secs(3600), writer.ready()).await;
        assert_eq!(ready.is_err(), alone);
        if alone {
            assert_eq!(data(&mut slow).await, "123456789");
            writer.ready().await;
        } else {
            assert_eq!(frame(&mut slow).await.unwrap().unwrap_err().as_str(), "response_body_timeout");
            writer.finish(Some("!".into()), None);
            assert_eq!(data(fast.as_mut().unwrap()).await, "!");
        }
    }
}

#[tokio::test]
async fn the_memory_is_given_back() {
    let memory = Memory::new(200);
    let mut writer = SharedWriter::new(SMALL, None, memory.hold(Use::Filling));
    let mut reader = writer.body().reader().unwrap();
    assert!(writer.push("abc".into()) && writer.push("def".into()));
    assert!(memory.used() >= 6);
    let other = SharedWriter::new(SMALL, None, memory.hold(Use::Filling));
    let mut other_reader = other.body().reader().unwrap();
    let mut other = other;
    assert!(!other.push("ghi".into()), "beyond what is left");
    assert!(other.chunks().is_none());
    assert_eq!(data(&mut other_reader).await, "ghi");
    other.finish(None, None);
    assert!(frame(&mut other_reader).await.is_none());
    writer.finish(None, None);
    assert_eq!(data(&mut reader).await, "abc");
    assert!(memory.used() >= 6, "a reader still needs it");
    drop((reader, other_reader));
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn what_is_streamed_is_counted_while_it_is_there() {
    let memory = Memory::new(1 << 20);
    let mut writer = SharedWriter::new(SMALL, None, memory.hold(Use::Filling));
    let mut reader = writer.body().reader().unwrap();
    assert!(!writer.push("123456789".into()));
    let one = memory.used();
    assert!(one >= 9);
    assert_eq!(data(&mut reader).await, "123456789");
    writer.ready().await;
    assert!(memory.used() < 9, "nobody needs the first chunk any more");
    writer.push("0".into());
    assert!((1..one).contains(&memory.used()));
    drop((reader, writer));
    assert_eq!(memory.used(), 0);
}

/// What a head announces is set aside at once, so that of many large bodies some arrive whole.
#[tokio::test]
async fn what_was_set_aside_needs_no_more_room() {
    let memory = Memory::new(1000);
    let mut hold = memory.hold(Use::Filling);
    assert!(hold.try_grow(900));
    let limits = Limits { keep: 900, ..SMALL };
    let mut writer = SharedWriter::new(limits, Some(600), hold);
    let mut filler = memory.hold(Use::Stored);
    assert!(filler.try_grow(100));
    assert!(writer.push(vec![b'x'; 600].into()));
    assert_eq!(memory.used(), 1000);
    drop((writer, filler));
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn where_memory_is_tight_the_window_is_one_chunk() {
    let memory = Memory::new(1000);
    let mut filler = memory.hold(Use::Stored);
    assert!(filler.try_grow(990));
    let limits = Limits { keep: 0, window: 500, ..SMALL };
    let mut writer = SharedWriter::new(limits, None, memory.hold(Use::Filling));
    let mut reader = writer.body().reader().unwrap();
    writer.push("a".into());
    assert!(tokio::time::timeout(Duration::from_secs(3600), writer.ready()).await.is_err());
    drop(filler);
    writer.ready().await;
    writer.push("b".into());
    writer.ready().await;
    assert_eq!((data(&mut reader).await, data(&mut reader).await), ("a".into(), "b".into()));
}

#[tokio::test]
async fn a_reader_that_leaves_makes_room() {
    let mut writer = writer(SMALL, None);
    let (mut fast, slow) = (writer.body().reader().unwrap(), writer.body().reader().unwrap());
    writer.push("123456789".into());
    data(&mut fast).await;
    let waiting = tokio::spawn(async move {
        writer.ready().await;
        writer
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(slow);
    waiting.await.unwrap().finish(None, None);
    assert!(frame(&mut fast).await.is_none());
}
