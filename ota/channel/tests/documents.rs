//! The documents say what the program does.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Who reads it aloud at the table types what stands there, and nothing else.
#[test]
fn the_ceremony_of_the_first_root_runs_as_it_is_written() {
    let ceremony = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../CEREMONY.md")).unwrap();
    let section = ceremony.split("\n## A. ").nth(1).unwrap().split("\n## ").next().unwrap();
    let table = tempfile::tempdir().unwrap();
    let home = table.path().join("channel");
    let said: Vec<String> =
        section.split('`').skip(1).step_by(2).map(|it| it.replace("/srv/channel", home.to_str().unwrap())).collect();
    let named = |start: &str| said.iter().find(|it| it.starts_with(start)).unwrap_or_else(|| panic!("no `{start}`"));
    let path = format!("{}:/usr/bin:/bin", Path::new(env!("CARGO_BIN_EXE_sund-channel")).parent().unwrap().display());
    let types = |at: &Path, line: &str| {
        let ended = Command::new("sh").args(["-c", line]).current_dir(at).env("PATH", &path).output().unwrap();
        assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    };
    let persons = ["Anna Holm", "Bo Krog", "Carla Lund", "Dora Munk", "Emil Nord", "Freja Ovesen"];
    let file = |person: &str| person.split(' ').next().unwrap().to_lowercase();
    let own = |person: &str| table.path().join(file(person));
    for person in persons {
        fs::create_dir(own(person)).unwrap();
        let line = named("sund-channel key new").replace("anna", &file(person)).replace("Anna Holm", person);
        types(&own(person), &line);
    }
    types(table.path(), named("sund-channel init"));
    // From here on all that is said at the channel is said where `cd` leads.
    let at = table.path().join(named("cd ").trim_start_matches("cd "));
    for person in persons {
        let public = format!("{}.key.pub", file(person));
        fs::copy(own(person).join(&public), at.join(&public)).unwrap();
        types(&at, &named("sund-channel key show").replace("FILE.pub", &public));
    }
    types(&at, named("sund-channel root new"));
    for person in ["Anna Holm", "Bo Krog", "Dora Munk", "Emil Nord"] {
        types(&own(person), &format!("cp -r '{}' .", at.join(named("proposals/")).display()));
        let line = named("sund-channel sign root-1 --key").replace("anna", &file(person));
        types(&own(person), &format!("{line} --yes"));
        let signed = format!("{}.json", file(person));
        fs::copy(own(person).join(&signed), at.join(&signed)).unwrap();
    }
    types(&at, named("sund-channel approve"));
    types(&at, named("sund-channel verify"));
    assert!(at.join(named("repository/metadata/1.root.json")).is_file());
}

/// Every file in a folder and in those below.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}
