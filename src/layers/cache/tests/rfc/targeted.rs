//! RFC 9213: targeted fields, wherever directives count.

use super::*;

const OURS: &str = "forebay-cdn-cache-control";
const CDN: &str = "cdn-cache-control";

/// §2.2: the first that is valid and not empty decides, also against `Expires`.
#[tokio::test]
async fn which_one_decides() {
    let hour = date(3600);
    let rows: [(&str, Fields<'_>, Got); 12] = [
        ("CDN- over Cache-Control", &[(CDN, "max-age=60"), ("cache-control", "no-store")], Got::Hit),
        ("CDN- over Cache-Control", &[(CDN, "no-store"), ("cache-control", "max-age=60")], Got::Fetched),
        ("ours over CDN-", &[(OURS, "max-age=60"), (CDN, "private")], Got::Hit),
        ("ours over CDN-", &[(OURS, "private"), (CDN, "max-age=60")], Got::Fetched),
        ("over Expires", &[(CDN, "max-age=60"), ("expires", "0")], Got::Hit),
        ("over Expires, saying nothing", &[(CDN, "x"), ("expires", &hour)], Got::Fetched),
        ("over Pragma", &[(CDN, "max-age=60"), ("pragma", "no-cache")], Got::Hit),
        ("invalid: the next one", &[(OURS, "max-age=60 x"), (CDN, "no-store")], Got::Fetched),
        ("invalid: Cache-Control", &[(CDN, "No-Store"), ("cache-control", "max-age=60")], Got::Hit),
        ("empty: Cache-Control", &[(CDN, ""), ("cache-control", "max-age=60")], Got::Hit),
        ("a shorter lifetime", &[(CDN, "max-age=10"), ("cache-control", "max-age=60")], Got::Fetched),
        ("a longer lifetime", &[(CDN, "max-age=60"), ("cache-control", "max-age=10")], Got::Hit),
    ];
    for (what, first, expected) in rows {
        assert_eq!(outcome(first, 30, &[]).await, expected, "{what}: {first:?}");
    }
}

/// §2.2 in a 304: the merged fields count, and ours is kept where a 304 does not repeat it.
#[tokio::test]
async fn a_304_is_judged_by_the_targeted_field() {
    for (update, after, expected) in [
        (&[][..], 30, Got::Hit),
        (&[("cache-control", "max-age=1")], 30, Got::Hit),
        (&[(OURS, "max-age=10")], 30, Got::Validated),
        (&[(OURS, "no-cache")], 1, Got::Validated),
    ] {
        let first = [(OURS, "max-age=60"), ("cache-control", "no-store"), ("etag", "\"a\"")];
        let mut bench = after_answer(|_| {}, 200, &first).await;
        let (got, answer) = ask_again(&mut bench, Method::GET, 70, &[], (304, update)).await;
        assert_eq!((got, answer.unwrap().status.as_u16()), (Got::Validated, 200));
        // The clock stands still, so the new lifetime began at the start.
        let (got, _) = ask_again(&mut bench, Method::GET, after, &[], NOT_MODIFIED).await;
        assert_eq!(got, expected, "{update:?} after {after}s");
    }
}

/// §2.2: stale rights come from it as well.
#[tokio::test]
async fn stale_answers_are_its_business() {
    for (targeted, served) in [("max-age=1, stale-if-error=100", true), ("max-age=1, must-revalidate", false)]
    {
        let first = [(CDN, targeted), ("cache-control", "max-age=1, stale-if-error=50"), ("etag", "\"a\"")];
        let mut bench = after_answer(|_| {}, 200, &first).await;
        let asking = bench.get_at(80, &[]);
        bench.asked().await.answer(Err(gone()));
        assert_eq!(asking.await.unwrap().is_ok(), served, "{targeted}");
    }
}

/// §3: ours is nobody else's business; `CDN-Cache-Control` is that of the next cache.
#[tokio::test]
async fn what_clients_see() {
    let fields = [(OURS, "max-age=60"), (CDN, "max-age=30"), ("etag", "\"a\"")];
    let mut bench = bench();
    let mut answers = Vec::new();
    let both = [bench.get(), bench.get()];
    let asked = bench.asked().await;
    bench.settle().await;
    asked.answer(Ok(response(200, &fields, "x")));
    for got in both {
        let mut answer = got.await.unwrap().unwrap();
        chunk(&mut answer.body).await;
        answers.push(answer);
    }
    for seconds in [1, 1, 1, 2] {
        answers.push(bench.get_at(seconds, &[]).await.unwrap().unwrap());
    }
    answers.push(ask_again(&mut bench, Method::GET, 70, &[], (304, &fields)).await.1.unwrap());
    for (method, path, fields) in [
        (Method::POST, "/a", &fields[..]),
        (Method::HEAD, "/b", &fields),
        (Method::GET, "/c", &[(OURS, "private"), (CDN, "max-age=30")]),
    ] {
        let got = bench.send(bench.request(method, path, 1, &[]));
        bench.asked().await.answer(Ok(response(200, fields, "")));
        answers.push(got.await.unwrap().unwrap());
    }
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!((field(answer, OURS), field(answer, CDN)), (None, Some("max-age=30")), "answer {number}");
    }
}
