//! The counter below which no recovery bundle is taken (ota/README.md, "Rescue"). `sund-rescue` reads it and can do no more; a start
//! that was good makes it, where it is missing, and counts it up to what the region has released.
//!
//! A counter that is made anew goes on above the highest that this TPM has ever had (TPM 2.0 Library, Part 3, 31.8): nothing takes it
//! back, not even who clears the TPM.
use super::answer::Answer;
use super::command::{NO_SESSIONS, OWNER, SESSIONS, SHA256, Tpm, sized};
use super::{HANDLE, Handle, Place, away, refused};
use crate::fault::{Blame, Fault};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where it is, by the number of its NV index.
pub const INDEX: u32 = 0x0180_0100;
/// TPM_CC (Part 2, 6.5.2).
const DEFINE: u32 = 0x12a;
const INCREMENT: u32 = 0x134;
const READ: u32 = 0x14e;
const READ_PUBLIC: u32 = 0x169;
/// TPMA_NV (Part 2, 13.4): a counter, written by the owner, read by its own empty password, also when the TPM takes no more guesses (noDA):
/// each start that does not end in order counts as one.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 18 | 1 << 25;
/// TPMA_NV_WRITTEN: it was counted once.
const WRITTEN: u32 = 1 << 29;
/// Bytes of a counter.
const LENGTH: u16 = 8;
/// TPM_RC_NV_UNINITIALIZED (Part 2, 6.6.3).
const NOT_WRITTEN: u32 = 0x14a;
/// How far one start counts: the memory of a TPM wears out, and a number that somebody mistyped is no reason for that.
const MAX_STEPS: u64 = 64;
/// How long one start counts: a TPM that is slow does not use up the time that the start has to be called good.
pub const MAX_COUNTING: Duration = Duration::from_secs(30);

/// How the counter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The least version that is taken.
    pub least: u64,
    /// It was missing, or never counted, until now.
    pub was_made: bool,
}

/// Reads the counter; makes it where there is none, and counts it up to `least` or, `within` the time that there is, some way there.
pub fn keep(device: &Path, index: u32, least: u64, within: Duration) -> Result<Counter, Fault> {
    let begin = Instant::now();
    let place = Place { device: device.to_owned(), handle: Handle(HANDLE) };
    let mut nv = Nv { tpm: Tpm::open(&place)?, place: &place, index };
    let is_there = nv.is_there()?;
    if !is_there {
        nv.define()?;
    }
    let (mut number, mut was_made) = (nv.number()?, !is_there);
    if number.is_none() {
        nv.increment()?;
        (number, was_made) = (nv.number()?, true);
    }
    let number = number.ok_or_else(|| away(&place, "its counter says nothing after it was counted"))?;
    for _ in number..least.min(number.saturating_add(MAX_STEPS)) {
        if begin.elapsed() >= within {
            break;
        }
        nv.increment()?;
    }
    Ok(Counter { least: nv.number()?.unwrap_or(number), was_made })
}

struct Nv<'a> {
    tpm: Tpm<'a>,
    place: &'a Place,
    index: u32,
}

impl Nv<'_> {
    /// Whether it is defined, as it is made here: TPM2_NV_ReadPublic (Part 3, 31.6).
    fn is_there(&mut self) -> Result<bool, Fault> {
        let answer = match self.tpm.ask(NO_SESSIONS, READ_PUBLIC, &[self.index], &[])? {
            Ok(answer) => answer,
            // TPM_RC_HANDLE, of format 1: nothing is there.
            Err(code) if code & 0xbf == 0x8b => return Ok(false),
            Err(code) => return Err(refused(self.place, code)),
        };
        let public = (|| {
            let (_, mut answer) = Answer::of(&answer)?;
            // TPMS_NV_PUBLIC (Part 2, 13.5).
            let mut public = answer.inner()?;
            let (_index, _name, attributes) = (public.number(4)?, public.number(2)?, public.number(4)?);
            Ok((attributes & !WRITTEN, public.sized()?.len(), public.number(2)?))
        })();
        if self.tpm.read(public)? == (ATTRIBUTES, 0, LENGTH.into()) {
            return Ok(true);
        }
        let reason = format!(
            "what is in the TPM at NV index {:#010x} is no counter of this box: no recovery bundle is taken. Take it away (`tpm2_nvundefine -C o \
             {:#010x}`, from another system); the next start makes the counter",
            self.index, self.index
        );
        Err(Fault::new("tpm-counter-foreign", Blame::Box, reason))
    }

    /// TPM2_NV_DefineSpace (Part 3, 31.3), by the owner.
    fn define(&mut self) -> Result<(), Fault> {
        let public = [
            self.index.to_be_bytes().as_slice(),
            &SHA256.to_be_bytes(),
            &ATTRIBUTES.to_be_bytes(),
            &sized(&[]),
            &LENGTH.to_be_bytes(),
        ]
        .concat();
        self.tpm.run(SESSIONS, DEFINE, &[OWNER], &[sized(&[]), sized(&public)].concat()).map(drop)
    }

    /// TPM2_NV_Increment (Part 3, 31.8), by the owner.
    fn increment(&mut self) -> Result<(), Fault> {
        self.tpm.run(SESSIONS, INCREMENT, &[OWNER, self.index], &[]).map(drop)
    }

    /// TPM2_NV_Read (Part 3, 31.13); nothing where it was never counted.
    fn number(&mut self) -> Result<Option<u64>, Fault> {
        let parameters = [LENGTH.to_be_bytes(), [0; 2]].concat(); // size, offset
        let answer = match self.tpm.ask(SESSIONS, READ, &[self.index, self.index], &parameters)? {
            Ok(answer) => answer,
            Err(NOT_WRITTEN) => return Ok(None),
            Err(code) => return Err(refused(self.place, code)),
        };
        let number = (|| {
            let (_, mut answer) = Answer::of(&answer)?;
            let _parameters = answer.number(4)?;
            let number = answer.sized()?.try_into().map_err(|_| "its counter has another length")?;
            Ok(u64::from_be_bytes(number))
        })();
        self.tpm.read(number).map(Some)
    }
}
