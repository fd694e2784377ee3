//! association → spool: what the node's associations do to the pipeline.
use super::Pipeline;
use crate::association::{Association, Intake};
use crate::audit;
use crate::fault::Fault;
use crate::instance::StoredInstance;
use crate::privacy::Private;
use crate::spool::Incoming;
use crate::study::assembly::{Assembler, AssemblyRules};
use dicom_dictionary_std::tags;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Before a study that could not be completed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// What an association did.
#[derive(Debug)]
enum Happened {
    Sending(u64, String),
    Stored(u64, String),
    NotStored(u64),
    Closed(u64),
}

/// The node's intake: instances go into the spool, events to the assembly.
pub struct SpoolIntake {
    pipeline: Arc<Pipeline>,
    events: mpsc::UnboundedSender<Happened>,
    /// What the audit is told of each open association at its end: a line for each instance would cost a sync each.
    sums: Mutex<HashMap<u64, Sums>>,
}

/// What an association has brought.
#[derive(Default)]
struct Sums {
    /// Instances by study.
    stored: BTreeMap<String, u64>,
    /// Codes of refusals that the audit has had.
    refused: BTreeSet<String>,
}

/// The receiving end of an intake's events.
pub struct AssemblyFeed(mpsc::UnboundedReceiver<Happened>);

impl SpoolIntake {
    /// An intake, and the feed for [`assemble`].
    pub fn new(pipeline: Arc<Pipeline>) -> (Self, AssemblyFeed) {
        // Unbounded by itself, bounded by what it describes: an instance that is stored, or an association.
        let (events, feed) = mpsc::unbounded_channel();
        (Self { pipeline, events, sums: Mutex::default() }, AssemblyFeed(feed))
    }

    fn sums<T>(&self, association: &Association, change: impl FnOnce(&mut Sums) -> T) -> T {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        change(sums.entry(association.id).or_default())
    }

    fn tell(&self, happened: Happened) {
        // The assembly ends only when the agent does.
        let _ = self.events.send(happened);
        self.pipeline.recorder.changed();
    }
}

fn peer(association: &Association) -> audit::Peer {
    audit::Peer { ae_title: association.calling_ae.clone(), address: association.peer.to_string() }
}

impl Intake for SpoolIntake {
    type Instance = Incoming;

    fn begin(&self, association: &Association, study: &str) -> Result<Incoming, Fault> {
        let incoming = self.pipeline.spool.begin(study)?;
        self.tell(Happened::Sending(association.id, study.to_owned()));
        Ok(incoming)
    }

    fn opened(&self, association: &Association) {
        crate::metrics::association(true);
        crate::metrics::associations_open(self.pipeline.traffic.open.fetch_add(1, Ordering::Relaxed) + 1);
        self.pipeline.recorder.audit(audit::Event::AssociationOpened {
            peer: peer(association),
            called_ae: association.called_ae.clone(),
            association: association.id,
        });
    }

    fn rejected(&self, association: &Association, fault: &Fault) {
        crate::metrics::association(false);
        crate::metrics::refusal(&fault.code);
        tracing::warn!(code = %fault.code, "an association was rejected");
        self.pipeline.recorder.audit(audit::Event::AssociationRefused {
            peer: peer(association),
            called_ae: association.called_ae.clone(),
            fault: fault.clone(),
        });
    }

    fn stored(&self, association: &Association, instance: &StoredInstance, took: Duration) {
        crate::metrics::instance_received(instance.length, took);
        self.pipeline.traffic.received.fetch_add(1, Ordering::Relaxed);
        self.sums(association, |sums| *sums.stored.entry(instance.arrival.study.clone()).or_default() += 1);
        self.tell(Happened::Stored(association.id, instance.arrival.study.clone()));
    }

    fn not_stored(&self, association: &Association, fault: &Fault) {
        crate::metrics::refusal(&fault.code);
        tracing::warn!(code = %fault.code, reason = %fault.reason, "an instance was refused");
        if self.sums(association, |sums| sums.refused.insert(fault.code.to_string())) {
            // Whose it is, is not known: it was not kept.
            let study = audit::Study::default();
            self.pipeline.recorder.audit(audit::Event::StudyRefused { study, fault: fault.clone() });
        }
        self.tell(Happened::NotStored(association.id));
    }

    fn closed(&self, association: &Association) {
        crate::metrics::associations_open(self.pipeline.traffic.open.fetch_sub(1, Ordering::Relaxed) - 1);
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner).remove(&association.id).unwrap_or_default();
        for (study, instances) in sums.stored {
            let study = self.pipeline.audit_study(&study);
            self.pipeline.recorder.audit(audit::Event::InstancesStored { study, peer: peer(association), instances });
        }
        self.tell(Happened::Closed(association.id));
    }
}

/// spool → study: completes studies until the intake is gone. Studies with instances that were never considered are open
/// from the start.
pub async fn assemble(pipeline: Arc<Pipeline>, rules: AssemblyRules, mut feed: AssemblyFeed) {
    let mut assembler = Assembler::new(rules);
    for study in pipeline.unconsidered() {
        assembler.resume(&study, Instant::now());
    }
    loop {
        let due = assembler.next_due();
        let wait = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            happened = feed.0.recv() => match happened {
                None => return,
                Some(Happened::Sending(association, study)) => assembler.sending(association, &study, Instant::now()),
                Some(Happened::Stored(association, study)) => assembler.stored(association, &study, Instant::now()),
                Some(Happened::NotStored(association)) => assembler.not_stored(association),
                Some(Happened::Closed(association)) => assembler.closed(association),
            },
            () = wait => {}
        }
        for study in assembler.due(Instant::now()) {
            let pipeline = Arc::clone(&pipeline);
            let again = study.clone();
            let completed = tokio::task::spawn_blocking(move || pipeline.complete(&study)).await;
            if let Ok(Err(fault)) = completed {
                // Its instances are safe; a full disk, most likely.
                tracing::error!(code = %fault.code, reason = %fault.reason, "a study could not be completed");
                assembler.resume(&again, Instant::now() + RETRY);
            }
        }
    }
}

impl Pipeline {
    /// Studies with instances that no completion has considered.
    fn unconsidered(&self) -> Vec<String> {
        let is_new = |study: &String| {
            let considered = self.study_record(study).ok().flatten().map_or(0, |record| record.considered);
            self.spool.instances_of(study).iter().any(|instance| {
                instance.id > considered && matches!(instance.arrival.origin, crate::instance::Origin::Received { .. })
            })
        };
        self.spool.studies().into_iter().filter(is_new).collect()
    }

    /// How the audit names a study.
    pub(super) fn audit_study(&self, study: &str) -> audit::Study {
        let identity = self.identity(study).unwrap_or_default();
        audit::Study {
            uid: Private::new(study.to_owned()),
            patient_id: identity.value(tags::PATIENT_ID),
            patient_name: identity.value(tags::PATIENT_NAME),
        }
    }
}
