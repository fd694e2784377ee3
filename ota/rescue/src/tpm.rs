//! Two commands of a TPM 2.0, without a TPM library: `TPM2_NV_Read` (TPM 2.0 Library, Part 3, 31.13) reads a number, authorized by
//! the index itself with an empty password; `TPM2_PCR_Extend` (Part 3, 22.2) says that a rescue begins.
use crate::fault::{Blame, Fault};
use crate::limits::{MAX_TPM_ANSWER, TPM_PAUSE, TPM_TRIES};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;

/// TPM_ST_SESSIONS: the command carries an authorization (Part 2, 6.9).
const SESSIONS: u16 = 0x8002;
/// TPM_CC_NV_Read (Part 2, 6.5.2).
const NV_READ: u32 = 0x0000_014E;
/// TPM_CC_PCR_Extend.
const PCR_EXTEND: u32 = 0x0000_0182;
/// TPM_ALG_SHA256 (Part 2, 6.3).
const SHA256: u16 = 0x000B;
/// TPM_RS_PW: the authorization is a password (Part 2, 7.4).
const PASSWORD: u32 = 0x4000_0009;
/// TPM_RC_RETRY (Part 2, 6.6.3): not ready yet, as right after its start.
const RETRY: u32 = 0x922;
/// Bytes of a counter, and of the ordinary index that we read (Part 2, 13.2: 8 bytes, big-endian).
const NUMBER: u16 = 8;
/// What systemd measures a kernel and the phases of its boot into; the policy of the data partition is of this one.
const BOOT_PHASE: u32 = 11;

/// Opens a device like `/dev/tpmrm0`, which takes a command with one write and gives its answer with one read.
pub fn open(device: &Path) -> Result<File, Fault> {
    OpenOptions::new().read(true).write(true).open(device).map_err(|error| {
        let reason = format!("{}: {error}: is the TPM on, and its driver loaded?", device.display());
        Fault::new("tpm-unreadable", Blame::Box, reason)
    })
}

/// Reads the number that an NV index holds: a counter, or an ordinary index of 8 bytes.
pub fn read_number(tpm: &mut (impl Read + Write), index: u32) -> Result<u64, Fault> {
    let failed = |reason: String| {
        let reason = format!("the TPM does not say the minimum version (NV index {index:#010x}): {reason}");
        Fault::new("tpm-unreadable", Blame::Box, reason)
    };
    number_in(&answer(tpm, &nv_read(index)).map_err(failed)?).map_err(failed)
}

/// Measures that a rescue begins: until the next start the TPM opens no data partition, whoever may come to rule this program.
pub fn close(tpm: &mut (impl Read + Write)) -> Result<(), Fault> {
    let failed = |reason: String| {
        let reason = format!("the TPM does not take that a rescue begins (PCR {BOOT_PHASE}): {reason}");
        Fault::new("tpm-unreadable", Blame::Box, reason)
    };
    let mut parameters = 1_u32.to_be_bytes().to_vec(); // digests.count
    parameters.extend(SHA256.to_be_bytes());
    parameters.extend(Sha256::digest(b"sund-rescue"));
    let answer = answer(tpm, &command(PCR_EXTEND, &[BOOT_PHASE], &parameters)).map_err(failed)?;
    match answer.get(6..10) {
        Some([0, 0, 0, 0]) => Ok(()),
        code => Err(failed(format!("it answers with code {code:02x?}"))),
    }
}

/// The TPM's answer to a command, once it is ready.
fn answer(tpm: &mut (impl Read + Write), command: &[u8]) -> Result<Vec<u8>, String> {
    let mut buffer = [0; MAX_TPM_ANSWER];
    for _ in 0..TPM_TRIES {
        tpm.write_all(command).map_err(|error| error.to_string())?;
        let length = tpm.read(&mut buffer).map_err(|error| error.to_string())?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answer.get(6..10) != Some(&RETRY.to_be_bytes()) {
            return Ok(answer.to_vec());
        }
        thread::sleep(TPM_PAUSE);
    }
    Err("it is not ready".to_owned())
}

fn nv_read(index: u32) -> Vec<u8> {
    let parameters = [NUMBER.to_be_bytes(), [0; 2]].concat(); // size, offset
    // authHandle, nvIndex: the index authorizes itself
    command(NV_READ, &[index, index], &parameters)
}

/// A command whose first handle is authorized by an empty password.
fn command(code: u32, handles: &[u32], parameters: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
    body.extend(9_u32.to_be_bytes()); // authorizationSize
    body.extend(PASSWORD.to_be_bytes());
    body.extend(0_u16.to_be_bytes()); // no nonce
    body.push(0); // sessionAttributes
    body.extend(0_u16.to_be_bytes()); // an empty password
    body.extend(parameters);
    let mut command = Vec::new();
    command.extend(SESSIONS.to_be_bytes());
    command.extend((10 + body.len() as u32).to_be_bytes());
    command.extend(code.to_be_bytes());
    command.extend(body);
    command
}

fn number_in(answer: &[u8]) -> Result<u64, String> {
    let mut rest = answer;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at_checked(count).ok_or("its answer is cut short")?;
        rest = tail;
        Ok::<_, String>(head.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (_tag, size, code) = (take(2)?, take(4)?, take(4)?);
    if code != 0 {
        return Err(format!(
            "it answers with code {code:#05x}; 0x18b means that the index is not defined, 0x14a not written, 0x921 that it was defined without no_da and \
             the TPM has locked itself for a while"
        ));
    }
    if size != answer.len() as u64 {
        return Err("its answer has another length than it says".to_owned());
    }
    let (_parameters, data) = (take(4)?, take(2)?);
    if data != u64::from(NUMBER) {
        return Err(format!("it holds {data} bytes and not {NUMBER}"));
    }
    take(NUMBER.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_that_is_cut_short_or_says_something_else_is_a_number() {
        let mut answer = vec![0x80, 0x02, 0, 0, 0, 29, 0, 0, 0, 0, 0, 0, 0, 10, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2];
        answer.extend([0, 0, 1, 0, 0]);
        assert_eq!(number_in(&answer), Ok(258));
        for length in 0..answer.len() {
            assert!(number_in(&answer[..length]).is_err(), "{length}");
        }
        for (at, byte) in [(5, 30), (9, 1), (15, 4), (15, 255)] {
            let mut altered = answer.clone();
            altered[at] = byte;
            assert!(number_in(&altered).is_err(), "{at}");
        }
    }
}
