//! Leaving an operating system. One that is on trial, and did not hold, is given up for the one before it. A state that was withdrawn takes
//! its own with it: the box goes on to the one that the next state names, else to the one before, by the same rules as on its way here. What
//! is started is looked at like any system that was not found good on this box.
use super::record::{Back, OsTrial, Record, Step, System};
use super::verify::is_withdrawn;
use super::{Halt, Machine, files};
use crate::config::Os as OsConfig;
use crate::fault::{Blame, Fault};
use crate::rauc::{self, Running};
use crate::state::{DesiredState, Os};
use crate::trust::Trusted;

/// The system of a state that was withdrawn, or did not hold, is left once the box may restart.
const LEAVES: &str = "os-leaves";

/// Where the box goes.
enum To {
    /// It lies in the other slot.
    Other,
    /// It has to be written there.
    Bundle(Os),
    /// What runs is what the next state names.
    Stay,
}

impl Machine {
    /// Keeps, before a withdrawn state is left, that its system is to be left too.
    pub(super) fn note_system(&mut self, withdrawn: Option<&DesiredState>) -> Result<(), Fault> {
        let (Some(config), Some(os)) = (&self.config.os, withdrawn.and_then(|state| state.os.as_ref())) else {
            return Ok(());
        };
        if rauc::running(config)?.version != os.version || self.record.back.is_some() {
            return Ok(());
        }
        let back = Back { from: os.version.clone(), written: None, boot: None, refused: None };
        self.keep(Record { back: Some(back), ..self.record.clone() })
    }

    /// Leaves the system of a withdrawn state, as far as that can be done now.
    pub(super) async fn leave_system(&mut self, trusted: &Result<Trusted, Fault>) -> Result<(), Halt> {
        let (Some(back), Some(config)) = (self.record.back.clone(), self.config.os.clone()) else { return Ok(()) };
        // A system that comes with the action in hand takes its place.
        if self.is_underway() || self.os_trial().is_some() {
            return Ok(());
        }
        let running = rauc::running(&config).map_err(Halt::Later)?;
        if running.version != back.from {
            tracing::info!(target: "audit", left = back.from, runs = running.version, "the system of a withdrawn state was left");
            return self.keep_back(None);
        }
        if back.boot.as_ref().is_some_and(|boot| *boot != running.boot) {
            let reason =
                format!("the box was to leave {} and runs it again; a state that names another one does", back.from);
            return Err(Halt::Later(Fault::new("os-fell-back", Blame::Box, reason)));
        }
        match self.leads_to(&back, trusted.as_ref().ok()) {
            Ok(To::Stay) => {
                self.unmark_next().await?;
                return self.keep_back(None);
            }
            Ok(To::Other) => {}
            Ok(To::Bundle(os)) => {
                let trusted = trusted.as_ref().map_err(|fault| Halt::Later(fault.clone()))?;
                self.write_next(&config, trusted, &os, &back).await?;
            }
            Err(fault) => return Err(Halt::Later(fault)),
        }
        self.restart_back(&config, &running).await
    }

    /// Where the other slot was to be started to leave a system, it is not any more.
    pub(super) async fn unmark_next(&self) -> Result<(), Halt> {
        let is_marked = self.record.back.as_ref().is_some_and(|back| back.boot.is_some());
        if is_marked { rauc::keep_running_slot().await.map_err(Halt::Later) } else { Ok(()) }
    }

    async fn write_next(&mut self, config: &OsConfig, trusted: &Trusted, os: &Os, back: &Back) -> Result<(), Halt> {
        let image = trusted.image(os).map_err(Halt::Later)?;
        let served = self.guard(image.get().served(&self.http.transport(&self.config))).await?.map_err(Halt::Later)?;
        let mut record = self.record.clone();
        record.system.iter_mut().for_each(System::forget_other);
        self.keep(record).map_err(Halt::Later)?;
        match self.guard(rauc::install(&self.config, &served, config.install)).await? {
            Ok(()) => {}
            Err(fault) if fault.code == "os-refused" => {
                self.keep_back(Some(Back { refused: Some(fault.clone()), ..back.clone() }))?;
                return Err(Halt::Later(fault));
            }
            Err(fault) => return Err(Halt::Later(fault)),
        }
        self.keep_back(Some(Back { written: Some(os.version.clone()), ..back.clone() }))
    }

    async fn restart_back(&mut self, config: &OsConfig, running: &Running) -> Result<(), Halt> {
        self.heed_restart(config, "was withdrawn").await?;
        self.while_polling(rauc::idle(config.install)).await.map_err(Halt::Later)?;
        self.guard_next(running)?;
        // Until that is kept, nobody knows of the mark but the boot loader.
        self.is_unmarked = false;
        rauc::start_other_slot().await.map_err(Halt::Later)?;
        let back = self.record.back.clone().map(|back| Back { boot: Some(running.boot.clone()), ..back });
        if let Err(halt) = self.keep_back(back) {
            rauc::keep_running_slot().await.map_err(Halt::Later)?;
            return Err(halt);
        }
        tracing::warn!(target: "audit", leaves = running.version, "the box restarts to leave the system of a withdrawn state");
        self.ask_for_restart().await?;
        Err(Halt::Rebooting)
    }

    /// Gives up a system on trial that did not hold, or whose state did not. `given_up` is the boot in which that was done.
    pub(super) async fn leave_trial(&mut self, trial: &OsTrial, given_up: Option<&str>) -> Result<String, Halt> {
        let Some(config) = self.config.os.clone() else {
            return Ok("this box's updater looks after no operating system".to_owned());
        };
        let running = rauc::running(&config).map_err(Halt::Later)?;
        if self.is_made_anew(trial, &running).await.map_err(Halt::Later)? {
            return Ok(format!("runs {}, which was not started by this update", running.version));
        }
        // What calls itself otherwise than either was brought under a wrong name: it is given up like the system on trial.
        if running.version == trial.before {
            // Also where the boot loader went back by itself: it does not try again.
            self.unwrite_os().await.map_err(Halt::Later)?;
            self.take_on(running.version.clone()).await.map_err(Halt::Later)?;
            return Ok(format!("runs {}", running.version));
        }
        match given_up {
            Some(boot) if boot != running.boot => {
                return Ok(format!("{} was given up, and the box started it again", trial.version));
            }
            Some(_) => {}
            None => {
                // One whose node does not answer has nothing to wait for.
                if self.agent.status().await.is_ok_and(|status| status.node_answers) {
                    self.heed_restart(&config, "did not hold").await?;
                }
                rauc::give_up_running_slot().await.map_err(Halt::Later)?;
                self.change(|action| {
                    if let Step::RollingBack { boot, .. } = &mut action.step {
                        *boot = Some(running.boot);
                    }
                })?;
            }
        }
        self.ask_for_restart().await?;
        Err(Halt::Rebooting)
    }

    /// It restarts as on its way here: in its window, and when no study is worked on.
    async fn heed_restart(&self, config: &OsConfig, why: &str) -> Result<(), Halt> {
        let Some(waits) = self.box_waits_for(config).await else { return Ok(()) };
        self.waits_to_leave(true);
        self.pace.say(waits);
        let reason = format!("the system of a state that {why} is left at a restart, which {waits}");
        Err(Halt::Later(Fault::new(LEAVES, Blame::Box, reason)))
    }

    fn leads_to(&self, back: &Back, trusted: Option<&Trusted>) -> Result<To, Fault> {
        let next = self.record.good.first().map(|good| &good.descriptor);
        let next = next.map(|descriptor| files::state_before(&self.config.store(), descriptor)).transpose()?;
        let system = self.record.system.as_ref();
        let other = system.and_then(|system| system.other.as_ref());
        // Where the listing can't be learned now, the one known last counts.
        let other_bundle = system.and_then(|system| system.other_bundle.as_ref());
        let is_withdrawn = trusted.zip(other_bundle).is_some_and(|(trusted, bundle)| is_withdrawn(trusted, bundle));
        match (next.and_then(|state| state.get().os.clone()), other) {
            (Some(os), _) if os.version == back.from => Ok(To::Stay),
            (Some(os), other) if back.written.as_ref() == Some(&os.version) || other == Some(&os.version) => {
                Ok(To::Other)
            }
            (Some(os), _) => {
                self.reads_spool(&os.version)?;
                back.refused.clone().map_or(Ok(To::Bundle(os)), Err)
            }
            (None, Some(other)) if is_withdrawn => {
                let reason = format!(
                    "{} came with a state that was withdrawn, and so was {other} before it: deploy a state that names another one",
                    back.from
                );
                Err(Fault::new("os-stays", Blame::Region, reason))
            }
            (None, Some(_)) => Ok(To::Other),
            (None, None) => {
                let reason = format!(
                    "{} came with a state that was withdrawn, and no system before it is here that reads what this one has written: deploy a state that \
                     names another one",
                    back.from
                );
                Err(Fault::new("os-stays", Blame::Region, reason))
            }
        }
    }

    fn keep_back(&mut self, back: Option<Back>) -> Result<(), Halt> {
        self.keep(Record { back, ..self.record.clone() }).map_err(Halt::Later)
    }
}
