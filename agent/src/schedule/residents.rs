//! The networks in the device's memory, within a budget.
use super::queue::Key;
use std::collections::HashMap;
use sund_kernels::device::Network;

/// Networks, the one that ran last at the end.
pub(super) struct Residents<N> {
    networks: Vec<Resident<N>>,
    /// Bytes that all of them may take.
    budget: u64,
    /// What networks that were here once took.
    known: HashMap<Key, u64>,
}

struct Resident<N> {
    key: Key,
    network: N,
    /// Batches of it that run.
    running: usize,
}

impl<N: Network> Residents<N> {
    pub(super) fn new(budget: u64) -> Self {
        Self { networks: Vec::new(), budget, known: HashMap::new() }
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget
    }

    pub(super) fn bytes(&self) -> u64 {
        self.networks.iter().map(|resident| resident.network.bytes()).sum()
    }

    /// What a network will take: what it took before, else at least its plan's length.
    pub(super) fn expected(&self, key: &Key, plan: &[u8]) -> u64 {
        self.known.get(key).copied().unwrap_or(plan.len() as u64)
    }

    /// Whether so much more is within the budget.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.bytes().saturating_add(bytes) <= self.budget
    }

    pub(super) fn get(&self, key: &Key) -> Option<&N> {
        self.networks.iter().find(|resident| resident.key == *key).map(|resident| &resident.network)
    }

    /// Remembers what a network takes.
    pub(super) fn learn(&mut self, key: Key, bytes: u64) {
        self.known.insert(key, bytes);
    }

    pub(super) fn add(&mut self, key: Key, network: N) {
        self.networks.push(Resident { key, network, running: 0 });
    }

    /// The network, to begin a batch of it; it is the last that ran now.
    pub(super) fn take_up(&mut self, key: &Key) -> Option<&mut N> {
        let at = self.networks.iter().position(|resident| resident.key == *key)?;
        let resident = self.networks.remove(at);
        self.networks.push(resident);
        self.networks.last_mut().map(|resident| &mut resident.network)
    }

    pub(super) fn began(&mut self, key: &Key) {
        self.networks.iter_mut().filter(|resident| resident.key == *key).for_each(|resident| resident.running += 1);
    }

    pub(super) fn ended(&mut self, key: &Key) {
        let ended = self.networks.iter_mut().filter(|resident| resident.key == *key);
        ended.for_each(|resident| resident.running = resident.running.saturating_sub(1));
    }

    /// Gives up the idle network that ran the longest ago, one that is waited for only where all idle ones are; never `but`.
    /// False where none is idle.
    pub(super) fn evict(&mut self, but: &Key, is_waited_for: impl Fn(&Key) -> bool) -> bool {
        let is_idle = |resident: &Resident<N>| resident.running == 0 && resident.key != *but;
        let unwanted = self.networks.iter().position(|resident| is_idle(resident) && !is_waited_for(&resident.key));
        match unwanted.or_else(|| self.networks.iter().position(is_idle)) {
            Some(at) => {
                self.networks.remove(at);
                true
            }
            None => false,
        }
    }
}
