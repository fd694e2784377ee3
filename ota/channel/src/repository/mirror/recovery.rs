//! The recovery bundle's descriptor. It is copied as it is: `sund-rescue` proves it by itself.
use super::origin::Origin;
use crate::repository::files;
use crate::repository::rescue::{MAX_DESCRIPTOR, PLACE, payload_of};
use crate::repository::store;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use sund_ota::fault::Fault;
use tough::schema::Target;

/// Copies `rescue.json`, or its absence; says whether the origin has one. Until the bundle that it names has come, a box is rescued with the
/// one before, as long as that is listed.
pub(super) async fn copy(
    origin: &Origin<'_>,
    directory: &Path,
    listed: &BTreeMap<String, Target>,
) -> Result<bool, Fault> {
    let targets = directory.join("targets");
    let path = targets.join(PLACE);
    let named = |descriptor: &[u8]| {
        let place = payload_of(descriptor)?.bundle.path;
        listed.iter().find(|(target, listed)| store::place(target, &store::sha256_of(listed)) == place)
    };
    let offered = origin.maybe(&format!("targets/{PLACE}"), MAX_DESCRIPTOR).await?;
    let bundle = offered.as_deref().and_then(named);
    match &offered {
        Some(bytes) if bundle.is_some_and(|(target, listed)| store::is_there(&targets, target, listed)) => {
            files::write(&path, bytes, 0o644)?;
        }
        _ => {
            let shown = files::read_if_there(&path, MAX_DESCRIPTOR)?;
            let is_over = |shown: Vec<u8>| offered.is_none() || named(&shown).is_none();
            if shown.is_some_and(is_over) {
                fs::remove_file(&path).map_err(|error| files::disk("removed", &path, &error))?;
            }
        }
    }
    Ok(offered.is_some())
}
