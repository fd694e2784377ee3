//! Whether a GPU is used: one that is lost to jobs again and again is left alone for a while, in which engines of the processor
//! serve. Then it is tried with golden cases, not with a study.
use crate::fault::{Blame, Fault};
use crate::metrics;
use crate::status::GpuLeft;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Losses in a row after which a GPU is left alone, of jobs that had their worker to themselves: what another job did to a worker
/// is not told of it. A study has one of these at most, so that none does it by itself.
const LOSSES: u32 = 2;
/// A GPU that is left alone is tried again after this, and after twice as long each time that it is lost again.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The same, at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(30);

/// What is to be done with a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Jobs run on it.
    Use,
    /// Jobs run elsewhere.
    Leave,
    /// Who was told this tries it, and says what came of it; jobs run elsewhere until then.
    Try,
}

/// What is known of one GPU.
#[derive(Debug, Default)]
struct Breaker {
    /// Losses since it last answered.
    losses: u32,
    left: Option<Left>,
}

/// A GPU that is left alone.
#[derive(Debug)]
struct Left {
    /// What it was lost with.
    why: Fault,
    since: SystemTime,
    pause: Duration,
    until: Instant,
    is_tried: bool,
}

impl Breaker {
    fn advice(&mut self, now: Instant) -> Advice {
        match &mut self.left {
            None => Advice::Use,
            Some(left) if left.is_tried || now < left.until => Advice::Leave,
            Some(left) => {
                left.is_tried = true;
                Advice::Try
            }
        }
    }

    /// It answered. True where it was left alone before.
    fn answered(&mut self) -> bool {
        self.losses = 0;
        self.left.take().is_some()
    }

    /// It answered a job. One that is left alone had begun it before, or had no other engine: that says nothing of golden cases.
    fn answered_a_job(&mut self) {
        if self.left.is_none() {
            self.losses = 0;
        }
    }

    /// It was lost. The pause before it is tried, where it is to be left alone from now on.
    fn lost(&mut self, why: &Fault, now: Instant) -> Option<Duration> {
        self.losses = self.losses.saturating_add(1);
        let (since, pause) = match &self.left {
            // A job that had begun before says nothing new.
            Some(left) if !left.is_tried => return None,
            Some(left) => (left.since, left.pause.saturating_mul(2).min(LONGEST_PAUSE)),
            None if self.losses < LOSSES => return None,
            None => (SystemTime::now(), FIRST_PAUSE),
        };
        self.left = Some(Left { why: why.clone(), since, pause, until: now + pause, is_tried: false });
        Some(pause)
    }

    /// Who was to try it could not: another one may.
    fn untried(&mut self) {
        if let Some(left) = &mut self.left {
            left.is_tried = false;
        }
    }
}

/// What is known of each GPU, by the name that its worker was started for; `None` where none is named.
#[derive(Debug, Default)]
pub(super) struct Breakers(Mutex<BTreeMap<Option<String>, Breaker>>);

impl Breakers {
    /// What is to be done with a GPU now.
    pub(super) fn advice(&self, device: Option<&str>) -> Advice {
        self.with(device, |breaker| breaker.advice(Instant::now()))
    }

    /// The GPU answered a job.
    pub(super) fn answered_a_job(&self, device: Option<&str>) {
        self.with(device, Breaker::answered_a_job);
    }

    /// What a GPU was lost with that is left alone.
    pub(super) fn why(&self, device: Option<&str>) -> Option<Fault> {
        self.with(device, |breaker| breaker.left.as_ref().map(|left| left.why.clone()))
    }

    /// The GPU answered golden cases as it should.
    pub(super) fn answered(&self, device: Option<&str>) {
        if self.with(device, Breaker::answered) {
            tracing::info!(gpu = named(device), "a GPU that was left alone answers again, and is used");
            metrics::gpu_left(named(device), false);
        }
    }

    /// The GPU was lost to who used it; the pause before it is tried, where it is left alone from now on.
    pub(super) fn lost(&self, device: Option<&str>, why: &Fault) -> Option<Duration> {
        let pause = self.with(device, |breaker| breaker.lost(why, Instant::now()))?;
        let fault = Fault::new("gpu-left", Blame::Box, format!("it was lost again and again, at last with {why}"));
        let gpu = named(device);
        tracing::error!(gpu, code = %fault.code, reason = %fault.reason, ?pause, "a GPU is left alone");
        metrics::refusal(&fault.code);
        metrics::gpu_left(gpu, true);
        Some(pause)
    }

    /// The GPU was to be tried, and was not.
    pub(super) fn untried(&self, device: Option<&str>) {
        self.with(device, Breaker::untried);
    }

    /// The GPUs that are left alone.
    pub(super) fn left(&self) -> Vec<GpuLeft> {
        let known = self.lock();
        let left = known.iter().filter_map(|(device, breaker)| {
            let left = breaker.left.as_ref()?;
            let until = SystemTime::now() + left.until.saturating_duration_since(Instant::now());
            let (code, reason) = ("gpu-left".to_owned(), left.why.to_string());
            Some(GpuLeft { device: device.clone(), code, reason, since: left.since, until })
        });
        left.collect()
    }

    fn with<T>(&self, device: Option<&str>, change: impl FnOnce(&mut Breaker) -> T) -> T {
        change(self.lock().entry(device.map(str::to_owned)).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Breaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the loss of a worker at work on a GPU may be the GPU's doing. Not that of a package which takes more memory than there is,
/// there or in the worker, nor of a worker that never was.
pub(super) fn is_of_the_gpu(fault: &Fault) -> bool {
    !matches!(fault.code.as_ref(), "gpu-memory" | "gpu-busy" | "worker-out-of-memory" | "worker-not-started")
}

/// A GPU's name in the metric and in the log.
fn named(device: Option<&str>) -> &str {
    device.unwrap_or("unnamed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Fault {
        Fault::new("gpu-lost", Blame::Box, "it fell off the bus")
    }

    /// Left alone after as many losses as it takes.
    fn left(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..LOSSES {
            assert_eq!((breaker.lost(&lost(), now), breaker.advice(now)), (None, Advice::Use));
        }
        assert_eq!((breaker.lost(&lost(), now), breaker.advice(now)), (Some(FIRST_PAUSE), Advice::Leave));
        breaker
    }

    #[test]
    fn a_gpu_that_is_lost_again_and_again_is_left_alone_and_tried_once_after_the_pause() {
        let now = Instant::now();
        let mut breaker = left(now);
        let just_before = now + FIRST_PAUSE.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(breaker.advice(just_before), Advice::Leave);
        let due = now + FIRST_PAUSE;
        assert_eq!([breaker.advice(due), breaker.advice(due)], [Advice::Try, Advice::Leave], "one alone tries it");
        assert!(breaker.answered(), "it was left alone");
        assert_eq!(breaker.advice(due), Advice::Use);
        assert!(!breaker.answered());
        left(now);
    }

    #[test]
    fn losses_count_in_a_row_alone() {
        let (now, mut breaker) = (Instant::now(), Breaker::default());
        for _ in 0..10 {
            (1..LOSSES).for_each(|_| assert_eq!(breaker.lost(&lost(), now), None));
            breaker.answered_a_job();
        }
        assert_eq!(breaker.advice(now), Advice::Use);
    }

    #[test]
    fn an_answer_to_a_job_brings_no_gpu_back_that_is_left_alone() {
        let now = Instant::now();
        let mut breaker = left(now);
        breaker.answered_a_job();
        assert_eq!(breaker.advice(now), Advice::Leave);
        assert_eq!(breaker.advice(now + FIRST_PAUSE), Advice::Try);
        breaker.answered_a_job();
        assert_eq!(breaker.lost(&lost(), now + FIRST_PAUSE), Some(FIRST_PAUSE * 2), "the try failed");
    }

    #[test]
    fn the_pause_is_doubled_each_time_up_to_a_bound() {
        let mut now = Instant::now();
        let mut breaker = left(now);
        let mut pause = FIRST_PAUSE;
        for _ in 0..20 {
            now += pause;
            assert_eq!(breaker.advice(now), Advice::Try);
            let next = breaker.lost(&lost(), now).unwrap();
            assert_eq!(next, (pause * 2).min(LONGEST_PAUSE));
            assert_eq!(breaker.advice(now), Advice::Leave);
            pause = next;
        }
        assert_eq!(pause, LONGEST_PAUSE);
        assert!(breaker.answered() && breaker.advice(now) == Advice::Use);
    }

    #[test]
    fn a_job_that_had_begun_before_neither_prolongs_the_pause_nor_uses_the_try_up() {
        let now = Instant::now();
        let mut breaker = left(now);
        assert_eq!(breaker.lost(&lost(), now + FIRST_PAUSE / 2), None);
        assert_eq!(breaker.advice(now + FIRST_PAUSE), Advice::Try);
        breaker.untried();
        assert_eq!(breaker.advice(now + FIRST_PAUSE), Advice::Try, "another one may");
    }

    #[test]
    fn each_gpu_is_judged_by_itself_and_those_that_are_left_are_told() {
        let breakers = Breakers::default();
        for _ in 0..LOSSES {
            breakers.lost(Some("GPU-a"), &lost());
        }
        assert_eq!(
            [Some("GPU-a"), Some("GPU-b"), None].map(|gpu| breakers.advice(gpu)),
            [Advice::Leave, Advice::Use, Advice::Use]
        );
        let told = breakers.left();
        assert_eq!(told.len(), 1);
        assert!(told[0].device.as_deref() == Some("GPU-a") && told[0].until > told[0].since, "{told:?}");
        assert!(told[0].code == "gpu-left" && told[0].reason.contains("it fell off the bus"), "{told:?}");
        breakers.answered(Some("GPU-a"));
        assert!(breakers.left().is_empty());
    }

    #[test]
    fn what_a_package_asks_for_in_vain_is_not_the_gpus_doing() {
        let is = |code: &'static str| is_of_the_gpu(&Fault::new(code, Blame::Box, ""));
        assert!(["gpu-lost", "gpu-hung", "gpu-failed", "worker-died", "worker-timeout"].into_iter().all(is));
        assert!(!["gpu-memory", "gpu-busy", "worker-out-of-memory", "worker-not-started"].into_iter().any(is));
    }
}
