use std::net::IpAddr;

use http::header::HeaderName;

use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs =
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

#[test]
fn forwarded_for_grows_by_the_peer() {
    for (before, address, after) in [
        (&[][..], "192.0.2.1", "192.0.2.1"),
        (&[], "2001:db8::1", "2001:db8::1"),
        (&[("x-forwarded-for", "198.51.100.7")], "2001:db8::1", "198.51.100.7, 2001:db8::1"),
        (&[("x-forwarded-for", "a"), ("x-forwarded-for", "b")], "192.0.2.1", "a, b, 192.0.2.1"),
    ] {
        let mut headers = headers(before);
        forwarded_for(&mut headers, address.parse::<IpAddr>().unwrap());
        let values: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(values, [after]);
    }
}

#[test]
fn forwarded_quotes_what_is_no_token() {
    let mut given = headers(&[("forwarded", "for=a")]);
    let authority = HeaderValue::from_static("example.com:8443");
    forwarded(&mut given, "2001:db8::1".parse().unwrap(), &authority, Scheme::Https);
    assert_eq!(given["forwarded"], "for=a, for=\"[2001:db8::1]\";host=\"example.com:8443\";proto=https");
    let mut none = HeaderMap::new();
    forwarded(&mut none, "192.0.2.1".parse().unwrap(), &HeaderValue::from_static(""), Scheme::Http);
    assert_eq!(none["forwarded"], "for=192.0.2.1;proto=http");
}

#[test]
fn traceparents() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (value, valid) in [
        (good, true),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", false),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false),
        ("", false),
    ] {
        assert_eq!(is_traceparent(value.as_bytes()), valid, "{value}");
    }
    let id = RequestId::Random(0xabc);
    let mut kept = headers(&[("traceparent", good), ("tracestate", "a=b")]);
    trace(&mut kept, &id, 7);
    assert_eq!(
        (&kept["traceparent"], &kept["tracestate"]),
        (&good.parse().unwrap(), &"a=b".parse().unwrap())
    );
    let mut replaced = headers(&[("traceparent", "bad"), ("tracestate", "a=b")]);
    trace(&mut replaced, &id, 0xfe);
    let made = replaced["traceparent"].to_str().unwrap();
    assert!(is_traceparent(made.as_bytes()));
    assert_eq!(made, "00-00000000000000000000000000000abc-00000000000000fe-01");
    assert!(!replaced.contains_key("tracestate"));
}

#[test]
fn lengths_are_the_bodys() {
    for (method, given, length, sent) in [
        (Method::GET, None, Some(0), None),
        (Method::GET, Some("0"), Some(0), None),
        (Method::POST, None, Some(0), Some("0")),
        (Method::POST, Some("9"), Some(5), Some("5")),
        (Method::POST, Some("9"), None, None),
        (Method::DELETE, None, Some(3), Some("3")),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(given) = given {
            headers.insert("content-length", HeaderValue::from_static(given));
        }
        set_length(&method, &mut headers, length);
        let got = headers.get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!(got, sent, "{method} {given:?} {length:?}");
    }
}

#[test]
fn cookies_are_joined() {
    // RFC 9113 §8.2.3.
    let mut crumbs = headers(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
    join_cookies(&mut crumbs);
    assert_eq!(crumbs.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    let mut none = HeaderMap::new();
    join_cookies(&mut none);
    assert!(none.is_empty());
}
