//! So many connections from one network: whoever opens them without end takes no place from others.
use crate::enrol::network;
use crate::limits::http::MAX_CONNECTIONS_PER_NETWORK;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The connections that are open, by network.
#[derive(Default)]
pub(super) struct Seats(Mutex<HashMap<IpAddr, usize>>);

/// One of them, given back on drop.
pub(super) struct Seat {
    seats: Arc<Seats>,
    network: IpAddr,
}

impl Seats {
    /// A seat for a caller; `None` where its network has all of its own.
    pub fn take(seats: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let network = network(address);
        let mut all = seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(network).or_default();
        if *taken >= MAX_CONNECTIONS_PER_NETWORK {
            return None;
        }
        *taken += 1;
        Some(Seat { seats: Arc::clone(seats), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.network) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_host_with_all_of_its_addresses_takes_no_place_from_others() {
        let seats = Arc::new(Seats::default());
        let host = |n: usize| format!("2001:db8:0:7::{n:x}").parse().unwrap();
        let mut held: Vec<Seat> =
            (0..MAX_CONNECTIONS_PER_NETWORK).map(|n| Seats::take(&seats, host(n)).unwrap()).collect();
        assert!(Seats::take(&seats, host(0xffff)).is_none());
        let others = ["2001:db8:0:8::1", "192.0.2.1", "::ffff:192.0.2.1"];
        let others = others.map(|address| Seats::take(&seats, address.parse().unwrap()));
        assert!(others.iter().all(Option::is_some));
        held.pop();
        held.push(Seats::take(&seats, host(0xffff)).unwrap());
        drop((held, others));
        assert!(seats.0.lock().unwrap().is_empty(), "what was given back is forgotten");
    }
}
