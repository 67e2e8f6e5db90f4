//! The program: parse the arguments, run the command, turn an error into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use forebay::cli::{Cli, Command, Failure, check, demo, purge, routes, run, schema, version};

fn main() -> ExitCode {
    // Wrong arguments end here, with exit code 2.
    let cli = Cli::parse();
    match dispatch(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{}", failure.text());
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Routes(args) => routes::run(args),
        Command::Purge(args) => purge::run(args),
        Command::Version => version::run(),
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
    }
}
