//! What a proposal says is published, held to its signatures: the difference that a person reads before signing is told
//! against it. Whoever has the server could otherwise hide what is new by calling it old.
//!
//! An approver's machine keeps the newest root that it has seen, beside the key. What does not come from that root by
//! rotations that its own persons have signed is another region's, or a thief's.
use super::document::Document;
use super::files;
use super::home::Home;
use super::keys::{KeyPlace, Signer, key_id};
use super::limits::{MAX_DOCUMENT, MAX_ENTRIES};
use super::proposal::Proposal;
use super::published::role_file;
use super::roles::{ROOT, TARGETS, plain_name};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::limits::metadata;
use tough::schema::{Root, Signed, Targets};

/// The published files that a proposal encloses.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Those of the roles that change, and of `root` and `targets`, by role.
    files: BTreeMap<String, Vec<u8>>,
    /// Every root, from the first one on.
    roots: Vec<Vec<u8>>,
}

impl History {
    /// Gathers what is published.
    pub fn gather(home: &Home, before: &BTreeMap<String, Document>) -> Result<Self, Fault> {
        let mut history = Self::default();
        for (role, document) in before {
            history.files.insert(role.clone(), role_file(home, role, document.version())?);
        }
        for version in 1..=before.get(ROOT).map_or(0, Document::version) {
            history.roots.push(role_file(home, ROOT, version)?);
        }
        Ok(history)
    }

    /// Reads it out of a proposal.
    pub fn read(directory: &Path, roles: &[String]) -> Result<Self, Fault> {
        let mut history = Self::default();
        for role in roles {
            history.files.insert(role.clone(), files::read(&file_of(directory, role), MAX_DOCUMENT)?);
        }
        while history.roots.len() < MAX_ENTRIES {
            let path = root_of(directory, history.roots.len() + 1);
            let Some(root) = files::read_if_there(&path, metadata::MAX_ROOT)? else { break };
            history.roots.push(root);
        }
        Ok(history)
    }

    /// Writes it into a proposal.
    pub fn write(&self, directory: &Path) -> Result<(), Fault> {
        for (role, bytes) in &self.files {
            files::write(&file_of(directory, role), bytes, 0o644)?;
        }
        for (at, root) in self.roots.iter().enumerate() {
            files::write(&root_of(directory, at + 1), root, 0o644)?;
        }
        Ok(())
    }

    /// Holds it to the signatures of its root.
    pub fn check(&self, proposal: &str) -> Result<(), Fault> {
        let refused = |role: &str, why: &str| {
            let reason = format!(
                "{proposal}: {role} is enclosed as published and is not signed ({why}): copy the proposal again, and see who \
                 has been at the server"
            );
            Fault::new("history-not-signed", Blame::Region, reason)
        };
        let Some(root) = self.files.get(ROOT) else {
            // The first root. Nothing is published, and people compare its keys by eye.
            return if self.files.is_empty() { Ok(()) } else { Err(refused(ROOT, "it is missing")) };
        };
        let root: Signed<Root> = parse(root)?;
        root.signed.verify_role(&root).map_err(|error| refused(ROOT, &error.to_string()))?;
        let targets = self.files.get(TARGETS).ok_or_else(|| refused(TARGETS, "it is missing"))?;
        let targets: Signed<Targets> = parse(targets)?;
        root.signed.verify_role(&targets).map_err(|error| refused(TARGETS, &error.to_string()))?;
        let delegations = targets.signed.delegations.unwrap_or_default();
        for (role, bytes) in self.files.iter().filter(|(role, _)| *role != ROOT && *role != TARGETS) {
            delegations.verify_role(&parse(bytes)?, role).map_err(|error| refused(role, &error.to_string()))?;
        }
        Ok(())
    }
}

fn file_of(directory: &Path, role: &str) -> PathBuf {
    directory.join("before").join(format!("{}.json", plain_name(role)))
}

fn root_of(directory: &Path, version: usize) -> PathBuf {
    directory.join("roots").join(format!("{version}.json"))
}

/// Where the root is kept that a key has signed under: beside its file. What is known of a key in a token lies with the
/// person's own state (XDG Base Directory), under the key's identifier.
pub fn kept_root(key: &KeyPlace, signer: &dyn Signer) -> Result<PathBuf, Fault> {
    match key {
        KeyPlace::File(path) => Ok(beside(path)),
        KeyPlace::Token(_) => {
            let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
            let state = state.ok_or_else(|| {
                let reason = "there is no place for what this key has signed under: set HOME or XDG_STATE_HOME";
                Fault::new("state-not-kept", Blame::Configuration, reason)
            })?;
            let id = hex(key_id(&signer.key())?.as_ref());
            Ok(state.join("sund-channel").join(format!("{id}.root.json")))
        }
    }
}

/// The same beside a file of a key, private or public.
pub fn beside(key: &Path) -> PathBuf {
    key.with_added_extension("root.json")
}

/// Holds the enclosed root to the one that is kept: the same, or one that it leads to. Without one, nothing is held.
pub fn check_kept(proposal: &Proposal, kept: &Path) -> Result<(), Fault> {
    let Some(kept) = files::read_if_there(kept, metadata::MAX_ROOT)? else { return Ok(()) };
    let kept: Signed<Root> = parse(&kept)?;
    let another = || {
        let reason = format!(
            "the root of {} does not follow from root {} under which this key has signed before: it is another region's, or \
             the server has been in other hands. Sign nothing and call the others",
            proposal.cover.id, kept.signed.version
        );
        Fault::new("another-root", Blame::Region, reason)
    };
    let roots: Result<Vec<Signed<Root>>, Fault> = proposal.history.roots.iter().map(|bytes| parse(bytes)).collect();
    let at = kept.signed.version.get() as usize;
    let newer = roots?.into_iter().skip(at - 1).collect::<Vec<_>>();
    if newer.first().map(|root| &root.signed) != Some(&kept.signed) {
        return Err(another());
    }
    for pair in newer.windows(2) {
        // TUF 5.3.4 and 5.3.5.
        let follows = pair[0].signed.verify_role(&pair[1]).is_ok() && pair[1].signed.verify_role(&pair[1]).is_ok();
        if !follows || pair[1].signed.version.get() != pair[0].signed.version.get() + 1 {
            return Err(another());
        }
    }
    match (newer.last(), proposal.before.get(ROOT)) {
        (Some(newest), Some(Document::Root(root))) if newest.signed == **root => Ok(()),
        _ => Err(another()),
    }
}

/// Keeps the enclosed root for the next time.
pub fn keep(proposal: &Proposal, kept: &Path) -> Result<(), Fault> {
    proposal.history.files.get(ROOT).map_or(Ok(()), |root| files::write(kept, root, 0o644))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::new("proposal-invalid", Blame::Region, format!("enclosed metadata: {error}")))
}
