//! Purging: what is stored is given up by URL, by prefix, by tag, or all of it, at once and at no cost to
//! hits.
//!
//! In reading order: [`generation`] counts purges and judges entries; [`sketch`] remembers when a name was
//! last purged; [`marks`] is what an entry carries to be judged by; [`tags`] reads the tags of a response;
//! [`absent`] is about entries of rules that a reload takes out of force; [`control`] is for operators, and
//! [`order`] what they say and are told; [`method`] is for
//! clients that may.
//!
//! A purge walks over nothing. It writes the number of its generation where entries of that name will look,
//! and an entry is judged when it is next asked for: whether any of its names was purged since the request
//! that brought it was sent. So a purge costs the same for one entry and for a million, and a response that
//! was on its way when the purge came is as good as purged too. A hit pays for one comparison: an entry that
//! was judged in this generation is not judged again.
//!
//! What may surprise:
//!
//! - So an answer says that the purge is lazy, and only where nobody has to walk how many responses it takes:
//!   for one URL whose key has no fields and cookies in it, and for everything.
//! - What remembers purges has a fixed size. If very many names are purged within the lifetime of an entry,
//!   it may be taken for purged too: too much is purged, never too little.
//! - Entries that were purged for good leave their memory when they are asked for or make room for others,
//!   not at once.
//! - The scheme does not count: a purge of `https://a/b` takes what is stored for `http://a/b`.
//! - A prefix ends where a segment ends: `/a` takes `/a`, `/a/` and `/a/b`, but not `/ab`; `/a/` takes `/a/`
//!   and `/a/b`. Beyond its thirty-second segment a prefix is cut.
//! - Where a reload changes the rules of a route and another one takes that back, what was stored before is
//!   used again, unless anything at all was purged in between: it may have missed that.
//! - A softly purged entry is as good as stale. What it may be used for if the origin fails or admission
//!   refuses is counted from the end of its lifetime as before; it is not served while it is revalidated in
//!   the background, for who purges wants to see the new answer.

pub mod absent;
pub mod config;
pub mod control;
pub mod generation;
mod inspect;
pub mod marks;
pub mod method;
pub mod order;
pub mod sketch;
pub mod tags;

#[cfg(test)]
mod tests;

pub use absent::Absent;
pub use control::Control;
pub use generation::{Mode, Name, Purges, Site};
pub use marks::Marks;
pub use method::PurgePlan;
