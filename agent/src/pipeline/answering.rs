//! The engine that answers a job: the one that the golden cases of its model hold on; one of the processor while a GPU is left
//! alone.
use super::Pipeline;
use super::breaker::{self, Advice};
use super::cases::Checked;
use super::standing::{Standing, Waiting};
use crate::fault::{Blame, Fault};
use crate::infer::EngineKind;
use crate::inference::{EngineUsed, Inference};
use crate::model::manifest::Golden;
use crate::model::{Package, golden};
use crate::worker::{Company, Seat, TaskError};

/// The engine that is to answer a job.
pub(super) struct Serving {
    /// What a worker is told to use.
    pub(super) engine: EngineKind,
    /// What answered the golden cases, where they have run.
    checked: Option<EngineUsed>,
}

impl Pipeline {
    /// The engine that serves a package, checked first where that is due; `None` where the agent drains meanwhile.
    pub(super) fn serving(&self, package: &Package, seat: &Seat) -> Result<Option<Serving>, Fault> {
        let is_due =
            || matches!(self.models.standing(&package.digest), Some(Standing::Checking(_) | Standing::Waiting(_)));
        if is_due() {
            let _one_at_a_time = self.models.one_at_a_time();
            // Another one may have come first.
            if is_due() {
                self.activate(package, seat);
            }
        }
        match self.models.standing(&package.digest) {
            Some(Standing::Unchecked(choice)) => {
                self.unless_gpu_is_left(package, Serving { engine: choice.engine, checked: None }, seat)
            }
            Some(Standing::Active(choice, used)) => {
                self.unless_gpu_is_left(package, Serving { engine: choice.engine, checked: Some(used) }, seat)
            }
            Some(Standing::Waiting(Waiting { fault, .. }) | Standing::Off(fault)) => Err(fault),
            Some(Standing::Checking(_)) | None => Ok(None),
        }
    }

    /// The same engine, or one of the processor while its GPU is left alone; `None` where the agent drains meanwhile. Where no
    /// engine of the processor serves the package, the GPU is its only chance; but not one that answered golden cases wrongly.
    fn unless_gpu_is_left(&self, package: &Package, serving: Serving, seat: &Seat) -> Result<Option<Serving>, Fault> {
        if !serving.engine.is_on_gpu() {
            return Ok(Some(serving));
        }
        let is_used = match self.breakers.advice(seat.device()) {
            Advice::Use => true,
            Advice::Leave => false,
            Advice::Try => {
                let _one_at_a_time = self.models.one_at_a_time();
                self.try_gpu(package, &serving.engine, seat)
            }
        };
        if is_used {
            return Ok(Some(serving));
        }
        match self.without_gpu(package, seat) {
            Ok(other) => Ok(Some(other)),
            Err(_) if *self.draining.borrow() => Ok(None),
            Err(fault) if fault.code == "worker-not-started" => Err(fault),
            Err(_) => match self.breakers.why(seat.device()) {
                Some(miss) if !breaker::is_of_the_gpu(&miss) => Err(miss),
                _ => Ok(Some(serving)),
            },
        }
    }

    /// Runs the golden cases of a package on a GPU that was left alone. True where they hold: it is used again.
    pub(super) fn try_gpu(&self, package: &Package, engine: &EngineKind, seat: &Seat) -> bool {
        let holds = |case: &Golden| {
            let inference = self.golden_answer(package, engine, case, 1, seat)?;
            golden::held(package, case, &inference).map(drop)
        };
        let tried = package.manifest.golden.iter().try_for_each(holds);
        match &tried {
            Ok(()) => self.breakers.answered(seat.device()),
            Err(fault) if fault.code == "worker-not-started" || *self.draining.borrow() => {
                self.breakers.untried(seat.device());
            }
            Err(fault) => self.gpu_lost(fault, seat),
        }
        self.recorder.changed();
        tried.is_ok()
    }

    /// Notes what came of a job on a GPU. One that was lost beside others may have been lost by their doing.
    pub(super) fn note_gpu(
        &self,
        engine: &EngineKind,
        company: Company,
        seat: &Seat,
        answer: &Result<Inference, TaskError>,
    ) {
        match answer {
            _ if !engine.is_on_gpu() => {}
            Ok(_) => self.breakers.answered_a_job(seat.device()),
            Err(TaskError::WorkerLost(fault)) if company == Company::Nobody && breaker::is_of_the_gpu(fault) => {
                self.gpu_lost(fault, seat);
            }
            Err(_) => {}
        }
    }

    fn gpu_lost(&self, fault: &Fault, seat: &Seat) {
        if let Some(pause) = self.breakers.lost(seat.device(), fault) {
            self.recorder.changed();
            self.jobs.wake_after(pause);
        }
    }

    /// The engine of the processor that answers a job in place of a GPU that was lost on it: the first that the package is
    /// validated for and whose golden cases hold, always checked. Where there is none, why.
    pub(super) fn without_gpu(&self, package: &Package, seat: &Seat) -> Result<Serving, Fault> {
        let _one_at_a_time = self.models.one_at_a_time();
        let mut against = Vec::new();
        for choice in self.engines().choices(package)? {
            if choice.engine.is_on_gpu() {
                continue;
            }
            match self.check(package, &choice.engine, seat) {
                Ok(Checked { used, .. }) => return Ok(Serving { engine: choice.engine, checked: Some(used) }),
                // That says nothing about the engine.
                Err(fault) if fault.code == "worker-not-started" => return Err(fault),
                Err(fault) => against.push(format!("{} does not serve it: {}", choice.engine, fault.reason)),
            }
        }
        if against.is_empty() {
            against.push("the package is validated for no engine of the processor that is here".to_owned());
        }
        Err(Fault::new("engine-not-validated", Blame::Package, against.join("; ")))
    }

    /// Whether an answer comes from the engine that the golden cases hold on. Where the library was replaced while the
    /// agent runs it does not: the model is checked anew.
    pub(super) fn is_from_checked_engine(&self, inference: &Inference, serving: &Serving) -> bool {
        let digest = &inference.package.digest;
        match (&serving.checked, self.models.standing(digest)) {
            (Some(checked), standing) if *checked != inference.engine => {
                tracing::warn!(package = digest, "the engine was replaced; its golden cases run again");
                if let Some(Standing::Active(choice, used)) = standing
                    && used == *checked
                {
                    self.models.set(digest, Standing::Checking(choice));
                }
                false
            }
            _ => true,
        }
    }
}
