//! `forebay routes -c FILE`: which request goes where, in the order the routes are tried.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, inspect, print};
use crate::config::Config;
use crate::config::route::RouteConfig;
use crate::plan::Plan;
use crate::route::RouteTable;

/// What `routes` takes.
#[derive(Debug, Args)]
pub struct RoutesArgs {
    /// The config file: .toml, .yaml, .yml or .json.
    #[arg(short, long, value_name = "FILE", env = "FOREBAY_CONFIG")]
    pub config: PathBuf,
}

/// Prints the routes of a config file.
///
/// # Errors
///
/// If the file cannot be used.
pub fn run(args: &RoutesArgs) -> Result<(), Failure> {
    let (loaded, plan) = inspect(&args.config)?;
    if loaded.report.has_errors() || plan.is_none() {
        return Err(Failure::Config(loaded.problems()));
    }
    eprint!("{}", loaded.problems());
    print(&table(&loaded.config, plan.as_ref()))
}

const HEAD: [&str; 6] = ["ROUTE", "PRIORITY", "HOST", "METHOD", "PATH", "TARGET"];

/// The routes as a table, one a line, in the order in which they win.
pub fn table(config: &Config, plan: Option<&Plan>) -> String {
    let indexed = plan.into_iter().flat_map(|plan| plan.routes.iter().enumerate());
    let order = RouteTable::new(indexed.map(|(index, plan)| (plan.matching.clone(), plan.priority, index)));
    let routes = order.iter().filter_map(|(_, _, index)| config.route.get(*index));
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(routes.map(row));
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn row(route: &RouteConfig) -> [String; HEAD.len()] {
    let any = || "*".to_owned();
    let methods = route.match_.method.join(",");
    let target = match (&route.upstream, &route.redirect, &route.respond) {
        (Some(upstream), _, _) => format!("upstream {upstream}"),
        (_, Some(redirect), _) => format!("redirect {} {}", redirect.status, redirect.to),
        (_, _, Some(fixed)) => format!("respond {}", fixed.status),
        (None, None, None) if !route.aggregate.is_empty() => {
            let parts: Vec<&str> = route.aggregate.iter().map(|part| part.name.as_str()).collect();
            format!("aggregate {}", parts.join(", "))
        }
        (None, None, None) => "nothing".to_owned(),
    };
    [
        route.name.clone(),
        route.priority.to_string(),
        route.match_.host.clone().unwrap_or_else(any),
        if methods.is_empty() { any() } else { methods },
        route.match_.path.clone().unwrap_or_else(any),
        target,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = r#"
            [upstream.api]
            endpoints = ["http://127.0.0.1:1"]
            [[listener]]
            address = "127.0.0.1:0"
            [[route]]
            name = "a"
            upstream = "api"
            [[route]]
            name = "old-site"
            priority = 5
            match = { host = "old.example.com", path = "/{*rest}", method = ["GET", "HEAD"] }
            redirect = { to = "https://example.com/" }
            [[route]]
            name = "b"
            match = { path = "/b" }
            upstream = "api"
        "#;
        let loaded = crate::config::parse("r.toml".as_ref(), text, &|_| None);
        assert_eq!(loaded.problems(), "");
        let expected = "\
ROUTE     PRIORITY  HOST             METHOD    PATH      TARGET
old-site  5         old.example.com  GET,HEAD  /{*rest}  redirect 308 https://example.com/
b         0         *                *         /b        upstream api
a         0         *                *         *         upstream api
";
        let (plan, _) = Plan::build(&loaded.config);
        assert_eq!(table(&loaded.config, plan.as_ref()), expected);
    }
}
