//! File descriptors: a connection takes one, and most systems let a process have few of them at first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the number of files this process may have open as far as it may be raised, and says so where that
/// is less than the connections a config allows.
pub fn raise_limit(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if limit.current.is_some() && limit.current != limit.maximum {
        match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
            Ok(()) => info!(from = limit.current, to = limit.maximum, "raised the limit of open files"),
            Err(error) => warn!(%error, "cannot raise the limit of open files"),
        }
    }
    let wanted = max_connections as u64;
    if let Some(most) = getrlimit(Resource::Nofile).current.filter(|most| *most < wanted) {
        warn!(most, wanted, "`server.max_connections` may need more open files than the system allows");
    }
}
