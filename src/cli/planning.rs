//! From config to plan, for the commands.

use std::path::Path;

use crate::config::Config;
use crate::plan::Plan;
use crate::report::Report;

/// Validates a config: the plan if it has no errors, and all problems. Files that the config names by a
/// relative path are looked for beside the config file, in `folder`.
pub fn plan(config: &Config, folder: &Path) -> (Option<Plan>, Report) {
    let (mut plan, report) = Plan::build(config);
    if let Some(plan) = &mut plan {
        plan.resolve_files(folder);
    }
    (plan, report)
}
