//! Metrics of the process itself, read from `/proc` and the runtime when they are asked for.
//!
//! Their names are the ones every Prometheus client library uses, so that dashboards made for those fit.
//! Where there is no `/proc` they are left out.

use std::fs;

use tokio::runtime::Handle;

use super::Metrics;

/// The unit of times in `/proc`: the kernel shows them in hundredths of a second on every architecture we run
/// on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/self/stat`, counted from the one after the program's name (`proc_pid_stat(5)` less
/// three).
const STAT_UTIME: usize = 11;
const STAT_STIME: usize = 12;
const STAT_START_TIME: usize = 19;

/// Registers them, and `forebay_build_info`.
pub fn register(metrics: &Metrics) {
    let version = ("version", env!("CARGO_PKG_VERSION"));
    metrics.gauge("forebay_build_info", "What this is; the value is always 1.", &[version]).set(1);

    let gauge = |name, help, value: fn() -> Option<f64>| {
        metrics.observe_with(name, help, &[], move || value().unwrap_or(f64::NAN));
    };
    gauge("process_resident_memory_bytes", "Memory in RAM.", || status_bytes("VmRSS:"));
    gauge("process_virtual_memory_bytes", "Memory mapped.", || status_bytes("VmSize:"));
    gauge("process_threads", "Threads.", || status("Threads:"));
    gauge("process_open_fds", "Open file descriptors.", open_fds);
    gauge("process_max_fds", "The most file descriptors that may be open.", max_fds);
    gauge("forebay_tasks", "Tasks of the async runtime, one or two a connection among them.", tasks);
    metrics.observe_total_with("process_cpu_seconds_total", "CPU time, user and system.", &[], || {
        cpu_seconds().unwrap_or(f64::NAN)
    });
    if let Some(start) = start_seconds() {
        let help = "When it started, in seconds since the Unix epoch.";
        metrics.observe_with("process_start_time_seconds", help, &[], move || start);
    }
}

/// The number after `key` in `/proc/self/status`.
fn status(key: &str) -> Option<f64> {
    number_after(&fs::read_to_string("/proc/self/status").ok()?, key)
}

/// The same for a number of kilobytes.
fn status_bytes(key: &str) -> Option<f64> {
    status(key).map(|kib| kib * 1024.0)
}

fn number_after(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<f64> {
    const PATH: &str = "/proc/self/fd";
    // Since Linux 6.2 the folder's size is their number; counting them takes a while when they are many.
    let size = fs::metadata(PATH).ok()?.len();
    if size > 0 { Some(size as f64) } else { Some(fs::read_dir(PATH).ok()?.count() as f64) }
}

/// Of the runtime that serves the page.
fn tasks() -> Option<f64> {
    Some(Handle::try_current().ok()?.metrics().num_alive_tasks() as f64)
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

fn stat_field(stat: &str, field: usize) -> Option<f64> {
    // The program's name comes before, in brackets, and may itself hold brackets and spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(field)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some((stat_field(&stat, STAT_UTIME)? + stat_field(&stat, STAT_STIME)?) / TICKS_PER_SECOND)
}

fn start_seconds() -> Option<f64> {
    let boot = number_after(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some(boot + stat_field(&stat, STAT_START_TIME)? / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_whose_program_name_has_brackets_and_spaces() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 1 0 0 0 250 150 0 0 20 0 3 0 77700 1000 10";
        assert_eq!(stat_field(stat, STAT_UTIME), Some(250.0));
        assert_eq!(stat_field(stat, STAT_STIME), Some(150.0));
        assert_eq!(stat_field(stat, STAT_START_TIME), Some(77_700.0));
        assert_eq!(stat_field("42 (x", STAT_UTIME), None);
    }

    #[test]
    fn status_lines() {
        assert_eq!(number_after("Name:\tx\nVmRSS:\t   1234 kB\n", "VmRSS:"), Some(1234.0));
        assert_eq!(number_after("Name:\tx\n", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_has_them_all_and_they_are_plausible() {
        let rss = status_bytes("VmRSS:").unwrap();
        assert!(rss > 100_000.0 && rss <= status_bytes("VmSize:").unwrap());
        assert!(status("Threads:").unwrap() >= 1.0);
        assert!(open_fds().unwrap() >= 3.0 && open_fds().unwrap() <= max_fds().unwrap());
        assert!(cpu_seconds().unwrap() >= 0.0);
        let age = crate::clock::now().wall.millis() as f64 / 1000.0 - start_seconds().unwrap();
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }
}
