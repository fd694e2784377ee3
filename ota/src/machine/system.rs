//! Verified → Installed: the operating system that the state names runs. Committed is it only after the trial of the models.
use super::{Halt, Installed, Machine, Verified};
use crate::agent::AgentStatus;
use crate::config::Os as OsConfig;
use crate::fault::{Blame, Fault};
use crate::machine::record::{OsTrial, Step};
use crate::rauc;
use crate::trust::Image;
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
        let trial = self.record.action.as_ref().and_then(|action| action.os.clone());
        match trial {
            None if running.version == os.version => {}
            None => {
                let image = image.map_err(Halt::Later)?;
                let engine_class = self.agent_up().await?.engine_class;
                self.write_slot(&config, image.get()).await?;
                let (version, before, boot) = (os.version.clone(), running.version, running.boot);
                let trial = OsTrial { version, before, boot, engine_class, committed: false };
                self.change(|action| action.os = Some(trial))?;
                self.advance(Step::Rebooting).await?;
                return Err(self.restart(&config).await);
            }
            // Killed between the persisted step and the restart.
            Some(trial) if trial.boot == running.boot => return Err(self.restart(&config).await),
            Some(trial) if running.version == trial.version => self.check_health(&config, &trial).await?,
            Some(_) => {
                let reason = format!("the box was to start {} and runs {} again", os.version, running.version);
                return Err(Halt::RollBack(Fault::new("os-fell-back", Blame::Box, reason)));
            }
        }
        self.advance(Step::Installed).await?;
        Ok(Installed(verified))
    }

    async fn write_slot(&self, config: &OsConfig, image: &Image) -> Result<(), Halt> {
        let written = self.guard(rauc::install(&self.config, image, config.install)).await;
        match written {
            Ok(written) => written.map_err(|fault| match fault.code.as_ref() {
                "os-service-away" => Halt::Later(fault),
                _ => Halt::Refused(fault),
            }),
            // RAUC goes on writing the other slot; nobody will start it.
            Err(halt) => {
                rauc::keep_running_slot().await.map_err(Halt::Later)?;
                Err(halt)
            }
        }
    }

    /// Restarts the box once its window is open and no study is worked on. A dead PACS is no reason to wait: queues survive.
    async fn restart(&self, config: &OsConfig) -> Halt {
        let ready = async {
            loop {
                let now = jiff::Timestamp::now();
                let is_open = config.window.as_ref().is_none_or(|window| window.is_open(now)) && self.when.is_open(now);
                // An agent that does not answer works on nothing.
                let is_idle = self.agent.status().await.map_or(true, |status| status.running == 0);
                self.pace.say(match (self.is_stopped(), is_open, is_idle) {
                    (false, true, true) => return rauc::reboot().await,
                    (true, ..) => "waits: the region has stopped all rollouts",
                    (_, false, _) => "waits for its window",
                    (_, _, false) => "waits for running studies",
                });
                tokio::time::sleep(LOOK).await;
            }
        };
        match self.guard(ready).await {
            Ok(Ok(())) => Halt::Rebooting,
            Ok(Err(fault)) => Halt::Later(fault),
            Err(halt) => halt,
        }
    }

    /// The new system is healthy: the agent answers, its node too, and no lesser engines than before.
    async fn check_health(&self, config: &OsConfig, trial: &OsTrial) -> Result<(), Halt> {
        let until = Instant::now() + config.health;
        loop {
            let missed = match self.agent.status().await {
                Ok(status) => match unhealthy(&status, trial) {
                    None => return Ok(()),
                    Some(reason) => reason,
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                let reason = format!("{} is not healthy within {} s: {missed}", trial.version, config.health.as_secs());
                return Err(Halt::RollBack(Fault::new("os-unhealthy", Blame::Region, reason)));
            }
            self.guard_to_the_end(tokio::time::sleep(LOOK)).await?;
        }
    }

    /// Whether the system of the action in hand was started on trial.
    pub(super) fn is_os_started(&self) -> bool {
        let trial = self.record.action.as_ref().and_then(|action| action.os.as_ref());
        trial.zip(self.config.os.as_ref()).is_some_and(|(trial, config)| {
            rauc::running(config).is_ok_and(|running| running.boot != trial.boot && running.version == trial.version)
        })
    }

    /// Tells the boot loader to stay with the new system.
    pub(super) async fn commit(&mut self) -> Result<(), Halt> {
        let is_open = self.record.action.as_ref().and_then(|action| action.os.as_ref()).is_some_and(|os| !os.committed);
        if is_open {
            rauc::mark_good().await.map_err(Halt::Later)?;
            self.change(|action| action.os.iter_mut().for_each(|os| os.committed = true))?;
        }
        Ok(())
    }
}

fn unhealthy(status: &AgentStatus, trial: &OsTrial) -> Option<String> {
    if !status.node_answers {
        return Some("the DICOM node does not answer".to_owned());
    }
    if trial.engine_class == "gpu" && status.engine_class != "gpu" {
        return Some(format!("models are served by `{}`, and by a GPU before", status.engine_class));
    }
    None
}
