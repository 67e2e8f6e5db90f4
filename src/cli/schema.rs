//! `forebay schema`: what a config file may say, for editors, for people, and to copy from.

use clap::{Args, ValueEnum};

use super::{Failure, print};
use crate::config::docs;

/// What `schema` takes.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Json, env = "FOREBAY_FORMAT")]
    pub format: Format,
}

/// A form of the config's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The JSON schema.
    Json,
    /// The reference: a table of keys for each table.
    Markdown,
    /// A config file with every key and its default.
    Toml,
}

/// Prints the schema.
///
/// # Errors
///
/// Where stdout cannot be written.
pub fn run(args: &SchemaArgs) -> Result<(), Failure> {
    print(&match args.format {
        Format::Json => docs::schema_json(),
        Format::Markdown => docs::reference_markdown(),
        Format::Toml => docs::full_toml(),
    })
}
