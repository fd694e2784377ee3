//! The documents keep to the source: every code is in REFUSALS.md, every test that SAFETY.md names is there.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a code is the first argument of, in this code base.
const CALLS: [&str; 5] = ["Fault::new(", "refuse(", "refusal(", "malformed(", "failed("];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// `text` begins with a string literal that looks like a code.
fn code(text: &str) -> Option<&str> {
    let (code, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let is_code = code.contains('-') && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    is_code.then_some(code)
}

fn codes_in_source() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut codes = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // What a module's own tests make up is no refusal of the product.
        let product = text.split("#[cfg(test)]").next().unwrap();
        for call in CALLS {
            codes.extend(product.split(call).skip(1).filter_map(code).map(str::to_owned));
        }
    }
    codes
}

#[test]
fn every_code_is_documented() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("REFUSALS.md")).unwrap();
    let documented: BTreeSet<&str> = document.split('`').skip(1).step_by(2).collect();
    let codes = codes_in_source();
    assert!(codes.len() > 80, "{} codes were found", codes.len());
    let missing: Vec<&String> = codes.iter().filter(|code| !documented.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "not in REFUSALS.md: {missing:?}");
}

/// Codes with the one who can mend it, where a fault is made with both.
fn blames_in_source() -> BTreeSet<(String, String)> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut blames = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap();
        for made in product.split("Fault::new(").skip(1) {
            let Some(code) = code(made) else { continue };
            let behind = made.split_once(code).unwrap().1.trim_start_matches('"').trim_start_matches(',').trim_start();
            let Some(blame) = behind.strip_prefix("Blame::") else { continue };
            let blame: String = blame.chars().take_while(char::is_ascii_alphabetic).collect();
            blames.insert((code.to_owned(), blame));
        }
    }
    blames
}

#[test]
fn every_code_is_documented_with_who_can_mend_it() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("REFUSALS.md")).unwrap();
    let who = |code: &str| {
        let row = document.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{code}`")));
        row.and_then(|row| row.split('|').nth(2)).unwrap_or_default().trim().to_lowercase()
    };
    let blames = blames_in_source();
    assert!(blames.len() > 80, "{} faults were found", blames.len());
    let wrong: Vec<String> = blames
        .iter()
        .filter(|(code, blame)| !who(code).split(", ").any(|word| word == blame.to_lowercase()))
        .map(|(code, blame)| format!("{code}: the source says {blame}, the document {:?}", who(code)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The section says of two that can be blamed how their job ends; there is no third.
#[test]
fn images_and_volumes_are_refused_as_the_studys_or_the_peers_doing() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("REFUSALS.md")).unwrap();
    let section = document.split("## Images and volumes").nth(1).unwrap().split("\n## ").next().unwrap();
    let (opening, table) = section.split_once("\n|").unwrap();
    assert!(opening.contains("*study*") && opening.contains("*peer*") && opening.contains("not applicable"));
    let who = table.lines().skip(2).filter_map(|row| row.split('|').nth(2)).flat_map(|who| who.split(','));
    let who: BTreeSet<&str> = who.map(str::trim).collect();
    assert_eq!(who, BTreeSet::from(["peer", "study"]));
}

#[test]
fn every_test_that_stands_against_a_hazard_is_there() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    // Of the channel's hazards the tests are in the channel's crates.
    for folder in [
        "src",
        "tests",
        "../ota/src",
        "../ota/tests",
        "../ota/channel/src",
        "../ota/channel/tests",
        "../ota/rescue/tests",
    ] {
        sources(&agent.join(folder), &mut files);
    }
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let document = fs::read_to_string(agent.join("SAFETY.md")).unwrap();
    let named: Vec<&str> =
        document.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2).collect();
    assert!(named.len() > 30, "{} tests are named", named.len());
    let missing: Vec<&&str> = named.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "SAFETY.md names tests that are not there: {missing:?}");
}
