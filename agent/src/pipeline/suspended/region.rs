//! What the region suspends, as one list, whether it serves or not: a job goes on with the version that it began with, also where another one
//! serves since or none, and the region's word counts for it. Kept in the spool, as jobs are.
use super::By;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::limits::suspended::{MAX_LIST, MAX_NAME, MAX_REASON, MAX_TOLD, PER_ENTRY};
use crate::pipeline::Pipeline;
use crate::spool::{Batch, Spool, SpoolError, Table};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the spool keeps the list, in one record.
const LIST: &str = "region-suspends";

/// A package that the region suspends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSuspension {
    /// Its name.
    pub package: String,
    /// This version alone; absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why, for the audit log and for people.
    pub reason: String,
}

/// As the spool has it: a later agent may say more of each, and this one starts all the same.
#[derive(Serialize, Deserialize)]
struct Kept {
    package: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default = "unsaid")]
    reason: String,
}

fn unsaid() -> String {
    "no reason is kept".to_owned()
}

impl From<Kept> for RegionSuspension {
    fn from(Kept { package, version, reason }: Kept) -> Self {
        Self { package, version, reason }
    }
}

impl From<RegionSuspension> for Kept {
    fn from(RegionSuspension { package, version, reason }: RegionSuspension) -> Self {
        Self { package, version, reason }
    }
}

impl RegionSuspension {
    pub(super) fn is_of(&self, package: &str, version: &str) -> bool {
        self.package == package && self.version.as_deref().is_none_or(|only| only == version)
    }

    /// Why a model or a job is off, and how that is taken back.
    pub(super) fn in_words(&self, has_channel: bool) -> String {
        let (what, reason, package) = (self.what(), &self.reason, &self.package);
        let way_back = if has_channel {
            format!("The channel takes it back, once the region lifts it (`sund-channel resume {package}`)")
        } else {
            format!("A person takes it back: at the console (Resume), or by `sund resume {package}` on this box")
        };
        format!("the region suspends {what}: {reason}. {way_back}")
    }

    fn what(&self) -> String {
        let Self { package, version, .. } = self;
        version.as_ref().map_or_else(|| format!("{package} in every version"), |version| format!("{package} {version}"))
    }

    fn length(&self) -> usize {
        self.package.len() + self.version.as_ref().map_or(0, String::len) + self.reason.len() + PER_ENTRY
    }

    /// The fault of what is no region's suspension.
    fn check(&self) -> Result<(), Fault> {
        let is_name = |name: &str| (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        let is_reason = !self.reason.trim().is_empty() && self.reason.chars().count() <= MAX_REASON;
        if is_name(&self.package) && self.version.as_deref().is_none_or(is_name) && is_reason {
            return Ok(());
        }
        let reason = format!(
            "what the region suspends has the name of a package and perhaps a version, in at most {MAX_NAME} bytes each, and a reason, in at \
             most {MAX_REASON} characters"
        );
        Err(Fault::new("suspension-unclear", Blame::Peer, reason))
    }
}

/// What the region suspends now.
#[derive(Debug)]
pub(super) struct Region(Mutex<Vec<RegionSuspension>>);

impl Region {
    pub(super) fn kept(spool: &Spool) -> Result<Self, SpoolError> {
        let kept: Vec<Kept> = spool.get(Table::Meta, LIST)?.unwrap_or_default();
        Ok(Self(Mutex::new(kept.into_iter().map(RegionSuspension::from).collect())))
    }

    /// What it says of a version of a package.
    pub(super) fn of(&self, package: &str, version: &str) -> Option<RegionSuspension> {
        self.all().iter().find(|one| one.is_of(package, version)).cloned()
    }

    /// Whether it names a package, in whichever version.
    pub(super) fn names(&self, package: &str) -> bool {
        self.all().iter().any(|one| one.package == package)
    }

    fn all(&self) -> MutexGuard<'_, Vec<RegionSuspension>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipeline {
    /// All that the region suspends, as it was told last.
    pub(crate) fn region_suspends(&self) -> Vec<RegionSuspension> {
        self.suspended.region.all().clone()
    }

    /// Takes all that the region suspends: from the answer to this on no job of it ends with a result, whichever version serves, and what is
    /// not among it is suspended by this word no longer.
    pub(crate) fn suspend_as_region(&self, all: Vec<RegionSuspension>) -> Result<(), Fault> {
        if all.iter().map(RegionSuspension::length).sum::<usize>() > MAX_LIST {
            let reason = format!("{} suspensions are more than the agent keeps: {MAX_LIST} bytes", all.len());
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        all.iter().try_for_each(RegionSuspension::check)?;
        self.keep_of_region(|_| all, By::Channel)
    }

    /// Takes back what a region said of a package that the box has left: nobody else is left to do it.
    pub(super) fn resume_of_region(&self, package: &str, by: By) -> Result<(), Fault> {
        if !self.suspended.region.names(package) {
            return Ok(());
        }
        let others = |all: &[RegionSuspension]| all.iter().filter(|one| one.package != package).cloned().collect();
        self.keep_of_region(others, by)
    }

    fn keep_of_region(
        &self,
        change: impl FnOnce(&[RegionSuspension]) -> Vec<RegionSuspension>,
        by: By,
    ) -> Result<(), Fault> {
        // A job that is being concluded ends first, or sees it.
        let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let all = change(&self.suspended.region.all());
        let kept: Vec<Kept> = all.iter().cloned().map(Kept::from).collect();
        let mut batch = Batch::new();
        batch.put(Table::Meta, LIST, &kept, None)?;
        self.spool.write_blocking(batch)?;
        let before = std::mem::replace(&mut *self.suspended.region.all(), all.clone());
        drop(one_at_a_time);
        let more = all.iter().filter(|one| !before.contains(one));
        // One that a wider one covers goes on.
        let is_left = |one: &RegionSuspension| {
            all.iter().any(|it| it.package == one.package && (it.version.is_none() || it.version == one.version))
        };
        let less = before.iter().filter(|one| !is_left(one));
        self.say_of_region(more.map(|one| (one.what(), Some(one.reason.clone()))).collect(), by);
        self.say_of_region(less.map(|one| (one.what(), None)).collect(), by);
        self.recorder.changed();
        Ok(())
    }

    /// One event for each change, with its reason where it is a suspension; of very many, one for the rest: each is on the disk before the answer.
    fn say_of_region(&self, changes: Vec<(String, Option<String>)>, by: By) {
        let by = by.words();
        let rest = changes.len().saturating_sub(MAX_TOLD);
        let is_suspended = changes.first().is_some_and(|(_, reason)| reason.is_some());
        let of_rest =
            (rest > 0).then(|| (format!("{rest} more"), is_suspended.then(|| "of the region's list".to_owned())));
        for (package, reason) in changes.into_iter().take(MAX_TOLD).chain(of_rest) {
            if let Some(reason) = reason {
                tracing::warn!(model = package, reason, by, "a model is suspended");
                self.recorder.audit(audit::Event::ModelSuspended { package, reason, by });
            } else {
                tracing::warn!(model = package, by, "a model is resumed");
                self.recorder.audit(audit::Event::ModelResumed { package, by });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Holder;
    use crate::pipeline::conclude::tests::pipeline;

    fn suspends(version: Option<&str>, reason: &str) -> RegionSuspension {
        let version = version.map(str::to_owned);
        RegionSuspension { package: "brain".to_owned(), version, reason: reason.to_owned() }
    }

    fn of(pipeline: &Pipeline, version: &str) -> Option<(String, Vec<Holder>)> {
        pipeline.suspended.off("brain", version).map(|(fault, by)| (fault.reason, by))
    }

    #[test]
    fn what_the_region_suspends_is_off_whichever_serves_until_it_is_named_no_longer_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let begun = pipeline(folder.path());
        begun.suspend_as_region(vec![suspends(Some("1.0.0"), "drift")]).unwrap();
        let (reason, by) = of(&begun, "1.0.0").unwrap();
        assert!(reason.contains("brain 1.0.0: drift") && by == [Holder::Region], "{reason}");
        assert_eq!(of(&begun, "1.0.1"), None, "no other version is off");
        drop(begun);
        let begun = pipeline(folder.path());
        assert_eq!(begun.region_suspends(), [suspends(Some("1.0.0"), "drift")]);
        assert!(of(&begun, "1.0.0").is_some());
        // Wider: what was off stays so.
        begun.suspend_as_region(vec![suspends(None, "drift")]).unwrap();
        assert!(["0.9.0", "1.0.0", "1.0.1"].iter().all(|version| of(&begun, version).is_some()));
        begun.suspend_as_region(Vec::new()).unwrap();
        assert_eq!(of(&begun, "1.0.0"), None);
        drop(begun);
        assert_eq!(of(&pipeline(folder.path()), "1.0.0"), None);
    }

    #[test]
    fn what_is_no_list_of_the_regions_is_refused_and_what_stood_stands() {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline(folder.path());
        pipeline.suspend_as_region(vec![suspends(None, "drift")]).unwrap();
        let long = "x".repeat(MAX_REASON + 1);
        let too_many = vec![suspends(Some("2.0.0"), "drift"); MAX_LIST / PER_ENTRY];
        let of = |version, reason| vec![suspends(Some(version), reason)];
        for refused in [of("", "drift"), of("2\n0", "drift"), of("2.0.0", " "), of("2.0.0", &long), too_many] {
            assert_eq!(pipeline.suspend_as_region(refused).unwrap_err().code, "suspension-unclear");
        }
        assert_eq!(pipeline.region_suspends(), [suspends(None, "drift")]);
    }

    /// After an update that did not hold: a start that fails for it would leave the box without an agent.
    #[test]
    fn a_list_that_a_later_agent_has_kept_is_read_as_far_as_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let kept = serde_json::json!([{ "package": "brain", "reason": "drift", "scope": "of a later agent" }]);
        let mut batch = Batch::new();
        batch.put(Table::Meta, LIST, &kept, None).unwrap();
        pipeline(folder.path()).spool.write_blocking(batch).unwrap();
        assert_eq!(pipeline(folder.path()).region_suspends(), [suspends(None, "drift")]);
    }

    #[test]
    fn who_takes_the_regions_word_back_and_how_is_told_by_whether_the_box_has_a_channel() {
        let told = |has_channel| suspends(Some("1.0.0"), "drift").in_words(has_channel);
        assert!(
            told(true).contains("`sund-channel resume brain`") && !told(true).contains("`sund resume"),
            "{}",
            told(true)
        );
        assert!(
            told(false).contains("`sund resume brain`") && !told(false).contains("sund-channel"),
            "{}",
            told(false)
        );
    }
}
