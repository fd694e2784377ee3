//! What this box verified before and has kept, for the time in which the region can't be asked. It brings to its end what has changed
//! the box already; nothing is begun by it. Each file is hashed again: a disk forgets.
use super::{Verified, download};
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::MAX_STATE;
use crate::state::{DesiredState, Pin};
use aws_lc_rs::digest::{SHA256, digest};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The desired state that a descriptor names, from the document that was kept when the region listed it.
pub fn state(descriptor: &Descriptor, kept: &Path) -> Result<Verified<DesiredState>, Fault> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(kept).and_then(|file| file.take(MAX_STATE).read_to_end(&mut bytes));
    if read.is_err() || hex(digest(&SHA256, &bytes).as_ref()) != descriptor.sha256 {
        return Err(not_kept(&descriptor.target, kept));
    }
    DesiredState::parse(&descriptor.target, &bytes).map(Verified)
}

/// A payload that was fetched when the region listed it.
pub async fn file(pin: &Pin, kept: &Path) -> Result<Verified<PathBuf>, Fault> {
    if download::holds(kept, pin).await? { Ok(Verified(kept.to_owned())) } else { Err(not_kept(&pin.target, kept)) }
}

fn not_kept(target: &str, kept: &Path) -> Fault {
    let reason = format!(
        "{target} is not at {} as it was verified, and the region can't be asked now: it is fetched again once the channel is back",
        kept.display()
    );
    Fault::new("target-not-kept", Blame::Box, reason)
}
