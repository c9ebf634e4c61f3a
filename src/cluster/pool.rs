//! Sets of nodes that EndpointSlices have in common.

use std::collections::BTreeSet;

use crate::net::Shared;

/// Ten thousand Services have their endpoints on the same few sets of nodes; each set is kept once.
#[derive(Debug, Default)]
pub(super) struct Pool {
    known: BTreeSet<Shared<BTreeSet<String>>>,
    /// So many there were when those that nobody else holds were let go of.
    kept: usize,
}

/// So few are not worth looking through.
const FEW: usize = 64;

impl Pool {
    /// The set that equals `set`, held by all who asked for it.
    pub(super) fn one(&mut self, set: &Shared<BTreeSet<String>>) -> Shared<BTreeSet<String>> {
        if let Some(known) = self.known.get(set) {
            return known.clone();
        }
        if self.known.len() >= 2 * self.kept + FEW {
            self.known.retain(|set| !set.is_alone());
            self.kept = self.known.len();
        }
        self.known.insert(set.clone());
        set.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Shared<BTreeSet<String>> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn equal_sets_become_one_and_what_nobody_holds_is_let_go() {
        let mut pool = Pool::default();
        let (first, second) = (pool.one(&set(&["w1", "w2"])), pool.one(&set(&["w1", "w2"])));
        assert_eq!(first.place(), second.place());
        assert_ne!(pool.one(&set(&["w1"])).place(), first.place());
        for number in 0..1000 {
            pool.one(&set(&[&format!("w{number}")]));
        }
        assert!(pool.known.len() <= 2 * FEW, "{}", pool.known.len());
        assert_eq!(pool.one(&set(&["w1", "w2"])).place(), first.place(), "what is held stays");
    }
}
