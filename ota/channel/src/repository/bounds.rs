//! Whether a proposal can be read where it is signed, and by the boxes where it is published. Looked at before it is written: nobody signs
//! in vain, and what waits can be opened.
use super::commit::limit;
use super::document::Document;
use super::limits::{MAX_ENTRIES, MAX_PERSONS, MAX_SIGNATURE};
use super::proposal::Proposal;
use super::roles::TARGETS;
use sund_ota::documents::APPROVERS;
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::metadata;

/// Holds a proposal to the bounds of those who will read it.
pub fn check(proposal: &Proposal) -> Result<(), Fault> {
    let counted = [
        (proposal.documents.len().max(proposal.before.len()), "roles"),
        (proposal.enclosed.len(), "documents to be read before it is signed"),
    ];
    if let Some((count, what)) = counted.into_iter().find(|(count, _)| *count > MAX_ENTRIES) {
        let reason = format!(
            "the proposal would have {count} {what}, and one has at most {MAX_ENTRIES}: publish some of it first, the rest afterwards"
        );
        return Err(Fault::new("proposal-too-large", Blame::Configuration, reason));
    }
    for (role, document) in &proposal.documents {
        let max = match document {
            Document::Root(_) => metadata::MAX_ROOT,
            Document::Targets(_) => metadata::MAX_TARGETS,
        };
        limit(role, document.file(Vec::new())?.len() + MAX_PERSONS * MAX_SIGNATURE, max)?;
    }
    let Some(Document::Targets(targets)) = proposal.documents.get(TARGETS) else { return Ok(()) };
    let approvers = targets.targets.iter().find(|(name, _)| name.raw() == APPROVERS);
    if let Some((_, listed)) = approvers {
        limit(APPROVERS, usize::try_from(listed.length).unwrap_or(usize::MAX), metadata::MAX_APPROVERS)?;
    }
    let roles = targets.delegations.as_ref().map_or(0, |all| all.roles.len());
    if roles > metadata::MAX_DELEGATIONS {
        let reason = format!("there would be {roles} roles below targets and boxes take {}", metadata::MAX_DELEGATIONS);
        return Err(Fault::new("metadata-too-large", Blame::Region, reason));
    }
    Ok(())
}
