//! The gateway itself, in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tempfile::TempDir;

use super::message::Message;
use super::{Client, PATIENCE, within};

/// A running gateway; killed by its id when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// Where its first listener listens.
    pub address: SocketAddr,
    /// Where all of them do, in the order of the config.
    pub addresses: Vec<SocketAddr>,
    /// Where `/metrics` is.
    pub admin: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
}

impl Gateway {
    /// One route to one origin, with these lines added to the route.
    pub async fn before(origin: SocketAddr, route: &str) -> Self {
        Self::start(&Self::config(origin, "", route))
    }

    /// The config of [`before`](Self::before), with lines added to the upstream too.
    pub fn config(origin: SocketAddr, upstream: &str, route: &str) -> String {
        format!(
            "[server]\nworkers = 1\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\naccess = \"off\"\nformat = \"text\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.origin]\nendpoints = [\"http://{origin}\"]\n{upstream}\n\
             [[route]]\nname = \"all\"\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"origin\"\n{route}\n"
        )
    }

    /// Runs a config, which must listen on port 0 and have an `[admin]` address on port 0.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, program(), &[])
    }

    /// The same with more arguments.
    pub fn start_with_arguments(config: &str, arguments: &[&str]) -> Self {
        Self::start_with(config, program(), arguments)
    }

    /// The same, handed a socket by this name as a service manager does it.
    pub fn start_on(config: &str, socket: &TcpListener, name: &str) -> Self {
        // The shell becomes the gateway, so its process id is the gateway's.
        let script = format!(
            "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES={name}; exec \"$@\""
        );
        let mut shell = in_shell(&script);
        shell.stdin(OwnedFd::from(socket.try_clone().unwrap()));
        Self::start_with(config, shell, &[])
    }

    /// The same, as this shell script runs it: `"$@"` is the gateway, which must take the shell's place
    /// (`exec`).
    pub fn start_in_shell(config: &str, script: &str) -> Self {
        Self::start_with(config, in_shell(script), &[])
    }

    fn start_with(config: &str, mut command: Command, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forebay.toml");
        std::fs::write(&path, config).unwrap();
        command.arg("run").arg("-c").arg(&path).args(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // A descriptor that was given to the child is no longer ours to keep open.
        drop(command);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, arrived) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn({
            let log = log.clone();
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().unwrap().push(line.clone());
                    let _ = lines.send(line);
                }
            }
        });
        let unknown = SocketAddr::from(([0; 4], 0));
        let mut gateway =
            Self { address: unknown, addresses: Vec::new(), admin: unknown, child, log, folder };
        gateway.await_listeners(&arrived, config.matches("[[listener]]").count());
        gateway
    }

    /// Reads the addresses it prints as it begins to listen.
    fn await_listeners(&mut self, lines: &Receiver<String>, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.addresses.len() < count || self.admin.port() == 0 {
            let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => panic!("it ended:\n{}", self.log()),
                Err(RecvTimeoutError::Timeout) => panic!("it does not listen:\n{}", self.log()),
            };
            let Some(address) = listening(&line) else { continue };
            if is_admin(&line) {
                self.admin = address;
            } else {
                self.addresses.push(address);
            }
        }
        self.address = self.addresses[0];
    }

    /// The folder of its config file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Every address it ever said it listens on, in that order, its admin pages aside.
    pub fn said(&self) -> Vec<SocketAddr> {
        let log = self.log();
        log.lines().filter(|line| !is_admin(line)).filter_map(listening).collect()
    }

    /// The same, once they are so many: what it writes is read by a thread of its own.
    pub async fn said_all(&self, count: usize) -> Vec<SocketAddr> {
        within("the addresses in the log", async {
            while self.said().len() < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        self.said()
    }

    /// Waits until it has written this to its standard error.
    pub async fn wait_for_log(&self, text: &str) {
        within(&format!("{text:?} in the log"), async {
            while !self.log().contains(text) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// What it wrote to its standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Replaces its config file, as an editor does: the new one is moved into the old one's place.
    pub fn rewrite(&self, config: &str) {
        let (fresh, path) = (self.folder.path().join("fresh"), self.folder.path().join("forebay.toml"));
        std::fs::write(&fresh, config).unwrap();
        std::fs::rename(fresh, path).unwrap();
    }

    /// Sends it a signal, by name: `TERM`, `HUP`, ...
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for its end and returns its exit code, if it has one.
    pub async fn ended(&mut self) -> Option<i32> {
        within("the gateway's end", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// A page of its admin listener, asked for by address, as whoever sits before the machine does.
    pub async fn page(&self, path: &str) -> Message {
        let mut client = Client::connect(self.admin).await;
        client
            .write(format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin))
            .await;
        client.response().await
    }

    /// All its metrics.
    pub async fn metrics(&self) -> Metrics {
        let response = self.page("/metrics").await;
        assert_eq!(response.status(), 200, "{response:?}");
        Metrics::parse(response.text())
    }

    /// Waits until nothing is held any more: no request, no permit, no place in a queue, no fill, no tunnel.
    pub async fn at_rest(&self) {
        for gauge in [
            "forebay_requests_in_flight",
            "forebay_admission_in_flight",
            "forebay_admission_queued",
            "forebay_cache_fills",
            "forebay_cache_fill_bytes",
            "forebay_tunnels_open",
        ] {
            self.wait_for(gauge, &[], |now| now == 0.0).await;
        }
    }

    /// What the process holds: its tasks, connections and file descriptors, and its memory in bytes.
    pub async fn holds(&self) -> [f64; 4] {
        let metrics = self.metrics().await;
        ["forebay_tasks", "forebay_connections_open", "process_open_fds", "process_resident_memory_bytes"]
            .map(|name| metrics.sum(name, &[]))
    }

    /// Waits until it holds no more than it did, and memory no more than so many bytes beyond that: what an
    /// allocator keeps for itself.
    pub async fn back_to(&self, before: [f64; 4], kept: u32, what: &str) {
        self.at_rest().await;
        let mut now = before;
        let waiting = async {
            loop {
                now = self.holds().await;
                let most = [before[0], before[1], before[2], before[3] + f64::from(kept)];
                if now.iter().zip(most).all(|(now, most)| *now <= most) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let back = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(back, "{what}: {now:?} tasks, connections, descriptors, bytes, not {before:?}");
    }

    /// Waits until the sum of a metric over all series with these labels is what is wanted, and returns it.
    pub async fn wait_for(&self, name: &str, labels: &[(&str, &str)], wanted: impl Fn(f64) -> bool) -> f64 {
        let last = Mutex::new(f64::NAN);
        let waiting = async {
            loop {
                let sum = self.metrics().await.sum(name, labels);
                *last.lock().unwrap() = sum;
                if wanted(sum) {
                    return sum;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(sum) => sum,
            Err(_) => panic!("{name} {labels:?} stays at {}\n{}", last.lock().unwrap(), self.log()),
        }
    }
}

/// The program, without the settings of whoever runs the tests, which are none of a test's.
pub fn program() -> Command {
    let built = env!("CARGO_BIN_EXE_forebay").into();
    let mut command = Command::new(std::env::var_os("FOREBAY_TEST_PROGRAM").unwrap_or(built));
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let ours = ["FOREBAY_", "LISTEN_", "NOTIFY_SOCKET"];
        if name.to_str().is_some_and(|name| ours.iter().any(|ours| name.starts_with(ours))) {
            command.env_remove(name);
        }
    }
    command
}

/// The program as a shell script runs it, as `"$@"`.
fn in_shell(script: &str) -> Command {
    let program = program();
    let mut shell = Command::new("sh");
    shell.stdin(Stdio::null()).args(["-c", script, "sh"]).arg(program.get_program());
    for (name, _) in program.get_envs() {
        shell.env_remove(name);
    }
    shell
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// The address in a line that says where the gateway or its admin pages listen, be it text or JSON.
fn listening(line: &str) -> Option<SocketAddr> {
    let says_so = line.contains("listening") || is_admin(line);
    let (_, after) = says_so.then(|| line.split_once("address"))??;
    let after = after.trim_start_matches(['"', '=', ':', ' ']);
    after.split(['"', ' ', ',', '}']).next()?.parse().ok()
}

/// Whether a line says where the admin pages are.
fn is_admin(line: &str) -> bool {
    line.contains(" admin address=") || line.contains("\"message\":\"admin\"")
}

/// A reading of all metrics.
#[derive(Clone, Debug)]
pub struct Metrics(Vec<(String, BTreeMap<String, String>, f64)>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| {
                let (key, value) = label.split_once("=\"")?;
                Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
            });
            Some((name.to_owned(), labels.collect(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The names of all metrics.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _, _)| name.as_str()).collect()
    }

    /// The sum of a metric over all series with these labels; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| found.get(*key).is_some_and(|found| found == value))
        };
        self.0.iter().filter(|(found, of, _)| found == name && matches(of)).map(|(_, _, value)| value).sum()
    }
}

#[test]
fn addresses_are_read_from_text_and_json() {
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 8080)));
    for line in [
        "2026-01-01T00:00:00Z  INFO listening address=127.0.0.1:8080 protocols=http1",
        r#"{"level":"INFO","message":"listening","address":"127.0.0.1:8080"}"#,
        "2026-01-01T00:00:00Z  INFO admin address=127.0.0.1:8080",
    ] {
        assert_eq!(listening(line), address, "{line}");
    }
    assert_eq!(listening("INFO reloaded address=127.0.0.1:8080"), None);
}

#[test]
fn metrics_are_summed_over_the_labels_given() {
    let metrics = Metrics::parse("# HELP x y\nx_total{a=\"1\",b=\"2\"} 3\nx_total{a=\"1\",b=\"3\"} 4\ny 5\n");
    assert_eq!(metrics.sum("x_total", &[]), 7.0);
    assert_eq!(metrics.sum("x_total", &[("b", "3")]), 4.0);
    assert_eq!(metrics.sum("y", &[]), 5.0);
    assert_eq!(metrics.sum("x_total", &[("b", "4")]), 0.0);
}
