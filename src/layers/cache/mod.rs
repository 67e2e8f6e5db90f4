//! The cache: answers from the store what it can (RFC 9111), asks the origin once for what many want.
//!
//! In reading order: [`layer`] decides what can be decided at once; [`fetch`] asks the origin, with
//! [`flight`]s that many requests share ([`collapse`] says when) and the [`fill`] task that carries one out;
//! what may be [`share`]d goes through [`pump`]; [`answer`] and [`serve`] make of it what each client gets;
//! [`invalidate`] watches requests that change things; [`store`] holds every [`entry`], [`cost`] says which
//! stay longer, and [`purge`] which have been given up. What the RFCs say is in pure files: [`key`],
//! [`normalize`], [`vary`], [`others`], [`search`], [`structured`], [`directives`], [`targeted`],
//! [`storable`], [`freshness`], [`validate`], [`range`], [`multipart`], and [`status`] for what the client is
//! told.
//!
//! The choices that the RFCs leave to a cache stand at the top of the file that makes them. In short: nothing
//! is stored that nobody asked to be stored; what was made for one user, or might be, is left alone; where a
//! field cannot be read, or is there twice, a response is taken for stale rather than fresh; and an
//! operator's lifetimes never overrule `no-store`, `private`, `Authorization` and `Vary: *`; what does has a
//! name of its own (`cache_control`, `authorization`).
//!
//! Each choice that an RFC leaves open, what is done without a word in the config, and the key of a route
//! that changes it:
//!
//! | clause | choice | key |
//! |---|---|---|
//! | RFC 9111 §3 | nothing is stored that nothing explicit speaks for | `ttl.default`, `ttl.by_status` |
//! | §3.3, §3.4 | a range of what is not stored fetches the whole, and no part is stored | `ranges` |
//! | §3.4 | of a part that is not what was asked for, nothing is stored | `repeat_parts` |
//! | §3.5 | one to a request with `Authorization` only where it says so, for all | `authorization` |
//! | (no RFC) | one to a request with `Cookie` only where the origin says so | `cookie`, `key.cookies` |
//! | (no RFC) | none with `Set-Cookie` | `store_set_cookie` |
//! | (a draft) | all of the query matters, whatever `No-Vary-Search` says | `key.query.no_vary_search` |
//! | §3, RFC 9110 §9.3.3 | one to POST if it is a GET's; POSTs are not answered | `methods`, `key.body` |
//! | §4.2.1 | the origin's lifetime counts, of two the shorter | `ttl.override`, `ttl.max` |
//! | §4.2.2 | no guesses; else a tenth of the time since the last change, a day at most | `heuristic` |
//! | §4.2.4 | stale for 5 minutes if the origin fails or is busy | `stale_if_error`, `stale_on_overload` |
//! | RFC 5861 §3 | stale while revalidated only as the response says | `stale_while_revalidate` |
//! | §5.2.2.10 | `s-maxage` forbids stale answers but those its own response allows | `s_maxage_stale` |
//! | §5.2.1 | a client's directives and `Pragma` are obeyed | `honor_client_no_cache` |
//! | RFC 8246 §2 | fresh and `immutable`: revalidated for `no-cache`, not for a reload | as above |
//! | §5.2.2 | the origin's `Cache-Control` decides; for us a targeted field before it | `cache_control` |
//! | §5.2.2.4 | fields that `no-cache="..."` names are not stored; the rest is reused | |
//! | §5.2.2.7 | `private="..."` is `private` | |
//! | §4.1, §4.3.1 | where no variant fits, the whole is asked for, whatever else is stored | `validate_variants` |
//! | §4.3.4 | we ask about one entry, so a 304 is about that one; its `ETag` stays | |
//!
//! What may surprise:
//!
//! - A fill is a GET without conditions and range, whatever its client asked for: the whole is stored, and
//!   each client gets its part of it. Where a route has `ranges = "parts"`, [`ranged`] asks for what
//!   is wanted and missing: its [`arrival`] is put together with what else is there of it, a [`partial`].
//! - The last chunk of a body reaches the clients after the entry is in the store, so that who has read an
//!   answer to its end finds it stored.
//! - A key whose answers turn out not to be shareable is remembered for ten seconds, in which nobody waits
//!   for anybody; requests with `Authorization` are remembered apart.
//! - Trailers reach those who read while the response arrives; they are not stored (RFC 9110 §6.5.1 lets them
//!   go).
//! - A response to an unsafe method invalidates all that is stored for its URL, whichever fields and cookies
//!   tell it apart, but only on its own route.
//! - A client that leaves ends its fill at once where nobody else waits for it and no response head has
//!   come: nothing says yet that it is worth finishing. Once a storable head is there, a fill that others
//!   read, that is half done, or that is nearly done goes on.
//! - Where a route's answers for unknown keys lately could never be shared, requests for such keys do not
//!   wait for one another.

mod alone;
pub mod answer;
pub mod arrival;
pub mod bypass;
pub mod collapse;
pub mod config;
mod confirm;
mod consumers;
pub mod core;
pub mod cost;
pub mod dates;
pub mod directives;
pub mod entry;
pub mod eviction;
pub mod fetch;
pub mod fill;
pub mod flight;
pub mod freshness;
pub mod head;
pub mod head_request;
pub mod invalidate;
pub mod key;
pub mod layer;
pub mod meter;
pub mod multipart;
pub mod normalize;
pub mod others;
pub mod partial;
pub mod plan;
pub mod post;
pub mod presets;
pub mod pump;
pub mod purge;
pub mod range;
pub mod ranged;
pub mod refresh;
pub mod search;
pub mod serve;
pub mod share;
mod slot;
pub mod source;
pub mod stale;
pub mod status;
pub mod storable;
pub mod store;
pub mod structured;
pub mod targeted;
pub mod trouble;
pub mod validate;
pub mod vary;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use layer::Cache;
pub use store::Store;
