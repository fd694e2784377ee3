//! The order of the stages, and the one place that writes their audit events, spans and metrics.
//!
//! ```text
//! association → spool → study → route → [decode → preprocess → infer → postprocess] → results → deliver
//! ```
//!
//! Everything after the spool is a job there: whatever is interrupted is taken up again at the next start from what
//! the spool holds. The bracket runs in a worker process.
mod activate;
mod answering;
mod begun;
mod breaker;
mod cases;
mod complete;
mod conclude;
mod correct;
mod decoded;
mod delivery;
mod desks;
mod engines;
mod export;
mod figures;
mod hold;
mod intake;
mod orders;
mod queue;
mod recall;
mod recorder;
mod refused;
mod requeue;
mod retention;
mod runner;
mod serving;
mod standing;
mod suspended;
mod tried;
mod view;
mod warm;
mod whose;

pub use activate::Activation;
pub use delivery::deliver;
pub use engines::compile_engines;
pub(crate) use figures::ModelFigures;
pub use intake::{SpoolIntake, assemble};
pub use recorder::Recorder;
pub use retention::retain;
pub use runner::run_jobs;
pub use serving::{ServingSet, StateId};
pub use suspended::{By, Holder, RegionSuspension};
pub(crate) use tried::{Proven, Tried};
pub(crate) use warm::Rechecked;

use crate::deliver::queue::Delivery;
use crate::fault::{Blame, Fault};
use crate::infer::Engines;
use crate::job::Job;
use crate::release::Variant;
use crate::results::UidKey;
use crate::spool::{Spool, SpoolError, Table};
use crate::status::{CertificateStatus, ForwardStatus};
use crate::study::record::StudyRecord;
use crate::worker::Bounds;
use begun::Begun;
use breaker::Breakers;
use decoded::Decoded;
use desks::Desks;
use engines::Compiling;
use queue::JobQueue;
use refused::Refused;
use standing::Models;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;
use suspended::Suspended;
use tokio::sync::{Notify, watch};
use warm::Checks;

/// What the pipeline is told by the configuration, and what stays as it is while it runs.
#[derive(Debug)]
pub struct Site {
    /// Our AE title.
    pub ae_title: String,
    /// The key of the result UIDs.
    pub uid_key: UidKey,
    /// Name of this device in results.
    pub device: String,
    /// Which variant its system is; `None`: the one for patients.
    pub variant: Option<Variant>,
    /// The engines of this machine.
    pub engines: Engines,
    /// Bounds on one job.
    pub bounds: Bounds,
    /// When the golden cases of the packages are run.
    pub activation: Activation,
    /// Whether an updater speaks for a region here: what that switches off no person on the box switches on.
    pub has_channel: bool,
}

/// The data path after the spool.
pub struct Pipeline {
    spool: Spool,
    site: Site,
    /// What serves now.
    serving_set: watch::Sender<Arc<ServingSet>>,
    /// The engines of this machine, once a worker has looked for a GPU.
    found: OnceLock<Engines>,
    models: Models,
    begun: Begun,
    checks: Checks,
    suspended: Suspended,
    breakers: Breakers,
    compiling: Compiling,
    recorder: Recorder,
    jobs: JobQueue,
    desks: Desks,
    deliveries: Notify,
    next_job: AtomicU64,
    /// Serialises changes to study records.
    studies: Mutex<()>,
    started: SystemTime,
    address: Mutex<String>,
    certificate: Mutex<Option<CertificateStatus>>,
    forward: Mutex<Option<ForwardStatus>>,
    traffic: Traffic,
    refused: Refused,
    seen: Seen,
    draining: watch::Sender<bool>,
}

/// What the node is doing at its DICOM port.
#[derive(Default)]
struct Traffic {
    /// Associations that are open now.
    open: AtomicU32,
    /// Instances answered with success since the start.
    received: AtomicU64,
}

/// What the state is drawn from.
struct Seen {
    jobs: Decoded<Job>,
    deliveries: Decoded<Delivery>,
    studies: Decoded<StudyRecord>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            jobs: Decoded::of(Table::Jobs),
            deliveries: Decoded::of(Table::Deliveries),
            studies: Decoded::of(Table::Studies),
        }
    }
}

impl Pipeline {
    /// A pipeline over a spool; jobs that were open when the agent stopped are queued again.
    pub fn new(spool: Spool, site: Site, set: ServingSet, recorder: Recorder) -> Result<Arc<Self>, SpoolError> {
        Self::new_telling(spool, site, set, recorder, &mut || {})
    }

    /// The same; `gets_on` is called with each job and each study of a recall that was cut off, which may be many.
    pub fn new_telling(
        spool: Spool,
        site: Site,
        set: ServingSet,
        recorder: Recorder,
        gets_on: &mut dyn FnMut(),
    ) -> Result<Arc<Self>, SpoolError> {
        let jobs: Vec<Job> = spool.scan(Table::Jobs, "")?;
        let pipeline = Self {
            next_job: AtomicU64::new(jobs.iter().map(|job| job.id).max().unwrap_or(0) + 1),
            suspended: Suspended::kept(&spool, site.has_channel)?,
            spool,
            site,
            found: OnceLock::new(),
            models: Models::default(),
            begun: Begun::default(),
            checks: Checks::default(),
            breakers: Breakers::default(),
            compiling: Compiling::default(),
            serving_set: watch::channel(Arc::new(set)).0,
            recorder,
            jobs: JobQueue::default(),
            desks: Desks::default(),
            deliveries: Notify::new(),
            studies: Mutex::default(),
            started: SystemTime::now(),
            address: Mutex::default(),
            certificate: Mutex::default(),
            forward: Mutex::default(),
            traffic: Traffic::default(),
            refused: Refused::default(),
            seen: Seen::default(),
            draining: watch::channel(false).0,
        };
        for job in jobs.iter().filter(|job| job.is_open()) {
            pipeline.jobs.push(job.id);
        }
        pipeline.take_up_recalls(gets_on);
        pipeline.take_up_models(&pipeline.serving_set(), Vec::new());
        Ok(Arc::new(pipeline))
    }

    /// Stops taking up jobs and deliveries; what is under way ends.
    pub fn drain(&self) {
        self.draining.send_replace(true);
        self.jobs.close();
        self.models.interrupt();
        self.compiling.interrupt();
        self.deliveries.notify_waiters();
    }

    /// Waits until the audit log no longer takes events, or the spool no more data: nothing goes on unrecorded.
    pub async fn unrecorded(&self) -> Fault {
        tokio::select! {
            fault = self.recorder.unaudited() => fault,
            why = self.spool.broken() => {
                let reason = format!("{why}; what was acknowledged is stored. Check the disk, then start the agent again");
                Fault::new("spool-broken", Blame::Box, reason)
            }
        }
    }

    /// Writes down that what a person asked for was not done.
    pub fn operation_refused(&self, operation: &'static str, study: Option<&str>, fault: Fault) -> Fault {
        let study = study.map(|study| self.audit_study(study));
        self.recorder.audit(crate::audit::Event::OperationRefused { operation, study, fault: fault.clone() });
        fault
    }

    /// Bounds on one job.
    pub(crate) fn bounds(&self) -> Bounds {
        self.site.bounds
    }

    /// Writes down what is no stage's doing.
    pub(crate) fn say(&self, event: crate::audit::Event) {
        self.recorder.audit(event);
    }

    /// Writes down what has happened before; it is there on return.
    pub(crate) fn say_first(&self, event: crate::audit::Event, at: SystemTime) -> Result<(), Fault> {
        self.recorder.audit_of(event, at)
    }

    /// What runs stays: the spool is written in the newest format from now on. That format.
    pub(crate) fn commit_format(&self) -> Result<u32, Fault> {
        if self.spool.commit_format()? {
            tracing::info!(
                format = self.spool.format().0,
                "the system stays: the spool goes over to its newest format"
            );
        }
        Ok(self.spool_format())
    }

    /// The format in which the spool is written.
    pub(crate) fn spool_format(&self) -> u32 {
        self.spool.format().0
    }

    /// Says how the clinical certificate stands, for the console.
    pub(crate) fn certificate_is(&self, status: CertificateStatus) {
        *self.certificate.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(status);
    }

    /// Says how far the audit log is collected, for the console.
    pub(crate) fn forward_is(&self, status: ForwardStatus) {
        *self.forward.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(status);
    }

    /// Says where the DICOM node listens, for the console.
    pub fn listens_on(&self, address: &str) {
        address.clone_into(&mut self.address.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}
