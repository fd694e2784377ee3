//! The order in which jobs run: a view in memory of the open jobs in the spool.
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

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
    hold: Option<Hold>,
    closed: bool,
}

/// No job is taken before.
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// What counts: no change of the clock shortens or prolongs it.
    until: Instant,
    /// The same, for people.
    told: SystemTime,
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
            state.hold.take_if(|hold| hold.until <= now);
            if let Some(job) = state.next(now) {
                state.running.push(job);
                return Some(job);
            }
            state = match state.wait(now) {
                Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// True while the runner has time: no job waits that may be taken, and the queue is open.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        // 0 is no job's number.
        (state.is_held() || state.waiting.iter().all(|job| *job == 0)) && !state.closed
    }

    /// Has no job taken for so long, in the place of what was said before; zero lets them be taken again. Once this has returned, those that
    /// run can only become fewer.
    pub fn hold(&self, time: Duration) {
        let hold = Hold { until: Instant::now() + time, told: SystemTime::now() + time };
        self.lock().hold = (!time.is_zero()).then_some(hold);
        self.changed.notify_all();
    }

    /// Until when no job is taken; `None` where they are.
    pub fn held_until(&self) -> Option<SystemTime> {
        let state = self.lock();
        state.hold.filter(|_| state.is_held()).map(|hold| hold.told)
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
        let due = self.put_off.iter().position(|(at, job)| *at <= now && self.may_be_taken(*job));
        let due = due.map(|n| self.put_off.swap_remove(n).1);
        due.or_else(|| {
            let first = self.waiting.iter().position(|job| self.may_be_taken(*job))?;
            self.waiting.remove(first)
        })
    }

    /// Before there may be one to be taken, although nobody brings it; `None` where there will be none.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let put_off = self.put_off.iter().filter(|(_, job)| self.may_be_taken(*job)).map(|(at, _)| *at);
        put_off.chain(self.hold.map(|hold| hold.until)).min().map(|at| at.saturating_duration_since(now))
    }

    /// While jobs are held the runner may look around, for which it takes 0.
    fn may_be_taken(&self, job: u64) -> bool {
        job == 0 || !self.is_held()
    }

    fn is_held(&self) -> bool {
        self.hold.is_some_and(|hold| hold.until > Instant::now())
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
    fn jobs_that_are_held_are_taken_when_it_is_over_and_a_look_around_before() {
        let queue = JobQueue::default();
        queue.push(1);
        queue.put_off(2, Duration::ZERO);
        queue.hold(Duration::from_mins(1));
        assert!(queue.held_until().is_some() && queue.is_idle());
        queue.wake();
        assert_eq!(queue.take(), Some(0));
        queue.hold(Duration::from_millis(20));
        // Nobody wakes the runner.
        assert_eq!((queue.take(), queue.take()), (Some(2), Some(1)));
        assert_eq!(queue.held_until(), None);
    }

    #[test]
    fn a_hold_that_is_released_lets_who_waits_take_at_once() {
        let queue = JobQueue::default();
        queue.hold(Duration::from_mins(1));
        queue.push(1);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| queue.take());
            queue.hold(Duration::ZERO);
            assert_eq!(taken.join().unwrap(), Some(1));
        });
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
