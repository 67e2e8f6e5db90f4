//! Warnings about routes that no request reaches.

use std::collections::HashMap;

use crate::report::{Path, Report};

use super::plan::MatchPlan;
use super::table::rank;

/// A route as far as its reachability goes.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Which requests it takes.
    pub plan: &'a MatchPlan,
    /// Its priority.
    pub priority: i32,
    /// Its name, for the message.
    pub name: &'a str,
    /// Where it stands.
    pub at: Path,
}

/// Up to here every pair of routes is compared; beyond, only pairs with the same host and path.
const PAIRS_OF: usize = 2000;

/// Of so many earlier routes with the same host and path: a bound for generated files.
const GROUP_MAX: usize = 64;

/// Warns about every route for which another one, that wins over it, takes all that it would take.
pub fn unreachable(routes: &[Candidate<'_>], report: &mut Report) {
    let mut order: Vec<&Candidate<'_>> = routes.iter().collect();
    order.sort_by_cached_key(|route| rank(route.plan, route.priority));
    let mut groups: HashMap<_, Vec<&Candidate<'_>>> = HashMap::new();
    for (index, route) in order.iter().enumerate() {
        let group = groups.entry((&route.plan.host, route.plan.path.shape())).or_default();
        let earlier: &[&Candidate<'_>] =
            if order.len() <= PAIRS_OF { order.get(..index).unwrap_or_default() } else { group };
        if let Some(first) = earlier.iter().find(|first| first.plan.covers(route.plan)) {
            report.warn(
                &route.at.key("match"),
                format!("no request reaches `{}`: `{}` takes all it matches first", route.name, first.name),
                "remove one of them, or give this one a higher `priority` or a narrower match",
            );
        }
        if group.len() < GROUP_MAX {
            group.push(route);
        }
    }
}
