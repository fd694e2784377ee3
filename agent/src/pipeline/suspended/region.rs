//! Versions of models that the region suspends, whichever version serves: a job goes on with the version that it began with, also where another
//! one serves since, and what the region says of that one counts for the job. Kept in the spool, as jobs are.
use super::By;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::limits::suspended::{MAX_NAME, MAX_REASON, MAX_VERSIONS, PER_VERSION};
use crate::pipeline::Pipeline;
use crate::spool::{Batch, Spool, SpoolError, Table};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the spool keeps them, all in one record.
const VERSIONS: &str = "suspended-versions";

/// A version that the region suspends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuspendedVersion {
    /// Name of the package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Why, for the audit log and for people.
    pub reason: String,
}

impl SuspendedVersion {
    fn is_of(&self, package: &str, version: &str) -> bool {
        self.package == package && self.version == version
    }

    fn in_words(&self) -> String {
        format!("{} {}", self.package, self.version)
    }

    fn length(&self) -> usize {
        self.package.len() + self.version.len() + self.reason.len() + PER_VERSION
    }

    /// The fault of a list that no region's suspensions are.
    fn check(&self) -> Result<(), Fault> {
        let is_name = |name: &str| (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        let is_reason = !self.reason.trim().is_empty() && self.reason.chars().count() <= MAX_REASON;
        if is_name(&self.package) && is_name(&self.version) && is_reason {
            return Ok(());
        }
        let reason = format!(
            "a suspended version has the name of a package and a version, in at most {MAX_NAME} bytes each, and a reason, in at most \
             {MAX_REASON} characters"
        );
        Err(Fault::new("suspension-unclear", Blame::Peer, reason))
    }
}

/// Those that are suspended now.
#[derive(Debug)]
pub(in crate::pipeline) struct Versions(Mutex<Vec<SuspendedVersion>>);

impl Versions {
    pub(super) fn kept(spool: &Spool) -> Result<Self, SpoolError> {
        Ok(Self(Mutex::new(spool.get(Table::Meta, VERSIONS)?.unwrap_or_default())))
    }

    /// Why a job of this version has no answer; `None` where it may have one.
    pub(super) fn fault(&self, package: &str, version: &str) -> Option<Fault> {
        let all = self.all();
        let suspended = all.iter().find(|one| one.is_of(package, version))?;
        let reason = format!(
            "the region suspends {}: {}. What began with that version has no answer; the region lifts it (`sund-channel resume {package}`)",
            suspended.in_words(),
            suspended.reason
        );
        Some(Fault::new("model-suspended", Blame::Configuration, reason))
    }

    fn all(&self) -> MutexGuard<'_, Vec<SuspendedVersion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipeline {
    /// The versions that are suspended whichever serves.
    pub(crate) fn suspended_versions(&self) -> Vec<SuspendedVersion> {
        self.suspended.versions.all().clone()
    }

    /// On a box that has left its channel nobody else is left to lift them.
    pub(super) fn resume_versions(&self, package: &str) -> Result<(), Fault> {
        let mut versions = self.suspended_versions();
        let before = versions.len();
        versions.retain(|one| one.package != package);
        if versions.len() == before { Ok(()) } else { self.suspend_versions(versions) }
    }

    /// Suspends these versions, and those that are not among them no longer: from the answer to this on, no job of theirs ends with a result.
    pub(crate) fn suspend_versions(&self, versions: Vec<SuspendedVersion>) -> Result<(), Fault> {
        if versions.iter().map(SuspendedVersion::length).sum::<usize>() > MAX_VERSIONS {
            let reason = format!(
                "{} suspended versions are more than the agent keeps ({MAX_VERSIONS} bytes): the region is to lift what no box runs any more",
                versions.len()
            );
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        versions.iter().try_for_each(SuspendedVersion::check)?;
        // A job that is being concluded ends first, or sees it.
        let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new();
        batch.put(Table::Meta, VERSIONS, &versions, None)?;
        self.spool.write_blocking(batch)?;
        let before = std::mem::replace(&mut *self.suspended.versions.all(), versions.clone());
        drop(one_at_a_time);
        let by = By::Channel.words();
        for more in versions.iter().filter(|one| !before.contains(one)) {
            let (package, reason) = (more.in_words(), more.reason.clone());
            tracing::warn!(model = package, reason, by, "a version is suspended");
            self.recorder.audit(audit::Event::ModelSuspended { package, reason, by });
        }
        let is_left = |one: &&SuspendedVersion| versions.iter().any(|it| it.is_of(&one.package, &one.version));
        for less in before.iter().filter(|one| !is_left(one)) {
            tracing::warn!(model = less.in_words(), by, "a version is suspended no longer");
            self.recorder.audit(audit::Event::ModelResumed { package: less.in_words(), by });
        }
        self.recorder.changed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::conclude::tests::pipeline;

    fn version(version: &str, reason: &str) -> SuspendedVersion {
        SuspendedVersion { package: "brain".to_owned(), version: version.to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn a_suspended_version_is_off_whichever_serves_until_the_region_names_it_no_longer_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let begun = pipeline(folder.path());
        begun.suspend_versions(vec![version("1.0.0", "drift")]).unwrap();
        let of = |pipeline: &Pipeline, version: &str| {
            pipeline.suspended.of_job("brain", version).map(|fault| (fault.code.into_owned(), fault.reason))
        };
        let (code, reason) = of(&begun, "1.0.0").unwrap();
        assert!(code == "model-suspended" && reason.contains("brain 1.0.0: drift"), "{code}: {reason}");
        assert_eq!((of(&begun, "1.0.1"), begun.suspended.fault("brain")), (None, None), "no other version is off");
        drop(begun);
        let begun = pipeline(folder.path());
        assert!(of(&begun, "1.0.0").is_some());
        assert_eq!(begun.suspended_versions(), [version("1.0.0", "drift")]);
        begun.suspend_versions(Vec::new()).unwrap();
        assert_eq!(of(&begun, "1.0.0"), None);
        drop(begun);
        assert_eq!(of(&pipeline(folder.path()), "1.0.0"), None);
    }

    #[test]
    fn what_is_no_list_of_suspended_versions_is_refused_and_what_stood_stands() {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline(folder.path());
        pipeline.suspend_versions(vec![version("1.0.0", "drift")]).unwrap();
        let long = "x".repeat(MAX_REASON + 1);
        let too_many = vec![version("2.0.0", "drift"); MAX_VERSIONS / PER_VERSION];
        for refused in [
            vec![version("", "drift")],
            vec![version("2\n0", "drift")],
            vec![version("2.0.0", " ")],
            vec![version("2.0.0", &long)],
            too_many,
        ] {
            assert_eq!(pipeline.suspend_versions(refused).unwrap_err().code, "suspension-unclear");
        }
        assert_eq!(pipeline.suspended_versions(), [version("1.0.0", "drift")]);
    }
}
