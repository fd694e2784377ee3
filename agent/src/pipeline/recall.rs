//! ledger → recall: what a package has made is taken back. Its jobs that have not ended do so now, and visibly; what waits is
//! cancelled, and a destination that has results gets a note that rejects them, where it takes such notes.
//!
//! The order is durable before anything is done, and each study is done in one step: a cut leaves studies that are done and
//! studies that the next start does.
mod report;

use super::Pipeline;
use crate::audit;
use crate::console::StatusSource as _;
use crate::counted::counted;
use crate::deliver::queue::{Delivery, DeliveryState, InRecall};
use crate::deliver::record::{LedgerEntry, LedgerEvent};
use crate::fault::{Blame, Fault};
use crate::inference::PackageRef;
use crate::job::{Job, JobState};
use crate::outcome::Outcome;
use crate::privacy::Private;
use crate::recall::{Order, PackageRecalled, Reason, Report, Which};
use crate::results::{Rejected, RejectionContext, rejection_note};
use crate::spool::{Batch, SpoolError, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::SystemTime;

/// Code of the end of a job that a recall ended.
const PACKAGE_RECALLED: &str = "package-recalled";

/// What packages have made, as the ledger has it.
struct Made {
    packages: BTreeSet<PackageRecalled>,
    /// Jobs that have ended, by study.
    studies: BTreeMap<String, BTreeSet<u64>>,
    open_jobs: u64,
    /// Jobs that a recall ended before they made anything.
    cancelled_jobs: u64,
    /// Destinations of the configuration, and those that something was queued for.
    destinations: BTreeSet<String>,
}

/// What was done of one study at one destination.
struct Done {
    destination: String,
    cancelled: u64,
    rejected: Option<(u64, String)>,
    by_hand: u64,
}

impl Pipeline {
    /// Recalls what a package has made; without a reason it only tells what it would find.
    pub fn recall(&self, package: &Which, reason: Option<&Reason>) -> Result<Report, Fault> {
        let mut made = self.made_by(package)?;
        let models = self.snapshot().models;
        self.check_known(package, &made, &models)?;
        let faults = match reason {
            None => BTreeMap::new(),
            Some(reason) => {
                let order = Order::now(package.clone(), reason.clone());
                let (package, reason) = (package.to_string(), reason.to_string());
                self.recorder.audit_first(audit::Event::RecallOrdered { package, reason })?;
                let (found, faults) = self.carry_out(order, &mut || {})?;
                made = found;
                faults
            }
        };
        self.recall_report(package, reason, &made, &faults, &models)
    }

    /// Carries out orders that a cut left unfinished. Before anything is delivered: what is to be cancelled does not go.
    /// `gets_on` is called before each step: nobody is served before the last.
    pub(super) fn take_up_recalls(&self, gets_on: &mut dyn FnMut()) {
        let unfinished = |orders: Vec<Order>| orders.into_iter().filter(|order| order.done.is_none());
        let orders = match self.spool.scan(Table::Meta, Order::KEYS) {
            Ok(orders) => unfinished(orders),
            Err(error) => return tracing::error!(%error, "recalls cannot be read back; order them again"),
        };
        for order in orders {
            let package = order.package.to_string();
            match self.carry_out(order, gets_on).map(|(_, faults)| faults.into_values().next()) {
                Ok(None) => tracing::info!(package, "a recall that was cut off is done"),
                Ok(Some(fault)) | Err(fault) => {
                    tracing::error!(package, code = %fault.code, reason = %fault.reason, "a recall is not done; order it again");
                }
            }
        }
    }

    /// What a package has made. The names of packages are those of the jobs, their results those of the ledger.
    fn made_by(&self, package: &Which) -> Result<Made, Fault> {
        let (mut packages, mut open_jobs) = (BTreeSet::new(), 0);
        let mut cancelled_jobs = BTreeSet::new();
        for job in self.spool.scan::<Job>(Table::Jobs, "")?.into_iter().filter(|job| package.means(&job.package)) {
            open_jobs += u64::from(job.is_open());
            if was_cancelled(&job) {
                cancelled_jobs.insert(job.id);
            }
            let PackageRef { name, version, digest, .. } = job.package;
            packages.insert(PackageRecalled { name, version, digest });
        }
        let digests: BTreeSet<&str> = packages.iter().map(|package| package.digest.as_str()).collect();
        let mut studies: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for entry in self.spool.scan::<LedgerEntry>(Table::Ledger, "")? {
            let is_end = matches!(entry.event, LedgerEvent::Ended { .. });
            // That a job was cancelled is told as its outcome; the package has made nothing of it.
            if is_end && digests.contains(entry.package.as_str()) && !cancelled_jobs.contains(&entry.job) {
                studies.entry(entry.study).or_default().insert(entry.job);
            }
        }
        let queued = self.spool.scan_bytes(Table::Deliveries, "").into_iter().map(|(key, _)| key);
        let mut destinations: BTreeSet<String> =
            queued.filter_map(|key| key.rsplit_once('/').map(|(destination, _)| destination.to_owned())).collect();
        destinations.extend(self.serving_set().destinations.iter().map(|destination| destination.name.clone()));
        let cancelled_jobs = cancelled_jobs.len() as u64;
        Ok(Made { packages, studies, open_jobs, cancelled_jobs, destinations })
    }

    /// Does what an order says, study by study; what the package had made, and why not all of it could be done, by study.
    fn carry_out(&self, order: Order, gets_on: &mut dyn FnMut()) -> Result<(Made, BTreeMap<String, Fault>), Fault> {
        gets_on();
        self.keep_order(&order)?;
        let mut faults = self.cancel_open(&order, gets_on)?;
        // Only now: a job that ended meanwhile has results.
        let made = self.made_by(&order.package)?;
        for (study, jobs) in &made.studies {
            gets_on();
            if let Err(fault) = self.recall_study(&order, study, jobs, &made.destinations) {
                tracing::error!(code = %fault.code, reason = %fault.reason, "a study's results could not be recalled");
                faults.insert(study.clone(), fault);
            }
        }
        if faults.is_empty() {
            self.keep_order(&Order { done: Some(SystemTime::now()), ..order })?;
        }
        self.recorder.changed();
        self.deliveries.notify_waiters();
        Ok((made, faults))
    }

    /// Ends the jobs of the package that were open when the order was given, whether they wait or run: what a worker still answers for
    /// one of them finds it ended. Jobs that come later are those of a model that nobody has switched off.
    fn cancel_open(&self, order: &Order, gets_on: &mut dyn FnMut()) -> Result<BTreeMap<String, Fault>, Fault> {
        let set = self.serving_set();
        let is_meant = |job: &Job| job.is_open() && job.created <= order.at && order.package.means(&job.package);
        let mut faults = BTreeMap::new();
        for job in self.spool.scan::<Job>(Table::Jobs, "")?.into_iter().filter(is_meant) {
            gets_on();
            let reason = format!("{} was recalled before the job ended: {}", order.package, order.reason);
            let recalled = Fault::new(PACKAGE_RECALLED, Blame::Package, reason);
            if let Err(fault) = self.conclude(&set, &job, Outcome::Failed, Err(recalled)) {
                tracing::error!(job = job.id, code = %fault.code, reason = %fault.reason, "a job could not be cancelled");
                faults.insert(job.study, fault);
            } else {
                self.let_go(&job.study);
            }
        }
        Ok(faults)
    }

    fn keep_order(&self, order: &Order) -> Result<(), Fault> {
        let mut batch = Batch::new();
        batch.put(Table::Meta, &order.key(), order, None)?;
        Ok(self.spool.write_blocking(batch)?)
    }

    /// Recalls the results of one study, in one step. Where no note can be made of it, what waits is cancelled all the same.
    fn recall_study(
        &self,
        order: &Order,
        study: &str,
        jobs: &BTreeSet<u64>,
        destinations: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        if self.study_record(study)?.is_none() {
            // Erased since the ledger was read.
            return Ok(());
        }
        let results = self.results_made(jobs)?;
        if results.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for job in jobs.iter().filter(|job| !self.is_recalled(**job)) {
            let event = LedgerEvent::Recalled { reason: order.reason.to_string() };
            Self::ledger(&mut batch, &self.digest_of(*job)?, study, *job, event)?;
        }
        let (mut all_done, mut fault) = (Vec::new(), None);
        for destination in destinations {
            let deliveries = self.deliveries_at(destination, &results)?;
            let there: Vec<&Delivery> = deliveries.iter().filter(|one| is_unrejected(one)).collect();
            let takes =
                self.serving_set().destinations.iter().any(|one| one.name == *destination && one.takes_rejections);
            let mut note = None;
            if takes && !there.is_empty() {
                match self.queue_note(&mut batch, order, study, destination, &there) {
                    Ok(queued) => note = Some(queued),
                    Err(error) => fault = Some(error),
                }
            }
            all_done.extend(self.recall_at(&mut batch, destination, &deliveries, note)?);
        }
        if !batch.is_empty() {
            self.noted(&mut batch, study, "recalled", &told(order, &all_done), None)?;
            self.spool.write_blocking(batch)?;
        }
        drop(one_at_a_time);
        if all_done.iter().any(|done| done.cancelled > 0) {
            self.end_span_at_rest(study);
        }
        for Done { destination, cancelled, rejected, by_hand } in all_done {
            self.recorder.audit(audit::Event::ResultsRecalled {
                study: self.audit_study(study),
                package: order.package.to_string(),
                destination,
                cancelled,
                rejected: rejected.map(|(results, note)| (results, Private::new(note))),
                by_hand,
            });
        }
        fault.map_or(Ok(()), Err)
    }

    /// Marks the deliveries of a study to one destination as recalled; what was done, where that is anything.
    fn recall_at(
        &self,
        batch: &mut Batch,
        destination: &str,
        deliveries: &[Delivery],
        note: Option<String>,
    ) -> Result<Option<Done>, Fault> {
        let now = SystemTime::now();
        let mut done = Done { destination: destination.to_owned(), cancelled: 0, rejected: None, by_hand: 0 };
        let mut changed = false;
        for delivery in deliveries {
            let is_rejected_now = note.is_some() && is_unrejected(delivery);
            let is_over = matches!(delivery.state, DeliveryState::Superseded { .. }) && !delivery.may_have_arrived();
            if is_over || delivery.recall.is_some() && !is_rejected_now {
                continue;
            }
            changed = true;
            let (study, job, package) = (&delivery.study, delivery.job, self.digest_of(delivery.job)?);
            let (result, destination) = (delivery.result.clone(), destination.to_owned());
            if delivery.may_still_go() {
                let event = LedgerEvent::Cancelled { result: result.clone(), destination: destination.clone() };
                Self::ledger(batch, &package, study, job, event)?;
            }
            match &note {
                Some(note) if is_rejected_now => {
                    done.rejected = Some((done.rejected.map_or(0, |(results, _)| results) + 1, note.clone()));
                    let event = LedgerEvent::Rejected { result, destination, note: note.clone() };
                    Self::ledger(batch, &package, study, job, event)?;
                }
                _ if delivery.may_have_arrived() => done.by_hand += 1,
                _ => done.cancelled += u64::from(delivery.may_still_go()),
            }
            let recalled = delivery.clone().recalled(note.clone().filter(|_| is_rejected_now), now);
            batch.put(Table::Deliveries, &recalled.key(), &recalled, Some(study))?;
        }
        Ok(changed.then_some(done))
    }

    /// Makes the note that rejects these results, stores it, and queues it for their destination; its SOP Instance UID. It goes
    /// behind what is on its way there.
    fn queue_note(
        &self,
        batch: &mut Batch,
        order: &Order,
        study: &str,
        destination: &str,
        there: &[&Delivery],
    ) -> Result<String, Fault> {
        let rejected = |delivery: &&Delivery| {
            let arrival = self.spool.instance(delivery.instance).ok_or(SpoolError::Erased)?.arrival;
            Ok(Rejected { series: arrival.series, sop_class: arrival.sop_class, sop_instance: arrival.sop_instance })
        };
        let rejected = there.iter().map(rejected).collect::<Result<Vec<_>, SpoolError>>()?;
        let object = rejection_note(
            &RejectionContext {
                identity: &self.identity(study)?,
                uid_key: &self.site.uid_key,
                at: order.at,
                device: &self.site.device,
                package: &self.package_of(there)?,
                reason: &order.reason.to_string(),
            },
            &rejected,
        )?;
        let stored = self.store(study, &object)?;
        let now = SystemTime::now();
        let note = Delivery {
            destination: destination.to_owned(),
            result: object.sop_instance,
            study: study.to_owned(),
            instance: stored.id,
            // 0 is no job's number.
            job: 0,
            queued: now,
            attempts: 0,
            unanswered: 0,
            state: DeliveryState::Waiting { not_before: now, trouble: None },
            recall: Some(InRecall::Note { package: order.package.to_string() }),
        };
        batch.put(Table::Deliveries, &note.key(), &note, Some(study))?;
        Ok(note.result)
    }

    /// The package that made these results; of several versions, all of them in its version.
    fn package_of(&self, deliveries: &[&Delivery]) -> Result<PackageRef, Fault> {
        let jobs: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.job).collect();
        let mut packages = Vec::new();
        for job in jobs {
            packages.extend(self.spool.get::<Job>(Table::Jobs, &Job::key(job))?.map(|job| job.package));
        }
        let versions: BTreeSet<String> = packages.iter().map(|package| package.version.clone()).collect();
        let mut newest = packages.pop().ok_or(SpoolError::Erased)?;
        newest.version = Vec::from_iter(versions).join(", ");
        Ok(newest)
    }

    fn digest_of(&self, job: u64) -> Result<String, Fault> {
        let job: Option<Job> = self.spool.get(Table::Jobs, &Job::key(job))?;
        Ok(job.map_or_else(String::new, |job| job.package.digest))
    }

    /// SOP Instance UIDs of all that jobs have made, under every identity.
    fn results_made(&self, jobs: &BTreeSet<u64>) -> Result<BTreeSet<String>, Fault> {
        let mut made = BTreeSet::new();
        for job in jobs {
            for entry in self.spool.scan::<LedgerEntry>(Table::Ledger, &format!("{}/", Job::key(*job)))? {
                if let LedgerEvent::Ended { results, .. } | LedgerEvent::Corrected { results, .. } = entry.event {
                    made.extend(results);
                }
            }
        }
        Ok(made)
    }

    /// The deliveries of these results to one destination.
    fn deliveries_at(&self, destination: &str, results: &BTreeSet<String>) -> Result<Vec<Delivery>, Fault> {
        let mut deliveries = Vec::new();
        for result in results {
            deliveries.extend(self.spool.get::<Delivery>(Table::Deliveries, &format!("{destination}/{result}"))?);
        }
        Ok(deliveries)
    }
}

/// True where a recall ended a job.
fn was_cancelled(job: &Job) -> bool {
    matches!(&job.state, JobState::Ended { fault: Some(fault), .. } if fault.code == PACKAGE_RECALLED)
}

/// True where the destination has a result, or may have it, and no note rejects it there.
fn is_unrejected(delivery: &Delivery) -> bool {
    delivery.may_have_arrived() && note_of(delivery).is_none()
}

fn note_of(delivery: &Delivery) -> Option<&String> {
    match &delivery.recall {
        Some(InRecall::Recalled { note }) => note.as_ref(),
        _ => None,
    }
}

/// What the timeline says.
fn told(order: &Order, all_done: &[Done]) -> String {
    let mut parts = vec![format!("results were recalled: {}", order.reason)];
    for Done { destination, cancelled, rejected, by_hand } in all_done {
        if *cancelled > 0 {
            parts.push(format!("{} will not go to {destination}", counted(*cancelled, "result", "results")));
        }
        if let Some((results, _)) = rejected {
            parts.push(format!("a note to {destination} rejects {}", counted(*results, "result", "results")));
        }
        if *by_hand > 0 {
            parts.push(format!("{} at {destination} to be withdrawn by hand", counted(*by_hand, "result", "results")));
        }
    }
    parts.join("; ")
}
