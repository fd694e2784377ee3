//! The box's TPM 2.0, which holds the key of its certificate: made there, used there, never read.
//!
//! A handful of commands in their own bytes (TPM 2.0 Library, Part 3), and no TPM library. Clauses of Part 2 (structures) and Part 3
//! (commands) stand beside the lines that follow them.
mod answer;
mod command;
pub mod counter;
mod key;
mod transport;

pub use key::TpmKey;

use crate::fault::{Blame, Fault};
use std::path::PathBuf;
use std::str::FromStr;

/// Where the kernel shares the TPM among those who use it.
pub const DEVICE: &str = "/dev/tpmrm0";
/// Persistent objects of the owner (Part 2, 7.4 and the TCG registry of reserved handles).
const OWNERS_HANDLES: std::ops::RangeInclusive<u32> = 0x8100_0000..=0x817F_FFFF;
/// The one where a provisioned box keeps its key.
pub const HANDLE: u32 = 0x8101_0010;
/// How a configuration names a key in the TPM.
pub const SCHEME: &str = "tpm:";

/// Where a key is: in which TPM, at which persistent handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The device, or a socket that speaks as one does.
    pub device: PathBuf,
    /// The handle.
    pub handle: Handle,
}

/// A persistent handle of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(u32);

impl FromStr for Handle {
    type Err = String;

    /// `tpm:0x81010010`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(SCHEME).and_then(|text| text.strip_prefix("0x"));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.filter(|number| OWNERS_HANDLES.contains(number)).map(Self).ok_or_else(|| {
            format!("a key in the TPM is named by a handle from {SCHEME}0x81000000 to {SCHEME}0x817fffff, not {text:?}")
        })
    }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{:#010x}", self.0)
    }
}

/// It does not answer, or not as one.
fn away(place: &Place, reason: impl std::fmt::Display) -> Fault {
    let reason = format!(
        "the TPM ({}) does not answer: {reason}. Is it switched on in the firmware's setup? The box goes on with what it runs, \
         and takes nothing from the channel until it is back",
        place.device.display()
    );
    Fault::new("tpm-away", Blame::Box, reason)
}

/// What an answer's code means, and what is to be done (Part 2, 6.6).
fn refused(place: &Place, code: u32) -> Fault {
    let device = place.device.display();
    // Format 1: the number of the error is in the low six bits, above it stands which handle or parameter it is about.
    let of_format_1 = (code & 0x80 != 0).then_some(code & 0x3f);
    let (name, reason) = match (code, of_format_1) {
        // TPM_RC_HANDLE
        (_, Some(0x0b)) => return gone(place, "nothing is at that handle"),
        // TPM_RC_AUTH_FAIL, TPM_RC_BAD_AUTH
        (_, Some(0x0e | 0x22)) => (
            "tpm-owned",
            "its owner has a password that this box was not told: clear the TPM in the firmware's setup. The data partition opens by its \
             recovery key alone then; enrol the box anew",
        ),
        // TPM_RC_LOCKOUT
        (0x921, _) => (
            "tpm-locked-out",
            "it was asked with wrong passwords too often and is locked for a while: leave it on, it opens by itself; the update \
             goes on then",
        ),
        // TPM_RC_RETRY, YIELDED, TESTING, NV_RATE, NV_UNAVAILABLE
        (0x922 | 0x908 | 0x90a | 0x920 | 0x923, _) => ("tpm-busy", "it is busy: it is asked again with the next poll"),
        // TPM_RC_FAILURE, INITIALIZE
        (0x101 | 0x100, _) => {
            return away(
                place,
                "it is in failure mode: switch the box off and on; the board is broken where that does not help",
            );
        }
        _ => (
            "tpm-refused",
            "it refuses: clear the TPM in the firmware's setup. The data partition opens by its recovery key alone then; enrol the box anew",
        ),
    };
    Fault::new(name, Blame::Box, format!("the TPM ({device}) answers with code {code:#05x}: {reason}"))
}

/// The key of the certificate is there no more.
fn gone(place: &Place, why: &str) -> Fault {
    let reason = format!(
        "the key of this box's certificate is not in the TPM any more ({}: {why}): the TPM was cleared, or the board changed. Enrol \
         the box anew with a new one-time code (`sund-channel enrol new`)",
        place.handle
    );
    Fault::new("tpm-key-gone", Blame::Box, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_one_of_the_owners() {
        assert_eq!(
            "tpm:0x81010010".parse::<Handle>().map(|handle| handle.to_string()),
            Ok("tpm:0x81010010".to_owned())
        );
        for text in
            ["tpm:0x81800000", "tpm:0x80ffffff", "tpm:81010010", "0x81010010", "tpm:0x", "tpm:", "tpm:0x181010010"]
        {
            assert!(text.parse::<Handle>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_way_in_which_a_tpm_refuses_has_its_name_and_says_what_to_do() {
        let place = Place { device: DEVICE.into(), handle: Handle(0x8101_0010) };
        let named = [
            (0x18b, "tpm-key-gone"),
            (0x98e, "tpm-owned"),
            (0x9a2, "tpm-owned"),
            (0x921, "tpm-locked-out"),
            (0x922, "tpm-busy"),
            (0x101, "tpm-away"),
            (0x1c4, "tpm-refused"),
        ];
        for (code, name) in named {
            assert_eq!(refused(&place, code).code, name, "{code:#x}");
        }
    }
}
