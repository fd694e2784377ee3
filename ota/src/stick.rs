//! What became of the region's stick, in a line for the box's screen: whoever has put it in sees that screen and nothing else.
use crate::{bundle, durable, provision, reset};
use std::io::Read as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

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

/// Says it of a bundle. What was just said of another file of ours on that stick stays before it: nobody else is told of that.
pub fn say_of_bundle(at: &Path, stick: &Path, line: &str) {
    let has_other = [provision::FILE, reset::FILE].iter().any(|name| stick.join(name).exists());
    let before = said(at).filter(|_| has_other);
    match before.as_ref().and_then(|before| before.line.lines().next()) {
        Some(before) => say(at, &format!("{before}\n{line}")),
        None => say(at, line),
    }
}

/// What was said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The line.
    pub line: String,
    /// When it was said, in seconds since 1970.
    pub at: i64,
}

/// Reads it.
pub fn said(said: &Path) -> Option<Said> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(said).ok()?;
    let at = file.metadata().and_then(|file| file.modified()).ok()?;
    file.take(MAX).read_to_end(&mut bytes).ok()?;
    let at = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let line = String::from_utf8_lossy(&bytes).into_owned();
    (!line.trim().is_empty()).then_some(Said { line, at: i64::try_from(at).unwrap_or(i64::MAX) })
}

/// Whether a stick without the file of a box's first day has another one that is ours: it is no wrong stick then.
pub fn is_for_another(stick: &Path) -> bool {
    let has = |name: &str| stick.join(name).exists();
    !has(provision::FILE) && (has(reset::FILE) || bundle::stick::has_one(stick))
}
