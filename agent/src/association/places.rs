//! How many connections and associations there may be at once, in all and from one address.
use crate::limits::association::{MAX_ASSOCIATIONS_PER_CALLER, MAX_CONNECTIONS, MAX_HALF_OPEN_PER_CALLER};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a node.
pub(super) struct Places {
    max_associations: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: usize,
    associations: usize,
    /// By address: connections without, and with an association. An address with neither has no entry.
    callers: HashMap<IpAddr, (usize, usize)>,
}

impl Places {
    pub(super) fn new(max_associations: usize) -> Arc<Self> {
        Arc::new(Self { max_associations, counts: Mutex::default() })
    }

    /// A place for a connection; none while there are too many.
    pub(super) fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.counts();
        if counts.connections >= MAX_CONNECTIONS {
            return None;
        }
        let caller = counts.callers.entry(address).or_default();
        if caller.0 >= MAX_HALF_OPEN_PER_CALLER {
            return None;
        }
        caller.0 += 1;
        counts.connections += 1;
        Some(Place { places: Arc::clone(self), address, is_association: false })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole numbers: a panic elsewhere leaves them right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    is_association: bool,
}

impl Place {
    /// Makes it the place of an association; false while there are too many.
    pub(super) fn associate(&mut self) -> bool {
        let mut counts = self.places.counts();
        let max = self.places.max_associations;
        if self.is_association || counts.associations >= max {
            return self.is_association;
        }
        let caller = counts.callers.entry(self.address).or_default();
        if caller.1 >= MAX_ASSOCIATIONS_PER_CALLER.min(max) {
            return false;
        }
        *caller = (caller.0 - 1, caller.1 + 1);
        counts.associations += 1;
        drop(counts);
        self.is_association = true;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.connections -= 1;
        counts.associations -= usize::from(self.is_association);
        if let Some(caller) = counts.callers.get_mut(&self.address) {
            caller.0 -= usize::from(!self.is_association);
            caller.1 -= usize::from(self.is_association);
            if *caller == (0, 0) {
                counts.callers.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_can_take_neither_all_connections_nor_all_associations() {
        let places = Places::new(1000);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<Place> = std::iter::from_fn(|| places.connect(one)).collect();
        assert_eq!(held.len(), MAX_HALF_OPEN_PER_CALLER);
        assert!(places.connect(other).is_some_and(|mut place| place.associate()));
        assert!(held.iter_mut().all(Place::associate));
        let mut late = places.connect(one).unwrap();
        assert!(!late.associate(), "the address has its {MAX_ASSOCIATIONS_PER_CALLER} associations");
        held.pop();
        assert!(late.associate(), "one was given back");
    }

    #[test]
    fn what_is_given_back_leaves_nothing() {
        let places = Places::new(1);
        let mut place = places.connect(IpAddr::from([10, 0, 0, 1])).unwrap();
        assert!(place.associate());
        let mut second = places.connect(IpAddr::from([10, 0, 0, 2])).unwrap();
        assert!(!second.associate(), "all associations are in use");
        drop((place, second));
        let counts = places.counts();
        assert_eq!((counts.connections, counts.associations, counts.callers.len()), (0, 0, 0));
    }
}
