//! Verified → Installed: the operating system that the state names runs. Committed is it only after the trial of the models.
//!
//! That it is on trial is kept before its slot is touched, and the boot loader is told of it right before the restart alone: whenever
//! the power fails, the box starts the system that it had, or one whose health is looked at.
use super::engines::Engines;
use super::{Halt, Installed, Machine, Verified};
use crate::config::Os as OsConfig;
use crate::fault::{Blame, Fault};
use crate::limits::transfer::MAX_STREAMS;
use crate::machine::record::{OsTrial, Slot, Step, System};
use crate::networks;
use crate::rauc::{self, Running};
use crate::state::Os;
use crate::trust::{self, Image};
use crate::units;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two looks at a condition that nobody announces: the clock's window, the agent's queue.
pub(super) const LOOK: Duration = Duration::from_secs(1);

impl Machine {
    pub(super) async fn install(&mut self, verified: Verified) -> Result<Installed, Halt> {
        let (Some(os), Some(image)) = (verified.state.get().os.clone(), verified.image.clone()) else {
            self.advance(Step::Installed).await?;
            return Ok(Installed(verified));
        };
        let Some(config) = self.config.os.clone() else {
            let reason = "the state names an operating system, and this box's updater looks after none: see `[os]`";
            return Err(self.refuse(Fault::new("os-not-managed", Blame::Configuration, reason)));
        };
        let running = rauc::running(&config).map_err(|fault| self.refuse(fault))?;
        if let Some(trial) = self.os_trial().filter(|trial| trial.version == running.version).cloned() {
            self.check_health(&config, &trial).await?;
        } else if running.version != os.version {
            Box::pin(self.bring(&config, image, &os, &running)).await?;
        }
        self.advance(Step::Installed).await?;
        Ok(Installed(verified))
    }

    /// Writes the system to the other slot and starts it, from wherever that was left.
    async fn bring(
        &mut self,
        config: &OsConfig,
        image: Result<trust::Verified<Image>, Fault>,
        os: &Os,
        running: &Running,
    ) -> Result<(), Halt> {
        let version = &os.version;
        if let Some(trial) = self.os_trial()
            && self.is_made_anew(trial, running).await.map_err(Halt::Later)?
        {
            let reason = format!(
                "the box was to come to {version} from {} and runs {}, which this update has not started: it was rescued, or installed by \
                 hand; send the state again",
                trial.before, running.version
            );
            return Err(Halt::RollBack(Fault::new("os-made-anew", Blame::Box, reason)));
        }
        let slot = match self.os_trial() {
            // The updater of that boot has told the boot loader to start it; a power cut before that leaves the slot written.
            Some(trial) if trial.slot == Slot::Marked && trial.boot != running.boot => {
                if running.version != trial.before {
                    let reason = format!(
                        "the box was to start {version} and runs {}: publish the bundle under the version that it has",
                        running.version
                    );
                    return Err(Halt::RollBack(Fault::new("os-version-differs", Blame::Region, reason)));
                }
                let reason = format!("the box was to start {version} and runs {} again", running.version);
                return Err(Halt::RollBack(Fault::new("os-fell-back", Blame::Box, reason)));
            }
            Some(trial) => trial.slot,
            None => Slot::Writing,
        };
        if slot == Slot::Writing {
            let image = image.map_err(Halt::Later)?;
            self.reads_spool(version).map_err(|fault| self.refuse(fault))?;
            self.write_slot(config, image.get(), os, running).await?;
        }
        self.advance(Step::Rebooting).await?;
        Err(self.restart(config, running).await)
    }

    async fn write_slot(&mut self, config: &OsConfig, image: &Image, os: &Os, running: &Running) -> Result<(), Halt> {
        let served = self.guard(image.served(&self.http.transport(&self.config))).await?;
        let served = served.map_err(|fault| self.judge(fault))?;
        let engines = match self.os_trial() {
            Some(trial) => trial.engines.clone(),
            None => self.known_engines().seen(&self.agent_up().await?),
        };
        self.unmark_next().await?;
        // Before RAUC touches the slot: from here on whatever starts from it is on trial.
        let trial = OsTrial {
            version: os.version.clone(),
            before: running.version.clone(),
            boot: running.boot.clone(),
            slot: Slot::Writing,
            engines,
            networks: BTreeSet::new(),
            bundle: Some(os.bundle.clone()),
            broken_streams: self.os_trial().map_or(0, |trial| trial.broken_streams),
            committed: false,
        };
        let mut record = self.record.clone();
        record.action.iter_mut().for_each(|action| action.os = Some(trial.clone()));
        // What the slot held is gone, and so is the wish to go back to it.
        record.system.iter_mut().for_each(System::forget_other);
        record.back = None;
        self.keep(record).map_err(Halt::Later)?;
        match self.guard(rauc::install(&self.config, &served, config.install)).await? {
            Ok(()) => {}
            Err(fault) if fault.code == "os-service-away" => return Err(Halt::Later(fault)),
            Err(fault) => return Err(self.not_installed(image, fault).await?),
        }
        self.change(|action| action.os.iter_mut().for_each(|os| os.slot = Slot::Written))
    }

    /// What it means that RAUC did not install a bundle. One that did not come whole is tried again; what was signed otherwise, or cannot be
    /// written, is refused.
    async fn not_installed(&mut self, image: &Image, fault: Fault) -> Result<Halt, Halt> {
        let fault = match image.served(&self.http.transport(&self.config)).await {
            Err(trouble) if fault.code == "os-refused" => {
                rauc::stream_failed(trouble.blame, &trouble.to_string(), &fault)
            }
            _ => fault,
        };
        let broken = self.os_trial().map_or(0, |trial| trial.broken_streams) + 1;
        if fault.code == "os-stream-failed" && broken < MAX_STREAMS {
            self.change(|action| action.os.iter_mut().for_each(|os| os.broken_streams = broken))?;
            return Ok(Halt::Later(fault));
        }
        self.unwrite_os().await.map_err(Halt::Later)?;
        self.change(|action| action.os = None)?;
        Ok(Halt::Refused(fault))
    }

    /// Restarts the box into the other slot once its window is open and no study is worked on. A dead PACS is no reason to wait: queues
    /// survive.
    async fn restart(&mut self, config: &OsConfig, running: &Running) -> Halt {
        match self.restart_when_ready(config, running).await {
            Ok(()) => Halt::Rebooting,
            Err(halt) => halt,
        }
    }

    async fn restart_when_ready(&mut self, config: &OsConfig, running: &Running) -> Result<(), Halt> {
        let ready = async {
            while let Some(why) = self.restart_waits_for(config).await {
                self.pace.say(why);
                tokio::time::sleep(LOOK).await;
            }
        };
        if let Err(halt) = self.guard(ready).await {
            self.release_jobs().await;
            return Err(halt);
        }
        self.mark(running).await?;
        self.ask_for_restart().await
    }

    async fn mark(&mut self, running: &Running) -> Result<(), Halt> {
        self.guard_next(running)?;
        // Of this moment: what is not there now, by night perhaps, is not asked of the new system.
        let networks = networks::joined().await;
        self.change(|action| action.os.iter_mut().for_each(|os| os.networks.clone_from(&networks)))?;
        rauc::start_other_slot().await.map_err(Halt::Later)?;
        let kept = self.change(|action| {
            action.os.iter_mut().for_each(|os| (os.slot, os.boot) = (Slot::Marked, running.boot.clone()));
        });
        if kept.is_err() {
            // What can't be written down is not started.
            rauc::keep_running_slot().await.map_err(Halt::Later)?;
        }
        kept
    }

    async fn restart_waits_for(&self, config: &OsConfig) -> Option<&'static str> {
        let closed = match () {
            () if self.is_stopped() => "waits: the region has stopped all rollouts",
            () if !self.is_window_open() => "waits for its window",
            () => return self.box_waits_for(config).await,
        };
        self.release_jobs().await;
        Some(closed)
    }

    /// The new system is healthy: the agent answers, its node too, no lesser engines than before, the units that a box cannot be without
    /// run, and it is in the networks that it was in.
    async fn check_health(&self, config: &OsConfig, trial: &OsTrial) -> Result<(), Halt> {
        let healthy =
            self.guard_to_the_end(self.healthy_within(config.health, &trial.engines, &trial.networks)).await?;
        healthy.map_err(|missed| {
            let within = config.health.as_secs();
            let reason = format!("{} is not healthy within {within} s: {}", trial.version, missed.reason);
            Halt::RollBack(Fault { reason, ..missed })
        })
    }

    /// Looks at the running system until it is healthy; what it lacks, where its time is over before. What starts still is waited for.
    pub(super) async fn healthy_within(
        &self,
        time: Duration,
        engines: &Engines,
        networks: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        let until = Instant::now() + time;
        while let Some(missed) = self.unhealthy(engines, networks).await {
            if Instant::now() >= until {
                return Err(missed);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What the running system lacks, if anything.
    async fn unhealthy(&self, engines: &Engines, networks: &BTreeSet<String>) -> Option<Fault> {
        let missed = match self.agent.status().await {
            Ok(status) if !status.node_answers => Some("the DICOM node does not answer".to_owned()),
            Ok(status) => engines.fallen(&status),
            Err(error) => Some(error.to_string()),
        };
        if let Some(missed) = missed {
            return Some(Fault::new("os-unhealthy", Blame::Region, missed));
        }
        match units::missing().await {
            Some(missed) => Some(missed),
            None => networks::left(networks).await,
        }
    }

    /// The engines that were last known to serve under a system that was found good.
    pub(super) fn known_engines(&self) -> Engines {
        self.record.system.as_ref().map_or_else(Engines::default, |system| system.engines.clone())
    }

    /// The system of the action in hand, for as long as that is not over.
    pub(super) fn os_trial(&self) -> Option<&OsTrial> {
        let action = self.record.action.as_ref().filter(|action| !matches!(action.step, Step::Ended { .. }));
        action.and_then(|action| action.os.as_ref())
    }

    /// Whether the system of the action in hand was started on trial.
    pub(super) fn is_os_started(&self) -> bool {
        self.os_trial()
            .zip(self.config.os.as_ref())
            .is_some_and(|(trial, config)| rauc::running(config).is_ok_and(|running| running.version == trial.version))
    }

    /// A system that was not started is not started any more. RAUC can't be stopped: it is waited for.
    pub(super) async fn unwrite_os(&mut self) -> Result<(), Fault> {
        let Some(config) = self.config.os.clone().filter(|_| self.os_trial().is_some()) else { return Ok(()) };
        self.pace.say("waits until RAUC is done");
        self.while_polling(rauc::idle(config.install)).await?;
        rauc::keep_running_slot().await?;
        let mut record = self.record.clone();
        record.action.iter_mut().filter_map(|action| action.os.as_mut()).for_each(|os| os.slot = Slot::Writing);
        self.keep(record)
    }

    /// Tells the boot loader to stay with the new system.
    pub(super) async fn commit(&mut self) -> Result<(), Halt> {
        let Some(trial) = self.os_trial().filter(|trial| !trial.committed).cloned() else { return Ok(()) };
        rauc::mark_good().await.map_err(Halt::Later)?;
        let mut record = self.record.clone();
        record.action.iter_mut().filter_map(|action| action.os.as_mut()).for_each(|os| os.committed = true);
        let before = record.system.take().filter(|system| system.version == trial.before);
        record.system = Some(System {
            version: trial.version,
            other: Some(trial.before),
            engines: trial.engines,
            bundle: trial.bundle,
            other_bundle: before.and_then(|system| system.bundle),
        });
        self.keep(record).map_err(Halt::Later)?;
        self.is_heard();
        Ok(())
    }
}
