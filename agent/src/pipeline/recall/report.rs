//! What a recall answers, as deliveries stand when it is done.
use super::{Made, is_unrejected, note_of};
use crate::deliver::queue::{Delivery, DeliveryState};
use crate::fault::{Blame, Fault};
use crate::job::Job;
use crate::pipeline::Pipeline;
use crate::pipeline::view::state_text;
use crate::recall::{
    Counts, DestinationRecalled, NoteSent, PackageRecalled, Reason, Report, StillOn, StudyRecalled, Which,
};
use crate::spool::Table;
use crate::status::ModelStatus;
use std::collections::{BTreeMap, BTreeSet};

impl Pipeline {
    /// A package that has made nothing here, and serves nothing, is more likely mistyped than harmless.
    pub(super) fn check_known(&self, package: &Which, made: &Made, models: &[ModelStatus]) -> Result<(), Fault> {
        let serves = models.iter().any(|model| package.means_one(&model.name, &model.version, &model.digest));
        if serves || !made.packages.is_empty() {
            return Ok(());
        }
        let jobs: Vec<Job> = self.spool.scan(Table::Jobs, "")?;
        let known = jobs.iter().map(|job| format!("{}@{}", job.package.name, job.package.version));
        let known: BTreeSet<String> =
            known.chain(models.iter().map(|model| format!("{}@{}", model.name, model.version))).collect();
        let known = if known.is_empty() { "none".to_owned() } else { Vec::from_iter(known).join(", ") };
        let reason = format!("no package {package} has made anything here, and none serves; known here: {known}");
        Err(Fault::new("recall-package-unknown", Blame::Peer, reason))
    }

    pub(super) fn recall_report(
        &self,
        package: &Which,
        reason: Option<&Reason>,
        made: &Made,
        faults: &BTreeMap<String, Fault>,
        models: &[ModelStatus],
    ) -> Result<Report, Fault> {
        let mut studies = Vec::with_capacity(made.studies.len());
        // One whose job could not be ended is told though nothing was made of it.
        let told: BTreeSet<&String> = made.studies.keys().chain(faults.keys()).collect();
        for study in told {
            let fault = faults.get(study).cloned();
            let results =
                made.studies.get(study).map_or_else(|| Ok(BTreeSet::new()), |jobs| self.results_made(jobs))?;
            if results.is_empty() && fault.is_none() {
                continue;
            }
            let mut destinations = Vec::new();
            for destination in &made.destinations {
                let deliveries = self.deliveries_at(destination, &results)?;
                if !deliveries.is_empty() {
                    destinations.push(self.at_destination(destination, &deliveries)?);
                }
            }
            studies.push(StudyRecalled { study: study.clone(), results: results.len() as u64, destinations, fault });
        }
        let meant = models.iter().filter(|model| package.means_one(&model.name, &model.version, &model.digest));
        let still_on = meant.filter(|model| matches!(model.state.as_str(), "active" | "checking")).map(|model| {
            let (name, version, digest) = (model.name.clone(), model.version.clone(), model.digest.clone());
            let command = format!("sund suspend {name} --reason TEXT");
            StillOn { package: PackageRecalled { name, version, digest }, command }
        });
        let report = Report {
            format: 1,
            package: package.clone(),
            reason: reason.cloned(),
            packages: made.packages.iter().cloned().collect(),
            studies,
            total: Counts::default(),
            notes: 0,
            open_jobs: made.open_jobs,
            cancelled_jobs: made.cancelled_jobs,
            still_on: still_on.collect(),
        };
        Ok(report.summed())
    }

    fn at_destination(&self, destination: &str, deliveries: &[Delivery]) -> Result<DestinationRecalled, Fault> {
        let takes = self.serving_set().destinations.iter().any(|one| one.name == destination && one.takes_rejections);
        let mut counts = Counts::default();
        let mut notes = BTreeSet::new();
        for delivery in deliveries {
            let is_sent = matches!(delivery.state, DeliveryState::Delivered { .. });
            let is_cancelled = delivery.may_still_go() || was_cancelled(delivery);
            counts.sent += u64::from(is_sent);
            counts.in_doubt += u64::from(!is_sent && delivery.may_have_arrived());
            counts.cancelled += u64::from(!delivery.may_have_arrived() && is_cancelled);
            // Where it takes notes and has none yet, one goes: this is a dry run, or its fault is told.
            counts.by_hand += u64::from(is_unrejected(delivery) && !takes);
            notes.extend(note_of(delivery).cloned());
        }
        let mut sent = Vec::new();
        for uid in notes {
            let note: Option<Delivery> = self.spool.get(Table::Deliveries, &format!("{destination}/{uid}"))?;
            sent.extend(note.map(|note| NoteSent { uid, state: state_text(&note).to_owned() }));
        }
        Ok(DestinationRecalled { destination: destination.to_owned(), counts, notes: sent })
    }
}

/// True where a recall cancelled it, rather than a newer result.
fn was_cancelled(delivery: &Delivery) -> bool {
    delivery.recall.is_some() && matches!(delivery.state, DeliveryState::Superseded { .. })
}
