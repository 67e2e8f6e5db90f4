//! What is stored for rules that are not in force, but were and may be again.
//!
//! A reload that changes a route gives it another namespace, and one that takes the change back the old
//! one, with all that is stored in it. Purges by URL and prefix, and those of a route, name what the rules in
//! force have stored; so what was stored by others and missed one is not used again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::generation::{Mode, Purges};

/// How many namespaces are remembered; beyond it, what is stored in them all is given up.
const MAX: usize = 1024;

/// Namespaces that are not in force, with the generation in which they ceased to be.
#[derive(Debug, Default)]
pub struct Absent(Mutex<HashMap<u64, u64>>);

impl Absent {
    /// Notes that from now on the namespaces `after` are in force, and those `before` no longer. What is
    /// stored in one that returns is purged if anything was while it was absent.
    pub fn change(&self, before: &BTreeSet<u64>, after: &BTreeSet<u64>, purges: &Purges) {
        let mut absent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = purges.begin();
        let returning =
            after.iter().filter(|space| absent.remove(space).is_some_and(|since| since != generation));
        let mut outdated: Vec<u64> = returning.copied().collect();
        absent.extend(before.difference(after).map(|space| (*space, generation)));
        if absent.len() > MAX {
            outdated.extend(absent.drain().map(|(space, _)| space));
        }
        if !outdated.is_empty() {
            let names: Vec<_> = outdated.into_iter().map(|space| purges.everything(Some(space))).collect();
            purges.purge(&names, Mode::Hard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spaces(of: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        of.into_iter().collect()
    }

    #[test]
    fn what_returns_is_purged_if_anything_was() {
        let (absent, purges) = (Absent::default(), Purges::default());
        absent.change(&spaces([1, 2]), &spaces([2, 3]), &purges);
        absent.change(&spaces([2, 3]), &spaces([1, 2]), &purges);
        assert_eq!(purges.begin(), 1, "nothing was");
        absent.change(&spaces([1, 2]), &spaces([2, 3]), &purges);
        purges.purge(&[], Mode::Soft);
        absent.change(&spaces([2, 3]), &spaces([1, 2]), &purges);
        assert_eq!(purges.begin(), 3, "one returned that missed it");
        absent.change(&spaces([1, 2]), &spaces([1, 2, 4]), &purges);
        assert_eq!(purges.begin(), 3, "a new one missed nothing");
    }

    #[test]
    fn few_are_remembered() {
        let (absent, purges) = (Absent::default(), Purges::default());
        absent.change(&spaces(0..=MAX as u64), &spaces([]), &purges);
        assert_eq!(purges.begin(), 2);
        assert!(absent.0.lock().unwrap().is_empty());
    }
}
