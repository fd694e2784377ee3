//! study → route: everything that follows from a study's completion, in one durable step.
use super::Pipeline;
use super::conclude::Ended;
use super::intake::named;
use super::runner::model;
use super::serving::ServingSet;
use crate::audit;
use crate::counted::counted;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::job::{Job, JobState};
use crate::model::Package;
use crate::outcome::Outcome;
use crate::results::{Identity, ResultObject, is_result};
use crate::route::{Candidate, Decision, Plan, SeriesView, plan};
use crate::spool::{Batch, SpoolError, Table};
use crate::study::open::{OpenedInstance, open};
use crate::study::patient::{Patient, is_one_patient};
use crate::study::record::StudyRecord;
use dicom_dictionary_std::tags;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

impl Pipeline {
    /// The record of a study.
    pub(super) fn study_record(&self, study: &str) -> Result<Option<StudyRecord>, SpoolError> {
        self.spool.get(Table::Studies, study)
    }

    /// The newest identity of a study.
    pub(super) fn identity(&self, study: &str) -> Result<Identity, SpoolError> {
        Ok(self.spool.get(Table::Identity, study)?.unwrap_or_default())
    }

    /// Opens a complete study, checks whose it is, routes it, and makes its jobs. Called again when instances come late: what
    /// was inferred on the very same input is not inferred again. `is_cut`: it was still arriving, and was not waited for.
    pub(super) fn complete(&self, study: &str, is_cut: bool) -> Result<(), Fault> {
        // Reading and decrypting a whole study holds up no other one.
        let known = match self.study_record(study)? {
            Some(record) => record,
            None => StudyRecord::new(study, opaque_id()?),
        };
        let received = self.spool.instances_of(study);
        let waited = received.last().and_then(|newest| newest.arrival.at.elapsed().ok());
        crate::metrics::stage("assembly", waited.unwrap_or_default());
        let opened = self.recorder.stage("study", &known.id, || open(&self.spool, &known));

        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        if received.iter().all(|instance| self.spool.instance(instance.id).is_none()) {
            // Erased since its last instance came.
            return Ok(());
        }
        let mut record = self.study_record(study)?.unwrap_or(known);
        let id = record.id.clone();
        record.considered = received.iter().map(|instance| instance.id).max().unwrap_or(record.considered);
        if let (0, Some(first)) = (record.revision, received.first()) {
            record.note("received", "the first instance came", None);
            if let Some(moment) = record.timeline.last_mut() {
                moment.at = first.arrival.at;
            }
        }
        self.refused.note(&mut record);
        for instance in &received {
            record.lacking.remove(&instance.arrival.sop_instance);
        }
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(fault) if matches!(fault.blame, Blame::Peer | Blame::Study) => {
                return self.refuse(record, &fault, self.audit_study(study));
            }
            // A disk that did not answer says nothing about the study: it is tried again.
            Err(fault) => return Err(fault),
        };
        // A PACS that forwards whole studies sends results back. They are kept, and no model's input: nothing may be found
        // in what was found, and no study may go round for ever. Nor do they say who the patient is.
        opened.retain(|instance| !is_result(&instance.header));
        if opened.is_empty() {
            return self.nothing_to_run_on(record);
        }
        record.revision += 1;
        record.note("complete", counted(opened.len(), "instance", "instances"), None);
        remember(&mut record, &opened);
        let newest = opened.last().map(|instance| Identity::from_header(&instance.header)).unwrap_or_default();
        let patients: Vec<Patient> = opened.iter().map(|instance| Patient::of(&instance.header)).collect();
        if let Err(fault) = self.recorder.stage("identity", &id, || one_patient(&patients)) {
            // The identity record keeps the patient that the study was of; the trail has to name the one that came.
            return self.refuse(record, &fault, named(study, &newest));
        }
        let was_refused = record.refused.take().is_some();
        let set = self.serving_set();
        let candidates = candidates(&set.packages);
        let views = views(&opened);
        let plan = self.recorder.stage("route", &id, || Ok(plan(&set.routes, &candidates, &views)))?;
        let mut batch = Batch::new();
        let corrected = self.update_identity(&mut record, &opened, &plan, &mut batch)?;

        let earlier = self.jobs_of(study)?;
        if !earlier.iter().any(Job::is_open) {
            // It comes again, and is answered by what serves then.
            record.begun_on = None;
        }
        let partial = lacks(&record, is_cut);
        let jobs = self.new_jobs(&set, &record, &opened, &plan, &earlier, partial.as_deref());
        if let Some(fault) = describe(&mut record, &plan, &jobs) {
            self.recorder.audit(audit::Event::StudyNotRouted { study: named(study, &newest), fault });
        }
        for job in &jobs {
            batch.put(Table::Jobs, &Job::key(job.id), job, Some(study))?;
        }
        // What a model found on a study that it turns out not to be meant for does not go out any more.
        let unmeant: Vec<&Job> = jobs.iter().filter(|job| job.not_applicable.is_some()).collect();
        let is_unmeant = |id| earlier.iter().any(|job| job.id == id && unmeant.iter().any(|new| new.asks_again(job)));
        self.withdraw(&mut batch, study, |delivery| is_unmeant(delivery.job))?;
        let (replaced, open): (Vec<&Job>, Vec<&Job>) = earlier
            .iter()
            .filter(|earlier| earlier.is_open())
            .partition(|earlier| jobs.iter().any(|job| job.asks_again(earlier)));
        for job in &replaced {
            Self::end(&mut batch, job, superseded())?;
        }
        batch.put(Table::Studies, study, &record, Some(study))?;
        self.spool.write_blocking(batch)?;

        for (job, object) in &corrected {
            self.say_made(job, object);
        }
        for job in replaced {
            self.recorder.audit(audit::Event::JobEnded {
                study: self.audit_study(study),
                job: job.id,
                model: model(job),
                outcome: Outcome::TooLate,
                fault: superseded().fault,
            });
        }
        // What was open when the study was refused goes on.
        let resumed = open.into_iter().filter(|_| was_refused);
        for job in resumed.chain(&jobs) {
            self.jobs.push(job.id);
        }
        self.deliveries.notify_waiters();
        self.recorder.changed();
        self.span(study)
            .in_scope(|| tracing::info!(instances = opened.len(), jobs = jobs.len(), "a study is complete"));
        self.end_span_at_rest(study);
        Ok(())
    }

    /// True where no model may run on a study and nothing of it may be sent.
    pub(super) fn is_refused(&self, study: &str) -> Result<bool, SpoolError> {
        Ok(self.study_record(study)?.is_some_and(|record| record.refused.is_some()))
    }

    /// Results alone came: kept and shown, and no model's input.
    fn nothing_to_run_on(&self, mut record: StudyRecord) -> Result<(), Fault> {
        let fault =
            Fault::new("results-alone", Blame::Study, "results came back, and no image: there is nothing to run on");
        record.note("complete", fault.reason.clone(), Some(&fault.code));
        let study = self.audit_study(&record.study);
        self.recorder.audit(audit::Event::StudyNotRouted { study, fault });
        let mut batch = Batch::new();
        batch.put(Table::Studies, &record.study, &record, Some(&record.study))?;
        self.spool.write_blocking(batch)?;
        self.recorder.changed();
        Ok(())
    }

    /// A study that no model may run on: kept, shown, audited; nothing runs, and nothing of it is sent.
    fn refuse(&self, mut record: StudyRecord, fault: &Fault, study: audit::Study) -> Result<(), Fault> {
        record.refused = Some(fault.clone());
        record.note("refused", fault.reason.clone(), Some(&fault.code));
        self.recorder.audit(audit::Event::StudyRefused { study, fault: fault.clone() });
        let mut batch = Batch::new();
        batch.put(Table::Studies, &record.study, &record, Some(&record.study))?;
        self.spool.write_blocking(batch)?;
        self.recorder.changed();
        Ok(())
    }

    /// A new version of the identity where the newest instances name patient or study otherwise than the record does; the
    /// results that were made again for it.
    fn update_identity(
        &self,
        record: &mut StudyRecord,
        opened: &[OpenedInstance],
        plan: &Plan<'_>,
        batch: &mut Batch,
    ) -> Result<Vec<(Job, ResultObject)>, Fault> {
        // In the order of arrival: the newest is the last.
        let identity = Identity::of_study(opened.iter().rev().map(|instance| &instance.header));
        if record.identity_version > 0 && identity.names_the_same(&self.identity(&record.study)?) {
            return Ok(Vec::new());
        }
        record.identity_version += 1;
        batch.put(Table::Identity, &record.study, &identity, Some(&record.study))?;
        if record.identity_version == 1 {
            return Ok(Vec::new());
        }
        record.note("identity", "patient or study data were corrected; nothing is inferred anew for that", None);
        let made = self.correct(batch, record, &identity, |job| still_stands(plan, job))?;
        self.recorder.audit(audit::Event::IdentityUpdated {
            study: self.audit_study(&record.study),
            version: u64::from(record.identity_version),
        });
        Ok(made)
    }

    /// The jobs of a plan that have not been decided on the very same input before.
    fn new_jobs(
        &self,
        set: &ServingSet,
        record: &StudyRecord,
        opened: &[OpenedInstance],
        plan: &Plan<'_>,
        earlier: &[Job],
        partial: Option<&str>,
    ) -> Vec<Job> {
        let not_applicable = plan.not_applicable();
        let decisions = plan.runs().map(|d| (d, true)).chain(not_applicable.into_iter().map(|d| (d, false)));
        let created = SystemTime::now();
        let mut jobs = Vec::new();
        for (decision, runs) in decisions {
            let Some(package) = set.packages.iter().find(|p| p.manifest.name == decision.model) else { continue };
            let series = runs.then(|| decision.series.to_owned());
            let inputs: Vec<&OpenedInstance> =
                opened.iter().filter(|i| !runs || i.stored.arrival.series == decision.series).collect();
            let mut input_digests: Vec<String> =
                inputs.iter().map(|instance| instance.known.acquisition_digest.clone()).collect();
            input_digests.sort();
            let same_question: Vec<&Job> = earlier
                .iter()
                .filter(|job| job.asks_of(&decision.route.name, decision.model, series.as_deref()))
                .collect();
            // An answer holds until the model has turned out not to be meant for the study, or to be meant for it after all.
            let turned = same_question.iter().filter(|job| job.series != series).map(|job| job.id).max();
            let is_answered = same_question.iter().any(|job| {
                job.series == series
                    && Some(job.id) > turned
                    && job.package.digest == package.digest
                    && job.input_digests == input_digests
            });
            if is_answered {
                continue;
            }
            let reasons: Vec<String> = decision.unfit.iter().map(ToString::to_string).collect();
            jobs.push(Job {
                id: self.next_job.fetch_add(1, Ordering::Relaxed),
                study: record.study.clone(),
                supersedes: same_question.iter().map(|job| job.id).max(),
                series,
                route: decision.route.name.clone(),
                package: package.reference(),
                inputs: inputs.iter().map(|instance| instance.stored.id).collect(),
                input_digests,
                created,
                deadline: decision.route.deadline.map(|limit| created + limit),
                partial: partial.map(str::to_owned),
                not_applicable: (!runs).then(|| reasons.join("; ")),
                state: JobState::Waiting { attempts: 0 },
            });
        }
        jobs
    }
}

/// True unless the plan now says otherwise than a job did: that its model is not meant for the study, or that it is.
fn still_stands(plan: &Plan<'_>, job: &Job) -> bool {
    let of_job = |decision: &&Decision<'_>| decision.route.name == job.route && decision.model == job.package.name;
    let is_meant = plan.runs().any(|decision| of_job(&decision));
    !plan.decisions.iter().any(|decision| of_job(&decision)) || is_meant == job.series.is_some()
}

/// How a job ends that had not ended when more instances came.
fn superseded() -> Ended {
    let reason = "more instances came before it ended; a newer job answers for all of them";
    let fault = Some(Fault::new("job-superseded", Blame::Peer, reason));
    Ended { outcome: Outcome::TooLate, fault, summary: reason.to_owned(), times: Vec::new(), results: Vec::new() }
}

fn one_patient(patients: &[Patient]) -> Result<(), Fault> {
    if is_one_patient(patients) {
        return Ok(());
    }
    let reason =
        "the instances of this Study Instance UID name two patients; nothing runs until the sender corrects it";
    Err(Fault::new("two-patients-in-one-study", Blame::Peer, reason))
}

fn opaque_id() -> Result<String, Fault> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Fault::from(SpoolError::Crypto))?;
    Ok(hex(&bytes))
}

fn remember(record: &mut StudyRecord, opened: &[OpenedInstance]) {
    for instance in opened {
        record.instances.insert(instance.stored.arrival.sop_instance.clone(), instance.known.clone());
        if let Some(modality) = instance.header.text(tags::MODALITY)
            && !record.modalities.contains(&modality)
        {
            record.modalities.push(modality);
        }
    }
}

/// What routes choose among.
pub(super) fn candidates(packages: &[Package]) -> Vec<Candidate<'_>> {
    packages.iter().map(|p| Candidate { name: &p.manifest.name, selection: &p.manifest.selection }).collect()
}

/// The series of an opened study.
pub(super) fn views(opened: &[OpenedInstance]) -> Vec<SeriesView<'_>> {
    let mut series: BTreeMap<&str, SeriesView<'_>> = BTreeMap::new();
    for instance in opened {
        let crate::instance::Origin::Received { calling_ae, called_ae, .. } = &instance.stored.arrival.origin else {
            continue;
        };
        let uid = instance.stored.arrival.series.as_str();
        let view = series.entry(uid).or_insert(SeriesView { series: uid, calling_ae, called_ae, headers: Vec::new() });
        (view.calling_ae, view.called_ae) = (calling_ae, called_ae);
        view.headers.push(&instance.header);
    }
    series.into_values().collect()
}

/// What a study lacks, as its results say it: 64 characters of a report (PS3.3 C.17.2.1, Completion Flag Description).
fn lacks(record: &StudyRecord, is_cut: bool) -> Option<String> {
    let refused = counted(record.lacking.len(), "instance", "instances");
    match (record.lacking.is_empty(), is_cut) {
        (true, false) => None,
        (true, true) => Some("the study was still arriving".to_owned()),
        (false, false) => Some(format!("{refused} of the study refused at receipt")),
        (false, true) => Some(format!("still arriving; {refused} refused at receipt")),
    }
}

/// Says on the timeline what was decided, and why not. A fault where no model was even asked about the study, or none
/// wants it.
fn describe(record: &mut StudyRecord, plan: &Plan<'_>, jobs: &[Job]) -> Option<Fault> {
    let unrouted = |record: &mut StudyRecord, code: &'static str, reason: String| {
        record.note("routed", reason.clone(), Some(code));
        Some(Fault::new(code, Blame::Configuration, reason))
    };
    if plan.decisions.is_empty() {
        return unrouted(record, "no-route", "no route listens to this sender and AE title".to_owned());
    }
    for job in jobs.iter().filter(|job| job.not_applicable.is_none()) {
        record.note("routed", format!("{} {} on route {}", job.package.title, job.package.version, job.route), None);
    }
    let reasons: Vec<String> = plan
        .not_applicable()
        .iter()
        .map(|d| format!("{}: {}", d.model, d.unfit.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
        .collect();
    if plan.runs().next().is_none() {
        return unrouted(record, "no-model", format!("no model wants this study. {}", reasons.join(". ")));
    }
    if !jobs.iter().any(|job| job.not_applicable.is_none()) {
        record.note("routed", "the same input was answered before; nothing runs again", None);
    }
    None
}
