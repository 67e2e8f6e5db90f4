//! For unit tests: requests, and bodies that really come from a connection, over memory.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

use crate::clock;

use super::incoming::{Incoming, Side};
use super::{
    Attempt, Interim, Params, Peer, Request, RequestBody, RequestId, RequestParts, Scheme, Target, Trail,
};

/// A request for `http://test.example/`.
pub fn request(method: Method, body: RequestBody) -> Request {
    let address = ([127, 0, 0, 1], 40_000).into();
    Request::from(RequestParts {
        method,
        target: Target {
            scheme: Scheme::Http,
            authority: HeaderValue::from_static("test.example"),
            path_and_query: PathAndQuery::from_static("/"),
        },
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        body,
        received: clock::now(),
        deadline: None,
        gives_up: None,
        peer: Arc::new(Peer {
            address,
            local: address,
            scheme: Scheme::Http,
            trusted: false,
            server_name: None,
            certificate: None,
        }),
        client: address.ip(),
        id: RequestId::Random(1),
        params: Params::new(),
        upgrade: None,
        may_purge: false,
        trail: Trail::kept(),
        interim: Interim::none(),
        attempt: Attempt::default(),
    })
}

/// The client of a request whose head has arrived: what it writes is the body, chunked.
pub struct Client(DuplexStream);

impl Client {
    /// Sends one chunk.
    pub async fn send(&mut self, data: &str) {
        self.0.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes()).await.unwrap();
    }

    /// Ends the body.
    pub async fn end(&mut self) {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Sends what is no chunk.
    pub async fn garble(&mut self) {
        self.0.write_all(b"what?\r\n").await.unwrap();
    }
}

/// A chunked request body from an HTTP/1.1 connection over memory.
pub async fn incoming() -> (Incoming, Client) {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let (arrived, body) = oneshot::channel();
    let arrived = Mutex::new(Some(arrived));
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        if let Some(arrived) = arrived.lock().unwrap().take() {
            arrived.send(request.into_body()).unwrap();
        }
        // The connection lives until the client goes.
        std::future::pending::<Result<hyper::Response<http_body_util::Full<Bytes>>, Infallible>>()
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service));
    client.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let body = body.await.unwrap();
    (Incoming::new(body, Side::Client, Duration::from_secs(30), 1 << 20), Client(client))
}
