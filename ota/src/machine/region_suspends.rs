//! What the region says of one version counts for the studies that began with it as well, whichever version serves since: the agent knows each
//! version that is suspended, all of them at once.
use super::Machine;
use super::switches::MAX_REASON;
use crate::agent::{AgentStatus, SuspendedVersion};
use crate::fault::Fault;
use crate::machine::record::{Suspended, Switches};

/// Bytes of a name or a version, as an agent takes a package.
const MAX_NAME: usize = 100;
/// Where the region has left it out.
const NO_REASON: &str = "the region gives no reason";

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

/// As the agent takes it; `None` for what can be no package of its: one of these would have it refuse all.
fn of_version(suspended: &Suspended) -> Option<SuspendedVersion> {
    let (package, version) = (suspended.package.clone(), suspended.version.clone()?);
    let is_name = |name: &str| (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    let said = Some(suspended.reason.trim()).filter(|reason| !reason.is_empty()).unwrap_or(NO_REASON);
    let reason = said.chars().take(MAX_REASON).collect();
    (is_name(&package) && is_name(&version)).then_some(SuspendedVersion { package, version, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_package_of_the_agents_keeps_no_other_version_on() {
        let suspended = |package: &str, version: &str, reason: &str| Suspended {
            package: package.to_owned(),
            version: Some(version.to_owned()),
            reason: reason.to_owned(),
        };
        let long = "x".repeat(MAX_NAME + 1);
        for (package, version) in [("", "1.0.0"), ("brain", ""), (&long, "1.0.0"), ("brain", &long), ("brain", "1\n0")]
        {
            assert_eq!(of_version(&suspended(package, version, "drift")), None, "{package} {version}");
        }
        let reason = |said: &str| of_version(&suspended("brain", "1.0.0", said)).unwrap().reason;
        assert_eq!((reason(" drift "), reason(" ")), ("drift".to_owned(), NO_REASON.to_owned()));
        assert_eq!(reason(&"x".repeat(2 * MAX_REASON)).len(), MAX_REASON);
        assert_eq!(of_version(&Suspended { version: None, ..suspended("brain", "", "drift") }), None);
    }
}
