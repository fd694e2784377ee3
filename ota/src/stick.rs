//! What became of the region's stick, in a line for the box's screen: whoever has put it in sees that screen and nothing else.
use crate::durable;
use std::io::Read as _;
use std::path::Path;

/// Where the line is, until the box restarts.
pub const SAID: &str = "/run/sund-stick/said";
/// The line, in bytes.
const MAX: u64 = 2048;

/// Says it, where there is a place for it; nothing depends on that.
pub fn say(said: &Path, line: &str) {
    if let Err(fault) = durable::replace(said, line.as_bytes(), 0o644) {
        tracing::info!(%fault, "the screen is not told what became of the stick");
    }
}

/// What was said last.
pub fn said(said: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(said).and_then(|file| file.take(MAX).read_to_end(&mut bytes)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|line| !line.trim().is_empty())
}
