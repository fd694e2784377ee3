//! The agent's side of the socket, for tests: speaks the protocol on a real Unix socket, and keeps what it serves as the agent does.
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use sund_ota::agent::{
    AgentFault, AgentStatus, Answer, Finding, Holder, ModelStatus, Offer, RegionSuspension, Request, StateId, Trial,
    TrialStanding,
};
use sund_ota::audit::Event;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use super::region::sha256;

/// Bytes of the name of a package, as the agent takes it.
const LONGEST_NAME: usize = 100;

/// What the agent serves, and how it behaves.
#[derive(Default)]
pub struct Serving {
    pub state: Option<String>,
    /// Its hash; absent as an older agent has none.
    pub sha256: Option<String>,
    /// Offers that can be gone back to, the newest last.
    pub kept: Vec<Offer>,
    /// Those that it was told stay.
    stays: Vec<StateId>,
    tried: Option<Offer>,
    /// What was tried last has been activated.
    is_taken: bool,
    polls_left: u32,
    /// How often a trial is asked for until it is done.
    pub trial_polls: u32,
    pub trials: u32,
    /// States of which the trial was left.
    pub left: Vec<String>,
    /// The trial that ran last was left.
    is_left: bool,
    /// As an older agent, which can't be told to leave a trial.
    pub takes_no_leave: bool,
    pub activations: Vec<String>,
    pub reverts: Vec<Option<String>>,
    /// What changes the box, in the order in which it was asked for.
    pub changes: Vec<String>,
    /// Times that it was told that the system stays.
    pub commits: u32,
    /// The format of its spool.
    pub spool_format: u32,
    /// The one that it goes over to.
    pub newest_format: u32,
    /// States under which it does not come up: it serves its own configuration in their place, and its record names the state.
    pub does_not_start_in: Vec<String>,
    /// What its record names in place of what it serves.
    recorded: Option<StateId>,
    /// It goes back to nothing.
    pub refuses_reverts: bool,
    /// Nothing can be suspended.
    pub refuses_suspensions: bool,
    pub suspended: Vec<String>,
    /// Why each of them is, and by whose word.
    pub reasons: BTreeMap<String, String>,
    pub holders: BTreeMap<String, Holder>,
    /// All that the region suspends, as it was told last, and whether it is of a version that is not told it.
    pub region_suspends: Vec<RegionSuspension>,
    pub takes_no_list: bool,
    /// It cannot keep that list.
    pub refuses_lists: bool,
    /// Models that a person has switched off, and why: kept beside the channel's word.
    pub by_person: BTreeMap<String, String>,
    /// Version of every model.
    pub version: String,
    /// The next trials don't hold.
    pub misses: bool,
    /// Golden cases that are run again where they serve: how often, and from which time on they miss.
    pub checks: u32,
    pub misses_check: Option<u32>,
    /// How many jobs are answered with each look at the status.
    pub jobs_come: u64,
    /// Jobs of every model, answered and failed.
    pub jobs: (u64, u64),
    /// Jobs of every model that it is not for, and the median time of those that it answered.
    pub not_applicable: u64,
    pub median_ms: Option<f64>,
    /// Jobs and their median time, once another state serves.
    pub next_jobs: Option<(u64, f64)>,
    /// What golden cases that miss are told to be.
    pub miss: Option<AgentFault>,
    /// The node does not answer its own echo: at all, or while this state serves.
    pub is_silent: bool,
    pub silent_in: Option<String>,
    pub running: u32,
    /// It is there, and answers nothing.
    pub says_nothing: bool,
    /// Seconds for which jobs were to be held, the newest last.
    pub holds: Vec<u64>,
    held_until: Option<Timestamp>,
    pub engine_class: String,
    /// Models of its own configuration.
    pub own_models: Vec<String>,
    /// Models that are served by less than the best.
    pub on_cpu: Vec<String>,
    /// It is of a version that does not say by which class of engine a model is served.
    pub says_no_classes: bool,
    /// It is of a version that cannot be handed the vendors' keys.
    pub takes_no_vendors: bool,
    /// It is of a version that neither says nor is told by whose word a model is off.
    pub says_no_holders: bool,
    /// It is of a version that takes no audit events of the updater.
    pub takes_no_audit: bool,
    /// So many times it takes them, and is gone before it answers.
    pub dies_after_audit: u32,
    /// The updater's events in its audit log, and the trail that the last of them is of.
    pub audited: Vec<Event>,
    trail: Option<String>,
}

/// A running agent; ends with its runtime.
#[derive(Clone)]
pub struct Agent {
    serving: Arc<Mutex<Serving>>,
}

impl Agent {
    pub fn start(directory: &Path) -> Self {
        let socket = directory.join("agent.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let serving = Serving {
            engine_class: "cpu".to_owned(),
            own_models: vec!["own-model".to_owned()],
            version: "1.0.0".to_owned(),
            spool_format: 1,
            newest_format: 2,
            ..Serving::default()
        };
        let agent = Self { serving: Arc::new(Mutex::new(serving)) };
        let served = agent.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let agent = served.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    let is_read = stream.read_line(&mut line).await.is_ok() && !line.is_empty();
                    if is_read && !agent.serving().says_nothing {
                        let answer = agent.answer(serde_json::from_str(&line).expect("a request"));
                        if matches!(answer, Answer::Audited { .. }) && agent.is_gone_after_audit() {
                            return;
                        }
                        let mut bytes = serde_json::to_vec(&answer).expect("JSON");
                        bytes.push(b'\n');
                        // The updater may have been killed meanwhile.
                        let _ = stream.write_all(&bytes).await;
                    }
                });
            }
        });
        agent
    }

    pub fn serving(&self) -> MutexGuard<'_, Serving> {
        self.serving.lock().expect("no test failed while it held this")
    }

    /// Ends the trial that runs.
    pub fn end_trial(&self) {
        self.serving().polls_left = 1;
    }

    fn is_gone_after_audit(&self) -> bool {
        let mut serving = self.serving();
        let is_gone = serving.dies_after_audit > 0;
        serving.dies_after_audit -= u32::from(is_gone);
        is_gone
    }

    fn answer(&self, request: Request) -> Answer {
        let mut serving = self.serving();
        match request {
            Request::Status => {
                serving.jobs.0 += serving.jobs_come;
                Answer::Status(Box::new(serving.status()))
            }
            Request::Check { state } => {
                if serving.id() != Some(state) {
                    return refused("state-not-serving", "another one does");
                }
                serving.checks += 1;
                serving.check(TrialStanding::Running)
            }
            Request::Checked => match serving.misses_check {
                Some(from) if serving.checks >= from => {
                    let miss = serving.miss.clone();
                    let miss = miss.unwrap_or_else(|| fault("golden-case-missed", "the volume is off by 90 ml"));
                    serving.check(TrialStanding::Missed(miss))
                }
                _ => serving.check(TrialStanding::Held),
            },
            Request::Try(offer) if serving.takes_no_vendors && offer.vendors.is_some() => {
                refused("control-request", "not a request: unknown field `vendors`")
            }
            Request::Try(offer) => {
                for package in &offer.packages {
                    let bytes = std::fs::read(&package.file).expect("the updater offers what is there");
                    assert_eq!(sha256(&bytes), package.sha256, "the updater offers what was signed");
                }
                if let Some(configuration) = &offer.configuration {
                    assert!(
                        configuration.extension().is_some_and(|ending| ending == "toml"),
                        "a configuration is TOML"
                    );
                }
                serving.begin(*offer)
            }
            Request::Trial => {
                serving.polls_left = serving.polls_left.saturating_sub(1);
                serving.trial()
            }
            Request::Leave { state } => serving.leave(state),
            Request::Activate { state } => serving.activate(state),
            Request::Revert { .. } if serving.refuses_reverts => refused("spool-failed", "the disk is full"),
            Request::Revert { state } => {
                if let Some(id) = &state
                    && !serving.kept.iter().any(|kept| kept.state == *id)
                {
                    return refused("state-unknown", "it is not kept");
                }
                let name = state.as_ref().map(|state| state.name.clone());
                serving.changes.push(format!("revert to {}", name.as_deref().unwrap_or("its own")));
                serving.reverts.push(name);
                serving.serve(state);
                Answer::Serves { state: serving.id(), restarts: false }
            }
            Request::Suspend { .. } if serving.refuses_suspensions => refused("spool-failed", "the disk is full"),
            Request::Suspend { package, .. } if package.len() > LONGEST_NAME => {
                refused("channel-request", "no package has so long a name")
            }
            Request::Suspend { by: Some(_), .. } if serving.says_no_holders => {
                refused("control-request", "not a request: unknown field `by`")
            }
            Request::Suspend { package, reason, by } => {
                assert_eq!(by.is_none(), serving.says_no_holders, "the updater says whose word it is");
                serving.changes.push(format!("suspend {package}"));
                serving.suspend(&package, &reason, by);
                Answer::Suspended { package, off: true }
            }
            Request::RegionSuspends { .. } if serving.takes_no_list => {
                refused("control-request", "not a request: unknown variant `region-suspends`")
            }
            Request::RegionSuspends { .. } if serving.refuses_lists => refused("spool-failed", "the disk is full"),
            Request::RegionSuspends { all } => {
                let count = all.len().try_into().unwrap_or(u32::MAX);
                serving.region_suspends = all;
                Answer::RegionSuspended { count }
            }
            Request::Hold { seconds } => {
                serving.changes.push(format!("hold {seconds}"));
                serving.holds.push(seconds);
                serving.held_until = (seconds > 0).then(|| Timestamp::now() + Duration::from_secs(seconds));
                Answer::Held { until: serving.held_until, running: serving.running }
            }
            Request::Committed => {
                serving.commits += 1;
                let stays = serving.id();
                serving.stays.extend(stays);
                serving.spool_format = serving.newest_format;
                Answer::Committed { format: serving.spool_format }
            }
            Request::Audit { .. } if serving.takes_no_audit => {
                refused("control-request", "not a request: unknown variant `audit`")
            }
            Request::Audit { trail, events } => serving.audit(trail, events),
            Request::Resume { package } => {
                serving.suspended.retain(|suspended| *suspended != package);
                Answer::Suspended { package, off: false }
            }
        }
    }
}

impl Serving {
    fn activate(&mut self, state: StateId) -> Answer {
        match self.tried.clone() {
            Some(offer) if offer.state == state && self.has_held() => {
                self.is_taken = true;
                self.keep(offer);
                self.changes.push(format!("activate {}", state.name));
                self.activations.push(state.name.clone());
                self.serve(Some(state));
                Answer::Serves { state: self.id(), restarts: false }
            }
            // Asked again: the answer got lost.
            _ if self.id() == Some(state) => Answer::Serves { state: self.id(), restarts: false },
            _ => refused("state-not-tried", "no trial of it held"),
        }
    }

    /// Switches a model off for the channel.
    pub fn suspend(&mut self, package: &str, reason: &str, by: Option<Holder>) {
        self.holders.extend(by.map(|by| (package.to_owned(), by)));
        self.suspended.retain(|suspended| suspended != package);
        self.suspended.push(package.to_owned());
        self.reasons.insert(package.to_owned(), reason.to_owned());
    }

    /// As the agent does: each once, by its number.
    fn audit(&mut self, trail: String, events: Vec<Event>) -> Answer {
        let last = self.audited.last().filter(|_| self.trail.as_ref() == Some(&trail)).map_or(0, |event| event.seq);
        let seq = events.last().map_or(last, |event| event.seq);
        self.audited.extend(events.into_iter().filter(|event| event.seq > last));
        self.trail = Some(trail);
        Answer::Audited { seq }
    }

    fn serve(&mut self, state: Option<StateId>) {
        if let Some((answered, median_ms)) = self.next_jobs.take() {
            (self.jobs, self.median_ms) = ((answered, 0), Some(median_ms));
        }
        let fails = state.as_ref().is_some_and(|id| self.does_not_start_in.contains(&id.name));
        let (served, recorded) = if fails { (None, state) } else { (state, None) };
        self.recorded = recorded;
        (self.state, self.sha256) = served.map_or((None, None), |id| (Some(id.name), id.sha256));
    }

    /// It is started again, once what kept it from coming up has passed.
    pub fn starts_again(&mut self) {
        self.does_not_start_in.clear();
        if let Some(recorded) = self.recorded.take() {
            self.serve(Some(recorded));
        }
    }

    fn id(&self) -> Option<StateId> {
        self.state.clone().map(|name| StateId { name, sha256: self.sha256.clone() })
    }

    fn check(&self, standing: TrialStanding) -> Answer {
        let Some(state) = self.id() else { return refused("state-not-checked", "nothing was checked") };
        let finding = Finding {
            package: Some("brain".to_owned()),
            check: "golden-cases".to_owned(),
            held: standing == TrialStanding::Held,
            text: "volume of 1292 ml".to_owned(),
            ms: 12.0,
        };
        let findings = if standing == TrialStanding::Running { Vec::new() } else { vec![finding] };
        Answer::Check(Trial { state, standing, findings })
    }

    /// One trial at a time; the one that runs, where it is of the same offer.
    fn begin(&mut self, offer: Offer) -> Answer {
        match self.tried.as_ref().filter(|_| self.polls_left > 0) {
            Some(running) if *running == offer && !self.is_left => return self.trial(),
            Some(running) => {
                let reason = format!("the state {} is being tried; ask again when that has ended", running.state.name);
                return refused("trial-under-way", &reason);
            }
            None => {}
        }
        (self.tried, self.is_taken, self.is_left) = (Some(offer), false, false);
        self.polls_left = self.trial_polls.max(1);
        self.trials += 1;
        self.trial()
    }

    /// A trial that runs ends soon; what has held, and was not taken, is let go.
    fn leave(&mut self, state: StateId) -> Answer {
        if self.takes_no_leave {
            return refused("control-request", "not a request: unknown variant `leave`");
        }
        if self.tried.as_ref().is_none_or(|tried| tried.state != state) {
            return refused("state-not-tried", "it was not tried last");
        }
        if self.polls_left > 0 || !self.is_taken {
            self.polls_left = self.polls_left.min(2);
            self.is_left = true;
            self.left.push(state.name);
        }
        self.trial()
    }

    fn has_held(&self) -> bool {
        self.polls_left == 0 && !self.misses && !self.is_taken && !self.is_left
    }

    fn trial(&self) -> Answer {
        let Some(offer) = &self.tried else { return refused("state-not-tried", "nothing was tried") };
        let standing = match (self.polls_left, self.misses) {
            (0, _) if self.is_left => TrialStanding::Missed(fault("trial-left", "nobody wants it any more")),
            (0, false) => TrialStanding::Held,
            (0, true) => TrialStanding::Missed(fault("golden-cases-missed", "a golden case is off by 3 mm")),
            _ => TrialStanding::Running,
        };
        let finding = |package: &sund_ota::agent::OfferedPackage| Finding {
            package: Some(package.name.clone()),
            check: "golden-cases".to_owned(),
            held: !self.misses,
            text: "2 of 2 cases".to_owned(),
            ms: 12.0,
        };
        let findings = offer.packages.iter().map(finding).collect();
        Answer::Trial(Trial { state: offer.state.clone(), standing, findings })
    }

    /// As the agent keeps them: what serves from now on, what served, and of the others those that stay, four in all.
    fn keep(&mut self, offer: Offer) {
        let serves = self.id();
        let is_served = |kept: &Offer| Some(&kept.state) == serves.as_ref();
        let (served, others): (Vec<_>, Vec<_>) =
            self.kept.drain(..).filter(|kept| kept.state != offer.state).partition(is_served);
        let staying = others.into_iter().filter(|kept| self.stays.contains(&kept.state));
        self.kept = staying.chain(served).chain([offer]).collect();
        self.kept.drain(..self.kept.len().saturating_sub(4));
    }

    fn is_off_by_channel(&self, name: &str) -> bool {
        self.suspended.iter().any(|suspended| suspended == name)
    }

    /// By whose word a model is off, the channel's first.
    fn held_off_by(&self, name: &str) -> Vec<Holder> {
        let by_channel = self.holders.get(name).filter(|_| self.is_off_by_channel(name)).copied();
        let is_listed = self
            .region_suspends
            .iter()
            .any(|one| one.package == name && one.version.as_deref().is_none_or(|only| only == self.version));
        let by_list = (is_listed && by_channel != Some(Holder::Region)).then_some(Holder::Region);
        by_list.into_iter().chain(by_channel).chain(self.by_person.get(name).map(|_| Holder::Person)).collect()
    }

    /// In the words of whoever has switched a model off, the channel's first.
    fn why_off(&self, name: &str) -> Option<String> {
        let by_channel = self.reasons.get(name).filter(|_| self.is_off_by_channel(name));
        let said = by_channel.into_iter().chain(self.by_person.get(name));
        let said: Vec<String> = said.map(|why| format!("{name} is suspended since then: {why}")).collect();
        (!said.is_empty()).then(|| said.join(". "))
    }

    fn status(&self) -> AgentStatus {
        let kept = self.kept.iter().rev().find(|kept| Some(&kept.state) == self.id().as_ref());
        let names: Vec<String> =
            kept.map_or(self.own_models.clone(), |kept| kept.packages.iter().map(|p| p.name.clone()).collect());
        let (answered, failed) = self.jobs;
        let model = |name: String| ModelStatus {
            standing: if self.why_off(&name).is_some() { "suspended" } else { "active" }.to_owned(),
            reason: self.why_off(&name),
            by: if self.says_no_holders { Vec::new() } else { self.held_off_by(&name) },
            engine_class: (!self.says_no_classes)
                .then(|| if self.on_cpu.contains(&name) { "cpu".to_owned() } else { self.engine_class.clone() }),
            name,
            version: self.version.clone(),
            digest: format!("of {}", self.version),
            engine: Some("tract".to_owned()),
            answered,
            failed,
            not_applicable: self.not_applicable,
            median_ms: Some(self.median_ms.unwrap_or(40.0)),
        };
        AgentStatus {
            version: "0.1.0".to_owned(),
            state: self.id(),
            engine_class: self.engine_class.clone(),
            running: self.running,
            held_until: self.held_until,
            spool_format: (!self.says_no_classes).then_some(self.spool_format),
            trying: self
                .tried
                .as_ref()
                .filter(|_| self.polls_left > 0 && !self.is_left && !self.takes_no_leave)
                .map(|tried| tried.state.clone()),
            takes_vendors: !self.takes_no_vendors,
            region_suspends: (!self.takes_no_list).then(|| self.region_suspends.clone()),
            node_answers: !self.is_silent && (self.silent_in.is_none() || self.silent_in != self.state),
            models: names.into_iter().map(model).collect(),
        }
    }
}

fn refused(code: &str, reason: &str) -> Answer {
    Answer::Refused(fault(code, reason))
}

fn fault(code: &str, reason: &str) -> AgentFault {
    AgentFault { code: code.to_owned(), blame: "package".to_owned(), reason: reason.to_owned() }
}
