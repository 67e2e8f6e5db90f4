//! Where the access log goes, validated.

use std::path::PathBuf;

use crate::report::{Path, Report, nearest};

use super::config::{Format, LogConfig};

/// The most lines that may be asked to wait.
const MAX_QUEUE: u32 = 1 << 20;

/// The access log to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// Where it goes.
    pub destination: Destination,
    /// How a line looks.
    pub format: Format,
    /// Lines that may wait to be written.
    pub queue: u32,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// Validates `[log]`.
pub fn plan(config: &LogConfig, at: &Path, report: &mut Report) -> LogPlan {
    const WORDS: [&str; 2] = ["stdout", "off"];
    let access = at.key("access");
    let destination = match config.access.as_str() {
        "off" => Destination::Off,
        "stdout" => Destination::Stdout,
        "" => {
            report.error_with_hint(&access, "it is empty", "write \"stdout\", \"off\" or a file's path");
            Destination::Stdout
        }
        path => {
            if let Some(word) = nearest(path, WORDS) {
                let hint = format!("did you mean \"{word}\"? For a file of that name write \"./{path}\"");
                report.warn(&access, format!("`{path}` is taken for a file's path"), hint);
            }
            Destination::File(path.into())
        }
    };
    if !(1..=MAX_QUEUE).contains(&config.queue) {
        report.error_with_hint(
            &at.key("queue"),
            format!("{} lines cannot wait", config.queue),
            format!("write a number from 1 to {MAX_QUEUE}; to turn the log off, write access = \"off\""),
        );
    }
    LogPlan { destination, format: config.format, queue: config.queue.clamp(1, MAX_QUEUE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(access: &str, queue: u32) -> (LogPlan, Vec<String>) {
        let config = LogConfig { access: access.to_owned(), queue, ..LogConfig::default() };
        let mut report = Report::new();
        let plan = plan(&config, &Path::root().key("log"), &mut report);
        let problems = report.problems().iter().map(|problem| problem.path.to_string()).collect();
        (plan, problems)
    }

    #[test]
    fn destinations() {
        for (access, destination, problems) in [
            ("stdout", Destination::Stdout, &[][..]),
            ("off", Destination::Off, &[]),
            ("/var/log/access.log", Destination::File("/var/log/access.log".into()), &[]),
            ("stdot", Destination::File("stdot".into()), &["log.access"]),
            ("./stdot", Destination::File("./stdot".into()), &[]),
            ("", Destination::Stdout, &["log.access"]),
        ] {
            let (plan, found) = planned(access, 10);
            assert_eq!(plan.destination, destination);
            assert_eq!(found, problems, "{access}");
        }
    }

    #[test]
    fn a_queue_holds_a_line_and_is_bounded() {
        assert_eq!(planned("off", 0), (planned("off", 1).0, vec!["log.queue".to_owned()]));
        assert_eq!(planned("off", u32::MAX).1, ["log.queue"]);
        assert_eq!(planned("off", MAX_QUEUE).1, [""; 0]);
    }
}
