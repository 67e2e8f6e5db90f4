//! From config to plan, for the commands.

use std::path::Path;

use crate::config::Config;
use crate::config::listener::OneOrMany;
use crate::plan::Plan;
use crate::report::{Path as At, Report};
use crate::server::tls;
use crate::upstream::Upstream;

/// Validates a config: the plan if it has no errors, and all problems. Files that the config names by a
/// relative path are looked for beside the config file, in `folder`.
pub fn plan(config: &Config, folder: &Path) -> (Option<Plan>, Report) {
    let (mut plan, report) = Plan::build(config);
    if let Some(plan) = &mut plan {
        plan.resolve_files(folder);
    }
    (plan, report)
}

/// Reads the certificates and keys that a plan names, and reports those that cannot be used at the place that
/// names them: a gateway with one of them would not start.
pub fn check_files(config: &Config, plan: &Plan, report: &mut Report) {
    let listeners = At::root().key("listener");
    for (index, (listener, written)) in plan.listeners.iter().zip(&config.listener).enumerate() {
        let at = listeners.index(index).key("tls");
        for (number, certificate) in listener.certificates.iter().enumerate() {
            let at = match &written.tls {
                OneOrMany::One(_) => at.clone(),
                OneOrMany::Many(_) => at.index(number),
            };
            if let Err(error) = tls::check(certificate) {
                let key = if error.file == certificate.cert { "cert" } else { "key" };
                report.error(&at.key(key), error.to_string());
            }
        }
    }
    for (index, listener) in plan.listeners.iter().enumerate() {
        if let Some(Err(error)) = listener.client_auth.as_ref().map(tls::check_client_auth) {
            report.error(&listeners.index(index).key("client_ca"), error.to_string());
        }
    }
    for (name, origin) in &plan.upstreams {
        if let Err(error) = Upstream::check_files(&origin.endpoints) {
            report.error(&At::root().key("upstream").key(name).key("tls"), error.to_string());
        }
    }
}
