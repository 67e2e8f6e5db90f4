//! `forebay run`: the gateway, from a config file or in front of one upstream.

use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use rustix::process::{Pid, Signal, kill_process};
use tracing::{error, info, warn};

use super::quick::{self, QuickArgs};
use super::{Failure, check, inspect_with_files, plain, planning};
use crate::plan::Plan;
use crate::server::reload::Changes;
use crate::server::shutdown::{Signals, Wish};
use crate::server::sockets::Inherited;
use crate::server::{Server, descriptors, notify};
use crate::telemetry;

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
    /// The process that this one takes the place of: told to stop (TERM) once this one is ready. Both listen
    /// on the same addresses meanwhile (`reuse_port`).
    #[arg(long, value_name = "PID", env = "FOREBAY_REPLACE", value_parser = clap::value_parser!(i32).range(1..))]
    pub replace: Option<i32>,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
///
/// If the config cannot be used, or the gateway cannot start.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    match &args.config {
        Some(file) if args.test => check::check(file),
        Some(file) => {
            let (plan, files) = read(file)?;
            start(plan, Some((file, &files)), args.replace)
        }
        None => {
            let (plan, report) = planning::plan(&quick::config(&args.quick), Path::new(""));
            let problems = plain(&report);
            let plan = plan.ok_or_else(|| Failure::Config(problems.clone()))?;
            eprint!("{problems}");
            if args.test { Ok(()) } else { start(plan, None, args.replace) }
        }
    }
}

/// Reads a config file into a plan, and says which other files that takes; warnings go to stderr.
fn read(file: &Path) -> Result<(Plan, Vec<PathBuf>), Failure> {
    let (loaded, plan) = inspect_with_files(file)?;
    let problems = loaded.problems();
    match plan {
        Some(plan) if !loaded.report.has_errors() => {
            eprint!("{problems}");
            let files = [loaded.files, plan.files()].concat();
            Ok((plan, files))
        }
        _ => Err(Failure::Config(problems)),
    }
}

/// A runtime with so many workers; one a processor if not given.
///
/// # Errors
///
/// If threads cannot be had.
pub fn runtime(workers: Option<usize>) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().thread_name("forebay").build()
}

fn start(plan: Plan, from: Option<(&Path, &[PathBuf])>, replaced: Option<i32>) -> Result<(), Failure> {
    telemetry::init(None);
    // While there is one thread: what the environment says of sockets is taken out of it.
    let inherited = Inherited::from_environment();
    let runtime = runtime(plan.server.workers)?;
    let result = runtime.block_on(serve(plan, from, inherited, replaced));
    // A thread that waits for a name server must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(
    plan: Plan,
    from: Option<(&Path, &[PathBuf])>,
    inherited: Inherited,
    replaced: Option<i32>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let file = from.map(|(file, _)| file);
    let mut changes = from.map(|(file, others)| Changes::of(file, others));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        routes = plan.routes.len(),
        upstreams = plan.upstreams.len(),
        "starting"
    );
    descriptors::raise_limit(plan.server.max_connections);
    let started = Server::start_on(plan, inherited).await;
    let mut server = started.map_err(|error| Failure::Runtime(format!("error: {error}")))?;
    notify::tell(notify::READY);
    if let Some(process) = replaced {
        replace(process);
    }
    loop {
        let changed = async {
            match &mut changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        let wish = tokio::select! {
            wish = signals.next() => wish,
            () = changed => Wish::Reload,
        };
        match wish {
            Wish::Stop => break,
            Wish::ReopenLogs => server.reopen_logs(),
            Wish::Reload => match (file, &mut changes) {
                (Some(file), Some(changes)) => {
                    changes.note();
                    if let Some(others) = reload(&mut server, file).await {
                        changes.follow(&others);
                    }
                }
                _ => warn!("there is no config file to reload"),
            },
        }
    }
    notify::tell(notify::STOPPING);
    let impatient = async { while signals.next().await != Wish::Stop {} };
    server.stop(impatient).await;
    Ok(())
}

/// Tells the process that we take the place of to stop.
fn replace(process: i32) {
    let told = Pid::from_raw(process).map(|process| kill_process(process, Signal::TERM));
    match told {
        Some(Ok(())) => info!(process, "takes the place of another process, which was told to stop"),
        Some(Err(error)) => warn!(process, %error, "cannot tell the process to stop that this one replaces"),
        None => {}
    }
}

/// Reads the config again and makes it so, and returns which other files it names; what is wrong with it is
/// told, and the running gateway goes on.
async fn reload(server: &mut Server, file: &Path) -> Option<Vec<PathBuf>> {
    let path = file.to_owned();
    let planned = tokio::task::spawn_blocking(move || read(&path)).await;
    let failure = match planned {
        Ok(Ok((plan, others))) => match server.reload(plan).await {
            Ok(()) => {
                info!(file = %file.display(), "reloaded");
                return Some(others);
            }
            Err(error) => error.to_string(),
        },
        Ok(Err(failure)) => {
            server.reload_refused();
            failure.text()
        }
        Err(error) => error.to_string(),
    };
    error!(file = %file.display(), "not reloaded, the running config stays:\n{failure}");
    None
}
