//! Who guesses codes is locked out for a while.
use crate::limits::enrol::{LOCKED, MAX_ADDRESSES, MAX_WRONG_CODES};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Wrong codes by address, in memory: a restart forgets them, and 100 random bits are not guessed between two restarts.
#[derive(Default)]
pub struct Lock(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl Lock {
    /// Whether an address is locked out. Counts the attempt, so that many at once do not pass together.
    pub fn refuses(&self, address: IpAddr) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, last)| last.elapsed() < LOCKED);
        if all.len() >= MAX_ADDRESSES {
            let oldest = all.iter().min_by_key(|(_, (_, last))| *last).map(|(address, _)| *address);
            oldest.and_then(|address| all.remove(&address));
        }
        let (wrong, last) = all.entry(network(address)).or_insert((0, Instant::now()));
        if *wrong >= MAX_WRONG_CODES {
            return true;
        }
        *wrong += 1;
        *last = Instant::now();
        false
    }

    /// Forgets an address: its code was right.
    pub fn forget(&self, address: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&network(address));
    }
}

/// An IPv6 host has a whole /64 of addresses: it counts as one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}
