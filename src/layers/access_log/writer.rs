//! Lines on their way to the file: appended to a buffer of the thread's own, written by a thread of its own.
//!
//! A line costs an uncontended lock, no message and, while lines are coming, no wake: the writer takes the
//! buffers away every [`INTERVAL`], or when one is large. Only the first line after a pause wakes it. A file
//! that blocks stalls that thread and nobody else; then the queue fills, and lines beyond it are dropped and
//! counted.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crate::metrics::{Counter, Metrics, Sharded};

use super::config::Format;
use super::plan::LogPlan;
use super::sink::Sink;

/// How long a line waits for others while lines are coming.
const INTERVAL: Duration = Duration::from_millis(50);
/// A buffer of this size is written at once: it still fits a processor's cache.
const LARGE: usize = 128 << 10;
/// A buffer of this size takes no more lines, however many the queue would take.
const FULL: usize = 8 << 20;
/// A buffer that grew beyond this size is given back after use.
const KEEP: usize = 1 << 20;
/// A thread takes places of the queue by the dozen: so it seldom touches what all threads touch.
const PLACES: u32 = 64;

/// A handle on the writer; the last one's drop lets the writer finish.
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    writer: Thread,
    join: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    format: Format,
    buffers: Sharded<Mutex<Buffer>>,
    /// Places of the queue that no thread has taken.
    free: AtomicU32,
    /// How many places a thread takes at once.
    places: u32,
    /// Whether the writer sleeps until it is woken, and not until [`INTERVAL`] is over.
    idle: AtomicBool,
    reopen: AtomicBool,
    stop: AtomicBool,
    finished: Mutex<bool>,
    finish: Condvar,
    written: Counter,
    dropped: Counter,
}

/// The lines of one thread (or a few) that wait.
#[derive(Debug, Default)]
struct Buffer {
    text: Vec<u8>,
    lines: u32,
    /// Places of the queue that are taken and not used yet.
    places: u32,
    /// Set by the writer when it will not come back.
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogWriter {
    /// Opens the log and starts its writer; `None` where the log is off. Fails where the file cannot be
    /// opened.
    pub fn start(plan: &LogPlan, metrics: &Metrics) -> io::Result<Option<Self>> {
        let Some(sink) = Sink::open(&plan.destination)? else { return Ok(None) };
        Self::spawn(sink, plan.format, plan.queue, metrics).map(Some)
    }

    pub(super) fn spawn(sink: Sink, format: Format, queue: u32, metrics: &Metrics) -> io::Result<Self> {
        let buffers = Sharded::<Mutex<Buffer>>::default();
        let threads = u32::try_from(buffers.iter().count()).unwrap_or(1);
        let lines = "forebay_access_log_lines_total";
        let dropped = "forebay_access_log_dropped_total";
        let shared = Arc::new(Shared {
            format,
            buffers,
            free: AtomicU32::new(queue),
            places: (queue / (4 * threads)).clamp(1, PLACES),
            idle: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            finished: Mutex::new(false),
            finish: Condvar::new(),
            written: metrics.counter(lines, "Lines written to the access log.", &[]),
            dropped: metrics.counter(dropped, "Access log lines lost: queue full or file not writable.", &[]),
        });
        let run = Run { shared: shared.clone(), sink, spare: Vec::new() };
        let join = thread::Builder::new().name("access-log".to_owned()).spawn(move || run.run())?;
        let writer = join.thread().clone();
        Ok(Self(Arc::new(Owner { shared, writer, join: Mutex::new(Some(join)) })))
    }

    /// How a line looks.
    pub fn format(&self) -> Format {
        self.0.shared.format
    }

    /// Hands on a line that `write` appends to the buffer it is given. Never blocks: where there is no room
    /// the line is dropped and counted, and `write` is not called.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.0.shared;
        let Some(buffer) = shared.buffers.mine() else { return };
        let mut buffer = lock(buffer);
        if buffer.closed || buffer.text.len() >= FULL || !shared.take_place(&mut buffer) {
            drop(buffer);
            return shared.dropped.increment();
        }
        let was_large = buffer.text.len() >= LARGE;
        write(&mut buffer.text);
        buffer.lines += 1;
        let is_large = buffer.text.len() >= LARGE;
        drop(buffer);
        // The writer says that it is idle before it looks into the buffers a last time: it has seen the line
        // there, or this thread sees that it is idle.
        let idle = shared.idle.load(Ordering::Acquire) && shared.idle.swap(false, Ordering::AcqRel);
        if idle || (is_large && !was_large) {
            self.0.writer.unpark();
        }
    }

    /// Opens the file's path again: lines that are handed on from now on go there. For SIGUSR1, after a
    /// rename.
    pub fn reopen(&self) {
        self.0.shared.reopen.store(true, Ordering::Release);
        self.0.writer.unpark();
    }

    /// Writes what waits and ends the writer; returns whether it did so within `patience`. A line that comes
    /// later is dropped and counted. Blocks this thread: not for the event loop.
    pub fn shutdown(&self, patience: Duration) -> bool {
        self.0.stop();
        let shared = &self.0.shared;
        let wait = shared.finish.wait_timeout_while(lock(&shared.finished), patience, |finished| !*finished);
        let finished = *wait.unwrap_or_else(PoisonError::into_inner).0;
        if finished && let Some(join) = lock(&self.0.join).take() {
            // It has finished, whether well or by a panic that the panic hook has shown.
            let _ = join.join();
        }
        finished
    }
}

#[cfg(test)]
impl LogWriter {
    /// Whether the writer has taken all lines, though it may not have written them.
    pub(super) fn has_taken_all(&self) -> bool {
        self.0.shared.buffers.iter().all(|buffer| lock(buffer).lines == 0)
    }
}

impl Owner {
    fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.writer.unpark();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Takes a place of the queue for one line.
    fn take_place(&self, buffer: &mut Buffer) -> bool {
        if buffer.places == 0 {
            let take = |free: u32| free.checked_sub(self.places.min(free)).filter(|left| *left != free);
            let before = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            buffer.places = before.map_or(0, |free| self.places.min(free));
        }
        match buffer.places.checked_sub(1) {
            Some(left) => {
                buffer.places = left;
                true
            }
            None => false,
        }
    }
}

/// The writer's thread.
struct Run {
    shared: Arc<Shared>,
    sink: Sink,
    /// A buffer to leave in the place of the one that is taken.
    spare: Vec<u8>,
}

impl Run {
    fn run(mut self) {
        let _finish = Finish(self.shared.clone());
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            let lines = self.pass(stop);
            if stop {
                return;
            }
            if lines > 0 {
                thread::park_timeout(INTERVAL);
                continue;
            }
            self.shared.idle.store(true, Ordering::Release);
            if self.pass(false) == 0 {
                thread::park();
            }
            self.shared.idle.store(false, Ordering::Release);
        }
    }

    /// Writes what waits in all buffers; returns how many lines that was.
    fn pass(&mut self, last: bool) -> u32 {
        let shared = self.shared.clone();
        let mut total = 0;
        for buffer in shared.buffers.iter() {
            let lines = {
                let mut buffer = lock(buffer);
                buffer.closed |= last;
                mem::swap(&mut buffer.text, &mut self.spare);
                // Before the lines are written: a file that blocks must not keep places that nobody uses.
                shared.free.fetch_add(mem::take(&mut buffer.places), Ordering::Relaxed);
                mem::take(&mut buffer.lines)
            };
            // Looked at after the lines were taken: one that was handed on after `reopen` goes to the new
            // file.
            if shared.reopen.swap(false, Ordering::AcqRel) {
                self.sink.reopen();
            }
            if lines > 0 {
                let lost = self.sink.write(&self.spare);
                shared.dropped.add(lost);
                shared.written.add(u64::from(lines).saturating_sub(lost));
            }
            shared.free.fetch_add(lines, Ordering::Relaxed);
            self.spare.clear();
            if self.spare.capacity() > KEEP {
                self.spare = Vec::new();
            }
            total += lines;
        }
        total
    }
}

/// Says that the writer has finished, however it did.
struct Finish(Arc<Shared>);

impl Drop for Finish {
    fn drop(&mut self) {
        *lock(&self.0.finished) = true;
        self.0.finish.notify_all();
    }
}
