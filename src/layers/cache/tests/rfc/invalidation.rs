//! RFC 9111 §4.4: what an unsafe method makes invalid.

use super::*;

const MINUTE: Fields<'static> = &[("cache-control", "max-age=60")];

async fn store(bench: &mut Bench, path: &str) {
    let got = bench.send(bench.request(Method::GET, path, 0, &[]));
    bench.asked().await.answer(Ok(response(200, MINUTE, "old")));
    text(got.await.unwrap().unwrap()).await;
}

async fn is_stored(bench: &Bench, path: &str) -> bool {
    let request = bench.request(Method::GET, path, 1, &[("cache-control", "only-if-cached")]);
    bench.send(request).await.unwrap().is_ok()
}

#[tokio::test]
async fn after_an_answer() {
    let both: Fields<'_> = &[("location", "/b"), ("content-location", "/c")];
    let rows: [(&str, &str, u16, Fields<'_>, [bool; 3]); 18] = [
        ("PUT", "a success", 200, &[], [false, true, true]),
        ("DELETE", "a success", 204, &[], [false, true, true]),
        ("POST", "a success", 201, &[], [false, true, true]),
        ("PATCH", "a success", 200, &[], [false, true, true]),
        ("PURPLE", "an unknown method", 200, &[], [false, true, true]),
        ("POST", "a redirection", 303, &[], [false, true, true]),
        ("POST", "a client error", 400, &[], [true, true, true]),
        ("POST", "a server error", 500, &[], [true, true, true]),
        ("OPTIONS", "a safe method", 200, &[("location", "/b")], [true, true, true]),
        ("POST", "Location", 201, &[("location", "/b")], [false, false, true]),
        ("POST", "Content-Location", 200, &[("content-location", "/c")], [false, true, false]),
        ("POST", "both", 201, both, [false, false, false]),
        ("POST", "relative", 201, &[("location", "b")], [false, false, true]),
        ("POST", "absolute", 201, &[("location", "http://EXAMPLE.com:80/b#f")], [false, false, true]),
        ("POST", "another origin", 201, &[("location", "http://example.org/b")], [false, true, true]),
        ("POST", "another scheme", 201, &[("location", "https://example.com/b")], [false, true, true]),
        ("POST", "another port", 201, &[("location", "http://example.com:8080/b")], [false, true, true]),
        ("POST", "Location of an error", 400, &[("location", "/b")], [true, true, true]),
    ];
    for (method, what, status, fields, kept) in rows {
        let mut bench = bench();
        for path in ["/a", "/b", "/c"] {
            store(&mut bench, path).await;
        }
        let got = bench.send(bench.request(method.parse().unwrap(), "/a", 1, &[]));
        bench.asked().await.answer(Ok(response(status, fields, "")));
        got.await.unwrap().unwrap();
        for (path, kept) in ["/a", "/b", "/c"].into_iter().zip(kept) {
            assert_eq!(is_stored(&bench, path).await, kept, "{method}, {what}: {path}");
        }
    }
}

/// §4.4: without an answer nothing is known to have changed.
#[tokio::test]
async fn after_no_answer() {
    let mut bench = bench();
    store(&mut bench, "/a").await;
    let got = bench.send(bench.request(Method::PUT, "/a", 1, &[]));
    bench.asked().await.answer(Err(gone()));
    assert!(got.await.unwrap().is_err());
    assert!(is_stored(&bench, "/a").await);
}
