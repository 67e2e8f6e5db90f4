//! What is decoded is what was encoded, however it came; and nobody is held up.

use std::io::Read;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use http_body_util::BodyExt;
use proptest::prelude::*;

use super::super::coding::Coding;
use super::super::shared::{Limits, SharedWriter};
use super::*;
use crate::memory::{Memory, Use};

fn decode(coding: Coding, data: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::MultiGzDecoder::new(data).read_to_end(&mut plain).unwrap(),
        Coding::Br => brotli::Decompressor::new(data, 4096).read_to_end(&mut plain).unwrap(),
        Coding::Zstd => zstd::stream::read::Decoder::new(data).unwrap().read_to_end(&mut plain).unwrap(),
    };
    plain
}

/// What can be read of a body that goes on.
fn decode_so_far(coding: Coding, data: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read> = match coding {
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(data)),
        Coding::Br => Box::new(brotli::Decompressor::new(data, 4096)),
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(data).unwrap()),
    };
    let (mut plain, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = reader.read(&mut byte) {
        plain.push(byte[0]);
    }
    plain
}

fn writer(memory: &Memory) -> SharedWriter {
    let limits = Limits { keep: 1 << 24, window: 1 << 24, patience: Duration::from_secs(9) };
    SharedWriter::new(limits, None, memory.hold(Use::Filling))
}

fn encoded(source: Body, level: Level, length: Option<u64>, memory: &Memory) -> Encoded {
    let encoder = Encoder::new(level, length, memory.hold(Use::Encoding)).unwrap();
    Encoded::new(source, level, encoder, Desk::new(1))
}

/// Text of some variety.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"the quick brown fox "[(at * at / 7 + at / 31) % 20]).collect()
}

/// One level that is done at once and one that never is.
fn levels() -> impl Iterator<Item = Level> {
    [
        (Coding::Gzip, 5),
        (Coding::Gzip, 9),
        (Coding::Br, 4),
        (Coding::Br, 6),
        (Coding::Zstd, 3),
        (Coding::Zstd, 9),
    ]
    .into_iter()
    .map(|(coding, level)| Level::new(coding, level))
}

#[tokio::test]
async fn a_whole_body_of_any_size() {
    for level in levels() {
        for length in [0, 1, 1000, 24 * 1024, 24 * 1024 + 1, 64 * 1024 + 1, PIECE, 3 * PIECE + 5] {
            let (plain, memory) = (text(length), Memory::new(64 << 20));
            let source = Body::full(plain.clone());
            let body = Body::encoded(encoded(source, level, Some(length as u64), &memory));
            assert!(memory.used() >= 320 * 1024);
            let data = body.collect().await.unwrap().to_bytes();
            assert!(decode(level.coding, &data) == plain, "{level:?} {length}");
            assert!(length < 1000 || data.len() < length / 2, "{level:?} {length}: {}", data.len());
            assert_eq!(memory.used(), 0);
        }
    }
}

/// What a slow source gave so far reaches the reader, and nothing is woken in vain.
#[tokio::test]
async fn it_is_flushed_when_the_source_waits() {
    for level in levels() {
        let memory = Memory::new(64 << 20);
        let mut writer = writer(&memory);
        let source = Body::shared(writer.body().reader().unwrap());
        let mut body = Body::encoded(encoded(source, level, None, &memory));
        let mut got = Vec::new();
        let idle = |body: &mut Body| {
            let mut cx = Context::from_waker(Waker::noop());
            Pin::new(body).poll_frame(&mut cx).is_pending()
        };
        assert!(idle(&mut body), "nothing came, so there is nothing to say");
        for part in ["one", "two", "three"] {
            writer.push(Bytes::from(part));
            let frame = body.frame().await.unwrap().unwrap();
            got.extend_from_slice(frame.data_ref().unwrap());
            let so_far = decode_so_far(level.coding, &got);
            assert!(so_far.ends_with(part.as_bytes()), "{level:?}: {}", String::from_utf8_lossy(&so_far));
            assert!(idle(&mut body), "{level:?}: it says something though nothing came");
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "6".parse().unwrap());
        writer.finish(None, Some(trailers.clone()));
        let rest = body.collect().await.unwrap();
        assert_eq!(rest.trailers(), Some(&trailers));
        got.extend_from_slice(&rest.to_bytes());
        assert_eq!(decode(level.coding, &got), b"onetwothree");
        assert_eq!(memory.used(), 0);
    }
}

#[tokio::test]
async fn a_source_that_fails_is_not_brought_to_a_good_end() {
    for level in levels() {
        let memory = Memory::new(64 << 20);
        let mut writer = writer(&memory);
        let source = Body::shared(writer.body().reader().unwrap());
        let mut body = Body::encoded(encoded(source, level, None, &memory));
        writer.push(Bytes::from(text(100_000)));
        drop(writer);
        let mut got = Vec::new();
        let error = loop {
            match body.frame().await.unwrap() {
                Ok(frame) => got.extend_from_slice(frame.data_ref().unwrap()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.as_str(), "response_incomplete");
        assert!(body.frame().await.is_none());
        assert!(decode_so_far(level.coding, &got).len() < 100_000, "{level:?}: it looks complete");
        drop(body);
        assert_eq!(memory.used(), 0);
    }
}

/// A reader that leaves frees the encoder: at once where it waits, after its piece where it works.
#[tokio::test]
async fn a_reader_that_leaves_frees_the_encoder() {
    let (memory, level) = (Memory::new(256 << 20), Level::new(Coding::Br, 9));
    let desk = Desk::new(1);
    let place = desk.0.clone().acquire_owned().await.unwrap();
    let start = || {
        let encoder = Encoder::new(level, None, memory.hold(Use::Encoding)).unwrap();
        let source = Body::full(text(8 * PIECE));
        Body::encoded(Encoded::new(source, level, encoder, desk.clone()))
    };
    let mut waiting = start();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut waiting).poll_frame(&mut cx).is_pending());
    drop(waiting);
    assert_eq!(memory.used(), 0);
    drop(place);
    let mut working = start();
    assert!(Pin::new(&mut working).poll_frame(&mut cx).is_pending());
    drop(working);
    // Whoever comes next gets the place: what is done in vain is one piece.
    drop(start().collect().await.unwrap());
    assert_eq!(memory.used(), 0);
}

/// What is encoded here, however it comes, lets other tasks run in between.
#[test]
fn other_tasks_run_in_between() {
    let (memory, level) = (Memory::new(64 << 20), Level::new(Coding::Gzip, 5));
    let mut writer = writer(&memory);
    let body = Body::shared(writer.body().reader().unwrap());
    for _ in 0..100 {
        writer.push(Bytes::from(text(16 * 1024)));
    }
    writer.finish(None, None);
    let mut body = Body::encoded(encoded(body, level, None, &memory));
    let (mut yields, mut cx) = (0, Context::from_waker(Waker::noop()));
    loop {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(frame)) => drop(frame.unwrap()),
            Poll::Pending => yields += 1,
        }
    }
    assert_eq!(yields, 49, "after each 32 KiB");
}

#[test]
fn without_memory_there_is_no_encoder() {
    let memory = Memory::new(100 * 1024);
    for level in levels() {
        assert!(Encoder::new(level, None, memory.hold(Use::Encoding)).is_none());
        assert_eq!(memory.used(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_decoded_is_what_was_sent(
        sizes in proptest::collection::vec(prop_oneof![0..5usize, 0..3000usize, 20_000..70_000usize], 0..12),
        pauses in proptest::collection::vec(any::<bool>(), 12),
        random in any::<bool>(),
        which in 0..6usize,
    ) {
        let level = levels().nth(which).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let plain: Vec<Vec<u8>> = sizes
            .iter()
            .map(|size| if random { (0..*size).map(|_| fastrand::u8(..)).collect() } else { text(*size) })
            .collect();
        let chunks = plain.clone();
        let data = runtime.block_on(async move {
            let memory = Memory::new(64 << 20);
            let mut writer = writer(&memory);
            let source = Body::shared(writer.body().reader().unwrap());
            let body = Body::encoded(encoded(source, level, None, &memory));
            let reading = tokio::spawn(async move { body.collect().await.unwrap().to_bytes() });
            for (chunk, pause) in chunks.into_iter().zip(pauses) {
                writer.push(chunk.into());
                if pause {
                    tokio::task::yield_now().await;
                }
            }
            writer.finish(None, None);
            reading.await.unwrap()
        });
        prop_assert!(decode(level.coding, &data) == plain.concat());
    }
}

/// The places are shared by all who hold the desk.
#[tokio::test]
async fn a_desk_has_at_least_one_place() {
    let desk = Desk::new(0);
    assert_eq!(Arc::clone(&desk.0).available_permits(), 1);
}
