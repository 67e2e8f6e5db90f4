//! The outermost layer: one log line and one set of counts a request, however it ends.
//!
//! ```
//! use forebay::layers::access_log::config::{Format, LogConfig};
//! use forebay::layers::access_log::{LogWriter, plan};
//! use forebay::metrics::Metrics;
//! use forebay::report::{Path, Report};
//!
//! let config = LogConfig { access: "/dev/null".to_owned(), format: Format::Json, queue: 1000 };
//! let plan = plan::plan(&config, &Path::root().key("log"), &mut Report::new());
//! let writer = LogWriter::start(&plan, &Metrics::default())?.expect("the log is not off");
//! // AccessLog::new("orders", Some("orders"), Some(writer.clone()), &metrics, inner) ... and at the end:
//! assert!(writer.shutdown(std::time::Duration::from_secs(2)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A record is made when the last byte of the response was handed on, not at its head: only then bytes and
//! duration are known. A body that is in memory is recorded at once. A client that leaves before the head is
//! status 499.
//!
//! The part of a line that the request tells is written before the request goes inward; that keeps one small
//! buffer alive for the time of a long response, and not the connection's read buffer, which the fields are
//! slices of.
//!
//! Lines of one thread stand in the order in which they were made; between threads they may be a moment out
//! of order.

pub mod config;
mod encode;
mod hidden;
mod layer;
pub mod plan;
mod record;
mod recorder;
mod requests;
mod sink;
mod writer;

#[cfg(test)]
mod tests;

pub use layer::{AccessLog, Recorded};
pub use record::{Answered, Asked, Line, Outcome};
pub use writer::LogWriter;
