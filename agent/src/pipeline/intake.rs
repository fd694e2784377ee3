//! association → spool: what the node's associations do to the pipeline.
use super::Pipeline;
use super::recorder::blocking;
use crate::association::{Association, Intake};
use crate::audit;
use crate::counted::counted;
use crate::dataset::scan::scan;
use crate::fault::{Blame, Fault};
use crate::instance::StoredInstance;
use crate::limits::study::MAX_COMPLETING;
use crate::privacy::Private;
use crate::results::Identity;
use crate::spool::Incoming;
use crate::study::assembly::{Assembler, AssemblyRules, Due};
use dicom_dictionary_std::tags;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

/// Before a study that could not be completed is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Connections that find no place are told together, no more often than this.
const TELL_EVERY: Duration = Duration::from_mins(1);

const TOO_MANY_CONNECTIONS: &str = "too-many-connections";

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
    turned_away: Mutex<TurnedAway>,
}

/// Connections that found no place.
#[derive(Default)]
struct TurnedAway {
    told: Option<Instant>,
    /// Since then.
    connections: u64,
}

/// What an association has brought.
#[derive(Default)]
struct Sums {
    /// Instances by study, and the first of them, which says whose it is.
    stored: BTreeMap<String, (StoredInstance, u64)>,
    /// Study and SOP Instance UID of the instance that is on its way.
    sending: Option<(String, String)>,
    /// Requests that were refused, by code: why, and how many. Log and audit have had the first of each.
    refused: BTreeMap<String, (Fault, u64)>,
    /// Studies of which instances were refused, where that is known.
    lacking: BTreeSet<String>,
}

/// The receiving end of an intake's events.
pub struct AssemblyFeed(mpsc::UnboundedReceiver<Happened>);

impl SpoolIntake {
    /// An intake, and the feed for [`assemble`].
    pub fn new(pipeline: Arc<Pipeline>) -> (Self, AssemblyFeed) {
        // Unbounded by itself, bounded by what it describes: an instance that is stored, or an association.
        let (events, feed) = mpsc::unbounded_channel();
        (Self { pipeline, events, sums: Mutex::default(), turned_away: Mutex::default() }, AssemblyFeed(feed))
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

    fn begin(&self, association: &Association, study: &str, sop_instance: &str) -> Result<Incoming, Fault> {
        self.sums(association, |sums| sums.sending = Some((study.to_owned(), sop_instance.to_owned())));
        let incoming = self.pipeline.spool.begin(study)?;
        self.tell(Happened::Sending(association.id, study.to_owned()));
        Ok(incoming)
    }

    fn turned_away(&self, peer: SocketAddr) {
        let mut turned_away = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        turned_away.connections += 1;
        if turned_away.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return crate::metrics::refusal(TOO_MANY_CONNECTIONS);
        }
        let connections = counted(std::mem::take(&mut turned_away.connections), "connection was", "connections were");
        turned_away.told = Some(Instant::now());
        drop(turned_away);
        let reason = format!("{connections} closed at once, the last from {}: too many are open", peer.ip());
        tracing::warn!(code = TOO_MANY_CONNECTIONS, reason, "connections find no place");
        self.pipeline.recorder.audit(audit::Event::AssociationRefused {
            peer: audit::Peer { ae_title: String::new(), address: peer.to_string() },
            called_ae: String::new(),
            fault: Fault::new(TOO_MANY_CONNECTIONS, Blame::Peer, reason),
        });
    }

    fn opened(&self, association: &Association, lacking: Option<Fault>) {
        crate::metrics::association(true);
        crate::metrics::associations_open(self.pipeline.traffic.open.fetch_add(1, Ordering::Relaxed) + 1);
        self.pipeline.recorder.audit(audit::Event::AssociationOpened {
            peer: peer(association),
            called_ae: association.called_ae.clone(),
            association: association.id,
            lacking: lacking.inspect(|fault| {
                let (caller, address) = (&association.calling_ae, association.peer);
                tracing::info!(caller, %address, code = %fault.code, reason = %fault.reason, "not all contexts are accepted");
            }),
        });
    }

    fn rejected(&self, association: &Association, fault: &Fault) {
        crate::metrics::association(false);
        let (caller, address) = (&association.calling_ae, association.peer);
        tracing::warn!(caller, %address, code = %fault.code, reason = %fault.reason, "an association was rejected");
        self.pipeline.recorder.audit(audit::Event::AssociationRefused {
            peer: peer(association),
            called_ae: association.called_ae.clone(),
            fault: fault.clone(),
        });
    }

    fn stored(&self, association: &Association, instance: &StoredInstance, took: Duration) {
        crate::metrics::instance_received(instance.length, took);
        self.sums(association, |sums| {
            let study = instance.arrival.study.clone();
            sums.sending = None;
            sums.stored.entry(study).or_insert_with(|| (instance.clone(), 0)).1 += 1;
        });
        self.pipeline.traffic.received.fetch_add(1, Ordering::Relaxed);
        self.tell(Happened::Stored(association.id, instance.arrival.study.clone()));
    }

    fn refused(&self, association: &Association, fault: &Fault) {
        crate::metrics::refusal(&fault.code);
        let (is_first, sending) = self.sums(association, |sums| {
            let sending = sums.sending.take();
            sums.lacking.extend(sending.as_ref().map(|(study, _)| study.clone()));
            let (_, requests) = sums.refused.entry(fault.code.to_string()).or_insert_with(|| (fault.clone(), 0));
            *requests += 1;
            (*requests == 1, sending)
        });
        if let Some((study, sop_instance)) = &sending {
            self.pipeline.refused.add(study, sop_instance, fault);
        }
        // The first is news; the ones after it are counted.
        if is_first {
            let (caller, address) = (&association.calling_ae, association.peer);
            tracing::warn!(caller, %address, code = %fault.code, reason = %fault.reason, "a request was refused");
            let study = sending.map(|(study, _)| self.pipeline.audit_study(&study));
            let (peer, fault) = (peer(association), fault.clone());
            self.pipeline.recorder.audit(audit::Event::RequestsRefused { study, peer, requests: 1, fault });
        }
        self.tell(Happened::NotStored(association.id));
    }

    fn closed(&self, association: &Association) {
        crate::metrics::associations_open(self.pipeline.traffic.open.fetch_sub(1, Ordering::Relaxed) - 1);
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner).remove(&association.id).unwrap_or_default();
        for (fault, requests) in sums.refused.into_values().filter(|(_, requests)| *requests > 1) {
            let (caller, address) = (&association.calling_ae, association.peer);
            tracing::warn!(caller, %address, code = %fault.code, requests, "so many requests of one association were refused");
            // Of whichever studies: the first, with its own, has been told.
            let (peer, requests) = (peer(association), requests - 1);
            self.pipeline.recorder.audit(audit::Event::RequestsRefused { study: None, peer, requests, fault });
        }
        for study in sums.lacking.iter().filter(|study| !sums.stored.contains_key(*study)) {
            if let Err(fault) = blocking(|| self.pipeline.note_refused(study)) {
                tracing::error!(code = %fault.code, reason = %fault.reason, "a timeline could not be written");
            }
        }
        for (first, instances) in sums.stored.into_values() {
            let study = self.pipeline.audit_instance(&first);
            self.pipeline.recorder.audit(audit::Event::InstancesStored { study, peer: peer(association), instances });
        }
        self.tell(Happened::Closed(association.id));
    }
}

/// spool → study: completes studies until the intake is gone. Studies with instances that were never considered are open
/// from the start.
pub async fn assemble(pipeline: Arc<Pipeline>, rules: AssemblyRules, feed: AssemblyFeed) {
    let mut assembler = Assembler::new(rules);
    for (study, _) in pipeline.unconsidered() {
        assembler.resume(&study, Instant::now());
    }
    let troubled = Mutex::new(BTreeSet::new());
    let complete = move |Due { study, is_cut }: &Due| {
        let ended = attempt(|| pipeline.complete(study, *is_cut));
        let mut troubled = troubled.lock().unwrap_or_else(PoisonError::into_inner);
        match &ended {
            Ok(()) => _ = troubled.remove(study),
            // The first failure is news; the log has the ones after it.
            Err(fault) => pipeline.put_off(study, fault, troubled.insert(study.to_owned())),
        }
        ended.is_ok()
    };
    run(assembler, feed, complete).await;
}

/// Has studies completed as they become due, beside the events of the intake: while one is completed, others go on coming.
/// A study whose completion fails is tried again.
async fn run(
    mut assembler: Assembler,
    mut feed: AssemblyFeed,
    complete: impl Fn(&Due) -> bool + Send + Sync + 'static,
) {
    let complete = Arc::new(complete);
    let mut completions: JoinSet<(String, bool)> = JoinSet::new();
    loop {
        let room = MAX_COMPLETING - completions.len();
        let due = assembler.next_due().filter(|_| room > 0);
        let wait = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            happened = feed.0.recv() => match happened {
                None => break,
                Some(happened) => note(&mut assembler, happened),
            },
            Some(ended) = completions.join_next() => note_completed(&mut assembler, ended),
            () = wait => {}
        }
        // All that has happened is known before anything counts as complete: a sender may have gone on.
        while let Ok(happened) = feed.0.try_recv() {
            note(&mut assembler, happened);
        }
        while let Some(ended) = completions.try_join_next() {
            note_completed(&mut assembler, ended);
        }
        for due in assembler.due(Instant::now(), MAX_COMPLETING - completions.len()) {
            let complete = Arc::clone(&complete);
            completions.spawn_blocking(move || {
                let is_complete = complete(&due);
                (due.study, is_complete)
            });
        }
    }
    while completions.join_next().await.is_some() {}
}

fn note(assembler: &mut Assembler, happened: Happened) {
    let now = Instant::now();
    match happened {
        Happened::Sending(association, study) => assembler.sending(association, &study, now),
        Happened::Stored(association, study) => assembler.stored(association, &study, now),
        Happened::NotStored(association) => assembler.not_stored(association),
        Happened::Closed(association) => assembler.closed(association),
    }
}

/// The task of a completion does not panic, see [`attempt`]: its study is always named.
fn note_completed(assembler: &mut Assembler, ended: Result<(String, bool), JoinError>) {
    let Ok((study, is_complete)) = ended else { return };
    assembler.completed(&study);
    if !is_complete {
        assembler.resume(&study, Instant::now() + RETRY);
    }
}

/// Runs a completion; one that panics is a fault like any other, and costs no study.
fn attempt(complete: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    let broke_off =
        || Fault::new("completion-broke-off", Blame::Sund, "the completion of a study broke off; it is tried again");
    catch_unwind(AssertUnwindSafe(complete)).unwrap_or_else(|_| Err(broke_off()))
}

impl Pipeline {
    /// A study could not be completed, and is tried again: its instances are safe. A full disk, most likely.
    fn put_off(&self, study: &str, fault: &Fault, is_news: bool) {
        tracing::error!(code = %fault.code, reason = %fault.reason, "a study could not be completed");
        if !is_news {
            return crate::metrics::refusal(&fault.code);
        }
        let study = self.audit_study(study);
        self.recorder.audit(audit::Event::StudyPutOff { study, fault: fault.clone() });
    }

    /// Studies with instances that no completion has considered, and how many: acknowledged, and known to no job yet.
    pub(super) fn unconsidered(&self) -> Vec<(String, u64)> {
        // Before the instances: what is considered meanwhile counts once more, and never not at all.
        let records = self.seen.studies.all(&self.spool);
        let considered: HashMap<&str, u64> =
            records.iter().map(|record| (record.study.as_str(), record.considered)).collect();
        self.spool.received_behind(|study| considered.get(study).copied().unwrap_or(0))
    }

    /// How the audit names the study of an instance, by what the instance itself says: the study may have no identity yet.
    fn audit_instance(&self, instance: &StoredInstance) -> audit::Study {
        let opened = self.spool.read(instance).map_err(Fault::from);
        let header = opened.and_then(|dataset| scan(&dataset, &instance.arrival.transfer_syntax));
        // One that cannot be read is told without a name; its completion says why.
        let identity = header.map(|header| Identity::from_header(&header)).unwrap_or_default();
        named(&instance.arrival.study, &identity)
    }

    /// How the audit names a study.
    pub(super) fn audit_study(&self, study: &str) -> audit::Study {
        named(study, &self.identity(study).unwrap_or_default())
    }
}

/// How the audit names a study of this identity.
pub(super) fn named(study: &str, identity: &Identity) -> audit::Study {
    audit::Study {
        uid: Private::new(study.to_owned()),
        patient_id: identity.value(tags::PATIENT_ID),
        patient_name: identity.value(tags::PATIENT_NAME),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc as blocking;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_completion_that_panics_is_a_fault_and_its_study_is_tried_again() {
        assert_eq!(attempt(|| panic!("on purpose")).unwrap_err().code, "completion-broke-off");
        let rules = AssemblyRules { quiet: Duration::ZERO, complete_on_association_end: true };
        let (mut assembler, now) = (Assembler::new(rules), Instant::now());
        assembler.stored(1, "s", now);
        assembler.closed(1);
        assert_eq!(assembler.due(now, 1)[0].study, "s");
        note_completed(&mut assembler, Ok(("s".to_owned(), false)));
        assert!(assembler.next_due().is_some_and(|due| due >= now + RETRY));
    }

    /// While one study is completed the others are listened to: one that is still sent for is not taken for complete.
    #[tokio::test]
    async fn a_study_that_is_sent_for_while_another_is_completed_is_not_complete() {
        let (happens, feed) = mpsc::unbounded_channel();
        let (begun, mut begins) = mpsc::unbounded_channel();
        let (release, held) = blocking::channel::<()>();
        let held = Mutex::new(held);
        let complete = move |Due { study, .. }: &Due| {
            begun.send(study.clone()).unwrap();
            study != "long" || held.lock().unwrap().recv().is_ok()
        };
        // Complete as soon as nothing is on its way.
        let rules = AssemblyRules { quiet: Duration::ZERO, complete_on_association_end: false };
        let running = tokio::spawn(run(Assembler::new(rules), AssemblyFeed(feed), complete));
        let mut next = async || tokio::time::timeout(PATIENCE, begins.recv()).await.expect("it goes on").unwrap();
        let stored = |association, study: &str| {
            happens.send(Happened::Stored(association, study.to_owned())).unwrap();
            // Who has not said that it sends more goes.
            happens.send(Happened::Closed(association)).unwrap();
        };

        stored(1, "long");
        assert_eq!(next().await, "long");
        happens.send(Happened::Stored(2, "sent for".to_owned())).unwrap();
        happens.send(Happened::Sending(2, "sent for".to_owned())).unwrap();
        stored(3, "third");
        assert_eq!(next().await, "third");
        // The long one is still under way: late instances of it wait.
        stored(1, "long");
        stored(3, "fourth");
        assert_eq!(next().await, "fourth");
        stored(2, "sent for");
        assert_eq!(next().await, "sent for");
        release.send(()).unwrap();
        assert_eq!(next().await, "long");
        release.send(()).unwrap();
        drop(happens);
        tokio::time::timeout(PATIENCE, running).await.expect("it ends").unwrap();
    }
}
