//! What the region suspends counts for studies under way as well, whichever version serves since, or none: the agent knows all of it.
use super::Machine;
use super::switches::MAX_REASON;
use crate::agent::{AgentStatus, RegionSuspension};
use crate::fault::Fault;
use crate::machine::record::{Suspended, Switches};

/// Bytes of a name or a version, as an agent takes a package.
const MAX_NAME: usize = 100;
/// Bytes of the list, and of these for each entry beside its words: as the agent takes it. What a region publishes is never longer.
const MAX_LIST: usize = 256 * 1024;
const PER_ENTRY: usize = 32;
/// Where the region has left it out.
const NO_REASON: &str = "the region gives no reason";
/// What is said once for as long as it lasts.
const TOO_LONG: &str = "the agent does not take all that the region suspends";

impl Machine {
    /// Has the agent know all that the region suspends, and tells whether it does. Where the region is not heard, what the agent knows beside it
    /// stays.
    pub(super) async fn tell_suspensions(
        &self,
        status: &AgentStatus,
        switches: &Switches,
        is_heard: bool,
    ) -> Result<bool, Fault> {
        // An agent from before is told of what serves alone.
        let Some(known) = &status.region_suspends else { return Ok(true) };
        let all = listed(&switches.suspended, if is_heard { &[] } else { known });
        let told = as_taken(&all);
        let is_whole = told.len() == all.len();
        if is_whole {
            self.said.over(TOO_LONG);
        } else if self.said.is_news(TOO_LONG, "") {
            tracing::warn!(target: "audit", listed = all.len(), told = told.len(), "{TOO_LONG}");
        }
        if told != *known {
            self.agent.region_suspends(told.to_vec()).await?;
        }
        Ok(is_whole)
    }
}

/// What was learned last comes first, and what the agent alone knows last.
fn listed(suspended: &[Suspended], known: &[RegionSuspension]) -> Vec<RegionSuspension> {
    let mut all: Vec<RegionSuspension> = suspended.iter().rev().filter_map(as_suspension).collect();
    for one in known {
        if !all.iter().any(|it| it.package == one.package && it.version == one.version) {
            all.push(one.clone());
        }
    }
    all
}

/// So many from the first on as the agent takes.
fn as_taken(all: &[RegionSuspension]) -> &[RegionSuspension] {
    let mut length = 0;
    let fits = |one: &&RegionSuspension| {
        length += one.package.len() + one.version.as_ref().map_or(0, String::len) + one.reason.len() + PER_ENTRY;
        length <= MAX_LIST
    };
    let count = all.iter().take_while(fits).count();
    &all[..count]
}

/// As the agent takes it; `None` for what can be no package of its: one of these would have it refuse all.
fn as_suspension(suspended: &Suspended) -> Option<RegionSuspension> {
    let Suspended { package, version, reason } = suspended.clone();
    let is_name = |name: &str| (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    let said = Some(reason.trim()).filter(|reason| !reason.is_empty()).unwrap_or(NO_REASON);
    let reason = said.chars().take(MAX_REASON).collect();
    let is_package = is_name(&package) && version.as_deref().is_none_or(is_name);
    is_package.then_some(RegionSuspension { package, version, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspended(package: &str, version: Option<&str>, reason: &str) -> Suspended {
        Suspended { package: package.to_owned(), version: version.map(str::to_owned), reason: reason.to_owned() }
    }

    #[test]
    fn what_can_be_no_package_of_the_agents_keeps_no_other_one_on() {
        let long = "x".repeat(MAX_NAME + 1);
        for (package, version) in
            [("", None), ("brain", Some("")), (&*long, None), ("brain", Some(&*long)), ("brain", Some("1\n0"))]
        {
            assert_eq!(as_suspension(&suspended(package, version, "drift")), None, "{package} {version:?}");
        }
        let reason = |said: &str| as_suspension(&suspended("brain", None, said)).unwrap().reason;
        assert_eq!((reason(" drift "), reason(" ")), ("drift".to_owned(), NO_REASON.to_owned()));
        assert_eq!(reason(&"x".repeat(2 * MAX_REASON)).len(), MAX_REASON);
    }

    #[test]
    fn of_more_than_the_agent_takes_what_was_learned_last_is_told() {
        let many: Vec<Suspended> = (0..10_000).map(|n| suspended(&format!("model-{n}"), None, "drift")).collect();
        let known = as_suspension(&suspended("brain", None, "drift")).unwrap();
        let all = listed(&many, std::slice::from_ref(&known));
        assert_eq!((all.len(), &all[10_000]), (10_001, &known));
        let told = as_taken(&all);
        assert!(told.len() < 10_000 && told[0].package == "model-9999", "{}", told.len());
        assert_eq!(as_taken(&all[..1000]).len(), 1000);
    }
}
