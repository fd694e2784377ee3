//! Collects the signatures of a proposal, and publishes it when enough persons have signed each of its roles.
use super::commit::commit;
use super::files;
use super::home::Home;
use super::proposal::{Proposal, SignatureFile, Standing};
use serde::Serialize;
use std::path::PathBuf;
use sund_ota::fault::{Blame, Fault};

/// How a proposal stands after its signatures were counted.
#[derive(Clone, Debug, Serialize)]
pub struct Approval {
    /// The proposal.
    pub proposal: String,
    /// Each role and each of its seats.
    pub standing: Vec<Standing>,
    /// Whether it is published now.
    pub is_published: bool,
}

/// Takes in signature files and publishes what is complete, and what `last` lets pass at that moment. Done again after a power cut, it ends
/// what was begun.
pub fn approve(
    home: &Home,
    id: &str,
    signatures: &[PathBuf],
    last: impl FnOnce(&Proposal) -> Result<(), Fault>,
) -> Result<Approval, Fault> {
    let _lock = home.lock()?;
    let mut proposal = Proposal::open(home, id)?;
    for path in signatures {
        let file = SignatureFile::read(path)?;
        if file.proposal != id {
            let reason = format!("{} is a signature of {}, not of {id}", path.display(), file.proposal);
            return Err(Fault::new("signature-of-another-proposal", Blame::Region, reason));
        }
        take_in(&mut proposal, &file)?;
    }
    let standing = proposal.standing()?;
    let is_published = standing.iter().all(Standing::holds);
    if is_published {
        last(&proposal)?;
        commit(home, &proposal)?;
    }
    Ok(Approval { proposal: id.to_owned(), standing, is_published })
}

/// Keeps a signature file whose signatures hold, and no other.
fn take_in(proposal: &mut Proposal, file: &SignatureFile) -> Result<(), Fault> {
    let path = file.place(&proposal.directory);
    let kept = files::read_if_there(&path, super::limits::MAX_SIGNATURE_FILE)?;
    files::write(&path, &serde_json::to_vec_pretty(file).unwrap_or_default(), 0o644)?;
    let checked: Result<(), Fault> = file.signatures.keys().try_for_each(|role| proposal.signatures(role).map(|_| ()));
    if checked.is_err() {
        let undone = match kept {
            Some(bytes) => files::write(&path, &bytes, 0o644),
            None => std::fs::remove_file(&path).map_err(|error| files::disk("removed", &path, &error)),
        };
        undone?;
    }
    checked
}
