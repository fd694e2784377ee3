//! A proposal: new metadata that waits for signatures. A directory that can be copied to an approver's machine and says all
//! that is needed there: what is to be signed, what it replaces, and the small payloads to read.
//!
//! The roles of a proposal become visible together or not at all.
use super::document::Document;
use super::files;
use super::history::History;
use super::home::Home;
use super::keys::{fingerprint, holds};
use super::limits::{MAX_DOCUMENT, MAX_ENCLOSED, MAX_ENTRIES, MAX_SIGNATURE_FILE};
use super::roles::{ROOT, TARGETS, plain_name};
use super::store::sha256_of;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use sund_ota::documents::{APPROVERS, Approvers};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::TargetName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{DelegatedRole, RoleType, Root, Signature, Target};

/// What lies in `proposal.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cover {
    /// 1.
    pub format: u32,
    /// Name of the proposal, and of its directory.
    pub id: String,
    /// When it was made.
    pub made: String,
    /// Why, for people.
    pub reason: String,
    /// The roles whose metadata it brings.
    pub roles: Vec<String>,
    /// The roles whose published metadata is enclosed.
    pub before: Vec<String>,
}

/// A proposal as read.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Where it lies.
    pub directory: PathBuf,
    /// Its cover.
    pub cover: Cover,
    /// What is to be signed, by role.
    pub documents: BTreeMap<String, Document>,
    /// What is published now, by role.
    pub before: BTreeMap<String, Document>,
    /// The files of that, with the signatures that it holds by.
    pub history: History,
    /// Small payloads, by their SHA-256.
    pub enclosed: BTreeMap<String, Vec<u8>>,
}

/// A person's signatures over the roles of a proposal: what comes back from an approver's machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureFile {
    /// 1.
    pub format: u32,
    /// Name of the proposal.
    pub proposal: String,
    /// Identifier of the key.
    pub key: Decoded<Hex>,
    /// Signatures, by role.
    pub signatures: BTreeMap<String, Decoded<Hex>>,
}

/// Who may sign a role: some keys and how many of them, as one document says.
#[derive(Clone, Debug)]
pub struct Seat {
    /// In words, e.g. `root 3`.
    pub said_by: String,
    /// The keys.
    pub keys: BTreeMap<String, Key>,
    /// So many persons.
    pub threshold: u64,
}

/// How a role of a proposal stands with one of its seats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The role.
    pub role: String,
    /// Its proposed version.
    pub version: u64,
    /// Who says who may sign it.
    pub said_by: String,
    /// Persons who have signed.
    pub signed: Vec<String>,
    /// Persons who could.
    pub open: Vec<String>,
    /// Persons needed.
    pub threshold: u64,
}

impl Standing {
    /// Whether enough persons have signed.
    pub fn holds(&self) -> bool {
        self.signed.len() as u64 >= self.threshold
    }
}

impl Proposal {
    /// Opens a proposal of a channel by its name.
    pub fn open(home: &Home, id: &str) -> Result<Self, Fault> {
        Self::read(&Self::place(home, id)?)
    }

    /// Where one lies that waits, whatever it holds.
    pub fn place(home: &Home, id: &str) -> Result<PathBuf, Fault> {
        let directory = home.proposals().join(id);
        if id.contains('/') || id.starts_with('.') || !directory.is_dir() {
            let reason = format!("no proposal `{id}` waits here: `sund-channel proposals` lists those that do");
            return Err(Fault::new("proposal-not-found", Blame::Configuration, reason));
        }
        Ok(directory)
    }

    /// Reads a proposal, wherever it was copied to.
    pub fn read(directory: &Path) -> Result<Self, Fault> {
        let invalid = |reason: String| {
            let reason = format!("{} is no proposal: {reason}", directory.display());
            Fault::new("proposal-invalid", Blame::Region, reason)
        };
        let cover = files::read(&directory.join("proposal.json"), MAX_DOCUMENT)?;
        let cover: Cover = serde_json::from_slice(&cover).map_err(|error| invalid(error.to_string()))?;
        if cover.format != 1 {
            return Err(invalid(format!("it has format {}; this program reads 1: update it first", cover.format)));
        }
        if cover.roles.len() > MAX_ENTRIES || cover.before.len() > MAX_ENTRIES {
            return Err(invalid(format!("it has more than {MAX_ENTRIES} roles")));
        }
        let documents = |roles: &[String], kind: &str| -> Result<BTreeMap<String, Document>, Fault> {
            let read = |role: &String| {
                let path = directory.join(kind).join(format!("{}.json", plain_name(role)));
                Ok((role.clone(), Document::parse(role, &files::read(&path, MAX_DOCUMENT)?)?.0))
            };
            roles.iter().map(read).collect()
        };
        let (documents, before) = (documents(&cover.roles, "documents")?, documents(&cover.before, "before")?);
        let history = History::read(directory, &cover.before)?;
        let mut enclosed = BTreeMap::new();
        for path in entries(&directory.join("payloads"))? {
            let bytes = files::read(&path, MAX_ENCLOSED)?;
            // Named by what it is, not by what its file is called.
            enclosed.insert(hex(&files::sha256(&bytes)), bytes);
        }
        let directory = directory.to_owned();
        let proposal = Self { directory, cover, documents, before, history, enclosed };
        proposal.history.check(&proposal.cover.id)?;
        if let Some((role, version, before)) = proposal.out_of_order() {
            let reason = format!(
                "{}: it brings version {version} of {role} and calls {before} published: what lies between is withheld. Copy the \
                 proposal again; if it says this once more, sign nothing and call the others",
                proposal.cover.id
            );
            return Err(Fault::new("history-withheld", Blame::Region, reason));
        }
        Ok(proposal)
    }

    /// A role of which the version does not follow right after the one that is called published: role, its version, that one (0:
    /// none). The words would not tell what had come between.
    pub fn out_of_order(&self) -> Option<(&str, u64, u64)> {
        let versions = self.documents.iter().map(|(role, document)| {
            (role.as_str(), document.version(), self.before.get(role).map_or(0, Document::version))
        });
        versions.into_iter().find(|(_, version, before)| before.checked_add(1) != Some(*version))
    }

    /// The refusal of a proposal that something else has overtaken.
    pub(super) fn overtaken(&self, role: &str, version: u64, published: u64) -> Fault {
        let reason = format!(
            "{role} {version} was proposed, and {published} is published: something else came first; discard {} and propose it \
             again",
            self.cover.id
        );
        Fault::new("proposal-outdated", Blame::Region, reason)
    }

    /// Writes it under `home`, in place of one of the same name; signatures of that one are gone.
    pub fn write(&self) -> Result<(), Fault> {
        let part = self.directory.with_added_extension("part");
        let failed = |error: std::io::Error| files::disk("written", &part, &error);
        if part.exists() {
            fs::remove_dir_all(&part).map_err(failed)?;
        }
        for (role, document) in &self.documents {
            let path = part.join("documents").join(format!("{}.json", plain_name(role)));
            files::write(&path, &document.file(Vec::new())?, 0o644)?;
        }
        self.history.write(&part)?;
        for (sha256, bytes) in &self.enclosed {
            files::write(&part.join("payloads").join(sha256), bytes, 0o644)?;
        }
        files::write(&part.join("proposal.json"), &serde_json::to_vec_pretty(&self.cover).unwrap_or_default(), 0o644)?;
        let old = self.directory.with_added_extension("old.part");
        if self.directory.exists() {
            fs::rename(&self.directory, &old).map_err(failed)?;
        }
        fs::rename(&part, &self.directory).and_then(|()| files::sync_directory(&self.directory)).map_err(failed)?;
        if old.exists() { fs::remove_dir_all(&old).map_err(failed) } else { Ok(()) }
    }

    /// The bytes of a listed target, where they are enclosed.
    pub fn enclosed(&self, target: &Target) -> Option<&[u8]> {
        self.enclosed.get(&sha256_of(target)).map(Vec::as_slice)
    }

    /// What people compare before they sign: a digest over everything that is to be signed.
    pub fn fingerprint(&self) -> Result<String, Fault> {
        let mut all = Vec::new();
        for (role, document) in &self.documents {
            all.extend_from_slice(format!("{role}\n{}\n", hex(&files::sha256(&document.message()?))).as_bytes());
        }
        Ok(fingerprint(&hex(&files::sha256(&all))))
    }

    /// Whose key is whose, as published and as proposed. A key has one owner in both.
    pub fn people(&self) -> Result<Approvers, Fault> {
        let mut people = Approvers { format: 1, ..Approvers::default() };
        for documents in [&self.before, &self.documents] {
            let Some(Document::Targets(targets)) = documents.get(TARGETS) else { continue };
            let Ok(name) = TargetName::new(APPROVERS) else { continue };
            let Some(listed) = targets.targets.get(&name) else { continue };
            let bytes = self.enclosed(listed).ok_or_else(|| {
                let reason = format!("{APPROVERS} is not enclosed as it is listed: copy the whole proposal again");
                Fault::new("proposal-invalid", Blame::Region, reason)
            })?;
            for (person, keys) in Approvers::parse(bytes)?.persons {
                for key in keys {
                    if people.person(&key).is_some_and(|owner| owner != person) {
                        let reason = format!("the key {} would go from one person to another", fingerprint(&key));
                        return Err(Fault::new("key-of-two-persons", Blame::Region, reason));
                    }
                    let known = people.persons.entry(person.clone()).or_default();
                    if !known.contains(&key) {
                        known.push(key);
                    }
                }
            }
        }
        Ok(people)
    }

    /// Who has to sign a role. More than one seat where the root changes: TUF 5.3.4 wants a new root signed by the old and by
    /// the new one; `targets` is held to the same, so that it is valid for whoever has not seen the new root yet.
    pub fn seats(&self, role: &str) -> Result<Vec<Seat>, Fault> {
        let roots = [&self.before, &self.documents].map(|documents| match documents.get(ROOT) {
            Some(Document::Root(root)) => Some(root),
            _ => None,
        });
        let of_roots = |kind: RoleType| roots.iter().flatten().filter_map(|root| seat_of_root(root, kind)).collect();
        match role {
            ROOT => Ok(of_roots(RoleType::Root)),
            TARGETS => Ok(of_roots(RoleType::Targets)),
            _ => {
                let newest = self.documents.get(TARGETS).or_else(|| self.before.get(TARGETS));
                let Some(Document::Targets(targets)) = newest else { return Ok(Vec::new()) };
                let delegations = targets.delegations.iter();
                let mut of_role = delegations
                    .flat_map(|all| all.roles.iter().map(move |role| (role, all)))
                    .filter(|(it, _)| it.name == role);
                let seat = of_role.next().map(|(delegated, all)| Seat {
                    said_by: format!("targets {}", targets.version),
                    keys: keys_of(&delegated.keyids, |id| all.keys.get(id)),
                    threshold: delegated.threshold.get(),
                });
                Ok(seat.into_iter().collect())
            }
        }
    }

    /// The signature files that have come back.
    pub fn signature_files(&self) -> Result<Vec<(PathBuf, SignatureFile)>, Fault> {
        let paths = entries(&self.directory.join("signatures"))?;
        paths.into_iter().map(|path| SignatureFile::read(&path).map(|file| (path, file))).collect()
    }

    /// The valid signatures of a role, by key. A signature that does not hold, or comes from a key without a seat, is refused.
    pub fn signatures(&self, role: &str) -> Result<BTreeMap<String, Signature>, Fault> {
        let seats = self.seats(role)?;
        let document = self.documents.get(role).ok_or_else(|| {
            let reason = format!("the proposal {} brings no metadata of {role}", self.cover.id);
            Fault::new("signature-of-nothing", Blame::Region, reason)
        })?;
        let message = document.message()?;
        let mut valid = BTreeMap::new();
        for (path, file) in self.signature_files()? {
            let Some(signature) = file.signatures.get(role) else { continue };
            let id = hex(file.key.as_ref());
            let key = seats.iter().find_map(|seat| seat.keys.get(&id)).ok_or_else(|| {
                let reason = format!("{}: the key {} may not sign {role}", path.display(), fingerprint(&id));
                Fault::new("key-of-another-role", Blame::Region, reason)
            })?;
            if !holds(key, &message, signature.as_ref()) {
                let reason = format!(
                    "{}: the signature of {role} does not hold: the proposal or the signature was altered; compare the \
                     proposal's fingerprint with the one that was signed, and sign again",
                    path.display()
                );
                return Err(Fault::new("signature-invalid", Blame::Region, reason));
            }
            valid.insert(id, Signature { keyid: file.key.clone(), sig: signature.clone() });
        }
        Ok(valid)
    }

    /// How each role stands with each of its seats: persons are counted, not keys.
    pub fn standing(&self) -> Result<Vec<Standing>, Fault> {
        self.count(|role| self.signatures(role))
    }

    /// The same before anybody has signed: what lies there may be signatures of the proposal that this one replaces.
    pub fn unsigned(&self) -> Result<Vec<Standing>, Fault> {
        self.count(|_| Ok(BTreeMap::new()))
    }

    fn count(
        &self,
        signatures: impl Fn(&str) -> Result<BTreeMap<String, Signature>, Fault>,
    ) -> Result<Vec<Standing>, Fault> {
        let people = self.people()?;
        let mut all = Vec::new();
        for (role, document) in &self.documents {
            let signatures = signatures(role)?;
            let seats = self.seats(role)?;
            if seats.is_empty() {
                let reason = format!("nobody may sign {role}: delegate it first");
                return Err(Fault::new("role-not-delegated", Blame::Region, reason));
            }
            for seat in seats {
                let (mut signed, mut open) = (BTreeSet::new(), BTreeSet::new());
                for id in seat.keys.keys() {
                    let person = people.person(id).ok_or_else(|| {
                        let reason = format!("{APPROVERS} does not say whose key {} of {role} is", fingerprint(id));
                        Fault::new("key-of-nobody", Blame::Region, reason)
                    })?;
                    let side = if signatures.contains_key(id) { &mut signed } else { &mut open };
                    side.insert(person.to_owned());
                }
                let open = open.difference(&signed).cloned().collect();
                let signed = signed.into_iter().collect();
                let (role, version) = (role.clone(), document.version());
                all.push(Standing { role, version, said_by: seat.said_by, signed, open, threshold: seat.threshold });
            }
        }
        Ok(all)
    }
}

impl SignatureFile {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let file: Self = serde_json::from_slice(&files::read(path, MAX_SIGNATURE_FILE)?).map_err(|error| {
            let reason = format!("{} is no signature file of `sund-channel sign`: {error}", path.display());
            Fault::new("signature-file-invalid", Blame::Region, reason)
        })?;
        Ok(file)
    }

    /// Where it lies in a proposal.
    pub fn place(&self, directory: &Path) -> PathBuf {
        let id = hex(self.key.as_ref());
        directory.join("signatures").join(format!("{}.json", id.get(..32).unwrap_or(&id)))
    }
}

fn seat_of_root(root: &Root, kind: RoleType) -> Option<Seat> {
    let role = root.roles.get(&kind)?;
    let keys = keys_of(&role.keyids, |id| root.keys.get(id));
    Some(Seat { said_by: format!("root {}", root.version), keys, threshold: role.threshold.get() })
}

fn keys_of<'a>(ids: &[Decoded<Hex>], key: impl Fn(&Decoded<Hex>) -> Option<&'a Key>) -> BTreeMap<String, Key> {
    ids.iter().filter_map(|id| Some((hex(id.as_ref()), key(id)?.clone()))).collect()
}

/// A delegated role by its name.
pub fn delegated<'a>(documents: &'a BTreeMap<String, Document>, role: &str) -> Option<&'a DelegatedRole> {
    let Some(Document::Targets(targets)) = documents.get(TARGETS) else { return None };
    targets.delegations.as_ref()?.roles.iter().find(|delegated| delegated.name == role)
}

/// The files of a directory, in the order of their names; none where it is not there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Fault> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| files::disk("read", directory, &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            continue;
        }
        paths.push(path);
        if paths.len() > MAX_ENTRIES {
            let reason = format!("{} has more than {MAX_ENTRIES} files", directory.display());
            return Err(Fault::new("proposal-invalid", Blame::Region, reason));
        }
    }
    paths.sort();
    Ok(paths)
}
