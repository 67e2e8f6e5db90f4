//! An upstream that stands nowhere in the config: what a URL leads to.

use crate::report::{Path, Report};

use super::super::config::{EjectionConfig, EndpointConfig, EndpointsConfig};
use super::{UpstreamPlan, plan};

/// Connections to it: what is asked there is asked seldom.
const CONNECTIONS: u32 = 2;

/// The one endpoint of a URL without path, with everything else as it is by default; it is asked for under
/// its own name, and never left out, for there is no other. Every problem is reported at `at`.
pub fn implied(url: &str, at: &Path, report: &mut Report) -> UpstreamPlan {
    let config = EndpointsConfig {
        endpoints: vec![EndpointConfig::Url(url.to_owned())],
        host: "endpoint".to_owned(),
        max_connections: CONNECTIONS,
        ejection: EjectionConfig { consecutive_errors: 0, error_rate: 0.0, ..EjectionConfig::default() },
        ..EndpointsConfig::default()
    };
    let mut found = Report::new();
    let plan = plan(&config, &Path::root(), &mut found);
    for problem in found.problems() {
        report.error_with_hint(at, problem.message.clone(), problem.hint.clone().unwrap_or_default());
    }
    plan
}
