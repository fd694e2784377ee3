//! What was given up or is held for a destination, queued again when a person asks for it.
use super::Pipeline;
use crate::audit;
use crate::deliver::Destination;
use crate::deliver::queue::{Delivery, DeliveryState};
use crate::fault::{Blame, Fault};
use crate::spool::{Batch, Table};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::SystemTime;

impl Pipeline {
    /// Queues again what was given up or is held for the destination of this name, or for any; how many results.
    pub fn requeue(&self, name: Option<&str>) -> Result<u64, Fault> {
        let set = self.serving_set();
        let is_meant = |destination: &&Destination| name.is_none_or(|name| destination.name == name);
        let meant: Vec<&Destination> = set.destinations.iter().filter(is_meant).collect();
        if let (Some(name), true) = (name, meant.is_empty()) {
            let reason = format!("no destination of this node has the name {name}; `sund status` lists them");
            return Err(Fault::new("destination-unknown", Blame::Peer, reason));
        }
        let mut results = 0;
        for destination in meant {
            let mut studies: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
            for delivery in self.spool.scan::<Delivery>(Table::Deliveries, &format!("{}/", destination.name))? {
                studies.entry(delivery.study.clone()).or_default().push(delivery);
            }
            for (study, deliveries) in studies {
                results += self.requeue_study(destination, &study, &deliveries)?;
            }
        }
        self.recorder.changed();
        self.deliveries.notify_waiters();
        Ok(results)
    }

    /// Queues what was given up or is held of one study, in one step.
    fn requeue_study(&self, destination: &Destination, study: &str, deliveries: &[Delivery]) -> Result<u64, Fault> {
        let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new();
        let mut results = 0;
        for delivery in deliveries {
            // Erased, or superseded by now, it stays where it is.
            let current: Option<Delivery> = self.spool.get(Table::Deliveries, &delivery.key())?;
            let rests = |d: &Delivery| matches!(d.state, DeliveryState::Dead { .. } | DeliveryState::Held { .. });
            let Some(resting) = current.filter(rests) else { continue };
            let again = resting.queued_again(SystemTime::now());
            batch.put(Table::Deliveries, &again.key(), &again, Some(study))?;
            results += 1;
        }
        if results == 0 {
            return Ok(0);
        }
        let text = format!("results that were given up or held are queued again for {}: {results}", destination.name);
        self.noted(&mut batch, study, "waiting", &text, None)?;
        self.spool.write_blocking(batch)?;
        drop(one_at_a_time);
        let (ae_title, address) = (destination.peer.called_ae.clone(), destination.peer.address.clone());
        let (study, destination) = (self.audit_study(study), audit::Peer { ae_title, address });
        self.recorder.audit(audit::Event::ResultsRequeued { study, destination, results });
        Ok(results)
    }
}
