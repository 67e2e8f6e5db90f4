//! What the user writes in `[server]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Rate, Size, Time};

/// The process: threads, limits and timeouts of all listeners.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Threads that serve requests; one a processor if not given. Needs a restart.
    pub workers: Option<u32>,
    /// Connections open at once; more are not accepted until one ends.
    pub max_connections: u32,
    /// Connections one client may have open at once, an IPv6 client being its /64; more are closed at once.
    /// Three quarters of `max_connections` if not given. Those of `trusted_proxies` do not count, unless a
    /// PROXY header says whose they are.
    pub max_connections_per_address: Option<u32>,
    /// From the first byte of a request to the end of its header section; also covers a silent new
    /// connection.
    pub header_timeout: Time,
    /// Between two reads of a request body.
    pub body_timeout: Time,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Time,
    /// How long a write may make no progress because the client does not read.
    pub write_timeout: Time,
    /// The fewest bytes a second a client may send of a request body, and take of a response that waits for
    /// it, once it has taken ten seconds; `"0B"` for no such limit. HTTP/2 bodies of unknown length (gRPC
    /// streams) are exempt.
    pub min_rate: Size,
    /// How many requests a connection may carry; then it is closed.
    pub max_requests_per_connection: u32,
    /// How old a connection may get; then it is closed once its requests are answered. It is up to a tenth
    /// more, so that connections that came together do not all come back together.
    pub max_connection_age: Time,
    /// How many HTTP/2 frames that carry nothing of a request (`PING`, `SETTINGS`, `WINDOW_UPDATE`, empty
    /// `DATA`, ...) a connection may bring on the average; four seconds' worth may come at once, and more
    /// where the client is sent much. Beyond it the connection is ended (`ENHANCE_YOUR_CALM`).
    pub max_http2_control_frames: Rate,
    /// How long an upgraded connection (WebSocket) may be silent in both directions.
    pub tunnel_timeout: Time,
    /// The largest header section; beyond it, 431.
    pub max_header_bytes: Size,
    /// The most header fields; beyond it, 431.
    pub max_headers: u32,
    /// How often a request may have passed a Forebay before, as its `Via` tells; beyond it, 508: it goes in a
    /// circle.
    pub max_hops: u32,
    /// The largest request body; beyond it, 413. A route may say less.
    pub max_body: Size,
    /// How long requests in flight may take after the signal to stop.
    pub drain_timeout: Time,
    /// The memory that bodies may take in all: stored responses, responses on their way into the store,
    /// request bodies kept for retries. Beyond it responses pass through unstored. Needs a restart.
    pub memory_limit: Size,
    /// What becomes of repeated slashes in a path: `//a` matches and forwards as `/a`.
    pub merge_slashes: bool,
    /// What becomes of an encoded slash (`%2f`) in a path: kept as it is, or refused with 400.
    pub encoded_slash: EncodedSlash,
    /// What becomes of a `;`, plain or encoded (`%3b`), in a path: kept as it is, or refused with 400. Some
    /// servers cut off what follows it, so `/admin;x` is `/admin` to them, and another path to routes and
    /// whatever they guard. Refuse it where an upstream is of that kind (Tomcat, Jetty, Spring) and needs no
    /// such parameters.
    pub path_parameters: PathParameters,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            workers: None,
            max_connections: 20_000,
            max_connections_per_address: None,
            header_timeout: Time::secs(10),
            body_timeout: Time::secs(30),
            idle_timeout: Time::secs(75),
            write_timeout: Time::secs(30),
            min_rate: Size::new(64),
            max_requests_per_connection: 100_000,
            max_connection_age: Time::secs(86_400),
            max_http2_control_frames: Rate::new(500, Duration::from_secs(1)),
            tunnel_timeout: Time::secs(300),
            max_header_bytes: Size::kib(32),
            max_headers: 100,
            max_hops: 10,
            max_body: Size::mib(10),
            drain_timeout: Time::secs(30),
            memory_limit: Size::mib(512),
            merge_slashes: true,
            encoded_slash: EncodedSlash::Keep,
            path_parameters: PathParameters::Keep,
        }
    }
}

/// What becomes of parameters in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathParameters {
    /// They are part of their segment, in matching and forwarding; only `..;` is refused.
    #[default]
    Keep,
    /// The request is refused with 400.
    Reject,
}

/// What becomes of an encoded slash in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlash {
    /// It is part of its segment, in matching and forwarding.
    #[default]
    Keep,
    /// The request is refused with 400.
    Reject,
}
