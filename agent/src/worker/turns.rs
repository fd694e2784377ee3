//! Who may have a task in a worker beside others. Turns come in the order in which they were asked for: who waits to be alone
//! waits for those that are there, and for nobody who comes later.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Whom a task may have beside it in its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Tasks of others, as many as there are places.
    Others,
    /// Nobody: what comes of it is its own doing.
    Nobody,
}

#[derive(Debug, Default)]
pub(super) struct Turns {
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    /// The number of the next one who asks, and of the next one who begins.
    next: u64,
    begins: u64,
    running: usize,
    /// The one that runs is to have nobody beside it.
    is_alone: bool,
}

/// A turn that has begun; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    company: Company,
}

impl Turn {
    /// Waits for a turn.
    pub(super) fn wait(turns: &Arc<Turns>, company: Company) -> Self {
        let mut line = turns.lock();
        let number = line.next;
        line.next += 1;
        while number != line.begins || line.is_alone || (company == Company::Nobody && line.running > 0) {
            line = turns.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        line.begins += 1;
        line.running += 1;
        line.is_alone = company == Company::Nobody;
        drop(line);
        turns.changed.notify_all();
        Self { turns: Arc::clone(turns), company }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.turns.lock();
        line.running -= 1;
        line.is_alone &= self.company != Company::Nobody;
        drop(line);
        self.turns.changed.notify_all();
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
