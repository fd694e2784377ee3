//! What the agent keeps of what serves: one file, replaced as a whole, so that a power cut leaves the one before or the one after.
//! What is kept is no proof: at each start its files are opened, compared and checked again. Where they do not hold, the box's own
//! configuration serves, and everybody is told.
use crate::config::{self, Channel, Config, Deployment, Pinned, RoutePlan, VendorKeys, check_deployed, sha256};
use crate::fault::{Blame, Fault};
use crate::infer::AcceptedEngines;
use crate::limits::channel::MAX_RECORD;
use crate::model::Package;
use crate::pipeline::StateId;
use crate::records::Records;
use crate::support::Source;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The record's name in the directory.
const FILE: &str = "serving.json";
/// What a record is that is read here.
const FORMAT: u32 = 1;
/// States that are kept: the one that serves, the one that served, and two more to go back to.
const MOST: usize = 4;

/// What serves, and what served before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Name of the state that serves; `None`: the box's own configuration.
    serving: Option<String>,
    /// Its hash. A record of an agent that knew states by their names alone has none, and is of the same format: an agent of then
    /// reads this one too.
    #[serde(default)]
    serving_sha256: Option<String>,
    /// Since when.
    pub(super) since: SystemTime,
    /// What served before it, where that is not taken back: studies that began on it end on it, also after a restart. Absent in the record
    /// of an agent that did not keep that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    /// States, the one that served last first.
    states: Vec<Kept>,
}

/// What served before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Before {
    /// `None`: the box's own configuration.
    state: Option<StateId>,
}

/// A state that held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its name.
    pub(super) name: String,
    /// Hash of its document, where it is known.
    #[serde(default)]
    pub(super) sha256: Option<String>,
    /// Its configuration; `None`: the box's own.
    pub(super) configuration: Option<KeptFile>,
    /// Its packages, each with its digest.
    pub(super) packages: Vec<KeptFile>,
    /// What its routes run.
    pub(super) routes: BTreeMap<String, RoutePlan>,
    /// The vendors' keys that the region pinned when it was tried; absent: none, and the configuration's own count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) vendors: Option<VendorKeys>,
    /// The engines that the site's acceptance cohort was run on. An agent that did not keep that has kept none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) accepted: AcceptedEngines,
    /// Whether the updater has said that it stays. An agent that did not keep that has kept what can be gone back to.
    #[serde(default = "yes")]
    pub(super) stays: bool,
}

fn yes() -> bool {
    true
}

/// A file as it was when the state was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptFile {
    /// Where the updater has put it.
    pub(super) path: PathBuf,
    /// Of a configuration its SHA-256, of a package its digest.
    pub(super) digest: String,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: FORMAT,
            serving: None,
            serving_sha256: None,
            since: SystemTime::now(),
            before: None,
            states: Vec::new(),
        }
    }
}

impl Record {
    /// What a directory holds; nothing where nothing was ever activated.
    pub(super) fn read(directory: &Path) -> Result<Self, Fault> {
        let path = directory.join(FILE);
        let unreadable = |why: String| {
            let reason = format!("{}, which says what serves, cannot be read: {why}", path.display());
            Fault::new("state-record-unreadable", Blame::Box, reason)
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            file => file.map_err(|error| unreadable(error.to_string()))?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_RECORD).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if record.format != FORMAT {
            return Err(unreadable(format!("it is of format {}, {FORMAT} is known here", record.format)));
        }
        Ok(record)
    }

    /// Puts the record in the place of the one before, on stable storage.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Fault> {
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.as_file().sync_all()?;
            file.persist(directory.join(FILE)).map_err(|error| error.error)?;
            // The name is on stable storage with its directory alone.
            File::open(directory)?.sync_all()
        };
        write().map_err(|error| {
            let reason = format!("what is to serve cannot be kept in {}: {error}", directory.display());
            Fault::new("state-not-kept", Blame::Box, reason)
        })
    }

    /// The state that serves.
    pub(super) fn serves(&self) -> Option<StateId> {
        self.serving.clone().map(|name| StateId { name, sha256: self.serving_sha256.clone() })
    }

    /// The same with a state that serves from now on, after the one, or the box's own configuration, that really served: what serves by the
    /// record may have asked for a restart that is yet to come.
    pub(super) fn activating_after(&self, kept: Kept, before: Option<StateId>) -> Self {
        Self { before: Some(Before { state: before }), ..self.activating(kept) }
    }

    /// The same with a state that serves from now on. The one that served is kept, and of the others those that stay: what is tried and
    /// given up takes the place of none that can be gone back to.
    pub(super) fn activating(&self, kept: Kept) -> Self {
        let (id, serves) = (kept.id(), self.serves());
        let stays = kept.stays || self.states.iter().any(|state| state.id() == id && state.stays);
        let before = self.states.iter().filter(|state| state.id() != id);
        let (served, others): (Vec<_>, Vec<_>) = before.partition(|state| Some(state.id()) == serves);
        let others = others.into_iter().filter(|state| state.stays);
        let before = served.into_iter().chain(others).cloned();
        let states = std::iter::once(Kept { stays, ..kept }).chain(before).take(MOST).collect();
        Self { serving: Some(id.name), serving_sha256: id.sha256, states, ..Self::default() }
    }

    /// The same where the updater has said that what serves stays; `None` where that is known.
    pub(super) fn staying(&self) -> Option<Self> {
        let serves = self.serves();
        let mut record = self.clone();
        let state = record.states.iter_mut().find(|state| !state.stays && Some(state.id()) == serves)?;
        state.stays = true;
        Some(record)
    }

    /// The same where a state of those that are kept, or the box's own configuration, serves from now on.
    pub(super) fn reverting(&self, state: Option<StateId>) -> Self {
        let (serving, serving_sha256) = state.map_or((None, None), |id| (Some(id.name), id.sha256));
        Self { serving, serving_sha256, states: self.states.clone(), ..Self::default() }
    }

    /// What served before what serves, opened and checked again; `None` where that was taken back, or nothing did.
    pub(crate) fn before(&self, channel: &Channel) -> Option<Result<(Option<StateId>, Config), Fault>> {
        let Before { state } = self.before.as_ref()?;
        let config = match state {
            Some(id) => self.state(id).and_then(|kept| kept.compose(channel)),
            None => own(channel),
        };
        Some(config.map(|config| (state.clone(), config)))
    }

    /// A state that is kept: this very one, else one of its name of which no hash is known.
    pub(super) fn state(&self, id: &StateId) -> Result<&Kept, Fault> {
        let exact = self.states.iter().find(|state| state.id() == *id);
        exact.or_else(|| self.states.iter().find(|state| state.id().may_be(id))).ok_or_else(|| {
            let names: Vec<&str> = self.states.iter().map(|state| state.name.as_str()).collect();
            let reason =
                format!("the state {id} is not kept here under that hash; those that are: {}", names.join(", "));
            Fault::new("state-not-kept-here", Blame::Peer, reason)
        })
    }
}

impl Kept {
    pub(super) fn id(&self) -> StateId {
        StateId { name: self.name.clone(), sha256: self.sha256.clone() }
    }

    /// Opens and checks the state again: it must be what was tried.
    pub(super) fn compose(&self, channel: &Channel) -> Result<Config, Fault> {
        let altered = |path: &Path| {
            let reason = format!("{} of the state {} is not the file that was tried", path.display(), self.name);
            Fault::new("state-altered", Blame::Box, reason)
        };
        let pinned = self.vendors.as_ref().map(Pinned::read);
        let mut packages = Vec::new();
        for KeptFile { path, digest } in &self.packages {
            let package = Package::open(path)?;
            if package.digest != *digest {
                return Err(altered(path));
            }
            packages.push(match &pinned {
                Some(pinned) => pinned.signed(package, &self.routes)?,
                None => package,
            });
        }
        let path = self.configuration.as_ref().map_or(&channel.own, |file| &file.path);
        let invalid = |problems: Vec<config::Problem>| {
            Fault::new("configuration-invalid", Blame::Configuration, config::render(path, &problems).trim_end())
        };
        let text = config::read(path).map_err(|problem| invalid(vec![problem]))?;
        if self.configuration.as_ref().is_some_and(|file| file.digest != sha256(&text)) {
            return Err(altered(path));
        }
        let deployment = Deployment { packages, is_pinned: pinned.is_some(), routes: self.routes.clone() };
        let config = check_deployed(&text, self.configuration.is_none(), channel, &deployment).map_err(invalid)?;
        // A site that has no cohort any more asks for none.
        let accepted = channel.acceptance.as_ref().map(|_| self.accepted.clone()).unwrap_or_default();
        Ok(Config { accepted, ..config })
    }
}

/// The box's own configuration, checked again.
pub(super) fn own(channel: &Channel) -> Result<Config, Fault> {
    config::check(&channel.own).map_err(|problems| {
        let text = config::render(&channel.own, &problems);
        Fault::new("configuration-invalid", Blame::Configuration, text.trim_end())
    })
}

/// What an agent is to serve: a state that was activated, or the box's own configuration.
pub struct Served {
    /// It holds.
    pub config: Config,
    /// The state that it is of.
    pub(crate) state: Option<StateId>,
    /// Since when it serves.
    pub(crate) since: SystemTime,
    pub(crate) record: Record,
    /// The state that should serve and cannot, and why.
    pub(crate) lost: Option<(String, Fault)>,
    /// What support bundles are made of.
    pub(crate) support: Option<Source>,
    /// What the process warns of, for who collects its audit log.
    pub(crate) records: Option<Records>,
}

impl Served {
    /// The box's own configuration in the place of a state that cannot start: it would take the channel with it, by which it can be
    /// taken back.
    pub(crate) fn instead_of(state: String, fault: Fault, own: Config, record: Record) -> Self {
        let lost = Some((state, fault));
        Self { config: own, state: None, since: SystemTime::now(), record, lost, support: None, records: None }
    }

    /// The same; its console gives support bundles.
    #[must_use]
    pub(crate) fn supported_by(mut self, source: Source) -> Self {
        self.support = Some(source);
        self
    }

    /// The same; what its process warns of is collected with its audit log.
    #[must_use]
    pub(crate) fn warning(mut self, records: Option<Records>) -> Self {
        self.records = records;
        self
    }
}

impl From<Config> for Served {
    /// Takes up what was activated, where there is a channel; the box's own configuration where nothing was, or where it does not
    /// hold any more.
    fn from(own: Config) -> Self {
        let now = SystemTime::now();
        let serves = |config, state, since, record, lost| Self {
            config,
            state,
            since,
            record,
            lost,
            support: None,
            records: None,
        };
        let alone = |config, record, lost| serves(config, None, now, record, lost);
        let Some(channel) = own.channel.clone() else { return alone(own, Record::default(), None) };
        let record = match Record::read(&channel.directory) {
            Ok(record) => record,
            Err(fault) => return alone(own, Record::default(), Some(("(unknown)".to_owned(), fault))),
        };
        let Some(id) = record.serves() else {
            let since = record.since;
            return Self { since, ..alone(own, record, None) };
        };
        match record.state(&id).and_then(|kept| kept.compose(&channel)) {
            Ok(config) => serves(config, Some(id), record.since, record, None),
            Err(fault) => alone(own, record, Some((id.name, fault))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME`, or `NAME@HASH`.
    fn id(text: &str) -> StateId {
        match text.split_once('@') {
            Some((name, hash)) => StateId { name: name.into(), sha256: Some(hash.into()) },
            None => StateId { name: text.into(), sha256: None },
        }
    }

    fn kept(text: &str) -> Kept {
        let StateId { name, sha256 } = id(text);
        Kept {
            name,
            sha256,
            configuration: None,
            packages: Vec::new(),
            routes: BTreeMap::new(),
            vendors: None,
            accepted: AcceptedEngines::new(),
            stays: false,
        }
    }

    fn names(record: &Record) -> Vec<&str> {
        record.states.iter().map(|state| state.name.as_str()).collect()
    }

    /// Activated, and told that it stays.
    fn held(record: &Record, text: &str) -> Record {
        record.activating(kept(text)).staying().expect("that is news")
    }

    #[test]
    fn what_is_tried_and_given_up_takes_the_place_of_no_state_that_can_be_gone_back_to() {
        let record = ["a@1", "b@1", "c@1"].iter().fold(Record::default(), |record, state| held(&record, state));
        assert_eq!((names(&record), record.serves()), (vec!["c", "b", "a"], Some(id("c@1"))));
        assert!(record.staying().is_none(), "it is known");

        let missed = record.activating(kept("d@1"));
        assert_eq!(names(&missed), ["d", "c", "b", "a"]);
        let back = missed.reverting(Some(id("c@1")));
        assert_eq!((names(&back), back.serves()), (vec!["d", "c", "b", "a"], Some(id("c@1"))));
        assert!(back.state(&id("b@1")).is_ok(), "c is withdrawn, and b is listed");
        assert_eq!(names(&back.activating(kept("e@1"))), ["e", "c", "b", "a"], "d was given up");

        let overtaken = missed.activating(kept("e@1")).activating(kept("f@1")).activating(kept("g@1"));
        assert_eq!(names(&overtaken), ["g", "f", "c", "b"], "two to go back to, however many came and went");
        assert_eq!(overtaken.state(&id("a@1")).unwrap_err().code, "state-not-kept-here");
    }

    #[test]
    fn what_serves_is_kept_also_where_newer_states_stay() {
        let record = ["a@1", "b@1", "c@1", "d@1"].iter().fold(Record::default(), |record, state| held(&record, state));
        let back = record.reverting(Some(id("a@1")));
        assert_eq!(names(&back.activating(kept("e@1"))), ["e", "a", "d", "c"]);
        let again = back.activating(kept("d@1"));
        assert_eq!(names(&again), ["d", "a", "c", "b"]);
        assert!(again.staying().is_none(), "it has stayed once");
        assert_eq!(names(&record.reverting(None).activating(kept("e@1"))), ["e", "d", "c", "b"]);
    }

    #[test]
    fn a_record_that_does_not_say_what_stays_keeps_what_it_has() {
        let mut old = serde_json::to_value(Record::default().activating(kept("a@1")).activating(kept("b@1"))).unwrap();
        for state in old["states"].as_array_mut().unwrap() {
            state.as_object_mut().unwrap().remove("stays");
        }
        let record: Record = serde_json::from_value(old).unwrap();
        assert_eq!(names(&record.activating(kept("c@1")).activating(kept("d@1"))), ["d", "c", "b", "a"]);
    }

    #[test]
    fn a_state_under_an_old_name_is_another_state() {
        let record = Record::default().activating(kept("a@1")).activating(kept("a@2"));
        assert_eq!((names(&record), record.serves()), (vec!["a", "a"], Some(id("a@2"))));
        for hash in ["a@1", "a@2"] {
            assert_eq!(record.state(&id(hash)).unwrap().id(), id(hash));
        }
        assert_eq!(record.state(&id("a@3")).unwrap_err().code, "state-not-kept-here");
    }

    #[test]
    fn a_record_without_hashes_is_read_and_its_states_are_known_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let mut old = serde_json::to_value(Record::default().activating(kept("a"))).unwrap();
        old.as_object_mut().unwrap().remove("serving_sha256");
        old["states"][0].as_object_mut().unwrap().remove("sha256");
        std::fs::write(folder.path().join(FILE), old.to_string()).unwrap();
        let record = Record::read(folder.path()).unwrap();
        assert_eq!(record.serves(), Some(id("a")));
        assert_eq!(record.state(&id("a@1")).unwrap().id(), id("a"));
        let record = record.activating(kept("a@1"));
        assert_eq!(record.state(&id("a@1")).unwrap().id(), id("a@1"), "what is tried again has its hash");
    }

    #[test]
    fn a_record_reads_back_and_a_damaged_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(folder.path()).unwrap().serves(), None);
        let record = Record::default().activating(kept("a@1"));
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), record);
        for damaged in ["", "{", "{\"format\":2,\"serving\":null,\"since\":0,\"states\":[]}"] {
            std::fs::write(folder.path().join(FILE), damaged).unwrap();
            assert_eq!(Record::read(folder.path()).unwrap_err().code, "state-record-unreadable");
        }
        let nowhere = folder.path().join("nowhere");
        assert_eq!(record.write(&nowhere).unwrap_err().code, "state-not-kept");
    }
}
