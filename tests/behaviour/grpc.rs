//! What gRPC clients are told where the gateway ends a call itself ("gRPC over HTTP/2", Trailers-Only).

use std::net::SocketAddr;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::support::{Client, Gateway, Origin, Reply, h2, within};

/// A call of one message, and what its response begins with.
async fn call(address: SocketAddr, path: &str) -> Response<Incoming> {
    let mut sender = h2::connect(address).await;
    let (message, body) = h2::piped();
    message.data(&b"\0\0\0\0\0"[..]);
    drop(message);
    let request = Request::post(format!("http://a{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    within("a response", sender.send_request(request)).await.unwrap()
}

/// What the call ended with, in nothing but a header section.
async fn status(address: SocketAddr, path: &str) -> String {
    let response = call(address, path).await;
    assert_eq!(response.status(), 200, "{response:?}");
    assert_eq!(response.headers()["content-type"], "application/grpc+proto");
    assert!(!response.headers()["grpc-message"].is_empty());
    assert!(response.body().is_end_stream(), "Trailers-Only ends with its header section");
    let status = response.headers()["grpc-status"].to_str().unwrap().to_owned();
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    status
}

#[tokio::test]
async fn calls_that_the_gateway_ends_have_a_status_of_grpc() {
    let origin = Origin::always(Reply::ok("never").stall_after(0)).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let route = |name: &str, upstream: &str, more: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}\" }}\nupstream = \"{upstream}\"\n{more}\n"
        )
    };
    let config = Gateway::config(origin.address, "", "match.host = \"b\"").replace(
        "match = { path = \"/{*rest}\" }\nupstream = \"origin\"\nmatch.host = \"b\"",
        "match = { path = \"/{*rest}\", host = \"b\" }\nupstream = \"origin\"",
    ) + &format!("[upstream.nobody]\nendpoints = [\"http://{nobody}\"]\n")
        + &route("late", "origin", "timeout = \"200ms\"")
        + &route("gone", "nobody", "")
        + &route("often", "nobody", "rate_limit = [{ name = \"few\", rate = \"1/h\", burst = 1 }]")
        + &route("closed", "origin", "auth = { keys = {} }")
        + &route("elsewhere", "origin", "auth = { deny = [\"127.0.0.0/8\"] }")
        + &route("small", "origin", "max_body = \"1B\"")
        + "[consumer.ada]\nkeys = [\"0000000000000000000000000000000000000000000000000000000000000000\"]\n";
    let gateway = Gateway::start(&config);
    for (path, expected) in [
        ("/late", "4"),
        ("/gone", "14"),
        ("/often", "14"),
        ("/often", "8"),
        ("/closed", "16"),
        ("/elsewhere", "7"),
        ("/small", "8"),
        ("/nowhere", "12"),
    ] {
        assert_eq!(status(gateway.address, path).await, expected, "{path}");
    }
    gateway.at_rest().await;
}

/// What is no gRPC gets the status that says it.
#[tokio::test]
async fn others_are_told_by_http() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::before(nobody, "").await;
    for field in ["content-type: application/json", "content-type: application/grpcx", "x: y"] {
        let mut client = Client::connect(gateway.address).await;
        client.write(format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\ncontent-length: 0\r\n\r\n")).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("grpc-status")), (502, None), "{field}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    }
}
