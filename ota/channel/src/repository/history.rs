//! What a proposal says is published, held to its signatures: the difference that a person reads before signing is told
//! against it. Whoever has the server could otherwise hide what is new by calling it old.
use super::document::Document;
use super::files;
use super::home::Home;
use super::limits::{MAX_DOCUMENT, MAX_ENTRIES};
use super::published::role_file;
use super::roles::{ROOT, TARGETS, plain_name};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
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

    /// The newest root, where one is published.
    pub fn root(&self) -> Option<&[u8]> {
        self.files.get(ROOT).map(Vec::as_slice)
    }

    /// Every root, from the first one on.
    pub fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }
}

fn file_of(directory: &Path, role: &str) -> PathBuf {
    directory.join("before").join(format!("{}.json", plain_name(role)))
}

fn root_of(directory: &Path, version: usize) -> PathBuf {
    directory.join("roots").join(format!("{version}.json"))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::new("proposal-invalid", Blame::Region, format!("enclosed metadata: {error}")))
}
