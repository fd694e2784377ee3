//! Answers the updater. What it decides is on stable storage before it is answered.
use super::cohort;
use super::kept::{self, Kept, Record};
use super::protocol::{Answer, Finding, Offer, Request, Trial, TrialStanding};
use super::standing;
use super::trail;
use super::trial::{self, Beside, Held};
use crate::association::Gate;
use crate::audit::Event;
use crate::config::{Channel, Config, WorkerSettings};
use crate::fault::{Blame, Fault};
use crate::limits::channel::ECHO;
use crate::pipeline::{By, Pipeline, Proven, ServingSet, StateId};
use crate::worker::{CallOff, Launcher, Seat};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Where golden cases run: a worker of its own, so that those that serve are not disturbed.
pub struct Trials {
    launcher: Launcher,
    device: Option<String>,
}

impl Trials {
    /// On the first of the GPUs that jobs run on.
    pub(crate) fn new(worker: &WorkerSettings) -> Self {
        Self { launcher: worker.launcher.clone(), device: worker.devices.first().cloned() }
    }
}

/// Where states come into service.
pub struct Desk {
    pub(super) channel: Channel,
    pub(super) pipeline: Arc<Pipeline>,
    gate: Gate,
    node: SocketAddr,
    trials: Trials,
    /// What of the configuration that runs cannot change.
    fixed: String,
    state: Mutex<State>,
    /// True once the agent is to end, for its unit to start it again.
    restart: watch::Sender<bool>,
}

struct State {
    record: Record,
    trial: Option<Trying>,
}

/// The trial that runs, or ran last.
struct Trying {
    offer: Offer,
    told: Trial,
    held: Option<Held>,
    off: CallOff,
}

impl Trying {
    fn runs(&self) -> bool {
        self.told.standing == TrialStanding::Running
    }
}

impl Desk {
    /// A desk beside a pipeline that serves. `fixed` is what of its configuration cannot change (`Config::fixed`), `node` where its
    /// DICOM node listens.
    pub(crate) fn new(
        channel: Channel,
        record: Record,
        fixed: String,
        trials: Trials,
        pipeline: Arc<Pipeline>,
        gate: Gate,
        node: SocketAddr,
    ) -> Arc<Self> {
        cohort::sweep(&channel);
        Arc::new(Self {
            channel,
            pipeline,
            gate,
            node,
            trials,
            fixed,
            state: Mutex::new(State { record, trial: None }),
            restart: watch::channel(false).0,
        })
    }

    /// Waits until the agent is to end, for its unit to start it again.
    pub(crate) fn restarts(&self) -> watch::Receiver<bool> {
        self.restart.subscribe()
    }

    /// Answers a request.
    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Answer {
        let echo = match request {
            Request::Status => timeout(ECHO, self.gate.echo(self.node)).await.is_ok_and(|answered| answered.is_ok()),
            _ => false,
        };
        let done = tokio::task::spawn_blocking(move || self.answer_blocking(request, echo)).await;
        done.unwrap_or_else(|error| {
            Answer::Refused(Fault::new("agent-broken", Blame::Sund, format!("the request broke off: {error}")))
        })
    }

    fn answer_blocking(self: &Arc<Self>, request: Request, node_answers: bool) -> Answer {
        let (operation, answer) = match request {
            Request::Status => {
                return Answer::Status(Box::new(standing::status(&self.pipeline, self.trying(), node_answers)));
            }
            Request::Trial => ("try", self.trial().map(Answer::Trial)),
            Request::Try(offer) => ("try", self.begin(*offer).map(Answer::Trial)),
            Request::Leave { state } => ("leave", self.leave(&state).map(Answer::Trial)),
            Request::Check { state } => {
                ("check", self.pipeline.check_again(&state).map(|told| Answer::Check(standing::check(told))))
            }
            Request::Checked => ("check", self.checked().map(Answer::Check)),
            Request::Activate { state } => ("activate", self.activate(&state)),
            Request::Revert { state } => ("revert", self.revert(state)),
            Request::Suspend { package, reason, by } => {
                let done = By::of_channel(by, &reason).and_then(|by| self.pipeline.suspend(&package, &reason, by));
                ("suspend", done.map(|()| Answer::Suspended { package, off: true }))
            }
            Request::RegionSuspends { all } => {
                let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
                let done = self.pipeline.suspend_as_region(all);
                ("suspend", done.map(|()| Answer::RegionSuspended { count }))
            }
            Request::Hold { seconds } => {
                let held = self.pipeline.hold(Duration::from_secs(seconds));
                ("hold", held.map(|until| Answer::Held { until, running: self.pipeline.running() }))
            }
            Request::Committed => ("commit", self.commit()),
            Request::Audit { trail, events } => {
                ("audit", trail::take(&self.pipeline, &trail, events).map(|seq| Answer::Audited { seq }))
            }
            Request::Resume { package } => {
                let done = self.pipeline.resume(&package, By::Channel);
                ("resume", done.map(|()| Answer::Suspended { package, off: false }))
            }
        };
        answer.unwrap_or_else(|fault| Answer::Refused(self.pipeline.operation_refused(operation, None, fault)))
    }

    fn trial(&self) -> Result<Trial, Fault> {
        let told = self.state().trial.as_ref().map(|trying| trying.told.clone());
        told.ok_or_else(|| Fault::new("state-not-tried", Blame::Peer, "no state was tried since the agent started"))
    }

    fn checked(&self) -> Result<Trial, Fault> {
        let told = self.pipeline.checked_again().map(standing::check);
        told.ok_or_else(|| {
            Fault::new("state-not-checked", Blame::Peer, "no check was asked for since the agent started")
        })
    }

    /// Begins a trial; the one that runs, where it is of the same offer.
    fn begin(self: &Arc<Self>, offer: Offer) -> Result<Trial, Fault> {
        trial::admit(&offer)?;
        let mut state = self.state();
        if let Some(running) = state.trial.as_ref().filter(|trying| trying.runs()) {
            if running.offer == offer && running.off.called().is_none() {
                return Ok(running.told.clone());
            }
            let reason = format!("the state {} is being tried; ask again when that has ended", running.told.state);
            return Err(Fault::new("trial-under-way", Blame::Peer, reason));
        }
        let told = Trial { state: offer.state.clone(), standing: TrialStanding::Running, findings: Vec::new() };
        let off = CallOff::new();
        state.trial = Some(Trying { offer: offer.clone(), told: told.clone(), held: None, off: off.clone() });
        drop(state);
        let desk = Arc::clone(self);
        std::thread::spawn(move || desk.run(&offer, off));
        Ok(told)
    }

    fn run(&self, offer: &Offer, off: CallOff) {
        let state = offer.state.name.as_str();
        tracing::info!(state, "a state is tried");
        let seat = Seat::until_called_off(self.trials.launcher.clone(), self.trials.device.clone(), off.clone());
        let mut tell = |finding: Finding| {
            tracing::info!(
                state,
                package = finding.package,
                check = finding.check,
                held = finding.held,
                "{}",
                finding.text
            );
            if let Some(trying) = &mut self.state().trial {
                trying.told.findings.push(finding);
            }
        };
        let beside = Beside { channel: &self.channel, pipeline: &self.pipeline, off: &off };
        let trial = AssertUnwindSafe(|| trial::run(offer, &beside, seat, &mut tell));
        // A trial that never ends would stand in the way of every other.
        let tried = catch_unwind(trial).unwrap_or_else(|_| {
            Err(Fault::new("agent-broken", Blame::Sund, "the trial broke off by a defect; the log has it"))
        });
        let mut state = self.state();
        // What was left has proven nothing, however far it came.
        let tried = off.called().map_or(tried, Err);
        let fault = tried.as_ref().err().cloned();
        self.pipeline.say(Event::StateTried { state: offer.state.name.clone(), fault: fault.clone() });
        if let Some(trying) = &mut state.trial {
            trying.told.standing = fault.map_or(TrialStanding::Held, TrialStanding::Missed);
            trying.held = tried.ok();
        }
    }

    /// The state that is tried, and goes on being tried.
    fn trying(&self) -> Option<StateId> {
        let state = self.state();
        let trying = state.trial.as_ref().filter(|trying| trying.runs() && trying.off.called().is_none());
        trying.map(|trying| trying.told.state.clone())
    }

    /// Has the trial of a state end soon, where it runs, and lets go what it has proven. One that was activated has been taken already.
    fn leave(&self, id: &StateId) -> Result<Trial, Fault> {
        let mut state = self.state();
        let Some(trying) = state.trial.as_mut().filter(|trying| trying.told.state == *id) else {
            let reason =
                format!("the state {id} was not tried last since the agent started: there is nothing to leave");
            return Err(Fault::new("state-not-tried", Blame::Peer, reason));
        };
        let left = Fault::new("trial-left", Blame::Peer, format!("who had the state {id} tried wants it no more"));
        if trying.runs() {
            tracing::info!(state = id.name, "a trial is left");
            trying.off.call(left);
        } else if trying.held.take().is_some() {
            self.pipeline.say(Event::StateTried { state: id.name.clone(), fault: Some(left.clone()) });
            trying.told.standing = TrialStanding::Missed(left);
        }
        Ok(trying.told.clone())
    }

    fn activate(&self, id: &StateId) -> Result<Answer, Fault> {
        let mut state = self.state();
        let is_it = |trying: &&mut Trying| trying.told.state == *id;
        let held = state.trial.as_mut().filter(is_it).and_then(|trying| trying.held.take());
        let Some(held) = held else {
            let restarts = *self.restart.borrow();
            // What is kept may not serve: the box's own configuration does where it could not be taken up.
            let serves = restarts || self.pipeline.serving_set().state.as_ref() == Some(id);
            if serves && state.record.serves().as_ref() == Some(id) {
                // Asked again: the answer got lost.
                return Ok(Answer::Serves { state: Some(id.clone()), restarts });
            }
            let reason = format!("the state {id} was not tried, or did not hold, since the agent started");
            return Err(Fault::new("state-not-tried", Blame::Peer, reason));
        };
        let record = state.record.activating_after(held.kept.clone(), self.pipeline.serving_set().state.clone());
        if let Err(fault) = record.write(&self.channel.directory) {
            // It has held still, and can be asked for again.
            if let Some(trying) = &mut state.trial {
                trying.held = Some(held);
            }
            return Err(fault);
        }
        Ok(self.serve(&mut state, record, held.config, held.proven, false))
    }

    fn revert(&self, asked: Option<StateId>) -> Result<Answer, Fault> {
        let mut state = self.state();
        let kept = asked.map(|asked| state.record.state(&asked).cloned()).transpose()?;
        let id = kept.as_ref().map(Kept::id);
        let is_serving = state.record.serves() == id && self.pipeline.serving_set().state == id;
        if is_serving && !*self.restart.borrow() {
            return Ok(Answer::Serves { state: id, restarts: false });
        }
        let config = match &kept {
            Some(kept) => kept.compose(&self.channel)?,
            None => kept::own(&self.channel)?,
        };
        let record = state.record.reverting(id);
        record.write(&self.channel.directory)?;
        Ok(self.serve(&mut state, record, config, Vec::new(), true))
    }

    /// What serves stays, and so does its system.
    fn commit(&self) -> Result<Answer, Fault> {
        let mut state = self.state();
        if let Some(record) = state.record.staying() {
            record.write(&self.channel.directory)?;
            state.record = record;
        }
        drop(state);
        self.pipeline.commit_format().map(|format| Answer::Committed { format })
    }

    /// Has serve what is kept: at once where that can be, else after a restart.
    fn serve(&self, state: &mut State, record: Record, config: Config, proven: Vec<Proven>, reverted: bool) -> Answer {
        let (id, since) = (record.serves(), record.since);
        state.record = record;
        let restarts = config.fixed != self.fixed || *self.restart.borrow();
        let name = id.as_ref().map(|id| id.name.clone());
        self.pipeline.say(Event::StateActivated { state: name, reverted, restarts });
        if restarts {
            self.restart.send_replace(true);
        } else {
            let policy = config.policy();
            let Config { packages, accepted, routes, destinations, floors, .. } = config;
            let set = ServingSet { state: id.clone(), since, packages, accepted, routes, destinations, floors };
            // What is called is routed; what is no longer routed is not called.
            if reverted {
                self.pipeline.take_back(set);
            } else {
                self.pipeline.serve(set, proven);
            }
            self.gate.change(policy);
        }
        Answer::Serves { state: id, restarts }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
