//! Masks and pictures on their way back from the worker: a sealed memory file, which neither side can change or shrink
//! once it is sent.
use crate::inference::{Findings, Inference};
use crate::limits::worker::MAX_BULK;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// How long each part is, in the order of [`parts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout(Vec<u64>);

/// Moves the bulk of an inference into a sealed memory file.
pub fn seal(inference: &mut Inference) -> std::io::Result<(Layout, OwnedFd)> {
    let fd = memfd_create(c"sund-result", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    let mut lengths = Vec::new();
    for part in parts(inference) {
        file.write_all(part)?;
        lengths.push(part.len() as u64);
        *part = Vec::new();
    }
    fcntl_add_seals(&file, SEALS)?;
    Ok((Layout(lengths), file.into()))
}

/// Puts the bulk back. Refuses a file that is not sealed, or whose length is not the layout's.
pub fn unseal(inference: &mut Inference, layout: &Layout, fd: OwnedFd) -> std::io::Result<()> {
    let invalid = |text: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, text.to_owned());
    if !fcntl_get_seals(&fd)?.contains(SEALS) {
        return Err(invalid("the worker's memory file is not sealed"));
    }
    let mut file = File::from(fd);
    let total = layout.0.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
    if total != Some(file.metadata()?.len()) || total > Some(MAX_BULK) {
        return Err(invalid("the worker's memory file is not as long as it says, or over the limit"));
    }
    let parts = parts(inference);
    if parts.len() != layout.0.len() {
        return Err(invalid("the worker's memory file has other parts than its message"));
    }
    file.rewind()?;
    for (part, length) in parts.into_iter().zip(&layout.0) {
        *part = vec![0; *length as usize];
        file.read_exact(part)?;
    }
    Ok(())
}

/// The parts that do not travel as JSON: the masks in order, then the preview.
fn parts(inference: &mut Inference) -> Vec<&mut Vec<u8>> {
    let mut parts = Vec::new();
    if let Findings::Volume { segments, .. } = &mut inference.findings {
        parts.extend(segments.iter_mut().map(|segment| &mut segment.mask));
    }
    parts.push(&mut inference.preview.rgb);
    parts
}
