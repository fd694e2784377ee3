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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    /// Once so many have asked.
    fn have_asked(turns: &Turns, count: u64) {
        while turns.lock().next < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_waits_to_be_alone_is_not_passed_by_who_comes_later() {
        let turns = Arc::<Turns>::default();
        let first = Turn::wait(&turns, Company::Others);
        let (says, said) = channel();
        let (lets_go, is_let_go) = channel::<()>();
        std::thread::scope(|scope| {
            let (alone, other) = (says.clone(), says);
            let turns = &turns;
            scope.spawn(move || {
                let _turn = Turn::wait(turns, Company::Nobody);
                alone.send("alone").unwrap();
                is_let_go.recv().unwrap();
                alone.send("was alone").unwrap();
            });
            have_asked(turns, 2);
            scope.spawn(move || {
                let _turn = Turn::wait(turns, Company::Others);
                other.send("other").unwrap();
            });
            have_asked(turns, 3);
            assert!(said.try_recv().is_err(), "both wait");
            drop(first);
            assert_eq!(said.recv(), Ok("alone"));
            lets_go.send(()).unwrap();
            assert_eq!((said.recv(), said.recv()), (Ok("was alone"), Ok("other")));
        });
    }

    #[test]
    fn nobody_is_ever_beside_one_who_is_to_be_alone() {
        let (turns, running) = (Arc::<Turns>::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (turns, running) = (&turns, &running);
                scope.spawn(move || {
                    for n in 0..200 {
                        let is_alone = (n * 7 + thread * 3) % 5 == 0;
                        let turn = Turn::wait(turns, if is_alone { Company::Nobody } else { Company::Others });
                        // Who is alone counts for as many as there could be.
                        let weight = if is_alone { 8 } else { 1 };
                        let beside = running.fetch_add(weight, Ordering::SeqCst);
                        assert!(beside + weight <= 8, "{beside} beside {weight}");
                        std::thread::yield_now();
                        running.fetch_sub(weight, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert_eq!(turns.lock().running, 0);
    }
}
