//! `sund model new`: a package folder to begin from.
use crate::fault::{Blame, Fault};
use std::path::Path;

/// What a model is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A series as one volume; it gives segments.
    #[default]
    Volume,
    /// Single images; it gives boxes.
    Images,
}

const COMMON: &str = include_str!("template/common.toml");
const VOLUME: &str = include_str!("template/volume.toml");
const IMAGES: &str = include_str!("template/images.toml");
const README: &str = include_str!("template/README.md");

/// The manifest of a new package.
pub fn manifest(name: &str, kind: Kind) -> String {
    let (input, rest) = match kind {
        Kind::Volume => ("volume", VOLUME),
        Kind::Images => ("images", IMAGES),
    };
    format!("{COMMON}\n{rest}").replace("@NAME@", name).replace("@INPUT@", input)
}

/// Makes the folder of a new package; refused where there is something of that name.
pub fn write(folder: &Path, name: &str, kind: Kind) -> Result<(), Fault> {
    let is_name = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name {
        let reason = format!("`{name}` is not of lower-case letters, digits and hyphens, at most 64");
        return Err(Fault::new("package-name", Blame::Configuration, reason));
    }
    let failed = |error: std::io::Error| {
        Fault::new("folder-unwritable", Blame::Box, format!("{} cannot be made: {error}", folder.display()))
    };
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    // Refused where it exists: a vendor's work is not overwritten.
    std::fs::create_dir(folder).map_err(failed)?;
    std::fs::create_dir_all(folder.join("golden/first")).map_err(failed)?;
    std::fs::write(folder.join("model.toml"), manifest(name, kind)).map_err(failed)?;
    std::fs::write(folder.join("README.md"), README.replace("@NAME@", name)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::Manifest;

    #[test]
    fn the_template_of_each_kind_is_a_manifest() {
        for kind in [Kind::Volume, Kind::Images] {
            let manifest: Manifest = toml::from_str(&manifest("my-model", kind)).unwrap();
            assert_eq!((manifest.name.as_str(), manifest.format), ("my-model", 1));
            assert_eq!(crate::model::package_problems(&manifest), Vec::<String>::new());
        }
    }
}
