//! Which formats of the log are read, and which one is written.
//!
//! A system on trial may have to give the box back to the one before, which reads no newer format than it knew: so a spool goes on
//! being written as it was, until somebody says that the system stays. What it is written in stands in a file of its own; without
//! that file it is the oldest. Whoever brings a format 3 leaves 2 readable, and raises nothing here.
use super::SpoolError;
use super::io::SpoolIo;
use std::ops::RangeInclusive;

/// The formats that are read, of segments and of the spool as a whole. 2 says in each segment which agent began it.
pub(super) const READS: RangeInclusive<u32> = 1..=2;
/// Name of the file.
const FILE: &str = "format";
const MAGIC: [u8; 8] = *b"SUNDFORM";
/// Magic and format.
const LENGTH: usize = 8 + 4;

/// The format that this spool is written in.
pub(super) fn read(io: &dyn SpoolIo, names: &[String]) -> Result<u32, SpoolError> {
    if !names.iter().any(|name| name == FILE) {
        return Ok(*READS.start());
    }
    let mut bytes = [0; LENGTH];
    let read = io.open(FILE).and_then(|file| file.read_at(0, &mut bytes));
    read.map_err(SpoolError::disk("read the spool's format"))?;
    let [.., a, b, c, d] = bytes;
    let format = if bytes[..8] == MAGIC { u32::from_le_bytes([a, b, c, d]) } else { 0 };
    if READS.contains(&format) { Ok(format) } else { Err(unknown(FILE, format, None)) }
}

/// Makes a format the one that is written from now on; durable on return.
pub(super) fn write(io: &dyn SpoolIo, format: u32) -> Result<(), SpoolError> {
    let failed = SpoolError::disk("write the spool's format");
    let next = format!("{FILE}{}", super::shared::UNFINISHED);
    let file = io.create(&next, 0, false).map_err(&failed)?;
    file.write_at(0, &[&MAGIC, &format.to_le_bytes()]).map_err(&failed)?;
    file.sync().map_err(&failed)?;
    io.rename(&next, FILE).map_err(&failed)?;
    io.sync_directory().map_err(&failed)
}

pub(super) fn unknown(file: &str, found: u32, by: Option<String>) -> SpoolError {
    SpoolError::UnknownFormat { file: file.to_owned(), found, known: *READS.end(), by }
}
