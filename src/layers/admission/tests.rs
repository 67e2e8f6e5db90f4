use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tower_service::Service;

use super::adaptive::Bounds;
use super::config::{ConcurrencyConfig, Mode};
use super::drain::Drain;
use super::gate::{Gate, Permit};
use super::plan::{AdmissionPlan, LimitPlan};
use super::{Admission, Claim, Claims, plan};
use crate::clock::{self, Instant};
use crate::error::{ClientError, Error, Refusal};
use crate::http::{Body, Chunks, Request, RequestBody, RequestParts, Response, Trail, testing};
use crate::layers::{Boxed, Inner};
use crate::metrics::Metrics;
use crate::report::{Path, Report};
use crate::units::Time;

fn fixed(limit: u32, queue: u32) -> AdmissionPlan {
    AdmissionPlan {
        limit: LimitPlan::Fixed(limit),
        queue,
        queue_timeout: Duration::from_secs(2),
        upload_grace: Some(Duration::from_secs(1)),
    }
}

fn gate(limit: u32, queue: u32) -> Arc<Gate> {
    Gate::new("orders", &fixed(limit, queue), &Metrics::default())
}

async fn acquire(gate: &Arc<Gate>) -> Result<Permit, Error> {
    gate.acquire(Claim::default(), &Trail::off()).await
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

mod simulation;

mod plans {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_its_value() {
        let good = ConcurrencyConfig::default();
        for (config, path) in [
            (ConcurrencyConfig { limit: 0, ..good.clone() }, "limit"),
            (ConcurrencyConfig { limit: 3, ..good.clone() }, "limit"),
            (ConcurrencyConfig { limit: 501, ..good.clone() }, "limit"),
            (ConcurrencyConfig { min: 0, ..good.clone() }, "min"),
            (ConcurrencyConfig { min: 60, max: 55, ..good.clone() }, "max"),
            (ConcurrencyConfig { max: u32::MAX, ..good.clone() }, "max"),
            (ConcurrencyConfig { mode: Mode::Fixed, limit: 0, ..good.clone() }, "limit"),
            (ConcurrencyConfig { limit: u32::MAX, ..good.clone() }, "limit"),
            (ConcurrencyConfig { queue: u32::MAX, ..good.clone() }, "queue"),
            (ConcurrencyConfig { queue_timeout: Time::secs(0), ..good.clone() }, "queue_timeout"),
            (ConcurrencyConfig { queue_timeout: Time::secs(3601), ..good.clone() }, "queue_timeout"),
        ] {
            let mut report = Report::new();
            let plan = plan(&config, &Path::root().key("concurrency"), &mut report);
            let [problem] = report.problems() else { panic!("{config:?}: {:?}", report.problems()) };
            assert_eq!(problem.path.to_string(), format!("concurrency.{path}"));
            assert_ne!(plan.limit, LimitPlan::Fixed(0));
            if let LimitPlan::Adaptive(Bounds { start, min, max }) = plan.limit {
                assert!(0 < min && min <= start && start <= max, "{config:?}");
            }
        }
    }

    #[test]
    fn what_is_off_has_one_plan() {
        let mut report = Report::new();
        let off = ConcurrencyConfig {
            mode: Mode::Off,
            limit: 0,
            queue: 7,
            queue_timeout: Time::secs(0),
            ..ConcurrencyConfig::default()
        };
        assert_eq!(plan(&off, &Path::root(), &mut report), AdmissionPlan::OFF);
        let no_queue = ConcurrencyConfig { queue: 0, queue_timeout: Time::secs(0), ..Default::default() };
        assert_eq!(plan(&no_queue, &Path::root(), &mut report).queue, 0);
        let default = ConcurrencyConfig { mode: Mode::Fixed, ..Default::default() };
        assert_eq!(plan(&default, &Path::root(), &mut report), fixed(50, 200));
        let limit = LimitPlan::Adaptive(Bounds { start: 50, min: 4, max: 500 });
        let adaptive = AdmissionPlan { limit, ..fixed(50, 200) };
        assert_eq!(plan(&Default::default(), &Path::root(), &mut report), adaptive);
        let patient = ConcurrencyConfig { upload_grace: Time::secs(0), ..Default::default() };
        assert_eq!(plan(&patient, &Path::root(), &mut report).upload_grace, None);
        assert!(report.problems().is_empty());
        let endless = ConcurrencyConfig { upload_grace: Time::secs(3601), ..Default::default() };
        plan(&endless, &Path::root(), &mut report);
        assert_eq!(report.problems().len(), 1);
    }
}

mod queue {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn permits_are_handed_out_in_the_order_of_arrival() {
        let gate = gate(2, 100);
        let (first, second) = (gate.try_acquire(0).unwrap(), gate.try_acquire(0).unwrap());
        let mut waiters: Vec<_> = (0..50).map(|number| (number, Box::pin(acquire(&gate)))).collect();
        for (_, waiter) in &mut waiters {
            assert!(poll_once(waiter.as_mut()).is_pending());
        }
        assert_eq!((gate.in_flight(), gate.waiting()), (2, 50));
        let mut held = vec![first, second];
        let mut order = Vec::new();
        while let Some(permit) = held.pop() {
            drop(permit);
            // Polled last to first: the order is the gate's, not ours.
            let mut served = None;
            for (at, (number, waiter)) in waiters.iter_mut().enumerate().rev() {
                if let Poll::Ready(permit) = poll_once(waiter.as_mut()) {
                    assert!(served.is_none(), "one permit, one waiter");
                    served = Some((at, *number, permit.unwrap()));
                }
            }
            if let Some((at, number, permit)) = served {
                order.push(number);
                held.push(permit);
                drop(waiters.remove(at));
            }
        }
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_free_permit_takes_no_wait() {
        let gate = gate(3, 1);
        let mut held = vec![gate.try_acquire(0).unwrap()];
        for _ in 0..2 {
            match poll_once(pin!(acquire(&gate))) {
                Poll::Ready(permit) => held.push(permit.unwrap()),
                Poll::Pending => panic!("a permit was free"),
            }
        }
        assert_eq!((gate.in_flight(), gate.waiting()), (3, 0));
        assert!(gate.try_acquire(0).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_owns_its_permit_before_it_is_polled() {
        let gate = gate(1, 2);
        let held = gate.try_acquire(0).unwrap();
        let mut waiter = pin!(acquire(&gate));
        assert!(poll_once(waiter.as_mut()).is_pending());
        drop(held);
        // The permit is the waiter's, though it has not been polled since.
        assert!(gate.try_acquire(0).is_none());
        let mut late = pin!(acquire(&gate));
        assert!(poll_once(late.as_mut()).is_pending());
        assert!(poll_once(waiter.as_mut()).is_ready());
        assert!(poll_once(late.as_mut()).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_at_any_point_takes_nothing_along() {
        // A waiter is polled so often; then the permit is released before it is dropped, after, or never.
        for polls in 0..4 {
            for release in ["before", "after", "never"] {
                let case = format!("{polls} polls, released {release}");
                let gate = gate(1, 2);
                let mut held = gate.try_acquire(0);
                let mut leaver = Box::pin(acquire(&gate));
                for _ in 0..polls {
                    assert!(poll_once(leaver.as_mut()).is_pending(), "{case}");
                }
                let mut next = Box::pin(acquire(&gate));
                assert!(poll_once(next.as_mut()).is_pending(), "{case}");
                if release == "before" {
                    drop(held.take());
                }
                drop(leaver);
                assert_eq!(gate.waiting(), u32::from(release != "before"), "{case}");
                if release == "after" {
                    drop(held.take());
                }
                match poll_once(next.as_mut()) {
                    Poll::Ready(permit) => drop(permit.unwrap()),
                    Poll::Pending => assert_eq!(release, "never", "{case}"),
                }
                drop(next);
                drop(held);
                assert_eq!((gate.in_flight(), gate.waiting()), (0, 0), "{case}");
                assert!(gate.try_acquire(0).is_some(), "{case}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_was_sent_and_not_taken_goes_to_the_next() {
        let gate = gate(1, 9);
        let held = gate.try_acquire(0);
        let mut waiters: Vec<_> = (0..9).map(|_| Box::pin(acquire(&gate))).collect();
        for waiter in &mut waiters {
            assert!(poll_once(waiter.as_mut()).is_pending());
        }
        drop(held);
        let mut last = waiters.pop().unwrap();
        // Each drop hands the permit on.
        drop(waiters);
        assert_eq!((gate.in_flight(), gate.waiting()), (1, 0));
        assert!(matches!(poll_once(last.as_mut()), Poll::Ready(Ok(_))));
        assert_eq!(gate.in_flight(), 0);
    }

    /// So many clients that ask again when they are answered: the queue is never empty, and everybody is
    /// served in turn.
    #[tokio::test(start_paused = true)]
    async fn a_queue_that_moves_leaves_nobody_behind() {
        let gate = gate(1, 9);
        let mut held = gate.try_acquire(0).unwrap();
        let mut waiters: std::collections::VecDeque<_> = (0..9).map(|_| Box::pin(acquire(&gate))).collect();
        for waiter in &mut waiters {
            assert!(poll_once(waiter.as_mut()).is_pending());
        }
        for turn in 0..200 {
            tokio::time::advance(Duration::from_millis(5)).await;
            drop(held);
            let Poll::Ready(next) = poll_once(waiters.pop_front().unwrap().as_mut()) else {
                panic!("turn {turn} is not the oldest one's");
            };
            held = next.unwrap();
            let mut again = Box::pin(acquire(&gate));
            assert!(poll_once(again.as_mut()).is_pending());
            waiters.push_back(again);
        }
    }

    /// Adaptive LIFO: see the queue's own docs.
    #[tokio::test(start_paused = true)]
    async fn a_congested_queue_serves_the_newest_and_the_oldest_makes_room() {
        let gate = gate(1, 2);
        let held = gate.try_acquire(0);
        let (mut oldest, mut older) = (pin!(acquire(&gate)), pin!(acquire(&gate)));
        assert!(poll_once(oldest.as_mut()).is_pending() && poll_once(older.as_mut()).is_pending());
        assert!(acquire(&gate).await.is_err(), "full, and not congested yet");

        // Two wait, and in a fifth of the timeout nobody had a turn.
        tokio::time::advance(gate.plan().queue_timeout / 5).await;
        let mut newest = pin!(acquire(&gate));
        assert!(poll_once(newest.as_mut()).is_pending());
        assert_eq!((gate.in_flight(), gate.waiting()), (1, 2));
        let error = oldest.await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refusal::QueueFull { .. })), "{error:?}");

        drop(held);
        assert!(poll_once(older.as_mut()).is_pending());
        let Poll::Ready(Ok(permit)) = poll_once(newest.as_mut()) else { panic!("it is its turn") };
        drop(permit);
        drop(older.await.unwrap());
        assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));

        // A queue that was empty meanwhile is a new one.
        let held = gate.try_acquire(0);
        let (mut first, mut second) = (pin!(acquire(&gate)), pin!(acquire(&gate)));
        assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());
        drop(held);
        assert!(poll_once(second.as_mut()).is_pending());
        assert!(first.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once() {
        let metrics = Metrics::default();
        let gate = Gate::new("orders", &fixed(1, 1), &metrics);
        let held = gate.try_acquire(0);
        let mut waiter = pin!(acquire(&gate));
        assert!(poll_once(waiter.as_mut()).is_pending());
        let before = clock::instant();
        let error = acquire(&gate).await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refusal::QueueFull { .. })), "{error:?}");
        assert_eq!(clock::instant(), before);
        drop(held);
        assert!(waiter.await.is_ok());
        let text = metrics.render();
        for line in [
            "forebay_admission_refused_total{priority=\"normal\",reason=\"queue_full\",upstream=\"orders\"} 1\n",
            "forebay_admission_in_flight{upstream=\"orders\"} 0\n",
            "forebay_admission_queued{upstream=\"orders\"} 0\n",
            "forebay_admission_wait_seconds_count{priority=\"normal\",upstream=\"orders\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_timeout_or_at_the_deadline() {
        for (deadline, waits, reason) in [
            (None, 2000, "queue_timeout"),
            (Some(5000), 2000, "queue_timeout"),
            (Some(300), 300, "deadline"),
            (Some(0), 0, "deadline"),
        ] {
            let metrics = Metrics::default();
            let gate = Gate::new("orders", &fixed(1, 1), &metrics);
            let _held = gate.try_acquire(0).unwrap();
            let (start, trail) = (clock::instant(), Trail::kept());
            let deadline = deadline.map(|millis| start + Duration::from_millis(millis));
            let error = gate.acquire(Claim { deadline, ..Claim::default() }, &trail).await.unwrap_err();
            assert_eq!(error.as_str(), "queue_timeout");
            let waited = trail.read().queue_wait;
            assert!(waited >= Duration::from_millis(waits), "{deadline:?}: {waited:?}");
            assert!(waited <= Duration::from_millis(waits + 2), "{deadline:?}: {waited:?}");
            assert_eq!((gate.in_flight(), gate.waiting()), (1, 0));
            let line = format!(
                "forebay_admission_refused_total{{priority=\"normal\",reason=\"{reason}\",upstream=\"orders\"}} 1\n"
            );
            assert!(metrics.render().contains(&line), "{line}");
        }
    }

    #[test]
    fn retry_after_follows_the_drain() {
        let start = clock::instant();
        let at = |millis: u64| start + Duration::from_millis(millis);
        // Permits that came back by then, at so many milliseconds, with so many waiting: the advice in
        // milliseconds.
        for (released, now, waiting, millis) in [
            (0, 0, 9, 1000),
            (0, 500, 9, 5000),
            (0, 5000, 200, 60_000),
            (100, 1000, 9, 1000),
            (100, 1000, 199, 2000),
            (1, 5000, 1, 10_000),
        ] {
            let mut drain = Drain::default();
            drain.begin(start);
            (0..released).for_each(|_| drain.released(at(now)));
            let advice = drain.retry_after(waiting, at(now));
            assert_eq!(advice, Duration::from_millis(millis), "{released} in {now} ms, {waiting} wait");
        }
        let mut drain = Drain::default();
        assert_eq!(drain.retry_after(u32::MAX, start), Duration::from_secs(1), "no queue has formed");
        drain.begin(start);
        (0..10).for_each(|_| drain.released(at(9_999)));
        assert_eq!(drain.retry_after(9, at(10_000)), Duration::from_secs(10));
        assert_eq!(drain.retry_after(9, at(10_100)), Duration::from_secs(10), "the last window still counts");
        (0..20).for_each(|_| drain.released(at(11_000)));
        assert_eq!(drain.retry_after(19, at(12_000)), Duration::from_secs(2), "and then the new one");
    }
}

mod queue_order {
    use super::super::config::Priority::{self, High, Low, Normal};
    use super::super::queue::{CONGESTED, Queue, Turn};
    use super::*;
    use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

    /// Those who wait, by what they are called; a turn is known by whose receiver hears of it.
    #[derive(Default)]
    struct Line {
        queue: Queue,
        waiting: Vec<(String, Receiver<Permit>)>,
    }

    fn claim(priority: Priority, tenant: u64) -> Claim {
        Claim { priority, tenant, ..Claim::default() }
    }

    impl Line {
        fn join(&mut self, name: &str, claim: Claim, now: Instant) {
            let (sender, receiver) = oneshot::channel();
            self.queue.join(&claim, sender, now);
            self.waiting.push((name.to_owned(), receiver));
        }

        /// Whose turn it was.
        fn whose(&mut self, turn: Option<Turn>) -> String {
            drop(turn);
            let gone = |(_, receiver): &mut (String, Receiver<Permit>)| {
                matches!(receiver.try_recv(), Err(TryRecvError::Closed))
            };
            let at = self.waiting.iter_mut().position(gone);
            at.map_or_else(|| "nobody".to_owned(), |at| self.waiting.remove(at).0)
        }

        fn next(&mut self, now: Instant) -> String {
            let turn = self.queue.next(now);
            self.whose(turn)
        }

        fn displace(&mut self, claim: Claim, now: Instant) -> String {
            let turn = self.queue.displace(&claim, now);
            self.whose(turn)
        }

        fn all(&mut self, now: Instant) -> String {
            let mut order = Vec::new();
            while !self.queue.is_empty() {
                order.push(self.next(now));
            }
            order.join(" ")
        }
    }

    #[test]
    fn a_higher_class_goes_first_and_none_starves() {
        let (mut line, now) = (Line::default(), clock::instant());
        for _ in 0..40 {
            for priority in Priority::ALL {
                line.join(priority.as_str(), claim(priority, 0), now);
            }
        }
        let served: Vec<_> = (0..42).map(|_| line.next(now)).collect();
        for (priority, share) in [(High, 32), (Normal, 8), (Low, 2)] {
            let of = served.iter().filter(|name| **name == priority.as_str()).count();
            assert_eq!(of, share, "{served:?}");
        }
        assert_eq!(served[..4], ["high", "high", "high", "high"]);
        // One who comes late has saved up nothing, and waits for nobody of a lower class.
        let mut line = Line::default();
        (0..9).for_each(|_| line.join("low", claim(Low, 0), now));
        (0..5).for_each(|_| assert_eq!(line.next(now), "low"));
        line.join("high", claim(High, 0), now);
        line.join("normal", claim(Normal, 0), now);
        assert_eq!(line.all(now), "high normal low low low low");
    }

    #[test]
    fn tenants_take_turns() {
        let (mut line, now) = (Line::default(), clock::instant());
        for name in ["a1", "a2", "a3", "a4", "b1", "b2", "c1"] {
            line.join(name, claim(Normal, u64::from(name.as_bytes()[0])), now);
        }
        assert_eq!(line.all(now), "a1 b1 c1 a2 b2 a3 a4");
        // The newest first, within each tenant, once the queue is congested.
        let mut line = Line::default();
        for name in ["a1", "a2", "a3", "b1", "b2"] {
            line.join(name, claim(Normal, u64::from(name.as_bytes()[0])), now);
        }
        assert_eq!(line.all(now + CONGESTED), "a3 b2 a2 b1 a1");
    }

    #[test]
    fn room_is_made_by_the_lowest_class_and_by_who_has_most() {
        let now = clock::instant();
        let late = now + CONGESTED;
        for (waiting, newcomer, at, expected) in [
            // Of one class and one tenant: nobody, until the queue is congested.
            (&["n a1", "n a2"][..], "n a", now, "nobody"),
            (&["n a1", "n a2"], "n a", late, "a1"),
            (&["n a1", "l b1", "l b2", "h c1"], "n a", now, "b2"),
            (&["n a1", "l b1", "l b2", "h c1"], "h a", late, "b1"),
            (&["n a1", "h c1"], "l a", now, "nobody"),
            (&["n a1", "h c1"], "l a", late, "nobody"),
            (&["h a1"], "h b", now, "nobody"),
            // A tenant with less than its share gets it.
            (&["n a1", "n a2", "n b1"], "n c", now, "a2"),
            (&["n a1", "n a2", "n b1"], "n b", now, "nobody"),
            (&["n a1", "n a2", "n b1"], "n b", late, "a1"),
            (&["n a1", "n b1"], "n c", now, "nobody"),
        ] {
            let of = |text: &str| {
                let priority = Priority::ALL.into_iter().find(|of| of.as_str().starts_with(&text[..1]));
                claim(priority.unwrap(), u64::from(text.as_bytes()[2]))
            };
            let mut line = Line::default();
            waiting.iter().for_each(|text| line.join(&text[2..], of(text), now));
            assert_eq!(line.displace(of(newcomer), at), expected, "{newcomer} among {waiting:?}");
        }
        assert_eq!(Line::default().displace(claim(High, 0), now), "nobody");
    }

    #[test]
    fn the_wait_is_what_is_ahead_at_the_pace_of_the_queue() {
        let start = clock::instant();
        let soon = start + CONGESTED / 2;
        // So many permits came back in the 50 ms since: 10 ms each.
        for (waiting, newcomer, released, expected) in [
            (&["n a1", "n a2"][..], "n a", 5, Some(30)),
            (&["n a1", "n a2"], "n a", 3, None),
            (&["n a1", "n a2", "n a3"], "n b", 5, Some(20)),
            // One of five turns is of its class, but no more than all are ahead.
            (&["n a1", "h b1", "h b2"], "n a", 5, Some(40)),
            (&["n a1", "n a2", "n a3", "n a4", "n a5", "n a6"], "h a", 5, Some(20)),
            (&[], "n a", 5, None),
        ] {
            let of = |text: &str| {
                let priority = Priority::ALL.into_iter().find(|of| of.as_str().starts_with(&text[..1]));
                claim(priority.unwrap(), u64::from(text.as_bytes()[2]))
            };
            let mut line = Line::default();
            waiting.iter().for_each(|text| line.join(&text[2..], of(text), start));
            (0..released).for_each(|_| line.queue.drain.released(soon));
            let wait = line.queue.wait_of(&of(newcomer), soon);
            assert_eq!(wait, expected.map(Duration::from_millis), "{newcomer} after {waiting:?}");
        }
        // In a congested queue the newest is next, however many wait.
        let mut line = Line::default();
        (0..9).for_each(|_| line.join("a", claim(Normal, 0), start));
        (0..10).for_each(|_| line.queue.drain.released(start + CONGESTED));
        let wait = line.queue.wait_of(&claim(Normal, 0), start + CONGESTED);
        assert_eq!(wait, Some(CONGESTED / 10));
    }

    #[test]
    fn whoever_leaves_leaves_nothing() {
        let (mut queue, now) = (Queue::default(), clock::instant());
        let mut tickets = Vec::new();
        for number in 0..300_u64 {
            let priority = Priority::ALL[number as usize % 3];
            tickets.push(queue.join(&claim(priority, number % 7), oneshot::channel().0, now));
        }
        fastrand::Rng::with_seed(3).shuffle(&mut tickets);
        for (at, ticket) in tickets.iter().enumerate() {
            assert!(queue.leave(ticket), "{at}");
            assert!(!queue.leave(ticket), "only once");
            if at == 150 {
                assert!(queue.next(now).is_some());
                break;
            }
        }
        let left = tickets[151..].iter().filter(|ticket| queue.leave(ticket)).count();
        assert_eq!(left, 148);
        assert!(queue.is_empty() && queue.next(now).is_none());
    }

    /// A request whose deadline the queue cannot meet is told so before it waits.
    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_cannot_be_met_is_refused_at_once() {
        let metrics = Metrics::default();
        let gate = Gate::new("orders", &fixed(1, 9), &metrics);
        let mut held = gate.try_acquire(0);
        let mut waiters: Vec<_> = (0..6).map(|_| Box::pin(acquire(&gate))).collect();
        for waiter in &mut waiters {
            assert!(poll_once(waiter.as_mut()).is_pending());
        }
        // Four come back, 20 ms each: before the queue counts as congested.
        for _ in 0..4 {
            tokio::time::advance(Duration::from_millis(20)).await;
            drop(held.take());
            held = Some(waiters.remove(0).await.unwrap());
        }
        let now = clock::instant();
        let ask = |millis| {
            let deadline = Some(now + Duration::from_millis(millis));
            let claim = Claim { deadline, priority: Low, ..Claim::default() };
            let gate = gate.clone();
            async move { gate.acquire(claim, &Trail::off()).await }
        };
        let error = ask(50).await.unwrap_err();
        assert_eq!((error.as_str(), clock::instant()), ("deadline_too_near", now));
        let Error::Refused(Refusal::DeadlineTooNear { retry_after }) = error else { panic!("{error:?}") };
        assert!(!retry_after.is_zero());
        assert_eq!(gate.waiting(), 2);
        let mut hopeful = pin!(ask(70));
        assert!(poll_once(hopeful.as_mut()).is_pending());
        assert_eq!(gate.waiting(), 3);
        let labels = "{priority=\"low\",reason=\"deadline_too_near\",upstream=\"orders\"}";
        let line = format!("forebay_admission_refused_total{labels} 1\n");
        assert!(metrics.render().contains(&line), "{}", metrics.render());
    }
}

mod stress {
    use super::*;

    /// Counts who is inside, and remembers the most there ever were.
    #[derive(Default)]
    struct Room {
        inside: AtomicU32,
        most: AtomicU32,
        served: AtomicU32,
        left: AtomicU32,
    }

    impl Room {
        fn enter(self: &Arc<Self>) -> Visit {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(inside, Ordering::SeqCst);
            Visit(self.clone())
        }
    }

    struct Visit(Arc<Room>);

    impl Drop for Visit {
        fn drop(&mut self) {
            self.0.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Polls at most `polls` times, then leaves.
    async fn impatient<F: Future>(future: F, polls: u32) -> Option<F::Output> {
        let (mut future, mut left) = (Box::pin(future), polls);
        poll_fn(move |cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }

    async fn visitor(gate: Arc<Gate>, room: Arc<Room>, seed: u32) {
        for round in 0..200 {
            let mix = seed.wrapping_mul(31).wrapping_add(round);
            let permit = match mix % 3 {
                0 => gate.try_acquire(0).map(Ok),
                1 => impatient(acquire(&gate), mix % 5).await,
                _ => Some(acquire(&gate).await),
            };
            let Some(Ok(permit)) = permit else {
                room.left.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let visit = room.enter();
            if mix.is_multiple_of(2) {
                tokio::task::yield_now().await;
            }
            drop(visit);
            drop(permit);
            room.served.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_limit_holds_and_everything_comes_back() {
        for (limit, queue) in [(1, 100), (3, 8), (16, 100)] {
            let (metrics, room) = (Metrics::default(), Arc::new(Room::default()));
            let gate = Gate::new("orders", &fixed(limit, queue), &metrics);
            let tasks: Vec<_> =
                (0..40).map(|seed| tokio::spawn(visitor(gate.clone(), room.clone(), seed))).collect();
            for task in tasks {
                task.await.unwrap();
            }
            let (most, served) = (room.most.load(Ordering::SeqCst), room.served.load(Ordering::Relaxed));
            assert!(most <= limit, "{most} inside, {limit} allowed");
            assert_eq!(served + room.left.load(Ordering::Relaxed), 40 * 200);
            assert!(served > 200, "{served}");
            assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
            assert_eq!(
                (0..=limit).map_while(|_| gate.try_acquire(0)).collect::<Vec<_>>().len(),
                limit as usize
            );
            let text = metrics.render();
            assert!(text.contains("forebay_admission_in_flight{upstream=\"orders\"} 0\n"), "{text}");
            assert!(text.contains("forebay_admission_queued{upstream=\"orders\"} 0\n"), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn everybody_is_served_when_the_queue_has_room() {
        // Patient: real time passes here, and the machine may be busy.
        let plan = AdmissionPlan { queue_timeout: Duration::from_secs(600), ..fixed(2, 1000) };
        let gate = Gate::new("orders", &plan, &Metrics::default());
        let served = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..500).map(|number| {
            let (gate, served) = (gate.clone(), served.clone());
            tokio::spawn(async move {
                let _permit = acquire(&gate).await.unwrap();
                served.lock().unwrap().push(number);
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let mut served = std::mem::take(&mut *served.lock().unwrap());
        served.sort_unstable();
        assert_eq!(served, (0..500).collect::<Vec<_>>());
        assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
    }
}

mod layer {
    use super::*;

    type Script = Box<dyn Fn() -> Result<Response, Error> + Send + Sync>;

    /// Answers at its second poll, as the script says.
    struct Origin(Script);

    crate::layers::inner!(impl for Origin);

    impl<'a> Service<Request> for &'a Origin {
        type Response = Response;
        type Error = Error;
        type Future = Boxed<'a>;

        crate::layers::always_ready!();

        fn call(&mut self, _: Request) -> Self::Future {
            let origin: &'a Origin = self;
            Box::pin(async move {
                tokio::task::yield_now().await;
                (origin.0)()
            })
        }
    }

    fn request(deadline: Option<Instant>, trail: Trail) -> Request {
        Request::from(RequestParts {
            deadline,
            trail,
            ..testing::request(Method::GET, RequestBody::Empty).into_parts()
        })
    }

    fn get() -> Request {
        request(None, Trail::off())
    }

    fn chunks() -> Body {
        let chunks: Arc<[Bytes]> = ["ab", "cd"].map(Bytes::from).into();
        Body::chunks(Chunks::new(chunks, 0, 4))
    }

    fn around(
        gate: &Arc<Gate>,
        script: impl Fn() -> Result<Response, Error> + Send + Sync + 'static,
    ) -> Admission<Origin> {
        Admission::new(gate.clone(), Claims::default(), "orders", Origin(Box::new(script)))
    }

    #[tokio::test]
    async fn a_permit_lasts_to_the_end_of_the_body() {
        let gate = gate(1, 0);
        let layer = around(&gate, || Ok(Response::new(StatusCode::OK, chunks())));
        let mut response = layer.send(get()).await.unwrap();
        assert_eq!(gate.in_flight(), 1);
        assert_eq!(layer.send(get()).await.unwrap_err().as_str(), "queue_full");
        assert!(response.body.frame().await.is_some());
        assert_eq!(gate.in_flight(), 1, "one of two chunks was read");
        assert!(response.body.frame().await.is_some());
        assert_eq!(gate.in_flight(), 0, "the last one was read");

        let response = layer.send(get()).await.unwrap();
        assert_eq!(gate.in_flight(), 1);
        drop(response);
        assert_eq!(gate.in_flight(), 0, "the client has left");
    }

    #[tokio::test]
    async fn a_permit_is_not_kept_for_nothing() {
        for (what, result) in [
            ("an empty body", Ok((StatusCode::NO_CONTENT, false))),
            ("a tunnel", Ok((StatusCode::SWITCHING_PROTOCOLS, true))),
            ("an error", Err(Error::Client(ClientError::BodyAborted))),
        ] {
            let gate = gate(1, 0);
            let layer = around(&gate, move || {
                let (status, full) = result.clone()?;
                Ok(Response::new(status, if full { chunks() } else { Body::empty() }))
            });
            let answer = layer.send(get()).await;
            assert_eq!(gate.in_flight(), 0, "{what}");
            drop(answer);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_dropped_at_any_poll_gives_everything_back() {
        for queued in [false, true] {
            for polls in 0..4 {
                let gate = gate(1, 1);
                let layer = around(&gate, || Ok(Response::new(StatusCode::OK, chunks())));
                let mut held = if queued { gate.try_acquire(0) } else { None };
                let mut answer = Box::pin(layer.send(get()));
                let mut polled = Poll::Pending;
                for poll in 0..polls {
                    // A queued one finds its permit at its second poll.
                    if poll == 1 {
                        held = None;
                    }
                    if polled.is_pending() {
                        polled = poll_once(answer.as_mut());
                    }
                }
                // The origin answers at its second poll.
                assert_eq!(polled.is_ready(), polls > 1 + u32::from(queued));
                drop(answer);
                assert_eq!(gate.in_flight(), u32::from(polled.is_ready() || held.is_some()));
                drop((polled, held));
                assert_eq!((gate.in_flight(), gate.waiting()), (0, 0), "queued {queued}, {polls} polls");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_turn_and_the_wait_is_noted() {
        let gate = gate(1, 9);
        let layer = around(&gate, || Ok(Response::new(StatusCode::OK, chunks())));
        let first = layer.send(get()).await.unwrap();
        let trail = Trail::kept();
        let second = layer.send(request(None, trail.clone()));
        let release = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(second, release);
        assert_eq!(second.unwrap().status, StatusCode::OK);
        let waited = trail.read().queue_wait;
        assert!(waited >= Duration::from_millis(700) && waited < Duration::from_millis(710), "{waited:?}");
        assert_eq!(gate.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_there_are_no_permits() {
        let gate = Gate::new("orders", &AdmissionPlan::OFF, &Metrics::default());
        let layer = around(&gate, || Ok(Response::new(StatusCode::OK, chunks())));
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(layer.send(get()).await.unwrap());
        }
        assert_eq!(gate.in_flight(), 0);
        assert_eq!(open.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_the_wait() {
        let gate = gate(1, 9);
        let layer = around(&gate, || Ok(Response::new(StatusCode::OK, chunks())));
        let _first = layer.send(get()).await.unwrap();
        let deadline = clock::instant() + Duration::from_millis(50);
        let error = layer.send(request(Some(deadline), Trail::off())).await.unwrap_err();
        assert_eq!(error.as_str(), "queue_timeout");
        assert!(clock::instant() < deadline + Duration::from_millis(5));
    }
}
