//! Models that the updater itself has switched off: no state that is still approved can take their place. They serve again with the next state
//! that is, and what a person or the region has switched off is not touched by that.
use super::listen::later;
use super::{Halt, Machine};
use crate::agent::{Holder, ModelStatus, NOT_APPROVED};
use crate::machine::record::Record;
use std::collections::BTreeSet;

impl Machine {
    /// Switches models off. Their names are kept before that: wherever it is killed, the next state has them serve again. One that can't be
    /// switched off keeps no other one on.
    pub(super) async fn withhold(&mut self, models: &[ModelStatus]) -> Result<(), Halt> {
        // Also what the region suspended, or a person: when they lift that, there is still no state that is approved.
        let mut suspended = self.record.suspended.clone();
        suspended.extend(models.iter().map(|model| model.name.clone()));
        suspended.sort_unstable();
        suspended.dedup();
        if suspended != self.record.suspended {
            self.keep(Record { suspended, ..self.record.clone() }).map_err(Halt::Later)?;
        }
        let mut withheld = Ok(());
        for model in models.iter().filter(|model| !model.is_withheld()) {
            withheld =
                withheld.and(self.agent.suspend(&model.name, NOT_APPROVED, Holder::Updater).await.map_err(later));
        }
        withheld
    }

    /// Lets them serve again, now that an approved state does.
    pub(super) async fn release(&mut self) -> Result<(), Halt> {
        let models = self.agent.status().await.map_err(later)?.models;
        let is_own = |name: &String| {
            let model = models.iter().find(|model| model.name == *name);
            model.is_none_or(|model| model.reason.is_none() || model.is_withheld())
        };
        let known = self.record.suspended.iter().filter(|name| is_own(name)).cloned();
        let found = models.iter().filter(|model| model.is_withheld()).map(|model| model.name.clone());
        for package in known.chain(found).collect::<BTreeSet<String>>() {
            self.agent.resume(&package).await.map_err(later)?;
        }
        if self.record.suspended.is_empty() {
            return Ok(());
        }
        self.keep(Record { suspended: Vec::new(), ..self.record.clone() }).map_err(Halt::Later)
    }
}
