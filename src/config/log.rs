//! What the user writes in `[log]`.

pub use crate::layers::access_log::config::{Format, LogConfig};
