//! `forebay demo`: a slow API of our own and the gateway in front of it, in one process, with a measured
//! tour.

mod api;
mod client;
mod tour;

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;

use crate::config;
use crate::plan::Plan;
use crate::server::shutdown::{Signals, Wish};
use crate::server::{Server, StartError};

use super::Failure;

/// What `demo` takes.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the tour instead of serving on until Ctrl-C.
    #[arg(long, env = "FOREBAY_EXIT", value_parser = clap::builder::FalseyValueParser::new())]
    pub exit: bool,
}

/// The gateway's config in the demo; it is printed, because it is what a user would write.
const CONFIG: &str = r#"[log]
access = "off"

[admin]
listen = "127.0.0.1:0"

[[listener]]
address = "127.0.0.1:0"

[upstream.api]
endpoints = ["http://ADDRESS"]
[upstream.api.ejection]
consecutive_errors = 0           # the demo's API fails on purpose
error_rate = 0.0

[upstream.busy]
endpoints = ["http://ADDRESS"]
[upstream.busy.concurrency]
mode = "fixed"
limit = 4

[[route]]
name = "limited"
match = { path = "/limited" }
upstream = "api"
[[route.rate_limit]]
name = "per-client"
rate = "5/s"

[[route]]
name = "busy"
match = { path = "/busy" }
upstream = "busy"

[[route]]
name = "api"
match = { path = "/{*rest}" }
upstream = "api"
[route.retry]
attempts = 4
backoff = { base = "10ms" }
"#;

/// Runs the demo; with `--exit` it ends after the tour.
///
/// # Errors
/// When it cannot start, or with `--exit` when a step of the tour did not do what it says.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    super::run::runtime(None)?.block_on(demo(args))
}

async fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let runtime = |error: std::io::Error| Failure::Runtime(error.to_string());
    let first = api::Api::start().await.map_err(runtime)?;
    let text = CONFIG.replace("ADDRESS", &first.address.to_string());
    let server = start(&text).await?;
    let gateway = *server.addresses().first().ok_or_else(|| Failure::Runtime("no listener".to_owned()))?;
    println!("forebay demo: a slow API on {}, the gateway on {gateway}\n", first.address);
    println!("The gateway's config:\n\n{}", indent(&text));
    let held = tour::walk(gateway, &first).await.map_err(runtime)?;
    println!();
    if args.exit {
        server.stop(std::future::pending()).await;
        return if held {
            Ok(())
        } else {
            Err(Failure::Runtime("a step did not do what it says".to_owned()))
        };
    }
    // The tour has stopped the API; the visitor gets a new one, under a new address.
    let second = api::Api::start().await.map_err(runtime)?;
    let plan = plan(&CONFIG.replace("ADDRESS", &second.address.to_string()))?;
    let mut server = server;
    server.reload(plan).await.map_err(|error| Failure::Runtime(error.to_string()))?;
    try_it(gateway, server.admin_address());
    let mut signals = Signals::listen().map_err(runtime)?;
    signals.next().await;
    server.stop(async move { while signals.next().await != Wish::Stop {} }).await;
    Ok(())
}

async fn start(text: &str) -> Result<Server, Failure> {
    Server::start(plan(text)?).await.map_err(|error: StartError| Failure::Runtime(error.to_string()))
}

fn plan(text: &str) -> Result<Plan, Failure> {
    let mut loaded = config::parse(Path::new("demo.toml"), text, &|_| None);
    let (plan, report) = Plan::build(&loaded.config);
    loaded.add(&report);
    plan.filter(|_| !loaded.report.has_errors()).ok_or_else(|| Failure::Config(loaded.problems()))
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn try_it(gateway: SocketAddr, admin: Option<SocketAddr>) {
    println!("The API is up again. Try it:\n");
    println!("    curl -i http://{gateway}/report        # slow once, then a hit");
    println!("    curl -i http://{gateway}/limited       # again and again: 429");
    println!("    curl -i http://{gateway}/flaky         # retried until it succeeds");
    if let Some(admin) = admin {
        println!("    curl http://{admin}/metrics");
    }
    println!("\nCtrl-C ends it.");
}
