//! Forebay: a caching, asynchronous API gateway for slow APIs.
//!
//! A forebay is the pool in front of a turbine: it takes in what the river brings, at the pace the machine
//! can take. A hyper server forwards requests upstream through tower layers: rate limit, cache,
//! backpressure, retry with backoff.
//!
//! # A map, in reading order
//!
//! | read | for |
//! |---|---|
//! | [`stack`] | the list of layers, outermost first, and why each sits where it does |
//! | [`layers`] | the seam between layers; one folder a layer, none imports another |
//! | [`http`] | what travels through the stack, and what is released at a body's end |
//! | [`gateway`] | the table of built routes: built aside, swapped as a whole |
//! | [`server`] | sockets and lifetimes: listener → connection → ingress → gateway |
//! | [`upstream`] | endpoint sets: balance, pool, resolve, health, ejection, the wire |
//! | [`route`] | pure matching |
//! | [`config`] and [`plan`] | what the user wrote; what it means, validated, without I/O |
//! | [`error`] | every way a request can fail, by culprit |
//! | [`threats`] | what a gateway is attacked with, what is done about it, and the tests |
//! | [`clock`], [`units`], [`report`], [`memory`], [`metrics`], [`telemetry`] | what everybody uses |
//!
//! Imports go downhill: a module imports only modules of a lower rank. A test checks it.
//!
//! # The way of a request
//!
//! ```text
//! listener → connection → ingress → route → AccessLog → TransformResponse → Cors → Respond
//!         → TransformRequest → Deadline → BodyLimit → Auth → RateLimit → Compress → Idempotency → Fallback
//!         → Cache → RateLimit (origin) → Quota → Admission → Retry → Hedge → Balance → pool → origin
//! ```
//!
//! A route with `aggregate` has the inner half of it, from the cache on, once a part; all are asked at once.
//!
//! # Where the design was changed, and why
//!
//! - **`Inner` is implemented a type at a time**, by a macro, and not for every `T` whose reference is a
//!   service. The blanket implementation compiles, but each level of the stack makes the compiler prove the
//!   next one several times over: a check of the crate was seen beyond a minute of processor time and two
//!   gigabytes. Now `cargo check --lib` takes 4.5 seconds and 0.55 GB.
//! - **Notes for the log line are kept in a shared [`Trail`](http::Trail)**, not on the response: a request
//!   whose client leaves has no response, and its line must still say how far it came. Without an access
//!   log there is no trail and no cost.
//! - **One watchman for all downstream timeouts** ([`server::watch`]), in place of timers a connection: a
//!   request costs no trip to the timer wheel, and every timeout is right to within two tenths of a second.
//! - **Interim responses** have their place in [`http::interim`], as requests carry the way to their client's
//!   socket; `server/` only writes them. HTTP/2 clients get none: hyper offers no way to send them.
//! - **A request is a box** ([`http::Request`]): it is moved a dozen times and kept in most layers' futures.
//!   With 8 bytes to move in place of 460, a pass-through request took 5 % less.
//! - **Small writes are gathered and sent as one piece** ([`net::poll_gathered`]). `writev` being a wash
//!   holds for hyper's own choice, which copies into another buffer; a copy on the stack and `send` took 4 %
//!   off a pass-through request.
//! - **What a client sends is read along with hyper** ([`server::framing`], [`server::frames`]), which shows
//!   neither the bytes of a head nor HTTP/2's frames: 65 ns a head of 120 bytes, nothing a byte of a body.
//! - **An idle HTTP/1 connection is taken apart** ([`server::connection`]) and built again at its next bytes:
//!   hyper's buffers for 10,000 of them were 170 MiB.
//! - **Compression is pushed into** `flate2`, `brotli` and `zstd` ([`http::coding`]), not pulled through
//!   `async-compression`, which wraps the same three: our bodies come as frames with trailers, are flushed
//!   when their source waits, and go off the event loop piece by piece. All of it would have been around
//!   that.
//! - **The text format of metrics is our own encoder**: `prometheus-client` writes OpenMetrics, whose
//!   counters look untyped to readers of the older format.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod gateway;
pub mod http;
pub mod layers;
pub mod lifecycle;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod plan;
pub mod report;
pub mod route;
pub mod server;
pub mod stack;
pub mod telemetry;
pub mod threats;
pub mod units;
pub mod upstream;
