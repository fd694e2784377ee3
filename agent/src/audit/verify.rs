//! Walks the chain and says where it breaks.
use super::line::{FORMAT, Head, Line, files};
use crate::limits::audit::MAX_LINE;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether the last line has come through by now, and how long in between.
const UNDER_WAY_LOOKS: u32 = 10;
const UNDER_WAY: Duration = Duration::from_millis(20);

/// What is known of a log from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    /// The line before the first file, where older files were collected and are gone; `None`: the log is whole.
    pub start: Option<Head>,
    /// A line that must be there, e.g. the head that the channel holds.
    pub head: Option<Head>,
}

/// A log that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Files.
    pub files: usize,
    /// Lines.
    pub lines: u64,
    /// Where the chain ends; `None` while there is no line.
    pub head: Option<Head>,
}

/// Where and how a chain breaks. `file` is a file name, `line` counts from 1.
#[derive(Debug, thiserror::Error)]
pub enum ChainBreak {
    /// Reading failed.
    #[error("cannot read the audit log: {0}")]
    Read(#[from] io::Error),
    /// Not a line of format 1.
    #[error("{file}, line {line}: not a line of an audit log: damaged or edited")]
    NotALine {
        /// File name.
        file: String,
        /// Line from 1.
        line: u64,
    },
    /// The last line has no newline: a write that a crash cut short.
    #[error("{file}, line {line}: incomplete; the agent repairs this when it opens the log")]
    Torn {
        /// File name.
        file: String,
        /// Line from 1.
        line: u64,
    },
    /// The numbers do not follow each other.
    #[error("{file}, line {line}: number {found} where {expected} belongs: lines were removed, added or moved")]
    OutOfOrder {
        /// File name.
        file: String,
        /// Line from 1.
        line: u64,
        /// Number that belongs there.
        expected: u64,
        /// Number that is there.
        found: u64,
    },
    /// The line does not carry the hash of the line before.
    #[error("{file}, line {line}: does not follow from the line before it: one of the two was edited")]
    NotLinked {
        /// File name.
        file: String,
        /// Line from 1.
        line: u64,
    },
    /// The log ends before a line that was anchored.
    #[error("the log ends before its anchored line {seq}: lines at the end were removed")]
    CutOff {
        /// Number of the anchored line.
        seq: u64,
    },
    /// The anchored line is there with another content.
    #[error("line {seq} differs from its anchor: the chain was written anew")]
    NotAnchored {
        /// Number of the anchored line.
        seq: u64,
    },
}

/// Verifies the log in folder `dir`. Without `anchors.head` a cut at the very end, an edit of the last line, or a chain
/// that was recomputed as a whole cannot be seen. An agent may write the log meanwhile.
pub fn verify(dir: &Path, anchors: &Anchors) -> Result<Report, ChainBreak> {
    // A write that is under way has come through a moment later; one that a crash cut short has not.
    for _ in 0..UNDER_WAY_LOOKS {
        match verify_now(dir, anchors) {
            Err(ChainBreak::Torn { .. }) => std::thread::sleep(UNDER_WAY),
            done => return done,
        }
    }
    verify_now(dir, anchors)
}

fn verify_now(dir: &Path, anchors: &Anchors) -> Result<Report, ChainBreak> {
    let files = files(dir)?;
    let mut walk = Walk { head: anchors.start.clone(), lines: 0 };
    let mut anchored = anchors.head.is_none() || anchors.head == anchors.start;
    // A removal that a power cut ended left a file that the chain begins behind.
    let begins = anchors.start.as_ref().map_or(0, |start| start.seq + 1);
    let files: Vec<_> = files.into_iter().filter(|(first, _)| *first >= begins).collect();
    for (_, path) in &files {
        walk.file(path, |head, _| {
            match &anchors.head {
                Some(anchor) if anchor.seq == head.seq && anchor.hash != head.hash => {
                    return Err(ChainBreak::NotAnchored { seq: head.seq });
                }
                Some(anchor) if anchor.seq == head.seq => anchored = true,
                _ => {}
            }
            Ok(())
        })?;
    }
    match &anchors.head {
        Some(anchor) if !anchored => Err(ChainBreak::CutOff { seq: anchor.seq }),
        _ => Ok(Report { files: files.len(), lines: walk.lines, head: walk.head }),
    }
}

/// A walk along the chain.
pub(super) struct Walk {
    /// The last good line.
    pub head: Option<Head>,
    /// Good lines so far.
    pub lines: u64,
}

impl Walk {
    /// Walks one file, calls `visit` after each good line, and gives the bytes of the good lines.
    pub(super) fn file(
        &mut self,
        path: &Path,
        mut visit: impl FnMut(&Head, &Line) -> Result<(), ChainBreak>,
    ) -> Result<u64, ChainBreak> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut bytes = Vec::new();
        let (mut good, mut line) = (0, 0);
        while let Some(complete) = next_line(&mut reader, &mut bytes)? {
            line += 1;
            let parsed = complete.then(|| parse(&bytes)).flatten();
            let Some(parsed) = parsed else {
                return Err(if complete {
                    ChainBreak::NotALine { file, line }
                } else {
                    ChainBreak::Torn { file, line }
                });
            };
            let (expected, prev) = Head::next(self.head.as_ref());
            if parsed.seq != expected {
                return Err(ChainBreak::OutOfOrder { file, line, expected, found: parsed.seq });
            }
            if parsed.prev != prev {
                return Err(ChainBreak::NotLinked { file, line });
            }
            let head = Head::of(parsed.seq, &bytes);
            visit(&head, &parsed)?;
            good += bytes.len() as u64 + 1;
            self.head = Some(head);
            self.lines += 1;
        }
        Ok(good)
    }
}

/// A line of format 1, or nothing.
pub(super) fn parse(bytes: &[u8]) -> Option<Line> {
    serde_json::from_slice::<Line>(bytes).ok().filter(|line| line.format == FORMAT)
}

/// The next line without its newline; false when the newline is missing or the line is past the limit.
pub(super) fn next_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<Option<bool>> {
    bytes.clear();
    reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let complete = bytes.last() == Some(&b'\n');
    if complete {
        bytes.pop();
    }
    Ok(Some(complete))
}
