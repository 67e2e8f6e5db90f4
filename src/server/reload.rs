//! Watches the config file, and those that it names, and says when to read them again; and what a new config
//! cannot change.
//!
//! Folders are watched, not files: editors and renewals replace files, and Kubernetes swaps a symbolic link
//! beside them. Events come in bursts, so the last one of a burst counts.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::warn;

use crate::plan::Plan;

/// How long after the last event of a burst the files are read.
const QUIET: Duration = Duration::from_millis(200);

/// How long a burst may be: where a log is written beside the files there may be no quiet for days.
const BURST_MAX: Duration = Duration::from_secs(2);

/// A file, and what it held when it was read last, as a hash; `None` where it was not there.
type Seen = (PathBuf, Option<u64>);

/// Changes of a config file and of those that it names: certificates, keys, what `${file:...}` stands for.
#[derive(Debug)]
pub struct Changes {
    events: mpsc::Receiver<()>,
    /// The config file comes first.
    seen: Vec<Seen>,
    /// Whether there was an event that has not been looked into: [`next`](Self::next) may be given up
    /// half-way.
    pending: bool,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Changes {
    /// Watches `file` and the others. Where the system has no more watches to give, only SIGHUP reloads; the
    /// log says so.
    pub fn of(file: &Path, others: &[PathBuf]) -> Self {
        let (sender, events) = mpsc::channel(1);
        let told = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel already says what there is to say.
                let _ = sender.try_send(());
            }
        });
        let watcher = told
            .inspect_err(|error| warn!(%error, "cannot watch the config's folder: reload with SIGHUP"))
            .ok();
        let seen = vec![(file.to_owned(), None)];
        let mut changes = Self { events, seen, pending: false, watcher, folders: BTreeSet::new() };
        changes.follow(others);
        changes.note();
        changes
    }

    /// From here on the config file names these others.
    pub fn follow(&mut self, others: &[PathBuf]) {
        let named: BTreeSet<&PathBuf> = others.iter().collect();
        // What is known of those that are named still is from before they were read.
        let known: Vec<Seen> = self.seen.drain(1..).collect();
        let seen = |file: &PathBuf| known.iter().find(|(known, _)| known == file).cloned();
        self.seen
            .extend(named.into_iter().map(|file| seen(file).unwrap_or((file.clone(), fingerprint(file)))));
        let folders: BTreeSet<PathBuf> = self.seen.iter().map(|(file, _)| folder_of(file)).collect();
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            let _ = watcher.unwatch(gone);
        }
        for folder in folders.difference(&self.folders) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                warn!(%error, folder = %folder.display(), "cannot watch this folder: reload with SIGHUP");
            }
        }
        self.folders = folders;
    }

    /// Waits until the content of one of the files has changed. A file that has vanished has not changed yet.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) {
        loop {
            if !self.pending && self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.pending = true;
            let _ = tokio::time::timeout(BURST_MAX, self.quiet()).await;
            let before = self.seen.clone();
            let now = tokio::task::spawn_blocking(move || read(before)).await.unwrap_or_default();
            self.pending = false;
            if now.len() == self.seen.len() && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    /// Waits until there has been no event for a while.
    async fn quiet(&mut self) {
        while tokio::time::timeout(QUIET, self.events.recv()).await.is_ok_and(|event| event.is_some()) {}
    }

    /// Takes note that the files are about to be read for another reason: what they hold now is no change any
    /// more.
    pub fn note(&mut self) {
        self.seen = read(std::mem::take(&mut self.seen));
    }
}

/// Reads the files once more; of one that is gone, what it held last is kept.
fn read(seen: Vec<Seen>) -> Vec<Seen> {
    let again = |(file, before): Seen| {
        let now = fingerprint(&file).or(before);
        (file, now)
    };
    seen.into_iter().map(again).collect()
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What a regular file holds; reading a pipe would take from it, or wait.
fn fingerprint(file: &Path) -> Option<u64> {
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    std::fs::read(file).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

/// Which addresses may be another process's too, of those that are bound.
fn shared_ports(plan: &Plan) -> Vec<(SocketAddr, bool)> {
    plan.listeners.iter().map(|listener| (listener.address, listener.reuse_port)).collect()
}

/// Says what a reload cannot change.
pub(super) fn warn_of_restarts(old: &Plan, new: &Plan) {
    let changed = [
        ("server.workers", old.server.workers != new.server.workers),
        ("server.max_connections", old.server.max_connections != new.server.max_connections),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
        ("server.memory_limit", old.server.memory_limit != new.server.memory_limit),
        ("cache", old.store != new.store),
        ("compress", old.kept != new.kept),
        ("listener.reuse_port", shared_ports(old) != shared_ports(new)),
    ];
    for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
        warn!(key, "changed, which needs a restart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_not_lost_with_the_future_that_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "a = 1").unwrap();
        let mut changes = Changes::of(&file, &[]);
        std::fs::write(&file, "a = 2").unwrap();
        // Given up while it waits for quiet.
        assert!(tokio::time::timeout(QUIET / 2, changes.next()).await.is_err());
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
        // Read for another reason, and changed back: both are noticed.
        std::fs::write(&file, "a = 3").unwrap();
        changes.note();
        std::fs::write(&file, "a = 2").unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
    }

    #[tokio::test]
    async fn a_swapped_symbolic_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("one"), "a = 1").unwrap();
        std::fs::write(at("two"), "a = 2").unwrap();
        std::os::unix::fs::symlink(at("one"), at("config.toml")).unwrap();
        let mut changes = Changes::of(&at("config.toml"), &[]);
        std::os::unix::fs::symlink(at("two"), at("fresh")).unwrap();
        std::fs::rename(at("fresh"), at("config.toml")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
        std::fs::remove_file(at("config.toml")).unwrap();
        std::fs::write(at("config.toml"), "a = 3").unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
    }

    /// One that is named only now, in another folder; and no more, once it is not named.
    #[tokio::test]
    async fn files_that_are_named_are_watched_too() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, key) = (folder.path().join("config.toml"), other.path().join("key"));
        std::fs::write(&file, "a = 1").unwrap();
        let mut changes = Changes::of(&file, &[]);
        changes.follow(&[key.clone(), key.clone()]);
        std::fs::write(&key, "1").unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
        std::fs::write(&key, "1").unwrap();
        assert!(tokio::time::timeout(QUIET * 2, changes.next()).await.is_err(), "the same as before");
        changes.follow(&[]);
        std::fs::write(&key, "2").unwrap();
        assert!(tokio::time::timeout(QUIET * 2, changes.next()).await.is_err());
        std::fs::write(&file, "a = 2").unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
    }

    /// Where something else in the folder changes all the time, like a log.
    #[tokio::test]
    async fn a_change_is_seen_where_there_is_no_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("config.toml"), folder.path().join("access.log"));
        std::fs::write(&file, "a = 1").unwrap();
        let mut changes = Changes::of(&file, &[]);
        std::fs::write(&file, "a = 2").unwrap();
        let noise = tokio::spawn(async move {
            loop {
                std::fs::write(&log, "GET /").unwrap();
                tokio::time::sleep(QUIET / 8).await;
            }
        });
        tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap();
        noise.abort();
    }
}
