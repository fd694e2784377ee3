//! Writes the tar of a bundle: POSIX ustar, plain files alone, the same bytes for the same contents.
use std::io::{self, Read, Write};

const BLOCK: usize = 512;

/// An archive that is being written.
pub struct Writer<W: Write>(W);

impl<W: Write> Writer<W> {
    /// An archive that is written to `into`.
    pub fn new(into: W) -> Self {
        Self(into)
    }

    /// Adds a file of `length` bytes.
    pub fn add(&mut self, name: &str, length: u64, from: impl Read) -> io::Result<()> {
        self.0.write_all(&header(name, length)?)?;
        let copied = io::copy(&mut from.take(length), &mut self.0)?;
        if copied != length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} ends after {copied} bytes")));
        }
        let padding = (length.next_multiple_of(BLOCK as u64) - length) as usize;
        self.0.write_all(&[0; BLOCK][..padding])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.flush()?;
        Ok(self.0)
    }
}

/// IEEE Std 1003.1, ustar: a name of more than 100 bytes is cut at a slash into prefix and name.
fn header(name: &str, length: u64) -> io::Result<[u8; BLOCK]> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} {what}"));
    let splits = name.match_indices('/').map(|(at, _)| (&name[..at], &name[at + 1..]));
    let fits = |(prefix, file): &(&str, &str)| prefix.len() <= 155 && file.len() <= 100;
    let (prefix, file) =
        std::iter::once(("", name)).chain(splits).find(fits).ok_or_else(|| refused("is too long for a tar"))?;
    if length >= 1 << 33 {
        return Err(refused("is too large for a tar: less than 8 GiB"));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, file.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{length:011o}\x0000000000000\0").as_bytes());
    // The checksum is taken with blanks in its own field.
    put(148, b"        0");
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}
