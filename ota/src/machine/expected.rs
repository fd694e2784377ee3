//! The system that runs is the one that was found good here, or one on trial. Any other was started by somebody else: by hand, by the
//! rescue (also in the middle of a trial), by a boot loader that could not start what it was told, or it is the one that the box went back
//! to. It is on trial too. One that is healthy is taken on; one that is not is never called good, so that the boot loader gives it up, and
//! the channel is told.
use super::Machine;
use super::record::{OsTrial, Record, System};
use crate::config::Os as OsConfig;
use crate::fault::{Blame, Fault};
use crate::rauc::{self, Running};
use std::collections::BTreeSet;

impl Machine {
    /// Looks at the system that runs, where nobody here has found it good.
    pub(super) async fn meet_system(&mut self) -> Result<(), Fault> {
        let Some(config) = self.config.os.clone() else { return Ok(()) };
        let running = rauc::running(&config)?;
        if let Some(trial) = self.os_trial()
            && !self.is_made_anew(trial, &running).await?
        {
            // Its step looks after it.
            return Ok(());
        }
        match &self.record.system {
            // The one that the box was provisioned with.
            None => self.take_on(running.version).await,
            Some(system) if system.version == running.version => Ok(()),
            Some(system) => {
                let before = system.clone();
                self.try_system(&config, running, &before).await
            }
        }
    }

    async fn try_system(&mut self, config: &OsConfig, running: Running, good: &System) -> Result<(), Fault> {
        let before = &good.version;
        tracing::warn!(target: "audit", version = running.version, before, "the box runs a system that was not found good on it");
        // Once for each start it has its time; a later look waits for nothing.
        let time =
            if self.tried_boot.as_ref() == Some(&running.boot) { std::time::Duration::ZERO } else { config.health };
        self.tried_boot = Some(running.boot);
        self.pace.say("looks at a system that was not found good on this box");
        self.while_polling(self.healthy_within(time, &good.engines, &BTreeSet::new())).await.map_err(|missed| {
            let reason = format!(
                "the box runs {} where {before} was found good, and it is not healthy: {missed}; it is not called good",
                running.version
            );
            Fault::new("os-unexpected", Blame::Box, reason)
        })?;
        rauc::mark_good().await?;
        tracing::warn!(target: "audit", version = running.version, before, "the system is healthy, and was taken on");
        self.take_on(running.version).await
    }

    /// Whether nobody here has started the system that runs while one is on trial: it is neither that nor the one before it, and RAUC has
    /// written another one to its slot, or none. What RAUC has written under another name than the region's was started by the trial.
    pub(super) async fn is_made_anew(&self, trial: &OsTrial, running: &Running) -> Result<bool, Fault> {
        let is_known = [&trial.before, &trial.version].contains(&&running.version);
        Ok(!is_known && rauc::written_version().await?.as_ref() != Some(&running.version))
    }

    /// The running system is the one that counts. What the other slot holds is not known.
    pub(super) async fn take_on(&mut self, version: String) -> Result<(), Fault> {
        let mut engines = self.known_engines();
        if let Ok(status) = self.agent.status().await {
            engines = engines.seen(&status);
        }
        let bundle = self.record.system.as_ref().and_then(|system| match &system.other {
            Some(other) if *other == version => system.other_bundle.clone(),
            _ => system.bundle.clone().filter(|_| system.version == version),
        });
        let system = System { version, other: None, engines, bundle, other_bundle: None };
        self.keep(Record { system: Some(system), ..self.record.clone() })?;
        self.is_heard();
        Ok(())
    }
}
