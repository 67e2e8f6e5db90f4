//! Ranges: of what is stored whole, of what is stored in part, and what an origin may do wrong (RFC 9110 §14,
//! RFC 9111 §3.3, §3.4).

use crate::support::message::Message;
use crate::support::{Client, Gate, Gateway, Origin, Reply, ask, get};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn status(answer: &Message) -> &str {
    answer.field("cache-status").unwrap_or_else(|| panic!("no Cache-Status: {answer:?}"))
}

fn is_hit(answer: &Message) -> bool {
    status(answer).starts_with("forebay; hit")
}

/// A representation: no two bytes in a row are the same for long.
fn text(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + (at / 26 + at) as u8 % 26)).collect()
}

/// RFC 9110 §14.6: the parts of an answer, read as a client does: `(first, last, length, body)`.
fn parts(answer: &Message) -> Vec<(usize, usize, usize, String)> {
    let content_type = answer.field("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let text = format!("\r\n{}", answer.text());
    let (text, end) = text.split_once(&format!("\r\n--{boundary}--")).unwrap();
    assert_eq!(end, "\r\n");
    let mut found = Vec::new();
    for part in text.split(&format!("\r\n--{boundary}\r\n")).skip(1) {
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Content-Type: text/plain"), "{head}");
        let range = head.split_once("Content-Range: bytes ").unwrap().1;
        let (range, length) = range.split_once('/').unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let number = |digits: &str| digits.parse().unwrap();
        found.push((number(first), number(last), number(length), body.to_owned()));
    }
    found
}

#[tokio::test]
async fn several_ranges_of_what_is_stored() {
    // Large enough for an entry in pieces.
    for length in [1_000, 700_000] {
        let whole = text(length);
        let fields = [FRESH, ("etag", "\"v1\""), ("content-type", "text/plain")];
        let origin = Origin::always(Reply::new(200, &fields, &whole)).await;
        let gateway = Gateway::before(origin.address, "").await;
        get(gateway.address, "/").await;
        let last = length - 1;
        for (asked, expected) in [
            (format!("bytes=0-9, 500-509, {last}-"), vec![(0, 9), (500, 509), (last, last)]),
            (format!("bytes=-10, 0-{}", length / 2), vec![(length - 10, last), (0, length / 2)]),
        ] {
            let answer = ask(gateway.address, "GET", "/", &[("range", &asked)]).await;
            assert_eq!(answer.status(), 206, "{asked}");
            assert!(is_hit(&answer) && answer.field("content-range").is_none(), "{asked}");
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(first, last)| (first, last, length, whole[first..=last].to_owned()))
                .collect();
            assert_eq!(parts(&answer), expected, "{asked}");
        }
        // RFC 9110 §14.2: ranges that overlap, or that are many and tiny, cost no more than the whole.
        let many = (0..16).map(|at| format!("{}-{}", at * 60, at * 60 + 1)).collect::<Vec<_>>().join(",");
        for (asked, code) in [
            ("bytes=0-,0-,0-,0-,0-,0-,0-,0-", 206),
            (&format!("bytes={many}"), 206),
            (&format!("bytes={many},{many}"), 200),
            (&format!("bytes={length}-, -0"), 416),
        ] {
            let answer = ask(gateway.address, "GET", "/", &[("range", asked)]).await;
            assert_eq!(answer.status(), code, "{asked}");
            assert!(answer.text().len() <= length, "{asked}");
            assert!(code != 206 || answer.field("content-range").is_some(), "joined: {asked}");
        }
        // RFC 9110 §13.1.5.
        for (condition, code) in [("\"v1\"", 206), ("\"v0\"", 200), ("W/\"v1\"", 200)] {
            let fields = [("range", "bytes=0-9, 500-509"), ("if-range", condition)];
            assert_eq!(ask(gateway.address, "GET", "/", &fields).await.status(), code, "{condition}");
        }
        // The connection goes on: the length was right.
        let mut client = Client::connect(gateway.address).await;
        for _ in 0..2 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\nrange: bytes=0-9, 500-509\r\n\r\n").await;
            assert_eq!(client.response().await.status(), 206);
        }
        gateway.at_rest().await;
    }
}

const PARTS: &str = "[route.cache]\nranges = \"parts\"\n";

/// What an honest origin answers that has `whole` under this entity tag; under none, if it is empty.
fn honest(request: &Message, whole: &str, tag: &str, cache_control: &str) -> Reply {
    let tag_field = if tag.is_empty() { ("x-tag", "none") } else { ("etag", tag) };
    let fields = [("cache-control", cache_control), tag_field, ("content-type", "text/plain")];
    if request.field("if-none-match") == Some(tag) {
        return Reply::new(304, &fields[..2], "");
    }
    let range = request.field("range").filter(|_| request.field("if-range").is_none_or(|it| it == tag));
    let one = range.filter(|range| !range.contains(','));
    let Some((first, last)) = one.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return Reply::new(200, &fields, whole);
    };
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.min(whole.len() - 1)),
        (Ok(first), Err(_)) => (first, whole.len() - 1),
        (Err(_), Ok(count)) => (whole.len() - count, whole.len() - 1),
        _ => return Reply::new(200, &fields, whole),
    };
    if first >= whole.len() {
        return Reply::new(416, &[fields[0], ("content-range", &format!("bytes */{}", whole.len()))], "");
    }
    let said = format!("bytes {first}-{last}/{}", whole.len());
    Reply::new(206, &[fields[0], fields[1], fields[2], ("content-range", &said)], &whole[first..=last])
}

async fn honest_origin(length: usize, cache_control: &'static str) -> (Origin, String) {
    let whole = text(length);
    let origin = Origin::start({
        let whole = whole.clone();
        move |request, _| honest(request, &whole, "\"v1\"", cache_control)
    })
    .await;
    (origin, whole)
}

async fn part(gateway: &Gateway, range: &str) -> Message {
    ask(gateway.address, "GET", "/", &[("range", range)]).await
}

/// The `Range` and `If-Range` of everything the origin was asked.
fn asked(origin: &Origin) -> Vec<(Option<String>, Option<String>)> {
    let field = |message: &Message, name| message.field(name).map(str::to_owned);
    let asked = origin.asked();
    asked.iter().map(|it| (field(&it.request, "range"), field(&it.request, "if-range"))).collect()
}

/// RFC 9111 §3.4: parts are put together, and what is missing of them is asked for.
#[tokio::test]
async fn parts_are_stored_and_completed() {
    let (origin, whole) = honest_origin(1000, "max-age=60").await;
    let gateway = Gateway::before(origin.address, PARTS).await;
    let some = |text: &str| Some(text.to_owned());
    for (range, said, hit, upstream) in [
        ("bytes=10-19", "bytes 10-19/1000", false, some("bytes=10-19")),
        ("bytes=10-19", "bytes 10-19/1000", true, None),
        ("bytes=12-15", "bytes 12-15/1000", true, None),
        ("bytes=15-24", "bytes 15-24/1000", false, some("bytes=20-24")),
        ("bytes=10-24", "bytes 10-24/1000", true, None),
        ("bytes=0-12", "bytes 0-12/1000", false, some("bytes=0-9")),
        ("bytes=-10", "bytes 990-999/1000", false, some("bytes=990-")),
        ("bytes=995-", "bytes 995-999/1000", true, None),
        ("bytes=20-991", "bytes 20-991/1000", false, some("bytes=25-989")),
        ("bytes=0-", "bytes 0-999/1000", true, None),
    ] {
        let before = origin.asked().len();
        let answer = part(&gateway, range).await;
        let (first, last) = said[6..said.len() - 5].split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        assert_eq!((answer.status(), answer.field("content-range")), (206, Some(said)), "{range}");
        assert_eq!(answer.text(), &whole[first..=last], "{range}");
        assert_eq!(is_hit(&answer), hit, "{range}: {}", status(&answer));
        let after = asked(&origin);
        assert_eq!(after.len() - before, usize::from(!hit), "{range}");
        assert_eq!(upstream.filter(|_| !hit), after[before..].first().and_then(|it| it.0.clone()), "{range}");
    }
    // The last part made it whole.
    let all = get(gateway.address, "/").await;
    assert!(is_hit(&all) && all.status() == 200 && all.text() == whole, "{}", status(&all));
    assert_eq!(all.field("content-range"), None);
    gateway.at_rest().await;
}

/// RFC 9110 §13, §14 of what is there in part.
#[tokio::test]
async fn what_is_stored_in_part_answers_conditions() {
    let (origin, whole) = honest_origin(1000, "max-age=60").await;
    let gateway = Gateway::before(origin.address, PARTS).await;
    part(&gateway, "bytes=0-99").await;
    let range = ("range", "bytes=10-19");
    for (fields, code, hit) in [
        (&[range, ("if-none-match", "\"v1\"")][..], 304, true),
        (&[range, ("if-none-match", "\"v0\"")], 206, true),
        (&[range, ("if-range", "\"v1\"")], 206, true),
        (&[("range", "bytes=1000-")], 416, true),
        (&[range, ("cache-control", "only-if-cached")], 206, true),
        (&[("range", "bytes=200-"), ("cache-control", "only-if-cached")], 504, false),
        (&[("cache-control", "only-if-cached")], 504, false),
        // Several parts at once are not put together from parts.
        (&[("range", "bytes=0-9,500-509")], 200, false),
    ] {
        let answer = ask(gateway.address, "GET", "/", fields).await;
        assert_eq!(answer.status(), code, "{fields:?}");
        assert_eq!(answer.field("cache-status").is_some_and(|it| it.contains("hit")), hit, "{fields:?}");
        assert!(code != 206 || answer.text() == &whole[10..20], "{fields:?}");
    }
    // If-Range of another representation: all of this one, which is stored then.
    let other = ask(gateway.address, "GET", "/", &[range, ("if-range", "\"v0\"")]).await;
    assert_eq!((other.status(), other.text()), (200, whole.as_str()));
    assert!(is_hit(&get(gateway.address, "/").await));
    gateway.at_rest().await;
}

/// RFC 9111 §4.3: the parts are confirmed, all at once.
#[tokio::test]
async fn stale_parts_are_revalidated() {
    let (origin, whole) = honest_origin(1000, "max-age=0").await;
    let gateway = Gateway::before(origin.address, PARTS).await;
    part(&gateway, "bytes=0-99").await;
    let confirmed = part(&gateway, "bytes=10-19").await;
    assert_eq!((confirmed.status(), confirmed.text()), (206, &whole[10..20]));
    let asked_for = origin.asked().pop().unwrap().request;
    assert_eq!(asked_for.field("if-none-match"), Some("\"v1\""));
    // More than is there: If-Range confirms what is.
    let more = part(&gateway, "bytes=50-149").await;
    assert_eq!((more.status(), more.text()), (206, &whole[50..150]));
    let last = asked(&origin).pop().unwrap();
    assert_eq!(last, (Some("bytes=100-149".to_owned()), Some("\"v1\"".to_owned())));
    // And the whole.
    let all = get(gateway.address, "/").await;
    assert_eq!((all.status(), all.text()), (200, whole.as_str()));
    assert_eq!(asked(&origin).pop().unwrap().0.as_deref(), Some("bytes=150-"));
    gateway.at_rest().await;
}

/// Range poisoning: what does not add up is for its client alone, and the next one gets what it asked for.
#[tokio::test]
async fn parts_that_do_not_add_up_are_not_stored() {
    let tag = "etag: \"v1\"\r\n";
    let lie = |fields: &str, body: &str| {
        format!("HTTP/1.1 206 Partial Content\r\ncache-control: max-age=60\r\n{fields}\r\n{body}")
    };
    let five = "content-length: 5\r\n";
    for (name, answer, code) in [
        ("another range", lie(&format!("{tag}{five}content-range: bytes 5-9/1000\r\n"), "EVIL!"), 206),
        ("less than asked", lie(&format!("{tag}{five}content-range: bytes 0-4/1000\r\n"), "EVIL!"), 206),
        ("too few bytes", lie(&format!("{tag}{five}content-range: bytes 0-9/1000\r\n"), "EVIL!"), 206),
        (
            "an unknown length",
            lie(&format!("{tag}content-length: 10\r\ncontent-range: bytes 0-9/*\r\n"), "EVIL!EVIL!"),
            206,
        ),
        ("no Content-Range", lie(&format!("{tag}content-length: 10\r\n"), "EVIL!EVIL!"), 206),
        (
            "several parts",
            lie(&format!("{tag}content-type: multipart/byteranges; boundary=x\r\n{five}"), "EVIL!"),
            206,
        ),
        (
            "private",
            lie(
                &format!(
                    "{tag}cache-control: private\r\ncontent-length: 10\r\n\
                         content-range: bytes 0-9/1000\r\n"
                ),
                "EVIL!EVIL!",
            ),
            206,
        ),
        (
            "not satisfiable",
            "HTTP/1.1 416 Range Not Satisfiable\r\ncache-control: max-age=60\r\ncontent-length: 0\r\n\
             content-range: bytes */5\r\n\r\n"
                .to_owned(),
            416,
        ),
    ] {
        let whole = text(1000);
        let origin = Origin::start({
            let whole = whole.clone();
            move |request, count| match count {
                0 => Reply::raw(answer.clone()),
                _ => honest(request, &whole, "\"v1\"", "max-age=60"),
            }
        })
        .await;
        let gateway = Gateway::before(origin.address, PARTS).await;
        let first = part(&gateway, "bytes=0-9").await;
        assert_eq!(first.status(), code, "{name}: passed on as it is");
        assert!(!status(&first).contains("; stored"), "{name}: {}", status(&first));
        let second = part(&gateway, "bytes=0-9").await;
        assert_eq!((second.status(), second.text()), (206, &whole[..10]), "{name}");
        assert_eq!(asked(&origin)[1].0.as_deref(), Some("bytes=0-9"), "{name}: nothing was stored");
        let all = get(gateway.address, "/").await;
        assert_eq!((all.status(), all.text()), (200, whole.as_str()), "{name}");
        gateway.at_rest().await;
    }
}

/// RFC 9111 §3.4: a part without a strong validator answers for what lies within it, and is neither put
/// together with another one (RFC 9110 §15.3.7.3) nor completed.
#[tokio::test]
async fn parts_without_a_strong_validator_stay_alone() {
    for tag in ["", "W/\"v1\""] {
        let whole = text(1000);
        let origin = Origin::start({
            let whole = whole.clone();
            move |request, _| honest(request, &whole, tag, "max-age=60")
        })
        .await;
        let gateway = Gateway::before(origin.address, PARTS).await;
        for (range, at, hit) in [
            ("bytes=10-29", 10..30, false),
            ("bytes=10-29", 10..30, true),
            ("bytes=12-15", 12..16, true),
            ("bytes=20-39", 20..40, false),
            ("bytes=30-39", 30..40, true),
            ("bytes=10-19", 10..20, false),
        ] {
            let before = origin.asked().len();
            let answer = part(&gateway, range).await;
            assert_eq!((answer.status(), answer.text()), (206, &whole[at]), "{range} {tag:?}");
            assert_eq!(is_hit(&answer), hit, "{range} {tag:?}: {}", status(&answer));
            let after = asked(&origin);
            let expected = if hit { None } else { Some((Some(range.to_owned()), None)) };
            assert_eq!(after.get(before), expected.as_ref(), "all of the range, and nothing on a condition");
        }
        let all = get(gateway.address, "/").await;
        assert_eq!((all.status(), all.text()), (200, whole.as_str()), "{tag:?}");
        assert_eq!(asked(&origin).pop(), Some((None, None)), "{tag:?}");
        gateway.at_rest().await;
    }
}

const REPEATED: &str = "[route.cache]\nranges = \"parts\"\nrepeat_parts = true\n";

/// `repeat_parts`: what cannot be placed answers exactly the same request, and nothing else.
#[tokio::test]
async fn partial_answers_are_repeated_to_the_same_request() {
    for (name, fields, body) in [
        ("an unknown length", "etag: \"v1\"\r\ncontent-range: bytes 0-9/*", "abcdefghij"),
        ("less than asked", "etag: \"v1\"\r\ncontent-range: bytes 0-4/1000", "abcde"),
        ("another range", "content-range: bytes 5-9/1000", "abcde"),
        ("fewer bytes than it says", "content-range: bytes 0-9/1000", "abcde"),
        ("several parts", "content-type: multipart/byteranges; boundary=x", "--x\r\n\r\na\r\n--x--\r\n"),
    ] {
        let length = body.len();
        let odd = format!(
            "HTTP/1.1 206 Partial Content\r\ncache-control: max-age=60\r\ncontent-length: {length}\r\n\
             {fields}\r\n\r\n{body}"
        );
        let whole = text(1000);
        let origin = Origin::start({
            let whole = whole.clone();
            move |request, _| match request.field("range") {
                Some("bytes=0-9") => Reply::raw(odd.clone()),
                _ if request.method() == "POST" => Reply::new(200, &[], ""),
                _ => honest(request, &whole, "\"v1\"", "max-age=60"),
            }
        })
        .await;
        let gateway = Gateway::before(origin.address, REPEATED).await;
        let first = part(&gateway, "bytes=0-9").await;
        assert!(status(&first).contains("; stored"), "{name}: {}", status(&first));
        for _ in 0..2 {
            let again = part(&gateway, "bytes=0-9").await;
            assert!(is_hit(&again), "{name}: {}", status(&again));
            assert_eq!((again.status(), again.text()), (206, body), "{name}");
            for field in ["content-range", "content-length", "content-type", "etag"] {
                assert_eq!(again.field(field), first.field(field), "{name}: {field}");
            }
        }
        let conditional = [("range", "bytes=0-9"), ("if-range", "\"v1\"")];
        let conditional = ask(gateway.address, "GET", "/", &conditional).await;
        assert!(!is_hit(&conditional), "{name}: If-Range is another request");
        // Nothing of it for anybody else, though the bytes may seem to be there.
        for (range, at) in [("bytes=0-4", 0..5), ("bytes=0-8", 0..9), ("bytes=5-9", 5..10)] {
            let other = part(&gateway, range).await;
            assert_eq!((other.status(), other.text()), (206, &whole[at]), "{name}: {range}");
        }
        // What changes the resource takes it along.
        ask(gateway.address, "POST", "/", &[]).await;
        assert!(!is_hit(&part(&gateway, "bytes=0-9").await), "{name}");
        let all = get(gateway.address, "/").await;
        assert_eq!((all.status(), all.text()), (200, whole.as_str()), "{name}");
        gateway.at_rest().await;
    }
}

/// A body that ends before its `Content-Range` says so is cut off, and not stored.
#[tokio::test]
async fn a_part_that_breaks_off_is_not_stored() {
    let whole = text(1000);
    for cut in ["5\r\nabcde\r\n0\r\n\r\n", "5\r\nabcde\r\n", "14\r\nabcdeabcdeabcdeabcde\r\n0\r\n\r\n"] {
        let origin = Origin::start({
            let whole = whole.clone();
            move |request, count| match count {
                0 => Reply::raw(format!(
                    "HTTP/1.1 206 Partial Content\r\ncache-control: max-age=60\r\netag: \"v1\"\r\n\
                     content-range: bytes 0-9/1000\r\ntransfer-encoding: chunked\r\n\r\n{cut}"
                ))
                .then_close(),
                _ => honest(request, &whole, "\"v1\"", "max-age=60"),
            }
        })
        .await;
        let gateway = Gateway::before(origin.address, PARTS).await;
        let mut client = Client::connect(gateway.address).await;
        client
            .write("GET / HTTP/1.1\r\nhost: test.example\r\nrange: bytes=0-9\r\nconnection: close\r\n\r\n")
            .await;
        client.rest().await;
        gateway.at_rest().await;
        let second = part(&gateway, "bytes=0-9").await;
        assert_eq!((second.status(), second.text()), (206, &whole[..10]), "{cut}");
        assert_eq!(origin.asked().len(), 2, "{cut}");
    }
}

/// The representation changes while parts of it are stored: no answer has bytes of both, whether the origin
/// heeds `If-Range` or not.
#[tokio::test]
async fn parts_of_different_representations_are_not_mixed() {
    let (old, new) = (text(1000), text(1000).to_uppercase());
    for heeds in [true, false] {
        let origin = Origin::start({
            let (old, new) = (old.clone(), new.clone());
            move |request, count| match count {
                0 => honest(request, &old, "\"v1\"", "max-age=60"),
                // Its word for a part of the old one is a part of the new one.
                1 if !heeds => Reply::raw(format!(
                    "HTTP/1.1 206 Partial Content\r\ncache-control: max-age=60\r\netag: \"v2\"\r\n\
                     content-length: 100\r\ncontent-range: bytes 100-199/1000\r\n\r\n{}",
                    &new[100..200]
                )),
                _ => honest(request, &new, "\"v2\"", "max-age=60"),
            }
        })
        .await;
        let gateway = Gateway::before(origin.address, PARTS).await;
        part(&gateway, "bytes=0-99").await;
        let mixed = part(&gateway, "bytes=50-199").await;
        assert_eq!((mixed.status(), mixed.field("etag")), (206, Some("\"v2\"")), "{heeds}");
        assert_eq!(mixed.text(), &new[50..200], "{heeds}");
        let all = get(gateway.address, "/").await;
        assert_eq!((all.status(), all.text()), (200, new.as_str()), "{heeds}");
        gateway.at_rest().await;
    }
}

/// A request for the whole that the gateway completes never shows that it did.
#[tokio::test]
async fn the_whole_is_asked_for_again_where_its_rest_is_not_to_be_had() {
    let whole = text(1000);
    for rest in [
        "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\ncontent-range: bytes */100\r\n\r\n",
        "HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\ncontent-length: 4\r\ncontent-range: bytes 0-3/1000\r\n\r\nEVIL",
    ] {
        let origin = Origin::start({
            let whole = whole.clone();
            move |request, count| match count {
                1 => Reply::raw(rest),
                _ => honest(request, &whole, "\"v1\"", "max-age=60"),
            }
        })
        .await;
        let gateway = Gateway::before(origin.address, PARTS).await;
        part(&gateway, "bytes=0-99").await;
        let all = get(gateway.address, "/").await;
        assert_eq!((all.status(), all.text()), (200, whole.as_str()), "{rest}");
        let seen: Vec<_> = asked(&origin).into_iter().map(|(range, _)| range).collect();
        assert_eq!(seen, [Some("bytes=0-99".to_owned()), Some("bytes=100-".to_owned()), None]);
        gateway.at_rest().await;
    }
}

/// Nobody asked for a part: it is a bad answer, to a fill and to a request that passes.
#[tokio::test]
async fn a_part_nobody_asked_for_is_a_bad_answer() {
    for (fields, route) in [
        (&[("cache-control", "max-age=60")][..], ""),
        (&[("cache-control", "max-age=60")], PARTS),
        (&[("cache-control", "private")], "[route.cache]\ncollapse = false\n"),
    ] {
        let mut fields = fields.to_vec();
        fields.extend([("etag", "\"v1\""), ("content-range", "bytes 0-3/10")]);
        let origin = Origin::always(Reply::new(206, &fields, "EVIL")).await;
        let gateway = Gateway::before(origin.address, route).await;
        for _ in 0..2 {
            assert_eq!(get(gateway.address, "/").await.status(), 502, "{fields:?}");
        }
        assert_eq!(ask(gateway.address, "GET", "/", &[("cache-control", "no-store")]).await.status(), 502);
        gateway.at_rest().await;
    }
}

/// Clients who ask for different parts at the same time get their own; those who ask for the same share it.
#[tokio::test]
async fn clients_with_different_ranges_do_not_meet() {
    let whole = text(1000);
    let gate = Gate::new();
    let origin = Origin::start({
        let (whole, gate) = (whole.clone(), gate.clone());
        move |request, _| honest(request, &whole, "\"v1\"", "max-age=60").after(&gate)
    })
    .await;
    let gateway = Gateway::before(origin.address, PARTS).await;
    let mut clients = Vec::new();
    for range in ["0-99", "50-149", "0-99", "900-"] {
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("GET / HTTP/1.1\r\nhost: test.example\r\nrange: bytes={range}\r\n\r\n")).await;
        clients.push((range, client));
    }
    origin.wait_for(3).await;
    gateway.wait_for("forebay_cache_fills", &[], |fills| fills == 3.0).await;
    gate.open();
    for (range, mut client) in clients {
        let answer = client.response().await;
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap_or(999));
        assert_eq!((answer.status(), answer.text()), (206, &whole[first..=last]), "{range}");
    }
    // All of it is put together, whoever came first.
    let across = part(&gateway, "bytes=10-140").await;
    assert!(is_hit(&across), "{} {:?}", status(&across), asked(&origin));
    assert!(is_hit(&part(&gateway, "bytes=-50").await));
    assert!(origin.asked().len() <= 4);
    gateway.at_rest().await;
}

/// RFC 9111 §4.4: what is there in part goes as well.
#[tokio::test]
async fn parts_are_invalidated() {
    let (origin, _) = honest_origin(1000, "max-age=60").await;
    let gateway = Gateway::before(origin.address, PARTS).await;
    part(&gateway, "bytes=0-99").await;
    assert!(is_hit(&part(&gateway, "bytes=0-99").await));
    ask(gateway.address, "POST", "/", &[("content-length", "0")]).await;
    assert!(!is_hit(&part(&gateway, "bytes=0-99").await));
}

#[tokio::test]
async fn ranges_may_be_passed_on() {
    let (origin, whole) = honest_origin(1000, "max-age=60").await;
    let gateway = Gateway::before(origin.address, "[route.cache]\nranges = \"pass\"\n").await;
    for _ in 0..2 {
        let answer = part(&gateway, "bytes=10-19").await;
        assert_eq!((answer.status(), answer.text()), (206, &whole[10..20]));
        assert!(!status(&answer).contains("stored"), "{}", status(&answer));
    }
    let expected = (Some("bytes=10-19".to_owned()), None);
    assert_eq!(asked(&origin), [expected.clone(), expected]);
    get(gateway.address, "/").await;
    assert!(is_hit(&part(&gateway, "bytes=10-19").await), "what is stored whole answers");
}
