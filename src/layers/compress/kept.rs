//! Encoded forms of what is in the cache's store: made once for all who ask, and bounded.
//!
//! A form is found by the number of the stored response, which no other one ever has. Those of responses that
//! are gone are not asked for any more, and go when room is short.

use std::num::NonZeroU64;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use http_body_util::BodyExt;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::error::Error;
use crate::http::coding::{Coding, Encoder, Level};
use crate::http::{Body, Chunks, Desk, Encoded};
use crate::memory::{Hold, Memory, Use};

/// What a form takes beside its bytes.
const OVERHEAD: u64 = 256;

/// Forms up to this size are kept in one piece, in bytes.
const PIECE: usize = 256 * 1024;

/// How much a shard of the store has at least, in bytes: the largest form that is kept is no larger.
const SHARD: u64 = 8 * 1024 * 1024;

/// One store of forms for the process, and the places for those who make them.
#[derive(Debug)]
pub struct Kept {
    forms: Option<Cache<Key, Form, Weigh, RandomState>>,
    /// The largest body that is encoded to be kept.
    max: u64,
    memory: Memory,
    desk: Desk,
}

type Key = (NonZeroU64, Coding);

/// What is known of a stored response in one coding.
#[derive(Clone, Debug)]
pub enum Form {
    /// Its bytes.
    Encoded(Arc<EncodedForm>),
    /// It would not be smaller.
    NotSmaller,
}

/// The bytes of an encoded body.
#[derive(Debug)]
pub struct EncodedForm {
    chunks: Arc<[Bytes]>,
    length: u64,
    _memory: Hold,
}

impl EncodedForm {
    /// How many bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// All of them.
    pub fn body(&self) -> Body {
        match &*self.chunks {
            [whole] => Body::full(whole.clone()),
            _ => Body::chunks(Chunks::new(Arc::clone(&self.chunks), 0, self.length)),
        }
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Key, Form> for Weigh {
    fn weight(&self, _: &Key, form: &Form) -> u64 {
        match form {
            Form::Encoded(form) => form.length + OVERHEAD,
            Form::NotSmaller => OVERHEAD,
        }
    }
}

impl Kept {
    /// A store of so many bytes, as part of `memory`; with 0, nothing is kept. `places` is how many encoders
    /// work off the event loop at a time.
    pub fn new(capacity: u64, memory: Memory, places: usize) -> Self {
        let shards = usize::try_from((capacity / SHARD).clamp(1, 16)).unwrap_or(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(capacity / 4096).unwrap_or(usize::MAX).max(32 * shards))
            .weight_capacity(capacity)
            .shards(shards)
            .build();
        let forms = options.ok().filter(|_| capacity > OVERHEAD).map(|options| {
            Cache::with_options(options, Weigh, RandomState::new(), DefaultLifecycle::default())
        });
        let max = if forms.is_some() { capacity / shards as u64 / 2 } else { 0 };
        Self { forms, max, memory, desk: Desk::new(places) }
    }

    /// The form of a stored response, if it is there.
    pub fn find(&self, number: NonZeroU64, coding: Coding) -> Option<Form> {
        self.forms.as_ref()?.get(&(number, coding))
    }

    /// Whether a stored response of this length is worth a form, and there is memory for it.
    pub fn wants(&self, length: u64) -> bool {
        length <= self.max && !self.memory.is_tight()
    }

    /// An encoded body.
    ///
    /// # Errors
    /// The body itself, where there is no memory for an encoder.
    pub fn encode(&self, level: Level, body: Body) -> Result<Body, Body> {
        let length = if body.is_in_memory() { http_body::Body::size_hint(&body).exact() } else { None };
        match Encoder::new(level, length, self.memory.hold(Use::Encoding)) {
            Some(encoder) => Ok(Body::encoded(Encoded::new(body, level, encoder, self.desk.clone()))),
            None => Err(body),
        }
    }

    /// The form of a stored response, made from its `body` if it is not there, and whether it was made.
    /// Whoever comes first makes it, the others wait; where that one leaves, the next one makes it. None
    /// where there is no memory for an encoder.
    ///
    /// # Errors
    /// When an encoder fails, which it has no reason to.
    pub async fn make(
        &self,
        number: NonZeroU64,
        level: Level,
        body: Body,
    ) -> Result<Option<(Form, bool)>, Error> {
        let Some(forms) = &self.forms else { return Ok(None) };
        let guard = match forms.get_value_or_guard_async(&(number, level.coding)).await {
            Ok(form) => return Ok(Some((form, false))),
            Err(guard) => guard,
        };
        let length = http_body::Body::size_hint(&body).lower();
        let Ok(encoded) = self.encode(level, body) else { return Ok(None) };
        let form = self.read(encoded, length).await?;
        // Refused only where the number was taken out meanwhile, which nobody does.
        let _ = guard.insert(form.clone());
        Ok(Some((form, true)))
    }

    /// Reads an encoded body until it turns out no smaller than the plain one.
    async fn read(&self, mut encoded: Body, plain: u64) -> Result<Form, Error> {
        let (mut chunks, mut length) = (Vec::new(), 0);
        while let Some(frame) = encoded.frame().await {
            if let Ok(data) = frame?.into_data() {
                length += data.len() as u64;
                if length >= plain {
                    return Ok(Form::NotSmaller);
                }
                // Of exactly their size: what came out of an encoder has room for more.
                chunks.push(Bytes::copy_from_slice(&data));
            }
        }
        if chunks.len() > 1 && usize::try_from(length).is_ok_and(|length| length <= PIECE) {
            chunks = vec![chunks.concat().into()];
        }
        let mut memory = self.memory.hold(Use::Encoded);
        memory.set(length + OVERHEAD);
        Ok(Form::Encoded(Arc::new(EncodedForm { chunks: chunks.into(), length, _memory: memory })))
    }
}
