//! The order in which jobs run: a view in memory of the open jobs in the spool.
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Numbers of the jobs that wait, oldest first.
#[derive(Debug, Default)]
pub struct JobQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<u64>,
    running: Vec<u64>,
    /// Jobs that wait until then.
    put_off: Vec<(Instant, u64)>,
    closed: bool,
}

impl JobQueue {
    /// Adds a job at the end.
    pub fn push(&self, job: u64) {
        self.lock().waiting.push_back(job);
        self.changed.notify_one();
    }

    /// Waits for a job; `None` once the queue is closed, even where jobs still wait: they stay in the spool.
    pub fn take(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            if let Some(job) = state.next(now) {
                state.running.push(job);
                return Some(job);
            }
            let wait = state.put_off.iter().map(|(at, _)| at.saturating_duration_since(now)).min();
            state = match wait {
                Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// True while the runner has time: no job waits, and the queue is open.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        // 0 is no job's number.
        state.waiting.iter().all(|job| *job == 0) && !state.closed
    }

    /// Has the runner look around although no job came: it takes 0, which is no job's number.
    pub fn wake(&self) {
        self.push(0);
    }

    /// The same after a while.
    pub fn wake_after(&self, pause: Duration) {
        self.put_off(0, pause);
    }

    /// Has a job wait for a while.
    pub fn put_off(&self, job: u64, pause: Duration) {
        self.lock().put_off.push((Instant::now() + pause, job));
        self.changed.notify_one();
    }

    /// A job that was taken has ended.
    pub fn ended(&self, job: u64) {
        self.lock().running.retain(|running| *running != job);
    }

    /// Jobs that run, then jobs that wait.
    pub fn view(&self) -> (Vec<u64>, Vec<u64>) {
        let state = self.lock();
        (state.running.clone(), state.waiting.iter().copied().collect())
    }

    /// Lets every waiting runner go home.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self, now: Instant) -> Option<u64> {
        let due = self.put_off.iter().position(|(at, _)| *at <= now).map(|n| self.put_off.swap_remove(n).1);
        due.or_else(|| self.waiting.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_was_put_off_comes_again_and_holds_up_no_other() {
        let queue = JobQueue::default();
        queue.put_off(1, Duration::from_millis(20));
        queue.push(2);
        assert_eq!(queue.take(), Some(2));
        assert_eq!(queue.take(), Some(1));
    }

    #[test]
    fn jobs_run_in_order_and_a_closed_queue_keeps_the_rest_for_the_next_start() {
        let queue = JobQueue::default();
        queue.push(1);
        queue.push(2);
        assert_eq!(queue.take(), Some(1));
        assert_eq!(queue.view(), (vec![1], vec![2]));
        queue.ended(1);
        queue.close();
        assert_eq!(queue.take(), None);
        assert_eq!(queue.view(), (vec![], vec![2]));
    }
}
