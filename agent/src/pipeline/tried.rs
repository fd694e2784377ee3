//! Packages that are tried beside those that serve, by the same golden cases and on the same engines.
use super::Pipeline;
use super::activate::{Step, Unproven};
use super::cases::Checked;
use super::standing::Standing;
use crate::fault::{Blame, Fault};
use crate::infer::{Accepted, Choice, EngineKind};
use crate::inference::EngineUsed;
use crate::model::{Floors, Package};
use crate::worker::Seat;
use std::fmt;
use std::time::Duration;

/// What golden cases have said of a package: they hold on this engine.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    pub(super) digest: String,
    pub(super) choice: Choice,
    pub(super) used: EngineUsed,
}

impl Proven {
    /// Whether it is this package that was proven.
    pub(crate) fn is_of(&self, package: &Package) -> bool {
        self.digest == package.digest
    }

    /// The engine, once the site's acceptance cohort has held on it.
    pub(crate) fn accepted(&self) -> Result<Accepted, Fault> {
        Accepted::of(&self.choice.engine)
    }
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EngineUsed { class, precision, version, .. } = &self.used;
        write!(f, "{} would serve ({class} {precision} {version})", self.choice.engine)
    }
}

/// What came of a package that was tried beside those that serve.
pub(crate) struct Tried {
    /// The engine that they hold on; why there is none.
    pub(crate) proven: Result<Proven, Fault>,
    /// What is told of each engine that was tried, one after the other, with its figures, and how long it took.
    pub(crate) told: Vec<(String, Duration)>,
}

impl Pipeline {
    /// Runs the golden cases of a package beside what serves, which is not touched: its standing is another's to set.
    pub(crate) fn try_package(&self, package: &Package, floors: &Floors, seat: &Seat) -> Tried {
        let digest = package.digest.clone();
        let mut told = Vec::new();
        if let Err(fault) = floors.admit(&package.manifest) {
            return Tried { proven: Err(fault), told };
        }
        if let Some(Standing::Active(choice, used)) = self.models.standing(&digest)
            && self.is_preferred(package, &choice.engine)
        {
            told.push((format!("serves already, on {}", choice.engine), Duration::ZERO));
            return Tried { proven: Ok(Proven { digest, choice, used }), told };
        }
        let mut tell = |step: Step<'_>| match step {
            Step::Begins(_) => {}
            Step::Ends(choice, Ok(Checked { figures, .. }), took) => {
                told.push((format!("{}: {figures}", choice.engine), took));
            }
            Step::Ends(choice, Err(fault), took) => told.push((format!("{}: {fault}", choice.engine), took)),
        };
        let any = |this: &Self, package: &Package| this.engines().choices(package);
        let proven = self.search(package, seat, any, &mut tell).map_err(|why| match why {
            Unproven::NoWorker(fault) | Unproven::Missed(fault) => fault,
            Unproven::Drains => {
                Fault::new("agent-draining", Blame::Box, "the agent ends; the state is to be tried again")
            }
        });
        if proven.is_err() {
            self.models.forget_misses(&digest);
        }
        Tried { proven, told }
    }

    /// Whether no engine that is here comes before this one but those that golden cases have spoken against. One that was made after the
    /// site's acceptance cohort had been run does, and is what is tried.
    fn is_preferred(&self, package: &Package, engine: &EngineKind) -> bool {
        let choices = self.engines().choices(package).unwrap_or_default();
        let first = choices.iter().find(|choice| self.models.miss(&package.digest, &choice.engine).is_none());
        first.is_none_or(|first| first.engine == *engine)
    }
}
