//! The machine on the box: `Candidate → Verified → Installed → Tested → Active | RolledBack → Reported`.
//!
//! Each step consumes the value of the one before, so that none can be left out. What was done is persisted at each transition; what
//! was proven is not: after a restart the steps are walked again from the first, and each finds what is there already.
pub mod cycle;
pub mod engines;
mod expected;
pub mod files;
mod heard;
mod leave;
mod listen;
mod quiet;
pub mod record;
mod region_suspends;
mod renew;
mod report;
mod rollback;
mod stick;
mod stop;
mod switches;
mod system;
mod tell;
mod trial;
mod unmark;
mod verify;
mod versions;
mod watch;
mod watched;
mod when;
mod withdrawn;
mod withheld;

use crate::agent::StateId;
use crate::agent::client::Agent;
use crate::config::Config;
use crate::ddi::Finished;
use crate::ddi::client::{ActionLink, Ddi};
use crate::descriptor::Descriptor;
use crate::documents::VendorKeys;
use crate::durable;
use crate::escrow::Offers;
use crate::fault::{Blame, Fault};
use crate::http::Http;
use crate::identity;
use crate::said::Said;
use crate::state::DesiredState;
use crate::trust::{self, Image};
use files::Held;
use listen::Pace;
use record::{Action, End, Outcome, Record, Step, Switches};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;
use when::When;

/// The machine, with all that it talks to.
pub struct Machine {
    config: Arc<Config>,
    http: Http,
    ddi: Ddi,
    agent: Agent,
    record: Record,
    pace: Pace,
    /// It changes while a step works.
    when: Mutex<When>,
    /// They change while a step works.
    switches: Mutex<Switches>,
    /// What the channel was told of this box, by its hash; it changes while a step works.
    told: Mutex<Option<String>>,
    /// Seconds for which the state in hand was watched, beyond those of the record: they grow while that step works.
    watched_since: AtomicU64,
    /// When what serves was found to be withdrawn and could not be left.
    stays_since: Option<Instant>,
    /// A bundle could not be taken up: not before the next poll.
    stick_fails: bool,
    /// No client could be made with the certificate that the box has now: not before the next poll.
    renewal_fails: bool,
    /// Whom the region has signed as the channel could not be believed: not before the next poll.
    learning_fails: bool,
    /// When a newer authority of the channel was last asked for a certificate.
    renewed_early: Option<Instant>,
    /// What was said of matters that last.
    said: Said,
    /// What is the matter with the operating system, where something is.
    os_trouble: Option<Fault>,
    /// What the region was offered of the disk's recovery key.
    offers: Offers,
    /// They change while a restart is waited for.
    quiet: Mutex<quiet::Quiet>,
    /// The agent has said, since this updater began, in which format it writes.
    is_format_known: bool,
    /// The boot in which an unexpected system had its time to be healthy.
    tried_boot: Option<String>,
    /// The boot loader was told since this updater began what it starts next, wherever the one before was killed.
    is_unmarked: bool,
    /// When this updater asked for a restart.
    restarts_since: Option<std::time::Instant>,
    /// Metadata is loaded by one at a time: what was seen is kept in one file.
    metadata: tokio::sync::Mutex<()>,
    /// One updater works in a directory at a time.
    _lock: std::fs::File,
}

/// Why an action does not go on now.
#[derive(Debug)]
pub enum Halt {
    /// It is not taken, and nothing of it has to be undone.
    Refused(Fault),
    /// It has to be undone.
    RollBack(Fault),
    /// It goes on at a later poll.
    Later(Fault),
    /// The channel stops it.
    Stopped(ActionLink),
    /// The channel has another action.
    Superseded,
    /// The region has withdrawn what serves meanwhile: that is left first.
    Withdrawn,
    /// The region has signed other authorities of the channel meanwhile: they are believed first.
    Authorities,
    /// A person has brought another state on a stick: that is taken up first.
    Stick,
    /// The box restarts.
    Rebooting,
}

/// A state that an action names. Nothing is known about it.
struct Candidate {
    descriptor: Descriptor,
}

/// A state that the region lists now, with all of its payload on this box.
struct Verified {
    state: trust::Verified<DesiredState>,
    /// Its operating system, or why that can't be begun now.
    image: Option<Result<trust::Verified<Image>, Fault>>,
    held: Vec<Held>,
    /// The keys that the region pins for the vendors of its models; `None` where it lists none of anybody.
    vendors: Option<VendorKeys>,
    /// Why the region could not be asked: what was verified before counts, for what has changed the box already.
    unasked: Option<Fault>,
}

/// The operating system of the state runs.
struct Installed(Verified);

/// The agent's trial of the state held.
struct Tested {
    state: trust::Verified<DesiredState>,
    findings: Vec<String>,
}

/// The state serves.
struct Active(Tested);

impl Machine {
    /// The machine of a directory, as it was left.
    pub fn load(config: Config) -> Result<Self, Fault> {
        let disk = |error: std::io::Error| {
            Fault::new("disk-failed", Blame::Box, format!("{}: {error}", config.directory.display()))
        };
        for directory in [&config.directory, &config.store(), &config.tuf()] {
            durable::directory(directory, 0o750)?;
        }
        config.inbox().make()?;
        let lock = std::fs::File::create(config.directory.join("lock")).map_err(disk)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let reason = format!("another updater works in {}: stop it first", config.directory.display());
            Fault::new("already-running", Blame::Box, reason)
        })?;
        identity::recover(&config)?;
        let record = Record::read(&config.record_file())?;
        let http = identity::client(&config)?;
        let ddi = Ddi::new(&config, http.clone())?;
        let agent = Agent::new(config.agent.socket.clone());
        let pace = Pace::new(config.poll);
        let switches = Mutex::new(record.switches.clone());
        let told = Mutex::new(record.told.clone());
        Ok(Self {
            config: Arc::new(config),
            http,
            ddi,
            agent,
            record,
            pace,
            when: Mutex::default(),
            switches,
            told,
            watched_since: AtomicU64::new(0),
            stays_since: None,
            stick_fails: false,
            renewal_fails: false,
            learning_fails: false,
            renewed_early: None,
            said: Said::default(),
            os_trouble: None,
            offers: Offers::default(),
            quiet: Mutex::default(),
            is_format_known: false,
            tried_boot: None,
            is_unmarked: false,
            restarts_since: None,
            metadata: tokio::sync::Mutex::default(),
            _lock: lock,
        })
    }

    /// What it knows.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The whole way of an action, from its first step: what was done already is found to be done.
    async fn converge(&mut self) -> Result<Outcome, Halt> {
        let candidate = self.candidate()?;
        let verified = self.verify(candidate).await?;
        let installed = Box::pin(self.install(verified)).await?;
        let tested = self.test(installed).await?;
        let active = self.activate(tested).await?;
        self.watch(active).await
    }

    fn candidate(&self) -> Result<Candidate, Halt> {
        let descriptor = self.record.action.as_ref().and_then(|action| action.descriptor.clone());
        let descriptor = descriptor.ok_or_else(|| {
            Halt::Refused(Fault::new("descriptor-missing", Blame::Channel, "the action names no desired state"))
        })?;
        Ok(Candidate { descriptor })
    }

    fn step(&self) -> &Step {
        self.record.action.as_ref().map_or(&Step::Candidate, |action| &action.step)
    }

    /// Persists that the action has come so far. One that was further before a restart stays there.
    async fn advance(&mut self, step: Step) -> Result<(), Halt> {
        if step.rank() <= self.step().rank() {
            return Ok(());
        }
        let name = step.name();
        self.change(|action| action.step = step)?;
        tracing::info!(target: "audit", action = self.action_id(), state = self.state_name(), step = name, "the update goes on");
        self.pace.say(name);
        self.tell_step(name).await;
        Ok(())
    }

    fn change(&mut self, change: impl FnOnce(&mut Action)) -> Result<(), Halt> {
        let mut record = self.record.clone();
        if let Some(action) = record.action.as_mut() {
            change(action);
        }
        self.keep(record).map_err(Halt::Later)
    }

    /// Makes a record durable, and then the one that counts.
    fn keep(&mut self, record: Record) -> Result<(), Fault> {
        let record = self.as_it_stands(record);
        record.write(&self.config.record_file())?;
        self.record = record;
        self.watched_since.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// A record with what changes while a step works.
    fn as_it_stands(&self, mut record: Record) -> Record {
        record.switches = self.switches().clone();
        record.told.clone_from(&self.told());
        if let Some(Action { step: Step::Active { watched, .. }, .. }) = &mut record.action {
            *watched += self.watched_since.load(Ordering::Relaxed);
        }
        record
    }

    fn action_id(&self) -> &str {
        self.record.action.as_ref().map_or("", |action| &action.id)
    }

    /// The state of the action in hand.
    fn state_id(&self) -> Option<StateId> {
        self.record.action.as_ref().and_then(|action| action.descriptor.as_ref()).map(StateId::from)
    }

    fn state_name(&self) -> &str {
        self.record.action.as_ref().and_then(Action::state).unwrap_or("")
    }

    /// Whether the action in hand has changed the box: it serves, is being taken back, or its system was started. Nobody's word is needed
    /// to bring that to its end.
    fn is_underway(&self) -> bool {
        match self.step() {
            Step::Ended { .. } => false,
            step => step.rank() >= ACTIVE || self.is_os_started(),
        }
    }

    /// What a fault means for the action, by how far it is: what has changed the box is undone.
    fn refuse(&self, fault: Fault) -> Halt {
        let action = self.record.action.as_ref();
        let is_undone = action.is_some_and(|action| action.os.is_some() || action.step.rank() >= ACTIVE);
        if is_undone { Halt::RollBack(fault) } else { Halt::Refused(fault) }
    }
}

/// [`Step::rank`] of [`Step::Active`].
const ACTIVE: u8 = 5;

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Outcome {
    fn failed(end: End, fault: Fault, details: Vec<String>) -> Self {
        Self { end, at: now(), fault: Some(fault), details }
    }

    /// What the channel is told.
    pub fn finished(&self) -> Finished {
        if self.end == End::Active { Finished::Success } else { Finished::Failure }
    }
}
