//! Where an endpoint is: an address that never changes, or a name that a task of its own keeps resolved.
//!
//! A name is looked up again when its answer has lived for as long as the name server says, within bounds, or
//! every `resolve_interval` where the system's resolver is asked, which does not say.
//!
//! Requests never look anything up: they take the last answer, or wait for the first. So there is one lookup
//! a name at a time however many requests wait; a name that stops resolving keeps its last addresses, and one
//! that never did fails requests at once and is tried again every second. A task a name, because a slow
//! lookup of one must not hold up the others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::dns::{Dns, Found};
use super::plan::{EndpointPlan, Host};

/// The addresses to dial, in order.
pub(super) type Addresses = SmallVec<[SocketAddr; 2]>;

/// How long one lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a failure without an earlier answer is believed.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);
/// The least time that an answer is believed, whatever it says.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Addresses of one name that are used; the rest of a longer answer is ignored.
const MAX_ADDRESSES: usize = 32;

/// Where an endpoint is.
#[derive(Debug)]
pub(super) enum Location {
    /// It is its address.
    Fixed(SocketAddr),
    /// It has a name.
    Named {
        answers: watch::Receiver<Answer<SocketAddr>>,
        /// Which address is dialled first: they take turns.
        turn: AtomicUsize,
        _task: AbortOnDropHandle<()>,
    },
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// The first lookup is under way.
    Pending,
    /// The last good answer.
    Known(Arc<[T]>),
    /// No lookup has succeeded yet.
    Failed,
}

impl Location {
    /// Starts resolving, where there is something to resolve; needs a tokio runtime.
    pub(super) fn of(endpoint: &EndpointPlan, interval: Duration, dns: &Dns) -> Self {
        match &endpoint.host {
            Host::Ip(ip) => Self::Fixed(SocketAddr::new(*ip, endpoint.port)),
            Host::Name(name) => {
                let (name, port, dns) = (name.clone(), endpoint.port, dns.clone());
                let lookup = move || {
                    let (name, dns) = (name.clone(), dns.clone());
                    async move { dns.addresses(&name, port).await }
                };
                let (publish, answers) = watch::channel(Answer::Pending);
                let task = tokio::spawn(keep_resolved(lookup, interval, publisher(publish)));
                Self::Named { answers, turn: AtomicUsize::new(0), _task: AbortOnDropHandle::new(task) }
            }
        }
    }

    /// The addresses to dial, in order; none where the name does not resolve. Waits for the first lookup
    /// only.
    pub(super) async fn addresses(&self) -> Addresses {
        match self {
            Self::Fixed(address) => Addresses::from_slice(&[*address]),
            Self::Named { answers, turn, .. } => {
                let mut answers = answers.clone();
                let Ok(answer) = answers.wait_for(|answer| *answer != Answer::Pending).await else {
                    return Addresses::new();
                };
                match &*answer {
                    Answer::Known(known) => rotated(known, turn.fetch_add(1, Ordering::Relaxed)),
                    Answer::Pending | Answer::Failed => Addresses::new(),
                }
            }
        }
    }
}

fn rotated(known: &[SocketAddr], turn: usize) -> Addresses {
    let start = turn.checked_rem(known.len()).unwrap_or(0);
    known.iter().cycle().skip(start).take(known.len()).copied().collect()
}

/// Takes in the addresses that were found; says whether some are known.
fn publisher(publish: watch::Sender<Answer<SocketAddr>>) -> impl Fn(Vec<SocketAddr>) -> bool {
    move |mut found| {
        found.truncate(MAX_ADDRESSES);
        publish.send_if_modified(|answer| learn(answer, found));
        *publish.borrow() != Answer::Failed
    }
}

/// Looks a name up again and again. `learnt` takes in what was found, and says whether something is known
/// now. After a failure it is asked again as soon as the last answer would have been.
pub(super) async fn keep_resolved<T, L, F>(lookup: L, interval: Duration, learnt: impl Fn(Vec<T>) -> bool)
where
    L: Fn() -> F,
    F: Future<Output = std::io::Result<Found<T>>>,
{
    let mut lives = interval;
    loop {
        let Found { items, ttl } = match timeout(LOOKUP_TIMEOUT, lookup()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a name does not resolve");
                Found { items: Vec::new(), ttl: None }
            }
            Err(_) => Found { items: Vec::new(), ttl: None },
        };
        if !items.is_empty() {
            lives = ttl.map_or(interval, |ttl| ttl.clamp(TTL_MIN, interval));
        }
        let pause = if learnt(items) { lives } else { NEGATIVE_TTL };
        // Spread over a fifth, so that names, and gateways that started together, do not ask in step.
        sleep(pause.mul_f64(fastrand::f64().mul_add(0.2, 0.9))).await;
    }
}

/// Takes in an answer; an empty one never replaces a good one.
pub(super) fn learn<T: PartialEq>(answer: &mut Answer<T>, found: Vec<T>) -> bool {
    let next = match (found.is_empty(), &answer) {
        (true, Answer::Known(_)) => return false,
        (true, _) => Answer::Failed,
        (false, _) => Answer::Known(found.into()),
    };
    let changed = *answer != next;
    *answer = next;
    changed
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    #[test]
    fn addresses_take_turns() {
        let known = addresses(&[1, 2, 3]);
        assert_eq!(rotated(&known, 0).as_slice(), addresses(&[1, 2, 3]));
        assert_eq!(rotated(&known, 4).as_slice(), addresses(&[2, 3, 1]));
        assert!(rotated(&[], 7).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_vanishes_keeps_its_last_answer() {
        let script = Mutex::new(vec![Ok(vec![]), Ok(addresses(&[2])), Err(()), Ok(addresses(&[1])), Err(())]);
        let lookup = || {
            let next = script.lock().unwrap().pop().unwrap_or(Err(()));
            let found = |items| Found { items, ttl: None };
            async move { next.map(found).map_err(|()| std::io::ErrorKind::NotFound.into()) }
        };
        let (publish, mut answers) = watch::channel(Answer::Pending);
        let start = tokio::time::Instant::now();
        let task = keep_resolved(lookup, Duration::from_secs(30), publisher(publish));
        let watch = async {
            answers.changed().await.unwrap();
            assert_eq!(*answers.borrow_and_update(), Answer::Failed);
            answers.changed().await.unwrap();
            assert_eq!(*answers.borrow_and_update(), Answer::Known(addresses(&[1]).into()));
            assert!(start.elapsed() < Duration::from_secs(2), "negative answers are short-lived");
            // The failure in between is not even seen.
            answers.changed().await.unwrap();
            assert_eq!(*answers.borrow_and_update(), Answer::Known(addresses(&[2]).into()));
            assert!(start.elapsed() > Duration::from_secs(50));
            assert!(timeout(Duration::from_secs(300), answers.changed()).await.is_err());
        };
        tokio::select! { () = task => {}, () = watch => {} }
    }

    /// An answer lives for as long as it says, but not for less than a second, nor for more than the
    /// interval; a tenth more or less, for names are not asked in step.
    #[tokio::test(start_paused = true)]
    async fn an_answer_lives_for_as_long_as_it_says() {
        for (ttl, least, most) in [(None, 27, 33), (Some(0), 0, 2), (Some(10), 9, 11), (Some(900), 27, 33)] {
            let (publish, _answers) = watch::channel(Answer::Pending);
            let asked = Mutex::new(Vec::new());
            let lookup = || {
                asked.lock().unwrap().push(tokio::time::Instant::now());
                let found = Found { items: addresses(&[1]), ttl: ttl.map(Duration::from_secs) };
                async move { Ok(found) }
            };
            let task = keep_resolved(lookup, Duration::from_secs(30), publisher(publish));
            assert!(timeout(Duration::from_secs(100), task).await.is_err());
            let asked = asked.into_inner().unwrap();
            for pair in asked.windows(2) {
                let pause = (pair[1] - pair[0]).as_secs_f64();
                assert!((f64::from(least)..=f64::from(most)).contains(&pause), "{ttl:?}: {pause}");
            }
            assert!(asked.len() > 2);
        }
    }
}
