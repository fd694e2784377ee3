//! `sund model pack`: a package folder as one file.
use super::super::print;
use super::{bytes, defective, megabytes};
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::limits::model::MAX_DOCUMENT;
use crate::model::{Package, packed};
use std::path::{Path, PathBuf};

pub(super) fn pack(folder: &Path, to: Option<PathBuf>) -> Result<Exit, Fault> {
    let package = match Package::inspect(folder) {
        Ok(package) => package,
        Err(defects) => return Ok(defective(folder, &defects)),
    };
    let manifest = &package.manifest;
    let Some(documents) = &manifest.documents else {
        let reason = "the manifest names no documents: a package travels with its model card, the text of its licence and its \
                      bill of materials; add [documents] with card, licence and sbom";
        return Err(invalid(reason.to_owned()));
    };
    bill_names_networks(&package, &documents.sbom)?;
    let to = to.unwrap_or_else(|| PathBuf::from(format!("{}-{}.sund", manifest.name, manifest.version)));
    if to.exists() {
        let reason =
            format!("{} is there already; remove it, raise the version, or name another file with --to", to.display());
        return Err(Fault::new("package-exists", Blame::Configuration, reason));
    }
    packed::pack(&to, &package.list, &|name| package.contents.open_member(name))?;
    let length = bytes(&to)?;
    let files = counted(package.list.members().count(), "file", "files");
    let at = to.display();
    Ok(print(&format!(
        "packed {} {}: {files}, {}\n{}\n\nit lies in {at}; next: sund model sign {at} --key KEY\n",
        manifest.name,
        manifest.version,
        megabytes(length),
        package.digest,
    )))
}

/// A bill of materials of whatever standard names what is in the package by its SHA-256.
fn bill_names_networks(package: &Package, sbom: &str) -> Result<(), Fault> {
    let bill = package.contents.read(sbom, MAX_DOCUMENT).map_err(invalid)?;
    let bill = String::from_utf8_lossy(&bill).to_lowercase();
    match package.manifest.networks.iter().find(|network| !bill.contains(&network.sha256)) {
        None => Ok(()),
        Some(network) => {
            Err(invalid(format!("{sbom} does not name the SHA-256 of {}: {}", network.file, network.sha256)))
        }
    }
}

fn invalid(reason: String) -> Fault {
    Fault::new("package-invalid", Blame::Package, reason)
}
