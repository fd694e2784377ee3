//! Locks that one agent at a time has.
//!
//! An agent that is killed while it starts a worker leaves its locks to that for an instant: until the worker's program begins, the new process has
//! all that the agent had open. So a lock whose holder is gone is waited for, and one whose holder lives is not.
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes a lock; where it is held, tries again for so long, as long as its holder is gone.
pub(crate) fn take(file: impl AsFd, patience: Duration, is_left: impl Fn() -> bool) -> Result<(), Errno> {
    let until = Instant::now() + patience;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until && is_left() => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

/// Whether a process of that number, in words, is no more.
pub(crate) fn is_gone(process: &str) -> bool {
    let pid = process.trim().parse().ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_lock_that_a_dead_holder_has_left_is_waited_for_and_one_of_a_living_holder_is_not() {
        let held = tempfile::NamedTempFile::new().unwrap();
        take(held.as_file(), Duration::ZERO, || true).unwrap();
        let other = File::open(held.path()).unwrap();
        let begun = Instant::now();
        assert_eq!(take(&other, Duration::from_mins(1), || false), Err(Errno::WOULDBLOCK));
        assert!(begun.elapsed() < Duration::from_secs(30), "it is told at once");
        assert_eq!(
            take(&other, Duration::from_millis(20), || true),
            Err(Errno::WOULDBLOCK),
            "and not waited for for ever"
        );
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| take(&other, Duration::from_mins(1), || true));
            drop(held);
            assert_eq!(waits.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn a_process_that_lives_is_not_gone_and_what_is_no_number_is_no_process() {
        assert!(!is_gone(&std::process::id().to_string()));
        assert!(!is_gone("") && !is_gone("-1") && !is_gone("0"));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&child.id().to_string()));
    }
}
