//! The audit log in counts: which kinds of events there are, how often, and how they ended.
use crate::audit::files;
use crate::limits::audit::MAX_LINE;
use crate::limits::support::{MAX_AUDIT_FILES, MAX_KINDS};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Counts by kind and outcome, of the newest files; how many those are of all.
pub fn counts(dir: &Path) -> io::Result<Value> {
    let mut counts: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut lines: u64 = 0;
    let all = files(dir)?;
    let counted = &all[all.len().saturating_sub(MAX_AUDIT_FILES)..];
    for (_, path) in counted {
        let mut file = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while file.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)? > 0 {
            lines += 1;
            let value: Value = serde_json::from_slice(&line).unwrap_or_default();
            line.clear();
            let event = &value["message"]["EventIdentification"];
            let kind =
                event["EventTypeCode"][0]["csd-code"].as_str().filter(|kind| is_name(kind)).unwrap_or("(unknown)");
            if counts.len() < MAX_KINDS || counts.contains_key(kind) {
                let outcome = event["EventOutcomeIndicator"].as_u64().unwrap_or(u64::MAX);
                *counts.entry(kind.to_owned()).or_default().entry(outcome).or_default() += 1;
            }
        }
    }
    Ok(
        json!({ "files": all.len(), "newest_files_counted": counted.len(), "lines": lines, "events_by_outcome": counts }),
    )
}

/// A name as events have them.
fn is_name(kind: &str) -> bool {
    kind.len() < 64 && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_of_years_the_newest_files_are_counted_and_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..MAX_AUDIT_FILES + 3 {
            std::fs::write(folder.path().join(format!("audit-{n:08}.jsonl")), "{}\n").unwrap();
        }
        let counted = counts(folder.path()).unwrap();
        assert_eq!(counted["files"], MAX_AUDIT_FILES + 3);
        assert_eq!(counted["newest_files_counted"], MAX_AUDIT_FILES);
        assert_eq!(counted["lines"], MAX_AUDIT_FILES);
    }
}
