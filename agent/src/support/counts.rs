//! The audit log in counts: which kinds of events there are, how often, and how they ended.
use crate::audit::files;
use crate::limits::audit::MAX_LINE;
use crate::limits::support::MAX_KINDS;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Counts by kind and outcome.
pub fn counts(dir: &Path) -> io::Result<Value> {
    let mut counts: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut lines: u64 = 0;
    for (_, path) in files(dir)? {
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
    Ok(json!({ "lines": lines, "events_by_outcome": counts }))
}

/// A name as events have them.
fn is_name(kind: &str) -> bool {
    kind.len() < 64 && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}
