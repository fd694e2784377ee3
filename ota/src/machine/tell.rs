//! What the channel is told of this box (`configData`).
use super::Machine;
use super::record::{Action, Origin, Step, System, state_name};
use super::versions::is_older;
use crate::config::TIME_ZONE;
use crate::ddi::client::Polled;
use crate::ddi::{ConfigData, NO_STATE, REPOSITORY, REPOSITORY_TROUBLE, SINCE, STATE};
use crate::fault::{Blame, Fault};
use crate::firmware::SecureBoot;
use crate::hex::hex;
use crate::rauc;
use crate::recovery::RecoveryStatus;
use crate::trust;
use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

/// Characters of a value; hawkBit refuses longer ones.
const MAX_VALUE: usize = 120;

impl Machine {
    /// Tells the channel what this box is, where it asks for it or where that has changed.
    pub(super) async fn tell_attributes(&self, polled: &Polled) {
        let data = self.attributes().await;
        let text = serde_json::to_vec(&data).unwrap_or_default();
        let digest = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text).as_ref());
        if !polled.wants_config_data && self.told().as_ref() == Some(&digest) {
            return;
        }
        let told = self.ddi.config_data(&ConfigData { mode: Some("replace".to_owned()), data }).await;
        let is_told = told.is_ok();
        self.log(told);
        if is_told {
            *self.told() = Some(digest);
            let record = self.as_it_stands(self.record.clone());
            if let Err(fault) = record.write(&self.config.record_file()) {
                tracing::warn!(%fault, "that the channel was told is not kept");
            }
        }
    }

    /// What the channel was told last, by its hash. It changes while a step works.
    pub(super) fn told(&self) -> MutexGuard<'_, Option<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the agent that what runs has held and that its system stays, so that it may write what an older one does not read: the system
    /// in the other slot is none to go back to then. It does not where it is not told: the next state that holds tells it again.
    pub(super) async fn tell_committed(&mut self) -> Result<(), Fault> {
        let format = match self.agent.committed().await {
            Ok(format) => format,
            Err(error) => {
                tracing::warn!(%error, "the agent was not told that the system stays");
                return Ok(());
            }
        };
        tracing::info!(format, "the agent knows that the system stays");
        self.keep_format(format)
    }

    /// Learns once after each start in which format the agent writes: the power may have failed between its answer and the record of it.
    pub(super) async fn learn_format(&mut self) {
        if self.is_format_known {
            return;
        }
        let Ok(status) = self.agent.status().await else { return };
        let kept = status.spool_format.map_or(Ok(()), |format| self.keep_format(format));
        if let Err(fault) = &kept {
            tracing::warn!(%fault, "the format of the spool is not kept");
        }
        self.is_format_known = kept.is_ok();
    }

    /// From a newer format on, the system in the other slot is none to go back to.
    fn keep_format(&mut self, format: u32) -> Result<(), Fault> {
        if format <= self.record.spool_format {
            return Ok(());
        }
        let mut record = self.record.clone();
        record.spool_format = format;
        record.spool_since = record.system.as_ref().map(|system| system.version.clone());
        record.system.iter_mut().for_each(System::forget_other);
        self.keep(record)
    }

    /// Refuses a system that is older than the one under which the spool went over to its format: its agent could not read it.
    pub(super) fn reads_spool(&self, version: &str) -> Result<(), Fault> {
        let Some(since) = self.record.spool_since.as_ref().filter(|since| is_older(version, since)) else {
            return Ok(());
        };
        let reason = format!(
            "{version} is older than {since}, since when the spool of this box is in format {}: deploy {since} or a newer one",
            self.record.spool_format
        );
        Err(Fault::new("os-too-old", Blame::Region, reason))
    }

    async fn attributes(&self) -> BTreeMap<String, String> {
        let mut data = self.config.attributes.clone();
        if let Some(zone) = self.config.zone.iana_name() {
            data.insert(TIME_ZONE.to_owned(), zone.to_owned());
        }
        data.insert("updater".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        if let Some(Ok(running)) = self.config.os.as_ref().map(rauc::running) {
            data.insert("os".to_owned(), running.version);
            data.extend(running.variant.map(|variant| ("variant".to_owned(), variant.id)));
        }
        if let Some(secure_boot) = SecureBoot::of(&self.config) {
            data.insert("secure_boot".to_owned(), secure_boot.word().to_owned());
        }
        if let Some(trouble) = &self.os_trouble {
            data.insert("os.trouble".to_owned(), trouble.to_string());
        }
        let heard = trust::shown(&self.config.tuf()).heard;
        if let Some(fault) = self.pace.unheard() {
            let since = heard.as_ref().and_then(|heard| jiff::Timestamp::from_second(heard.at?).ok());
            let since = since.map_or_else(String::new, |since| format!("{SINCE}{since}"));
            data.insert(REPOSITORY_TROUBLE.to_owned(), format!("{}{since}", fault.code));
        }
        if let Some(heard) = heard {
            data.insert(REPOSITORY.to_owned(), heard.version.to_string());
        }
        if let Some(good) = self.record.good.first() {
            data.insert("good".to_owned(), state_name(&good.descriptor).to_owned());
            // The name by which some servers (gooseBit) look up what a box has.
            data.insert("sw_version".to_owned(), good.version.clone());
        }
        if let Some(recovery) = RecoveryStatus::read(&self.config.directory) {
            data.insert("rescue".to_owned(), recovery.in_words());
        }
        if let Some(stick) = self.record.last.as_ref().and_then(told_of_stick) {
            data.insert("stick".to_owned(), stick);
        }
        match self.agent.status().await {
            Ok(status) => {
                data.insert("agent".to_owned(), status.version);
                data.insert(STATE.to_owned(), status.state.map_or_else(|| NO_STATE.to_owned(), |state| state.name));
                data.insert("engine".to_owned(), status.engine_class);
                let models = status.models.into_iter().take(crate::limits::MAX_MODELS);
                data.extend(
                    models.map(|model| {
                        (format!("model.{}", model.name), format!("{} {}", model.version, model.standing))
                    }),
                );
            }
            Err(_) => {
                data.insert("agent".to_owned(), "does not answer".to_owned());
            }
        }
        for value in data.values_mut() {
            *value = value.chars().take(MAX_VALUE).collect();
        }
        data
    }
}

/// How what came on a stick ended: no action of the channel says it.
fn told_of_stick(last: &Action) -> Option<String> {
    let Step::Ended { outcome } = &last.step else { return None };
    let end = outcome.fault.as_ref().map_or("active", |fault| fault.code.as_ref());
    let at = jiff::Timestamp::from_second(outcome.at).map_or_else(|_| String::new(), |at| at.to_string());
    (last.origin == Origin::Stick).then(|| format!("{}: {end} {at}", last.state().unwrap_or("no state")))
}
