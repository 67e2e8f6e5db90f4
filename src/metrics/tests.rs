//! Tests of the facade: what is counted comes back out of the text format.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

type Sample = (String, Vec<(String, String)>);

/// What a strict reader of the format 0.0.4 makes of a text.
#[derive(Debug, Default)]
struct Parsed {
    help: BTreeMap<String, String>,
    kind: BTreeMap<String, String>,
    samples: BTreeMap<Sample, String>,
}

impl Parsed {
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.samples.get(&(name.to_owned(), labels.collect())).map(String::as_str)
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('\\' | '"')) => out.push(c),
                other => panic!("bad escape {other:?}"),
            },
            c => out.push(c),
        }
    }
    out
}

/// Splits `a="x",b="y"} rest` into labels and the rest.
fn parse_labels(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        let (name, rest) = text.split_once("=\"").expect("a label");
        let mut escaped = false;
        let end = rest
            .char_indices()
            .find(|(_, c)| {
                let end = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                end
            })
            .expect("a closing quote")
            .0;
        labels.push((name.to_owned(), unescape(&rest[..end])));
        match rest[end + 1..].split_at(1) {
            (",", more) => text = more,
            ("}", more) => return (labels, more),
            (other, _) => panic!("`{other}` after a label"),
        }
    }
}

fn parse(text: &str) -> Parsed {
    assert!(text.is_empty() || text.ends_with('\n'));
    let mut parsed = Parsed::default();
    let mut family = String::new();
    // Not `lines`: the format ends a line at LF only, and a CR may stand in a value.
    for line in text.split_terminator('\n') {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(parsed.help.insert(name.to_owned(), unescape(help)).is_none(), "two HELP of {name}");
            family = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "TYPE follows HELP");
            assert!(parsed.kind.insert(name.to_owned(), kind.to_owned()).is_none(), "two TYPE of {name}");
        } else {
            let end = line.find(['{', ' ']).unwrap();
            let (name, rest) = line.split_at(end);
            let (labels, value) =
                if let Some(rest) = rest.strip_prefix('{') { parse_labels(rest) } else { (vec![], rest) };
            let suffix = name.strip_prefix(&family).expect("samples stand below their family");
            match parsed.kind[&family].as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix)),
                "counter" => assert!(suffix.is_empty() && name.ends_with("_total")),
                _ => assert_eq!(suffix, ""),
            }
            let value = value.strip_prefix(' ').unwrap().to_owned();
            assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{value}");
            assert!(parsed.samples.insert((name.to_owned(), labels), value).is_none(), "{line} twice");
        }
    }
    parsed
}

#[test]
fn what_is_counted_can_be_read_back() {
    let metrics = Metrics::default();
    metrics.counter("forebay_a_total", "A.", &[("route", "x"), ("code", "200")]).add(3);
    metrics.counter("forebay_a_total", "A.", &[("route", "y"), ("code", "200")]).increment();
    metrics.gauge("forebay_b", "B\\b\nb \"quoted\".", &[]).set(-7);
    metrics.level("forebay_c", "C.", &[("route", "x")]).add(2);
    metrics.observe_with("forebay_d", "D.", &[], || 0.25);
    metrics.observe_with("forebay_e", "E.", &[], || f64::NAN);
    metrics.observe_total_with("forebay_f_total", "F.", &[], || 1e21);
    metrics.counter("forebay_g", "Without its suffix.", &[]).increment();

    let parsed = parse(&metrics.render());
    assert_eq!(parsed.get("forebay_a_total", &[("code", "200"), ("route", "x")]), Some("3"));
    assert_eq!(parsed.get("forebay_a_total", &[("code", "200"), ("route", "y")]), Some("1"));
    assert_eq!(parsed.get("forebay_b", &[]), Some("-7"));
    assert_eq!(parsed.get("forebay_c", &[("route", "x")]), Some("2"));
    assert_eq!(parsed.get("forebay_d", &[]), Some("0.25"));
    assert_eq!(parsed.get("forebay_e", &[]), None);
    assert_eq!(parsed.get("forebay_f_total", &[]).unwrap().parse::<f64>().unwrap(), 1e21);
    assert_eq!(parsed.get("forebay_g_total", &[]), Some("1"));
    assert_eq!(parsed.help["forebay_b"], "B\\b\nb \"quoted\".");
    let kinds: Vec<_> = parsed.kind.values().map(String::as_str).collect();
    assert_eq!(kinds, ["counter", "gauge", "gauge", "gauge", "gauge", "counter", "counter"]);
}

#[test]
fn process_metrics_are_valid_text() {
    let metrics = Metrics::default();
    process::register(&metrics);
    let parsed = parse(&metrics.render());
    assert_eq!(parsed.get("forebay_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some("1"));
    assert_eq!(parsed.kind["process_cpu_seconds_total"], "counter");
}

proptest! {
    #[test]
    fn any_label_value_survives(value in any::<String>()) {
        let metrics = Metrics::default();
        metrics.counter("forebay_x_total", "X.", &[("route", &value)]).add(5);
        let parsed = parse(&metrics.render());
        prop_assert_eq!(parsed.get("forebay_x_total", &[("route", &value)]), Some("5"));
    }

    #[test]
    fn a_duration_is_in_every_bucket_it_fits(micros in proptest::collection::vec(0u64..100_000_000, 0..50)) {
        let histogram = Histogram::default();
        for micros in &micros {
            histogram.observe(Duration::from_micros(*micros));
        }
        let reading = histogram.read();
        prop_assert_eq!(reading.count(), micros.len() as u64);
        prop_assert_eq!(reading.sum, Duration::from_micros(micros.iter().sum()));
        for (bound, count) in reading.cumulative() {
            let bound = bound.unwrap_or(Duration::MAX);
            let fits = micros.iter().filter(|micros| Duration::from_micros(**micros) <= bound).count();
            prop_assert_eq!(count, fits as u64, "at most {:?}", bound);
        }
    }
}

#[test]
fn histogram_bounds_are_inclusive_and_the_text_is_cumulative() {
    let metrics = Metrics::default();
    let histogram = metrics.histogram("forebay_s_seconds", "S.", &[("route", "x")]);
    for duration in [
        Duration::ZERO,
        Duration::from_micros(500),
        Duration::from_micros(501),
        Duration::from_secs(60),
        Duration::from_secs(61),
        Duration::from_secs(40_000_000),
    ] {
        histogram.observe(duration);
    }
    let parsed = parse(&metrics.render());
    let bucket = |le| parsed.get("forebay_s_seconds_bucket", &[("route", "x"), ("le", le)]);
    assert_eq!(bucket("0.0005"), Some("2"));
    assert_eq!(bucket("0.001"), Some("3"));
    assert_eq!(bucket("10"), Some("3"));
    assert_eq!(bucket("60"), Some("4"));
    assert_eq!(bucket("+Inf"), Some("6"));
    assert_eq!(parsed.get("forebay_s_seconds_count", &[("route", "x")]), Some("6"));
    assert_eq!(parsed.get("forebay_s_seconds_sum", &[("route", "x")]), Some("40000121.001001"));
    assert_eq!(parsed.kind["forebay_s_seconds"], "histogram");
}

#[test]
fn the_same_name_and_labels_are_the_same_metric_in_any_order() {
    let metrics = Metrics::default();
    metrics.counter("forebay_x_total", "X.", &[("a", "1"), ("b", "2")]).increment();
    let again = metrics.clone().counter("forebay_x_total", "X.", &[("b", "2"), ("a", "1")]);
    assert_eq!(again.get(), 1);
    let first = metrics.histogram("forebay_x_seconds", "X.", &[]);
    first.observe(Duration::from_secs(1));
    assert_eq!(metrics.histogram("forebay_x_seconds", "X.", &[]).read().count(), 1);
}

#[test]
fn a_name_of_another_kind_counts_unseen() {
    let metrics = Metrics::default();
    metrics.gauge("forebay_x", "X.", &[]).set(1);
    metrics.histogram("forebay_x", "X.", &[]).observe(Duration::ZERO);
    metrics.level("forebay_x", "X.", &[]).add(5);
    assert_eq!(metrics.gauge("forebay_x", "X.", &[]).get(), 1);
    assert_eq!(parse(&metrics.render()).samples.len(), 1);
}

#[test]
fn label_sets_beyond_the_bound_are_counted_together() {
    let metrics = Metrics::default();
    for client in 0..MAX_SERIES + 10 {
        metrics.counter("forebay_x_total", "X.", &[("client", &client.to_string())]).increment();
    }
    metrics.counter("forebay_x_total", "X.", &[("client", "0")]).increment();
    let parsed = parse(&metrics.render());
    assert_eq!(parsed.samples.len(), MAX_SERIES + 1);
    assert_eq!(parsed.get("forebay_x_total", &[("client", "other")]), Some("10"));
    assert_eq!(parsed.get("forebay_x_total", &[("client", "0")]), Some("2"), "a known one is still counted");
}

#[test]
fn a_removed_series_is_not_shown_and_its_handles_still_work() {
    let metrics = Metrics::default();
    let old = metrics.counter("forebay_x_total", "X.", &[("route", "old")]);
    metrics.counter("forebay_x_total", "X.", &[("route", "new")]).increment();
    metrics.gauge("forebay_y", "Y.", &[("route", "old")]).set(1);
    metrics.retain(|_, labels| labels.get("route") != Some("old"));
    old.increment();
    let text = metrics.render();
    assert!(!text.contains("old") && !text.contains("forebay_y"), "{text}");
    assert_eq!(parse(&text).get("forebay_x_total", &[("route", "new")]), Some("1"));
    assert_eq!(metrics.counter("forebay_x_total", "X.", &[("route", "old")]).get(), 0);
}

#[test]
fn a_callback_may_ask_the_registry_and_the_last_one_wins() {
    let metrics = Metrics::default();
    metrics.observe_with("forebay_x", "X.", &[], || 1.0);
    let inner = metrics.clone();
    metrics.observe_with("forebay_x", "X.", &[], move || {
        inner.counter("forebay_y_total", "Y.", &[]).increment();
        2.0
    });
    assert_eq!(parse(&metrics.render()).get("forebay_x", &[]), Some("2"));
    assert_eq!(metrics.counter("forebay_y_total", "Y.", &[]).get(), 1);
}

#[test]
fn nothing_is_lost_between_threads() {
    const THREADS: u64 = 8;
    const EACH: u64 = 20_000;
    let metrics = Metrics::default();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let counter = metrics.counter("forebay_x_total", "X.", &[]);
                    let histogram = metrics.histogram("forebay_x_seconds", "X.", &[]);
                    let level = metrics.level("forebay_x", "X.", &[]);
                    for _ in 0..EACH {
                        level.add(1);
                        counter.increment();
                        histogram.observe(Duration::from_millis(1));
                        level.add(-1);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let count = metrics.counter("forebay_x_total", "X.", &[]).get();
                assert!(count >= last, "a counter went back");
                last = count;
                thread::yield_now();
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let parsed = parse(&metrics.render());
    assert_eq!(parsed.get("forebay_x_total", &[]), Some("160000"));
    assert_eq!(parsed.get("forebay_x_seconds_count", &[]), Some("160000"));
    assert_eq!(parsed.get("forebay_x_seconds_sum", &[]), Some("160"));
    assert_eq!(parsed.get("forebay_x", &[]), Some("0"));
}
