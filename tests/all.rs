//! Every test that is not beside the code it tests, in one binary: it is linked once.
//!
//! `cargo test --test all` runs them, and needs nothing installed. Sockets are real, on port 0 of the
//! loopback interface; the gateway is the program itself, in a process of its own; the origin does what a
//! test tells it. Nothing sleeps for a guessed time: a test waits for what it expects, and
//! [`support::within`] bounds the wait.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod basics;
mod behaviour;
mod faults;
mod fuzz;
mod hostile;
mod soak;
mod support;
mod threats;
mod tidy;
