//! The answers that are kept for keys, and the requests under way: bounded in number, bytes and age.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::watch;

use crate::clock::Instant;
use crate::error::{Error, InternalError};
use crate::http::{Body, Response, fields};
use crate::memory::{Hold, Memory, Use};

use super::key::Digest;
use super::plan::IdempotencyPlan;

/// What an entry takes beside its body and fields, in bytes.
const OVERHEAD: u64 = 320;

/// An answer that is kept.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    room: Hold,
}

impl Answer {
    /// Keeps an answer, if the process has room for it.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes, memory: &Memory) -> Option<Self> {
        let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let mut room = memory.hold(Use::Answers);
        room.try_grow((body.len() + fields) as u64 + OVERHEAD).then_some(Self { status, headers, body, room })
    }

    /// The answer, once more. This time no cache of ours has forwarded anything (RFC 9211 §2).
    pub fn response(&self) -> Response {
        let mut response = Response::new(self.status, Body::full(self.body.clone()));
        response.headers.clone_from(&self.headers);
        fields::disown_cache_status(&mut response.headers);
        response.headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        response
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Landing {
    /// It was answered.
    Answer(Arc<Answer>),
    /// It was answered, and the answer is not kept.
    Lost,
    /// It was not.
    Failed(Error),
}

/// What a request with a key is to do.
#[derive(Debug)]
pub enum Begun {
    /// It is the first: carry it out.
    Lead(Flight),
    /// Wait for the one that is under way.
    Follow(watch::Receiver<Option<Landing>>),
    /// There is an answer.
    Replay(Arc<Answer>),
    /// It has happened, and the answer is not kept.
    Lost,
    /// The key stands for another request.
    Reused,
    /// There is no room for another key: all are under way.
    Full,
}

/// The keys of one route.
#[derive(Debug)]
pub struct Answers {
    plan: IdempotencyPlan,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Digest, Slot>,
    /// When each slot that is not under way ends; the oldest first, for all are kept equally long.
    ends: VecDeque<(Instant, Digest)>,
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    print: Digest,
    what: What,
}

#[derive(Debug)]
enum What {
    Running(watch::Receiver<Option<Landing>>),
    Done(Arc<Answer>),
    Lost,
}

impl Answers {
    /// Nothing kept yet.
    pub fn new(plan: IdempotencyPlan) -> Self {
        Self { plan, state: Mutex::default() }
    }

    /// What it was made from.
    pub const fn plan(&self) -> &IdempotencyPlan {
        &self.plan
    }

    /// What a request with this key is to do at `now`; `print` is what it asks for.
    pub fn begin(self: &Arc<Self>, key: Digest, print: Digest, now: Instant) -> Begun {
        let mut state = self.lock();
        state.expire(now);
        if let Some(slot) = state.slots.get(&key) {
            return match &slot.what {
                _ if slot.print != print => Begun::Reused,
                What::Running(landing) => Begun::Follow(landing.clone()),
                What::Done(answer) => Begun::Replay(Arc::clone(answer)),
                What::Lost => Begun::Lost,
            };
        }
        if state.slots.len() >= self.plan.max_entries && !state.drop_oldest() {
            return Begun::Full;
        }
        let (tell, landing) = watch::channel(None);
        state.slots.insert(key, Slot { print, what: What::Running(landing) });
        Begun::Lead(Flight { answers: Arc::clone(self), key, tell, landed: false })
    }

    /// How many keys there are, and how many bytes their answers take.
    pub fn size(&self) -> (usize, u64) {
        let state = self.lock();
        (state.slots.len(), state.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expire(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.drop_oldest();
        }
    }

    /// Makes room; false where all that is left is under way.
    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.ends.pop_front() else { return false };
        if let Some(Slot { what: What::Done(answer), .. }) = self.slots.remove(&key) {
            self.bytes -= answer.room.bytes();
        }
        true
    }
}

/// A request under way. Dropped before it has landed, it fails those who wait, and its key is free again.
#[derive(Debug)]
pub struct Flight {
    answers: Arc<Answers>,
    key: Digest,
    tell: watch::Sender<Option<Landing>>,
    landed: bool,
}

impl Flight {
    /// It has ended: those who wait are told, and what is to be kept is for those to come.
    pub fn land(mut self, landing: Landing, keep: bool, now: Instant) {
        self.settle(landing, keep.then_some(now));
    }

    fn settle(&mut self, landing: Landing, keep: Option<Instant>) {
        self.landed = true;
        let mut state = self.answers.lock();
        let what = match &landing {
            Landing::Answer(answer) => Some(What::Done(Arc::clone(answer))),
            Landing::Lost => Some(What::Lost),
            Landing::Failed(_) => None,
        };
        match (what, keep) {
            (Some(what), Some(now)) => {
                if let What::Done(answer) = &what {
                    state.bytes += answer.room.bytes();
                }
                if let Some(slot) = state.slots.get_mut(&self.key) {
                    slot.what = what;
                }
                state.ends.push_back((now + self.answers.plan.ttl, self.key));
                while state.bytes > self.answers.plan.max_bytes && state.drop_oldest() {}
            }
            _ => drop(state.slots.remove(&self.key)),
        }
        drop(state);
        self.tell.send_replace(Some(landing));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.settle(Landing::Failed(InternalError::Panicked.into()), None);
        }
    }
}
