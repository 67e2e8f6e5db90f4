//! Decompression bombs: a few bytes from an upstream that would be very many if anybody unpacked them. Nobody
//! does: what is encoded passes as it is, or is refused where it would have to be read.

use super::super::behaviour::credentials::JWT;
use crate::support::{Gateway, Origin, Reply, ask};

/// What it would be, in bytes: more than a gateway of 64 MiB could hold.
const UNPACKED: usize = 512 << 20;

/// A JSON text of that many bytes, in some kilobytes.
fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(b"\"").unwrap();
    let zeroes = vec![b'0'; 1 << 20];
    for _ in 0..UNPACKED >> 20 {
        encoder.write_all(&zeroes).unwrap();
    }
    encoder.write_all(b"\"").unwrap();
    encoder.finish().unwrap()
}

const FIELDS: [(&str, &str); 3] =
    [("content-type", "application/json"), ("content-encoding", "zstd"), ("cache-control", "max-age=60")];

/// The most memory that a process ever had, in KiB.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// To clients that can unpack it and to those that cannot, stored and not, and in a part of an aggregate.
#[tokio::test]
async fn nobody_unpacks_what_an_origin_has_packed() {
    let packed = bomb();
    assert!(packed.len() < 256 << 10, "{}", packed.len());
    let reply = Reply::new(200, &FIELDS, &packed);
    let origin = Origin::always(reply).await;
    let aggregate = "[[route]]\nname = \"all\"\nmatch = { path = \"/parts\" }\n\
                     aggregate = [{ name = \"bomb\", path = \"/bomb\", upstream = \"origin\" }]\ncompress = {}";
    let config = Gateway::config(origin.address, "", &format!("compress = {{}}\n{aggregate}"))
        .replacen("name = \"all\"", "name = \"one\"", 1)
        .replace("[server]\n", "[server]\nmemory_limit = \"64MiB\"\n")
        .replace("[log]", "[cache]\nmemory = \"16MiB\"\n[log]");
    let gateway = Gateway::start(&config);
    for accepted in ["gzip, br", "identity", "zstd", "identity, *;q=0"] {
        let answer = ask(gateway.address, "GET", "/bomb", &[("accept-encoding", accepted)]).await;
        assert_eq!((answer.status(), answer.field("content-encoding")), (200, Some("zstd")), "{accepted}");
        assert!(answer.body == packed, "{accepted}: {} bytes", answer.body.len());
    }
    assert_eq!(origin.asked().len(), 1, "it was stored as it is");
    let answer = ask(gateway.address, "GET", "/parts", &[]).await;
    assert_eq!(answer.status(), 502, "{}", answer.text());
    assert!(answer.text().contains("encoded"), "{}", answer.text());
    gateway.at_rest().await;
    assert!(peak(&gateway) < 192 << 10, "{} KiB", peak(&gateway));
}

/// A set of keys that is a bomb is none.
#[tokio::test]
async fn nobody_unpacks_keys() {
    let origin = Origin::always(Reply::ok("never")).await;
    let idp = Origin::always(Reply::new(200, &FIELDS, bomb())).await;
    let auth = format!("auth = {{ jwt = {{ {JWT}, jwks = 'http://{}/keys' }} }}", idp.address);
    let gateway = Gateway::before(origin.address, &auth).await;
    idp.wait_for(1).await;
    let answer = ask(gateway.address, "GET", "/", &[("authorization", "Bearer a.b.c")]).await;
    assert_eq!(answer.status(), 503);
    assert!(peak(&gateway) < 192 << 10, "{} KiB", peak(&gateway));
    assert!(origin.asked().is_empty());
}
