use super::*;

const NAMES: [&str; 4] = ["a:1", "b:1", "c:1", "d:1"];

fn balancer(policy: Balance, weights: &[u32]) -> (Balancer, Candidates) {
    let nodes = weights.iter().copied().zip(NAMES);
    (Balancer::new(policy, nodes), (0..weights.len()).collect())
}

fn shares(balancer: &mut Balancer, all: &Candidates, now: Instant, busy: &[usize]) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut counts = vec![0; all.len()];
    for key in 0..1000 {
        let picked = balancer.pick(all, now, mix(key), |index| busy[index], &mut random).unwrap();
        counts[picked] += 1;
    }
    counts
}

#[test]
fn none_and_one_need_no_choice() {
    let (mut balancer, _) = balancer(Balance::P2c, &[1, 1]);
    let mut random = fastrand::Rng::with_seed(1);
    let now = crate::clock::instant();
    assert_eq!(balancer.pick(&Candidates::new(), now, 0, |_| 0, &mut random), None);
    assert_eq!(balancer.pick(&Candidates::from_slice(&[1]), now, 0, |_| 0, &mut random), Some(1));
}

#[test]
fn round_robin_is_smooth_and_by_weight() {
    let (mut balancer, all) = balancer(Balance::RoundRobin, &[3, 1]);
    let mut random = fastrand::Rng::with_seed(1);
    let now = crate::clock::instant();
    let picks: Vec<usize> =
        (0..8).map(|_| balancer.pick(&all, now, 0, |_| 0, &mut random).unwrap()).collect();
    assert_eq!(picks, [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn least_requests_takes_the_idlest_and_lets_equals_take_turns() {
    let now = crate::clock::instant();
    let (mut balancer, all) = balancer(Balance::LeastRequests, &[1, 1, 1]);
    assert_eq!(shares(&mut balancer, &all, now, &[5, 2, 9]), [0, 1000, 0]);
    let even = shares(&mut balancer, &all, now, &[3, 3, 3]);
    assert!(even.iter().all(|count| (300..370).contains(count)), "{even:?}");
    let (mut weighted, all) = self::balancer(Balance::LeastRequests, &[1, 10]);
    assert_eq!(shares(&mut weighted, &all, now, &[1, 9]), [0, 1000]);
}

#[test]
fn rendezvous_shares_by_weight_and_moves_only_what_it_must() {
    let now = crate::clock::instant();
    let (mut balancer, all) = balancer(Balance::Hash, &[1, 1, 2]);
    let counts = shares(&mut balancer, &all, now, &[0; 3]);
    assert!((200..300).contains(&counts[0]) && (450..550).contains(&counts[2]), "{counts:?}");

    let mut random = fastrand::Rng::with_seed(1);
    let without_c = Candidates::from_slice(&[0, 1]);
    for key in 0..500 {
        let key = mix(key);
        let before = balancer.pick(&all, now, key, |_| 0, &mut random);
        let after = balancer.pick(&without_c, now, key, |_| 0, &mut random);
        assert!(before == after || before == Some(2));
        assert_eq!(before, balancer.pick(&all, now, key, |_| 99, &mut random));
    }
}

#[test]
fn p2c_shares_by_weight_when_idle_and_prefers_the_faster_and_idler() {
    let now = crate::clock::instant();
    let (mut fresh, all) = balancer(Balance::P2c, &[3, 1]);
    let idle = shares(&mut fresh, &all, now, &[0, 0]);
    assert!((700..800).contains(&idle[0]), "{idle:?}");
    assert_eq!(shares(&mut fresh, &all, now, &[8, 0]), [0, 1000]);

    let (mut known, all) = balancer(Balance::P2c, &[1, 1]);
    known.answered(0, now, Duration::from_millis(50));
    known.answered(1, now, Duration::from_millis(5));
    assert_eq!(shares(&mut known, &all, now, &[0, 0]), [0, 1000]);
    assert_eq!(shares(&mut known, &all, now, &[0, 10]), [1000, 0]);
    // A latency that nothing renews is forgotten.
    let later = now + LATENCY_DECAY * 8;
    let again = shares(&mut known, &all, later, &[0, 0]);
    assert!((450..550).contains(&again[0]), "{again:?}");
}

#[test]
fn a_fast_failing_endpoint_attracts_nothing() {
    let now = crate::clock::instant();
    let (mut balancer, all) = balancer(Balance::P2c, &[1, 1]);
    balancer.answered(0, now, Duration::from_millis(20));
    balancer.failed(1, now, Duration::from_micros(50));
    assert_eq!(shares(&mut balancer, &all, now, &[0, 0]), [1000, 0]);
    assert_eq!(shares(&mut balancer, &all, now, &[10, 0]), [1000, 0]);
}

#[test]
fn who_leaves_early_does_not_make_an_endpoint_look_fast() {
    let now = crate::clock::instant();
    let (mut balancer, all) = balancer(Balance::P2c, &[1, 1]);
    balancer.answered(0, now, Duration::from_millis(20));
    balancer.answered(1, now, Duration::from_millis(30));
    balancer.waited(1, now + LATENCY_DECAY, Duration::from_millis(1));
    assert_eq!(shares(&mut balancer, &all, now + LATENCY_DECAY, &[0, 0]), [1000, 0]);
    balancer.waited(0, now + LATENCY_DECAY, Duration::from_millis(900));
    assert_eq!(shares(&mut balancer, &all, now + LATENCY_DECAY, &[0, 0]), [0, 1000]);
}

#[test]
fn peaks_count_at_once_and_fade() {
    let now = crate::clock::instant();
    let mut latency = PeakEwma::default();
    latency.observe(now, 0.010);
    latency.observe(now, 1.0);
    assert_eq!(latency.read(now), 1.0);
    latency.observe(now + LATENCY_DECAY, 0.010);
    let faded = latency.read(now + LATENCY_DECAY);
    assert!((0.3..0.4).contains(&faded), "{faded}");
}
