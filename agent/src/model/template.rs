//! `sund model new`: a package folder to begin from, whose manifest explains every key of the format.
use super::is_name;
use crate::fault::{Blame, Fault};
use std::path::Path;

/// What a model is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A series as one volume; it gives segments.
    #[default]
    Volume,
    /// Single images; it gives boxes.
    #[value(alias = "images")]
    Image,
}

const COMMON: &str = include_str!("template/common.toml");
const VOLUME: &str = include_str!("template/volume.toml");
const IMAGES: &str = include_str!("template/images.toml");
const MORE_VOLUME: &str = include_str!("template/steps-volume.toml");
const SEGMENTS: &str = include_str!("template/results-volume.toml");
const BOXES: &str = include_str!("template/results-images.toml");
const GOLDEN: &str = include_str!("template/golden.toml");
const README: &str = include_str!("template/README.md");
const GOLDEN_README: &str = include_str!("template/golden.md");

/// The manifest of a new package. What the other kind would have is there too, behind a `#`.
pub fn manifest(name: &str, kind: Kind) -> String {
    let off = |text: &str| -> String {
        text.lines()
            .map(
                |line| {
                    if line.is_empty() || line.starts_with('#') { format!("{line}\n") } else { format!("#{line}\n") }
                },
            )
            .collect()
    };
    let (taken, left) = ("", "#");
    let (input, modality, steps, volume, image) = match kind {
        Kind::Volume => ("volume", "CT", [VOLUME.to_owned(), MORE_VOLUME.to_owned(), off(IMAGES)], taken, left),
        Kind::Image => ("images", "US", [IMAGES.to_owned(), off(VOLUME), MORE_VOLUME.to_owned()], left, taken),
    };
    let (takes, gives) = match kind {
        Kind::Volume => ("[1, 1, 128, 128, 128]", "[1, 2, 128, 128, 128]"),
        Kind::Image => ("[1, 3, \"rows\", \"columns\"]", "[1, 1, \"rows\", \"columns\"]"),
    };
    let golden = GOLDEN.replace("@V ", volume).replace("@I ", image);
    [
        COMMON,
        &steps.concat(),
        &SEGMENTS.replace("\n@", &format!("\n{volume}")),
        &BOXES.replace("\n@", &format!("\n{image}")),
        &golden,
    ]
    .concat()
    .replace("@NAME@", name)
    .replace("@TAKES@", takes)
    .replace("@GIVES@", gives)
    .replace("@INPUT@", input)
    .replace("@MODALITY@", modality)
}

/// Makes the folder of a new package; refused where there is something of that name.
pub fn write(folder: &Path, name: &str, kind: Kind) -> Result<(), Fault> {
    if !is_name(name) {
        let reason = format!("`{name}` cannot be a package's name: 1 to 64 lower-case letters, digits and hyphens");
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
    for (file, text) in [
        ("model.toml", manifest(name, kind)),
        ("README.md", README.replace("@NAME@", name)),
        ("golden/README.md", GOLDEN_README.to_owned()),
    ] {
        std::fs::write(folder.join(file), text).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::keys::KEYS;
    use std::collections::{BTreeMap, BTreeSet};
    use toml::{Table, Value};

    const BOTH: [Kind; 2] = [Kind::Volume, Kind::Image];

    type Sections = BTreeMap<String, BTreeSet<String>>;

    fn collect(section: &str, table: &Table, sections: &mut Sections) {
        let section = match table.get("do").and_then(Value::as_str) {
            Some(step) if section == "steps" => format!("steps.{step}"),
            _ => section.to_owned(),
        };
        sections.entry(section.clone()).or_default().extend(table.keys().cloned());
        for (key, value) in table {
            let below = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            match value {
                Value::Table(table) => collect(&below, table, sections),
                Value::Array(list) => {
                    list.iter().filter_map(Value::as_table).for_each(|table| collect(&below, table, sections));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_template_of_each_kind_has_every_key_of_the_format_and_no_other() {
        let format: Sections =
            KEYS.iter().map(|keys| (keys.section.to_owned(), keys.all().map(str::to_owned).collect())).collect();
        for kind in BOTH {
            let all: String = manifest("m", kind)
                .lines()
                .map(|line| match line.strip_prefix('#') {
                    Some(taken_in) if !taken_in.starts_with(' ') => format!("{taken_in}\n"),
                    _ => format!("{line}\n"),
                })
                .collect();
            let mut sections = Sections::new();
            collect("", &all.parse().unwrap(), &mut sections);
            assert_eq!(sections, format, "{kind:?}");
        }
    }

    #[test]
    fn a_new_package_lacks_nothing_but_its_network_and_its_case() {
        for kind in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().join("m");
            write(&folder, "m", kind).unwrap();
            let defects = crate::model::Package::inspect(&folder).unwrap_err();
            let keys: Vec<&str> = defects.problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(keys, ["networks.file", "golden.folder"], "{:#?}", defects.problems);
        }
    }
}
