//! ota/README.md keeps to the source: each refusal of trust stands in it, and each test that it names is there.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn crate_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// Code and blame of each fault that trust and bundles make.
fn faults() -> BTreeSet<(String, String)> {
    let mut files = Vec::new();
    sources(&crate_path("src/trust"), &mut files);
    sources(&crate_path("src/bundle"), &mut files);
    let product = files.iter().map(|text| text.split("#[cfg(test)]").next().unwrap());
    let made = product.flat_map(|text| text.split("Fault::new(").skip(1)).map(|made| {
        let parts: Vec<&str> = made.splitn(3, ',').collect();
        let code = parts[0].trim().trim_matches('"');
        let blame = parts[1].trim().trim_start_matches("Blame::");
        assert!(code.contains('-') && !code.contains(' '), "no code: {code}");
        (code.to_owned(), blame.to_lowercase())
    });
    made.collect()
}

/// Code, blame and tests of each row of the section.
pub fn rows() -> Vec<(String, String, Vec<String>)> {
    let document = fs::read_to_string(crate_path("README.md")).unwrap();
    let section = document.split("## What the updater refuses").nth(1).unwrap().split("\n## ").next().unwrap();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (quoted(cells[1])[0].clone(), cells[3].to_owned(), quoted(cells[4]))
    })
    .collect()
}

#[test]
fn every_refusal_is_documented_with_whose_doing_it_is() {
    let documented: BTreeSet<(String, String)> = rows().into_iter().map(|(code, blame, _)| (code, blame)).collect();
    let faults = faults();
    assert!(faults.len() > 30, "{} faults were found", faults.len());
    let missing: Vec<_> = faults.difference(&documented).collect();
    let made_up: Vec<_> = documented.difference(&faults).collect();
    assert!(missing.is_empty() && made_up.is_empty(), "not in README.md: {missing:?}; not in the source: {made_up:?}");
}

#[test]
fn every_test_that_stands_against_a_threat_is_there() {
    let mut files = Vec::new();
    sources(&crate_path("tests"), &mut files);
    sources(&crate_path("src"), &mut files);
    for (code, _, tests) in rows() {
        assert!(!tests.is_empty(), "{code} has no test");
        for test in tests {
            assert!(files.iter().any(|text| text.contains(&format!("fn {test}("))), "{code}: {test} is not there");
        }
    }
}
