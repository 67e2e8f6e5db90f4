//! `forebay run`: the gateway, from a config file or in front of one upstream.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::quick::QuickArgs;

/// What `run` takes.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["config", "upstream"])))]
pub struct RunArgs {
    /// The config file: .toml, .yaml, .yml or .json.
    #[arg(short, long, value_name = "FILE", env = "FOREBAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// The quick start without a file.
    #[command(flatten)]
    pub quick: QuickArgs,
    /// Check the config and end.
    #[arg(short = 't', long)]
    pub test: bool,
}
