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

/// A model that is switched off.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Suspension {
    package: String,
    reason: String,
    since: SystemTime,
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
        let Suspension { reason, since, .. } = self.all().get(package)?.clone();
        let since = humantime::format_rfc3339_seconds(since);
        let reason = format!("{package} is suspended since {since}: {reason}. `sund resume {package}` takes it back");
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
    /// Switches a model off, whatever is running: from the answer to this on, no job of it ends with a result. `by` says who
    /// asked, for the audit trail.
    pub fn suspend(&self, package: &str, reason: &str, by: &'static str) -> Result<(), Fault> {
        let is_name = (1..=MAX_NAME).contains(&package.len()) && !package.chars().any(char::is_control);
        let is_reason = !reason.trim().is_empty() && reason.chars().count() <= MAX_REASON;
        if !is_name || !is_reason {
            let reason = format!(
                "a suspension names a package, in at most {MAX_NAME} bytes, and a reason, in at most {MAX_REASON} characters"
            );
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        let suspension =
            Suspension { package: package.to_owned(), reason: reason.trim().to_owned(), since: SystemTime::now() };
        // A job that is being concluded ends first, or sees it.
        let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.suspended.all().contains_key(package) && self.suspended.all().len() >= MAX_SUSPENDED {
            let reason = format!("{MAX_SUSPENDED} models are suspended; resume those that are no longer used");
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        let mut batch = Batch::new();
        batch.put(Table::Meta, &key(package), &suspension, None)?;
        self.spool.write_blocking(batch)?;
        self.suspended.all().insert(package.to_owned(), suspension);
        drop(one_at_a_time);
        tracing::warn!(model = package, reason, by, "a model is suspended");
        let (package, reason) = (package.to_owned(), reason.to_owned());
        self.recorder.audit(audit::Event::ModelSuspended { package, reason, by });
        self.recorder.changed();
        Ok(())
    }

    /// Takes a suspension back, where there is one.
    pub fn resume(&self, package: &str, by: &'static str) -> Result<(), Fault> {
        if !self.suspended.all().contains_key(package) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.delete(Table::Meta, &key(package));
        self.spool.write_blocking(batch)?;
        self.suspended.all().remove(package);
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
