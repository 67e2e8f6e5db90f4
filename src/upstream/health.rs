//! What probes say about an endpoint: a pure state machine.
//!
//! An endpoint nobody has probed yet counts as healthy, so that a gateway that has just started serves at
//! once; but its first probe decides alone, for nothing speaks against it. From then on it takes as many bad
//! probes in a row as `unhealthy_after` says, and as many good ones as `healthy_after` says to come back.

use super::plan::Thresholds;

/// What is thought of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It was not probed yet.
    Unknown,
    /// So many probes in a row were bad.
    Healthy { bad: u32 },
    /// So many probes in a row were good.
    Unhealthy { good: u32 },
}

impl Health {
    /// Whether it may be given requests.
    pub(super) const fn is_healthy(self) -> bool {
        !matches!(self, Self::Unhealthy { .. })
    }

    /// What is thought of it after one more probe.
    pub(super) const fn after(self, good: bool, thresholds: Thresholds) -> Self {
        match (self, good) {
            (Self::Unknown | Self::Healthy { .. }, true) => Self::Healthy { bad: 0 },
            (Self::Unknown, false) | (Self::Unhealthy { .. }, false) => Self::Unhealthy { good: 0 },
            (Self::Healthy { bad }, false) if bad + 1 >= thresholds.unhealthy_after => {
                Self::Unhealthy { good: 0 }
            }
            (Self::Healthy { bad }, false) => Self::Healthy { bad: bad + 1 },
            (Self::Unhealthy { good }, true) if good + 1 >= thresholds.healthy_after => {
                Self::Healthy { bad: 0 }
            }
            (Self::Unhealthy { good }, true) => Self::Unhealthy { good: good + 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes, `+` good and `-` bad, and what is thought after each: `h`ealthy or `u`nhealthy.
    #[test]
    fn thresholds_decide() {
        for (healthy_after, unhealthy_after, probes, expected) in [
            (2, 3, "+++", "hhh"),
            (2, 3, "-", "u"),
            (2, 3, "-+-++", "uuuuh"),
            (2, 3, "+--+--+", "hhhhhhh"),
            (2, 3, "+---", "hhhu"),
            (2, 3, "+---++---", "hhhuuhhhu"),
            (2, 3, "+---+-+-++", "hhhuuuuuuh"),
            (1, 1, "+-+-", "huhu"),
            (3, 1, "-+++-", "uuuhu"),
        ] {
            let thresholds = Thresholds { healthy_after, unhealthy_after };
            let mut health = Health::Unknown;
            assert!(health.is_healthy());
            let thought: String = probes
                .chars()
                .map(|probe| {
                    health = health.after(probe == '+', thresholds);
                    if health.is_healthy() { 'h' } else { 'u' }
                })
                .collect();
            assert_eq!(thought, expected, "{healthy_after} {unhealthy_after} {probes}");
        }
    }
}
