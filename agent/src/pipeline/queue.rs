//! The order in which jobs run: a view in memory of the open jobs in the spool.
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

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
            if let Some(job) = state.waiting.pop_front() {
                state.running.push(job);
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// True while the runner has time: no job waits, and the queue is open.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && !state.closed
    }

    /// Has the runner look around although no job came: it takes 0, which is no job's number.
    pub fn wake(&self) {
        self.push(0);
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

#[cfg(test)]
mod tests {
    use super::*;

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
