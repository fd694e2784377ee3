//! The lowest version that this box takes: an old bundle stays signed for ever, and may have a hole that everybody knows.
use crate::config::read_bounded;
use crate::fault::{Blame, Fault};
use crate::limits::MAX_MINIMUM;
use crate::tpm;
use std::path::PathBuf;

/// Where the minimum stands. Where there are two, the higher one counts; where one cannot be read, nothing is taken.
#[derive(Clone, Debug)]
pub struct Minimum {
    /// A file in the initramfs, and so as old as that: a decimal number.
    pub file: Option<PathBuf>,
    /// An NV index of the TPM, which an old initramfs does not reset.
    pub tpm: Option<NvIndex>,
}

/// An NV index and the device to ask.
#[derive(Clone, Debug)]
pub struct NvIndex {
    /// E.g. `/dev/tpmrm0`.
    pub device: PathBuf,
    /// Its handle, 0x01000000 to 0x01ffffff.
    pub index: u32,
}

impl Minimum {
    /// Reads it.
    pub fn read(&self) -> Result<u64, Fault> {
        let file = self.file.as_ref().map(|path| {
            let text = read_bounded(path, MAX_MINIMUM)?;
            str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<u64>().ok()).ok_or_else(|| {
                let reason = format!("{} holds no number: put the minimum version there", path.display());
                Fault::new("minimum-invalid", Blame::Configuration, reason)
            })
        });
        let tpm = self.tpm.as_ref().map(|NvIndex { device, index }| tpm::read_number(&mut tpm::open(device)?, *index));
        Ok(file.transpose()?.unwrap_or(0).max(tpm.transpose()?.unwrap_or(0)))
    }
}
