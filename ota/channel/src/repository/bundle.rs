//! One file for a box without a network: the published metadata, one desired state and all that it names. How long it may be
//! used is said by terms of its own, a target of the role `state`: no timestamp reaches such a box.
use super::document::in_days;
use super::draft::Draft;
use super::files;
use super::home::Home;
use super::proposal::Proposal;
use super::published::{Published, role_file};
use super::release::pin_of;
use super::roles::{ROOT, SNAPSHOT, STATE, TIMESTAMP, file_names};
use super::store;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;
use sund_ota::bundle::{FILE_NAME, Terms, Writer};
use sund_ota::descriptor::Descriptor;
use sund_ota::documents::{APPROVERS, STOP, SUSPENSIONS, VENDORS};
use sund_ota::fault::{Blame, Fault};
use sund_ota::state::{DesiredState, Pin};

/// Where the terms of bundles lie among the targets.
pub const TERMS: &str = "state/bundles/";

/// What `bundle` came to.
#[derive(Debug)]
pub enum Outcome {
    /// The file is written.
    Written {
        /// Files in it.
        files: usize,
        /// Until when it may be used.
        expires: Timestamp,
    },
    /// The terms have to be signed first.
    Proposed(Box<Proposal>),
}

/// Writes a bundle of a state, where signed terms for it hold; proposes such terms otherwise.
pub fn bundle(home: &Home, file: &Path, state: &str, lifetime_days: i64) -> Result<Outcome, Fault> {
    let published = Published::must(home)?;
    let target = format!("{STATE}/{state}.json");
    let (_, listed) = published.find(&target).ok_or_else(|| {
        let reason = format!("{target} is not published: `sund-channel status` lists the states that are");
        Fault::new("target-not-listed", Blame::Configuration, reason)
    })?;
    let state_pin = pin_of(&target, listed);
    let terms_target = format!("{TERMS}{state}.json");
    let terms = store::read_listed(home, &published, &terms_target)?
        .map(|bytes| Terms::parse(&terms_target, &bytes))
        .transpose()?;
    match terms.filter(|terms| terms.state == state_pin && terms.expires > Timestamp::now()) {
        Some(terms) => {
            let files = write(home, &published, file, &terms_target, &state_pin)?;
            Ok(Outcome::Written { files, expires: terms.expires })
        }
        None => {
            let mut draft = Draft::begin(home, None)?;
            let expires = in_days(lifetime_days)?;
            draft.list_document(&terms_target, &Terms { format: 1, state: state_pin, expires })?;
            let proposal = draft.finish(&format!("a bundle of {state} for {lifetime_days} days"))?;
            Ok(Outcome::Proposed(Box::new(proposal)))
        }
    }
}

/// Writes `bundle.json`, the metadata from the first root on, and the targets that the state needs.
fn write(home: &Home, published: &Published, file: &Path, terms: &str, state: &Pin) -> Result<usize, Fault> {
    let part = file.with_added_extension("part");
    let failed = |error: io::Error| files::disk("written", &part, &error);
    let mut tar = Writer::new(BufWriter::new(File::create(&part).map_err(failed)?));
    let mut count = 0;
    let mut add = |name: &str, bytes: &[u8]| {
        count += 1;
        tar.add(name, bytes.len() as u64, bytes).map_err(failed)
    };
    let pin = published.find(terms).map(|(_, listed)| pin_of(terms, listed));
    let Pin { target, sha256, length } = pin.unwrap_or_else(|| state.clone());
    let pointer = Descriptor { format: 1, target, sha256, length };
    add(FILE_NAME, &serde_json::to_vec_pretty(&pointer).unwrap_or_default())?;
    let mut metadata: Vec<(&str, u64)> =
        (1..=published.root.signed.version.get()).map(|version| (ROOT, version)).collect();
    metadata.push((TIMESTAMP, published.timestamp.signed.version.get()));
    metadata.push((SNAPSHOT, published.snapshot.signed.version.get()));
    metadata.extend(published.roles.iter().map(|(role, signed)| (role.as_str(), signed.signed.version.get())));
    for (role, version) in metadata {
        let names = file_names(role, version);
        let name = names.last().map(String::as_str).unwrap_or_default();
        add(&format!("metadata/{name}"), &role_file(home, role, version)?)?;
    }
    let bytes = store::read_listed(home, published, &state.target)?.unwrap_or_default();
    let desired = DesiredState::parse(&state.target, &bytes)?;
    let mut wanted: BTreeSet<&str> = [APPROVERS, VENDORS, STOP, SUSPENSIONS, terms, &state.target].into();
    wanted.extend(desired.pins().map(|pin| pin.target.as_str()));
    for target in wanted {
        let Some((_, listed)) = published.find(target) else { continue };
        let path = store::path(home, target, listed);
        let source = File::open(&path).map_err(|error| files::disk("read", &path, &error))?;
        let name = format!("targets/{}", store::place(target, &store::sha256_of(listed)));
        tar.add(&name, listed.length, source).map_err(failed)?;
        count += 1;
    }
    let written = tar.finish().and_then(|buffered| buffered.into_inner().map_err(io::IntoInnerError::into_error));
    written.and_then(|written| written.sync_all()).map_err(failed)?;
    fs::rename(&part, file).and_then(|()| files::sync_directory(file)).map_err(failed)?;
    Ok(count)
}
