//! The RFCs as tables, a file a section group; each row names its clause. A row stores an answer, waits, asks
//! again, and says what came of it.

mod directives;
mod fields;
mod freshness;
mod invalidation;
mod storing;
mod targeted;
mod validation;

use super::*;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// What comes of a request, as far as the origin and the client see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    /// From the store, without a question.
    Hit,
    /// The origin was asked whether what is stored still holds.
    Validated,
    /// The origin was asked for all of it.
    Fetched,
    /// Neither: refused.
    Refused,
}

/// What the origin answers a question about what is stored: the newest word counts.
const NOT_MODIFIED: (u16, Fields<'static>) = (304, &[]);

/// Asks for `/a`, `after` seconds later; the origin, if asked, answers `answer`.
async fn ask_again(
    bench: &mut Bench,
    method: Method,
    after: u64,
    request: Fields<'_>,
    answer: (u16, Fields<'_>),
) -> (Got, Result<Response, Error>) {
    let request = bench.request(method, "/a", after, request);
    let asking = bench.send(request);
    bench.settle().await;
    if asking.is_finished() {
        let result = asking.await.unwrap();
        return (if result.is_ok() { Got::Hit } else { Got::Refused }, result);
    }
    let asked = bench.asked().await;
    let ours = asked.header("if-none-match").is_some() || asked.header("if-modified-since").is_some();
    let (status, fields) = if ours { answer } else { (200, &[][..]) };
    asked.answer(Ok(response(status, fields, if status == 304 { "" } else { "new" })));
    (if ours { Got::Validated } else { Got::Fetched }, asking.await.unwrap())
}

/// A bench where `/a` was answered with this once, whatever became of it.
async fn after_answer(change: impl FnOnce(&mut CacheConfig), status: u16, fields: Fields<'_>) -> Bench {
    let mut bench = bench_with(change, room_of(64 << 20, 1 << 20));
    let got = bench.get();
    bench.asked().await.answer(Ok(response(status, fields, if status == 204 { "" } else { "old" })));
    text(got.await.unwrap().unwrap()).await;
    // What comes so many seconds later comes no earlier than that, however long this took.
    bench.start = clock::now();
    bench
}

/// Stores `first`, asks again `after` seconds with `request`.
async fn outcome(first: Fields<'_>, after: u64, request: Fields<'_>) -> Got {
    outcome_with(|_| {}, 200, first, after, request).await
}

async fn outcome_with(
    change: impl FnOnce(&mut CacheConfig),
    status: u16,
    first: Fields<'_>,
    after: u64,
    request: Fields<'_>,
) -> Got {
    let mut bench = after_answer(change, status, first).await;
    ask_again(&mut bench, Method::GET, after, request, NOT_MODIFIED).await.0
}

/// `seconds` from now, as it stands in a date field.
fn date(seconds: i64) -> String {
    let now = clock::now().wall.secs();
    let at = crate::clock::Wall::from_secs(now.saturating_add_signed(seconds));
    super::super::dates::format(at).to_str().unwrap().to_owned()
}
