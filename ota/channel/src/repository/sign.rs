//! Signing a proposal on an approver's own machine, and signatures that were made elsewhere.
use super::files;
use super::keys::{PublicKey, Signer, fingerprint, holds, key_id};
use super::proposal::{Proposal, SignatureFile};
use super::roles::plain_name;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::schema::key::Key;

/// Signs each role of a proposal in which the key has a seat.
pub fn signature_file(proposal: &Proposal, signer: &dyn Signer) -> Result<SignatureFile, Fault> {
    let key = signer.key();
    let mut signatures = BTreeMap::new();
    for role in roles_of(proposal, &key)? {
        signatures.insert(role.clone(), signer.sign(&proposal.documents[&role].message()?)?.into());
    }
    Ok(SignatureFile { format: 1, proposal: proposal.cover.id.clone(), key: key_id(&key)?, signatures })
}

/// Writes the messages that a key elsewhere is to sign, `ROLE.message` in a directory.
pub fn messages(proposal: &Proposal, key: &PublicKey, directory: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut written = Vec::new();
    for role in roles_of(proposal, &key.key)? {
        let path = directory.join(format!("{}.message", plain_name(&role)));
        files::write(&path, &proposal.documents[&role].message()?, 0o644)?;
        written.push(path);
    }
    Ok(written)
}

/// Takes the signatures that a key elsewhere has made of those messages, `ROLE.sig`.
pub fn enclose(proposal: &Proposal, key: &PublicKey, directory: &Path) -> Result<SignatureFile, Fault> {
    let mut signatures = BTreeMap::new();
    for role in roles_of(proposal, &key.key)? {
        let path = directory.join(format!("{}.sig", plain_name(&role)));
        let signature = files::read(&path, super::limits::MAX_SIGNATURE_FILE)?;
        if !holds(&key.key, &proposal.documents[&role].message()?, &signature) {
            let reason = format!(
                "{} is no signature of {role} by this key: sign the file {}.message itself, not its digest",
                path.display(),
                plain_name(&role)
            );
            return Err(Fault::new("signature-invalid", Blame::Region, reason));
        }
        signatures.insert(role, signature.into());
    }
    Ok(SignatureFile { format: 1, proposal: proposal.cover.id.clone(), key: key_id(&key.key)?, signatures })
}

/// The roles of a proposal in which a key has a seat; at least one.
fn roles_of(proposal: &Proposal, key: &Key) -> Result<Vec<String>, Fault> {
    let id = hex(key_id(key)?.as_ref());
    let mut roles = Vec::new();
    for role in proposal.documents.keys() {
        if proposal.seats(role)?.iter().any(|seat| seat.keys.contains_key(&id)) {
            roles.push(role.clone());
        }
    }
    if roles.is_empty() {
        let reason = format!(
            "the key {} may sign nothing in {}: take the key of a person who may",
            fingerprint(&id),
            proposal.cover.id
        );
        return Err(Fault::new("key-of-another-role", Blame::Region, reason));
    }
    Ok(roles)
}
