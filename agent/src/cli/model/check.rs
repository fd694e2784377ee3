//! `sund model check`: what is wrong with a package, line by line, and whether its golden cases hold.
use super::super::print;
use super::{defective, test};
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::model::Package;
use std::path::Path;

pub(super) fn check(folder: &Path) -> Result<Exit, Fault> {
    let package = match Package::inspect(folder) {
        Ok(package) => package,
        Err(defects) => return Ok(defective(folder, &defects)),
    };
    let manifest = &package.manifest;
    print(&format!(
        "{} {} ({})\n{}\n{}, {}, {}\n\n",
        manifest.name,
        manifest.version,
        manifest.vendor,
        package.digest,
        counted(manifest.networks.len(), "network", "networks"),
        counted(manifest.steps.len(), "step", "steps"),
        counted(manifest.golden.len(), "golden case", "golden cases"),
    ));
    let trials = test::run(&package)?;
    for case in manifest.golden.iter().filter(|case| case.volume_ml.is_some() && case.mask.is_none()) {
        print(&format!("{}: a volume does not tell where it is; add mask and least_dice\n", case.name));
    }
    Ok(test::report(&trials, "the package holds\n"))
}
