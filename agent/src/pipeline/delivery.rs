//! results → deliver: each destination has a queue and a task of its own, so that one that is away holds up no other.
use super::Pipeline;
use crate::association::{ObjectToSend, SendError, Sent, send};
use crate::audit;
use crate::deliver::Destination;
use crate::deliver::queue::{Attempt, Delivery, DeliveryState};
use crate::deliver::record::LedgerEvent;
use crate::fault::{Blame, Fault};
use crate::job::Job;
use crate::limits::deliver::{LONGEST_PAUSE, MAX_BATCH};
use crate::metrics;
use crate::privacy::Private;
use crate::spool::{Batch, Table};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Delivers what is queued for one destination until the pipeline drains.
pub async fn deliver(pipeline: Arc<Pipeline>, destination: Destination) {
    let mut draining = pipeline.draining.subscribe();
    loop {
        // Armed before the queue is read: what is queued meanwhile is not missed.
        let queued = pipeline.deliveries.notified();
        tokio::pin!(queued);
        queued.as_mut().enable();
        if *draining.borrow() {
            return;
        }
        let wait = match pipeline.deliver_due(&destination).await {
            Ok(wait) => wait,
            Err(fault) => {
                tracing::error!(code = %fault.code, reason = %fault.reason, "deliveries could not be recorded");
                LONGEST_PAUSE
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
    async fn deliver_due(&self, destination: &Destination) -> Result<Duration, Fault> {
        loop {
            let mut waiting: Vec<Delivery> = self.spool.scan(Table::Deliveries, &format!("{}/", destination.name))?;
            waiting.retain(|delivery| matches!(delivery.state, DeliveryState::Waiting { .. }));
            metrics::delivery_waiting(&destination.name, waiting.len() as u64);
            let now = SystemTime::now();
            let mut due: Vec<Delivery> = waiting.iter().filter(|delivery| delivery.is_due(now)).cloned().collect();
            if due.is_empty() {
                let next = waiting.iter().filter_map(|delivery| match delivery.state {
                    DeliveryState::Waiting { not_before, .. } => Some(not_before),
                    _ => None,
                });
                return Ok(next
                    .min()
                    .map_or(LONGEST_PAUSE, |at| at.duration_since(now).unwrap_or_default().min(LONGEST_PAUSE)));
            }
            due.sort_by_key(|delivery| delivery.queued);
            due.truncate(MAX_BATCH);
            self.attempt(destination, due).await?;
        }
    }

    async fn attempt(&self, destination: &Destination, due: Vec<Delivery>) -> Result<(), Fault> {
        let mut objects = Vec::with_capacity(due.len());
        for delivery in &due {
            let stored = self.spool.instance(delivery.instance).ok_or(crate::spool::SpoolError::Erased)?;
            objects.push(ObjectToSend {
                dataset: self.spool.read(&stored)?,
                sop_class: stored.arrival.sop_class,
                sop_instance: stored.arrival.sop_instance,
                transfer_syntax: stored.arrival.transfer_syntax,
            });
        }
        let mut answers: Vec<Option<Sent>> = vec![None; due.len()];
        let ended = send(&destination.peer, &objects, |n, sent| answers[n] = Some(sent)).await;
        for (delivery, answer) in due.into_iter().zip(answers) {
            let attempt = match (answer, &ended) {
                (Some(Sent::Stored { .. }), _) => Attempt::Confirmed,
                (Some(Sent::Refused(reason)), _) => Attempt::Refused(reason),
                (Some(Sent::Later(reason)), _) => Attempt::Later(reason),
                (None, Err(error)) => Attempt::Later(error.to_string()),
                (None, Ok(())) => Attempt::Later(SendError::Unexpected("no answer".into()).to_string()),
            };
            self.attempted(destination, delivery, attempt).await?;
        }
        Ok(())
    }

    /// Records an attempt: the delivery, the ledger, the timeline, the audit.
    async fn attempted(&self, destination: &Destination, delivery: Delivery, attempt: Attempt) -> Result<(), Fault> {
        let was_failing = delivery.attempts > 0;
        let delivery = delivery.after(attempt, SystemTime::now());
        let mut batch = Batch::new();
        batch.put(Table::Deliveries, &delivery.key(), &delivery, Some(&delivery.study))?;
        let job: Option<Job> = self.spool.get(Table::Jobs, &Job::key(delivery.job))?;
        let package = job.as_ref().map_or("", |job| job.package.digest.as_str());
        let (result, name) = (delivery.result.clone(), destination.name.clone());
        let event = match &delivery.state {
            DeliveryState::Delivered { .. } => Some(LedgerEvent::Delivered { result, destination: name }),
            DeliveryState::Dead { reason, .. } => {
                Some(LedgerEvent::Dead { result, destination: name, reason: reason.clone() })
            }
            _ => None,
        };
        if let Some(event) = event {
            Self::ledger(&mut batch, package, &delivery.study, delivery.job, event)?;
        }
        self.spool.write(batch).await?;
        tokio::task::block_in_place(|| self.tell(destination, &delivery, was_failing))
    }

    fn tell(&self, destination: &Destination, delivery: &Delivery, was_failing: bool) -> Result<(), Fault> {
        let study = self.audit_study(&delivery.study);
        let peer =
            audit::Peer { ae_title: destination.peer.called_ae.clone(), address: destination.peer.address.clone() };
        let instance = Private::new(delivery.result.clone());
        let failed = |code: &'static str, reason: &str| Fault::new(code, Blame::Destination, reason.to_owned());
        match &delivery.state {
            DeliveryState::Delivered { .. } => {
                metrics::delivery(&destination.name, metrics::Delivery::Delivered);
                self.recorder.audit(audit::Event::Delivered { study, destination: peer, instance });
                self.note(&delivery.study, "delivered", &format!("a result to {}", destination.name), None)?;
            }
            DeliveryState::Dead { reason, .. } => {
                metrics::delivery(&destination.name, metrics::Delivery::Dead);
                let fault = failed("delivery-dead", reason);
                self.recorder.audit(audit::Event::DeliveryFailed {
                    study,
                    destination: peer,
                    instance,
                    fault,
                    dead: true,
                });
                let text = format!("a result was given up for {}: {reason}", destination.name);
                self.note(&delivery.study, "failed", &text, Some("delivery-dead"))?;
            }
            DeliveryState::Waiting { trouble: Some(reason), .. } => {
                metrics::delivery(&destination.name, metrics::Delivery::Failed);
                tracing::warn!(destination = destination.name, reason, "a delivery is put off");
                // The first failure is news; the ones after it are counted.
                if !was_failing {
                    let fault = failed("delivery-failed", reason);
                    self.recorder.audit(audit::Event::DeliveryFailed {
                        study,
                        destination: peer,
                        instance,
                        fault,
                        dead: false,
                    });
                }
            }
            _ => {}
        }
        self.recorder.changed();
        Ok(())
    }
}
