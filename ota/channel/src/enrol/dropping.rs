//! A proposal that drops authorities of the channel is counted again right before it is published: who enrolled by one of them meanwhile, or came
//! back with an old certificate, would be cut off unseen.
use super::authorities::Set;
use super::standing::{Lost, lost};
use crate::database::{self, now};
use crate::repository::{Proposal, proposed_authorities};
use std::path::Path;
use sund_ota::fault::{Blame, Fault};

/// Whom it cuts off to drop these authorities, where the server is known by the one of `digest` then. Nobody has enrolled where no server has run.
pub fn cut_off(home: &Path, names: &[&str], digest: &str) -> Result<Lost, Fault> {
    database::read(home, |c| lost(c, names, digest, now())).map(Option::unwrap_or_default)
}

/// Refuses a proposal that cuts off more boxes than a person has accepted. Whom it cuts off; nothing where it drops no authority.
pub fn check(home: &Path, proposal: &Proposal, accepted: u64) -> Result<Option<Lost>, Fault> {
    let Some(proposed) = proposed_authorities(proposal)? else { return Ok(None) };
    let (before, after) = (Set::of(home)?, Set::listed(home, &proposed)?);
    let going = before.all().iter().filter(|it| !after.has(it.digest()));
    let names: Vec<&str> = going.map(|it| it.name()).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let lost = cut_off(home, &names, after.oldest().digest())?;
    if lost.boxes.unsigned_abs() <= accepted {
        return Ok(Some(lost));
    }
    let (id, names) = (&proposal.cover.id, names.join(", "));
    let reason = format!(
        "{id} is not published: to drop {names} would cut off {}. Wait until they were heard, shut out what is gone (`enrol block`), or have \
         them cut off (`approve {id} --cut-off {}`)",
        lost.told(),
        lost.boxes
    );
    Err(Fault::new("authority-in-use", Blame::Box, reason))
}
