//! Whether metadata is signed by whom it must be signed: the count is `tough`'s, the words for what is wrong are ours.
use crate::fault::{Blame, Fault};
use serde::Serialize;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{self, Delegations, Role, Root, Signature, Signed, Targets};

/// Refuses a top-level role's metadata that too few of the keys signed that `root` names for it.
pub(super) fn by_root<T: Role + Serialize>(root: &Root, metadata: &Signed<T>, role: &str) -> Result<(), Fault> {
    let keys = root.roles.get(&T::TYPE).map(|keys| keys.keyids.as_slice()).unwrap_or_default();
    root.verify_role(metadata).map_err(|error| refused(&error, role, &metadata.signatures, keys))
}

/// Refuses a delegated role's metadata that too few of the keys signed that `delegation` names for it.
pub(super) fn by_delegation(delegation: &Delegations, metadata: &Signed<Targets>, role: &str) -> Result<(), Fault> {
    let delegated = delegation.roles.iter().find(|delegated| delegated.name == role);
    let keys = delegated.map(|delegated| delegated.keyids.as_slice()).unwrap_or_default();
    delegation.verify_role(metadata, role).map_err(|error| refused(&error, role, &metadata.signatures, keys))
}

fn refused(error: &schema::Error, role: &str, signatures: &[Signature], keys: &[Decoded<Hex>]) -> Fault {
    // A forger signs in the name of a key of the role; who has none of its names does not even try.
    let in_its_name = signatures.iter().filter(|signature| keys.contains(&signature.keyid)).count() as u64;
    match error {
        schema::Error::SignatureThreshold { threshold, .. } if in_its_name == 0 => {
            let reason = format!("the metadata of `{role}` carries no signature of its keys; {threshold} are needed");
            Fault::new("signature-missing", Blame::Channel, reason)
        }
        schema::Error::SignatureThreshold { valid, .. } if *valid < in_its_name => {
            let reason = format!(
                "the metadata of `{role}` carries {in_its_name} signatures in the name of its keys, and {} of them are \
                 not theirs",
                in_its_name - valid
            );
            Fault::new("signature-forged", Blame::Channel, reason)
        }
        schema::Error::SignatureThreshold { threshold, valid, .. } => {
            let reason = format!("the metadata of `{role}` is signed by {valid} of the {threshold} that must sign it");
            Fault::new("signatures-too-few", Blame::Channel, reason)
        }
        schema::Error::DuplicateKeyId { keyid } => {
            let reason = format!("the metadata of `{role}` carries two signatures of one key ({keyid})");
            Fault::new("signature-twice", Blame::Channel, reason)
        }
        other => Fault::new("metadata-malformed", Blame::Channel, format!("the metadata of `{role}`: {other}")),
    }
}
