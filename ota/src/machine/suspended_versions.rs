//! What the region says of one version counts for the studies that began with it as well, whichever version serves since: the agent knows each
//! version that is suspended, all of them at once.
use super::Machine;
use super::switches::MAX_REASON;
use crate::agent::{AgentStatus, SuspendedVersion};
use crate::fault::Fault;
use crate::machine::record::{Suspended, Switches};

impl Machine {
    /// Has the agent know the versions that the region suspends. Where the region is not heard, what it knows beside them stays.
    pub(super) async fn suspend_versions(
        &self,
        status: &AgentStatus,
        switches: &Switches,
        is_heard: bool,
    ) -> Result<(), Fault> {
        // An agent from before is told of what serves alone.
        let Some(known) = &status.suspended_versions else { return Ok(()) };
        let mut versions: Vec<SuspendedVersion> = switches.suspended.iter().filter_map(of_version).collect();
        if !is_heard {
            let is_missing = |one: &&SuspendedVersion| !versions.iter().any(|it| it.is_same(one));
            versions.extend(known.iter().filter(is_missing).cloned().collect::<Vec<_>>());
        }
        if versions != *known {
            self.agent.suspend_versions(versions).await?;
        }
        Ok(())
    }
}

fn of_version(suspended: &Suspended) -> Option<SuspendedVersion> {
    let reason: String = suspended.reason.trim().chars().take(MAX_REASON).collect();
    suspended.version.clone().map(|version| SuspendedVersion { package: suspended.package.clone(), version, reason })
}
