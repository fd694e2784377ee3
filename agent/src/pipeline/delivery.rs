//! results → deliver: each destination has a queue and a task of its own, so that one that is away holds up no other.
use super::Pipeline;
use crate::association::{Kind, ObjectToSend, SendError, Sender, Sent, WireError};
use crate::audit::{self, Undelivered};
use crate::deliver::Destination;
use crate::deliver::queue::{Attempt, Delivery, DeliveryState, InRecall, Line};
use crate::deliver::quote;
use crate::deliver::record::LedgerEvent;
use crate::fault::{Blame, Fault};
use crate::instance::StoredInstance;
use crate::job::Job;
use crate::limits::deliver::{DRAIN, LONGEST_PAUSE, MAX_BATCH};
use crate::metrics;
use crate::privacy::Private;
use crate::spool::{Batch, SpoolError, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Delivers what is queued for one destination until the pipeline drains.
pub async fn deliver(pipeline: Arc<Pipeline>, destination: Destination) {
    let mut draining = pipeline.draining.subscribe();
    let mut line = Line::default();
    loop {
        // Armed before the queue is read: what is queued meanwhile is not missed.
        let queued = pipeline.deliveries.notified();
        tokio::pin!(queued);
        queued.as_mut().enable();
        let wait = match pipeline.deliver_due(&destination, &mut line).await {
            Ok(wait) => wait,
            Err(fault) => {
                tracing::error!(code = %fault.code, reason = %fault.reason, "deliveries could not be recorded");
                line.failed(Instant::now());
                line.wait(Instant::now())
            }
        };
        tokio::select! {
            () = queued => {}
            () = tokio::time::sleep(wait) => {}
            _ = draining.wait_for(|draining| *draining) => return,
        }
    }
}

impl Pipeline {
    /// Sends what is due; how long until something else is.
    async fn deliver_due(&self, destination: &Destination, line: &mut Line) -> Result<Duration, Fault> {
        while !*self.draining.borrow() {
            let waiting = self.waiting_for(destination)?;
            metrics::delivery_waiting(&destination.name, waiting.len() as u64);
            let away = line.wait(Instant::now());
            if !away.is_zero() {
                return Ok(away);
            }
            let now = SystemTime::now();
            let due: Vec<Delivery> = waiting.iter().filter(|d| d.is_due(now)).take(MAX_BATCH).cloned().collect();
            if due.is_empty() {
                let next = waiting.first().map(|delivery| delivery.place().0);
                return Ok(
                    next.map_or(LONGEST_PAUSE, |at| at.duration_since(now).unwrap_or_default().min(LONGEST_PAUSE))
                );
            }
            self.attempt(destination, due, line).await?;
        }
        Ok(LONGEST_PAUSE)
    }

    /// What may go to a destination, in order. No result of a study that is refused: whose it is, is not known. A note that
    /// rejects results goes: they have gone under the identity that it carries.
    fn waiting_for(&self, destination: &Destination) -> Result<Vec<Delivery>, Fault> {
        let mut waiting: Vec<Delivery> = self.spool.scan(Table::Deliveries, &format!("{}/", destination.name))?;
        waiting.retain(|delivery| matches!(delivery.state, DeliveryState::Waiting { .. }));
        let mut refused: BTreeMap<String, bool> = BTreeMap::new();
        for delivery in &waiting {
            if !refused.contains_key(&delivery.study) {
                refused.insert(delivery.study.clone(), self.is_refused(&delivery.study)?);
            }
        }
        waiting.retain(|delivery| delivery.is_note() || refused.get(&delivery.study) == Some(&false));
        waiting.sort_by_key(Delivery::place);
        Ok(waiting)
    }

    /// Sends what is due on one association, one result after the other. Each is looked at again right before it goes:
    /// while the one before it went, its study may have been corrected, refused or erased.
    async fn attempt(&self, destination: &Destination, due: Vec<Delivery>, line: &mut Line) -> Result<(), Fault> {
        let due = self.verified(destination, due, line).await?;
        let mut kinds = Vec::with_capacity(due.len());
        for delivery in &due {
            match self.spool.instance(delivery.instance) {
                Some(StoredInstance { arrival, .. }) => {
                    kinds.push(Kind { sop_class: arrival.sop_class, transfer_syntax: arrival.transfer_syntax });
                }
                None => self.attempted(destination, delivery, unreadable(&SpoolError::Erased), true)?,
            }
        }
        if kinds.is_empty() {
            return Ok(());
        }
        let opened = tokio::select! {
            opened = Sender::open(&destination.peer, &kinds) => opened,
            () = self.drained(Duration::ZERO) => return Ok(()),
        };
        let mut sender = match opened {
            Ok(sender) => sender.answered_within(destination.patience),
            Err(error) => {
                return self.not_reached(destination, &due, &error, &error.to_string(), line);
            }
        };
        let mut measured = BTreeSet::new();
        let mut answers = 0;
        for delivery in due {
            if *self.draining.borrow() {
                break;
            }
            let Some(delivery) = tokio::task::block_in_place(|| self.take_up(&delivery))? else { continue };
            if delivery.attempts == 0 && measured.insert(delivery.job) {
                self.measure_first(&delivery);
            }
            let object = match tokio::task::block_in_place(|| self.object(&delivery)) {
                Ok(object) => object,
                // One that cannot be read back holds up no other.
                Err(error) => {
                    self.attempted(destination, &delivery, unreadable(&error), true)?;
                    continue;
                }
            };
            let sent = tokio::select! {
                sent = sender.send(&object) => sent,
                // It still waits, and the next start sends the same bytes again.
                () = self.drained(DRAIN) => return Ok(()),
            };
            let attempt = match sent {
                Ok(Sent::Stored { .. }) => Attempt::Confirmed,
                Ok(Sent::Refused(said)) => Attempt::Refused(self.quoted(&said, &delivery.study)),
                Ok(Sent::Later(said)) => Attempt::Later(self.quoted(&said, &delivery.study)),
                Err(error) => {
                    // Those behind it were not tried.
                    let is_silent = matches!(error, SendError::Wire(WireError::TimedOut(_)));
                    // The first time, an archive that hangs is taken to hang whatever it is sent: the line keeps its order.
                    // Silence over the same result once more may be its own doing, and the others go past it.
                    let hangs = is_silent && delivery.unanswered == 1;
                    let text = error.to_string();
                    let is_news = if answers == 0 || hangs { lost(destination, line, &text) } else { true };
                    let attempt = if hangs { Attempt::Away } else { Attempt::BrokeOff };
                    return self.attempted(destination, &delivery, attempt(text), is_news || !hangs);
                }
            };
            answers += 1;
            if let Some(away) = line.answered(Instant::now()) {
                tracing::info!(
                    destination = destination.name,
                    seconds = away.as_secs(),
                    "the destination answers again"
                );
            }
            self.attempted(destination, &delivery, attempt, true)?;
        }
        sender.close().await;
        Ok(())
    }

    /// What a destination says of a result of this study, as it may stand in logs and tickets.
    pub(super) fn quoted(&self, said: &str, study: &str) -> String {
        let identity = self.identity(study).unwrap_or_default();
        quote::without_identifiers(said, identity.attributes().map(|(_, text)| text))
    }

    /// Records that no association came about, and the text that says why. Where nothing is there, or nothing is taken from
    /// us, that is no fault of the results, and is said once; what broke off otherwise may be the first one's doing.
    pub(super) fn not_reached(
        &self,
        destination: &Destination,
        due: &[Delivery],
        error: &SendError,
        text: &str,
        line: &mut Line,
    ) -> Result<(), Fault> {
        let is_news = lost(destination, line, text);
        let (concerned, attempt): (_, fn(String) -> Attempt) = match error {
            SendError::Connect { .. } | SendError::Rejected(_) => (due, Attempt::Away),
            SendError::Wire(_) | SendError::Unexpected(_) => (&due[..due.len().min(1)], Attempt::BrokeOff),
        };
        let is_away = concerned.len() == due.len();
        concerned.iter().enumerate().try_for_each(|(n, delivery)| {
            let is_news = !is_away || is_news && n == 0;
            self.attempted(destination, delivery, attempt(text.to_owned()), is_news)
        })
    }

    /// Ends so long after the order to drain.
    pub(super) async fn drained(&self, grace: Duration) {
        // The other end is this pipeline's own.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
        tokio::time::sleep(grace).await;
    }

    /// The delivery, marked as under way on stable storage; `None` where it is not to go any more. Who withdraws it later
    /// finds the mark.
    fn take_up(&self, delivery: &Delivery) -> Result<Option<Delivery>, Fault> {
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let current: Option<Delivery> = self.spool.get(Table::Deliveries, &delivery.key())?;
        let Some(delivery) = current.filter(|d| matches!(d.state, DeliveryState::Waiting { .. })) else {
            return Ok(None);
        };
        if !delivery.is_note() && self.is_refused(&delivery.study)? {
            return Ok(None);
        }
        let delivery = delivery.taken_up();
        let mut batch = Batch::new();
        batch.put(Table::Deliveries, &delivery.key(), &delivery, Some(&delivery.study))?;
        self.spool.write_blocking(batch)?;
        Ok(Some(delivery))
    }

    /// How long a job whose first result goes out has taken since its last instance came.
    fn measure_first(&self, delivery: &Delivery) {
        let Ok(Some(job)) = self.spool.get::<Job>(Table::Jobs, &Job::key(delivery.job)) else { return };
        let came = job.inputs.iter().filter_map(|id| self.spool.instance(*id)).map(|stored| stored.arrival.at).max();
        if let Some(took) = came.and_then(|came| came.elapsed().ok()) {
            metrics::first_result(took);
            metrics::stage("deliver", delivery.queued.elapsed().unwrap_or_default());
        }
    }

    fn object(&self, delivery: &Delivery) -> Result<ObjectToSend, SpoolError> {
        let stored = self.spool.instance(delivery.instance).ok_or(SpoolError::Erased)?;
        Ok(ObjectToSend {
            dataset: self.spool.read(&stored)?,
            sop_class: stored.arrival.sop_class,
            sop_instance: stored.arrival.sop_instance,
            transfer_syntax: stored.arrival.transfer_syntax,
        })
    }

    /// What an attempt came to. `is_news` is false where log and audit trail have it already, of the destination as a whole.
    pub(super) fn attempted(
        &self,
        destination: &Destination,
        delivery: &Delivery,
        attempt: Attempt,
        is_news: bool,
    ) -> Result<(), Fault> {
        tokio::task::block_in_place(|| {
            let _study = self.span(&delivery.study).entered();
            let Some(delivery) = self.record_attempt(destination, delivery, attempt)? else { return Ok(()) };
            self.tell(destination, &delivery, is_news);
            self.end_span_at_rest(&delivery.study);
            Ok(())
        })
    }

    /// Records an attempt in one batch: the delivery, the ledger, the timeline. `None` where nothing is to be said.
    fn record_attempt(
        &self,
        destination: &Destination,
        delivery: &Delivery,
        attempt: Attempt,
    ) -> Result<Option<Delivery>, Fault> {
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        // While it was sent, its study may have been erased, or a newer result may have taken its place.
        let Some(current) = self.spool.get::<Delivery>(Table::Deliveries, &delivery.key())? else { return Ok(None) };
        if !matches!(current.state, DeliveryState::Waiting { .. }) && attempt != Attempt::Confirmed {
            return Ok(None);
        }
        let delivery = current.after(attempt, SystemTime::now());
        let mut batch = Batch::new();
        batch.put(Table::Deliveries, &delivery.key(), &delivery, Some(&delivery.study))?;
        let job: Option<Job> = self.spool.get(Table::Jobs, &Job::key(delivery.job))?;
        let package = match &delivery.recall {
            Some(InRecall::Note { package }) => package,
            _ => job.as_ref().map_or("", |job| job.package.digest.as_str()),
        };
        let what = if delivery.is_note() { "a rejection note" } else { "a result" };
        let (result, name) = (delivery.result.clone(), destination.name.clone());
        match &delivery.state {
            DeliveryState::Delivered { .. } => {
                let event = LedgerEvent::Delivered { result, destination: name };
                Self::ledger(&mut batch, package, &delivery.study, delivery.job, event)?;
                let text = format!("{what} to {}", destination.name);
                self.noted(&mut batch, &delivery.study, "delivered", &text, None)?;
            }
            DeliveryState::Dead { reason, .. } => {
                let event = LedgerEvent::Dead { result, destination: name, reason: reason.clone() };
                Self::ledger(&mut batch, package, &delivery.study, delivery.job, event)?;
                let text = format!("{what} was given up for {}: {reason}", destination.name);
                self.noted(&mut batch, &delivery.study, "failed", &text, Some("delivery-dead"))?;
            }
            DeliveryState::Held { reason, .. } => {
                let event = LedgerEvent::Held { result, destination: name, reason: reason.clone() };
                Self::ledger(&mut batch, package, &delivery.study, delivery.job, event)?;
                let text = format!("{what} is held for {}: {reason}", destination.name);
                self.noted(&mut batch, &delivery.study, "held", &text, Some("delivery-patient-mismatch"))?;
            }
            _ => {}
        }
        self.spool.write_blocking(batch)?;
        Ok(Some(delivery))
    }

    /// Metrics and audit of an attempt.
    fn tell(&self, destination: &Destination, delivery: &Delivery, is_news: bool) {
        let study = self.audit_study(&delivery.study);
        let peer =
            audit::Peer { ae_title: destination.peer.called_ae.clone(), address: destination.peer.address.clone() };
        let instance = Private::new(delivery.result.clone());
        let failed = |code: &'static str, reason: &str| Fault::new(code, Blame::Destination, reason.to_owned());
        match &delivery.state {
            DeliveryState::Delivered { .. } => {
                metrics::delivery(&destination.name, metrics::Delivery::Delivered);
                tracing::info!(job = delivery.job, destination = destination.name, "a result was delivered");
                self.recorder.audit(audit::Event::Delivered { study, destination: peer, instance });
            }
            DeliveryState::Dead { reason, .. } => {
                metrics::delivery(&destination.name, metrics::Delivery::Dead);
                tracing::error!(job = delivery.job, destination = destination.name, reason, "a result was given up");
                let fault = failed("delivery-dead", reason);
                let then = Undelivered::GivenUp;
                self.recorder.audit(audit::Event::DeliveryFailed { study, destination: peer, instance, fault, then });
            }
            DeliveryState::Held { reason, .. } => {
                metrics::delivery(&destination.name, metrics::Delivery::Held);
                tracing::error!(job = delivery.job, destination = destination.name, reason, "a result is held");
                let fault = failed("delivery-patient-mismatch", reason);
                let then = Undelivered::Held;
                self.recorder.audit(audit::Event::DeliveryFailed { study, destination: peer, instance, fault, then });
            }
            DeliveryState::Waiting { trouble: Some(reason), .. } => {
                metrics::delivery(&destination.name, metrics::Delivery::Failed);
                // The first failure of a result is news; the ones after it are counted.
                if is_news && delivery.attempts == 1 {
                    tracing::warn!(destination = destination.name, reason, "a delivery is put off");
                    let fault = failed("delivery-failed", reason);
                    let then = Undelivered::Waits;
                    let event = audit::Event::DeliveryFailed { study, destination: peer, instance, fault, then };
                    self.recorder.audit(event);
                }
            }
            _ => {}
        }
        self.recorder.changed();
    }
}

/// The destination could not be reached, or hangs: said when it begins, and again when it answers. True where it is news.
pub(super) fn lost(destination: &Destination, line: &mut Line, reason: &str) -> bool {
    let is_news = line.failed(Instant::now());
    if is_news {
        tracing::warn!(
            destination = destination.name,
            reason,
            "the destination cannot be reached; what is for it waits"
        );
    }
    is_news
}

fn unreadable(error: &SpoolError) -> Attempt {
    Attempt::Refused(format!("its bytes cannot be read back: {error}"))
}
