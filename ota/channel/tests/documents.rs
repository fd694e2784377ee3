//! The documents say what the program does.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_refusal_of_publishing_stands_in_the_readme_and_no_other() {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = BTreeSet::new();
    let repository = sources(&crate_directory.join("src/repository"));
    let commands = ["keys", "proposals", "publish", "rescue", "root", "standing", "switches"];
    let commands = commands.map(|name| crate_directory.join("src/cli").join(name).with_extension("rs"));
    for path in repository.into_iter().chain(commands) {
        let source = fs::read_to_string(path).unwrap();
        for made in source.split("Fault::new(").skip(1) {
            let name = made.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            code.extend(name.map(str::to_owned));
        }
    }
    // Defects of ours, which nobody can do anything about.
    for ours in ["metadata-unwritable", "usage"] {
        code.remove(ours);
    }
    let readme = fs::read_to_string(crate_directory.join("../README.md")).unwrap();
    let section = readme.split("\n### What is refused\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let first_cells = section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let told: BTreeSet<String> =
        first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect();
    let missing: Vec<_> = code.difference(&told).collect();
    let surplus: Vec<_> = told.difference(&code).filter(|name| *name != "document-invalid").collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not in the README: {missing:?}; not in the code: {surplus:?}");
}

/// Every file in a folder and in those below.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}
