//! `forebay demo`: a slow API of our own and the gateway in front of it, in one process, with a printed tour.

use clap::Args;

/// What `demo` takes.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the tour instead of serving on until Ctrl-C.
    #[arg(long, env = "FOREBAY_EXIT", value_parser = clap::builder::FalseyValueParser::new())]
    pub exit: bool,
}
