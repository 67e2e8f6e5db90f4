//! The commands, one file each; what they share is here: how they fail, and how they show a config's
//! problems.
//!
//! Data goes to stdout, diagnostics to stderr. Flags have `FOREBAY_*` twins in the environment.

pub mod check;
pub mod demo;
pub mod planning;
pub mod purge;
pub mod quick;
pub mod routes;
pub mod run;
pub mod schema;
pub mod version;

use std::io::{self, Write as _};
use std::path::Path as FilePath;

use clap::{Parser, Subcommand};

use crate::config::{self, LoadError, Loaded};
use crate::plan::Plan;
use crate::report::{Report, Severity};

/// The program's arguments.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, about = "A caching, asynchronous API gateway for slow APIs")]
#[command(after_help = "Start: forebay run --upstream http://127.0.0.1:8000")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway, from a config file or in front of one upstream.
    Run(run::RunArgs),
    /// Check a config file and show all its problems.
    Check(check::CheckArgs),
    /// Show what the gateway does, on a slow API of its own.
    Demo(demo::DemoArgs),
    /// Print the config's JSON schema, its reference, or a file with every key.
    Schema(schema::SchemaArgs),
    /// Print the routes of a config file, in the order they are tried.
    Routes(routes::RoutesArgs),
    /// Have a running gateway give up what it stores.
    Purge(purge::PurgeArgs),
    /// Print the version.
    Version,
}

/// Why a command ended without doing what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// The arguments or the config are wrong: exit code 2. The text is whole and for stderr.
    Config(String),
    /// Something went wrong while running: exit code 1.
    Runtime(String),
}

impl Failure {
    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Runtime(_) => 1,
        }
    }

    /// What to say on stderr, with its line end.
    pub fn text(&self) -> String {
        match self {
            Self::Config(text) | Self::Runtime(text) => format!("{}\n", text.trim_end_matches('\n')),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Config(format!("error: {error}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Runtime(format!("error: {error}"))
    }
}

/// Reads a config file and everything that can be said about it without running it.
///
/// # Errors
///
/// Where the file cannot be read. Problems in it are in the report.
pub fn inspect(path: &FilePath) -> Result<(Loaded, Option<Plan>), Failure> {
    let mut loaded = config::load(path)?;
    let (plan, report) = planning::plan(&loaded.config, loaded.source.folder());
    loaded.add(&report);
    Ok((loaded, plan))
}

/// The same, and the certificates and keys that the config names are read too.
///
/// # Errors
///
/// Where the file cannot be read. Problems in it are in the report.
pub fn inspect_with_files(path: &FilePath) -> Result<(Loaded, Option<Plan>), Failure> {
    let (mut loaded, plan) = inspect(path)?;
    if let Some(plan) = plan.as_ref().filter(|_| !loaded.report.has_errors()) {
        let mut files = Report::new();
        planning::check_files(&loaded.config, plan, &mut files);
        loaded.add(&files);
    }
    Ok((loaded, plan))
}

/// Problems without a file, each on a line of its own.
pub fn plain(report: &Report) -> String {
    let mut out = String::new();
    for problem in report.problems() {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let message = config::without_user_information(&problem.message);
        out.push_str(&format!("{word}: {}: {message}\n", problem.path));
        if let Some(hint) = &problem.hint {
            out.push_str(&format!("  = help: {}\n", config::without_user_information(hint)));
        }
    }
    out
}

/// Writes data to stdout. A reader that went away (`forebay schema | head`) is no failure.
///
/// # Errors
///
/// Where stdout cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_with_a_value_has_a_twin_in_the_environment() {
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments().filter(|flag| flag.get_action().takes_values()) {
                let name = flag.get_long().unwrap();
                let twin = format!("FOREBAY_{}", name.to_uppercase().replace('-', "_"));
                assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(twin.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn run_takes_a_file_or_an_upstream() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["forebay", "run"], args].concat());
        assert!(parse(&["-c", "forebay.toml"]).is_ok());
        assert!(parse(&["-c", "forebay.toml", "-t"]).is_ok());
        assert!(
            parse(&["--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--no-cache"]).is_ok()
        );
        assert!(parse(&[]).is_err());
        assert!(parse(&["-c", "a", "--upstream", "b"]).is_err());
        assert!(parse(&["-c", "a", "--workers", "2"]).is_err(), "it would have no effect");
    }
}
