//! Basic credentials (RFC 7617), checked against argon2 hashes.
//!
//! A check takes tens of milliseconds and as many mebibytes, on purpose. So it is done off the workers, by at
//! most [`VERIFIERS`] at once for the whole process, and few may wait for that. What came of it is remembered
//! for a while, under a digest that is keyed anew by each guard: no password stays in memory, and nobody can
//! aim at another's place. A name that is not known takes as long as one that is.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use aws_lc_rs::{hmac, rand};
use http::header::{AUTHORIZATION, HeaderMap};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::clock::Instant;
use crate::error::Denial;
use crate::http::base64;
use crate::report::{Path, Report};
use crate::units::Secret;

use super::config::BasicConfig;
use super::identity::Consumer;
use super::plan::Consumers;

/// How many passwords the process checks at once.
pub const VERIFIERS: usize = 2;
/// How many requests of a route may wait for that.
const WAITING_MAX: usize = 256;
/// How long one of them waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many good credentials are remembered, and how many bad ones.
const REMEMBERED_MAX: usize = 10_000;
/// For how long a bad one is.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// The longest credentials that are looked at, in bytes.
const LENGTH_MAX: usize = 1024;
/// The most memory that a hash may want, in KiB, and the most passes over it.
const MEMORY_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;

static AT_WORK: Semaphore = Semaphore::const_new(VERIFIERS);

/// How passwords are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicPlan {
    /// Whether the upstream gets the credentials too.
    pub forward: bool,
    /// How long good ones are remembered.
    pub remember: Duration,
}

/// The longest that good credentials may be remembered.
const REMEMBER_MAX: Duration = Duration::from_secs(86_400);

pub(super) fn plan(config: &BasicConfig, at: &Path, report: &mut Report) -> BasicPlan {
    let remember = config.remember.get();
    if remember > REMEMBER_MAX {
        let hint = "at most a day is possible; some minutes are enough to keep the cost down";
        report.error_with_hint(&at.key("remember"), format!("{} is long", config.remember), hint);
    }
    BasicPlan { forward: config.forward, remember: remember.min(REMEMBER_MAX) }
}

/// Whether a text is a hash that can be checked against, within bounds; it is not shown if not.
pub(super) fn check_hash(hash: &str) -> Result<(), &'static str> {
    let parsed = PasswordHash::new(hash).map_err(|_| "is no PHC string")?;
    if !parsed.algorithm.as_str().starts_with("argon2") {
        return Err("is no argon2 hash");
    }
    let params = argon2::Params::try_from(&parsed).map_err(|_| "has parameters that argon2 does not take")?;
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err("has no salt, or no hash");
    }
    if params.m_cost() > MEMORY_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > PASSES_MAX {
        return Err("would take more than 256 MiB, 16 passes or 16 lanes");
    }
    Ok(())
}

/// A name and a password.
pub struct Login {
    name: String,
    password: Vec<u8>,
    /// What it is remembered by.
    tag: [u8; 32],
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The passwords of consumers, and what was checked of late.
pub struct Passwords {
    known: HashMap<String, (Consumer, Secret)>,
    /// What is checked in the place of a name that is not known.
    decoy: Option<Secret>,
    key: hmac::Key,
    good: Cache<[u8; 32], (Consumer, Instant)>,
    bad: Cache<[u8; 32], Instant>,
    waiting: AtomicUsize,
    remember: Duration,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

/// A key that nobody knows.
pub(super) fn random_key() -> hmac::Key {
    let mut bytes = [0; 32];
    if rand::fill(&mut bytes).is_err() {
        // No system that serves TLS is without randomness; the key tells digests apart all the same.
        bytes.fill_with(|| fastrand::u8(..));
    }
    hmac::Key::new(hmac::HMAC_SHA256, &bytes)
}

pub(super) fn tag(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

impl Passwords {
    /// Of these consumers.
    pub fn new(plan: &BasicPlan, consumers: &Consumers) -> Self {
        let with = |one: &super::plan::ConsumerPlan| {
            let password = one.password.clone()?;
            Some((one.consumer.name().to_string(), (one.consumer.clone(), password)))
        };
        let known: HashMap<_, _> = consumers.iter().filter_map(with).collect();
        let decoy = known.values().next().map(|(_, hash)| hash.clone());
        Self {
            known,
            decoy,
            key: random_key(),
            good: Cache::new(REMEMBERED_MAX),
            bad: Cache::new(REMEMBERED_MAX),
            waiting: AtomicUsize::new(0),
            remember: plan.remember,
        }
    }

    /// The credentials in a request; none where there are none of this scheme.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn read(&self, headers: &HeaderMap) -> Option<Result<Login, Denial>> {
        const SCHEME: &[u8] = b"basic ";
        let line = headers.get(AUTHORIZATION)?.as_bytes();
        let (scheme, given) = line.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        Some(self.login(given.trim_ascii()).ok_or(Denial::BadCredentials))
    }

    fn login(&self, given: &[u8]) -> Option<Login> {
        let given = Some(given).filter(|given| given.len() <= 2 * LENGTH_MAX)?;
        let whole = base64::decode(given).filter(|whole| whole.len() <= LENGTH_MAX)?;
        let at = memchr::memchr(b':', &whole)?;
        let name = String::from_utf8(whole.get(..at)?.to_vec()).ok()?;
        let password = whole.get(at + 1..)?.to_vec();
        let tag = tag(&self.key, &[name.as_bytes(), &password]);
        Some(Login { name, password, tag })
    }

    /// What is remembered of them.
    pub fn recall(&self, login: &Login, now: Instant) -> Option<Result<Consumer, Denial>> {
        if let Some((consumer, until)) = self.good.get(&login.tag)
            && now < until
        {
            return Some(Ok(consumer));
        }
        let refused = self.bad.get(&login.tag).is_some_and(|until| now < until);
        refused.then_some(Err(Denial::BadCredentials))
    }

    /// Checks them; `now` is from when on what comes of it is remembered.
    ///
    /// # Errors
    /// That they are wrong, or that too many wait to be checked.
    pub async fn check(&self, login: Login, now: Instant) -> Result<Consumer, Denial> {
        let _place = Place::take(&self.waiting).ok_or(Denial::Busy)?;
        let permit = tokio::time::timeout(PATIENCE, AT_WORK.acquire()).await;
        let Ok(Ok(permit)) = permit else { return Err(Denial::Busy) };
        // Somebody with the same ones may have been before us in the line.
        if let Some(recalled) = self.recall(&login, now) {
            return recalled;
        }
        let Login { name, password, tag } = login;
        let found = self.known.get(&name);
        let hash = found.map(|(_, hash)| hash).or(self.decoy.as_ref()).cloned();
        let checked = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also where nobody waits for it any more.
            let _permit = permit;
            hash.is_some_and(|hash| Argon2::default().verify_password(&password, hash.reveal()).is_ok())
        });
        match (checked.await, found) {
            (Ok(true), Some((consumer, _))) => {
                self.good.insert(tag, (consumer.clone(), now + self.remember));
                Ok(consumer.clone())
            }
            (Ok(_), _) => {
                self.bad.insert(tag, now + REFUSED_FOR);
                Err(Denial::BadCredentials)
            }
            (Err(_), _) => Err(Denial::Unavailable),
        }
    }
}

/// A place in the line; its drop frees it.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let next = |count| (count < WAITING_MAX).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_bounded() {
        let salt_and_hash = "c2FsdHNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ";
        for (hash, good) in [
            (format!("$argon2id$v=19$m=64,t=1,p=1${salt_and_hash}"), true),
            (format!("$argon2i$v=19$m=64,t=1,p=1${salt_and_hash}"), true),
            (format!("$argon2id$v=19$m=262145,t=1,p=1${salt_and_hash}"), false),
            (format!("$argon2id$v=19$m=64,t=17,p=1${salt_and_hash}"), false),
            (format!("$pbkdf2-sha256$i=1000${salt_and_hash}"), false),
            ("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ".to_owned(), false),
            ("hunter2".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(check_hash(&hash).is_ok(), good, "{hash}");
        }
    }
}
