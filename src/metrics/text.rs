//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::Write as _;
use std::time::Duration;

use super::Labels;
use super::histogram::Reading;
use super::registry::{Handle, Snapshot};

/// Writes all families: `# HELP` and `# TYPE` once each, then a line a sample.
pub(super) fn encode(families: &[Snapshot]) -> String {
    let series: usize = families.iter().map(|family| family.series.len()).sum();
    let mut out = String::with_capacity(256 * families.len() + 128 * series);
    for family in families {
        out.push_str("# HELP ");
        out.push_str(&family.name);
        out.push(' ');
        escape(&mut out, family.help, false);
        out.push_str("\n# TYPE ");
        out.push_str(&family.name);
        out.push(' ');
        out.push_str(family.kind.as_str());
        out.push('\n');
        for (labels, handle) in &family.series {
            encode_series(&mut out, &family.name, labels, handle);
        }
    }
    out
}

fn encode_series(out: &mut String, name: &str, labels: &Labels, handle: &Handle) {
    match handle {
        Handle::Counter(counter) => sample(out, name, "", labels, None, counter.get()),
        Handle::Seconds(sum) => sample(out, name, "", labels, None, seconds(&sum.get())),
        Handle::Gauge(gauge) => sample(out, name, "", labels, None, gauge.get()),
        Handle::Level(level) => sample(out, name, "", labels, None, level.get()),
        Handle::Value(value) | Handle::Total(value) => {
            let value = value();
            if value.is_finite() {
                sample(out, name, "", labels, None, value);
            } else if value.is_infinite() {
                sample(out, name, "", labels, None, if value > 0.0 { "+Inf" } else { "-Inf" });
            }
        }
        Handle::Histogram(histogram) => encode_histogram(out, name, labels, &histogram.read()),
    }
}

fn encode_histogram(out: &mut String, name: &str, labels: &Labels, reading: &Reading) {
    for (bound, count) in reading.cumulative() {
        let le = bound.as_ref().map_or_else(|| "+Inf".to_owned(), seconds);
        sample(out, name, "_bucket", labels, Some(&le), count);
    }
    sample(out, name, "_sum", labels, None, seconds(&reading.sum));
    sample(out, name, "_count", labels, None, reading.count());
}

fn seconds(duration: &Duration) -> String {
    duration.as_secs_f64().to_string()
}

/// One line: `name_suffix{label="value",le="bound"} value`.
fn sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    le: Option<&str>,
    value: impl std::fmt::Display,
) {
    out.push_str(name);
    out.push_str(suffix);
    let mut separator = '{';
    for (label, value) in labels.iter().chain(le.map(|bound| ("le", bound))) {
        out.push(separator);
        out.push_str(label);
        out.push_str("=\"");
        escape(out, value, true);
        out.push('"');
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, " {value}");
}

/// Escapes backslash and line feed; in a label's value the double quote too.
fn escape(out: &mut String, text: &str, quote: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quote => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}
