//! `forebay version`: name and version, for scripts.

use super::{Failure, print};

/// Prints the version.
///
/// # Errors
///
/// Where stdout cannot be written.
pub fn run() -> Result<(), Failure> {
    print(concat!("forebay ", env!("CARGO_PKG_VERSION"), "\n"))
}
