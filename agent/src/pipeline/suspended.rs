//! Models that are switched off by a person or by the region, whatever the configuration says, until they are resumed. Kept in the
//! spool, so that it holds over a restart and works without the channel.
use super::Pipeline;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::limits::suspended::{MAX_NAME, MAX_REASON, MAX_SUSPENDED};
use crate::spool::{Batch, Spool, SpoolError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Who switches models off, and on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// `sund suspend`.
    Hand,
    /// An order at the console; the audit event before it has the name.
    Console,
    /// The updater, for the region.
    Channel,
}

/// A model that is switched off.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Suspension {
    package: String,
    reason: String,
    since: SystemTime,
    /// By whom; an agent from before has not kept it.
    #[serde(default)]
    by: Option<By>,
}

impl By {
    /// As the audit trail has it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Hand => "a person on this box",
            Self::Console => "a person at the console",
            Self::Channel => "the channel",
        }
    }
}

impl Suspension {
    /// How it is taken back.
    fn way_back(&self) -> String {
        let package = &self.package;
        match self.by {
            Some(By::Hand | By::Console) => {
                format!("A person takes it back: at the console (Resume), or by `sund resume {package}` on this box")
            }
            Some(By::Channel) => format!(
                "The channel takes it back, once the region lifts it (`sund-channel resume {package}`) or has approved a state in its \
                 place; resumed on this box, it can be off again with the updater's next poll"
            ),
            None => format!(
                "`sund resume {package}` or the console (Resume) takes it back, and where the region has suspended it, the region \
                 (`sund-channel resume {package}`)"
            ),
        }
    }
}

/// Those that are switched off, by the names of their packages.
#[derive(Debug, Default)]
pub(super) struct Suspended(Mutex<BTreeMap<String, Suspension>>);

impl Suspended {
    /// As the spool keeps them.
    pub(super) fn kept(spool: &Spool) -> Result<Self, SpoolError> {
        let kept: Vec<Suspension> = spool.scan(Table::Meta, &key(""))?;
        Ok(Self(Mutex::new(kept.into_iter().map(|one| (one.package.clone(), one)).collect())))
    }

    /// Why a model does not run; `None` where it may.
    pub(super) fn fault(&self, package: &str) -> Option<Fault> {
        let suspension = self.all().get(package)?.clone();
        let (since, way_back) = (humantime::format_rfc3339_seconds(suspension.since), suspension.way_back());
        let reason = format!("{package} is suspended since {since}: {}. {way_back}", suspension.reason);
        Some(Fault::new("model-suspended", Blame::Configuration, reason))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Suspension>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(package: &str) -> String {
    format!("suspended/{package}")
}

impl Pipeline {
    /// Switches a model off, whatever is running: from the answer to this on, no job of it ends with a result.
    pub fn suspend(&self, package: &str, reason: &str, by: By) -> Result<(), Fault> {
        let is_name = (1..=MAX_NAME).contains(&package.len()) && !package.chars().any(char::is_control);
        let is_reason = !reason.trim().is_empty() && reason.chars().count() <= MAX_REASON;
        if !is_name || !is_reason {
            let reason = format!(
                "a suspension names a package, in at most {MAX_NAME} bytes, and a reason, in at most {MAX_REASON} characters"
            );
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        let (reason, since) = (reason.trim().to_owned(), SystemTime::now());
        let suspension = Suspension { package: package.to_owned(), reason, since, by: Some(by) };
        // A job that is being concluded ends first, or sees it.
        let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.suspended.all().contains_key(package) && self.suspended.all().len() >= MAX_SUSPENDED {
            let reason = format!("{MAX_SUSPENDED} models are suspended; resume those that are no longer used");
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        let mut batch = Batch::new();
        batch.put(Table::Meta, &key(package), &suspension, None)?;
        self.spool.write_blocking(batch)?;
        let reason = suspension.reason.clone();
        self.suspended.all().insert(package.to_owned(), suspension);
        drop(one_at_a_time);
        let (package, by) = (package.to_owned(), by.words());
        tracing::warn!(model = package, reason, by, "a model is suspended");
        self.recorder.audit(audit::Event::ModelSuspended { package, reason, by });
        self.recorder.changed();
        Ok(())
    }

    /// Takes a suspension back, where there is one.
    pub fn resume(&self, package: &str, by: By) -> Result<(), Fault> {
        if !self.suspended.all().contains_key(package) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.delete(Table::Meta, &key(package));
        self.spool.write_blocking(batch)?;
        self.suspended.all().remove(package);
        let by = by.words();
        tracing::warn!(model = package, by, "a model is resumed");
        self.recorder.audit(audit::Event::ModelResumed { package: package.to_owned(), by });
        self.recorder.changed();
        Ok(())
    }

    /// The fault of a person who names a model that is neither here nor suspended: a typing error would switch nothing off.
    pub fn knows_model(&self, package: &str) -> Result<(), Fault> {
        let set = self.serving_set();
        let known: Vec<&str> = set.packages.iter().map(|package| package.manifest.name.as_str()).collect();
        if known.contains(&package) || self.suspended.all().contains_key(package) {
            return Ok(());
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let reason = format!("no model here has the name {package}; there are: {known}");
        Err(Fault::new("package-unknown", Blame::Peer, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_says_how_whoever_made_it_takes_it_back() {
        let way_back = |by| {
            let reason = "drift".to_owned();
            Suspension { package: "brain".to_owned(), reason, since: SystemTime::UNIX_EPOCH, by }.way_back()
        };
        for by in [By::Hand, By::Console] {
            let told = way_back(Some(by));
            assert!(told.contains("`sund resume brain`") && told.contains("console"), "{told}");
            assert!(!told.contains("region"), "{told}");
        }
        let told = way_back(Some(By::Channel));
        assert!(told.contains("`sund-channel resume brain`") && told.contains("next poll"), "{told}");
        assert!(!told.contains("`sund resume"), "it would not last: {told}");
        let told = way_back(None);
        assert!(told.contains("`sund resume brain`") && told.contains("`sund-channel resume brain`"), "{told}");
    }

    #[test]
    fn a_suspension_that_an_older_agent_has_kept_is_read() {
        let kept = r#"{"package":"brain","reason":"drift","since":{"secs_since_epoch":1,"nanos_since_epoch":0}}"#;
        assert_eq!(serde_json::from_str::<Suspension>(kept).unwrap().by, None);
    }
}
