//! Reads the log from where the collector has come to, line by line and file by file, while it is being written.
use super::super::line::{Head, files};
use super::super::verify::{next_line, parse};
use super::cursor::Cursor;
use crate::limits::forward::{MAX_BATCH, MAX_BATCH_BYTES};
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Lines in their order.
pub(super) struct Batch {
    pub lines: Vec<(Vec<u8>, Value)>,
    /// Its last line.
    pub last: Cursor,
    began: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Number of the next line.
    next: u64,
    /// Where it begins in the file that holds it.
    offset: u64,
}

/// A reader of the log.
pub(super) struct Tail {
    dir: PathBuf,
    at: Place,
}

impl Tail {
    /// Behind the cursor; at the first line that is there where the log is another one, or nothing was collected.
    pub fn open(dir: &Path, cursor: Option<&Cursor>) -> io::Result<Self> {
        let files = files(dir)?;
        let first = files.first().map_or(0, |(seq, _)| *seq);
        let mut tail = Self { dir: dir.to_owned(), at: Place { next: first, offset: 0 } };
        let Some(cursor) = cursor else { return Ok(tail) };
        let Some((begins, path)) = files.iter().rfind(|(seq, _)| *seq <= cursor.seq) else { return Ok(tail) };
        let mut reader = BufReader::new(File::open(path)?);
        let (mut bytes, mut offset) = (Vec::new(), 0);
        let mut seq = *begins;
        while let Some(true) = next_line(&mut reader, &mut bytes)? {
            offset += bytes.len() as u64 + 1;
            if seq == cursor.seq {
                if Head::of(seq, &bytes).hash == cursor.hash {
                    tail.at = Place { next: seq + 1, offset };
                    return Ok(tail);
                }
                break;
            }
            seq += 1;
        }
        tracing::warn!(
            collected = cursor.seq,
            "the audit log is not the one that was collected: it is sent from its beginning"
        );
        Ok(tail)
    }

    /// True where what comes next is what comes after the cursor: the log is the one that was collected.
    pub fn is_behind(&self, cursor: &Cursor) -> bool {
        self.at.next == cursor.seq + 1
    }

    /// The next lines, as many as one batch takes; `None` where all is read.
    pub fn next(mut self) -> io::Result<(Self, Option<Batch>)> {
        let began = self.at.clone();
        let mut lines = Vec::new();
        let mut length = 0;
        let mut last = None;
        'files: while let Some((begins, path)) = files(&self.dir)?.into_iter().rfind(|(seq, _)| *seq <= self.at.next) {
            if begins == self.at.next {
                self.at.offset = 0;
            }
            let from = self.at.next;
            let mut reader = BufReader::new(File::open(path)?);
            reader.seek(SeekFrom::Start(self.at.offset))?;
            let mut bytes = Vec::new();
            // What is incomplete is being written.
            while let Some(true) = next_line(&mut reader, &mut bytes)? {
                let Some(line) = parse(&bytes).filter(|line| line.seq == self.at.next) else {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("line {} is damaged", self.at.next),
                    ));
                };
                last = Some(Cursor::of(line.seq, Head::of(line.seq, &bytes).hash));
                self.at = Place { next: line.seq + 1, offset: self.at.offset + bytes.len() as u64 + 1 };
                length += bytes.len();
                lines.push((std::mem::take(&mut bytes), line.message));
                if lines.len() >= MAX_BATCH || length >= MAX_BATCH_BYTES {
                    break 'files;
                }
            }
            if self.at.next == from || !files(&self.dir)?.iter().any(|(seq, _)| *seq == self.at.next) {
                break;
            }
        }
        let batch = last.map(|last| Batch { lines, last, began });
        Ok((self, batch))
    }

    /// The batch was not collected: it comes again.
    pub fn rewind(&mut self, batch: &Batch) {
        self.at = batch.began.clone();
    }
}
