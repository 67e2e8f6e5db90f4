//! The admin listener, as those see it who should not: pages of browsers, names that point here, strangers.

use crate::support::gateway::program;
use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply, get};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];
const TOKEN: &str = "a-long-and-random-token";

/// One request to the admin listener, with these lines for a head and this body.
async fn send(gateway: &Gateway, line: &str, fields: &[&str], body: &str) -> Message {
    let host = format!("host: {}", gateway.admin);
    let has_host = fields.iter().any(|field| field.starts_with("host:"));
    let own = if has_host { None } else { Some(host.as_str()) };
    let fields: String = fields.iter().copied().chain(own).map(|field| format!("{field}\r\n")).collect();
    let mut client = Client::connect(gateway.admin).await;
    let length = body.len();
    client
        .write(format!(
            "{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
        ))
        .await;
    if line.starts_with("HEAD") { client.head_response().await } else { client.response().await }
}

async fn is_stored(gateway: &Gateway) -> bool {
    let answer = get(gateway.address, "/a").await;
    answer.field("cache-status").unwrap().starts_with("forebay; hit")
}

/// Whatever a page of another origin can have a browser send, with or without being asked first, does
/// nothing; and the same from a page whose name was made to point here (DNS rebinding).
#[tokio::test]
async fn pages_of_browsers_change_nothing() {
    let origin = Origin::always(Reply::new(200, FRESH, "x")).await;
    let gateway = Gateway::before(origin.address, "").await;
    get(gateway.address, "/a").await;
    assert!(is_stored(&gateway).await);
    let (purge, json) = ("POST /api/v1/cache/purge", "content-type: application/json");
    let all = "{\"all\":true}";
    let own = format!("origin: http://{}", gateway.admin);
    let form = "all=true&%7B%22all%22%3Atrue%7D";
    for (line, fields, body, expected) in [
        // What forms and simple requests can say (the Fetch standard, "CORS-safelisted").
        (purge, &["content-type: text/plain", "origin: http://evil.example"][..], all, 403),
        (purge, &["content-type: text/plain"], all, 415),
        (purge, &["content-type: application/x-www-form-urlencoded"], form, 415),
        (purge, &["content-type: multipart/form-data; boundary=x"], all, 415),
        (purge, &["content-type: text/plain; application/json"], all, 415),
        (purge, &["content-type: application/json, text/plain"], all, 415),
        (purge, &["content-type: application/jsonp"], all, 415),
        (purge, &[], all, 415),
        // What it says of itself when it has a browser ask.
        (purge, &[json, "origin: http://evil.example"], all, 403),
        (purge, &[json, "origin: null"], all, 403),
        (purge, &[json, "origin: https://127.0.0.1"], all, 403),
        (purge, &[json, "sec-fetch-site: cross-site"], all, 403),
        (purge, &[json, "sec-fetch-site: same-site"], all, 403),
        (purge, &[json, &own, "sec-fetch-site: cross-site"], all, 403),
        // A name of its own that points here is its own origin, to the browser.
        (purge, &[json, "host: evil.example:9901", "origin: http://evil.example:9901"], all, 403),
        (purge, &[json, "host: evil.example:9901", "sec-fetch-site: same-origin"], all, 403),
        (purge, &[json, "host: 127.0.0.1.evil.example"], all, 403),
        (purge, &[json, "host: localhost.evil.example"], all, 403),
        (purge, &[json, "host: "], all, 403),
        // The question before the request is not answered with a yes.
        (
            "OPTIONS /api/v1/cache/purge",
            &["origin: http://evil.example", "access-control-request-method: POST"],
            "",
            405,
        ),
        // Nothing changes by being read.
        ("GET /api/v1/cache/purge?all=true", &[json], all, 405),
        ("HEAD /api/v1/cache/purge?all=true", &[json], "", 405),
        ("PUT /api/v1/cache/purge", &[json], all, 405),
        ("GET /api/v1/cache/entry?url=test.example/a", &[], "", 200),
        ("GET /api/v1/status?all=true", &[json], all, 200),
        ("GET /metrics", &[json], all, 200),
        ("GET /livez", &[json], all, 200),
        ("GET /readyz", &[json], all, 200),
    ] {
        let answer = send(&gateway, line, fields, body).await;
        assert_eq!(answer.status(), expected, "{line} {fields:?} {answer:?}");
        for (name, _) in &answer.fields {
            assert!(!name.starts_with("access-control-"), "{line} {fields:?} {answer:?}");
        }
        assert!(is_stored(&gateway).await, "{line} {fields:?}");
    }
    let good = send(&gateway, purge, &[json, &own, "sec-fetch-site: same-origin"], all).await;
    assert_eq!(good.status(), 200, "the same order, from here: {good:?}");
    assert!(!is_stored(&gateway).await);
}

/// A page may not read either, by a name of its own that points here; probes may say any name.
#[tokio::test]
async fn a_name_that_points_here_reads_nothing() {
    let origin = Origin::always(Reply::ok("x")).await;
    let gateway = Gateway::before(origin.address, "").await;
    for host in ["evil.example", "evil.example:9901", "127.0.0.1.evil.example", "localhost.evil.example", ""]
    {
        let host = format!("host: {host}");
        for path in ["/metrics", "/api/v1/status", "/api/v1/cache/entry?url=test.example/"] {
            let answer = send(&gateway, &format!("GET {path}"), &[&host], "").await;
            assert_eq!(answer.status(), 403, "{host} {path}");
            assert!(!answer.text().contains("all"), "the route's name: {answer:?}");
        }
        assert_eq!(send(&gateway, "GET /readyz", &[&host], "").await.status(), 200, "{host}");
    }
    let port = gateway.admin.port();
    for host in ["127.0.0.1".to_owned(), format!("localhost:{port}"), format!("[::1]:{port}")] {
        let answer = send(&gateway, "GET /api/v1/status", &[&format!("host: {host}")], "").await;
        assert_eq!(answer.status(), 200, "{host}");
    }
}

/// With a token the API is for who knows it, and says to nobody what it is.
#[tokio::test]
async fn the_api_wants_the_token() {
    let origin = Origin::always(Reply::ok("x")).await;
    let config = Gateway::config(origin.address, "", "");
    let gateway = Gateway::start(&config.replacen("[admin]", &format!("[admin]\ntoken = \"{TOKEN}\""), 1));
    let (good, wrong) = (format!("authorization: Bearer {TOKEN}"), format!("authorization: Bearer {TOKEN}x"));
    for line in
        ["GET /api/v1/status", "GET /api/v1/cache/entry?url=test.example/", "POST /api/v1/cache/purge"]
    {
        for fields in [&[][..], &[wrong.as_str()], &["authorization: Basic eDp5"], &[&good, &good]] {
            let answer = send(&gateway, line, fields, "").await;
            assert_eq!(answer.status(), 401, "{line} {fields:?}");
            assert!(answer.field("www-authenticate").unwrap().starts_with("Bearer "), "{answer:?}");
        }
        let answer = send(&gateway, line, &[&good, "host: admin.example"], "").await;
        assert_ne!(answer.status(), 401, "{line}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = send(&gateway, &format!("GET {path}"), &["host: pod.example"], "").await;
        assert_eq!(answer.status(), 200, "{path}: for probes and scrapers");
    }
}

/// Where others can reach it, it does not start without a token, nor does a reload bring it there.
#[tokio::test]
async fn elsewhere_it_does_not_start_without_a_token() {
    let origin = Origin::always(Reply::ok("x")).await;
    let config = Gateway::config(origin.address, "", "");
    let elsewhere = |listen: &str| {
        config.replacen("[admin]\nlisten = \"127.0.0.1:0\"", &format!("[admin]\nlisten = \"{listen}\""), 1)
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:127.0.0.1]:0"] {
        std::fs::write(&file, elsewhere(listen)).unwrap();
        for command in [&["run", "-c"][..], &["run", "-t", "-c"], &["check", "-c"]] {
            let out = program().args(command).arg(&file).output().unwrap();
            let said = String::from_utf8(out.stderr).unwrap();
            assert_eq!(out.status.code(), Some(2), "{command:?} {listen}: {said}");
            for part in ["f.toml:4:10: error: ", "there is no token", "= help: set `admin.token`"] {
                assert!(said.contains(part), "{command:?} {listen}: {said}");
            }
        }
    }
    // The address alone, for who has no `[admin]` in the file.
    let none = config.replacen("[admin]\nlisten = \"127.0.0.1:0\"\n", "", 1);
    std::fs::write(&file, none).unwrap();
    assert_eq!(program().args(["check", "-c"]).arg(&file).output().unwrap().status.code(), Some(0));
    let gateway = Gateway::start(&config);
    gateway.rewrite(&elsewhere("0.0.0.0:0"));
    gateway.wait_for("forebay_reloads_total", &[("result", "refused")], |count| count == 1.0).await;
    assert!(gateway.log().contains("there is no token"), "{}", gateway.log());
    assert_eq!(get(gateway.address, "/").await.status(), 200);
}
