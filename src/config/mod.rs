//! What the user wrote: the structure of the config file, its defaults and its schema, and the reading of it.
//!
//! ```
//! let text = r#"
//! [upstream.api]
//! endpoints = ["http://${HOST:-127.0.0.1}:8000"]
//!
//! [[route]]
//! name = "all"
//! upstream = "api"
//! timout = "10s"
//! "#;
//! let loaded = forebay::config::parse("forebay.toml".as_ref(), text, &|_| None);
//! let shown = loaded.source.render(&loaded.report);
//! assert!(shown.contains("forebay.toml:8:1: error: unknown key `timout` in `route[0]`"), "{shown}");
//! assert!(shown.contains("did you mean `timeout`?"));
//! ```
//!
//! Text becomes a tree with places ([`node`], [`read`]), `${...}` is replaced in it ([`substitute`]), and the
//! tree is deserialized until all problems are found ([`de`], [`repair`]). [`Source`] shows these and any
//! later ones.

pub mod admin;
mod conceal;
pub mod de;
pub mod docs;
mod keys;
pub mod listener;
pub mod log;
pub mod node;
pub mod read;
mod render;
pub mod repair;
pub mod route;
pub mod server;
mod source;
pub mod substitute;
pub mod upstream;
mod words;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path as FilePath, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::auth::config::ConsumerConfig;
use crate::layers::cache::config::StoreConfig;
use crate::layers::compress::config::KeptConfig;
use crate::report::{Path, Report};
use crate::upstream::config::DnsConfig;
use node::{Node, Span, Value};

pub use conceal::without_user_information;
pub use source::Source;

/// The whole config file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process.
    pub server: server::ServerConfig,
    /// The admin listener: health, metrics.
    pub admin: admin::AdminConfig,
    /// The access log.
    pub log: log::LogConfig,
    /// Where clients connect.
    pub listener: Vec<listener::ListenerConfig>,
    /// The store of responses, one for all routes.
    pub cache: StoreConfig,
    /// Who uses the APIs, by name: for routes with `auth`.
    pub consumer: BTreeMap<String, ConsumerConfig>,
    /// Compressed forms of stored responses, for all routes that compress.
    pub compress: KeptConfig,
    /// Who is asked for the names of endpoints.
    pub dns: DnsConfig,
    /// The APIs behind the gateway, by name.
    pub upstream: BTreeMap<String, upstream::UpstreamConfig>,
    /// What happens to which request.
    pub route: Vec<route::RouteConfig>,
}

/// The largest config file, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// A config file that was read, with all problems found so far.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says; where something was wrong, the default. Not to be used for anything but finding more
    /// problems when the report has errors.
    pub config: Config,
    /// The file, for showing problems.
    pub source: Source,
    /// The problems.
    pub report: Report,
    /// The files that `${file:...}` stands for.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// Adds what a later stage found in the config, leaving out what only echoes an earlier problem.
    pub fn add(&mut self, later: &Report) {
        for problem in later.problems() {
            if !self.source.echoes(problem) {
                self.report.add(problem.clone());
            }
        }
    }

    /// All problems as text, and a last line that counts them; empty when there are none.
    pub fn problems(&self) -> String {
        if self.report.problems().is_empty() {
            return String::new();
        }
        let summary = Source::summary(&self.report);
        format!("{}{}: {summary}\n", self.source.render(&self.report), self.source.name().display())
    }
}

/// Why a config file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not there, or not ours to read.
    #[error("cannot read the config file `{}`: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is a folder.
    #[error("cannot read the config file `{}`: it is a folder", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// It has more than [`MAX_FILE`] bytes.
    #[error("the config file `{}` is larger than 1 MiB", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8.
    #[error("{}:{line}: the config file is not UTF-8", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line with the first wrong byte, from 1.
        line: usize,
    },
}

/// Reads a config file with the environment of this process. The syntax is YAML for `.yaml`, `.yml` and
/// `.json`, else TOML.
///
/// Reads files, so not for the event loop.
///
/// # Errors
///
/// Where there is no text to find problems in; what is wrong with the text is in the report.
pub fn load(path: &FilePath) -> Result<Loaded, LoadError> {
    let text = read_file(path)?;
    Ok(parse(path, &text, &|name| std::env::var(name).ok()))
}

fn read_file(path: &FilePath) -> Result<String, LoadError> {
    let io = |error| LoadError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_dir() {
        return Err(LoadError::Folder { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let lines = error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
        LoadError::NotUtf8 { path: path.to_owned(), line: lines + 1 }
    })
}

/// Reads a config text. `path` names it in messages, tells its syntax, and is where relative paths start
/// from; `variable` is the environment.
pub fn parse(path: &FilePath, text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Loaded {
    // Windows editors put a byte order mark there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::new();
    let mut pins = repair::Pins::new();
    let mut root = match read::read(read::Syntax::of(path), text) {
        Ok(root) => root,
        Err(errors) => {
            for (index, error) in errors.into_iter().take(repair::MAX_PROBLEMS).enumerate() {
                // No tree, no path: the place is pinned under a path that nothing else has.
                let at = Path::root().index(index);
                report.error(&at, error.message);
                pins.push(repair::Pin { path: at, span: error.span, values: Vec::new() });
            }
            let root = Node { span: Span::default(), value: Value::Hole(node::Hole::Absent) };
            let source = Source::new(path, text, root, pins);
            return Loaded { config: Config::default(), source, report, files: Vec::new() };
        }
    };
    let scope = substitute::Scope { variable, folder: source::folder_of(path), files: RefCell::default() };
    substitute::expand(&mut root, &Path::root(), &scope, &mut report);
    let config = repair::decode(&mut root, &mut report, &mut pins);
    let files = scope.files.into_inner();
    Loaded { config, source: Source::new(path, text, root, pins), report, files }
}
