//! Who is the channel to the boxes: proposed here, signed by the root's persons, and believed by each box from its next poll on.
use super::document::Document;
use super::draft::Draft;
use super::home::Home;
use super::proposal::Proposal;
use super::published::Published;
use super::roles::TARGETS;
use super::store;
use sund_ota::documents::{AUTHORITIES, Authorities, digest};
use sund_ota::fault::{Blame, Fault};

/// What the region has signed of the channel's authorities; nothing where it has signed none yet.
pub fn signed_authorities(home: &Home) -> Result<Option<Vec<u8>>, Fault> {
    let published = Published::read(home)?;
    published.map_or(Ok(None), |published| store::read_listed(home, &published, AUTHORITIES))
}

/// What would be signed with a proposal, or is; the first one, PEM, stands for a region that has signed none.
pub fn drafted_authorities(draft: &Draft, first: &str) -> Result<Authorities, Fault> {
    let document = draft.read(AUTHORITIES)?.map(|bytes| Authorities::parse(&bytes)).transpose()?;
    Ok(document.unwrap_or_else(|| Authorities { format: 1, authorities: vec![first.to_owned()], dropped: Vec::new() }))
}

/// What a proposal would have the region sign of them; nothing where it says nothing of them.
pub fn proposed_authorities(proposal: &Proposal) -> Result<Option<Authorities>, Fault> {
    let Some(Document::Targets(targets)) = proposal.documents.get(TARGETS) else { return Ok(None) };
    let Some((_, listed)) = targets.targets.iter().find(|(name, _)| name.raw() == AUTHORITIES) else { return Ok(None) };
    let bytes = proposal.enclosed(listed).ok_or_else(|| {
        let reason = format!("{AUTHORITIES} is not enclosed as it is listed: propose it again");
        Fault::new("proposal-invalid", Blame::Region, reason)
    })?;
    Authorities::parse(bytes).map(Some)
}

/// Proposes one more authority, which issues from then on.
pub fn add_authority(mut draft: Draft, mut known: Authorities, name: &str, pem: &str) -> Result<Proposal, Fault> {
    known.authorities.push(pem.to_owned());
    list(&mut draft, &known)?;
    draft.finish(&format!("{name} is an authority of the channel"))
}

/// Proposes that an authority counts no more.
pub fn drop_authority(mut draft: Draft, mut known: Authorities, name: &str, sha256: &str) -> Result<Proposal, Fault> {
    let certificates = known.certificates().unwrap_or_default();
    let mut all = certificates.iter().map(digest);
    known.authorities.retain(|_| all.next().is_some_and(|digest| digest != sha256));
    known.dropped.push(sha256.to_owned());
    list(&mut draft, &known)?;
    draft.finish(&format!("{name} is an authority of the channel no more"))
}

fn list(draft: &mut Draft, document: &Authorities) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    Authorities::parse(&bytes)?;
    draft.list_document(AUTHORITIES, document).map(drop)
}
