//! The file that lines end up in, and how it fails.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::plan::Destination;

/// How long to wait for a descriptor that somebody else has set to non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// Where lines go: a descriptor, and not `std::io::stdout`, whose buffer holds back half a line after a
/// failure.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    path: Option<PathBuf>,
    progress: Progress,
}

/// How far writing came, and whether it works.
#[derive(Debug, Default)]
struct Progress {
    /// Whether what was written last is only a part of a line.
    torn: bool,
    /// Whether the last write failed: that is said once, not once a batch.
    failing: bool,
}

impl Sink {
    /// Opens the destination; `None` for [`Destination::Off`].
    pub(super) fn open(destination: &Destination) -> io::Result<Option<Self>> {
        let (file, path) = match destination {
            Destination::Off => return Ok(None),
            Destination::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            Destination::File(path) => (append(path)?, Some(path.clone())),
        };
        Ok(Some(Self { path, ..Self::new(file) }))
    }

    /// A file that cannot be opened again.
    pub(super) fn new(file: File) -> Self {
        Self { file, path: None, progress: Progress::default() }
    }

    /// Opens the path again, after somebody renamed the file. Where that fails the old file stays in use.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => (self.file, self.progress) = (file, Progress::default()),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "cannot reopen the access log; the old file stays");
            }
        }
    }

    /// Writes whole lines; returns how many of them were lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        self.progress.write(&mut self.file, lines)
    }
}

impl Progress {
    fn write(&mut self, file: &mut impl Write, lines: &[u8]) -> u64 {
        let (written, result) = self.try_write(file, lines);
        match result {
            Ok(()) if mem::take(&mut self.failing) => tracing::info!("the access log can be written again"),
            Err(error) if !mem::replace(&mut self.failing, true) => {
                tracing::warn!(%error, "cannot write the access log; lines are dropped");
            }
            Ok(()) | Err(_) => {}
        }
        memchr::memchr_iter(b'\n', lines.get(written..).unwrap_or_default()).count() as u64
    }

    /// How many bytes of the lines were written, and why not all.
    fn try_write(&mut self, file: &mut impl Write, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            // The rest of the torn line is lost; the next one must not be glued to its stump.
            let (_, result) = write_all(file, b"\n");
            if result.is_err() {
                return (0, result);
            }
            self.torn = false;
        }
        let (written, result) = write_all(file, lines);
        if let Some(last) = lines.get(..written).and_then(<[u8]>::last) {
            self.torn = *last != b'\n';
        }
        (written, result)
    }
}

fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Opens a log for appending. Others may not read it: it tells who asked for what.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Two at a time, so that every write is a partial one.
            let count = bytes.len().min(self.room).min(2);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.text.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_at_any_byte_loses_lines_and_glues_none() {
        for room in 0..16 {
            let mut disk = Disk { text: Vec::new(), room };
            let mut progress = Progress::default();
            let mut lost = progress.write(&mut disk, b"one\ntwo\nthree\n");
            lost += progress.write(&mut disk, b"four\n");
            disk.room = 100;
            lost += progress.write(&mut disk, b"five\nsix\n");

            let text = String::from_utf8(disk.text).unwrap();
            let whole = ["one", "two", "three", "four", "five", "six"];
            let found = text.lines().filter(|line| whole.contains(line)).count() as u64;
            // A line that lacks nothing but its line feed counts as lost, and yet gets it with the next
            // batch.
            let mended = u64::from([3, 7, 13].contains(&room));
            assert_eq!(found + lost, 6 + mended, "{room}: {text:?}");
            assert!(text.ends_with("five\nsix\n"), "{room}: {text:?}");
            let stumps = text.lines().filter(|line| !whole.contains(line)).count();
            assert!(stumps <= 1 && !text.contains("\n\n"), "{room}: {text:?}");
        }
    }
}
