//! Watches the config file's folder and says when to read it again.
//!
//! The folder is watched, not the file: editors replace files, and Kubernetes swaps a symbolic link beside
//! it. Events come in bursts, so the last one of a burst counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::warn;

/// How long after the last event of a burst the file is read.
const QUIET: Duration = Duration::from_millis(200);

/// Changes of one file.
#[derive(Debug)]
pub struct Changes {
    events: mpsc::Receiver<()>,
    file: PathBuf,
    seen: Option<Vec<u8>>,
    /// Whether there was an event that has not been looked into: [`next`](Self::next) may be given up
    /// half-way.
    pending: bool,
    _watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Watches `file`. Where the system has no more watches to give, only SIGHUP reloads; the log says so.
    pub fn of(file: &Path) -> Self {
        let (sender, events) = mpsc::channel(1);
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let told = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel already says what there is to say.
                let _ = sender.try_send(());
            }
        });
        let watcher = told.and_then(|mut watcher| {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            warn!(%error, folder = %folder.display(), "cannot watch the config's folder: reload with SIGHUP");
        }
        Self { events, file: file.to_owned(), seen: content(file), pending: false, _watcher: watcher.ok() }
    }

    /// Waits until the file's content has changed. A file that has vanished has not changed yet. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) {
        loop {
            if !self.pending && self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.pending = true;
            while tokio::time::timeout(QUIET, self.events.recv()).await.is_ok_and(|event| event.is_some()) {}
            let file = self.file.clone();
            let content = tokio::task::spawn_blocking(move || content(&file)).await.unwrap_or_default();
            self.pending = false;
            if content.is_some() && content != self.seen {
                self.seen = content;
                return;
            }
        }
    }

    /// Takes note that the file is about to be read for another reason: what it holds now is no change any
    /// more.
    pub fn note(&mut self) {
        self.seen = content(&self.file).or(self.seen.take());
    }
}

/// What a regular file holds; reading a pipe would take from it, or wait.
fn content(file: &Path) -> Option<Vec<u8>> {
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    std::fs::read(file).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_not_lost_with_the_future_that_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "a = 1").unwrap();
        let mut changes = Changes::of(&file);
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
        let mut changes = Changes::of(&at("config.toml"));
        std::os::unix::fs::symlink(at("two"), at("fresh")).unwrap();
        std::fs::rename(at("fresh"), at("config.toml")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
        std::fs::remove_file(at("config.toml")).unwrap();
        std::fs::write(at("config.toml"), "a = 3").unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
    }
}
