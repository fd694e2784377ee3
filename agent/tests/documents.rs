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

#[test]
fn every_test_that_stands_against_a_hazard_is_there() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&agent.join("src"), &mut files);
    sources(&agent.join("tests"), &mut files);
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let document = fs::read_to_string(agent.join("SAFETY.md")).unwrap();
    let named: Vec<&str> =
        document.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2).collect();
    assert!(named.len() > 30, "{} tests are named", named.len());
    let missing: Vec<&&str> = named.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "SAFETY.md names tests that are not there: {missing:?}");
}
