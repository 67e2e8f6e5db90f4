//! Diagnostics of the process, on stderr: what it does, not what clients ask for, which is the access log's.
//!
//! `FOREBAY_LOG` says how much, as a filter (`info`, `forebay=debug,warn`); `FOREBAY_LOG_FORMAT` says how:
//! `text` or `json`. There is no colour, so a file or a pipe gets what a terminal gets. A line that cannot be
//! written is lost and nothing else happens; a stderr that blocks blocks the thread that has something to
//! say, so nothing that every request does may say anything at `info` or above.

use std::env;
use std::fmt;
use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;

/// The variable that says how much is told.
pub const FILTER_VARIABLE: &str = "FOREBAY_LOG";
/// The variable that says how it is told.
pub const FORMAT_VARIABLE: &str = "FOREBAY_LOG_FORMAT";

/// How a diagnostic looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is no format of diagnostics: write `text` or `json`")),
        }
    }
}

/// Sets diagnostics up for the process, `format` before the environment's. What is wrong in the environment
/// is told as a diagnostic, and the default takes its place. A second call changes nothing.
pub fn init(format: Option<Format>) {
    let settings = Settings::new(format, |name| env::var(name).ok());
    let subscriber = subscriber(settings.format, settings.filter, std::io::stderr);
    let installed = tracing::subscriber::set_global_default(subscriber).is_ok();
    for problem in settings.problems.iter().filter(|_| installed) {
        tracing::warn!("{problem}");
    }
}

/// What is said without a filter. The HTTP/2 library warns of what a client does, frame by frame: nobody
/// should be able to fill the log like that.
const FILTER_DEFAULT: &str = "info,h2=error";

/// What the arguments and the environment ask for.
struct Settings {
    format: Format,
    filter: EnvFilter,
    problems: Vec<String>,
}

impl Settings {
    fn new(format: Option<Format>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut problems = Vec::new();
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let format = format.unwrap_or_else(|| {
            variable(FORMAT_VARIABLE).map_or(Ok(Format::default()), |text| text.parse()).unwrap_or_else(
                |problem| {
                    problems.push(format!("{FORMAT_VARIABLE}: {problem}"));
                    Format::default()
                },
            )
        });
        let builder = || EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
        let text = variable(FILTER_VARIABLE).unwrap_or_else(|| FILTER_DEFAULT.to_owned());
        let filter = builder().parse(&text).unwrap_or_else(|error| {
            problems.push(format!("{FILTER_VARIABLE}: `{text}` is no filter ({error}); `info` is used"));
            builder().parse_lossy("")
        });
        Self { format, filter, problems }
    }
}

fn subscriber<W>(format: Format, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Internal errors are told with `eprintln!`, which panics where stderr cannot be written.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Clock)
        .with_writer(writer)
        .log_internal_errors(false);
    match format {
        Format::Text => Box::new(subscriber.finish()),
        Format::Json => Box::new(subscriber.json().flatten_event(true).with_current_span(false).finish()),
    }
}

/// The process's own clock, in the form the access log uses.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        clock::now().wall.rfc3339().iter().try_for_each(|byte| writer.write_char(char::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(format: Option<Format>, filter: &str, variable: &str) -> (String, Vec<String>) {
        let settings = Settings::new(format, |name| match name {
            FILTER_VARIABLE => Some(filter.to_owned()),
            FORMAT_VARIABLE => Some(variable.to_owned()),
            other => panic!("asked for {other}"),
        });
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(settings.format, settings.filter, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("a detail");
            tracing::info!(route = "orders", "a \u{1b}[31mfact");
            tracing::warn!("a warning");
        });
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        (text, settings.problems)
    }

    #[test]
    fn text_at_info_unless_told_otherwise() {
        let (text, problems) = told(None, "", "");
        assert_eq!(problems, [""; 0]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("INFO") && lines[0].contains("route=\"orders\""), "{text}");
        assert!(!text.contains('\u{1b}'), "no colour, and none from what is told: {text:?}");
    }

    #[test]
    fn json_is_an_object_a_line() {
        for (argument, variable) in [(Some(Format::Json), "text"), (None, "json")] {
            let (text, _) = told(argument, "debug", variable);
            let lines: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 3, "{text}");
            assert_eq!(lines[1]["route"], "orders");
            assert_eq!(lines[2]["level"], "WARN");
            assert_eq!(lines[2]["timestamp"].as_str().unwrap().len(), 24);
        }
    }

    #[test]
    fn the_filter_decides() {
        assert_eq!(told(None, "warn", "").0.lines().count(), 1);
        assert_eq!(told(None, "forebay=debug,warn", "").0.lines().count(), 3);
        assert_eq!(told(None, "off", "").0, "");
    }

    #[test]
    fn what_is_wrong_is_told_and_the_default_taken() {
        let (text, problems) = told(None, "forebay=loudly", "xml");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(problems[0].starts_with("FOREBAY_LOG_FORMAT: `xml`"), "{problems:?}");
        assert!(problems[1].starts_with("FOREBAY_LOG: `forebay=loudly`"), "{problems:?}");
    }
}
