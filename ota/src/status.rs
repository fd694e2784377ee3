//! Everything that the updater knows, for people and for scripts. The JSON is frozen by a golden file.
use crate::config::{Config, Credentials};
use crate::ddi::Progress;
use crate::escrow::EscrowStatus;
use crate::fault::Fault;
use crate::firmware::SecureBoot;
use crate::identity;
use crate::machine::record::{Action, Origin, Record, Step, state_name};
use crate::rauc;
use crate::recovery::RecoveryStatus;
use crate::release::Variant;
use crate::trust::{self, Heard};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `now.json`: what a running updater does now. Nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Now {
    /// In words.
    pub doing: String,
    /// The last poll.
    pub poll: Option<Poll>,
    /// Of a download, in kilobytes.
    pub progress: Option<Progress>,
    /// Why the action in hand waits, where it does.
    pub waits: Option<Fault>,
    /// Why the region was not heard at the last look, where it was not: what it suspends or withdraws meanwhile does not reach the box.
    pub unheard: Option<Fault>,
    /// What else is the matter, and is tried again with each poll; a few.
    pub troubles: Vec<Trouble>,
}

/// Something that is not as it should be, for as long as it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words: `a withdrawn state is not left`.
    pub what: String,
    /// Why.
    pub fault: Fault,
}

/// A poll. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// When it was.
    pub at: i64,
    /// When the next one is due.
    pub next: i64,
    /// What the server asks for, within the box's own bounds.
    pub interval_seconds: u64,
    /// Why it found nothing, where it did not.
    pub trouble: Option<String>,
}

/// `sund-updater status --json`, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// 1.
    pub format: u32,
    /// Version of the updater.
    pub version: String,
    /// Name of this box at the server.
    pub id: String,
    /// The channel server.
    pub server: String,
    /// The tenant there.
    pub tenant: String,
    /// Until when the certificate is good, in seconds since 1970.
    pub certificate_until: Option<i64>,
    /// How the recovery key of the disk stands with the region; absent: the configuration names no key of the region to seal it to.
    #[serde(default)]
    pub escrow: Option<EscrowStatus>,
    /// Whether the box could be rescued, were neither slot to start; absent: its starts know of no counter for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryStatus>,
    /// Whether Secure Boot was on when the box started; absent: its firmware does not say.
    #[serde(default)]
    pub secure_boot: Option<SecureBoot>,
    /// Until when the metadata that the box has seen is good, by role, in seconds since 1970.
    pub metadata_until: BTreeMap<String, i64>,
    /// The newest word of the region that reached the box; absent: none has.
    #[serde(default)]
    pub heard: Option<Heard>,
    /// The operating system that runs.
    pub os: Option<String>,
    /// Which variant of it, where it is not the one for patients.
    #[serde(default)]
    pub variant: Option<Variant>,
    /// Name of the state that the box last found good.
    pub state: Option<String>,
    /// Since when, in seconds since 1970.
    pub since: Option<i64>,
    /// States that it could go back to, the newest first.
    pub kept: Vec<String>,
    /// Models that it has switched off.
    pub suspended: Vec<String>,
    /// Why the region has stopped all rollouts, where it has.
    pub stopped: Option<String>,
    /// Models that are off because the region suspended them, with the reason.
    pub suspended_by_region: BTreeMap<String, String>,
    /// The action in hand.
    pub action: Option<ActionStatus>,
    /// The last action that was reported.
    pub last: Option<ActionStatus>,
    /// What a running updater does now.
    pub now: Now,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionStatus {
    /// Its number at the server; of one from a stick, the name of its bundle.
    pub id: String,
    /// Who brought it: `channel` or `stick`.
    pub origin: Origin,
    /// Name of the desired state.
    pub state: Option<String>,
    /// How far it is: `candidate`, `verified`, `rebooting`, `installed`, `tested`, `active`, `rolling-back`, `ended`.
    pub step: String,
    /// How it ended: `active`, `rolled-back`, `refused`, `stopped`.
    pub end: Option<crate::machine::record::End>,
    /// When it was taken up, in seconds since 1970.
    pub since: i64,
    /// When it ended, in seconds since 1970.
    pub ended: Option<i64>,
    /// Why it did not end well, or is being taken back.
    pub fault: Option<Fault>,
    /// Figures and findings.
    pub details: Vec<String>,
}

impl Status {
    /// Reads what is known. Works without a running updater.
    pub fn read(config: &Config) -> Result<Self, Fault> {
        let record = Record::read(&config.record_file())?;
        let now = std::fs::read(config.now_file()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Self::of(config, &record, now.unwrap_or_default()))
    }

    /// What is known of a box, by its record and by what its updater does now.
    pub fn of(config: &Config, record: &Record, now: Now) -> Self {
        let certificate = match &config.credentials {
            Credentials::Certificate { certificate, .. } => identity::validity(certificate).ok(),
            Credentials::Token(_) | Credentials::Nobody => None,
        };
        let good = record.good.first();
        let running = config.os.as_ref().and_then(|os| rauc::running(os).ok());
        let seen = trust::shown(&config.tuf());
        let (os, variant) = running.map(|running| (running.version, running.variant)).unzip();
        Self {
            format: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: config.id.clone(),
            server: config.server.to_string(),
            tenant: config.tenant.clone(),
            certificate_until: certificate.map(|validity| validity.until),
            escrow: EscrowStatus::read(config),
            recovery: RecoveryStatus::read(&config.directory),
            secure_boot: SecureBoot::of(config),
            metadata_until: seen.until,
            heard: seen.heard,
            os,
            variant: variant.flatten(),
            state: good.map(|good| state_name(&good.descriptor).to_owned()),
            since: good.map(|good| good.since),
            kept: record.good.iter().skip(1).map(|good| state_name(&good.descriptor).to_owned()).collect(),
            suspended: record.suspended.clone(),
            stopped: record.switches.stopped.clone(),
            suspended_by_region: record.switches.shown(),
            action: record.action.as_ref().map(ActionStatus::of),
            last: record.last.as_ref().map(ActionStatus::of),
            now,
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            // Into memory: nothing can fail.
            let _ = writeln!(text, "{key:12} {value}");
        };
        if let Some(variant) = &self.variant {
            line("variant", &variant.name);
        }
        line("box", &format!("{} (tenant {}) at {}", self.id, self.tenant, self.server));
        if let Some(until) = self.certificate_until {
            let has_ended = until < jiff::Timestamp::now().as_second();
            let how = if has_ended { "a new one-time code is needed: it was good until" } else { "good until" };
            line("certificate", &format!("{how} {}", time(until)));
        }
        match &self.escrow {
            Some(escrow) => line("escrow", &escrow.in_words(time)),
            None => line("escrow", "none: the configuration names no key of the region for the disk's recovery key"),
        }
        if let Some(recovery) = &self.recovery {
            line("rescue", &recovery.in_words());
        }
        if let Some(secure_boot) = self.secure_boot {
            line("secure boot", secure_boot.in_words());
        }
        for (role, until) in &self.metadata_until {
            line("metadata", &format!("{role} is good until {}", time(*until)));
        }
        if let Some(Heard { version, at }) = &self.heard {
            let at = at.map_or_else(|| "at a time that can't be told".to_owned(), |at| format!("last at {}", time(at)));
            line("region", &format!("version {version} is heard, {at}"));
        }
        if let Some(fault) = &self.now.unheard {
            line("region", &format!("IS NOT HEARD: what it suspends or withdraws does not reach this box: {fault}"));
        }
        for Trouble { what, fault } in &self.now.troubles {
            line("TROUBLE", &format!("{what}: {fault}"));
        }
        if let Some(os) = &self.os {
            line("system", os);
        }
        match (&self.state, self.since) {
            (Some(state), Some(since)) => line("state", &format!("{state}, good since {}", time(since))),
            _ => line("state", "none from the channel yet: the box's own configuration"),
        }
        if !self.kept.is_empty() {
            line("kept", &self.kept.join(", "));
        }
        if !self.suspended.is_empty() {
            line("suspended", &self.suspended.join(", "));
        }
        for (package, reason) in &self.suspended_by_region {
            line("suspended", &format!("{package}: {reason}"));
        }
        if let Some(stopped) = &self.stopped {
            line("rollouts", &format!("stopped by the region {stopped}"));
        }
        for (key, action) in [("in hand", &self.action), ("last", &self.last)] {
            if let Some(action) = action {
                line(key, &action.in_words());
                action.details.iter().for_each(|detail| line("", detail));
            }
        }
        if !self.now.doing.is_empty() {
            line("now", &self.now.doing);
        }
        if let Some(Progress { cnt, of: Some(of) }) = &self.now.progress {
            line("", &format!("{cnt} of {of} KB"));
        }
        if let Some(poll) = &self.now.poll {
            let every = poll.interval_seconds;
            line("last poll", &format!("{}, next {}, every {every} s", time(poll.at), time(poll.next)));
            poll.trouble.iter().for_each(|trouble| line("", trouble));
        }
        text
    }
}

impl ActionStatus {
    /// What is known of it.
    pub fn of(action: &Action) -> Self {
        let mut status = Self {
            id: action.id.clone(),
            origin: action.origin,
            state: action.state().map(str::to_owned),
            step: action.step.name().to_owned(),
            end: None,
            since: action.since,
            ended: None,
            fault: None,
            details: Vec::new(),
        };
        match &action.step {
            Step::Ended { outcome } => {
                status.end = Some(outcome.end);
                status.ended = Some(outcome.at);
                status.fault.clone_from(&outcome.fault);
                status.details.clone_from(&outcome.details);
            }
            Step::RollingBack { fault, .. } => status.fault = Some(fault.clone()),
            Step::Tested { findings } | Step::Active { findings, .. } => status.details.clone_from(findings),
            Step::Candidate | Step::Verified | Step::Rebooting | Step::Installed => {}
        }
        status
    }

    pub(crate) fn in_words(&self) -> String {
        let state = self.state.as_deref().unwrap_or("no state");
        let end = self.end.map_or_else(|| self.step.clone(), |end| format!("{end:?}").to_lowercase());
        let why = self.fault.as_ref().map_or_else(String::new, |fault| format!(": {fault}"));
        let what = match self.origin {
            Origin::Channel => "action",
            Origin::Stick => "bundle",
        };
        format!("{what} {} ({state}): {end}{why}", self.id)
    }
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
