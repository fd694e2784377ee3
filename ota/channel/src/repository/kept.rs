//! What an approver's machine keeps beside a key: the newest root under which it has signed, and of each role the newest version
//! that it was shown as published or has signed itself. Whoever has the server could otherwise call an older version published,
//! and have what came after it signed away unseen; or bring another region's root.
//!
//! A key without such files believes what it is shown once. They are never taken for more than they are: no word of theirs makes
//! a proposal valid.
use super::document::{Document, now};
use super::files;
use super::keys::{KeyPlace, Signer, fingerprint, key_id};
use super::limits::MAX_KEPT;
use super::proposal::{Proposal, SignatureFile};
use super::roles::ROOT;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::limits::metadata;
use tough::schema::{Root, Signed};

/// Where it lies.
#[derive(Clone, Debug)]
pub struct Kept {
    root: PathBuf,
    seen: PathBuf,
}

/// What lies in `KEY.seen.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// 1.
    format: u32,
    /// The newest version of each role that was enclosed as published.
    published: BTreeMap<String, Seen>,
    /// The newest one that this key has signed.
    signed: BTreeMap<String, Seen>,
}

/// One version of a role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    version: u64,
    /// SHA-256 of what is signed of it.
    sha256: String,
    /// When, by this machine's clock.
    at: String,
}

impl Kept {
    /// Beside the file of a key. What is known of a key in a token lies with the person's own state (XDG Base Directory), under
    /// the key's identifier.
    pub fn of(key: &KeyPlace, signer: &dyn Signer) -> Result<Self, Fault> {
        match key {
            KeyPlace::File(path) => Ok(Self::beside(path)),
            KeyPlace::Token(_) => {
                let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
                let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
                let state = state.ok_or_else(|| {
                    let reason = "there is no place for what this key has signed: set HOME or XDG_STATE_HOME";
                    Fault::new("state-not-kept", Blame::Configuration, reason)
                })?;
                Ok(Self::beside(&state.join("sund-channel").join(hex(key_id(&signer.key())?.as_ref()))))
            }
        }
    }

    /// The same beside a file of a key, private or public.
    pub fn beside(key: &Path) -> Self {
        Self { root: key.with_added_extension("root.json"), seen: key.with_added_extension("seen.json") }
    }

    /// Holds the enclosed root to the one that is kept: the same, or one that it leads to.
    pub fn check_root(&self, proposal: &Proposal) -> Result<(), Fault> {
        let Some(kept) = files::read_if_there(&self.root, metadata::MAX_ROOT)? else { return Ok(()) };
        let kept: Signed<Root> = parse(&kept)?;
        let another = || {
            let reason = format!(
                "the root of {} does not follow from root {} under which this key has signed before: it is another region's, \
                 or the server has been in other hands. Sign nothing and call the others",
                proposal.cover.id, kept.signed.version
            );
            Fault::new("another-root", Blame::Region, reason)
        };
        let roots: Result<Vec<Signed<Root>>, Fault> = proposal.history.roots().iter().map(|root| parse(root)).collect();
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

    /// What of a proposal speaks against what this key knows; each as a refusal that says what to do.
    pub fn doubts(&self, proposal: &Proposal) -> Result<Vec<Fault>, Fault> {
        let known = self.known()?;
        let roles: BTreeSet<&String> = proposal.before.keys().chain(proposal.documents.keys()).collect();
        let mut doubts = Vec::new();
        for role in roles {
            let before = proposal.before.get(role);
            let version = before.map_or(0, Document::version);
            if let Some(seen) = known.published.get(role).filter(|seen| version < seen.version) {
                doubts.push(older(role, version, seen));
                continue;
            }
            for document in [before, proposal.documents.get(role)].into_iter().flatten() {
                let kept = [(&known.published, "seen"), (&known.signed, "signed")];
                let mut kept = kept.into_iter().filter_map(|(kept, how)| Some((kept.get(role)?, how)));
                let digest = digest(document)?;
                let other = kept.find(|(seen, _)| seen.version == document.version() && seen.sha256 != digest);
                doubts.extend(other.map(|(seen, how)| otherwise(role, how, seen)));
            }
        }
        Ok(doubts)
    }

    /// The roles of a proposal of which this key knows nothing: what is called published is believed this once.
    pub fn unknown<'a>(&self, proposal: &'a Proposal) -> Result<Vec<&'a str>, Fault> {
        let known = self.known()?;
        let published = proposal.before.keys().filter(|role| proposal.documents.contains_key(*role));
        let is_unknown = |role: &&str| !known.published.contains_key(*role) && !known.signed.contains_key(*role);
        Ok(published.map(String::as_str).filter(is_unknown).collect())
    }

    /// Keeps what is enclosed as published, and what was signed, for the next time: in the place of what was known of these roles.
    pub fn keep(&self, proposal: &Proposal, signed: &SignatureFile) -> Result<(), Fault> {
        let mut known = self.known()?;
        known.format = 1;
        let seen = |document: &Document| -> Result<Seen, Fault> {
            Ok(Seen { version: document.version(), sha256: digest(document)?, at: now() })
        };
        for (role, document) in &proposal.documents {
            if signed.signatures.contains_key(role) {
                known.signed.insert(role.clone(), seen(document)?);
            }
            known.published.remove(role);
        }
        for (role, document) in &proposal.before {
            known.published.insert(role.clone(), seen(document)?);
        }
        let bytes = serde_json::to_vec_pretty(&known)
            .map_err(|error| Fault::new("metadata-unwritable", Blame::Updater, error.to_string()))?;
        files::write(&self.seen, &bytes, 0o644)?;
        proposal.history.root().map_or(Ok(()), |root| files::write(&self.root, root, 0o644))
    }

    fn known(&self) -> Result<Known, Fault> {
        let Some(bytes) = files::read_if_there(&self.seen, MAX_KEPT)? else { return Ok(Known::default()) };
        let damaged = |why: String| {
            let reason = format!(
                "{} cannot be read ({why}): restore it from its copy; without it the key believes once what it is shown",
                self.seen.display()
            );
            Fault::new("seen-unreadable", Blame::Box, reason)
        };
        let known: Known = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if known.format != 1 {
            return Err(damaged(format!("it has format {}, and this program reads 1: update it first", known.format)));
        }
        Ok(known)
    }
}

fn older(role: &str, version: u64, seen: &Seen) -> Fault {
    let called = if version == 0 { "nothing".to_owned() } else { format!("version {version}") };
    let reason = format!(
        "{called} of {role} is called published, and this key was shown version {} on {}. Where the proposal is older than that, let \
         it be proposed again. Otherwise what came after is withheld: sign nothing and call the others; if they know why (the server \
         was restored from a copy), sign with --anew",
        seen.version, seen.at
    );
    Fault::new("history-older", Blame::Region, reason)
}

fn otherwise(role: &str, how: &str, seen: &Seen) -> Fault {
    let reason = format!(
        "this key has {how} another version {} of {role} on {} (sha256 {} ...): either that one was given up, or it was published \
         and is withheld. Ask the others who signed it; if it was given up, sign with --anew",
        seen.version,
        seen.at,
        fingerprint(&seen.sha256)
    );
    Fault::new("known-otherwise", Blame::Region, reason)
}

fn digest(document: &Document) -> Result<String, Fault> {
    Ok(hex(&files::sha256(&document.message()?)))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::new("proposal-invalid", Blame::Region, format!("enclosed metadata: {error}")))
}
