//! Installed → Tested → Active: the agent tries the state beside the one that serves, and serves it where all of it held.
use super::listen::later;
use super::system::LOOK;
use super::watched::before;
use super::{ACTIVE, Active, Halt, Installed, Machine, Tested, Verified};
use crate::agent::client::AgentError;
use crate::agent::{AgentStatus, Finding, Offer, OfferedPackage, StateId, Trial, TrialStanding};
use crate::fault::{Blame, Fault};
use crate::machine::record::Step;
use std::path::Path;
use tokio::time::Instant;

/// What is told of an agent that cannot be handed the vendors' keys.
const OLDER_AGENT: &str = "signatures: the agent of this box is older and knows nothing of the keys that the region pins; those of its own \
                           configuration counted";
/// What is told of an agent that does not come up under what it is to serve.
pub(super) const NOT_SERVED: &str = "agent-does-not-serve";
/// What an agent says that is offered a state while it tries another one.
const UNDER_WAY: &str = "trial-under-way";
/// Times that a trial is begun anew because the agent has lost it.
const MAX_TRIALS: u32 = 3;

impl Machine {
    pub(super) async fn test(&mut self, installed: Installed) -> Result<Tested, Halt> {
        let Installed(verified) = installed;
        // Its system may be healthy already; no state is tried that the region may have withdrawn.
        if let Some(unasked) = verified.unasked.clone().filter(|_| self.step().rank() < ACTIVE) {
            return Err(Halt::Later(unasked));
        }
        let id = self.state_in_hand()?;
        let status = self.agent_up().await?;
        let findings = match self.step() {
            Step::Tested { findings } | Step::Active { findings, .. } => Some(findings.clone()),
            _ if self.holds_already() => Some(vec!["it held on this box before, and serves".to_owned()]),
            _ => None,
        };
        // What the agent serves was tried by it: after a restart it need not be tried again.
        let findings = match findings.filter(|_| status.state.as_ref() == Some(&id)) {
            Some(findings) => findings,
            None => self.guard(self.try_out(&verified, status)).await??,
        };
        self.commit().await?;
        self.advance(Step::Tested { findings: findings.clone() }).await?;
        Ok(Tested { state: verified.state, findings })
    }

    pub(super) async fn activate(&mut self, tested: Tested) -> Result<Active, Halt> {
        let state = tested.state.get();
        let id = self.state_in_hand()?;
        self.heed_window()?;
        let status = self.agent_up().await?;
        // By its hash too: what was published again under an old name is another state.
        let serves_it = status.state.as_ref() == Some(&id);
        if !serves_it {
            self.suspend_coming(Some(&state.models)).await?;
        }
        // Persisted before it is asked for: from here on there may be something to take back.
        let (since, findings) = (super::now(), tested.findings.clone());
        self.advance(Step::Active { since, watched: 0, findings, before: before(&status) }).await?;
        if !serves_it {
            match self.agent.activate(&id).await {
                Ok(_) => {}
                // It may have been taken on nevertheless; what serves is asked below.
                Err(AgentError::Away { .. }) => {}
                Err(error) => return Err(Halt::RollBack(error.into())),
            }
            self.agent_serves(Some(&id)).await?;
        }
        self.release().await?;
        self.suspend_at_once().await;
        Ok(Active(tested))
    }

    fn state_in_hand(&self) -> Result<StateId, Halt> {
        let missing = || later(Fault::new("record-unwritable", Blame::Updater, "the action is not in the record"));
        self.state_id().ok_or_else(missing)
    }

    async fn try_out(&self, verified: &Verified, mut status: AgentStatus) -> Result<Vec<String>, Halt> {
        let mut trial = self.begin(verified, &status).await?;
        let until = Instant::now() + self.config.agent.trial;
        let mut begun = 1;
        loop {
            match trial.standing {
                TrialStanding::Held => {
                    let is_older = verified.vendors.is_some() && !status.takes_vendors;
                    let unpinned = is_older.then(|| OLDER_AGENT.to_owned());
                    return Ok(unpinned.into_iter().chain(in_words(&trial.findings)).collect());
                }
                TrialStanding::Missed(fault) => {
                    let missed = trial.findings.iter().filter(|finding| !finding.held).map(line);
                    let reason = missed.fold(fault.reason, |text, line| format!("{text}; {line}"));
                    let reason = format!("the trial did not hold: {reason} [{}]", fault.code);
                    return Err(self.refuse(Fault::new("trial-missed", Blame::Agent, reason)));
                }
                TrialStanding::Running if Instant::now() >= until => {
                    let reason = format!("the trial is not done after {} s", self.config.agent.trial.as_secs());
                    return Err(self.refuse(Fault::new("trial-too-long", Blame::Agent, reason)));
                }
                TrialStanding::Running => {}
            }
            tokio::time::sleep(LOOK).await;
            trial = match self.agent.trial().await {
                Ok(next) if next.state == trial.state => next,
                // It was started anew meanwhile, and knows nothing of the trial.
                Ok(_) | Err(AgentError::Away { .. } | AgentError::Refused(_)) if begun < MAX_TRIALS => {
                    begun += 1;
                    status = self.agent_answers().await?;
                    self.begin(verified, &status).await?
                }
                Ok(_) | Err(AgentError::Away { .. }) => {
                    let reason = "the agent has lost the trial again and again: see its journal";
                    return Err(self.refuse(Fault::new("trial-lost", Blame::Agent, reason)));
                }
                Err(error) => return Err(self.refuse(error.into())),
            };
        }
    }

    /// A trial that nobody wants any more is left: its action was stopped or has ended, or another one took its place, before this updater was
    /// started perhaps.
    pub(super) async fn leave_unwanted_trial(&self) {
        let Ok(AgentStatus { trying: Some(tried), .. }) = self.agent.status().await else { return };
        if self.step().rank() > ACTIVE || self.state_id().as_ref() != Some(&tried) {
            self.have_left(&tried).await;
        }
    }

    async fn have_left(&self, tried: &StateId) {
        match self.agent.leave(tried).await {
            Ok(_) => tracing::info!(target: "audit", state = tried.name, "the agent leaves the trial of a state"),
            // It is asked again, or the trial comes to its end.
            Err(error) => tracing::warn!(state = tried.name, %error, "the agent does not leave the trial of a state"),
        }
    }

    /// Has the state tried. A trial that was begun for another action, or for another offer of this state, is left, which takes some seconds;
    /// an older agent can't be told to, and is waited for as long as a trial may take.
    async fn begin(&self, verified: &Verified, status: &AgentStatus) -> Result<Trial, Halt> {
        let mut offer = offer(verified, self.state_in_hand()?);
        // It would not read an offer with them, and then no update could bring a newer one.
        if offer.vendors.is_some() && !status.takes_vendors {
            tracing::warn!(target: "audit", action = self.action_id(), version = status.version, "{OLDER_AGENT}");
            offer.vendors = None;
        }
        let until = Instant::now() + self.config.agent.trial;
        loop {
            let under_way = match self.agent.try_state(offer.clone()).await {
                Ok(trial) => return Ok(trial),
                Err(AgentError::Refused(fault)) if fault.code == UNDER_WAY => fault.reason,
                Err(error @ AgentError::Away { .. }) => return Err(later(error)),
                Err(error) => return Err(self.refuse(error.into())),
            };
            if Instant::now() >= until {
                let within = self.config.agent.trial.as_secs();
                let reason =
                    format!("{under_way}; it has not within {within} s: see the agent's journal, or restart it");
                return Err(self.refuse(Fault::new(UNDER_WAY, Blame::Agent, reason)));
            }
            if let Ok(AgentStatus { trying: Some(tried), .. }) = self.agent.status().await {
                self.have_left(&tried).await;
            }
            self.tell_wait(&Fault::new(UNDER_WAY, Blame::Agent, under_way)).await;
            self.other_trial_ends(until).await;
            self.pace.say(self.step().name());
        }
    }

    /// Looks until the trial that the agent runs is over, or the time is. It is not offered anything meanwhile: each refusal is audited.
    async fn other_trial_ends(&self, until: Instant) {
        let mut runs = true;
        while runs && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            runs = self.agent.trial().await.is_ok_and(|trial| trial.standing == TrialStanding::Running);
        }
    }

    /// The agent, once it answers: it may be starting.
    pub(super) async fn agent_up(&self) -> Result<AgentStatus, Halt> {
        self.guard_to_the_end(self.agent_answers()).await?
    }

    /// As [`Machine::agent_up`], within work that is done while the channel is listened to.
    pub(super) async fn agent_answers(&self) -> Result<AgentStatus, Halt> {
        let until = Instant::now() + self.config.agent.start;
        loop {
            match self.agent.status().await {
                Ok(status) => return Ok(status),
                Err(error @ AgentError::Away { .. }) if Instant::now() >= until => return Err(later(error)),
                Err(AgentError::Away { .. }) => {}
                Err(error) => return Err(self.refuse(error.into())),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The agent serves a state from now on; it may end and be started again for it.
    pub(super) async fn agent_serves(&self, state: Option<&StateId>) -> Result<AgentStatus, Halt> {
        let until = Instant::now() + self.config.agent.start;
        loop {
            let serves = self.agent.status().await;
            let is_it = serves.as_ref().is_ok_and(|status| match (&status.state, state) {
                // What an older agent has activated is gone back to by its name.
                (Some(serves), Some(state)) => serves.may_be(state),
                (serves, state) => serves.is_none() && state.is_none(),
            });
            match serves {
                Ok(status) if is_it => return Ok(status),
                _ if Instant::now() < until => tokio::time::sleep(LOOK).await,
                serves => {
                    let found = serves.map_or_else(
                        |error| error.to_string(),
                        |status| format!("it serves {}", named(status.state.as_ref())),
                    );
                    let within = self.config.agent.start.as_secs();
                    let reason = format!("the agent was to serve {} within {within} s: {found}", named(state));
                    return Err(Halt::RollBack(Fault::new(NOT_SERVED, Blame::Agent, reason)));
                }
            }
        }
    }

    /// Whether this very state is the one that the box last found good.
    fn holds_already(&self) -> bool {
        let named = self.record.action.as_ref().and_then(|action| action.descriptor.as_ref());
        self.step().rank() < ACTIVE && self.record.good.first().is_some_and(|good| Some(&good.descriptor) == named)
    }
}

fn offer(verified: &Verified, id: StateId) -> Offer {
    let state = verified.state.get();
    let path = |sha256: &str| {
        let held = verified.held.iter().find(|held| held.pin().sha256 == sha256);
        held.map_or_else(|| Path::new("/").to_owned(), |held| held.path().to_owned())
    };
    let package = |model: &crate::state::Model| OfferedPackage {
        file: path(&model.package.sha256),
        sha256: model.package.sha256.clone(),
        name: model.name.clone(),
    };
    Offer {
        state: id,
        configuration: state.configuration.as_ref().map(|pin| path(&pin.sha256)),
        packages: state.models.iter().map(package).collect(),
        routes: state.routes.clone(),
        vendors: verified.vendors.clone(),
    }
}

/// For people.
pub(super) fn named(state: Option<&StateId>) -> String {
    state.map_or_else(|| "the box's own configuration".to_owned(), |state| format!("`{}`", state.name))
}

/// For people, what missed first: a report has a bounded number of lines, and a line of characters.
pub(super) fn in_words(findings: &[Finding]) -> impl Iterator<Item = String> {
    let (held, missed): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(|finding| finding.held);
    missed.into_iter().chain(held).map(line)
}

fn line(finding: &Finding) -> String {
    let what = finding.package.as_deref().unwrap_or("the configuration");
    let held = if finding.held { "held" } else { "missed" };
    format!("{what}: {} {held}: {} ({:.0} ms)", finding.check, finding.text, finding.ms)
}
