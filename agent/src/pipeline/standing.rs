//! Where each model stands: what is known of it, and what of its golden cases goes on now.
use crate::fault::Fault;
use crate::infer::{Accepted, Choice, EngineKind};
use crate::inference::EngineUsed;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Before a worker that was not there is looked for again: at the start of a machine its unit may come up a little later.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The same, at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Where a model stands.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// Serves before its golden cases have run.
    Unchecked(Choice),
    /// Its golden cases are to run, or run; its jobs wait.
    Checking(Choice),
    /// Its golden cases hold on this engine.
    Active(Choice, EngineUsed),
    /// No worker is there to run its golden cases; they are tried again, with the next job or when the pause is over.
    Waiting(Waiting),
    /// No engine serves it.
    Off(Fault),
}

/// A model's wait for a worker.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Why there is none.
    pub(super) fault: Fault,
    /// Times that there was none.
    pub(super) tries: u32,
    /// Before the next try.
    pub(super) until: Instant,
}

impl Waiting {
    /// Waits for the first time, or once more.
    pub(super) fn after(tries: u32, fault: Fault) -> (Self, Duration) {
        let pause = pause(tries);
        (Self { fault, tries: tries + 1, until: Instant::now() + pause }, pause)
    }
}

/// Before a worker is looked for again that was not there so many times: doubled each time, up to a bound.
pub(super) fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE)
}

/// Where each model stands, by its package's digest.
#[derive(Default)]
pub(super) struct Models {
    standings: Mutex<BTreeMap<String, Standing>>,
    /// Engines that a package did not hold on, and why, by its digest.
    misses: Mutex<BTreeMap<String, Vec<(EngineKind, String)>>>,
    /// The engine of each that the site's acceptance cohort was run on.
    accepted: Mutex<BTreeMap<String, Accepted>>,
    /// Held while golden cases run: one at a time, whoever runs jobs.
    pub(super) one_at_a_time: Mutex<()>,
    /// Connections to the workers that run golden cases now, each with a number of its own.
    checks: Mutex<(u64, BTreeMap<u64, UnixStream>)>,
}

impl Models {
    pub(super) fn standing(&self, digest: &str) -> Option<Standing> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Why a package is not served by an engine that it was checked on.
    pub(super) fn miss(&self, digest: &str, engine: &EngineKind) -> Option<String> {
        let misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        misses.get(digest)?.iter().find(|(known, _)| known == engine).map(|(_, reason)| reason.clone())
    }

    /// Held while golden cases run: one at a time, whoever runs jobs.
    pub(super) fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn missed(&self, digest: &str, engine: EngineKind, fault: &Fault) {
        let mut misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        let of_package = misses.entry(digest.to_owned()).or_default();
        of_package.retain(|(known, _)| *known != engine);
        of_package.push((engine, fault.to_string()));
    }

    pub(super) fn set(&self, digest: &str, standing: Standing) {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), standing);
    }

    /// The engine that the site's acceptance cohort was run on, where one was.
    pub(super) fn accepted(&self, digest: &str) -> Option<Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Says which one it is by the set that serves from now on.
    pub(super) fn accept(&self, digest: &str, engine: Option<&Accepted>) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        match engine {
            Some(engine) => drop(accepted.insert(digest.to_owned(), engine.clone())),
            None => drop(accepted.remove(digest)),
        }
    }

    /// Forgets the engines that a package did not hold on: it may have been the box, and a next trial tries again.
    pub(super) fn forget_misses(&self, digest: &str) {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Forgets what is known of packages but of those that are named.
    pub(super) fn forget_but(&self, is_kept: impl Fn(&str) -> bool) {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| is_kept(digest));
        self.misses.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| is_kept(digest));
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| is_kept(digest));
    }

    /// Ends the golden cases that run: their workers are lost. A drain need not wait for them.
    pub(super) fn interrupt(&self) {
        for connection in self.checks.lock().unwrap_or_else(PoisonError::into_inner).1.values() {
            // Fails only where the worker is gone.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// The connection can be interrupted until what is given is dropped.
    pub(super) fn watch(&self, connection: Option<UnixStream>) -> Watched<'_> {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.0 += 1;
        let number = checks.0;
        checks.1.extend(connection.map(|connection| (number, connection)));
        Watched { models: self, number }
    }
}

/// A golden case that runs.
pub(super) struct Watched<'m> {
    models: &'m Models,
    number: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.models.checks.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
    }
}
