//! `sund model verify`: is a packed package whole, and who has signed it?
use super::super::print;
use super::bars::reading;
use super::{bytes, megabytes, packed_at};
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::model::signed::Verifier;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(super) fn verify(file: &Path, keys: &[PathBuf]) -> Result<Exit, Fault> {
    let keys = keys.iter().map(|path| Ok((path, Verifier::read(path)?))).collect::<Result<Vec<_>, Fault>>()?;
    let (package, archive) = packed_at(file)?;
    let length = bytes(file)?;
    let progress = reading(length);
    let whole = archive.verify_others(&package.compared(), &mut |bytes| progress.inc(bytes));
    progress.finish_and_clear();
    whole?;
    let manifest = &package.manifest;
    let files = counted(package.list.members().count(), "file", "files");
    let mut text = format!(
        "{} {} ({})\n{}\n{files}, {}: each is what the list says\n",
        manifest.name,
        manifest.version,
        manifest.vendor,
        package.digest,
        megabytes(length),
    );
    let envelope = package.envelope()?;
    let signatures = envelope.as_ref().map_or(&[][..], |envelope| envelope.signatures());
    if signatures.is_empty() {
        text.push_str("not signed\n");
    }
    let mut missing = None;
    for (path, key) in &keys {
        if envelope.as_ref().is_some_and(|envelope| envelope.is_signed_by(key)) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "signed by {} ({})", key.id(), path.display());
        } else {
            missing = missing.or(Some(path));
        }
    }
    for signature in signatures.iter().filter(|signature| !keys.iter().any(|(_, key)| key.id() == signature.keyid)) {
        let _ = writeln!(text, "not checked: a signature of {}; name its key with --key", signature.keyid);
    }
    let printed = print(&text);
    match missing {
        None => Ok(printed),
        Some(path) => {
            let reason = format!("{} has not signed this package", path.display());
            Err(Fault::new("signature-missing", Blame::Package, reason))
        }
    }
}
