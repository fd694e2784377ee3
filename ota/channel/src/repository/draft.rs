//! The next version of some roles, edited in memory and written once, as a proposal.
use super::bounds;
use super::document::{Document, PERSONS_DAYS, SPECIFICATION, after, in_days, now};
use super::files;
use super::formerly;
use super::history::History;
use super::home::{Home, Lock};
use super::limits::{MAX_ENCLOSED, MAX_ENTRIES};
use super::proposal::{Cover, Proposal};
use super::published::Published;
use super::roles::{ROOT, STATE, TARGETS, is_models, is_state, of_target, plain_name};
use super::store;
use super::words::{describe, follows, is_compared, is_told, is_told_when_it_goes};
use serde::Serialize;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use sund_ota::documents::{APPROVERS, Approvers, SUSPENSIONS};
use sund_ota::fault::{Blame, Fault};
use sund_ota::state::DesiredState;
use tough::TargetName;
use tough::schema::{Root, Target, Targets};

/// Roles that are being changed.
#[derive(Debug)]
pub struct Draft {
    home: Home,
    lock: Lock,
    cover: Option<Cover>,
    /// What is published now.
    pub published: Option<Published>,
    pub(super) documents: BTreeMap<String, Document>,
    enclosed: BTreeMap<String, Vec<u8>>,
}

impl Draft {
    /// Begins with what is published, or with a proposal that waits: its signatures are dropped when it changes.
    pub fn begin(home: &Home, with: Option<&str>) -> Result<Self, Fault> {
        let lock = home.lock()?;
        let published = Published::read(home)?;
        let mut draft = Self {
            home: home.clone(),
            lock,
            cover: None,
            published,
            documents: BTreeMap::new(),
            enclosed: BTreeMap::new(),
        };
        if let Some(id) = with {
            let waiting = Proposal::open(home, id)?;
            (draft.documents, draft.enclosed, draft.cover) = (waiting.documents, waiting.enclosed, Some(waiting.cover));
        }
        Ok(draft)
    }

    /// The next root.
    pub fn root(&mut self) -> Result<&mut Root, Fault> {
        if !self.documents.contains_key(ROOT) {
            let mut root = self.must()?.root.signed.clone();
            root.version = after(root.version)?;
            self.documents.insert(ROOT.to_owned(), Document::Root(Box::new(root)));
        }
        match self.documents.get_mut(ROOT) {
            Some(Document::Root(root)) => {
                root.expires = in_days(PERSONS_DAYS)?;
                Ok(root)
            }
            _ => Err(not_delegated(ROOT)),
        }
    }

    /// The next version of `targets` or of a role that it delegates to.
    pub fn role(&mut self, role: &str) -> Result<&mut Targets, Fault> {
        if !self.documents.contains_key(role) {
            let mut targets = self.must()?.roles.get(role).ok_or_else(|| not_delegated(role))?.signed.clone();
            targets.version = after(targets.version)?;
            self.documents.insert(role.to_owned(), Document::Targets(Box::new(targets)));
        }
        match self.documents.get_mut(role) {
            Some(Document::Targets(targets)) => {
                targets.expires = in_days(PERSONS_DAYS)?;
                Ok(targets)
            }
            _ => Err(not_delegated(role)),
        }
    }

    /// The first version of a role; the next one, where the role has been there.
    pub fn found(&mut self, role: &str) -> Result<&mut Targets, Fault> {
        let is_there = self.documents.contains_key(role)
            || self.published.as_ref().is_some_and(|published| published.roles.contains_key(role));
        if !is_there {
            let mut targets = Targets::new(SPECIFICATION.to_owned(), super::document::FIRST, in_days(PERSONS_DAYS)?);
            if role != TARGETS {
                targets.delegations = None;
            }
            self.documents.insert(role.to_owned(), Document::Targets(Box::new(targets)));
        }
        self.role(role)
    }

    /// Lists a target in the role of its path.
    pub fn list(&mut self, target: &str, listed: Target) -> Result<(), Fault> {
        let name = TargetName::new(target)
            .map_err(|error| Fault::new("name-invalid", Blame::Configuration, error.to_string()))?;
        self.role(&of_target(target)?)?.targets.insert(name, listed);
        Ok(())
    }

    /// Puts a payload into the store; it is listed apart.
    pub(super) fn put_file(&self, target: &str, file: &Path, max: u64) -> Result<Target, Fault> {
        store::put_file(&self.home, target, file, max, &self.lock)
    }

    /// Puts a small payload into the store, encloses it for people to read, and lists it.
    pub fn list_bytes(&mut self, target: &str, bytes: Vec<u8>) -> Result<Target, Fault> {
        let listed = store::put_bytes(&self.home, target, &bytes, &self.lock)?;
        self.enclosed.insert(store::sha256_of(&listed), bytes);
        self.list(target, listed.clone())?;
        Ok(listed)
    }

    /// The same for a document of ours.
    pub fn list_document(&mut self, target: &str, document: &impl Serialize) -> Result<Target, Fault> {
        let mut bytes = serde_json::to_vec_pretty(document)
            .map_err(|error| Fault::new("metadata-unwritable", Blame::Updater, error.to_string()))?;
        bytes.push(b'\n');
        self.list_bytes(target, bytes)
    }

    /// Takes a target off the list; whether it was on it.
    pub fn unlist(&mut self, target: &str) -> Result<bool, Fault> {
        let role = of_target(target)?;
        if self.find(target).is_none() {
            return Ok(false);
        }
        let name = TargetName::new(target)
            .map_err(|error| Fault::new("name-invalid", Blame::Configuration, error.to_string()))?;
        Ok(self.role(&role)?.targets.remove(&name).is_some())
    }

    /// What would be listed.
    pub fn find(&self, target: &str) -> Option<&Target> {
        let (role, name) = (of_target(target).ok()?, TargetName::new(target).ok()?);
        match self.documents.get(&role) {
            Some(Document::Targets(targets)) => targets.targets.get(&name),
            _ => self.published.as_ref()?.roles.get(&role)?.signed.targets.get(&name),
        }
    }

    /// Where the channel lives.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Refuses other bytes under a name that was ever published.
    pub fn check_formerly(&self, target: &str, new: &Target) -> Result<(), Fault> {
        let (role, Ok(name)) = (of_target(target)?, TargetName::new(target)) else { return Ok(()) };
        let mut published = self.published.iter();
        published.try_for_each(|published| formerly::check(&self.home, published, &role, &name, new))
    }

    /// Every target of a role that would be listed.
    pub fn targets_of(&self, role: &str) -> Vec<(String, Target)> {
        let targets = match self.documents.get(role) {
            Some(Document::Targets(targets)) => Some(&targets.targets),
            _ => self.published.as_ref().and_then(|it| it.roles.get(role)).map(|signed| &signed.signed.targets),
        };
        let listed = targets.into_iter().flatten().map(|(name, target)| (name.raw().to_owned(), target.clone()));
        listed.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// The bytes of a small target that would be listed; nothing where it is not.
    pub fn read(&self, target: &str) -> Result<Option<Vec<u8>>, Fault> {
        let Some(listed) = self.find(target) else { return Ok(None) };
        match self.enclosed.get(&store::sha256_of(listed)) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => files::read(&store::path(&self.home, target, listed), MAX_ENCLOSED).map(Some),
        }
    }

    /// Whose key is whose, as it would be.
    pub fn approvers(&self) -> Result<Approvers, Fault> {
        let bytes = self.read(APPROVERS)?;
        bytes.map_or_else(|| Ok(Approvers { format: 1, ..Approvers::default() }), |bytes| Approvers::parse(&bytes))
    }

    /// Writes the proposal.
    pub fn finish(mut self, reason: &str) -> Result<Proposal, Fault> {
        let first = [ROOT, TARGETS].into_iter().find(|role| self.documents.contains_key(*role));
        let first = first.map(str::to_owned).or_else(|| self.documents.keys().next().cloned()).ok_or_else(|| {
            Fault::new(
                "nothing-to-do",
                Blame::Configuration,
                "everything is as it should be: there is nothing to propose",
            )
        })?;
        let id = format!("{}-{}", plain_name(&first), self.documents[&first].version());
        let (id, reason) = match &self.cover {
            Some(cover) => (cover.id.clone(), format!("{}; {reason}", cover.reason)),
            None => (id, reason.to_owned()),
        };
        let directory = self.home.proposals().join(&id);
        if self.cover.is_none() && directory.exists() {
            let reason = format!(
                "the proposal {id} waits already: approve it, add to it (--with {id}; it is then signed anew), or \
                 `sund-channel discard {id}`"
            );
            return Err(Fault::new("proposal-waits", Blame::Configuration, reason));
        }
        let before = self.before()?;
        let roles: Vec<String> = self.documents.keys().cloned().collect();
        let cover = Cover { format: 1, id, made: now(), reason, roles, before: before.keys().cloned().collect() };
        let history = History::gather(&self.home, &before)?;
        let enclosed = self.enclosed;
        let proposal = Proposal { directory, cover, documents: self.documents, before, history, enclosed };
        if let Some((role, version, published)) = proposal.out_of_order() {
            return Err(proposal.overtaken(role, version, published));
        }
        proposal.unsigned()?;
        bounds::check(&proposal)?;
        // What cannot be told is signed by nobody: it is not proposed.
        describe(&proposal)?;
        proposal.write()?;
        Ok(proposal)
    }

    /// What is published of the roles that change, of those that say who signs, and of the models that a new state names. Small
    /// payloads by which the difference is told in words are enclosed with it, and whose key is whose.
    fn before(&mut self) -> Result<BTreeMap<String, Document>, Fault> {
        let mut before = BTreeMap::new();
        let states = self.coming()?;
        if let Some(published) = &self.published {
            // Whoever signs a suspension is told whether there is such a package.
            let is_suspending = self.find(SUSPENSIONS) != published.find(SUSPENSIONS).map(|(_, listed)| listed);
            let models = states.iter().flat_map(|state| &state.models);
            let named: BTreeSet<String> = models.filter_map(|model| of_target(&model.package.target).ok()).collect();
            let is_of_account = |role: &str| {
                role == TARGETS
                    || self.documents.contains_key(role)
                    || is_models(role) && (is_suspending || named.contains(role))
            };
            before.insert(ROOT.to_owned(), Document::Root(Box::new(published.root.signed.clone())));
            for (role, signed) in published.roles.iter().filter(|(role, _)| is_of_account(role)) {
                before.insert(role.clone(), Document::Targets(Box::new(signed.signed.clone())));
            }
        }
        let needed = self.needed(&before, &states);
        self.enclosed.retain(|sha256, _| needed.contains_key(sha256));
        for (sha256, path) in needed {
            if let Entry::Vacant(vacant) = self.enclosed.entry(sha256) {
                vacant.insert(files::read(&path, MAX_ENCLOSED)?);
            }
        }
        self.enclose_for_earlier(&before);
        Ok(before)
    }

    /// Encloses what goes and nobody is told of any more, where it can be read and there is room: programs from before that was so sign nothing
    /// without it.
    fn enclose_for_earlier(&mut self, before: &BTreeMap<String, Document>) {
        let gone = self.documents.iter().flat_map(|(role, document)| {
            let proposed = targets_in(Some(document));
            let known = targets_in(before.get(role)).into_iter().flatten();
            known.filter(move |(name, _)| is_told(name.raw()) && !proposed.is_some_and(|all| all.contains_key(*name)))
        });
        let gone = gone.map(|(name, listed)| (store::sha256_of(listed), store::path(&self.home, name.raw(), listed)));
        for (sha256, path) in gone.collect::<BTreeMap<_, _>>() {
            if self.enclosed.len() >= MAX_ENTRIES {
                return;
            }
            if let Entry::Vacant(vacant) = self.enclosed.entry(sha256)
                && let Ok(bytes) = files::read(&path, MAX_ENCLOSED)
            {
                vacant.insert(bytes);
            }
        }
    }

    /// The desired states that are proposed and not published.
    fn coming(&self) -> Result<Vec<DesiredState>, Fault> {
        let published = self.published.as_ref().and_then(|published| published.roles.get(STATE));
        let known = published.map(|signed| &signed.signed.targets);
        let is_new = |name, listed| known.and_then(|known| known.get(name)) != Some(listed);
        let proposed = targets_in(self.documents.get(STATE)).into_iter().flatten();
        let new = proposed.filter(|(name, listed)| is_state(name.raw()) && is_new(name, *listed));
        new.map(|(name, _)| DesiredState::parse(name.raw(), &self.read(name.raw())?.unwrap_or_default())).collect()
    }

    /// Where the small payloads lie by which people are told what changes, by their SHA-256. Of what goes, only what was held back or
    /// vouched for by it: a release that many states name goes with all of them, and none of those has to be read.
    fn needed(&self, before: &BTreeMap<String, Document>, states: &[DesiredState]) -> BTreeMap<String, PathBuf> {
        let mut needed = BTreeMap::new();
        let mut need = |name: &str, listed: &Target| {
            needed.insert(store::sha256_of(listed), store::path(&self.home, name, listed));
        };
        let none = HashMap::new();
        for (role, document) in &self.documents {
            let known = targets_in(before.get(role)).unwrap_or(&none);
            let proposed = targets_in(Some(document)).unwrap_or(&none);
            let new = proposed.iter().filter(|(name, listed)| is_told(name.raw()) && known.get(name) != Some(listed));
            for (name, listed) in new {
                need(name.raw(), listed);
                let earlier = known.get_key_value(name).or_else(|| follows(listed, known.iter()));
                if let Some((name, earlier)) = earlier.filter(|(name, _)| is_compared(name.raw())) {
                    need(name.raw(), earlier);
                }
            }
            let gone = known.iter().filter(|(name, _)| !proposed.contains_key(name));
            for (name, listed) in gone.filter(|(name, _)| is_told_when_it_goes(name.raw())) {
                need(name.raw(), listed);
            }
        }
        for side in [before.get(TARGETS), self.documents.get(TARGETS)] {
            let mut listed = targets_in(side).into_iter().flatten();
            if let Some((name, approvers)) = listed.find(|(name, _)| name.raw() == APPROVERS) {
                need(name.raw(), approvers);
            }
        }
        // By its routes a signer is told which of them a state has run nothing.
        for pin in states.iter().filter_map(|state| state.configuration.as_ref()) {
            if let Some(listed) = self.find(&pin.target) {
                need(&pin.target, listed);
            }
        }
        needed
    }

    fn must(&self) -> Result<&Published, Fault> {
        self.published.as_ref().ok_or_else(|| {
            let reason = "nothing is published yet: begin with `sund-channel root new`";
            Fault::new("nothing-published", Blame::Configuration, reason)
        })
    }
}

fn targets_in(document: Option<&Document>) -> Option<&HashMap<TargetName, Target>> {
    match document {
        Some(Document::Targets(targets)) => Some(&targets.targets),
        _ => None,
    }
}

fn not_delegated(role: &str) -> Fault {
    let reason = format!("nobody may sign {role} yet: delegate it first (`sund-channel delegate {role} ...`)");
    Fault::new("role-not-delegated", Blame::Configuration, reason)
}
