//! `forebay check -c FILE`: all problems of a config file, and nothing else.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, inspect_with_files};

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The config file: .toml, .yaml, .yml or .json.
    #[arg(short, long, value_name = "FILE", env = "FOREBAY_CONFIG")]
    pub config: PathBuf,
}

/// Checks a config file; warnings are shown and do not fail.
///
/// # Errors
///
/// If the file cannot be used.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    check(&args.config)
}

/// The same, for `run -t` too.
///
/// # Errors
///
/// If the file cannot be used.
pub fn check(path: &Path) -> Result<(), Failure> {
    let (loaded, _) = inspect_with_files(path)?;
    let problems = loaded.problems();
    if loaded.report.has_errors() {
        return Err(Failure::Config(problems));
    }
    eprint!("{problems}");
    eprintln!("{}: ok", path.display());
    Ok(())
}
