//! Where an endpoint is: an address that never changes, or a name that a task of its own keeps resolved.
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

use super::plan::{EndpointPlan, Host};

/// The addresses to dial, in order.
pub(super) type Addresses = SmallVec<[SocketAddr; 2]>;

/// How long one lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a failure without an earlier answer is believed.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);
/// Addresses of one name that are used; the rest of a longer answer is ignored.
const MAX_ADDRESSES: usize = 32;

/// Where an endpoint is.
#[derive(Debug)]
pub(super) enum Location {
    /// It is its address.
    Fixed(SocketAddr),
    /// It has a name.
    Named {
        answers: watch::Receiver<Answer>,
        /// Which address is dialled first: they take turns.
        turn: AtomicUsize,
        _task: AbortOnDropHandle<()>,
    },
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The first lookup is under way.
    Pending,
    /// The last good answer.
    Known(Arc<[SocketAddr]>),
    /// No lookup has succeeded yet.
    Failed,
}

impl Location {
    /// Starts resolving, where there is something to resolve; needs a tokio runtime.
    pub(super) fn of(endpoint: &EndpointPlan, interval: Duration) -> Self {
        match &endpoint.host {
            Host::Ip(ip) => Self::Fixed(SocketAddr::new(*ip, endpoint.port)),
            Host::Name(name) => {
                let (name, port) = (name.clone(), endpoint.port);
                let lookup = move || {
                    let name = name.clone();
                    async move {
                        let found = tokio::net::lookup_host((&*name, port)).await?;
                        Ok(found.take(MAX_ADDRESSES).collect())
                    }
                };
                let (publish, answers) = watch::channel(Answer::Pending);
                let task = tokio::spawn(keep_resolved(lookup, interval, publish));
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

/// Looks a name up again and again, for as long as somebody wants to know.
async fn keep_resolved<L, F>(lookup: L, interval: Duration, publish: watch::Sender<Answer>)
where
    L: Fn() -> F,
    F: Future<Output = std::io::Result<Vec<SocketAddr>>>,
{
    loop {
        let found = match timeout(LOOKUP_TIMEOUT, lookup()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a name does not resolve");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        publish.send_if_modified(|answer| learn(answer, found));
        let pause = if *publish.borrow() == Answer::Failed { NEGATIVE_TTL } else { interval };
        // Spread over a fifth, so that names, and gateways that started together, do not ask in step.
        sleep(pause.mul_f64(fastrand::f64().mul_add(0.2, 0.9))).await;
    }
}

/// Takes in an answer; an empty one never replaces a good one.
fn learn(answer: &mut Answer, found: Vec<SocketAddr>) -> bool {
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
            async move { next.map_err(|()| std::io::ErrorKind::NotFound.into()) }
        };
        let (publish, mut answers) = watch::channel(Answer::Pending);
        let start = tokio::time::Instant::now();
        let task = keep_resolved(lookup, Duration::from_secs(30), publish);
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
}
