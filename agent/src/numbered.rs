//! Files of lines that have numbers for their names, in which they follow each other: those of the audit log and of the records of the log.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ENDING: &str = ".jsonl";

/// Name of a file.
pub(crate) fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}-{number:020}{ENDING}")
}

/// The files of a folder that have such a name, with their numbers, the lowest first.
pub(crate) fn files(folder: &Path, prefix: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = |name: &str| name.strip_prefix(prefix)?.strip_prefix('-')?.strip_suffix(ENDING)?.parse().ok();
        if let Some(number) = name.to_str().and_then(number) {
            files.push((number, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_such_a_name_is_found_in_the_order_of_the_numbers_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ours = [name("log", 0), name("log", 9), name("log", 10), name("log", u64::MAX)];
        let others = ["log-7", "log-x.jsonl", "log.jsonl", "audit-00000000000000000001.jsonl", "log-7.jsonl.part"];
        for name in ours.iter().rev().map(String::as_str).chain(others) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = files(folder.path(), "log").unwrap();
        let expected = [0, 9, 10, u64::MAX].iter().zip(&ours).map(|(number, name)| (*number, folder.path().join(name)));
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert!(files(&folder.path().join("gone"), "log").is_err());
    }
}
