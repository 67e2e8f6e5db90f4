//! What a fleet takes over from the one before it, when the endpoints of a service change.

use super::super::balance::Balancer;
use super::super::ejection::Ejector;
use super::{Choice, Fleet, lock};

impl Fleet {
    /// Takes over what is known of the endpoints that were there before.
    pub(in crate::upstream) fn inherit(&self, before: &Self) {
        let (Some(mine), Some(theirs)) = (&self.choice, &before.choice) else { return };
        let (mut mine, theirs) = (lock(mine), lock(theirs));
        let Choice { balancer, ejector, .. } = &mut *mine;
        ejector.counts_like(&theirs.ejector);
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if let Some(was) = before.place(&endpoint.name) {
                take_over((balancer, ejector), index, (&theirs.balancer, &theirs.ejector), was);
            }
        }
    }

    /// The index of the endpoint of that name.
    pub(in crate::upstream) fn place(&self, name: &str) -> Option<usize> {
        self.endpoints.iter().position(|endpoint| &*endpoint.name == name)
    }
}

fn take_over(mine: (&mut Balancer, &mut Ejector), index: usize, theirs: (&Balancer, &Ejector), was: usize) {
    mine.0.take_over(index, theirs.0, was);
    mine.1.take_over(index, theirs.1, was);
}
